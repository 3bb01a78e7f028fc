//! What could a power failure leave of this? A record of two fields, updated in three ways, and every image that a failure
//! could leave of each: opened, looked at, and used again.
//!
//! The code that updates the record is ordinary Rust on ordinary memory. Nothing in it knows that it is watched.

use bytemuck::{Pod, Zeroable};
use pmem_crash::{Config, Exploration, Image, Level, Report};
use pmem_map::{MapOptions, Mapping, Observer};
use pmem_tx::Journal;
use std::{error::Error, ops::Range, path::Path, sync::Arc};

/// Every deposit is of 10. The fields are in two cache lines, as those of a larger record would be.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Account {
    balance: u64,
    owner: [u8; 56],
    deposits: u64,
    branch: [u8; 56],
}

const SIZE: usize = size_of::<Account>();
const DEPOSITS: u64 = 3;

impl Account {
    /// What must hold after a failure: all that was acknowledged, nothing that was not begun, nothing in half.
    fn check(&self, expected: std::ops::RangeInclusive<usize>) -> Result<(), String> {
        let Account { balance, deposits, .. } = *self;
        if balance != deposits * 10 || !expected.contains(&(deposits as usize)) {
            return Err(format!(
                "a balance of {balance} after {deposits} deposits, expected of {expected:?}"
            ));
        }
        Ok(())
    }
}

fn account(bytes: &mut [u8]) -> &mut Account {
    bytemuck::from_bytes_mut(&mut bytes[..SIZE])
}

// ---- the first way: two stores, then a flush and a drain -----------------------------------------------

fn deposit_at_once(file: &mut Mapping) -> Result<(), pmem_map::Error> {
    let account = account(file.as_mut_slice());
    account.balance += 10;
    account.deposits += 1;
    file.persist(0..SIZE as u64) // flush, drain: durable on return
}

// ---- the second way: the fields in an order that a reader can repair ----------------------------------

fn deposit_in_order(file: &mut Mapping) -> Result<(), pmem_map::Error> {
    account(file.as_mut_slice()).deposits += 1;
    file.persist(64..72)?; // the drain between: the deposit is counted before it is paid
    account(file.as_mut_slice()).balance += 10;
    file.persist(0..8)
}

/// A deposit that was counted and not paid did not happen.
fn repair(file: &mut Mapping) -> Result<(), pmem_map::Error> {
    let account = account(file.as_mut_slice());
    account.deposits = account.balance / 10;
    file.persist(64..72)
}

// ---- the third way: a transaction ----------------------------------------------------------------------

const LOG: Range<u64> = 0..4096;
const ACCOUNT: u64 = LOG.end;

fn deposit_in_a_transaction(journal: &Journal) -> Result<(), pmem_tx::Error> {
    journal.write(|tx| {
        tx.update(ACCOUNT, |account: &mut Account| {
            account.balance += 10;
            account.deposits += 1;
        })
    })
}

// ---- the explorations ----------------------------------------------------------------------------------

/// Maps a file as if it were persistent memory. The explorer watches through the observer.
fn map(path: &Path, observer: Arc<dyn Observer>) -> Result<Mapping, pmem_map::Error> {
    // SAFETY: a file of the exploration's own, in a folder of its own.
    unsafe { MapOptions::new().emulate_pmem(true).observer(observer).open(path) }
}

/// The account in a raw mapped file: each image is repaired, checked, and used for another deposit.
fn explore_file(
    name: &str,
    deposit: fn(&mut Mapping) -> Result<(), pmem_map::Error>,
    repair: fn(&mut Mapping) -> Result<(), pmem_map::Error>,
) -> Report {
    Exploration::new(name).config(Config::from_env().level(Level::EveryStore)).len(4096).run_files(
        |path, ops| {
            let mut file = map(path, ops.observer())?;
            (1..=DEPOSITS).try_for_each(|n| ops.run(format!("deposit {n}"), || deposit(&mut file)))
        },
        |path, observer| {
            let mut file = map(path, observer)?;
            repair(&mut file).map(|()| file)
        },
        |mut file, point| {
            let before = *account(file.as_mut_slice());
            before.check(point.range())?;
            deposit(&mut file).map_err(|error| error.to_string())?;
            let after = before.deposits as usize + 1;
            account(file.as_mut_slice()).check(after..=after)
        },
    )
}

fn explore_transaction() -> Result<Report, Box<dyn Error>> {
    let formatted = Journal::create(Mapping::anonymous(2 * 4096)?, LOG)?.close()?;
    let start = Image::new(formatted.as_slice().to_vec());
    let read = |journal: &Journal| journal.begin()?.read::<Account>(ACCOUNT).copied();
    let exploration = Exploration::new("one transaction").config(Config::from_env().level(Level::EveryStore));
    Ok(exploration.start(start).run(
        |mapping, ops| {
            let journal = Journal::open(mapping, LOG)?;
            (1..=DEPOSITS)
                .try_for_each(|n| ops.run(format!("deposit {n}"), || deposit_in_a_transaction(&journal)))
        },
        |mapping| Journal::open(mapping, LOG),
        |journal, point| {
            let before = read(&journal).map_err(|error| error.to_string())?;
            before.check(point.range())?;
            deposit_in_a_transaction(&journal).map_err(|error| error.to_string())?;
            let after = before.deposits as usize + 1;
            read(&journal).map_err(|error| error.to_string())?.check(after..=after)
        },
    ))
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("1. Two fields, then a flush and a drain:\n");
    let report = explore_file("at once", deposit_at_once, |_| Ok(()));
    show(&report);
    let failure = report.first_failure.ok_or("the bug was not found")?;
    println!("{failure}\n");
    println!(
        "   A cache may write back either line at any time. A failure before the drain kept one and lost the other.\n"
    );

    println!("2. The same, with a drain between the fields, and a repair when the file is opened:\n");
    let report = explore_file("in order", deposit_in_order, repair);
    show(&report);
    report.into_result()?;

    println!("3. The same in one transaction of pmem-tx: one drain, and nothing to repair:\n");
    let report = explore_transaction()?;
    show(&report);
    report.into_result()?;
    Ok(())
}

fn show(report: &Report) {
    let Report { operations, stores, points, images, recoveries, failures, .. } = report;
    println!(
        "   {operations} operations, {stores} stores; the power fails at {points} moments, and leaves {images} images;"
    );
    println!("   {recoveries} recoveries with the failures inside them; {failures} of them wrong.\n");
    if let Some(error) = &report.level_error {
        println!(
            "   (Only stores through the mapping's methods were seen, and others by comparing: {error}.)\n"
        );
    }
}
