//! What `PBTreeMap` looks like after many inserts and removes of one kind, at the ends of its domain and without space.
#![allow(missing_docs)]

use fastrand::Rng;
use pmem_collections::*;

type Map = PBTreeMap<u64, u64>;

/// A leaf of `Map`: bytes, entries.
const LEAF: u64 = 832;
const SLOTS: u64 = 48;

fn pool(bytes: u64) -> Pool {
    PoolOptions::new().create_on(Mapping::anonymous(bytes).unwrap()).unwrap()
}

/// Inserts `fill` and removes `drain` (the same keys), checking on the way; returns leaves after the fill.
fn fill_and_drain(fill: &[u64], drain: &[u64]) -> Result<u64> {
    let pool = pool(1 << 26);
    for keys in fill.chunks(fill.len() / 16 + 1) {
        pool.write(|tx| {
            let mut map = tx.open::<Map>("map")?;
            map.extend(keys.iter().map(|key| (key, !key)))?;
            map.check().map(drop)
        })?;
    }
    let full = pool.read()?.open::<Map>("map")?.check()?;
    assert_eq!(full.entries, fill.len() as u64);
    assert_eq!(full.bytes, 64 + LEAF * full.leaves + 512 * full.inner_nodes);
    for (i, keys) in drain.chunks(drain.len() / 16 + 1).enumerate() {
        pool.write(|tx| {
            let mut map = tx.open::<Map>("map")?;
            for key in keys {
                assert_eq!(map.remove(key)?.unwrap().to_owned()?, !key);
            }
            let now = map.check()?;
            let left = full.entries - ((i + 1) * (drain.len() / 16 + 1)).min(drain.len()) as u64;
            assert_eq!(now.entries, left);
            // Two siblings fill more than 3/4 of a leaf, so leaves are more than 3/8 full, but for the odd ones.
            assert!(now.leaves <= left / (SLOTS * 3 / 8) + left / 400 + 2, "{now:?}");
            Ok(())
        })?;
    }
    let empty = pool.read()?.open::<Map>("map")?.check()?;
    assert_eq!((empty.entries, empty.leaves, empty.inner_nodes, empty.height), (0, 1, 0, 1));
    Ok(full.leaves)
}

const N: u64 = 100_000;

fn ascending() -> Vec<u64> {
    (0..N).map(|i| i * 3).collect()
}
fn descending() -> Vec<u64> {
    ascending().into_iter().rev().collect()
}
fn shuffled(seed: u64) -> Vec<u64> {
    println!("seed {seed}");
    let mut keys = ascending();
    Rng::with_seed(seed).shuffle(&mut keys);
    keys
}

#[test]
fn ascending_inserts_fill_every_leaf_and_drain_in_any_order() -> Result<()> {
    for drain in [ascending(), descending(), shuffled(1)] {
        assert_eq!(fill_and_drain(&ascending(), &drain)?, N.div_ceil(SLOTS));
    }
    Ok(())
}

#[test]
fn descending_inserts_fill_half_of_every_leaf_and_drain_in_any_order() -> Result<()> {
    for drain in [ascending(), descending(), shuffled(2)] {
        let leaves = fill_and_drain(&descending(), &drain)?;
        assert!(leaves <= N.div_ceil(SLOTS / 2), "{leaves}");
    }
    Ok(())
}

#[test]
fn random_inserts_fill_two_thirds_of_the_leaves_and_drain_in_any_order() -> Result<()> {
    for drain in [ascending(), descending(), shuffled(4)] {
        let leaves = fill_and_drain(&shuffled(3), &drain)?;
        let filled = N as f64 / (leaves * SLOTS) as f64;
        assert!((0.62..0.75).contains(&filled), "{filled}");
    }
    Ok(())
}

#[test]
fn a_drain_by_pops_from_both_ends_yields_the_keys_in_order() -> Result<()> {
    pool(1 << 26).write(|tx| {
        let mut map = tx.open::<Map>("map")?;
        map.extend(shuffled(5).iter().map(|key| (key, key)))?;
        for i in 0..N / 2 {
            assert_eq!(map.pop_first()?.unwrap().0, 3 * i);
            assert_eq!(map.pop_last()?.unwrap().0, 3 * (N - 1 - i));
            if i % 5_000 == 0 {
                map.check()?;
            }
        }
        assert!(map.is_empty() && map.pop_first()?.is_none() && map.pop_last()?.is_none());
        map.check().map(drop)
    })
}

#[test]
fn a_window_that_moves_over_the_keys_keeps_the_tree_small() -> Result<()> {
    pool(1 << 26).write(|tx| {
        let mut map = tx.open::<Map>("map")?;
        for key in 0..N {
            map.insert(key, key)?;
            if key >= 1000 {
                assert_eq!(map.pop_first()?.unwrap().0, key - 1000);
            }
        }
        let summary = map.check()?;
        assert_eq!(summary.entries, 1000);
        assert!(summary.leaves <= 1000 / (SLOTS - 4) + 2 && summary.height <= 3, "{summary:?}");
        Ok(())
    })
}

