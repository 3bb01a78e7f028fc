//! Operations over time: where an average hides a stall.

use super::{Outcome, engine::Make, variant::Variant};
use serde::{Deserialize, Serialize};

/// One row's operations, one after the other, in intervals of equally many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// What is done.
    pub workload: String,
    /// How it makes changes durable.
    pub variant: Variant,
    /// With what.
    pub what: String,
    /// Operations of an interval.
    pub operations: u64,
    /// The intervals.
    pub intervals: Vec<Interval>,
}

/// Operations that followed each other. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Since the first operation began.
    pub start_ns: u64,
    /// Of one operation: the median.
    pub median_ns: u64,
    /// Of the slowest one.
    pub longest_ns: u64,
}

/// Runs `intervals` times `operations` of a subject.
pub fn run(make: Make, intervals: u64, operations: u64) -> Outcome<Vec<Interval>> {
    let mut subject = make()?;
    subject.prepare(intervals * operations)?;
    let mut start_ns = 0;
    let mut done = Vec::new();
    for _ in 0..intervals {
        let mut times = subject.latencies(operations)?;
        times.sort_unstable();
        let (median_ns, longest_ns) = (times[times.len() / 2], times[times.len() - 1]);
        done.push(Interval { start_ns, median_ns, longest_ns });
        start_ns += times.iter().sum::<u64>();
    }
    subject.finish()?;
    Ok(done)
}
