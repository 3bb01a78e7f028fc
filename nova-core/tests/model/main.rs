//! Every operation, at random, against a model in memory; with remounts in order and after crashes, which nobody may notice.

#![allow(unreachable_pub, reason = "modules of a test are its own")]

#[path = "../image/mod.rs"]
mod image;
mod tree;
mod work;

use image::*;
use nova_core::*;
use work::Work;

fn seed() -> u64 {
    let seed = std::env::var("NOVA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_127);
    println!("NOVA_SEED={seed}");
    seed
}

/// `operations` operations, with a remount after every `between` or so.
fn run(seed: u64, operations: usize, between: usize, options: FormatOptions, mount: MountOptions) {
    let mut work = Work::new(seed, 24 << 20, options, mount);
    let (mut clean, mut crashes) = (0, 0);
    let mut next = between;
    for turn in 0..operations {
        work.step();
        if turn >= next {
            next = turn + 1 + work.random.usize(1..between * 2);
            if work.random.bool() {
                work.remount();
                clean += 1;
            } else {
                work.crash();
                crashes += 1;
            }
        }
    }
    work.check();
    work.empty();
    println!("{operations} operations, {clean} remounts, {crashes} crashes; {:?}", work.counts);
    assert!(clean > 0 && crashes > 0);
}

#[test]
fn a_volume_agrees_with_a_model_and_nobody_notices_a_remount_or_a_crash() {
    run(seed(), 16_000, 150, FormatOptions::new().stripes(3), quiet());
}

#[test]
fn a_volume_of_one_stripe_that_is_remounted_all_the_time_agrees_with_a_model() {
    run(seed() + 1, 4_000, 25, FormatOptions::new().stripes(1), quiet().threads(2));
}

#[test]
fn a_relaxed_volume_agrees_with_a_model() {
    run(seed() + 2, 4_000, 100, FormatOptions::new().stripes(62), quiet().in_place(true));
}
