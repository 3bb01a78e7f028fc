//! The maps: in a pool, for many threads in a pool, and in DRAM.

use super::{
    Place,
    store::{Store, Value},
};
use crate::compare::Outcome;
use pmem_collections::{ConcurrentHashMap, ConcurrentMap, Named, PBTreeMap, PHashMap, Pool, PoolOptions};
use pmem_map::Counters;
use std::{
    collections::{BTreeMap, HashMap},
    sync::RwLock,
};

/// A pool with room for so many entries.
pub fn pool(place: &Place, entries: u64, group_commit: bool) -> Outcome<Pool> {
    let len = (entries * 320 + (16 << 20)).next_multiple_of(4096);
    Ok(PoolOptions::new().group_commit(group_commit).create_on(place.mapping(len)?)?)
}

/// Entries of a transaction, where many are loaded.
const AT_ONCE: usize = 1000;

fn in_parts<T>(
    items: &mut dyn Iterator<Item = T>,
    mut each: impl FnMut(Vec<T>) -> Outcome<()>,
) -> Outcome<()> {
    loop {
        let part: Vec<T> = items.take(AT_ONCE).collect();
        if part.is_empty() {
            return Ok(());
        }
        each(part)?;
    }
}

/// Whether a pool finds nothing wrong with itself.
pub(super) fn check(pool: &Pool) -> Outcome<()> {
    let report = pool.check()?;
    if report.problems.is_empty() { Ok(()) } else { Err(format!("{report:?}").into()) }
}

