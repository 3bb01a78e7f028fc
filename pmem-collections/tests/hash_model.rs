//! `PHashMap` and `PHashSet` do what their twins in std do: random operations on both, in transactions that commit, are
//! dropped, or go back to a savepoint, with reopening in between.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::{
    hash_map::{self, HashMapGuard},
    hash_set::HashSetGuard,
    *,
};
use proptest::prelude::*;
use std::{
    collections::{HashMap, HashSet, hash_map as std_map},
    fmt::Debug,
    hash::Hash,
};

trait TestKey: Plain + Hash + Ord + Debug {}
impl<T: Plain + Hash + Ord + Debug> TestKey for T {}
trait TestValue: Plain + PartialEq + Debug + Default {}
impl<T: Plain + PartialEq + Debug + Default> TestValue for T {}

fn sorted<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> Vec<(K, V)> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// Both maps hold the same, whichever way they are read.
fn assert_same<K: TestKey, V: TestValue, M: Mode>(
    map: &HashMapGuard<'_, K, V, M>,
    model: &HashMap<K, V>,
) -> Result<()> {
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    assert_eq!(map.check()?.entries, model.len() as u64);
    assert_eq!(sorted(map.iter().map(Result::unwrap)), sorted(model));
    assert_eq!(map.keys().count(), model.len());
    assert_eq!(map.values().count(), model.len());
    for (key, value) in model {
        assert_eq!(map.get(key)?, Some(value));
    }
    Ok(())
}

/// One random operation on both maps, with the same result.
fn operate<K: TestKey, V: TestValue>(
    map: &mut HashMapGuard<'_, K, V, Write>,
    model: &mut HashMap<K, V>,
    random: &mut Rng,
    key: &mut impl FnMut(&mut Rng) -> K,
    value: &mut impl FnMut(&mut Rng) -> V,
    growing: bool,
) -> Result<()> {
    let (k, v) = (key(random), value(random));
    let old = |old: Option<hash_map::Old<V>>| old.map(|old| old.to_owned().unwrap());
    match random.u8(..if growing { 24 } else { 40 }) {
        0..12 => assert_eq!(old(map.insert(k, v)?), model.insert(k, v)),
        12 => assert_eq!(map.get(k)?, model.get(&k)),
        13 => {
            assert_eq!(map.get_key_value(k)?, model.get_key_value(&k));
            assert_eq!(map.contains_key(k)?, model.contains_key(&k));
        }
        14 => match (map.get_mut(k)?, model.get_mut(&k)) {
            (Some(found), Some(expected)) => {
                assert_eq!(found, expected);
                (*found, *expected) = (v, v);
            }
            (found, expected) => assert_eq!(found, expected),
        },
        15 => assert_eq!(map.entry(k).or_insert(v)?, model.entry(k).or_insert(v)),
        16 => {
            let found = *map.entry(k).and_modify(|old| *old = v).or_default()?;
            assert_eq!(found, *model.entry(k).and_modify(|old| *old = v).or_default());
        }
        17 => match (map.entry(k).find()?, model.entry(k)) {
            (hash_map::Found::Occupied(mut entry), std_map::Entry::Occupied(mut expected)) => {
                assert_eq!(entry.key()?, expected.key());
                assert_eq!(entry.get()?, expected.get());
                if random.bool() {
                    assert_eq!(entry.insert(v)?.to_owned()?, expected.insert(v));
                } else {
                    assert_eq!(entry.remove()?.to_owned()?, expected.remove());
                }
            }
            (hash_map::Found::Vacant(entry), std_map::Entry::Vacant(expected)) => {
                assert_eq!(entry.key(), expected.key());
                assert_eq!(*entry.insert(v)?, *expected.insert(v));
            }
            _ => panic!("one is there, the other not"),
        },
        18 if random.u8(..20) == 0 => {
            let gone: HashSet<K> = model.keys().filter(|_| random.u8(..3) == 0).copied().collect();
            let mut asked = Vec::new();
            map.retain(|k, v| {
                asked.push((*k, *v));
                !gone.contains(k)
            })?;
            assert_eq!(sorted(asked), sorted(model.clone()));
            model.retain(|k, _| !gone.contains(k));
        }
        19 if random.u16(..400) == 0 => {
            map.clear()?;
            model.clear();
        }
        20 if random.u16(..400) == 0 => {
            let taken = random.usize(..=model.len());
            let drained: Vec<_> = map.drain()?.take(taken).collect::<Result<_>>()?;
            assert_eq!(drained.len(), taken);
            assert!(drained.iter().all(|(k, v)| model.get(k) == Some(v)));
            model.clear();
        }
        21 if random.u16(..400) == 0 => {
            let drained = map.drain()?.collect::<Result<Vec<_>>>()?;
            assert_eq!(sorted(drained), sorted(model.drain()));
        }
        _ => {
            // Half of the time a key that is there.
            let there = map.keys().nth(random.usize(..20)).transpose()?.copied().filter(|_| random.bool());
            let k = there.unwrap_or(k);
            assert_eq!(old(map.remove(k)?), model.remove(&k));
        }
    }
    Ok(())
}

