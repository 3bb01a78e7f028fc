//! Pruning removes what nobody needs, and nothing else.

use crate::{Folder, bytes, label, push, read};
use pmem_replica::objects::{Error, Keep, Kind};
use std::io::Write;

const MIB: usize = 1 << 20;
const fn newest(newest: usize) -> Keep {
    Keep { newest, force: false }
}

#[test]
fn what_a_kept_snapshot_goes_on_from_stays_and_the_rest_goes_with_its_chunks() {
    let folder = Folder::new();
    let store = folder.store();
    // Two chains: 1 <- 2 <- 3, and 4 <- 5; and copies of a pool.
    for (number, parent) in [(1, None), (2, Some(1)), (3, Some(2)), (4, None), (5, Some(4))] {
        push(&store, label(Kind::Snapshot, number, parent), &bytes(number, 5 * MIB));
    }
    for number in 1..=3 {
        push(&store, label(Kind::Pool, number, None), &[bytes(40, MIB), bytes(40 + number, MIB)].concat());
    }
    let kept = |keep| {
        let pruned = store.prune(keep).unwrap();
        let all = store.list().unwrap().manifests;
        for manifest in &all {
            assert_eq!(read(&store, manifest).unwrap().len() as u64, manifest.length);
        }
        assert_eq!(pruned.kept, all.len());
        let numbers = all.iter().map(|one| (one.label.kind, one.label.version.number));
        (numbers.collect::<Vec<_>>(), pruned.chunks)
    };
    let (snapshots, pools) = (|n| (Kind::Snapshot, n), |n| (Kind::Pool, n));
    let all = [1, 2, 3, 4, 5].map(snapshots).into_iter();
    assert_eq!(kept(newest(3)), (all.clone().chain([1, 2, 3].map(pools)).collect(), 0));
    // The third newest needs the two before it.
    assert_eq!(kept(newest(2)), ([4, 5].map(snapshots).into_iter().chain([2, 3].map(pools)).collect(), 7));
    assert_eq!(kept(newest(1)), ([4, 5].map(snapshots).into_iter().chain([3].map(pools)).collect(), 1));
    assert_eq!(kept(newest(0)), (vec![], 6));
    assert!(folder.files("chunks").is_empty());
}

#[test]
fn chunks_of_a_push_under_way_stay_and_two_at_work_do_not_meet() {
    let folder = Folder::new();
    let store = folder.store();
    let mut under_way = store.push(label(Kind::Pool, 1, None)).unwrap();
    under_way.write_all(&bytes(1, 2 * MIB)).unwrap();
    let refused = store.prune(newest(1)).unwrap_err();
    assert!(matches!(refused, Error::PushUnderWay { .. }), "{refused}");
    under_way.finish().unwrap();
    assert_eq!(store.prune(newest(1)).unwrap().chunks, 0);
    // A push that was killed: its mark stays, until it is done again, or is said to be dead.
    let killed = |number| {
        let mut push = store.push(label(Kind::Pool, number, None)).unwrap();
        push.write_all(&bytes(number, 2 * MIB)).unwrap();
        std::mem::forget(push);
    };
    killed(2);
    assert!(matches!(store.prune(newest(1)), Err(Error::PushUnderWay { seconds: 0..60, .. })));
    push(&store, label(Kind::Pool, 2, None), &bytes(2, 2 * MIB));
    assert_eq!(store.prune(newest(2)).unwrap().chunks, 0);
    killed(3);
    let pruned = store.prune(Keep { newest: 2, force: true }).unwrap();
    assert_eq!((pruned.kept, pruned.chunks), (2, 2));
    // One that was left a day ago is nobody's.
    killed(4);
    let mark = folder.files("marks/push").pop().unwrap();
    std::fs::write(&mark, "1000").unwrap();
    assert_eq!(store.prune(newest(2)).unwrap().chunks, 2);
    // Nor does a push begin while a prune is at work.
    let prune = folder.path().join("marks/prune/0123");
    std::fs::create_dir_all(prune.parent().unwrap()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    std::fs::write(&prune, now.to_string()).unwrap();
    let refused = store.push(label(Kind::Pool, 5, None)).unwrap_err();
    assert!(matches!(refused, Error::PruneUnderWay { .. }), "{refused}");
    store.prune(Keep { newest: 2, force: true }).unwrap();
    push(&store, label(Kind::Pool, 5, None), b"now");
}
