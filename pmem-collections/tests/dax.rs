//! Containers on real DAX, where there is some: see `tests/dax/place.rs`.
#![allow(missing_docs)]

#[path = "../../tests/dax/place.rs"]
mod place;

use place::{Place, places};
use pmem_collections::*;
use std::collections::BTreeMap;

const MAP: Named<PBTreeMap<u64, String>> = Named::new("map");
const SET: Named<PBTreeSet<u64>> = Named::new("set");
const HASH_MAP: Named<PHashMap<String, u64>> = Named::new("hash map");
const HASH_SET: Named<PHashSet<u64>> = Named::new("hash set");
const ART: Named<PArt<u64>> = Named::new("art");
const VEC: Named<PVec<u64>> = Named::new("vec");
const DEQUE: Named<PDeque<u64>> = Named::new("deque");
const LIST: Named<PLinkedList<u64>> = Named::new("list");
const LOG: Named<PLog> = Named::new("log");
const QUEUE: Named<PPriorityQueue<u64>> = Named::new("queue");
const TEXT: Named<PString> = Named::new("text");

/// Commits; each changes every container.
const STEPS: u64 = 300;

fn options(place: &Place) -> PoolOptions {
    let options = PoolOptions::new().mapping(place.options());
    if place.is_device {
        return options; // it is as large as it is
    }
    options.size(1 << 20).max_size(48 << 20).auto_grow(true)
}

fn create(place: &Place) -> Pool {
    if place.is_device {
        return options(place).create_on(place.map(0)).unwrap();
    }
    // SAFETY: as `place` says of its file.
    unsafe { options(place).create(&place.path) }.unwrap()
}

fn open(place: &Place) -> Pool {
    // SAFETY: as above.
    unsafe { options(place).open(&place.path) }.unwrap()
}

/// Of different lengths.
fn text(n: u64) -> String {
    format!("{n} ").repeat(n as usize % 20)
}

fn step(tx: &mut WriteTx<'_>, n: u64) -> Result<()> {
    tx.open(MAP)?.insert(n * 7919 % 1000, text(n))?;
    tx.open(SET)?.insert(n)?;
    tx.open(HASH_MAP)?.insert(text(n), n)?;
    tx.open(HASH_SET)?.insert(n)?;
    tx.open(ART)?.insert(n.to_be_bytes().to_vec(), n)?;
    tx.open(VEC)?.push(n)?;
    tx.open(DEQUE)?.push_back(n)?;
    tx.open(LIST)?.push_back(n)?;
    tx.open(LOG)?.append(text(n).as_bytes())?;
    tx.open(QUEUE)?.push(STEPS - n)?;
    tx.open(TEXT)?.push_str(&text(n))
}

#[test]
fn every_container_is_what_a_process_that_aborted_had_committed() {
    const NAME: &str = "every_container_is_what_a_process_that_aborted_had_committed";
    if let Some(place) = Place::of_child(NAME) {
        let pool = create(&place);
        (0..STEPS).for_each(|n| pool.write(|tx| step(tx, n)).unwrap());
        let _ = pool.write(|tx| -> Result<()> {
            step(tx, STEPS)?;
            std::process::abort()
        });
    }
    let (places, _used) = places();
    for place in places {
        place.abandoned(NAME);
        let pool = open(&place);
        println!("{}: {} bytes, {:?}", pool.region().medium(), pool.region().len(), pool.opening());
        compare(&pool.read().unwrap()).unwrap();
        let report = pool.check().unwrap(); // which knows all types by now
        assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
        pool.write(|tx| step(tx, STEPS)).unwrap();
        assert_eq!(pool.region().counters().syncs, 0, "nothing is written back on persistent memory");
        pool.close().unwrap();
    }
}

