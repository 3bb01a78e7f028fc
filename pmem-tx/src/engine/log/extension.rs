//! Records that are larger than the ring takes: their entries are in memory lent for them, and a small record in the
//! ring says where.

use super::{Log, Shortcut};
use crate::{
    Committed, Error, Result,
    engine::{
        format::{self, MAX_SEQ, RECORD_HEADER, RING, RecordHeader, SLOT},
        pipeline::Ticket,
        record::Builder,
        write_set::WriteSet,
    },
};
use pmem_map::LINE;
use std::{collections::VecDeque, ops::Range};

/// Memory lent to a log.
#[derive(Default)]
pub(super) struct Extensions {
    /// Not used yet.
    free: Vec<Range<u64>>,
    /// In use: by which record.
    held: VecDeque<(u64, Range<u64>)>,
    /// No longer needed.
    returned: Vec<Range<u64>>,
}

impl Extensions {
    /// No recovery needs the records below `seq` any more.
    #[inline]
    pub(super) fn release_below(&mut self, seq: u64) {
        while self.held.front().is_some_and(|(holder, _)| *holder < seq) {
            self.returned.extend(self.held.pop_front().map(|(_, range)| range));
        }
    }

    /// Whether nothing is lent that a record needs.
    #[inline]
    pub(super) fn is_unused(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a record's entries are in `bytes`.
    pub(super) fn meets(&self, bytes: Range<u64>) -> bool {
        self.held.iter().any(|(_, range)| bytes.start < range.end && bytes.end > range.start)
    }

    fn free_bytes(&self) -> u64 {
        self.free.iter().map(|range| range.end - range.start).sum()
    }
}

/// Where a record's entries are.
struct Placed {
    /// The used parts of the first ranges that are free.
    pieces: Vec<Range<u64>>,
    /// The record for the ring.
    chain: Builder,
}

impl Log {
    /// Most pieces of memory that hold one record's entries.
    const MOST_PIECES: usize = 16;

    /// Lends a range of whole lines to the log, for records that are larger than it takes: use them after
    /// [`Error::LogFull`], then try again. They belong to the log until [`reclaim`](Log::reclaim) gives them back, which
    /// is when no recovery can need them any more. Nothing of the loan is on media: after a crash, once the log was
    /// opened, the memory is the lender's again.
    ///
    /// # Panics
    ///
    /// The range is empty, not made of lines, outside the mapping, in the log, or lent already.
    pub fn lend(&mut self, range: Range<u64>) {
        let whole = range.start < range.end && range.start % LINE == 0 && range.end % LINE == 0;
        let taken = range.start < self.area.end && range.end > self.area.start || self.has_lent(&range);
        assert!(whole && !taken && range.end <= self.region.len(), "{range:?} cannot be lent to a log");
        self.extensions.free.push(range);
    }

    /// Whether any of `range` is lent already.
    pub fn has_lent(&self, range: &Range<u64>) -> bool {
        let Extensions { free, held, returned } = &self.extensions;
        let lent = free.iter().chain(returned).chain(held.iter().map(|(_, held)| held));
        lent.into_iter().any(|lent| range.start < lent.end && range.end > lent.start)
    }

    /// Ranges that were lent and are not needed any more.
    pub fn reclaim(&mut self) -> Vec<Range<u64>> {
        self.extensions.returned.append(&mut self.extensions.free);
        std::mem::take(&mut self.extensions.returned)
    }

    /// Whether records are in lent memory: a [checkpoint](Log::checkpoint) would free it.
    pub fn holds_space(&self) -> bool {
        !self.extensions.is_unused()
    }

    /// Whether [`reclaim`](Log::reclaim) has something.
    #[inline]
    pub fn has_returned(&self) -> bool {
        !self.extensions.returned.is_empty() || !self.extensions.free.is_empty()
    }

