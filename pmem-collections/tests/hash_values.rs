//! `PHashMap` and `PHashSet` of values of every kind: strings, slices, tuples, serde types, and containers in containers.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use std::collections::{BTreeSet, HashMap};

fn word(random: &mut Rng, most: usize) -> String {
    let len = random.usize(..most);
    (0..len).map(|_| random.char('a'..='d')).collect()
}

/// A short word, or one that takes a block.
fn key(random: &mut Rng) -> String {
    if random.bool() { word(random, 5) } else { format!("{:->40}", word(random, 4)) }
}

type Map = PHashMap<String, Vec<u32>>;

fn assert_same(pool: &Pool, model: &HashMap<String, Vec<u32>>) -> Result<()> {
    let report = pool.check()?;
    assert!(report.is_ok());
    let tx = pool.read()?;
    let map = tx.open::<Map>("map")?;
    assert_eq!(map.len(), model.len());
    let summary = map.check()?;
    assert_eq!(summary.entries, model.len() as u64);
    for (key, value) in model {
        assert_eq!(map.get(key)?, Some(&value[..]));
        assert_eq!(map.get_key_value(key)?, Some((&key[..], &value[..])));
    }
    let found: HashMap<String, Vec<u32>> = map
        .iter()
        .map(|entry| entry.map(|(key, value)| (key.to_string(), value.to_vec())))
        .collect::<Result<_>>()?;
    assert_eq!(found, *model);
    // Every block has an owner: the header and its name, segments, chunks, and what does not fit its slot.
    assert_eq!(
        report.small_blocks + report.large_blocks,
        2 + summary.segments + summary.chunks + summary.blocks
    );
    Ok(())
}

#[test]
fn random_operations_on_strings_and_slices_do_what_std_does_and_leak_nothing() -> Result<()> {
    for seed in 0..4 {
        println!("seed {seed}");
        let mut random = Rng::with_seed(seed);
        let mapping = Mapping::anonymous(8 << 20)?;
        let mut pool = PoolOptions::new().identity(seed + 1).create_on(mapping)?;
        let mut model: HashMap<String, Vec<u32>> = HashMap::new();
        for round in 0..60 {
            let tx = pool.begin()?;
            let mut map = tx.open::<Map>("map")?;
            let mut changed = model.clone();
            for _ in 0..random.usize(1..100) {
                let key = key(&mut random);
                let value: Vec<u32> = (0..random.choice([0, 3, 5, 40, 2000]).unwrap()).collect();
                match random.u8(..if round < 30 { 8 } else { 14 }) {
                    0..5 => {
                        let old = map.insert(&key, &value)?.map(|old| old.to_owned()).transpose()?;
                        assert_eq!(old, changed.insert(key, value));
                    }
                    5 => {
                        assert_eq!(map.entry(&key).or_set(&value)?, &changed.entry(key).or_insert(value)[..]);
                    }
                    6 => assert_eq!(map.contains_key(&key)?, changed.contains_key(&key)),
                    7 if random.u8(..10) == 0 => {
                        map.retain(|key, value| key.len() + value.len() > 4)?;
                        changed.retain(|key, value| key.len() + value.len() > 4);
                    }
                    8 if random.u8(..40) == 0 => {
                        let drained: Vec<_> = map.drain()?.collect::<Result<_>>()?;
                        assert!(drained.iter().all(|(key, value)| changed.get(key) == Some(value)));
                        assert_eq!(drained.len(), changed.drain().count());
                    }
                    9 if random.u8(..40) == 0 => {
                        map.drain()?.take(3).try_for_each(|entry| entry.map(drop))?;
                        changed.clear();
                    }
                    _ => {
                        let old = map.remove(&key)?.map(|old| old.to_owned()).transpose()?;
                        assert_eq!(old, changed.remove(&key));
                    }
                }
            }
            if random.u8(..4) > 0 {
                tx.commit()?;
                model = changed;
            } else {
                drop(tx);
            }
            if random.u8(..8) == 0 {
                pool = support::reopened(&pool);
            }
            if pool.read()?.open::<Map>("map").is_ok() {
                assert_same(&pool, &model)?;
            }
        }
        pool.write(|tx| tx.open::<Map>("map")?.clear())?;
        assert_same(&pool, &HashMap::new())?;
    }
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug, Clone)]
struct Order {
    customer: String,
    lines: Vec<(u32, f64)>,
}
impl Schema for Order {
    const NAME: &'static str = "test.Order";
}

