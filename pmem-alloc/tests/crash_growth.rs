//! Every state that a power failure could leave of a pool that grows: it has its old size or the new one, holds what was
//! acknowledged, can be written on, and can grow again.
//!
//! `PMEM_CRASH_LONG=1` explores further; without it, a seeded part that is quick.
#![allow(missing_docs)]

use pmem_alloc::*;
use pmem_crash::{Config, Exploration, Image, Ops, Point, Report, Tear};
use pmem_map::MapOptions;

/// The smallest pool: eleven data pages.
const SIZE: u64 = 128 << 10;
const FIRST: u64 = 64 << 10;
const SECOND: u64 = 128 << 10;
const MAX: u64 = SIZE + FIRST + SECOND;

fn config() -> Config {
    let config = Config::from_env();
    if std::env::var_os("PMEM_CRASH_LONG").is_some() {
        config.bound(1 << 14).samples(2048).nested(1024)
    } else {
        config.bound(128).samples(12).nested(16)
    }
}

/// A block, and what fills it.
#[derive(Clone, Copy, Default, PartialEq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Root {
    step: u64,
    at: u64,
    len: u64,
}

impl Plain for Root {
    const NAME: &'static str = "crash.Root";
}

/// What the workload does, and which step, block and size are there afterwards.
const OPERATIONS: [(&str, u64, u64, u64); 7] = [
    ("a block in the first part", 1, 8 << 10, SIZE),
    ("growth", 1, 8 << 10, SIZE + FIRST),
    ("a block that only the segment has room for", 2, 48 << 10, SIZE + FIRST),
    ("a small one, and that one is freed", 3, 4 << 10, SIZE + FIRST),
    ("growth inside a transaction", 4, 100 << 10, MAX),
    ("the newest block is freed", 5, 72, MAX),
    ("and another one comes", 6, 50 << 10, MAX),
];

/// The block before is freed, and a new one is allocated and filled with the step's number.
fn replace(pool: &Pool, step: u64, len: u64) -> Result<()> {
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<Root>>("root")?;
        let old = *heap.root()?;
        if old.len > 0 {
            heap.free(Ptr::<u8>::from_offset(old.at))?;
        }
        let at = heap.alloc_aligned(len, 8)?;
        // A word at the beginning, in the middle, at the end; the rest is zero.
        for part in [0, (len / 2) & !7, len - 8] {
            heap.bytes_mut(Ptr::from_offset(at.offset() + part), 8)?.fill(step as u8);
        }
        *heap.root_mut()? = Root { step, at: at.offset(), len };
        Ok(())
    })
}

fn work(pool: Pool, ops: &Ops) -> Result<()> {
    let mut before = 0;
    for (name, step, len, _) in OPERATIONS {
        ops.run(
            name,
            || if step == before { pool.grow(FIRST).map(drop) } else { replace(&pool, step, len) },
        )?;
        before = step;
    }
    std::mem::forget(pool); // the power fails: nothing is closed
    Ok(())
}

/// Step and size of the pool, if all that it holds is right.
fn look(pool: &Pool) -> Result<(u64, u64), String> {
    let words = || -> Result<(Root, Vec<u8>)> {
        let tx = pool.read()?;
        let heap = match tx.open::<PHeap<Root>>("root") {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound { .. }) => return Ok(Default::default()),
            heap => heap?,
        };
        let root = *heap.root()?;
        let all = heap.bytes(Ptr::from_offset(root.at), root.len)?;
        let parts = [0, (root.len / 2) & !7, root.len.saturating_sub(8)];
        Ok((root, parts.iter().flat_map(|&part| &all[part as usize..][..8]).copied().collect()))
    };
    let (root, found) = words().map_err(|e| e.to_string())?;
    if found.iter().any(|&byte| byte != root.step as u8) {
        return Err(format!("the block of step {} holds {found:?}", root.step));
    }
    let stats = pool.stats().map_err(|e| e.to_string())?;
    let report = pool.check().map_err(|e| e.to_string())?;
    if !report.is_ok() {
        return Err(report.to_string());
    }
    let blocks = if root.step == 0 { 0 } else { 3 };
    if stats.blocks != blocks || stats.max_size != MAX {
        return Err(format!("{} blocks after step {}, maximum {}", stats.blocks, root.step, stats.max_size));
    }
    Ok((root.step, stats.size))
}

