//! Sets of numbers, as ranges.

use std::{collections::BTreeMap, ops::Range};

/// Disjoint ranges; those that touch are one.
///
/// A few, as nearly all transactions have, are in a sorted vector; from [`FEW`] on all are in a tree.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// Start and end, ascending. Empty, if there is something in `many`.
    few: Vec<(u64, u64)>,
    many: BTreeMap<u64, u64>,
}

const FEW: usize = if cfg!(test) { 8 } else { 64 };

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.few.is_empty() && self.many.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.last_from(number).is_some_and(|(_, end)| number < end)
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.from(0).map(|(start, end)| start..end)
    }

    /// Index of the first of a few that starts at `number` or behind it.
    fn index(&self, number: u64) -> usize {
        self.few.partition_point(|&(start, _)| start < number)
    }

    /// Those that start at `number` or behind it, ascending.
    fn from(&self, number: u64) -> impl Iterator<Item = (u64, u64)> {
        let few = self.few[self.index(number)..].iter().copied();
        few.chain(self.many.range(number..).map(|(start, end)| (*start, *end)))
    }

    /// The last one that starts at `number` or before it.
    fn last_from(&self, number: u64) -> Option<(u64, u64)> {
        if self.many.is_empty() {
            let count = self.few.partition_point(|&(start, _)| start <= number);
            return count.checked_sub(1).map(|last| self.few[last]);
        }
        self.many.range(..=number).next_back().map(|(start, end)| (*start, *end))
    }

    fn remove(&mut self, start: u64) {
        if self.many.is_empty() {
            self.few.remove(self.index(start));
        } else {
            self.many.remove(&start);
        }
    }

    /// Adds one that touches no other.
    fn add(&mut self, start: u64, end: u64) {
        if self.many.is_empty() && self.few.len() < FEW {
            self.few.insert(self.index(start), (start, end));
        } else {
            self.many.extend(self.few.drain(..));
            self.many.insert(start, end);
        }
    }

    pub(super) fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        while let Some((from, to)) = self.last_from(end)
            && to >= start
        {
            if from <= start && to >= end {
                return;
            }
            self.remove(from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.add(start, end);
    }

    /// Calls `each` with the parts of `range` that are not in the set, in ascending order.
    pub(super) fn missing(&self, range: Range<u64>, mut each: impl FnMut(Range<u64>)) {
        let mut from = range.start;
        let before = self.last_from(range.start);
        let within = self.from(range.start).take_while(|(start, _)| *start < range.end);
        for (start, end) in before.into_iter().chain(within) {
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
            // Short ones become more than a few; long ones make them few again.
            let longest = if seed % 4 == 0 { 3 } else { 60 };
            for _ in 0..40 {
                let start = rng.usize(0..190);
                let most = if rng.bool() { 3 } else { longest }.min(200 - start);
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
