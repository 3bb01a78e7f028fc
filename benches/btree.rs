//! `PBTreeMap` in a pool against `BTreeMap` in DRAM: `cargo bench -p benches --bench btree`.
//!
//! First criterion's view of single operations on filled maps (filters work as usual), then a closing table: both
//! maps filled, read, scanned and emptied in turn, round after round, with ratios and goals; then the latencies of
//! single inserts and the space that an entry takes. Each insert and remove is a durable transaction of its own.

use benches::{
    cpu_time::{self, CpuTime},
    latency::Latency,
    maps::{Map, Persistent, Standard, key},
    place, rounds,
};
use criterion::Criterion;
use std::hint::black_box;

/// Entries, and how often to measure them.
const SIZES: [(u64, usize); 2] = [(100_000, 5), (1_000_000, 3)];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let only_once = !has("--bench") || has("--test");
    let measuring = !only_once && !has("--list") && !has("--profile-time");
    let cpu = cpu_time::pin();
    let mut criterion = rounds::criterion();
    let mut ran = false;
    // Criterion has no more cases than are read: one size. The closing table has both.
    for (entries, _) in SIZES.into_iter().take(if only_once { SIZES.len() } else { 1 }) {
        let entries = if only_once { entries / 1000 } else { entries };
        ran |= bench_operations::<Persistent>(&mut criterion, entries);
        ran |= bench_operations::<Standard>(&mut criterion, entries);
    }
    criterion.final_summary();
    if only_once {
        // The closing table's work, with its verification.
        fill_and_empty::<Persistent>(1000);
        fill_and_empty::<Standard>(1000);
    }
    if measuring && ran {
        println!("CPU {cpu:?}, files in {}", place::folder().display());
        closing_table();
        latencies();
    }
}

/// Criterion's rows for a map with `entries` entries. Whether the filter let any through.
fn bench_operations<M: Map>(criterion: &mut Criterion<CpuTime>, entries: u64) -> bool {
    let mut filled: Option<M> = None;
    let mut bench = |what: &str, operation: &dyn Fn(&mut M, u64)| {
        criterion.bench_function(&format!("{}: {what}, {entries} entries", M::NAME), |bencher| {
            let map = filled.get_or_insert_with(|| {
                let mut map = M::new();
                (0..entries).for_each(|i| map.insert(key(i), i));
                map
            });
            let mut i = 0;
            bencher.iter_custom(|operations| {
                cpu_time::of(|| {
                    for _ in 0..operations {
                        operation(map, order(i, entries));
                        i += 1;
                    }
                })
            });
        });
    };
    bench("get, in a transaction of its own", &|map, i| {
        map.get_all(std::iter::once(key(i)), |value| assert_eq!(value, i));
    });
    bench("range of 100", &|map, i| {
        black_box(map.range_sum(key(i), 100));
    });
    bench("replace", &|map, i| map.insert(key(i), i));
    bench("remove and insert", &|map, i| {
        assert_eq!(map.remove(key(i)), Some(i));
        map.insert(key(i), i);
    });
    let ran = filled.is_some();
    if let Some(map) = filled {
        assert_eq!(map.len(), entries);
        map.get_all((0..entries).map(key), |value| assert!(value < entries));
        map.check();
    }
    ran
}

/// Visits all of `entries` numbers in an order of its own, over and over: `entries` is no multiple of the factor.
fn order(i: u64, entries: u64) -> u64 {
    (i % entries) * 7_368_787 % entries
}

/// Nanoseconds of CPU time, and for a persistent map lines and drains.
#[derive(Clone, Copy, Default)]
struct Cost {
    nanoseconds: f64,
    lines: f64,
    drains: f64,
}

/// What one round has measured.
struct Round {
    insert: Cost,
    get: Cost,
    scan: Cost,
    remove: Cost,
    /// Bytes of the pool for an entry.
    space: f64,
}

/// Fills a map, reads all of it, scans it and empties it again; checks what it finds at each step.
fn fill_and_empty<M: Map>(entries: u64) -> Round {
    let mut map = M::new();
    let used = map.bytes_used();
    let cost = |map: &mut M, work: &mut dyn FnMut(&mut M)| {
        let before = map.counters();
        let nanoseconds = cpu_time::of(|| work(map)) as f64 / entries as f64;
        let spent = map.counters() - before;
        let average = |count: u64| count as f64 / entries as f64;
        Cost { nanoseconds, lines: average(spent.lines()), drains: average(spent.drains) }
    };
    let insert = cost(&mut map, &mut |map| (0..entries).for_each(|i| map.insert(key(i), i)));
    assert_eq!(map.len(), entries);
    map.check();
    let space = (map.bytes_used() - used) as f64 / entries as f64;
    let get = cost(&mut map, &mut |map| {
        let mut i = 0;
        map.get_all((0..entries).map(|i| key(order(i, entries))), |value| {
            assert_eq!(value, order(i, entries));
            i += 1;
        });
    });
    let mut sum = 0;
    let scan = cost(&mut map, &mut |map| sum = map.range_sum(0, entries));
    assert_eq!(sum, (0..entries).sum::<u64>());
    let remove = cost(&mut map, &mut |map| {
        (0..entries).for_each(|i| assert_eq!(map.remove(key(order(i, entries))), Some(order(i, entries))))
    });
    assert_eq!(map.len(), 0);
    map.check();
    Round { insert, get, scan, remove, space }
}

