//! Snapshots: made, deleted, and what changes between; at every store the live files and every snapshot are as they have to be.

use crate::{
    ace::BEFORE,
    harness::{Setting, Totals, explore, explore_alone, explore_lives, is_long},
    ops::Op::{self, *},
    ops::leaked,
};
use nova_core::{Allocate, Cleaning, Rename, flags};
use pmem_crash::Tear;
use pmem_map::Granularity;

fn roomy() -> Setting {
    Setting { blocks: 112, nested: 4, ..Setting::default() }
}

/// Every kind of change, after a snapshot: each alone, so that each is the first change of what it changes.
fn changes() -> Vec<Op> {
    vec![
        Create("/new"),
        Mkdir("/new"),
        Symlink("/new", 300),
        Link("/foo", "/A/link"),
        Unlink("/foo"),
        Unlink("/A/bar"),
        Rmdir("/A/C"),
        Rename("/foo", "/A/foo", Rename::Replace),
        Rename("/foo", "/A/bar", Rename::Replace),
        Rename("/foo", "/A/bar", Rename::Exchange),
        Write("/foo", 0, 4096, 50),
        Write("/foo", 100, 20, 51),
        Append("/A/bar", 700, 52),
        Append("/A/bar", 9000, 53),
        Truncate("/foo", 10),
        Truncate("/A/bar", 20_000),
        Allocate("/foo", 0, 8192, Allocate::Zero),
        Allocate("/foo", 10, 5000, Allocate::PunchHole),
        Clone("/foo", "/A/bar"),
        Mode("/foo", 0o400),
        Owner("/A/bar", 7),
        Attribute("/foo", "user.a", 300, 1),
        Flags("/foo", flags::NO_DUMP),
        Tmpfile(5000),
    ]
}

#[test]
fn a_snapshot_is_what_was_there_when_it_was_made() {
    let mut totals = Totals::default();
    for (number, change) in changes().into_iter().enumerate() {
        let ops = [Snapshot("s"), change, Write("/B/foo", 10, 100, 60), Append("/B/foo", 5000, 61)];
        explore(&mut totals, &format!("snapshot, {number}"), &roomy(), BEFORE, &ops).assert_ok();
    }
    totals.print("a snapshot, and each change after it");
}

#[test]
fn changes_between_snapshots_belong_to_both_sides() {
    let mut totals = Totals::default();
    let all = changes();
    for (number, pair) in all.chunks(2).enumerate() {
        let ops = [
            Snapshot("a"),
            pair[0],
            Snapshot("b"),
            *pair.last().expect("one"),
            Write("/foo", 50, 5000, 70),
            DeleteSnapshot("a"),
            Write("/foo", 60, 10, 71),
            Unlink("/foo"),
        ];
        explore(&mut totals, &format!("two snapshots, {number}"), &roomy(), BEFORE, &ops).assert_ok();
    }
    totals.print("changes between two snapshots");
}

#[test]
fn snapshots_are_deleted_in_any_order() {
    let mut totals = Totals::default();
    let before = [BEFORE, &[Write("/foo", 0, 9000, 1), Snapshot("a")]].concat();
    let orders = [["a", "b", "c"], ["b", "a", "c"], ["c", "b", "a"], ["b", "c", "a"], ["c", "a", "b"]];
    for (number, order) in orders.into_iter().enumerate() {
        let ops = [
            Write("/foo", 0, 9000, 2),
            Unlink("/A/bar"),
            Snapshot("b"),
            Write("/foo", 0, 4096, 3),
            Create("/A/bar"),
            Append("/B/foo", 200, 4),
            Snapshot("c"),
            Unlink("/foo"),
            Append("/A/bar", 5000, 5),
            DeleteSnapshot(order[0]),
            Create("/foo"),
            DeleteSnapshot(order[1]),
            Append("/foo", 9000, 6),
            DeleteSnapshot(order[2]),
        ];
        explore(&mut totals, &format!("deleted, {number}"), &roomy(), &before, &ops).assert_ok();
    }
    totals.print("snapshots deleted in any order");
}

