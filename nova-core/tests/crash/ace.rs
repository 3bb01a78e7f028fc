//! Small workloads on related names, generated: all operations alone, and pairs of them (as ACE does: Mohan et al., OSDI 2018).

use crate::{
    harness::{Setting, Totals, explore, is_long},
    ops::Op::{self, *},
};
use nova_core::{Allocate, Rename, flags};

/// What every workload begins with: two directories, one in the other, a third one; files of some bytes, of some blocks.
pub(crate) const BEFORE: &[Op] = &[
    Mkdir("/A"),
    Mkdir("/A/C"),
    Mkdir("/B"),
    Create("/foo"),
    Write("/foo", 0, 5000, 1),
    Create("/A/bar"),
    Write("/A/bar", 0, 100, 2),
    Attribute("/A/bar", "user.a", 20, 3),
    Link("/foo", "/B/foo"),
];

/// Names that may be files, and names that may be directories.
const FILES: &[&str] = &["/foo", "/bar", "/A/foo", "/A/bar"];
const DIRECTORIES: &[&str] = &["/A", "/B", "/A/C", "/D"];

/// Every operation, on every name that makes a difference.
pub(crate) fn operations() -> Vec<Op> {
    let mut all = Vec::new();
    for &file in FILES {
        all.extend([Create(file), Unlink(file), Symlink(file, 30)]);
    }
    for &dir in DIRECTORIES {
        all.extend([Mkdir(dir), Rmdir(dir)]);
    }
    for (old, new) in
        [("/foo", "/bar"), ("/foo", "/A/foo"), ("/A/bar", "/bar"), ("/A/bar", "/A/C/bar"), ("/foo", "/A/bar")]
    {
        all.push(Link(old, new));
    }
    let pairs = [
        ("/foo", "/bar"),
        ("/foo", "/A/foo"),
        ("/foo", "/A/bar"),
        ("/A/bar", "/foo"),
        ("/A/bar", "/A/foo"),
        ("/B/foo", "/foo"),
        ("/A/C", "/B/C"),
        ("/A/C", "/C"),
        ("/A", "/B"),
        ("/A", "/B/A"),
        ("/B", "/A/C"),
        ("/A/C", "/A/D"),
    ];
    all.extend(pairs.map(|(from, to)| Rename(from, to, Rename::Replace)));
    for (from, to) in
        [("/foo", "/A/bar"), ("/A/C", "/B"), ("/foo", "/B"), ("/A/bar", "/bar"), ("/B", "/B/foo")]
    {
        all.extend([Rename(from, to, Rename::Exchange), Rename(from, to, Rename::NoReplace)]);
    }
    for (file, size) in [("/foo", 5000), ("/A/bar", 100)] {
        for (at, len) in [
            (0, 10),
            (50, 200),
            (size, 300),
            (size + 30, 64),
            (4000, 200),
            (0, 4096),
            (100, 5000),
            (size, 4096),
            (9000, 2000),
        ] {
            all.push(Write(file, at, len, 40));
        }
        all.extend([0, 30, 4096, size + 1, 9000].map(|size| Truncate(file, size)));
        let modes =
            [Allocate::Grow, Allocate::KeepSize, Allocate::PunchHole, Allocate::Zero, Allocate::ZeroKeepSize];
        all.extend(modes.map(|how| Allocate(file, 50, 4200, how)));
        all.extend([
            Allocate(file, 4096, 8192, Allocate::KeepSize),
            Allocate(file, 6000, 5000, Allocate::Zero),
        ]);
        all.extend([Allocate(file, 0, 4096, Allocate::Collapse), Allocate(file, 0, 4096, Allocate::Insert)]);
        all.extend([Append(file, 1024, 50), Append(file, 5000, 51), Flags(file, flags::IN_PLACE)]);
        all.extend([Mode(file, 0o4711), Owner(file, 7), Times(file, 1_000_000)]);
        all.extend([
            Attribute(file, "user.a", 40, 60),
            Attribute(file, "user.b", 6000, 61),
            NoAttribute(file, "user.a"),
        ]);
        all.extend([Open(file), Clone(file, "/B/foo"), Clone(file, "/A/bar")]);
    }
    all.extend([
        Mode("/A", 0o1777),
        Owner("/B", 8),
        Times("/A/C", 5),
        Attribute("/A", "user.d", 10, 1),
        Fifo("/A/pipe"),
    ]);
    all.extend([Symlink("/B/long", 2000), Tmpfile(0), Tmpfile(3000), Quota(7, 100), Sync, Remount]);
    all
}

fn workloads(group: &str, workloads: Vec<Vec<Op>>) {
    let mut totals = Totals::default();
    for (number, ops) in workloads.iter().enumerate() {
        // Crashes inside the mount after a crash: the mounts are much alike, so of some.
        let depth = if is_long() || number % 8 == 0 { 2 } else { 1 };
        let setting = Setting { blocks: 48, depth, ..Setting::default() };
        explore(&mut totals, &format!("{group} {number}"), &setting, BEFORE, ops).assert_ok();
    }
    totals.print(group);
    assert!(totals.workloads == workloads.len() as u64);
}

#[test]
fn every_operation_alone_is_done_or_not_at_all() {
    // What follows overwrites what was freed at once.
    let after = [Create("/new"), Write("/new", 0, 6000, 90)];
    workloads("one operation", operations().into_iter().map(|op| [&[op], &after[..]].concat()).collect());
}

/// Pairs, in four parts that run side by side.
fn pairs(part: usize) {
    let all = operations();
    let mut pairs: Vec<Vec<Op>> =
        all.iter().flat_map(|first| all.iter().map(|second| vec![*first, *second])).collect();
    let seed = 0xACE;
    println!("crash | pairs of operations, shuffled with seed {seed:#x}");
    fastrand::Rng::with_seed(seed).shuffle(&mut pairs);
    if !is_long() {
        pairs.truncate(100);
    }
    let mine = pairs.into_iter().skip(part).step_by(2).collect();
    workloads(&format!("two operations, part {part}"), mine);
}

#[test]
fn two_operations_on_related_names_are_done_in_their_order() {
    pairs(0);
}

#[test]
fn two_operations_on_related_names_are_done_in_their_order_as_well() {
    pairs(1);
}
