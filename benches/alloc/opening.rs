//! How long it takes to open a pool that a killed program left.

use benches::{maps::key, place, rounds::median};
use pmem_collections::{ConcurrentHashMap, ConcurrentMap, PBTreeMap, PHashMap, Pool, PoolOptions};
use std::{fs, path::Path, time::Instant};

/// Of each container.
pub(crate) const ENTRIES: u64 = 2_000_000;

struct Subject {
    name: &'static str,
    /// Makes the container, with so many entries.
    fill: fn(&Pool, u64),
    /// Opens it; how many entries it has.
    open: fn(&Pool) -> u64,
}

const SUBJECTS: [Subject; 4] = [
    Subject {
        name: "PBTreeMap",
        fill: |pool, entries| {
            in_parts(entries, |part| {
                let entries = part.map(|i| (key(i), i));
                pool.write(|tx| tx.open::<PBTreeMap<u64, u64>>("map")?.extend(entries)).expect("filled");
            })
        },
        open: |pool| {
            let tx = pool.read().expect("a transaction");
            tx.open::<PBTreeMap<u64, u64>>("map").expect("a map").len() as u64
        },
    },
    Subject {
        name: "PHashMap",
        fill: |pool, entries| {
            in_parts(entries, |part| {
                let entries = part.map(|i| (key(i), i));
                pool.write(|tx| tx.open::<PHashMap<u64, u64>>("map")?.extend(entries)).expect("filled");
            })
        },
        open: |pool| {
            let tx = pool.read().expect("a transaction");
            tx.open::<PHashMap<u64, u64>>("map").expect("a map").len() as u64
        },
    },
    Subject {
        name: "ConcurrentHashMap (its index is in DRAM)",
        fill: |pool, entries| {
            let map = ConcurrentHashMap::<u64, u64>::open(pool, "map").expect("a map");
            (0..entries).for_each(|i| _ = map.insert(key(i), i).expect("inserted"));
        },
        open: |pool| ConcurrentHashMap::<u64, u64>::open(pool, "map").expect("a map").len() as u64,
    },
    Subject {
        name: "ConcurrentMap (its index is in DRAM)",
        fill: |pool, entries| {
            let map = ConcurrentMap::<u64, u64>::open(pool, "map").expect("a map");
            (0..entries).for_each(|i| _ = map.insert(key(i), i).expect("inserted"));
        },
        open: |pool| ConcurrentMap::<u64, u64>::open(pool, "map").expect("a map").len() as u64,
    },
];

fn in_parts(entries: u64, mut fill: impl FnMut(std::ops::Range<u64>)) {
    (0..entries).step_by(1000).for_each(|first| fill(first..entries.min(first + 1000)));
}

/// Fills a pool with each container, copies its file while it is open, and opens copies.
pub(crate) fn measure(entries: u64, rounds: usize) {
    println!("{:<42} {:>9} {:>9} {:>12}", "", "MiB used", "ms", "ms per GiB");
    for subject in &SUBJECTS {
        let folder = tempfile::tempdir_in(place::folder()).expect("a folder");
        let (path, copy) = (folder.path().join("pool"), folder.path().join("copy"));
        let options = PoolOptions::new().size(entries * 160 + (16 << 20));
        // SAFETY: in a folder that only this process knows.
        let pool = unsafe { options.create(&path) }.expect("a pool");
        (subject.fill)(&pool, entries);
        let used = pool.stats().expect("statistics").used as f64;
        let times = (0..rounds).map(|_| {
            fs::copy(&path, &copy).expect("copied");
            let milliseconds = open(subject, &copy, entries);
            fs::remove_file(&copy).expect("removed");
            milliseconds
        });
        let milliseconds = median(times.collect());
        let per_gib = milliseconds * (1 << 30) as f64 / used;
        println!("{:<42} {:>9.1} {milliseconds:>9.2} {per_gib:>12.1}", subject.name, used / (1 << 20) as f64);
    }
}

/// Milliseconds until pool and container are open.
fn open(subject: &Subject, copy: &Path, entries: u64) -> f64 {
    let start = Instant::now();
    // SAFETY: as in `measure`.
    let pool = unsafe { PoolOptions::new().open(copy) }.expect("the pool");
    let found = (subject.open)(&pool);
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(found, entries);
    milliseconds
}
