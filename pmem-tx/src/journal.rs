//! A log area in a mapping, and the mapping.

use crate::{
    Error, LogSpace, Result, Subscriber, Tx,
    engine::{
        self, Log, LogOptions, LogStats, Pipeline, Recovery, Shortcuts, Ticket, UndoSet, WriteSet,
        this_thread,
    },
    shared::Claim,
    space::give_back,
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use pmem_map::{Mapping, Region};
use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::Arc,
};

/// How to create or open a [`Journal`].
#[derive(Clone, Default)]
pub struct JournalOptions {
    log: LogOptions,
    group: bool,
    space: Option<Arc<dyn LogSpace>>,
}

impl JournalOptions {
    /// Flush applied lines at the very next commit.
    pub fn new() -> JournalOptions {
        JournalOptions::default()
    }

    /// Flush applied lines with every `commits`-th commit, each line once: cheaper where the same lines change again
    /// and again, at the price of a longer replay after a crash. From 1 to 65,536.
    pub fn flush_interval(mut self, commits: u32) -> JournalOptions {
        self.log.flush_interval = commits.clamp(1, 1 << 16);
        self
    }

    /// Whether commits of several threads share drains: worth it where a drain is dear, as on a disk. A commit then gives
    /// the right to write to the next transaction before its drain; that one sees its changes, and a crash leaves both, the
    /// first, or none. `false` unless set. Nothing of it is on media.
    pub fn group_commit(mut self, group: bool) -> JournalOptions {
        self.group = group;
        self
    }

    /// Where transactions get log space that are larger than the log area takes. Without it they are
    /// [`Error::LogFull`]. Such a transaction takes two drains; one, if there is nothing to
    /// replay before it.
    pub fn log_space(mut self, space: Arc<dyn LogSpace>) -> JournalOptions {
        self.space = Some(space);
        self
    }

    /// Tells `subscriber` what opening found of the life before, then every record that is committed.
    pub fn subscriber(mut self, subscriber: Arc<dyn Subscriber>) -> JournalOptions {
        self.log.subscriber = Some(subscriber);
        self
    }

    pub(crate) fn engine_shortcuts(&self) -> Shortcuts {
        self.log.shortcuts
    }

    #[doc(hidden)]
    pub fn shortcuts(mut self, shortcuts: Shortcuts) -> JournalOptions {
        self.log.shortcuts = shortcuts;
        self
    }

    /// Formats a log in `log`, a range of the mapping aligned to 64, of at least 4,096 bytes; the rest is the
    /// program's, and is left as it is. A record may be a third of it. Durable on return. 2 drains.
    pub fn create(&self, mapping: Mapping, log: Range<u64>) -> Result<Journal> {
        let region = Arc::new(mapping.into_region());
        let home = 0..region.len() & !63;
        self.create_in(region, log, home, None)
    }

    pub(crate) fn create_in(
        &self,
        region: Arc<Region>,
        log: Range<u64>,
        home: Range<u64>,
        claim: Option<Claim>,
    ) -> Result<Journal> {
        let identity = RandomState::new().hash_one(std::process::id());
        // SAFETY: the mapping was taken by value, and its bytes are reached through journals alone, these through this one
        // alone (a claim sees to that, if there are several). It hands out references only as borrows of a
        // transaction, and the log stores only in functions that take the transaction by value or by `&mut`, or while no
        // transaction is open; or, while one is, where none of its references lead (the pipeline).
        let log = unsafe { Log::create(region, log, identity, self.log.clone()) }?;
        Ok(Journal::new(log, Recovery::default(), home, self, claim))
    }

    /// Opens the log in `log`, and recovers: what was committed is there, what was not has left no trace.
    /// 2 drains; 3 if there is something to replay.
    pub fn open(&self, mapping: Mapping, log: Range<u64>) -> Result<Journal> {
        let region = Arc::new(mapping.into_region());
        let home = 0..region.len() & !63;
        self.open_in(region, log, home, None)
    }

