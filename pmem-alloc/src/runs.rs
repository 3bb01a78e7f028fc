//! Blocks in runs: which are allocated, which may be handed out. In DRAM only, rebuilt at open.
//!
//! Two bitmaps of the same shape as those on media. `live`: what the open transaction sees as allocated; at commit it
//! is what the media say. `taken`: what may not be handed out, which is `live`, plus what is reserved, plus what the
//! open transaction freed (nobody may get that before the commit is durable).

use crate::{classes, format::BITMAP_WORDS};
use std::collections::BTreeSet;

/// The volatile side of all runs. A run is known by its first page.
pub(crate) struct Runs {
    live: Vec<u64>,
    taken: Vec<u64>,
    /// For each first page: blocks taken.
    used: Vec<u32>,
    /// For each first page: all bitmap words before this one are full.
    hint: Vec<u32>,
    /// For each class: runs with blocks to hand out, filled from the lowest so that high ones become empty.
    partial: Vec<BTreeSet<u32>>,
    /// Runs of which no block is taken: their pages can be had back.
    empty: BTreeSet<u32>,
}

impl Runs {
    pub(crate) fn new(data_pages: u32) -> Runs {
        let pages = data_pages as usize;
        Runs {
            live: vec![0; pages * BITMAP_WORDS],
            taken: vec![0; pages * BITMAP_WORDS],
            used: vec![0; pages],
            hint: vec![0; pages],
            partial: vec![BTreeSet::new(); classes::COUNT],
            empty: BTreeSet::new(),
        }
    }

    #[inline]
    fn word_of(page: u32, slot: u32) -> usize {
        page as usize * BITMAP_WORDS + slot as usize / 64
    }

    /// There are pages up to number `data_pages` now.
    pub(crate) fn extend(&mut self, data_pages: u32) {
        let pages = data_pages as usize;
        self.live.resize(pages * BITMAP_WORDS, 0);
        self.taken.resize(pages * BITMAP_WORDS, 0);
        self.used.resize(pages, 0);
        self.hint.resize(pages, 0);
    }

    /// A new run, all of it free.
    pub(crate) fn add(&mut self, page: u32, class: u8) {
        self.hint[page as usize] = 0;
        self.used[page as usize] = 0;
        self.partial[class as usize].insert(page);
        self.empty.insert(page);
    }

    /// A run as it is on media.
    pub(crate) fn add_with(&mut self, page: u32, class: u8, pages: u32, bitmap: &[u64]) {
        self.add(page, class);
        let from = Self::word_of(page, 0);
        self.live[from..from + bitmap.len()].copy_from_slice(bitmap);
        self.taken[from..from + bitmap.len()].copy_from_slice(bitmap);
        let used: u32 = bitmap.iter().map(|word| word.count_ones()).sum();
        self.used[page as usize] = used;
        if used > 0 {
            self.empty.remove(&page);
        }
        if used == classes::slots(class, pages) {
            self.partial[class as usize].remove(&page);
        }
    }

    /// Forgets a run. None of its blocks may be taken.
    pub(crate) fn remove(&mut self, page: u32, class: u8) {
        debug_assert_eq!(self.used[page as usize], 0);
        self.partial[class as usize].remove(&page);
        self.empty.remove(&page);
    }

    /// The run of a class to take the next block from.
    #[inline]
    pub(crate) fn with_room(&self, class: u8) -> Option<u32> {
        self.partial[class as usize].first().copied()
    }

    /// A run of which no block is taken.
    pub(crate) fn an_empty_one(&self) -> Option<u32> {
        self.empty.first().copied()
    }

    /// Takes a block of a run that has room.
    pub(crate) fn take(&mut self, page: u32, class: u8, pages: u32) -> u32 {
        let slots = classes::slots(class, pages);
        let first = Self::word_of(page, 0);
        let mut word = self.hint[page as usize];
        while self.taken[first + word as usize] == u64::MAX {
            word += 1;
        }
        self.hint[page as usize] = word;
        let bit = (!self.taken[first + word as usize]).trailing_zeros();
        let slot = word * 64 + bit;
        debug_assert!(slot < slots, "run at page {page} was to have room");
        self.taken[first + word as usize] |= 1 << bit;
        if self.used[page as usize] == 0 {
            self.empty.remove(&page);
        }
        self.used[page as usize] += 1;
        if self.used[page as usize] == slots {
            self.partial[class as usize].remove(&page);
        }
        slot
    }

    /// Makes a block available again.
    pub(crate) fn give(&mut self, page: u32, class: u8, pages: u32, slot: u32) {
        let word = Self::word_of(page, slot);
        debug_assert!(self.taken[word] >> (slot % 64) & 1 == 1, "block {slot} at page {page} given twice");
        self.taken[word] &= !(1 << (slot % 64));
        let hint = &mut self.hint[page as usize];
        *hint = (*hint).min(slot / 64);
        if self.used[page as usize] == classes::slots(class, pages) {
            self.partial[class as usize].insert(page);
        }
        self.used[page as usize] -= 1;
        if self.used[page as usize] == 0 {
            self.empty.insert(page);
        }
    }

    /// Whether the open transaction sees the block as allocated.
    #[inline]
    pub(crate) fn is_live(&self, page: u32, slot: u32) -> bool {
        self.live[Self::word_of(page, slot)] >> (slot % 64) & 1 == 1
    }

    /// Sets or clears a block's bit; returns the bitmap word's number and new value.
    pub(crate) fn set_live(&mut self, page: u32, slot: u32, live: bool) -> (usize, u64) {
        let word = &mut self.live[Self::word_of(page, slot)];
        debug_assert_ne!(*word >> (slot % 64) & 1 == 1, live, "block {slot} at page {page}");
        *word ^= 1 << (slot % 64);
        (slot as usize / 64, *word)
    }

    /// Blocks that are allocated, of a run.
    pub(crate) fn live_count(&self, page: u32, class: u8, pages: u32) -> u32 {
        let from = Self::word_of(page, 0);
        let words = classes::slots(class, pages).div_ceil(64) as usize;
        self.live[from..from + words].iter().map(|word| word.count_ones()).sum()
    }

    /// Blocks that may not be handed out, of a run.
    pub(crate) fn taken_count(&self, page: u32) -> u32 {
        self.used[page as usize]
    }

    /// The bitmap as the open transaction sees it.
    pub(crate) fn live_words(&self, page: u32, words: usize) -> &[u64] {
        let from = Self::word_of(page, 0);
        &self.live[from..from + words]
    }
}
