//! Lines and drains of operations on a hash map: averages over 1,000 of them at 100,000 entries, and, because segments
//! split in bursts, over 100,000 inserts, in which the map doubles.

mod budget {
    use fastrand::Rng;
    use pmem_collections::*;

    type Map = PHashMap<u64, u64>;
    const ENTRIES: u64 = 100_000;

    /// A map of random keys, and those keys.
    fn filled() -> (Pool, Vec<u64>) {
        let mut random = Rng::with_seed(11);
        let keys: Vec<u64> = (0..ENTRIES).map(|_| random.u64(..)).collect();
        let pool = PoolOptions::new().identity(1).create_on(Mapping::anonymous(32 << 20).unwrap()).unwrap();
        for part in keys.chunks(1000) {
            pool.write(|tx| tx.open::<Map>("map")?.extend(part.iter().map(|key| (key, !key)))).unwrap();
        }
        pool.checkpoint().unwrap();
        (pool, keys)
    }

    fn measure(
        what: &str,
        operations: u64,
        lines: f64,
        drains: f64,
        mut operation: impl FnMut(&Pool, &[u64], u64),
    ) {
        let (pool, keys) = filled();
        let before = pool.region().counters();
        (0..operations).for_each(|i| operation(&pool, &keys, i));
        pool.checkpoint().unwrap();
        let spent = pool.region().counters() - before;
        let average = |n: u64| n as f64 / operations as f64;
        println!(
            "budget | {what:<44} | {:6.3} lines of at most {lines} | {:5.3} drains of at most {drains}",
            average(spent.lines()),
            average(spent.drains)
        );
        assert!(average(spent.lines()) <= lines, "{what}: {spent:?}");
        assert!(average(spent.drains) <= drains, "{what}: {spent:?}");
        let summary = pool.read().unwrap().open::<Map>("map").unwrap().check().unwrap();
        if summary.entries > ENTRIES {
            let bytes = summary.bytes as f64 / summary.entries as f64;
            println!(
                "budget | {what:<44} | {bytes:.1} bytes an entry, {:.3} of slots taken",
                summary.entries as f64 / summary.slots as f64
            );
        }
    }

    #[test]
    fn a_hash_insert_takes_at_most_8_lines_and_little_more_than_1_drain_in_a_burst_of_splits() {
        let mut random = Rng::with_seed(12);
        // Here segments split in a burst: at 100,000 most have just been full.
        measure("hash insert, 100k entries, a burst of splits", 1000, 8.0, 1.02, |pool, _, i| {
            let key = random.u64(..);
            pool.write(|tx| tx.open::<Map>("map")?.insert(key, i).map(drop)).unwrap();
        });
    }

    #[test]
    fn a_hash_insert_takes_at_most_6_lines_and_little_more_than_1_drain_while_a_map_doubles() {
        let mut random = Rng::with_seed(13);
        measure("hash insert, from 100k to 200k entries", ENTRIES, 6.0, 1.02, |pool, _, i| {
            let key = random.u64(..);
            pool.write(|tx| tx.open::<Map>("map")?.insert(key, i).map(drop)).unwrap();
        });
    }

    #[test]
    fn a_hash_remove_takes_at_most_5_lines_and_1_drain() {
        measure("hash remove, 100k entries", 1000, 5.0, 1.002, |pool, keys, i| {
            let key = keys[(i * 97) as usize];
            assert!(pool.write(|tx| Ok(tx.open::<Map>("map")?.remove(key)?.is_some())).unwrap());
        });
    }

    #[test]
    fn a_hash_overwrite_takes_at_most_3_lines_and_1_drain() {
        measure("hash overwrite of a value, 100k entries", 1000, 3.0, 1.002, |pool, keys, i| {
            let key = keys[(i * 97) as usize];
            pool.write(|tx| tx.open::<Map>("map")?.insert(key, i).map(drop)).unwrap();
        });
    }

    #[test]
    fn a_hash_get_takes_nothing() {
        measure("hash get, 100k entries", 1000, 0.0, 0.0, |pool, keys, i| {
            let key = keys[(i * 97) as usize];
            let tx = pool.read().unwrap();
            assert_eq!(tx.open::<Map>("map").unwrap().get(key).unwrap(), Some(&!key));
        });
    }
}
