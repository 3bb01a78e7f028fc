//! Containers in a pool against their twins in DRAM: `cargo bench -p benches --bench collections`.
//!
//! Each is filled, read, scanned and emptied in turn with its twin, round after round: median CPU time of an operation, and
//! the median of the rounds' ratios. Each insert and remove is a durable transaction of its own. Then the latencies of
//! single inserts. The ordered map has a bench of its own, `btree`.
//!
//! `BENCH_ENTRIES` says how many entries (default 1,000,000), `BENCH_ROUNDS` how many rounds (3).

use benches::{
    cpu_time,
    hash_maps::{HashedMap, Persistent, Standard},
    latency::Latency,
    maps::key,
    place, rounds,
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--list") {
        return;
    }
    if !has("--bench") || has("--test") {
        // As a test: all the work, with its verification, once.
        for keys in [Keys::Random, Keys::Sequential] {
            fill_and_empty::<Persistent>(1000, keys);
            fill_and_empty::<Standard>(1000, keys);
        }
        return;
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let (entries, count) = (number("BENCH_ENTRIES", 1_000_000), number("BENCH_ROUNDS", 3));
    println!("CPU {:?}, files in {}", cpu_time::pin(), place::folder().display());
    for keys in [Keys::Random, Keys::Sequential] {
        hash_table(entries, count, keys);
    }
    latencies(entries);
}

/// Which keys, in the order in which they are inserted.
#[derive(Clone, Copy, Debug)]
enum Keys {
    Random,
    Sequential,
}

impl Keys {
    fn at(self, i: u64) -> u64 {
        match self {
            Keys::Random => key(i),
            Keys::Sequential => i,
        }
    }

    /// A key that is never inserted.
    fn missing(self, i: u64, entries: u64) -> u64 {
        self.at(i + entries)
    }
}

/// Visits all of `entries` numbers in an order of its own: `entries` is no multiple of the factor.
fn order(i: u64, entries: u64) -> u64 {
    i * 7_368_787 % entries
}

/// Nanoseconds of CPU time, and for a persistent map lines and drains.
#[derive(Clone, Copy, Default)]
struct Cost {
    nanoseconds: f64,
    lines: f64,
    drains: f64,
}

const OPERATIONS: [&str; 5] = ["insert", "get, hit", "get, miss", "scan, per entry", "remove"];

/// What one round has measured: a cost for each of the operations, and bytes of the pool for an entry.
struct Round {
    costs: [Cost; OPERATIONS.len()],
    space: f64,
}

/// Fills a map, reads all of it, scans it and empties it again; checks what it finds at each step.
fn fill_and_empty<M: HashedMap>(entries: u64, keys: Keys) -> Round {
    let mut map = M::new();
    let used = map.bytes_used();
    let cost = |map: &mut M, work: &mut dyn FnMut(&mut M)| {
        let before = map.counters();
        let nanoseconds = cpu_time::of(|| work(map)) as f64 / entries as f64;
        let spent = map.counters() - before;
        let average = |count: u64| count as f64 / entries as f64;
        Cost { nanoseconds, lines: average(spent.lines()), drains: average(spent.drains) }
    };
    let sum = (0..entries).sum::<u64>();
    let insert = cost(&mut map, &mut |map| (0..entries).for_each(|i| map.insert(keys.at(i), i)));
    assert_eq!(map.check(), entries);
    let space = (map.bytes_used() - used) as f64 / entries as f64;
    let hit = cost(&mut map, &mut |map| {
        let found = map.get_all((0..entries).map(|i| keys.at(order(i, entries))));
        assert_eq!(found, (sum, entries));
    });
    let miss = cost(&mut map, &mut |map| {
        let found = map.get_all((0..entries).map(|i| keys.missing(order(i, entries), entries)));
        assert_eq!(found, (0, 0));
    });
    let scan = cost(&mut map, &mut |map| assert_eq!(map.sum(), sum));
    let remove = cost(&mut map, &mut |map| {
        for i in (0..entries).map(|i| order(i, entries)) {
            assert_eq!(map.remove(keys.at(i)), Some(i));
        }
    });
    assert_eq!(map.check(), 0);
    Round { costs: [insert, hit, miss, scan, remove], space }
}

fn hash_table(entries: u64, count: u64, keys: Keys) {
    println!("\n{}, {entries} {keys:?} u64 keys to u64", Persistent::NAME);
    println!("{:<16} {:>9} {:>6} {:>6} {:>8} {:>7}", "what", "ns", "lines", "drains", "std ns", "of std");
    let (mut persistent, mut standard) = (Vec::new(), Vec::new());
    for _ in 0..count {
        persistent.push(fill_and_empty::<Persistent>(entries, keys));
        standard.push(fill_and_empty::<Standard>(entries, keys));
    }
    for (number, name) in OPERATIONS.iter().enumerate() {
        let nanoseconds = |rounds: &[Round]| -> Vec<f64> {
            rounds.iter().map(|round| round.costs[number].nanoseconds).collect()
        };
        let (own, std) = (nanoseconds(&persistent), nanoseconds(&standard));
        let over = rounds::median(own.iter().zip(&std).map(|(own, std)| own / std).collect());
        let cost = persistent[0].costs[number];
        println!(
            "{name:<16} {:>9.1} {:>6.2} {:>6.3} {:>8.1} {over:>7.2}",
            rounds::median(own),
            cost.lines,
            cost.drains,
            rounds::median(std)
        );
    }
    println!("{:<16} {:>9.1} bytes, 16 of them key and value", "space per entry", persistent[0].space);
}

/// The 99.9th percentile of inserts that the goal allows, in nanoseconds.
const TAIL_GOAL: u64 = 15_000;

/// Latencies of single inserts into an empty map that grows, beside the machine's own.
fn latencies(entries: u64) {
    println!(
        "\nSingle inserts, {entries} into an empty map, wall-clock ns from one look at the clock to the next"
    );
    println!("{:<27} {}", "what", Latency::heads());
    let mut map = Persistent::new();
    let persistent = Latency::of(entries, |i| map.insert(key(i), i));
    assert_eq!(map.check(), entries);
    let mut map = Standard::new();
    let standard = Latency::of(entries, |i| map.insert(key(i), i));
    assert_eq!(map.check(), entries);
    let control = Latency::control(entries, persistent.quantile(0.5));
    println!("{:<27} {}", Persistent::NAME, persistent.line());
    println!("{:<27} {}", Standard::NAME, standard.line());
    println!("{:<27} {}", "control: the machine alone", control.line());
    let tail = persistent.quantile(0.999);
    let verdict = if tail <= TAIL_GOAL { "met" } else { "NOT MET" };
    println!("p99.9 at most {TAIL_GOAL} ns: {verdict}");
}
