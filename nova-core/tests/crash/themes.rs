//! What generated workloads do not reach: logs and tables that grow and are collected, values in parts, blocks that are used again at once.

use crate::{
    ace::BEFORE,
    harness::{Setting, Totals, explore, explore_alone, is_long},
    ops::Op::{self, *},
    ops::leaked,
};
use nova_core::{Allocate, Rename, flags};
use pmem_crash::Tear;

/// Names of one file in the root directory: an entry of one line each.
fn links(range: std::ops::Range<usize>) -> Vec<Op> {
    range.map(|n| Link("/f", leaked(format!("/n{n}")))).collect()
}

fn unlinks(names: impl Iterator<Item = usize>) -> Vec<Op> {
    names.map(|n| Unlink(leaked(format!("/n{n}")))).collect()
}

fn long(n: usize) -> Op {
    Link("/f", leaked(format!("/{}", format!("{n}").repeat(250))))
}

#[test]
fn a_directory_gets_log_pages_and_loses_them() {
    let mut totals = Totals::default();
    let setting = Setting { nested: 8, ..Setting::default() };
    let mut run = |name: &str, before: Vec<Op>, ops: &[Op]| {
        explore(&mut totals, name, &setting, &[&[Create("/f")], &before[..]].concat(), ops).assert_ok();
    };
    // 63 lines a page, "/f" has the first.
    run("directory: the next page", links(0..60), &[&links(60..64)[..], &[Unlink("/n3")]].concat());
    run("directory: the next page, with a part left", links(0..57), &[long(1), long(2), Unlink("/n1")]);
    run(
        "directory: a rename over the end of a page",
        links(0..61),
        &[
            Rename("/n1", "/m", Rename::Replace),
            Rename("/n2", "/n3", Rename::Exchange),
            Rename("/n4", "/n5", Rename::Replace),
        ],
    );
    let dead = [Unlink("/f"), Create("/A"), Create("/f")];
    let fast = [&links(0..62)[..], &unlinks(0..62), &dead, &links(62..120), &links(120..121)].concat();
    run("directory: the oldest page goes", fast, &[links(121..127), unlinks(121..123)].concat());
    let kept = |n: &usize| n % 25 != 3;
    let thorough = [&links(0..250)[..], &unlinks((0..250).filter(kept))].concat();
    run(
        "directory: the log is written anew",
        thorough,
        &[&links(300..303)[..], &[Unlink("/n3"), Unlink("/n300")]].concat(),
    );
    totals.print("directories' logs");
}

#[test]
fn a_file_gets_log_pages_and_loses_them() {
    let mut totals = Totals::default();
    let setting = Setting { nested: 8, ..Setting::default() };
    let before = |writes: usize| -> Vec<Op> {
        let first = [Create("/f"), Write("/f", 9 * 4096, 4096, 200)];
        first
            .into_iter()
            .chain((0..writes).map(|n| Write("/f", n as u64 % 3 * 4096, 4096, n as u8)))
            .collect()
    };
    let ops = [
        Write("/f", 0, 4096, 1),
        Write("/f", 100, 9000, 2),
        Truncate("/f", 5000),
        Write("/f", 4096, 4096, 3),
    ];
    explore(&mut totals, "file: the next page", &setting, &before(60), &ops).assert_ok();
    // The oldest page has what counts of block 9: the log is written anew. Without it, pages just go.
    explore(&mut totals, "file: the log is written anew", &setting, &before(250), &ops).assert_ok();
    let fast = [before(62), vec![Write("/f", 9 * 4096, 4096, 4)], before(60).split_off(2)].concat();
    explore(&mut totals, "file: the oldest page goes", &setting, &fast, &ops).assert_ok();
    let shifts: Vec<Op> = (0..55).map(|n| Write("/f", 0, 4096, n)).collect();
    let ordered = [&before(3)[..], &shifts].concat();
    let moves = [
        Allocate("/f", 4096, 8192, Allocate::Collapse),
        Allocate("/f", 0, 4096, Allocate::Insert),
        Allocate("/f", 8192, 4096, Allocate::PunchHole),
        Allocate("/f", 4096, 4096, Allocate::Insert),
        Write("/f", 4096, 8192, 7),
    ];
    explore(&mut totals, "file: shifts over the end of a page", &setting, &ordered, &moves).assert_ok();
    totals.print("files' logs");
}

