//! What must be written back: per thread, for a drain covers what the draining thread marked.
//!
//! An error poisons the mapping for good. After a failed `fsync` the kernel may drop the pages and report
//! success next time ("fsyncgate", PostgreSQL 2018), so that no later success can be believed.

#![forbid(unsafe_code)]

use crate::{Error, PAGE, Result};
use std::{
    cell::RefCell,
    mem,
    ops::Range,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// More separate ranges than this are remembered as one that holds them all.
const MOST_RANGES: usize = 64;

/// What one thread marked in one region: page ranges, in bytes, in the order of marking.
struct Marks {
    region: Weak<()>,
    ranges: Vec<Range<u64>>,
}

thread_local! {
    static MARKS: RefCell<Vec<Marks>> = const { RefCell::new(Vec::new()) };
}

/// What a drain has to write back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// Ranges of whole pages: disjoint, not adjacent, ascending. None, if there are none.
    Ranges(Vec<Range<u64>>),
    /// Unknown, because the thread is ending and its marks are gone.
    Everything,
}

/// A region's part in every thread's marks, and whether writing back ever failed.
pub(crate) struct WriteBack {
    region: Arc<()>,
    poisoned: AtomicBool,
}

impl WriteBack {
    pub(crate) fn new() -> WriteBack {
        WriteBack { region: Arc::new(()), poisoned: AtomicBool::new(false) }
    }

    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// No success from now on.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
    }

    /// Remembers the pages of `range`, which is not empty, for this thread's next drain.
    pub(crate) fn mark(&self, range: Range<u64>) {
        let pages = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE);
        // A thread that is ending has no marks any more: `take` answers `Everything`.
        let _ = MARKS.try_with(|marks| {
            let marks = &mut *marks.borrow_mut();
            let ranges = match marks.iter().position(|marks| self.is(&marks.region)) {
                Some(known) => &mut marks[known].ranges,
                None => {
                    marks.retain(|marks| marks.region.strong_count() > 0);
                    marks.push(Marks { region: Arc::downgrade(&self.region), ranges: Vec::new() });
                    &mut marks.last_mut().expect("just pushed").ranges
                }
            };
            match ranges.last_mut() {
                Some(last) if last.start <= pages.end && pages.start <= last.end => {
                    *last = last.start.min(pages.start)..last.end.max(pages.end);
                }
                _ => ranges.push(pages),
            }
            if ranges.len() > MOST_RANGES {
                *ranges = merged(mem::take(ranges));
            }
            if ranges.len() > MOST_RANGES {
                ranges[0].end = ranges[MOST_RANGES].end;
                ranges.truncate(1);
            }
        });
    }

    /// What this thread marked since it last asked.
    pub(crate) fn take(&self) -> Pending {
        let taken = MARKS.try_with(|marks| {
            let marks = &mut *marks.borrow_mut();
            marks.iter_mut().find(|marks| self.is(&marks.region)).map(|marks| mem::take(&mut marks.ranges))
        });
        match taken {
            Ok(ranges) => Pending::Ranges(merged(ranges.unwrap_or_default())),
            Err(_) => Pending::Everything,
        }
    }

    fn is(&self, region: &Weak<()>) -> bool {
        std::ptr::eq(region.as_ptr(), Arc::as_ptr(&self.region))
    }
}

fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_belong_to_the_thread_and_the_region_that_made_them() {
        let (one, other) = (WriteBack::new(), WriteBack::new());
        one.mark(10..20);
        assert_eq!(other.take(), Pending::Ranges(vec![]));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(one.take(), Pending::Ranges(vec![]));
                one.mark(2 * PAGE..2 * PAGE + 1);
            });
        });
        let first_page = 0..PAGE;
        assert_eq!(one.take(), Pending::Ranges(vec![first_page]));
        assert_eq!(one.take(), Pending::Ranges(vec![]), "once");
    }

    #[test]
    fn marks_of_regions_that_are_gone_are_forgotten() {
        for _ in 0..100 {
            WriteBack::new().mark(0..1);
        }
        assert!(MARKS.with_borrow(|marks| marks.len() <= 1));
    }

    proptest! {
        #[test]
        fn every_marked_page_is_pending_once(marks in prop::collection::vec((0u64..400, 1u64..5), 0..200)) {
            let write_back = WriteBack::new();
            let mut touched = std::collections::BTreeSet::new();
            for (page, pages) in &marks {
                write_back.mark(page * PAGE + 7..(page + pages) * PAGE - 7);
                touched.extend(*page..page + pages);
            }
            let Pending::Ranges(ranges) = write_back.take() else { panic!("this thread is not ending") };
            prop_assert!(ranges.is_sorted_by(|a, b| a.end < b.start), "disjoint, ascending, not adjacent");
            let pending: std::collections::BTreeSet<u64> =
                ranges.iter().flat_map(|range| range.start / PAGE..range.end / PAGE).collect();
            prop_assert!(pending.is_superset(&touched));
            if touched.len() <= MOST_RANGES {
                prop_assert_eq!(pending, touched);
            }
        }
    }
}
