//! Maps of what is not plain data: strings, slices, tuples, options, serde types, maps in maps.
#![allow(missing_docs)]

use fastrand::Rng;
use pmem_collections::{map::*, *};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

fn pool(bytes: u64) -> Pool {
    PoolOptions::new().create_on(Mapping::anonymous(bytes).unwrap()).unwrap()
}

/// Blocks that are allocated, but for the directory's `names` entries.
fn blocks(pool: &Pool, names: u64) -> u64 {
    let report = pool.check().unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    report.small_blocks + report.large_blocks - names
}

#[test]
fn strings_are_keys_and_values_of_any_length() -> Result<()> {
    let pool = pool(4 << 20);
    let long = "é".repeat(500);
    pool.write(|tx| {
        let mut map = tx.open::<PBTreeMap<String, String>>("map")?;
        assert!(map.insert("ada", "lovelace")?.is_none());
        map.insert(&long, "short")?;
        map.insert(String::from("short"), &long)?;
        map.insert("", "")?;
        let old = map.insert("ada", &long)?.unwrap();
        assert_eq!(old.get()?, "lovelace");
        assert_eq!(map.get("ada")?, Some(&*long));
        Ok(())
    })?;
    let tx = pool.read()?;
    let map = tx.open::<PBTreeMap<String, String>>("map")?;
    let found: Vec<(&str, &str)> = map.iter().collect::<Result<_>>()?;
    assert_eq!(found, [("", ""), ("ada", &*long), ("short", &*long), (&*long, "short")]);
    assert_eq!(map.range("b".."t")?.count(), 1);
    assert_eq!(map.range(.."ada")?.count(), 1);
    assert_eq!((map.first()?, map.get("x")?), (Some(("", "")), None));
    assert_eq!(format!("{:?}", map.range(..="ada")?.collect::<Result<Vec<_>>>()?.len()), "2");
    assert_eq!(map.check()?.blocks, 3);
    drop(tx);
    pool.write(|tx| {
        let mut map = tx.open::<PBTreeMap<String, String>>("map")?;
        assert_eq!(map.remove(&long)?.unwrap().to_owned()?, "short");
        assert_eq!(map.pop_first()?.unwrap().0, "");
        map.retain(|key, value| key == "ada" && value.len() > 20)?;
        assert_eq!(map.keys().collect::<Result<Vec<_>>>()?, ["ada"]);
        map.clear()
    })?;
    assert_eq!(blocks(&pool, 1), 1);
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    lines: Vec<(String, u32)>,
    note: Option<String>,
}
impl Schema for Order {
    const NAME: &'static str = "shop.Order";
}

#[test]
fn slices_tuples_options_and_serde_types_are_values() -> Result<()> {
    let order = Order { lines: vec![("tea".into(), 2), ("jam".into(), 1)], note: None };
    pool(4 << 20).write(|tx| {
        let mut orders = tx.open::<PBTreeMap<u64, Serde<Order>>>("orders")?;
        orders.insert(7, &order)?;
        assert_eq!(orders.get(7)?.as_ref(), Some(&order));
        assert_eq!(orders.entry(7).or_set(&order)?, order);
        assert_eq!(orders.remove(7)?.unwrap().to_owned()?, Serde(order.clone()));

        let mut words = tx.open::<PBTreeMap<(String, u32), Vec<u64>>>("words")?;
        for n in [1, 2, 0x100] {
            words.insert(("b", n), &[n.into(), 2, 3])?;
        }
        words.insert(("ab", 9), &[])?;
        assert_eq!(words.get(("b", 2))?, Some(&[2, 2, 3][..]));
        let keys: Vec<(&str, u32)> = words.keys().collect::<Result<_>>()?;
        assert_eq!(keys, [("ab", 9), ("b", 1), ("b", 2), ("b", 0x100)]);
        assert_eq!(words.range(("b", 0)..("b", u32::MAX))?.count(), 3);

        let mut options = tx.open::<PBTreeMap<Option<i16>, (u8, Option<String>)>>("options")?;
        options.insert(None::<i16>, (1, Some("x")))?;
        options.insert(Some(-3), (2, None::<&str>))?;
        let all: Vec<_> = options.iter().collect::<Result<_>>()?;
        assert_eq!(all, [(None, (1, Some("x"))), (Some(-3), (2, None))]);

        let mut set = tx.open::<PBTreeMap<Vec<u8>, ()>>("set")?;
        set.insert(b"abc", ())?;
        assert_eq!(set.get(b"abc")?, Some(&()));
        Ok(())
    })
}

type Nested = PBTreeMap<String, PBTreeMap<u32, String>>;

