//! The way to where a key is, or would be.

use super::{
    ArtGuard,
    header::ROOT,
    layout::{Node, Target},
    node::{Entry, Leaf, Step, common_prefix},
};
use crate::damage::corrupt;
use pmem_alloc::{Mode, Result, Stored};
use std::cmp::Ordering;

/// A node on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) node: Node,
    pub(super) depth: u32,
    /// Where the reference to the node is.
    pub(super) slot: u64,
    /// Which of its entries leads on.
    pub(super) step: Step,
}

/// The way to a leaf: along the key that was asked for as far as that is in the tree, and then along any.
///
/// The key has its first `common` bytes in common with that leaf's. Nodes of a greater depth are below the place where the two part.
pub(super) struct Path<'a> {
    pub(super) nodes: Vec<Passed>,
    /// Where the reference to the leaf is.
    pub(super) slot: u64,
    pub(super) leaf: Leaf<'a>,
    pub(super) common: usize,
    /// How the key compares with the leaf's.
    pub(super) order: Ordering,
}

/// Where the key and the leaf of a path part.
pub(super) enum Parting {
    /// Nowhere: they are equal.
    Equal,
    /// In the node number so much of the path, which has no entry for the key.
    InNode(usize),
    /// Above the node number so much of the path, or above the leaf if there are as many.
    Above(usize),
}

impl Path<'_> {
    pub(super) fn parting(&self) -> Parting {
        if self.order == Ordering::Equal {
            return Parting::Equal;
        }
        let below = self.nodes.partition_point(|passed| (passed.depth as usize) < self.common);
        match self.nodes.get(below) {
            Some(passed) if passed.depth as usize == self.common => Parting::InNode(below),
            _ => Parting::Above(below),
        }
    }

    /// The reference to node number `i` of the path, or to the leaf if there are as many: where it is, and to what.
    pub(super) fn reference(&self, i: usize) -> (u64, Target) {
        match self.nodes.get(i) {
            Some(passed) => (passed.slot, Target::Node(passed.node)),
            None => (self.slot, Target::Leaf(self.leaf.at)),
        }
    }
}

impl<V: Stored, M: Mode> ArtGuard<'_, V, M> {
    /// The way along `key`; `None` if the tree is empty.
    pub(super) fn path(&self, key: &[u8]) -> Result<Option<Path<'_>>> {
        if self.header.root == 0 {
            return Ok(None);
        }
        let mut nodes = Vec::new();
        let (mut slot, mut word, mut least) = (self.at + ROOT, self.header.root, 0);
        let leaf = loop {
            let node = match Target::read(slot, word)? {
                Target::Leaf(at) => break self.leaf(at)?,
                Target::Node(node) => node,
            };
            let head = self.head(node, least)?;
            let depth = head.depth as usize;
            let along = if depth > key.len() { None } else { self.entry_at(&head, key.get(depth).copied())? };
            let Entry { step, slot: next, word: reference } = match along {
                Some(entry) => entry,
                None => self.any_entry(&head)?,
            };
            nodes.push(Passed { node, depth: head.depth, slot, step });
            (slot, word, least) = (next, reference, head.depth + 1);
        };
        belongs(leaf, nodes.iter().map(|passed| (passed.depth, passed.step)))?;
        let common = common_prefix(key, leaf.key);
        Ok(Some(Path { nodes, slot, leaf, common, order: key.cmp(leaf.key) }))
    }
}

/// Whether a leaf's key has what led to it. So no leaf is where two ways lead.
pub(super) fn belongs(leaf: Leaf<'_>, way: impl IntoIterator<Item = (u32, Step)>) -> Result<()> {
    for (depth, step) in way {
        let depth = depth as usize;
        if depth > leaf.key.len() || leaf.key.get(depth).copied() != step {
            return Err(corrupt(
                leaf.at,
                format!("a leaf with {step:?} at byte {depth} of its key"),
                format!("{:?}", leaf.key.get(depth)),
            ));
        }
    }
    Ok(())
}
