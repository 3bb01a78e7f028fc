//! Loops that never change: what they take from one round to the next is the machine's doing.

use super::statistics::thousandths;
use crate::cpu_time;
use serde::{Deserialize, Serialize};
use std::{hint::black_box, time::Instant};

/// The control loops beside a panel, a sample for each round: nanoseconds of one step by the clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Controls {
    /// Arithmetic, each step on the result of the one before.
    pub arithmetic_ns: Vec<f64>,
    /// Reads of random lines, each at the place that the one before named.
    pub memory_ns: Vec<f64>,
    /// Of the time by the clock, the share for which this thread had a CPU.
    pub cpu_share: Vec<f64>,
}

/// A ring through memory, in random order.
pub struct Chase {
    next: Vec<u32>,
    at: u32,
}

impl Chase {
    /// Words of a line: one of them is used.
    const LINE: usize = 16;

    /// Over so many bytes, in lines.
    pub fn new(bytes: usize, seed: u64) -> Chase {
        let lines = (bytes / 64).max(2);
        let mut order: Vec<u32> = (0..lines as u32).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        let mut next = vec![0; lines * Chase::LINE];
        for (i, line) in order.iter().enumerate() {
            next[*line as usize * Chase::LINE] = order[(i + 1) % lines];
        }
        Chase { next, at: 0 }
    }

    /// Nanoseconds of one read, of so many.
    pub fn step(&mut self, steps: u32) -> f64 {
        let start = Instant::now();
        for _ in 0..steps {
            self.at = self.next[self.at as usize * Chase::LINE];
        }
        black_box(self.at);
        start.elapsed().as_nanos() as f64 / f64::from(steps)
    }
}

/// The loops.
pub struct Control {
    chase: Chase,
    steps: u32,
}

impl Control {
    /// Of so many steps for each round.
    pub fn new(steps: u32) -> Control {
        Control { chase: Chase::new(64 << 20, 1), steps }
    }

    /// Runs both loops once.
    pub fn round(&mut self, controls: &mut Controls) {
        let (start, cpu) = (Instant::now(), cpu_time::now());
        let mut sum = 1u64;
        for n in 0..u64::from(self.steps) * 16 {
            sum = black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n));
        }
        let arithmetic = start.elapsed().as_nanos() as f64 / f64::from(self.steps * 16);
        controls.arithmetic_ns.push(thousandths(arithmetic));
        controls.memory_ns.push(thousandths(self.chase.step(self.steps)));
        let (wall, cpu) = (start.elapsed().as_nanos() as f64, (cpu_time::now() - cpu) as f64);
        controls.cpu_share.push(thousandths((cpu / wall).min(1.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_goes_through_every_line() {
        let mut chase = Chase::new(64 * 100, 7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            assert!(seen.insert(chase.at));
            chase.step(1);
        }
        assert_eq!((seen.len(), chase.at), (100, 0));
    }
}
