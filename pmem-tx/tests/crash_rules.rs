//! The rules of the protocol, each broken on purpose: the exploration of the real crate must find every one.
//!
//! Prints rule, workload, and how many images it took to the first failure.

mod support;

use pmem_crash::Config;
use pmem_tx::{
    JournalOptions,
    engine::{Shortcut, Shortcuts},
};
use support::{Op, lives};

/// What a workload does first, and what it does in a second life.
type Workload = (&'static str, fn() -> Vec<Op>, fn() -> Vec<Op>);

const SMALL: Workload = ("small", support::small, support::overlapping);
const CHECKPOINTS: Workload = ("checkpoints", support::checkpoints, support::checkpoints);
const THREADS: Workload = ("threads", support::threads, support::threads);
const TIGHT: Workload = ("tight ring", support::tight, support::small);

/// The shortcut, the rule that it breaks, and a workload that shows it.
const RULES: &[(Shortcut, &str, Workload)] = &[
    (Shortcut::CheckpointOneDrain, "a checkpoint takes two drains", CHECKPOINTS),
    (Shortcut::AppliedNeverFlushed, "applied lines are flushed with the next commit", SMALL),
    (Shortcut::FlushAtApply, "lines are flushed by the thread that drains", THREADS),
    (Shortcut::OneSlot, "the ring holds more than one record", SMALL),
    (Shortcut::NoSpaceCheck, "a slot is overwritten only below the window", TIGHT),
    (Shortcut::GenerationUnderReplayDrain, "the new generation waits for the replay's drain", SMALL),
    (Shortcut::NoNewGeneration, "each recovery begins a new generation", SMALL),
    (Shortcut::ReplayNotDrained, "the replay is drained before the first commit", SMALL),
    (Shortcut::NewestValidIsCommit, "the whole window is replayed, not the newest record alone", SMALL),
    (Shortcut::AbortAfterRecord, "nothing is rolled back once its record is written", SMALL),
    (Shortcut::AcknowledgeBeforeDrain, "a commit is acknowledged after its drain", SMALL),
    (Shortcut::ApplyBeforeDrain, "values are applied after the record's drain", SMALL),
    (Shortcut::NoChecksum, "a record counts only with its checksum", SMALL),
];

#[test]
fn every_shortcut_through_the_protocol_is_found() {
    let mut missed = Vec::new();
    for (shortcut, rule, (name, ops, later)) in RULES {
        let options = JournalOptions::new().shortcuts(Shortcuts::one(*shortcut));
        let config = Config::from_env().bound(4096).samples(256).nested(256);
        let totals = lives(name, &config, &options, &ops(), &later(), 40);
        match totals.first {
            Some(report) => {
                let operation = report.first_failure.expect("it failed").operation;
                let images = totals.until_failure;
                println!(
                    "rule | {rule:<58} | {name}: {operation:.32} | {images} images to the first failure"
                );
            }
            None => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "explorations did not notice that these rules were broken: {missed:#?}");
}
