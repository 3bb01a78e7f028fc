//! Containers: maps that have 20,000 entries at first, a log, queues.

use crate::{
    allocations::pool,
    operations::{Operation, Work, repeat},
};
use benches::maps::key;
use pmem_collections::{
    ConcurrentHashMap, MpmcQueue, PBTreeMap, PDeque, PHashMap, PLog, Pool, Result, WriteTx,
};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "PBTreeMap: insert", start: || on_map(btree(), btree_insert, verify_btree_longer) },
    Operation { name: "PBTreeMap: get", start: || on_map(btree(), btree_get, verify_btree) },
    Operation { name: "PBTreeMap: remove", start: || on_map(btree(), btree_remove, verify_btree_shorter) },
    Operation { name: "PHashMap: insert", start: || on_map(hash(), hash_insert, verify_hash_longer) },
    Operation { name: "PHashMap: get", start: || on_map(hash(), hash_get, verify_hash) },
    Operation { name: "PHashMap: remove", start: || on_map(hash(), hash_remove, verify_hash_shorter) },
    Operation { name: "PLog: append 64 B", start: log },
    Operation { name: "PDeque: push at the end", start: push },
    Operation { name: "PDeque: pop at the front", start: pop },
    Operation { name: "ConcurrentHashMap: insert", start: concurrent_insert },
    Operation { name: "MpmcQueue: push and pop", start: concurrent_queue },
];

const ENTRIES: u64 = 20_000;
type Tree = PBTreeMap<u64, u64>;
type Hash = PHashMap<u64, u64>;
type Queue = PDeque<u64>;

fn on_map(
    pool: Pool,
    step: fn(&Pool, u64) -> Result<()>,
    verify: fn(&Pool, u64) -> Result<()>,
) -> Box<dyn Work> {
    let step = move |pool: &mut Pool, number| step(pool, number).expect("done");
    repeat(pool, step, move |pool, count| verify(&pool, count).expect("read"))
}

// An ordered map.

fn btree() -> Pool {
    let pool = pool(32 << 20);
    for first in (0..ENTRIES).step_by(1000) {
        let entries = (first..first + 1000).map(|i| (key(i), i));
        pool.write(|tx| tx.open::<Tree>("map")?.extend(entries)).expect("filled");
    }
    pool
}

fn btree_insert(pool: &Pool, number: u64) -> Result<()> {
    let i = ENTRIES + number;
    pool.write(|tx| tx.open::<Tree>("map")?.insert(key(i), i).map(drop))
}

fn btree_get(pool: &Pool, number: u64) -> Result<()> {
    let i = some(number);
    assert_eq!(pool.read()?.open::<Tree>("map")?.get(key(i))?, Some(&i));
    Ok(())
}

fn btree_remove(pool: &Pool, number: u64) -> Result<()> {
    pool.write(|tx| {
        assert!(tx.open::<Tree>("map")?.remove(key(number))?.is_some());
        Ok(())
    })
}

/// One of the first entries, a different one each time.
fn some(number: u64) -> u64 {
    number * 7_919 % ENTRIES
}

fn check_btree(pool: &Pool, entries: std::ops::Range<u64>) -> Result<()> {
    let tx = pool.read()?;
    let map = tx.open::<Tree>("map")?;
    map.check()?;
    assert_eq!(map.len() as u64, entries.end - entries.start);
    entries.into_iter().try_for_each(|i| {
        assert_eq!(map.get(key(i))?, Some(&i));
        Ok(())
    })
}

fn verify_btree(pool: &Pool, _: u64) -> Result<()> {
    check_btree(pool, 0..ENTRIES)
}
fn verify_btree_longer(pool: &Pool, count: u64) -> Result<()> {
    check_btree(pool, 0..ENTRIES + count)
}
fn verify_btree_shorter(pool: &Pool, count: u64) -> Result<()> {
    check_btree(pool, count..ENTRIES)
}

// A hash map.

fn hash() -> Pool {
    let pool = pool(32 << 20);
    for first in (0..ENTRIES).step_by(1000) {
        let entries = (first..first + 1000).map(|i| (key(i), i));
        pool.write(|tx| tx.open::<Hash>("map")?.extend(entries)).expect("filled");
    }
    pool
}

fn hash_insert(pool: &Pool, number: u64) -> Result<()> {
    let i = ENTRIES + number;
    pool.write(|tx| tx.open::<Hash>("map")?.insert(key(i), i).map(drop))
}

