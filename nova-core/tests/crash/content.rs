//! Random changes of two files' content, one after the other: what stays of an earlier one where a later one stores, is cut off, shared or zeroed.

use crate::{
    harness::{Setting, Totals, explore, is_long},
    ops::Op::{self, *},
};
use nova_core::{Allocate, flags};
use pmem_map::Granularity;

const BEFORE: [Op; 4] = [Create("/f"), Write("/f", 0, 6000, 1), Create("/g"), Write("/g", 0, 100, 2)];

/// A place that is near the ones of others: block ends, line ends, and a little beside them.
fn place(random: &mut fastrand::Rng) -> u64 {
    let near = [0, 50, 64, 100, 2000, 4090, 4096, 4160, 6000, 8192, 9000][random.usize(..11)];
    near + [0, 0, 1, 8, 30][random.usize(..5)]
}

fn operation(random: &mut fastrand::Rng, torn: bool) -> Op {
    let (file, other) = if random.u8(..3) > 0 { ("/f", "/g") } else { ("/g", "/f") };
    let (at, what) = (place(random), random.u8(..));
    let len = [1, 8, 20, 100, 700, 1024, 1500, 4096, 5000][random.usize(..9)];
    match random.u8(..if torn { 14 } else { 13 }) {
        0..5 => Write(file, at, len, what),
        5 => Append(file, len, what),
        6..8 => Truncate(file, at),
        8..11 => {
            let block = at / 4096 * 4096;
            match random.u8(..8) {
                0 => Allocate(file, at, len as u64, Allocate::Grow),
                1 => Allocate(file, at, 9000, Allocate::KeepSize),
                2 => Allocate(file, at, len as u64, Allocate::PunchHole),
                3 => Allocate(file, at, len as u64, Allocate::Zero),
                4 => Allocate(file, 0, 4096, Allocate::Zero),
                5 => Allocate(file, at, 5000, Allocate::ZeroKeepSize),
                6 => Allocate(file, block, 4096, Allocate::Collapse),
                _ => Allocate(file, block, 4096, Allocate::Insert),
            }
        }
        11 => Clone(file, other),
        12 => CloneRange(file, 0, other, 4096, 4096),
        // Then it is overwritten in place.
        _ => Flags(file, if random.bool() { flags::IN_PLACE } else { 0 }),
    }
}

fn explore_random(group: &str, setting: &Setting, seed: u64) {
    println!("crash | {group}: seed {seed}");
    let mut totals = Totals::default();
    let asked = std::env::var("PMEM_CRASH_PAIRS").ok().map(|number| number.parse().expect("a number"));
    for number in 0..asked.unwrap_or(if is_long() { 600 } else { 8 }) {
        let mut random = fastrand::Rng::with_seed(seed + number);
        let ops: Vec<Op> = (0..8).map(|_| operation(&mut random, setting.torn)).collect();
        let depth = if number % 8 == 0 { 2 } else { 1 };
        let setting = Setting { depth, bound: 24, samples: 4, nested: 2, ..setting.clone() };
        explore(&mut totals, &format!("{group} {number}"), &setting, &BEFORE, &ops).assert_ok();
    }
    totals.print(group);
}

#[test]
fn content_is_old_or_new_on_lines() {
    explore_random("content", &Setting::default(), 1000);
}

#[test]
fn content_is_old_or_new_on_pages() {
    let setting = Setting { granularity: Granularity::Page, ..Setting::default() };
    explore_random("content on pages", &setting, 2000);
}

#[test]
fn words_of_content_are_old_or_new_where_it_is_overwritten_in_place() {
    for relaxed in [true, false] {
        let setting = Setting { torn: true, relaxed, ..Setting::default() };
        let group = if relaxed { "content, relaxed" } else { "content, by flag" };
        explore_random(group, &setting, 3000);
    }
}
