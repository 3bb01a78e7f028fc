//! Moving elements: by their slots, so that what they refer to stays where it is. Always those of the shorter side.

use super::{DequeGuard, End};
use crate::stored::{self, StoredBytes, is_fixed};
use pmem_alloc::{Result, Stored, Value, Write};
use std::ops::Range;

impl<T: Stored> DequeGuard<'_, T, Write> {
    /// Exchanges two slots.
    pub(super) fn swap_slots(&mut self, a: u64, b: u64) -> Result<()> {
        let (a, first) = self.slot(a)?;
        let first = first.to_vec();
        let (b, second) = self.slot(b)?;
        let second = second.to_vec();
        self.bytes_mut(a, second.len())?.copy_from_slice(&second);
        self.bytes_mut(b, first.len())?.copy_from_slice(&first);
        Ok(())
    }

    /// Moves element `from` to `to`, and those between by one towards where it was.
    pub(super) fn rotate(&mut self, from: u64, to: u64) -> Result<()> {
        let moved = StoredBytes::new(self.slot(from)?.1, 1);
        let mut hole = from;
        while hole != to {
            let next = if to > hole { hole + 1 } else { hole - 1 };
            self.copy_slot(next, hole)?;
            hole = next;
        }
        let (at, slot) = self.slot(to)?;
        let len = slot.len();
        self.bytes_mut(at, len)?.copy_from_slice(moved.as_slice());
        Ok(())
    }

    fn copy_slot(&mut self, from: u64, to: u64) -> Result<()> {
        let slot = StoredBytes::new(self.slot(from)?.1, 1);
        let (at, _) = self.slot(to)?;
        self.bytes_mut(at, slot.as_slice().len())?.copy_from_slice(slot.as_slice());
        Ok(())
    }

    /// The end that is nearer to an element.
    pub(super) fn nearer(&self, index: u64) -> End {
        if index < self.header.len / 2 { End::Front } else { End::Back }
    }

    /// Takes the elements in `range` out, and frees what they refer to.
    pub(super) fn remove_range(&mut self, range: Range<u64>) -> Result<()> {
        let (count, len) = (range.end - range.start, self.header.len);
        if count == 0 {
            return Ok(());
        }
        // Read, and so checked, before anything is changed.
        let mut gone = Vec::new();
        if const { !is_fixed::<T>() } {
            for index in range.clone() {
                let (at, slot) = self.slot(index)?;
                gone.push((at, StoredBytes::new(slot, 1)));
            }
        }
        if range.start < len - range.end {
            (0..range.start).rev().try_for_each(|index| self.copy_slot(index, index + count))?;
            self.forget(End::Front, count)?;
        } else {
            (range.end..len).try_for_each(|index| self.copy_slot(index, index - count))?;
            self.forget(End::Back, count)?;
        }
        gone.iter().try_for_each(|(at, slot)| stored::release::<T>(&mut self.body, *at, slot.as_slice()))
    }

    /// Keeps the elements for which `keep` says so, in their order.
    pub(super) fn retain_slots(&mut self, mut keep: impl FnMut(T::Ref<'_>) -> bool) -> Result<()>
    where
        T: Value,
    {
        let mut kept = 0;
        for index in 0..self.header.len {
            if keep(self.read(index)?) {
                if kept < index {
                    self.swap_slots(kept, index)?;
                }
                kept += 1;
            }
        }
        self.cut(End::Back, self.header.len - kept)
    }
}
