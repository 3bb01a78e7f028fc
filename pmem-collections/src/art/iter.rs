//! Iterators, from both ends.

use super::{
    ArtGuard,
    header::ROOT,
    layout::Target,
    node::{Entry, Leaf, Step},
    path::{Parting, Passed, belongs},
};
use crate::{damage::corrupt, stored};
use pmem_alloc::{Error, Mode, Object, Result, Stored, Value};
use std::{cmp::Ordering, iter::FusedIterator, ops::Bound};

/// Which way an end of an iterator goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}
use Direction::*;

/// The leaves whose keys are in a range, from both ends.
///
/// Each leaf's key has to have the bytes that led there, so no leaf is met twice, and each node has an entry, so that every
/// descent ends at one: damage never makes an endless iterator. Ends that find more entries than the tree has, or,
/// over the whole tree, fewer, say so.
struct Cursor<'g, V, M: Mode> {
    art: &'g ArtGuard<'g, V, M>,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    front: End,
    back: End,
    done: bool,
    /// Entries of the tree that were not yielded yet.
    left: u64,
}

/// One end of an iterator.
#[derive(Default)]
struct End {
    started: bool,
    /// The nodes on the way, with what is left of each.
    way: Vec<Frame>,
    /// What to go down into next: where the reference is, and the reference.
    down: Option<(u64, u64)>,
    /// The leaf that was read last.
    last: Option<u64>,
}

/// A node on the way.
struct Frame {
    depth: u32,
    /// In order, without those that this end has passed.
    entries: std::vec::IntoIter<Entry>,
    /// The entry that was passed last.
    step: Step,
}

impl<'g, V: Stored, M: Mode> Cursor<'g, V, M> {
    fn new(art: &'g ArtGuard<'_, V, M>, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> Self {
        let (front, back) = (End::default(), End::default());
        Cursor { art, low, high, front, back, done: false, left: art.header.len }
    }

    fn leaf(&mut self, direction: Direction) -> Result<Option<Leaf<'g>>> {
        let (end, other, from, to) = match direction {
            Forward => (&mut self.front, &mut self.back, &self.low, &self.high),
            Backward => (&mut self.back, &mut self.front, &self.high, &self.low),
        };
        if !end.started {
            *end = self.art.start(direction, from)?;
        }
        let met = |leaf: &Leaf<'_>| Some(leaf.at) == other.last || !is_inside(leaf.key, direction, to);
        let Some(leaf) = end.advance(self.art, direction)?.filter(|leaf| !met(leaf)) else {
            let whole = matches!((&self.low, &self.high), (Bound::Unbounded, Bound::Unbounded));
            return if whole && self.left > 0 { Err(self.art.miscounted("fewer")) } else { Ok(None) };
        };
        end.last = Some(leaf.at);
        self.left = self.left.checked_sub(1).ok_or_else(|| self.art.miscounted("more"))?;
        Ok(Some(leaf))
    }

    fn item<T>(
        &mut self,
        direction: Direction,
        read: impl FnOnce(&'g ArtGuard<'g, V, M>, Leaf<'g>) -> Result<T>,
    ) -> Option<Result<T>> {
        if self.done {
            return None;
        }
        let item = self.leaf(direction).and_then(|leaf| leaf.map(|leaf| read(self.art, leaf)).transpose());
        let item = item.transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // At most one item more than is left: an error.
        let most = usize::try_from(self.left).ok().and_then(|left| left.checked_add(1));
        (0, if self.done { Some(0) } else { most })
    }
}

/// Whether an end that comes to `key` is still inside the bound that it goes to.
fn is_inside(key: &[u8], direction: Direction, to: &Bound<Vec<u8>>) -> bool {
    let (bound, included) = match to {
        Bound::Included(bound) => (bound, true),
        Bound::Excluded(bound) => (bound, false),
        Bound::Unbounded => return true,
    };
    match key.cmp(bound) {
        Ordering::Equal => included,
        order => order == if direction == Forward { Ordering::Less } else { Ordering::Greater },
    }
}

impl End {
    /// The next leaf.
    fn advance<'g, V: Stored, M: Mode>(
        &mut self,
        art: &'g ArtGuard<'_, V, M>,
        direction: Direction,
    ) -> Result<Option<Leaf<'g>>> {
        loop {
            if let Some((slot, word)) = self.down.take() {
                match Target::read(slot, word)? {
                    Target::Leaf(at) => {
                        let leaf = art.leaf(at)?;
                        belongs(leaf, self.way.iter().map(|frame| (frame.depth, frame.step)))?;
                        return Ok(Some(leaf));
                    }
                    Target::Node(node) => {
                        let head = art.head(node, self.way.last().map_or(0, |frame| frame.depth + 1))?;
                        let entries = art.entries(&head)?.into_iter();
                        self.way.push(Frame { depth: head.depth, entries, step: None });
                    }
                }
            }
            let Some(frame) = self.way.last_mut() else { return Ok(None) };
            let entry = if direction == Forward { frame.entries.next() } else { frame.entries.next_back() };
            match entry {
                Some(entry) => {
                    frame.step = entry.step;
                    self.down = Some((entry.slot, entry.word));
                }
                None => drop(self.way.pop()),
            }
        }
    }
}