#[test]
fn tuples_options_and_serde_types_can_be_keys_and_values() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let order = |n: u32| Order { customer: format!("customer {n}"), lines: vec![(n, 0.5); n as usize] };
    pool.write(|tx| {
        let mut map = tx.open::<PHashMap<(u32, String), Serde<Order>>>("orders")?;
        for n in 0..100 {
            assert!(map.insert((n, "x"), order(n))?.is_none());
        }
        assert_eq!(map.get((7, "x"))?, Some(order(7)));
        assert_eq!(map.get((7, "y"))?, None);
        assert_eq!(map.check()?.entries, 100);
        let mut set = tx.open::<PHashSet<Option<String>>>("set")?;
        assert!(set.insert(None::<&str>)? && set.insert(Some("a"))? && !set.insert(Some("a"))?);
        assert_eq!(set.len(), 2);
        Ok(())
    })
}

/// Names, and for each some numbers; in a map of these.
type Nested = PHashMap<String, PHashMap<u64, PHashSet<u32>>>;

#[test]
fn maps_of_maps_of_sets_compose_in_one_transaction_and_go_with_what_holds_them() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    let fill = |tx: &WriteTx<'_>, to: u64| -> Result<()> {
        let mut outer = tx.open::<Nested>("nested")?;
        for name in ["a", "b", "c"] {
            let mut inner = outer.open_mut(name)?;
            for n in 0..to {
                inner.open_mut(n)?.extend((0..n as u32).map(|i| i * 7))?;
            }
        }
        Ok(())
    };
    pool.write(|tx| tx.open::<Nested>("nested").map(drop))?;
    let empty = pool.stats()?.used;
    let failed: Result<()> = pool.write(|tx| {
        fill(tx, 30)?;
        Err(Error::abort("no"))
    });
    assert!(failed.is_err());
    assert_eq!(pool.stats()?.used, empty);
    pool.write(|tx| {
        fill(tx, 30)?;
        // A part that fails takes back what it did, and no more.
        let part: Result<()> = tx.nested(|tx| {
            tx.open::<Nested>("nested")?.open_mut("a")?.open_mut(3)?.clear()?;
            tx.open::<Nested>("nested")?.remove("b")?;
            Err(Error::abort("no"))
        });
        assert!(part.is_err());
        Ok(())
    })?;
    let pool = support::reopened(&pool);
    {
        let tx = pool.read()?;
        let outer = tx.open::<Nested>("nested")?;
        assert_eq!(outer.len(), 3);
        outer.check_objects(|inner| inner.check_objects(|set| set.check().map(drop)).map(drop))?;
        let inner = outer.open("b")?.expect("it is there");
        let set = inner.open(9)?.expect("it is there");
        let members: BTreeSet<u32> = set.iter().map(|key| key.copied()).collect::<Result<_>>()?;
        assert_eq!(members, (0..9).map(|i| i * 7).collect());
        assert!(outer.open("d")?.is_none());
    }
    pool.write(|tx| {
        let mut outer = tx.open::<Nested>("nested")?;
        outer.open_mut("a")?.remove(5)?;
        outer.retain_keys(|name| name != "c")?;
        outer.remove("b").map(drop)
    })?;
    pool.write(|tx| tx.open::<Nested>("nested")?.clear())?;
    assert_eq!(pool.stats()?.used, empty, "all blocks of all of them are free");
    Ok(())
}

#[test]
fn keys_at_the_limit_are_held_and_longer_ones_refused() -> Result<()> {
    let pool = Pool::anonymous(8 << 20)?;
    let longest = "k".repeat(hash_map::MAX_KEY as usize);
    pool.write(|tx| {
        let mut map = tx.open::<PHashMap<String, String>>("map")?;
        map.insert("", "empty")?;
        map.insert(&longest, "")?;
        assert_eq!((map.get("")?, map.get(&longest)?), (Some("empty"), Some("")));
        for n in 0..300 {
            map.insert(format!("{n}"), "x".repeat(n))?;
        }
        let error = map.insert(format!("{longest}k"), "").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error}");
        assert_eq!(map.check()?.entries, 302);
        Ok(())
    })
}

#[test]
fn a_pool_without_room_for_a_value_leaves_the_map_as_it_was() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| tx.open::<PHashMap<String, String>>("map")?.insert("a", "b").map(drop))?;
    let used = pool.stats()?.used;
    pool.write(|tx| {
        let mut map = tx.open::<PHashMap<String, String>>("map")?;
        let error = map.insert("k".repeat(100), "v".repeat(2 << 20)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
        let error = map.insert("a", "v".repeat(2 << 20)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
        assert_eq!(map.get("a")?, Some("b"));
        assert_eq!(map.check()?.entries, 1);
        Ok(())
    })?;
    assert_eq!(pool.stats()?.used, used);
    Ok(())
}
