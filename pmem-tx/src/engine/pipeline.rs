//! Records on their way: written, durable, applied.
//!
//! A commit that does not drain by itself leaves its record here. Whoever needs it to be durable calls
//! [`Pipeline::wait`], and does whatever is next and is nobody's yet:
//!
//! - **leading**: all records written by then are one batch; their lines are flushed, with those that were applied before,
//!   and *one* drain makes them durable;
//! - **applying**: the durable records are stored in place, in order, while readers are kept out.
//!
//! There is one leader at a time and one applier at a time; they may be two threads, so that the next batch is drained
//! while the last one waits for readers. All others sleep until something changes. Nobody is appointed, and no thread is
//! started: if a leader's thread is slow, others wait for its drain, as they would wait for their own.
//!
//! ```text
//!    writer, in its turn        leader                     applier
//!    ------------------->  written  --- one drain --->  durable  --- readers out --->  applied
//! ```
//!
//! Why this is right:
//!
//! - *No drain covers another thread's stores past the caches*: writers store records by ordinary stores, and the leader
//!   flushes all lines that its drain is to cover. So does it with applied lines, whoever applied them.
//! - *A record counts as durable when a drain has returned that began after its flush*: a leader takes its batch, then
//!   flushes, then drains. Records that are written meanwhile are of the next batch.
//! - *Order.* Records are written in turns, so the queues are in order; a batch is a prefix of what was written; batches are
//!   drained one after the other. A crash leaves a prefix of the records: recovery takes none after a gap.
//! - *Application meets readers, never writers.* A record that is applied while a body runs was written before that body
//!   began. All its lines are in the overlay that the body reads, and stay there until the body is over (see
//!   [`super::overlay`]): so the body refers to none of these lines in the mapping.
//! - *What is settled.* Lines applied when a leader takes its batch are flushed by it: once it has drained, `settled` is
//!   what was applied at that moment, not what has been applied since.
//! - *Failure.* A drain that fails is the last one: everybody who waits for what it was to cover, or for anything later, gets
//!   an error, and the log is poisoned. What is durable is for recovery to say.
//! - *Nobody waits for themselves.* The applier tells the subscriber, whose code may call us again: a thread that
//!   applies may not begin a transaction ([`Pipeline::is_applying_here`]). The leader calls nobody.
//!
//! The leader may wait a moment before it takes its batch: when the batch before was larger than what is written now, the
//! threads of that batch are likely to come again, and a drain that they just miss costs them a whole one. It waits
//! no longer than a quarter of what the last drain took; PostgreSQL's `commit_delay`, with its setting measured.
//! With one thread, it never does.
//!
//! Sources: group commit is Gawlick and Kinkade's (IMS/VS Fast Path, 1985); leader and followers is how RocksDB's and
//! InnoDB's logs share a flush; the overlay is the "early lock release" of Aether (Johnson et al., VLDB 2010) for a
//! single writer: the next one sees what the last one wrote before it is durable, and readers do not.

