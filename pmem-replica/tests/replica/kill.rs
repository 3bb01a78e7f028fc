//! Processes that are killed: a publisher, and a follower.

use crate::{
    bank::{MINUTE, Pair, audit, balances, config, expected, options, servers, sync, transfer},
    network::{Proxy, Way},
};
use pmem_replica::{Config, Follower, Primary};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

const WHAT: &str = "REPLICA_TEST_CHILD";

/// Runs this test program again, as `what`, with that path and configuration.
fn child(what: &str, path: &Path, servers: &str, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_process", "--nocapture"])
        .env(WHAT, what)
        .env("REPLICA_TEST_PATH", path)
        .env("REPLICA_TEST_SERVERS", servers)
        .env("REPLICA_TEST_NAME", name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// No test of its own: what the killed processes are.
#[test]
fn child_process() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let get = |name| std::env::var(name).unwrap();
    let (path, name) = (get("REPLICA_TEST_PATH"), get("REPLICA_TEST_NAME"));
    let config =
        Config::new(&get("REPLICA_TEST_SERVERS"), &name).lease(Duration::from_secs(2)).patience(MINUTE);
    // The parent is gone: so is this one.
    std::thread::spawn(|| {
        _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(1);
    });
    let mut out = std::io::stdout();
    if what == "follower" {
        // SAFETY: a file that one child after the other has.
        let follower = unsafe { Follower::open(path, &options(), &config, "follower") }.unwrap();
        writeln!(out, "\nready").unwrap();
        loop {
            std::thread::sleep(MINUTE);
            assert!(follower.error().is_none());
        }
    }
    let config = if what == "sync" { config.mode(sync()) } else { config };
    // SAFETY: as above.
    let primary = unsafe { Primary::open(path, &options(), &config) }.unwrap();
    writeln!(out, "\nready").unwrap();
    loop {
        let number = transfer(primary.pool()).unwrap();
        writeln!(out, "done {number}").unwrap();
    }
}

/// Lets a child work for a while after it is ready, and kills it. The last number that it said was done.
fn run_and_kill(child: Child, work: Duration) -> u64 {
    kill_after(child, |_| std::thread::sleep(work))
}

/// The same, with something else to be done meanwhile, which is told the last number that was said to be done by then.
fn kill_after(mut child: Child, meanwhile: impl FnOnce(&AtomicU64)) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(lines.by_ref().any(|line| line == "ready"), "it did not begin: {:?}", child.wait());
    let done = Arc::new(AtomicU64::new(0));
    let said = done.clone();
    let reader = std::thread::spawn(move || {
        for number in lines.filter_map(|line| line.strip_prefix("done ").and_then(|n| n.parse().ok())) {
            said.store(number, Relaxed);
        }
    });
    meanwhile(&done);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    done.load(Relaxed)
}

#[test]
fn a_publisher_that_is_killed_twenty_times_loses_nothing_and_sends_nothing_twice() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "publisher"));
    let follower = pair.seed(&pair.create(), "follower");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut done = 0;
    for round in 0..20 {
        let what = if round % 2 == 0 { "sync" } else { "async" };
        let child = child(what, &pair.path("primary"), &servers.url(), "publisher");
        let last = run_and_kill(child, Duration::from_micros(rng.u64(0..150_000)));
        done = done.max(last);
        if what == "sync" {
            // The stream has what was acknowledged, without the primary.
            let started = Instant::now();
            while audit(follower.pool()) < last {
                assert!(started.elapsed() < MINUTE, "{last} was acknowledged: {follower:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    let primary = pair.open().unwrap();
    primary.flush(MINUTE).unwrap();
    let transfers = audit(primary.pool());
    assert!(transfers >= done, "{done} were done");
    assert!(follower.wait_for(primary.status().committed, MINUTE), "{follower:?}");
    assert_eq!(audit(follower.pool()), transfers);
    assert_eq!(balances(follower.pool()), expected(transfers));
    assert_eq!(primary.pool().digest().unwrap(), follower.pool().digest().unwrap());
    println!("{transfers} transfers, 20 kills, {done} were said to be done");
}

#[test]
fn a_publisher_that_is_killed_before_it_could_publish_or_before_it_heard_of_it_sends_each_commit_once() {
    let Some(servers) = servers() else { return };
    let proxy = Proxy::start(servers.port(2));
    let pair = Pair::new(config(servers, "unheard"));
    let follower = pair.seed(&pair.create(), "follower");
    let mut before = 0;
    for way in [Way::ToServer, Way::FromServer, Way::ToServer, Way::FromServer] {
        let child = child("async", &pair.path("primary"), &proxy.url(), "unheard");
        let done = kill_after(child, |done| {
            let wait_for = |number| {
                let started = Instant::now();
                while done.load(Relaxed) < number {
                    assert!(started.elapsed() < MINUTE, "{way:?}: {number} transfers");
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            wait_for(before + 1);
            proxy.swallow(way);
            // More than two messages take, which may have been under way.
            wait_for(done.load(Relaxed) + 5_000);
        });
        // What the stream has without the primary: everything that was sent, and not what was not.
        proxy.mend();
        let seen = audit(follower.pool());
        let primary = pair.open().unwrap();
        let waited = primary.status().lag_records;
        primary.flush(MINUTE).unwrap();
        let transfers = audit(primary.pool());
        assert!(transfers >= done && done > before, "{way:?}: {transfers} of {done}, after {before}");
        assert!(seen < transfers, "{way:?}: it went on without being heard");
        assert!(follower.wait_for(primary.status().committed, MINUTE), "{way:?}: {follower:?}");
        assert_eq!(balances(follower.pool()), expected(transfers), "{way:?}");
        assert_eq!(primary.pool().digest().unwrap(), follower.pool().digest().unwrap());
        println!("{way:?}: {done} were done, {seen} had been seen, {waited} waited when it was opened");
        before = transfers;
    }
}

#[test]
fn a_follower_that_is_killed_applies_each_record_once() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "followed"));
    let primary = pair.create();
    drop(pair.seed(&primary, "follower"));
    let mut rng = fastrand::Rng::new();
    println!("seed {}", rng.get_seed());
    let mut transfers = 0;
    std::thread::scope(|s| {
        let killer = s.spawn(|| {
            for _ in 0..10 {
                let child = child("follower", &pair.path("follower"), &servers.url(), "followed");
                run_and_kill(child, Duration::from_micros(rng.u64(0..200_000)));
            }
        });
        while !killer.is_finished() {
            transfers = transfer(primary.pool()).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
        killer.join().unwrap();
    });
    let follower = pair.follow("follower").unwrap();
    primary.flush(MINUTE).unwrap();
    assert!(follower.wait_for(primary.status().committed, MINUTE), "{follower:?}");
    assert_eq!(balances(follower.pool()), expected(transfers));
    assert_eq!(primary.pool().digest().unwrap(), follower.pool().digest().unwrap());
    println!("{transfers} transfers, 10 kills");
}

/// A primary in a process of its own that is killed. The last transfer that it acknowledged.
pub(crate) fn killed_primary(pair: &Pair, servers: &str, name: &str, what: &str, work: Duration) -> u64 {
    run_and_kill(child(what, &pair.path("primary"), servers, name), work)
}