#[test]
fn maps_of_maps_are_opened_through_the_outer_one_and_destroyed_with_it() -> Result<()> {
    let pool = pool(4 << 20);
    pool.write(|tx| {
        let mut map = tx.open::<Nested>("nested")?;
        for (name, n) in [("one", 1), ("two", 200), ("three", 3)] {
            let mut inner = map.open_mut(name)?;
            for i in 0..n {
                inner.insert(i, "the same string of more than 20 bytes")?;
            }
        }
        assert_eq!(map.open("two")?.unwrap().len(), 200);
        assert!(map.open("four")?.is_none());
        Ok(())
    })?;
    let tx = pool.read()?;
    let map = tx.open::<Nested>("nested")?;
    let lens: Vec<_> = map
        .objects()
        .map(|entry| entry.map(|(key, inner)| (key.to_string(), inner.len())))
        .collect::<Result<_>>()?;
    assert_eq!(lens, [("one".into(), 1), ("three".into(), 3), ("two".into(), 200)]);
    map.check_objects(|inner| inner.check().map(drop))?;
    drop(tx);
    pool.write(|tx| {
        let mut map = tx.open::<Nested>("nested")?;
        assert!(map.remove("two")?.is_some());
        assert_eq!(map.len(), 2);
        map.retain_keys(|key| key == "one")?;
        map.clear()
    })?;
    assert_eq!(blocks(&pool, 1), 1);
    Ok(())
}

#[test]
fn keys_of_a_kilobyte_and_values_of_a_megabyte_are_kept_and_longer_ones_refused() -> Result<()> {
    let pool = pool(64 << 20);
    let value: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    let key = |n: u32| format!("{}{n:>24}", "k".repeat(1000));
    pool.write(|tx| {
        let mut map = tx.open::<PBTreeMap<String, Vec<u8>>>("map")?;
        (0..20).try_for_each(|n| map.insert(key(n), &value).map(drop))
    })?;
    pool.write(|tx| {
        let mut map = tx.open::<PBTreeMap<String, Vec<u8>>>("map")?;
        for n in 0..20 {
            assert_eq!(map.get(key(n))?, Some(&value[..]));
        }
        let error = map.insert("k".repeat(MAX_KEY as usize + 1), b"").err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::TooLarge { what: "key", maximum: MAX_KEY, .. }), "{error}");
        map.insert("k".repeat(MAX_KEY as usize), b"")?;
        map.check()?;
        map.clear()
    })?;
    assert_eq!(blocks(&pool, 1), 1);
    Ok(())
}

#[test]
fn values_that_grow_and_shrink_keep_their_bytes() -> Result<()> {
    let pool = pool(8 << 20);
    let mut random = Rng::with_seed(5);
    let mut model = BTreeMap::new();
    for _ in 0..200 {
        pool.write(|tx| {
            let mut map = tx.open::<PBTreeMap<u8, Vec<u16>>>("map")?;
            for _ in 0..20 {
                let len = random.choice([0, 1, 8, 10, 11, 12, 100, 104, 3000]).unwrap();
                let value: Vec<u16> = (0..len).map(|_| random.u16(..)).collect();
                let key = random.u8(..30);
                let old = map.insert(key, &value)?.map(|old| old.to_owned().unwrap());
                assert_eq!(old, model.insert(key, value));
            }
            let all = map
                .iter()
                .map(|entry| entry.map(|(k, v)| (*k, v.to_vec())))
                .collect::<Result<BTreeMap<_, _>>>()?;
            assert!(all == model);
            map.check().map(drop)
        })?;
    }
    pool.write(|tx| tx.open::<PBTreeMap<u8, Vec<u16>>>("map")?.clear())?;
    assert_eq!(blocks(&pool, 1), 1);
    Ok(())
}

#[test]
fn a_full_pool_is_an_error_that_changes_nothing_of_a_map_of_strings() -> Result<()> {
    for kilobytes in (128..320).step_by(4) {
        let pool = pool(kilobytes << 10);
        let mut random = Rng::with_seed(kilobytes);
        let mut model = BTreeMap::new();
        let mut full = false;
        while !full {
            pool.write(|tx| {
                let mut map = tx.open::<PBTreeMap<String, String>>("map")?;
                for _ in 0..50 {
                    let mut text = |most| "x".repeat(random.usize(..most)) + &random.u32(..).to_string();
                    let (key, value) = ("the prefix that all keys have: ".to_string() + &text(60), text(200));
                    if let Err(error) = map.insert(&key, &value) {
                        assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                        full = true;
                        break;
                    }
                    model.insert(key, value);
                }
                map.check()?;
                assert!(map.iter().map(Result::unwrap).eq(model.iter().map(|(k, v)| (&**k, &**v))));
                Ok(())
            })?;
        }
        let tx = pool.read()?;
        let nodes = tx.open::<PBTreeMap<String, String>>("map")?.check()?;
        drop(tx);
        // What a failed insert had allocated was given back: header, nodes and blocks are all there is.
        assert_eq!(blocks(&pool, 1), 1 + nodes.nodes() + nodes.blocks);
        pool.write(|tx| tx.open::<PBTreeMap<String, String>>("map")?.clear())?;
        assert_eq!(blocks(&pool, 1), 1);
    }
    Ok(())
}

