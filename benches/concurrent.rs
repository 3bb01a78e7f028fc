//! Concurrent containers against their like in DRAM, with one thread and with two:
//! `cargo bench -p benches --bench concurrent`.
//!
//! Of each phase of a row: the wall-clock time of an operation (that of the phase over its operations, all threads together), and the
//! CPU time of one, of all threads, which is what is left of a figure on a machine that others use. One operation in 16 is timed by itself
//! for the quantiles (of batches, one batch in 16), with two threads. Rows of a round follow each other directly; medians of the rounds. A loop of pure arithmetic
//! beside them shows what a second thread can gain on this machine at all.
//!
//! `BENCH_ENTRIES` says how many entries (default 500,000), `BENCH_ROUNDS` how many rounds (3).

use benches::{cpu_time, latency::Latency, maps::key, place, rounds::median};
use pmem_collections::{ConcurrentHashMap, ConcurrentLog, ConcurrentMap, MpmcQueue, Pool};
use std::{collections::BTreeMap, hint::black_box, time::Instant};

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
        if measuring { (number("BENCH_ENTRIES", 500_000), number("BENCH_ROUNDS", 3)) } else { (1_000, 1) };
    let mut rows: BTreeMap<(usize, &str, &str), [Measured; 2]> = BTreeMap::new();
    for _ in 0..rounds {
        for (at, threads) in [1, 2].into_iter().enumerate() {
            let mut note = |row, what, phase, times: Times| {
                let measured = &mut rows.entry((row, what, phase)).or_default()[at];
                measured.wall.push(times.wall);
                measured.cpu.push(times.cpu);
                match &mut measured.latency {
                    Some(latency) => latency.add(&times.latency),
                    none => *none = Some(times.latency),
                }
            };
            note(0, "arithmetic", "control", in_parallel(threads, entries, |n| _ = black_box(arithmetic(n))));
            maps(threads, entries, &mut note);
            others(threads, entries, &mut note);
        }
    }
    if measuring {
        print(entries, rows);
    }
}

/// The rounds of one phase.
#[derive(Default)]
struct Measured {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    latency: Option<Latency>,
}

fn print(entries: u64, rows: BTreeMap<(usize, &str, &str), [Measured; 2]>) {
    println!("{entries} entries, files in {}; ns an operation", place::folder().display());
    println!(
        "{:<42} {:>8} {:>8} {:>6}  {:>8} {:>8}  {}",
        "",
        "1 thread",
        "2",
        "gain",
        "CPU, 1",
        "CPU, 2",
        Latency::heads()
    );
    for ((_, what, phase), [one, two]) in rows {
        let [wall, wall_of_two, cpu, cpu_of_two] = [one.wall, two.wall, one.cpu, two.cpu].map(median);
        println!(
            "{:<42} {wall:>8.0} {wall_of_two:>8.0} {:>5.2}x  {cpu:>8.0} {cpu_of_two:>8.0}  {}",
            format!("{what}: {phase}"),
            wall / wall_of_two,
            two.latency.map(|latency| latency.line()).unwrap_or_default()
        );
    }
}

/// What one phase took: nanoseconds of an operation.
struct Times {
    wall: f64,
    cpu: f64,
    latency: Latency,
}

/// As long as an operation takes, about: 50 keys.
fn arithmetic(n: u64) -> u64 {
    (0..50).fold(n, |sum, i| sum ^ key(n * 50 + i))
}

/// Times `operations` calls of `work` with the numbers below, shared out among threads.
fn in_parallel(threads: u64, operations: u64, work: impl Fn(u64) + Sync) -> Times {
    const SAMPLED: u64 = 16;
    let start = Instant::now();
    let parts: Vec<(u64, Latency)> = std::thread::scope(|s| {
        let work = &work;
        let workers = (0..threads).map(|thread| {
            s.spawn(move || {
                let mut latency = Latency::empty();
                let cpu = cpu_time::of(|| {
                    for n in (thread..operations).step_by(threads as usize) {
                        if n / threads % SAMPLED != 0 {
                            work(n);
                            continue;
                        }
                        let before = Instant::now();
                        work(n);
                        latency.record(before.elapsed());
                    }
                });
                (cpu, latency)
            })
        });
        let workers: Vec<_> = workers.collect();
        workers.into_iter().map(|worker| worker.join().expect("no operation failed")).collect()
    });
    let each = |nanoseconds: u128| nanoseconds as f64 / operations as f64;
    let wall = each(start.elapsed().as_nanos());
    let mut all = Latency::empty();
    parts.iter().for_each(|(_, latency)| all.add(latency));
    Times { wall, cpu: each(parts.iter().map(|(cpu, _)| u128::from(*cpu)).sum()), latency: all }
}

