//! A map as somebody writes it by hand over a raw mapping: a hash table of open addressing, whose entries have a fixed size, whose
//! room is fixed too, and which is good for nothing else.
//!
//! [`Ordered`] entries have a state of 8 bytes, which never tears, and two places for the value. A new value goes to the place that is
//! not in use, is flushed and drained; then the state says that it is the one, and is flushed and drained: two drains, and after a
//! crash each entry is the old one or the new one. Several entries cannot be changed together, the table does not grow, and
//! nobody finds out if a byte of it goes bad. [`Unordered`] entries have one place, and are stored to and nothing else.

use super::{
    store::{Store, Value},
    stores::POISONED,
};
use crate::{compare::Outcome, instruction, place};
use memmap2::MmapMut;
use pmem_map::{Counters, FlushMethod, LINE};
use std::{io, ptr::NonNull, sync::RwLock};

/// A place for a value, two lines; the first of an entry has its key and state too.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Cell {
    key: u64,
    /// [`FREE`], [`GONE`], or the number of the entry's place that is in use.
    state: u64,
    value: Value,
}

/// No entry was ever here, nor behind it for a key that begins before.
const FREE: u64 = u64::MIN;
/// An entry was removed from here.
const GONE: u64 = u64::MAX;

/// Stored to, flushed and drained in order.
pub type Ordered = Hash<2>;
/// Stored to.
pub type Unordered = Hash<1>;

/// The table, in a lock as std's are, since it is for one thread at a time.
pub struct Hash<const PLACES: usize>(RwLock<Table<PLACES>>);

struct Table<const PLACES: usize> {
    cells: NonNull<Cell>,
    /// One less than the number of entries that there is room for, a power of two.
    mask: u64,
    flush: FlushMethod,
    len: u64,
    counters: Counters,
    _map: MmapMut,
}

// SAFETY: the cells are in the map, which it owns; what has it shared only reads them.
unsafe impl<const PLACES: usize> Send for Table<PLACES> {}
// SAFETY: as above.
unsafe impl<const PLACES: usize> Sync for Table<PLACES> {}

impl<const PLACES: usize> Hash<PLACES> {
    /// A table that is at most two thirds full with so many entries.
    pub fn new(entries: u64) -> io::Result<Hash<PLACES>> {
        Ok(Hash(RwLock::new(Table::new(entries)?)))
    }
}

impl<const PLACES: usize> Table<PLACES> {
    fn new(entries: u64) -> io::Result<Table<PLACES>> {
        let room = (entries + entries / 2).next_power_of_two();
        // The file's zeros are entries that are free.
        let mut map = place::raw_mapping(room * (PLACES * size_of::<Cell>()) as u64)?;
        Ok(Table {
            cells: NonNull::from(&mut map[..]).cast(),
            mask: room - 1,
            flush: FlushMethod::detect(),
            len: 0,
            counters: Counters::default(),
            _map: map,
        })
    }

    #[inline(always)]
    fn at(&self, entry: u64, place: u64) -> NonNull<Cell> {
        assert!(entry <= self.mask && place < PLACES as u64);
        // SAFETY: inside the map.
        unsafe { self.cells.add(entry as usize * PLACES + place as usize) }
    }

    #[inline(always)]
    fn cell(&self, entry: u64, place: u64) -> &Cell {
        // SAFETY: inside the map, which is page-aligned and lives as long as `self`; any bytes are a `Cell`; who changes it has `&mut self`.
        unsafe { self.at(entry, place).as_ref() }
    }

    #[inline(always)]
    fn cell_mut(&mut self, entry: u64, place: u64) -> &mut Cell {
        // SAFETY: as in `cell`; `&mut self` excludes others.
        unsafe { self.at(entry, place).as_mut() }
    }

    /// Both lines of a place, or its first alone.
    #[inline(always)]
    fn flush(&mut self, entry: u64, place: u64, lines: u64) {
        let first = self.at(entry, place).cast::<u8>().as_ptr();
        for line in 0..lines {
            instruction::flush(self.flush, first.wrapping_add((line * LINE) as usize));
        }
        self.counters.lines_flushed += lines;
    }

    #[inline(always)]
    fn drain(&mut self) {
        instruction::drain();
        self.counters.drains += 1;
    }

    /// Where a key is; or else where it may go, if there is room.
    #[inline(always)]
    fn find(&self, key: u64) -> Result<u64, Option<u64>> {
        let first = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let mut reuse = None;
        for step in 0..=self.mask {
            let entry = first.wrapping_add(step) & self.mask;
            let cell = self.cell(entry, 0);
            match cell.state {
                FREE => return Err(reuse.or(Some(entry))),
                GONE => reuse = reuse.or(Some(entry)),
                _ if cell.key == key => return Ok(entry),
                _ => {}
            }
        }
        Err(reuse)
    }

    fn get(&self, key: u64) -> Option<Value> {
        let entry = self.find(key).ok()?;
        Some(self.cell(entry, self.cell(entry, 0).state - 1).value)
    }

