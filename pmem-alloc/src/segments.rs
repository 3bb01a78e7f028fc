//! Where page tables, bitmaps and data pages are in the parts by which a pool grew.
//!
//! Most pools have none, and all have few. So what is asked at each access ([`Geometry`](crate::format::Geometry))
//! answers for the first part of a pool itself, at the price of one comparison, and comes here for the others.
//!
//! One list, shared by all who look at a pool: it grows while readers use it, and never changes otherwise.

use crate::format::SegmentEntry;
use pmem_map::PAGE;
use std::{
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Release},
    },
};

/// Most times that a pool can grow: what the header has room for.
pub(crate) const MOST_SEGMENTS: usize = 240;
/// Bytes of page table and of bitmap for each data page.
pub(crate) const DESCRIPTOR: u64 = 8;
pub(crate) const BITMAP: u64 = 64;

/// One part by which a pool grew. Offsets in bytes, pages by their numbers in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) bitmaps_start: u64,
    pub(crate) data_start: u64,
    pub(crate) first_page: u32,
    pub(crate) pages: u32,
}

/// Bytes of page table, and of bitmaps, for `pages` data pages: whole pages each.
pub(crate) fn tables(pages: u64) -> (u64, u64) {
    ((pages * DESCRIPTOR).next_multiple_of(PAGE), (pages * BITMAP).next_multiple_of(PAGE))
}

/// Most data pages that fit `bytes` together with their tables.
pub(crate) fn pages_that_fit(bytes: u64) -> u64 {
    let mut pages = bytes / (PAGE + DESCRIPTOR + BITMAP);
    while pages > 0 && tables(pages).0 + tables(pages).1 + pages * PAGE > bytes {
        pages -= 1;
    }
    pages
}

impl Segment {
    /// The segment of an entry, in a pool whose data pages begin at `pool_data_start`. `None` if its end or its page
    /// numbers are beyond what there can be.
    pub(crate) fn new(entry: SegmentEntry, pool_data_start: u64) -> Option<Segment> {
        let SegmentEntry { start, pages } = entry;
        if pages == 0 || pages >= u64::from(u32::MAX) || start < pool_data_start {
            return None;
        }
        let (table, bitmaps) = tables(pages);
        let bitmaps_start = start.checked_add(table)?;
        let data_start = bitmaps_start.checked_add(bitmaps)?;
        data_start.checked_add(pages * PAGE)?;
        let first_page = u32::try_from((data_start - pool_data_start) / PAGE).ok()?;
        first_page.checked_add(pages as u32)?;
        Some(Segment { start, bitmaps_start, data_start, first_page, pages: pages as u32 })
    }

    /// One past the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.data_start + u64::from(self.pages) * PAGE
    }

    /// Its data pages, by number.
    pub(crate) fn page_numbers(&self) -> Range<u32> {
        self.first_page..self.first_page + self.pages
    }
}

/// The segments of a pool, and its size.
#[derive(Clone)]
pub(crate) struct Segments(Arc<Shared>);

struct Shared {
    size: AtomicU64,
    count: AtomicUsize,
    list: [OnceLock<Segment>; MOST_SEGMENTS],
}

impl Segments {
    /// Of a pool of `size` bytes. At most [`MOST_SEGMENTS`], in their order.
    pub(crate) fn new(size: u64, segments: impl IntoIterator<Item = Segment>) -> Segments {
        let list = [const { OnceLock::new() }; MOST_SEGMENTS];
        let all = Segments(Arc::new(Shared { size: AtomicU64::new(size), count: AtomicUsize::new(0), list }));
        segments.into_iter().for_each(|segment| all.add(segment, size));
        all
    }

    /// The pool has `size` bytes now, and one segment more. For its one writer.
    pub(crate) fn add(&self, segment: Segment, size: u64) {
        let count = self.0.count.load(Acquire);
        self.0.list[count].set(segment).expect("one writer adds");
        self.0.size.store(size, Release);
        self.0.count.store(count + 1, Release);
    }

    /// Bytes of the pool.
    pub(crate) fn size(&self) -> u64 {
        self.0.size.load(Acquire)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.count.load(Acquire)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.0.list[..self.count()].iter().map(|segment| segment.get().expect("counted after it was set"))
    }

    /// The segment that has data page `page`, and its place in the list. The later ones are the larger ones as a rule,
    /// so the search begins there.
    #[inline]
    pub(crate) fn of_page(&self, page: u32) -> Option<(usize, &Segment)> {
        (0..self.count())
            .rev()
            .find_map(|index| {
                let segment = self.0.list[index].get()?;
                (segment.first_page <= page).then_some((index, segment))
            })
            .filter(|(_, segment)| page - segment.first_page < segment.pages)
    }
}

impl PartialEq for Segments {
    fn eq(&self, other: &Segments) -> bool {
        self.size() == other.size() && self.iter().eq(other.iter())
    }
}

impl Eq for Segments {}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_their_tables_fit_and_one_more_would_not() {
        for bytes in [0, PAGE, 2 * PAGE, 3 * PAGE, 64 << 10, (1 << 20) + 5 * PAGE, 1 << 30] {
            let pages = pages_that_fit(bytes);
            let needed = |pages: u64| tables(pages).0 + tables(pages).1 + pages * PAGE;
            assert!(pages == 0 || needed(pages) <= bytes, "{pages} in {bytes}");
            assert!(needed(pages + 1) > bytes, "{pages} in {bytes}");
        }
    }

    #[test]
    fn pages_are_found_in_their_segments_and_nowhere_else() {
        let pool = 1 << 20;
        let one = Segment::new(SegmentEntry { start: 2 << 20, pages: 10 }, pool).unwrap();
        let two = Segment::new(SegmentEntry { start: one.end() + PAGE, pages: 600 }, pool).unwrap();
        assert_eq!(one.first_page, 256 + 2);
        let all = Segments::new(4 << 20, [one.clone(), two.clone()]);
        let mut found = 0;
        for page in 0..2000 {
            let expected = [&one, &two].into_iter().position(|s| s.page_numbers().contains(&page));
            assert_eq!(all.of_page(page).map(|(index, _)| index), expected, "page {page}");
            found += u32::from(expected.is_some());
        }
        assert_eq!(found, 610);
    }

    #[test]
    fn segments_that_cannot_be_are_none() {
        let segment = |start, pages| Segment::new(SegmentEntry { start, pages }, PAGE);
        for (start, pages) in [
            (1 << 20, 0),
            (1 << 20, 1 << 32),
            (1 << 20, u64::MAX),
            (0, 5),
            (u64::MAX - 4095, 5),
            (1 << 44, 1 << 31),
            (u64::MAX - (1 << 20), 1 << 8),
        ] {
            assert_eq!(segment(start, pages), None, "{pages} pages at {start}");
        }
        assert!(segment(1 << 20, 1).is_some());
    }
}
