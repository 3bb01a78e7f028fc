//! Single operations: how long the median takes, and how long the unlucky one.
//!
//! By the wall clock, for that is what a caller waits; so the tail holds what the machine interrupts as well. The
//! *control* beside it does nothing but look at the clock for as long as the operations took: what its tail shows is
//! the machine's, not the program's.

use hdrhistogram::Histogram;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// A minute: longer times count as this.
const LONGEST: u64 = 60_000_000_000;

/// Times of single operations, in nanoseconds.
pub struct Latency(Histogram<u64>);

impl Latency {
    /// Of no operations.
    pub fn empty() -> Latency {
        Latency(Histogram::new_with_max(LONGEST, 3).expect("a range of 3 digits"))
    }

    /// One operation more.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(time.as_nanos() as u64);
    }

    /// Those of another thread, or another round.
    pub fn add(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("ranges are equal");
    }

    /// Times each of `operations` operations, from one look at the clock to the next: the CPU may read the clock
    /// while a drain still holds the stores back, and the wait would fall between the operations.
    pub fn of(operations: u64, mut operation: impl FnMut(u64)) -> Latency {
        let mut latency = Latency::empty();
        let mut before = Instant::now();
        for i in 0..operations {
            operation(i);
            let now = Instant::now();
            latency.0.saturating_record((now - before).as_nanos() as u64);
            before = now;
        }
        latency
    }

    /// The machine alone: as many looks at the clock as operations, spread over the same time, each as long as an
    /// operation of `typical` nanoseconds.
    pub fn control(operations: u64, typical: u64) -> Latency {
        let typical = Duration::from_nanos(typical);
        Latency::of(operations, |_| {
            let before = Instant::now();
            while before.elapsed() < typical {
                black_box(());
            }
        })
    }

    /// The time that this share of the operations, from 0 to 1, did not exceed.
    pub fn quantile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// Heads of the columns that [`line`](Latency::line) fills.
    pub fn heads() -> String {
        format!("{:>9} {:>9} {:>9} {:>11}", "p50", "p99", "p99.9", "max")
    }

    /// The quantiles in nanoseconds, as columns.
    pub fn line(&self) -> String {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.quantile(share));
        format!("{p50:>9} {p99:>9} {p999:>9} {:>11}", self.0.max())
    }
}
