//! Two hash maps from `u64` to `u64` behind one face: the pool's, and std's.

use crate::place;
use pmem_collections::{Named, PHashMap, Pool, Result};
use pmem_map::Counters;
use std::collections::HashMap;

/// A hash map under test. Whatever goes wrong panics: a benchmark of wrong answers is none.
pub trait HashedMap {
    /// As tables call it.
    const NAME: &'static str;
    /// An empty map.
    fn new() -> Self;
    /// Sets the value of `key`. Durable on return, where the map can be.
    fn insert(&mut self, key: u64, value: u64);
    /// Removes `key`; its value. Durable on return, where the map can be.
    fn remove(&mut self, key: u64) -> Option<u64>;
    /// Looks all keys up, in one transaction; the sum of the values found, and how many were.
    fn get_all(&self, keys: impl Iterator<Item = u64>) -> (u64, u64);
    /// The sum of all values, by iterating.
    fn sum(&self) -> u64;
    /// Its own consistency check; the number of entries.
    fn check(&self) -> u64;
    /// Lines and drains so far.
    fn counters(&self) -> Counters {
        Counters::default()
    }
    /// Bytes allocated in the pool.
    fn bytes_used(&self) -> u64 {
        0
    }
}

/// A `PHashMap` in a pool of its own.
pub struct Persistent(Pool);

const POOL: u64 = 256 << 20;
const MAP: Named<PHashMap<u64, u64>> = Named::new("map");

impl Persistent {
    fn with<R>(&self, body: impl FnOnce(&Pool) -> Result<R>) -> R {
        body(&self.0).unwrap_or_else(|error| panic!("a transaction failed: {error}"))
    }
}

impl HashedMap for Persistent {
    const NAME: &'static str = "PHashMap";

    fn new() -> Persistent {
        let mapping = place::mapping(POOL).expect("a mapping for the pool");
        let map = Persistent(Pool::create_on(mapping).expect("a pool"));
        map.with(|pool| pool.write(|tx| tx.open(MAP).map(drop)));
        map
    }

    fn insert(&mut self, key: u64, value: u64) {
        self.with(|pool| pool.write(|tx| tx.open(MAP)?.insert(key, value).map(drop)));
    }

    fn remove(&mut self, key: u64) -> Option<u64> {
        self.with(|pool| {
            pool.write(|tx| tx.open(MAP)?.remove(key)?.map(|old| old.get().copied()).transpose())
        })
    }

    fn get_all(&self, keys: impl Iterator<Item = u64>) -> (u64, u64) {
        self.with(|pool| {
            let tx = pool.read()?;
            let map = tx.open(MAP)?;
            let (mut sum, mut found) = (0u64, 0);
            for key in keys {
                if let Some(value) = map.get(key)? {
                    sum = sum.wrapping_add(*value);
                    found += 1;
                }
            }
            Ok((sum, found))
        })
    }

    fn sum(&self) -> u64 {
        self.with(|pool| {
            let tx = pool.read()?;
            tx.open(MAP)?.values().try_fold(0u64, |sum, value| Ok(sum.wrapping_add(*value?)))
        })
    }

    fn check(&self) -> u64 {
        self.with(|pool| {
            let report = pool.check()?;
            assert!(report.problems.is_empty(), "{report:?}");
            Ok(pool.read()?.open(MAP)?.check()?.entries)
        })
    }

    fn counters(&self) -> Counters {
        self.0.region().counters()
    }

    fn bytes_used(&self) -> u64 {
        self.with(|pool| Ok(pool.stats()?.used))
    }
}

/// A `HashMap` in DRAM.
pub struct Standard(HashMap<u64, u64>);

impl HashedMap for Standard {
    const NAME: &'static str = "std HashMap";

    fn new() -> Standard {
        Standard(HashMap::new())
    }

    fn insert(&mut self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn remove(&mut self, key: u64) -> Option<u64> {
        self.0.remove(&key)
    }

    fn get_all(&self, keys: impl Iterator<Item = u64>) -> (u64, u64) {
        keys.filter_map(|key| self.0.get(&key))
            .fold((0, 0), |(sum, n), value| (sum.wrapping_add(*value), n + 1))
    }

    fn sum(&self) -> u64 {
        self.0.values().fold(0u64, |sum, value| sum.wrapping_add(*value))
    }

    fn check(&self) -> u64 {
        self.0.len() as u64
    }
}
