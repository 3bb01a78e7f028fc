//! Whether a tree is what it should be.

use super::{
    Tree,
    layout::LINE,
    node::{Inner, Leaf, fingerprint},
};
use crate::damage::corrupt;
use pmem_alloc::{Mode, Plain, Result};
use std::{cmp::Ordering, collections::HashSet};

/// What [`check`](crate::map::MapGuard::check) found in a tree that is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeSummary {
    /// Number of entries.
    pub entries: u64,
    /// Number of levels; 0 without any node.
    pub height: u32,
    /// Number of leaves.
    pub leaves: u64,
    /// Number of inner nodes.
    pub inner_nodes: u64,
    /// Bytes of the header and all nodes.
    pub bytes: u64,
}

impl TreeSummary {
    /// Number of nodes.
    pub fn nodes(&self) -> u64 {
        self.leaves + self.inner_nodes
    }
}

/// What is known so far.
struct Walk {
    summary: TreeSummary,
    seen: HashSet<u64>,
}

impl<K: Plain + Ord, V: Plain, M: Mode> Tree<'_, K, V, M> {
    /// Reads every node, key and value, and checks all there is to check.
    pub(crate) fn check(&self) -> Result<TreeSummary> {
        let summary = TreeSummary { height: self.height, bytes: LINE as u64, ..TreeSummary::default() };
        let mut walk = Walk { summary, seen: HashSet::new() };
        if self.height > 0 {
            self.check_node(&mut walk, self.root, self.height - 1, None, None)?;
        }
        if walk.summary.entries != self.len {
            return Err(self.wrong(
                format!("{} entries, as the header says", self.len),
                walk.summary.entries.to_string(),
            ));
        }
        Ok(walk.summary)
    }

    fn check_node(
        &self,
        walk: &mut Walk,
        at: u64,
        level: u32,
        low: Option<&K>,
        high: Option<&K>,
    ) -> Result<()> {
        if !walk.seen.insert(at) {
            return Err(corrupt(at, "a node with one parent", "a node that is reached twice"));
        }
        if level == 0 {
            return self.check_leaf(walk, at, low, high);
        }
        let inner = self.inner(at, level)?;
        walk.summary.inner_nodes += 1;
        walk.summary.bytes += Inner::<K>::LAYOUT.size as u64;
        check_order::<K>(at, inner.keys.iter(), low, high)?;
        for (i, &child) in inner.children.iter().enumerate() {
            let low = if i == 0 { low } else { inner.keys.get(i - 1) };
            self.check_node(walk, child, level - 1, low, inner.keys.get(i).or(high))?;
        }
        Ok(())
    }

    fn check_leaf(&self, walk: &mut Walk, at: u64, low: Option<&K>, high: Option<&K>) -> Result<()> {
        let leaf = self.leaf(at)?;
        walk.summary.leaves += 1;
        walk.summary.entries += leaf.len() as u64;
        walk.summary.bytes += Leaf::<K, V>::LAYOUT.size as u64;
        if leaf.len() == 0 {
            self.check_empty(&leaf)?;
        }
        let mut entries = Vec::new();
        leaf.sort_into(&mut entries, |_| true)?;
        check_order(at, entries.iter().map(|(key, _)| key), low, high)?;
        for slot in leaf.slots() {
            leaf.value(slot)?;
            let expected = fingerprint(bytemuck::bytes_of(leaf.key(slot)?));
            let found = leaf.fingerprint(slot);
            if found != expected {
                return Err(corrupt(
                    at,
                    format!("fingerprint {expected:#x} for slot {slot}"),
                    format!("{found:#x}"),
                ));
            }
        }
        Ok(())
    }
}

/// Keys of the node at `at` ascend, from `low` on and below `high`.
fn check_order<'k, K: Ord + 'k>(
    at: u64,
    keys: impl Iterator<Item = &'k K>,
    low: Option<&K>,
    high: Option<&K>,
) -> Result<()> {
    let mut last = None;
    for key in keys {
        if low.is_some_and(|low| key.cmp(low) == Ordering::Less) {
            return Err(corrupt(at, "keys from the separator on its left on", "a smaller key"));
        }
        if high.is_some_and(|high| key.cmp(high) != Ordering::Less) {
            return Err(corrupt(at, "keys below the separator on its right", "a greater key"));
        }
        if last.is_some_and(|last: &K| last.cmp(key) != Ordering::Less) {
            return Err(corrupt(
                at,
                "keys in ascending order",
                "a key that is not greater than the one before",
            ));
        }
        last = Some(key);
    }
    Ok(())
}
