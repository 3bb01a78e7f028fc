//! Vectors, deques, lists, priority queues, logs and radix trees in a pool against their twins in DRAM:
//! `cargo bench -p benches --bench sequences`.
//!
//! Each is filled, scanned and emptied, each change in a durable transaction of its own; then its twin of std does the same. CPU time of an
//! operation: medians of the rounds, and the median of the rounds' ratios. Maps have benches of their own (`btree`, `collections`), and so
//! have the concurrent containers (`concurrent`).
//!
//! `BENCH_ENTRIES` says how many elements (default 200,000), `BENCH_ROUNDS` how many rounds (3).

use benches::{cpu_time, maps::key, place, rounds::median};
use pmem_collections::*;
use std::{
    collections::{BTreeMap, BinaryHeap, LinkedList, VecDeque},
    hint::black_box,
};

/// What is done with a container, in this order.
const PHASES: [&str; 3] = ["add", "scan", "take off"];

/// Nanoseconds, lines and drains of each phase.
type Costs = [[f64; 3]; PHASES.len()];

/// A container of `u64`.
struct Subject {
    name: &'static str,
    persistent: fn(u64) -> Costs,
    twin: (&'static str, fn(u64) -> [f64; PHASES.len()]),
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--list") {
        return;
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let measuring = has("--bench") && !has("--test");
    let (entries, rounds) =
        if measuring { (number("BENCH_ENTRIES", 200_000), number("BENCH_ROUNDS", 3)) } else { (500, 1) };
    if measuring {
        println!("CPU {:?}, {entries} elements, files in {}", cpu_time::pin(), place::folder().display());
        println!(
            "{:<40} {:>8} {:>6} {:>6}   {:<24} {:>8} {:>7}",
            "", "ns", "lines", "drains", "twin", "ns", "of it"
        );
    }
    for subject in SUBJECTS {
        let all: Vec<(Costs, [f64; PHASES.len()])> =
            (0..rounds).map(|_| ((subject.persistent)(entries), (subject.twin.1)(entries))).collect();
        if !measuring {
            continue;
        }
        for (phase, what) in PHASES.iter().enumerate() {
            let own = median(all.iter().map(|(costs, _)| costs[phase][0]).collect());
            let twin = median(all.iter().map(|(_, twin)| twin[phase]).collect());
            let over = median(all.iter().map(|(costs, twin)| costs[phase][0] / twin[phase]).collect());
            let [_, lines, drains] = all[0].0[phase];
            let name = format!("{}: {what}", subject.name);
            println!(
                "{name:<40} {own:>8.0} {lines:>6.2} {drains:>6.3}   {:<24} {twin:>8.1} {over:>6.1}x",
                subject.twin.0
            );
        }
    }
}

/// Runs three phases on a pool.
fn on_a_pool(
    entries: u64,
    add: impl Fn(&Pool, u64) -> Result<()>,
    scan: impl Fn(&Pool) -> Result<u64>,
    take: impl Fn(&Pool, u64) -> Result<bool>,
) -> Costs {
    let bytes = entries * 1024 + (8 << 20);
    let pool = PoolOptions::new().create_on(place::mapping(bytes).expect("a mapping")).expect("a pool");
    let cost = |work: &mut dyn FnMut()| {
        let before = pool.region().counters();
        let nanoseconds = cpu_time::of(work) as f64;
        let spent = pool.region().counters() - before;
        [nanoseconds, spent.lines() as f64, spent.drains as f64].map(|sum| sum / entries as f64)
    };
    let added = cost(&mut || (0..entries).for_each(|i| add(&pool, i).expect("added")));
    let scanned = cost(&mut || assert_eq!(scan(&pool).expect("read"), (0..entries).sum::<u64>()));
    let taken = cost(&mut || (0..entries).for_each(|i| assert!(take(&pool, i).expect("taken off"))));
    [added, scanned, taken]
}

/// The same in DRAM.
fn in_memory<T: Default>(
    entries: u64,
    add: impl Fn(&mut T, u64),
    scan: impl Fn(&T) -> u64,
    take: impl Fn(&mut T, u64) -> bool,
) -> [f64; PHASES.len()] {
    let mut twin = T::default();
    let added = cpu_time::of(|| (0..entries).for_each(|i| add(&mut twin, i)));
    let scanned = cpu_time::of(|| assert_eq!(black_box(scan(&twin)), (0..entries).sum::<u64>()));
    let taken = cpu_time::of(|| (0..entries).for_each(|i| assert!(take(&mut twin, i))));
    [added, scanned, taken].map(|sum| sum as f64 / entries as f64)
}

/// Sums what a scan yields.
fn sum<'a>(values: impl Iterator<Item = Result<&'a u64>>) -> Result<u64> {
    values.map(|value| value.copied()).sum()
}

