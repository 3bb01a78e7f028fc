//! Segments, to read: checked, zero-copy.

use super::{
    LogGuard,
    header::{LARGE, MAX_SEQ, ORDINARY, SEGMENT_HEAD, SMALLEST, Segment, SegmentHead},
};
use crate::damage::corrupt;
use pmem_alloc::{Mode, Ptr, Result};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a record before those that were appended.
pub(super) const RECORD_HEAD: u64 = 8;

/// Bytes from the start of a record to that of the next.
pub(super) fn footprint(len: u64) -> u64 {
    RECORD_HEAD + len.next_multiple_of(8)
}

/// What a record has beside its length, so that it is one of this log, with this seq.
pub(super) fn checksum(seed: u64, seq: u64, bytes: &[u8]) -> u32 {
    xxh3_64_with_seed(bytes, seed ^ seq.rotate_left(32) ^ bytes.len() as u64) as u32
}

/// Bytes of a segment that comes behind one of `size`, and begins with a record of `len` bytes.
pub(super) fn size_behind(size: u64, len: u64) -> u64 {
    let needed = SEGMENT_HEAD + footprint(len);
    let mut next = if size < SMALLEST { SMALLEST } else { (2 * size).min(ORDINARY) };
    while next < ORDINARY && next < needed {
        next = (2 * next).min(ORDINARY);
    }
    if needed <= next { next } else { needed.next_multiple_of(64).max(LARGE) }
}

/// A segment, as it is on media.
#[derive(Clone, Copy)]
pub(super) struct View<'g> {
    pub(super) at: u64,
    pub(super) head: SegmentHead,
    bytes: &'g [u8],
}

/// The end of the log: in the last segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) head: SegmentHead,
    /// Where in the segment the next record goes.
    pub(super) place: u64,
    /// The seq it gets.
    pub(super) seq: u64,
}

impl<'g> View<'g> {
    fn u32_at(&self, place: u64) -> u32 {
        let place = place as usize;
        u32::from_le_bytes(self.bytes[place..place + 4].try_into().expect("four bytes"))
    }

    /// The record that begins at `place`: where its bytes are. `None`: there are no more.
    fn record(&self, place: u64) -> Result<Option<Range<u64>>> {
        let size = u64::from(self.head.size);
        if place + RECORD_HEAD > size {
            return Ok(None);
        }
        let start = place + RECORD_HEAD;
        match self.u32_at(place).checked_sub(1).map(u64::from) {
            None if self.u32_at(place + 4) == 0 => Ok(None),
            Some(len) if len <= size - start => Ok(Some(start..start + len)),
            _ => Err(corrupt(self.at + place, "a record inside its segment, or none", "another length")),
        }
    }

    /// The bytes of the record `seq` that begins at `place`, and where the next one would. `None`: there are no more.
    pub(super) fn read(&self, seed: u64, place: u64, seq: u64) -> Result<Option<(&'g [u8], u64)>> {
        let Some(Range { start, end }) = self.record(place)? else { return Ok(None) };
        let bytes = &self.bytes[start as usize..end as usize];
        let (expected, found) = (checksum(seed, seq, bytes), self.u32_at(place + 4));
        if expected == found {
            return Ok(Some((bytes, place + footprint(bytes.len() as u64))));
        }
        Err(corrupt(self.at + place, format!("record {seq}, checksum {expected:#x}"), format!("{found:#x}")))
    }

    /// Where record `seq`, which this segment has, begins. Lengths and marks on the way are what they are: whoever reads the
    /// record sees by its checksum whether it is the one.
    pub(super) fn seek(&self, seq: u64) -> Result<u64> {
        let wanted = seq - self.head.base;
        let (mut place, mut number) = self.head.before(wanted);
        while number < wanted {
            let Some(Range { end, .. }) = self.record(place)? else {
                return Err(corrupt(self.at + place, format!("a record before {seq}"), "none"));
            };
            (place, number) = (end.next_multiple_of(8), number + 1);
        }
        Ok(place)
    }

