//! Commits on their way: who sees them, what they keep from being used, and readers beside groups of writers.
#![allow(missing_docs)]
use pmem_alloc::*;
use pmem_map::MapOptions;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

mod cell;
use cell::Cell;

type Blocks = PHeap<[u64; 8]>;

fn grouped(disk: bool) -> Pool {
    let mapping = MapOptions::new()
        .len(1 << 20)
        .granularity(if disk { pmem_map::Granularity::Page } else { pmem_map::Granularity::CacheLine })
        .anonymous()
        .unwrap();
    PoolOptions::new().group_commit(true).create_on(mapping).unwrap()
}

fn set(pool: &Pool, name: &str, n: u64) -> Result<Ticket> {
    let tx = pool.begin()?;
    tx.open::<Cell<u64>>(name)?.set(n)?;
    tx.commit_eventual()
}

fn seen(pool: &Pool, name: &str) -> Result<u64> {
    Ok(*pool.read()?.open::<Cell<u64>>(name)?.get()?)
}

#[test]
fn readers_see_an_eventual_commit_when_it_is_synced_and_writers_before() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    set(&pool, "a", 1)?;
    assert!(matches!(pool.read()?.open::<Cell<u64>>("a").err().unwrap().kind(), ErrorKind::NotFound { .. }));
    assert_eq!(*pool.begin()?.open::<Cell<u64>>("a")?.get()?, 1);
    pool.sync()?;
    assert_eq!(seen(&pool, "a")?, 1);
    let second = set(&pool, "a", 2)?;
    set(&pool, "b", 3)?;
    assert_eq!(seen(&pool, "a")?, 1);
    pool.wait(second)?;
    assert_eq!((seen(&pool, "a")?, seen(&pool, "b")?), (2, 3), "one drain for all that is written");
    set(&pool, "b", 4)?;
    pool.write(|tx| tx.open::<Cell<u64>>("b")?.get().map(drop))?;
    assert_eq!(seen(&pool, "b")?, 4, "what a strict transaction has read is durable when it returns");
    set(&pool, "b", 5)?;
    assert!(pool.check()?.is_ok());
    pool.close()?;
    Ok(())
}

#[test]
fn whoever_reads_would_wait_for_themselves_and_is_told() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let tx = pool.begin()?;
    tx.open::<Cell<u64>>("a")?;
    let view = pool.read()?;
    assert!(matches!(tx.commit_eventual().unwrap_err().kind(), ErrorKind::WouldDeadlock { .. }));
    assert!(matches!(pool.sync().unwrap_err().kind(), ErrorKind::WouldDeadlock { .. }));
    drop(view);
    pool.sync()
}

#[test]
fn what_is_freed_on_the_way_makes_room_when_there_is_none() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let mut at = pool.write(|tx| tx.open::<Blocks>("blocks")?.alloc_aligned(600 << 10, 8))?;
    for _ in 0..5 {
        let tx = pool.begin()?;
        tx.open::<Blocks>("blocks")?.free(at)?;
        tx.commit_eventual()?;
        let tx = pool.begin()?;
        at = tx.open::<Blocks>("blocks")?.alloc_aligned(600 << 10, 8)?; // waits for the one before
        tx.commit_eventual()?;
        assert_eq!(pool.stats()?.reserved_blocks, 0);
    }
    pool.sync()?;
    assert!(pool.check()?.problems.is_empty());
    Ok(())
}

#[test]
fn a_reader_keeps_the_blocks_it_sees_while_commits_on_their_way_free_them() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let at = pool.write(|tx| {
        let mut blocks = tx.open::<Blocks>("blocks")?;
        let at = blocks.alloc_aligned(20_000, 8)?;
        blocks.bytes_mut(at, 20_000)?.fill(1);
        Ok(at)
    })?;
    let turn = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let tx = pool.read().unwrap();
            let blocks = tx.open::<Blocks>("blocks").unwrap();
            turn.wait();
            turn.wait(); // the writer is done
            let bytes = blocks.bytes(at, 20_000).unwrap();
            assert!(bytes.iter().all(|&byte| byte == 1));
        });
        turn.wait();
        let free = || -> Result<()> {
            let tx = pool.begin()?;
            tx.open::<Blocks>("blocks")?.free(at)?;
            tx.commit_eventual()?;
            for _ in 0..20 {
                let tx = pool.begin()?;
                let mut blocks = tx.open::<Blocks>("blocks")?;
                let new = blocks.alloc_aligned(20_000, 8)?;
                blocks.bytes_mut(new, 20_000)?.fill(2);
                tx.commit_eventual()?;
            }
            Ok(())
        };
        free().unwrap();
        turn.wait();
    });
    pool.sync()
}

#[test]
fn readers_beside_groups_of_writers_see_whole_commits_in_order_and_everybody_sees_their_own() {
    for disk in [false, true] {
        let pool = grouped(disk);
        let newest = AtomicU64::new(0);
        let bump = |strict: bool| -> Result<u64> {
            let tx = pool.begin()?;
            let n = {
                let (mut a, mut b) = (tx.open::<Cell<u64>>("a")?, tx.open::<Cell<u64>>("b")?);
                assert_eq!(a.get()?, b.get()?);
                let n = a.get()? + 1;
                a.set(n)?;
                b.set(n)?;
                n
            };
            if strict {
                tx.commit()?
            } else {
                _ = tx.commit_eventual()?;
            }
            Ok(n)
        };
        bump(true).unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for i in 0..200 {
                        let n = bump(i % 5 > 0).unwrap();
                        if i % 5 > 0 {
                            assert!(seen(&pool, "a").unwrap() >= n);
                            newest.fetch_max(n, Relaxed);
                        }
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    for _ in 0..400 {
                        let at_least = newest.load(Relaxed);
                        let tx = pool.read().unwrap();
                        let first = *tx.open::<Cell<u64>>("a").unwrap().get().unwrap();
                        thread::yield_now();
                        let second = *tx.open::<Cell<u64>>("b").unwrap().get().unwrap();
                        assert!(
                            first == second && first >= last && first >= at_least,
                            "{first} and {second}"
                        );
                        last = first;
                    }
                });
            }
        });
        pool.sync().unwrap();
        assert_eq!(seen(&pool, "b").unwrap(), 601);
        assert!(pool.check().unwrap().is_ok());
    }
}
