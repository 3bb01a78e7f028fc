//! All segments, in the order of the hashes that they hold.
//!
//! A walk is a hash to go on from, and each segment says where it ends: so it moves forward however damaged the table
//! is, and meets no segment twice.

use super::{
    Bucket, Table,
    bucket::{Segment, prefix},
    directory::Reference,
};
use crate::damage::corrupt;
use pmem_alloc::{Body, Key, Mode, Ptr, Result, Stored};
use std::marker::PhantomData;

/// A segment, to read bucket by bucket.
pub(crate) struct SegmentView<'a, K, V, M: Mode> {
    body: &'a Body<'a, M>,
    pub(crate) segment: Segment,
    /// The first hash that it holds.
    pub(crate) hash: u64,
    pub(crate) depth: u32,
    bytes: &'a [u8],
    types: PhantomData<fn() -> (K, V)>,
}

impl<'a, K: Key, V: Stored, M: Mode> SegmentView<'a, K, V, M> {
    pub(crate) fn bucket(&self, number: usize) -> Result<Bucket<'a, K, V, M>> {
        let size = Bucket::<K, V, M>::LAYOUT.bucket;
        let start = number * size;
        let bucket = Bucket::of(
            self.body,
            self.segment.at + start as u64,
            &self.bytes[start..start + size],
            self.segment.bits,
            number,
            self.hash,
        )?;
        if bucket.depth() != self.depth {
            return Err(corrupt(bucket.at, format!("depth {}", self.depth), bucket.depth().to_string()));
        }
        Ok(bucket)
    }

    /// The first hash of the next segment; `None` behind the last.
    pub(crate) fn next(&self) -> Option<u64> {
        if self.depth == 0 { None } else { self.hash.checked_add(1 << (64 - self.depth)) }
    }
}

/// All blocks of a table but its header.
#[derive(Default)]
pub(crate) struct Blocks {
    /// Segments, and the first hash of each.
    pub(crate) segments: Vec<(Segment, u64)>,
    pub(crate) chunks: Vec<u64>,
}

impl<K: Key, V: Stored, M: Mode> Table<'_, K, V, M> {
    /// The segment that begins with `hash`; `None` in a table without any.
    pub(crate) fn segment_from(&self, hash: u64) -> Result<Option<SegmentView<'_, K, V, M>>> {
        if self.root == 0 {
            return Ok(None);
        }
        let way = self.way(self.root, hash)?;
        let view = self.view(way.segment, hash)?;
        if way.chunks > 0 && way.segment.bits < Self::LAYOUT.bits {
            return Err(corrupt(
                way.segment.at,
                "a segment of its full size",
                format!("{} buckets", way.segment.buckets()),
            ));
        }
        Ok(Some(view))
    }

    /// A segment that begins with `hash`.
    pub(crate) fn view(&self, segment: Segment, hash: u64) -> Result<SegmentView<'_, K, V, M>> {
        let bytes =
            self.body.bytes(Ptr::from_offset(segment.at), Self::LAYOUT.segment(segment.bits) as u64)?;
        let mut view = SegmentView { body: &self.body, segment, hash, depth: 0, bytes, types: PhantomData };
        let first = Bucket::<K, V, M>::of(
            &self.body,
            segment.at,
            &bytes[..Self::LAYOUT.bucket],
            segment.bits,
            0,
            hash,
        )?;
        view.depth = first.depth();
        if prefix(hash, view.depth) != hash {
            return Err(corrupt(
                segment.at,
                format!("a segment that begins with the hash {hash:#x}"),
                format!("depth {}", view.depth),
            ));
        }
        Ok(view)
    }

    /// All blocks, by way of the directory, which is checked.
    pub(crate) fn blocks(&self) -> Result<Blocks> {
        let mut blocks = Blocks::default();
        if self.root != 0 {
            let root = Reference::decode(self.root, Self::LAYOUT.bits, self.at)?;
            self.find_blocks(&mut blocks, root, 0, 0)?;
        }
        Ok(blocks)
    }

    /// Blocks at and below a reference for hashes from `hash` on that has `level` chunks above it.
    fn find_blocks(&self, blocks: &mut Blocks, reference: Reference, level: u32, hash: u64) -> Result<()> {
        let at = match reference {
            Reference::Segment(segment) => {
                if self.view(segment, hash)?.depth > 0 {
                    return Err(corrupt(segment.at, "the only segment", "one of several"));
                }
                blocks.segments.push((segment, hash));
                return Ok(());
            }
            Reference::Chunk(at) => at,
        };
        blocks.chunks.push(at);
        let references = self.chunk(at, level, hash)?;
        let mut index = 0;
        while index < references.len() {
            let (word, first) = (references[index], Self::first_hash(hash, level, index));
            match Reference::decode(word, Self::LAYOUT.bits, at)? {
                below @ Reference::Chunk(_) => {
                    self.find_blocks(blocks, below, level + 1, first)?;
                    index += 1;
                }
                Reference::Segment(segment) => {
                    let depth = self.view(segment, first)?.depth;
                    let expected = Self::references(level, depth)
                        .filter(|_| segment.bits == Self::LAYOUT.bits)
                        .and_then(|many| references.get(index..index + many))
                        .filter(|same| same.iter().all(|&other| other == word));
                    let Some(same) = expected else {
                        return Err(corrupt(
                            at,
                            format!("the references that a full segment of depth {depth} has"),
                            format!("others from number {index} on"),
                        ));
                    };
                    blocks.segments.push((segment, first));
                    index += same.len();
                }
            }
        }
        Ok(())
    }
}
