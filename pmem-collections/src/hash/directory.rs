//! The way from a hash to its segment: a tree of chunks of 64 references.
//!
//! Nothing is ever doubled. A chunk that has run out of bits for one of its segments gets a chunk below it, for this
//! segment alone. Heads of chunks are not read on the way down: the identity of the bucket at its end proves the way.

use super::{
    Table,
    bucket::{Segment, prefix},
    header::ROOT,
};
use crate::damage::corrupt;
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Body, Error, Key, Mode, Ptr, Result, Stored, Write};

/// References in a chunk: 6 bits of the hash.
pub(crate) const FANOUT: usize = 64;
const FANOUT_BITS: u32 = 6;
/// Chunks on the longest way: all bits that choose segments.
const MAX_CHUNKS: u32 = 7;
pub(super) const CHUNK_HEAD: usize = 64;
pub(crate) const CHUNK: usize = CHUNK_HEAD + 8 * FANOUT;

pub(super) const KIND: u64 = 63;
const CHUNK_KIND: u64 = 1;
const MAGIC: u32 = u32::from_le_bytes(*b"PHMc");

/// What a chunk begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct ChunkHead {
    magic: u32,
    level: u32,
    prefix: u64,
    reserved: [u64; 6],
}
const _: () = assert!(size_of::<ChunkHead>() == CHUNK_HEAD);

impl ChunkHead {
    fn new(level: u32, hash: u64) -> ChunkHead {
        ChunkHead { magic: MAGIC, level, prefix: prefix(hash, FANOUT_BITS * level), reserved: [0; 6] }
    }
}

/// What a reference that is not null refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Chunk(u64),
    Segment(Segment),
}

impl Reference {
    /// Of a segment of a table whose full ones have `most` bits.
    #[inline]
    pub(crate) fn decode(word: u64, most: u32, from: u64) -> Result<Reference> {
        let (at, kind) = (word & !KIND, word & KIND);
        if at >> 63 != 0 {
            return Err(no_reference(word, from)); // nothing is there, and what is added to it could overflow
        }
        if at != 0 && kind == CHUNK_KIND {
            return Ok(Reference::Chunk(at));
        }
        let bits = (kind / 2) as u32;
        if at == 0 || kind % 2 != 0 || bits > most {
            return Err(no_reference(word, from));
        }
        Ok(Reference::Segment(Segment { at, bits }))
    }

    pub(crate) fn encode(self) -> u64 {
        match self {
            Reference::Chunk(at) => at | CHUNK_KIND,
            Reference::Segment(Segment { at, bits }) => at | u64::from(2 * bits),
        }
    }
}

#[cold]
fn no_reference(word: u64, from: u64) -> Error {
    corrupt(from, "a reference to a segment or a chunk", format!("{word:#x}"))
}

/// The reference that leads to a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Where it is: the header's root, or the first of a chunk's that is for the hash asked for.
    pub(crate) from: u64,
    /// Number of chunks before it.
    pub(crate) chunks: u32,
    pub(crate) segment: Segment,
}

/// The references of the chunk that `root` refers to, as long as the transaction: if it does, and nothing can change them. What
/// is damaged is found by whoever needs it.
pub(super) fn steady_references<'t, M: Mode>(body: &Body<'t, M>, root: u64) -> Option<&'t [u64]> {
    if root & KIND != CHUNK_KIND {
        return None;
    }
    let references = (root & !KIND).saturating_add(CHUNK_HEAD as u64);
    let bytes = body.steady(Ptr::from_offset(references), 8 * FANOUT as u64).ok()??;
    bytemuck::try_cast_slice(bytes).ok()
}

