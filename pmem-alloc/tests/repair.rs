//! Repair: what is freed and mended, what is left alone, and that power may fail at any store of it.
#![allow(missing_docs)]

mod list;

use list::{List, check, image_of, on, pop, push, values};
use pmem_alloc::*;
use pmem_crash::{Config, Exploration, Image, Report, Tear};
use pmem_map::PAGE;

const SIZE: u64 = 192 << 10;

fn word(bytes: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(bytes[at as usize..][..8].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: u64, value: u64) {
    bytes[at as usize..][..8].copy_from_slice(&value.to_le_bytes());
}

/// Fields of the header.
const STATE: u64 = 96;
const TABLE: u64 = 104;
const BITMAPS: u64 = 112;
const PAGES: u64 = 128;

/// Three objects, and `leaks` blocks of different sizes that nothing refers to.
fn pool_with_leaks(leaks: u64) -> Pool {
    let pool = PoolOptions::new().identity(3).create_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("first")?;
        (0..20).try_for_each(|i| push(&mut tx.open::<List>("list")?, i))?;
        tx.open::<PHeap<u64>>("last").map(drop)
    })
    .unwrap();
    for i in 0..leaks {
        pool.write(|tx| {
            let mut list = tx.open::<List>("list")?;
            push(&mut list, 100 + i)?;
            let len = if i < 8 { [24, 24, 100, 6000][i as usize % 4] } else { 24 };
            list.alloc_aligned(len, 8).map(drop)
        })
        .unwrap();
    }
    pool
}

fn mapping(bytes: &[u8]) -> Mapping {
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.as_mut_slice().copy_from_slice(bytes);
    mapping
}

fn repair(bytes: &[u8]) -> Result<(Pool, Repair)> {
    PoolOptions::new().repair_on(mapping(bytes), |_| {})
}

#[test]
fn leaks_are_freed_once_and_a_second_repair_finds_nothing() {
    let pool = pool_with_leaks(8);
    let blocks = pool.stats().unwrap().blocks;
    let done = pool.repair_in_place().unwrap();
    assert_eq!((done.freed_blocks, done.freed_bytes), (8, 4 * 24 + 2 * 104 + 2 * 6144), "{done}");
    assert_eq!(pool.stats().unwrap().blocks, blocks - 8);
    check(&pool);
    assert_eq!(pool.repair_in_place().unwrap(), Repair::default());
    check(&on(&image_of(&pool)).unwrap());
    assert_eq!(values(&pool, "list").unwrap().len(), 28);
}

#[test]
fn a_repair_writes_a_backup_first_unless_it_is_told_not_to() {
    let folder = list::folder();
    let [path, first, second] = ["pool", "first", "second"].map(|name| folder.path().join(name));
    std::fs::write(&path, image_of(&pool_with_leaks(8))).unwrap();
    // SAFETY: files of this test alone.
    let pool = unsafe { Pool::open(&path) }.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { pool.repair(&first) }.unwrap().freed_blocks, 8);
    // SAFETY: as above.
    let backup = unsafe { Pool::open(&first) }.unwrap();
    assert_eq!(backup.check().unwrap().leaks.len(), 8);
    // SAFETY: as above.
    let error = unsafe { pool.repair(&first) }.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::AlreadyExists { .. }), "{error}");
    drop((pool, backup));

    let mut bytes = std::fs::read(&path).unwrap();
    let state = word(&bytes, STATE);
    put(&mut bytes, state, 77);
    std::fs::write(&path, &bytes).unwrap();
    let options = PoolOptions::new();
    // SAFETY: as above.
    let (pool, done) = unsafe { options.repair(&path, &second, |_| {}) }.unwrap();
    assert!(done.found_directory, "{done}");
    check(&pool);
    drop(pool);
    assert!(std::fs::read(&second).unwrap() == bytes, "the copy is the file as it was");
    // SAFETY: as above.
    let (pool, done) = unsafe { options.repair_in_place(&path, |_| {}) }.unwrap();
    assert_eq!(done, Repair::default());
    check(&pool);
}

