//! The log: commit and checkpoint. The protocol, step by step, is in FORMAT.md.

mod eventual;
mod extension;
mod lines;
mod undo;
mod unlogged;

pub use lines::{Filling, Lines};
pub use undo::{UndoMark, UndoSet};

use super::{
    dirty::Dirty,
    format::{self, HORIZON, Header, MAX_SEQ, RING, RecordHeader, SLOT, STATE},
    pipeline::Pipeline,
    record::{Builder, Change},
    recovery::{self, Recovery},
    ring::Ring,
    shortcut::{Shortcut, Shortcuts},
    write_set::WriteSet,
};
use crate::{Committed, Error, Result, Subscriber};
use extension::Extensions;
use pmem_map::{Granularity, LINE, Region};
use std::{ops::Range, sync::Arc};

/// How a log behaves. Nothing of it is on media.
#[derive(Clone)]
pub struct LogOptions {
    /// Commits whose applied lines are flushed together, each line once. 1 flushes at the very next commit. More
    /// spares hot lines (a counter), and lets recovery replay that many records more.
    pub flush_interval: u32,
    /// Told what opening the log found, then every commit, as by [`Log::subscribe`].
    pub subscriber: Option<Arc<dyn Subscriber>>,
    #[doc(hidden)]
    pub shortcuts: Shortcuts,
}

impl std::fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogOptions")
            .field("flush_interval", &self.flush_interval)
            .field("subscriber", &self.subscriber.is_some())
            .finish_non_exhaustive()
    }
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { flush_interval: 1, subscriber: None, shortcuts: Shortcuts::default() }
    }
}

/// What a log has done since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Committed transactions.
    pub commits: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Bytes of the ring.
    pub capacity: u64,
    /// Bytes of the largest record it takes.
    pub max_record: u64,
    /// Bytes of records that a recovery now would look at.
    pub in_use: u64,
    /// Generation: one for each time it was opened.
    pub generation: u32,
}

/// One lane's ring of records in a mapping.
///
/// Takes no locks and starts no threads: whoever has `&mut Log` is the writer.
pub struct Log {
    region: Arc<Region>,
    area: Range<u64>,
    /// Bytes of the largest record that the ring takes.
    max_record: u64,
    identity: u64,
    generation: u32,
    /// Seq of the newest durable record; the next one's less one.
    durable: u64,
    /// All records up to this seq are applied, and their lines were drained.
    settled: u64,
    /// The horizon on media.
    horizon: u64,
    /// The horizon's word on media is of an earlier generation.
    horizon_is_stale: bool,
    ring: Ring,
    record: Builder,
    dirty: Dirty,
    since_flush: u32,
    poisoned: bool,
    /// First record of the open undo transaction; 0 if there is none.
    undo: u64,
    extensions: Extensions,
    /// `dirty` knows the lines of all records in the newest durable one's window.
    window_known: bool,
    options: LogOptions,
    subscriber: Option<Arc<dyn Subscriber>>,
    checkpoints: u64,
    commits: u64,
    /// Records on their way. What it knows comes back here between transactions.
    pipeline: Arc<Pipeline>,
    /// There may be records on their way. Otherwise all that was written is durable and applied, and what this value
    /// says is all there is to say.
    in_flight: bool,
    /// Seq of the newest record that was written; `durable`, unless one is in flight.
    written: u64,
    /// Seq of the newest record that is applied, as far as is known here.
    applied: u64,
    /// What is added to a seq to make a ticket: commits of earlier generations of this life.
    epoch: u64,
}

impl Log {
    /// Bytes of the smallest log area.
    pub const MIN_LEN: u64 = format::MIN_AREA;