    /// Chooses where `body` goes: pieces that were lent, none of which it changes itself.
    fn place_body(&self, body: &Builder) -> Result<Placed> {
        let (needed, available) = (body.len(), self.max_record());
        let most = Log::MOST_PIECES.min(((available as usize - RECORD_HEADER) / 8 - 3) / 2);
        let len = body.len() - RECORD_HEADER as u64;
        let mut pieces = Vec::new();
        let mut left = len;
        for range in &self.extensions.free {
            if left == 0 || pieces.len() == most {
                break;
            }
            let taken = (range.end - range.start).min(left.next_multiple_of(LINE));
            pieces.push(range.start..range.start + taken);
            left = left.saturating_sub(taken);
        }
        if left > 0 {
            return Err(Error::LogFull { needed, available: available.max(self.extensions.free_bytes()) });
        }
        for (line, change) in body.entries() {
            let (start, end) = (line * LINE, (line + change.lines()) * LINE);
            if pieces.iter().any(|piece| start < piece.end && end > piece.start) {
                return lent(start);
            }
        }
        let mut chain = Builder::new();
        chain.clear();
        Ok(Placed { pieces, chain })
    }

    /// Of a record that is to be committed: it changes nothing that is lent.
    #[cold]
    pub(super) fn check_lent(&self) -> Result<()> {
        for (line, change) in self.record.entries() {
            if self.extensions.meets(line * LINE..(line + change.lines()) * LINE) {
                return lent(line * LINE);
            }
        }
        Ok(())
    }

    /// Writes `body` to the pieces, past the caches, and the record for slot `first`. Both are for the next drain.
    fn write_extended(&mut self, body: &Builder, placed: &mut Placed, header: RecordHeader, first: u64) {
        let (words, entries) = body.body();
        let mut rest: &[u8] = bytemuck::cast_slice(words);
        let sum = format::body_checksum(self.identity, header.generation, header.seq, words);
        placed.chain.raw(&[rest.len() as u64, u64::from(entries), sum]);
        for piece in &placed.pieces {
            let (now, later) = rest.split_at(rest.len().min((piece.end - piece.start) as usize));
            // SAFETY: inside the mapping (`lend`), and the log's while it is lent.
            unsafe { self.region.store_nontemporal(piece.start, now) };
            placed.chain.raw(&[piece.start, piece.end - piece.start]);
            rest = later;
        }
        placed.chain.set_entries(placed.pieces.len() as u32);
        let header = RecordHeader { flags: format::EXTENDED, ..header };
        let bytes: &[u8] = bytemuck::cast_slice(placed.chain.finish(header, self.identity, first));
        let at = self.area.start + RING + first * SLOT;
        // SAFETY: a slot of the log's area, which nobody else uses.
        unsafe { self.region.store_nontemporal(at, bytes) };
    }

    /// The ranges that `placed` uses are record `seq`'s, as a whole.
    fn hold(&mut self, placed: &Placed, seq: u64) {
        let used = self.extensions.free.drain(..placed.pieces.len());
        if self.options.shortcuts.has(Shortcut::ExtensionReusedEarly) {
            self.extensions.returned.extend(used);
        } else {
            self.extensions.held.extend(used.map(|range| (seq, range)));
        }
    }

    /// Slots that a record in the ring takes.
    fn chain_slots(placed: &Placed) -> u64 {
        format::slots((RECORD_HEADER + 8 * (3 + 2 * placed.pieces.len())) as u64)
    }

    /// Before lent memory is overwritten: no record of the window may cover it, or a replay would destroy the entries. So
    /// the lines of all records before are drained.
    fn settle_for_extension(&mut self) -> Result<()> {
        if self.options.shortcuts.has(Shortcut::ExtensionInCoveredMemory) {
            return self.flush_dirty();
        }
        if self.settled == self.durable {
            return Ok(()); // they are
        }
        self.flush_dirty()?;
        self.region.drain()?;
        self.settled = self.durable;
        self.since_flush = 0;
        Ok(())
    }

