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
const OVERLAPPING: Workload = ("overlapping", support::overlapping, support::small);
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
    (Shortcut::ReplayUndrained, "what is replayed is drained first, not only visible", OVERLAPPING),
];

/// Rules that no operation of this crate can break yet, and why.
const NOT_YET: &[(&str, &str)] = &[
    ("an unlogged store to a covered line retires the window first", "no unlogged stores (atomic_line) yet"),
    ("covered means the whole window, not the newest record", "no unlogged stores yet"),
    ("undo records share the redo sequence", "no undo yet"),
    (
        "a valid record after a gap is no commit",
        "no commit without a drain (eventual durability) yet: no gaps",
    ),
    ("eventual commits are applied only when durable", "no eventual durability yet"),
    (
        "a block freed by an eventual commit is not handed out before it is durable",
        "no eventual durability yet",
    ),
    ("threads that commit as a group drain for themselves", "no group commit yet"),
    ("lanes share no byte, or retire each other's records first", "one lane"),
    ("conditional replay needs values that never recur", "one lane: no conditional replay"),
    ("nobody builds on another lane's undrained record", "one lane"),
    ("a log extension outlives its record's window", "no extensions: a record fits the ring or is refused"),
    (
        "blocks written in place are drained before the record",
        "needs an allocator: see pmem-alloc's crash_rules",
    ),
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
    for (rule, reason) in NOT_YET {
        println!("rule | {rule:<58} | not here: {reason}");
    }
    assert!(missed.is_empty(), "explorations did not notice that these rules were broken: {missed:#?}");
}