    /// Formats a log in `area`. Durable on return. 2 drains.
    ///
    /// `identity` binds the records to this log: a number that was never used for a log in these bytes before (records of
    /// an older log of the same identity would count again).
    ///
    /// # Safety
    ///
    /// From now until the log and its write sets are dropped, the caller governs all access to the region's bytes:
    /// whenever a function of the log or of its write set runs, no reference to bytes that it stores to is alive,
    /// nobody else stores to bytes that it reads, and nobody else uses `area`. Only [`commit`](Log::commit) and
    /// [`checkpoint`](Log::checkpoint) store, to `area` and to what the write set names; and [`write`](Log::write),
    /// [`finish`](Log::finish) and [`Pipeline::wait`], to `area`, to fresh blocks that are not allocated, and, with
    /// readers kept out, to what records name that were written before.
    ///
    /// All transactions of one log use one write set: it knows what pending records say, and whoever reads the mapping
    /// beside it must be kept out while they are applied.
    pub unsafe fn create(
        region: Arc<Region>,
        area: Range<u64>,
        identity: u64,
        options: LogOptions,
    ) -> Result<Log> {
        format::check_area(&area, region.len())?;
        let mut log = Log::new(region, area, identity, 1, options);
        let mut state = [0u64; 8];
        state[0] = format::generation_word(identity, 1);
        // A valid header may stand here already (of a log that is being replaced): take it away first.
        log.store(log.area.start, &[0; 2 * LINE as usize]);
        log.store(log.area.start + STATE, bytemuck::bytes_of(&state));
        log.region.persist(log.area.start..log.area.start + STATE + LINE)?;
        log.write_header(0);
        log.write_header(1);
        log.region.persist(log.area.start..log.area.start + STATE)?;
        log.poisoned = false;
        Ok(log)
    }

    /// Opens the log in `area`, created under `identity`, and recovers: replays what was committed and may not be in
    /// place. Entries outside `home`, or inside `area`, are damage. 2 drains; 3 if there is something to replay.
    ///
    /// # Errors
    ///
    /// [`Error::NotALog`], [`Error::Unsupported`], [`Error::Damaged`]; the mapping is then unchanged.
    ///
    /// # Safety
    ///
    /// As [`create`](Log::create).
    pub unsafe fn open(
        region: Arc<Region>,
        area: Range<u64>,
        identity: Option<u64>,
        home: Range<u64>,
        options: LogOptions,
    ) -> Result<(Log, Recovery)> {
        format::check_area(&area, region.len())?;
        let shortcuts = options.shortcuts;
        let found = recovery::look(&region, &area, identity, &home, shortcuts)?;
        let mut log = Log::new(region, area, found.identity, found.generation, options);
        let next = found
            .generation
            .checked_add(1)
            .ok_or(Error::Damaged { offset: log.area.start + STATE, what: "the generation is at its end" })?;
        let mut replayed = Recovery { repaired_header: found.damaged_copy.is_some(), ..Recovery::default() };
        // What is read here is visible, and may not be durable: a process can die between its stores and its drain. So
        // the headers, and the records that are to be applied, are stored again and drained first.
        log.write_header(0);
        log.write_header(1);
        log.region.flush(log.area.start..log.area.start + STATE)?;
        if !found.records.is_empty() && !shortcuts.has(Shortcut::ReplayUndrained) {
            for (at, media) in found.records.iter().flat_map(|record| &record.media) {
                // SAFETY: slots of the log's area, which nobody else uses, and extensions, which are nobody's while
                // their record counts.
                unsafe { log.region.store_nontemporal(*at, bytemuck::cast_slice(media)) };
            }
            log.region.drain()?;
        }
        let (closed, open) = found.records.split_at(found.records.len() - found.open);
        for record in closed.iter().filter(|record| record.header.kind == format::REDO) {
            replayed.replayed += 1;
            for (line, change) in record.entries() {
                replayed.lines += change.lines();
                apply(&log.region, &mut log.dirty, line, change);
            }
        }
        log.roll_back(open);
        replayed.rolled_back = open.len() as u64;
        log.region.flush(found.unlogged.start * LINE..found.unlogged.end * LINE)?;
        log.dirty.flush(&log.region)?;
        if !shortcuts.has(Shortcut::ReplayNotDrained) && !shortcuts.has(Shortcut::GenerationUnderReplayDrain)
        {
            log.region.drain()?;
        }
        if let Some(subscriber) = &log.subscriber {
            subscriber.recovered(&found.recovered(&log.region)).map_err(Error::Refused)?;
        }
        if shortcuts.has(Shortcut::NoNewGeneration) {
            log.poisoned = false;
            return Ok((log, replayed));
        }
        log.begin_generation(next)?;
        log.announce_unlogged(0..0);
        log.poisoned = false;
        Ok((log, replayed))
    }

