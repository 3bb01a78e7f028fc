//! A million random operations on `PBTreeMap` and on `std::collections::BTreeMap`, compared one by one: keys from 100,
//! 10,000 and 2^64 different ones, `u64`, strings of 0 to 200 bytes and serde values, up to more than 100,000 live entries;
//! in transactions that commit, are dropped, or go back to savepoints, with the pool opened again in between as a power
//! failure leaves it.
#![allow(missing_docs)]

use fastrand::Rng;
use pmem_collections::{
    map::{Found, MapGuard},
    *,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Debug, ops::Bound};

/// What one run does.
struct Plan {
    name: &'static str,
    pool: u64,
    operations: usize,
    /// So many different keys.
    keys: u64,
    /// Until there are so many entries, more is inserted than removed.
    live: usize,
}

/// A `std` map that can go back.
struct Model<K, V> {
    map: BTreeMap<K, V>,
    /// What each change since the last commit replaced.
    undo: Vec<(K, Option<V>)>,
}

impl<K: Ord + Clone, V: Clone> Model<K, V> {
    fn insert(&mut self, key: &K, value: V) -> Option<V> {
        let old = self.map.insert(key.clone(), value);
        self.undo.push((key.clone(), old.clone()));
        old
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.map.remove(key)?;
        self.undo.push((key.clone(), Some(old.clone())));
        Some(old)
    }

    fn go_back(&mut self, to: usize) {
        for (key, old) in self.undo.drain(to..).rev() {
            match old {
                Some(value) => drop(self.map.insert(key, value)),
                None => drop(self.map.remove(&key)),
            }
        }
    }
}

/// A key or a value that comes from a number.
trait Sample: Clone + PartialEq + Debug {
    fn of(n: u64) -> Self;
}

impl Sample for u64 {
    fn of(n: u64) -> u64 {
        n
    }
}

