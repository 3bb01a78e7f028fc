//! Moving elements: by their slots, so that what they refer to stays where it is.

use super::VecGuard;
use crate::stored::is_fixed;
use pmem_alloc::{Result, Stored, Write};

impl<T: Stored> VecGuard<'_, T, Write> {
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

    /// As [`swap_slots`](Self::swap_slots), where `b` is about to be cut off: nothing of it is read any more but what it
    /// refers to.
    pub(super) fn swap_to_drop(&mut self, a: u64, b: u64) -> Result<()> {
        if const { !is_fixed::<T>() } {
            return self.swap_slots(a, b);
        }
        let last = self.slot(b)?.1.to_vec();
        let (at, _) = self.slot(a)?;
        self.bytes_mut(at, last.len())?.copy_from_slice(&last);
        Ok(())
    }

    /// Moves the last element to number `to`, and those from there on by one.
    pub(super) fn rotate_from_end(&mut self, to: u64) -> Result<()> {
        self.rotate(to, |part, carry| {
            part.rotate_right(carry.len());
            part[..carry.len()].swap_with_slice(carry);
        })
    }

    /// Moves element number `from` to the end, and those behind it by one.
    pub(super) fn rotate_to_end(&mut self, from: u64) -> Result<()> {
        let stride = Self::LAYOUT.stride;
        let last = self.header.len - 1;
        let (_, slot) = self.slot(from)?;
        let moved = slot.to_vec();
        for (start, count) in self.parts(from) {
            let next = start + count;
            let following = if next <= last { self.slot(next)?.1.to_vec() } else { moved.clone() };
            let (at, _) = self.slot(start)?;
            let part = self.bytes_mut(at, count as usize * stride)?;
            part.rotate_left(stride);
            let end = part.len() - stride;
            part[end..].copy_from_slice(&following);
        }
        Ok(())
    }

    /// Runs `shift` over the slots from number `from` on, a leaf at a time, with the slot that comes from the leaf before: at
    /// first the last element's.
    fn rotate(&mut self, from: u64, shift: impl Fn(&mut [u8], &mut [u8])) -> Result<()> {
        let (_, slot) = self.slot(self.header.len - 1)?;
        let mut carry = slot.to_vec();
        for (start, count) in self.parts(from) {
            let (at, _) = self.slot(start)?;
            shift(self.bytes_mut(at, count as usize * Self::LAYOUT.stride)?, &mut carry);
        }
        Ok(())
    }

    /// The elements from number `from` on, as runs of one leaf each: the first, and how many.
    fn parts(&self, from: u64) -> impl Iterator<Item = (u64, u64)> + use<T> {
        let (len, capacity) = (self.header.len, u64::from(self.header.capacity));
        let mut start = from;
        std::iter::from_fn(move || {
            let end = ((start / capacity + 1) * capacity).min(len);
            let part = (start, end.checked_sub(start).filter(|&count| count > 0)?);
            start = end;
            Some(part)
        })
    }
}
