//! A damaged map: every byte of its nodes changed, references turned to other nodes. Every operation ends, with a
//! result or with `Corrupt`; nothing panics.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use support::{Tally, blocks, bytes, forge};

/// 64 bytes, so that few entries make a tree of three levels.
type Key = [u64; 8];
type Map = PBTreeMap<Key, bool>;

const POOL: u64 = 1 << 20;
const ENTRIES: u64 = 220;

fn key(n: u64) -> Key {
    [n, n, n, 0, 0, 0, 0, 0]
}

fn pool() -> Pool {
    let pool = PoolOptions::new().create_on(Mapping::anonymous(POOL).unwrap()).unwrap();
    let mut keys: Vec<u64> = (0..ENTRIES).collect();
    Rng::with_seed(11).shuffle(&mut keys);
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("vandal")?;
        let mut map = tx.open::<Map>("map")?;
        map.extend(keys.iter().map(|n| (key(*n), n % 2 == 0)))?;
        assert_eq!(map.check()?.height, 3);
        Ok(())
    })
    .unwrap();
    pool
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool, seed: u64) -> (bool, bool) {
    let mut tally = Tally::default();
    let found_by_check = {
        let tx = pool.read().unwrap();
        let Some(map) = tally.see(tx.open::<Map>("map")) else { return (true, true) };
        tally.see(map.check()).is_none()
    };
    let mut random = Rng::with_seed(seed);
    for operation in 0..9 {
        let tx = pool.begin().unwrap();
        let mut map = tx.open::<Map>("map").expect("the header was right");
        let any = |random: &mut Rng| key(random.u64(..ENTRIES + 20));
        match operation {
            0 => {
                let most = map.len().saturating_add(1);
                let mut seen = 0;
                for entry in map.iter() {
                    tally.see(entry);
                    seen += 1;
                }
                for entry in map.range(any(&mut random)..).unwrap().rev() {
                    tally.see(entry);
                }
                assert!(seen <= most);
                let _ = format!("{map:?}");
            }
            1 => {
                for n in 0..ENTRIES {
                    tally.see(map.get(key(n)).map(drop));
                }
            }
            2 => {
                tally.see(map.first().map(drop));
                tally.see(map.last().map(drop));
                for _ in 0..60 {
                    tally.see(map.pop_first());
                    tally.see(map.pop_last());
                }
            }
            3 => {
                for _ in 0..300 {
                    let mut wide = any(&mut random);
                    wide[1] = random.u64(..);
                    tally.see(map.insert(wide, true));
                }
            }
            4 => {
                for n in 0..ENTRIES {
                    tally.see(map.remove(key(n)));
                }
            }
            5 => drop(tally.see(map.retain(|key, value| *value && key[0] % 3 != 0))),
            6 => {
                for _ in 0..50 {
                    if let Some(value) = tally.see(map.entry(any(&mut random)).or_insert(true)) {
                        *value = !*value;
                    }
                    tally.see(map.get_mut(any(&mut random)).map(drop));
                }
            }
            7 => {
                for _ in 0..300 {
                    match random.u8(..3) {
                        0 => drop(tally.see(map.insert(any(&mut random), false))),
                        1 => drop(tally.see(map.remove(any(&mut random)))),
                        _ => drop(
                            tally.see(map.entry(any(&mut random)).and_modify(|v| *v = true).or_default()),
                        ),
                    }
                }
                tally.see(map.check());
            }
            _ => {
                tally.see(map.clear());
                tally.see(map.insert(any(&mut random), true));
            }
        }
    }
    (found_by_check, tally.corrupt > 0)
}

fn assert_whole(pool: &Pool) {
    assert_eq!(try_everything(pool, 0), (false, false));
}

#[test]
fn every_changed_byte_of_the_header_is_an_error_that_names_it() -> Result<()> {
    let pool = pool();
    assert_whole(&pool);
    let [at] = blocks(&pool, b"PBTreeMp")?[..] else { panic!("one header") };
    for i in 0..64 {
        for bit in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 1 << bit])?;
            assert!(try_everything(&pool, i).0, "byte {i}, bit {bit}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn a_tree_higher_than_any_can_be_is_refused_when_it_is_opened() -> Result<()> {
    let pool = pool();
    let [at] = blocks(&pool, b"PBTreeMp")?[..] else { panic!("one header") };
    for height in [21, 22, 64, u32::MAX] {
        forge(&pool, at + 12, &u32::to_le_bytes(height))?;
        let error = pool.read()?.open::<Map>("map").err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::Corrupt { offset, .. } if *offset == at), "{error}");
    }
    Ok(())
}

