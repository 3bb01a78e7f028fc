//! Sets of numbers, as ranges.

use std::{collections::BTreeMap, ops::Range};

/// Disjoint ranges; those that touch are one.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }

    pub(super) fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        while let Some((&from, &to)) = self.0.range(..=end).next_back()
            && to >= start
        {
            if from <= start && to >= end {
                return;
            }
            self.0.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.0.insert(start, end);
    }

    /// Calls `each` with the parts of `range` that are not in the set, in ascending order.
    pub(super) fn missing(&self, range: Range<u64>, mut each: impl FnMut(Range<u64>)) {
        let mut from = range.start;
        let before = self.0.range(..=range.start).next_back();
        let within = self.0.range(range.start..range.end);
        for (&start, &end) in before.into_iter().chain(within) {
            if start > from {
                each(from..start.min(range.end));
            }
            from = from.max(end);
        }
        if from < range.end {
            each(from..range.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_ranges_is_a_set_of_numbers() {
        for seed in 0..200 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut set, mut model) = (Ranges::default(), [false; 200]);
            for _ in 0..40 {
                let start = rng.usize(0..190);
                let most = if rng.bool() { 4 } else { 60 }.min(200 - start);
                let range = start..start + rng.usize(0..most);
                let mut missing = [false; 200];
                set.missing(range.start as u64..range.end as u64, |gap| {
                    assert!(gap.start < gap.end);
                    missing[gap.start as usize..gap.end as usize].fill(true);
                });
                (0..200).for_each(|i| assert_eq!(missing[i], range.contains(&i) && !model[i], "{i}"));
                set.insert(range.start as u64..range.end as u64);
                model[range].fill(true);
                let mut found = [false; 200];
                set.iter().for_each(|range| found[range.start as usize..range.end as usize].fill(true));
                assert_eq!(found, model);
                (0..200).for_each(|i| assert_eq!(set.contains(i), model[i as usize]));
                let ranges: Vec<_> = set.iter().collect();
                assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
            }
        }
    }
}
