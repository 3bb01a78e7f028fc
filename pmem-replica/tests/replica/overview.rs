//! What the servers say of a replicated pool, and a follower that begins again.

use crate::bank::{MINUTE, Pair, audit, config, servers, transfer};
use pmem_replica::{Beyond, Bound, Config, Error, overview, reseed};
use std::time::{Duration, Instant};

#[test]
fn the_servers_say_who_is_the_primary_what_the_stream_has_and_how_far_followers_are() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "overview"));
    let nothing = overview(&Config::new(&servers.url(), "overview").patience(Duration::ZERO));
    assert!(matches!(nothing, Err(Error::NoStream { .. })), "{nothing:?}");
    let primary = pair.create();
    let follower = pair.seed(&primary, "ahead");
    drop(pair.seed(&primary, "behind"));
    for _ in 0..20 {
        transfer(primary.pool()).unwrap();
        primary.flush(MINUTE).unwrap();
    }
    let committed = primary.status().committed;
    assert!(follower.wait_for(committed, MINUTE));
    drop(follower); // which reports how far it is
    let found = overview(&pair.config).unwrap();
    let stream = &found.stream;
    assert_eq!((stream.record, stream.term), (committed, primary.status().term));
    assert_eq!(stream.holder, primary.pool().identity().unwrap());
    assert!(stream.leader.is_some() && stream.peers.len() == 2 && stream.bytes > 0, "{stream:?}");
    let held = found.primary.unwrap();
    assert_eq!((held.holder, held.term), (stream.holder, stream.term));
    let waiting = held.waiting.expect("it says what waits");
    assert_eq!(waiting.most, Some(Bound::default().records + 1));
    let of = |name| found.followers.iter().find(|one| one.name == name).unwrap();
    assert_eq!((of("ahead").record, of("ahead").records, of("ahead").age), (committed, 0, Duration::ZERO));
    let behind = of("behind");
    assert!(behind.records >= 20 && behind.bytes > 0 && !behind.is_lost, "{behind:?}");
    assert_eq!(behind.record + behind.records, committed);
    assert!(behind.age > Duration::ZERO);
    // The one that is behind is forgotten, and the stream is trimmed: it says so when it is back.
    primary.forget("behind").unwrap();
    primary.trim().unwrap();
    let lost = pair.follow("behind").unwrap();
    let started = Instant::now();
    while lost.error().is_none() {
        assert!(started.elapsed() < MINUTE, "{lost:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(lost);
    let found = overview(&pair.config).unwrap();
    assert!(found.followers.iter().find(|one| one.name == "behind").unwrap().is_lost);
}

#[test]
fn a_follower_is_seeded_again_and_what_was_there_is_kept() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "reseeded"));
    let primary = pair.create();
    drop(pair.seed(&primary, "old"));
    primary.forget("old").unwrap();
    // SAFETY: files of this test alone.
    unsafe { primary.seed(pair.path("early"), "early") }.unwrap();
    primary.forget("early").unwrap();
    for _ in 0..10 {
        transfer(primary.pool()).unwrap();
        primary.flush(MINUTE).unwrap();
    }
    // SAFETY: as above.
    unsafe { primary.seed(pair.path("seed"), "seed") }.unwrap();
    for _ in 0..5 {
        transfer(primary.pool()).unwrap();
    }
    primary.flush(MINUTE).unwrap();
    primary.trim().unwrap();
    let again = |seed: &str, config: &Config| {
        // SAFETY: as above.
        unsafe { reseed(pair.path(seed), pair.path("old"), config, "old") }
    };
    // A seed from before what was trimmed; a pool that is none; another stream's.
    let before = std::fs::read(pair.path("old")).unwrap();
    let trimmed = again("early", &pair.config);
    assert!(matches!(trimmed, Err(Error::Gap { what: "messages", .. })), "{trimmed:?}");
    let elsewhere = Pair::new(config(servers, "reseeded-elsewhere"));
    let other = elsewhere.create();
    let wrong = again("seed", &elsewhere.config);
    assert!(matches!(wrong, Err(Error::WrongStream { .. })), "{wrong:?}");
    drop(other);
    // SAFETY: as above.
    let none = unsafe { reseed(elsewhere.path("primary"), pair.path("old"), &pair.config, "old") };
    assert!(matches!(none, Err(Error::NotAFollower)), "{none:?}");
    assert!(std::fs::read(pair.path("old")).unwrap() == before, "it is as it was");
    assert!(primary.followers().unwrap().iter().all(|(name, _)| name != "old"), "and nothing is kept for it");

    let done = again("seed", &pair.config).unwrap();
    assert_eq!((done.behind, done.before), (5, Some(pair.path("old.before"))));
    assert!(std::fs::read(pair.path("old.before")).unwrap() == before);
    let follower = pair.follow("old").unwrap();
    assert!(follower.wait_for(primary.status().committed, MINUTE), "{follower:?}");
    assert_eq!(
        (audit(follower.pool()), follower.pool().digest().unwrap()),
        (15, primary.pool().digest().unwrap())
    );
    drop(follower);
    // What was kept is not overwritten.
    let refused = again("seed", &pair.config);
    assert!(
        matches!(&refused, Err(Error::Io { path, .. }) if *path == pair.path("old.before")),
        "{refused:?}"
    );
    assert!(pair.follow("old").is_ok());
}

#[test]
fn a_promotion_says_how_much_may_be_missing_at_most() {
    let Some(servers) = servers() else { return };
    let proxy = crate::network::Proxy::start(servers.port(1));
    for (name, beyond, at_most) in
        [("at-most", Beyond::Refuse, Some(11)), ("at-most-unbounded", Beyond::Warn, None)]
    {
        let bound = Bound { records: 10, age: MINUTE, beyond, ..Bound::default() };
        let through = Pair { folder: crate::bank::folder(), config: proxy.config(name).bound(bound) };
        let direct = Pair::new(config(servers, name));
        let primary = through.create();
        // SAFETY: files of this test alone.
        unsafe { primary.seed(direct.path("next"), "next") }.unwrap();
        let next = direct.follow("next").unwrap();
        primary.flush(MINUTE).unwrap();
        assert!(next.wait_for(primary.status().committed, MINUTE));
        proxy.cut();
        // As many as the primary lets through, or more than it would.
        let lost = (0..40).take_while(|_| transfer(primary.pool()).is_ok()).count() as u64;
        // SAFETY: as above.
        let (new, promotion) = unsafe { next.promote(&crate::bank::options()) }.unwrap();
        println!("{lost} are lost: {promotion:?}");
        assert_eq!(promotion.at_most, at_most);
        assert!(
            promotion.missing <= lost && at_most.is_none_or(|most| lost == most),
            "{lost}, {promotion:?}"
        );
        assert_eq!(audit(new.pool()), 0);
        proxy.mend();
    }
}