/// How PMDK's numbers were measured, and on what.
const PMDK: &str = "\
PMDK: example btree_map of libpmemobj 1.12.1 (Debian 12), random u64 keys, one transaction each, PMEM_IS_PMEM_FORCE=1
on tmpfs, best CPU time of several runs on a 2-vCPU AMD EPYC guest of another kind. Other hardware, other day: an anchor, no contest.";

/// An operation of the closing table.
struct Operation {
    name: &'static str,
    of: fn(&Round) -> Cost,
    /// PMDK's nanoseconds with 100,000 entries and with 1,000,000; `None` where it was not measured.
    pmdk: [Option<f64>; 2],
    /// Goals for 1,000,000 entries: at most so many times std's time; so many times PMDK's speed.
    goals: (Option<f64>, Option<f64>),
}

const OPERATIONS: [Operation; 4] = [
    Operation {
        name: "insert",
        of: |round| round.insert,
        pmdk: [Some(2740.0), Some(3150.0)],
        goals: (Some(1.2), Some(6.0)),
    },
    Operation {
        name: "get",
        of: |round| round.get,
        pmdk: [Some(500.0), Some(950.0)],
        goals: (Some(0.7), None),
    },
    Operation {
        name: "scan, per entry",
        of: |round| round.scan,
        pmdk: [None, Some(55.0)],
        goals: (Some(1.0), None),
    },
    Operation {
        name: "remove",
        of: |round| round.remove,
        pmdk: [Some(2900.0), Some(3660.0)],
        goals: (None, None),
    },
];

/// Bytes for an entry that the goals allow: 16 of them are the entry.
const SPACE_GOAL: f64 = 25.0;

fn closing_table() {
    println!(
        "\nRounds in turn: median CPU time per operation; \"of std\" is the median of the rounds' ratios.\n{PMDK}\n"
    );
    println!(
        "{:<16} {:>9} {:>9} {:>6} {:>6} {:>8} {:>7} {:>8}  goals",
        "what", "entries", "ns", "lines", "drains", "std ns", "of std", "of PMDK"
    );
    for (size, (entries, count)) in SIZES.into_iter().enumerate() {
        let (mut persistent, mut standard) = (Vec::new(), Vec::new());
        for _ in 0..count {
            persistent.push(fill_and_empty::<Persistent>(entries));
            standard.push(fill_and_empty::<Standard>(entries));
        }
        for operation in &OPERATIONS {
            print_operation(operation, size, entries, &persistent, &standard);
        }
        let space = persistent[0].space;
        let verdict = if space <= SPACE_GOAL { "met" } else { "NOT MET" };
        println!(
            "{:<16} {entries:>9} {space:>9.1} bytes, 16 of them key and value; at most {SPACE_GOAL}: {verdict}",
            "space per entry"
        );
    }
}

fn print_operation(
    operation: &Operation,
    size: usize,
    entries: u64,
    persistent: &[Round],
    standard: &[Round],
) {
    let nanoseconds = |rounds: &[Round]| -> Vec<f64> {
        rounds.iter().map(|round| (operation.of)(round).nanoseconds).collect()
    };
    let (own, std) = (nanoseconds(persistent), nanoseconds(standard));
    let over = rounds::median(own.iter().zip(&std).map(|(own, std)| own / std).collect());
    let (own, std) = (rounds::median(own), rounds::median(std));
    let cost = (operation.of)(&persistent[0]);
    let pmdk = operation.pmdk[size];
    let verdict = |met| if met { "met" } else { "NOT MET" };
    let mut goals = Vec::new();
    if entries == 1_000_000 {
        if let Some(most) = operation.goals.0 {
            goals.push(format!("at most {most} of std: {}", verdict(over <= most)));
        }
        if let (Some(times), Some(pmdk)) = (operation.goals.1, pmdk) {
            goals.push(format!(
                "{times}x PMDK ({:.0} ns): {:.1}x, {}",
                pmdk / times,
                pmdk / own,
                verdict(pmdk / own >= times)
            ));
        }
    }
    println!(
        "{:<16} {entries:>9} {own:>9.1} {:>6.2} {:>6.3} {std:>8.1} {over:>7.2} {:>8}  {}",
        operation.name,
        cost.lines,
        cost.drains,
        pmdk.map_or(String::new(), |pmdk| format!("{:.2}", own / pmdk)),
        goals.join("; ")
    );
}

/// The 99.9th percentile of inserts that the goals allow, in nanoseconds.
const TAIL_GOAL: u64 = 15_000;

/// Latencies of single inserts into an empty map that grows, beside the machine's own.
fn latencies() {
    let entries = SIZES[1].0;
    println!(
        "\nSingle inserts, {entries} into an empty map, wall-clock ns from one look at the clock to the next"
    );
    println!("{:<27} {}", "what", Latency::heads());
    let mut map = Persistent::new();
    let persistent = Latency::of(entries, |i| map.insert(key(i), i));
    map.get_all((0..entries).map(key), |value| assert!(value < entries));
    let mut map = Standard::new();
    let standard = Latency::of(entries, |i| map.insert(key(i), i));
    assert_eq!(map.len(), entries);
    let control = Latency::control(entries, persistent.quantile(0.5));
    println!("{:<27} {}", Persistent::NAME, persistent.line());
    println!("{:<27} {}", Standard::NAME, standard.line());
    println!("{:<27} {}", "control: the machine alone", control.line());
    let tail = persistent.quantile(0.999);
    let verdict = if tail <= TAIL_GOAL { "met" } else { "NOT MET" };
    println!("p99.9 at most {TAIL_GOAL} ns: {verdict}");
}
