//! Room for one element more at either end, and the nodes that it takes.

use super::{
    DequeGuard, End,
    header::{FIRST_LEAF, LEAF_NUMBERS, SPARE_BACK, SPARE_FRONT, fits, over},
    node::{child, identity},
};
use crate::{
    damage::corrupt,
    stored::{self, Slot},
    vec::layout::{FANOUT, INNER, NODE_HEAD},
};
use pmem_alloc::{Ptr, Result, Stored, Write};
use std::ops::Range;

impl<T: Stored> DequeGuard<'_, T, Write> {
    pub(super) fn bytes_mut(&mut self, at: u64, len: usize) -> Result<&mut [u8]> {
        if len == 0 { Ok(&mut []) } else { self.body.bytes_mut(Ptr::from_offset(at), len as u64) }
    }

    pub(super) fn set_word(&mut self, at: u64, word: u64) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(at))? = word;
        Ok(())
    }

    pub(super) fn set_child(&mut self, node: u64, child: usize, to: u64) -> Result<()> {
        self.set_word(node + (NODE_HEAD + 8 * child) as u64, to)
    }

    /// Stores where the elements are, in `leaves`.
    pub(super) fn set_ends(&mut self, head: u64, len: u64) -> Result<()> {
        (self.header.head, self.header.len) = (head, len);
        let used = self.header.used();
        let front = if self.leaves.start < used.start { SPARE_FRONT } else { 0 };
        let back = if self.leaves.end > used.end { SPARE_BACK } else { 0 };
        self.header.spare = front | back;
        self.store_header()
    }

    pub(super) fn store_header(&mut self) -> Result<()> {
        *self.body.get_mut(Ptr::from_offset(self.at))? = self.header;
        Ok(())
    }

    /// Adds an element whose slot was made; returns where it is. If that fails, what the slot refers to is freed.
    pub(super) fn push_slot(&mut self, end: End, slot: Slot<'_>) -> Result<u64> {
        let pushed = self.add(end, &slot);
        if pushed.is_err() {
            stored::release::<T>(&mut self.body, self.at, &slot)?;
        }
        pushed
    }

    fn add(&mut self, end: End, slot: &[u8]) -> Result<u64> {
        if self.header.len == u64::from(self.header.capacity)
            && self.header.capacity < const { Self::LAYOUT.full }
        {
            self.enlarge_only_leaf(end)?;
        }
        let (head, len) = (self.header.head, self.header.len);
        let head = match end {
            End::Back => head,
            End::Front if self.header.is_small() && head == 0 => u64::from(self.header.capacity) - 1,
            End::Front => head - 1,
        };
        if !self.header.is_small() {
            let position = if end == End::Front { head } else { head + len };
            let number = position / u64::from(const { Self::LAYOUT.full });
            if !self.leaves.contains(&number) {
                self.add_leaf(end)?;
            }
        }
        self.set_ends(head, len + 1)?;
        let (at, _) = self.slot(if end == End::Front { 0 } else { len })?;
        self.bytes_mut(at, slot.len())?.copy_from_slice(slot);
        Ok(at)
    }

    /// A first leaf, or one of about twice the size in place of an only one.
    fn enlarge_only_leaf(&mut self, end: End) -> Result<()> {
        let layout = Self::LAYOUT;
        let (capacity, len) = (layout.next_capacity(self.header.capacity), self.header.len);
        let (number, first) = match (capacity == layout.full, end) {
            (false, _) => (0, 0),
            (true, End::Back) => (FIRST_LEAF, 0),
            // As much room as possible before the first, which itself is in this leaf.
            (true, End::Front) => (FIRST_LEAF, u64::from(layout.full) - len.max(1)),
        };
        let mut image = vec![0; layout.bytes(capacity)];
        image[..NODE_HEAD].copy_from_slice(&identity(0, number).to_le_bytes());
        for index in 0..len {
            let (_, slot) = self.slot(index)?;
            let start = layout.slot((first + index) as usize);
            image[start..start + slot.len()].copy_from_slice(slot);
        }
        let old = (self.header.height == 1).then_some(self.header.root);
        let at = self.alloc(image.len())?;
        self.bytes_mut(at, image.len())?.copy_from_slice(&image);
        (self.header.root, self.header.height, self.header.capacity) = (at, 1, capacity);
        self.leaves = number..number + 1;
        self.set_ends(number * u64::from(capacity) + first, len)?;
        old.map_or(Ok(()), |old| self.body.free(Ptr::<u8>::from_offset(old)))
    }

    /// A leaf beyond the last one of an end: the spare one of the other end, if there is one. With the inner nodes above it
    /// that are not there yet.
    fn add_leaf(&mut self, end: End) -> Result<()> {
        let (used, mut rest) = (self.header.used(), self.leaves.clone());
        let (number, has_spare) = match end {
            End::Back => (rest.end, rest.start < used.start),
            End::Front => (rest.start - 1, rest.end > used.end),
        };
        // One less than there are, so that a spare one has a number too.
        if !(2..LEAF_NUMBERS - 1).contains(&number) {
            return Err(corrupt(self.at, "leaves of numbers below 2^41", number.to_string()));
        }
        if has_spare {
            rest = without(&rest, end.other());
        }
        let both = rest.start.min(number)..rest.end.max(number + 1);
        let level = self.header.root_level();
        let grows = !fits(level, &both);
        let splits = grows && level > 0 && over(rest.start, level) != over(rest.end - 1, level);
        let new_levels = self.new_levels(level + u32::from(grows), number, &rest);
        let mut blocks = self.alloc_all(!has_spare, new_levels + usize::from(grows) + usize::from(splits))?;

        // From here on nothing fails but for damage.
        let leaf = if has_spare { self.detach(end.other())? } else { blocks.pop().expect("a leaf") };
        if grows {
            let root = blocks.pop().expect("a root");
            let second = splits.then(|| blocks.pop().expect("a second node"));
            self.raise_root(root, second)?;
        }
        self.set_word(leaf, identity(0, number))?;
        self.attach_leaf(leaf, number, &blocks)?;
        self.leaves = both;
        Ok(())
    }

    /// How many inner nodes over leaf `number` below the root, of level `root`, are over none of `leaves`. They are the lowest.
    fn new_levels(&self, root: u32, number: u64, leaves: &Range<u64>) -> usize {
        let is_new = |level: &u32| {
            let node = over(number, *level);
            node < over(leaves.start, *level) || node > over(leaves.end - 1, *level)
        };
        (1..root).take_while(is_new).count()
    }

    /// Blocks of so many inner nodes, and behind them one of a leaf; or none.
    fn alloc_all(&mut self, leaf: bool, inner: usize) -> Result<Vec<u64>> {
        let sizes =
            std::iter::repeat_n(INNER, inner).chain(leaf.then(|| Self::LAYOUT.bytes(Self::LAYOUT.full)));
        let mut blocks = Vec::new();
        for size in sizes {
            match self.alloc(size) {
                Ok(block) => blocks.push(block),
                Err(no_space) => {
                    blocks.into_iter().try_for_each(|at| self.body.free(Ptr::<u8>::from_offset(at)))?;
                    return Err(no_space);
                }
            }
        }
        Ok(blocks)
    }

    /// Puts a new root above the old one, which keeps what is in its lower range; `second` gets the rest.
    fn raise_root(&mut self, root: u64, second: Option<u64>) -> Result<()> {
        let (level, old, leaves) = (self.header.root_level(), self.header.root, self.leaves.clone());
        if level > 0 {
            let children: Vec<u64> = self.children(old, level, leaves.start)?.to_vec();
            self.set_word(old, identity(level, over(leaves.start, level)))?;
            if let Some(second) = second {
                self.set_word(second, identity(level, over(leaves.end - 1, level)))?;
                let boundary = over(leaves.end - 1, level) * FANOUT;
                for number in boundary..=over(leaves.end - 1, level - 1) {
                    let child = (number % FANOUT) as usize;
                    self.set_child(second, child, children[child])?;
                    self.set_child(old, child, 0)?;
                }
                self.set_child(root, child(level + 1, leaves.end - 1), second)?;
            }
        }
        self.set_word(root, identity(level + 1, 0))?;
        self.set_child(root, child(level + 1, leaves.start), old)?;
        (self.header.root, self.header.height) = (root, self.header.height + 1);
        Ok(())
    }

    /// Makes a leaf a child of the lowest node over it that is there, by way of `new` ones, from the lowest level up.
    fn attach_leaf(&mut self, leaf: u64, number: u64, new: &[u64]) -> Result<()> {
        let mut below = leaf;
        for (level, &node) in (1..).zip(new) {
            self.set_word(node, identity(level, over(number, level)))?;
            self.set_child(node, child(level, number), below)?;
            below = node;
        }
        let level = 1 + new.len() as u32;
        let node = self.node_at(level, number)?;
        self.children(node, level, number)?;
        self.set_child(node, child(level, number), below)
    }

    fn alloc(&mut self, len: usize) -> Result<u64> {
        // Lines, so that a node does not share one with another where that can be helped.
        self.body.alloc_aligned(len as u64, if len >= 64 { 64 } else { 8 }).map(Ptr::offset)
    }
}

/// All but the leaf at an end.
pub(super) fn without(leaves: &Range<u64>, end: End) -> Range<u64> {
    match end {
        End::Front => leaves.start + 1..leaves.end,
        End::Back => leaves.start..leaves.end - 1,
    }
}
