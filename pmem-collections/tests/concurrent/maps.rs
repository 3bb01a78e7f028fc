//! Both concurrent maps: one interface for the tests, and what holds for each.

use pmem_collections::{concurrent::Shortcut, *};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

/// What both maps can do.
pub(crate) trait Map: Sync + Sized {
    const NAME: &'static str;
    fn open(pool: &Pool) -> Result<Self> {
        Self::open_with(pool, None)
    }
    fn open_with(pool: &Pool, shortcut: Option<Shortcut>) -> Result<Self>;
    fn get(&self, key: u64) -> Result<Option<u64>>;
    fn insert(&self, key: u64, value: u64) -> Result<Option<u64>>;
    fn try_insert(&self, key: u64, value: u64) -> Result<Option<u64>>;
    fn update(&self, key: u64, change: impl FnOnce(Option<u64>) -> u64) -> Result<u64>;
    fn remove(&self, key: u64) -> Result<Option<u64>>;
    fn len(&self) -> usize;
    fn all(&self) -> Result<BTreeMap<u64, u64>>;
    fn check(&self) -> Result<()>;
}

macro_rules! map {
    ($Map:ident) => {
        impl Map for $Map<u64, u64> {
            const NAME: &'static str = stringify!($Map);
            fn open_with(pool: &Pool, shortcut: Option<Shortcut>) -> Result<Self> {
                $Map::open_with(pool, "map", shortcut)
            }
            fn get(&self, key: u64) -> Result<Option<u64>> {
                self.get(key)
            }
            fn insert(&self, key: u64, value: u64) -> Result<Option<u64>> {
                self.insert(key, value)
            }
            fn try_insert(&self, key: u64, value: u64) -> Result<Option<u64>> {
                self.try_insert(key, value)
            }
            fn update(&self, key: u64, change: impl FnOnce(Option<u64>) -> u64) -> Result<u64> {
                self.update(key, change)
            }
            fn remove(&self, key: u64) -> Result<Option<u64>> {
                self.remove(key)
            }
            fn len(&self) -> usize {
                self.len()
            }
            fn all(&self) -> Result<BTreeMap<u64, u64>> {
                self.iter().collect()
            }
            fn check(&self) -> Result<()> {
                self.check()
            }
        }
    };
}
map!(ConcurrentHashMap);
map!(ConcurrentMap);

fn pool(len: u64) -> Pool {
    Pool::create_on(Mapping::anonymous(len).unwrap()).unwrap()
}

/// The pool's bytes.
pub(crate) fn media(pool: &Pool) -> Vec<u8> {
    let mut bytes = vec![0; pool.region().len() as usize];
    // SAFETY: nobody stores meanwhile: tests call this while their threads are idle.
    unsafe { pool.region().load(0, &mut bytes) };
    bytes
}

/// The pool as a crash right now would leave it if everything visible were durable, opened again.
pub(crate) fn reopened(pool: &Pool) -> Pool {
    let bytes = media(pool);
    let mut copy = Mapping::anonymous(bytes.len() as u64).unwrap();
    copy.write(0, &bytes).unwrap();
    Pool::on(copy).unwrap()
}

fn agrees_with_std<M: Map>() {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut pool = pool(8 << 20);
    let mut map = M::open(&pool).unwrap();
    let mut model = BTreeMap::new();
    for step in 0..40_000u64 {
        let (key, value) = (rng.u64(..2_000), rng.u64(..));
        match rng.u8(..8) {
            0..3 => assert_eq!(map.insert(key, value).unwrap(), model.insert(key, value)),
            3 => {
                let there = model.get(&key).copied();
                assert_eq!(map.try_insert(key, value).unwrap(), there);
                model.entry(key).or_insert(value);
            }
            4 => {
                let new = model.entry(key).and_modify(|n| *n = n.wrapping_add(1)).or_insert(7);
                assert_eq!(map.update(key, |old| old.map_or(7, |n| n.wrapping_add(1))).unwrap(), *new);
            }
            5..7 => assert_eq!(map.remove(key).unwrap(), model.remove(&key)),
            _ => assert_eq!(map.get(key).unwrap(), model.get(&key).copied()),
        }
        assert_eq!(map.len(), model.len());
        if step % 4_000 == 0 {
            map.check().unwrap();
            assert_eq!(map.all().unwrap(), model);
            if step % 8_000 == 0 {
                pool = reopened(&pool);
                map = M::open(&pool).unwrap();
                assert_eq!(map.all().unwrap(), model, "reopened");
            }
        }
    }
    assert!(pool.check().unwrap().is_ok());
}

