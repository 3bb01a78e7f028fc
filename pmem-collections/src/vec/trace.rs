//! The blocks of a vector, and the references in them.

use super::{
    VecGuard,
    header::ROOT,
    layout::{FANOUT, INNER, NODE_HEAD},
};
use crate::stored::{self, is_fixed};
use pmem_alloc::{Ptr, Read, Result, Stored, Tracer};

impl<T: Stored> VecGuard<'_, T, Read> {
    /// Tells `tracer` all nodes, and what elements refer to. It refuses blocks that were told before, so this ends however
    /// damaged the vector is.
    pub(super) fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), 64)?;
        match self.header.height.checked_sub(1) {
            Some(level) => self.trace_node(tracer, self.at + ROOT, self.header.root, level, 0),
            None => Ok(()),
        }
    }

    /// The node `number` of a level, to which the word at `slot` refers.
    fn trace_node(&self, tracer: &mut Tracer<'_>, slot: u64, at: u64, level: u32, number: u64) -> Result<()> {
        if level == 0 {
            return self.trace_leaf(tracer, slot, number);
        }
        tracer.owned(slot, Ptr::from_offset(at), INNER as u64)?;
        let below = self.header.leaves.div_ceil(FANOUT.pow(level - 1)).saturating_sub(number * FANOUT);
        let children = self.children(at, level, number)?;
        for (i, &child) in (0..below.min(FANOUT)).zip(children) {
            let slot = at + NODE_HEAD as u64 + 8 * i;
            self.trace_node(tracer, slot, child, level - 1, number * FANOUT + i)?;
        }
        Ok(())
    }

    fn trace_leaf(&self, tracer: &mut Tracer<'_>, slot: u64, number: u64) -> Result<()> {
        let (at, leaf) = self.leaf(number)?;
        tracer.owned(slot, Ptr::from_offset(at), leaf.len() as u64)?;
        if const { is_fixed::<T>() } && !tracer.has_references::<T>() {
            return Ok(());
        }
        let capacity = u64::from(self.header.capacity);
        let elements = self.header.len.saturating_sub(number * capacity).min(capacity);
        for i in 0..elements as usize {
            let start = Self::LAYOUT.slot(i);
            let element = &leaf[start..start + Self::LAYOUT.stride];
            stored::trace::<T>(&self.body, at + start as u64, element, tracer)?;
        }
        Ok(())
    }
}