    pub(crate) fn open_in(
        &self,
        region: Arc<Region>,
        log: Range<u64>,
        home: Range<u64>,
        claim: Option<Claim>,
    ) -> Result<Journal> {
        // SAFETY: as in `create_in`.
        let (log, recovery) = unsafe { Log::open(region, log, None, home.clone(), self.log.clone()) }?;
        Ok(Journal::new(log, recovery, home, self, claim))
    }

    /// Opens the log in `log`, or creates one: if the bytes there are all zero, as in a new file, or what a crash left of a
    /// creation.
    pub fn open_or_create(&self, mapping: Mapping, log: Range<u64>) -> Result<Journal> {
        let range = usize::try_from(log.start).ok().zip(usize::try_from(log.end).ok());
        match range.and_then(|(start, end)| mapping.as_slice().get(start..end)) {
            Some(area) if engine::is_blank(area) => self.create(mapping, log),
            _ => self.open(mapping, log),
        }
    }
}

/// A log area in a mapping, and the mapping.
///
/// Takes the mapping by value: afterwards every store goes through transactions, one at a time. Dropping it closes it
/// cleanly (a checkpoint), so that the next open has nothing to replay. Several journals in one mapping:
/// [`SharedMapping`](crate::SharedMapping).
pub struct Journal {
    region: Arc<Region>,
    recovery: Recovery,
    log_area: Range<u64>,
    /// The bytes that are this journal's; its log may be among them.
    home: Range<u64>,
    space: Option<Arc<dyn LogSpace>>,
    /// Commits of several threads share drains.
    pub(crate) group: bool,
    pub(crate) pipeline: Arc<Pipeline>,
    slot: Mutex<Slot>,
    free: Condvar,
    /// Dropped last, and then these bytes may be another journal's.
    claim: Option<Claim>,
}

struct Slot {
    /// Away while a transaction has it.
    writer: Option<Box<Writer>>,
    /// Who has it: [`this_thread`] of the thread that began the transaction.
    holder: usize,
}

/// What a transaction takes along: nobody else can commit.
pub(crate) struct Writer {
    pub(crate) log: Log,
    pub(crate) set: WriteSet,
    pub(crate) undo: UndoSet,
}

impl Writer {
    fn checkpoint(&mut self) -> Result<()> {
        self.log.finish(&mut self.set, |_| ())?;
        self.log.checkpoint()
    }
}

impl Journal {
    /// [`JournalOptions::create`] with the default options.
    pub fn create(mapping: Mapping, log: Range<u64>) -> Result<Journal> {
        JournalOptions::new().create(mapping, log)
    }

    /// [`JournalOptions::open`] with the default options.
    pub fn open(mapping: Mapping, log: Range<u64>) -> Result<Journal> {
        JournalOptions::new().open(mapping, log)
    }

    /// [`JournalOptions::open_or_create`] with the default options.
    pub fn open_or_create(mapping: Mapping, log: Range<u64>) -> Result<Journal> {
        JournalOptions::new().open_or_create(mapping, log)
    }

    fn new(
        log: Log,
        recovery: Recovery,
        home: Range<u64>,
        options: &JournalOptions,
        claim: Option<Claim>,
    ) -> Journal {
        let (region, pipeline, log_area) = (log.region().clone(), log.pipeline().clone(), log.area());
        let (set, undo) = (log.write_set(), log.undo_set());
        let slot = Slot { writer: Some(Box::new(Writer { log, set, undo })), holder: 0 };
        let (slot, free) = (Mutex::new(slot), Condvar::new());
        let (group, space) = (options.group, options.space.clone());
        Journal { region, recovery, log_area, home, space, group, pipeline, slot, free, claim }
    }

    /// The bytes that are this journal's: its log's, if it is among them, and the program's.
    #[inline]
    pub fn home(&self) -> Range<u64> {
        self.home.clone()
    }