const SUBJECTS: &[Subject] = &[
    Subject {
        name: "PVec",
        persistent: |entries| {
            on_a_pool(
                entries,
                |pool, i| pool.write(|tx| tx.open::<PVec<u64>>("v")?.push(i)),
                |pool| sum(pool.read()?.open::<PVec<u64>>("v")?.iter()),
                |pool, _| pool.write(|tx| Ok(tx.open::<PVec<u64>>("v")?.pop()?.is_some())),
            )
        },
        twin: ("Vec", |n| {
            in_memory::<Vec<u64>>(n, |v, i| v.push(i), |v| v.iter().sum(), |v, _| v.pop().is_some())
        }),
    },
    Subject {
        name: "PDeque, as a queue",
        persistent: |entries| {
            on_a_pool(
                entries,
                |pool, i| pool.write(|tx| tx.open::<PDeque<u64>>("d")?.push_back(i)),
                |pool| sum(pool.read()?.open::<PDeque<u64>>("d")?.iter()),
                |pool, _| pool.write(|tx| Ok(tx.open::<PDeque<u64>>("d")?.pop_front()?.is_some())),
            )
        },
        twin: ("VecDeque", |n| {
            in_memory::<VecDeque<u64>>(
                n,
                |d, i| d.push_back(i),
                |d| d.iter().sum(),
                |d, _| d.pop_front().is_some(),
            )
        }),
    },
    Subject {
        name: "PLinkedList",
        persistent: |entries| {
            on_a_pool(
                entries,
                |pool, i| pool.write(|tx| tx.open::<PLinkedList<u64>>("l")?.push_back(i).map(drop)),
                |pool| sum(pool.read()?.open::<PLinkedList<u64>>("l")?.iter()),
                |pool, _| pool.write(|tx| Ok(tx.open::<PLinkedList<u64>>("l")?.pop_front()?.is_some())),
            )
        },
        twin: ("LinkedList", |n| {
            in_memory::<LinkedList<u64>>(
                n,
                |l, i| l.push_back(i),
                |l| l.iter().sum(),
                |l, _| l.pop_front().is_some(),
            )
        }),
    },
    Subject {
        name: "PPriorityQueue, random",
        persistent: |entries| {
            on_a_pool(
                entries,
                |pool, i| pool.write(|tx| tx.open::<PPriorityQueue<[u64; 2]>>("q")?.push([key(i), i])),
                |pool| {
                    let tx = pool.read()?;
                    let queue = tx.open::<PPriorityQueue<[u64; 2]>>("q")?;
                    queue.iter().map(|element| element.map(|[_, i]| *i)).sum()
                },
                |pool, _| pool.write(|tx| Ok(tx.open::<PPriorityQueue<[u64; 2]>>("q")?.pop()?.is_some())),
            )
        },
        twin: ("BinaryHeap", |n| {
            in_memory::<BinaryHeap<[u64; 2]>>(
                n,
                |q, i| q.push([key(i), i]),
                |q| q.iter().map(|element| element[1]).sum(),
                |q, _| q.pop().is_some(),
            )
        }),
    },
    Subject {
        name: "PArt, random keys of 8 bytes",
        persistent: |entries| {
            on_a_pool(
                entries,
                |pool, i| {
                    let key = key(i).to_be_bytes();
                    pool.write(|tx| tx.open::<PArt<u64>>("a")?.insert(&key[..], i).map(drop))
                },
                |pool| {
                    let tx = pool.read()?;
                    let tree = tx.open::<PArt<u64>>("a")?;
                    tree.iter().map(|entry| entry.map(|(_, value)| *value)).sum()
                },
                |pool, i| {
                    let key = key(i).to_be_bytes();
                    pool.write(|tx| Ok(tx.open::<PArt<u64>>("a")?.remove(&key[..])?.is_some()))
                },
            )
        },
        twin: ("BTreeMap<Vec<u8>, _>", |n| {
            in_memory::<BTreeMap<Vec<u8>, u64>>(
                n,
                |m, i| {
                    m.insert(key(i).to_be_bytes().to_vec(), i);
                },
                |m| m.values().sum(),
                |m, i| m.remove(&key(i).to_be_bytes()[..]).is_some(),
            )
        }),
    },
    Subject {
        name: "PLog, records of 64 bytes",
        persistent: |entries| {
            on_a_pool(
                entries,
                |pool, i| {
                    let record = [i; 8];
                    pool.write(|tx| tx.open::<PLog>("log")?.append(bytemuck::bytes_of(&record)).map(drop))
                },
                |pool| {
                    let tx = pool.read()?;
                    let log = tx.open::<PLog>("log")?;
                    let number =
                        |record: &[u8]| u64::from_le_bytes(record[..8].try_into().expect("64 bytes"));
                    log.iter().map(|entry| entry.map(|(_, record)| number(record))).sum()
                },
                |pool, i| {
                    pool.write(|tx| {
                        let mut log = tx.open::<PLog>("log")?;
                        let is_there = log.first()?.is_some();
                        if i % 64 == 63 {
                            let seqs = log.seqs()?;
                            log.truncate_before(seqs.start + 64)?;
                        }
                        Ok(is_there)
                    })
                },
            )
        },
        twin: ("VecDeque<[u64; 8]>", |n| {
            in_memory::<VecDeque<[u64; 8]>>(
                n,
                |d, i| d.push_back([i; 8]),
                |d| d.iter().map(|record| record[0]).sum(),
                |d, _| d.pop_front().is_some(),
            )
        }),
    },
];
