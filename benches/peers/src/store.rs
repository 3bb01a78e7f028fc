//! What a store has to do to be compared.

use crate::{Result, workload::Shape};
use std::path::Path;

/// A kind of store.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Of the library, and of what it wraps.
    pub(crate) version: fn() -> String,
    /// How it is used, in words.
    pub(crate) settings: &'static str,
    /// Names of workloads.
    pub(crate) workloads: &'static [&'static str],
    /// Opens the store in that folder, or makes it.
    pub(crate) open: fn(&Options<'_>) -> Result<Box<dyn Store>>,
}

/// How a store is opened.
pub(crate) struct Options<'o> {
    /// An existing folder for its files.
    pub(crate) folder: &'o Path,
    /// A change that returned survives a power failure.
    pub(crate) durable: bool,
    /// What it is to hold.
    pub(crate) shape: Shape,
    /// Records that it has at first: for stores that have to know.
    pub(crate) entries: u64,
}

/// An open store.
pub(crate) trait Store {
    /// What one thread uses it by. All are dropped before the store is.
    fn session(&self) -> Result<Box<dyn Session>>;
}

/// A store, as one thread sees it. Each change is a transaction of its own; each read sees what was committed before.
pub(crate) trait Session: Send {
    /// Sets all these records, durable when it returns; before anything is measured.
    fn load(&mut self, entries: &[(u64, &[u8])]) -> Result<()>;
    /// Sets a record.
    fn put(&mut self, key: u64, value: &[u8]) -> Result<()>;
    /// Whether there is one of that key, which is looked at.
    fn get(&mut self, key: u64, look: &mut dyn FnMut(&[u8])) -> Result<bool>;
    /// Removes a record; whether there was one.
    fn delete(&mut self, key: u64) -> Result<bool>;
    /// Looks at up to `count` records from `key` on, in the order of their keys; how many there were. Of a sequence: the elements, in their
    /// order.
    fn scan(&mut self, key: u64, count: u64, look: &mut dyn FnMut(&[u8])) -> Result<u64>;
    /// Looks at all that the store holds; how many they are.
    fn all(&mut self, look: &mut dyn FnMut(&[u8])) -> Result<u64> {
        self.scan(0, u64::MAX, look)
    }
    /// Changes records, which exist, in one transaction that reads and writes them. `change` is told which it is.
    fn modify(&mut self, keys: &[u64], change: &mut dyn FnMut(usize, &mut [u8])) -> Result<()>;
    /// Adds an element at the end of the sequence.
    fn append(&mut self, value: &[u8]) -> Result<()>;
    /// Takes the first element off, and looks at it; whether there was one.
    fn pop(&mut self, look: &mut dyn FnMut(&[u8])) -> Result<bool>;
}

/// The error of a key that has to be there.
pub(crate) fn missing(key: u64) -> crate::Failure {
    format!("the store has lost the key {key:#x}").into()
}
