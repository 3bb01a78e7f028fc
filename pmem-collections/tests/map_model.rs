//! `PBTreeMap` does what `std::collections::BTreeMap` does: random operations on both, in transactions that commit or
//! are dropped, compared after each.
#![allow(missing_docs)]

use fastrand::Rng;
use pmem_collections::{map::MapGuard, *};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    ops::Bound::{self, Excluded, Included, Unbounded},
};

fn pool() -> Pool {
    PoolOptions::new().create_on(Mapping::anonymous(1 << 24).unwrap()).unwrap()
}

trait Tested: PartialEq + Debug {}
impl<T: PartialEq + Debug> Tested for T {}

/// Both maps hold the same, whichever way they are read.
fn assert_same<K: Plain + Ord + Tested, V: Plain + Tested, M: Mode>(
    map: &MapGuard<'_, K, V, M>,
    model: &BTreeMap<K, V>,
) -> Result<()> {
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    assert_eq!(map.check()?.entries, model.len() as u64);
    assert!(map.iter().map(Result::unwrap).eq(model));
    assert!(map.iter().rev().map(Result::unwrap).eq(model.iter().rev()));
    assert!(map.keys().map(Result::unwrap).eq(model.keys()));
    assert!(map.values().rev().map(Result::unwrap).eq(model.values().rev()));
    assert_eq!(map.first()?, model.first_key_value());
    assert_eq!(map.last()?, model.last_key_value());
    Ok(())
}

/// The same range of both, taken from both ends in a random pattern.
fn assert_same_range<K: Plain + Ord + Tested, V: Plain + Tested, M: Mode>(
    map: &MapGuard<'_, K, V, M>,
    model: &BTreeMap<K, V>,
    range: (Bound<K>, Bound<K>),
    random: &mut Rng,
) -> Result<()> {
    let empty = match range {
        (Excluded(low), Excluded(high)) => low >= high,
        (Included(low) | Excluded(low), Included(high) | Excluded(high)) => low > high,
        _ => false,
    };
    if empty {
        assert!(map.range(range)?.next().is_none());
        assert!(map.range(range)?.next_back().is_none());
        return Ok(());
    }
    let (mut found, mut expected) = (map.range(range)?, model.range(range));
    let forward = random.f64();
    loop {
        let (found, expected) = if random.f64() < forward {
            (found.next(), expected.next())
        } else {
            (found.next_back(), expected.next_back())
        };
        assert_eq!(found.transpose()?, expected);
        if expected.is_none() {
            break;
        }
    }
    assert!(found.next().is_none() && found.next_back().is_none());
    Ok(())
}

fn random_bound<K>(random: &mut Rng, key: K) -> Bound<K> {
    match random.u8(..5) {
        0 => Unbounded,
        1 | 2 => Included(key),
        _ => Excluded(key),
    }
}

/// One random operation on both maps, with the same result.
fn operate<K: Plain + Ord + Tested, V: Plain + Tested + Default>(
    map: &mut MapGuard<'_, K, V, Write>,
    model: &mut BTreeMap<K, V>,
    random: &mut Rng,
    mut key: impl FnMut(&mut Rng) -> K,
    mut value: impl FnMut(&mut Rng) -> V,
    growing: bool,
) -> Result<()> {
    let (k, v) = (key(random), value(random));
    let old = |old: Option<map::Old<V>>| old.map(|old| old.to_owned().unwrap());
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
        17 => match map.entry(k).find()? {
            map::Found::Occupied(mut entry) => {
                assert_eq!(*entry.key()?, k);
                assert_eq!(entry.get()?, &model[&k]);
                if random.bool() {
                    assert_eq!(Some(entry.insert(v)?.to_owned()?), model.insert(k, v));
                } else {
                    assert_eq!(Some(entry.remove()?.to_owned()?), model.remove(&k));
                }
            }
            map::Found::Vacant(entry) => {
                assert_eq!((entry.key(), model.get(&k)), (&k, None));
                assert_eq!(*entry.insert(v)?, v);
                model.insert(k, v);
            }
        },
        18 => {
            let other = key(random);
            let (low, high) = (random_bound(random, k), random_bound(random, other));
            assert_same_range(map, model, (low, high), random)?;
        }
        19 if random.u8(..20) == 0 => {
            let one_in = random.u32(2..30);
            let mut same = random.clone();
            let mut asked = Vec::new();
            map.retain(|k, v| {
                asked.push((*k, *v));
                random.u32(..one_in) != 0
            })?;
            assert!(asked.iter().map(|(k, v)| (k, v)).eq(&*model));
            model.retain(|_, _| same.u32(..one_in) != 0);
        }
        20 if random.u16(..500) == 0 => {
            map.clear()?;
            model.clear();
        }
        21 => assert_eq!(map.pop_first()?.map(|(k, v)| (k, v.to_owned().unwrap())), model.pop_first()),
        22 => assert_eq!(map.pop_last()?.map(|(k, v)| (k, v.to_owned().unwrap())), model.pop_last()),
        _ => {
            // Half of the time a key that is there.
            let there = model.range(k..).next().map(|(k, _)| *k).filter(|_| random.bool());
            let k = there.unwrap_or(k);
            assert_eq!(old(map.remove(k)?), model.remove(&k));
        }
    }
    Ok(())
}

