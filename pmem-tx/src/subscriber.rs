//! The seam where others read what was committed: change capture, replication.

use crate::engine::{Change, Entries};
use pmem_map::{LINE, Region};
use std::ops::Range;

/// Sees every committed record, in order, after it is durable and in place, on the thread that applies it: the committing
/// one, or, under group commit and after eventual ones, one that waits. That thread cannot begin a transaction meanwhile.
///
/// A panic in it reaches the caller of `commit` (or of what else that thread does); the transaction is committed all the same.
pub trait Subscriber: Send + Sync + 'static {
    /// `record` was committed.
    fn committed(&self, record: &Committed<'_>);

    /// A log was opened after it was closed or after a crash; nothing of what is told here is forgotten before this returns.
    /// Whoever was told less than `recovered` says before the crash, catches up here. A crash in it calls it again, with the same.
    ///
    /// # Errors
    ///
    /// The log is not opened, and stays as it is: [`Error::Refused`](crate::Error::Refused).
    fn recovered(&self, recovered: &Recovered<'_>) -> Result<(), Refusal> {
        _ = recovered;
        Ok(())
    }
}

/// Why somebody who has a say refuses to go on. The text says what to do.
pub type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// What recovery found of the life before, when all of it is in place again.
///
/// Every record that no [`committed`](Subscriber::committed) has returned for is among those from [`first`](Recovered::first) to
/// [`newest`](Recovered::newest), if it is durable at all: it counts as applied only then, and what is not applied stays in the window.
/// So who knows all records before `first` (or more), and stores what [`for_each`](Recovered::for_each) says, has what `newest` left.
///
/// Not for logs on which undo transactions declared memory as fresh: of that nothing is logged.
pub struct Recovered<'a> {
    pub(crate) identity: u64,
    pub(crate) generation: u32,
    pub(crate) first: u64,
    pub(crate) newest: u64,
    pub(crate) lines: Vec<Range<u64>>,
    pub(crate) region: &'a Region,
}

impl Recovered<'_> {
    /// Which log.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The life that has ended: that of the records.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Seq of the oldest record that was found; one more than [`newest`](Recovered::newest) if there is none, as after a clean close.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Seq of the newest record that is durable; 0 if there was none in that life.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Calls `each` with the offset of every line that one of the records changed, and what it holds now.
    pub fn for_each(&self, mut each: impl FnMut(u64, &[u8])) {
        let mut copy = [0; LINE as usize];
        for line in self.lines.iter().cloned().flatten() {
            // SAFETY: in the mapping: recovery has checked the records. Nobody else uses it while the log is being opened.
            unsafe { self.region.load(line * LINE, &mut copy) };
            each(line * LINE, &copy);
        }
    }
}

/// One committed record: self-contained, and ordered by (generation, seq).
pub struct Committed<'a> {
    identity: u64,
    generation: u32,
    seq: u64,
    changes: Changes<'a>,
    /// Holds the blocks that were written in place, and nobody stores to them now.
    region: &'a Region,
}

enum Changes<'a> {
    /// Of a redo record.
    Record(Entries<'a>),
    /// Lines that an undo transaction changed in place; their numbers.
    InPlace(&'a [Range<u64>]),
}

impl<'a> Committed<'a> {
    pub(crate) fn new(
        identity: u64,
        generation: u32,
        seq: u64,
        entries: Entries<'a>,
        region: &'a Region,
    ) -> Committed<'a> {
        Committed { identity, generation, seq, changes: Changes::Record(entries), region }
    }

    pub(crate) fn in_place(
        identity: u64,
        generation: u32,
        seq: u64,
        region: &'a Region,
        lines: &'a [Range<u64>],
    ) -> Committed<'a> {
        Committed { identity, generation, seq, changes: Changes::InPlace(lines), region }
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
        let entries = match &self.changes {
            Changes::Record(entries) => entries,
            Changes::InPlace(lines) => {
                let mut copy = [0; LINE as usize];
                for line in lines.iter().cloned().flatten() {
                    // SAFETY: in the mapping: an undo transaction stored there. It has ended, and nobody stores while the
                    // committing thread is here.
                    unsafe { self.region.load(line * LINE, &mut copy) };
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
                    let mut line = [0; LINE as usize];
                    for i in 0..n {
                        // SAFETY: this record is in place, no later one is being applied while it is told, and nobody
                        // stores into the block before it was freed by one.
                        unsafe { self.region.load(at + i * LINE, &mut line) };
                        each(at + i * LINE, &line);
                    }
                }
            }
        }
    }
}