fn pool(entries: u64) -> Pool {
    let len = (entries * 256 + (16 << 20)).next_multiple_of(4096);
    Pool::create_on(place::mapping(len).expect("a folder with room")).expect("a pool")
}

type Note<'a> = dyn FnMut(usize, &'static str, &'static str, Times) + 'a;

/// Fills, reads and empties a map; each phase by all threads.
fn phases(
    (row, what): (usize, &'static str),
    (threads, entries): (u64, u64),
    note: &mut Note<'_>,
    insert: impl Fn(u64) + Sync,
    get: impl Fn(u64) -> Option<u64> + Sync,
    remove: impl Fn(u64) -> bool + Sync,
) {
    note(row, what, "1 insert", in_parallel(threads, entries, insert));
    note(row, what, "2 get", in_parallel(threads, entries, |n| assert_eq!(get(n), Some(n))));
    note(row, what, "3 miss", in_parallel(threads, entries, |n| assert_eq!(get(n + entries), None)));
    note(row, what, "4 remove", in_parallel(threads, entries, |n| assert!(remove(n))));
}

fn maps(threads: u64, entries: u64, note: &mut Note<'_>) {
    let pool = pool(entries);
    let map = ConcurrentHashMap::<u64, u64>::open(&pool, "hash").expect("a map");
    phases(
        (1, "ConcurrentHashMap"),
        (threads, entries),
        note,
        |n| _ = map.insert(key(n), n).expect("room"),
        |n| map.get(key(n)).expect("no damage"),
        |n| map.remove(key(n)).expect("no damage").is_some(),
    );
    let map = dashmap::DashMap::new();
    phases(
        (2, "dashmap (DRAM)"),
        (threads, entries),
        note,
        |n| _ = map.insert(key(n), n),
        |n| map.get(&key(n)).map(|value| *value),
        |n| map.remove(&key(n)).is_some(),
    );
    let map = ConcurrentMap::<u64, u64>::open(&pool, "ordered").expect("a map");
    phases(
        (3, "ConcurrentMap"),
        (threads, entries),
        note,
        |n| _ = map.insert(key(n), n).expect("room"),
        |n| map.get(key(n)).expect("no damage"),
        |n| map.remove(key(n)).expect("no damage").is_some(),
    );
    let map = crossbeam_skiplist::SkipMap::new();
    phases(
        (4, "crossbeam-skiplist (DRAM)"),
        (threads, entries),
        note,
        |n| _ = map.insert(key(n), n),
        |n| map.get(&key(n)).map(|entry| *entry.value()),
        |n| map.remove(&key(n)).is_some(),
    );
}

fn others(threads: u64, entries: u64, note: &mut Note<'_>) {
    let pool_of_queue = pool(entries);
    let queue = MpmcQueue::<u64>::open(&pool_of_queue, "queue").expect("a queue");
    note(5, "MpmcQueue", "1 push", in_parallel(threads, entries, |n| queue.push(n).expect("room")));
    let pop = |_| assert!(queue.pop().expect("no damage").is_some());
    note(5, "MpmcQueue", "2 pop", in_parallel(threads, entries, pop));
    let pool_of_log = pool(entries);
    let log = ConcurrentLog::open(&pool_of_log, "log").expect("a log");
    let append = |n: u64| _ = log.append(&[n as u8; 64]).expect("room");
    note(6, "ConcurrentLog", "1 append of 64 B", in_parallel(threads, entries, append));
    let mut batches = in_parallel(threads, entries / 32, |n| {
        _ = log.append_all([[n as u8; 64].as_slice(); 32]).expect("room");
    });
    (batches.wall, batches.cpu) = (batches.wall / 32.0, batches.cpu / 32.0);
    note(6, "ConcurrentLog", "2 the same, batches of 32", batches);
}
