//! An iterator over a vector, from both ends.

use super::VecGuard;
use crate::stored;
use pmem_alloc::{Mode, Result, Value};
use std::{
    iter::FusedIterator,
    ops::{Bound, RangeBounds},
};

/// Iterator over a vector or a part of it. Double-ended; yields `Result<T::Ref>`, and nothing after an error.
pub struct Iter<'g, T, M: Mode> {
    vec: &'g VecGuard<'g, T, M>,
    front: u64,
    back: u64,
    /// The leaf that each end read last: its number, where it is, its bytes.
    leaves: [Option<(u64, u64, &'g [u8])>; 2],
}

impl<'g, T: Value, M: Mode> Iter<'g, T, M> {
    pub(super) fn new(vec: &'g VecGuard<'_, T, M>, range: impl RangeBounds<usize>) -> Self {
        let len = vec.header.len;
        let front = match range.start_bound() {
            Bound::Included(&start) => start as u64,
            Bound::Excluded(&start) => (start as u64).saturating_add(1),
            Bound::Unbounded => 0,
        };
        let back = match range.end_bound() {
            Bound::Included(&end) => (end as u64).saturating_add(1),
            Bound::Excluded(&end) => end as u64,
            Bound::Unbounded => len,
        };
        let back = back.min(len);
        Iter { vec, front: front.min(back), back, leaves: [None; 2] }
    }

    fn element(&mut self, index: u64, end: usize) -> Result<T::Ref<'g>> {
        let capacity = u64::from(self.vec.header.capacity);
        let number = index / capacity;
        let (at, leaf) = match self.leaves[end] {
            Some((same, at, leaf)) if same == number => (at, leaf),
            _ => {
                let (at, leaf) = self.vec.leaf(number)?;
                self.leaves[end] = Some((number, at, leaf));
                (at, leaf)
            }
        };
        let layout = VecGuard::<T, M>::LAYOUT;
        let start = layout.slot((index % capacity) as usize);
        stored::read::<T, M>(&self.vec.body, at + start as u64, &leaf[start..start + layout.stride])
    }

    fn yielded(&mut self, element: Result<T::Ref<'g>>) -> Option<Result<T::Ref<'g>>> {
        if element.is_err() {
            self.front = self.back;
        }
        Some(element)
    }
}

impl<'g, T: Value, M: Mode> Iterator for Iter<'g, T, M> {
    type Item = Result<T::Ref<'g>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.front == self.back {
            return None;
        }
        let element = self.element(self.front, 0);
        self.front += 1;
        self.yielded(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error is the last item.
        let left = (self.back - self.front) as usize;
        (left.min(1), Some(left))
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.front = self.front.saturating_add(n as u64).min(self.back);
        self.next()
    }
}

impl<T: Value, M: Mode> DoubleEndedIterator for Iter<'_, T, M> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front == self.back {
            return None;
        }
        self.back -= 1;
        let element = self.element(self.back, 1);
        self.yielded(element)
    }
}

impl<T: Value, M: Mode> FusedIterator for Iter<'_, T, M> {}
