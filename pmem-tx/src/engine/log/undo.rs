//! Undo transactions: old bytes are in the log, and drained, before a place is changed. FORMAT.md has the steps, and
//! what a crash leaves after each.

use super::{Log, Shortcut, put};
use crate::{
    Committed, Error, Result,
    engine::{
        format::{self, HORIZON, MAX_SEQ, RING, RecordHeader, SLOT},
        ranges::Ranges,
        record::{Builder, Change},
        recovery::Found,
    },
};
use pmem_map::{LINE, Region};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What an undo transaction has logged and changed.
pub struct UndoSet {
    region: Arc<Region>,
    /// Bytes, in whole words, of which the old values are in the log, and drained.
    logged: Ranges,
    /// Bytes, in whole words, to which nothing committed refers: not logged.
    fresh: Ranges,
    /// Numbers of the lines that were stored to.
    changed: Ranges,
    /// The old values, in the order of logging: the first `used`.
    batches: Vec<Builder>,
    used: usize,
    savepoints: Savepoints,
}

/// What to go back to inside a transaction. Only in DRAM: a crash rolls back all of it anyway.
struct Savepoints {
    /// Which undo set: no other of this process has the number.
    set: u64,
    serial: u64,
    /// Serial, and how many stores there were.
    marks: Vec<(u64, usize)>,
    /// Where stores since the oldest mark went, and where in `old` the bytes are that were there.
    stores: Vec<(u64, Range<usize>)>,
    old: Vec<u8>,
}

/// A state of an undo set to come back to: [`Log::undo_savepoint`].
#[derive(Debug)]
pub struct UndoMark {
    set: u64,
    serial: u64,
}

impl UndoSet {
    fn new(region: Arc<Region>) -> UndoSet {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let savepoints = Savepoints {
            set: NEXT.fetch_add(1, Relaxed),
            serial: 0,
            marks: Vec::new(),
            stores: Vec::new(),
            old: Vec::new(),
        };
        UndoSet {
            region,
            logged: Ranges::default(),
            fresh: Ranges::default(),
            changed: Ranges::default(),
            batches: Vec::new(),
            used: 0,
            savepoints,
        }
    }

    /// More bytes of old values than this are not kept from transaction to transaction.
    const KEPT: u64 = 1 << 20;

    fn clear(&mut self) {
        self.logged.clear();
        self.fresh.clear();
        self.changed.clear();
        if self.batches.iter().map(Builder::capacity).sum::<u64>() > UndoSet::KEPT {
            self.batches.clear();
        }
        self.used = 0;
        self.savepoints.marks.clear();
        self.savepoints.stores.clear();
        self.savepoints.old.clear();
    }

    /// Builds the entries with what `ranges` hold now, as far as it is not logged. Lines of a run that are one entry:
    /// at most `run`.
    fn build(&mut self, ranges: &[Range<u64>], run: u8, again: bool) -> Ranges {
        let mut wanted = Ranges::default();
        for range in ranges {
            if range.start < range.end {
                wanted.insert(range.start & !7..range.end.next_multiple_of(8));
            }
        }
        let mut gaps = Ranges::default();
        for range in wanted.iter() {
            if again {
                gaps.insert(range);
            } else {
                self.logged.missing(range, |gap| self.fresh.missing(gap, |gap| gaps.insert(gap)));
            }
        }
        if gaps.is_empty() {
            return gaps;
        }
        if self.batches.len() == self.used {
            self.batches.push(Builder::new());
        }
        let batch = &mut self.batches[self.used];
        batch.clear();
        for gap in gaps.iter() {
            let mut at = gap.start;
            while at < gap.end {
                let (line, end) = (at / LINE, (at / LINE * LINE + LINE).min(gap.end));
                let (first, count) = (at % LINE / 8, (end - at) / 8);
                let mut words = [0u64; 8];
                // SAFETY: in the mapping (`Log::check_place`); nobody stores meanwhile (the contract of `Log::create`).
                unsafe { self.region.load(line * LINE, bytemuck::bytes_of_mut(&mut words)) };
                batch.words_in_runs(line, (((1u16 << count) - 1) << first) as u8, &words, run);
                at = end;
            }
        }
        gaps
    }
}

