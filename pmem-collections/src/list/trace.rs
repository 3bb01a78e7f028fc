//! The blocks of a list, and the references in them.

use super::{
    ListGuard,
    header::{FIRST, LAST},
    node::{NEXT, PREV},
};
use crate::stored;
use pmem_alloc::{Ptr, Read, Result, Stored, Tracer};

impl<T: Stored> ListGuard<'_, T, Read> {
    /// Tells `tracer` all nodes, and what elements refer to. It refuses blocks that were told before, so this ends however
    /// damaged the list is.
    pub(super) fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), 64)?;
        tracer.pointer(self.at + LAST, Ptr::from_offset(self.header.last))?;
        let (mut word, mut at, mut prev) = (self.at + FIRST, self.header.first, 0);
        while at != 0 {
            tracer.owned(word, Ptr::from_offset(at), Self::LAYOUT.len as u64)?;
            let node = self.node(at)?.behind(prev)?;
            tracer.pointer(at + PREV, Ptr::from_offset(prev))?;
            stored::trace::<T>(&self.body, Self::slot_at(at), node.slot, tracer)?;
            (word, prev, at) = (at + NEXT, at, node.links.next);
        }
        Ok(())
    }
}
