//! Whether a tree is what it should be.

use super::{
    ArtGuard,
    header::ROOT,
    layout::{Kind, Target},
    node::{Entry, Leaf, common_prefix},
    path::belongs,
};
use crate::{damage::corrupt, stored};
use pmem_alloc::{Mode, Result, Stored};
use std::collections::HashSet;

/// What [`check`](ArtGuard::check) found in a tree that is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtSummary {
    /// Number of entries, each in a leaf of its own.
    pub entries: u64,
    /// Nodes of up to 4, 16, 48 and 256 children.
    pub nodes: [u64; 4],
    /// Nodes on the way to the deepest leaf.
    pub height: usize,
    /// Blocks of values that do not fit their slots.
    pub blocks: u64,
    /// Bytes of the header and all blocks; of an object among the values, one byte.
    pub bytes: u64,
}

impl<V: Stored, M: Mode> ArtGuard<'_, V, M> {
    /// Reads every node and leaf in order, and checks all there is to check. Of values, `check_value` checks each.
    pub(super) fn check_with(&self, check_value: impl Fn(Leaf<'_>) -> Result<()>) -> Result<ArtSummary> {
        let mut summary = ArtSummary { bytes: 64, ..ArtSummary::default() };
        let mut owned = HashSet::new();
        // Nodes on the way: depth, entries, and the number of the one that comes next.
        let mut way: Vec<(u32, Vec<Entry>, usize)> = Vec::new();
        let mut last: Option<Leaf<'_>> = None;
        // Where the way to the next leaf parts from that to the last.
        let mut parting = 0;
        let mut down = Some((self.at + ROOT, self.header.root)).filter(|(_, word)| *word != 0);
        loop {
            match down.take().map(|(slot, word)| Target::read(slot, word)).transpose()? {
                Some(Target::Leaf(at)) => {
                    let leaf = self.leaf(at)?;
                    belongs(leaf, way.iter().map(|(depth, entries, next)| (*depth, entries[next - 1].step)))?;
                    let common = last.map_or(parting as usize, |last| common_prefix(last.key, leaf.key));
                    if common != parting as usize {
                        return Err(corrupt(
                            at,
                            format!("a key that has {parting} bytes in common with the one before"),
                            common.to_string(),
                        ));
                    }
                    last = Some(leaf);
                    check_value(leaf)?;
                    summary.entries += 1;
                    summary.height = summary.height.max(way.len());
                    summary.bytes += (Self::LEAF.key + leaf.key.len()) as u64;
                    if let Some((block, len)) = stored::block::<V>(Self::value_at(at), leaf.value)? {
                        if !owned.insert(block) {
                            return Err(corrupt(block, "a block with one owner", "one with two"));
                        }
                        summary.blocks += 1;
                        summary.bytes += len;
                    }
                }
                Some(Target::Node(node)) => {
                    let head = self.head(node, way.last().map_or(0, |(depth, ..)| depth + 1))?;
                    let entries = self.entries(&head)?;
                    let mut slots: Vec<u64> = entries.iter().map(|entry| entry.slot).collect();
                    slots.sort_unstable();
                    slots.dedup();
                    if entries.len() < 2 || slots.len() < entries.len() || !owned.insert(node.at) {
                        return Err(corrupt(
                            node.at,
                            "a node with one owner and two entries at least, each with a reference",
                            format!("{entries:?}"),
                        ));
                    }
                    summary.nodes[node.kind as usize - Kind::Node4 as usize] += 1;
                    summary.bytes += node.kind.len() as u64;
                    way.push((head.depth, entries, 0));
                }
                None => {}
            }
            let Some((depth, entries, next)) = way.last_mut() else { break };
            match entries.get(*next) {
                Some(entry) => {
                    if *next > 0 {
                        parting = *depth;
                    }
                    down = Some((entry.slot, entry.word));
                    *next += 1;
                }
                None => drop(way.pop()),
            }
        }
        match summary.entries == self.header.len {
            true => Ok(summary),
            false => Err(self.miscounted(summary.entries.to_string())),
        }
    }
}