    /// The log's bytes.
    #[inline]
    pub fn log_area(&self) -> Range<u64> {
        self.log_area.clone()
    }

    #[inline]
    pub(crate) fn space(&self) -> Option<&dyn LogSpace> {
        self.space.as_deref()
    }

    /// Begins a transaction; waits while another one is open. It sees every commit so far, durable or not.
    /// [`Error::WouldDeadlock`] if it was this thread that began the one that is open, and in a subscriber.
    #[inline(always)]
    pub fn begin(&self) -> Result<Tx<'_>> {
        Ok(Tx::new(self, self.take_to_begin()?))
    }

    /// The writer, unless what an undo transaction left is in the mapping: that is for nobody to see.
    #[inline(always)]
    fn take_to_begin(&self) -> Result<Box<Writer>> {
        let writer = self.take()?;
        if writer.log.has_open_undo() {
            self.put_back(writer);
            return Err(Error::Poisoned);
        }
        Ok(writer)
    }

    /// The same, with nothing on its way: the mapping holds what was committed, all of it durable. One drain, if
    /// commits were not durable.
    pub(crate) fn take_settled(&self) -> Result<Box<Writer>> {
        let mut writer = self.take_to_begin()?;
        let Writer { log, set, .. } = &mut *writer;
        match log.finish(set, |_| ()) {
            Ok(()) if !log.is_poisoned() => Ok(writer),
            Ok(()) => {
                self.put_back(writer);
                Err(Error::Poisoned)
            }
            Err(error) => {
                self.put_back(writer);
                Err(error)
            }
        }
    }

    /// Runs `body` in a transaction: commits on `Ok`, rolls back on `Err` and on panic. One drain, or a share of one under
    /// [group commit](JournalOptions::group_commit).
    #[inline]
    pub fn write<R>(&self, body: impl FnOnce(&mut Tx<'_>) -> Result<R>) -> Result<R> {
        let mut tx = self.begin()?;
        let result = body(&mut tx)?;
        tx.commit()?;
        Ok(result)
    }

    /// Makes every commit so far durable: those by [`Tx::commit_eventual`]. Does not wait for an open transaction. One
    /// drain, whatever their number; none if all are durable.
    ///
    /// ```
    /// # use pmem_map::Mapping; use pmem_tx::*; fn main() -> Result<()> {
    /// # let journal = Journal::create(Mapping::anonymous(8192)?, 0..4096)?;
    /// for n in 0..10u64 {
    ///     let mut tx = journal.begin()?;
    ///     tx.write(4096, &n)?;
    ///     tx.commit_eventual()?; // a crash now leaves one of the numbers so far
    /// }
    /// journal.sync()?; // the last one
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A failing write-back poisons the journal. [`Error::WouldDeadlock`] in a subscriber.
    pub fn sync(&self) -> Result<()> {
        self.wait(self.pipeline.newest())
    }

    /// Waits until the commit `ticket`, which is of this journal, and all before it are durable. At most one drain, unless
    /// other threads commit meanwhile.
    ///
    /// # Errors
    ///
    /// As of [`sync`](Journal::sync).
    pub fn wait(&self, ticket: Ticket) -> Result<()> {
        self.region.check_process()?;
        if self.pipeline.is_applying_here() {
            return Err(Error::WouldDeadlock);
        }
        // Nobody reads the mapping but the one transaction, which has its overlay.
        self.pipeline.wait(ticket, |_| ())
    }

    /// Retires the log's records: a crash after this has nothing to replay. 2 drains, or none; one more if commits are not
    /// durable yet.
    pub fn checkpoint(&self) -> Result<()> {
        self.with(|writer| {
            let result = writer.checkpoint();
            if let Some(space) = self.space() {
                give_back(&mut writer.log, space);
            }
            result
        })?
    }

    /// Tells `subscriber` every record that is committed from now on.
    pub fn subscribe(&self, subscriber: Arc<dyn Subscriber>) -> Result<()> {
        let before = self.with(|writer| writer.log.subscribe(subscriber))?;
        drop(before); // code of a caller: the writer is back
        Ok(())
    }

    /// What opening had to do.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// What the log has done and holds. Waits for an open transaction.
    pub fn stats(&self) -> Result<LogStats> {
        self.with(|writer| writer.log.stats())
    }

    /// The bytes below: length, granularity, durability, counters.
    #[inline]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Closes cleanly, and gives the mapping back: everything that was committed is durable. Drains as of
    /// [`checkpoint`](Journal::checkpoint).
    ///
    /// # Errors
    ///
    /// [`Error::Shared`] if the mapping is [shared](crate::SharedMapping): this journal is closed all the same.
    pub fn close(mut self) -> Result<Mapping> {
        self.checkpoint()?;
        if self.claim.is_some() {
            return Err(Error::Shared { journals: 1 });
        }
        let region = self.region.clone();
        self.slot.get_mut().writer = None;
        drop(self);
        let region =
            Arc::into_inner(region).expect("the log and its write set were dropped, transactions borrow");
        // SAFETY: nobody else has the region, and transactions, whose borrows lend references, are gone.
        Ok(unsafe { Mapping::from_region(region) })
    }

    /// Runs `work` with the writer, which comes back whatever happens.
    fn with<R>(&self, work: impl FnOnce(&mut Writer) -> R) -> Result<R> {
        struct Returned<'j>(&'j Journal, Option<Box<Writer>>);
        impl Drop for Returned<'_> {
            fn drop(&mut self) {
                if let Some(writer) = self.1.take() {
                    self.0.put_back(writer);
                }
            }
        }
        let mut returned = Returned(self, Some(self.take()?));
        Ok(work(returned.1.as_mut().expect("until the drop")))
    }

    /// Waits for the writer. Short where it is there, and nothing is on its way.
    #[inline(always)]
    fn take(&self) -> Result<Box<Writer>> {
        self.region.check_process()?;
        let mut slot = self.slot.lock();
        let Some(writer) = slot.writer.take() else { return self.wait_for_writer(slot) };
        slot.holder = this_thread();
        drop(slot);
        if writer.log.is_in_flight() { self.take_in(writer) } else { Ok(writer) }
    }

    #[cold]
    fn wait_for_writer(&self, mut slot: MutexGuard<'_, Slot>) -> Result<Box<Writer>> {
        let writer = loop {
            if slot.holder == this_thread() || self.pipeline.is_applying_here() {
                return Err(Error::WouldDeadlock);
            }
            self.free.wait(&mut slot);
            if let Some(writer) = slot.writer.take() {
                break writer;
            }
        };
        slot.holder = this_thread();
        drop(slot);
        self.take_in(writer)
    }

    /// The writer was taken: what has become of commits on their way?
    #[cold]
    fn take_in(&self, mut writer: Box<Writer>) -> Result<Box<Writer>> {
        if self.pipeline.is_applying_here() {
            self.put_back(writer);
            return Err(Error::WouldDeadlock);
        }
        let Writer { log, set, .. } = &mut *writer;
        log.collect(set);
        Ok(writer)
    }

    #[inline(always)]
    pub(crate) fn put_back(&self, writer: Box<Writer>) {
        let mut slot = self.slot.lock();
        slot.writer = Some(writer);
        slot.holder = 0;
        drop(slot);
        self.free.notify_one();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(writer) = &mut self.slot.get_mut().writer {
            // Only tidiness: without it, the next open replays. A poisoned log refuses, and so does a forked child's.
            let _ = writer.checkpoint();
            if let Some(space) = &self.space {
                give_back(&mut writer.log, &**space);
            }
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("region", &self.region).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for JournalOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalOptions")
            .field("log", &self.log)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}
