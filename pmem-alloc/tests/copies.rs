//! Backups and compacted copies: whole, pools of their own, and nothing at all if power fails before they are done.
#![allow(missing_docs)]

mod list;

use list::{List, Node, check, image_of, on, push, values, values_in};
use pmem_alloc::*;
use pmem_crash::{Config, Exploration, Image, Point, Report, Tear};
use pmem_map::PAGE;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

const SIZE: u64 = 256 << 10;

fn config() -> Config {
    let config = Config::from_env();
    if std::env::var_os("PMEM_CRASH_LONG").is_some() {
        config.bound(1 << 14).samples(1024).nested(256)
    } else {
        config.bound(128).samples(32).nested(16)
    }
}

fn judge(name: &str, report: &Report) {
    println!(
        "crash | {name:<46} | {:>3} operations | {:>7} images | {:>8} recoveries | {} failures",
        report.operations, report.images, report.recoveries, report.failures
    );
    report.assert_ok();
    assert!(report.images > 0 && report.recoveries >= report.images, "{name}: nothing was explored");
}

/// Two lists with holes between their nodes, and a large block.
fn source() -> Pool {
    let pool =
        PoolOptions::new().identity(5).layout("lists").create_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
    pool.write(|tx| {
        (0..60).try_for_each(|i| {
            push(&mut tx.open::<List>("odd")?, 2 * i + 1)?;
            push(&mut tx.open::<List>("even")?, 2 * i)
        })
    })
    .unwrap();
    pool.write(|tx| {
        let mut even = tx.open::<List>("even")?;
        for _ in 0..40 {
            list::pop(&mut even)?;
        }
        Ok(())
    })
    .unwrap();
    pool
}

fn contents(pool: &Pool) -> Result<[Vec<u64>; 2]> {
    Ok([values(pool, "odd")?, values(pool, "even")?])
}

/// The copy by `make` on what `start` has: at any store nothing, or all of it; and it can be written on.
fn explore(name: &str, start: &Image, make: impl Fn(&Pool, Mapping) -> Result<Pool>) {
    let source = source();
    let expected = contents(&source).unwrap();
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = Exploration::new(name).config(config().tear(tear)).start(start.clone()).run(
            |mapping, ops| {
                let copy = ops.run("copy", || make(&source, mapping))?;
                for value in [1001, 1002] {
                    ops.run(format!("push {value}"), || {
                        copy.write(|tx| push(&mut tx.open::<List>("even")?, value))
                    })?;
                }
                std::mem::forget(copy); // the power fails: nothing is closed
                Ok::<_, Error>(())
            },
            |mapping| match Pool::on(mapping) {
                Ok(pool) => Ok(Some(pool)),
                Err(e) if matches!(e.kind(), ErrorKind::NotAPool { .. } | ErrorKind::Damaged { .. }) => {
                    Ok(None)
                }
                Err(e) => Err(e),
            },
            |pool, point| judge_copy(pool, point, &expected).map_err(|e| e.to_string()),
        );
        judge(&format!("{name}, {tear:?}"), &report);
    }
    assert_eq!(contents(&source).unwrap(), expected);
    check(&source);
}

fn judge_copy(pool: Option<Pool>, point: &Point<'_>, expected: &[Vec<u64>; 2]) -> Result<()> {
    let Some(pool) = pool else {
        return if point.acknowledged == 0 { Ok(()) } else { Err(Error::abort("the copy is gone")) };
    };
    if point.acknowledged == 0 && pool.read()?.open::<PHeap<u32>>("older").is_ok() {
        return Ok(());
    }
    let report = pool.check()?;
    if !report.is_ok() {
        return Err(Error::abort(report.to_string()));
    }
    let [odd, mut even] = contents(&pool)?;
    let pushed = even.iter().take_while(|&&value| value > 1000).count();
    even.drain(..pushed);
    if [odd, even] != *expected || !point.range().contains(&(pushed + 1)) {
        return Err(Error::abort(format!("{pushed} values more after {:?} of 3 operations", point.range())));
    }
    for value in [2001, 2002] {
        pool.write(|tx| push(&mut tx.open::<List>("odd")?, value))?;
    }
    let report = pool.check()?;
    if report.is_ok() { Ok(()) } else { Err(Error::abort(report.to_string())) }
}