use super::{
    dirty::Dirty,
    log::apply,
    record::Builder,
    shortcut::{Shortcut, Shortcuts},
};
use crate::{Committed, Error, Result, Subscriber};
use parking_lot::{Condvar, Mutex, MutexGuard};
use pmem_map::{Granularity, Region};
use std::{
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Which commit of a log, since it was opened. Later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// A record that was written and is not applied.
pub(super) struct Written {
    pub(super) ticket: u64,
    /// Ticket of the first record of its window.
    pub(super) from: u64,
    pub(super) generation: u32,
    pub(super) seq: u64,
    /// Where it is.
    pub(super) at: u64,
    pub(super) record: Builder,
    /// A word of the log that was stored with it, to be flushed with it.
    pub(super) word: Option<u64>,
}

/// See the module. Numbers of records are tickets.
pub(super) struct State {
    written: VecDeque<Written>,
    undone: VecDeque<Written>,
    /// The newest record that was ever written through the pipeline.
    pub(super) newest: u64,
    pub(super) durable: u64,
    pub(super) applied: u64,
    pub(super) settled: u64,
    /// First of the newest durable record's window.
    pub(super) from: u64,
    /// Lines of applied records that no drain has covered.
    pub(super) dirty: Dirty,
    pub(super) since_flush: u32,
    pub(super) draining: bool,
    pub(super) applying: bool,
    pub(super) failed: bool,
    pub(super) subscriber: Option<Arc<dyn Subscriber>>,
    last_batch: usize,
    last_drain: Duration,
    spare_records: Vec<Builder>,
    spare_dirty: Vec<Dirty>,
}

/// Records of one log on their way: see the module.
pub struct Pipeline {
    region: Arc<Region>,
    identity: u64,
    flush_interval: u32,
    shortcuts: Shortcuts,
    state: Mutex<State>,
    changed: Condvar,
    /// [`this_thread`] of the applier; 0 if there is none.
    applier: AtomicUsize,
}

type Locked<'p> = MutexGuard<'p, State>;

impl Pipeline {
    pub(super) fn new(
        region: Arc<Region>,
        identity: u64,
        flush_interval: u32,
        shortcuts: Shortcuts,
    ) -> Pipeline {
        let state = State {
            written: VecDeque::new(),
            undone: VecDeque::new(),
            newest: 0,
            durable: 0,
            applied: 0,
            settled: 0,
            from: 0,
            dirty: Dirty::new(region.granularity()),
            since_flush: 0,
            draining: false,
            applying: false,
            failed: false,
            subscriber: None,
            last_batch: 0,
            last_drain: Duration::ZERO,
            spare_records: Vec::new(),
            spare_dirty: Vec::new(),
        };
        let (state, changed, applier) = (Mutex::new(state), Condvar::new(), AtomicUsize::new(0));
        Pipeline { region, identity, flush_interval, shortcuts, state, changed, applier }
    }

    pub(super) fn lock(&self) -> Locked<'_> {
        self.state.lock()
    }

    /// The newest record that was written and may not be applied.
    pub fn newest(&self) -> Ticket {
        Ticket(self.state.lock().newest)
    }

    /// Whether the calling thread is applying records: it is in a subscriber, and would wait for itself.
    #[inline]
    pub fn is_applying_here(&self) -> bool {
        let applier = self.applier.load(Relaxed);
        applier != 0 && applier == this_thread()
    }

    /// Takes a record that was written. Returns a builder for the next one.
    pub(super) fn push(&self, mut state: Locked<'_>, written: Written) -> Builder {
        state.newest = written.ticket;
        if self.shortcuts.has(Shortcut::ApplyBeforeDurable) {
            let dirty = &mut state.dirty;
            written.record.entries().for_each(|(line, change)| apply(&self.region, dirty, line, change));
        }
        state.written.push_back(written);
        state.spare_records.pop().unwrap_or_else(Builder::new)
    }

    /// Waits until the record `ticket` and all before it are durable and applied, and does what is to be done for that.
    /// At most one drain per batch; none if they are applied.
    ///
    /// `keep_out` is called before records are applied, with the newest of them: it waits for readers, and returns what
    /// keeps them out. Several times, perhaps, or never.
    ///
    /// # Errors
    ///
    /// The drain's, on the thread that led; [`Error::Poisoned`] on the others.
    pub fn wait<G>(&self, ticket: Ticket, mut keep_out: impl FnMut(Ticket) -> G) -> Result<()> {
        let mut state = self.state.lock();
        let ticket = ticket.0.min(state.newest);
        loop {
            if state.applied >= ticket {
                return Ok(());
            }
            if state.failed {
                return Err(Error::Poisoned);
            }
            if !state.applying && !state.undone.is_empty() {
                self.apply(&mut state, &mut keep_out);
            } else if !state.draining && state.durable < ticket {
                self.lead(&mut state)?;
            } else {
                self.changed.wait(&mut state);
            }
        }
    }

    /// Makes what is written durable: see the module.
    fn lead(&self, state: &mut Locked<'_>) -> Result<()> {
        state.draining = true;
        self.await_others(state);
        let count = self.batch_len(&state.written);
        let batch: Vec<Written> = state.written.drain(..count).collect();
        let pages = self.region.granularity() == Granularity::Page;
        let flush = !pages && state.since_flush as usize + count >= self.flush_interval as usize;
        let since_flush = if flush { 0 } else { state.since_flush.saturating_add(count as u32) };
        let started = Instant::now();
        self.drain(state, flush, || match pages {
            true => self.write_through(&batch),
            false => self.flush_and_drain(&batch),
        })?;
        let newest = batch.last().expect("there was something to wait for");
        (state.durable, state.from, state.since_flush) = (newest.ticket, newest.from, since_flush);
        (state.last_batch, state.last_drain) = (count, started.elapsed());
        state.undone.extend(batch);
        Ok(())
    }

    /// Gives threads of the last batch a moment to come again.
    fn await_others(&self, state: &mut Locked<'_>) {
        if state.written.len() >= state.last_batch {
            return;
        }
        let (started, patience) = (Instant::now(), state.last_drain / 4);
        while state.written.len() < state.last_batch && started.elapsed() < patience {
            MutexGuard::unlocked(state, thread::yield_now);
        }
    }

    /// How many records the next batch has: all that are written; of a file those that are side by side, for one write.
    fn batch_len(&self, written: &VecDeque<Written>) -> usize {
        if self.region.granularity() != Granularity::Page {
            return written.len();
        }
        let side_by_side = |(a, b): &(&Written, &Written)| a.at + a.record.bytes_of_slots() == b.at;
        1 + written.iter().zip(written.iter().skip(1)).take_while(side_by_side).count()
    }

    fn flush_and_drain(&self, batch: &[Written]) -> Result<()> {
        if !self.shortcuts.has(Shortcut::LeaderDoesNotFlush) {
            for written in batch {
                self.region.flush(written.at..written.at + written.record.media().len() as u64 * 8)?;
                if let Some(word) = written.word {
                    self.region.flush(word..word + 8)?;
                }
            }
        }
        if !self.shortcuts.has(Shortcut::GroupAcknowledgesBeforeDrain) {
            self.region.drain()?;
        }
        Ok(())
    }

    /// One write for records that are side by side.
    fn write_through(&self, batch: &[Written]) -> Result<()> {
        let at = batch[0].at;
        let mut bytes = Vec::new();
        for written in batch {
            bytes.resize((written.at - at) as usize, 0); // the rest of a slot means nothing
            bytes.extend_from_slice(bytemuck::cast_slice(written.record.media()));
        }
        // SAFETY: slots of the log's area, which nobody else uses.
        Ok(unsafe { self.region.write_through(at, &bytes) }?)
    }

    /// Runs `work`, which ends in a drain, without the lock. `flush`: applied lines are flushed before; they are settled
    /// afterwards. `draining` is set when this is called.
    fn drain(&self, state: &mut Locked<'_>, flush: bool, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let applied = state.applied;
        let mut dirty = state.spare_dirty.pop().unwrap_or_else(|| Dirty::new(self.region.granularity()));
        if flush {
            mem::swap(&mut dirty, &mut state.dirty);
            if self.shortcuts.has(Shortcut::AppliedNeverFlushed) {
                dirty.clear();
            }
        }
        let result = MutexGuard::unlocked(state, || {
            catch_unwind(AssertUnwindSafe(|| {
                dirty.flush(&self.region)?;
                work()
            }))
        });
        state.draining = false;
        self.changed.notify_all();
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                state.failed = true;
                return Err(error);
            }
            Err(panic) => {
                state.failed = true;
                resume_unwind(panic) // an observer's: what is durable is unknown
            }
        }
        state.spare_dirty.push(dirty);
        if flush {
            state.settled = applied;
        }
        Ok(())
    }

    /// Settles what is applied, and drains what `stores` stores past the caches with it, on this thread. One drain. Returns
    /// what is settled.
    pub(super) fn settle(&self, stores: impl FnOnce()) -> Result<u64> {
        let mut state = self.state.lock();
        while state.draining {
            self.changed.wait(&mut state);
        }
        if state.failed {
            return Err(Error::Poisoned);
        }
        state.draining = true;
        self.drain(&mut state, !self.shortcuts.has(Shortcut::PlacedWithoutFlush), || {
            stores();
            if !self.shortcuts.has(Shortcut::PlacedNotDrained) {
                self.region.drain()?;
            }
            Ok(())
        })?;
        Ok(state.settled)
    }

    /// Stores durable records in place: see the module.
    fn apply<G>(&self, state: &mut Locked<'_>, keep_out: &mut impl FnMut(Ticket) -> G) {
        state.applying = true;
        self.applier.store(this_thread(), Relaxed);
        let subscriber = state.subscriber.clone();
        // A subscriber sees each record when it is in place and no later one is.
        let count = if subscriber.is_some() { 1 } else { state.undone.len() };
        let batch: Vec<Written> = state.undone.drain(..count).collect();
        let last = batch.last().expect("there is something to apply").ticket;
        let mut lines = state.spare_dirty.pop().unwrap_or_else(|| Dirty::new(self.region.granularity()));
        let mut in_place = false;
        let result = MutexGuard::unlocked(state, || {
            catch_unwind(AssertUnwindSafe(|| {
                let guard = keep_out(Ticket(last));
                for (line, change) in batch.iter().flat_map(|written| written.record.entries()) {
                    apply(&self.region, &mut lines, line, change);
                }
                lines.announce(&self.region);
                drop(guard);
                in_place = true;
                if let Some(subscriber) = &subscriber {
                    let Written { generation, seq, record, .. } = &batch[0];
                    let committed =
                        Committed::new(self.identity, *generation, *seq, record.entries(), &self.region);
                    subscriber.committed(&committed);
                }
            }))
        });
        if in_place {
            state.applied = last;
            state.dirty.take_from(&mut lines);
            state.spare_dirty.push(lines);
            state.spare_records.extend(batch.into_iter().map(|written| written.record));
        } else {
            state.failed = true;
        }
        state.applying = false;
        self.applier.store(0, Relaxed);
        self.changed.notify_all();
        if let Err(panic) = result {
            resume_unwind(panic); // of a subscriber: the record is committed all the same
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").finish_non_exhaustive()
    }
}

/// A number that no other living thread has; never 0. (`thread::current()` counts references by a locked
/// instruction.)
#[inline]
pub(crate) fn this_thread() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}
