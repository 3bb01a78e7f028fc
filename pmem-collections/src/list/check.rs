//! Whether a list is what it should be.

use super::ListGuard;
use crate::{damage::corrupt, stored};
use pmem_alloc::{Mode, Result, Stored};
use std::collections::HashSet;

/// What [`check`](ListGuard::check) found in a list that is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListSummary {
    /// Number of elements, each in a node of its own.
    pub elements: u64,
    /// Blocks of elements that do not fit their slots.
    pub blocks: u64,
    /// Bytes of the header and all blocks; of an object among the elements, one byte.
    pub bytes: u64,
}

impl<T: Stored, M: Mode> ListGuard<'_, T, M> {
    /// Reads every node and slot, and checks all there is to check. Of elements, `check_element` checks each.
    pub(super) fn check_with(&self, check_element: impl Fn(u64, &[u8]) -> Result<()>) -> Result<ListSummary> {
        let mut summary = ListSummary { bytes: 64, ..ListSummary::default() };
        let mut owned = HashSet::new();
        let (mut at, mut prev) = (self.header.first, 0);
        while at != 0 {
            let node = self.node(at)?.behind(prev)?;
            let (slot_at, slot) = (Self::slot_at(at), node.slot);
            check_element(slot_at, slot)?;
            if let Some((block, len)) = stored::block::<T>(slot_at, slot)? {
                if !owned.insert(block) {
                    return Err(corrupt(block, "a block with one owner", "one with two"));
                }
                summary.blocks += 1;
                summary.bytes += len;
            }
            summary.elements += 1;
            summary.bytes += Self::LAYOUT.len as u64;
            (prev, at) = (at, node.links.next);
        }
        if (prev, summary.elements) != (self.header.last, self.header.len) {
            return Err(self.miscounted(summary.elements));
        }
        Ok(summary)
    }
}
