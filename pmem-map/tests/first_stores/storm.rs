//! Many threads, many moments: what a handler sees is the moment, and nothing is missed.

use pmem_map::{Dirtiness, FirstStore, FirstStores, Mapping, PAGE, RangeId, Region};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

const THREADS: u64 = 8;
/// Pages of each of two mappings; a thread has a word in each.
const PAGES: u64 = 64;

/// Compares each page with what it was at the moment, before the first store.
struct Compare {
    regions: [Region; 2],
    /// Every word at the moment.
    moment: Box<[AtomicU64]>,
    calls: Box<[AtomicU32]>,
    differences: AtomicU32,
    all_calls: AtomicU64,
}

impl Compare {
    fn load(&self, mapping: usize, page: u64, thread: u64) -> u64 {
        // SAFETY: in bounds; words are stored to by other threads, as words.
        unsafe { self.regions[mapping].load_word(page * PAGE + thread * 8) }
    }

    fn store(&self, mapping: usize, page: u64, thread: u64, value: u64) {
        // SAFETY: the word is this thread's.
        unsafe { self.regions[mapping].store_word(page * PAGE + thread * 8, value) }
    }

    fn word(mapping: usize, page: u64, thread: u64) -> usize {
        ((mapping as u64 * PAGES + page) * THREADS + thread) as usize
    }
}

struct Side(Arc<Compare>, usize);

impl FirstStore for Side {
    fn first_store(&self, _: RangeId, page: u64) -> io::Result<()> {
        let (Side(compare, mapping), page) = (self, page / PAGE);
        for thread in 0..THREADS {
            let expected = compare.moment[Compare::word(*mapping, page, thread)].load(SeqCst);
            if compare.load(*mapping, page, thread) != expected {
                compare.differences.fetch_add(1, SeqCst);
            }
        }
        compare.calls[*mapping * PAGES as usize + page as usize].fetch_add(1, SeqCst);
        compare.all_calls.fetch_add(1, SeqCst);
        Ok(())
    }
}

#[test]
fn eight_threads_and_moments_every_few_milliseconds_each_page_asked_for_once_with_its_old_content() {
    let mapping = || Mapping::memfd(PAGES * PAGE).unwrap();
    let mappings = [mapping(), mapping()];
    let handles = mappings.each_ref().map(|mapping| mapping.pages().unwrap());
    let compare = Arc::new(Compare {
        regions: mappings.map(Mapping::into_region),
        moment: (0..2 * PAGES * THREADS).map(|_| AtomicU64::new(0)).collect(),
        calls: (0..2 * PAGES).map(|_| AtomicU32::new(0)).collect(),
        differences: AtomicU32::new(0),
        all_calls: AtomicU64::new(0),
    });
    let stores = FirstStores::new();
    let watched: Vec<_> = handles
        .iter()
        .enumerate()
        .map(|(side, pages)| {
            let handler = Arc::new(Side(compare.clone(), side));
            stores.watch(pages, 0..PAGES * PAGE, Dirtiness::Unknown, handler).unwrap()
        })
        .collect();
    let stop = AtomicBool::new(false);
    let (mut moments, mut stored) = (0u64, 0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (compare, stop) = (&compare, &stop);
                scope.spawn(move || {
                    let mut value = 0;
                    while !stop.load(SeqCst) {
                        value += 1;
                        let page = (value * 7 + thread * 13) % PAGES;
                        // D in one mapping, V in a far page of the other.
                        compare.store(0, page, thread, value);
                        compare.store(1, PAGES - 1 - page, thread, value);
                    }
                    value
                })
            })
            .collect();
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            let protecting = stores.protect().unwrap();
            // Which pages were stored to since the moment before is exactly known.
            let mut dirty = [[false; PAGES as usize]; 2];
            protecting.dirtied(|id, run| {
                let side = usize::from(id != watched[0].id());
                dirty[side][(run.start / PAGE) as usize..(run.end / PAGE) as usize].fill(true);
            });
            for (side, dirty) in dirty.iter().enumerate() {
                for page in 0..PAGES {
                    let calls = compare.calls[side * PAGES as usize + page as usize].swap(0, SeqCst);
                    if moments > 0 {
                        assert_eq!(calls, u32::from(dirty[page as usize]), "side {side}, page {page}");
                    }
                    for thread in 0..THREADS {
                        let word = Compare::word(side, page, thread);
                        let now = compare.load(side, page, thread);
                        let before = compare.moment[word].swap(now, SeqCst);
                        assert!(now == before || dirty[page as usize], "a store that nobody knows of");
                    }
                }
            }
            // No V without its D: page by page the newest V of each thread has its D.
            for thread in 0..THREADS {
                for page in 0..PAGES {
                    let (d, v) = (compare.load(0, page, thread), compare.load(1, PAGES - 1 - page, thread));
                    assert!(d >= v, "thread {thread}, page {page}: V {v} without D, which is {d}");
                }
            }
            moments += 1;
            protecting.release();
            std::thread::sleep(Duration::from_millis(2));
        }
        stop.store(true, SeqCst);
        stored = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    });
    let calls = compare.all_calls.load(SeqCst);
    println!("{moments} moments, {calls} first stores, {} stores", 2 * stored);
    assert_eq!(compare.differences.load(SeqCst), 0, "a handler saw a page that had changed");
    assert!(moments > 10 && calls > 2 * PAGES);
    assert!(stores.take_failure().is_none());
}
