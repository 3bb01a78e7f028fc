//! Changing: plain code on plain data. The transaction makes it all or nothing.

use super::{
    node::{Header, MAX_HEIGHT, Node},
    object::Tree,
};
use pmem_collections::*;
use std::{cmp::Ordering::*, ops::Range};

/// An interval must have at least one point: give one with `start < end`.
#[derive(Debug, thiserror::Error)]
#[error("the interval {}..{} is empty; give one whose start is before its end", .0.start, .0.end)]
pub struct EmptyInterval(pub Range<u64>);

impl Tree<'_, Write> {
    /// Adds `interval` with the number `tag`, or gives it another one; returns the one before. Durable when the transaction's
    /// commit returns; no drain of its own.
    ///
    /// # Errors
    ///
    /// [`Aborted`](ErrorKind::Aborted) with an [`EmptyInterval`], [`NoSpace`](ErrorKind::NoSpace): nothing was changed, and the
    /// transaction can go on. After any other, roll it back.
    pub fn insert(&mut self, interval: Range<u64>, tag: u64) -> Result<Option<u64>> {
        if interval.is_empty() {
            return Err(Error::abort(EmptyInterval(interval)));
        }
        let key = (interval.start, interval.end);
        if let Some(at) = self.find(key)? {
            return Ok(Some(std::mem::replace(&mut self.body.get_mut(at)?.tag, tag)));
        }
        let new = self.body.alloc(Node::leaf(key.0, key.1, tag))?; // first what can fail for want of space
        let root = self.put(self.root()?, MAX_HEIGHT + 1, new, key)?;
        self.set_header(root, |len| len.checked_add(1))?;
        Ok(None)
    }

    /// Takes `interval` out; returns its number. Durable when the transaction's commit returns; no drain of its own.
    ///
    /// # Errors
    ///
    /// After any, roll the transaction back.
    pub fn remove(&mut self, interval: &Range<u64>) -> Result<Option<u64>> {
        let key = (interval.start, interval.end);
        let Some(at) = self.find(key)? else { return Ok(None) };
        let tag = self.body.get(at)?.tag;
        let root = self.take(self.root()?, MAX_HEIGHT + 1, key)?;
        self.set_header(root, |len| len.checked_sub(1))?;
        self.body.free(at)?;
        Ok(Some(tag))
    }

    fn set_header(&mut self, root: Ptr<Node>, count: fn(u64) -> Option<u64>) -> Result<()> {
        let len = self.len()?;
        let wrong = || Error::corrupt(self.header.offset(), "the number of intervals", len.to_string());
        let len = count(len).ok_or_else(wrong)?;
        *self.body.get_mut(self.header)? = Header { root, len };
        Ok(())
    }

    /// Puts the node `new` into the subtree at `at`; returns the subtree's root.
    fn put(&mut self, at: Ptr<Node>, below: u64, new: Ptr<Node>, key: (u64, u64)) -> Result<Ptr<Node>> {
        if at.is_null() {
            return Ok(new);
        }
        let mut node = *self.node(at, below)?;
        let side = if key < node.key() { &mut node.left } else { &mut node.right };
        *side = self.put(*side, node.height, new, key)?;
        self.balance(at, node)
    }

    /// Takes the node of `key` out of the subtree at `at`; returns the subtree's root.
    fn take(&mut self, at: Ptr<Node>, below: u64, key: (u64, u64)) -> Result<Ptr<Node>> {
        let mut node = *self.node(at, below)?;
        match key.cmp(&node.key()) {
            Less => node.left = self.take(node.left, node.height, key)?,
            Greater => node.right = self.take(node.right, node.height, key)?,
            Equal if node.left.is_null() => return Ok(node.right),
            Equal if node.right.is_null() => return Ok(node.left),
            Equal => {
                let (next, right) = self.take_first(node.right, node.height)?;
                let next_node = Node { left: node.left, right, ..*self.node(next, node.height)? };
                return self.balance(next, next_node);
            }
        }
        self.balance(at, node)
    }

    /// Takes the first node out of the subtree at `at`; returns it, and the subtree's root.
    fn take_first(&mut self, at: Ptr<Node>, below: u64) -> Result<(Ptr<Node>, Ptr<Node>)> {
        let mut node = *self.node(at, below)?;
        if node.left.is_null() {
            return Ok((at, node.right));
        }
        let (first, left) = self.take_first(node.left, node.height)?;
        node.left = left;
        Ok((first, self.balance(at, node)?))
    }

    /// Stores `node` at `at`, one of whose sides has become a level higher or lower; returns who is on top then.
    fn balance(&mut self, at: Ptr<Node>, mut node: Node) -> Result<Ptr<Node>> {
        let (left, right) = (self.height(node.left)?, self.height(node.right)?);
        if left > right + 1 {
            let child = *self.node(node.left, left + 1)?;
            if self.height(child.left)? < self.height(child.right)? {
                node.left = self.rotate_left(node.left, child)?;
            }
            self.rotate_right(at, node)
        } else if right > left + 1 {
            let child = *self.node(node.right, right + 1)?;
            if self.height(child.right)? < self.height(child.left)? {
                node.right = self.rotate_right(node.right, child)?;
            }
            self.rotate_left(at, node)
        } else {
            self.store(at, node)
        }
    }

    /// The right child of `node` goes on top, `node` to its left.
    fn rotate_left(&mut self, at: Ptr<Node>, mut node: Node) -> Result<Ptr<Node>> {
        let top = node.right;
        let mut top_node = *self.node(top, MAX_HEIGHT + 2)?;
        node.right = top_node.left;
        top_node.left = self.store(at, node)?;
        self.store(top, top_node)
    }

    /// The left child of `node` goes on top, `node` to its right.
    fn rotate_right(&mut self, at: Ptr<Node>, mut node: Node) -> Result<Ptr<Node>> {
        let top = node.left;
        let mut top_node = *self.node(top, MAX_HEIGHT + 2)?;
        node.left = top_node.right;
        top_node.right = self.store(at, node)?;
        self.store(top, top_node)
    }

    /// Stores a node whose sides are right. What does not change is not written: not here, and not by the commit.
    fn store(&mut self, at: Ptr<Node>, mut node: Node) -> Result<Ptr<Node>> {
        (node.height, node.reach) = (1, node.end);
        for side in [node.left, node.right] {
            if !side.is_null() {
                let side = self.node(side, MAX_HEIGHT + 2)?;
                node.height = node.height.max(side.height + 1);
                node.reach = node.reach.max(side.reach);
            }
        }
        if *self.body.get(at)? != node {
            *self.body.get_mut(at)? = node;
        }
        Ok(at)
    }

    fn height(&self, at: Ptr<Node>) -> Result<u64> {
        if at.is_null() { Ok(0) } else { Ok(self.node(at, MAX_HEIGHT + 2)?.height) }
    }
}
