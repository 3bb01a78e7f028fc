//! The hash map's index in DRAM: for each stripe a table that is read without a lock.
//!
//! Open addressing with linear probing. An entry is two words: the hash, and the cell, which is 0 where there never was an
//! entry since the table was made, and [`GONE`] where one was removed. Only who holds the stripe's lock changes a table.
//!
//! A writer stores the hash before the cell, and a reader loads the cell before the hash, and then compares the key. So a
//! reader that sees a cell sees its hash or a later one; if it is a later one, the entry it is looking for was removed
//! meanwhile. A key that is there all the time is never missed: it stays in its place, and its cell is replaced by one
//! store. A full table is copied and replaced as a whole; a reader of the old one sees what was there when it was replaced.

use super::{
    cells::{Cell, Cells, Stripe, Words},
    snapshot::Snapshot,
    sync::{AtomicU64, Ordering, Site, release},
};
use crossbeam_epoch::Guard;

/// In place of a cell: an entry was here. (No cell is all ones.)
const GONE: u64 = u64::MAX;
const SMALLEST: usize = if cfg!(loom) { 2 } else { 8 };

struct Entry {
    hash: AtomicU64,
    cell: AtomicU64,
}

struct Table {
    /// A power of two; never all used.
    entries: Box<[Entry]>,
}

impl Table {
    fn new(capacity: usize) -> Table {
        let empty = || Entry { hash: AtomicU64::new(0), cell: AtomicU64::new(0) };
        Table { entries: (0..capacity).map(|_| empty()).collect() }
    }

    /// The places where an entry of that hash may be, in order.
    fn probe(&self, hash: u64) -> impl Iterator<Item = &Entry> {
        let mask = self.entries.len() - 1;
        let start = hash as usize;
        (0..self.entries.len()).map(move |i| &self.entries[(start + i) & mask])
    }

    /// Stores an entry in the first free place.
    fn add(&self, hash: u64, cell: Cell) -> Reused {
        for entry in self.probe(hash) {
            let before = entry.cell.load(Ordering::Relaxed);
            if before == 0 || before == GONE {
                entry.hash.store(hash, Ordering::Relaxed);
                entry.cell.store(cell.to_word(), release(Site::Entry));
                return Reused(before == GONE);
            }
        }
        unreachable!("a table is never full")
    }
}

/// Whether the place of an entry that is gone was used.
struct Reused(bool);

/// The index of one stripe.
pub(crate) struct Shard {
    table: Snapshot<Table>,
    /// Entries, and those that are gone and still take up a place.
    counts: AtomicU64,
}

const LIVE: u64 = 1;
const USED: u64 = 1 << 32;

impl Shard {
    pub(crate) fn new() -> Shard {
        Shard { table: Snapshot::new(Table::new(SMALLEST)), counts: AtomicU64::new(0) }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.counts.load(Ordering::Relaxed) & 0xffff_ffff
    }

    /// The cell of a key. `hash` is the key's; its lower bits have chosen neither stripe nor shard.
    #[inline]
    pub(crate) fn find<W: Words>(
        &self,
        cells: &Cells<W>,
        hash: u64,
        key: &[u64],
        guard: &Guard,
    ) -> Option<Cell> {
        for entry in self.table.load(guard).probe(hash) {
            let word = entry.cell.load(Ordering::Acquire);
            if word == 0 {
                return None;
            }
            if word != GONE && entry.hash.load(Ordering::Relaxed) == hash {
                let cell = Cell::from_word(word)?;
                if cells.has_key(cell, key, guard) {
                    return Some(cell);
                }
            }
        }
        None
    }

    /// Publishes a cell of a key that has none.
    pub(crate) fn insert(&self, _held: &mut Stripe, hash: u64, cell: Cell, guard: &Guard) {
        let counts = self.counts.load(Ordering::Relaxed);
        let (live, used) = (counts & 0xffff_ffff, counts >> 32);
        let table = self.table.load(guard);
        let capacity = table.entries.len() as u64;
        if (used + 1) * 4 <= capacity * 3 {
            let Reused(reused) = table.add(hash, cell);
            self.counts.store(counts + LIVE + if reused { 0 } else { USED }, Ordering::Relaxed);
            return;
        }
        let next = Table::new(((live as usize + 1) * 2).next_power_of_two().max(SMALLEST));
        for entry in &table.entries {
            let word = entry.cell.load(Ordering::Relaxed);
            if word != GONE
                && let Some(cell) = Cell::from_word(word)
            {
                next.add(entry.hash.load(Ordering::Relaxed), cell);
            }
        }
        next.add(hash, cell);
        self.table.replace(next, guard);
        self.counts.store((live + 1) * (LIVE + USED), Ordering::Relaxed);
    }

    /// The entry of `from` is `to` from now on, or nothing.
    pub(crate) fn replace(&self, _held: &mut Stripe, hash: u64, from: Cell, to: Option<Cell>, guard: &Guard) {
        let at = |entry: &&Entry| entry.cell.load(Ordering::Relaxed) == from.to_word();
        let entry = self.table.load(guard).probe(hash).find(at).expect("found under the same lock");
        entry.cell.store(to.map_or(GONE, Cell::to_word), release(Site::Entry));
        if to.is_none() {
            let counts = self.counts.load(Ordering::Relaxed);
            self.counts.store(counts - LIVE, Ordering::Relaxed);
        }
    }

    /// The cells there are now.
    pub(crate) fn cells<'g>(&'g self, guard: &'g Guard) -> impl Iterator<Item = Cell> + 'g {
        let entries = &self.table.load(guard).entries;
        entries.iter().filter_map(|entry| {
            let word = entry.cell.load(Ordering::Acquire);
            if word == GONE { None } else { Cell::from_word(word) }
        })
    }
}
