//! An iterator over a queue, from both ends.

use super::numbered::Numbered;
use crate::{map::Keys, tree::Tree};
use pmem_alloc::{Mode, OrdKey, Result};
use std::iter::FusedIterator;

/// Iterator over a queue, the greatest element first. Double-ended; yields `Result<T::Ref>`, and nothing after an error.
pub struct Iter<'g, T: OrdKey, M: Mode>(Keys<'g, Numbered<T>, (), M>);

impl<'g, T: OrdKey, M: Mode> Iter<'g, T, M> {
    pub(super) fn new(tree: &'g Tree<'_, Numbered<T>, (), M>) -> Self {
        Iter(Keys::new(tree))
    }
}

impl<'g, T: OrdKey, M: Mode> Iterator for Iter<'g, T, M> {
    type Item = Result<T::Ref<'g>>;
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next_back()?.map(|(element, _)| element))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T: OrdKey, M: Mode> DoubleEndedIterator for Iter<'_, T, M> {
    fn next_back(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|(element, _)| element))
    }
}

impl<T: OrdKey, M: Mode> FusedIterator for Iter<'_, T, M> {}
