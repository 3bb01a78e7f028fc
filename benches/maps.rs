//! Two maps from `u64` to `u64` behind one face: the pool's, and std's.

use crate::place;
use pmem_collections::{Named, PBTreeMap, Pool, Result};
use pmem_map::Counters;
use std::collections::BTreeMap;

/// The `i`-th key: random, and never twice (each step can be undone).
#[inline]
pub fn key(i: u64) -> u64 {
    let mut key = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    key = (key ^ key >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    key = (key ^ key >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    key ^ key >> 31
}

/// A map under test. Whatever goes wrong panics: a benchmark of wrong answers is none.
pub trait Map {
    /// As tables call it.
    const NAME: &'static str;
    /// An empty map.
    fn new() -> Self;
    /// Sets the value of `key`. Durable on return, where the map can be.
    fn insert(&mut self, key: u64, value: u64);
    /// Removes `key`; its value. Durable on return, where the map can be.
    fn remove(&mut self, key: u64) -> Option<u64>;
    /// Looks all keys up, in one transaction; all must be there.
    fn get_all(&self, keys: impl Iterator<Item = u64>, each: impl FnMut(u64));
    /// The sum of the values of the first `count` entries from `key` on.
    fn range_sum(&self, key: u64, count: u64) -> u64;
    /// Entries.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Its own consistency check.
    fn check(&self) {}
    /// Lines and drains so far.
    fn counters(&self) -> Counters {
        Counters::default()
    }
    /// Bytes allocated in the pool.
    fn bytes_used(&self) -> u64 {
        0
    }
}

/// A `PBTreeMap` in a pool of its own.
pub struct Persistent(Pool);

const POOL: u64 = 256 << 20;
const MAP: Named<PBTreeMap<u64, u64>> = Named::new("map");

impl Persistent {
    fn write<R>(&self, body: impl FnOnce(&Pool) -> Result<R>) -> R {
        body(&self.0).unwrap_or_else(|error| panic!("a transaction failed: {error}"))
    }
}

impl Map for Persistent {
    const NAME: &'static str = "PBTreeMap";

    fn new() -> Persistent {
        let mapping = place::mapping(POOL).expect("a mapping for the pool");
        let map = Persistent(Pool::create_on(mapping).expect("a pool"));
        map.write(|pool| pool.write(|tx| tx.open(MAP).map(drop)));
        map
    }

    fn insert(&mut self, key: u64, value: u64) {
        self.write(|pool| pool.write(|tx| tx.open(MAP)?.insert(key, value).map(drop)));
    }

    fn remove(&mut self, key: u64) -> Option<u64> {
        self.write(|pool| {
            pool.write(|tx| tx.open(MAP)?.remove(key)?.map(|old| old.get().copied()).transpose())
        })
    }

    fn get_all(&self, keys: impl Iterator<Item = u64>, mut each: impl FnMut(u64)) {
        self.write(|pool| {
            let tx = pool.read()?;
            let map = tx.open(MAP)?;
            for key in keys {
                each(*map.get(key)?.expect("the key was inserted"));
            }
            Ok(())
        });
    }

    fn range_sum(&self, key: u64, count: u64) -> u64 {
        self.write(|pool| {
            let tx = pool.read()?;
            let map = tx.open(MAP)?;
            map.range(key..)?
                .take(count as usize)
                .try_fold(0u64, |sum, entry| Ok(sum.wrapping_add(*entry?.1)))
        })
    }

    fn len(&self) -> u64 {
        self.write(|pool| Ok(pool.read()?.open(MAP)?.len() as u64))
    }

    fn check(&self) {
        self.write(|pool| {
            pool.read()?.open(MAP)?.check()?;
            let report = pool.check()?;
            assert!(report.problems.is_empty(), "{report:?}");
            Ok(())
        });
    }

    fn counters(&self) -> Counters {
        self.0.region().counters()
    }

    fn bytes_used(&self) -> u64 {
        self.write(|pool| Ok(pool.stats()?.used))
    }
}

/// A `BTreeMap` in DRAM.
pub struct Standard(BTreeMap<u64, u64>);

impl Map for Standard {
    const NAME: &'static str = "std BTreeMap";

    fn new() -> Standard {
        Standard(BTreeMap::new())
    }

    fn insert(&mut self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn remove(&mut self, key: u64) -> Option<u64> {
        self.0.remove(&key)
    }

    fn get_all(&self, keys: impl Iterator<Item = u64>, mut each: impl FnMut(u64)) {
        keys.for_each(|key| each(*self.0.get(&key).expect("the key was inserted")));
    }

    fn range_sum(&self, key: u64, count: u64) -> u64 {
        self.0.range(key..).take(count as usize).fold(0u64, |sum, (_, value)| sum.wrapping_add(*value))
    }

    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}
