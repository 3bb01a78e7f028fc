//! Commits that do not drain by themselves: the writer's side of the [pipeline](super::super::pipeline).

use super::super::{
    format::{self, HORIZON, MAX_SEQ, RING, SLOT},
    pipeline::{Pipeline, Ticket, Written},
    shortcut::Shortcut,
    write_set::WriteSet,
};
use super::Log;
use crate::Result;
use std::sync::Arc;

impl Log {
    /// What waits for records on their way: without the writer's turn.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Whether records may be on their way. If not, [`commit`](Log::commit) is the shortest way.
    #[inline]
    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// The newest commit.
    #[inline]
    pub fn newest(&self) -> Ticket {
        Ticket(self.epoch + self.written)
    }

    /// All commits up to this one are applied. As of the last call of a function that takes the write set.
    #[inline]
    pub fn applied(&self) -> Ticket {
        if self.options.shortcuts.has(Shortcut::FreedBeforeApplied) {
            return self.newest();
        }
        Ticket(self.epoch + self.applied)
    }

    /// Records up to this one are retired: applied, and drained, so that no record that is written from now on has them in its window.
    /// Bytes that such a record named, and that are nobody's now, may be stored to without a record. As of the last call of a
    /// function that takes the write set.
    #[inline]
    pub fn settled(&self) -> Ticket {
        Ticket(self.epoch + self.settled.max(self.horizon))
    }

    /// Between two transactions: takes in what has become of records on their way. No address in the write set may be
    /// in use.
    #[inline]
    pub fn collect(&mut self, set: &mut WriteSet) {
        if self.in_flight {
            self.collect_now(set);
        }
    }

    #[cold]
    fn collect_now(&mut self, set: &mut WriteSet) {
        let pipeline = self.pipeline.clone();
        let mut state = pipeline.lock();
        if state.failed {
            self.poisoned = true;
            return;
        }
        self.durable = state.durable - self.epoch;
        self.applied = state.applied - self.epoch;
        self.settled = state.settled - self.epoch;
        self.release_below((state.from - self.epoch).max(self.horizon + 1));
        let early = self.options.shortcuts.has(Shortcut::OverlayDroppedEarly);
        set.overlay.drop_applied(if early { u64::MAX } else { state.applied });
        if self.applied == self.written && !state.draining && !state.applying {
            self.dirty.take_from(&mut state.dirty);
            self.since_flush = state.since_flush;
            self.in_flight = false;
            self.window_known = false;
        }
    }

    /// Writes the record of what `set` holds, and clears it. It is durable and applied when [`Pipeline::wait`] has
    /// returned for the ticket. `None` if nothing was changed. No drain; one if more than 4 KiB are fresh; if the ring is
    /// full, one for what is on its way and two for a checkpoint, with `keep_out` as in [`Pipeline::wait`].
    ///
    /// `announce` is told the ticket before anybody can apply the record; nothing can fail after it.
    ///
    /// # Errors
    ///
    /// As of [`commit`](Log::commit).
    pub fn write<G>(
        &mut self,
        set: &mut WriteSet,
        mut keep_out: impl FnMut(Ticket) -> G,
        announce: impl FnOnce(Ticket),
    ) -> Result<Option<Ticket>> {
        self.collect(set);
        let Some(placed) = self.encode(set)? else { return Ok(None) };
        if self.record.len() > self.max_record() {
            return self.write_large(set, placed, keep_out, announce);
        }
        let shortcuts = self.options.shortcuts;
        let count = format::slots(self.record.len());
        let first = match self.slots_now(count).filter(|_| self.written < MAX_SEQ) {
            Some(first) => first,
            None => {
                // The record stays right: what it was compared with is now in place.
                self.finish(set, &mut keep_out)?;
                self.slots_for(count)?
            }
        };
        self.poisoned = true;
        if placed {
            self.place_behind(set)?;
        }
        let header = self.next_header();
        let seq = header.seq;
        let ticket = self.epoch + seq;
        let at = self.area.start + RING + first * SLOT;
        let on_pages = self.is_on_pages();
        let bytes: &[u8] = bytemuck::cast_slice(self.record.finish(header, self.identity, first));
        let mut word = None;
        if !on_pages {
            // Who will drain is not known: so not past the caches.
            if shortcuts.has(Shortcut::LeaderDoesNotFlush) {
                // SAFETY: a slot of the log's area, which nobody else uses (the contract of `create`).
                unsafe { self.region.store_nontemporal(at, bytes) };
            } else {
                // SAFETY: as above.
                unsafe { self.region.store(at, bytes) };
            }
            if self.horizon_is_stale {
                let horizon = self.area.start + HORIZON;
                // SAFETY: a word of the log's area, which nobody else uses.
                unsafe { self.region.store_word(horizon, 0) };
                word = Some(horizon);
                self.horizon_is_stale = false;
            }
        }
        if !shortcuts.has(Shortcut::NoOverlay) {
            set.overlay.put(&self.region, self.record.entries(), ticket);
        }
        announce(Ticket(ticket));
        let pipeline = self.pipeline.clone();
        let mut state = pipeline.lock();
        if !self.in_flight {
            // What was committed without the pipeline, it does not know.
            let before = ticket - 1;
            (state.durable, state.applied, state.settled) = (before, before, self.epoch + self.settled);
            (state.from, state.since_flush) = (self.epoch, self.since_flush);
            self.in_flight = true;
        }
        state.dirty.take_from(&mut self.dirty);
        let record = std::mem::replace(&mut self.record, super::Builder::new());
        let from = self.epoch + self.settled + 1;
        self.record = pipeline
            .push(state, Written { ticket, from, generation: self.generation, seq, at, record, word });
        self.written = seq;
        self.ring.took(seq, first, count);
        if shortcuts.has(Shortcut::ReleaseAtWritten) {
            self.ring.release_below(seq);
        }
        self.commits += 1;
        self.poisoned = false;
        set.clear();
        Ok(Some(Ticket(ticket)))
    }

    /// Waits until everything that was written is durable and applied, and takes that in.
    ///
    /// # Errors
    ///
    /// As of [`Pipeline::wait`].
    pub fn finish<G>(&mut self, set: &mut WriteSet, keep_out: impl FnMut(Ticket) -> G) -> Result<()> {
        if self.in_flight {
            let waited = self.pipeline.wait(self.newest(), keep_out);
            self.collect_now(set);
            waited?;
            if self.poisoned {
                return Err(crate::Error::Poisoned); // a drain failed after all that was written had been applied
            }
            debug_assert!(!self.in_flight, "the writer is here, so nobody else can have more to do");
        }
        Ok(())
    }

    /// As [`place`](Log::place), with records in flight.
    fn place_behind(&mut self, set: &WriteSet) -> Result<()> {
        if !self.in_flight {
            return self.place(set);
        }
        let named =
            |start: u64, len: u64| !matches!(set.overlay.find(start, len), super::super::Found::Mapping);
        let reused = set.placeable().any(|(start, bytes)| named(start, bytes.len() as u64));
        assert!(
            !reused || self.options.shortcuts.has(Shortcut::FreedBeforeApplied),
            "a fresh block that a record on its way still writes to"
        );
        let settled = self.pipeline.settle(|| {
            for (at, bytes) in set.placeable() {
                // SAFETY: the block is not allocated: no reference to it exists, and no committed byte is in it.
                unsafe { self.region.store_nontemporal(at, bytes) };
            }
        })?;
        self.settled = settled - self.epoch;
        Ok(())
    }
}
