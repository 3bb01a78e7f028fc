//! Where a volume's protection is: a fixed area behind the journal, which the allocator does not know.

use crate::{
    format::{BLOCK, LINE, Superblock, feature},
    integrity::STRIPE,
};
use std::ops::Range;

/// What of a volume is protected, and where by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The first block that can be owned: each from there on has a line, and parity.
    pub(crate) first: u64,
    /// How many there are.
    pub(crate) blocks: u64,
    /// Where their lines of checksums begin, if there are any.
    sums: Option<u64>,
    /// Where their parity begins, if there is any.
    parity: Option<u64>,
}

impl Layout {
    pub(crate) fn of(superblock: &Superblock) -> Layout {
        let has = |bit: u64| superblock.read_only & bit != 0;
        let area = (superblock.journal + superblock.journal_len) / BLOCK;
        let end = superblock.length / BLOCK - 1;
        let (sums, parity) = (has(feature::CHECKSUMS), has(feature::PARITY));
        if !sums {
            return Layout { first: area, blocks: end - area, sums: None, parity: None };
        }
        let part = |blocks: u64, bytes: u64| (blocks * bytes).div_ceil(BLOCK);
        let parity_of = |blocks: u64| if parity { part(blocks, STRIPE) } else { 0 };
        // The most blocks whose protection fits before them.
        let each = BLOCK + LINE + if parity { STRIPE } else { 0 };
        let mut blocks = (end - area) * BLOCK / each;
        while blocks + part(blocks, LINE) + parity_of(blocks) > end - area {
            blocks -= 1;
        }
        let parity_at = (area + part(blocks, LINE)) * BLOCK;
        let (sums, parity) = (Some(area * BLOCK), parity.then_some(parity_at));
        Layout { first: end - blocks, blocks, sums, parity }
    }

    /// Blocks that can be owned.
    pub(crate) fn data_blocks(&self) -> Range<u64> {
        self.first..self.first + self.blocks
    }

    /// A block's line of checksums.
    pub(crate) fn line_at(&self, block: u64) -> u64 {
        self.sums.expect("asked only where there are checksums") + self.index(block) * LINE
    }

    /// A block's parity.
    pub(crate) fn parity_at(&self, block: u64) -> Option<u64> {
        self.parity.map(|at| at + self.index(block) * STRIPE)
    }

    pub(crate) fn has_checksums(&self) -> bool {
        self.sums.is_some()
    }

    fn index(&self, block: u64) -> u64 {
        debug_assert!(self.data_blocks().contains(&block), "block {block} is not protected");
        block - self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    #[test]
    fn protection_fits_behind_the_journal_and_takes_what_it_says() {
        for blocks in [24, 25, 64, 100, 511, 4096, 65_536] {
            for features in [0, feature::CHECKSUMS, feature::CHECKSUMS | feature::PARITY] {
                let superblock = Superblock {
                    length: blocks * BLOCK,
                    journal: 2 * BLOCK,
                    journal_len: 4 * BLOCK,
                    read_only: features,
                    ..Superblock::zeroed()
                };
                let layout = Layout::of(&superblock);
                let last = layout.data_blocks().end - 1;
                assert_eq!(last, blocks - 2, "the last block is the replica");
                if features == 0 {
                    assert_eq!(layout.first, 6);
                    continue;
                }
                assert!(layout.line_at(layout.first) == 6 * BLOCK);
                let mut end = layout.line_at(last) + LINE;
                if let Some(at) = layout.parity_at(layout.first) {
                    assert!(at >= end && at % BLOCK == 0);
                    end = layout.parity_at(last).unwrap() + STRIPE;
                }
                assert!(end <= layout.first * BLOCK && layout.first * BLOCK - end < 2 * BLOCK, "{layout:?}");
                if blocks > 4000 {
                    let share = (layout.first - 6) as f64 / layout.blocks as f64;
                    let said = if features & feature::PARITY == 0 { 0.015625 } else { 0.140625 };
                    assert!((share - said).abs() < 0.001, "{share}");
                }
            }
        }
    }
}
