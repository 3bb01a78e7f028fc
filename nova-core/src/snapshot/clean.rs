//! Cleaning up after snapshots that were deleted: in steps, by a thread of the volume's, or by whoever needs the space.
//!
//! Deleting hides a snapshot, durably, and no more. Two kinds of steps follow. Blocks that only hidden snapshots have are *swept*: they are free, which is known in DRAM, some at a time.
//! Then what is saved for each hidden snapshot is *merged* into what is saved for the one before it, a record each. A power failure between steps leaves
//! hidden snapshots, which a mount goes on with.
//!
//! A step holds the history, and lets operations through that do not need it (those whose inodes were changed since the newest snapshot). It takes the gate as an operation
//! does: what operations rely on, the epoch and which snapshots can be seen, it does not change.

use super::{History, INSIDE, Snapshot, sees};
use crate::{Code, Error, Nova, Result, alloc::Run, commit::Committed, volume::Volume};
use parking_lot::{Mutex, MutexGuard};
use pmem_tx::Ticket;
use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::Arc,
    thread::JoinHandle,
};

/// Held runs that are looked at in one step.
const SOME: usize = 4096;

/// When what deleted snapshots leave is cleaned up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cleaning {
    /// By a thread, which is there as long as there is something to do. Unmounting stops it after a step, and the next mount goes on.
    #[default]
    Background,
    /// By the call that deletes: when it returns, all of it is free.
    AtOnce,
    /// By [`Nova::clean`], a step at a time: for tests of what a crash leaves.
    ByHand,
}

/// Runs that were held have to be looked at again, for a snapshot was hidden.
#[derive(Clone, Copy)]
pub(crate) struct Sweep {
    /// How many, from the first on. There are none that have to be among the others.
    left: usize,
    /// Of the record that hid it.
    ticket: Ticket,
    settled: Ticket,
}

impl Sweep {
    pub(super) fn begin(left: usize, hidden: &Committed) -> Sweep {
        Sweep { left, ticket: hidden.ticket, settled: hidden.settled }
    }
}

impl Nova {
    /// Does one step of cleaning up after deleted snapshots, whoever else does some. Whether there was something to do: `false` also if there is no
    /// space for it now. At most 3 drains. ([`Cleaning`] says who does it otherwise; [`sync`](Nova::sync) does all of it.)
    pub fn clean(&self) -> Result<bool> {
        self.volume().clean_step()
    }

    /// There may be something to clean up.
    pub(crate) fn cleaning_is_due(&self) -> Result<()> {
        match self.volume().options.cleaning {
            Cleaning::Background => {
                if self.volume().has_to_clean() {
                    self.0.cleaner.start(&self.0.volume);
                }
                Ok(())
            }
            Cleaning::AtOnce => self.volume().clean_up(),
            Cleaning::ByHand => Ok(()),
        }
    }
}

impl Volume {
    /// Whether a deleted snapshot has left anything.
    pub(crate) fn has_to_clean(&self) -> bool {
        !self.read_only && self.snapshots.history().list.iter().any(Snapshot::is_deleted)
    }

    /// Does all steps.
    pub(crate) fn clean_up(&self) -> Result<()> {
        while self.clean_step()? {}
        Ok(())
    }