fn random_operations<K: Plain + Ord + Tested, V: Plain + Tested + Default>(
    seed: u64,
    operations: usize,
    mut key: impl FnMut(&mut Rng) -> K,
    mut value: impl FnMut(&mut Rng) -> V,
) -> Result<()> {
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = pool();
    let mut model = BTreeMap::new();
    let (mut done, mut growing) = (0, true);
    while done < operations {
        if random.u8(..8) == 0 {
            growing = !growing;
        }
        let tx = pool.begin()?;
        let mut map = tx.open::<PBTreeMap<K, V>>("map")?;
        let mut changed = model.clone();
        for _ in 0..random.usize(..400) {
            operate(&mut map, &mut changed, &mut random, &mut key, &mut value, growing)?;
            done += 1;
        }
        assert_same(&map, &changed)?;
        if random.u8(..4) == 0 {
            drop(tx);
        } else {
            tx.commit()?;
            model = changed;
        }
        let tx = pool.read()?;
        match tx.open::<PBTreeMap<K, V>>("map") {
            Ok(map) => assert_same(&map, &model)?,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model.is_empty()),
        }
    }
    Ok(())
}

#[test]
fn random_operations_on_100_keys_do_what_std_does() -> Result<()> {
    (0..20).try_for_each(|seed| random_operations::<u64, u64>(seed, 5_000, |r| r.u64(..100), |r| r.u64(..)))
}

#[test]
fn random_operations_on_10_000_keys_do_what_std_does() -> Result<()> {
    (0..8)
        .try_for_each(|seed| random_operations::<u64, u64>(seed, 20_000, |r| r.u64(..10_000), |r| r.u64(..)))
}

#[test]
fn random_operations_on_all_u64_keys_do_what_std_does() -> Result<()> {
    let key = |r: &mut Rng| match r.u8(..50) {
        0 => u64::MIN,
        1 => u64::MAX,
        _ => r.u64(..),
    };
    (0..4).try_for_each(|seed| random_operations::<u64, u64>(seed, 40_000, key, |r| r.u64(..)))
}

#[test]
fn random_operations_on_one_byte_keys_and_values_do_what_std_does() -> Result<()> {
    (0..6).try_for_each(|seed| random_operations::<u8, u8>(seed, 10_000, |r| r.u8(..), |r| r.u8(..)))
}

#[test]
fn random_operations_on_three_byte_keys_do_what_std_does() -> Result<()> {
    let key = |r: &mut Rng| [0, r.u8(..10), r.u8(..)];
    (0..6).try_for_each(|seed| random_operations::<[u8; 3], u64>(seed, 10_000, key, |r| r.u64(..)))
}

#[test]
fn random_operations_with_u128_values_behind_u8_keys_do_what_std_does() -> Result<()> {
    (0..6).try_for_each(|seed| random_operations::<u8, u128>(seed, 10_000, |r| r.u8(..), |r| r.u128(..)))
}

#[test]
fn random_operations_on_u128_keys_do_what_std_does() -> Result<()> {
    let key = |r: &mut Rng| r.u128(..2000) << 100 | 7;
    (0..6).try_for_each(|seed| random_operations::<u128, [u8; 3]>(seed, 10_000, key, |r| [r.u8(..); 3]))
}

#[test]
fn random_operations_on_floats_and_signed_keys_do_what_std_does() -> Result<()> {
    let key = |r: &mut Rng| r.i32(-5000..5000);
    (0..4).try_for_each(|seed| random_operations::<i32, f64>(seed, 10_000, key, |r| r.f64()))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Order {
    customer: u64,
    lines: [u32; 6],
    total: i64,
}
impl Plain for Order {
    const NAME: &'static str = "test.Order";
}
const _: () = assert!(size_of::<Order>() == 40);

#[test]
fn random_operations_on_40_byte_structs_do_what_std_does() -> Result<()> {
    let order = |r: &mut Rng| Order { customer: r.u64(..100), lines: [r.u32(..3); 6], total: r.i64(-5..5) };
    (0..6).try_for_each(|seed| random_operations::<Order, Order>(seed, 10_000, order, order))
}

/// No zero bits: what a free slot holds is no value of it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    bytemuck::NoUninit,
    bytemuck::CheckedBitPattern,
)]
#[repr(u8)]
enum Colour {
    #[default]
    Red = 1,
    Green = 2,
    Blue = 200,
}
impl Plain for Colour {
    const NAME: &'static str = "test.Colour";
}

#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    bytemuck::NoUninit,
    bytemuck::CheckedBitPattern,
)]
#[repr(C)]
struct Paint {
    number: u16,
    colour: Colour,
    matt: bool,
}
impl Plain for Paint {
    const NAME: &'static str = "test.Paint";
}

#[test]
fn random_operations_on_enums_and_bools_do_what_std_does() -> Result<()> {
    let colour = |r: &mut Rng| *r.choice(&[Colour::Red, Colour::Green, Colour::Blue]).unwrap();
    let paint = |r: &mut Rng| Paint { number: r.u16(..400), colour: colour(r), matt: r.bool() };
    (0..4).try_for_each(|seed| random_operations::<Paint, Colour>(seed, 10_000, paint, colour))?;
    (0..4).try_for_each(|seed| random_operations::<Colour, Paint>(seed, 2_000, colour, paint))?;
    (0..4).try_for_each(|seed| random_operations::<u32, bool>(seed, 10_000, |r| r.u32(..3000), |r| r.bool()))
}

#[test]
fn random_operations_on_entries_larger_than_a_leaf_do_what_std_does() -> Result<()> {
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
    random_operations::<u64, Page>(1, 5_000, |r| r.u64(..1000), |r| Page([r.u8(..); 1000]))?;
    let key = |r: &mut Rng| [r.u64(..40); 60];
    random_operations::<[u64; 60], u8>(2, 5_000, key, |r| r.u8(..))
}

#[test]
fn a_set_is_a_map_to_values_without_bytes() -> Result<()> {
    (0..4).try_for_each(|seed| random_operations::<u64, [u64; 0]>(seed, 10_000, |r| r.u64(..3000), |_| []))
}
