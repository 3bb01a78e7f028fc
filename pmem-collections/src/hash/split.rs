//! More room: a small segment grows, a full one becomes two. Entries keep their slots.

use super::{
    Bucket, Table,
    bucket::{ELSEWHERE, FINGERPRINTS, MAX_DEPTH, OCCUPIED, Segment, identity, prefix},
    directory::{Reference, Way},
    insert::{SegmentImage, probe},
    layout::GROUP,
};
use crate::damage::corrupt;
use pmem_alloc::{Key, Ptr, Result, Stored, Write};

impl<K: Key, V: Stored> Table<'_, K, V, Write> {
    /// Doubles the number of buckets of a small segment, the only one of its table.
    pub(super) fn grow(&mut self, way: &Way, hash: u64) -> Result<()> {
        let (old, bits) = (way.segment, way.segment.bits + 1);
        let mut image = SegmentImage::new::<K, V>(0, 0, bits);
        for number in 0..old.buckets() {
            let bucket = self.bucket(old, number, hash)?;
            if way.chunks > 0 || bucket.depth() > 0 {
                return Err(corrupt(
                    old.at,
                    "a segment of its full size",
                    format!("{} buckets", old.buckets()),
                ));
            }
            for slot in bucket.slots() {
                let hash = self.hash(bucket.key_form(slot)?);
                probe(bucket.at, old.bits, number, hash)?;
                let new_bit = hash as usize & old.buckets();
                image.push(&bucket, slot, number | new_bit, hash)?;
            }
        }
        let at = self.alloc(image.bytes.len())?;
        self.bytes_mut(at, image.bytes.len())?.copy_from_slice(&image.bytes);
        self.refer(way, Reference::Segment(Segment { at, bits }))?;
        self.free(old.at)
    }

    /// A new segment takes the entries of a full one of which the next bit of the hash is 1.
    pub(super) fn split(&mut self, way: &Way, hash: u64) -> Result<()> {
        let (layout, old) = (Self::LAYOUT, way.segment);
        let depth = self.bucket(old, 0, hash)?.depth();
        if depth >= MAX_DEPTH {
            return Err(corrupt(old.at, format!("a depth below {MAX_DEPTH}"), depth.to_string()));
        }
        let new_bit = 1 << (63 - depth);
        let mut image = SegmentImage::new::<K, V>(prefix(hash, depth) | new_bit, depth + 1, old.bits);
        let mut heads: Vec<[u8; FINGERPRINTS]> = (0..old.buckets())
            .map(|number| {
                let mut head = [0; FINGERPRINTS];
                let identity = identity(prefix(hash, depth), depth + 1, old.bits, number);
                head[..OCCUPIED].copy_from_slice(&identity.to_le_bytes());
                head
            })
            .collect();
        let bytes = self.body.bytes(Ptr::from_offset(old.at), layout.segment(old.bits) as u64)?;
        for (number, bytes) in bytes.chunks_exact(layout.bucket).enumerate() {
            let at = old.at + (number * layout.bucket) as u64;
            let bucket = Bucket::<K, V, _>::of(&self.body, at, bytes, old.bits, number, hash)?;
            if bucket.depth() != depth {
                return Err(corrupt(at, format!("depth {depth}"), bucket.depth().to_string()));
            }
            for slot in bucket.slots() {
                let other = self.hash(bucket.key_form(slot)?);
                if prefix(other ^ hash, depth) != 0 {
                    return Err(corrupt(
                        at,
                        format!("hashes that begin as {hash:#x}"),
                        format!("{other:#x}"),
                    ));
                }
                if other & new_bit != 0 {
                    image.push(&bucket, slot, number, other)?;
                    continue;
                }
                heads[number][OCCUPIED + slot / 8] |= 1 << (slot % 8);
                let probe = probe(at, old.bits, number, other)?;
                if probe > 0 {
                    heads[number ^ probe][ELSEWHERE + probe - 1] += 1;
                }
            }
        }
        let chunk = if Self::needs_chunk(way, depth) { Some(self.alloc_chunk()?) } else { None };
        let at = match self.alloc(image.bytes.len()) {
            Ok(at) => at,
            Err(no_space) => {
                if let Some(chunk) = chunk {
                    self.free(chunk)?;
                }
                return Err(no_space);
            }
        };

        // From here on nothing fails but for damage, and no foreign code runs.
        self.link(way, hash, depth, Segment { at, bits: old.bits }, chunk)?;
        self.bytes_mut(at, image.bytes.len())?.copy_from_slice(&image.bytes);
        for (number, head) in heads.iter().enumerate() {
            const { assert!(ELSEWHERE + GROUP - 1 <= FINGERPRINTS) };
            self.bytes_mut(old.at + (number * layout.bucket) as u64, FINGERPRINTS)?.copy_from_slice(head);
        }
        Ok(())
    }
}
