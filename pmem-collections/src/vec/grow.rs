//! Appending: room for one element more, and the nodes that it takes.

use super::{
    VecGuard,
    header::{CAPACITY, HEIGHT, LEAVES, LEN, ROOT, height_for},
    layout::{FANOUT, INNER, NODE_HEAD},
    node::identity,
};
use crate::{
    damage::corrupt,
    stored::{self, Slot},
};
use pmem_alloc::{Ptr, Result, Stored, Write};

impl<T: Stored> VecGuard<'_, T, Write> {
    pub(super) fn bytes_mut(&mut self, at: u64, len: usize) -> Result<&mut [u8]> {
        if len == 0 { Ok(&mut []) } else { self.body.bytes_mut(Ptr::from_offset(at), len as u64) }
    }

    pub(super) fn set_word(&mut self, at: u64, word: u64) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(at))? = word;
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) -> Result<()> {
        self.header.len = len;
        self.set_word(self.at + LEN, len)
    }

    /// Stores what says which nodes there are.
    pub(super) fn set_tree(&mut self, root: u64, leaves: u64, capacity: u32) -> Result<()> {
        let height = height_for(leaves);
        (self.header.root, self.header.leaves) = (root, leaves);
        (self.header.height, self.header.capacity) = (height, capacity);
        *self.body.get_mut::<u32>(Ptr::from_offset(self.at + HEIGHT))? = height;
        *self.body.get_mut::<u32>(Ptr::from_offset(self.at + CAPACITY))? = capacity;
        self.set_word(self.at + ROOT, root)?;
        self.set_word(self.at + LEAVES, leaves)
    }

    /// Appends an element whose slot was made; returns where it is. If that fails, what the slot refers to is freed.
    pub(super) fn push_slot(&mut self, slot: Slot<'_>) -> Result<u64> {
        let pushed = self.append(&slot);
        if pushed.is_err() {
            stored::release::<T>(&mut self.body, self.at, &slot)?;
        }
        pushed
    }

    fn append(&mut self, slot: &[u8]) -> Result<u64> {
        let len = self.header.len;
        if len == self.header.leaves * u64::from(self.header.capacity) {
            self.make_room(len + 1)?;
        }
        let (at, _) = self.slot(len)?;
        self.bytes_mut(at, slot.len())?.copy_from_slice(slot);
        self.set_len(len + 1)?;
        Ok(at)
    }

    /// More slots: one leaf more, or an only leaf of more than it has, of `len` if that is possible.
    pub(super) fn make_room(&mut self, len: u64) -> Result<()> {
        if self.header.height < 2 && self.header.capacity < Self::LAYOUT.full {
            self.enlarge_only_leaf(len)
        } else {
            self.add_leaf()
        }
    }

    /// A first leaf, or one of about twice the size in place of an only one; or of so much more that `len` elements fit.
    fn enlarge_only_leaf(&mut self, len: u64) -> Result<()> {
        let mut capacity = Self::LAYOUT.next_capacity(self.header.capacity);
        while u64::from(capacity) < len && capacity < Self::LAYOUT.full {
            capacity = Self::LAYOUT.next_capacity(capacity);
        }
        let mut image = vec![0; Self::LAYOUT.bytes(capacity)];
        let old = (self.header.height == 1).then_some(self.header.root);
        if old.is_some() {
            let (_, leaf) = self.leaf(0)?;
            image[..leaf.len()].copy_from_slice(leaf);
        }
        image[..NODE_HEAD].copy_from_slice(&identity(0, 0).to_le_bytes());
        let at = self.alloc(image.len())?;
        self.bytes_mut(at, image.len())?.copy_from_slice(&image);
        self.set_tree(at, 1, capacity)?;
        old.map_or(Ok(()), |old| self.body.free(Ptr::<u8>::from_offset(old)))
    }

    /// A leaf behind the last, with the inner nodes above it that are not there yet.
    fn add_leaf(&mut self) -> Result<()> {
        let (number, old_height) = (self.header.leaves, self.header.height);
        if number >= 1 << 32 {
            return Err(corrupt(self.at, "fewer than 2^32 leaves", number.to_string()));
        }
        let height = height_for(number + 1);
        // A node of each level that begins with this leaf, and a root if the tree grows. From the leaf up.
        let new_levels =
            (1..old_height).take_while(|level| number.is_multiple_of(FANOUT.pow(*level))).count();
        // The lowest node that is there and gets a new child.
        let parent_level = 1 + new_levels as u32;
        let parent = if height == old_height {
            let parent_number = number / FANOUT.pow(parent_level);
            let at = self.node_at(parent_level, parent_number)?;
            self.children(at, parent_level, parent_number)?;
            Some(at)
        } else {
            None
        };
        let grows = height > old_height;
        let mut blocks = Vec::new();
        let sizes = [Self::LAYOUT.bytes(Self::LAYOUT.full)].into_iter();
        for size in sizes.chain(std::iter::repeat_n(INNER, new_levels + usize::from(grows))) {
            match self.alloc(size) {
                Ok(block) => blocks.push(block),
                Err(no_space) => {
                    blocks.into_iter().try_for_each(|at| self.body.free(Ptr::<u8>::from_offset(at)))?;
                    return Err(no_space);
                }
            }
        }

        // From here on nothing fails but for damage.
        for (level, &block) in (0..).zip(&blocks[..=new_levels]) {
            self.set_word(block, identity(level, number / FANOUT.pow(level)))?;
            if level > 0 {
                self.set_word(block + NODE_HEAD as u64, blocks[level as usize - 1])?;
            }
        }
        let top = blocks[new_levels];
        let root = match parent {
            Some(parent) => {
                let child = number / FANOUT.pow(parent_level - 1) % FANOUT;
                self.set_word(parent + NODE_HEAD as u64 + 8 * child, top)?;
                self.header.root
            }
            None => {
                let root = blocks[new_levels + 1];
                self.set_word(root, identity(height - 1, 0))?;
                self.set_word(root + NODE_HEAD as u64, self.header.root)?;
                self.set_word(root + NODE_HEAD as u64 + 8, top)?;
                root
            }
        };
        self.set_tree(root, number + 1, Self::LAYOUT.full)
    }

    fn alloc(&mut self, len: usize) -> Result<u64> {
        // Lines, so that a node does not share one with another where that can be helped.
        self.body.alloc_aligned(len as u64, if len >= 64 { 64 } else { 8 }).map(Ptr::offset)
    }
}
