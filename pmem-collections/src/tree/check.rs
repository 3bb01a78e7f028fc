//! Whether a tree is what it should be.

use super::{
    Tree,
    layout::LINE,
    node::{Inner, Leaf, fingerprint},
};
use crate::{
    damage::corrupt,
    stored::{self, invalid},
};
use pmem_alloc::{Mode, OrdKey, Result, Stored};
use std::collections::HashSet;

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
    /// Number of blocks that keys, values and separators have outside of nodes, because they are too long. Of a value
    /// that is an object it is its header alone.
    pub blocks: u64,
    /// Bytes of the header, all nodes and those blocks.
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

impl Walk {
    /// Notes a block, which nothing else may refer to.
    fn note(&mut self, at: u64, what: &str) -> Result<()> {
        if self.seen.insert(at) {
            return Ok(());
        }
        Err(corrupt(at, format!("a {what} with one reference"), format!("a {what} that is reached twice")))
    }

    fn note_block(&mut self, block: Option<(u64, u64)>) -> Result<()> {
        let Some((at, len)) = block else { return Ok(()) };
        self.note(at, "block")?;
        self.summary.blocks += 1;
        self.summary.bytes += len;
        Ok(())
    }
}

impl<'t, K: OrdKey, V: Stored, M: Mode> Tree<'t, K, V, M> {
    /// Reads every node, key and value, and checks all there is to check. `check_value` reads one of the values.
    pub(crate) fn check(
        &self,
        check_value: impl Fn(&Leaf<'_, K, V, M>, usize) -> Result<()>,
    ) -> Result<TreeSummary> {
        let summary = TreeSummary { height: self.height, bytes: LINE as u64, ..TreeSummary::default() };
        let mut walk = Walk { summary, seen: HashSet::new() };
        if self.height > 0 {
            self.check_node(&mut walk, self.root, self.height - 1, None, None, &check_value)?;
        }
        if walk.summary.entries != self.len {
            return Err(self.wrong(
                format!("{} entries, as the header says", self.len),
                walk.summary.entries.to_string(),
            ));
        }
        Ok(walk.summary)
    }

    fn check_node<'a>(
        &'a self,
        walk: &mut Walk,
        at: u64,
        level: u32,
        low: Option<&'a [u8]>,
        high: Option<&'a [u8]>,
        check_value: &impl Fn(&Leaf<'_, K, V, M>, usize) -> Result<()>,
    ) -> Result<()> {
        walk.note(at, "node")?;
        if level == 0 {
            return self.check_leaf(walk, at, low, high, check_value);
        }
        let inner = self.inner(at, level)?;
        walk.summary.inner_nodes += 1;
        walk.summary.bytes += Inner::<K, M>::LAYOUT.size as u64;
        let keys = (0..inner.count()).map(|i| inner.key_form(i)).collect::<Result<Vec<_>>>()?;
        check_order::<K>(at, &keys, low, high)?;
        for (i, &child) in inner.children.iter().enumerate() {
            if i > 0 {
                walk.note_block(inner.key_block(i - 1)?)?;
            }
            let low = if i == 0 { low } else { Some(keys[i - 1]) };
            self.check_node(walk, child, level - 1, low, keys.get(i).copied().or(high), check_value)?;
        }
        Ok(())
    }

    fn check_leaf<'a>(
        &'a self,
        walk: &mut Walk,
        at: u64,
        low: Option<&'a [u8]>,
        high: Option<&'a [u8]>,
        check_value: &impl Fn(&Leaf<'_, K, V, M>, usize) -> Result<()>,
    ) -> Result<()> {
        let leaf = self.leaf(at)?;
        walk.summary.leaves += 1;
        walk.summary.entries += leaf.len() as u64;
        walk.summary.bytes += Leaf::<K, V, M>::LAYOUT.size as u64;
        if leaf.len() == 0 {
            self.check_empty(&leaf)?;
        }
        let mut entries = Vec::new();
        leaf.sort_into(&mut entries)?;
        let slots = entries.iter().map(|(_, slot)| leaf.key_form(usize::from(*slot)));
        check_order::<K>(at, &slots.collect::<Result<Vec<_>>>()?, low, high)?;
        for slot in leaf.slots() {
            leaf.key(slot)?;
            check_value(&leaf, slot)?;
            walk.note_block(stored::block::<K>(leaf.key_at(slot), leaf.key_slot(slot))?)?;
            walk.note_block(stored::block::<V>(leaf.value_at(slot), leaf.value_slot(slot))?)?;
            let expected = fingerprint(leaf.key_form(slot)?);
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
fn check_order<K: OrdKey>(at: u64, keys: &[&[u8]], low: Option<&[u8]>, high: Option<&[u8]>) -> Result<()> {
    let compare = |a: &[u8], b: &[u8]| K::compare(a, b).map_err(|why| invalid::<K>(at, why));
    let mut last = None;
    for &key in keys {
        if let Some(low) = low
            && compare(key, low)?.is_lt()
        {
            return Err(corrupt(at, "keys from the separator on its left on", "a smaller key"));
        }
        if let Some(high) = high
            && compare(key, high)?.is_ge()
        {
            return Err(corrupt(at, "keys below the separator on its right", "a greater key"));
        }
        if let Some(last) = last
            && compare(last, key)?.is_ge()
        {
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