#[test]
fn a_concurrent_hash_map_agrees_with_std_also_when_reopened() {
    agrees_with_std::<ConcurrentHashMap<u64, u64>>();
}

#[test]
fn a_concurrent_map_agrees_with_std_also_when_reopened() {
    agrees_with_std::<ConcurrentMap<u64, u64>>();
}

/// Threads add to counters that they share; each thread sees its own counters grow.
fn no_update_is_lost<M: Map>() {
    let pool = pool(16 << 20);
    let map = M::open(&pool).unwrap();
    std::thread::scope(|s| {
        for thread in 0..4u64 {
            let map = &map;
            s.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                for n in 1..=4_000u64 {
                    map.update(rng.u64(..64), |old| old.unwrap_or(0) + 1).unwrap();
                    let own = 1_000 + thread;
                    assert_eq!(map.insert(own, n).unwrap(), (n > 1).then_some(n - 1));
                    assert_eq!(map.get(own).unwrap(), Some(n));
                    let passing = 10_000 + n * 4 + thread;
                    assert_eq!(map.try_insert(passing, n).unwrap(), None);
                    if n > 10 {
                        let gone = 10_000 + (n - 10) * 4 + thread;
                        assert_eq!(map.remove(gone).unwrap(), Some(n - 10));
                        assert_eq!(map.get(gone).unwrap(), None);
                    }
                }
            });
        }
    });
    map.check().unwrap();
    let all = map.all().unwrap();
    assert_eq!(all.range(..64).map(|(_, n)| n).sum::<u64>(), 16_000);
    assert_eq!(all.range(10_000..).count(), 40);
    let again = M::open(&reopened(&pool)).unwrap();
    assert_eq!(again.all().unwrap(), all);
}

#[test]
fn threads_lose_no_update_of_a_concurrent_hash_map() {
    no_update_is_lost::<ConcurrentHashMap<u64, u64>>();
}

#[test]
fn threads_lose_no_update_of_a_concurrent_map() {
    no_update_is_lost::<ConcurrentMap<u64, u64>>();
}

/// Readers beside writers: a key that is never removed is never missed, and its value never torn.
fn readers_miss_nothing<M: Map>() {
    let pool = pool(16 << 20);
    let map = M::open(&pool).unwrap();
    for key in 0..256 {
        map.insert(key * 1_000, key).unwrap();
    }
    let writing = AtomicUsize::new(2);
    std::thread::scope(|s| {
        let (map, writing) = (&map, &writing);
        for thread in 0..2u64 {
            s.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                for n in 0..20_000 {
                    let key = rng.u64(..256);
                    map.insert(key * 1_000, (n << 8) | key).unwrap();
                    map.insert(key * 1_000 + 1 + rng.u64(..900), n).unwrap();
                    map.remove(key * 1_000 + 1 + rng.u64(..900)).unwrap();
                }
                writing.fetch_sub(1, SeqCst);
            });
            s.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(100 + thread);
                while writing.load(SeqCst) > 0 {
                    let key = rng.u64(..256);
                    let value = map.get(key * 1_000).unwrap().expect("never removed");
                    assert_eq!(value & 0xff, key);
                    if rng.u8(..) == 0 {
                        let steady = map.all().unwrap().into_keys().filter(|key| key % 1_000 == 0).count();
                        assert_eq!(steady, 256);
                    }
                }
            });
        }
    });
    map.check().unwrap();
}

#[test]
fn readers_of_a_concurrent_hash_map_miss_nothing_that_stays() {
    readers_miss_nothing::<ConcurrentHashMap<u64, u64>>();
}

#[test]
fn readers_of_a_concurrent_map_miss_nothing_that_stays() {
    readers_miss_nothing::<ConcurrentMap<u64, u64>>();
}

#[test]
fn handles_on_one_map_share_it_and_another_type_is_refused() {
    let pool = pool(1 << 20);
    let first = ConcurrentMap::<u64, u64>::open(&pool, "map").unwrap();
    let second = ConcurrentMap::<u64, u64>::open(&pool, "map").unwrap();
    first.insert(1, 2).unwrap();
    assert_eq!(second.get(1).unwrap(), Some(2));
    let wrong = ConcurrentMap::<u64, u32>::open(&pool, "map").unwrap_err();
    assert!(matches!(wrong.kind(), ErrorKind::WrongType { .. }), "{wrong}");
    let wrong = ConcurrentHashMap::<u64, u64>::open(&pool, "map").unwrap_err();
    assert!(matches!(wrong.kind(), ErrorKind::WrongType { .. }), "{wrong}");
    let large = ConcurrentMap::<u64, [u64; 600]>::open(&pool, "large").unwrap_err();
    assert!(large.to_string().contains("4808 bytes") || large.to_string().contains("4800"), "{large}");
}

