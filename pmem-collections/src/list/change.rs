//! Nodes, in and out of the chain. All that can fail comes before the first change: allocation, and reading the neighbours.

use super::{
    ListGuard,
    node::{Links, NEXT, PREV},
};
use crate::{
    damage::corrupt,
    stored::{self, Old, Slot, StoredBytes, is_fixed},
};
use pmem_alloc::{Ptr, Result, Stored, Write};

/// A part of a chain, or a node of its own.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) len: u64,
}

impl<T: Stored> ListGuard<'_, T, Write> {
    pub(super) fn set_word(&mut self, at: u64, word: u64) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(at))? = word;
        Ok(())
    }

    /// Stores the header's copy: of its words, those that differ are logged.
    pub(super) fn store_header(&mut self) -> Result<()> {
        *self.body.get_mut(Ptr::from_offset(self.at))? = self.header;
        Ok(())
    }

    /// The nodes between which a new one comes before the node `next`, or last if that is 0.
    pub(super) fn gap_before(&self, next: u64) -> Result<(u64, u64)> {
        let prev = if next == 0 { self.header.last } else { self.node(next)?.links.prev };
        self.check_gap(prev, next)
    }

    /// The nodes between which a new one comes behind the node `prev`, or first if that is 0.
    pub(super) fn gap_behind(&self, prev: u64) -> Result<(u64, u64)> {
        let next = if prev == 0 { self.header.first } else { self.node(prev)?.links.next };
        self.check_gap(prev, next)
    }

    /// Whether two nodes refer to each other, or the one there is, is at the edge.
    fn check_gap(&self, prev: u64, next: u64) -> Result<(u64, u64)> {
        match prev {
            0 if self.header.first != next => {
                return Err(corrupt(next, "the first node", "one with none before it"));
            }
            0 => {}
            _ => drop(self.node(prev)?.before(next)?),
        }
        match next {
            0 if self.header.last != prev => {
                return Err(corrupt(prev, "the last node", "one with none behind it"));
            }
            0 => {}
            _ => drop(self.node(next)?.behind(prev)?),
        }
        Ok((prev, next))
    }

    /// Makes two nodes refer to each other; 0 stands for the list's edge.
    fn join(&mut self, prev: u64, next: u64) -> Result<()> {
        match prev {
            0 => self.header.first = next,
            _ => self.set_word(prev + NEXT, next)?,
        }
        match next {
            0 => self.header.last = prev,
            _ => self.set_word(next + PREV, prev)?,
        }
        Ok(())
    }

    /// Puts a chain between two nodes that were checked.
    pub(super) fn link(&mut self, (prev, next): (u64, u64), chain: Chain) -> Result<()> {
        let len = self.header.len.checked_add(chain.len);
        self.header.len = len.ok_or_else(|| corrupt(self.at, "a number of elements", "one beyond 2^64"))?;
        self.join(prev, chain.first)?;
        self.join(chain.last, next)?;
        self.store_header()
    }

    /// Takes a node out of the chain, and leaves it as it is.
    pub(super) fn unlink(&mut self, at: u64) -> Result<()> {
        let Links { prev, next, .. } = self.node(at)?.links;
        self.check_gap(prev, at)?;
        self.check_gap(at, next)?;
        let left = self.header.len.checked_sub(1);
        self.header.len = left.ok_or_else(|| corrupt(self.at, "a length above 0", "0"))?;
        self.join(prev, next)?;
        self.store_header()
    }

    /// Makes a node of a slot, between two nodes that were checked; where it is. If that fails, what the slot refers to is freed.
    pub(super) fn insert_slot(&mut self, gap: Result<(u64, u64)>, slot: Slot<'_>) -> Result<u64> {
        let made = gap.and_then(|gap| Ok((gap, self.make_node(&slot)?)));
        match made {
            Ok((gap, at)) => {
                self.link(gap, Chain { first: at, last: at, len: 1 })?;
                Ok(at)
            }
            Err(error) => {
                stored::release::<T>(&mut self.body, self.at, &slot)?;
                Err(error)
            }
        }
    }

    /// A node that nothing refers to yet.
    pub(super) fn make_node(&mut self, slot: &[u8]) -> Result<u64> {
        let layout = Self::LAYOUT;
        let stamp = self.header.next_stamp;
        let following = stamp.checked_add(1).ok_or_else(|| corrupt(self.at, "a stamp", "the last one"))?;
        let at = self.body.alloc_aligned(layout.len as u64, layout.align as u64)?;
        let node = self.body.bytes_mut(at, layout.len as u64)?;
        node[..8].copy_from_slice(&stamp.to_le_bytes());
        node[layout.slot..].copy_from_slice(slot);
        self.header.next_stamp = following;
        Ok(at.offset())
    }

    /// Takes a node out and frees it, with all that its slot refers to; what was there.
    pub(super) fn remove_node(&mut self, at: u64) -> Result<Old<T>> {
        let node = self.node(at)?;
        let old = Old::take(&self.body, Self::slot_at(at), node.slot)?;
        let slot = StoredBytes::new(node.slot, 1);
        self.unlink(at)?;
        self.free_node(at, slot.as_slice())?;
        Ok(old)
    }

    /// Frees a node that is in no chain, and all that its slot refers to.
    pub(super) fn free_node(&mut self, at: u64, slot: &[u8]) -> Result<()> {
        stored::release::<T>(&mut self.body, Self::slot_at(at), slot)?;
        self.body.free(Ptr::<u8>::from_offset(at))
    }

    /// Moves a node between two that were checked, if it is not there already.
    pub(super) fn relink(&mut self, at: u64, gap: (u64, u64)) -> Result<()> {
        if gap.0 == at || gap.1 == at {
            return Ok(());
        }
        self.unlink(at)?;
        self.link(gap, Chain { first: at, last: at, len: 1 })
    }

    /// Frees all nodes.
    pub(super) fn free_all(&mut self) -> Result<()> {
        let (mut at, mut prev, mut freed) = (self.header.first, 0, 0);
        while at != 0 {
            // A node that was freed is not read again: so this ends, however damaged the list is.
            let node = self.node(at)?.behind(prev)?;
            let next = node.links.next;
            let slot = if const { is_fixed::<T>() } {
                StoredBytes::new(&[], 1)
            } else {
                StoredBytes::new(node.slot, 1)
            };
            self.free_node(at, slot.as_slice())?;
            (prev, at, freed) = (at, next, freed + 1);
        }
        if (prev, freed) != (self.header.last, self.header.len) {
            return Err(self.miscounted(freed));
        }
        (self.header.first, self.header.last, self.header.len) = (0, 0, 0);
        self.store_header()
    }
}