fn hash_get(pool: &Pool, number: u64) -> Result<()> {
    let i = some(number);
    assert_eq!(pool.read()?.open::<Hash>("map")?.get(key(i))?, Some(&i));
    Ok(())
}

fn hash_remove(pool: &Pool, number: u64) -> Result<()> {
    pool.write(|tx| {
        assert!(tx.open::<Hash>("map")?.remove(key(number))?.is_some());
        Ok(())
    })
}

fn check_hash(pool: &Pool, entries: std::ops::Range<u64>) -> Result<()> {
    let tx = pool.read()?;
    let map = tx.open::<Hash>("map")?;
    assert_eq!(map.check()?.entries, entries.end - entries.start);
    entries.into_iter().try_for_each(|i| {
        assert_eq!(map.get(key(i))?, Some(&i));
        Ok(())
    })
}

fn verify_hash(pool: &Pool, _: u64) -> Result<()> {
    check_hash(pool, 0..ENTRIES)
}
fn verify_hash_longer(pool: &Pool, count: u64) -> Result<()> {
    check_hash(pool, 0..ENTRIES + count)
}
fn verify_hash_shorter(pool: &Pool, count: u64) -> Result<()> {
    check_hash(pool, count..ENTRIES)
}

// Sequences.

fn log() -> Box<dyn Work> {
    let step = |pool: &mut Pool, number: u64| {
        let record = [number; 8];
        pool.write(|tx| tx.open::<PLog>("log")?.append(bytemuck::bytes_of(&record)).map(drop))
            .expect("appended");
    };
    let verify = |pool: Pool, count| {
        let tx = pool.read().expect("a transaction");
        let log = tx.open::<PLog>("log").expect("a log");
        let mut records = 0;
        for (number, record) in log.iter().enumerate() {
            assert_eq!(record.expect("a record").1, bytemuck::bytes_of(&[number as u64; 8]));
            records += 1;
        }
        assert_eq!(records, count);
    };
    repeat(pool(8 << 20), step, verify)
}

fn queue_push(pool: &Pool, number: u64) {
    pool.write(|tx| tx.open::<Queue>("queue")?.push_back(number)).expect("pushed");
}

fn queue_pop(pool: &Pool) -> Option<u64> {
    let pop = |tx: &mut WriteTx<'_>| {
        tx.open::<Queue>("queue")?.pop_front()?.map(|old| old.get().copied()).transpose()
    };
    pool.write(pop).expect("popped")
}

fn push() -> Box<dyn Work> {
    repeat(
        pool(8 << 20),
        |pool, number| queue_push(pool, number),
        |pool, count| assert!((0..count).map(Some).chain([None]).all(|number| queue_pop(&pool) == number)),
    )
}

fn pop() -> Box<dyn Work> {
    let (pool, count) = (pool(8 << 20), crate::WARM_UP + crate::OPERATIONS);
    (0..count).for_each(|number| queue_push(&pool, number));
    let step = |pool: &mut Pool, number| assert_eq!(queue_pop(pool), Some(number));
    repeat(pool, step, move |pool, popped| assert_eq!(queue_pop(&pool), (popped < count).then_some(popped)))
}

// For many threads.

fn concurrent_insert() -> Box<dyn Work> {
    let map = ConcurrentHashMap::<u64, u64>::open(&pool(32 << 20), "map").expect("a map");
    (0..ENTRIES).for_each(|i| assert_eq!(map.insert(key(i), i).expect("inserted"), None));
    let step = |map: &mut ConcurrentHashMap<u64, u64>, number| {
        map.insert(key(ENTRIES + number), ENTRIES + number).expect("inserted");
    };
    repeat(map, step, |map, count| {
        assert_eq!(map.len() as u64, ENTRIES + count);
        (0..ENTRIES + count).for_each(|i| assert_eq!(map.get(key(i)).expect("read"), Some(i)));
    })
}

fn concurrent_queue() -> Box<dyn Work> {
    let queue = MpmcQueue::<u64>::open(&pool(8 << 20), "queue").expect("a queue");
    (0..100).for_each(|number| queue.push(number).expect("pushed"));
    let step = |queue: &mut MpmcQueue<u64>, number| {
        queue.push(number + 100).expect("pushed");
        assert_eq!(queue.pop().expect("popped"), Some(number));
    };
    repeat(queue, step, |queue, _| assert_eq!(queue.len(), 100))
}