#[test]
fn an_inode_table_gets_segments() {
    let before: Vec<Op> = (0..29).map(|n| Create(leaked(format!("/c{n}")))).collect();
    let ops = [Create("/x"), Mkdir("/y"), Symlink("/z", 20), Unlink("/x"), Create("/y/x"), Rmdir("/c1")];
    explore_alone("inode table: the next segment", &Setting::default(), &before, &ops);
}

#[test]
fn values_of_attributes_are_replaced_as_a_whole() {
    let setting = Setting { journal: 10 * 4096, nested: 8, ..Setting::default() };
    let before =
        [Create("/f"), Mkdir("/d"), Attribute("/f", "user.a", 3000, 1), Attribute("/f", "user.b", 10, 2)];
    let ops = [
        Attribute("/f", "user.a", 9000, 3),
        Attribute("/f", "user.a", 100, 4),
        NoAttribute("/f", "user.b"),
        Attribute("/f", "user.a", 5000, 5),
        Attribute("/d", "user.c", 4000, 6),
        NoAttribute("/f", "user.a"),
    ];
    explore_alone("attributes: values in parts", &setting, &before, &ops);
    let many: Vec<Op> = (0..60).map(|n| Attribute("/f", "user.b", 300, n)).collect();
    let ops = [
        Attribute("/f", "user.b", 301, 1),
        Attribute("/f", "user.a", 2000, 2),
        Attribute("/f", "user.b", 1, 3),
    ];
    explore_alone("attributes: the log is written anew", &setting, &[&before[..], &many].concat(), &ops);
}

#[test]
fn blocks_that_are_freed_are_used_again_at_once() {
    // Hardly more blocks than the files need: what one operation frees, the next one takes.
    let setting = Setting { blocks: 40, journal: 2 * 4096, ..Setting::default() };
    let before =
        [Create("/a"), Write("/a", 0, 40_000, 1), Create("/b"), Write("/b", 0, 30_000, 2), Mkdir("/d")];
    let workloads: [&[Op]; 5] = [
        &[
            Unlink("/a"),
            Create("/c"),
            Write("/c", 0, 40_000, 3),
            Write("/b", 0, 20_000, 4),
            Write("/b", 0, 20_000, 5),
        ],
        &[
            Truncate("/a", 100),
            Write("/b", 30_000, 36_000, 3),
            Write("/a", 50, 20, 4),
            Truncate("/b", 10),
            Write("/a", 90, 40_000, 5),
        ],
        &[
            Write("/a", 100, 50, 3),
            Unlink("/a"),
            Symlink("/d/l", 500),
            Create("/e"),
            Write("/e", 0, 43_000, 6),
        ],
        &[
            Append("/b", 700, 3),
            Rename("/a", "/b", Rename::Replace),
            Create("/c"),
            Write("/c", 0, 30_000, 5),
            Append("/b", 600, 5),
        ],
        &[
            Allocate("/a", 0, 40_960, Allocate::PunchHole),
            Attribute("/d", "user.x", 2000, 1),
            Write("/b", 0, 30_000, 6),
            Write("/a", 0, 20_000, 7),
        ],
    ];
    let mut totals = Totals::default();
    for (number, ops) in workloads.into_iter().enumerate() {
        explore(&mut totals, &format!("used again {number}"), &setting, &before, ops).assert_ok();
    }
    totals.print("blocks freed and used again");
}