fn starts() -> [(&'static str, Image); 3] {
    let mut rng = fastrand::Rng::with_seed(9);
    let old = PoolOptions::new().identity(6).create_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
    old.write(|tx| tx.open::<PHeap<u32>>("older").map(drop)).unwrap();
    [
        ("zeros", Image::zeroed(SIZE)),
        ("garbage", Image::new((0..SIZE).map(|_| rng.u8(..)).collect())),
        ("an old pool", Image::new(image_of(&old))),
    ]
}

#[test]
fn a_backup_leaves_no_pool_or_a_whole_one_at_any_store() {
    for (name, start) in starts() {
        explore(&format!("backup over {name}"), &start, |pool, mapping| {
            pool.backup_with(&PoolOptions::new().identity(7), mapping)
        });
    }
}

#[test]
fn a_compacted_copy_leaves_no_pool_or_a_whole_one_at_any_store() {
    for (name, start) in starts() {
        explore(&format!("compaction over {name}"), &start, |pool, mapping| {
            pool.compact_with(&PoolOptions::new().identity(7), mapping)
        });
    }
}

#[test]
fn a_backup_is_a_pool_of_its_own_beside_the_original() {
    let folder = list::folder();
    let (path, copy) = (folder.path().join("pool"), folder.path().join("copy"));
    // SAFETY: files of this test alone.
    let pool = unsafe { PoolOptions::new().size(1 << 20).layout("lists").create(&path) }.unwrap();
    pool.write(|tx| (0..500).try_for_each(|i| push(&mut tx.open::<List>("list")?, i))).unwrap();
    // SAFETY: as above.
    unsafe { pool.backup(&copy) }.unwrap();
    // SAFETY: as above.
    let again = unsafe { pool.backup(&copy) }.unwrap_err();
    assert!(matches!(again.kind(), ErrorKind::AlreadyExists { .. }), "{again}");
    // SAFETY: as above.
    let backup = unsafe { PoolOptions::new().layout("lists").open(&copy) }.unwrap();
    pool.write(|tx| push(&mut tx.open::<List>("list")?, 1000)).unwrap();
    backup.write(|tx| push(&mut tx.open::<List>("list")?, 2000)).unwrap();
    assert_eq!((values(&pool, "list").unwrap()[0], values(&backup, "list").unwrap()[0]), (1000, 2000));
    check(&pool);
    check(&backup);
}

#[test]
fn a_pool_that_grew_is_copied_with_its_parts_and_compacted_to_one() {
    let folder = list::folder();
    let [path, copy] = ["pool", "copy"].map(|name| folder.path().join(name));
    // SAFETY: files of this test alone.
    let pool = unsafe { PoolOptions::new().size(1 << 20).max_size(16 << 20).create(&path) }.unwrap();
    pool.grow(1 << 20).unwrap();
    pool.grow(1 << 20).unwrap();
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        for i in 0..25 {
            push(&mut list, i)?;
            let (first, large) = (*list.root()?, list.alloc_aligned(100_000, 8)?);
            list.bytes_mut(large, 100_000)?.fill(i as u8);
            list.get_mut(first)?.large = large;
        }
        Ok(())
    })
    .unwrap();
    // SAFETY: as above.
    unsafe { pool.backup(&copy) }.unwrap();
    // SAFETY: as above.
    let backup = unsafe { Pool::open(&copy) }.unwrap();
    assert_eq!(backup.stats().unwrap().max_size, 16 << 20);
    let compact = pool.compact_on(Mapping::anonymous(3 << 20).unwrap()).unwrap();
    for copy in [&backup, &compact] {
        check(copy);
        assert_eq!(values(copy, "list").unwrap(), (0..25).rev().collect::<Vec<_>>());
        let tx = copy.read().unwrap();
        let list = tx.open::<List>("list").unwrap();
        let mut at = *list.root().unwrap();
        while let Some(node) = list.follow(at).unwrap() {
            let bytes = list.bytes(node.large, 100_000).unwrap();
            assert!(bytes.iter().all(|&byte| u64::from(byte) == node.value));
            at = node.next;
        }
    }
    pool.grow(1 << 20).unwrap();
    backup.grow(1 << 20).unwrap();
}