#[test]
fn every_changed_byte_of_a_nodes_head_and_bitmap_is_found_by_check() -> Result<()> {
    let pool = pool();
    let heads = blocks(&pool, b"PBTl")?.into_iter().map(|at| (at, 16));
    for (at, len) in heads.chain(blocks(&pool, b"PBTi")?.into_iter().map(|at| (at, 8))) {
        for i in 0..len {
            let [byte] = bytes(&pool, at + i)?;
            for changed in [byte ^ 1, byte ^ 0x80, !byte, byte.wrapping_add(1)] {
                forge(&pool, at + i, &[changed])?;
                assert!(try_everything(&pool, i).0, "byte {i} of {at:#x}: {changed:#x}");
            }
            forge(&pool, at + i, &[byte])?;
        }
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn no_changed_byte_anywhere_makes_an_operation_panic_or_loop() -> Result<()> {
    let seed = 5;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = pool();
    let inner = blocks(&pool, b"PBTi")?.into_iter().map(|at| (at, 1024));
    let mut found = 0;
    let nodes: Vec<_> = blocks(&pool, b"PBTl")?.into_iter().map(|at| (at, 1024)).chain(inner).collect();
    for _ in 0..4000 {
        let (at, len) = nodes[random.usize(..nodes.len())];
        let at = at + random.u64(..len);
        let bytes: Vec<u8> = (0..random.usize(1..9)).map(|_| random.u8(..)).collect();
        let bytes = &bytes[..bytes.len().min((len - at % 1024) as usize)];
        let before = forge(&pool, at, bytes)?;
        found += usize::from(try_everything(&pool, at).1);
        forge(&pool, at, &before)?;
    }
    assert!(found > 400, "{found}");
    assert_whole(&pool);
    Ok(())
}

#[test]
fn a_child_that_is_any_other_node_is_found_by_check() -> Result<()> {
    let pool = pool();
    let inner = blocks(&pool, b"PBTi")?;
    let all: Vec<u64> = [0, 1, 64, POOL, u64::MAX, u64::MAX - 63]
        .into_iter()
        .chain(inner.iter().copied())
        .chain(blocks(&pool, b"PBTl")?)
        .collect();
    // Keys of 64 bytes: 14 of them from byte 8 on, then the children.
    let children = 8 + 14 * 64;
    let mut changed = 0;
    for at in &inner {
        let count = u16::from_le_bytes(bytes(&pool, at + 6)?);
        for child in 0..=u64::from(count) {
            let place = at + children + 8 * child;
            for other in &all {
                let before = forge(&pool, place, &other.to_le_bytes())?;
                if before != other.to_le_bytes() {
                    assert!(try_everything(&pool, *other).0, "child {child} of {at:#x}: {other:#x}");
                    changed += 1;
                }
                forge(&pool, place, &before)?;
            }
        }
    }
    assert!(changed > 400, "{changed}");
    assert_whole(&pool);
    Ok(())
}

#[test]
fn a_node_whose_children_are_all_one_node_does_not_multiply_work() -> Result<()> {
    let pool = pool();
    let inner = blocks(&pool, b"PBTi")?;
    for at in &inner {
        let children = at + 8 + 14 * 64;
        forge(&pool, children, &bytes::<8>(&pool, children)?.repeat(15))?;
        forge(&pool, at + 6, &14u16.to_le_bytes())?;
    }
    assert_eq!(try_everything(&pool, 1), (true, true));
    Ok(())
}

#[test]
fn a_damaged_old_value_does_not_stop_an_overwrite_or_a_removal() -> Result<()> {
    let pool = PoolOptions::new().create_on(Mapping::anonymous(POOL)?)?;
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("vandal")?;
        tx.open::<PBTreeMap<u64, bool>>("map")?.extend([(1, true), (2, true)])
    })?;
    let [leaf] = blocks(&pool, b"PBTl")?[..] else { panic!("one leaf") };
    // Keys from byte 64 on, 48 of them, then the values.
    forge(&pool, leaf + 64 + 48 * 8, &[7, 7])?;
    let corrupt = |error: Error| assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
    pool.write(|tx| {
        let mut map = tx.open::<PBTreeMap<u64, bool>>("map")?;
        corrupt(map.get(1).unwrap_err());
        corrupt(map.get_mut(1).unwrap_err());
        corrupt(map.check().unwrap_err());
        corrupt(map.insert(1, false)?.unwrap().get().unwrap_err());
        corrupt(map.remove(2)?.unwrap().to_owned().unwrap_err());
        assert_eq!(map.get(1)?, Some(&false));
        assert_eq!(map.check()?.entries, 1);
        Ok(())
    })
}

