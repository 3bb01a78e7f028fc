//! The seam where others read what was committed: change capture, replication.

use crate::engine::{Change, Entries, WriteSet};
use pmem_map::{LINE, Region};
use std::ops::Range;

/// Sees every committed record, in order, after it is durable and in place, on the committing thread.
///
/// A panic in it reaches the caller of `commit`; the transaction is committed all the same.
pub trait Subscriber: Send + Sync + 'static {
    /// `record` was committed.
    fn committed(&self, record: &Committed<'_>);
}

/// One committed record: self-contained, and ordered by (generation, seq).
pub struct Committed<'a> {
    identity: u64,
    generation: u32,
    seq: u64,
    changes: Changes<'a>,
}

enum Changes<'a> {
    /// Of a redo record.
    Record(Entries<'a>, &'a WriteSet),
    /// Lines that an undo transaction changed in place; their numbers.
    InPlace(&'a Region, &'a [Range<u64>]),
}

impl<'a> Committed<'a> {
    pub(crate) fn new(
        identity: u64,
        generation: u32,
        seq: u64,
        entries: Entries<'a>,
        set: &'a WriteSet,
    ) -> Committed<'a> {
        Committed { identity, generation, seq, changes: Changes::Record(entries, set) }
    }

    pub(crate) fn in_place(
        identity: u64,
        generation: u32,
        seq: u64,
        region: &'a Region,
        lines: &'a [Range<u64>],
    ) -> Committed<'a> {
        Committed { identity, generation, seq, changes: Changes::InPlace(region, lines) }
    }

    /// Which log: random, chosen at creation.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// Which life of the log: grows by at least 1 each time it is opened.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Which record of this life: ascending from 1. Snapshots of undo transactions take numbers of their own, which
    /// nobody is told.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Calls `each` with the offset of every changed run of bytes and its new content.
    pub fn for_each(&self, mut each: impl FnMut(u64, &[u8])) {
        let (entries, set) = match &self.changes {
            Changes::Record(entries, set) => (entries, set),
            Changes::InPlace(region, lines) => {
                let mut copy = [0; LINE as usize];
                for line in lines.iter().cloned().flatten() {
                    // SAFETY: in the mapping: an undo transaction stored there. It has ended, and nobody stores while the
                    // committing thread is here.
                    unsafe { region.load(line * LINE, &mut copy) };
                    each(line * LINE, &copy);
                }
                return;
            }
        };
        for (line, change) in entries.clone() {
            let at = line * LINE;
            match change {
                Change::Words { mask, values } => {
                    let mut rest = mask;
                    for value in values {
                        each(at + u64::from(rest.trailing_zeros()) * 8, bytemuck::bytes_of(value));
                        rest &= rest - 1;
                    }
                }
                Change::Lines(words) => each(at, bytemuck::cast_slice(words)),
                Change::Zeros(n) => (0..n).for_each(|i| each(at + i * LINE, &[0; LINE as usize])),
                Change::Placed(n) => {
                    for (start, bytes) in set.placed() {
                        let (from, to) = (at.max(start), (at + n * LINE).min(start + bytes.len() as u64));
                        if from < to {
                            each(from, &bytes[(from - start) as usize..(to - start) as usize]);
                        }
                    }
                }
            }
        }
    }
}
