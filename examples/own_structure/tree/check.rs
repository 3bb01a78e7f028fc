//! The check: everything that must be true of a tree, for tests and for whoever doubts a pool.

use super::{
    node::{MAX_HEIGHT, Node},
    object::Tree,
};
use pmem_collections::*;

/// What is known of the part of a tree that was seen.
#[derive(Default)]
struct Seen {
    nodes: u64,
    last: Option<(u64, u64)>,
}

impl<M: Mode> Tree<'_, M> {
    /// Order, heights, balance, reach and number of all nodes. `Corrupt`, with the offset, if one is not right.
    pub fn check(&self) -> Result<()> {
        let mut seen = Seen::default();
        self.examine(self.root()?, MAX_HEIGHT + 1, &mut seen)?;
        let len = self.len()?;
        if len != seen.nodes {
            let expected = format!("{} intervals", seen.nodes);
            return Err(Error::corrupt(self.header.offset(), expected, len.to_string()));
        }
        Ok(())
    }

    /// Height and reach of a subtree.
    fn examine(&self, at: Ptr<Node>, below: u64, seen: &mut Seen) -> Result<(u64, u64)> {
        if at.is_null() {
            return Ok((0, 0));
        }
        let node = self.node(at, below)?;
        let left = self.examine(node.left, node.height, seen)?;
        let rises = seen.last < Some(node.key());
        *seen = Seen { nodes: seen.nodes + 1, last: Some(node.key()) };
        if !rises {
            return Err(Error::corrupt(
                at.offset(),
                "a greater interval than the one before",
                format!("{node:?}"),
            ));
        }
        let right = self.examine(node.right, node.height, seen)?;
        let expected = (1 + left.0.max(right.0), node.end.max(left.1).max(right.1));
        if (node.height, node.reach) != expected || left.0.abs_diff(right.0) > 1 {
            let expected = format!("height and reach {expected:?}, and balance");
            return Err(Error::corrupt(at.offset(), expected, format!("{node:?}")));
        }
        Ok(expected)
    }
}
