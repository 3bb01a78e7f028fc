//! Snapshots: the volume as it was, beside the volume as it is.
//!
//! Time is cut into *epochs*, each of which ends with a snapshot. Whatever has an owner was allocated in some epoch, its *birth*: extents and log pages say so.
//! A block that was born in a snapshot's epoch or before, and is not the live files' any more, is *held*: it is free when no snapshot is left between
//! its birth and its end (ZFS's rule). So making a snapshot copies nothing, and costs the same whatever the volume has.
//!
//! Three things of a snapshot are changed in place by whoever goes on, and each is dealt with where it happens:
//!
//! - *Lines of inodes.* The record that changes an inode first after a snapshot has its two lines as they were, too, as an entry of the snapshot's log
//!   ([`save`]): 3 lines more, no drain more.
//! - *Removed names and attributes.* The mark of removal says in which epoch; for a snapshot's readers a later one does not count. What is behind the tail of a log
//!   does not count either, so appending needs nothing.
//! - *Content.* What a snapshot has is shared with it: every path that stores in place copies first, as for a reflink
//!   ([`Volume::is_shared`]). Only pages of mapped files stay where they are; their old content is copied away, and the snapshot's log says
//!   where to.
//!
//! A snapshot is read ([`view`]) with its own entries, else those of the next later one, and so on; what none of them has is as the live volume has it.
//! Which blocks are held is in DRAM; a clean unmount saves it, a mount after a crash finds it by reading the saved lines' logs ([`held`]).
//!
//! Operations hold the *gate* (shared) from before they look at the epoch until their record is in place; making and deleting snapshots holds it alone.
//! Order of locks: inodes, gate, history, journal.

mod change;
mod clean;
mod copies;
mod delete;
mod diff;
mod held;
mod lent;
mod log;
mod make;
mod mapped;
mod rollback;
mod save;
pub(crate) mod stream;
mod touched;
mod view;

pub use change::{Change, Changed, ChangedAttributes, ChangedRange};
pub(crate) use clean::Cleaner;
pub use clean::Cleaning;
pub(crate) use held::{Claims, Held, claims};
pub use lent::Holder;
pub(crate) use log::{load, load_newest, read_state};
pub use make::SnapshotInfo;
pub(crate) use mapped::{MappedFile, MappedFiles};
pub(crate) use stream::Lines;
pub use stream::{ReceiveReport, SendReport};
pub(crate) use view::View;

use crate::{alloc::Run, format::SnapshotHead, log::Pages, media::Media};
use clean::{HistoryGuard, Sweep};
use copies::Copies;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustc_hash::FxHashMap;
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

/// All snapshots of a volume.
pub(crate) struct Snapshots {
    gate: Gate,
    /// The epoch that is. Changed by who holds the gate alone.
    epoch: AtomicU64,
    /// Of the newest snapshot that can be seen; 0: there is none.
    newest: AtomicU64,
    history: Mutex<History>,
    pub(crate) mapped: MappedFiles,
}

/// Every operation changes it: beside nothing else in a cache.
#[derive(Default)]
#[repr(align(128))]
struct Gate(RwLock<()>);

/// What there is of the past.
#[derive(Default)]
pub(crate) struct History {
    /// Oldest first.
    pub(crate) list: Vec<Snapshot>,
    pub(crate) held: Vec<Held>,
    /// Which of these have to be looked at again.
    pub(crate) sweep: Option<Sweep>,
}

/// One snapshot, and what is saved for it.
pub(crate) struct Snapshot {
    /// Its block.
    pub(crate) at: u64,
    pub(crate) head: SnapshotHead,
    pub(crate) name: Vec<u8>,
    /// Of its log.
    pub(crate) pages: Pages,
    /// By the place of an inode's lines: the entry that has them as they were.
    pub(crate) inodes: FxHashMap<u64, u64>,
    /// By block: where its old content is. Of files that are mapped, `copies` knows.
    pub(crate) blocks: FxHashMap<u64, SavedBlock>,
    /// Blocks that were in use.
    pub(crate) used: u64,
    /// Blocks of the table of copies.
    pub(crate) table: Vec<u64>,
    /// Of the newest one, while files that were mapped then are mapped.
    pub(crate) copies: Option<Arc<Copies>>,
    /// Who has it mounted.
    pub(crate) views: usize,
}