impl Log {
    /// An empty undo set over the log's region.
    pub fn undo_set(&self) -> UndoSet {
        UndoSet::new(self.region.clone())
    }

    /// Whether an undo transaction has begun to log, and has not ended: between transactions, only in a poisoned log.
    #[inline]
    pub fn has_open_undo(&self) -> bool {
        self.undo != 0
    }

    /// Old values of these bytes go into the log, as far as they are not there: afterwards they may be changed. One drain,
    /// whatever the number of ranges; none if everything is logged, or fresh.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`]: nothing was logged, and the transaction goes on as it was. An error of the drain poisons the
    /// log.
    ///
    /// # Panics
    ///
    /// `set` is of another region, or has another log's open transaction; a range is outside the mapping or in the log;
    /// records are on their way ([`finish`](Log::finish) first).
    pub fn snapshot(&mut self, set: &mut UndoSet, ranges: &[Range<u64>]) -> Result<()> {
        ranges.iter().for_each(|range| self.check_place(set, range));
        self.ready()?;
        let shortcuts = self.options.shortcuts;
        let longest = (self.max_record() - size_of::<RecordHeader>() as u64 - 8) / LINE;
        let gaps = set.build(ranges, longest.min(255) as u8, shortcuts.has(Shortcut::UndoLoggedTwice));
        if gaps.is_empty() {
            return Ok(());
        }
        self.leave_room_for_seqs()?;
        self.log_batch(&mut set.batches[set.used])?;
        set.used += 1;
        gaps.iter().for_each(|gap| set.logged.insert(gap));
        Ok(())
    }

    /// Writes a batch of old values as one record or several, and drains once.
    fn log_batch(&mut self, batch: &mut Builder) -> Result<()> {
        let shortcuts = self.options.shortcuts;
        let chunks = batch.chunks(self.max_record());
        let counts = || chunks.iter().map(|chunk| format::slots(chunk.bytes()));
        if !self.ring.has_room(counts().chain([1])) {
            self.retire_before_undo()?;
            if !self.ring.has_room(counts().chain([1])) {
                return self.log_extended_batch(batch);
            }
        }
        self.poisoned = true;
        self.clear_stale_horizon()?;
        self.flush_earlier()?;
        let (first_seq, from) = self.next_undo_record();
        let mut seq = first_seq;
        let mut part = Builder::new();
        for chunk in &chunks {
            let record = if chunks.len() == 1 { &mut *batch } else { part.copy_chunk(batch, chunk) };
            let count = format::slots(record.len());
            let first = self.ring.place(count).expect("there is room");
            let header = self.undo_header(seq, from);
            let at = self.area.start + RING + first * SLOT;
            let bytes: &[u8] = bytemuck::cast_slice(record.finish(header, self.identity, first));
            // SAFETY: a slot of the log's area, which nobody else uses.
            unsafe { self.region.store_nontemporal(at, bytes) };
            self.ring.took(seq, first, count);
            seq += 1;
        }
        if !shortcuts.has(Shortcut::UndoChangeBeforeDrain) {
            self.region.drain()?;
        }
        self.logged_undo(first_seq, seq - 1, from);
        Ok(())
    }

    /// Seq of the next undo record, and the first one of its window: no later than the transaction's first.
    pub(super) fn next_undo_record(&self) -> (u64, u64) {
        (self.durable + 1, self.settled + 1)
    }

    pub(super) fn undo_header(&self, seq: u64, from: u64) -> RecordHeader {
        let from = if self.options.shortcuts.has(Shortcut::UndoWindowOfOne) { seq } else { from };
        RecordHeader {
            seq,
            from_distance: (seq - from) as u32,
            durable_distance: (seq - self.durable) as u32,
            generation: self.generation,
            kind: format::UNDO,
            ..RecordHeader::default()
        }
    }

    /// Undo records up to `last` are durable, and with them the lines of all records before the transaction.
    pub(super) fn logged_undo(&mut self, first: u64, last: u64, from: u64) {
        if self.undo == 0 {
            self.undo = first;
            self.settled = first - 1;
            self.since_flush = 0;
        }
        self.all_done(last);
        let given_up = self.options.shortcuts.has(Shortcut::UndoSlotsGivenUp);
        self.release_below(if given_up { last } else { from.max(self.horizon + 1) });
        self.poisoned = false;
    }

