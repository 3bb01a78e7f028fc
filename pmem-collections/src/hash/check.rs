//! Whether a table is what it should be.

use super::{
    Bucket, Table,
    bucket::{FINGERPRINTS, Segment, fingerprint, prefix},
    directory::CHUNK,
    insert::probe,
    layout::{GROUP, LINE},
};
use crate::{damage::corrupt, stored};
use pmem_alloc::{Key, Mode, Result, Stored};
use std::collections::HashSet;

/// What [`check`](crate::hash_map::HashMapGuard::check) found in a table that is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableSummary {
    /// Number of entries.
    pub entries: u64,
    /// Number of segments.
    pub segments: u64,
    /// Number of chunks of the directory.
    pub chunks: u64,
    /// Slots, taken and free.
    pub slots: u64,
    /// Entries that are not in their home bucket.
    pub elsewhere: u64,
    /// Blocks of keys and values that do not fit their slots.
    pub blocks: u64,
    /// Bytes of the header and all blocks; of an object among the values, one byte.
    pub bytes: u64,
}

impl<K: Key, V: Stored, M: Mode> Table<'_, K, V, M> {
    /// Reads every block, key and value, and checks all there is to check.
    /// Of values, `check_value` checks each.
    pub(crate) fn check(
        &self,
        check_value: impl Fn(&Bucket<'_, K, V, M>, usize) -> Result<()>,
    ) -> Result<TableSummary> {
        let mut owned = HashSet::new();
        let blocks = self.blocks()?;
        let mut summary = TableSummary {
            segments: blocks.segments.len() as u64,
            chunks: blocks.chunks.len() as u64,
            bytes: LINE as u64 + (CHUNK * blocks.chunks.len()) as u64,
            ..TableSummary::default()
        };
        for (segment, hash) in blocks.segments {
            summary.bytes += Self::LAYOUT.segment(segment.bits) as u64;
            summary.slots += (segment.buckets() * Self::LAYOUT.slots) as u64;
            self.check_segment(&mut summary, &mut owned, segment, hash, &check_value)?;
        }
        if summary.entries != self.len {
            return Err(
                self.wrong(format!("{} entries, as the header says", self.len), summary.entries.to_string())
            );
        }
        Ok(summary)
    }

    fn check_segment(
        &self,
        summary: &mut TableSummary,
        owned: &mut HashSet<u64>,
        segment: Segment,
        first: u64,
        check_value: &impl Fn(&Bucket<'_, K, V, M>, usize) -> Result<()>,
    ) -> Result<()> {
        let view = self.view(segment, first)?;
        let mut elsewhere = vec![[0u8; GROUP - 1]; segment.buckets()];
        let mut keys = Vec::new();
        for number in 0..segment.buckets() {
            let bucket = view.bucket(number)?;
            for slot in bucket.slots() {
                bucket.key(slot)?;
                check_value(&bucket, slot)?;
                let key = bucket.key_form(slot)?;
                let blocks = [
                    stored::block::<K>(bucket.key_at(slot), bucket.key_slot(slot))?,
                    stored::block::<V>(bucket.value_at(slot), bucket.value_slot(slot))?,
                ];
                for (block, len) in blocks.into_iter().flatten() {
                    if !owned.insert(block) {
                        return Err(corrupt(block, "a block with one owner", "one with two"));
                    }
                    summary.blocks += 1;
                    summary.bytes += len;
                }
                let hash = self.hash(key);
                if prefix(hash ^ first, view.depth) != 0 {
                    return Err(corrupt(
                        bucket.at,
                        format!("hashes that begin as {first:#x}"),
                        format!("{hash:#x}"),
                    ));
                }
                let probe = probe(bucket.at, segment.bits, number, hash)?;
                if probe > 0 {
                    elsewhere[number ^ probe][probe - 1] += 1;
                    summary.elsewhere += 1;
                }
                let found = bucket.bytes[FINGERPRINTS + slot];
                if found != fingerprint(hash) {
                    return Err(corrupt(
                        bucket.at + (FINGERPRINTS + slot) as u64,
                        format!("fingerprint {}", fingerprint(hash)),
                        found.to_string(),
                    ));
                }
                keys.push((hash, key, bucket.at));
            }
        }
        for (number, expected) in elsewhere.iter().enumerate() {
            let bucket = view.bucket(number)?;
            if bucket.reserved().iter().any(|byte| *byte != 0) {
                return Err(corrupt(bucket.at, "zeroes where nothing is", "other bytes"));
            }
            let found: [u8; GROUP - 1] = std::array::from_fn(|i| bucket.elsewhere(i + 1));
            if found != *expected {
                return Err(corrupt(
                    bucket.at,
                    format!("{expected:?} entries elsewhere"),
                    format!("{found:?}"),
                ));
            }
        }
        keys.sort_unstable();
        if let Some(same) = keys.windows(2).find(|two| two[0].1 == two[1].1) {
            return Err(corrupt(same[1].2, "every key once", "one twice"));
        }
        summary.entries += keys.len() as u64;
        Ok(())
    }
}
