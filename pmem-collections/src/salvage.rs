//! What can still be read of a damaged container.

use pmem_alloc::{Error, ErrorKind};

/// What a salvage handed over, and what it could not read: [`MapGuard::salvage`](crate::map::MapGuard::salvage),
/// [`HashMapGuard::salvage`](crate::hash_map::HashMapGuard::salvage).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Salvage {
    /// Entries that were handed over.
    pub entries: u64,
    /// Entries that the container says it has.
    pub expected: u64,
    /// What could not be read, each with its offset: nodes, segments, buckets, single entries.
    pub damage: Vec<Error>,
}

impl Salvage {
    /// Whether everything was read.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty() && self.entries == self.expected
    }

    /// Notes damage; once, if it is met in several ways one after the other.
    pub(crate) fn lost(&mut self, error: Error) {
        let offset = |error: &Error| match error.kind() {
            ErrorKind::Corrupt { offset, .. } => Some(*offset),
            _ => None,
        };
        let again =
            self.damage.last().is_some_and(|last| offset(last).is_some() && offset(last) == offset(&error));
        if !again {
            self.damage.push(error);
        }
    }
}