fn random_operations<K: TestKey, V: TestValue>(
    seed: u64,
    operations: usize,
    mut key: impl FnMut(&mut Rng) -> K,
    mut value: impl FnMut(&mut Rng) -> V,
) -> Result<()> {
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut pool = PoolOptions::new().identity(seed + 1).create_on(Mapping::anonymous(8 << 20).unwrap())?;
    let empty = pool.stats()?.free;
    let mut model = HashMap::new();
    let (mut done, mut growing) = (0, true);
    while done < operations {
        if random.u8(..8) == 0 {
            growing = !growing;
        }
        let mut tx = pool.begin()?;
        let mut changed = model.clone();
        for _ in 0..random.usize(1..4) {
            let (savepoint, before) = (tx.savepoint(), changed.clone());
            let mut map = tx.open::<PHashMap<K, V>>("map")?;
            for _ in 0..random.usize(..200) {
                operate(&mut map, &mut changed, &mut random, &mut key, &mut value, growing)?;
                done += 1;
            }
            if random.u8(..4) == 0 {
                tx.rollback_to(&savepoint)?;
                changed = before;
            }
        }
        assert_same(&tx.open::<PHashMap<K, V>>("map")?, &changed)?;
        if random.u8(..4) == 0 {
            drop(tx);
        } else {
            tx.commit()?;
            model = changed;
        }
        if random.u8(..8) == 0 {
            pool = support::reopened(&pool);
        }
        assert!(pool.check()?.is_ok());
        let tx = pool.read()?;
        match tx.open::<PHashMap<K, V>>("map") {
            Ok(map) => assert_same(&map, &model)?,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model.is_empty()),
        }
    }
    // No block leaks: what is left of an emptied map is its header and its name.
    pool.write(|tx| tx.open::<PHashMap<K, V>>("map")?.clear())?;
    let report = pool.check()?;
    assert_eq!((report.small_blocks, report.large_blocks), (2, 0), "of {empty} bytes");
    Ok(())
}

#[test]
fn random_operations_on_100_keys_do_what_std_does() -> Result<()> {
    (0..10).try_for_each(|seed| random_operations::<u64, u64>(seed, 4_000, |r| r.u64(..100), |r| r.u64(..)))
}

#[test]
fn random_operations_on_20_000_keys_do_what_std_does() -> Result<()> {
    (0..4).try_for_each(|s| random_operations::<u64, u64>(s, 20_000, |r| r.u64(..20_000), |r| r.u64(..)))
}

#[test]
fn random_operations_on_small_keys_and_values_do_what_std_does() -> Result<()> {
    (0..3).try_for_each(|s| random_operations::<u8, u8>(s, 4_000, |r| r.u8(..), |r| r.u8(..)))?;
    (0..3).try_for_each(|s| random_operations::<u16, [u8; 3]>(s, 8_000, |r| r.u16(..), |r| [r.u8(..); 3]))?;
    (0..3).try_for_each(|s| random_operations::<u32, bool>(s, 8_000, |r| r.u32(..3000), |r| r.bool()))?;
    (0..3).try_for_each(|s| random_operations::<[u8; 3], u128>(s, 8_000, |r| [r.u8(..20); 3], |r| r.u128(..)))
}

