//! Bulk loads and ranges taken out, against what `std` does.
#![allow(missing_docs)]

use fastrand::Rng;
use pmem_collections::*;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

type Map = PBTreeMap<u64, u64>;
type Strings = PBTreeMap<String, String>;

fn pool(bytes: u64) -> Pool {
    PoolOptions::new().create_on(Mapping::anonymous(bytes).unwrap()).unwrap()
}

#[test]
fn entries_in_order_fill_leaves_and_others_are_inserted() -> Result<()> {
    let mut random = Rng::with_seed(3);
    for round in 0..40 {
        let pool = pool(4 << 20);
        let mut model = BTreeMap::new();
        pool.write(|tx| {
            let mut map = tx.open::<Map>("map")?;
            for _ in 0..random.usize(1..6) {
                let start = random.u64(..20_000);
                let items: Vec<(u64, u64)> = (0..random.u64(..1000))
                    .map(|i| match random.u8(..if round % 2 == 0 { 1 } else { 40 }) {
                        1 => (random.u64(..20_000), i),
                        _ => (start + 3 * i, i),
                    })
                    .collect();
                if round % 3 == 0 {
                    map.bulk_load_unsorted(items.iter().rev().copied())?;
                    model.extend(items.into_iter().rev());
                } else {
                    map.bulk_load(items.iter().copied())?;
                    model.extend(items);
                }
                map.check()?;
                assert!(map.iter().map(Result::unwrap).eq(&model));
            }
            Ok(())
        })?;
    }
    pool(4 << 20).write(|tx| {
        let mut map = tx.open::<Map>("map")?;
        map.bulk_load((0..48_000).map(|n| (n, n)))?;
        assert_eq!(map.check()?.leaves, 1000);
        Ok(())
    })
}

#[test]
fn strings_are_loaded_sorted_or_not() -> Result<()> {
    let pool = pool(16 << 20);
    let mut random = Rng::with_seed(4);
    let mut model = BTreeMap::new();
    for _ in 0..20 {
        let mut text = |most| (0..random.usize(..most)).map(|_| random.alphabetic()).collect::<String>();
        let items: Vec<_> = (0..200).map(|_| (text(40), text(60))).collect();
        pool.write(|tx| {
            let mut map = tx.open::<Strings>("map")?;
            map.bulk_load_unsorted(items.iter().map(|(key, value)| (key, value)))?;
            map.check().map(drop)
        })?;
        model.extend(items);
    }
    let tx = pool.read()?;
    let map = tx.open::<Strings>("map")?;
    let nodes = map.check()?;
    assert!(map.iter().map(Result::unwrap).eq(model.iter().map(|(k, v)| (&**k, &**v))));
    drop(tx);
    let report = pool.check()?;
    assert_eq!(report.small_blocks + report.large_blocks, 2 + nodes.nodes() + nodes.blocks);
    Ok(())
}

#[test]
fn a_range_is_taken_out_and_the_rest_stays() -> Result<()> {
    pool(16 << 20).write(|tx| {
        let mut map = tx.open::<Map>("map")?;
        map.bulk_load((0..5000).map(|n| (n, !n)))?;
        let mut asked = Vec::new();
        let taken = map.extract_if(1000..=3000, |key, _| {
            asked.push(*key);
            *key % 3 == 0
        })?;
        assert!(asked.into_iter().eq(1000..=3000));
        let taken: Vec<_> = taken.into_iter().map(|(key, old)| (key, old.to_owned().unwrap())).collect();
        assert!(taken.into_iter().eq((1000..=3000).filter(|n| n % 3 == 0).map(|n| (n, !n))));
        assert_eq!(map.check()?.entries, 5000 - 667);
        assert_eq!(map.extract_if(..1000, |_, _| true)?.len(), 1000);
        assert_eq!(map.first()?, Some((&1000, &!1000)));
        assert_eq!(map.extract_if(7000.., |_, _| true)?.len(), 0);
        let rest = map.drain()?;
        assert_eq!((rest.len(), map.len(), map.check()?.nodes()), (5000 - 667 - 1000, 0, 0));
        Ok(())
    })
}

#[test]
fn a_bulk_load_that_fails_keeps_what_came_before() -> Result<()> {
    let pool = pool(256 << 10);
    pool.write(|tx| {
        let mut map = tx.open::<Map>("map")?;
        let error = map.bulk_load((0..).map(|n| (n, n))).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
        let entries = map.check()?.entries;
        assert!(entries > 1000 && map.keys().map(|key| *key.unwrap()).eq(0..entries));
        Ok(())
    })?;
    let nodes = pool.read()?.open::<Map>("map")?.check()?;
    let report = pool.check()?;
    assert_eq!(report.small_blocks + report.large_blocks, 2 + nodes.nodes());
    Ok(())
}

#[test]
fn a_panic_of_the_iterator_of_a_bulk_load_leaves_a_map_that_is_right() -> Result<()> {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let pool = pool(1 << 20);
    let result = pool.write(|tx| {
        let mut map = tx.open::<Strings>("map")?;
        let items = (0..500).map(|n| {
            assert!(n < 333, "on purpose");
            (format!("{n:030}"), "x")
        });
        assert!(catch_unwind(AssertUnwindSafe(|| map.bulk_load(items))).is_err());
        let entries = map.check()?.entries;
        assert!(
            entries <= 333 && map.keys().map(Result::unwrap).eq((0..entries).map(|n| format!("{n:030}")))
        );
        Ok(())
    });
    std::panic::set_hook(quiet);
    result?;
    let nodes = pool.read()?.open::<Strings>("map")?.check()?;
    let report = pool.check()?;
    assert_eq!(report.small_blocks + report.large_blocks, 2 + nodes.nodes() + nodes.blocks);
    Ok(())
}
