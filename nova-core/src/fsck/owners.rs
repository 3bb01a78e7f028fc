//! Who owns which block, by what is on media.

use crate::alloc::Run;
use std::{collections::BTreeSet, ops::Range};

/// The mark of a block that can have one owner only.
const ALONE: u32 = u32::MAX;

pub(crate) struct Owners {
    /// Owners of each block; [`ALONE`] for those of metadata.
    owners: Vec<u32>,
    blocks: Range<u64>,
}

impl Owners {
    /// Nobody owns any of `blocks`; what is outside of them nobody can own.
    pub(crate) fn new(blocks: Range<u64>) -> Owners {
        Owners { owners: vec![0; (blocks.end - blocks.start) as usize], blocks }
    }

    fn slot(&self, block: u64) -> Option<usize> {
        self.blocks.contains(&block).then(|| (block - self.blocks.start) as usize)
    }

    /// Takes all blocks of a run, or none of them, and says which one cannot be taken. Data may have several owners.
    pub(crate) fn take(&mut self, run: Run, data: bool) -> Result<(), u64> {
        let can = |owners: u32| if data { owners < ALONE - 1 } else { owners == 0 };
        for block in run.start..run.start.saturating_add(run.blocks) {
            if !self.slot(block).is_some_and(|slot| can(self.owners[slot])) {
                return Err(block);
            }
        }
        for block in run.range() {
            let slot = self.slot(block).expect("just looked at");
            self.owners[slot] = if data { self.owners[slot] + 1 } else { ALONE };
        }
        Ok(())
    }

    /// Whether somebody owns a block, or nobody can.
    pub(crate) fn has(&self, block: u64) -> bool {
        self.slot(block).is_none_or(|slot| self.owners[slot] != 0)
    }

    /// Whether all blocks of a run are free, or data.
    pub(crate) fn can_share(&self, run: Run) -> bool {
        let can = |block| self.slot(block).is_some_and(|slot| self.owners[slot] < ALONE - 1);
        (run.start..run.start.saturating_add(run.blocks)).all(can)
    }

    /// Nobody owns these blocks any more.
    pub(crate) fn release(&mut self, blocks: &BTreeSet<u64>) {
        for block in blocks {
            if let Some(slot) = self.slot(*block) {
                self.owners[slot] = 0;
            }
        }
    }

    /// Blocks that nobody owns.
    pub(crate) fn free(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (block, _) in self.blocks.clone().zip(&self.owners).filter(|(_, owners)| **owners == 0) {
            match runs.last_mut() {
                Some(last) if last.start + last.blocks == block => last.blocks += 1,
                _ => runs.push(Run { start: block, blocks: 1 }),
            }
        }
        runs
    }

    /// Blocks with several owners, and how many beyond the first, in order.
    pub(crate) fn shared(&self) -> Vec<(u64, u32)> {
        let more =
            |(block, owners): (u64, &u32)| (*owners > 1 && *owners != ALONE).then(|| (block, owners - 1));
        self.blocks.clone().zip(&self.owners).filter_map(more).collect()
    }

    /// Blocks of data, and of metadata.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let alone = self.owners.iter().filter(|owners| **owners == ALONE).count() as u64;
        let used = self.owners.iter().filter(|owners| **owners != 0).count() as u64;
        (used - alone, alone)
    }
}
