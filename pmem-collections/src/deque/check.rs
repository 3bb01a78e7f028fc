//! Whether a deque is what it should be.

use super::{DequeGuard, header::over};
use crate::{
    damage::corrupt,
    stored,
    vec::layout::{FANOUT, INNER},
};
use pmem_alloc::{Mode, Result, Stored};
use std::{collections::HashSet, ops::Range};

/// What [`check`](DequeGuard::check) found in a deque that is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DequeSummary {
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

impl<T: Stored, M: Mode> DequeGuard<'_, T, M> {
    /// Reads every node and slot, and checks all there is to check. Of elements, `check_element` checks each.
    pub(super) fn check_with(
        &self,
        check_element: impl Fn(u64, &[u8]) -> Result<()>,
    ) -> Result<DequeSummary> {
        let leaves = self.leaves.end - self.leaves.start;
        let mut summary =
            DequeSummary { elements: self.header.len, leaves, bytes: 64, ..DequeSummary::default() };
        let mut owned = HashSet::new();
        // Nodes say which they are: none is met twice. (Their numbers repeat only after 2^32.)
        for level in 1..u32::from(self.header.height) {
            for first in self.nodes(level) {
                let at = self.node_at(level, first)?;
                let children = self.children(at, level, first)?;
                let mut expected = [false; FANOUT as usize];
                for number in self.below(level, first) {
                    expected[(number % FANOUT) as usize] = true;
                }
                if let Some(i) = (0..children.len()).find(|&i| (children[i] != 0) != expected[i]) {
                    let expected = if expected[i] { "a node" } else { "none" };
                    return Err(corrupt(
                        at,
                        format!("{expected} as child {i}"),
                        format!("{:#x}", children[i]),
                    ));
                }
                summary.inner_nodes += 1;
                summary.bytes += INNER as u64;
            }
        }
        for number in self.leaves.clone() {
            let (_, leaf) = self.leaf(number)?;
            summary.bytes += leaf.len() as u64;
        }
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

    /// The first leaf under each node of a level.
    pub(super) fn nodes(&self, level: u32) -> impl Iterator<Item = u64> + use<T, M> {
        let Range { start, end } = self.leaves.clone();
        let numbers = match level == self.header.root_level() {
            true => 0..1, // however many ranges of a node it reaches into
            false => over(start, level)..over(end - 1, level) + 1,
        };
        let first = numbers.start;
        numbers.map(move |number| if number == first { start } else { number * FANOUT.pow(level) })
    }

    /// The numbers of the children of the node of a level over leaf `leaf`.
    pub(super) fn below(&self, level: u32, leaf: u64) -> Range<u64> {
        let all = over(self.leaves.start, level - 1)..over(self.leaves.end - 1, level - 1) + 1;
        if level == self.header.root_level() {
            return all;
        }
        let number = over(leaf, level);
        all.start.max(number * FANOUT)..all.end.min((number + 1) * FANOUT)
    }
}
