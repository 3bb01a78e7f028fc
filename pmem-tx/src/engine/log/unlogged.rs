//! Stores that no record knows of: one line, one drain.

use super::{Log, Shortcut};
use crate::{
    Error, Result,
    engine::format::{self, UNLOGGED_END, UNLOGGED_START},
};
use pmem_map::LINE;
use std::ops::Range;

impl Log {
    /// Whether an unlogged store to line `line` (its number) would be undone by a replay: a record of the newest durable
    /// one's window holds, or may hold, a value of it.
    pub fn covers(&self, line: u64) -> bool {
        let shortcuts = self.options.shortcuts;
        if shortcuts.has(Shortcut::LineCovered) {
            return false;
        }
        if shortcuts.has(Shortcut::LineCoveredByNewestOnly) {
            return self.dirty.has(line);
        }
        !self.window_known || self.dirty.covers(line)
    }

    /// Stores `bytes`, which are inside one line that no record of the window [covers](Log::covers), in place. Durable on
    /// return: one drain. After a crash each of the words that they touch is old or new, in any combination.
    ///
    /// # Panics
    ///
    /// The bytes are in more than one line, in a covered one, outside the mapping, or in the log; or an undo transaction
    /// is open.
    pub fn store_unlogged(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        assert!(!self.in_flight, "records are on their way: `finish` first");
        self.region.check_process()?;
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let (line, end) = (at / LINE, at + bytes.len() as u64);
        if bytes.is_empty() {
            return Ok(());
        }
        assert!(end.div_ceil(LINE) == line + 1, "{at}..{end} is not in one line");
        assert!(at >= self.area.end || end <= self.area.start, "{at}..{end} is in the log");
        assert!(self.undo == 0 && !self.covers(line), "a record covers line {line}");
        let mut words = [0u64; 8];
        // SAFETY: in the mapping (`load` checks); nobody stores meanwhile (the contract of `Log::create`).
        unsafe { self.region.load(line * LINE, bytemuck::bytes_of_mut(&mut words)) };
        let (first, last) = ((at % LINE) as usize, ((end - 1) % LINE) as usize);
        bytemuck::bytes_of_mut(&mut words)[first..=last].copy_from_slice(bytes);
        let mask = (0xff << (first / 8)) as u8 & (0xff >> (7 - last / 8)) as u8;
        self.poisoned = true;
        // After a kill the store may be visible and not durable: the next opening finds here what to flush.
        self.announce_unlogged(line..line + 1);
        // SAFETY: in the mapping and outside the log; no reference to these bytes is alive (the contract of `create`).
        unsafe { self.region.store_words(line, mask, &words[first / 8..=last / 8]) };
        self.region.flush(line * LINE..line * LINE + LINE)?;
        if !self.options.shortcuts.has(Shortcut::LineNotDrained) {
            self.region.drain()?;
            self.announce_unlogged(0..0);
        }
        self.poisoned = false;
        Ok(())
    }

    /// Stores to lines of `lines` that no record knows of may come. For who opens the log after a kill, not after a power
    /// failure: so this is neither flushed nor drained.
    pub(super) fn announce_unlogged(&self, lines: Range<u64>) {
        for (at, line) in [(UNLOGGED_START, lines.start), (UNLOGGED_END, lines.end)] {
            // SAFETY: a word of the log's area, which nobody else uses.
            unsafe { self.region.store_word(self.area.start + at, format::unlogged_word(line)) };
        }
    }
}
