//! The bytes: what is on media.

use bytemuck::{Pod, Zeroable};
use pmem_collections::{Plain, PlainField, Ptr, fields};

/// One interval, `start..end`, and what the program keeps with it. 56 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Node {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) tag: u64,
    /// The greatest `end` in this node's subtree.
    pub(super) reach: u64,
    /// Levels of this node's subtree, itself included.
    pub(super) height: u64,
    pub(super) left: Ptr<Node>,
    pub(super) right: Ptr<Node>,
}

/// Where the tree begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    pub(super) root: Ptr<Node>,
    pub(super) len: u64,
}

impl Plain for Node {
    const NAME: &'static str = "own_structure.Node";
    const FIELDS: Option<&'static [PlainField]> = fields!(Node {
        start: u64,
        end: u64,
        tag: u64,
        reach: u64,
        height: u64,
        left: Ptr<Node>,
        right: Ptr<Node>
    });
}

impl Plain for Header {
    const NAME: &'static str = "own_structure.Header";
    const FIELDS: Option<&'static [PlainField]> = fields!(Header { root: Ptr<Node>, len: u64 });
}

/// No balanced tree is higher, whatever fits in 64 bits of offsets: 1.44 times 64. A node that says so is damaged.
pub(super) const MAX_HEIGHT: u64 = 92;

impl Node {
    pub(super) fn leaf(start: u64, end: u64, tag: u64) -> Node {
        Node { start, end, tag, reach: end, height: 1, left: Ptr::NULL, right: Ptr::NULL }
    }

    /// The order of the tree. Two intervals may share a start, or an end, not both.
    pub(super) fn key(&self) -> (u64, u64) {
        (self.start, self.end)
    }
}