#[test]
fn blocks_under_an_object_that_cannot_be_followed_are_never_freed() {
    #[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Secretive(u64);
    impl Plain for Secretive {
        const NAME: &'static str = "repair.Secretive";
    }
    let pool = pool_with_leaks(4);
    pool.write(|tx| tx.open::<PHeap<Secretive>>("secretive")?.alloc(7u64).map(drop)).unwrap();
    let before = image_of(&pool);
    let done = pool.repair_in_place().unwrap();
    assert_eq!((done.freed_blocks, done.untraced_blocks), (0, 5), "{done}");
    assert!(image_of(&pool) == before);
}

#[test]
fn with_a_block_of_two_objects_nothing_is_freed_and_the_report_says_what_is_wrong() {
    let pool = pool_with_leaks(4);
    pool.write(|tx| {
        let shared = *tx.open::<List>("list")?.root()?;
        *tx.open::<List>("second")?.root_mut()? = shared;
        Ok(())
    })
    .unwrap();
    let done = pool.repair_in_place().unwrap();
    assert_eq!(done.freed_blocks, 0);
    assert!(done.to_string().contains("used twice"), "{done}");
}

/// Ways to damage what can be mended.
fn damages(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let [state, table, bitmaps, pages] = [STATE, TABLE, BITMAPS, PAGES].map(|field| word(bytes, field));
    let free = (0..pages).rev().find(|page| word(bytes, table + 8 * page) == 0).unwrap();
    let run = (0..pages).find(|page| word(bytes, table + 8 * page) as u8 == 1).unwrap();
    let slots =
        4096 * (word(bytes, table + 8 * run) >> 32) / (8 * ((word(bytes, table + 8 * run) >> 8 & 0xff) + 1));
    let damage = |at: u64, value: u64| {
        let mut damaged = bytes.to_vec();
        put(&mut damaged, at, value);
        damaged
    };
    let last = bitmaps + 64 * run + slots / 64 * 8;
    vec![
        ("the directory's beginning", damage(state, 4)),
        ("the checksum of the directory's beginning", damage(state + 8, 4)),
        ("bits of a free page", damage(bitmaps + 64 * free + 16, 0xff00)),
        ("bits behind a run's last block", damage(last, word(bytes, last) | 1 << 63)),
        ("a descriptor of a free page", damage(table + 8 * free, 0x77)),
    ]
}

#[test]
fn what_follows_from_the_rest_is_mended_and_the_pool_opens_again() {
    let bytes = image_of(&pool_with_leaks(0));
    for (what, damaged) in damages(&bytes) {
        assert!(on(&damaged).is_err(), "{what}");
        let (pool, done) = repair(&damaged).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(done.found_directory || done.mended_words > 0, "{what}: {done}");
        check(&pool);
        let again = on(&image_of(&pool)).unwrap();
        assert_eq!(values(&again, "list").unwrap().len(), 20, "{what}");
        check(&again);
    }
}

#[test]
fn what_cannot_be_proved_is_not_mended_and_stays_as_it_was() {
    let pool = pool_with_leaks(2);
    let bytes = image_of(&pool);
    let [state, table, pages] = [STATE, TABLE, PAGES].map(|field| word(&bytes, field));
    let head = word(&bytes, state);
    let run = (0..pages).find(|page| word(&bytes, table + 8 * page) as u8 == 1).unwrap();
    // With leaks, nobody knows whether the lost entry was the first. Without the run's descriptor, objects are gone. A
    // damaged entry is a lost object.
    for (what, at, value) in
        [("beginning", state, 4), ("run", table + 8 * run, 0x77), ("entry", head + 16, 8)]
    {
        let mut damaged = bytes.clone();
        put(&mut damaged, at, value);
        let error = repair(&damaged).map(drop).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{what}: {error}");
    }
    let folder = list::folder();
    let path = folder.path().join("pool");
    let mut damaged = bytes;
    put(&mut damaged, state, 4);
    std::fs::write(&path, &damaged).unwrap();
    // SAFETY: a file of this test alone.
    assert!(unsafe { PoolOptions::new().repair_in_place(&path, |_| {}) }.is_err());
    let log = 2 * PAGE as usize..state as usize;
    let mut after = std::fs::read(&path).unwrap();
    after[log.clone()].copy_from_slice(&damaged[log]); // opening begins a generation
    assert!(after == damaged);
}

