//! The blocks of a tree, and the references in them.

use super::{
    Tree,
    header::ROOT,
    layout::LINE,
    node::{Inner, Leaf},
};
use pmem_alloc::{Mode, Plain, Ptr, Result, Tracer};

impl<K: Plain, V: Plain, M: Mode> Tree<'_, K, V, M> {
    /// Tells `tracer` all nodes. It refuses those that were told before, so this ends however damaged the tree is.
    pub(crate) fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), LINE as u64)?;
        let has_references = (tracer.has_references::<K>(), tracer.has_references::<V>());
        if self.height == 0 {
            return Ok(());
        }
        self.trace_node(tracer, self.at + ROOT, self.root, self.height - 1, has_references)
    }

    /// The node at `at`, to which the word at `slot` refers.
    fn trace_node(
        &self,
        tracer: &mut Tracer<'_>,
        slot: u64,
        at: u64,
        level: u32,
        has_references: (bool, bool),
    ) -> Result<()> {
        if level == 0 {
            return self.trace_leaf(tracer, slot, at, has_references);
        }
        let layout = Inner::<K>::LAYOUT;
        tracer.owned(slot, Ptr::from_offset(at), layout.size as u64)?;
        let inner = self.inner(at, level)?;
        if has_references.0 {
            let key = |i: usize| at + (layout.keys + i * size_of::<K>()) as u64;
            (0..inner.keys.len()).try_for_each(|i| tracer.plain::<K>(key(i)))?;
        }
        inner.children.iter().enumerate().try_for_each(|(i, &child)| {
            let slot = at + (layout.children + 8 * i) as u64;
            self.trace_node(tracer, slot, child, level - 1, has_references)
        })
    }

    fn trace_leaf(
        &self,
        tracer: &mut Tracer<'_>,
        slot: u64,
        at: u64,
        (keys, values): (bool, bool),
    ) -> Result<()> {
        let layout = Leaf::<K, V>::LAYOUT;
        tracer.owned(slot, Ptr::from_offset(at), layout.size as u64)?;
        for slot in self.leaf(at)?.slots() {
            if keys {
                tracer.plain::<K>(at + layout.key(slot) as u64)?;
            }
            if values {
                tracer.plain::<V>(at + layout.value(slot) as u64)?;
            }
        }
        Ok(())
    }
}
