//! What a mount has done: requests with their latencies, space, drains, collection of logs. Read through the mount itself, as JSON, from an extended
//! attribute of its root directory: [`ATTRIBUTE`].

use hdrhistogram::Histogram;
use nova_core::Nova;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The attribute that has them. It is in no list, and costs nothing on media.
pub const ATTRIBUTE: &str = "nova.stats";

/// Sorts of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub(crate) enum Operation {
    Lookup,
    Stat,
    SetAttributes,
    Create,
    Remove,
    Rename,
    Open,
    Read,
    Write,
    Sync,
    ReadDir,
    Xattr,
    Allocate,
    Copy,
    Other,
}

/// Their names, in their order.
const NAMES: [&str; 15] = [
    "lookup", "stat", "setattr", "create", "remove", "rename", "open", "read", "write", "sync", "readdir",
    "xattr", "allocate", "copy", "other",
];

/// A histogram of nanoseconds.
fn histogram() -> Histogram<u64> {
    const LEAST: u64 = 128;
    const MOST: u64 = 1 << 37; // two minutes
    let mut histogram = Histogram::new_with_bounds(LEAST, MOST, 1).expect("bounds that are right");
    histogram.auto(true);
    histogram
}

/// The number of a latency's bucket: eight for each power of two. Short in JSON, so that all of them fit into an attribute.
fn bucket(nanoseconds: u64) -> u16 {
    let shift = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(4);
    (shift * 8) as u16 + (nanoseconds >> shift) as u16
}

/// The longest latency of a bucket.
fn longest(bucket: u16) -> u64 {
    match u32::from(bucket / 8).checked_sub(1) {
        None => u64::from(bucket),
        Some(shift) => (u64::from(bucket % 8 + 8 + 1) << shift.min(59)) - 1,
    }
}

/// What is counted while a mount is served.
pub(crate) struct Stats {
    started: Instant,
    latencies: [Mutex<Histogram<u64>>; NAMES.len()],
    read: AtomicU64,
    written: AtomicU64,
}

impl Stats {
    pub(crate) fn new() -> Stats {
        Stats {
            started: Instant::now(),
            latencies: std::array::from_fn(|_| Mutex::new(histogram())),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(crate) fn request(&self, operation: Operation) -> Request<'_> {
        Request { stats: self, operation, started: Instant::now() }
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
    }

    /// All of it, now.
    pub(crate) fn snapshot(&self, nova: &Nova) -> Snapshot {
        let (space, counters, collections) = (nova.statfs(), nova.counters(), nova.collections());
        let operations = self.latencies.iter().zip(NAMES).filter_map(|(histogram, name)| {
            let histogram = histogram.lock();
            let mut buckets: Vec<(u16, u64)> = Vec::new();
            for value in histogram.iter_recorded() {
                let (bucket, count) = (bucket(value.value_iterated_to()), value.count_since_last_iteration());
                match buckets.last_mut() {
                    Some(last) if last.0 == bucket => last.1 += count,
                    _ => buckets.push((bucket, count)),
                }
            }
            (!buckets.is_empty()).then(|| (name.to_owned(), buckets))
        });
        Snapshot {
            uptime_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            operations: operations.collect(),
            bytes_read: self.read.load(Relaxed),
            bytes_written: self.written.load(Relaxed),
            lines: counters.lines(),
            drains: counters.drains,
            syncs: counters.syncs,
            rewritten_logs: collections.rewritten_logs,
            rewritten_pages: collections.rewritten_pages,
            dropped_pages: collections.dropped_pages,
            size: space.blocks * nova_core::BLOCK,
            free: space.free * nova_core::BLOCK,
            inodes: space.inodes - space.free_inodes,
        }
    }
}

/// A request that is being served.
pub(crate) struct Request<'s> {
    stats: &'s Stats,
    operation: Operation,
    started: Instant,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.stats.latencies[self.operation as usize].lock().saturating_record(nanoseconds);
        tracing::trace!(operation = NAMES[self.operation as usize], ?took, "served");
    }
}

/// What a mount has done since it is served, and how full it is. As JSON it is what [`ATTRIBUTE`] holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// For how long it is served.
    pub uptime_ns: u64,
    /// Of each sort of requests that there were: buckets of latencies inside the daemon, and how many each has. See
    /// [`latencies`](Snapshot::latencies).
    pub operations: BTreeMap<String, Vec<(u16, u64)>>,
    /// Bytes of files that were read.
    pub bytes_read: u64,
    /// Bytes of files that were written.
    pub bytes_written: u64,
    /// Lines on their way to the medium.
    pub lines: u64,
    /// Drains.
    pub drains: u64,
    /// Write-backs, where a drain is one.
    pub syncs: u64,
    /// Logs that were written anew.
    pub rewritten_logs: u64,
    /// Pages that these did not need any more.
    pub rewritten_pages: u64,
    /// Oldest pages of logs that went because nothing of them counted.
    pub dropped_pages: u64,
    /// Bytes that data and metadata can have.
    pub size: u64,
    /// Bytes of these that nothing has.
    pub free: u64,
    /// Inodes in use.
    pub inodes: u64,
}

