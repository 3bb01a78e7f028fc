//! Positions: what a program keeps to come back to an element.

use super::{ListGuard, node::Node};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Error, Mode, Plain, PlainField, Result, Stored, fields};

/// An element's place in a list, whatever is inserted, removed and moved around it.
///
/// It is a number, and borrows nothing: it is checked whenever it is used. If the element is no longer in the list,
/// operations say so (`None`), also if its place in memory has been given to another element meanwhile. It is plain data: a map
/// may hold positions of a list in the same pool, which an LRU cache does, for instance.
///
/// A position is good for the list that gave it ([`ForeignPosition`] otherwise). When all elements go to another list
/// ([`append`](ListGuard::append)), the positions of the first say that they are gone. They also do after a compaction,
/// which moves the elements. A position that was given in a part of a transaction that went back to a savepoint means
/// nothing, nor does one of a list that was destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Position {
    list: u64,
    node: u64,
    stamp: u64,
    generation: u64,
}

impl Plain for Position {
    const NAME: &'static str = "pmem.ListPosition";
    const FIELDS: Option<&'static [PlainField]> =
        fields!(Position { list: u64, node: u64, stamp: u64, generation: u64 });
}

impl Position {
    /// Where the node is, or was.
    pub(super) fn node(self) -> u64 {
        self.node
    }
}

/// A position was used with another list than the one it is of.
#[derive(Debug, thiserror::Error)]
#[error("a position in the list at {of} was used with the list at {with}")]
pub struct ForeignPosition {
    /// Offset of the list that the position is of.
    pub of: u64,
    /// Offset of the list that it was used with.
    pub with: u64,
}

impl<T: Stored, M: Mode> ListGuard<'_, T, M> {
    /// The position of a node.
    pub(super) fn position(&self, node: &Node<'_>) -> Position {
        Position { list: self.at, node: node.at, stamp: node.links.stamp, generation: self.header.generation }
    }

    /// The node at a position; `None` if it is gone. Where it was, there may be anything now, or nothing.
    pub(super) fn resolve(&self, position: Position) -> Result<Option<Node<'_>>> {
        if position.list != self.at {
            return Err(Error::abort(ForeignPosition { of: position.list, with: self.at }));
        }
        if position.generation != self.header.generation {
            return Ok(None);
        }
        Ok(self.node(position.node).ok().filter(|node| node.links.stamp == position.stamp))
    }
}