    /// The end of the segment's records, of which there is one at least.
    pub(super) fn tail(&self, seed: u64) -> Result<Tail> {
        let (mut place, mut number) = self.head.before(u64::MAX);
        let mut last = None;
        while let Some(Range { end, .. }) = self.record(place)? {
            last = Some((place, number));
            (place, number) = (end.next_multiple_of(8), number + 1);
        }
        // Of that seq and at that place, it is the one to which the right way leads.
        let Some((at, last)) = last else {
            return Err(corrupt(self.at + place, format!("record {}", self.head.base + number), "none"));
        };
        self.read(seed, at, self.head.base + last)?;
        Ok(Tail { head: self.head, place, seq: self.head.base + number })
    }

    /// That there is nothing from `place` on, where the last record ends.
    pub(super) fn ends_at(&self, place: u64) -> Result<()> {
        let rest = &self.bytes[place.min(u64::from(self.head.size)) as usize..];
        match rest.iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(i) => {
                Err(corrupt(self.at + place + i as u64, "zeros behind the last record", "other bytes"))
            }
        }
    }
}

impl<M: Mode> LogGuard<'_, M> {
    /// The segment at `at` that begins with record `base`.
    pub(super) fn segment(&self, at: u64, base: u64) -> Result<View<'_>> {
        if at == 0 || base >= MAX_SEQ {
            return Err(corrupt(self.at, "a segment", format!("offset {at:#x}, record {base}")));
        }
        let head = *self.body.get::<SegmentHead>(Ptr::from_offset(at))?;
        head.check(at, base)?;
        Ok(View { at, head, bytes: self.body.bytes(Ptr::from_offset(at), u64::from(head.size))? })
    }

    /// The last segment.
    pub(super) fn last_segment(&self) -> Result<Option<View<'_>>> {
        match self.header.last {
            0 => Ok(None),
            at => self.segment(at, self.header.base).map(Some),
        }
    }

    /// The index's element for segment number `i`.
    pub(super) fn indexed(&self, i: usize) -> Result<Segment> {
        let index = self.index()?;
        let found = index.get(i)?.copied();
        found.ok_or_else(|| corrupt(self.header.index, format!("segment {i} of a PLog"), "fewer"))
    }

    /// The number of the segment in which record `seq` is, if there is such a record.
    pub(super) fn number_of(&self, seq: u64) -> Result<usize> {
        let index = self.index()?;
        let base = |i: usize| index.get(i).map(|found| found.map_or(u64::MAX, |segment| segment.base));
        // From `low` on, below `high`; segment `low` begins with record `from`, segment `high` with `to`, or not before it.
        let (mut low, mut high) = (0, index.len());
        let (mut from, mut to) = (base(0)?, self.header.base.max(seq).saturating_add(1));
        let mut guesses = true;
        while high - low > 1 {
            // Segments have about as many records each, so a guess is near; but every other step is a half, whatever is in the index.
            let guess =
                seq.saturating_sub(from) as f64 / to.saturating_sub(from).max(1) as f64 * (high - low) as f64;
            let middle = if guesses {
                low + (guess as usize).clamp(1, high - low - 1)
            } else {
                low + (high - low) / 2
            };
            let found = base(middle)?;
            if found <= seq {
                (low, from) = (middle, found);
            } else {
                (high, to) = (middle, found);
            }
            guesses = !guesses;
        }
        Ok(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_grow_to_their_size_and_a_record_that_does_not_fit_has_one_of_its_own() {
        let mut sizes = vec![0];
        for _ in 0..6 {
            sizes.push(size_behind(*sizes.last().unwrap(), 64));
        }
        assert_eq!(sizes, [0, 512, 1024, 2048, 3072, 3072, 3072]);
        assert_eq!(
            [440, 441, 3000, 3001, 4024, 4025].map(|len| size_behind(0, len)),
            [512, 1024, 3072, 4096, 4096, 4160]
        );
        assert_eq!([10, 5000].map(|len| size_behind(3072, len)), [3072, 5120]);
        assert_eq!(size_behind(1 << 20, 10), 3072);
    }
}
