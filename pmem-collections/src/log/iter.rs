//! Reading records in order.

use super::{LogGuard, segment::View};
use crate::damage::corrupt;
use pmem_alloc::{Mode, Result};
use std::{
    iter::FusedIterator,
    ops::{Bound, RangeBounds},
};

/// Iterator over the records of a log or a part of it: seq and bytes. Yields `Result`s, and nothing after an error.
pub struct Iter<'g, M: Mode> {
    log: &'g LogGuard<'g, M>,
    /// The next record, and the first that is too far.
    seq: u64,
    end: u64,
    /// The number of the segment that is read, how many there are, the segment, and where in it the next record begins.
    number: usize,
    count: usize,
    segment: Option<(View<'g>, u64)>,
    done: bool,
}

impl<'g, M: Mode> Iter<'g, M> {
    pub(super) fn new(log: &'g LogGuard<'_, M>, seqs: impl RangeBounds<u64>) -> Self {
        let start = match seqs.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match seqs.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        Iter { log, seq: start.max(log.header.first), end, number: 0, count: 0, segment: None, done: false }
    }

    /// Goes to the first record, if there is one of that seq or a later one.
    fn begin(&mut self) -> Result<Option<(View<'g>, u64)>> {
        self.count = self.log.index()?.len();
        if self.count == 0 {
            return if self.log.header.last == 0 { Ok(None) } else { Err(self.no_last()) };
        }
        self.number = self.log.number_of(self.seq)?;
        let view = self.view()?;
        if view.head.base > self.seq {
            let expected = format!("the segment of record {}", self.seq);
            return Err(corrupt(view.at, expected, format!("one from record {} on", view.head.base)));
        }
        // The last segment may end before that record.
        if self.number + 1 == self.count && self.log.find_tail()?.is_none_or(|tail| tail.seq <= self.seq) {
            return Ok(None);
        }
        Ok(Some((view, view.seek(self.seq)?)))
    }

    fn view(&self) -> Result<View<'g>> {
        let segment = self.log.indexed(self.number)?;
        let is_last = (segment.at.offset(), segment.base) == (self.log.header.last, self.log.header.base);
        if is_last != (self.number + 1 == self.count) {
            return Err(self.no_last());
        }
        self.log.segment(segment.at.offset(), segment.base)
    }

    #[cold]
    fn no_last(&self) -> pmem_alloc::Error {
        corrupt(self.log.at, "the last segment of the index", format!("{:#x}", self.log.header.last))
    }

    fn record(&mut self) -> Result<Option<(u64, &'g [u8])>> {
        if self.seq >= self.end {
            return Ok(None);
        }
        if self.segment.is_none() {
            self.segment = self.begin()?;
        }
        let Some((mut view, mut place)) = self.segment else { return Ok(None) };
        loop {
            if let Some((bytes, next)) = view.read(self.log.header.seed, place, self.seq)? {
                self.segment = Some((view, next));
                self.seq += 1;
                return Ok(Some((self.seq - 1, bytes)));
            }
            view.ends_at(place)?;
            self.number += 1;
            if self.number == self.count {
                return Ok(None);
            }
            let end = view.at + place;
            (view, place) = (self.view()?, super::header::SEGMENT_HEAD);
            if view.head.base != self.seq {
                return Err(corrupt(end, format!("records up to {}", view.head.base), "fewer"));
            }
        }
    }
}

impl<'g, M: Mode> Iterator for Iter<'g, M> {
    type Item = Result<(u64, &'g [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let record = self.record().transpose();
        self.done = !matches!(record, Some(Ok(_)));
        record
    }
}

impl<M: Mode> FusedIterator for Iter<'_, M> {}
