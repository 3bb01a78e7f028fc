//! Floods of equal hashes: with a hash that was made weak, because nobody can find such keys for the real one.

use super::TooManyEqualHashes;
use crate::*;
use std::{cell::Cell, collections::HashMap};

thread_local! {
    /// Bits of the hash that count.
    static BITS: Cell<u64> = const { Cell::new(u64::MAX) };
}

pub(super) fn weaken(hash: u64) -> u64 {
    hash & BITS.get()
}

type Map = PHashMap<u64, u64>;

/// Runs `test` with a hash of which only `bits` count.
fn with_bits(bits: u64, test: impl FnOnce(&Pool)) {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            BITS.set(u64::MAX);
        }
    }
    let _restore = Restore;
    BITS.set(bits);
    test(&Pool::anonymous(16 << 20).unwrap());
}

fn same(pool: &Pool, model: &HashMap<u64, u64>) {
    let tx = pool.read().unwrap();
    let map = tx.open::<Map>("map").unwrap();
    assert_eq!(map.check().unwrap().entries, model.len() as u64);
    let found: HashMap<u64, u64> =
        map.iter().map(|e| e.map(|(k, v)| (*k, *v))).collect::<Result<_>>().unwrap();
    assert_eq!(found, *model);
    assert!(model.iter().all(|(k, v)| map.get(k).unwrap() == Some(v)));
}

#[test]
fn a_flood_of_equal_hashes_is_refused_with_a_reason_and_changes_nothing() {
    with_bits(0, |pool| {
        let mut model = HashMap::new();
        let refused = (0..100u64).find_map(|key| {
            let inserted = pool.write(|tx| tx.open::<Map>("map")?.insert(key, !key).map(drop));
            inserted.map(|()| model.insert(key, !key)).err()
        });
        let error = refused.expect("a refusal");
        let ErrorKind::Aborted(reason) = error.kind() else { panic!("{error}") };
        let reason = reason.downcast_ref::<TooManyEqualHashes>().expect("the reason");
        assert_eq!((reason.hash, reason.equal, model.len()), (0, 14, 14));
        same(pool, &model);
        // In a transaction that goes on, too; and what is there can be changed and removed.
        pool.write(|tx| {
            let mut map = tx.open::<Map>("map")?;
            assert!(map.insert(1000, 1).is_err());
            map.insert(5, 5)?;
            map.remove(6)?;
            map.insert(1000, 1).map(drop)
        })
        .unwrap();
        model.insert(5, 5);
        model.remove(&6);
        model.insert(1000, 1);
        same(pool, &model);
    });
}

#[test]
fn equal_directory_bits_are_no_flood_until_all_buckets_near_a_home_are_full() {
    with_bits(0xff, |pool| {
        let mut model = HashMap::new();
        for key in 0..300u64 {
            pool.write(|tx| tx.open::<Map>("map")?.insert(key, key).map(drop)).unwrap();
            model.insert(key, key);
        }
        same(pool, &model);
    });
}

#[test]
fn hashes_that_differ_in_few_bits_of_the_directory_are_split_until_they_have_room() {
    // Every way down is the same but for three bits, which are far from each other.
    with_bits(1 << 63 | 1 << 56 | 1 << 49, |pool| {
        let mut model = HashMap::new();
        let mut refused = 0;
        // Hashes are keyed per pool: enough keys that each of the eight has its 56 whatever the pool's key is.
        const KEYS: u64 = 2000;
        for key in 0..KEYS {
            match pool.write(|tx| tx.open::<Map>("map")?.insert(key, key).map(drop)) {
                Ok(()) => drop(model.insert(key, key)),
                Err(_) => refused += 1,
            }
        }
        // One home bucket only: four buckets for each of eight hashes.
        assert_eq!((model.len(), refused), (8 * 4 * 14, KEYS as usize - 8 * 4 * 14));
        same(pool, &model);
        let summary = pool.read().unwrap().open::<Map>("map").unwrap().check().unwrap();
        assert_eq!((summary.entries, summary.chunks), (8 * 4 * 14, 1 + 2 + 4));
        pool.write(|tx| tx.open::<Map>("map")?.clear()).unwrap();
        same(pool, &HashMap::new());
    });
}
