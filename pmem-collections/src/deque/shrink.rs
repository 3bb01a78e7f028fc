//! Taking elements off an end. One empty leaf stays at each end, so that pushes and pops around the end of a leaf do not
//! allocate and free in turns; and a queue, which grows at one end and shrinks at the other, passes it on.

use super::{
    DequeGuard, End,
    grow::without,
    header::over,
    node::{child, identity},
};
use crate::{
    stored::{self, StoredBytes, is_fixed},
    vec::layout::FANOUT,
};
use pmem_alloc::{Ptr, Result, Stored, Write};

impl<T: Stored> DequeGuard<'_, T, Write> {
    /// Removes `count` elements of an end, at most all, and frees what they refer to.
    pub(super) fn cut(&mut self, end: End, count: u64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        // Read, and so checked, before anything is changed.
        let mut gone = Vec::new();
        if const { !is_fixed::<T>() } {
            let first = if end == End::Front { 0 } else { self.header.len - count };
            for index in first..first + count {
                let (at, slot) = self.slot(index)?;
                gone.push((at, StoredBytes::new(slot, 1)));
            }
        }
        self.forget(end, count)?;
        gone.iter().try_for_each(|(at, slot)| stored::release::<T>(&mut self.body, *at, slot.as_slice()))
    }

    /// As [`cut`](Self::cut), but nothing that elements refer to is freed.
    pub(super) fn forget(&mut self, end: End, count: u64) -> Result<()> {
        let len = self.header.len - count;
        let mut head = self.header.head;
        if end == End::Front {
            head += count;
        }
        if self.header.is_small() {
            return self.set_ends(head % u64::from(self.header.capacity.max(1)), len);
        }
        let full = u64::from(const { Self::LAYOUT.full });
        if len == 0 {
            // Room on both sides.
            let leaf = (head / full).clamp(self.leaves.start, self.leaves.end - 1);
            head = leaf * full + full / 2;
        }
        (self.header.head, self.header.len) = (head, len);
        let used = self.header.used();
        while used.start - self.leaves.start > 1 {
            self.remove_leaf(End::Front)?;
        }
        while self.leaves.end - used.end > 1 {
            self.remove_leaf(End::Back)?;
        }
        self.set_ends(head, len)
    }

    fn remove_leaf(&mut self, end: End) -> Result<()> {
        let leaf = self.detach(end)?;
        self.body.free(Ptr::<u8>::from_offset(leaf))?;
        self.lower_root()
    }

    /// Takes the leaf at an end, of two at least, off the tree, and frees the inner nodes that lose their only child with it.
    pub(super) fn detach(&mut self, end: End) -> Result<u64> {
        let rest = without(&self.leaves, end);
        let number = if end == End::Front { self.leaves.start } else { self.leaves.end - 1 };
        let (leaf, _) = self.leaf(number)?;
        let mut freed = Vec::new();
        for level in 1..u32::from(self.header.height) {
            let node = self.node_at(level, number)?;
            self.children(node, level, number)?;
            let same = over(rest.start, level) <= over(number, level)
                && over(number, level) <= over(rest.end - 1, level);
            if same || level == self.header.root_level() {
                self.set_child(node, child(level, number), 0)?;
                break;
            }
            freed.push(node);
        }
        self.leaves = rest;
        freed.into_iter().try_for_each(|at| self.body.free(Ptr::<u8>::from_offset(at)))?;
        Ok(leaf)
    }

    /// Puts an only child of the root in its place, if it will not be the only one again soon.
    fn lower_root(&mut self) -> Result<()> {
        while self.header.height > 1 {
            let (level, first, last) = (self.header.root_level(), self.leaves.start, self.leaves.end - 1);
            let is_only = over(first, level - 1) == over(last, level - 1);
            if !is_only || level > 1 && over(last, level - 2) - over(first, level - 2) > FANOUT / 2 {
                break;
            }
            let root = self.header.root;
            let only = self.children(root, level, first)?[child(level, first)];
            if level > 1 {
                self.children(only, level - 1, first)?;
                self.set_word(only, identity(level - 1, 0))?;
            } else {
                self.leaf(first)?;
            }
            (self.header.root, self.header.height) = (only, self.header.height - 1);
            self.body.free(Ptr::<u8>::from_offset(root))?;
        }
        Ok(())
    }

    /// Frees all nodes of an empty deque.
    pub(super) fn free_all(&mut self) -> Result<()> {
        if self.header.height == 0 {
            return Ok(());
        }
        while self.leaves.end - self.leaves.start > 1 {
            self.remove_leaf(End::Back)?;
        }
        let (leaf, _) = self.leaf(self.leaves.start)?;
        (self.header.root, self.header.height, self.header.capacity) = (0, 0, 0);
        self.leaves = 0..0;
        self.set_ends(0, 0)?;
        self.body.free(Ptr::<u8>::from_offset(leaf))
    }
}
