//! Loads and stores of a region: the only way by which this crate changes mapped bytes.

#![allow(unsafe_code)]

use crate::{Decision, Event, Granularity, LINE, Observer, Region, cpu};
use std::{
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

impl Region {
    /// Copies `bytes` to `offset` by ordinary stores. Not durable until flushed and drained, and not atomic.
    ///
    /// # Safety
    ///
    /// No reference to these bytes is alive, and no other thread reads or stores them by plain accesses.
    ///
    /// # Panics
    ///
    /// Out of bounds.
    #[inline]
    #[track_caller]
    pub unsafe fn store(&self, offset: u64, bytes: &[u8]) {
        // SAFETY: the caller's.
        unsafe { self.store_for(Location::caller(), offset, bytes) };
    }

    /// [`store`](Region::store), on behalf of a `caller`.
    ///
    /// # Safety
    ///
    /// As for [`store`](Region::store).
    #[inline]
    pub(crate) unsafe fn store_for(&self, caller: &'static Location<'static>, offset: u64, bytes: &[u8]) {
        let to = self.at(offset, bytes.len() as u64);
        let copy = || {
            // SAFETY: `to` is in bounds; the caller excludes other accesses, and with them an overlap.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        };
        match self.observer.get() {
            None => copy(),
            Some(observer) => {
                let event = Event::Store { offset, bytes, caller };
                self.observed(observer, event, copy);
            }
        }
    }

    /// Stores one word, atomically for other threads and for a crash.
    ///
    /// # Safety
    ///
    /// No reference to these bytes is alive, and other threads access them atomically, if at all.
    ///
    /// # Panics
    ///
    /// Out of bounds, or `offset` is no multiple of 8.
    #[inline]
    #[track_caller]
    pub unsafe fn store_word(&self, offset: u64, word: u64) {
        if !offset.is_multiple_of(8) {
            misaligned(offset);
        }
        let to = self.at(offset, 8).cast::<u64>();
        // SAFETY: in bounds and aligned (the base is page-aligned); the caller excludes plain accesses.
        let place = unsafe { AtomicU64::from_ptr(to) };
        match self.observer.get() {
            None => place.store(word.to_le(), Ordering::Release),
            Some(observer) => {
                let bytes = &word.to_le_bytes();
                let event = Event::Store { offset, bytes, caller: Location::caller() };
                self.observed(observer, event, || place.store(word.to_le(), Ordering::Release));
            }
        }
    }

    /// Stores the words of line `line` (its number: offset / 64) that `mask` names, low bit first, each atomically.
    ///
    /// # Safety
    ///
    /// As for [`store_word`](Region::store_word).
    ///
    /// # Panics
    ///
    /// Out of bounds, or there is not one value for each bit of the mask.
    #[inline]
    #[track_caller]
    pub unsafe fn store_words(&self, line: u64, mask: u8, values: &[u64]) {
        let to = self.at(line * LINE, LINE).cast::<u64>();
        let mut rest = u32::from(mask);
        let observed = self.observer.get().is_some();
        for value in values {
            if rest == 0 {
                wrong_number(values.len(), mask);
            }
            let number = rest.trailing_zeros() as usize;
            if observed {
                // SAFETY: the caller's.
                unsafe { self.store_word(line * LINE + number as u64 * 8, *value) };
            } else {
                // SAFETY: in bounds and aligned: a word of the line that `at` checked; the caller excludes plain accesses.
                let word = unsafe { AtomicU64::from_ptr(to.add(number)) };
                word.store(value.to_le(), Ordering::Release);
            }
            rest &= rest - 1;
        }
        if rest != 0 {
            wrong_number(values.len(), mask);
        }
    }

    /// Copies `bytes` to `offset` past the caches: durable after this thread's next drain, with no flush.
    /// Unaligned ends are stored and flushed.
    ///
    /// # Safety
    ///
    /// As for [`store`](Region::store).
    ///
    /// # Panics
    ///
    /// Out of bounds.
    #[inline]
    #[track_caller]
    pub unsafe fn store_nontemporal(&self, offset: u64, bytes: &[u8]) {
        let to = self.at(offset, bytes.len() as u64);
        let copy = || {
            // SAFETY: as in `store`.
            unsafe { cpu::copy_nontemporal(self.flush, bytes.as_ptr(), to, bytes.len()) };
            self.went_past_the_caches(offset, bytes.len() as u64);
        };
        match self.observer.get() {
            None => copy(),
            Some(observer) => {
                let event = Event::StoreNontemporal { offset, bytes, caller: Location::caller() };
                self.observed(observer, event, copy);
            }
        }
    }

    /// Fills `len` bytes at `offset` past the caches: durable after this thread's next drain, with no flush.
    ///
    /// # Safety
    ///
    /// As for [`store`](Region::store).
    ///
    /// # Panics
    ///
    /// Out of bounds.
    #[inline]
    #[track_caller]
    pub unsafe fn fill_nontemporal(&self, offset: u64, byte: u8, len: u64) {
        let to = self.at(offset, len);
        let fill = || {
            // SAFETY: `to` is in bounds; the caller excludes other accesses.
            unsafe { cpu::fill_nontemporal(self.flush, to, byte, len as usize) };
            self.went_past_the_caches(offset, len);
        };
        match self.observer.get() {
            None => fill(),
            Some(observer) => {
                let bytes = &vec![byte; len as usize];
                let event = Event::StoreNontemporal { offset, bytes, caller: Location::caller() };
                self.observed(observer, event, fill);
            }
        }
    }

    /// A store or a flush under an observer, who is asked first and told afterwards.
    #[cold]
    pub(crate) fn observed(&self, observer: &Arc<dyn Observer>, event: Event<'_>, perform: impl FnOnce()) {
        if observer.decide(self, &event) != Decision::Skip {
            perform();
            observer.event(self, event);
        }
    }

    #[inline]
    fn went_past_the_caches(&self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let end = offset + len;
        self.counters.nontemporal(end.div_ceil(LINE) - offset / LINE, len);
        if self.granularity == Granularity::Page {
            self.write_back.mark(offset..end);
        }
    }

    /// Loads one word, atomically.
    ///
    /// # Safety
    ///
    /// No other thread stores these bytes by plain accesses.
    ///
    /// # Panics
    ///
    /// Out of bounds, or `offset` is no multiple of 8.
    #[inline]
    pub unsafe fn load_word(&self, offset: u64) -> u64 {
        if !offset.is_multiple_of(8) {
            misaligned(offset);
        }
        let from = self.at(offset, 8).cast::<u64>();
        // SAFETY: in bounds and aligned; the caller excludes plain stores.
        u64::from_le(unsafe { AtomicU64::from_ptr(from) }.load(Ordering::Acquire))
    }

    /// Copies bytes out.
    ///
    /// # Safety
    ///
    /// No other thread stores these bytes.
    ///
    /// # Panics
    ///
    /// Out of bounds.
    #[inline]
    pub unsafe fn load(&self, offset: u64, into: &mut [u8]) {
        let from = self.at(offset, into.len() as u64);
        // SAFETY: in bounds; `into` is exclusive, so it does not overlap the mapping, which lends no `&mut`.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
    }
}

/// By value: an assertion's message would keep its arguments in memory, however it turns out.
#[cold]
#[inline(never)]
#[track_caller]
fn misaligned(offset: u64) -> ! {
    panic!("word at {offset}")
}

/// As [`misaligned`].
#[cold]
#[inline(never)]
#[track_caller]
fn wrong_number(values: usize, mask: u8) -> ! {
    panic!("{values} values for mask {mask:#x}")
}
