//! Counts how often it was run: a number that outlives the program.
//!
//! Runs itself, so to speak, three times: it opens the pool, counts, and closes it again.

use pmem_collections::*;
use std::{error::Error, path::Path};

fn count(path: &Path) -> Result<u64> {
    // SAFETY: nobody else writes or truncates this file; other pools are kept out by a lock.
    let pool = unsafe { PoolOptions::new().open_or_create(path) }?;
    pool.write(|tx| {
        let mut runs = tx.open::<PCell<u64>>("runs")?;
        *runs.get_mut()? += 1;
        Ok(*runs.get()?)
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("counter.pool");
    for expected in 1..=3 {
        let n = count(&path)?;
        println!("run number {n}");
        assert_eq!(n, expected);
    }
    Ok(())
}