/// Deleting hides a snapshot; then what it leaves is cleaned up in steps, between which anything may happen.
#[test]
fn what_deleted_snapshots_leave_is_cleaned_up_step_by_step() {
    let setting = Setting { cleaning: Cleaning::ByHand, ..roomy() };
    let before = [BEFORE, &[Write("/foo", 0, 9000, 1), Snapshot("a"), Write("/foo", 0, 4096, 2)]].concat();
    let ops = [
        Unlink("/A/bar"),
        Snapshot("b"),
        Write("/foo", 0, 4096, 3),
        Snapshot("c"),
        Append("/B/foo", 200, 4),
        DeleteSnapshot("b"),
        Append("/foo", 5000, 5),
        Clean,
        Unlink("/foo"),
        Clean,
        DeleteSnapshot("c"),
        Create("/foo"),
        Clean,
        Append("/B/foo", 100, 6),
        Clean,
        Clean,
        Append("/foo", 100, 7),
        DeleteSnapshot("a"),
        Clean,
        Clean,
    ];
    let mut totals = Totals::default();
    explore(&mut totals, "cleaned up by steps", &setting, &before, &ops).assert_ok();
    // Two are hidden before anything is done; unmounted in between; and by another life.
    let ops = [
        Snapshot("b"),
        Write("/foo", 0, 4096, 3),
        Snapshot("c"),
        Unlink("/A/bar"),
        DeleteSnapshot("c"),
        DeleteSnapshot("b"),
        Clean,
        Remount,
        Append("/foo", 5000, 5),
        Clean,
    ];
    let later = [Clean, Append("/foo", 100, 8), Clean, DeleteSnapshot("a"), Clean];
    let setting = Setting { bound: 6, samples: 2, nested: 1, depth: 1, ..setting };
    explore_lives(&mut totals, "cleaned up over lives", &setting, &before, &ops, &later).assert_ok();
    // Copies of mapped pages. (Of words that a write has a part of, in place, a part may be there.)
    let setting = Setting { torn: true, blocks: 144, cleaning: Cleaning::ByHand, ..Setting::default() };
    let ops = [
        Map("/foo"),
        Snapshot("b"),
        Write("/foo", 0, 104, 3),
        Snapshot("c"),
        Write("/foo", 48, 5000, 4),
        DeleteSnapshot("b"),
        Clean,
        Write("/foo", 4096, 200, 5),
        Clean,
        DeleteSnapshot("c"),
        Clean,
        CloseAll,
        Clean,
        Write("/foo", 0, 104, 6),
    ];
    explore(&mut totals, "copies of pages, cleaned up", &setting, &before, &ops).assert_ok();
    totals.print("what deleted snapshots leave");
}

#[test]
fn snapshots_survive_unmounts_and_lives_after_crashes() {
    let setting = Setting { bound: 12, samples: 4, depth: 1, ..roomy() };
    let ops = [Snapshot("a"), Write("/foo", 0, 6000, 2), Remount, Unlink("/A/bar"), Snapshot("b")];
    let later = [Remount, Write("/foo", 100, 100, 3), DeleteSnapshot("a"), Create("/A/bar"), Snapshot("c")];
    explore_alone("snapshots over unmounts", &roomy(), BEFORE, &[&ops[..], &later[..]].concat());
    let mut totals = Totals::default();
    explore_lives(&mut totals, "snapshots, and later lives", &setting, BEFORE, &ops, &later).assert_ok();
    totals.print("snapshots, and a life after a crash");
}

#[test]
fn logs_are_collected_beside_snapshots() {
    let mut totals = Totals::default();
    // A log that is written anew, and a snapshot's that gets pages.
    let links = |range: std::ops::Range<usize>| -> Vec<Op> {
        range.map(|n| Link("/f", leaked(format!("/n{n}")))).collect()
    };
    let unlinks = |range: std::ops::Range<usize>| -> Vec<Op> {
        range.map(|n| Unlink(leaked(format!("/n{n}")))).collect()
    };
    let before = [&[Create("/f")][..], &links(0..250), &[Snapshot("full")], &unlinks(0..247)].concat();
    let ops = [Unlink("/n248"), Link("/f", "/again"), DeleteSnapshot("full"), Link("/f", "/more")];
    explore(&mut totals, "the log is written anew", &roomy(), &before, &ops).assert_ok();
    let files: Vec<Op> = (0..25).map(|n| Create(leaked(format!("/c{n}")))).collect();
    let modes: Vec<Op> = (0..19).map(|n| Mode(leaked(format!("/c{n}")), 0o600)).collect();
    let before = [&files[..], &[Snapshot("s")], &modes].concat();
    let ops =
        [Mode("/c20", 0o600), Mode("/c21", 0o600), Mode("/c22", 0o600), Unlink("/c1"), DeleteSnapshot("s")];
    explore(&mut totals, "a snapshot's log gets a page", &roomy(), &before, &ops).assert_ok();
    let ops =
        [Snapshot("t"), Mode("/c20", 0o600), Mode("/c1", 0o644), DeleteSnapshot("t"), Mode("/c2", 0o644)];
    explore(&mut totals, "a log that is merged", &roomy(), &before, &ops).assert_ok();
    totals.print("logs beside snapshots");
}

