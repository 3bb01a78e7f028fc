//! Containers for many threads, without transactions: each operation on one key or element is atomic, durable and linearizable when it
//! returns.
//!
//! What is persistent is cells that validate themselves (`cells.rs` has the protocol); what finds them is in DRAM, and made
//! anew by a parallel scan at opening. Readers take no lock: they follow snapshots that epochs keep alive. Writers lock one
//! of many stripes. Nothing that means something only while the program runs is in the pool.
//!
//! In reading order: `cells`; `entries`, what both maps are; [`ConcurrentHashMap`] with `hash`, [`ConcurrentMap`] with
//! `ordered`; [`MpmcQueue`]; [`ConcurrentLog`]; `object`; `snapshot` and `sync` below them.

mod cells;
mod entries;
mod hash;
mod hash_map;
mod log;
mod map;
#[cfg(loom)]
#[doc(hidden)]
pub mod models;
mod object;
mod ordered;
mod queue;
mod shortcut;
mod snapshot;
mod sync;

pub use hash_map::ConcurrentHashMap;
pub use log::{ConcurrentLog, LogIter};
pub use map::{ConcurrentMap, Iter, SharedKey};
pub use queue::MpmcQueue;
#[doc(hidden)]
pub use shortcut::Shortcut;

/// Key and value do not fit in a cell: the reason of an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "keys of {key} and values of {value} bytes, but a concurrent container takes {most} together; store large values in an object of the pool"
)]
pub struct TooLarge {
    /// Bytes of a key.
    pub key: usize,
    /// Bytes of a value.
    pub value: usize,
    /// Bytes that they may have together.
    pub most: usize,
}
