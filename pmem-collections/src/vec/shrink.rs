//! Cutting the end off. One empty leaf stays behind the last element, so that pushes and pops around the end of a leaf
//! do not allocate and free in turns.

use super::{
    VecGuard,
    header::height_for,
    layout::{FANOUT, NODE_HEAD},
};
use crate::stored::{self, StoredBytes, is_fixed};
use pmem_alloc::{Ptr, Result, Stored, Write};

impl<T: Stored> VecGuard<'_, T, Write> {
    /// Removes all elements from number `len` on, and frees what they refer to.
    pub(super) fn cut(&mut self, len: u64) -> Result<()> {
        let old_len = self.header.len;
        if len >= old_len {
            return Ok(());
        }
        // Read, and so checked, before anything is changed.
        let mut gone = Vec::new();
        if const { !is_fixed::<T>() } {
            for index in len..old_len {
                let (at, slot) = self.slot(index)?;
                gone.push((at, StoredBytes::new(slot, 1)));
            }
        }
        self.set_len(len)?;
        for (at, slot) in &gone {
            stored::release::<T>(&mut self.body, *at, slot.as_slice())?;
        }
        self.free_unused()
    }

    /// Frees the leaves behind the last element, but for one.
    pub(super) fn free_unused(&mut self) -> Result<()> {
        let used = self.header.len.div_ceil(u64::from(self.header.capacity.max(1))).max(1);
        while self.header.leaves > used + 1 {
            self.remove_last_leaf()?;
        }
        Ok(())
    }

    /// Frees the last leaf, of two at least, and the inner nodes that lose their only child with it.
    fn remove_last_leaf(&mut self) -> Result<()> {
        let (number, height) = (self.header.leaves - 1, self.header.height);
        let mut freed = vec![self.node_at(0, number)?];
        self.leaf(number)?;
        let new_height = height_for(number);
        let mut root = self.header.root;
        for level in 1..height {
            let above = number / FANOUT.pow(level);
            let at = self.node_at(level, above)?;
            let children = self.children(at, level, above)?;
            let child = number / FANOUT.pow(level - 1) % FANOUT;
            if level >= new_height {
                // The root goes, and its first child takes its place.
                root = children[0];
                freed.push(at);
                break;
            }
            if child > 0 {
                self.set_word(at + NODE_HEAD as u64 + 8 * child, 0)?;
                break;
            }
            freed.push(at);
        }
        self.set_tree(root, number, self.header.capacity)?;
        freed.into_iter().try_for_each(|at| self.body.free(Ptr::<u8>::from_offset(at)))
    }

    /// Frees all nodes of an empty vector.
    pub(super) fn free_all(&mut self) -> Result<()> {
        while self.header.leaves > 1 {
            self.remove_last_leaf()?;
        }
        if self.header.leaves == 1 {
            let (at, _) = self.leaf(0)?;
            self.set_tree(0, 0, 0)?;
            self.body.free(Ptr::<u8>::from_offset(at))?;
        }
        Ok(())
    }
}
