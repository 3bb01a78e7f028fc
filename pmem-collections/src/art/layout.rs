//! Kinds of nodes, and where things are in them. `format/art.md` has the words.

use crate::{damage::corrupt, stored::Shape};
use pmem_alloc::Result;

/// Bytes that every kind of node begins with, and all that is read of it at first.
pub(super) const HEAD: u64 = 64;
pub(super) const DEPTH: usize = 4;
/// Where the reference to the leaf of the key that ends at the node is.
pub(super) const ENDING: usize = 8;
/// Where the children's bytes are, in nodes that list them.
pub(super) const BYTES: usize = 16;
/// Where the numbers of references are, in a node of 48.
pub(super) const NUMBERS: usize = 64;

/// A kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Node4 = 1,
    Node16 = 2,
    Node48 = 3,
    Node256 = 4,
}
use Kind::*;

impl Kind {
    /// The most children.
    pub(super) const fn capacity(self) -> usize {
        match self {
            Node4 => 4,
            Node16 => 16,
            Node48 => 48,
            Node256 => 256,
        }
    }

    /// Where the references are.
    pub(super) const fn children(self) -> usize {
        match self {
            Node4 => 24,
            Node16 | Node256 => 64,
            Node48 => NUMBERS + 256,
        }
    }

    /// Where `occupied` is, in nodes that list their children.
    pub(super) const fn occupied(self) -> usize {
        BYTES + self.capacity()
    }

    /// Bytes of a node.
    pub(super) const fn len(self) -> usize {
        match self {
            Node4 => HEAD as usize,
            _ => self.children() + 8 * self.capacity(),
        }
    }

    pub(super) const fn magic(self) -> u32 {
        u32::from_le_bytes([b'P', b'A', b'r', self as u8])
    }

    /// The smallest that holds so many children.
    pub(super) const fn for_children(count: usize) -> Kind {
        match count {
            0..=4 => Node4,
            5..=16 => Node16,
            17..=48 => Node48,
            _ => Node256,
        }
    }

    /// The kind that a node of `count` children should have, if it is of this one: fewer than fit in the next smaller one by so many that
    /// a few inserts more do not change it back.
    pub(super) const fn after_removal(self, count: usize) -> Kind {
        match (self, count) {
            (Node16, ..=3) => Node4,
            (Node48, ..=12) => Node16,
            (Node256, ..=36) => Node48,
            _ => self,
        }
    }
}

/// A node: what a reference says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) at: u64,
}

/// What a reference refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Leaf(u64),
    Node(Node),
}

/// The bits of a reference that are its kind.
pub(super) const KIND_BITS: u64 = 7;

impl Target {
    /// Reads the reference in the word at `slot`.
    pub(super) fn read(slot: u64, word: u64) -> Result<Target> {
        let at = word & !KIND_BITS;
        let kind = match word & KIND_BITS {
            0 if at != 0 => return Ok(Target::Leaf(at)),
            1 => Node4,
            2 => Node16,
            3 => Node48,
            4 => Node256,
            _ => return Err(corrupt(slot, "a reference to a node or a leaf", format!("{word:#x}"))),
        };
        match at != 0 && at.is_multiple_of(64) {
            true => Ok(Target::Node(Node { kind, at })),
            false => Err(corrupt(slot, "a reference to a node, at a multiple of 64", format!("{word:#x}"))),
        }
    }

    pub(super) fn word(self) -> u64 {
        match self {
            Target::Leaf(at) => at,
            Target::Node(Node { kind, at }) => at | kind as u64,
        }
    }
}

/// The leaves of values of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeafLayout {
    /// Where the value is.
    pub(super) value: usize,
    /// Where the key is.
    pub(super) key: usize,
    align: usize,
}

pub(super) const LEAF_MAGIC: u32 = u32::from_le_bytes(*b"PArl");
/// Bytes before the value, at least: the magic and the key's length.
pub(super) const LEAF_HEAD: usize = 8;

impl LeafLayout {
    pub(super) const fn of(value: Shape) -> LeafLayout {
        let at = LEAF_HEAD.next_multiple_of(value.align);
        LeafLayout { value: at, key: at + value.size, align: value.align }
    }

    /// What a leaf of `len` bytes is aligned to.
    pub(super) fn align(&self, len: usize) -> u64 {
        len.next_power_of_two().clamp(16, 64).max(self.align) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_leaves_are_what_the_format_says() {
        let kinds = [Node4, Node16, Node48, Node256];
        assert_eq!(kinds.map(Kind::len), [64, 192, 704, 2112]);
        assert_eq!([Node4, Node16].map(Kind::occupied), [20, 32]);
        assert_eq!(kinds.map(Kind::children), [24, 64, 320, 64]);
        assert_eq!(kinds.map(|kind| Kind::for_children(kind.capacity())), kinds);
        let of = |size, align| LeafLayout::of(Shape { size, align });
        assert_eq!((of(8, 8).value, of(8, 8).key), (8, 16));
        assert_eq!((of(0, 1).key, of(16, 16).value, of(1, 1).key), (8, 16, 9));
        assert_eq!([3, 17, 33, 64, 65].map(|len| of(8, 8).align(len)), [16, 32, 64, 64, 64]);
    }

    #[test]
    fn a_node_that_has_shrunk_takes_more_children_before_it_grows() {
        for kind in [Node16, Node48, Node256] {
            let changes =
                (0..kind.capacity()).rev().find(|&count| kind.after_removal(count) != kind).unwrap();
            let smaller = kind.after_removal(changes);
            assert!(smaller < kind && changes < smaller.capacity());
        }
    }

    #[test]
    fn a_reference_says_what_it_refers_to() {
        for kind in [Node4, Node16, Node48, Node256] {
            let node = Target::Node(Node { kind, at: 640 });
            assert_eq!(Target::read(0, node.word()).unwrap(), node);
        }
        assert_eq!(Target::read(0, 24).unwrap(), Target::Leaf(24));
        for word in [0, 1, 5, 6, 7, 645, 8 | 1, 32 | 4] {
            assert!(Target::read(0, word).is_err(), "{word}");
        }
    }
}