impl<K: Key, V: Stored, M: Mode> Table<'_, K, V, M> {
    /// The way below `root`, which is not null, to the segment of a hash.
    #[inline]
    pub(crate) fn way(&self, root: u64, hash: u64) -> Result<Way> {
        let (mut word, mut from, mut chunks) = (root, self.at + ROOT, 0);
        if let Some(&top) = self.top.and_then(|top| top.get(Self::index(hash, 0)))
            && root == self.root
        {
            (word, from, chunks) = (top, Self::reference_at(root & !KIND, hash, 0), 1);
        }
        loop {
            match Reference::decode(word, Self::LAYOUT.bits, from)? {
                Reference::Segment(segment) => return Ok(Way { from, chunks, segment }),
                Reference::Chunk(at) if chunks < MAX_CHUNKS => {
                    // Nothing of the chunk is checked yet: it may be nowhere.
                    from = Self::reference_at(at, hash, chunks);
                    word = *self.body.get::<u64>(Ptr::from_offset(from))?;
                    chunks += 1;
                }
                Reference::Chunk(at) => return Err(corrupt(at, "a segment", "a chunk below 7 others")),
            }
        }
    }

    /// Where a chunk's reference for a hash is.
    #[inline]
    fn reference_at(chunk: u64, hash: u64, level: u32) -> u64 {
        chunk.saturating_add(CHUNK_HEAD as u64 + 8 * Self::index(hash, level) as u64)
    }

    /// Which of the references of a chunk with `level` others above it is for a hash.
    #[inline]
    fn index(hash: u64, level: u32) -> usize {
        (hash << (FANOUT_BITS * level) >> (64 - FANOUT_BITS)) as usize
    }

    /// The chunk at `at`, whose hashes begin as `hash` does: its references.
    pub(crate) fn chunk(&self, at: u64, level: u32, hash: u64) -> Result<&[u64]> {
        let bytes = self.body.bytes(Ptr::from_offset(at), CHUNK as u64)?;
        let (head, references) = bytes.split_at(CHUNK_HEAD);
        let expected = ChunkHead::new(level, hash);
        if level >= MAX_CHUNKS || head != bytemuck::bytes_of(&expected) {
            let found: ChunkHead = bytemuck::pod_read_unaligned(head);
            return Err(corrupt(at, format!("{expected:?}"), format!("{found:?}")));
        }
        bytemuck::try_cast_slice(references)
            .map_err(|why| corrupt(at, "a chunk, at a multiple of 64", why.to_string()))
    }

    /// The hash that a reference of a chunk is the first for.
    pub(crate) fn first_hash(hash: u64, level: u32, index: usize) -> u64 {
        let depth = FANOUT_BITS * (level + 1);
        prefix(hash, FANOUT_BITS * level) | (index as u64) << (64 - depth)
    }

    /// Number of references in a chunk of `level` that a segment of `depth` has; `None` if it has no place there.
    pub(crate) fn references(level: u32, depth: u32) -> Option<usize> {
        let (above, below) = (FANOUT_BITS * level, FANOUT_BITS * (level + 1));
        (above < depth && depth <= below).then(|| 1 << (below - depth))
    }
}

impl<K: Key, V: Stored> Table<'_, K, V, Write> {
    /// Whether a segment of `depth` at the end of `way` has no references to spare for another.
    pub(crate) fn needs_chunk(way: &Way, depth: u32) -> bool {
        depth == FANOUT_BITS * way.chunks
    }

    pub(crate) fn alloc_chunk(&mut self) -> Result<u64> {
        self.alloc(CHUNK)
    }

    /// Two segments of depth `depth + 1` take the place of the one of `depth` at the end of `way`, which is `left`'s
    /// too. A new chunk takes the place of its only reference, if it had only one.
    pub(crate) fn link(
        &mut self,
        way: &Way,
        hash: u64,
        depth: u32,
        right: Segment,
        chunk: Option<u64>,
    ) -> Result<()> {
        let (left, right) = (Reference::Segment(way.segment).encode(), Reference::Segment(right).encode());
        if let Some(at) = chunk {
            let mut bytes = [0; CHUNK];
            bytes[..CHUNK_HEAD].copy_from_slice(bytemuck::bytes_of(&ChunkHead::new(way.chunks, hash)));
            for (i, reference) in bytes[CHUNK_HEAD..].as_chunks_mut::<8>().0.iter_mut().enumerate() {
                *reference = if i < FANOUT / 2 { left } else { right }.to_le_bytes();
            }
            self.body.bytes_mut(Ptr::from_offset(at), CHUNK as u64)?.copy_from_slice(&bytes);
            return self.refer(way, Reference::Chunk(at));
        }
        let level = way.chunks.checked_sub(1);
        let references = level.and_then(|level| Self::references(level, depth)).filter(|&many| many > 1);
        let (Some(level), Some(references)) = (level, references) else {
            return Err(corrupt(way.segment.at, "a depth that fits its place", depth.to_string()));
        };
        // The first for the segment's prefix and a 1 behind it.
        let first = Self::index(prefix(hash, depth) | 1 << (63 - depth), level);
        let start = way.from - 8 * Self::index(hash, level) as u64;
        let half = references / 2;
        let at = Ptr::from_offset(start + 8 * first as u64);
        let bytes = self.body.bytes_mut(at, 8 * half as u64)?;
        bytes.as_chunks_mut::<8>().0.fill(right.to_le_bytes());
        Ok(())
    }

    /// Changes the one reference at the end of `way`.
    pub(crate) fn refer(&mut self, way: &Way, to: Reference) -> Result<()> {
        if way.chunks == 0 {
            return self.set_root(to.encode());
        }
        *self.body.get_mut::<u64>(Ptr::from_offset(way.from))? = to.encode();
        Ok(())
    }
}