// ---- explorations ----------------------------------------------------------------------------

fn config() -> Config {
    let config = Config::from_env();
    if std::env::var_os("PMEM_CRASH_LONG").is_some() {
        config.bound(1 << 14).samples(2048).nested(1024)
    } else {
        config.bound(256).samples(48).nested(48)
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

/// Repairs what `start` holds, and goes on. Every image must repair, and hold what was acknowledged.
fn explore(
    name: &str,
    start: &[u8],
    repair: impl Fn(Mapping) -> Result<Pool>,
    recover: impl Fn(Mapping) -> Result<Pool>,
) {
    let expected = values(&recover(mapping(start)).unwrap(), "list").unwrap();
    for tear in [Tear::Line, Tear::EightBytes] {
        let report =
            Exploration::new(name).config(config().tear(tear)).start(Image::new(start.to_vec())).run(
                |mapping, ops| -> Result<()> {
                    let pool = ops.run("repair", || repair(mapping))?;
                    ops.run("push", || pool.write(|tx| push(&mut tx.open::<List>("list")?, 1000)))?;
                    ops.run("push again", || pool.write(|tx| push(&mut tx.open::<List>("list")?, 1001)))?;
                    std::mem::forget(pool); // the power fails: nothing is closed
                    Ok(())
                },
                &recover,
                |pool, point| {
                    let judge = || -> Result<()> {
                        let whole = || {
                            let report = pool.check()?;
                            if report.is_ok() { Ok(()) } else { Err(Error::abort(report.to_string())) }
                        };
                        whole()?;
                        let mut found = values(&pool, "list")?;
                        let pushed = found.iter().take_while(|&&value| value >= 1000).count();
                        found.drain(..pushed);
                        let in_range = point.range().any(|done| done.saturating_sub(1) == pushed);
                        if found != expected || !in_range {
                            return Err(Error::abort(format!(
                                "{pushed} values more after {:?}",
                                point.range()
                            )));
                        }
                        // Blocks that were leaks are used again.
                        pool.write(|tx| {
                            let mut list = tx.open::<List>("list")?;
                            (0..30).try_for_each(|i| push(&mut list, i))
                        })?;
                        pool.write(|tx| {
                            let mut list = tx.open::<List>("list")?;
                            (0..35).try_for_each(|_| pop(&mut list).map(drop))
                        })?;
                        whole()
                    };
                    judge().map_err(|e| e.to_string())
                },
            );
        judge(&format!("{name}, {tear:?}"), &report);
    }
}

#[test]
fn freeing_leaks_survives_at_any_store_and_goes_on_where_it_was() {
    let start = image_of(&pool_with_leaks(140)); // more than one record frees
    let repair = |mapping: Mapping| {
        let pool = Pool::on(mapping)?;
        pool.repair_in_place()?;
        Ok(pool)
    };
    explore("repair: leaks", &start, repair, repair);
}

#[test]
fn mending_survives_at_any_store_and_goes_on_where_it_was() {
    let repair = |mapping: Mapping| Ok(PoolOptions::new().repair_on(mapping, |_| {})?.0);
    for (what, damaged) in damages(&image_of(&pool_with_leaks(0))) {
        explore(&format!("repair: {what}"), &damaged, repair, repair);
    }
}
