//! Reading what can be read of a damaged tree.

use super::{Leaf, Tree};
use crate::{damage::corrupt, salvage::Salvage};
use pmem_alloc::{Mode, OrdKey, Result, Stored};
use std::collections::HashSet;

impl<'t, K: OrdKey, V: Stored, M: Mode> Tree<'t, K, V, M> {
    /// Calls `take` with each entry of each leaf that can be reached, from left to right. `Ok(false)` of `take`: it could not read the entry, and has
    /// noted that.
    pub(crate) fn salvage(
        &self,
        salvage: &mut Salvage,
        take: &mut impl FnMut(&mut Salvage, &Leaf<'_, K, V, M>, usize) -> Result<bool>,
    ) -> Result<()> {
        salvage.expected = self.len;
        let mut seen = HashSet::new();
        match self.height {
            0 => Ok(()),
            height => self.salvage_node(salvage, &mut seen, self.root, height - 1, take),
        }
    }

    fn salvage_node(
        &self,
        salvage: &mut Salvage,
        seen: &mut HashSet<u64>,
        at: u64,
        level: u32,
        take: &mut impl FnMut(&mut Salvage, &Leaf<'_, K, V, M>, usize) -> Result<bool>,
    ) -> Result<()> {
        if !seen.insert(at) {
            salvage.lost(corrupt(at, "a node with one reference", "a node that is reached twice"));
            return Ok(());
        }
        if level > 0 {
            match self.inner(at, level) {
                Ok(inner) => {
                    for &child in inner.children {
                        self.salvage_node(salvage, seen, child, level - 1, take)?;
                    }
                }
                Err(error) => salvage.lost(error),
            }
            return Ok(());
        }
        match self.leaf(at) {
            Ok(leaf) => {
                for slot in leaf.slots() {
                    if take(salvage, &leaf, slot)? {
                        salvage.entries += 1;
                    }
                }
            }
            Err(error) => salvage.lost(error),
        }
        Ok(())
    }
}