#[test]
fn records_of_the_original_do_not_count_in_its_backup() {
    let pool = source();
    let copy = pool.backup_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
    copy.write(|tx| push(&mut tx.open::<List>("odd")?, 7)).unwrap();
    pool.write(|tx| push(&mut tx.open::<List>("odd")?, 8)).unwrap();
    let (mut bytes, original) = (image_of(&copy), image_of(&pool));
    // The original's whole log, records and all, in the place of the copy's: it is no log of this pool.
    let log = 2 * PAGE as usize..2 * PAGE as usize + (64 << 10);
    bytes[log.clone()].copy_from_slice(&original[log]);
    assert!(on(&bytes).is_err());
}

#[test]
fn a_backup_beside_writers_and_readers_is_one_moment_of_the_pool() {
    let pool = Pool::anonymous(16 << 20).unwrap();
    // Two lists that always have the same length, far apart: large blocks between them.
    let both = |value: u64| {
        pool.write(|tx| {
            push(&mut tx.open::<List>("one")?, value)?;
            let mut two = tx.open::<List>("two")?;
            push(&mut two, value)?;
            if value % 50 == 0 {
                let block = two.alloc_aligned(100_000, 8)?;
                two.bytes_mut(block, 100_000)?.fill(7);
                let first = *two.root()?;
                two.get_mut(first)?.large = block;
            }
            Ok(())
        })
        .unwrap();
    };
    (0..300).for_each(both);
    let stop = AtomicBool::new(false);
    let (mut copies, mut lengths) = (Vec::new(), Vec::new());
    std::thread::scope(|s| {
        s.spawn(|| (300..).take_while(|_| !stop.load(Ordering::Relaxed)).take(2500).for_each(both));
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let tx = pool.read().unwrap();
                assert_eq!(values_in(&tx, "one").unwrap(), values_in(&tx, "two").unwrap());
            }
        });
        for _ in 0..4 {
            copies.push(pool.backup_on(Mapping::anonymous(16 << 20).unwrap()).unwrap());
        }
        stop.store(true, Ordering::Relaxed);
    });
    for copy in copies {
        let (one, two) = (values(&copy, "one").unwrap(), values(&copy, "two").unwrap());
        assert_eq!(one, two);
        check(&copy);
        lengths.push(one.len());
    }
    assert!(lengths.is_sorted() && lengths[0] >= 300, "{lengths:?}");
}

#[test]
fn a_subscriber_sees_every_record_while_backups_are_taken() {
    struct Count(Arc<std::sync::atomic::AtomicU64>);
    impl pmem_tx::Subscriber for Count {
        fn committed(&self, _: &pmem_tx::Committed<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (pool, seen) = (source(), Arc::default());
    pool.subscribe(Arc::new(Count(Arc::clone(&seen)))).unwrap();
    let before = pool.stats().unwrap().log.commits;
    std::thread::scope(|s| {
        s.spawn(|| {
            for i in 0..200 {
                pool.write(|tx| push(&mut tx.open::<List>("odd")?, i)).unwrap();
            }
        });
        for _ in 0..5 {
            pool.backup_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
        }
    });
    pool.write(|tx| push(&mut tx.open::<List>("odd")?, 1)).unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), pool.stats().unwrap().log.commits - before);
}

