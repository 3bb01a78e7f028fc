//! The process that has a pool on the mount.

use crate::{ACCOUNTS, COUNT, MARK, OPENING, Result, TRANSFERS};
use pmem_collections::{Pool, PoolOptions};
use std::{io::Write, path::Path, time::Instant};

/// Opens the pool by its path, or makes it. Nothing here knows of mounts and leases.
pub(crate) fn open(path: &Path) -> Result<Pool> {
    // SAFETY: nobody else writes this file; a second pool on it is refused by the lock.
    let pool = unsafe { PoolOptions::new().size(8 << 20).layout("accounts").open_or_create(path) }?;
    pool.write(|tx| {
        let mut accounts = tx.open(ACCOUNTS)?;
        if accounts.is_empty() {
            accounts.extend((0..COUNT).map(|account| (account, OPENING)))?;
        }
        tx.open(TRANSFERS).map(drop)
    })?;
    Ok(pool)
}

/// Transfers that are timed.
pub(crate) const TIMED: u32 = 10_000;

/// Stores a mark; moves money, and says how long that took; then moves money until it is killed, and says after every transfer how many
/// there were.
pub(crate) fn run(path: &Path, mark: u64) -> Result<()> {
    let pool = open(path)?;
    let region = pool.region();
    println!("{} ({:?}, {:?})", region.medium(), region.granularity(), region.durability());
    pool.write(|tx| {
        *tx.open(MARK)?.get_mut()? = mark;
        Ok(())
    })?;
    println!("marked");
    let mut random = fastrand::Rng::new();
    let started = Instant::now();
    for _ in 0..TIMED {
        transfer(&pool, &mut random)?;
    }
    println!("{:?}", started.elapsed() / TIMED);
    loop {
        let transfers = transfer(&pool, &mut random)?;
        // Durable by now.
        writeln!(std::io::stdout(), "{transfers}")?;
    }
}

/// Moves money from one account to another, in one transaction. How many transfers there were.
fn transfer(pool: &Pool, random: &mut fastrand::Rng) -> Result<u64> {
    let (from, to, cents) = (random.u64(..COUNT), random.u64(..COUNT), random.i64(1..100));
    let transfers = pool.write(|tx| {
        let mut accounts = tx.open(ACCOUNTS)?;
        for (account, change) in [(from, -cents), (to, cents)] {
            let before = accounts.get(account)?.copied().unwrap_or(0);
            accounts.insert(account, before + change)?;
        }
        let mut transfers = tx.open(TRANSFERS)?;
        *transfers.get_mut()? += 1;
        Ok(*transfers.get()?)
    })?;
    Ok(transfers)
}

/// How many transfers were made; no cent is lost.
pub(crate) fn audit(pool: &Pool) -> Result<u64> {
    let tx = pool.read()?;
    let (accounts, transfers) = (tx.open(ACCOUNTS)?, tx.open(TRANSFERS)?);
    let mut sum = 0;
    for entry in accounts.iter() {
        sum += *entry?.1;
    }
    if sum != OPENING * COUNT as i64 {
        return Err(format!("the accounts have {sum} cents together").into());
    }
    Ok(*transfers.get()?)
}
