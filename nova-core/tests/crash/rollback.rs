//! Rolling back: at every store, also of the mount that goes on with it, the live files are as before, or the snapshot's; snapshots stay.

use crate::{
    ace::BEFORE,
    harness::{Setting, Totals, explore, explore_alone, explore_lives},
    ops::Op::{self, *},
};
use nova_core::{Allocate, Rename};
use pmem_crash::Tear;
use pmem_map::Granularity;

fn roomy() -> Setting {
    Setting { blocks: 112, nested: 4, bound: 8, samples: 3, ..Setting::default() }
}

/// Every kind of change, to be undone.
fn changes() -> Vec<Vec<Op>> {
    vec![
        vec![Create("/new"), Mkdir("/dir"), Symlink("/dir/link", 300)],
        vec![Unlink("/foo"), Unlink("/A/bar"), Rmdir("/A/C"), Create("/foo")],
        vec![Rename("/A", "/D", Rename::Replace), Rename("/foo", "/D/bar", Rename::Exchange)],
        vec![Write("/foo", 0, 4096, 50), Append("/A/bar", 9000, 53), Truncate("/A/bar", 10)],
        vec![Allocate("/foo", 10, 5000, Allocate::PunchHole), Clone("/foo", "/A/bar")],
        vec![Mode("/foo", 0o400), Attribute("/foo", "user.a", 5000, 1), Link("/foo", "/A/link")],
        vec![Tmpfile(5000), Quota(7, 10), Owner("/A/bar", 7)],
    ]
}

#[test]
fn whatever_was_changed_is_undone() {
    let mut totals = Totals::default();
    for (number, changes) in changes().into_iter().enumerate() {
        let before = [BEFORE, &[Write("/foo", 0, 9000, 1), Snapshot("s")], &changes].concat();
        let ops = [Rollback("s"), Write("/foo", 100, 5000, 60), Unlink("/A/bar")];
        explore(&mut totals, &format!("rolled back, {number}"), &roomy(), &before, &ops).assert_ok();
    }
    totals.print("a roll back, and changes after it");
}

#[test]
fn later_snapshots_stay_what_they_are() {
    let mut totals = Totals::default();
    for (number, changes) in changes().into_iter().enumerate() {
        let start =
            [BEFORE, &[Write("/foo", 0, 9000, 1), Snapshot("a"), Write("/foo", 4096, 4096, 2)]].concat();
        let before = [&start[..], &changes, &[Snapshot("b"), Write("/foo", 0, 100, 3)]].concat();
        let ops = [
            Rollback("a"),
            Write("/foo", 0, 9000, 4),
            DeleteSnapshot("a"),
            Rollback("b"),
            DeleteSnapshot("b"),
        ];
        explore(&mut totals, &format!("later snapshots, {number}"), &roomy(), &before, &ops).assert_ok();
    }
    totals.print("a roll back beside later snapshots");
}

#[test]
fn there_and_back_again() {
    let before =
        [BEFORE, &[Write("/foo", 0, 9000, 1), Snapshot("a"), Unlink("/A/bar"), Snapshot("b")]].concat();
    let ops = [
        Rollback("a"),
        Append("/A/bar", 5000, 2),
        Snapshot("c"),
        Rollback("b"),
        Create("/A/bar"),
        Rollback("c"),
        Remount,
        DeleteSnapshot("b"),
        Rollback("a"),
        DeleteSnapshot("a"),
        DeleteSnapshot("c"),
    ];
    explore_alone("there and back again", &roomy(), &before, &ops);
}

#[test]
fn rolled_back_on_pages_with_torn_words_and_in_later_lives() {
    let before =
        [BEFORE, &[Write("/foo", 0, 9000, 1), Snapshot("a"), Write("/foo", 0, 5000, 2), Unlink("/A/bar")]];
    let before = before.concat();
    let ops = [Rollback("a"), Append("/A/bar", 300, 4)];
    explore_alone("rolled back, torn", &Setting { tear: Tear::EightBytes, ..roomy() }, &before, &ops);
    let pages = Setting { granularity: Granularity::Page, journal: 32 * 4096, blocks: 160, ..roomy() };
    explore_alone("rolled back, on pages", &pages, &before, &ops);
    explore_alone("rolled back, two stripes", &Setting { stripes: 2, ..roomy() }, &before, &ops);
    let mut totals = Totals::default();
    let setting = Setting { bound: 2, samples: 1, nested: 1, depth: 1, ..roomy() };
    let later = [Write("/foo", 10, 100, 5), Rollback("a")];
    explore_lives(&mut totals, "rolled back, and later lives", &setting, &before, &ops, &later).assert_ok();
    totals.print("a roll back, and a life after a crash");
}