    /// [`write`](Log::write) of a record that the ring does not take: a commit, once nothing is on its way. (The record
    /// stays right: what it was compared with is then in place.)
    #[cold]
    pub(super) fn write_large<G>(
        &mut self,
        set: &mut WriteSet,
        in_place: bool,
        mut keep_out: impl FnMut(Ticket) -> G,
        announce: impl FnOnce(Ticket),
    ) -> Result<Option<Ticket>> {
        self.finish(set, &mut keep_out)?;
        let ticket = Ticket(self.epoch + self.written + 1);
        let committed = self.commit_extended(set, in_place, || {
            announce(ticket);
            keep_out(ticket)
        })?;
        Ok(committed.map(|_| ticket))
    }

    /// [`commit`](Log::commit) of a record that the ring does not take.
    #[cold]
    pub(super) fn commit_extended<G>(
        &mut self,
        set: &mut WriteSet,
        in_place: bool,
        before_apply: impl FnOnce() -> G,
    ) -> Result<Option<u64>> {
        let body = std::mem::replace(&mut self.record, Builder::new());
        let result = self.commit_body(&body, set, in_place, before_apply);
        self.record = body;
        result
    }

    fn commit_body<G>(
        &mut self,
        body: &Builder,
        set: &mut WriteSet,
        in_place: bool,
        before_apply: impl FnOnce() -> G,
    ) -> Result<Option<u64>> {
        let mut placed = self.place_body(body)?;
        let count = Log::chain_slots(&placed);
        if self.durable == MAX_SEQ {
            self.checkpoint()?;
            self.poisoned = true;
            let next = self.generation.checked_add(1).ok_or(Error::Poisoned)?;
            self.begin_generation(next)?;
            self.poisoned = false;
        }
        let first = match self.ring.place(count) {
            Some(first) => first,
            None => {
                self.checkpoint()?;
                self.ring.place(count).expect("the ring is empty, and takes three records")
            }
        };
        self.poisoned = true;
        if in_place {
            self.place(set)?;
        }
        self.settle_for_extension()?;
        self.clear_stale_horizon()?;
        let seq = self.durable + 1;
        let from = self.settled + 1;
        let header = RecordHeader {
            seq,
            from_distance: (seq - from) as u32,
            durable_distance: (seq - self.durable) as u32,
            generation: self.generation,
            kind: format::REDO,
            ..RecordHeader::default()
        };
        self.write_extended(body, &mut placed, header, first);
        self.region.drain()?;
        self.settled = self.durable;
        self.all_done(seq);
        self.window_known = true;
        self.ring.took(seq, first, count);
        self.hold(&placed, seq);
        self.release_below(from.max(self.horizon + 1));
        let guard = before_apply();
        for (line, change) in body.entries() {
            super::apply(&self.region, &mut self.dirty, line, change);
        }
        drop(guard);
        self.commits += 1;
        self.poisoned = false;
        if let Some(subscriber) = &self.subscriber {
            let (identity, generation) = (self.identity, self.generation);
            subscriber.committed(&Committed::new(identity, generation, seq, body.entries(), &self.region));
        }
        set.clear();
        Ok(Some(seq))
    }

    /// A batch of old values that does not fit in the ring.
    #[cold]
    pub(super) fn log_extended_batch(&mut self, batch: &Builder) -> Result<()> {
        let mut placed = self.place_body(batch)?;
        let count = Log::chain_slots(&placed);
        if !self.ring.has_room([count, 1].into_iter()) {
            return Err(Error::LogFull { needed: batch.len(), available: self.max_record() });
        }
        self.poisoned = true;
        self.clear_stale_horizon()?;
        if self.undo == 0 {
            self.settle_for_extension()?;
        }
        let (seq, from) = self.next_undo_record();
        let first = self.ring.place(count).expect("there is room");
        let header = self.undo_header(seq, from);
        self.write_extended(batch, &mut placed, header, first);
        self.region.drain()?;
        self.ring.took(seq, first, count);
        self.hold(&placed, seq);
        self.logged_undo(seq, seq, from);
        Ok(())
    }
}

/// What is lent to the log is not to be changed.
#[cold]
pub(super) fn lent<T>(offset: u64) -> Result<T> {
    let why = "it is lent to the log, and a record needs it";
    Err(Error::Invalid { offset, expected: "byte that may be changed", why })
}
