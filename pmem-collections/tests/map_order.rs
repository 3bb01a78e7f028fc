//! Orders that panic or lie: foreign code inside the tree's operations.
#![allow(missing_docs)]

use fastrand::Rng;
use pmem_collections::*;
use std::{
    cell::{Cell, RefCell},
    cmp::Ordering,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

fn pool() -> Pool {
    PoolOptions::new().create_on(Mapping::anonymous(1 << 23).unwrap()).unwrap()
}

thread_local! {
    /// Comparisons until one panics.
    static FUSE: Cell<u64> = const { Cell::new(u64::MAX) };
    static LIAR: RefCell<Rng> = const { RefCell::new(Rng::with_seed(0)) };
}

macro_rules! key {
    ($Name:ident, $name:literal, $compare:expr) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(transparent)]
        struct $Name(u64);
        impl Plain for $Name {
            const NAME: &'static str = $name;
        }
        impl PartialOrd for $Name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $Name {
            fn cmp(&self, other: &Self) -> Ordering {
                let compare: fn(u64, u64) -> Ordering = $compare;
                compare(self.0, other.0)
            }
        }
    };
}

key!(Fused, "test.Fused", |a, b| {
    let left = FUSE.get();
    assert!(left != 0, "on purpose");
    FUSE.set(left - 1);
    a.cmp(&b)
});

/// Runs `operation`, which panics at one of its comparisons if it has so many.
fn panics_at<R>(comparison: u64, operation: impl FnOnce() -> R) -> Option<R> {
    FUSE.set(comparison);
    let result = catch_unwind(AssertUnwindSafe(operation));
    FUSE.set(u64::MAX);
    result.ok()
}

#[test]
fn a_panic_at_any_comparison_of_an_operation_leaves_the_map_as_it_was() -> Result<()> {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = pool().write(|tx| {
        let mut map = tx.open::<PBTreeMap<Fused, u64>>("map")?;
        let mut model = BTreeMap::new();
        let mut random = Rng::with_seed(7);
        for round in 0..600 {
            let key = Fused(random.u64(..300));
            let operation = if round < 300 { 0 } else { random.u8(..4) };
            for comparison in 0.. {
                let done = panics_at(comparison, || match operation {
                    0 => map.insert(key, round).map(drop),
                    1 => map.remove(key).map(drop),
                    2 => map.entry(key).or_insert(round).map(drop),
                    _ => map.pop_first().map(drop),
                });
                if let Some(done) = done {
                    done?;
                    break;
                }
                assert!(map.iter().map(Result::unwrap).eq(&model));
            }
            match operation {
                0 => drop(model.insert(key, round)),
                1 => drop(model.remove(&key)),
                2 => drop(model.entry(key).or_insert(round)),
                _ => drop(model.pop_first()),
            }
            map.check()?;
            assert!(map.iter().map(Result::unwrap).eq(&model));
        }
        Ok(())
    });
    std::panic::set_hook(quiet);
    result
}

#[test]
fn a_panic_in_a_closure_of_the_caller_leaves_a_map_that_is_right() -> Result<()> {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = pool().write(|tx| {
        let mut map = tx.open::<PBTreeMap<u64, u64>>("map")?;
        map.extend((0..2000).map(|i| (i, i)))?;
        assert!(
            catch_unwind(AssertUnwindSafe(|| map.retain(|k, _| *k < 1000 || *k % 3 == 0 || panic!())))
                .is_err()
        );
        map.check()?;
        assert!(
            catch_unwind(AssertUnwindSafe(|| map.retain(|k, _| if *k == 1800 { panic!() } else { false })))
                .is_err()
        );
        map.check()?;
        assert!(map.contains_key(1999)? && map.len() < 300);
        assert!(
            catch_unwind(AssertUnwindSafe(|| map.entry(5000).or_insert_with(|| panic!()).map(drop))).is_err()
        );
        assert!(!map.contains_key(5000)?);
        map.check().map(drop)
    });
    std::panic::set_hook(quiet);
    result
}

key!(Random, "test.Random", |_, _| LIAR
    .with_borrow_mut(|liar| { [Ordering::Less, Ordering::Equal, Ordering::Greater][liar.usize(..3)] }));
key!(Always, "test.Always", |_, _| Ordering::Greater);
key!(Cyclic, "test.Cyclic", |a, b| (a % 3).cmp(&((b + 1) % 3)));
key!(Reflexive, "test.Reflexive", |a, b| if a / 2 == b / 2 { Ordering::Equal } else { a.cmp(&b) });

/// Whatever happens, it ends: with a result, an error or (from std's sort) a panic.
fn every_operation_ends<K: Plain + Ord>(key: fn(u64) -> K) {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut random = Rng::with_seed(seed);
        let pool = pool();
        for _ in 0..40 {
            let transaction = catch_unwind(AssertUnwindSafe(|| {
                pool.write(|tx| {
                    let mut map = tx.open::<PBTreeMap<K, u64>>("map")?;
                    for _ in 0..200 {
                        let k = key(random.u64(..1000));
                        match random.u8(..12) {
                            0..7 => drop(map.insert(k, 1)?),
                            7 => drop(map.remove(k)?),
                            8 => drop(map.get(k)?),
                            9 => drop(map.entry(k).or_insert(2)?),
                            10 => assert!(map.range(k..)?.take_while(Result::is_ok).count() <= map.len()),
                            _ if random.u8(..20) == 0 => map.retain(|_, _| random.bool())?,
                            _ => drop(map.pop_last()?),
                        }
                    }
                    assert!(map.iter().rev().take_while(Result::is_ok).count() <= map.len());
                    Ok(())
                })
            }));
            drop(transaction); // rolled back, or committed in a wrong order
        }
    }
}

#[test]
fn an_order_that_is_none_makes_a_wrong_map_and_no_endless_loop() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    every_operation_ends(Random);
    every_operation_ends(Always);
    every_operation_ends(Cyclic);
    every_operation_ends(Reflexive);
    std::panic::set_hook(quiet);
}
