//! Values that are no longer in a map.

use crate::{damage::corrupt, tree::Leaf};
use pmem_alloc::{Plain, Result};

/// A value that was replaced or removed, not looked at yet: a damaged one is an error only for those who do.
#[derive(Clone, Copy, Debug)]
pub struct Old<V> {
    /// Where it was.
    at: u64,
    /// `None` if its bits are no `V`.
    value: Option<V>,
}

impl<V: Plain> Old<V> {
    pub(crate) fn read<K: Plain>(leaf: &Leaf<'_, K, V>, slot: usize) -> Self {
        let at = leaf.at + Leaf::<K, V>::LAYOUT.value(slot) as u64;
        Old { at, value: leaf.value(slot).ok().copied() }
    }

    /// What was at `at`; `None` if its bits were no `V`.
    pub(crate) fn new(at: u64, value: Option<V>) -> Self {
        Old { at, value }
    }

    /// Reads it. `Corrupt` if its bits are no `V`.
    pub fn get(&self) -> Result<&V> {
        self.value.as_ref().ok_or_else(|| corrupt(self.at, V::full_name(), "other bits"))
    }

    /// A copy. `Corrupt` if its bits are no `V`.
    pub fn to_owned(&self) -> Result<V> {
        self.get().copied()
    }
}
