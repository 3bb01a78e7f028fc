//! Iterators over a deque: its elements, from both ends, and what was taken out of it.

use super::DequeGuard;
use crate::stored;
use pmem_alloc::{Mode, Result, Value};
use std::{
    iter::FusedIterator,
    ops::{Bound, Range, RangeBounds},
    vec,
};

/// Iterator over a deque or a part of it. Double-ended; yields `Result<T::Ref>`, and nothing after an error.
pub struct Iter<'g, T, M: Mode> {
    deque: &'g DequeGuard<'g, T, M>,
    front: u64,
    back: u64,
    /// The leaf that each end read last: its number, where it is, its bytes.
    leaves: [Option<(u64, u64, &'g [u8])>; 2],
}

/// The numbers of `range` that are below `len`.
pub(super) fn inside(range: impl RangeBounds<usize>, len: u64) -> Range<u64> {
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
    front.min(back)..back
}

impl<'g, T: Value, M: Mode> Iter<'g, T, M> {
    pub(super) fn new(deque: &'g DequeGuard<'_, T, M>, range: impl RangeBounds<usize>) -> Self {
        let Range { start: front, end: back } = inside(range, deque.header.len);
        Iter { deque, front, back, leaves: [None; 2] }
    }

    fn element(&mut self, index: u64, end: usize) -> Result<T::Ref<'g>> {
        let (number, slot) = self.deque.place(index);
        let (at, leaf) = match self.leaves[end] {
            Some((same, at, leaf)) if same == number => (at, leaf),
            _ => {
                let (at, leaf) = self.deque.leaf(number)?;
                self.leaves[end] = Some((number, at, leaf));
                (at, leaf)
            }
        };
        let layout = DequeGuard::<T, M>::LAYOUT;
        let start = layout.slot(slot);
        stored::read::<T, M>(&self.deque.body, at + start as u64, &leaf[start..start + layout.stride])
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

/// Iterator over what [`drain`](DequeGuard::drain) took out: owned elements.
#[derive(Debug)]
pub struct Drain<T>(pub(super) vec::IntoIter<T>);

impl<T> Iterator for Drain<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.next()
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> DoubleEndedIterator for Drain<T> {
    fn next_back(&mut self) -> Option<T> {
        self.0.next_back()
    }
}

impl<T> ExactSizeIterator for Drain<T> {}
impl<T> FusedIterator for Drain<T> {}
