//! A bit for each page, set by one thread and read by any.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// Bits, all 0 at first.
pub(super) struct Bits {
    words: Box<[AtomicU64]>,
    len: u64,
}

impl Bits {
    pub(super) fn new(len: u64) -> Bits {
        Bits { words: (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(), len }
    }

    pub(super) fn get(&self, bit: u64) -> bool {
        self.words[(bit / 64) as usize].load(SeqCst) >> (bit % 64) & 1 != 0
    }

    pub(super) fn set(&self, bit: u64) {
        self.words[(bit / 64) as usize].fetch_or(1 << (bit % 64), SeqCst);
    }

    /// How much more often the bits change from one to the next, once this one, which is 0, is set: -2 to 2.
    pub(super) fn changes_added(&self, bit: u64) -> isize {
        let change = |neighbour: Option<u64>| match neighbour.filter(|bit| *bit < self.len) {
            None => 0,
            Some(neighbour) if self.get(neighbour) => -1,
            Some(_) => 1,
        };
        change(bit.checked_sub(1)) + change(Some(bit + 1))
    }

    pub(super) fn fill(&self, value: bool) {
        let word = if value { u64::MAX } else { 0 };
        self.words.iter().for_each(|words| words.store(word, SeqCst));
    }

    /// Calls `each` with each run of ones.
    pub(super) fn runs(&self, each: &mut dyn FnMut(Range<u64>)) {
        let mut start = None;
        for (index, word) in self.words.iter().enumerate() {
            let (word, first) = (word.load(SeqCst), index as u64 * 64);
            match (word, start) {
                (0, None) | (u64::MAX, Some(_)) => continue,
                _ => {}
            }
            for bit in first..(first + 64).min(self.len) {
                match (word >> (bit - first) & 1, start) {
                    (1, None) => start = Some(bit),
                    (0, Some(from)) => {
                        each(from..bit);
                        start = None;
                    }
                    _ => {}
                }
            }
        }
        if let Some(from) = start {
            each(from..self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_and_changes_are_those_of_a_vector_of_bits(len in 1u64..300, ones in proptest::collection::vec(0u64..300, 0..200)) {
            let (bits, mut model, mut changes) = (Bits::new(len), vec![false; len as usize], 0);
            for bit in ones.into_iter().map(|bit| bit % len) {
                prop_assert_eq!(bits.get(bit), model[bit as usize]);
                if !bits.get(bit) {
                    changes += bits.changes_added(bit);
                    bits.set(bit);
                    model[bit as usize] = true;
                }
            }
            let expected = model.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert_eq!(changes, expected as isize);
            let mut found = vec![false; len as usize];
            bits.runs(&mut |run| {
                assert!(run.start == 0 || !found[run.start as usize - 1], "runs are as long as can be");
                found[run.start as usize..run.end as usize].fill(true);
            });
            prop_assert_eq!(found, model);
            bits.fill(true);
            let mut runs = Vec::new();
            bits.runs(&mut |run| runs.push(run));
            prop_assert_eq!(runs, vec![0..len]);
        }
    }
}