fn judge(pool: Pool, point: &Point<'_>) -> Result<(), String> {
    let (step, size) = look(&pool)?;
    let after = |done: usize| match done {
        0 => (0, SIZE),
        _ => (OPERATIONS[done - 1].1, OPERATIONS[done - 1].3),
    };
    // A transaction in which the pool grows may be lost, and leave it grown.
    let (least, most) = (after(point.acknowledged).1, after(point.begun).1);
    if !point.range().any(|done| after(done).0 == step) || !(least..=most).contains(&size) {
        return Err(format!("step {step}, {size} bytes, after {:?} operations", point.range()));
    }
    // And it goes on: to its full size, with as much as fits, and then with nothing.
    let go_on = || -> Result<()> {
        if size < MAX {
            assert_eq!(pool.grow(MAX - size)?, MAX);
        }
        replace(&pool, 7, 40 << 10)?;
        replace(&pool, 8, 64)
    };
    go_on().map_err(|e| e.to_string())?;
    match look(&pool)? {
        (8, MAX) => Ok(()),
        other => Err(format!("going on led to {other:?}")),
    }
}

fn options() -> PoolOptions {
    PoolOptions::new().identity(7).size(SIZE).auto_grow(true)
}

/// A pool that may grow, closed, and `tail` behind it.
fn start(tail: Vec<u8>) -> Image {
    let pool = options().max_size(MAX).create_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
    pool.checkpoint().unwrap();
    let mut bytes = vec![0; SIZE as usize];
    // SAFETY: this thread is the only one, and no transaction is open: nobody stores.
    unsafe { pool.region().load(0, &mut bytes) };
    bytes.extend(tail);
    Image::new(bytes)
}

fn garbage() -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(5);
    (SIZE..MAX).map(|_| rng.u8(..)).collect()
}

fn print(name: &str, report: &Report) {
    println!(
        "crash | {name:<46} | {:>3} operations | {:>7} images | {:>8} recoveries | {} failures",
        report.operations, report.images, report.recoveries, report.failures
    );
}

/// In a mapping that is long enough already.
fn explore_in_mapping(name: &str, tail: Vec<u8>, options: PoolOptions, config: Config) -> Report {
    let report = Exploration::new(name).config(config).start(start(tail)).run(
        |mapping, ops| work(options.open_on(mapping)?, ops),
        |mapping| options.open_on(mapping),
        judge,
    );
    print(name, &report);
    report
}

#[test]
fn growth_into_bytes_of_anybody_leaves_the_old_pool_or_the_new_one() {
    for tear in [Tear::Line, Tear::EightBytes] {
        let name = format!("growth over garbage, {tear:?}");
        explore_in_mapping(&name, garbage(), options(), config().tear(tear)).assert_ok();
    }
}

/// Lengths of files, which are lost unless synced. (The rest is explored in mappings, which are quicker.)
#[test]
fn growth_of_a_file_leaves_the_old_pool_or_the_new_one() {
    let long = std::env::var_os("PMEM_CRASH_LONG").is_some();
    let config = if long { config() } else { config().bound(8).samples(4).nested(2) };
    for emulate_pmem in [true, false].into_iter().take(if long { 2 } else { 1 }) {
        let options = |observer| {
            let mapping = MapOptions::new().emulate_pmem(emulate_pmem).observer(observer);
            options().mapping(mapping)
        };
        let name = if emulate_pmem { "growth of a file" } else { "growth of a file, medium's granularity" };
        let report = Exploration::new(name).config(config.clone()).start(start(Vec::new())).run_files(
            // SAFETY: a file of this exploration alone.
            |path, ops| work(unsafe { options(ops.observer()).open(path) }?, ops),
            // SAFETY: as above.
            |path, observer| unsafe { options(observer).open(path) },
            judge,
        );
        print(name, &report);
        report.assert_ok();
        assert!(report.images > 100, "{}", report.images);
    }
}

/// A larger maximum is recorded when the pool is opened.
#[test]
fn a_maximum_that_is_raised_is_the_old_one_or_the_new_one() {
    let raised = || PoolOptions::new().max_size(1 << 30);
    let report = Exploration::new("raise").config(config()).start(start(Vec::new())).run(
        |mapping, ops| {
            std::mem::forget(ops.run("raise", || raised().open_on(mapping))?);
            Ok::<(), Error>(())
        },
        Pool::on,
        |pool, point| {
            let found = pool.stats().map_err(|e| e.to_string())?.max_size;
            let right =
                if point.acknowledged == 1 { found == 1 << 30 } else { found == MAX || found == 1 << 30 };
            if right { Ok(()) } else { Err(format!("the maximum is {found}")) }
        },
    );
    print("a larger maximum", &report);
    report.assert_ok();
}

mod crash_rules {
    use super::*;

    #[test]
    fn every_shortcut_of_growth_is_found() {
        for shortcut in [
            GrowthShortcut::CopiesInOneDrain,
            GrowthShortcut::TablesNotBlanked,
            GrowthShortcut::BlankWithHeader,
            GrowthShortcut::HeaderLater,
        ] {
            // Without crashes inside recovery: the first life is enough.
            let name = format!("{shortcut:?}");
            let report =
                explore_in_mapping(&name, garbage(), options().growth_shortcut(shortcut), config().depth(1));
            report.expect_failure();
        }
    }
}
