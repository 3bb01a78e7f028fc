//! Which blocks a file's blocks are, in DRAM: extents by their first file block.

use crate::alloc::Run;
use std::{collections::BTreeMap, ops::Range};

/// File blocks that are side by side in the volume, from one log page's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// First block in the volume.
    pub(crate) block: u64,
    pub(crate) count: u64,
    /// Reads as zeros.
    pub(crate) unwritten: bool,
    /// The epoch in which the blocks were allocated.
    pub(crate) birth: u64,
    /// Which page of the log says so.
    pub(crate) page: u32,
}

impl Mapped {
    pub(crate) fn run(self) -> Run {
        Run { start: self.block, blocks: self.count }
    }

    /// Whether `next`, so many file blocks behind this one's first, is of the same run and the same page's entries.
    fn continues_with(&self, blocks: u64, next: &Mapped) -> bool {
        self.count == blocks
            && self.block + self.count == next.block
            && self.unwritten == next.unwritten
            && self.birth == next.birth
            && self.page == next.page
    }

    fn skip(self, blocks: u64) -> Mapped {
        Mapped { block: self.block + blocks, count: self.count - blocks, ..self }
    }
}

/// A file's extents. They do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extents(BTreeMap<u64, Mapped>);

impl Extents {
    /// The extent that has `file_block`, from there on.
    pub(crate) fn at(&self, file_block: u64) -> Option<Mapped> {
        let (start, mapped) = self.0.range(..=file_block).next_back()?;
        let skipped = file_block - start;
        (skipped < mapped.count).then(|| mapped.skip(skipped))
    }

    /// What is mapped of a range, in order: first file block, extent.
    pub(crate) fn within(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Mapped)> + '_ {
        // The extent at the start is often all there is: then it takes one search.
        let first = self.0.range(..=range.start).next_back();
        let first = first.filter(|(start, mapped)| **start + mapped.count > range.start);
        let next = first.map_or(range.start, |(start, mapped)| start + mapped.count);
        let others = (next < range.end).then(|| self.0.range(next..range.end));
        first.into_iter().chain(others.into_iter().flatten()).filter_map(move |(start, mapped)| {
            let (from, to) = ((*start).max(range.start), (start + mapped.count).min(range.end));
            (from < to).then(|| {
                let part = mapped.skip(from - start);
                (from, Mapped { count: to - from, ..part })
            })
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Mapped)> + '_ {
        self.0.iter().map(|(start, mapped)| (*start, *mapped))
    }

    /// How many extents there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Blocks mapped.
    pub(crate) fn blocks(&self) -> u64 {
        self.0.values().map(|mapped| mapped.count).sum()
    }

    /// The first block behind all that is mapped.
    pub(crate) fn end(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(start, mapped)| start + mapped.count)
    }

    /// The block behind the last one, where a file that grows stays in one piece.
    pub(crate) fn behind(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, mapped)| mapped.block + mapped.count)
    }

    /// Maps blocks, instead of what was mapped there: which is returned.
    pub(crate) fn insert(&mut self, file_block: u64, mapped: Mapped) -> Vec<(u64, Mapped)> {
        if self.is_appended(file_block, mapped) {
            return Vec::new();
        }
        if let Some(old) = self.replace(file_block, mapped) {
            return vec![(file_block, old)];
        }
        let before = self.remove(file_block..file_block + mapped.count);
        // One extent with its neighbour, if they are one run of one page's entries.
        if let Some((start, last)) = self.0.range_mut(..file_block).next_back()
            && last.continues_with(file_block - start, &mapped)
        {
            last.count += mapped.count;
        } else {
            self.0.insert(file_block, mapped);
        }
        before
    }

    /// Maps blocks behind all others, as a file grows and its log is read; whether they are behind all others.
    fn is_appended(&mut self, file_block: u64, mapped: Mapped) -> bool {
        if let Some(mut last) = self.0.last_entry() {
            let blocks = file_block.saturating_sub(*last.key());
            if last.get().count > blocks {
                return false;
            }
            if last.get().continues_with(blocks, &mapped) {
                last.get_mut().count += mapped.count;
                return true;
            }
        }
        self.0.insert(file_block, mapped);
        true
    }

    /// Maps exactly what one extent maps, if there is such a one, and if it stays one by itself: what was mapped.
    fn replace(&mut self, file_block: u64, mapped: Mapped) -> Option<Mapped> {
        let mut back = self.0.range_mut(..=file_block);
        let (start, same) = back.next_back()?;
        if *start != file_block || same.count != mapped.count {
            return None;
        }
        match back.next_back() {
            Some((start, last)) if last.continues_with(file_block - start, &mapped) => None,
            _ => Some(std::mem::replace(same, mapped)),
        }
    }

    /// Unmaps a range; returns what was mapped.
    pub(crate) fn remove(&mut self, range: Range<u64>) -> Vec<(u64, Mapped)> {
        let removed: Vec<(u64, Mapped)> = self.within(range.clone()).collect();
        for (start, part) in &removed {
            let (whole_start, whole) =
                self.0.range(..=*start).next_back().map(|(s, m)| (*s, *m)).expect("it is mapped");
            self.0.remove(&whole_start);
            if whole_start < *start {
                self.0.insert(whole_start, Mapped { count: start - whole_start, ..whole });
            }
            let end = start + part.count;
            if end < whole_start + whole.count {
                self.0.insert(end, whole.skip(end - whole_start));
            }
        }
        removed
    }

    /// Moves everything from `from` on by `by` blocks. Where it goes to, nothing is mapped.
    pub(crate) fn shift(&mut self, from: u64, by: i64) {
        if let Some((start, whole)) = self.0.range(..from).next_back().map(|(s, m)| (*s, *m))
            && start + whole.count > from
        {
            self.0.insert(start, Mapped { count: from - start, ..whole });
            self.0.insert(from, whole.skip(from - start));
        }
        let moved = self.0.split_off(&from);
        self.0.extend(moved.into_iter().map(|(start, mapped)| (start.wrapping_add_signed(by), mapped)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_agree_with_an_array_of_blocks() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut extents, mut model) = (Extents::default(), vec![0u64; 4000]);
        let mut next = 1000;
        for step in 0..4000 {
            let (start, count) = (random.u64(0..400), random.u64(1..40));
            match random.u8(0..10) {
                0..6 => {
                    if random.bool() {
                        next += 3;
                    }
                    let page = random.u32(0..2);
                    let old = extents
                        .insert(start, Mapped { block: next, count, unwritten: false, birth: 1, page });
                    for (at, part) in old {
                        (0..part.count).for_each(|i| assert_eq!(model[(at + i) as usize], part.block + i));
                    }
                    (0..count).for_each(|i| model[(start + i) as usize] = next + i);
                    next += count;
                }
                6..9 => {
                    let gone: u64 =
                        extents.remove(start..start + count).iter().map(|(_, part)| part.count).sum();
                    let range = start as usize..(start + count) as usize;
                    assert_eq!(
                        gone as usize,
                        model[range.clone()].iter().filter(|block| **block != 0).count()
                    );
                    model[range].fill(0);
                }
                _ => {
                    extents.shift(start, count as i64);
                    model.splice(start as usize..start as usize, vec![0; count as usize]);
                    extents.remove(2000..u64::MAX);
                    model.truncate(4000);
                    model[2000..].fill(0);
                }
            }
            if step % 50 == 0 {
                for (at, block) in model.iter().enumerate() {
                    assert_eq!(extents.at(at as u64).map_or(0, |mapped| mapped.block), *block, "{at}");
                }
            }
        }
    }
}
