//! How far one stream reaches: a simulation of the publisher's one message at a time, and arithmetic for what hangs behind it.
//!
//! `cargo run --release --example replication_scale`. docs/SCALE.md has its table, and what it means.

use std::collections::VecDeque;

/// Bytes of records in one message, as in the crate.
const MESSAGE: f64 = 256.0 * 1024.0;
/// A record of a small transaction: an insert into a tree, with its allocation.
const RECORD: f64 = 300.0;
const SECONDS: f64 = 20.0;

/// What a commit rate meets on its way.
struct Place {
    name: &'static str,
    /// Seconds from sending a small message to its acknowledgement.
    acknowledge: f64,
    /// Bytes per second from the primary to the stream's leader and from there to each of two others.
    bandwidth: f64,
}

struct Outcome {
    taken: f64,
    messages: f64,
    p50: f64,
    p99: f64,
}

/// Commits arrive at random, `rate` a second; whatever waits goes with the next message, up to its size.
fn simulate(place: &Place, rate: f64, rng: &mut fastrand::Rng) -> Outcome {
    let mut arrive = || -(1.0 - rng.f64()).ln() / rate;
    let (mut now, mut next, mut waiting) = (0.0f64, arrive(), VecDeque::new());
    let (mut latencies, mut messages) = (Vec::new(), 0u64);
    while now < SECONDS {
        while next <= now {
            waiting.push_back(next);
            next += arrive();
        }
        if waiting.is_empty() {
            now = next;
            continue;
        }
        let count = waiting.len().min((MESSAGE / RECORD) as usize);
        // The leader passes the message on to the other two at the same time; a majority has it when one of them does.
        now += place.acknowledge + 2.0 * count as f64 * RECORD / place.bandwidth;
        messages += 1;
        latencies.extend(waiting.drain(..count).map(|arrived| now - arrived));
    }
    latencies.sort_unstable_by(f64::total_cmp);
    let at = |p: f64| latencies[((latencies.len() as f64 * p) as usize).min(latencies.len() - 1)] * 1e3;
    Outcome {
        taken: latencies.len() as f64 / now,
        messages: messages as f64 / now,
        p50: at(0.5),
        p99: at(0.99),
    }
}

fn main() {
    let places = [
        Place { name: "one busy machine", acknowledge: 0.0015, bandwidth: 1e9 },
        Place { name: "one rack, 10 Gbit/s", acknowledge: 0.0005, bandwidth: 1.25e9 },
        Place { name: "three zones, 10 Gbit/s", acknowledge: 0.003, bandwidth: 1.25e9 },
        Place { name: "three regions, 1 Gbit/s", acknowledge: 0.070, bandwidth: 1.25e8 },
    ];
    let mut rng = fastrand::Rng::with_seed(1);
    println!(
        "One stream, records of {RECORD} bytes, messages of up to 256 KiB, one at a time; commits arrive at random.\n"
    );
    println!("| servers in | commits/s offered | acknowledged/s | messages/s | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|");
    for place in &places {
        for rate in [100.0, 10_000.0, 100_000.0, 1_000_000.0] {
            let Outcome { taken, messages, p50, p99 } = simulate(place, rate, &mut rng);
            let behind = if taken < 0.9 * rate { " (falls behind)" } else { "" };
            println!(
                "| {} | {rate:.0} | {taken:.0}{behind} | {messages:.0} | {p50:.2} | {p99:.2} |",
                place.name
            );
        }
    }
    println!("\nFollowers, each reading {} MB/s (10,000 commits/s):\n", 10_000.0 * RECORD / 1e6);
    println!(
        "| followers | read from three servers, MB/s each | behind leaf nodes, 20 followers each: from the cluster, MB/s each server |"
    );
    println!("|---|---|---|");
    for followers in [3.0f64, 30.0, 300.0] {
        let stream = 10_000.0 * RECORD / 1e6;
        let leaves = (followers / 20.0).ceil();
        println!("| {followers} | {:.0} | {:.0} |", followers * stream / 3.0, leaves * stream / 3.0);
    }
    println!(
        "\nA follower that is lost, at 10,000 commits/s, taking in 100,000 records/s and a seed at 200 MB/s:\n"
    );
    println!("| pool | seed, s | stream since then, records | caught up after, s |");
    println!("|---|---|---|---|");
    for (name, bytes) in [("1 GiB", 1e9), ("10 GiB", 1e10), ("100 GiB", 1e11)] {
        let seed = bytes / 2e8;
        let behind = seed * 10_000.0;
        println!("| {name} | {seed:.0} | {behind:.0} | {:.0} |", seed + behind / (100_000.0 - 10_000.0));
    }
}