/// One sort of requests, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Requests.
    pub count: u64,
    /// Half of them took at most this.
    pub p50: Duration,
    /// 99 of 100 took at most this.
    pub p99: Duration,
    /// The longest, rounded up as these are: by an eighth at most.
    pub max: Duration,
}

impl Snapshot {
    /// Reads what [`ATTRIBUTE`] holds.
    ///
    /// # Errors
    ///
    /// It is not that.
    pub fn parse(json: &[u8]) -> Result<Snapshot, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// What happened after `before`, an earlier one of the same mount. What is a state, not a count (space, inodes), is the later one's.
    pub fn since(&self, before: &Snapshot) -> Snapshot {
        let less = |name: &String, buckets: &Vec<(u16, u64)>| -> Vec<(u16, u64)> {
            let old: BTreeMap<u16, u64> =
                before.operations.get(name).into_iter().flatten().copied().collect();
            let left = buckets
                .iter()
                .map(|(value, count)| (*value, count.saturating_sub(old.get(value).copied().unwrap_or(0))));
            left.filter(|(_, count)| *count > 0).collect()
        };
        let operations = self.operations.iter().map(|(name, buckets)| (name.clone(), less(name, buckets)));
        Snapshot {
            uptime_ns: self.uptime_ns.saturating_sub(before.uptime_ns),
            operations: operations.filter(|(_, buckets)| !buckets.is_empty()).collect(),
            bytes_read: self.bytes_read.saturating_sub(before.bytes_read),
            bytes_written: self.bytes_written.saturating_sub(before.bytes_written),
            lines: self.lines.saturating_sub(before.lines),
            drains: self.drains.saturating_sub(before.drains),
            syncs: self.syncs.saturating_sub(before.syncs),
            rewritten_logs: self.rewritten_logs.saturating_sub(before.rewritten_logs),
            rewritten_pages: self.rewritten_pages.saturating_sub(before.rewritten_pages),
            dropped_pages: self.dropped_pages.saturating_sub(before.dropped_pages),
            ..self.clone()
        }
    }

    /// Every sort of requests, summed up.
    pub fn latencies(&self) -> impl Iterator<Item = (&str, Latency)> {
        self.operations.iter().map(|(name, buckets)| (name.as_str(), Latency::of(buckets)))
    }
}

impl Latency {
    fn of(buckets: &[(u16, u64)]) -> Latency {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let quantile = |share: f64| {
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let found = buckets.iter().find(|(_, count)| {
                seen += count;
                seen >= rank
            });
            Duration::from_nanos(found.map_or(0, |(bucket, _)| longest(*bucket)))
        };
        Latency { count, p50: quantile(0.5), p99: quantile(0.99), max: quantile(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(buckets: &[(u16, u64)]) -> Snapshot {
        let nova = Nova::format(pmem_map::Mapping::memfd(1 << 20).unwrap()).unwrap();
        let mut snapshot = Stats::new().snapshot(&nova);
        snapshot.operations.insert("read".into(), buckets.to_vec());
        snapshot
    }

    #[test]
    fn a_bucket_has_what_is_up_to_an_eighth_less_than_its_longest() {
        for value in (0..1000).chain((1..63).flat_map(|bit| [1 << bit, (1 << bit) + 1, (1u64 << bit) - 1])) {
            let (number, longest) = (bucket(value), longest(bucket(value)));
            assert!(value <= longest && longest - value <= value / 8, "{value} {longest}");
            assert!(bucket(longest) == number && bucket(longest + 1) == number + 1, "{value}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_requests() {
        let latency = Latency::of(&[(bucket(1000), 50), (bucket(2000), 49), (bucket(9000), 1)]);
        let longest = |value| Duration::from_nanos(longest(bucket(value)));
        assert_eq!(
            latency,
            Latency { count: 100, p50: longest(1000), p99: longest(2000), max: longest(9000) }
        );
        assert_eq!(Latency::of(&[]).count, 0);
    }

    #[test]
    fn an_interval_has_what_came_in_it() {
        let (before, after) = (snapshot(&[(100, 5), (200, 1)]), snapshot(&[(100, 5), (200, 4), (210, 2)]));
        let since = after.since(&before);
        assert_eq!(since.operations["read"], [(200, 3), (210, 2)]);
        assert!(after.since(&after).operations.is_empty());
        assert_eq!(since.free, after.free);
    }

    #[test]
    fn all_that_can_be_recorded_fits_an_attribute() {
        let nova = Nova::format(pmem_map::Mapping::memfd(1 << 20).unwrap()).unwrap();
        let stats = Stats::new();
        for latency in &stats.latencies {
            // From a microsecond to ten seconds, every value.
            let mut value = 1000;
            while value < 10_000_000_000 {
                latency.lock().saturating_record_n(value, 1 << 30);
                value += value / 32;
            }
        }
        let json = serde_json::to_vec(&stats.snapshot(&nova)).unwrap();
        assert!(json.len() < 1 << 16, "{} bytes", json.len());
        assert_eq!(Snapshot::parse(&json).unwrap().operations, stats.snapshot(&nova).operations);
    }
}