#[test]
fn keys_in_order_are_ranged_over_in_order() {
    let pool = pool(4 << 20);
    let map = ConcurrentMap::<i32, [u8; 3]>::open(&pool, "map").unwrap();
    for key in (-500..500).rev() {
        map.insert(key * 2, [key as u8; 3]).unwrap();
    }
    let keys = |range: (std::ops::Bound<i32>, std::ops::Bound<i32>)| -> Vec<i32> {
        map.range(range).map(|entry| entry.unwrap().0).collect()
    };
    use std::ops::Bound::*;
    assert_eq!(keys((Included(-4), Included(4))), [-4, -2, 0, 2, 4]);
    assert_eq!(keys((Excluded(-4), Excluded(4))), [-2, 0, 2]);
    assert_eq!(keys((Included(5), Included(4))), []);
    assert_eq!(keys((Included(-5), Excluded(-4))), []);
    assert_eq!(keys((Unbounded, Excluded(-996))), [-1000, -998]);
    assert_eq!(keys((Unbounded, Unbounded)).len(), 1000);
    assert_eq!(map.first().unwrap().unwrap().0, -1000);
    assert_eq!(map.last().unwrap().unwrap().0, 998);
    for key in 0..500 {
        map.remove(key * 2).unwrap();
    }
    assert_eq!(map.last().unwrap().unwrap().0, -2);
}

/// What was removed is free when no reader can see it any more: and readers of other tests, in other threads, count.
fn once_readers_are_past<R>(mut work: impl FnMut() -> Result<R>) -> R {
    for _ in 0..1_000_000 {
        match work() {
            Err(e) if matches!(e.kind(), ErrorKind::NoSpace { .. }) => {
                crossbeam_epoch::pin().flush();
                std::thread::yield_now();
            }
            done => return done.unwrap(),
        }
    }
    panic!("no space, though nobody reads");
}

/// Fills the pool; everything stays readable, and space that is given back is used again.
fn a_full_pool<M: Map>() {
    let pool = pool(512 << 10);
    let map = M::open(&pool).unwrap();
    let mut n = 0;
    let full = loop {
        match map.insert(n, n) {
            Ok(_) => n += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(full.kind(), ErrorKind::NoSpace { .. }), "{full}");
    assert_eq!(map.len() as u64, n);
    for key in 0..n {
        assert_eq!(map.get(key).unwrap(), Some(key));
    }
    for key in 0..n / 2 {
        assert_eq!(map.remove(key).unwrap(), Some(key));
    }
    for key in 0..n / 2 {
        let before = once_readers_are_past(|| map.insert(key, key + 1));
        assert_eq!(before, None, "what was removed can be had again");
    }
    assert!(n * 32 > pool.stats().unwrap().capacity * 9 / 10, "{n} entries");
    map.check().unwrap();
}

#[test]
fn a_concurrent_hash_map_in_a_full_pool_says_so_and_goes_on() {
    a_full_pool::<ConcurrentHashMap<u64, u64>>();
}

#[test]
fn a_concurrent_map_in_a_full_pool_says_so_and_goes_on() {
    a_full_pool::<ConcurrentMap<u64, u64>>();
}

#[test]
fn a_put_that_needs_a_slab_inside_the_threads_own_transaction_is_refused_and_others_work() {
    let pool = pool(1 << 20);
    let map = ConcurrentHashMap::<u64, u64>::open(&pool, "map").unwrap();
    let tx = pool.read().unwrap();
    let refused = map.insert(1, 1).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::WouldDeadlock { .. }), "{refused}");
    drop(tx);
    map.insert(1, 1).unwrap();
    let _tx = pool.read().unwrap();
    map.insert(2, 1).unwrap();
    assert_eq!(map.remove(1).unwrap(), Some(1));
}

#[test]
fn a_panic_in_an_update_changes_nothing() {
    let pool = pool(1 << 20);
    let map = ConcurrentHashMap::<u64, u64>::open(&pool, "map").unwrap();
    map.insert(1, 1).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        map.update(1, |_| panic!("in the middle")).unwrap();
    }));
    assert!(panicked.is_err());
    assert_eq!(map.get(1).unwrap(), Some(1));
    assert_eq!(map.update(1, |old| old.unwrap() + 1).unwrap(), 2);
    map.check().unwrap();
}
