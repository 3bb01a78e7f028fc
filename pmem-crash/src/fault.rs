//! One thing that goes wrong in a run: a store, flush or drain that is not done, comes late, or fails.
//!
//! Planted into the program by the mapping, not into its source: to see whether an exploration would notice, and what a
//! program does when a drain fails.

use pmem_map::{Decision, Event, LINE};
use std::{fmt, panic::Location, sync::Arc};

/// What a [`Step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StepKind {
    /// A store by ordinary instructions.
    Store,
    /// A store past the caches.
    StoreNontemporal,
    /// A flush.
    Flush,
    /// A drain.
    Drain,
    /// A sync of the file, or of its folder.
    Sync,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepKind::Store => "store",
            StepKind::StoreNontemporal => "store past the caches",
            StepKind::Flush => "flush",
            StepKind::Drain => "drain",
            StepKind::Sync => "sync",
        })
    }
}

/// One store, flush, drain or sync of a run. Steps are numbered from 0, those of [`Ops::prepare`](crate::Ops::prepare) not
/// counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What it did.
    pub kind: StepKind,
    /// Who called. (Of a sync it is not known: a place in this crate.)
    pub caller: &'static Location<'static>,
    /// In which operation; empty before the first.
    pub operation: Arc<str>,
    /// First byte; 0 for a drain or a sync.
    pub offset: u64,
    /// Length; 0 for a drain or a sync.
    pub len: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} in {:?}", self.kind, self.caller, self.operation)
    }
}

impl Step {
    /// What an event is as a step, if it is one.
    pub(crate) fn of(event: &Event<'_>, operation: &Arc<str>) -> Option<Step> {
        let (kind, caller, offset, len) = match *event {
            Event::Store { offset, bytes, caller } => (StepKind::Store, caller, offset, bytes.len() as u64),
            Event::StoreNontemporal { offset, bytes, caller } => {
                (StepKind::StoreNontemporal, caller, offset, bytes.len() as u64)
            }
            Event::Flush { offset, len, caller } => (StepKind::Flush, caller, offset, len),
            Event::Drain { caller } => (StepKind::Drain, caller, 0, 0),
            Event::FileSync | Event::DirectorySync => (StepKind::Sync, Location::caller(), 0, 0),
            _ => return None,
        };
        Some(Step { kind, caller, operation: Arc::clone(operation), offset, len })
    }
}

/// One thing that goes wrong in a workload's run. Numbers are those of [`Report::steps`](crate::Report::steps) of the run
/// without a fault; nothing happens if there are fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The step is not done. The program goes on as if it were: a line of it was taken out.
    Dropped(usize),
    /// The step comes after the next one. (What a reader sees at once is as before; what becomes durable, and when, is not.)
    Swapped(usize),
    /// The flush leaves out the line of its last byte, if that is not the line's last: as code does that steps from
    /// an unaligned start.
    Shortened(usize),
    /// The drain fails, as `msync` does: the mapping is poisoned, and nothing more becomes durable for certain.
    Failed(usize),
}

impl Fault {
    /// Of which step.
    pub fn step(self) -> usize {
        match self {
            Fault::Dropped(step) | Fault::Swapped(step) | Fault::Shortened(step) | Fault::Failed(step) => {
                step
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Dropped(_) => "dropped",
            Fault::Swapped(_) => "swapped with the next",
            Fault::Shortened(_) => "shortened",
            Fault::Failed(_) => "failed",
        })
    }
}

/// What a fault does to a step that is about to happen.
pub(crate) fn decide(fault: Option<Fault>, number: usize) -> Decision {
    match fault {
        Some(Fault::Dropped(step)) if step == number => Decision::Skip,
        Some(Fault::Failed(step)) if step == number => Decision::Fail,
        _ => Decision::Perform,
    }
}

/// How much of a flush is left when its unaligned tail is forgotten.
pub(crate) fn shortened(offset: u64, len: u64) -> u64 {
    let end = offset + len;
    if end.is_multiple_of(LINE) { len } else { (end / LINE * LINE).saturating_sub(offset) }
}

/// An event that comes late.
#[derive(Debug)]
pub(crate) enum Late {
    Store { offset: u64, bytes: Vec<u8>, nontemporal: bool, caller: &'static Location<'static> },
    Flush { offset: u64, len: u64, caller: &'static Location<'static> },
    Drain { caller: &'static Location<'static> },
}

impl Late {
    pub(crate) fn of(event: &Event<'_>) -> Option<Late> {
        match *event {
            Event::Store { offset, bytes, caller } => {
                Some(Late::Store { offset, bytes: bytes.to_vec(), nontemporal: false, caller })
            }
            Event::StoreNontemporal { offset, bytes, caller } => {
                Some(Late::Store { offset, bytes: bytes.to_vec(), nontemporal: true, caller })
            }
            Event::Flush { offset, len, caller } => Some(Late::Flush { offset, len, caller }),
            Event::Drain { caller } => Some(Late::Drain { caller }),
            _ => None,
        }
    }

    pub(crate) fn event(&self) -> Event<'_> {
        match *self {
            Late::Store { offset, ref bytes, nontemporal: false, caller } => {
                Event::Store { offset, bytes, caller }
            }
            Late::Store { offset, ref bytes, nontemporal: true, caller } => {
                Event::StoreNontemporal { offset, bytes, caller }
            }
            Late::Flush { offset, len, caller } => Event::Flush { offset, len, caller },
            Late::Drain { caller } => Event::Drain { caller },
        }
    }
}
