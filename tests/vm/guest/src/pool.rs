//! A pool on a DAX file, which grows there, and on a DAX device.

use crate::{Result, check, place};
use pmem_collections::{Named, PBTreeMap, Pool, PoolOptions};
use std::{fs, path::Path};

/// Squares, eight times, by their roots.
const SQUARES: Named<PBTreeMap<u64, [u64; 8]>> = Named::new("squares");
/// Commits of a process; each inserts as many entries.
const COMMITS: u64 = 200;
const ENTRIES: u64 = 100;

pub(crate) fn run() -> Result<()> {
    let file = place::dax_file("test.pool")?;
    for path in [file.clone(), place::dax_device()?] {
        let is_file = path == file;
        let pool = if is_file {
            // SAFETY: a new file of this program's own.
            unsafe { options().size(1 << 20).max_size(64 << 20).create(&path) }?
        } else {
            options().create_on(place::map(&path, 0)?)?
        };
        check((pool.region().granularity(), pool.region().durability()) == place::promised(), || {
            format!("the pool is on {}", pool.region().medium())
        })?;
        insert(&pool, 0)?;
        let len = pool.region().len();
        check(!is_file || len > 1 << 20, || "the pool did not grow".into())?;
        pool.close()?;
        place::abandoned("abandon-pool", &path)?;
        let pool = open(&path)?;
        let report = pool.check()?;
        check(report.is_ok(), || report.to_string())?;
        let tx = pool.read()?;
        let squares = tx.open(SQUARES)?;
        for n in 0..2 * COMMITS * ENTRIES {
            check(squares.get(n)? == Some(&[n * n; 8]), || {
                format!("the square of {n} is {:?}", squares.get(n))
            })?;
        }
        check(squares.len() as u64 == 2 * COMMITS * ENTRIES, || format!("{} entries", squares.len()))?;
        println!(
            "ok pool     {}: {} entries, of them {} by a process that aborted ({} commits replayed); {} MiB",
            pool.region().medium(),
            squares.len(),
            COMMITS * ENTRIES,
            pool.opening().replayed,
            pool.region().len() >> 20,
        );
    }
    fs::remove_file(file)?;
    Ok(())
}

/// Inserts as much again, and aborts.
pub(crate) fn abandon(path: &Path) -> Result<()> {
    insert(&open(path)?, COMMITS * ENTRIES)?;
    std::process::abort()
}

fn options() -> PoolOptions {
    PoolOptions::new().auto_grow(true)
}

fn open(path: &Path) -> Result<Pool> {
    // SAFETY: nobody else in the guest uses it; the lock keeps this program's own children out.
    Ok(unsafe { options().open(path) }?)
}

fn insert(pool: &Pool, from: u64) -> Result<()> {
    for commit in 0..COMMITS {
        pool.write(|tx| {
            let mut squares = tx.open(SQUARES)?;
            let first = from + commit * ENTRIES;
            for n in first..first + ENTRIES {
                squares.insert(n, [n * n; 8])?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