impl<V: Stored, M: Mode> ArtGuard<'_, V, M> {
    /// An end that comes next to the first leaf inside a bound.
    fn start(&self, direction: Direction, from: &Bound<Vec<u8>>) -> Result<End> {
        let mut end = End { started: true, ..End::default() };
        let (key, included) = match from {
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
            Bound::Unbounded => {
                let root = (self.at + ROOT, self.header.root);
                end.down = Some(root).filter(|(_, word)| *word != 0);
                return Ok(end);
            }
        };
        let Some(path) = self.path(key)? else { return Ok(end) };
        let (passed, down) = match path.parting() {
            Parting::Equal => (path.nodes.len(), included),
            Parting::InNode(i) => (i, false),
            // What is below is all before the bound, or all behind it, as its leaf is.
            Parting::Above(i) => {
                (i, path.order == if direction == Forward { Ordering::Less } else { Ordering::Greater })
            }
        };
        for passed in &path.nodes[..passed] {
            end.way.push(self.frame(passed, direction, passed.step)?);
        }
        if let Parting::InNode(i) = path.parting() {
            end.way.push(self.frame(&path.nodes[i], direction, key.get(path.common).copied())?);
        }
        if down {
            let (slot, target) = path.reference(passed);
            end.down = Some((slot, target.word()));
        }
        Ok(end)
    }

    /// A node of which only what is behind `step` is left.
    fn frame(&self, passed: &Passed, direction: Direction, step: Step) -> Result<Frame> {
        let head = self.head(passed.node, passed.depth)?;
        let mut entries = self.entries(&head)?;
        entries.retain(|entry| if direction == Forward { entry.step > step } else { entry.step < step });
        Ok(Frame { depth: passed.depth, entries: entries.into_iter(), step })
    }

    #[cold]
    pub(super) fn miscounted(&self, found: impl Into<String>) -> Error {
        corrupt(self.at, format!("{} entries, as the header says", self.header.len), found)
    }
}

macro_rules! iterator {
    ($(#[$doc:meta])* $Name:ident of $V:ident, $Item:ty, |$art:ident, $leaf:ident| $read:expr) => {
        $(#[$doc])*
        pub struct $Name<'g, V, M: Mode>(Cursor<'g, V, M>);

        impl<'g, V: $V, M: Mode> $Name<'g, V, M> {
            pub(super) fn new(art: &'g ArtGuard<'_, V, M>, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>) -> Self {
                $Name(Cursor::new(art, low, high))
            }
        }

        impl<'g, V: $V, M: Mode> Iterator for $Name<'g, V, M> {
            type Item = Result<$Item>;
            fn next(&mut self) -> Option<Self::Item> {
                self.0.item(Forward, |$art, $leaf| $read)
            }
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl<V: $V, M: Mode> DoubleEndedIterator for $Name<'_, V, M> {
            fn next_back(&mut self) -> Option<Self::Item> {
                self.0.item(Backward, |$art, $leaf| $read)
            }
        }

        impl<V: $V, M: Mode> FusedIterator for $Name<'_, V, M> {}
    };
}

iterator! {
    /// Iterator over a radix tree or a range of it. Double-ended; yields `Result<(&[u8], V::Ref)>`, and nothing after an error.
    Iter of Value, (&'g [u8], V::Ref<'g>), |art, leaf| Ok((leaf.key, art.value(leaf)?))
}

iterator! {
    /// Iterator over the keys of a radix tree. Double-ended; yields `Result<&[u8]>`, and nothing after an error.
    Keys of Stored, &'g [u8], |_art, leaf| Ok(leaf.key)
}

iterator! {
    /// Iterator over a radix tree of objects. Double-ended; yields `Result<(&[u8], Guard)>`, and nothing after an error.
    Objects of Object, (&'g [u8], V::Guard<'g, M::Shared>), |art, leaf| {
        let at = ArtGuard::<V, M>::value_at(leaf.at);
        Ok((leaf.key, stored::open::<V, M>(&art.body, at, leaf.value)?))
    }
}
