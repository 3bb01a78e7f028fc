//! Reading: for readers and writers alike, and of a pool that may be damaged.

use super::{
    node::{MAX_HEIGHT, Node},
    object::Tree,
};
use pmem_collections::*;
use std::{cmp::Ordering::*, ops::Range};

impl<M: Mode> Tree<'_, M> {
    /// How many intervals there are.
    pub fn len(&self) -> Result<u64> {
        Ok(self.body.get(self.header)?.len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The number of this very interval.
    pub fn get(&self, interval: &Range<u64>) -> Result<Option<u64>> {
        self.find((interval.start, interval.end))?.map(|at| Ok(self.body.get(at)?.tag)).transpose()
    }

    /// All intervals that share a point with `range`, in the order of their starts. Each costs at most a path from the root.
    pub fn overlapping(&self, range: Range<u64>) -> Result<Overlaps<'_, M>> {
        let root = if range.is_empty() { Ptr::NULL } else { self.root()? };
        let mut overlaps = Overlaps { tree: self, range, path: Vec::new(), last: None };
        overlaps.descend(root, MAX_HEIGHT + 1)?;
        Ok(overlaps)
    }

    /// All intervals.
    pub fn iter(&self) -> Result<Overlaps<'_, M>> {
        self.overlapping(0..u64::MAX)
    }

    pub(super) fn root(&self) -> Result<Ptr<Node>> {
        Ok(self.body.get(self.header)?.root)
    }

    /// The node at `at`, a child of one of height `below`. Heights shrink on every way down, and do not begin high:
    /// so every way down ends soon, even where a damaged pool has a circle.
    pub(super) fn node(&self, at: Ptr<Node>, below: u64) -> Result<&Node> {
        let node = self.body.get(at)?;
        if !(1..below).contains(&node.height) || node.start >= node.end || node.reach < node.end {
            return Err(Error::corrupt(
                at.offset(),
                format!("a node of an interval tree, lower than {below}"),
                format!("{node:?}"),
            ));
        }
        Ok(node)
    }

    pub(super) fn find(&self, key: (u64, u64)) -> Result<Option<Ptr<Node>>> {
        let (mut at, mut below) = (self.root()?, MAX_HEIGHT + 1);
        while !at.is_null() {
            let node = self.node(at, below)?;
            below = node.height;
            at = match key.cmp(&node.key()) {
                Less => node.left,
                Equal => return Ok(Some(at)),
                Greater => node.right,
            };
        }
        Ok(None)
    }
}

/// Iterator of [`Tree::overlapping`]. After an error there is no more.
pub struct Overlaps<'a, M: Mode> {
    tree: &'a Tree<'a, M>,
    range: Range<u64>,
    /// Nodes whose left sides have been seen.
    path: Vec<(Ptr<Node>, &'a Node)>,
    last: Option<(u64, u64)>,
}

impl<M: Mode> Overlaps<'_, M> {
    /// Goes down to the left, as long as something there reaches into the range.
    fn descend(&mut self, mut at: Ptr<Node>, mut below: u64) -> Result<()> {
        while !at.is_null() {
            let node = self.tree.node(at, below)?;
            if node.reach <= self.range.start {
                break;
            }
            self.path.push((at, node));
            (at, below) = (node.left, node.height);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(Range<u64>, u64)>> {
        while let Some((at, node)) = self.path.pop() {
            // Two ways to one node are damage, too. As keys only rise, no node is seen twice: so this ends.
            if self.last.is_some_and(|last| last >= node.key()) {
                return Err(Error::corrupt(
                    at.offset(),
                    format!("an interval after {:?}", self.last),
                    format!("{node:?}"),
                ));
            }
            self.last = Some(node.key());
            if node.start >= self.range.end {
                break;
            }
            self.descend(node.right, node.height)?;
            if node.end > self.range.start {
                return Ok(Some((node.start..node.end, node.tag)));
            }
        }
        Ok(None)
    }
}

impl<M: Mode> Iterator for Overlaps<'_, M> {
    type Item = Result<(Range<u64>, u64)>;
    fn next(&mut self) -> Option<Self::Item> {
        let found = self.step().transpose();
        if !matches!(found, Some(Ok(_))) {
            self.path.clear();
        }
        found
    }
}