    fn insert(&mut self, key: u64, value: &Value) -> Outcome<()> {
        let (entry, is_there) = match self.find(key) {
            Ok(entry) => (entry, true),
            Err(free) => (free.ok_or("the table by hand is full, and does not grow")?, false),
        };
        // The place that is not in use; of a new entry, the first, which has its key.
        let place = if is_there { self.cell(entry, 0).state % PLACES as u64 } else { 0 };
        self.cell_mut(entry, place).value = *value;
        if !is_there {
            self.cell_mut(entry, 0).key = key;
            self.len += 1;
        }
        if PLACES == 1 {
            self.cell_mut(entry, 0).state = 1;
            instruction::keep_order();
            return Ok(());
        }
        self.flush(entry, place, 2);
        self.drain();
        self.cell_mut(entry, 0).state = place + 1;
        self.flush(entry, 0, 1);
        self.drain();
        Ok(())
    }

    /// Where nothing is behind it, the entry and all that are gone before it become free: in any order, for no key is behind them.
    fn remove(&mut self, key: u64) -> bool {
        let Ok(entry) = self.find(key) else { return false };
        self.len -= 1;
        let is_last = self.cell(entry.wrapping_add(1) & self.mask, 0).state == FREE;
        let mut at = entry;
        loop {
            self.cell_mut(at, 0).state = if is_last { FREE } else { GONE };
            if PLACES > 1 {
                self.flush(at, 0, 1);
            }
            at = at.wrapping_sub(1) & self.mask;
            if !is_last || self.cell(at, 0).state != GONE {
                break;
            }
        }
        if PLACES > 1 {
            self.drain();
        }
        instruction::keep_order();
        true
    }

    /// Whether every entry is found by its key, and there are as many as were counted.
    fn check(&self) -> Outcome<()> {
        let mut found = 0;
        for entry in 0..=self.mask {
            let cell = self.cell(entry, 0);
            if matches!(cell.state, FREE | GONE) {
                continue;
            }
            if cell.state > PLACES as u64 || self.find(cell.key) != Ok(entry) {
                return Err(format!("entry {entry} of the table by hand is not found by its key").into());
            }
            found += 1;
        }
        if found == self.len {
            Ok(())
        } else {
            Err(format!("the table by hand has {found} entries, and counted {}", self.len).into())
        }
    }
}

impl<const PLACES: usize> Store for Hash<PLACES> {
    fn insert(&self, key: u64, value: &Value) -> Outcome<()> {
        self.0.write().map_err(|_| POISONED)?.insert(key, value)
    }
    fn get(&self, key: u64) -> Outcome<Option<Value>> {
        Ok(self.0.read().map_err(|_| POISONED)?.get(key))
    }
    fn scan(&self, _from: u64, _count: usize) -> Outcome<usize> {
        Err(super::stores::NO_ORDER.into())
    }
    fn remove(&self, key: u64) -> Outcome<bool> {
        Ok(self.0.write().map_err(|_| POISONED)?.remove(key))
    }
    fn len(&self) -> Outcome<u64> {
        Ok(self.0.read().map_err(|_| POISONED)?.len)
    }
    fn check(&self) -> Outcome<()> {
        self.0.read().map_err(|_| POISONED)?.check()
    }
    fn counters(&self) -> Option<Counters> {
        self.0.read().ok().map(|table| table.counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn value(n: u64) -> Value {
        let mut value = [n as u8; 100];
        value[..8].copy_from_slice(&n.to_le_bytes());
        value
    }

    /// Does the same to a table that is nearly full and to std's map, and compares.
    fn agrees<const PLACES: usize>() {
        let (table, mut model) = (Hash::<PLACES>::new(64).unwrap(), HashMap::new());
        let mut rng = fastrand::Rng::with_seed(7);
        for n in 0..50_000 {
            let key = rng.u64(..110);
            match rng.u8(..3) {
                0 => assert_eq!(table.remove(key).unwrap(), model.remove(&key).is_some()),
                1 => {
                    table.insert(key, &value(n)).unwrap();
                    model.insert(key, value(n));
                }
                _ => assert_eq!(table.get(key).unwrap(), model.get(&key).copied()),
            }
            assert_eq!(table.len().unwrap(), model.len() as u64);
        }
        table.check().unwrap();
    }

    #[test]
    fn it_does_what_a_map_does() {
        agrees::<1>();
        agrees::<2>();
    }

    #[test]
    fn an_ordered_change_takes_two_drains_and_an_unordered_one_none() {
        let table = Ordered::new(100).unwrap();
        table.insert(1, &value(1)).unwrap();
        table.insert(1, &value(2)).unwrap();
        let counters = table.counters().unwrap();
        assert_eq!((counters.lines_flushed, counters.drains), (6, 4));
        table.remove(1).unwrap();
        let counters = table.counters().unwrap();
        assert_eq!((counters.lines_flushed, counters.drains), (7, 5));
        let table = Unordered::new(100).unwrap();
        table.insert(1, &value(1)).unwrap();
        table.remove(1).unwrap();
        assert_eq!(table.counters(), Some(Counters::default()));
    }

    #[test]
    fn a_full_table_says_so() {
        let table = Ordered::new(1).unwrap();
        table.insert(1, &value(1)).unwrap();
        assert!(table.insert(2, &value(2)).unwrap_err().to_string().contains("full"));
        assert_eq!((table.get(1).unwrap(), table.get(2).unwrap()), (Some(value(1)), None));
        assert!(table.remove(1).unwrap());
        table.insert(2, &value(2)).unwrap();
    }
}
