//! Counts of lines, drains and bytes, so that a budget is a test and not a timing.
//!
//! A LOCK-prefixed instruction waits for every flush in flight (180 ns measured), so the counters of a hot
//! path must not use one. Each thread owns a slot, found through a thread-local, and adds to it by plain
//! loads and stores; threads beyond [`SLOTS`] share one slot and pay for the atomic addition. Sums are exact.

#![forbid(unsafe_code)]

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Relaxed},
};

/// What a region has done since it was mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Cache lines flushed, or marked for write-back with `Page` granularity.
    pub lines_flushed: u64,
    /// Cache lines written past the caches.
    pub lines_nontemporal: u64,
    /// Bytes written past the caches.
    pub bytes_nontemporal: u64,
    /// Drains.
    pub drains: u64,
    /// Write-backs of files: `msync`, `fdatasync`, `fsync`, or an owner's `sync`. Zero unless the granularity is
    /// `Page`, or [`Region::sync`](crate::Region::sync) asked the owner.
    pub syncs: u64,
}

impl Counters {
    /// Lines on their way to the persistence domain, by either route: what budgets count.
    pub fn lines(&self) -> u64 {
        self.lines_flushed + self.lines_nontemporal
    }
}

impl std::ops::Sub for Counters {
    type Output = Counters;
    fn sub(self, before: Counters) -> Counters {
        Counters {
            lines_flushed: self.lines_flushed - before.lines_flushed,
            lines_nontemporal: self.lines_nontemporal - before.lines_nontemporal,
            bytes_nontemporal: self.bytes_nontemporal - before.bytes_nontemporal,
            drains: self.drains - before.drains,
            syncs: self.syncs - before.syncs,
        }
    }
}

const SLOTS: usize = 63;
const SHARED: usize = SLOTS;

/// Which of the first [`SLOTS`] slots living threads own.
static TAKEN: AtomicU64 = AtomicU64::new(0);

struct Slot(usize);

impl Slot {
    fn take() -> Slot {
        let mut taken = TAKEN.load(Relaxed);
        loop {
            let free = (!taken).trailing_zeros() as usize;
            if free >= SLOTS {
                return Slot(SHARED);
            }
            // AcqRel: who takes a slot sees the sums that its last owner left.
            match TAKEN.compare_exchange(taken, taken | 1 << free, AcqRel, Relaxed) {
                Ok(_) => return Slot(free),
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        NUMBER.set(SHARED as u8); // for destructors that run after this one
        if self.0 != SHARED {
            TAKEN.fetch_and(!(1 << self.0), AcqRel);
        }
    }
}

/// No slot was taken yet.
const NONE: u8 = u8::MAX;

thread_local! {
    /// Owns the thread's slot. Has a destructor, so it is dear to reach.
    static SLOT: Slot = Slot::take();
    /// The slot's number once more, cheap to reach: it is looked up several times in each transaction.
    static NUMBER: std::cell::Cell<u8> = const { std::cell::Cell::new(NONE) };
}

#[inline]
fn slot() -> usize {
    let number = NUMBER.get();
    if number == NONE { first_slot() } else { usize::from(number) }
}

#[cold]
fn first_slot() -> usize {
    let slot = SLOT.try_with(|slot| slot.0).unwrap_or(SHARED); // a thread that is ending
    NUMBER.set(slot as u8);
    slot
}

#[derive(Default)]
#[repr(align(64))]
struct Shard {
    lines_flushed: AtomicU64,
    lines_nontemporal: AtomicU64,
    bytes_nontemporal: AtomicU64,
    drains: AtomicU64,
    syncs: AtomicU64,
}

/// The counters of one region.
pub(crate) struct Sharded(Box<[Shard; SLOTS + 1]>);

impl Sharded {
    pub(crate) fn new() -> Sharded {
        Sharded(Box::new(std::array::from_fn(|_| Shard::default())))
    }

    #[inline]
    fn add(&self, count: impl Fn(&Shard) -> &AtomicU64, n: u64) {
        self.add_at(slot(), count, n);
    }

    #[inline]
    fn add_at(&self, slot: usize, count: impl Fn(&Shard) -> &AtomicU64, n: u64) {
        let counter = count(&self.0[slot]);
        if slot == SHARED {
            counter.fetch_add(n, Relaxed);
        } else {
            counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
        }
    }

    #[inline]
    pub(crate) fn flushed(&self, lines: u64) {
        self.add(|c| &c.lines_flushed, lines);
    }

    #[inline]
    pub(crate) fn nontemporal(&self, lines: u64, bytes: u64) {
        let slot = slot();
        self.add_at(slot, |c| &c.lines_nontemporal, lines);
        self.add_at(slot, |c| &c.bytes_nontemporal, bytes);
    }

    #[inline]
    pub(crate) fn drained(&self) {
        self.add(|c| &c.drains, 1);
    }

    pub(crate) fn synced(&self, calls: u64) {
        self.add(|c| &c.syncs, calls);
    }

    pub(crate) fn sum(&self) -> Counters {
        let mut sum = Counters::default();
        for cell in self.0.iter() {
            sum.lines_flushed += cell.lines_flushed.load(Relaxed);
            sum.lines_nontemporal += cell.lines_nontemporal.load(Relaxed);
            sum.bytes_nontemporal += cell.bytes_nontemporal.load(Relaxed);
            sum.drains += cell.drains.load(Relaxed);
            sum.syncs += cell.syncs.load(Relaxed);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    /// More threads than slots, all alive: those without a slot of their own lose nothing to each other.
    #[test]
    fn threads_that_share_a_slot_count_exactly() {
        const THREADS: usize = SLOTS + 40;
        let rounds: u64 = if cfg!(miri) { 10 } else { 300_000 };
        let (counters, all_at_once) = (Sharded::new(), Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    counters.flushed(0); // takes a slot, if there is one
                    all_at_once.wait();
                    for _ in 0..rounds {
                        counters.flushed(1);
                    }
                });
            }
        });
        assert_eq!(counters.sum().lines_flushed, THREADS as u64 * rounds);
    }
}
