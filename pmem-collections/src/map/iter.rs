//! Iterators, from both ends.

use crate::{
    damage::corrupt,
    stored::{Old, StoredBytes},
    tree::{Aim, Direction, Leaf, Path, Tree},
};
use pmem_alloc::{Mode, Object, OrdKey, Result, Stored, Value};
use std::{cell::RefCell, cmp::Ordering, collections::HashSet, iter::FusedIterator, ops::Bound};

/// The entries of a map or a range of it, from both ends.
///
/// Each end keeps the path to its leaf and sorts the entries of one leaf at a time; when one end comes to the leaf
/// of the other, they share it. Ends that find more entries than the map has, or, over the whole map, fewer, say so
/// (`Corrupt`): damage never makes an endless iterator, nor a short one unnoticed.
struct Cursor<'g, K: OrdKey, V, M: Mode> {
    tree: &'g Tree<'g, K, V, M>,
    low: Bound<StoredBytes>,
    high: Bound<StoredBytes>,
    front: End<'g, K, V, M>,
    back: End<'g, K, V, M>,
    /// Both ends are in one leaf: `front`'s entries are what is left.
    met: bool,
    done: bool,
    /// Entries of the map that were not yielded yet.
    left: u64,
}

/// One end of an iterator.
struct End<'g, K: OrdKey, V, M: Mode> {
    /// The leaf, and the way to it; `None` before the first item is asked for.
    at: Option<(Path, Leaf<'g, K, V, M>)>,
    /// The leaf's entries in order; those in `start..end` are left.
    entries: Vec<(K::Ordered<'g>, u8)>,
    start: usize,
    end: usize,
    /// Whether the range ends in this leaf.
    last: bool,
}

impl<'g, K: OrdKey, V: Stored, M: Mode> Cursor<'g, K, V, M> {
    fn new(tree: &'g Tree<'_, K, V, M>, low: Bound<StoredBytes>, high: Bound<StoredBytes>) -> Self {
        let end = || End { at: None, entries: Vec::new(), start: 0, end: 0, last: false };
        Cursor { tree, low, high, front: end(), back: end(), met: false, done: false, left: tree.len() }
    }

    fn item<T>(
        &mut self,
        direction: Direction,
        read: impl Fn(&Leaf<'g, K, V, M>, usize) -> Result<T>,
    ) -> Result<Option<T>> {
        loop {
            let end =
                if direction == Direction::Forward || self.met { &mut self.front } else { &mut self.back };
            if let (Some(slot), Some((_, leaf))) = (end.take(direction), &end.at) {
                let item = read(leaf, slot)?;
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
        leaf.sort_into(&mut end.entries)?;
        let below = end.partition_point(&leaf, &self.low, |order, bound| match bound {
            Bound::Excluded(_) => order != Ordering::Greater,
            _ => order == Ordering::Less,
        })?;
        let above = end.partition_point(&leaf, &self.high, |order, bound| match bound {
            Bound::Excluded(_) => order == Ordering::Less,
            _ => order != Ordering::Greater,
        })?;
        let (below, above) = (below.unwrap_or(0), above.unwrap_or(end.entries.len()));
        end.last = match direction {
            Direction::Forward => above < end.entries.len(),
            Direction::Backward => below > 0,
        };
        (end.start, end.end) = (below, above.max(below));
        end.at = Some((path, leaf));
        Ok(true)
    }

    fn advance<T>(
        &mut self,
        direction: Direction,
        read: impl Fn(&Leaf<'g, K, V, M>, usize) -> Result<T>,
    ) -> Option<Result<T>> {
        if self.done {
            return None;
        }
        let item = self.item(direction, read).transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // At most one item more than is left: an error.
        let most = usize::try_from(self.left).ok().and_then(|left| left.checked_add(1));
        (0, if self.done { Some(0) } else { most })
    }
}

impl<K: OrdKey, V: Stored, M: Mode> End<'_, K, V, M> {
    /// How many of the entries, which are in order, come first by how they compare with a bound; `None` without one.
    fn partition_point(
        &self,
        leaf: &Leaf<'_, K, V, M>,
        bound: &Bound<StoredBytes>,
        first: impl Fn(Ordering, &Bound<StoredBytes>) -> bool,
    ) -> Result<Option<usize>> {
        let key = match bound {
            Bound::Included(key) | Bound::Excluded(key) => key.as_slice(),
            Bound::Unbounded => return Ok(None),
        };
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let order = leaf.compare(usize::from(self.entries[middle].1), key)?;
            if first(order, bound) { low = middle + 1 } else { high = middle }
        }
        Ok(Some(low))
    }

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
fn aim<'k>(bound: &'k Bound<StoredBytes>, unbounded: Aim<'k>) -> Aim<'k> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Aim::Key(key.as_slice()),
        Bound::Unbounded => unbounded,
    }
}

macro_rules! iterator {
    ($(#[$doc:meta])* $Name:ident of $V:ident, $Item:ty, |$leaf:ident, $slot:ident| $read:expr) => {
        $(#[$doc])*
        pub struct $Name<'g, K: OrdKey, V, M: Mode>(Cursor<'g, K, V, M>);

        impl<'g, K: OrdKey, V: $V, M: Mode> Iterator for $Name<'g, K, V, M> {
            type Item = Result<$Item>;
            fn next(&mut self) -> Option<Self::Item> {
                self.0.advance(Direction::Forward, |$leaf, $slot| $read)
            }
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl<'g, K: OrdKey, V: $V, M: Mode> DoubleEndedIterator for $Name<'g, K, V, M> {
            fn next_back(&mut self) -> Option<Self::Item> {
                self.0.advance(Direction::Backward, |$leaf, $slot| $read)
            }
        }

        impl<K: OrdKey, V: $V, M: Mode> FusedIterator for $Name<'_, K, V, M> {}
    };
}

iterator! {
    /// Iterator over a map or a range of it. Double-ended; yields `Result<(K::Ref, V::Ref)>`, e.g. `(&u64, &str)`, and
    /// nothing after an error.
    Iter of Value, (K::Ref<'g>, V::Ref<'g>), |leaf, slot| Ok((leaf.key(slot)?, leaf.value(slot)?))
}

iterator! {
    /// Iterator over the keys of a map. Double-ended; yields `Result<K::Ref>`, and nothing after an error.
    Keys of Stored, K::Ref<'g>, |leaf, slot| leaf.key(slot)
}

iterator! {
    /// Iterator over a map of objects. Double-ended; yields `Result<(K::Ref, Guard)>`, and nothing after an error.
    Objects of Object, (K::Ref<'g>, V::Guard<'g, M::Shared>), |leaf, slot| Ok((leaf.key(slot)?, leaf.object(slot)?))
}

impl<'g, K: OrdKey, V: Value, M: Mode> Iter<'g, K, V, M> {
    pub(crate) fn new(
        tree: &'g Tree<'_, K, V, M>,
        low: Bound<StoredBytes>,
        high: Bound<StoredBytes>,
    ) -> Self {
        Iter(Cursor::new(tree, low, high))
    }

    /// Copies of the entries. A block that two of them refer to is damage, found before it is copied twice.
    pub(crate) fn into_old(mut self) -> impl Iterator<Item = Result<(K, Old<V>)>> {
        let seen = RefCell::new(HashSet::new());
        std::iter::from_fn(move || {
            self.0.advance(Direction::Forward, |leaf, slot| {
                for block in leaf.blocks(slot)?.into_iter().flatten() {
                    if !seen.borrow_mut().insert(block) {
                        return Err(corrupt(
                            block,
                            "a block with one reference",
                            "a block that is reached twice",
                        ));
                    }
                }
                Ok((K::to_owned(leaf.key(slot)?), leaf.old(slot)?))
            })
        })
    }
}

impl<'g, K: OrdKey, V: Stored, M: Mode> Keys<'g, K, V, M> {
    pub(crate) fn new(tree: &'g Tree<'_, K, V, M>) -> Self {
        Keys(Cursor::new(tree, Bound::Unbounded, Bound::Unbounded))
    }
}

impl<'g, K: OrdKey, V: Object, M: Mode> Objects<'g, K, V, M> {
    pub(super) fn new(tree: &'g Tree<'_, K, V, M>) -> Self {
        Objects(Cursor::new(tree, Bound::Unbounded, Bound::Unbounded))
    }
}