fn compare(tx: &ReadTx<'_>) -> Result<()> {
    let all: Vec<u64> = (0..STEPS).collect();
    let map: BTreeMap<u64, String> = all.iter().map(|n| (n * 7919 % 1000, text(*n))).collect();
    let found = tx.open(MAP)?;
    found.check()?;
    assert_eq!(found.len(), map.len());
    for (key, value) in &map {
        assert_eq!(found.get(*key)?, Some(value.as_str()), "key {key}");
    }
    tx.open(SET)?.check()?;
    assert_eq!(tx.open(SET)?.iter().map(|n| n.copied()).collect::<Result<Vec<_>>>()?, all);
    let words: BTreeMap<String, u64> = all.iter().map(|n| (text(*n), *n)).collect();
    let found = tx.open(HASH_MAP)?;
    found.check()?;
    assert_eq!(found.len(), words.len());
    for (key, value) in &words {
        assert_eq!(found.get(key.as_str())?, Some(value), "key {key:?}");
    }
    tx.open(HASH_SET)?.check()?;
    let members = tx.open(HASH_SET)?;
    assert_eq!(members.len(), all.len());
    for n in &all {
        assert_eq!(members.get(*n)?, Some(n));
    }
    tx.open(ART)?.check()?;
    for n in &all {
        assert_eq!(tx.open(ART)?.get(n.to_be_bytes().to_vec())?, Some(n));
    }
    tx.open(VEC)?.check()?;
    assert_eq!(tx.open(VEC)?.iter().map(|n| n.copied()).collect::<Result<Vec<_>>>()?, all);
    tx.open(DEQUE)?.check()?;
    assert_eq!(tx.open(DEQUE)?.iter().map(|n| n.copied()).collect::<Result<Vec<_>>>()?, all);
    tx.open(LIST)?.check()?;
    assert_eq!(tx.open(LIST)?.iter().map(|n| n.copied()).collect::<Result<Vec<_>>>()?, all);
    tx.open(LOG)?.check()?;
    for n in &all {
        assert_eq!(tx.open(LOG)?.get(*n)?, Some(text(*n).as_bytes()));
    }
    tx.open(QUEUE)?.check()?;
    assert_eq!((tx.open(QUEUE)?.len(), tx.open(QUEUE)?.peek()?), (all.len(), Some(&STEPS)));
    assert_eq!(tx.open(TEXT)?.as_str()?, all.iter().map(|n| text(*n)).collect::<String>());
    Ok(())
}

/// Each operation is durable when it returns, without transactions, on four threads.
#[test]
fn concurrent_containers_are_what_a_process_that_aborted_had_done() {
    const NAME: &str = "concurrent_containers_are_what_a_process_that_aborted_had_done";
    const EACH: u64 = 200;
    if let Some(place) = Place::of_child(NAME) {
        let pool = create(&place);
        let hash: ConcurrentHashMap<u64, u64> = ConcurrentHashMap::open(&pool, "hash").unwrap();
        let map: ConcurrentMap<u64, u64> = ConcurrentMap::open(&pool, "map").unwrap();
        let queue: MpmcQueue<u64> = MpmcQueue::open(&pool, "queue").unwrap();
        let log = ConcurrentLog::open(&pool, "log").unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (hash, map, queue, log) = (&hash, &map, &queue, &log);
                scope.spawn(move || {
                    for n in thread * EACH..(thread + 1) * EACH {
                        hash.insert(n, n * n).unwrap();
                        map.insert(n, n + 1).unwrap();
                        queue.push(n).unwrap();
                        log.append(&n.to_le_bytes()).unwrap();
                    }
                });
            }
        });
        std::process::abort()
    }
    let (places, _used) = places();
    for place in places {
        place.abandoned(NAME);
        let pool = open(&place);
        let hash: ConcurrentHashMap<u64, u64> = ConcurrentHashMap::open(&pool, "hash").unwrap();
        let map: ConcurrentMap<u64, u64> = ConcurrentMap::open(&pool, "map").unwrap();
        let queue: MpmcQueue<u64> = MpmcQueue::open(&pool, "queue").unwrap();
        let log = ConcurrentLog::open(&pool, "log").unwrap();
        hash.check().unwrap();
        map.check().unwrap();
        queue.check().unwrap();
        let all: Vec<u64> = (0..4 * EACH).collect();
        for n in &all {
            assert_eq!((hash.get(*n).unwrap(), map.get(*n).unwrap()), (Some(n * n), Some(n + 1)));
        }
        let sorted = |mut found: Vec<u64>| {
            found.sort_unstable();
            found
        };
        let queued = std::iter::from_fn(|| queue.pop().unwrap()).collect();
        assert_eq!(sorted(queued), all);
        let logged = log.iter().map(|record| u64::from_le_bytes(record.unwrap().1.try_into().unwrap()));
        assert_eq!(sorted(logged.collect()), all);
        assert!(pool.check().unwrap().is_ok());
    }
}