#[test]
fn random_operations_on_entries_of_kilobytes_do_what_std_does() -> Result<()> {
    #[derive(Clone, Copy, PartialEq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Page([u8; 1000]);
    impl Plain for Page {
        const NAME: &'static str = "test.Page";
    }
    impl Default for Page {
        fn default() -> Self {
            Page([0; 1000])
        }
    }
    let value = |r: &mut Rng| Page([r.u8(..); 1000]);
    (0..2).try_for_each(|s| random_operations::<u64, Page>(s, 3_000, |r| r.u64(..400), value))?;
    (0..2)
        .try_for_each(|s| random_operations::<[u64; 60], u8>(s, 3_000, |r| [r.u64(..400); 60], |r| r.u8(..)))
}

// ---- sets ----

fn members<M: Mode>(set: &HashSetGuard<'_, u16, M>) -> HashSet<u16> {
    set.iter().map(|key| *key.unwrap()).collect()
}

#[test]
fn random_operations_on_two_sets_do_what_std_does() -> Result<()> {
    let seed = 7;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = Pool::anonymous(4 << 20)?;
    let (mut a, mut b) = (HashSet::new(), HashSet::new());
    for _ in 0..60 {
        pool.write(|tx| {
            let (mut pa, mut pb) = (tx.open::<PHashSet<u16>>("a")?, tx.open::<PHashSet<u16>>("b")?);
            for _ in 0..random.usize(..100) {
                let key = random.u16(..500);
                match random.u8(..5) {
                    0 | 1 => assert_eq!(pa.insert(key)?, a.insert(key)),
                    2 => assert_eq!(pb.insert(key)?, b.insert(key)),
                    3 => assert_eq!(pa.remove(key)?, a.remove(&key)),
                    _ => assert_eq!(pb.remove(key)?, b.remove(&key)),
                }
                assert_eq!(pa.contains(key)?, a.contains(&key));
                assert_eq!(pa.get(key)?, a.get(&key));
            }
            match random.u8(..8) {
                0 => {
                    pa.retain(|key| key % 3 != 0)?;
                    a.retain(|key| key % 3 != 0);
                }
                1 => {
                    let moved: Vec<u16> = pb.drain()?.collect::<Result<_>>()?;
                    pa.extend(&moved)?;
                    a.extend(b.drain());
                }
                2 => {
                    pa.clear()?;
                    a.clear();
                }
                _ => {}
            }
            Ok(())
        })?;
        let tx = pool.read()?;
        let (pa, pb) = (tx.open::<PHashSet<u16>>("a")?, tx.open::<PHashSet<u16>>("b")?);
        assert_eq!((pa.check()?.entries, pb.check()?.entries), (a.len() as u64, b.len() as u64));
        assert_eq!((members(&pa), members(&pb)), (a.clone(), b.clone()));
        assert_eq!(pa.is_subset(&pb)?, a.is_subset(&b));
        assert_eq!(pa.is_superset(&pb)?, a.is_superset(&b));
        assert_eq!(pa.is_disjoint(&pb)?, a.is_disjoint(&b));
        let set = |keys: &mut dyn Iterator<Item = Result<&u16>>| {
            let keys: Vec<u16> = keys.map(|key| *key.unwrap()).collect();
            let set: HashSet<u16> = keys.iter().copied().collect();
            assert_eq!(keys.len(), set.len());
            set
        };
        assert_eq!(set(&mut pa.intersection(&pb)), &a & &b);
        assert_eq!(set(&mut pa.difference(&pb)), &a - &b);
        assert_eq!(set(&mut pa.union(&pb)), &a | &b);
        assert_eq!(set(&mut pa.symmetric_difference(&pb)), &a ^ &b);
    }
    Ok(())
}

// ---- short sequences, shrunk ----