    /// Lines of records that were applied before this transaction: under the same drain.
    pub(super) fn flush_earlier(&mut self) -> Result<()> {
        if self.options.shortcuts.has(Shortcut::UndoEarlierNotSettled) {
            self.dirty.clear();
        }
        if self.undo == 0 { self.flush_dirty() } else { Ok(()) }
    }

    /// Makes room in the ring: everything before the open undo transaction is retired. Two drains, or one.
    pub(super) fn retire_before_undo(&mut self) -> Result<()> {
        if self.undo == 0 {
            return self.checkpoint();
        }
        if self.horizon >= self.undo - 1 {
            return Ok(());
        }
        self.poisoned = true;
        self.store_horizon(self.undo - 1)?; // their lines were drained with the first snapshot
        self.poisoned = false;
        Ok(())
    }

    /// Nothing committed refers to the whole words of `range`: they need not be logged, and what they hold after an abort
    /// or a crash is anything. No drain.
    ///
    /// # Panics
    ///
    /// As [`snapshot`](Log::snapshot).
    pub fn declare_fresh(&mut self, set: &mut UndoSet, range: Range<u64>) -> Result<()> {
        self.check_place(set, &range);
        self.ready()?;
        let (start, end) = (range.start.next_multiple_of(8), range.end & !7);
        if start < end {
            set.fresh.insert(start..end);
            // What a process stores there may be visible to the next one without being durable: it finds here what to
            // flush.
            let lines = set.fresh.iter();
            let (first, last) = lines.fold((u64::MAX, 0), |(a, b), r| (a.min(r.start), b.max(r.end)));
            self.announce_unlogged(first / LINE..last.div_ceil(LINE));
        }
        Ok(())
    }

    /// Stores `bytes` at `at`, once their old values are in the log: see [`snapshot`](Log::snapshot) for errors, panics
    /// and drains.
    pub fn undo_write(&mut self, set: &mut UndoSet, at: u64, bytes: &[u8]) -> Result<()> {
        self.change(set, at, bytes.len() as u64, |region| {
            // SAFETY: in the mapping and outside the log (`snapshot`); no reference to these bytes is alive (the contract of
            // `Log::create`).
            unsafe { region.store(at, bytes) }
        })
    }

    /// As [`undo_write`](Log::undo_write), with `len` times the same byte.
    pub fn undo_fill(&mut self, set: &mut UndoSet, at: u64, len: u64, byte: u8) -> Result<()> {
        const PART: u64 = 4096;
        self.change(set, at, len, |region| {
            let part = [byte; PART as usize];
            for from in (at..at + len).step_by(PART as usize) {
                let part = &part[..(at + len - from).min(PART) as usize];
                // SAFETY: as in `undo_write`.
                unsafe { region.store(from, part) };
            }
        })
    }

    #[expect(clippy::single_range_in_vec_init, reason = "one range is what it takes")]
    fn change(&mut self, set: &mut UndoSet, at: u64, len: u64, store: impl FnOnce(&Region)) -> Result<()> {
        self.snapshot(set, &[at..at + len])?;
        if len == 0 {
            return Ok(());
        }
        if !self.extensions.is_unused() && self.extensions.meets(at..at + len) {
            return super::extension::lent(at);
        }
        if !set.savepoints.marks.is_empty() {
            let old = &mut set.savepoints.old;
            let place = old.len()..old.len() + len as usize;
            old.resize(place.end, 0);
            // SAFETY: in the mapping (`snapshot`); nobody stores meanwhile.
            unsafe { self.region.load(at, &mut old[place.clone()]) };
            set.savepoints.stores.push((at, place));
        }
        set.changed.insert(at / LINE..(at + len).div_ceil(LINE));
        store(&self.region);
        Ok(())
    }

    /// Remembers this state. No drain.
    pub fn undo_savepoint(&mut self, set: &mut UndoSet) -> UndoMark {
        let savepoints = &mut set.savepoints;
        savepoints.serial += 1;
        savepoints.marks.push((savepoints.serial, savepoints.stores.len()));
        UndoMark { set: savepoints.set, serial: savepoints.serial }
    }

