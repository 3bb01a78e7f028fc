//! The rules of the protocol, each broken on purpose: the exploration of the real crate must find every one.
//!
//! Prints rule, workload, and how many images it took to the first failure.

mod support;

use pmem_crash::Config;
use pmem_map::Granularity::{self, CacheLine, Page};
use pmem_tx::{
    JournalOptions,
    engine::{Shortcut, Shortcuts},
};
use support::{Op, lives, shared, undo};

/// What a workload does first, what it does in a second life, and on what.
type Workload = (&'static str, fn() -> Vec<Op>, fn() -> Vec<Op>, Granularity);

const SMALL: Workload = ("small", support::small, support::overlapping, CacheLine);
const CHECKPOINTS: Workload = ("checkpoints", support::checkpoints, support::checkpoints, CacheLine);
const THREADS: Workload = ("threads", support::threads, support::threads, CacheLine);
const TIGHT: Workload = ("tight ring", support::tight, support::small, CacheLine);

const EVENTUAL: Workload = ("eventual", support::eventual_commits, support::small, CacheLine);
const EVENTUAL_TIGHT: Workload = ("eventual, tight ring", support::eventual_tight, support::small, CacheLine);
const GROUPS: Workload = ("groups", support::groups, support::groups, CacheLine);
const PAGES: Workload = ("pages", support::checkpoints, support::small, Page);
const PAGES_GROUPS: Workload = ("pages, groups", support::groups, support::small, Page);

const UNDO: Workload = ("undo", undo::commits, undo::aborts, CacheLine);
const ABORTS: Workload = ("undo aborts", undo::aborts, undo::mixed, CacheLine);
const MIXED: Workload = ("redo, undo", undo::redo_then_undo, undo::mixed, CacheLine);
const OVERFULL: Workload = ("undo, full ring", undo::overfull, undo::repeated, CacheLine);
const REPEATED: Workload = ("undo, one place", undo::repeated, undo::repeated, CacheLine);
const FRESH: Workload = ("undo, fresh", undo::fresh, undo::fresh, CacheLine);
const LINES: Workload = ("lines", undo::lines, undo::lines, CacheLine);
const EXTENDED: Workload = ("extension", undo::extended, undo::extended, CacheLine);
const COVERED: Workload = ("extension", undo::covered, undo::covered, CacheLine);
const OVERLAPPING: Workload = ("overlapping", support::overlapping, support::small, CacheLine);

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
    (Shortcut::NewestValidIsCommit, "a valid record after a gap is no commit", EVENTUAL),
    (Shortcut::NoOverlay, "the next writer sees what pending records say", EVENTUAL),
    (Shortcut::OverlayDroppedEarly, "the overlay's lines stay until they are applied", EVENTUAL),
    (Shortcut::ApplyBeforeDurable, "eventual commits are applied only when durable", EVENTUAL),
    (Shortcut::LeaderDoesNotFlush, "the leader flushes what other threads have written", GROUPS),
    (Shortcut::GroupAcknowledgesBeforeDrain, "a group is acknowledged after its drain", GROUPS),
    (Shortcut::AppliedNeverFlushed, "the leader flushes what other threads have applied", GROUPS),
    (Shortcut::ReleaseAtWritten, "slots are free below the newest durable record's window", EVENTUAL_TIGHT),
    (Shortcut::CheckpointOneDrain, "a checkpoint of pages takes two device flushes", PAGES),
    (Shortcut::RecordSettlesPages, "a record's write settles no applied page", PAGES),
    (Shortcut::ApplyBeforeDurable, "pages are applied only when their record is durable", PAGES_GROUPS),
];

/// Flushing applied lines with every third commit only: what a longer window is needed for.
const LAZY: &[Shortcut] = &[Shortcut::UndoFreshWithoutSeal];

/// Rules that no operation of this crate can break yet, and why.
const NOT_YET: &[(&str, &str)] = &[
    (
        "a block freed by an eventual commit is not handed out before it is applied",
        "needs an allocator: see pmem-alloc's crash_rules",
    ),
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
    for (shortcut, rule, (name, ops, later, granularity)) in RULES {
        let mut shortcuts = Shortcuts::one(*shortcut);
        if *shortcut == Shortcut::UndoRolledBackForward {
            // As long as a place is logged once, the order does not matter.
            shortcuts = shortcuts.and(Shortcut::UndoLoggedTwice);
        }
        let interval = if LAZY.contains(shortcut) { 3 } else { 1 };
        let options = JournalOptions::new().shortcuts(shortcuts).flush_interval(interval);
        let config = Config::from_env().bound(4096).samples(256).nested(256).granularity(*granularity);
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
