//! Removing entries. Segments stay as they are, until all go.

use super::{
    Blocks, Bucket, SlotAt, Table,
    bucket::{ELSEWHERE, OCCUPIED, Segment, Slots},
    insert::probe,
    layout::GROUP,
    walk::SegmentView,
};
use crate::stored::{self, StoredBytes, is_fixed};
use pmem_alloc::{Key, Mode, Result, Stored, Write};

impl<K: Key, V: Stored> Table<'_, K, V, Write> {
    /// Removes an entry.
    pub(crate) fn remove_at(&mut self, at: SlotAt) -> Result<()> {
        let bucket = self.bucket_of(at)?;
        let owned = Owned::of(&bucket, at.slot);
        let len =
            self.len.checked_sub(1).ok_or_else(|| self.wrong("an entry in the header's len", "none"))?;
        self.count_elsewhere(at, -1)?;
        let occupied = at.bucket(Self::LAYOUT.bucket) + (OCCUPIED + at.slot / 8) as u64;
        self.bytes_mut(occupied, 1)?[0] &= !(1 << (at.slot % 8));
        self.set_len(len)?;
        self.release(&owned)
    }

    /// Removes entries of a segment: `gone` has a bitmap for each bucket.
    pub(crate) fn remove_slots(&mut self, view: &Gone) -> Result<()> {
        let segment = view.segment;
        let removed: u64 = view.gone.iter().map(|gone| u64::from(gone.count_ones())).sum();
        let len = self.len.checked_sub(removed).ok_or_else(|| {
            self.wrong(format!("at least {removed} entries in the header's len"), self.len.to_string())
        })?;
        // First all that is to be written, from what is there.
        let (mut heads, mut owned) = (Vec::new(), Vec::new());
        for number in 0..segment.buckets() {
            let bucket = self.bucket(segment, number, view.hash)?;
            let elsewhere: [u8; GROUP - 1] = std::array::from_fn(|i| bucket.elsewhere(i + 1));
            heads.push((bucket.occupied & !view.gone[number], elsewhere));
        }
        for (number, &gone) in view.gone.iter().enumerate() {
            let bucket = self.bucket(segment, number, view.hash)?;
            for slot in Slots(gone) {
                let probe = probe(bucket.at, segment.bits, number, self.hash(bucket.key_form(slot)?))?;
                if const { !is_inline::<K, V>() } {
                    owned.push(Owned::of(&bucket, slot));
                }
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
        self.set_len(len)?;
        owned.iter().try_for_each(|owned| self.release(owned))
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
        blocks.segments.iter().try_for_each(|&(segment, hash)| self.free_segment(segment, hash))?;
        blocks.chunks.iter().try_for_each(|&chunk| self.free(chunk))
    }
}

/// Whether slots refer to nothing.
const fn is_inline<K: Stored, V: Stored>() -> bool {
    is_fixed::<K>() && is_fixed::<V>()
}

/// The slots of an entry that is about to go: what they refer to goes with it.
struct Owned {
    key: (u64, StoredBytes),
    value: (u64, StoredBytes),
}

impl Owned {
    fn of<K: Key, V: Stored, M: Mode>(bucket: &Bucket<'_, K, V, M>, slot: usize) -> Owned {
        Owned {
            key: (bucket.key_at(slot), StoredBytes::new(bucket.key_slot(slot), 1)),
            value: (bucket.value_at(slot), StoredBytes::new(bucket.value_slot(slot), 1)),
        }
    }
}

impl<K: Key, V: Stored> Table<'_, K, V, Write> {
    fn release(&mut self, Owned { key, value }: &Owned) -> Result<()> {
        stored::release::<K>(&mut self.body, key.0, key.1.as_slice())?;
        stored::release::<V>(&mut self.body, value.0, value.1.as_slice())
    }

    /// Frees a segment whose first hash is `hash`, and what its slots refer to.
    pub(crate) fn free_segment(&mut self, segment: Segment, hash: u64) -> Result<()> {
        if const { !is_inline::<K, V>() } {
            let (view, mut owned) = (self.view(segment, hash)?, Vec::new());
            for number in 0..segment.buckets() {
                let bucket = view.bucket(number)?;
                owned.extend(bucket.slots().map(|slot| Owned::of(&bucket, slot)));
            }
            owned.iter().try_for_each(|owned| self.release(owned))?;
        }
        self.free(segment.at)
    }
}

/// Entries of a segment that are to go.
pub(crate) struct Gone {
    pub(crate) segment: Segment,
    /// The first hash that the segment holds.
    pub(crate) hash: u64,
    /// Slots, for each bucket.
    pub(crate) gone: Vec<u16>,
}

impl Gone {
    /// None, so far.
    pub(crate) fn none<K: Key, V: Stored, M: Mode>(view: &SegmentView<'_, K, V, M>) -> Gone {
        Gone { segment: view.segment, hash: view.hash, gone: vec![0; view.segment.buckets()] }
    }
}
