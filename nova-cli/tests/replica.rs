//! A replicated pool as people look after it, on real servers. Where `nats-server` is missing each test says that it is skipped.

#![cfg(feature = "replica")]
#![allow(unsafe_code)]

#[path = "../../pmem-replica/tests/cluster/mod.rs"]
mod cluster;
mod command;

use cluster::{Cluster, INSTALL};
use command::{fails, json, works};
use pmem_alloc::{PHeap, Pool, PoolOptions};
use pmem_replica::{Config, Follower, Primary};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn add(pool: &Pool) {
    pool.write(|tx| {
        *tx.open::<PHeap<u64>>("n")?.root_mut()? += 1;
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_pool_is_looked_at_promoted_and_seeded_again() {
    let Some(servers) = Cluster::start_with("authorization { user: pool, password: secret }") else {
        println!("SKIPPED: {INSTALL}");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let options = PoolOptions::new().size(1 << 20);
    let config = Config::new(&servers.url(), "bank")
        .lease(Duration::from_secs(1))
        .patience(MINUTE)
        .connect_with(|| {
            pmem_replica::async_nats::ConnectOptions::with_user_and_password("pool".into(), "secret".into())
        });
    let url = servers.url();
    let nova = |command: &[&str], more: &[&str]| {
        let who = [
            "--servers",
            &url,
            "--user",
            "pool",
            "--password",
            "secret",
            "--lease",
            "1",
            "--patience",
            "60",
            "--json",
        ];
        json(&[&["replica"], command, &who, more].concat())
    };
    // SAFETY: files of this test alone.
    let primary = unsafe { Primary::create(path("primary"), &options, &config) }.unwrap();
    // SAFETY: as above.
    unsafe { primary.seed(path("copy"), "copy") }.unwrap();
    add(primary.pool());
    primary.flush(MINUTE).unwrap();
    let status = nova(&["status", "bank"], &[]);
    let record = primary.status().committed;
    assert_eq!(
        (&status["stream"]["record"], &status["followers"][0]["name"]),
        (&record.into(), &"copy".into())
    );
    assert_eq!(status["followers"][0]["records"], record);
    assert_eq!(status["primary"]["lag"]["most"], 100_001);
    let said =
        works(&["replica", "status", "bank", "--servers", &url, "--user", "pool", "--password", "secret"]);
    assert!(said.contains("follower   copy: record 0, ") && said.contains("lease 1.0 s"), "{said}");
    assert!(
        fails(&["replica", "status", "bank", "--servers", &url, "--patience", "0"]).contains("no server of")
    );
    assert!(fails(&["replica", "status", "b.k", "--servers", &url]).contains("cannot name a stream"));
    drop(primary);

    let done = nova(&["promote", &path("copy"), "bank"], &["--as", "copy"]);
    assert_eq!((&done["record"], &done["missing"]), (&record.into(), &0.into()));
    assert!(done["seconds"].as_f64().unwrap() > 0.5, "the lease was waited for: {done}");
    // SAFETY: as above.
    let primary = unsafe { Primary::open(path("copy"), &PoolOptions::new(), &config) }.unwrap();
    assert_eq!(*primary.pool().read().unwrap().open::<PHeap<u64>>("n").unwrap().root().unwrap(), 1);
    // The old one is seeded again, and follows.
    // SAFETY: as above.
    unsafe { primary.seed(path("seed"), "old") }.unwrap();
    let done = nova(&["reseed", &path("seed"), &path("primary"), "bank"], &["--as", "old"]);
    assert_eq!(done["before"], path("primary.before"));
    assert!(folder.path().join("primary.outbox.before").exists());
    // SAFETY: as above.
    let back = unsafe { Follower::open(path("primary"), &PoolOptions::new(), &config, "old") }.unwrap();
    add(primary.pool());
    assert!(back.wait_for(primary.status().committed, MINUTE), "{back:?}");
    assert_eq!(*back.pool().read().unwrap().open::<PHeap<u64>>("n").unwrap().root().unwrap(), 2);
}
