//! Lines that were applied and not flushed yet.

use crate::Result;
use pmem_map::{Granularity, LINE, PAGE, Region};

/// Lines that were applied and not flushed yet, each once. With `Page` granularity, pages.
pub(super) struct Dirty {
    /// Numbers of lines or pages.
    places: Vec<u64>,
    /// Those that the newest flush took along.
    flushed: Vec<u64>,
    /// Direct-mapped: recently added ones, plus one. Misses cost a second flush, never a missing one.
    recent: Box<[u64; 512]>,
    /// From a line's number to its place's.
    shift: u32,
}

impl Dirty {
    pub(super) fn new(granularity: Granularity) -> Dirty {
        let shift = if granularity == Granularity::Page { (PAGE / LINE).trailing_zeros() } else { 0 };
        Dirty {
            places: Vec::with_capacity(512),
            flushed: Vec::with_capacity(512),
            recent: Box::new([0; 512]),
            shift,
        }
    }

    #[inline]
    fn slot(place: u64) -> usize {
        (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 55) as usize
    }

    #[inline]
    pub(super) fn add(&mut self, line: u64) {
        self.add_place(line >> self.shift);
    }

    #[inline]
    fn add_place(&mut self, place: u64) {
        let recent = &mut self.recent[Dirty::slot(place)];
        if *recent != place + 1 {
            *recent = place + 1;
            self.places.push(place);
        }
    }

    /// Takes over what `other` has.
    pub(super) fn take_from(&mut self, other: &mut Dirty) {
        if self.places.is_empty() {
            std::mem::swap(self, other);
        } else if !other.places.is_empty() {
            other.places.iter().for_each(|&place| self.add_place(place));
            other.clear();
        }
    }

    /// Tells an observer that a record covers these lines until they are flushed.
    #[inline]
    pub(super) fn announce(&self, region: &Region) {
        if self.shift == 0 {
            region.covered_lines(&self.places);
        }
    }

    #[inline]
    #[track_caller]
    pub(super) fn flush(&mut self, region: &Region) -> Result<()> {
        if self.shift == 0 {
            region.flush_lines(&self.places)?;
        } else {
            self.places.sort_unstable();
            let len = region.len();
            for place in &self.places {
                let start = place * PAGE;
                region.flush(start..(start + PAGE).min(len))?;
            }
        }
        self.clear();
        Ok(())
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        if self.places.len() > 512 {
            self.recent.fill(0);
        } else {
            for &place in &self.places {
                self.recent[Dirty::slot(place)] = 0;
            }
        }
        std::mem::swap(&mut self.places, &mut self.flushed);
        self.places.clear();
    }

    /// Whether `line` was applied and not flushed, or went with the newest flush.
    pub(super) fn covers(&self, line: u64) -> bool {
        let place = line >> self.shift;
        self.places.contains(&place) || self.flushed.contains(&place)
    }

    /// Whether `line` was applied and not flushed.
    pub(super) fn has(&self, line: u64) -> bool {
        self.places.contains(&(line >> self.shift))
    }

    /// All lines are durable, and no record that names one counts any more.
    pub(super) fn settle(&mut self) {
        self.clear();
        self.flushed.clear();
    }
}