#[test]
fn snapshots_on_pages_with_torn_words_and_in_place() {
    let ops = [
        Snapshot("a"),
        Write("/foo", 0, 5000, 2),
        Unlink("/A/bar"),
        Snapshot("b"),
        Write("/foo", 10, 100, 3),
        DeleteSnapshot("a"),
        Append("/foo", 300, 4),
    ];
    explore_alone("snapshots, torn", &Setting { tear: Tear::EightBytes, ..roomy() }, BEFORE, &ops);
    let pages = Setting { granularity: Granularity::Page, journal: 32 * 4096, blocks: 160, ..roomy() };
    explore_alone("snapshots, on pages", &pages, BEFORE, &ops);
    explore_alone("snapshots, in place", &Setting { relaxed: true, ..roomy() }, BEFORE, &ops);
    explore_alone("snapshots, two stripes", &Setting { stripes: 2, ..roomy() }, BEFORE, &ops);
}

#[test]
fn pages_of_mapped_files_are_copied_before_they_are_stored_to() {
    let setting = Setting { torn: true, blocks: 144, nested: 8, ..Setting::default() };
    let before = [BEFORE, &[Write("/foo", 0, 12_000, 1), Write("/A/bar", 0, 5000, 2)]].concat();
    let mut totals = Totals::default();
    let workloads: [&[Op]; 4] = [
        &[Map("/foo"), Snapshot("a"), Write("/foo", 0, 100, 3), Write("/foo", 50, 5000, 4), CloseAll],
        &[
            Map("/foo"),
            Map("/A/bar"),
            Snapshot("a"),
            Write("/A/bar", 4000, 200, 3),
            Snapshot("b"),
            Write("/foo", 4000, 200, 4),
            Write("/A/bar", 0, 100, 5),
            DeleteSnapshot("a"),
            Write("/foo", 0, 4096, 6),
            CloseAll,
        ],
        &[
            Snapshot("a"),
            Map("/foo"),
            Write("/foo", 0, 100, 3),
            Snapshot("b"),
            Write("/foo", 0, 100, 4),
            DeleteSnapshot("b"),
            Write("/foo", 4096, 100, 5),
            CloseAll,
            Write("/foo", 0, 12_000, 6),
        ],
        &[
            Map("/foo"),
            Snapshot("a"),
            Write("/foo", 0, 100, 3),
            CloseAll,
            Write("/foo", 0, 100, 4),
            Remount,
            Map("/foo"),
            Write("/foo", 0, 100, 5),
            Snapshot("b"),
            Write("/foo", 8192, 100, 6),
            Remount,
            Unlink("/foo"),
            DeleteSnapshot("a"),
        ],
    ];
    for (number, ops) in workloads.into_iter().enumerate() {
        explore(&mut totals, &format!("mapped, {number}"), &setting, &before, ops).assert_ok();
    }
    totals.print("snapshots of mapped files");
}

#[test]
fn two_snapshots_and_any_pair_of_changes() {
    let all = changes();
    let mut random = fastrand::Rng::with_seed(9);
    let mut totals = Totals::default();
    let setting = Setting { bound: 8, samples: 3, nested: 1, ..roomy() };
    for number in 0..if is_long() { 600 } else { 40 } {
        let mut pick = || all[random.usize(..all.len())];
        let ops = [Snapshot("a"), pick(), pick(), Snapshot("b"), pick(), pick(), DeleteSnapshot("a"), pick()];
        explore(&mut totals, &format!("pairs {number}"), &setting, BEFORE, &ops).assert_ok();
    }
    totals.print("snapshots between pairs of changes");
}