#[test]
fn a_map_of_strings_is_not_opened_as_one_of_bytes() -> Result<()> {
    let pool = pool(1 << 20);
    pool.write(|tx| tx.open::<PBTreeMap<String, u64>>("map")?.insert("x", 1).map(drop))?;
    let tx = pool.read()?;
    let error = tx.open::<PBTreeMap<Vec<u8>, u64>>("map").err().unwrap();
    let ErrorKind::WrongType { expected, found, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((&**expected, &**found), ("PBTreeMap<[u8], u64>", "PBTreeMap<str, u64>"));
    assert!(tx.open::<PBTreeMap<String, u32>>("map").is_err());
    Ok(())
}

#[test]
fn elements_aligned_to_more_than_a_line_are_refused() -> Result<()> {
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C, align(128))]
    struct Wide([u8; 128]);
    impl Plain for Wide {
        const NAME: &'static str = "test.Wide";
    }
    let error = pool(1 << 20).write(|tx| tx.open::<PBTreeMap<u64, Vec<Wide>>>("map").map(drop)).unwrap_err();
    let ErrorKind::Aborted(reason) = error.kind() else { panic!("{error}") };
    assert_eq!(reason.downcast_ref::<EntryTooLarge>().unwrap().value_align, 128);
    Ok(())
}

#[test]
fn a_set_of_strings_does_what_a_set_of_std_does() -> Result<()> {
    pool(16 << 20).write(|tx| {
        let mut set = tx.open::<PBTreeSet<String>>("set")?;
        let mut model = std::collections::BTreeSet::new();
        let mut random = Rng::with_seed(6);
        for _ in 0..2000 {
            let key = format!("{}{}", "k".repeat(random.usize(..30)), random.u8(..20));
            match random.u8(..8) {
                0..4 => assert_eq!(set.insert(&key)?, model.insert(key)),
                4..6 => assert_eq!(set.remove(&key)?, model.remove(&key)),
                6 => assert_eq!(set.contains(&key)?, model.contains(&key)),
                _ => assert_eq!(set.pop_first()?, model.pop_first()),
            }
        }
        assert_eq!((set.len(), set.check()?.entries), (model.len(), model.len() as u64));
        assert!(set.iter().map(Result::unwrap).eq(model.iter().map(|key| &**key)));
        assert!(set.range("kk"..)?.rev().map(Result::unwrap).eq(model.range("kk".to_string()..).rev()));
        assert_eq!(set.last()?, model.last().map(|key| &**key));
        set.retain(|key| key.len() > 5)?;
        model.retain(|key| key.len() > 5);
        assert_eq!(format!("{set:?}"), format!("{model:?}"));
        set.clear()?;
        set.bulk_load(&model)?;
        set.extend(["z"])?;
        assert_eq!(set.pop_last()?.as_deref(), Some("z"));
        assert!(set.iter().map(Result::unwrap).eq(model.iter().map(|key| &**key)));
        Ok(())
    })
}

/// Changes a slot of `len` bytes that is followed by one of 3.
fn change_slot(bytes: &mut [u8], len: u32, change: impl Fn(&mut [u8])) {
    let is_slot =
        |at: &usize| bytes[*at..*at + 4] == len.to_le_bytes() && bytes[at + 24..at + 28] == [3, 0, 0, 0];
    // The last: the log, which comes before the data, may have it too.
    let at = (0..bytes.len() - 48).step_by(8).rev().find(is_slot).expect("the slot of a key");
    change(&mut bytes[at..at + 24]);
}

#[test]
fn a_reference_that_cannot_be_right_is_an_error_with_its_offset() -> Result<()> {
    type Changes = [(&'static str, fn(&mut [u8])); 5];
    let changes: Changes = [
        ("to nothing", |slot| slot[8..16].fill(0)),
        ("to no block", |slot| slot[8..16].copy_from_slice(&(200u64 << 10).to_le_bytes())),
        ("behind the pool", |slot| slot[15] = 1),
        ("longer than its block", |slot| slot[1] = 200),
        ("with other bytes", |slot| slot[20] = 1),
    ];
    let key = "k".repeat(333);
    for (what, change) in changes {
        let pool = pool(256 << 10);
        pool.write(|tx| tx.open::<PBTreeMap<String, String>>("map")?.insert(&key, "abc").map(drop))?;
        pool.checkpoint()?;
        let mut mapping = Mapping::anonymous(256 << 10)?;
        // SAFETY: this thread has the only pool on the region, and no transaction.
        unsafe { pool.region().load(0, mapping.as_mut_slice()) };
        change_slot(mapping.as_mut_slice(), 333, change);
        let pool = Pool::on(mapping)?;
        let is_corrupt = |error: Error| matches!(error.kind(), ErrorKind::Corrupt { .. });
        let tx = pool.read()?;
        let map = tx.open::<PBTreeMap<String, String>>("map")?;
        assert!(map.get(&key).is_err_and(is_corrupt), "{what}");
        assert!(map.iter().next().unwrap().is_err_and(is_corrupt), "{what}");
        assert!(map.check().is_err_and(is_corrupt), "{what}");
        drop(tx);
        let removed = pool.write(|tx| tx.open::<PBTreeMap<String, String>>("map")?.pop_first().map(drop));
        assert!(removed.is_err_and(is_corrupt), "{what}");
        let drained = pool.write(|tx| tx.open::<PBTreeMap<String, String>>("map")?.drain().map(drop));
        assert!(drained.is_err_and(is_corrupt), "{what}");
    }
    Ok(())
}
