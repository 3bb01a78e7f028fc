//! Whether a log is what it should be; and its blocks, and the references in them.

use super::{
    LogGuard,
    header::{INDEX, LAST, SEGMENT_HEAD, Segment, SegmentHead},
};
use crate::{damage::corrupt, deque::PDeque};
use pmem_alloc::{Mode, Ptr, Read, Result, Tracer};
use std::collections::HashSet;

/// What [`check`](LogGuard::check) found in a log that is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSummary {
    /// Number of records.
    pub records: u64,
    /// Number of segments.
    pub segments: u64,
    /// Blocks of the index, its header among them.
    pub index_blocks: u64,
    /// Bytes of all blocks.
    pub bytes: u64,
}

impl<M: Mode> LogGuard<'_, M> {
    pub(super) fn check_all(&self) -> Result<LogSummary> {
        let (index, seed) = (self.index()?, self.header.seed);
        let found = index.check()?;
        let mut summary = LogSummary {
            segments: found.elements,
            index_blocks: 1 + found.leaves + found.inner_nodes,
            bytes: 64 + found.bytes,
            ..LogSummary::default()
        };
        let mut seen = HashSet::new();
        let (mut last, mut last_base, mut seq) = (0, self.header.base, self.header.base);
        for segment in &index {
            let Segment { at, base } = *segment?;
            let view = self.segment(at.offset(), base)?;
            if !seen.insert(view.at) || last != 0 && base != seq {
                return Err(corrupt(view.at, format!("the only segment of record {seq}"), "another"));
            }
            if last == 0 && base > self.header.first {
                return Err(corrupt(
                    view.at,
                    format!("the segment of record {}", self.header.first),
                    "a later one",
                ));
            }
            (last, last_base, seq) = (view.at, base, base);
            let (mut place, mut marks) = (SEGMENT_HEAD, SegmentHead::new(view.head.size.into(), base));
            while let Some((_, next)) = view.read(seed, place, seq)? {
                marks.note(place, seq - base);
                (place, seq) = (next, seq + 1);
            }
            view.ends_at(place)?;
            if marks != view.head || seq == base {
                return Err(corrupt(view.at, format!("{marks:?}, and records"), format!("{:?}", view.head)));
            }
            if seq < self.header.first && last != self.header.last {
                return Err(corrupt(view.at, "records that are not truncated", "none"));
            }
            summary.bytes += u64::from(view.head.size);
        }
        if (last, last_base) != (self.header.last, self.header.base) || seq < self.header.first {
            return Err(corrupt(
                self.at,
                format!("the last segment at {last:#x}, record {seq}"),
                format!("{:?}", self.header),
            ));
        }
        summary.records = seq - self.header.first;
        Ok(summary)
    }
}

impl LogGuard<'_, Read> {
    /// Tells `tracer` all blocks. It refuses those that were told before, so this ends however damaged the log is.
    pub(super) fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), 64)?;
        tracer.pointer(self.at + LAST, Ptr::from_offset(self.header.last))?;
        tracer.object::<PDeque<Segment>>(&self.body, self.at + INDEX, Ptr::from_offset(self.header.index))?;
        for segment in &self.index()? {
            let Segment { at, base } = *segment?;
            let view = self.segment(at.offset(), base)?;
            tracer.block(at, view.head.size.into())?;
        }
        Ok(())
    }
}
