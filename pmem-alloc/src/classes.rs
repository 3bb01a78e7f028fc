//! Sizes of small blocks.
//!
//! 8, 16, 24, ..., 64, then eight steps to each doubling, up to 32 KiB: rounding up wastes less than an eighth of
//! a block (below 64 bytes, less than 8 bytes). A class's blocks lie side by side in a run of pages, without headers, so
//! each is aligned to the largest power of two that divides its size, up to a page. (The steps are jemalloc's.)

use pmem_map::PAGE;

/// Number of classes.
pub(crate) const COUNT: usize = 80;
/// The largest small block. Larger ones take whole pages, of which rounding wastes less than an eighth.
pub(crate) const LARGEST: u64 = 32 << 10;

/// A size of blocks, and how to divide by it.
pub(crate) struct Class {
    /// Bytes of a block.
    pub(crate) size: u64,
    /// `n / size` is `n * reciprocal >> SHIFT` for all `n` below 2^21.
    reciprocal: u64,
}
const SHIFT: u32 = 40;

static TABLE: [Class; COUNT] = {
    let mut classes = [const { Class { size: 0, reciprocal: 0 } }; COUNT];
    let mut class = 0;
    while class < COUNT {
        let size = if class < 8 {
            8 * (class as u64 + 1)
        } else {
            let doubling = (class as u64 - 8) / 8;
            let step = (class as u64 - 8) % 8 + 1;
            (64 << doubling) + step * (8 << doubling)
        };
        classes[class] = Class { size, reciprocal: (1u64 << SHIFT).div_ceil(size) };
        class += 1;
    }
    classes
};

impl Class {
    /// The block in which byte `inside` of a run is. `inside` must be below 2^21.
    #[inline]
    pub(crate) fn slot_of(&self, inside: u64) -> u32 {
        debug_assert!(inside < 1 << 21);
        ((inside * self.reciprocal) >> SHIFT) as u32
    }
}

/// The class of a number; `None` from [`COUNT`] on.
#[inline]
pub(crate) fn get(class: u8) -> Option<&'static Class> {
    TABLE.get(class as usize)
}

/// Pages of the longest run.
pub(crate) const MAX_RUN_PAGES: u32 = 64;

/// Bytes of the block that `len` bytes get: what an allocation of that length takes of the pool.
pub fn block_size(len: u64) -> u64 {
    for_len(len).map_or_else(|| len.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX), size)
}

/// The smallest class for `len` bytes, `None` above [`LARGEST`].
pub(crate) fn for_len(len: u64) -> Option<u8> {
    match len {
        0..=64 => Some((len.max(1).div_ceil(8) - 1) as u8),
        65..=LARGEST => {
            let doubling = (len - 1).ilog2() - 6;
            let step = (len - (64 << doubling)).div_ceil(8 << doubling);
            Some((7 + 8 * doubling as u64 + step) as u8)
        }
        _ => None,
    }
}

/// Bytes of a block. `class` must be below [`COUNT`].
#[inline]
pub(crate) fn size(class: u8) -> u64 {
    TABLE[class as usize].size
}

/// Blocks in a run of `pages` pages.
#[inline]
pub(crate) fn slots(class: u8, pages: u32) -> u32 {
    (pages as u64 * PAGE) as u32 / size(class) as u32
}

/// Pages of a new run: 16 for blocks of up to 8 KiB and 64 above, where the pool has plenty; less in a small pool, so
/// that one class does not take it all.
pub(crate) fn run_pages(class: u8, pool_pages: u32) -> u32 {
    let usual = if size(class) <= 8 << 10 { 16 } else { MAX_RUN_PAGES };
    trimmed(class, usual.min((pool_pages / 64).next_power_of_two()).max(least_run_pages(class)))
}

/// `pages`, without those behind the last block that fits: for 12 blocks of 5 KiB, 15 pages do.
pub(crate) fn trimmed(class: u8, pages: u32) -> u32 {
    (slots(class, pages) as u64 * size(class)).div_ceil(PAGE) as u32
}

/// Pages of the shortest run that holds a block.
pub(crate) fn least_run_pages(class: u8) -> u32 {
    size(class).div_ceil(PAGE) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_fits_its_lengths_and_wastes_less_than_an_eighth() {
        for len in 0..=LARGEST {
            let class = for_len(len).unwrap();
            let size = size(class);
            assert!(size >= len && (class == 0 || len > TABLE[class as usize - 1].size), "{len}");
            assert!((size - len) * 8 <= size || size - len < 9, "{len} in {size}");
        }
        assert_eq!(for_len(LARGEST + 1), None);
        assert_eq!(size(COUNT as u8 - 1), LARGEST);
        assert_eq!(size(0), 8);
    }

    #[test]
    fn multiplication_divides_exactly_over_the_longest_run() {
        for class in 0..COUNT as u8 {
            for inside in 0..MAX_RUN_PAGES as u64 * PAGE {
                assert_eq!(
                    TABLE[class as usize].slot_of(inside) as u64,
                    inside / size(class),
                    "{inside} by {}",
                    size(class)
                );
            }
        }
    }

    #[test]
    fn a_length_rounded_up_to_an_alignment_gets_a_class_of_that_alignment() {
        for align in (3..=12).map(|bits| 1u64 << bits) {
            for len in 1..=LARGEST {
                let size = size(for_len(len.next_multiple_of(align)).unwrap());
                assert_eq!(size % align, 0, "{len} aligned to {align} got {size}");
            }
        }
    }

    #[test]
    fn a_run_wastes_less_than_a_tenth_behind_its_last_block() {
        for class in 0..COUNT as u8 {
            let pages = run_pages(class, 1 << 20);
            let waste = pages as u64 * PAGE - slots(class, pages) as u64 * size(class);
            assert!(waste * 10 < pages as u64 * PAGE, "{} in {pages} pages", size(class));
            assert!(slots(class, least_run_pages(class)) >= 1);
        }
    }
}
