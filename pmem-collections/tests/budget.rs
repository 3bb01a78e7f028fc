//! Lines and drains of tree operations at 100,000 entries: averages over 1,000 of them, the closing checkpoint
//! included.

#[path = "budget/hash.rs"]
mod hash;
#[path = "budget/vec.rs"]
mod vec;

mod budget {
    use fastrand::Rng;
    use pmem_collections::*;

    type Map = PBTreeMap<u64, u64>;
    const ENTRIES: u64 = 100_000;
    const OPERATIONS: u64 = 1000;

    /// A tree of random keys, and those keys.
    fn filled() -> (Pool, Vec<u64>) {
        let mut random = Rng::with_seed(11);
        let keys: Vec<u64> = (0..ENTRIES).map(|_| random.u64(..)).collect();
        let pool = Pool::anonymous(32 << 20).unwrap();
        for part in keys.chunks(1000) {
            pool.write(|tx| tx.open::<Map>("map")?.extend(part.iter().map(|key| (key, !key)))).unwrap();
        }
        pool.checkpoint().unwrap();
        (pool, keys)
    }

    fn measure(what: &str, lines: f64, drains: f64, mut operation: impl FnMut(&Pool, &[u64], u64)) {
        let (pool, keys) = filled();
        let before = pool.region().counters();
        (0..OPERATIONS).for_each(|i| operation(&pool, &keys, i));
        pool.checkpoint().unwrap();
        let spent = pool.region().counters() - before;
        let average = |n: u64| n as f64 / OPERATIONS as f64;
        println!(
            "budget | {what:<44} | {:6.3} lines of at most {lines} | {:5.3} drains of at most {drains}",
            average(spent.lines()),
            average(spent.drains)
        );
        assert!(average(spent.lines()) <= lines, "{what}: {spent:?}");
        // The closing checkpoint is 2 of 1,002 drains.
        assert!(average(spent.drains) <= drains + 0.002, "{what}: {spent:?}");
        pool.read().unwrap().open::<Map>("map").unwrap().check().unwrap();
    }

    #[test]
    fn a_tree_insert_takes_at_most_6_lines_and_1_drain() {
        let mut random = Rng::with_seed(12);
        measure("B-tree insert, 100k entries", 6.0, 1.0, |pool, _, i| {
            let key = random.u64(..);
            pool.write(|tx| tx.open::<Map>("map")?.insert(key, i).map(drop)).unwrap();
        });
    }

    #[test]
    fn a_tree_remove_takes_at_most_6_lines_and_1_drain() {
        measure("B-tree remove, 100k entries", 6.0, 1.0, |pool, keys, i| {
            let key = keys[(i * 97) as usize];
            let old = pool.write(|tx| Ok(tx.open::<Map>("map")?.remove(key)?.is_some())).unwrap();
            assert!(old);
        });
    }

    #[test]
    fn a_tree_overwrite_takes_at_most_4_lines_and_1_drain() {
        measure("B-tree overwrite of a value, 100k entries", 4.0, 1.0, |pool, keys, i| {
            let key = keys[(i * 97) as usize];
            pool.write(|tx| tx.open::<Map>("map")?.insert(key, i).map(drop)).unwrap();
        });
    }

    #[test]
    fn a_tree_read_takes_nothing() {
        measure("B-tree get, 100k entries", 0.0, 0.0, |pool, keys, i| {
            let key = keys[(i * 97) as usize];
            let tx = pool.read().unwrap();
            assert_eq!(tx.open::<Map>("map").unwrap().get(key).unwrap(), Some(&!key));
        });
    }
}
