//! What the machine can do at all: the least that any row can cost.

use super::{Outcome, control::Chase, statistics::median};
use crate::{place, raw::Raw, stream::Update};
use serde::{Deserialize, Serialize};
use std::{hint::black_box, time::Instant};

/// Nanoseconds by the clock, medians.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// One line stored, flushed and drained.
    pub drain_ns: f64,
    /// One line more under the same drain.
    pub line_ns: f64,
    /// 4 KiB past the caches, and a drain.
    pub copy_4k_ns: f64,
    /// 4 KiB read from memory that is in no cache.
    pub read_4k_ns: f64,
    /// A read that waits for the one before it, over 64 MiB.
    pub dependent_read_ns: f64,
    /// A look at the clock, which each latency has in it.
    pub clock_ns: f64,
}

/// Bytes that are in no cache.
const BYTES: u64 = 64 << 20;

/// Nanoseconds of one of `count` calls: the median over `rounds`.
fn time(rounds: usize, count: u64, mut call: impl FnMut(u64)) -> f64 {
    let rounds: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            (0..count).for_each(&mut call);
            start.elapsed().as_nanos() as f64 / count as f64
        })
        .collect();
    median(&rounds)
}

impl Limits {
    /// Measures them, `count` times each in so many rounds.
    pub fn measure(rounds: usize, count: u64) -> Outcome<Limits> {
        let mut raw = Raw::new(BYTES)?;
        let objects = BYTES / 64;
        let mut random = fastrand::Rng::with_seed(1);
        let mut some = || random.u64(..objects);
        let drain_ns = time(rounds, count, |n| raw.word(some(), n, Update::Blind));
        let sixty_five = time(rounds, count / 16, |n| {
            let objects: [u64; 64] = std::array::from_fn(|_| some());
            raw.many_then_flag(&objects, n, Update::Blind);
        });
        // Both of its drains are for 65 lines and for one: what is left are 64 lines.
        let line_ns = ((sixty_five - 2.0 * drain_ns) / 64.0).max(0.0);
        let region = place::mapping(BYTES).map_err(|error| error.to_string())?.into_region();
        let mut page = [1u8; 4096];
        let mut at = 0;
        let mut next = || {
            at = (at + 4096 * 97) % BYTES;
            at
        };
        let copy_4k_ns = time(rounds, count / 4, |_| {
            // SAFETY: in bounds, in a region that only this thread knows, and to which there is no reference.
            unsafe { region.store_nontemporal(next(), &page) };
            region.drain().expect("no page is written back here");
        });
        let read_4k_ns = time(rounds, count / 4, |_| {
            // SAFETY: as above.
            unsafe { region.load(next(), &mut page) };
            black_box(&page);
        });
        let mut chase = Chase::new(BYTES as usize, 1);
        let dependent_read_ns = median(&(0..rounds).map(|_| chase.step(count as u32)).collect::<Vec<f64>>());
        let clock_ns = time(rounds, count, |_| _ = black_box(Instant::now()));
        Ok(Limits { drain_ns, line_ns, copy_4k_ns, read_4k_ns, dependent_read_ns, clock_ns })
    }

    /// Each with its name.
    pub fn named(&self) -> [(&'static str, f64); 6] {
        [
            ("a line stored, flushed and drained", self.drain_ns),
            ("a line more under the same drain", self.line_ns),
            ("4 KiB past the caches, and a drain", self.copy_4k_ns),
            ("4 KiB read, in no cache", self.read_4k_ns),
            ("a dependent read, in no cache", self.dependent_read_ns),
            ("a look at the clock", self.clock_ns),
        ]
    }
}
