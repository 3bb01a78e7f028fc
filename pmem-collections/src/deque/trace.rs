//! The blocks of a deque, and the references in them.

use super::{DequeGuard, header::ROOT};
use crate::{
    stored::{self, is_fixed},
    vec::layout::{FANOUT, INNER, NODE_HEAD},
};
use pmem_alloc::{Ptr, Read, Result, Stored, Tracer};

impl<T: Stored> DequeGuard<'_, T, Read> {
    /// Tells `tracer` all nodes, and what elements refer to. It refuses blocks that were told before, so this ends however
    /// damaged the deque is.
    pub(super) fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), 64)?;
        if self.header.height == 0 {
            return Ok(());
        }
        let level = self.header.root_level();
        self.trace_node(tracer, self.at + ROOT, self.header.root, level, self.leaves.start)
    }

    /// The node of a level over leaf `leaf`, to which the word at `slot` refers.
    fn trace_node(&self, tracer: &mut Tracer<'_>, slot: u64, at: u64, level: u32, leaf: u64) -> Result<()> {
        if level == 0 {
            self.trace_leaf(tracer, slot, leaf)?;
            return Ok(());
        }
        tracer.owned(slot, Ptr::from_offset(at), INNER as u64)?;
        let children = self.children(at, level, leaf)?;
        for number in self.below(level, leaf) {
            let child = (number % FANOUT) as usize;
            let slot = at + (NODE_HEAD + 8 * child) as u64;
            let first = self.leaves.start.max(number * FANOUT.pow(level - 1));
            self.trace_node(tracer, slot, children[child], level - 1, first)?;
        }
        Ok(())
    }

    fn trace_leaf(&self, tracer: &mut Tracer<'_>, slot: u64, number: u64) -> Result<()> {
        let (at, leaf) = self.leaf(number)?;
        tracer.owned(slot, Ptr::from_offset(at), leaf.len() as u64)?;
        if const { is_fixed::<T>() } && !tracer.has_references::<T>() {
            return Ok(());
        }
        let (first, capacity) = (self.header.head, u64::from(self.header.capacity));
        let all = 0..self.header.len;
        // Of a ring, all elements; else those whose positions are in this leaf.
        let inside = match self.header.is_small() {
            true => all,
            false => {
                let start = (number * capacity).saturating_sub(first).min(all.end);
                start..((number + 1) * capacity).saturating_sub(first).min(all.end)
            }
        };
        for index in inside {
            let start = Self::LAYOUT.slot(self.place(index).1);
            let element = &leaf[start..start + Self::LAYOUT.stride];
            stored::trace::<T>(&self.body, at + start as u64, element, tracer)?;
        }
        Ok(())
    }
}