    fn new(
        region: Arc<Region>,
        area: Range<u64>,
        identity: u64,
        generation: u32,
        options: LogOptions,
    ) -> Log {
        let slots = (area.end - area.start - RING) / SLOT;
        let pipeline =
            Arc::new(Pipeline::new(region.clone(), identity, options.flush_interval, options.shortcuts));
        let subscriber = options.subscriber.clone();
        pipeline.lock().subscriber.clone_from(&subscriber);
        let dirty = Dirty::new(region.granularity());
        Log {
            region,
            max_record: recovery::max_record(&area),
            area,
            identity,
            generation,
            durable: 0,
            settled: 0,
            horizon: 0,
            horizon_is_stale: false,
            ring: Ring::new(slots),
            record: Builder::new(),
            dirty,
            since_flush: 0,
            poisoned: true,
            undo: 0,
            extensions: Extensions::default(),
            window_known: true,
            options,
            subscriber,
            checkpoints: 0,
            commits: 0,
            pipeline,
            in_flight: false,
            written: 0,
            applied: 0,
            epoch: 0,
        }
    }

    /// Whether this is a disk: see FORMAT.md, "`Page` granularity".
    #[inline]
    fn is_on_pages(&self) -> bool {
        self.region.granularity() == Granularity::Page
    }

    /// An empty write set over the log's region.
    pub fn write_set(&self) -> WriteSet {
        WriteSet::new(self.region.clone())
    }

    /// The region.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The log's bytes.
    #[inline]
    pub fn area(&self) -> Range<u64> {
        self.area.clone()
    }

    /// Which life of the log this is, and the newest record in it: what a [`Subscriber`] would be told of that one.
    pub fn position(&self) -> (u32, u64) {
        (self.generation, self.written)
    }

    /// What binds the log's records to it.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// Tells `subscriber` every record that is committed from now on, in order. Returns the one before.
    pub fn subscribe(&mut self, subscriber: Arc<dyn Subscriber>) -> Option<Arc<dyn Subscriber>> {
        self.pipeline.lock().subscriber = Some(subscriber.clone());
        self.subscriber.replace(subscriber)
    }

    /// Tells nobody any more. Returns who was told before.
    pub fn unsubscribe(&mut self) -> Option<Arc<dyn Subscriber>> {
        self.pipeline.lock().subscriber = None;
        self.subscriber.take()
    }

