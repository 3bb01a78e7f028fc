//! Iterators over a list, from both ends.

use super::{ListGuard, Position, node::Node};
use crate::{damage::corrupt, stored};
use pmem_alloc::{Error, Mode, Result, Stored, Value};
use std::iter::FusedIterator;

/// One end of a walk.
#[derive(Clone, Copy)]
struct End {
    /// The node to read next; 0 behind the edge.
    at: u64,
    /// The node read last; 0 before the first.
    from: u64,
}

/// A walk from both ends. Each node has to refer to the one it was reached from, so no end comes to a node twice; when
/// the length says that all were read, the ends have to meet.
struct Walk<'g, T, M: Mode> {
    list: &'g ListGuard<'g, T, M>,
    front: End,
    back: End,
    left: u64,
    done: bool,
}

impl<'g, T: Stored, M: Mode> Walk<'g, T, M> {
    fn new(list: &'g ListGuard<'_, T, M>) -> Self {
        let front = End { at: list.header.first, from: 0 };
        let back = End { at: list.header.last, from: 0 };
        Walk { list, front, back, left: list.header.len, done: false }
    }

    fn node(&mut self, forward: bool) -> Result<Option<Node<'g>>> {
        if self.left == 0 {
            let met = self.front.at == self.back.from && self.back.at == self.front.from;
            return if met { Ok(None) } else { Err(self.list.miscounted_as("more")) };
        }
        let end = if forward { &mut self.front } else { &mut self.back };
        if end.at == 0 {
            return Err(self.list.miscounted_as("fewer"));
        }
        let node = self.list.node(end.at)?;
        let node = if forward { node.behind(end.from)? } else { node.before(end.from)? };
        let following = if forward { node.links.next } else { node.links.prev };
        *end = End { at: following, from: node.at };
        self.left -= 1;
        Ok(Some(node))
    }

    fn advance<X>(
        &mut self,
        forward: bool,
        read: impl FnOnce(&'g ListGuard<'g, T, M>, Node<'g>) -> Result<X>,
    ) -> Option<Result<X>> {
        if self.done {
            return None;
        }
        let item = self.node(forward).and_then(|node| node.map(|node| read(self.list, node)).transpose());
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

impl<T: Stored, M: Mode> ListGuard<'_, T, M> {
    #[cold]
    pub(super) fn miscounted_as(&self, found: impl Into<String>) -> Error {
        corrupt(self.at, format!("{} nodes from the first to the last", self.header.len), found)
    }

    #[cold]
    pub(super) fn miscounted(&self, found: u64) -> Error {
        self.miscounted_as(found.to_string())
    }
}

macro_rules! iterator {
    ($(#[$doc:meta])* $Name:ident of $T:ident, $Item:ty, |$list:ident, $node:ident| $read:expr) => {
        $(#[$doc])*
        pub struct $Name<'g, T, M: Mode>(Walk<'g, T, M>);

        impl<'g, T: $T, M: Mode> $Name<'g, T, M> {
            pub(super) fn new(list: &'g ListGuard<'_, T, M>) -> Self {
                $Name(Walk::new(list))
            }
        }

        impl<'g, T: $T, M: Mode> Iterator for $Name<'g, T, M> {
            type Item = Result<$Item>;
            fn next(&mut self) -> Option<Self::Item> {
                self.0.advance(true, |$list, $node| $read)
            }
            fn size_hint(&self) -> (usize, Option<usize>) {
                self.0.size_hint()
            }
        }

        impl<T: $T, M: Mode> DoubleEndedIterator for $Name<'_, T, M> {
            fn next_back(&mut self) -> Option<Self::Item> {
                self.0.advance(false, |$list, $node| $read)
            }
        }

        impl<T: $T, M: Mode> FusedIterator for $Name<'_, T, M> {}
    };
}

iterator! {
    /// Iterator over a list. Double-ended; yields `Result<T::Ref>`, and nothing after an error.
    Iter of Value, T::Ref<'g>, |list, node| {
        stored::read::<T, M>(&list.body, ListGuard::<T, M>::slot_at(node.at), node.slot)
    }
}

iterator! {
    /// Iterator over the positions of a list's elements. Double-ended; yields `Result<Position>`, and nothing after an error.
    Positions of Stored, Position, |list, node| Ok(list.position(&node))
}
