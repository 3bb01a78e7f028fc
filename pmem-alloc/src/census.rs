//! Which block belongs to what: every named object, followed through all its blocks.

use crate::{
    Body, Error, Result,
    directory::{self, Listed},
    graph,
    heap::{Block, Heap},
    pool::Inner,
    trace::{Found, Reached, Tracer, trace_described},
    transaction::{ReadCore, Writer},
};
use pmem_map::Ptr;
use std::sync::Arc;

/// One named object, and what following it found.
pub(crate) struct Traced {
    pub(crate) listed: Listed,
    pub(crate) found: Found,
    /// Why it was not followed to its end.
    pub(crate) error: Option<Error>,
}

impl Traced {
    /// Whether all its blocks are known.
    pub(crate) fn is_complete(&self) -> bool {
        self.error.is_none() && self.found.not_traced.is_empty()
    }
}

/// All named objects.
pub(crate) struct Census {
    pub(crate) objects: Vec<Traced>,
    reached: Reached,
}

impl Census {
    /// Follows every object. The error is one of the directory. Runs code of callers, so nothing may be borrowed that
    /// they could reach; the writer keeps others from changing anything.
    pub(crate) fn take(inner: &Arc<Inner>, writer: &Writer, want_references: bool) -> Result<Census> {
        Census::take_from(None, inner, writer, want_references)
    }

    /// The same, of a directory that begins elsewhere than the state line says.
    pub(crate) fn take_from(
        head: Option<u64>,
        inner: &Arc<Inner>,
        writer: &Writer,
        want_references: bool,
    ) -> Result<Census> {
        let (heap, media) = (&writer.heap, &inner.media);
        let mut census = Census { objects: Vec::new(), reached: Reached::new(heap) };
        directory::walk(head, heap, media, |listed| {
            let entry = heap.locate(listed.at, 1).expect("an entry that was read");
            census.reached.enter(heap.block_number(entry));
            census.objects.push(Traced { listed, found: Found::default(), error: None });
            Ok(())
        })?;
        // Heaps go last: what they refer to may be another object's, and that one knows better.
        census.objects.sort_by_key(|object| object.listed.about.descriptor.kind() == Some("PHeap"));
        let core = ReadCore { inner: inner.clone() };
        for Traced { listed, found, error } in &mut census.objects {
            let mut tracer = Tracer::new(heap, media, &mut census.reached, want_references);
            *error = trace(&core, listed, &mut tracer).err();
            *found = tracer.found;
        }
        for Traced { found, .. } in &mut census.objects {
            let mut tracer = Tracer::new(heap, media, &mut census.reached, want_references);
            tracer.found = std::mem::take(found);
            graph::scan_words(&mut tracer);
            *found = tracer.found;
        }
        Ok(census)
    }

    /// Whether all blocks of all objects are known.
    pub(crate) fn is_complete(&self) -> bool {
        self.objects.iter().all(Traced::is_complete)
    }

    /// Blocks that are allocated and that no object has told, in the order of offsets.
    pub(crate) fn unreached<'a>(&'a self, heap: &'a Heap) -> impl Iterator<Item = Block> {
        heap.each_block(self.reached.bits())
    }

    /// Objects that have the block which begins at `at`, each followed by itself.
    pub(crate) fn owners(&self, inner: &Arc<Inner>, writer: &Writer, at: u64) -> Vec<&str> {
        let core = ReadCore { inner: inner.clone() };
        let has = |object: &&Traced| {
            let mut reached = Reached::new(&writer.heap);
            let mut tracer = Tracer::new(&writer.heap, &inner.media, &mut reached, true);
            _ = trace(&core, &object.listed, &mut tracer);
            tracer.found.blocks.iter().any(|block| block.start == at)
        };
        self.objects.iter().filter(has).map(|object| &*object.listed.name).collect()
    }
}

fn trace(core: &ReadCore, listed: &Listed, tracer: &mut Tracer<'_>) -> Result<()> {
    let (body, header, about) = (Body::reading(core), Ptr::from_offset(listed.header), &listed.about);
    let kind = core.inner.kinds.find(&about.type_name);
    match kind.filter(|kind| kind.descriptor.mismatch(&about.descriptor).is_none()) {
        Some(kind) => (kind.trace)(&body, header, tracer),
        None => trace_described(&about.descriptor, header, tracer),
    }
}