    /// Whether an earlier failure left unknown what is durable.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned || self.in_flight && self.pipeline.lock().failed
    }

    /// What the log has done and holds.
    pub fn stats(&self) -> LogStats {
        LogStats {
            commits: self.commits,
            checkpoints: self.checkpoints,
            capacity: self.area.end - self.area.start - RING,
            max_record: self.max_record(),
            in_use: self.ring.slots_in_use() * SLOT,
            generation: self.generation,
        }
    }

    #[inline]
    fn max_record(&self) -> u64 {
        self.max_record
    }

    /// Commits what `set` holds, and clears it. The seq, or `None` if nothing was changed.
    ///
    /// Durable when `before_apply` is called: wait for readers there, and return what keeps them out; it is
    /// dropped when the new values are in place. One drain; none if nothing was changed; two if more than 4 KiB are
    /// fresh; two more if the ring is full.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`]: nothing was changed, and `set` still holds the changes. An error of a drain poisons the
    /// log: what is durable is for the next recovery to say.
    pub fn commit<G>(&mut self, set: &mut WriteSet, before_apply: impl FnOnce() -> G) -> Result<Option<u64>> {
        assert!(!self.in_flight, "records are on their way: `write` and wait, or `finish` first");
        let Some(placed) = self.encode(set)? else { return Ok(None) };
        if self.record.len() > self.max_record() {
            return self.commit_extended(set, placed, before_apply);
        }
        let first = self.slots_for(format::slots(self.record.len()))?;
        // From here on nothing may fail and leave a record behind that nobody acknowledged.
        self.poisoned = true;
        if placed {
            self.place(set)?;
        }
        let seq = self.commit_record(first, before_apply)?;
        set.clear();
        Ok(seq)
    }

    /// Commits the record that was built, in slots from `first` on; the log counts as poisoned until that is done. The seq; `None` for a shortcut
    /// that aborts.
    #[inline(always)]
    fn commit_record<G>(&mut self, first: u64, before_apply: impl FnOnce() -> G) -> Result<Option<u64>> {
        let shortcuts = self.options.shortcuts;
        let count = format::slots(self.record.len());
        if self.horizon_is_stale {
            let at = self.area.start + HORIZON;
            // SAFETY: a word of the log's area, which nobody else uses.
            unsafe { self.region.store_word(at, 0) };
            self.region.flush(at..at + 8)?; // drained with the record
            self.horizon_is_stale = false;
        }
        let flushed = !self.is_on_pages() && self.since_flush + 1 >= self.options.flush_interval;
        if flushed {
            self.flush_dirty()?;
        }
        let header = self.next_header();
        let seq = header.seq;
        let at = self.area.start + RING + first * SLOT;
        let drained = self.is_on_pages();
        let bytes: &[u8] = bytemuck::cast_slice(self.record.finish(header, self.identity, first));
        if drained {
            // SAFETY: a slot of the log's area, which nobody else uses (the contract of `create`).
            unsafe { self.region.write_through(at, bytes) }?;
        } else {
            // SAFETY: as above.
            unsafe { self.region.store_nontemporal(at, bytes) };
        }
        if shortcuts.has(Shortcut::AbortAfterRecord) && seq % 3 == 0 {
            self.poisoned = false;
            return Ok(None);
        }
        if shortcuts.has(Shortcut::ApplyBeforeDrain) {
            self.apply_record();
        }
        // What can be done before the drain is: after it, the next transaction's first miss would like to be near.
        self.ring.took(seq, first, count);
        if !drained && !shortcuts.has(Shortcut::AcknowledgeBeforeDrain) {
            self.region.drain()?;
        }
        if flushed || drained && shortcuts.has(Shortcut::RecordSettlesPages) {
            self.settled = self.durable;
            self.since_flush = 0;
        } else {
            self.since_flush += 1;
        }
        (self.written, self.durable) = (seq, seq);
        let needed = (seq - u64::from(header.from_distance)).max(self.horizon + 1);
        self.ring.release_later(needed);
        if !self.extensions.is_unused() {
            self.extensions.release_below(needed);
        }
        let guard = before_apply();
        self.apply_record();
        self.dirty.announce(&self.region);
        drop(guard);
        self.applied = seq;
        self.window_known = true;
        self.commits += 1;
        self.poisoned = false;
        if let Some(subscriber) = &self.subscriber {
            let (identity, generation) = (self.identity, self.generation);
            subscriber.committed(&Committed::new(
                identity,
                generation,
                seq,
                self.record.entries(),
                &self.region,
            ));
        }
        Ok(Some(seq))
    }

    /// Puts what `set` holds into the record. Whether fresh blocks are to be placed; `None`, and `set` is cleared, if
    /// nothing was changed. It may be larger than the ring takes.
    #[inline(always)]
    fn encode(&mut self, set: &mut WriteSet) -> Result<Option<bool>> {
        assert!(set.is_of(&self.region), "a write set of another region");
        self.region.check_process()?;
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        // On a disk, placing costs a device flush: a log that has the room is cheaper.
        let worth_it =
            set.fresh_bytes() > 4096 && (!self.is_on_pages() || set.fresh_bytes() > self.max_record() / 2);
        let placed = (worth_it || set.must_place()) && set.placeable().next().is_some();
        self.record.clear();
        set.encode(&mut self.record, placed);
        if self.record.is_empty() {
            set.clear();
            return Ok(None);
        }
        if self.record.len() > self.max_record || !self.extensions.is_unused() {
            return self.encode_shorter(set, placed).map(Some);
        }
        Ok(Some(placed))
    }

    /// The record is longer than the ring takes, or must keep out of lent memory.
    #[cold]
    fn encode_shorter(&mut self, set: &WriteSet, mut placed: bool) -> Result<bool> {
        if self.record.len() > self.max_record && !placed && set.placeable().next().is_some() {
            self.record.clear();
            set.encode(&mut self.record, true);
            placed = true;
        }
        self.check_lent()?;
        Ok(placed)
    }

    /// The header of the next redo record.
    #[inline(always)]
    fn next_header(&self) -> RecordHeader {
        let seq = self.written + 1;
        RecordHeader {
            seq,
            from_distance: (seq - (self.settled + 1)) as u32,
            durable_distance: (seq - self.durable) as u32,
            generation: self.generation,
            kind: format::REDO,
            ..RecordHeader::default()
        }
    }

    /// Slots for a record, when nothing is in flight: after a checkpoint if the ring is full.
    #[inline]
    fn slots_for(&mut self, count: u64) -> Result<u64> {
        match self.slots_now(count) {
            Some(first) if self.written < MAX_SEQ => Ok(first),
            _ => self.make_room(count),
        }
    }

    #[cold]
    fn make_room(&mut self, count: u64) -> Result<u64> {
        self.checkpoint()?;
        if self.written == MAX_SEQ {
            self.poisoned = true;
            let next = self.generation.checked_add(1).ok_or(Error::Poisoned)?;
            self.begin_generation(next)?;
            self.poisoned = false;
        }
        Ok(self.ring.place(count).expect("the ring is empty, and takes three records"))
    }

    /// Slots that are free now.
    #[inline]
    fn slots_now(&mut self, count: u64) -> Option<u64> {
        let shortcuts = self.options.shortcuts;
        match self.ring.place(count) {
            _ if shortcuts.has(Shortcut::OneSlot) => Some(0),
            _ if shortcuts.has(Shortcut::NoSpaceCheck) => Some(self.ring.place_regardless(count)),
            found => found,
        }
    }

    /// Writes large fresh blocks in place, past the caches, and drains them together with the applied lines, so that
    /// no record of the new one's window covers them.
    fn place(&mut self, set: &WriteSet) -> Result<()> {
        let shortcuts = self.options.shortcuts;
        if !shortcuts.has(Shortcut::PlacedWithoutFlush) {
            self.flush_dirty()?;
        }
        for (at, bytes) in set.placeable() {
            // SAFETY: the block is not allocated: no reference to it exists, and no committed byte is in it.
            unsafe { self.region.store_nontemporal(at, bytes) };
        }
        if !shortcuts.has(Shortcut::PlacedNotDrained) {
            self.region.drain()?;
            if !shortcuts.has(Shortcut::PlacedWithoutFlush) {
                self.settled = self.durable;
            }
        }
        Ok(())
    }

    /// Retires all records: flush the applied lines, drain; the horizon by one 8-byte store, flush, drain. A later
    /// recovery has nothing to replay. Two drains; none if there is nothing to retire.
    ///
    /// # Panics
    ///
    /// Records are on their way: [`finish`](Log::finish) first.
    pub fn checkpoint(&mut self) -> Result<()> {
        assert!(!self.in_flight, "records are on their way: `finish` first");
        self.region.check_process()?;
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        assert!(self.undo == 0, "an undo transaction is open");
        if self.horizon == self.durable {
            return Ok(());
        }
        self.poisoned = true;
        self.flush_dirty()?;
        if !self.options.shortcuts.has(Shortcut::CheckpointOneDrain) {
            self.region.drain()?;
        }
        self.store_horizon(self.durable)?;
        self.settled = self.durable;
        self.since_flush = 0;
        self.dirty.settle();
        self.window_known = true;
        self.checkpoints += 1;
        self.poisoned = false;
        Ok(())
    }

    /// Records up to `seq` are retired: their lines are durable. One drain.
    fn store_horizon(&mut self, seq: u64) -> Result<()> {
        let at = self.area.start + HORIZON;
        let word = format::horizon_word(self.generation, seq);
        if self.is_on_pages() && !self.options.shortcuts.has(Shortcut::CheckpointOneDrain) {
            // SAFETY: a word of the log's area, which nobody else uses.
            unsafe { self.region.write_through(at, &word.to_le_bytes()) }?;
        } else {
            // SAFETY: as above.
            unsafe { self.region.store_word(at, word) };
            self.region.persist(at..at + 8)?;
        }
        self.horizon = seq;
        self.horizon_is_stale = false;
        self.release_below(seq + 1);
        Ok(())
    }

    /// No recovery needs the records below `seq` any more.
    #[inline]
    fn release_below(&mut self, seq: u64) {
        self.ring.release_below(seq);
        self.extensions.release_below(seq);
    }

    /// The newest record is `seq`; it is durable and applied.
    fn all_done(&mut self, seq: u64) {
        (self.written, self.durable, self.applied) = (seq, seq, seq);
    }

    /// Records of all earlier generations are void from here on. One drain.
    ///
    /// The horizon of the old generation stays until the new one is durable: without it, a recovery in the old one would
    /// look for records that were retired. Its word counts for nothing in the new generation, and is cleared with the
    /// first commit, so that its tag is gone long before it comes around.
    fn begin_generation(&mut self, generation: u32) -> Result<()> {
        let at = self.area.start + STATE;
        // SAFETY: a word of the log's area, which nobody else uses.
        unsafe { self.region.store_word(at, format::generation_word(self.identity, generation)) };
        self.region.flush(at..at + 8)?;
        if !self.options.shortcuts.has(Shortcut::ReplayNotDrained) {
            self.region.drain()?;
        }
        self.generation = generation;
        self.epoch += self.written;
        (self.written, self.durable, self.applied, self.settled, self.horizon) = (0, 0, 0, 0, 0);
        self.horizon_is_stale = true;
        self.dirty.settle();
        self.window_known = true;
        self.ring.release_all();
        self.extensions.release_below(u64::MAX);
        if self.is_on_pages() {
            // The first commit's write covers its record and nothing else.
            let horizon = self.area.start + HORIZON;
            // SAFETY: a word of the log's area, which nobody else uses.
            unsafe { self.region.write_through(horizon, &[0; 8]) }?;
            self.horizon_is_stale = false;
        }
        Ok(())
    }

    #[inline]
    fn flush_dirty(&mut self) -> Result<()> {
        let shortcuts = self.options.shortcuts;
        if shortcuts.has(Shortcut::AppliedNeverFlushed) || shortcuts.has(Shortcut::FlushAtApply) {
            self.dirty.clear();
        }
        self.dirty.flush(&self.region)
    }

    #[inline]
    fn apply_record(&mut self) {
        for (line, change) in self.record.entries() {
            apply(&self.region, &mut self.dirty, line, change);
            if self.options.shortcuts.has(Shortcut::FlushAtApply) {
                let _ = self.region.flush(line * LINE..(line + change.lines()) * LINE);
            }
        }
    }

    fn write_header(&self, copy: u64) {
        let header = Header::new(self.identity, self.area.end - self.area.start);
        self.store(self.area.start + copy * LINE, bytemuck::bytes_of(&header));
    }

    fn store(&self, at: u64, bytes: &[u8]) {
        // SAFETY: (callers) in the log's area, which nobody else uses.
        unsafe { self.region.store(at, bytes) }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("area", &self.area)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

/// Stores one change in place, and remembers its lines.
#[inline(always)]
pub(super) fn apply(region: &Region, dirty: &mut Dirty, line: u64, change: Change<'_>) {
    put(region, line, change);
    if matches!(change, Change::Placed(_)) {
        return;
    }
    for i in 0..change.lines() {
        dirty.add(line + i);
    }
}

/// Stores one change in place.
#[inline(always)]
fn put(region: &Region, line: u64, change: Change<'_>) {
    // SAFETY: (each block) inside the mapping: checked when the block entered the write set, or by recovery. No
    // reference to these bytes is alive: readers are kept out by `before_apply`, the writer's own references ended
    // with its transaction (the contract of `Log::create`).
    match change {
        // SAFETY: as above.
        Change::Words { mask, values } => unsafe { region.store_words(line, mask, values) },
        // SAFETY: as above.
        Change::Lines(words) => unsafe { region.store(line * LINE, bytemuck::cast_slice(words)) },
        Change::Zeros(count) => {
            for i in 0..count {
                // SAFETY: as above.
                unsafe { region.store((line + i) * LINE, &[0; LINE as usize]) };
            }
        }
        Change::Placed(_) => {}
    }
}