    /// Goes back to the state at `mark`, which can be gone back to again; later marks are void. No drain: what is put back
    /// is logged, or fresh.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignSavepoint`]: nothing was changed.
    pub fn undo_rollback_to(&mut self, set: &mut UndoSet, mark: &UndoMark) -> Result<()> {
        self.ready()?;
        let savepoints = &mut set.savepoints;
        let place = savepoints.marks.binary_search_by_key(&mark.serial, |(serial, _)| *serial);
        let Some(place) = place.ok().filter(|_| savepoints.set == mark.set) else {
            return Err(Error::ForeignSavepoint);
        };
        savepoints.marks.truncate(place + 1);
        for (at, old) in savepoints.stores.drain(savepoints.marks[place].1..).rev() {
            // SAFETY: as in `undo_write`, which stored there.
            unsafe { self.region.store(at, &savepoints.old[old.clone()]) };
            savepoints.old.truncate(old.start);
        }
        Ok(())
    }

    /// Commits what was changed in place, and clears `set`. The seal's seq, or `None` if nothing was logged or changed.
    /// Durable when `then` is called. Two drains; none if nothing was logged or changed; two more if the ring is full and only
    /// fresh memory was changed.
    ///
    /// # Errors
    ///
    /// An error of a drain poisons the log: what is durable is for the next recovery to say.
    pub fn commit_undo(&mut self, set: &mut UndoSet, then: impl FnOnce()) -> Result<Option<u64>> {
        self.check_set(set);
        self.ready()?;
        if self.is_untouched(set) {
            set.clear();
            return Ok(None);
        }
        if self.undo == 0 && self.options.shortcuts.has(Shortcut::UndoFreshWithoutSeal) {
            self.flush_changed(set)?;
            self.region.drain()?;
            set.clear();
            return Ok(None);
        }
        let at_once = self.options.shortcuts.has(Shortcut::UndoSealUnderDataDrain);
        let seq = self.seal(set, at_once)?;
        self.commits += 1;
        let lines: Vec<Range<u64>> = match self.subscriber {
            Some(_) => set.changed.iter().collect(),
            None => Vec::new(),
        };
        set.clear(); // before code of callers, which may panic
        then();
        if let Some(subscriber) = &self.subscriber {
            let (identity, generation) = (self.identity, self.generation);
            subscriber.committed(&Committed::in_place(identity, generation, seq, &self.region, &lines));
        }
        Ok(Some(seq))
    }

    /// Puts everything back, and clears `set`. Two drains; none if nothing was logged or changed.
    ///
    /// # Errors
    ///
    /// An error of a drain poisons the log; the next recovery rolls back.
    pub fn abort_undo(&mut self, set: &mut UndoSet) -> Result<()> {
        self.check_set(set);
        self.ready()?;
        if self.is_untouched(set) {
            set.clear();
            return Ok(());
        }
        for (line, change) in set.batches[..set.used].iter().rev().flat_map(Builder::entries) {
            match change {
                Change::Lines(words) => {
                    for (i, words) in words.chunks_exact(8).enumerate() {
                        self.put_back(set, line + i as u64, Change::Lines(words));
                    }
                }
                change => self.put_back(set, line, change),
            }
        }
        if self.options.shortcuts.has(Shortcut::UndoAbortNotSealed) {
            self.flush_changed(set)?;
            self.region.drain()?;
            (self.undo, self.settled) = (0, self.durable);
        } else {
            let at_once = self.options.shortcuts.has(Shortcut::UndoAbortNotDrained);
            self.seal(set, at_once)?;
        }
        set.clear();
        Ok(())
    }

    /// Stores what a line held, if it was changed: only such lines are flushed.
    fn put_back(&self, set: &UndoSet, line: u64, change: Change<'_>) {
        if set.changed.contains(line) {
            put(&self.region, line, change);
        }
    }

    /// Whether there is nothing to seal.
    fn is_untouched(&self, set: &UndoSet) -> bool {
        self.undo == 0 && set.changed.is_empty()
    }

