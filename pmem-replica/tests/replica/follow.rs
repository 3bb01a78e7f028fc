//! Following: everything, in order, once; whatever the servers do.

use crate::bank::{MINUTE, Pair, audit, balances, config, expected, own_servers, servers, sync, transfer};
use pmem_alloc::{Named, PHeap, Ptr};
use std::time::Duration;

#[test]
fn ten_thousand_commits_are_followed_while_one_server_after_the_other_is_killed() {
    let Some(servers) = own_servers() else { return };
    let pair = Pair::new(config(&servers, "thousands"));
    let primary = pair.create();
    let follower = pair.seed(&primary, "follower");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (rounds, commits) = (10, 1_000);
    for round in 0..rounds {
        let victim = rng.usize(0..3);
        let when = rng.u64(0..commits);
        for n in 0..commits {
            if n == when {
                servers.kill(victim);
            }
            transfer(primary.pool()).unwrap();
        }
        // The two that are left go on without it; then it has to catch up before the next one may go.
        primary.flush(MINUTE).unwrap_or_else(|e| panic!("round {round}, without server {victim}: {e}"));
        servers.start_server(victim);
        assert!(audit(follower.pool()) <= (round + 1) * commits);
    }
    let status = primary.status();
    assert!(follower.wait_for(status.committed, MINUTE), "{follower:?}");
    assert_eq!(primary.pool().digest().unwrap(), follower.pool().digest().unwrap());
    assert_eq!(audit(follower.pool()), rounds * commits);
    println!("{} commits, {} messages, {rounds} servers killed", status.committed, status.messages);
}

#[test]
fn readers_of_a_follower_see_prefixes_and_money_is_neither_made_nor_lost() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "prefixes"));
    let primary = pair.create();
    let follower = pair.seed(&primary, "follower");
    let (mut last, mut looks) = (0, 0);
    std::thread::scope(|s| {
        let writes = s.spawn(|| (0..3_000).for_each(|_| _ = transfer(primary.pool()).unwrap()));
        while !writes.is_finished() || last < 3_000 {
            let seen = audit(follower.pool());
            assert!(seen >= last, "{seen} after {last}");
            (last, looks) = (seen, looks + 1);
            assert!(follower.error().is_none(), "{follower:?}");
        }
    });
    assert_eq!(balances(follower.pool()), expected(3_000));
    println!("{looks} looks");
}

#[test]
fn large_transactions_travel_in_parts_and_pools_grow_together() {
    let Some(servers) = servers() else { return };
    const BLOB: Named<'static, PHeap<Ptr<u8>>> = Named::new("blob");
    let pair = Pair::new(config(servers, "large"));
    let primary = pair.create();
    let follower = pair.seed(&primary, "follower");
    let mut rng = fastrand::Rng::with_seed(5);
    for len in [300_000, 3_000_000, 1_000, 6_000_000] {
        primary
            .pool()
            .write(|tx| {
                let mut blob = tx.open(BLOB)?;
                let old = *blob.root()?;
                if !old.is_null() {
                    blob.free(old)?;
                }
                let new = blob.alloc_aligned(len, 8)?;
                rng.fill(blob.bytes_mut(new, len)?);
                *blob.root_mut()? = new;
                Ok(())
            })
            .unwrap();
        transfer(primary.pool()).unwrap();
    }
    let committed = primary.status().committed;
    assert!(follower.wait_for(committed, MINUTE), "{follower:?}");
    assert!(primary.pool().segments() == follower.pool().segments());
    assert!(!primary.pool().segments().0.is_empty(), "it has grown");
    assert_eq!(primary.pool().digest().unwrap(), follower.pool().digest().unwrap());
    assert!(primary.status().messages > 9_000_000 / (256 << 10), "in parts");
}

#[test]
fn seeds_are_taken_while_commits_go_on_and_the_stream_is_trimmed_behind_the_last() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "seeds"));
    let primary = pair.create();
    let (first, second) = std::thread::scope(|s| {
        let writes = s.spawn(|| (0..2_000).for_each(|_| _ = transfer(primary.pool()).unwrap()));
        let first = pair.seed(&primary, "first");
        let second = pair.seed(&primary, "second");
        writes.join().unwrap();
        (first, second)
    });
    primary.flush(MINUTE).unwrap();
    let committed = primary.status().committed;
    assert!(first.wait_for(committed, MINUTE) && second.wait_for(committed, MINUTE));
    // A seed of a follower is as good.
    // SAFETY: files of this test alone.
    unsafe { first.seed(pair.path("third")) }.unwrap();
    let third = pair.follow("third").unwrap();
    let digest = primary.pool().digest().unwrap();
    for follower in [&first, &second, &third] {
        assert_eq!(follower.pool().digest().unwrap(), digest);
    }
    // Who is behind keeps the stream.
    drop((second, third)); // which reports what it has
    let behind = primary.status().committed;
    for _ in 0..50 {
        transfer(primary.pool()).unwrap();
        primary.flush(MINUTE).unwrap();
    }
    drop(first);
    let kept = primary.trim().unwrap();
    let second = pair.follow("second").unwrap();
    assert!(second.wait_for(behind + 50, MINUTE), "{second:?}");
    let third = pair.follow("third").unwrap();
    assert!(third.wait_for(behind + 50, MINUTE), "{third:?}");
    drop((second, third));
    let names: Vec<String> = primary.followers().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    // All three have everything: nothing but the last message is kept.
    let trimmed = primary.trim().unwrap();
    assert!(trimmed > kept, "{trimmed} after {kept}");
    assert!(pair.follow("first").unwrap().wait_for(behind + 50, MINUTE));
}

#[test]
fn a_primary_that_is_closed_and_opened_goes_on() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "reopened").mode(sync()));
    let follower = pair.seed(&pair.create(), "follower");
    let mut term = 0;
    for round in 1..=3 {
        let primary = pair.open().unwrap();
        assert!(primary.status().term > term);
        term = primary.status().term;
        for _ in 0..10 {
            transfer(primary.pool()).unwrap();
        }
        let committed = primary.status().committed;
        assert!(follower.wait_for(committed, MINUTE), "{follower:?}");
        assert_eq!(audit(follower.pool()), round * 10);
        if round == 2 {
            primary.close(MINUTE).unwrap(); // and otherwise it is dropped
        }
    }
}

#[test]
fn commits_of_several_threads_share_messages_and_each_is_in_the_stream_when_it_returns() {
    let Some(servers) = servers() else { return };
    let pair = Pair::new(config(servers, "shared").mode(sync()));
    let primary = pair.create();
    let before = primary.status();
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                for _ in 0..50 {
                    transfer(primary.pool()).unwrap();
                    let record = primary.status();
                    assert!(record.acknowledged >= 1 && record.lag_records < 9, "{record:?}");
                }
            });
        }
    });
    let after = primary.status();
    let (commits, messages) = (after.committed - before.committed, after.messages - before.messages);
    println!("{commits} commits in {messages} messages");
    assert!(commits == 400 && messages < commits * 3 / 4, "{commits} commits in {messages} messages");
    assert_eq!((after.acknowledged, after.lag_records, after.lag), (after.committed, 0, Duration::ZERO));
}
