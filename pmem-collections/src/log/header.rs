//! What is on media besides records: the log's own block, segments, and the elements of the index.

use crate::damage::corrupt;
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Plain, PlainField, Ptr, Result, fields};

const MAGIC: u64 = u64::from_le_bytes(*b"PLog    ");
const VERSION: u16 = 1;

/// The header, as it is on media (see `format/log.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    magic: u64,
    version: u16,
    flags: u16,
    reserved: u32,
    pub(super) seed: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) base: u64,
    pub(super) index: u64,
    reserved_too: u64,
}

const _: () = assert!(size_of::<Header>() == 64);
/// Where the offsets are.
pub(super) const LAST: u64 = std::mem::offset_of!(Header, last) as u64;
pub(super) const INDEX: u64 = std::mem::offset_of!(Header, index) as u64;

/// More records than there can be: so that seqs can be added.
pub(super) const MAX_SEQ: u64 = 1 << 62;

impl Header {
    pub(super) fn new(seed: u64, index: u64) -> Header {
        Header { magic: MAGIC, version: VERSION, seed, index, ..Header::zeroed() }
    }

    /// Checks a header that was read at `at`.
    pub(super) fn check(&self, at: u64) -> Result<()> {
        let Header { seed, first, last, base, index, .. } = *self;
        if self.magic != MAGIC {
            return Err(corrupt(at, "the header of a PLog", format!("magic {:#x}", self.magic)));
        }
        if (self.version, self.flags) != (VERSION, 0) {
            return Err(corrupt(
                at,
                format!("format version {VERSION} without flags (a newer program wrote this?)"),
                format!("version {}, flags {:#x}", self.version, self.flags),
            ));
        }
        let seqs = first < MAX_SEQ && base < MAX_SEQ && (last != 0 || first == base);
        let same = *self == Header { first, last, base, ..Header::new(seed, index) };
        if same && seqs && index != 0 && last.is_multiple_of(64) {
            return Ok(());
        }
        Err(corrupt(at, "first, last, base and index that belong together", format!("{self:?}")))
    }
}

const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"PLgS");
/// Bytes before a segment's records.
pub(super) const SEGMENT_HEAD: u64 = 64;
/// Bytes of the first segment.
pub(super) const SMALLEST: u64 = 512;
/// Bytes of a segment, once a log has a few. One and what the index may need with it are less than 4 KiB of fresh memory, which
/// would take a drain of its own.
pub(super) const ORDINARY: u64 = 3072;
/// Bytes of a segment of one large record, at least.
pub(super) const LARGE: u64 = 4096;
const MARKS: usize = 8;

/// The first line of a segment, as it is on media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct SegmentHead {
    magic: u32,
    pub(super) size: u32,
    pub(super) base: u64,
    reserved: [u64; 2],
    marks: [Mark; MARKS],
}

const _: () = assert!(size_of::<SegmentHead>() as u64 == SEGMENT_HEAD);

/// Where a record begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Mark {
    /// In its segment.
    pub(super) at: u16,
    /// Its seq, less the segment's base.
    pub(super) seq: u16,
}

impl SegmentHead {
    pub(super) fn new(size: u64, base: u64) -> SegmentHead {
        SegmentHead { magic: SEGMENT_MAGIC, size: size as u32, base, ..SegmentHead::zeroed() }
    }

    /// Checks what was read at `at`, where the segment with record `base` should be. Marks are in their eighths then, in order.
    pub(super) fn check(&self, at: u64, base: u64) -> Result<()> {
        let SegmentHead { size, marks, .. } = *self;
        if *self != (SegmentHead { marks, ..SegmentHead::new(u64::from(size), base) }) {
            let found = format!("magic {:#x}, base {}", self.magic, self.base);
            return Err(corrupt(at, format!("a segment of a PLog from record {base} on"), found));
        }
        let possible = match u64::from(size) {
            512 | 1024 | 2048 | ORDINARY => self.marks_are_possible(),
            size => size >= LARGE && size.is_multiple_of(64) && marks == [Mark::default(); MARKS],
        };
        if possible {
            return Ok(());
        }
        Err(corrupt(at, "a size of a segment, and marks in it", format!("{size}, {marks:?}")))
    }

    fn marks_are_possible(&self) -> bool {
        let eighth = self.size / MARKS as u32;
        // The first one that is there is of the first record; those behind it, of later ones.
        let (mut start, mut least) = (0, 0);
        for mark in self.marks {
            let (at, seq) = (u32::from(mark.at), u32::from(mark.seq));
            if at | seq != 0 {
                let inside = at.wrapping_sub(start) < eighth && at.is_multiple_of(8);
                let is_first = least == 0 && u64::from(at) == SEGMENT_HEAD && seq == 0;
                if !inside || !is_first && (least == 0 || seq < least) {
                    return false;
                }
                least = seq + 1;
            }
            start += eighth;
        }
        true
    }

    /// The eighth in which a place is.
    fn eighth(&self, at: u64) -> usize {
        (at / (u64::from(self.size) / MARKS as u64)) as usize
    }

    fn has_marks(&self) -> bool {
        u64::from(self.size) <= ORDINARY
    }

    /// The last known record of which the seq, less the base, is at most `seq`: its place, and its seq, less the base. The
    /// beginning, if there is none.
    pub(super) fn before(&self, seq: u64) -> (u64, u64) {
        let known = self.marks.iter().rev().find(|mark| mark.at != 0 && u64::from(mark.seq) <= seq);
        known.map_or((SEGMENT_HEAD, 0), |mark| (mark.at.into(), mark.seq.into()))
    }

    /// Notes that the record with `seq`, less the base, is at `at`. Whether that has to be stored: it is the first of its eighth.
    pub(super) fn note(&mut self, at: u64, seq: u64) -> bool {
        let eighth = self.eighth(at);
        if !self.has_marks() || self.marks[eighth].at != 0 {
            return false;
        }
        self.marks[eighth] = Mark { at: at as u16, seq: seq as u16 };
        true
    }

    /// Takes back what was noted of places from `at` on.
    pub(super) fn forget_from(&mut self, at: u64) {
        for mark in self.marks.iter_mut().filter(|mark| u64::from(mark.at) >= at) {
            *mark = Mark::default();
        }
    }
}

/// An element of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Segment {
    pub(super) at: Ptr<u8>,
    pub(super) base: u64,
}

impl Plain for Segment {
    const NAME: &'static str = "pmem.LogSegment";
    const FIELDS: Option<&'static [PlainField]> = fields!(Segment { at: Ptr<u8>, base: u64 });
}