    fn flush_changed(&self, set: &UndoSet) -> Result<()> {
        for lines in set.changed.iter() {
            self.region.flush(lines.start * LINE..lines.end * LINE)?;
        }
        Ok(())
    }

    /// What is in place becomes durable, drain; then the record that says so, drain. From there on no record before the
    /// seal counts. `at_once`: both under one drain, which is wrong.
    fn seal(&mut self, set: &UndoSet, at_once: bool) -> Result<u64> {
        let first = match self.ring.place(1) {
            Some(first) => first,
            None => {
                // Only without a snapshot: each leaves room for the seal.
                self.retire_before_undo()?;
                self.ring.place(1).expect("retired, or room was left")
            }
        };
        self.leave_room_for_seqs()?;
        self.poisoned = true;
        self.clear_stale_horizon()?;
        self.flush_earlier()?;
        self.flush_changed(set)?;
        // Without changes there is nothing to drain: the snapshots are, and with them what was before.
        if !at_once && (self.undo == 0 || !set.changed.is_empty()) {
            self.region.drain()?;
        }
        let seq = self.durable + 1;
        let header = RecordHeader { kind: format::SEAL, ..self.undo_header(seq, seq) };
        self.record.clear();
        let bytes: &[u8] = bytemuck::cast_slice(self.record.finish(header, self.identity, first));
        let at = self.area.start + RING + first * SLOT;
        // SAFETY: a slot of the log's area, which nobody else uses.
        unsafe { self.region.store_nontemporal(at, bytes) };
        if !self.options.shortcuts.has(Shortcut::UndoSealNotDrained) {
            self.region.drain()?;
        }
        self.ring.took(seq, first, 1);
        self.all_done(seq);
        self.settled = seq;
        self.window_known = true;
        (self.undo, self.since_flush) = (0, 0);
        self.dirty.settle();
        self.release_below(seq);
        if !set.fresh.is_empty() {
            self.announce_unlogged(0..0);
        }
        self.poisoned = false;
        Ok(seq)
    }

    /// Recovery: the old values of snapshots that no seal ended, the newest first.
    pub(super) fn roll_back(&mut self, open: &[Found]) {
        let mut put_back = |record: &Found| {
            for (line, change) in record.entries() {
                super::apply(&self.region, &mut self.dirty, line, change);
            }
        };
        if self.options.shortcuts.has(Shortcut::UndoRolledBackForward) {
            open.iter().for_each(&mut put_back);
        } else {
            open.iter().rev().for_each(&mut put_back);
        }
    }

    /// Before the first record of a transaction: a new generation if the seqs of this one could run out in it.
    fn leave_room_for_seqs(&mut self) -> Result<()> {
        const MOST: u64 = 1 << 33; // more than the slots of the largest ring
        if self.undo == 0 && self.durable > MAX_SEQ - MOST {
            self.checkpoint()?;
            self.poisoned = true;
            let next = self.generation.checked_add(1).ok_or(Error::Poisoned)?;
            self.begin_generation(next)?;
            self.poisoned = false;
        }
        Ok(())
    }

    /// The horizon's word, if it is of an earlier generation: drained with the next record.
    pub(super) fn clear_stale_horizon(&mut self) -> Result<()> {
        if self.horizon_is_stale {
            let at = self.area.start + HORIZON;
            // SAFETY: a word of the log's area, which nobody else uses.
            unsafe { self.region.store_word(at, 0) };
            self.region.flush(at..at + 8)?;
            self.horizon_is_stale = false;
        }
        Ok(())
    }

    fn ready(&self) -> Result<()> {
        assert!(!self.in_flight, "records are on their way: `finish` first");
        self.region.check_process()?;
        if self.poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }

    fn check_set(&self, set: &UndoSet) {
        assert!(Arc::ptr_eq(&self.region, &set.region), "an undo set of another region");
        assert!(self.undo != 0 || set.used == 0, "an undo set of another transaction");
    }

    fn check_place(&self, set: &UndoSet, range: &Range<u64>) {
        self.check_set(set);
        let inside = range.start <= range.end && range.end <= self.region.len();
        let in_log = range.start < self.area.end && range.end > self.area.start;
        assert!(inside && !in_log, "{range:?} is outside the mapping, or in the log at {:?}", self.area);
    }
}