/// Large values, so that a segment has 16 slots and short sequences grow and split.
type Value = [u8; 1000];

#[derive(Clone, Debug)]
enum Operation {
    Insert(u16, u8),
    Fill(u16, u8),
    Remove(u16),
    RemoveRange(u16, u8),
    Retain(u8),
    Drain(u8),
    Clear,
    NoRoom,
}
use Operation::*;

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..200u16;
    prop_oneof![
        8 => (key.clone(), any::<u8>()).prop_map(|(k, v)| Insert(k, v)),
        4 => (key.clone(), 1..60u8).prop_map(|(k, n)| Fill(k, n)),
        6 => key.clone().prop_map(Remove),
        4 => (key, 1..60u8).prop_map(|(k, n)| RemoveRange(k, n)),
        1 => (1..6u8).prop_map(Retain),
        1 => any::<u8>().prop_map(Drain),
        1 => Just(Clear),
        1 => Just(NoRoom),
    ]
}

/// What a transaction frees it cannot have again: so a pool can be full that a map does not fill.
fn insert_if_there_is_room(
    map: &mut Mut<PHashMap<u16, Value>>,
    model: &mut HashMap<u16, Value>,
    key: u16,
    value: Value,
) -> Result<()> {
    match map.insert(key, value) {
        Ok(old) => assert_eq!(old.map(|old| old.to_owned().unwrap()), model.insert(key, value)),
        Err(error) if matches!(error.kind(), ErrorKind::NoSpace { .. }) => {
            assert_eq!(map.get(key)?, model.get(&key));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn apply(
    map: &mut Mut<PHashMap<u16, Value>>,
    model: &mut HashMap<u16, Value>,
    operation: &Operation,
) -> Result<()> {
    match *operation {
        Insert(k, v) => insert_if_there_is_room(map, model, k, [v; 1000])?,
        Fill(k, n) => {
            (k..k + u16::from(n)).try_for_each(|k| insert_if_there_is_room(map, model, k, [n; 1000]))?;
        }
        Remove(k) => assert_eq!(map.remove(k)?.map(|o| o.to_owned().unwrap()), model.remove(&k)),
        RemoveRange(k, n) => {
            for k in k..k + u16::from(n) {
                assert_eq!(map.remove(k)?.is_some(), model.remove(&k).is_some());
            }
        }
        Retain(n) => {
            map.retain(|k, _| k % u16::from(n) != 0)?;
            model.retain(|k, _| k % u16::from(n) != 0);
        }
        Drain(n) => {
            for entry in map.drain()?.take(usize::from(n)) {
                let (k, v) = entry?;
                assert_eq!(model.remove(&k), Some(v));
            }
            model.clear();
        }
        Clear => {
            map.clear()?;
            model.clear();
        }
        NoRoom => {
            // Inserts until the pool is full: the last one changes nothing.
            for k in 1000.. {
                if let Err(error) = map.insert(k, [1; 1000]) {
                    assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                    break;
                }
                model.insert(k, [1; 1000]);
            }
            assert_eq!(map.check()?.entries, model.len() as u64);
            map.retain(|k, _| *k < 1000)?;
            model.retain(|k, _| *k < 1000);
        }
    }
    assert_eq!(map.check()?.entries, model.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..12), any::<bool>()), 1..8),
        identity in 1..u64::MAX,
    ) {
        let mapping = Mapping::anonymous(2 << 20).unwrap();
        let pool = PoolOptions::new().identity(identity).create_on(mapping).unwrap();
        let mut committed = HashMap::new();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut map = tx.open::<PHashMap<u16, Value>>("map").unwrap();
            let mut model = committed.clone();
            prop_assert_eq!(map.len(), model.len());
            for operation in &operations {
                apply(&mut map, &mut model, operation).unwrap();
            }
            prop_assert_eq!(sorted(map.iter().map(Result::unwrap)), sorted(&model));
            // A record of more than the log is an error that changes nothing, either.
            if commit && tx.commit().is_ok() {
                committed = model;
            }
        }
    }
}