#[test]
fn a_compaction_returns_the_space_of_what_was_freed_and_of_leaks() {
    let folder = list::folder();
    let path = folder.path().join("pool");
    // SAFETY: a file of this test alone.
    let pool = unsafe { PoolOptions::new().size(8 << 20).layout("lists").create(&path) }.unwrap();
    for some in 0..20 {
        pool.write(|tx| (0..1000).try_for_each(|i| push(&mut tx.open::<List>("list")?, some * 1000 + i)))
            .unwrap();
    }
    for _ in 0..19 {
        pool.write(|tx| {
            let mut list = tx.open::<List>("list")?;
            (0..1000).try_for_each(|_| list::pop(&mut list).map(drop))
        })
        .unwrap();
    }
    pool.write(|tx| tx.open::<List>("list")?.alloc_aligned(1 << 20, 8).map(drop)).unwrap(); // a leak
    let expected = values(&pool, "list").unwrap();
    pool.close().unwrap();
    std::fs::write(folder.path().join("pool.compact"), b"left by a compaction that was killed").unwrap();
    // SAFETY: as above.
    let done = unsafe { PoolOptions::new().compact(&path, 100 << 10, |_| {}) }.unwrap();
    assert_eq!((done.before, done.objects, done.blocks), (8 << 20, 1, 1001));
    assert!(done.after < 1 << 20, "{done:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), done.after);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // SAFETY: as above.
    let pool = unsafe { PoolOptions::new().layout("lists").open(&path) }.unwrap();
    assert_eq!(values(&pool, "list").unwrap(), expected);
    check(&pool);
    assert!(pool.stats().unwrap().free >= 100 << 10);
    pool.write(|tx| push(&mut tx.open::<List>("list")?, 5)).unwrap();
}

#[test]
fn what_cannot_be_moved_is_refused_with_its_name_and_the_pool_is_as_it_was() {
    let pool = source();
    pool.write(|tx| {
        let mut numbers = tx.open::<PHeap<u64>>("numbers")?;
        *numbers.root_mut()? = numbers.alloc(7u64)?.offset();
        Ok(())
    })
    .unwrap();
    let before = image_of(&pool);
    let error = pool.compact_on(Mapping::anonymous(SIZE).unwrap()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CannotCompact { .. }), "{error}");
    assert!(error.to_string().contains("\"numbers\": it keeps offsets"), "{error}");
    assert!(image_of(&pool) == before);
    let small = source().compact_on(Mapping::anonymous(90 << 10).unwrap()).unwrap_err();
    assert!(matches!(small.kind(), ErrorKind::NoSpace { .. } | ErrorKind::TooSmall { .. }), "{small}");
}

#[test]
fn a_compaction_keeps_large_blocks_aligned_arrays_circles_and_references_to_the_inside() {
    let pool = Pool::anonymous(8 << 20).unwrap();
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        let leak = list.alloc_aligned(300_000, 8)?;
        let large = list.alloc_aligned(2 << 20, 2 << 20)?;
        list.bytes_mut(large, 2 << 20)?.fill(3);
        let first = list.alloc(Node { value: 1, next: Ptr::NULL, large })?;
        list.get_mut(first)?.next = first;
        *list.root_mut()? = first;
        list.free(leak)
    })
    .unwrap();
    let copy = pool.compact_on(Mapping::anonymous(8 << 20).unwrap()).unwrap();
    let tx = copy.read().unwrap();
    let list = tx.open::<List>("list").unwrap();
    let first = *list.root().unwrap();
    let node = list.get(first).unwrap();
    assert_eq!((node.value, node.next), (1, first));
    assert_eq!(node.large.offset() % (2 << 20), 0);
    assert!(list.bytes(node.large, 2 << 20).unwrap().iter().all(|&byte| byte == 3));
    drop(tx);
    check(&copy);
}
