//! Which blocks of files were stored to while nothing protected them: what protects those is computed anew when the last mapping ends.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::ops::Range;

/// Blocks of a file, by their numbers in it; or all of them, where that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dirty {
    All,
    /// A bit each.
    These(Vec<u64>),
}

impl Dirty {
    pub(crate) fn none() -> Dirty {
        Dirty::These(Vec::new())
    }

    fn add(&mut self, blocks: Range<u64>) {
        let Dirty::These(words) = self else { return };
        if blocks.is_empty() {
            return;
        }
        let needed = blocks.end.div_ceil(64) as usize;
        if words.len() < needed {
            words.resize(needed, 0);
        }
        let mut at = blocks.start;
        while at < blocks.end {
            let until = blocks.end.min((at / 64 + 1) * 64);
            words[(at / 64) as usize] |= u64::MAX >> (64 - (until - at)) << (at % 64);
            at = until;
        }
    }

    /// Runs of them, in order, of a file whose last block is before `end`.
    pub(crate) fn runs(&self, end: u64) -> Vec<Range<u64>> {
        let words = match self {
            Dirty::All => return std::iter::once(0..end).collect(),
            Dirty::These(words) => words,
        };
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                let start = left.trailing_zeros();
                let count = (left >> start).trailing_ones();
                left = if start + count == 64 { 0 } else { left >> (start + count) << (start + count) };
                let start = index as u64 * 64 + u64::from(start);
                match runs.last_mut() {
                    Some(last) if last.end == start => last.end += u64::from(count),
                    _ => runs.push(start..start + u64::from(count)),
                }
            }
        }
        runs
    }
}

/// Of each file that is mapped to be written, by its inode number.
#[derive(Default)]
pub(crate) struct DirtyFiles(Mutex<FxHashMap<u64, Dirty>>);

impl DirtyFiles {
    /// The first mapping of a file begins, of which so much does not agree with what protects it already.
    pub(crate) fn begin(&self, ino: u64, dirty: Dirty) {
        self.0.lock().insert(ino, dirty);
    }

    /// Blocks of a file that is mapped were stored to.
    pub(crate) fn add(&self, ino: u64, blocks: Range<u64>) {
        if let Some(dirty) = self.0.lock().get_mut(&ino) {
            dirty.add(blocks);
        }
    }

    /// The same, a bit for each block.
    pub(crate) fn add_bits(&self, ino: u64, bits: &[u64]) {
        if let Some(Dirty::These(words)) = self.0.lock().get_mut(&ino) {
            words.resize(words.len().max(bits.len()), 0);
            words.iter_mut().zip(bits).for_each(|(word, bits)| *word |= bits);
        }
    }

    /// The last mapping has ended.
    pub(crate) fn take(&self, ino: u64) -> Dirty {
        self.0.lock().remove(&ino).unwrap_or(Dirty::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_are_those_of_a_vector_of_bits(ranges in proptest::collection::vec((0u64..400, 0u64..140), 0..12)) {
            let (mut dirty, mut model) = (Dirty::none(), vec![false; 600]);
            for (start, len) in ranges {
                dirty.add(start..start + len);
                model[start as usize..(start + len) as usize].fill(true);
            }
            let mut found = vec![false; 600];
            let mut last = None;
            for run in dirty.runs(600) {
                prop_assert!(!run.is_empty() && last.is_none_or(|end| end < run.start), "apart, and in order");
                found[run.start as usize..run.end as usize].fill(true);
                last = Some(run.end);
            }
            prop_assert_eq!(found, model);
        }
    }

    #[test]
    fn what_is_not_known_is_all() {
        let files = DirtyFiles::default();
        assert_eq!(files.take(7), Dirty::All);
        files.begin(7, Dirty::All);
        files.add(7, 3..4);
        assert_eq!(files.take(7).runs(9), std::iter::once(0..9).collect::<Vec<_>>());
        files.begin(7, Dirty::none());
        files.add(7, 3..4);
        files.add_bits(7, &[1 << 8, 1]);
        assert_eq!(files.take(7).runs(99), [3..4, 8..9, 64..65]);
    }
}
