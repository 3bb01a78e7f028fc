//! Blocks that more than one file owns, in DRAM: by reflink, copied ranges. Saved by a clean unmount, found again by a scan.

use crate::alloc::Run;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Default)]
pub(crate) struct Shares {
    /// Owners beyond the first, of blocks that have some.
    owners: Mutex<FxHashMap<u64, u32>>,
    /// How many blocks that are: most volumes have none, and then nobody takes the lock.
    count: AtomicUsize,
}

impl Shares {
    /// Whether any block has more than one owner.
    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Relaxed) != 0
    }

    /// One owner more.
    pub(crate) fn add(&self, run: Run) {
        let mut owners = self.owners.lock();
        run.range().for_each(|block| *owners.entry(block).or_default() += 1);
        self.count.store(owners.len(), Relaxed);
    }

    /// One owner less; the blocks that nobody owns now.
    pub(crate) fn release(&self, run: Run) -> Vec<Run> {
        if !self.are_there() {
            return vec![run];
        }
        let mut owners = self.owners.lock();
        let mut freed: Vec<Run> = Vec::new();
        for block in run.range() {
            match owners.get_mut(&block) {
                Some(1) => drop(owners.remove(&block)),
                Some(more) => *more -= 1,
                None => match freed.last_mut() {
                    Some(last) if last.start + last.blocks == block => last.blocks += 1,
                    _ => freed.push(Run { start: block, blocks: 1 }),
                },
            }
        }
        self.count.store(owners.len(), Relaxed);
        freed
    }

    /// Whether any of these blocks has another owner.
    pub(crate) fn any(&self, run: Run) -> bool {
        self.are_there() && {
            let owners = self.owners.lock();
            run.range().any(|block| owners.contains_key(&block))
        }
    }

    /// All of them: block, owners beyond the first. In order.
    pub(crate) fn all(&self) -> Vec<(u64, u32)> {
        let mut all: Vec<_> = self.owners.lock().iter().map(|(block, more)| (*block, *more)).collect();
        all.sort_unstable();
        all
    }

    /// What a scan or a checkpoint says.
    pub(crate) fn set(&self, all: impl IntoIterator<Item = (u64, u32)>) {
        let mut owners = self.owners.lock();
        *owners = all.into_iter().collect();
        self.count.store(owners.len(), Relaxed);
    }
}
