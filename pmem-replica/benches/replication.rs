//! What replication costs: local commits, `Async`, `Sync`, with 1 and 8 threads, and the bare cluster beside them.
//!
//! `cargo bench -p pmem-replica` (needs `nats-server`)

#[path = "../tests/cluster/mod.rs"]
mod cluster;

use cluster::{Cluster, INSTALL};
use pmem_alloc::{Named, Pool, PoolOptions};
use pmem_collections::PBTreeMap;
use pmem_replica::{Beyond, Bound, Config, Mode, Primary, async_nats};
use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

const MAP: Named<'static, PBTreeMap<u64, u64>> = Named::new("map");
const TIME: Duration = Duration::from_secs(3);

/// Latencies in nanoseconds, and how long it took.
struct Run {
    latencies: Vec<u64>,
    took: Duration,
}

/// Runs `work` again and again on some threads.
fn run(threads: u64, work: impl Fn(u64) + Sync) -> Run {
    let next = AtomicU64::new(0);
    let started = Instant::now();
    let mut latencies = Vec::new();
    std::thread::scope(|s| {
        let all: Vec<_> = (0..threads)
            .map(|_| {
                s.spawn(|| {
                    let mut latencies = Vec::new();
                    while started.elapsed() < TIME {
                        let before = Instant::now();
                        work(next.fetch_add(1, Relaxed));
                        latencies.push(before.elapsed().as_nanos() as u64);
                    }
                    latencies
                })
            })
            .collect();
        all.into_iter().for_each(|thread| latencies.extend(thread.join().expect("no panic")));
    });
    latencies.sort_unstable();
    Run { latencies, took: started.elapsed() }
}

fn insert(pool: &Pool, n: u64) {
    let key = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 100_000;
    pool.write(|tx| tx.open(MAP)?.insert(key, n).map(drop)).expect("a commit");
}

fn print(what: &str, threads: u64, run: &Run, drains: Option<u64>, messages: Option<u64>) {
    let n = run.latencies.len();
    let at = |p: f64| run.latencies[((n as f64 * p) as usize).min(n - 1)] as f64 / 1_000.0;
    let each =
        |count: Option<u64>| count.map_or("-".into(), |count| format!("{:.3}", count as f64 / n as f64));
    println!(
        "| {what} | {threads} | {:.0} | {:.1} | {:.1} | {} | {} |",
        n as f64 / run.took.as_secs_f64(),
        at(0.5),
        at(0.99),
        each(drains),
        each(messages)
    );
}

fn bare(servers: &str) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let addresses: Vec<&str> = servers.split(',').collect();
        let client = async_nats::connect(addresses).await.expect("a server");
        let context = async_nats::jetstream::new(client);
        let config = async_nats::jetstream::stream::Config {
            name: "bare".into(),
            num_replicas: 3,
            ..Default::default()
        };
        let started = Instant::now();
        while context.get_or_create_stream(&config).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "no stream");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (mut latencies, started) = (Vec::new(), Instant::now());
        while started.elapsed() < TIME {
            let before = Instant::now();
            let sent = context.publish("bare", vec![7; 200].into()).await.expect("sent");
            sent.await.expect("stored");
            latencies.push(before.elapsed().as_nanos() as u64);
        }
        latencies.sort_unstable();
        Run { latencies, took: started.elapsed() }
    })
}

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let Some(cluster) = Cluster::start() else {
        println!("{INSTALL}");
        return;
    };
    let shm = Path::new("/dev/shm");
    let folder =
        if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a folder");
    let options = PoolOptions::new().size(64 << 20);
    println!(
        "an insert into a map of 100,000 numbers, pool in {}; servers on this machine, too\n",
        folder.path().display()
    );
    println!("| | threads | per second | p50 us | p99 us | drains each | messages each |");
    println!("|---|---|---|---|---|---|---|");
    print("a message of 200 bytes, bare cluster", 1, &bare(&cluster.url()), None, None);
    for threads in [1, 8] {
        // SAFETY: (all) files of this program alone.
        let pool = unsafe { options.create(folder.path().join(format!("local{threads}"))) }.expect("a pool");
        let before = pool.region().counters().drains;
        let local = run(threads, |n| insert(&pool, n));
        print("local", threads, &local, Some(pool.region().counters().drains - before), None);
    }
    // As fast as the stream takes it, in the long run: writers wait.
    let bound = Bound { records: 20_000, beyond: Beyond::Wait(Duration::from_secs(60)), ..Bound::default() };
    let sync = Mode::Sync { timeout: Duration::from_secs(60) };
    for (name, mode) in [("async", Mode::Async), ("sync", sync)] {
        for threads in [1, 8] {
            let config = Config::new(&cluster.url(), &format!("{name}{threads}")).mode(mode).bound(bound);
            let path = folder.path().join(format!("{name}{threads}"));
            // SAFETY: as above.
            let primary = unsafe { Primary::create(&path, &options, &config) }.expect("a primary");
            let (drains, messages) = (primary.pool().region().counters().drains, primary.status().messages);
            let replicated = run(threads, |n| insert(primary.pool(), n));
            let drains = primary.pool().region().counters().drains - drains;
            primary.flush(Duration::from_secs(60)).expect("sent");
            print(name, threads, &replicated, Some(drains), Some(primary.status().messages - messages));
        }
    }
}
