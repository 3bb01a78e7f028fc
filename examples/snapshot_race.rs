//! Snapshots of mapped files, beside threads that store.
//!
//! Eight threads store D and then V, in pages far apart, of four mapped files, without a call that a filesystem could see. Snapshots are taken all the time. A snapshot that has
//! V has to have D. The same code without the one rule that makes it so, that all mappings are protected before any store proceeds, is caught within seconds.
//!
//! `cargo run --release --example snapshot_race [-- --seconds N] [--protected]`: N seconds for each (2), and without snapshots for comparison. `--protected`: on a volume whose content
//! has checksums and parity, which have to be right for all that was stored when the files are not mapped any more.

#![allow(unsafe_code)]

use nova_core::{BLOCK, File, FormatOptions, MountOptions, Nova, Rule, ScrubOptions};
use pmem_map::{Mapping, Region};
use std::{
    error::Error,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

const FILES: u64 = 4;
const PAGES: u64 = 512;
const THREADS: u64 = 8;
const TURNS: u64 = 4;

/// What one run saw.
struct Seen {
    snapshots: u64,
    /// Pairs that were looked at.
    pairs: u64,
    /// Pairs with V and without D.
    wrong: u64,
    stores: u64,
    took: Duration,
}

/// Where a pair is: D in one file, V in the next one.
fn place(thread: u64, turn: u64) -> (u64, u64, u64) {
    (
        (thread + turn) % FILES,
        (thread + turn + 1) % FILES,
        (thread * 61 + turn * 127) % PAGES * BLOCK + thread * 64,
    )
}

fn store_pairs(regions: &[Region], thread: u64, stop: &AtomicBool, stores: &AtomicU64) {
    let mut value = 0;
    while !stop.load(Relaxed) {
        value += 1;
        for turn in 0..TURNS {
            let (d, v, at) = place(thread, turn);
            // SAFETY: each word is one thread's, and nobody has references to bytes of these mappings.
            unsafe {
                regions[d as usize].store_word(at, value);
                regions[v as usize].store_word(at + 32, value);
            }
        }
        stores.fetch_add(2 * TURNS, Relaxed);
    }
}

/// Pairs of a snapshot that have V and not D.
fn wrong_pairs(past: &Nova) -> Result<u64, Box<dyn Error>> {
    let files: Vec<File> = (0..FILES).map(|n| past.open(format!("/{n}"))).collect::<Result<_, _>>()?;
    let word = |file: u64, at: u64| -> Result<u64, nova_core::Error> {
        let mut bytes = [0; 8];
        files[file as usize].read_at(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let mut wrong = 0;
    for thread in 0..THREADS {
        for turn in 0..TURNS {
            let (d, v, at) = place(thread, turn);
            let (d, v) = (word(d, at)?, word(v, at + 32)?);
            wrong += u64::from(v > d || d > v + 1);
        }
    }
    Ok(wrong)
}

fn race(
    protected: bool,
    rule: Option<Rule>,
    snapshots: bool,
    time: Duration,
    until_wrong: bool,
) -> Result<Seen, Box<dyn Error>> {
    let mut options = MountOptions::new();
    if let Some(rule) = rule {
        options = options.without(rule);
    }
    let nova = FormatOptions::new().parity(protected).format(Mapping::memfd(64 << 20)?, options)?;
    let map = |n: u64| -> Result<Region, nova_core::Error> {
        let file = nova.create_file(format!("/{n}"))?;
        file.set_len(PAGES * BLOCK)?;
        Ok(file.map()?.into_region())
    };
    let regions: Vec<Region> = (0..FILES).map(map).collect::<Result<_, _>>()?;
    let (stop, stores) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut seen = Seen { snapshots: 0, pairs: 0, wrong: 0, stores: 0, took: Duration::ZERO };
    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        for thread in 0..THREADS {
            let (regions, stop, stores) = (&regions, &stop, &stores);
            scope.spawn(move || store_pairs(regions, thread, stop, stores));
        }
        let started = Instant::now();
        let mut take = || -> Result<(), Box<dyn Error>> {
            while started.elapsed() < time && !(until_wrong && seen.wrong > 0) {
                if !snapshots {
                    std::thread::sleep(Duration::from_millis(3));
                } else {
                    nova.create_snapshot("now")?;
                    // Once while stores go on, and once more.
                    seen.wrong += wrong_pairs(&nova.mount_snapshot("now")?)?;
                    seen.wrong += wrong_pairs(&nova.mount_snapshot("now")?)?;
                    seen.pairs += 2 * THREADS * TURNS;
                    seen.snapshots += 1;
                    nova.delete_snapshot("now")?;
                }
            }
            Ok(())
        };
        let taken = take();
        seen.took = started.elapsed();
        stop.store(true, Relaxed);
        taken
    })?;
    seen.stores = stores.into_inner();
    drop(regions);
    let report = nova.fsck()?;
    if !report.is_clean() {
        return Err(format!("{report}").into());
    }
    let scrubbed = nova.scrub(&ScrubOptions::new())?;
    if !scrubbed.damage.is_empty() || protected && scrubbed.unprotected > 0 {
        return Err(format!("{scrubbed:?}").into());
    }
    Ok(seen)
}

fn rate(seen: &Seen) -> f64 {
    seen.stores as f64 / seen.took.as_secs_f64() / 1e6
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip_while(|arg| arg != "--seconds").skip(1);
    let seconds: u64 = args.next().map_or(Ok(2), |text| text.parse())?;
    let time = Duration::from_secs(seconds);
    let protected = std::env::args().any(|arg| arg == "--protected");
    let kind = if protected { ", with checksums and parity" } else { "" };
    println!("{THREADS} threads store D, then V, in {FILES} mapped files of {PAGES} pages{kind}");
    let without = race(protected, None, false, time, false)?;
    println!("no snapshots            {:8.2} million stores a second", rate(&without));
    let with = race(protected, None, true, time, false)?;
    println!(
        "snapshots all the time  {:8.2} million stores a second; {} snapshots, {} pairs looked at: {} with V and without D",
        rate(&with),
        with.snapshots,
        with.pairs,
        with.wrong
    );
    if with.wrong > 0 {
        return Err("a snapshot has a later store without an earlier one".into());
    }
    let ten = Duration::from_secs(10);
    let broken = race(protected, Some(Rule::MappingsAtOnce), true, ten, true)?;
    println!(
        "without the wait        {} with V and without D, after {} snapshots in {:.2} s",
        broken.wrong,
        broken.snapshots,
        broken.took.as_secs_f64()
    );
    if broken.wrong == 0 {
        return Err("without the wait, nothing was wrong in ten seconds".into());
    }
    Ok(())
}