/// A store over a container that transactions open.
macro_rules! in_transactions {
    ($(#[$doc:meta])* $store:ident, $container:ty, |$map:ident, $from:ident, $count:ident| $scan:expr) => {
        $(#[$doc])*
        pub struct $store(pub Pool);

        impl $store {
            const MAP: Named<'static, $container> = Named::new("map");
        }

        impl Store for $store {
            fn insert(&self, key: u64, value: &Value) -> Outcome<()> {
                Ok(self.0.write(|tx| tx.open(Self::MAP)?.insert(key, value).map(drop))?)
            }
            fn get(&self, key: u64) -> Outcome<Option<Value>> {
                Ok(self.0.read()?.open(Self::MAP)?.get(key)?.copied())
            }
            fn scan(&self, $from: u64, $count: usize) -> Outcome<usize> {
                let tx = self.0.read()?;
                let $map = tx.open(Self::MAP)?;
                $scan
            }
            fn remove(&self, key: u64) -> Outcome<bool> {
                Ok(self.0.write(|tx| Ok(tx.open(Self::MAP)?.remove(key)?.is_some()))?)
            }
            fn load(&self, entries: &mut dyn Iterator<Item = (u64, Value)>) -> Outcome<()> {
                in_parts(entries, |part| Ok(self.0.write(|tx| tx.open(Self::MAP)?.extend(part))?))
            }
            fn unload(&self, keys: &mut dyn Iterator<Item = u64>) -> Outcome<()> {
                in_parts(keys, |part| {
                    let all = self.0.write(|tx| {
                        let mut map = tx.open(Self::MAP)?;
                        part.into_iter().try_fold(true, |all, key| Ok(map.remove(key)?.is_some() && all))
                    })?;
                    if all { Ok(()) } else { Err("a key is missing".into()) }
                })
            }
            fn len(&self) -> Outcome<u64> {
                Ok(self.0.read()?.open(Self::MAP)?.len() as u64)
            }
            fn check(&self) -> Outcome<()> {
                self.0.read()?.open(Self::MAP)?.check()?;
                check(&self.0)
            }
            fn counters(&self) -> Option<Counters> {
                Some(self.0.region().counters())
            }
        }
    };
}

/// Reads that many values; the first word of each is looked at.
fn look<V: AsRef<[u8]>, E: Into<crate::compare::Failure>>(
    values: impl Iterator<Item = Result<V, E>>,
    count: usize,
) -> Outcome<usize> {
    let mut found = 0;
    for value in values.take(count) {
        std::hint::black_box(value.map_err(Into::into)?.as_ref()[0]);
        found += 1;
    }
    Ok(found)
}

pub(super) const NO_ORDER: &str = "a hash map has no order to scan in";

in_transactions!(
    /// A `PBTreeMap`, one transaction for each operation.
    Tree,
    PBTreeMap<u64, Value>,
    |map, from, count| look(map.range(from..)?.map(|entry| entry.map(|(_, value)| value)), count)
);
in_transactions!(
    /// A `PHashMap`, one transaction for each operation.
    Hash,
    PHashMap<u64, Value>,
    |map, from, count| {
        _ = (map, from, count);
        Err(NO_ORDER.into())
    }
);

/// A store over a container for many threads.
macro_rules! for_threads {
    ($(#[$doc:meta])* $store:ident, $container:ident, |$map:ident, $from:ident, $count:ident| $scan:expr) => {
        $(#[$doc])*
        pub struct $store {
            map: $container<u64, Value>,
            pool: Pool,
        }

        impl $store {
            /// In that pool.
            pub fn open(pool: Pool) -> Outcome<$store> {
                Ok($store { map: $container::open(&pool, "map")?, pool })
            }
        }

        impl Store for $store {
            fn insert(&self, key: u64, value: &Value) -> Outcome<()> {
                Ok(self.map.insert(key, value).map(drop)?)
            }
            fn get(&self, key: u64) -> Outcome<Option<Value>> {
                Ok(self.map.get(key)?)
            }
            fn scan(&self, $from: u64, $count: usize) -> Outcome<usize> {
                let $map = &self.map;
                $scan
            }
            fn remove(&self, key: u64) -> Outcome<bool> {
                Ok(self.map.remove(key)?.is_some())
            }
            fn len(&self) -> Outcome<u64> {
                Ok(self.map.len() as u64)
            }
            fn check(&self) -> Outcome<()> {
                self.map.check()?;
                check(&self.pool)
            }
            fn counters(&self) -> Option<Counters> {
                Some(self.pool.region().counters())
            }
        }
    };
}

for_threads!(
    /// A `ConcurrentMap`.
    Ordered,
    ConcurrentMap,
    |map, from, count| look(map.range(from..).map(|entry| entry.map(|(_, value)| value)), count)
);
for_threads!(
    /// A `ConcurrentHashMap`.
    Hashed,
    ConcurrentHashMap,
    |map, from, count| {
        _ = (map, from, count);
        Err(NO_ORDER.into())
    }
);

/// std's `BTreeMap`, in a lock: nothing of it is durable.
#[derive(Default)]
pub struct StdTree(RwLock<BTreeMap<u64, Value>>);

/// std's `HashMap`, in a lock: nothing of it is durable.
#[derive(Default)]
pub struct StdHash(RwLock<HashMap<u64, Value>>);

/// `dashmap`'s map: nothing of it is durable.
#[derive(Default)]
pub struct Dash(dashmap::DashMap<u64, Value>);

pub(super) const POISONED: &str = "a thread panicked in the lock";

/// A store over one of std's maps.
macro_rules! in_a_lock {
    ($store:ident, |$map:ident, $from:ident, $count:ident| $scan:expr) => {
        impl Store for $store {
            fn insert(&self, key: u64, value: &Value) -> Outcome<()> {
                self.0.write().map_err(|_| POISONED)?.insert(key, *value);
                Ok(())
            }
            fn get(&self, key: u64) -> Outcome<Option<Value>> {
                Ok(self.0.read().map_err(|_| POISONED)?.get(&key).copied())
            }
            fn scan(&self, $from: u64, $count: usize) -> Outcome<usize> {
                let $map = self.0.read().map_err(|_| POISONED)?;
                $scan
            }
            fn remove(&self, key: u64) -> Outcome<bool> {
                Ok(self.0.write().map_err(|_| POISONED)?.remove(&key).is_some())
            }
            fn len(&self) -> Outcome<u64> {
                Ok(self.0.read().map_err(|_| POISONED)?.len() as u64)
            }
        }
    };
}

in_a_lock!(StdTree, |map, from, count| look(
    map.range(from..).map(|(_, value)| Ok::<_, String>(value)),
    count
));
in_a_lock!(StdHash, |map, from, count| {
    _ = (map, from, count);
    Err(NO_ORDER.into())
});

impl Store for Dash {
    fn insert(&self, key: u64, value: &Value) -> Outcome<()> {
        self.0.insert(key, *value);
        Ok(())
    }
    fn get(&self, key: u64) -> Outcome<Option<Value>> {
        Ok(self.0.get(&key).map(|value| *value))
    }
    fn scan(&self, _from: u64, _count: usize) -> Outcome<usize> {
        Err(NO_ORDER.into())
    }
    fn remove(&self, key: u64) -> Outcome<bool> {
        Ok(self.0.remove(&key).is_some())
    }
    fn len(&self) -> Outcome<u64> {
        Ok(self.0.len() as u64)
    }
}