    /// Does one step. `false`: there is none that could be done now.
    pub(crate) fn clean_step(&self) -> Result<bool> {
        if !self.has_to_clean() {
            return Ok(false);
        }
        self.fold_if_due();
        let _pass = self.snapshots.pass();
        let mut history = self.snapshots.history();
        if history.sweep.is_some() {
            self.sweep(&mut history, SOME);
            return Ok(true);
        }
        // One that mapped files are being copied for stays, until they are for a newer one.
        let is_done = |snapshot: &Snapshot| snapshot.is_deleted() && snapshot.copies.is_none();
        let Some(index) = history.list.iter().position(is_done) else { return Ok(false) };
        match self.merge(&mut history, index) {
            Err(Error::Posix(Code::NoSpace)) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Frees what no snapshot has that can be seen, of so many of the runs that have to be looked at.
    pub(crate) fn sweep(&self, history: &mut History, most: usize) {
        let History { list, held, sweep, .. } = history;
        let Some(Sweep { left, ticket, settled }) = *sweep else { return };
        let until = left.saturating_sub(most);
        let mut free: Vec<Run> = Vec::new();
        for index in (until..left).rev() {
            if !sees(list, held[index].birth, held[index].last) {
                // The last one takes its place: it was looked at, or came later.
                free.push(held.swap_remove(index).run);
            }
        }
        *sweep = (until > 0).then_some(Sweep { left: until, ticket, settled });
        self.retire(free.into_iter(), Committed { ticket, settled });
    }

    /// Folds copies, if nobody is copied for any more. Not inside an operation: then somebody else does it.
    pub(crate) fn fold_if_due(&self) {
        let is_due = |history: &History| {
            history.list.iter().any(|snapshot| snapshot.copies.is_some())
                && (self.snapshots.mapped.is_empty() || !self.snapshots.are_there())
        };
        if INSIDE.get() > 0 || !is_due(&self.snapshots.history()) {
            return;
        }
        // Who writes in place copies first, too, and must not do so for what is folded.
        let _alone = self.snapshots.alone();
        let mut history = self.snapshots.history();
        if is_due(&history) {
            // If no snapshot can be seen, nobody can see what would be copied.
            self.snapshots.mapped.copy_to(None);
            self.fold(&mut history);
        }
    }

    /// Makes space by cleaning up, for an operation that has none: one step. Whether there was something to do.
    pub(crate) fn clean_for_space(&self) -> Result<bool> {
        // Who has the history makes a record that needs it, or is a step itself.
        if HISTORIES.get() > 0 { Ok(false) } else { self.clean_step() }
    }

    /// Blocks that deleted snapshots have left, and that will be free: of what is saved for them, as far as nobody else will need it.
    pub(crate) fn blocks_to_clean(&self) -> u64 {
        let history = self.snapshots.history();
        let left = history.sweep.map_or(0, |sweep| sweep.left);
        let unseen = history.held[..left].iter().filter(|held| !sees(&history.list, held.birth, held.last));
        let mut blocks: u64 = unseen.map(|held| held.run.blocks).sum();
        for (index, deleted) in history.list.iter().enumerate().filter(|(_, snapshot)| snapshot.is_deleted())
        {
            let older = history.list[..index].iter().rev().find(|snapshot| !snapshot.is_deleted());
            let needed = deleted.blocks.iter().filter(|(block, saved)| {
                older
                    .is_some_and(|older| saved.birth <= older.head.epoch && !older.blocks.contains_key(block))
            });
            blocks += 1 + (deleted.table.len() + deleted.blocks.len() - needed.count()) as u64;
        }
        blocks
    }
}

thread_local!(static HISTORIES: Cell<u32> = const { Cell::new(0) });

/// The history, locked by this thread, which knows so.
pub(crate) struct HistoryGuard<'v>(MutexGuard<'v, History>);

impl<'v> HistoryGuard<'v> {
    pub(super) fn lock(history: &'v Mutex<History>) -> HistoryGuard<'v> {
        let guard = history.lock();
        HISTORIES.set(HISTORIES.get() + 1);
        HistoryGuard(guard)
    }
}

impl Drop for HistoryGuard<'_> {
    fn drop(&mut self) {
        HISTORIES.set(HISTORIES.get() - 1);
    }
}

impl Deref for HistoryGuard<'_> {
    type Target = History;

    fn deref(&self) -> &History {
        &self.0
    }
}

impl DerefMut for HistoryGuard<'_> {
    fn deref_mut(&mut self) -> &mut History {
        &mut self.0
    }
}

/// The thread of a volume that cleans up. Dropped, it is stopped.
#[derive(Default)]
pub(crate) struct Cleaner(Arc<Mutex<Work>>);

#[derive(Default)]
struct Work {
    thread: Option<JoinHandle<()>>,
    is_running: bool,
    /// There may be more to do than when it looked last.
    again: bool,
    stop: bool,
}

impl Cleaner {
    /// There is something to do. If there can be no thread, it stays to be done.
    fn start(&self, volume: &Arc<Volume>) {
        let mut work = self.0.lock();
        if work.is_running || work.stop {
            work.again = true;
            return;
        }
        work.again = false;
        let (theirs, volume) = (self.0.clone(), volume.clone());
        let thread =
            std::thread::Builder::new().name("nova-cleaner".into()).spawn(move || run(&theirs, volume));
        work.is_running = thread.is_ok();
        // The one before has ended, or is about to.
        work.thread = thread.ok();
    }

    /// Returns when it does nothing any more: after the step that it is at.
    pub(crate) fn stop(&self) {
        let thread = {
            let mut work = self.0.lock();
            work.stop = true;
            work.thread.take()
        };
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.0.lock().stop = false;
    }
}

fn run(work: &Mutex<Work>, volume: Arc<Volume>) {
    loop {
        if work.lock().stop {
            break;
        }
        // An error (a poisoned volume, say) is told by the next operation; what is to do stays.
        if !matches!(volume.clean_step(), Ok(true)) {
            let mut work = work.lock();
            if !std::mem::take(&mut work.again) {
                // Whoever stops it waits for the thread's end, and then has the volume alone.
                drop(volume);
                work.is_running = false;
                return;
            }
        }
    }
    drop(volume);
    work.lock().is_running = false;
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.stop();
    }
}