#[test]
fn the_smallest_and_the_greatest_keys_are_keys_like_others() -> Result<()> {
    pool(1 << 22).write(|tx| {
        let mut map = tx.open::<Map>("map")?;
        for i in 0..500 {
            map.insert(i, i)?;
            map.insert(u64::MAX - i, i)?;
        }
        map.check()?;
        assert_eq!(map.first()?, Some((&0, &0)));
        assert_eq!(map.last()?, Some((&u64::MAX, &0)));
        assert_eq!(map.range(u64::MAX..)?.count(), 1);
        assert_eq!(map.range(..=u64::MAX)?.count(), 1000);
        assert_eq!(map.range(..u64::MAX)?.count(), 999);
        assert_eq!(map.range(0..=0)?.count(), 1);
        assert_eq!(map.range(0..0)?.count(), 0);
        assert_eq!(map.remove(u64::MAX)?.unwrap().to_owned()?, 0);
        assert_eq!(map.remove(0)?.unwrap().to_owned()?, 0);
        assert_eq!((map.get(0)?, map.get(u64::MAX)?), (None, None));
        assert_eq!(map.check()?.entries, 998);
        Ok(())
    })
}

#[test]
fn an_empty_map_has_no_nodes_and_no_entries() -> Result<()> {
    let pool = pool(1 << 20);
    pool.write(|tx| {
        let mut map = tx.open::<Map>("map")?;
        let summary = map.check()?;
        assert_eq!((summary.height, summary.nodes(), summary.bytes), (0, 0, 64));
        for _ in 0..2 {
            assert_eq!((map.get(1)?, map.first()?, map.last()?), (None, None, None));
            assert!(map.iter().next().is_none() && map.iter().next_back().is_none());
            assert!(map.range(3..)?.next().is_none() && map.range(..=3)?.next_back().is_none());
            assert!(map.remove(1)?.is_none() && map.pop_first()?.is_none());
            map.retain(|_, _| false)?;
            // The second time with an empty leaf for its root.
            map.insert(1, 1)?;
            assert!(map.remove(1)?.is_some());
        }
        assert_eq!(map.check()?.leaves, 1);
        map.extend((0..5000).map(|i| (i, i)))?;
        map.clear()?;
        assert_eq!(map.check()?.nodes(), 0);
        assert_eq!(format!("{map:?}"), "{}");
        map.extend((0..3).map(|i| (i, i)))?;
        assert_eq!(format!("{map:?}"), "{0: 0, 1: 1, 2: 2}");
        Ok(())
    })?;
    assert_eq!(pool.read()?.open::<Map>("map")?.len(), 3);
    Ok(())
}

/// Wide entries, so that inner nodes of few keys are split and run out of space as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Wide([u64; 40]);
impl Plain for Wide {
    const NAME: &'static str = "test.Wide";
}

#[test]
fn a_full_pool_is_an_error_that_changes_nothing() -> Result<()> {
    for kilobytes in (128..400).step_by(4) {
        let pool = pool(kilobytes << 10);
        let mut random = Rng::with_seed(kilobytes);
        let mut inserted = std::collections::BTreeSet::new();
        pool.write(|tx| {
            let mut map = tx.open::<PBTreeMap<Wide, u64>>("map")?;
            loop {
                let key = Wide([random.u64(..); 40]);
                let error = match map.insert(key, key.0[0]) {
                    Ok(_) => {
                        inserted.insert(key);
                        continue;
                    }
                    Err(error) => error,
                };
                assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                assert_eq!(map.check()?.entries, inserted.len() as u64);
                assert_eq!(map.get(key)?, None);
                break Ok(());
            }
        })?;
        let tx = pool.read()?;
        let map = tx.open::<PBTreeMap<Wide, u64>>("map")?;
        let nodes = map.check()?;
        assert!(map.keys().map(Result::unwrap).eq(&inserted));
        drop(tx);
        // What a failed split had allocated was given back: header, directory entry and nodes are all there is.
        let blocks = pool.check()?;
        assert_eq!(blocks.small_blocks + blocks.large_blocks, 2 + nodes.leaves + nodes.inner_nodes);
    }
    Ok(())
}

#[test]
fn entries_too_large_for_any_node_are_refused_with_their_sizes() -> Result<()> {
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Huge([u8; 5000]);
    impl Plain for Huge {
        const NAME: &'static str = "test.Huge";
    }
    let error = pool(1 << 20).write(|tx| tx.open::<PBTreeMap<u64, Huge>>("map").map(drop)).unwrap_err();
    let ErrorKind::Aborted(reason) = error.kind() else { panic!("{error}") };
    let reason = reason.downcast_ref::<map::EntryTooLarge>().unwrap();
    assert_eq!((reason.key_size, reason.value_size), (8, 5000));
    Ok(())
}

#[test]
fn a_map_of_other_types_under_the_same_name_is_refused() -> Result<()> {
    let pool = pool(1 << 20);
    pool.write(|tx| tx.open::<Map>("map")?.insert(1, 1).map(drop))?;
    let tx = pool.read()?;
    assert!(matches!(
        tx.open::<PBTreeMap<u64, i64>>("map").err().unwrap().kind(),
        ErrorKind::WrongType { .. }
    ));
    Ok(())
}

#[test]
fn a_cell_keeps_what_was_committed_last() -> Result<()> {
    let pool = pool(1 << 20);
    pool.write(|tx| {
        let mut cell = tx.open::<PCell<[u32; 3]>>("cell")?;
        assert_eq!(cell.get()?, &[0; 3]);
        cell.set([1, 2, 3])?;
        assert_eq!(cell.replace([4, 5, 6])?, [1, 2, 3]);
        cell.get_mut()?[0] = 7;
        Ok(())
    })?;
    let tx = pool.begin()?;
    tx.open::<PCell<[u32; 3]>>("cell")?.set([0; 3])?;
    drop(tx);
    let tx = pool.read()?;
    let cell = tx.open::<PCell<[u32; 3]>>("cell")?;
    assert_eq!(cell.get()?, &[7, 5, 6]);
    assert_eq!(format!("{cell:?}"), "PCell([7, 5, 6])");
    Ok(())
}
