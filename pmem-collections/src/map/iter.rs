//! Iterators, from both ends.

use super::{TreeKey, TreeValue};
use crate::tree::{Aim, Direction, Leaf, Path, Tree};
use pmem_alloc::{Mode, Result};
use std::{cmp::Ordering, iter::FusedIterator, ops::Bound};

/// Iterator over a map or a range of it. Double-ended; yields `Result<(&K, &V)>`, and nothing after an error.
///
/// Each end keeps the path to its leaf and sorts the entries of one leaf at a time; when one end comes to the leaf
/// of the other, they share it. Ends that find more entries than the map has, or, over the whole map, fewer, say so
/// (`Corrupt`): damage never makes an endless iterator, nor a short one unnoticed.
pub struct Iter<'g, K, V, M: Mode> {
    tree: &'g Tree<'g, K, V, M>,
    low: Bound<K>,
    high: Bound<K>,
    front: End<'g, K, V>,
    back: End<'g, K, V>,
    /// Both ends are in one leaf: `front`'s entries are what is left.
    met: bool,
    done: bool,
    /// Entries of the map that were not yielded yet.
    left: u64,
}

/// One end of an iterator.
struct End<'g, K, V> {
    /// The leaf, and the way to it; `None` before the first item is asked for.
    at: Option<(Path, Leaf<'g, K, V>)>,
    /// The leaf's entries within the bounds, in order; those in `start..end` are left.
    entries: Vec<(K, u8)>,
    start: usize,
    end: usize,
    /// Whether the range ends in this leaf.
    last: bool,
}

impl<'g, K: TreeKey, V: TreeValue, M: Mode> Iter<'g, K, V, M> {
    pub(super) fn new(tree: &'g Tree<'_, K, V, M>, low: Bound<K>, high: Bound<K>) -> Self {
        let end = || End { at: None, entries: Vec::new(), start: 0, end: 0, last: false };
        Iter { tree, low, high, front: end(), back: end(), met: false, done: false, left: tree.len() }
    }

    fn item(&mut self, direction: Direction) -> Result<Option<(&'g K, &'g V)>> {
        loop {
            let end =
                if direction == Direction::Forward || self.met { &mut self.front } else { &mut self.back };
            if let (Some(slot), Some((_, leaf))) = (end.take(direction), &end.at) {
                let item = (leaf.key(slot)?, leaf.value(slot)?);
                self.left = self.left.checked_sub(1).ok_or_else(|| self.count_is_wrong("more"))?;
                return Ok(Some(item));
            }
            if self.met || end.last || !self.next_leaf(direction)? {
                let whole = matches!((&self.low, &self.high), (Bound::Unbounded, Bound::Unbounded));
                return if whole && self.left > 0 { Err(self.count_is_wrong("fewer")) } else { Ok(None) };
            }
        }
    }

    fn count_is_wrong(&self, found: &str) -> pmem_alloc::Error {
        self.tree.wrong(format!("{} entries, as the header says", self.tree.len()), found)
    }

    /// Moves an end to its first or next leaf; `false` if there is none.
    fn next_leaf(&mut self, direction: Direction) -> Result<bool> {
        let tree = self.tree;
        let (end, other, aim) = match direction {
            Direction::Forward => (&mut self.front, &mut self.back, aim(&self.low, Aim::First)),
            Direction::Backward => (&mut self.back, &mut self.front, aim(&self.high, Aim::Last)),
        };
        let path = match end.at.take() {
            None => tree.path(aim)?,
            Some((mut path, _)) => tree.step(&mut path, direction)?.then_some(path),
        };
        let Some(path) = path else { return Ok(false) };
        if other.at.as_ref().is_some_and(|(other, _)| other.leaf == path.leaf) {
            self.met = true;
            if direction == Direction::Forward {
                std::mem::swap(end, other);
            }
            return Ok(true);
        }
        let leaf = tree.leaf(path.leaf)?;
        if leaf.len() == 0 {
            tree.check_empty(&leaf)?;
        }
        end.entries.clear();
        leaf.sort_into(&mut end.entries, |_| true)?;
        let below = end.entries.partition_point(|(key, _)| is_below(key, &self.low));
        let above = end.entries.partition_point(|(key, _)| !is_above(key, &self.high));
        end.last = match direction {
            Direction::Forward => above < end.entries.len(),
            Direction::Backward => below > 0,
        };
        (end.start, end.end) = (below, above.max(below));
        end.at = Some((path, leaf));
        Ok(true)
    }
}

impl<K, V> End<'_, K, V> {
    fn take(&mut self, direction: Direction) -> Option<usize> {
        if self.start == self.end {
            return None;
        }
        let index = match direction {
            Direction::Forward => {
                self.start += 1;
                self.start - 1
            }
            Direction::Backward => {
                self.end -= 1;
                self.end
            }
        };
        Some(usize::from(self.entries[index].1))
    }
}

/// Where the descent to a bound goes.
fn aim<'k, K>(bound: &'k Bound<K>, unbounded: Aim<'k, K>) -> Aim<'k, K> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Aim::Key(key),
        Bound::Unbounded => unbounded,
    }
}

fn is_below<K: Ord>(key: &K, low: &Bound<K>) -> bool {
    match low {
        Bound::Included(low) => key.cmp(low) == Ordering::Less,
        Bound::Excluded(low) => key.cmp(low) != Ordering::Greater,
        Bound::Unbounded => false,
    }
}

fn is_above<K: Ord>(key: &K, high: &Bound<K>) -> bool {
    match high {
        Bound::Included(high) => key.cmp(high) == Ordering::Greater,
        Bound::Excluded(high) => key.cmp(high) != Ordering::Less,
        Bound::Unbounded => false,
    }
}

impl<'g, K: TreeKey, V: TreeValue, M: Mode> Iter<'g, K, V, M> {
    fn advance(&mut self, direction: Direction) -> Option<Result<(&'g K, &'g V)>> {
        if self.done {
            return None;
        }
        let item = self.item(direction).transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'g, K: TreeKey, V: TreeValue, M: Mode> Iterator for Iter<'g, K, V, M> {
    type Item = Result<(&'g K, &'g V)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(Direction::Forward)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // At most one item more than is left: an error.
        (
            0,
            if self.done {
                Some(0)
            } else {
                usize::try_from(self.left).ok().and_then(|left| left.checked_add(1))
            },
        )
    }
}

impl<K: TreeKey, V: TreeValue, M: Mode> DoubleEndedIterator for Iter<'_, K, V, M> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.advance(Direction::Backward)
    }
}

impl<K: TreeKey, V: TreeValue, M: Mode> FusedIterator for Iter<'_, K, V, M> {}
