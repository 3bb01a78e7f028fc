//! What pending records say, in DRAM: the lines of the mapping as they will be.
//!
//! A record that is written and not yet applied has its values here, by whole lines, so that the next writer reads and
//! compares as if they were in place. The overlay changes between bodies only: a commit adds to it, and drops what was
//! applied meanwhile. So an address in it is good as long as a body runs, like one in the mapping.

use super::{
    arena::Arena,
    record::{Change, Entries},
    write_set::Found,
};
use pmem_map::{LINE, Region};
use rustc_hash::FxHashMap;
use std::ptr::NonNull;

/// A line's words.
type Words = [u64; 8];

struct Entry {
    words: NonNull<Words>,
    /// The newest record that changed the line.
    ticket: u64,
}

/// Lines of pending records, by number (offset / 64).
pub(super) struct Overlay {
    lines: FxHashMap<u64, Entry>,
    arena: Arena,
    /// Buffers of lines that were dropped.
    free: Vec<NonNull<Words>>,
    /// The newest record that it holds.
    newest: u64,
}

// SAFETY: the addresses are of its own arena, which is read through `&Overlay` and changed through `&mut Overlay`.
unsafe impl Send for Overlay {}
// SAFETY: as above.
unsafe impl Sync for Overlay {}

impl Overlay {
    pub(super) fn new() -> Overlay {
        Overlay { lines: FxHashMap::default(), arena: Arena::new(), free: Vec::new(), newest: 0 }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Address of line `line`, if a pending record changes it.
    #[inline]
    pub(super) fn line(&self, line: u64) -> Option<NonNull<u8>> {
        self.lines.get(&line).map(|entry| entry.words.cast())
    }

    /// Where `len` bytes at `at` are.
    #[cold]
    #[inline(never)]
    pub(super) fn find(&self, at: u64, len: u64) -> Found {
        let (first, last) = (at / LINE, (at + len.max(1) - 1) / LINE);
        if first == last {
            return match self.line(first) {
                // SAFETY: inside the line's buffer.
                Some(line) => Found::Shadow(unsafe { line.add((at % LINE) as usize) }),
                None => Found::Mapping,
            };
        }
        if (first..=last).any(|line| self.lines.contains_key(&line)) { Found::Mixed } else { Found::Mapping }
    }

    /// Takes in a record. No address in the overlay may be in use.
    ///
    /// Lines that are new here are copied from the mapping, where no pending record changes them: so nobody stores there.
    pub(super) fn put(&mut self, region: &Region, entries: Entries<'_>, ticket: u64) {
        self.newest = ticket;
        for (first, change) in entries {
            match change {
                Change::Words { mask, values } => {
                    let words = self.changing(region, first, ticket);
                    let mut rest = mask;
                    for value in values {
                        words[rest.trailing_zeros() as usize] = *value;
                        rest &= rest - 1;
                    }
                }
                Change::Lines(all) => {
                    for (line, words) in (first..).zip(all.as_chunks().0) {
                        *self.changing(region, line, ticket) = *words;
                    }
                }
                Change::Zeros(count) => {
                    (first..first + count).for_each(|line| *self.changing(region, line, ticket) = [0; 8]);
                }
                Change::Placed(_) => {} // in place already
            }
        }
    }

    fn changing(&mut self, region: &Region, line: u64, ticket: u64) -> &mut Words {
        let Overlay { lines, arena, free, .. } = self;
        let entry = lines.entry(line).or_insert_with(|| {
            let words = free.pop().unwrap_or_else(|| arena.take(LINE as usize, 0).cast());
            // SAFETY: the record's entries are inside the mapping, whose lines are whole; nobody stores there (`put`).
            // The buffer is a line, aligned to one, and nobody else knows it.
            unsafe { words.write(region.base().add((line * LINE) as usize).cast::<Words>().read()) };
            Entry { words, ticket }
        });
        entry.ticket = ticket;
        // SAFETY: a line's buffer, initialised when it was entered; nobody uses addresses of the overlay now (`put`).
        unsafe { entry.words.as_mut() }
    }

    /// Drops lines of which all records up to `applied` are in place. No address in the overlay may be in use.
    pub(super) fn drop_applied(&mut self, applied: u64) {
        if applied >= self.newest {
            self.lines.clear();
            self.free.clear();
            self.arena.reset();
            return;
        }
        let free = &mut self.free;
        self.lines.retain(|_, entry| {
            let stays = entry.ticket > applied;
            if !stays {
                free.push(entry.words);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Builder;
    use pmem_map::Mapping;

    fn record(build: impl FnOnce(&mut Builder)) -> Builder {
        let mut builder = Builder::new();
        builder.clear();
        build(&mut builder);
        builder
    }

    fn word(overlay: &Overlay, at: u64) -> Option<u64> {
        match overlay.find(at, 8) {
            // SAFETY: 8 bytes in a line's buffer.
            Found::Shadow(address) => Some(unsafe { address.cast::<u64>().read() }),
            _ => None,
        }
    }

    #[test]
    fn a_line_is_what_all_pending_records_made_of_it_until_the_last_of_them_is_applied() {
        let mut mapping = Mapping::anonymous(4096).unwrap();
        mapping.write(0, &7u64.to_le_bytes()).unwrap();
        let region = mapping.into_region();
        let mut overlay = Overlay::new();
        overlay.put(&region, record(|r| r.words(0, 0b10, &[1; 8])).entries(), 1);
        overlay.put(&region, record(|r| (4..7).for_each(|line| r.zeros(line))).entries(), 2);
        overlay.put(&region, record(|r| r.words(0, 0b100, &[3; 8])).entries(), 3);
        assert_eq!([0, 8, 16, 24].map(|at| word(&overlay, at)), [Some(7), Some(1), Some(3), Some(0)]);
        assert!(matches!(overlay.find(0, 65), Found::Mixed));
        assert!(matches!(overlay.find(64, 192), Found::Mapping));
        overlay.drop_applied(2);
        assert_eq!((word(&overlay, 8), word(&overlay, 256)), (Some(1), None));
        overlay.put(&region, record(|r| r.line(9, &[9; 8])).entries(), 4);
        assert_eq!(word(&overlay, 9 * 64), Some(9), "in a buffer that was used before");
        overlay.drop_applied(4);
        assert!(overlay.is_empty());
    }
}