/// A block's old content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SavedBlock {
    pub(crate) copy: u64,
    /// Of the block that was copied.
    pub(crate) birth: u64,
    pub(crate) ino: u64,
    pub(crate) file_block: u64,
}

impl Snapshot {
    /// Its own blocks: nobody else has them.
    pub(crate) fn own(&self, media: &Media) -> Vec<Run> {
        let mut own = self.pages.runs();
        own.push(media.run_of(self.at));
        own.extend(self.table.iter().map(|at| media.run_of(*at)));
        let copied = self.copies.iter().flat_map(|copies| copies.saved());
        let copied = self.blocks.values().copied().chain(copied.map(|(_, saved)| saved));
        own.extend(copied.map(|saved| Run { start: saved.copy, blocks: 1 }));
        own
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.head.flags & crate::format::snapshot_flag::DELETED != 0
    }
}

/// Whether one of these that can be seen has what was there from `birth` to `last`.
pub(crate) fn sees(list: &[Snapshot], birth: u64, last: u64) -> bool {
    list.iter().any(|one| !one.is_deleted() && (birth..=last).contains(&one.head.epoch))
}

impl History {
    /// The epoch of the newest snapshot that can be seen; 0: there is none.
    fn newest(&self) -> u64 {
        self.list.iter().rev().find(|snapshot| !snapshot.is_deleted()).map_or(0, |found| found.head.epoch)
    }

    /// Blocks that are set aside for copies, whether or not they have one by now.
    pub(crate) fn set_aside(&self) -> Vec<Run> {
        self.list
            .iter()
            .filter_map(|snapshot| snapshot.copies.as_ref())
            .flat_map(|copies| copies.spare())
            .collect()
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.list.iter().position(|snapshot| snapshot.name == name && !snapshot.is_deleted())
    }
}

impl Snapshots {
    pub(crate) fn new(epoch: u64) -> Snapshots {
        Snapshots {
            gate: Gate::default(),
            epoch: AtomicU64::new(epoch.max(1)),
            newest: AtomicU64::new(0),
            history: Mutex::default(),
            mapped: MappedFiles::default(),
        }
    }

    /// What a mount has read.
    pub(crate) fn set(&self, list: Vec<Snapshot>) {
        let mut history = self.history.lock();
        history.list = list;
        self.newest.store(history.newest(), SeqCst);
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(SeqCst)
    }

    /// Lets an operation through: no snapshot is made or deleted while it is under way.
    pub(crate) fn pass(&self) -> Pass<'_> {
        // Who is inside already must not wait for who waits for them to leave.
        let inside = INSIDE.get();
        INSIDE.set(inside + 1);
        Pass { _guard: if inside == 0 { self.gate.0.read() } else { self.gate.0.read_recursive() } }
    }

    /// Keeps operations out.
    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        debug_assert_eq!(INSIDE.get(), 0, "an operation of this thread is under way");
        self.gate.0.write()
    }

    pub(crate) fn history(&self) -> HistoryGuard<'_> {
        HistoryGuard::lock(&self.history)
    }

    /// Whether a snapshot has what was allocated in the epoch `birth`.
    pub(crate) fn hold(&self, birth: u64) -> bool {
        let newest = self.newest.load(SeqCst);
        newest != 0 && birth <= newest
    }

    /// Whether there is a snapshot that can be seen.
    pub(crate) fn are_there(&self) -> bool {
        self.newest.load(SeqCst) != 0
    }

    /// Of blocks that the live files gave up, each with its birth: those that no snapshot has. The others are held from here on.
    pub(crate) fn keep_what_is_held(&self, gone: impl Iterator<Item = (Run, u64)>, holds: bool) -> Vec<Run> {
        if !self.are_there() || !holds {
            return gone.map(|(run, _)| run).collect();
        }
        let last = self.epoch() - 1;
        let (held, free): (Vec<_>, Vec<_>) = gone.partition(|(_, birth)| self.hold(*birth));
        if !held.is_empty() {
            let held = held.into_iter().map(|(run, birth)| Held { run, birth, last });
            self.history.lock().held.extend(held);
        }
        free.into_iter().map(|(run, _)| run).collect()
    }
}

thread_local!(static INSIDE: Cell<u32> = const { Cell::new(0) });

/// An operation is under way.
pub(crate) struct Pass<'v> {
    _guard: RwLockReadGuard<'v, ()>,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
    }
}
