//! The blocks of a tree, and the references in them.

use super::{Inner, Leaf, Tree, header::ROOT, layout::LINE};
use crate::stored;
use pmem_alloc::{OrdKey, Ptr, Read, Result, Stored, Tracer};

impl<K: OrdKey, V: Stored> Tree<'_, K, V, Read> {
    /// Tells `tracer` all nodes, and what keys and values refer to. It refuses blocks that were told before, so this ends
    /// however damaged the tree is.
    pub(crate) fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), LINE as u64)?;
        if self.height == 0 {
            return Ok(());
        }
        self.trace_node(tracer, self.at + ROOT, self.root, self.height - 1)
    }

    /// The node at `at`, to which the word at `slot` refers.
    fn trace_node(&self, tracer: &mut Tracer<'_>, slot: u64, at: u64, level: u32) -> Result<()> {
        if level == 0 {
            return self.trace_leaf(tracer, slot, at);
        }
        let layout = Inner::<K, Read>::LAYOUT;
        tracer.owned(slot, Ptr::from_offset(at), layout.size as u64)?;
        let inner = self.inner(at, level)?;
        for i in 0..inner.count() {
            stored::trace::<K>(&self.body, inner.key_at(i), inner.key_slot(i), tracer)?;
        }
        inner.children.iter().enumerate().try_for_each(|(i, &child)| {
            let slot = at + (layout.children + 8 * i) as u64;
            self.trace_node(tracer, slot, child, level - 1)
        })
    }

    fn trace_leaf(&self, tracer: &mut Tracer<'_>, slot: u64, at: u64) -> Result<()> {
        tracer.owned(slot, Ptr::from_offset(at), Leaf::<K, V, Read>::LAYOUT.size as u64)?;
        let leaf = self.leaf(at)?;
        leaf.slots().try_for_each(|slot| {
            stored::trace::<K>(&self.body, leaf.key_at(slot), leaf.key_slot(slot), tracer)?;
            stored::trace::<V>(&self.body, leaf.value_at(slot), leaf.value_slot(slot), tracer)
        })
    }
}
