//! Removing entries. Segments stay as they are, until all go.

use super::{
    Blocks, SlotAt, Table,
    bucket::{ELSEWHERE, OCCUPIED, Slots},
    insert::probe,
    layout::GROUP,
    walk::SegmentView,
};
use pmem_alloc::{Plain, Result, Write};

impl<K: Plain, V: Plain> Table<'_, K, V, Write> {
    /// Removes an entry.
    pub(crate) fn remove_at(&mut self, at: SlotAt) -> Result<()> {
        let len =
            self.len.checked_sub(1).ok_or_else(|| self.wrong("an entry in the header's len", "none"))?;
        self.count_elsewhere(at, -1)?;
        let occupied = at.bucket(Self::LAYOUT.bucket) + (OCCUPIED + at.slot / 8) as u64;
        self.bytes_mut(occupied, 1)?[0] &= !(1 << (at.slot % 8));
        self.set_len(len)
    }

    /// Removes entries of a segment: `gone` has a bitmap for each bucket.
    pub(crate) fn remove_slots(&mut self, view: &Gone) -> Result<()> {
        let segment = view.segment;
        let removed: u64 = view.gone.iter().map(|gone| u64::from(gone.count_ones())).sum();
        let len = self.len.checked_sub(removed).ok_or_else(|| {
            self.wrong(format!("at least {removed} entries in the header's len"), self.len.to_string())
        })?;
        // First all that is to be written, from what is there.
        let mut heads = Vec::new();
        for number in 0..segment.buckets() {
            let bucket = self.bucket(segment, number, view.hash)?;
            let elsewhere: [u8; GROUP - 1] = std::array::from_fn(|i| bucket.elsewhere(i + 1));
            heads.push((bucket.occupied & !view.gone[number], elsewhere));
        }
        for (number, &gone) in view.gone.iter().enumerate() {
            let bucket = self.bucket(segment, number, view.hash)?;
            for slot in Slots(gone) {
                let probe = probe(bucket.at, segment.bits, number, self.hash(bucket.key_bytes(slot)))?;
                if probe > 0 {
                    let count = &mut heads[number ^ probe].1[probe - 1];
                    *count = count.checked_sub(1).ok_or_else(|| {
                        crate::damage::corrupt(bucket.at, "a home that counts its entries elsewhere", "fewer")
                    })?;
                }
            }
        }
        for (number, (occupied, elsewhere)) in heads.into_iter().enumerate() {
            let at = segment.at + (number * Self::LAYOUT.bucket + OCCUPIED) as u64;
            let head = self.bytes_mut(at, ELSEWHERE - OCCUPIED + GROUP - 1)?;
            head[..2].copy_from_slice(&occupied.to_le_bytes());
            head[2..].copy_from_slice(&elsewhere);
        }
        self.set_len(len)
    }

    /// Takes everything out: the table is empty, the blocks are the caller's to free.
    pub(crate) fn detach(&mut self) -> Result<Blocks> {
        let blocks = self.blocks()?;
        self.set_len(0)?;
        self.set_root(0)?;
        Ok(blocks)
    }

    /// Removes everything and frees all blocks.
    pub(crate) fn clear(&mut self) -> Result<()> {
        let blocks = self.detach()?;
        blocks.segments.iter().try_for_each(|(segment, _)| self.free(segment.at))?;
        blocks.chunks.iter().try_for_each(|&chunk| self.free(chunk))
    }
}

/// Entries of a segment that are to go.
pub(crate) struct Gone {
    pub(crate) segment: super::bucket::Segment,
    /// The first hash that the segment holds.
    pub(crate) hash: u64,
    /// Slots, for each bucket.
    pub(crate) gone: Vec<u16>,
}

impl Gone {
    /// None, so far.
    pub(crate) fn none<K, V>(view: &SegmentView<'_, K, V>) -> Gone {
        Gone { segment: view.segment, hash: view.hash, gone: vec![0; view.segment.buckets()] }
    }
}
