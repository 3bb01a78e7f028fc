//! Every state that a power failure could leave of a journal, opened and judged; and of what recovery makes of it.
//!
//! `PMEM_CRASH_LONG=1` explores further (`just crash`); without it, a seeded part that is quick.

mod support;

use pmem_crash::{Config, Exploration, Level, Tear};
use pmem_map::Granularity;
use pmem_tx::{Error, Journal, JournalOptions};
use support::{Op, Totals, lives, shared, undo};

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

/// As `all`, of what has more operations than that: torn by word only.
fn some(name: &str, options: &JournalOptions, granularity: Granularity, ops: &[Op], later: &[Op]) {
    let config = config().tear(Tear::EightBytes).granularity(granularity);
    let config = if long() { config } else { config.samples(32).nested(32) };
    let totals = lives(name, &config, options, ops, later, if long() { 40 } else { 4 });
    totals.assert_survived(&format!("{name}, {granularity:?}"));
}

#[test]
fn a_prefix_of_eventual_commits_survives_at_any_store() {
    for granularity in [Granularity::CacheLine, Granularity::Page] {
        let some = |name: &str, interval, ops: Vec<Op>, later: Vec<Op>| {
            some(name, &JournalOptions::new().flush_interval(interval), granularity, &ops, &later);
        };
        some("eventual", 1, support::eventual_commits(), support::groups());
        some("eventual, flush interval 3", 3, support::eventual_commits(), support::small());
        some("eventual, log wrap", 1, support::eventual_tight(), support::eventual_commits());
    }
}

#[test]
fn commits_that_share_a_drain_survive_at_any_store() {
    for granularity in [Granularity::CacheLine, Granularity::Page] {
        let options = JournalOptions::new().group_commit(true);
        some("group commit", &options, granularity, &support::groups(), &support::groups());
        some(
            "group commit, strict",
            &options,
            granularity,
            &support::threads(),
            &support::eventual_commits(),
        );
    }
}

#[test]
fn commits_to_a_disk_and_their_checkpoints_survive_at_any_store() {
    let options = JournalOptions::new();
    let some = |name, ops: Vec<Op>, later: Vec<Op>| some(name, &options, Granularity::Page, &ops, &later);
    some("pages, small", support::small(), support::overlapping());
    some("pages, log wrap", support::tight(), support::tight());
    some("pages, checkpoint, close, open", support::checkpoints(), support::checkpoints());
}

/// What may tear by line and by word, with these flush intervals.
fn torn(name: &str, intervals: &[u32], ops: &[Op], later: &[Op]) {
    for (tear, torn) in [(Tear::Line, "by line"), (Tear::EightBytes, "by word")] {
        for interval in intervals {
            let options = JournalOptions::new().flush_interval(*interval);
            let count = if long() { 40 } else { 4 };
            let totals = lives(name, &config().tear(tear), &options, ops, later, count);
            totals.assert_survived(&format!("{name}, torn {torn}, flush interval {interval}"));
        }
    }
}

#[test]
fn undo_commits_survive_at_any_store() {
    torn("undo commit", &[1], &undo::commits(), &undo::aborts());
}

#[test]
fn undo_aborts_leave_nothing_at_any_store() {
    torn("undo abort", &[1], &undo::aborts(), &undo::commits());
}

#[test]
fn redo_and_undo_take_turns_at_any_store() {
    torn("redo and undo in turn", &[1, 3], &undo::mixed(), &undo::redo_then_undo());
    torn("undo over what redo changed", &[1, 3], &undo::redo_then_undo(), &undo::mixed());
}

#[test]
fn savepoints_in_undo_survive_at_any_store() {
    torn("savepoints in undo", &[1], &undo::savepoints(), &undo::mixed());
}

#[test]
fn snapshots_may_fill_the_ring_at_any_store() {
    torn("undo, log wrap", &[1], &undo::wrapping(), &undo::wrapping()[..4]);
}

#[test]
fn fresh_memory_in_undo_survives_at_any_store() {
    torn("undo, fresh memory", &[1, 3], &undo::fresh(), &undo::fresh());
}

#[test]
fn stores_without_a_record_survive_at_any_store() {
    torn("atomic line", &[1, 3], &undo::lines(), &undo::lines()[..6]);
}

#[test]
fn records_beyond_the_ring_survive_at_any_store() {
    torn("log extension", &[1, 3], &undo::extended(), &undo::extended()[1..5]);
    torn("log extension, undo", &[1], &undo::extended_undo(), &undo::extended_undo()[1..4]);
}

#[test]
fn undo_lines_and_large_records_among_commits_on_their_way_survive_at_any_store() {
    torn("undo, lines, large, among eventual", &[1, 3], &undo::on_the_way(), &undo::mixed());
}

#[test]
fn undo_lines_and_large_records_on_a_disk_survive_at_any_store() {
    let options = JournalOptions::new();
    let some = |name, ops: Vec<Op>| some(name, &options, Granularity::Page, &ops, &undo::mixed());
    some("pages, redo and undo", undo::mixed());
    some("pages, lines", undo::lines());
    some("pages, log extension", undo::extended());
    some("pages, all among eventual", undo::on_the_way());
}

#[test]
fn two_journals_in_one_mapping_survive_at_any_store() {
    let mut totals = Totals::default();
    for tear in [Tear::Line, Tear::EightBytes] {
        for interval in [1, 3] {
            let options = JournalOptions::new().flush_interval(interval);
            totals.add(shared::explore(config().tear(tear), &options, false));
        }
    }
    totals.assert_survived("two journals in one mapping");
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
