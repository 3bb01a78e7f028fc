//! Values that are no longer in a map.

use crate::{
    damage::corrupt,
    tree::{Leaf, SlotAt, Tree},
};
use pmem_alloc::{Plain, Result, Write};

/// A value that was replaced or removed, not looked at yet: a damaged one is an error only for those who do.
#[derive(Clone, Copy, Debug)]
pub struct Old<V> {
    /// Where it was.
    at: u64,
    /// `None` if its bits are no `V`.
    value: Option<V>,
}

impl<V: Plain> Old<V> {
    pub(crate) fn read<K: Plain>(tree: &Tree<'_, K, V, Write>, at: SlotAt) -> Result<Self> {
        let value = tree.leaf(at.leaf)?.value(at.slot).ok().copied();
        Ok(Old { at: at.leaf + Leaf::<K, V>::LAYOUT.value(at.slot) as u64, value })
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
