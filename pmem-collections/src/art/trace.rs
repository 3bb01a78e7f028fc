//! The blocks of a tree, and the references in them.

use super::{
    ArtGuard,
    header::ROOT,
    layout::{KIND_BITS, Target},
};
use crate::stored;
use pmem_alloc::{Ptr, Read, Result, Stored, Tracer};

impl<V: Stored> ArtGuard<'_, V, Read> {
    /// Tells `tracer` all nodes and leaves, and what values refer to. It refuses blocks that were told before, so this ends
    /// however damaged the tree is.
    pub(super) fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), 64)?;
        let mut open = Vec::new();
        if self.header.root != 0 {
            open.push((self.at + ROOT, self.header.root, 0));
        }
        while let Some((slot, word, least)) = open.pop() {
            let target = Target::read(slot, word)?;
            let at = Ptr::from_offset(word & !KIND_BITS);
            tracer.tagged_pointer(slot, at, word & KIND_BITS)?;
            match target {
                Target::Leaf(leaf) => {
                    let found = self.leaf(leaf)?;
                    tracer.block(at, (Self::LEAF.key + found.key.len()) as u64)?;
                    stored::trace::<V>(&self.body, Self::value_at(leaf), found.value, tracer)?;
                }
                Target::Node(node) => {
                    tracer.block(at, node.kind.len() as u64)?;
                    let head = self.head(node, least)?;
                    let entries = self.entries(&head)?;
                    open.extend(entries.iter().map(|entry| (entry.slot, entry.word, head.depth + 1)));
                }
            }
        }
        Ok(())
    }
}
