//! Free pages: which spans there are, and the best one for a request. In DRAM only, rebuilt at open.

use std::collections::{BTreeMap, BTreeSet};

/// Spans of free pages, merged with their neighbours. Best fit: the shortest span that will do, the lowest of those.
#[derive(Debug, Default)]
pub(crate) struct FreeSpans {
    /// First page to number of pages.
    by_start: BTreeMap<u32, u32>,
    /// (Number of pages, first page).
    by_pages: BTreeSet<(u32, u32)>,
    pages: u64,
}

impl FreeSpans {
    /// Free pages in all.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// Number of spans.
    pub(crate) fn count(&self) -> usize {
        self.by_start.len()
    }

    /// Pages of the longest span.
    pub(crate) fn longest(&self) -> u32 {
        self.by_pages.last().map_or(0, |&(pages, _)| pages)
    }

    fn insert(&mut self, start: u32, pages: u32) {
        if pages > 0 {
            self.by_start.insert(start, pages);
            self.by_pages.insert((pages, start));
        }
    }

    fn remove(&mut self, start: u32, pages: u32) {
        self.by_start.remove(&start);
        self.by_pages.remove(&(pages, start));
    }

    /// Takes `pages` pages, the first one at a page number `n` with `(origin + n) % align == 0`.
    pub(crate) fn take(&mut self, pages: u32, align: u64, origin: u64) -> Option<u32> {
        debug_assert!(pages > 0 && align.is_power_of_two());
        let (start, len, first) = self.by_pages.range((pages, 0)..).find_map(|&(len, start)| {
            let first = (origin + start as u64).next_multiple_of(align) - origin;
            (first + pages as u64 <= start as u64 + len as u64).then_some((start, len, first as u32))
        })?;
        self.remove(start, len);
        self.insert(start, first - start);
        self.insert(first + pages, start + len - first - pages);
        self.pages -= pages as u64;
        Some(first)
    }

    /// Takes exactly these pages, if they are free.
    pub(crate) fn take_at(&mut self, first: u32, pages: u32) -> bool {
        let Some((&start, &len)) = self.by_start.range(..=first).next_back() else { return false };
        if first as u64 + pages as u64 > start as u64 + len as u64 {
            return false;
        }
        self.remove(start, len);
        self.insert(start, first - start);
        self.insert(first + pages, start + len - first - pages);
        self.pages -= pages as u64;
        true
    }

    /// Gives pages back. They must not be free already.
    pub(crate) fn give(&mut self, start: u32, pages: u32) {
        let (mut from, mut len) = (start, pages);
        if let Some((&before, &pages)) = self.by_start.range(..start).next_back() {
            debug_assert!(before + pages <= start, "page {start} freed twice");
            if before + pages == start {
                self.remove(before, pages);
                (from, len) = (before, len + pages);
            }
        }
        if let Some(&after) = self.by_start.get(&(start + pages)) {
            self.remove(start + pages, after);
            len += after;
        }
        self.insert(from, len);
        self.pages += pages as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_given_back_merge_with_both_neighbours() {
        let mut free = FreeSpans::default();
        free.give(0, 100);
        let a = free.take(10, 1, 0).unwrap();
        let b = free.take(10, 1, 0).unwrap();
        let c = free.take(10, 1, 0).unwrap();
        assert_eq!((a, b, c), (0, 10, 20));
        free.give(a, 10);
        free.give(c, 10);
        assert_eq!(free.count(), 2);
        free.give(b, 10);
        assert_eq!((free.count(), free.longest(), free.pages()), (1, 100, 100));
    }

    #[test]
    fn the_shortest_span_that_fits_is_taken() {
        let mut free = FreeSpans::default();
        free.give(0, 50);
        free.give(60, 8);
        free.give(70, 20);
        assert_eq!(free.take(8, 1, 0), Some(60));
        assert_eq!(free.take(9, 1, 0), Some(70));
        assert_eq!(free.take(51, 1, 0), None);
    }

    #[test]
    fn alignment_counts_from_the_origin() {
        let mut free = FreeSpans::default();
        free.give(0, 2000);
        assert_eq!(free.take(512, 512, 37), Some(512 - 37));
        assert_eq!(free.pages(), 2000 - 512);
        assert_eq!(free.take(4, 4, 37), Some(3));
        free.give(3, 4);
        free.give(512 - 37, 512);
        assert_eq!((free.count(), free.longest()), (1, 2000));
    }
}
