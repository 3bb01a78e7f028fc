//! The blocks of a table, and the references in them.

use super::{
    LINE, ROOT, Table,
    bucket::Segment,
    directory::{CHUNK, CHUNK_HEAD, KIND, Reference},
};
use crate::{damage::corrupt, stored};
use pmem_alloc::{Key, Ptr, Read, Result, Stored, Tracer};

impl<K: Key, V: Stored> Table<'_, K, V, Read> {
    /// Tells `tracer` all chunks and segments, and what keys and values refer to. It refuses blocks that were told before, so
    /// this ends however damaged the table is.
    pub(crate) fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), LINE as u64)?;
        match self.root {
            0 => Ok(()),
            root => self.trace_reference(tracer, self.at + ROOT, root, 0, 0),
        }
    }

    /// The reference `word` at `slot`, for hashes from `hash` on, with `level` chunks above it.
    fn trace_reference(
        &self,
        tracer: &mut Tracer<'_>,
        slot: u64,
        word: u64,
        level: u32,
        hash: u64,
    ) -> Result<()> {
        let at = word & !KIND;
        tracer.tagged_pointer(slot, Ptr::from_offset(at), KIND)?;
        match Reference::decode(word, Self::LAYOUT.bits, slot)? {
            Reference::Segment(segment) => self.trace_segment(tracer, segment, hash),
            Reference::Chunk(_) => {
                tracer.block(Ptr::from_offset(at), CHUNK as u64)?;
                let references = self.chunk(at, level, hash)?;
                for (index, &word) in references.iter().enumerate() {
                    let slot = at + (CHUNK_HEAD + 8 * index) as u64;
                    if index > 0 && references[index - 1] == word {
                        // A segment has as many references, side by side, as there are bits that do not tell it apart.
                        tracer.tagged_pointer(slot, Ptr::from_offset(word & !KIND), KIND)?;
                        continue;
                    }
                    self.trace_reference(
                        tracer,
                        slot,
                        word,
                        level + 1,
                        Self::first_hash(hash, level, index),
                    )?;
                }
                Ok(())
            }
        }
    }

    fn trace_segment(&self, tracer: &mut Tracer<'_>, segment: Segment, hash: u64) -> Result<()> {
        tracer.block(Ptr::from_offset(segment.at), Self::LAYOUT.segment(segment.bits) as u64)?;
        let view = self.view(segment, hash)?;
        for number in 0..segment.buckets() {
            let bucket = view.bucket(number)?;
            for slot in bucket.slots() {
                stored::trace::<K>(&self.body, bucket.key_at(slot), bucket.key_slot(slot), tracer)?;
                stored::trace::<V>(&self.body, bucket.value_at(slot), bucket.value_slot(slot), tracer)?;
            }
        }
        if view.depth == 0 && self.root & !KIND != segment.at {
            return Err(corrupt(segment.at, "one of several segments", "the only one"));
        }
        Ok(())
    }
}