/// 0 to 200 bytes; a third of them with a long prefix in common.
impl Sample for String {
    fn of(n: u64) -> String {
        let mut random = Rng::with_seed(n);
        let len = random.usize(..=200);
        let mut text = String::with_capacity(len);
        if random.u8(..3) == 0 && len > 40 {
            text += "https://example.org/the/same/for/all/";
        }
        while text.len() < len {
            text.push(random.choice(['a', 'b', 'c', 'é', '\u{10348}']).unwrap());
        }
        while text.len() > 200 {
            text.pop();
        }
        text
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    customer: u64,
    lines: Vec<(String, u32)>,
    note: Option<String>,
}
impl Schema for Order {
    const NAME: &'static str = "test.Order";
}

impl Sample for Serde<Order> {
    fn of(n: u64) -> Self {
        let mut random = Rng::with_seed(n);
        let lines = (0..random.usize(..6)).map(|i| ("tea".repeat(i), random.u32(..))).collect();
        Serde(Order { customer: n, lines, note: random.bool().then(|| "soon".into()) })
    }
}

fn own<V: Value>(old: Option<map::Old<V>>) -> Result<Option<V>> {
    old.map(|old| old.to_owned()).transpose()
}

fn own_entry<K: Value, V: Value>((key, value): (K::Ref<'_>, V::Ref<'_>)) -> (K, V) {
    (K::to_owned(key), V::to_owned(value))
}

fn clone<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

/// One random operation on both, with the same result.
fn operate<K, V>(
    map: &mut MapGuard<'_, K, V, Write>,
    model: &mut Model<K, V>,
    random: &mut Rng,
    plan: &Plan,
) -> Result<()>
where
    K: OrdKey + Ord + Sample,
    V: Value + Sample,
    for<'a> &'a K: EncodeAs<K>,
    for<'a> &'a V: EncodeAs<V>,
{
    let any = K::of(random.u64(..plan.keys));
    // A key that is there, if possible.
    let key = match random.bool() {
        true => model.map.range(&any..).next().map_or(any, |(key, _)| key.clone()),
        false => any,
    };
    let value = V::of(random.u64(..));
    let growing = model.map.len() < plan.live;
    match random.u8(..100) {
        0..30 => assert_eq!(own(map.insert(&key, &value)?)?, model.insert(&key, value)),
        30..70 if growing => {
            let key = K::of(random.u64(..plan.keys));
            assert_eq!(own(map.insert(&key, &value)?)?, model.insert(&key, value));
        }
        30..50 => assert_eq!(own(map.remove(&key)?)?, model.remove(&key)),
        50..70 => assert_eq!(map.get(&key)?.map(V::to_owned), model.map.get(&key).cloned()),
        70..75 => match map.entry(&key).find()? {
            Found::Occupied(mut entry) => {
                assert_eq!(Some(V::to_owned(entry.get()?)), model.map.get(&key).cloned());
                if random.bool() {
                    assert_eq!(Some(entry.insert(&value)?.to_owned()?), model.insert(&key, value));
                } else {
                    assert_eq!(Some(entry.remove()?.to_owned()?), model.remove(&key));
                }
            }
            Found::Vacant(entry) => {
                assert_eq!(V::to_owned(entry.insert(&value)?), value);
                assert_eq!(model.insert(&key, value), None);
            }
        },
        75..80 => {
            let there = V::to_owned(map.entry(&key).or_set(&value)?);
            if !model.map.contains_key(&key) {
                model.insert(&key, value);
            }
            assert_eq!(there, model.map[&key]);
        }
        80 => {
            let expected = model.map.first_key_value().map(|(key, _)| key.clone());
            let found = map.pop_first()?;
            assert_eq!(found.as_ref().map(|(key, _)| key), expected.as_ref());
            let old = expected.and_then(|key| model.remove(&key));
            assert_eq!(own(found.map(|(_, old)| old))?, old);
        }
        81 => {
            let expected = model.map.last_key_value().map(|(key, _)| key.clone());
            let found = map.pop_last()?;
            assert_eq!(found.as_ref().map(|(key, _)| key), expected.as_ref());
            let old = expected.and_then(|key| model.remove(&key));
            assert_eq!(own(found.map(|(_, old)| old))?, old);
        }
        82 => {
            assert_eq!(map.first()?.map(own_entry::<K, V>), model.map.first_key_value().map(clone));
            assert_eq!(map.last()?.map(own_entry::<K, V>), model.map.last_key_value().map(clone));
            assert_eq!(map.len(), model.map.len());
        }
        83 if random.u32(..2000) == 0 => {
            let one_in = random.u32(2..10);
            let mut same = random.clone();
            map.retain(|_, _| random.u32(..one_in) != 0)?;
            let gone: Vec<K> = model.map.keys().filter(|_| same.u32(..one_in) == 0).cloned().collect();
            gone.iter().for_each(|key| drop(model.remove(key)));
        }
        83 if random.u32(..10_000) == 0 && model.map.len() < 1000 => {
            map.clear()?;
            let all: Vec<K> = model.map.keys().cloned().collect();
            all.iter().for_each(|key| drop(model.remove(key)));
        }
        84..90 => {
            let most = random.usize(..20);
            let bounds = match random.u8(..4) {
                0 => (Bound::Excluded(&key), Bound::Unbounded),
                _ => (Bound::Included(&key), Bound::Unbounded),
            };
            let found = map
                .range(bounds)?
                .take(most)
                .map(|e| e.map(own_entry::<K, V>))
                .collect::<Result<Vec<_>>>()?;
            assert!(found.into_iter().eq(model.map.range(bounds).take(most).map(clone)));
        }
        90..96 => {
            let most = random.usize(..20);
            let bounds = match random.u8(..4) {
                0 => (Bound::Unbounded, Bound::Excluded(&key)),
                _ => (Bound::Unbounded, Bound::Included(&key)),
            };
            let found = map
                .range(bounds)?
                .rev()
                .take(most)
                .map(|e| e.map(own_entry::<K, V>))
                .collect::<Result<Vec<_>>>()?;
            assert!(found.into_iter().eq(model.map.range(bounds).rev().take(most).map(clone)));
        }
        _ => {
            assert_eq!(map.contains_key(&key)?, model.map.contains_key(&key));
            assert_eq!(
                map.get_key_value(&key)?.map(own_entry::<K, V>),
                model.map.get_key_value(&key).map(clone)
            );
        }
    }
    Ok(())
}

/// Everything is the same, read from both ends, and every block is one of the map's.
fn compare<K, V>(pool: &Pool, model: &Model<K, V>) -> Result<()>
where
    K: OrdKey + Ord + Sample,
    V: Value + Sample,
{
    let report = pool.check()?;
    assert!(report.is_ok(), "{:?}", report.problems);
    let tx = pool.read()?;
    let map = tx.open::<PBTreeMap<K, V>>("map")?;
    let nodes = map.check()?;
    assert_eq!(report.small_blocks + report.large_blocks, 2 + nodes.nodes() + nodes.blocks);
    assert_eq!((map.len(), nodes.entries), (model.map.len(), model.map.len() as u64));
    assert!(map.iter().map(|e| own_entry::<K, V>(e.unwrap())).eq(model.map.iter().map(clone)));
    assert!(map.iter().rev().map(|e| own_entry::<K, V>(e.unwrap())).eq(model.map.iter().rev().map(clone)));
    Ok(())
}

/// What a power failure leaves, opened.
fn open_again(pool: Pool, len: u64) -> Result<Pool> {
    let mut mapping = Mapping::anonymous(len)?;
    // SAFETY: this thread has the only pool on the region, and no transaction.
    unsafe { pool.region().load(0, mapping.as_mut_slice()) };
    Pool::on(mapping)
}

fn run<K, V>(plan: &Plan) -> Result<()>
where
    K: OrdKey + Ord + Sample,
    V: Value + Sample,
    for<'a> &'a K: EncodeAs<K>,
    for<'a> &'a V: EncodeAs<V>,
{
    let mut random = Rng::with_seed(plan.keys ^ plan.operations as u64);
    let mut pool = Pool::create_on(Mapping::anonymous(plan.pool)?)?;
    pool.write(|tx| tx.open::<PBTreeMap<K, V>>("map").map(drop))?;
    let mut model: Model<K, V> = Model { map: BTreeMap::new(), undo: Vec::new() };
    let (mut done, mut most, mut opened, mut aborted, mut returned) = (0, 0, 0, 0, 0);
    let (mut compared, mut reopen) = (0, plan.operations / 5);
    while done < plan.operations {
        let mut tx = pool.begin()?;
        for _ in 0..random.usize(1..4) {
            let (savepoint, mark) = (tx.savepoint(), model.undo.len());
            let mut map = tx.open::<PBTreeMap<K, V>>("map")?;
            for _ in 0..random.usize(..60) {
                operate(&mut map, &mut model, &mut random, plan)?;
                done += 1;
            }
            if random.u8(..8) == 0 {
                tx.rollback_to(&savepoint)?;
                model.go_back(mark);
                returned += 1;
            }
        }
        most = most.max(model.map.len());
        if random.u8(..10) == 0 {
            drop(tx);
            model.go_back(0);
            aborted += 1;
        } else {
            tx.commit()?;
            model.undo.clear();
        }
        if done > compared + model.map.len() {
            compare(&pool, &model)?;
            compared = done;
        }
        if done > reopen {
            pool = open_again(pool, plan.pool)?;
            compare(&pool, &model)?;
            opened += 1;
            reopen += plan.operations / 5;
        }
    }
    compare(&pool, &model)?;
    let Plan { name, keys, .. } = plan;
    println!(
        "model | {name:<16} | {done:>7} operations on {keys:>20} keys | at most {most:>6} live | {aborted:>4} aborts, \
         {returned:>4} savepoints gone back to, {opened} openings"
    );
    assert!(most >= plan.live, "{most} entries");
    pool.write(|tx| tx.open::<PBTreeMap<K, V>>("map")?.clear())?;
    let report = pool.check()?;
    assert_eq!(report.small_blocks + report.large_blocks, 2, "blocks are left");
    Ok(())
}

const MANY: u64 = u64::MAX;

#[test]
fn u64_to_u64_does_what_std_does() -> Result<()> {
    run::<u64, u64>(&Plan { name: "u64 to u64", pool: 1 << 20, operations: 80_000, keys: 100, live: 60 })?;
    run::<u64, u64>(&Plan {
        name: "u64 to u64",
        pool: 2 << 20,
        operations: 80_000,
        keys: 10_000,
        live: 6_000,
    })?;
    run::<u64, u64>(&Plan {
        name: "u64 to u64",
        pool: 16 << 20,
        operations: 240_000,
        keys: MANY,
        live: 100_000,
    })
}

#[test]
fn str_to_str_does_what_std_does() -> Result<()> {
    let name = "str to str";
    run::<String, String>(&Plan { name, pool: 1 << 20, operations: 60_000, keys: 100, live: 60 })?;
    run::<String, String>(&Plan { name, pool: 8 << 20, operations: 60_000, keys: 10_000, live: 6_000 })?;
    run::<String, String>(&Plan { name, pool: 64 << 20, operations: 240_000, keys: MANY, live: 100_000 })
}

#[test]
fn u64_to_serde_does_what_std_does() -> Result<()> {
    let name = "u64 to serde";
    run::<u64, Serde<Order>>(&Plan { name, pool: 1 << 20, operations: 60_000, keys: 100, live: 60 })?;
    run::<u64, Serde<Order>>(&Plan { name, pool: 4 << 20, operations: 60_000, keys: 10_000, live: 6_000 })
}

#[test]
fn str_to_serde_does_what_std_does() -> Result<()> {
    let name = "str to serde";
    run::<String, Serde<Order>>(&Plan { name, pool: 1 << 20, operations: 60_000, keys: 100, live: 60 })?;
    run::<String, Serde<Order>>(&Plan { name, pool: 8 << 20, operations: 60_000, keys: 10_000, live: 6_000 })
}
