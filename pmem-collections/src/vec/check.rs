//! Whether a vector is what it should be.

use super::{
    VecGuard,
    layout::{FANOUT, INNER},
};
use crate::{damage::corrupt, stored};
use pmem_alloc::{Mode, Result, Stored};
use std::collections::HashSet;

/// What [`check`](VecGuard::check) found in a vector that is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VecSummary {
    /// Number of elements.
    pub elements: u64,
    /// Number of leaves.
    pub leaves: u64,
    /// Number of inner nodes.
    pub inner_nodes: u64,
    /// Blocks of elements that do not fit their slots.
    pub blocks: u64,
    /// Bytes of the header and all blocks; of an object among the elements, one byte.
    pub bytes: u64,
}

impl<T: Stored, M: Mode> VecGuard<'_, T, M> {
    /// Reads every node and slot, and checks all there is to check. Of elements, `check_element` checks each.
    pub(super) fn check_with(&self, check_element: impl Fn(u64, &[u8]) -> Result<()>) -> Result<VecSummary> {
        let mut summary = self.check_nodes()?;
        let mut owned = HashSet::new();
        for index in 0..self.header.len {
            let (at, slot) = self.slot(index)?;
            check_element(at, slot)?;
            if let Some((block, len)) = stored::block::<T>(at, slot)? {
                if !owned.insert(block) {
                    return Err(corrupt(block, "a block with one owner", "one with two"));
                }
                summary.blocks += 1;
                summary.bytes += len;
            }
        }
        Ok(summary)
    }

    /// Reads every node, and checks all there is to check but elements.
    pub(super) fn check_nodes(&self) -> Result<VecSummary> {
        let header = &self.header;
        let mut summary =
            VecSummary { elements: header.len, leaves: header.leaves, bytes: 64, ..VecSummary::default() };
        // Nodes say which they are: none is met twice.
        for level in 1..header.height {
            for number in 0..header.leaves.div_ceil(FANOUT.pow(level)) {
                let at = self.node_at(level, number)?;
                let children = self.children(at, level, number)?;
                let below = header.leaves.div_ceil(FANOUT.pow(level - 1)) - number * FANOUT;
                if children[below.min(FANOUT) as usize..].iter().any(|&child| child != 0) {
                    return Err(corrupt(at, format!("{below} children"), "more"));
                }
                summary.inner_nodes += 1;
                summary.bytes += INNER as u64;
            }
        }
        for number in 0..header.leaves {
            self.leaf(number)?;
            summary.bytes += self.leaf_bytes() as u64;
        }
        Ok(summary)
    }
}
