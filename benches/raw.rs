//! What a careful programmer writes by hand over a raw mapping, at its best: the baselines.
//!
//! All of them over `memmap2` and the CPU's own instructions: no counters, no observer, no checks but the bound of an
//! index. Each is the *least* that does its job, so it promises less than a transaction does:
//!
//! | baseline | lines / drains | after a crash |
//! |---|---|---|
//! | [`two_drains`](Raw::two_drains): data; then a flag that says it is valid | 2 / 2 | new data may be there without the flag: sound for *publishing* an object that nobody could see before, not for changing one |
//! | [`two_drains_nontemporal`](Raw::two_drains_nontemporal): the same past the caches | 2 / 2 | the same |
//! | [`slot`](Raw::slot): data, sequence and checksum in the object's own lines, two copies in turn | 2 / 1 | old or new, for one object; readers find the newer copy, and verify it |
//! | [`slot_nontemporal`](Raw::slot_nontemporal): the same past the caches | 2 / 1 | the same |
//! | [`nine_drains`](Raw::nine_drains): eight objects, one after the other, then the flag | 9 / 9 | any prefix of the eight |
//! | [`eight_then_flag`](Raw::eight_then_flag): eight objects together, then the flag | 9 / 2 | any subset of the eight |
//! | [`word`](Raw::word): eight bytes, which the CPU never tears | 1 / 1 | old or new |
//! | [`unordered`](Raw::unordered): stores and nothing else | 0 / 0 | any bytes old, any new: the ceiling, not a rival |
//!
//! Beside each stands its *bare* cost: the same loads, stores, flushes and drains with nothing to compute. A baseline
//! that takes more than 1.1 times as long is written badly, and no standard to measure by.

use crate::{
    instruction, place,
    stream::{Object, Update},
};
use memmap2::MmapMut;
use pmem_map::{FlushMethod, LINE};
use std::{io, ptr::NonNull};
use xxhash_rust::xxh3::xxh3_64;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line(Object);

/// Lines before the objects: the flag's page, and a ring for the records of [`Raw::bare_redo`].
const BEFORE: u64 = RING + RING_LINES;
const FLAG: u64 = 0;
const RING: u64 = 64;
const RING_LINES: u64 = 4096;

/// A raw mapping of lines.
pub struct Raw {
    lines: NonNull<Line>,
    count: u64,
    flush: FlushMethod,
    /// For slots: which of its two copies is the newer one, for each object. In DRAM, as in any program that has them.
    newer: Vec<bool>,
    /// For [`Raw::bare_redo`]: where the next record goes, and the lines to flush with it.
    record: u64,
    applied: [u64; 8],
    _map: MmapMut,
}

impl Raw {
    /// Bytes of a slot: two copies of two lines.
    pub const SLOT: u64 = 4 * LINE;

    /// `len` bytes for objects, zeroed.
    pub fn new(len: u64) -> io::Result<Raw> {
        let count = BEFORE + len / LINE;
        let mut map = place::raw_mapping(count * LINE)?;
        let lines = NonNull::from(&mut map[..]).cast();
        let newer = vec![false; (len / Raw::SLOT) as usize];
        Ok(Raw {
            lines,
            count,
            flush: FlushMethod::detect(),
            newer,
            record: 0,
            applied: [BEFORE; 8],
            _map: map,
        })
    }

    #[inline(always)]
    fn line(&mut self, number: u64) -> &mut Line {
        assert!(number < self.count);
        // SAFETY: inside the map, which is page-aligned and lives as long as `self`; `&mut self` excludes others.
        unsafe { self.lines.add(number as usize).as_mut() }
    }

    #[inline(always)]
    fn flush(&mut self, number: u64) {
        let line: *mut Line = self.line(number);
        instruction::flush(self.flush, line.cast());
    }

    #[inline(always)]
    fn store(&mut self, number: u64, words: Object) {
        *self.line(number) = Line(words);
        self.flush(number);
    }

    #[inline(always)]
    fn store_nontemporal(&mut self, number: u64, words: Object) {
        instruction::store_nontemporal(&mut self.line(number).0, words);
    }

    #[inline(always)]
    fn changed(&mut self, number: u64, value: u64, update: Update) -> Object {
        match update {
            Update::Blind => [value; 8],
            Update::ReadModifyWrite => self.line(number).0.map(|word| word.wrapping_add(value)),
        }
    }

    /// One object: its line stored, flushed and drained; then the flag's line stored, flushed and drained.
    #[inline(always)]
    pub fn two_drains(&mut self, object: u64, value: u64, update: Update) {
        let words = self.changed(BEFORE + object, value, update);
        self.store(BEFORE + object, words);
        instruction::drain();
        self.line(FLAG).0[0] = value;
        self.flush(FLAG);
        instruction::drain();
    }

