//! The rules of the protocol, each broken on purpose: the exploration of the real crate must find every one.
//!
//! Prints rule, workload, and how many images it took to the first failure.

mod support;

use pmem_crash::Config;
use pmem_tx::{
    JournalOptions,
    engine::{Shortcut, Shortcuts},
};
use support::{Op, lives, shared, undo};

/// What a workload does first, and what it does in a second life.
type Workload = (&'static str, fn() -> Vec<Op>, fn() -> Vec<Op>);

const SMALL: Workload = ("small", support::small, support::overlapping);
const CHECKPOINTS: Workload = ("checkpoints", support::checkpoints, support::checkpoints);
const THREADS: Workload = ("threads", support::threads, support::threads);
const TIGHT: Workload = ("tight ring", support::tight, support::small);

const UNDO: Workload = ("undo", undo::commits, undo::aborts);
const ABORTS: Workload = ("undo aborts", undo::aborts, undo::mixed);
const MIXED: Workload = ("redo, undo", undo::redo_then_undo, undo::mixed);
const OVERFULL: Workload = ("undo, full ring", undo::overfull, undo::repeated);
const REPEATED: Workload = ("undo, one place", undo::repeated, undo::repeated);
const FRESH: Workload = ("undo, fresh", undo::fresh, undo::fresh);
const LINES: Workload = ("lines", undo::lines, undo::lines);
const EXTENDED: Workload = ("extension", undo::extended, undo::extended);
const COVERED: Workload = ("extension", undo::covered, undo::covered);

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
    (Shortcut::UndoChangeBeforeDrain, "old bytes are drained before their place is changed", UNDO),
    (Shortcut::UndoEarlierNotSettled, "the first snapshot drains the lines of earlier records", MIXED),
    (Shortcut::UndoSealUnderDataDrain, "data are drained before the seal is written", UNDO),
    (Shortcut::UndoSealNotDrained, "a seal is drained before the acknowledgement", UNDO),
    (Shortcut::UndoAbortNotDrained, "what an abort puts back is drained before the seal", ABORTS),
    (Shortcut::UndoAbortNotSealed, "an abort seals: it is not rolled back once more", ABORTS),
    (Shortcut::UndoWindowOfOne, "the window reaches the transaction's first snapshot", UNDO),
    (Shortcut::UndoSlotsGivenUp, "snapshots stay until the seal", OVERFULL),
    (Shortcut::UndoFreshWithoutSeal, "in-place commits end the window, even of fresh memory", FRESH),
    (Shortcut::UndoNotRolledBack, "what no seal ended is rolled back", UNDO),
    (Shortcut::UndoRolledBackForward, "snapshots are put back newest first", REPEATED),
    (Shortcut::NoNewGeneration, "a seal of an earlier generation is none", ABORTS),
    (Shortcut::GenerationUnderReplayDrain, "the new generation waits for the rollback's drain", UNDO),
    (Shortcut::LineCovered, "an unlogged store asks what the window covers", LINES),
    (Shortcut::LineCoveredByNewestOnly, "the whole window covers, not the newest record alone", LINES),
    (Shortcut::LineNotDrained, "an unlogged store is drained", LINES),
    (Shortcut::ExtensionReusedEarly, "an extension is held as long as its record's window", EXTENDED),
    (Shortcut::ExtensionInCoveredMemory, "an extension is in memory that the window does not cover", COVERED),
    (Shortcut::ExtensionUnchecked, "an extension counts only with its checksum", EXTENDED),
];

/// Flushing applied lines with every third commit only: what a longer window is needed for.
const LAZY: &[Shortcut] = &[Shortcut::UndoFreshWithoutSeal];

/// Rules that no operation of this crate can break yet, and why.
const NOT_YET: &[(&str, &str)] = &[
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
    ("conditional replay needs values that never recur", "lanes share no byte: no conditional replay"),
    ("nobody builds on another lane's undrained record", "lanes share no byte"),
    (
        "blocks written in place are drained before the record",
        "needs an allocator: see pmem-alloc's crash_rules",
    ),
];

#[test]
fn every_shortcut_through_the_protocol_is_found() {
    let mut missed = Vec::new();
    for (shortcut, rule, (name, ops, later)) in RULES {
        let mut shortcuts = Shortcuts::one(*shortcut);
        if *shortcut == Shortcut::UndoRolledBackForward {
            // As long as a place is logged once, the order does not matter.
            shortcuts = shortcuts.and(Shortcut::UndoLoggedTwice);
        }
        let interval = if LAZY.contains(shortcut) { 3 } else { 1 };
        let options = JournalOptions::new().shortcuts(shortcuts).flush_interval(interval);
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
    let options = JournalOptions::new().shortcuts(Shortcuts::one(Shortcut::HomesOverlap));
    let report = shared::explore(Config::from_env().bound(4096).samples(256), &options, true);
    let rule = "journals of one mapping share no byte";
    match report.images_to_first_failure {
        Some(images) => println!("rule | {rule:<58} | two journals | {images} images to the first failure"),
        None => missed.push(&rule),
    }
    for (rule, reason) in NOT_YET {
        println!("rule | {rule:<58} | not here: {reason}");
    }
    assert!(missed.is_empty(), "explorations did not notice that these rules were broken: {missed:#?}");
}
