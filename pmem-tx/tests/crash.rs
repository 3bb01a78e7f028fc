//! Every state that a power failure could leave of a journal, opened and judged; and of what recovery makes of it.
//!
//! `PMEM_CRASH_LONG=1` explores further (`just crash`); without it, a seeded part that is quick.

mod support;

use pmem_crash::{Config, Exploration, Level, Tear};
use pmem_tx::{Error, Journal, JournalOptions};
use support::{Op, Totals, lives};

fn long() -> bool {
    std::env::var_os("PMEM_CRASH_LONG").is_some()
}

fn config() -> Config {
    let config = Config::from_env();
    if long() {
        config.bound(1 << 12).samples(1024).nested(512)
    } else {
        config.bound(512).samples(64).nested(64)
    }
}

fn all(name: &str, ops: &[Op], later: &[Op]) {
    for (tear, torn) in [(Tear::Line, "by line"), (Tear::EightBytes, "by word")] {
        for interval in [1, 3] {
            let options = JournalOptions::new().flush_interval(interval);
            let count = if long() { 40 } else { 8 };
            let totals = lives(name, &config().tear(tear), &options, ops, later, count);
            totals.assert_ok(&format!("{name}, torn {torn}, flush interval {interval}"));
        }
    }
}

#[test]
fn small_transactions_survive_at_any_store() {
    all("redo, small", &support::small(), &support::overlapping());
}

#[test]
fn overlapping_transactions_survive_at_any_store() {
    all("redo, overlapping, abort", &support::overlapping(), &support::small());
}

#[test]
fn the_ring_may_wrap_at_any_store() {
    all("log wrap", &support::wrapping(), &support::wrapping()[..4]);
    all("log wrap, tight", &support::tight(), &support::tight());
}

#[test]
fn checkpoints_and_clean_closes_survive_at_any_store() {
    all("checkpoint, close, open", &support::checkpoints(), &support::checkpoints());
}

#[test]
fn commits_of_alternating_threads_survive_at_any_store() {
    all("commits by alternating threads", &support::threads(), &support::threads());
}

/// The journal's stores as the processor did them, in that order, and those of recovery.
#[test]
fn commits_and_recoveries_survive_at_every_single_store() {
    let options = JournalOptions::new();
    let formatted = support::formatted(&options);
    let config = if long() { config() } else { config().bound(256).samples(32).nested(32) };
    let mut totals = Totals::default();
    let mut stores = 0;
    for (name, ops) in [
        ("redo, small, every store", support::small()),
        ("redo, overlapping, abort, every store", support::overlapping()),
        ("checkpoint, close, open, every store", support::checkpoints()),
        ("commits by alternating threads, every store", support::threads()),
    ] {
        for tear in [Tear::Line, Tear::EightBytes] {
            let exploration = Exploration::new(name).config(config.clone().tear(tear).level2());
            let report =
                support::explore(exploration, &options, &formatted, &support::empty(), &ops, |_, _| ());
            assert!(report.stores > 0 || report.level == Level::Events);
            stores += report.stores;
            totals.add(report);
        }
    }
    totals.assert_ok(&format!("every store ({stores} of the workloads)"));
}

#[test]
fn creation_leaves_no_log_or_a_whole_one() {
    let mut totals = Totals::default();
    // On zeros, and over what an older log left.
    for start in [None, Some(support::formatted(&JournalOptions::new()))] {
        let exploration = Exploration::new("journal creation").config(config());
        let exploration = match &start {
            Some(image) => exploration.start(image.clone()),
            None => exploration.len(support::LEN),
        };
        totals.add(exploration.run(
            |mapping, ops| -> Result<(), Error> {
                let journal = ops.run("create", || Journal::create(mapping, support::LOG))?;
                ops.run("first commit", || journal.write(|tx| tx.write(8192, &1u64)))?;
                ops.run("second commit", || journal.write(|tx| tx.write(8256, &2u64)))?;
                std::mem::forget(journal);
                Ok(())
            },
            |mapping| match Journal::open(mapping, support::LOG) {
                Ok(journal) => Ok(Some(journal)),
                Err(Error::NotALog { .. } | Error::Damaged { .. }) => Ok(None),
                Err(error) => Err(error),
            },
            |journal: Option<Journal>, point| {
                let Some(journal) = journal else {
                    return if point.acknowledged == 0 { Ok(()) } else { Err("the log is gone".into()) };
                };
                let read = || -> Result<[u64; 2], Error> {
                    let tx = journal.begin()?;
                    Ok([*tx.read(8192)?, *tx.read(8256)?])
                };
                let found = read().map_err(|error| error.to_string())?;
                let states = [[0, 0], [0, 0], [1, 0], [1, 2]];
                if !point.range().any(|k| states[k] == found) {
                    return Err(format!("found {found:?} of {:?}", point.range()));
                }
                journal.write(|tx| tx.write(8192, &9u64)).map_err(|error| error.to_string())
            },
        ));
    }
    totals.assert_ok("journal creation");
}

#[test]
fn a_header_copy_damaged_by_the_crash_is_repaired_by_a_recovery_that_may_crash() {
    let options = JournalOptions::new();
    let mut totals = Totals::default();
    for copy in [0, 1] {
        let image = support::formatted(&options);
        let mut bytes = image.bytes().to_vec();
        bytes[copy * 64 + 20] ^= 0xff;
        let image = pmem_crash::Image::new(bytes);
        let exploration = Exploration::new("header repair").config(config());
        totals.add(support::explore(
            exploration,
            &options,
            &image,
            &support::empty(),
            &support::small(),
            |_, _| (),
        ));
    }
    totals.assert_ok("recovery that repairs a header copy");
}