    /// As [`two_drains`](Raw::two_drains), both lines past the caches.
    #[inline(always)]
    pub fn two_drains_nontemporal(&mut self, object: u64, value: u64, update: Update) {
        let words = self.changed(BEFORE + object, value, update);
        self.store_nontemporal(BEFORE + object, words);
        instruction::drain();
        self.store_nontemporal(FLAG, [value; 8]);
        instruction::drain();
    }

    /// The copy of a slot that is written next, its newer copy, and the words that go there: eight of data, the
    /// sequence, the checksum over both, and nothing.
    #[inline(always)]
    fn next_copy(&mut self, object: u64, value: u64, update: Update) -> (u64, [Object; 2]) {
        let newer = &mut self.newer[object as usize];
        let (from, to) = (u64::from(*newer), u64::from(!*newer));
        *newer = !*newer;
        let first = BEFORE + object * 4;
        let data = self.changed(first + from * 2, value, update);
        let mut summed = [0u64; 9];
        summed[..8].copy_from_slice(&data);
        summed[8] = value;
        let checksum = xxh3_64(bytemuck::bytes_of(&summed));
        (first + to * 2, [data, [value, checksum, 0, 0, 0, 0, 0, 0]])
    }

    /// One object that says itself whether it is whole: the older of two copies is overwritten; one drain.
    #[inline(always)]
    pub fn slot(&mut self, object: u64, value: u64, update: Update) {
        let (at, [data, check]) = self.next_copy(object, value, update);
        self.store(at, data);
        self.store(at + 1, check);
        instruction::drain();
    }

    /// As [`slot`](Raw::slot), past the caches.
    #[inline(always)]
    pub fn slot_nontemporal(&mut self, object: u64, value: u64, update: Update) {
        let (at, [data, check]) = self.next_copy(object, value, update);
        self.store_nontemporal(at, data);
        self.store_nontemporal(at + 1, check);
        instruction::drain();
    }

    /// Eight objects, each stored, flushed and drained; then the flag.
    #[inline(always)]
    pub fn nine_drains(&mut self, objects: [u64; 8], value: u64, update: Update) {
        for object in objects {
            let words = self.changed(BEFORE + object, value, update);
            self.store(BEFORE + object, words);
            instruction::drain();
        }
        self.line(FLAG).0[0] = value;
        self.flush(FLAG);
        instruction::drain();
    }

    /// Eight objects stored and flushed, and drained together; then the flag.
    #[inline(always)]
    pub fn eight_then_flag(&mut self, objects: [u64; 8], value: u64, update: Update) {
        for object in objects {
            let words = self.changed(BEFORE + object, value, update);
            self.store(BEFORE + object, words);
        }
        instruction::drain();
        self.line(FLAG).0[0] = value;
        self.flush(FLAG);
        instruction::drain();
    }

    /// As [`eight_then_flag`](Raw::eight_then_flag), of any number of objects, up to 64.
    #[inline(always)]
    pub fn many_then_flag(&mut self, objects: &[u64], value: u64, update: Update) {
        for object in objects {
            let words = self.changed(BEFORE + object, value, update);
            self.store(BEFORE + object, words);
        }
        instruction::drain();
        self.line(FLAG).0[0] = value;
        self.flush(FLAG);
        instruction::drain();
    }

    /// The stores of [`many_then_flag`](Raw::many_then_flag) and nothing else: when they become durable, and in which
    /// order, is up to the caches.
    #[inline(always)]
    pub fn unordered(&mut self, objects: &[u64], value: u64, update: Update) {
        for object in objects {
            let words = self.changed(BEFORE + object, value, update);
            *self.line(BEFORE + object) = Line(words);
        }
        self.line(FLAG).0[0] = value;
        instruction::keep_order();
    }

    /// The first word of one object: stored, flushed, drained.
    #[inline(always)]
    pub fn word(&mut self, object: u64, value: u64, update: Update) {
        let word = &mut self.line(BEFORE + object).0[0];
        *word = match update {
            Update::Blind => value,
            Update::ReadModifyWrite => word.wrapping_add(value),
        };
        self.flush(BEFORE + object);
        instruction::drain();
    }

    /// What a bare row stores: an update the opposite of what it has loaded, so that its store waits for the load, as an
    /// update's does, and is not left out as superfluous.
    #[inline(always)]
    fn inverted(&mut self, number: u64, update: Update) -> Object {
        match update {
            Update::Blind => [1; 8],
            Update::ReadModifyWrite => self.line(number).0.map(|word| !word),
        }
    }