#[test]
fn every_block_of_a_map_is_one_of_its_nodes_so_that_none_leaks() -> Result<()> {
    let seed = 3;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = PoolOptions::new().create_on(Mapping::anonymous(8 * POOL)?)?;
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop))?;
    for round in 0..40 {
        let summary = pool.write(|tx| {
            let mut map = tx.open::<Map>("map")?;
            for _ in 0..random.u64(..400) {
                let key = key(random.u64(..600));
                if random.u64(..40) < round {
                    map.remove(key)?;
                } else {
                    map.insert(key, true)?;
                }
            }
            match round {
                20 => map.retain(|key, _| key[0] % 50 == 0)?,
                30 => map.clear()?,
                _ => {}
            }
            map.check()
        })?;
        assert_eq!(blocks(&pool, b"PBTl")?.len() as u64, summary.leaves);
        assert_eq!(blocks(&pool, b"PBTi")?.len() as u64, summary.inner_nodes);
    }
    Ok(())
}

/// What a salvage hands over: keys, and the answer.
fn salvaged(pool: &Pool) -> (Vec<Key>, Salvage) {
    let tx = pool.read().unwrap();
    let map = tx.open::<Map>("map").unwrap();
    let mut keys = Vec::new();
    let salvage = map
        .salvage(|key, value| {
            assert_eq!(*value, key[0] % 2 == 0);
            keys.push(*key);
            Ok(())
        })
        .unwrap();
    assert_eq!(keys.len() as u64, salvage.entries);
    keys.sort_unstable();
    (keys, salvage)
}

#[test]
fn a_salvage_of_a_whole_map_hands_over_everything() {
    let (keys, salvage) = salvaged(&pool());
    assert!(salvage.is_whole(), "{salvage:?}");
    assert_eq!(keys, (0..ENTRIES).map(key).collect::<Vec<_>>());
}

#[test]
fn a_salvage_loses_a_damaged_leaf_and_nothing_else_and_what_it_saves_is_a_map() -> Result<()> {
    let pool = pool();
    let leaves = blocks(&pool, b"PBTl")?;
    for leaf in &leaves {
        let before = forge(&pool, *leaf, b"gone")?;
        let (keys, salvage) = salvaged(&pool);
        assert_eq!(salvage.damage.len(), 1, "{salvage:?}");
        assert!(keys.len() as u64 >= ENTRIES - 15 && (keys.len() as u64) < ENTRIES, "{}", keys.len());
        forge(&pool, *leaf, &before)?;
    }
    forge(&pool, leaves[0], b"gone")?;
    let entries = pool.write(|tx| {
        let damaged = tx.open::<Map>("map")?;
        let mut copy = tx.open::<Map>("copy")?;
        Ok(damaged.salvage(|key, value| copy.insert(key, *value).map(drop))?.entries)
    })?;
    assert_eq!(pool.read()?.open::<Map>("copy")?.check()?.entries, entries);
    Ok(())
}

#[test]
fn a_salvage_of_any_damage_ends_and_what_take_refuses_ends_it() -> Result<()> {
    let mut random = Rng::with_seed(8);
    let pool = pool();
    let mut nodes = blocks(&pool, b"PBTl")?;
    nodes.extend(blocks(&pool, b"PBTi")?);
    for _ in 0..1000 {
        let at = nodes[random.usize(..nodes.len())] + random.u64(..1024);
        let bytes: Vec<u8> = (0..random.usize(1..9)).map(|_| random.u8(..)).collect();
        let Ok(before) = forge(&pool, at, &bytes) else { continue };
        let tx = pool.read()?;
        let salvage = tx.open::<Map>("map")?.salvage(|_, _| Ok(()))?;
        assert!(salvage.entries <= 15 * nodes.len() as u64, "{salvage:?}");
        drop(tx);
        forge(&pool, at, &before)?;
    }
    let tx = pool.read()?;
    let refused = tx.open::<Map>("map")?.salvage(|_, _| Err(Error::abort("enough")));
    assert!(matches!(refused.unwrap_err().kind(), ErrorKind::Aborted(_)));
    Ok(())
}
