//! A primary is lost, and a follower takes its place.

use crate::{
    bank::{MINUTE, Pair, audit, balances, config, expected, options, servers, sync, transfer},
    kill::killed_primary,
    network::Proxy,
};
use pmem_alloc::ErrorKind;
use pmem_replica::{Beyond, Bound, Error, Follower, Primary};
use std::time::{Duration, Instant};

#[test]
fn in_sync_mode_the_promoted_follower_has_every_acknowledged_commit_and_the_old_primary_is_fenced() {
    let Some(servers) = servers() else { return };
    let name = "failover-sync";
    let pair = Pair::new(config(servers, name).mode(sync()));
    let first = pair.create();
    let (next, other) = (pair.seed(&first, "next"), pair.seed(&first, "other"));
    drop(first);
    let done = killed_primary(&pair, &servers.url(), name, "sync", Duration::from_millis(300));
    // SAFETY: files of this test alone.
    let (primary, promotion) = unsafe { next.promote(&options()) }.unwrap();
    println!("{promotion:?}, {done} were acknowledged");
    let transfers = audit(primary.pool());
    assert!(transfers >= done, "{transfers} of {done}");
    assert_eq!(balances(primary.pool()), expected(transfers), "nothing twice");
    assert!(promotion.took >= Duration::from_secs(1), "the lease was waited for");
    // The other follower goes on with the new primary.
    for _ in 0..20 {
        transfer(primary.pool()).unwrap();
    }
    let committed = primary.status().committed;
    assert!(other.wait_for(committed, MINUTE), "{other:?}");
    assert_eq!(primary.pool().digest().unwrap(), other.pool().digest().unwrap());
    assert_eq!(audit(other.pool()), transfers + 20);
    match pair.open() {
        Err(Error::Fenced { term, stream, .. }) => {
            assert!(term >= promotion.term && stream == promotion.record, "{term}, {stream}");
        }
        opened => panic!("{opened:?}"),
    }
    // The new one may be closed and opened, and lose its place in turn.
    drop(primary);
    // SAFETY: as above.
    let primary = unsafe { Primary::open(pair.path("next"), &options(), &pair.config) }.unwrap();
    transfer(primary.pool()).unwrap();
    drop(primary);
    // SAFETY: as above.
    let (primary, again) = unsafe { other.promote(&options()) }.unwrap();
    assert_eq!((audit(primary.pool()), again.missing), (transfers + 21, 0));
    // The pool that was fenced is seeded again, and follows.
    std::fs::remove_file(pair.path("primary")).unwrap();
    let back = pair.seed(&primary, "primary");
    transfer(primary.pool()).unwrap();
    assert!(back.wait_for(primary.status().committed, MINUTE));
}

#[test]
fn in_async_mode_a_prefix_is_there_the_report_says_what_is_missing_and_a_stale_primary_is_fenced() {
    let Some(servers) = servers() else { return };
    let proxy = Proxy::start(servers.port(0));
    let direct = Pair::new(config(servers, "failover-async"));
    let bound = Bound { beyond: Beyond::Warn, ..Bound::default() };
    let through = Pair { folder: crate::bank::folder(), config: proxy.config("failover-async").bound(bound) };
    let primary = through.create();
    // SAFETY: files of this test alone.
    unsafe { primary.seed(direct.path("next"), "next") }.unwrap();
    // SAFETY: as above.
    let next = unsafe { Follower::open(direct.path("next"), &options(), &direct.config, "next") }.unwrap();
    for _ in 0..100 {
        transfer(primary.pool()).unwrap();
    }
    primary.flush(MINUTE).unwrap();
    let sent = primary.status().committed;
    assert!(next.wait_for(sent, MINUTE));
    proxy.cut();
    // Commits that nobody will ever see. (Said by no lease: the network is cut.)
    for _ in 0..30 {
        transfer(primary.pool()).unwrap();
    }
    // SAFETY: as above.
    let (new, promotion) = unsafe { next.promote(&options()) }.unwrap();
    println!("{promotion:?}");
    assert_eq!((audit(new.pool()), promotion.record), (100, sent));
    assert!(promotion.missing <= 30);
    transfer(new.pool()).unwrap();
    proxy.mend();
    // The stale primary finds out by itself, and its pool says so.
    let started = Instant::now();
    while !primary.status().fenced {
        assert!(started.elapsed() < MINUTE, "{:?}", primary.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    let refused = transfer(primary.pool()).unwrap_err();
    let ErrorKind::Refused(why) = refused.kind() else { panic!("{refused}") };
    let Some(Error::Fenced { unpublished, .. }) = why.downcast_ref::<Error>() else { panic!("{why}") };
    assert_eq!(*unpublished, 30);
    assert_eq!(audit(primary.pool()), 130, "it can be read still");
    drop(primary);
    match through.open() {
        Err(Error::Fenced { unpublished: 30, .. }) => {}
        opened => panic!("{opened:?}"),
    }
    new.flush(MINUTE).unwrap();
    assert_eq!(new.status().committed, sent + 1, "nothing of the old one came after");
    assert_eq!(balances(new.pool()), expected(101));
}

#[test]
fn the_report_counts_what_the_lease_said_was_committed_and_never_came() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "lease-says").lease(Duration::from_millis(600)));
    let primary = pair.create();
    let next = pair.seed(&primary, "next");
    primary.flush(MINUTE).unwrap();
    // A lease that says more than the stream has, as a primary leaves it that dies between the two.
    let record = primary.status().committed;
    drop(primary);
    crate::wrong::say_in_lease(&servers.url(), "lease-says", 5);
    assert!(next.wait_for(record, MINUTE));
    // SAFETY: files of this test alone.
    let (primary, promotion) = unsafe { next.promote(&options()) }.unwrap();
    assert_eq!((promotion.record, promotion.missing), (record, 5));
    assert_eq!(audit(primary.pool()), 0);
}