    /// Loads, stores, flushes and drains of [`two_drains`](Raw::two_drains).
    #[inline(always)]
    pub fn bare_two_drains(&mut self, object: u64, update: Update) {
        let words = self.inverted(BEFORE + object, update);
        self.store(BEFORE + object, words);
        instruction::drain();
        self.line(FLAG).0[0] = 1;
        self.flush(FLAG);
        instruction::drain();
    }

    /// Loads, stores and drains of [`two_drains_nontemporal`](Raw::two_drains_nontemporal).
    #[inline(always)]
    pub fn bare_two_drains_nontemporal(&mut self, object: u64, update: Update) {
        let words = self.inverted(BEFORE + object, update);
        self.store_nontemporal(BEFORE + object, words);
        instruction::drain();
        self.store_nontemporal(FLAG, [1; 8]);
        instruction::drain();
    }

    /// Loads, stores, flushes and the drain of [`slot`](Raw::slot).
    #[inline(always)]
    pub fn bare_slot(&mut self, object: u64, number: u64, update: Update) {
        let (from, to) = (BEFORE + object * 4 + number % 2 * 2, BEFORE + object * 4 + 2 - number % 2 * 2);
        let words = self.inverted(from, update);
        self.store(to, words);
        self.store(to + 1, [1; 8]);
        instruction::drain();
    }

    /// Loads, stores and the drain of [`slot_nontemporal`](Raw::slot_nontemporal).
    #[inline(always)]
    pub fn bare_slot_nontemporal(&mut self, object: u64, number: u64, update: Update) {
        let (from, to) = (BEFORE + object * 4 + number % 2 * 2, BEFORE + object * 4 + 2 - number % 2 * 2);
        let words = self.inverted(from, update);
        self.store_nontemporal(to, words);
        self.store_nontemporal(to + 1, [1; 8]);
        instruction::drain();
    }

    /// Loads, stores, flushes and drains of [`nine_drains`](Raw::nine_drains).
    #[inline(always)]
    pub fn bare_nine_drains(&mut self, objects: [u64; 8], update: Update) {
        for object in objects {
            let words = self.inverted(BEFORE + object, update);
            self.store(BEFORE + object, words);
            instruction::drain();
        }
        self.line(FLAG).0[0] = 1;
        self.flush(FLAG);
        instruction::drain();
    }

    /// Loads, stores, flushes and drains of [`eight_then_flag`](Raw::eight_then_flag).
    #[inline(always)]
    pub fn bare_eight_then_flag(&mut self, objects: [u64; 8], update: Update) {
        for object in objects {
            let words = self.inverted(BEFORE + object, update);
            self.store(BEFORE + object, words);
        }
        instruction::drain();
        self.line(FLAG).0[0] = 1;
        self.flush(FLAG);
        instruction::drain();
    }

    /// The store, the flush and the drain of [`word`](Raw::word); a load if it has one.
    #[inline(always)]
    pub fn bare_word(&mut self, object: u64, update: Update) {
        let words = self.inverted(BEFORE + object, update);
        self.line(BEFORE + object).0[0] = words[0];
        self.flush(BEFORE + object);
        instruction::drain();
    }

    /// What the protocol of a redo transaction on `N` objects cannot do without: the loads; the flushes of the lines that
    /// the last one applied; the record, `lines` long, past the caches; one drain; the stores in place. No write set, no
    /// checksum, no lock, no check.
    #[inline(always)]
    pub fn bare_redo<const N: usize>(&mut self, objects: [u64; N], lines: u64) {
        for i in 0..N {
            self.flush(self.applied[i]);
        }
        let words = objects.map(|object| self.line(BEFORE + object).0);
        if self.record + lines > RING_LINES {
            self.record = 0;
        }
        for i in 0..lines {
            self.store_nontemporal(RING + self.record + i, words[i as usize % N]);
        }
        self.record += lines;
        instruction::drain();
        for (i, object) in objects.into_iter().enumerate() {
            *self.line(BEFORE + object) = Line(words[i]);
            self.applied[i] = BEFORE + object;
        }
    }

    /// What an object holds: to verify.
    pub fn read(&mut self, object: u64) -> Object {
        self.line(BEFORE + object).0
    }

    /// What a slot's newer copy holds: to verify.
    ///
    /// # Panics
    ///
    /// The copy is torn.
    pub fn read_slot(&mut self, object: u64) -> Object {
        let at = BEFORE + object * 4 + 2 * u64::from(self.newer[object as usize]);
        let (data, check) = (self.line(at).0, self.line(at + 1).0);
        let summed: Vec<u64> = data.iter().chain(&check[..1]).copied().collect();
        let checksum = xxh3_64(bytemuck::cast_slice(&summed));
        assert!(check == [0; 8] || check[1] == checksum, "slot {object} is torn");
        data
    }
}
