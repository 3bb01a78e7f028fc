//! Transactions that are larger than a third of the log: they borrow free pages of the pool.
#![allow(missing_docs)]

use pmem_alloc::*;
use pmem_map::Mapping;

const SIZE: u64 = 4 << 20;
/// Objects of 512 bytes: all of them are more than the log takes.
const OBJECTS: u64 = 320;

type Heap = PHeap<[[Ptr<[u64; 64]>; 20]; OBJECTS as usize / 20]>;

fn pool() -> Pool {
    let pool = Pool::anonymous(SIZE).unwrap();
    for i in 0..OBJECTS as usize {
        pool.write(|tx| {
            let mut heap = tx.open::<Heap>("heap")?;
            let at = heap.alloc([0; 64])?;
            heap.root_mut()?[i / 20][i % 20] = at;
            Ok(())
        })
        .unwrap();
    }
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("n")?;
        tx.open::<PHeap<Ptr<u8>>>("bytes").map(drop)
    })
    .unwrap();
    pool.checkpoint().unwrap();
    pool
}

/// Takes one block of these many bytes.
fn take(pool: &Pool, len: u64) -> Result<()> {
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<Ptr<u8>>>("bytes")?;
        let at = heap.alloc_aligned(len, 8)?;
        heap.bytes_mut(at, 64)?.fill(0xee);
        *heap.root_mut()? = at;
        Ok(())
    })
}

fn fill(tx: &WriteTx<'_>, value: u64) -> Result<()> {
    let mut heap = tx.open::<Heap>("heap")?;
    let all = *heap.root()?;
    all.into_iter().flatten().try_for_each(|at| {
        *heap.get_mut(at)? = [value; 64];
        Ok(())
    })
}

fn assert_filled(pool: &Pool, value: u64) {
    let tx = pool.read().unwrap();
    let heap = tx.open::<Heap>("heap").unwrap();
    heap.root().unwrap().iter().flatten().for_each(|&at| assert_eq!(heap.get(at).unwrap(), &[value; 64]));
    drop(tx);
    assert!(pool.check().unwrap().is_ok());
}

/// As a kill would leave it.
fn killed(pool: &Pool) -> Mapping {
    let mut mapping = Mapping::anonymous(SIZE).unwrap();
    // SAFETY: no transaction is open.
    unsafe { pool.region().load(0, mapping.as_mut_slice()) };
    mapping
}

#[test]
fn it_takes_two_drains_and_the_pages_come_back() {
    let pool = pool();
    take(&pool, 64).unwrap(); // a run of its class, which stays
    let free = |pool: &Pool| pool.stats().unwrap().free_pages;
    let (before, record) = (free(&pool), pool.stats().unwrap().log.max_record);
    assert!(OBJECTS * 512 > record);
    let drains = pool.region().counters().drains;
    pool.write(|tx| fill(tx, 1)).unwrap();
    assert_eq!(pool.region().counters().drains - drains, 2);
    assert!(free(&pool) < before, "the record needs them");
    assert_filled(&pool, 1);
    for i in 0..3u64 {
        pool.write(|tx| tx.open::<PHeap<u64>>("n").and_then(|mut n| n.root_mut().map(|n| *n = i))).unwrap();
    }
    assert_eq!(free(&pool), before);
    pool.write(|tx| fill(tx, 2)).unwrap();
    pool.checkpoint().unwrap();
    assert_eq!(free(&pool), before);
    assert_filled(&pool, 2);
}

#[test]
fn a_kill_leaks_no_page_and_replays_it() {
    let pool = pool();
    pool.write(|tx| fill(tx, 1)).unwrap();
    let used = pool.stats().unwrap().used;
    let again = Pool::on(killed(&pool)).unwrap();
    assert!(again.opening().replayed > 0);
    assert_filled(&again, 1);
    assert_eq!(again.stats().unwrap().used, used);
    assert!(again.stats().unwrap().free_pages > pool.stats().unwrap().free_pages, "the loan is over");
    // The next life uses the same pages for something else, and the record is not applied again.
    again.write(|tx| fill(tx, 2)).unwrap();
    take(&again, 1 << 20).unwrap();
    assert_filled(&Pool::on(killed(&again)).unwrap(), 2);
}

#[test]
fn an_eventual_one_is_durable_at_once() {
    let pool = pool();
    let mut tx = pool.begin().unwrap();
    fill(&tx, 1).unwrap();
    tx.commit_eventual().unwrap();
    tx = pool.begin().unwrap();
    fill(&tx, 2).unwrap();
    tx.commit_eventual().unwrap();
    pool.sync().unwrap();
    assert_filled(&pool, 2);
    assert_filled(&Pool::on(killed(&pool)).unwrap(), 2);
}

#[test]
fn pages_that_the_log_holds_are_there_for_who_needs_them() {
    let pool = pool();
    pool.write(|tx| fill(tx, 1)).unwrap();
    let stats = pool.stats().unwrap();
    // More than is free beside the loan.
    let len = stats.longest_free + (64 << 10);
    take(&pool, len).unwrap();
    assert_filled(&pool, 1);
}

#[test]
fn a_rollback_after_a_loan_that_was_not_enough_leaves_everything() {
    let pool = pool();
    let leave = 40 << 10;
    let free = pool.stats().unwrap().longest_free - leave;
    take(&pool, free).unwrap();
    let before = pool.stats().unwrap();
    let full = pool.write(|tx| fill(tx, 1)).unwrap_err();
    assert!(matches!(full.kind(), ErrorKind::Tx(pmem_tx::Error::LogFull { .. })), "{full}");
    assert!(full.to_string().contains("split it"), "{full}");
    let after = pool.stats().unwrap();
    assert_eq!((after.used, after.free, after.free_spans), (before.used, before.free, before.free_spans));
    assert_filled(&pool, 0);
}
