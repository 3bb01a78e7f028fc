//! Appending and truncating.

use super::{
    LogGuard,
    header::{Header, MAX_SEQ, SEGMENT_HEAD, Segment, SegmentHead},
    segment::{RECORD_HEAD, Tail, checksum, footprint, size_behind},
};
use crate::{damage::corrupt, deque::PDeque, stored::MAX_VALUE};
use pmem_alloc::{ErrorKind, Mut, Ptr, Result, Write};
use std::ops::Range;

impl LogGuard<'_, Write> {
    fn index_mut(&mut self) -> Result<Mut<'_, PDeque<Segment>>> {
        self.body.open_mut::<PDeque<Segment>>(Ptr::from_offset(self.header.index))
    }

    fn store_header(&mut self) -> Result<()> {
        *self.body.get_mut(Ptr::from_offset(self.at))? = self.header;
        Ok(())
    }

    /// The end of the log, looked for once.
    fn known_tail(&mut self) -> Result<Option<Tail>> {
        if self.tail.is_none() {
            self.tail = self.find_tail()?;
        }
        Ok(self.tail)
    }

    /// Appends all, or none.
    pub(super) fn add(&mut self, records: impl Iterator<Item: AsRef<[u8]>>) -> Result<Range<u64>> {
        let (tail, header) = (self.known_tail()?, self.header);
        let start = tail.map_or(header.base, |tail| tail.seq);
        let mut end = start;
        for record in records {
            if let Err(why) = self.add_one(record.as_ref(), end) {
                self.take_back(header, tail)?;
                return Err(why);
            }
            end += 1;
        }
        Ok(start..end)
    }

    fn add_one(&mut self, record: &[u8], seq: u64) -> Result<()> {
        let len = record.len() as u64;
        if len > MAX_VALUE {
            return Err(ErrorKind::TooLarge { what: "record", size: len, maximum: MAX_VALUE }.into());
        }
        if seq >= MAX_SEQ {
            return Err(corrupt(self.at, "fewer than 2^62 records", seq.to_string()));
        }
        let room = |tail: Tail| u64::from(tail.head.size) - tail.place;
        let mut tail = match self.tail {
            Some(tail) if room(tail) >= footprint(len) => tail,
            full => self.add_segment(full.map_or(0, |tail| u64::from(tail.head.size)), len, seq)?,
        };
        let (segment, check) = (self.header.last, checksum(self.header.seed, seq, record));
        let to = self.body.bytes_mut(Ptr::from_offset(segment + tail.place), RECORD_HEAD + len)?;
        to[..4].copy_from_slice(&(len as u32 + 1).to_le_bytes());
        to[4..8].copy_from_slice(&check.to_le_bytes());
        to[8..].copy_from_slice(record);
        if tail.head.note(tail.place, seq - tail.head.base) {
            *self.body.get_mut(Ptr::from_offset(segment))? = tail.head;
        }
        (tail.place, tail.seq) = (tail.place + footprint(len), seq + 1);
        self.tail = Some(tail);
        Ok(())
    }

    /// A segment behind one of `size` that begins with record `base`, of `len` bytes.
    fn add_segment(&mut self, size: u64, len: u64, base: u64) -> Result<Tail> {
        let size = size_behind(size, len);
        let at = self.body.alloc_aligned(size, 64)?;
        if let Err(no_space) = self.index_mut()?.push_back(Segment { at, base }) {
            self.body.free(at)?;
            return Err(no_space);
        }
        let head = SegmentHead::new(size, base);
        *self.body.get_mut(at.cast())? = head;
        (self.header.last, self.header.base) = (at.offset(), base);
        self.store_header()?;
        Ok(Tail { head, place: SEGMENT_HEAD, seq: base })
    }

    /// Makes the log what it was: with this header, and this end.
    fn take_back(&mut self, header: Header, tail: Option<Tail>) -> Result<()> {
        while self.header.last != header.last {
            let Some(last) = self.index_mut()?.pop_back()?.map(|old| old.to_owned()).transpose()? else {
                return Err(corrupt(self.header.index, "the segments of a PLog", "fewer"));
            };
            self.body.free(last.at)?;
            let before = self.index()?.back()?.copied();
            self.header.last = before.map_or(0, |segment| segment.at.offset());
        }
        self.header = header;
        self.store_header()?;
        self.tail = tail;
        let Some(Tail { mut head, place, .. }) = tail else { return Ok(()) };
        let rest = u64::from(head.size).saturating_sub(place);
        if rest > 0 {
            self.body.bytes_mut(Ptr::from_offset(header.last + place), rest)?.fill(0);
        }
        head.forget_from(place);
        *self.body.get_mut(Ptr::from_offset(header.last))? = head;
        Ok(())
    }

    /// Removes the records before `seq`, or all.
    pub(super) fn remove_before(&mut self, seq: u64) -> Result<()> {
        let end = self.known_tail()?.map_or(self.header.base, |tail| tail.seq);
        let seq = seq.min(end);
        if seq <= self.header.first {
            return Ok(());
        }
        let (mut gone, count) = (Vec::new(), self.index()?.len());
        while gone.len() + 1 < count && self.indexed(gone.len() + 1)?.base <= seq {
            let Segment { at, base } = self.indexed(gone.len())?;
            self.segment(at.offset(), base)?;
            if at.offset() == self.header.last {
                return Err(corrupt(self.header.index, "the last segment at the end", "before it"));
            }
            gone.push(at);
        }
        for at in gone {
            self.index_mut()?.pop_front()?;
            self.body.free(at)?;
        }
        self.header.first = seq;
        self.store_header()
    }

    /// Removes all records, and frees all segments.
    pub(super) fn remove_all(&mut self) -> Result<()> {
        let end = self.known_tail()?.map_or(self.header.base, |tail| tail.seq);
        let mut segments = Vec::new();
        for i in 0..self.index()?.len() {
            let Segment { at, base } = self.indexed(i)?;
            segments.push(self.segment(at.offset(), base)?.at);
        }
        self.index_mut()?.clear()?;
        (self.header.first, self.header.last, self.header.base) = (end, 0, end);
        self.store_header()?;
        self.tail = None;
        segments.into_iter().try_for_each(|at| self.body.free(Ptr::<u8>::from_offset(at)))
    }
}