#[test]
fn small_writes_go_with_the_record_and_large_ones_beside_it() {
    let before = [Create("/f"), Write("/f", 0, 6000, 1), Allocate("/f", 8192, 8192, Allocate::KeepSize)];
    let ops = [
        Write("/f", 5990, 10, 2),
        Write("/f", 4090, 12, 3),
        Append("/f", 1000, 4),
        Write("/f", 7100, 1024, 5),
        Write("/f", 8190, 1000, 6),
        Write("/f", 12_000, 3000, 7),
        Append("/f", 4096, 8),
    ];
    explore_alone("writes: small and large", &Setting::default(), &before, &ops);
}

#[test]
fn blocks_that_files_share_are_each_files_own() {
    let before =
        [Create("/f"), Write("/f", 0, 10_000, 1), Create("/g"), Write("/g", 0, 100, 2), Create("/h")];
    let ops = [
        Clone("/f", "/g"),
        Write("/f", 10, 20, 3),
        CloneRange("/g", 4096, "/g", 16_384, 4096),
        Truncate("/f", 9000),
        Allocate("/g", 100, 5000, Allocate::Zero),
        Clone("/g", "/h"),
        Unlink("/f"),
        Write("/h", 4000, 5000, 4),
        Unlink("/g"),
    ];
    explore_alone("reflinks", &Setting { blocks: 96, ..Setting::default() }, &before, &ops);
}

#[test]
fn renames_of_every_kind_are_one_step() {
    let ops = [
        Rename("/A/C", "/D", Rename::NoReplace),
        Rename("/foo", "/A/bar", Rename::Exchange),
        Rename("/D", "/A", Rename::Exchange),
        Rename("/B/foo", "/A/foo", Rename::Replace),
        Rename("/B", "/A/B", Rename::Replace),
        Rename("/A/B", "/D/bar", Rename::Exchange),
    ];
    explore_alone("renames", &Setting { nested: 8, ..Setting::default() }, BEFORE, &ops);
}

#[test]
fn quotas_are_what_files_use_after_a_crash_too() {
    let ops = [
        Quota(7, 2),
        Owner("/foo", 7),
        Write("/foo", 4096, 9000, 4),
        Quota(7, 0),
        Write("/foo", 4096, 9000, 5),
        Unlink("/foo"),
    ];
    explore_alone("quotas", &Setting::default(), BEFORE, &ops);
}

#[test]
fn relaxed_volumes_lose_the_atomicity_of_overwritten_content_alone() {
    let setting = Setting { relaxed: true, ..Setting::default() };
    let ops = [
        Write("/foo", 0, 4096, 8),
        Write("/foo", 4090, 500, 9),
        Append("/foo", 3000, 3),
        Write("/A/bar", 90, 20, 4),
        Truncate("/foo", 70),
        Write("/foo", 30, 40, 5),
    ];
    explore_alone("relaxed", &setting, BEFORE, &ops);
    let ops = [
        Flags("/foo", flags::IN_PLACE),
        Write("/foo", 8, 1000, 8),
        Truncate("/foo", 6000),
        Write("/foo", 4090, 2000, 9),
    ];
    explore_alone("relaxed, one file", &setting, BEFORE, &ops);
}

#[test]
fn lines_may_be_torn_at_any_word() {
    let setting = Setting { tear: Tear::EightBytes, nested: 8, ..Setting::default() };
    let ops = [
        Create("/A/C/x"),
        Write("/A/C/x", 0, 5000, 1),
        Rename("/foo", "/A/bar", Rename::Replace),
        Write("/A/C/x", 100, 100, 2),
        Unlink("/A/C/x"),
        Rename("/A/C", "/B/C", Rename::Replace),
        Attribute("/A", "user.a", 200, 1),
        Remount,
    ];
    explore_alone("torn words", &setting, BEFORE, &ops);
    if is_long() {
        let thorough = Setting { bound: 1 << 14, samples: 2048, nested: 512, ..setting };
        explore_alone("torn words, thorough", &thorough, BEFORE, &ops);
    }
}
