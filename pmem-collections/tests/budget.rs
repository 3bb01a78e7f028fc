//! Lines and drains of tree operations at 100,000 entries: averages over 1,000 of them, the closing checkpoint
//! included.

#[path = "budget/art.rs"]
mod art;
#[path = "budget/boxed.rs"]
mod boxed;
#[path = "budget/deque.rs"]
mod deque;
#[path = "budget/hash.rs"]
mod hash;
#[path = "budget/list.rs"]
mod list;
#[path = "budget/log.rs"]
mod log;
#[path = "budget/priority_queue.rs"]
mod priority_queue;
#[path = "budget/text.rs"]
mod text;
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
        spend(what, &pool, lines, drains, OPERATIONS, || {
            (0..OPERATIONS).for_each(|i| operation(&pool, &keys, i));
        });
        pool.read().unwrap().open::<Map>("map").unwrap().check().unwrap();
    }

    /// Lines and drains that `operations` take, on average, with the closing checkpoint.
    fn spend(what: &str, pool: &Pool, lines: f64, drains: f64, operations: u64, work: impl FnOnce()) {
        let before = pool.region().counters();
        work();
        pool.checkpoint().unwrap();
        let spent = pool.region().counters() - before;
        let average = |n: u64| n as f64 / operations as f64;
        println!(
            "budget | {what:<44} | {:6.3} lines of at most {lines} | {:5.3} drains of at most {drains}",
            average(spent.lines()),
            average(spent.drains)
        );
        assert!(average(spent.lines()) <= lines, "{what}: {spent:?}");
        // The closing checkpoint is 2 of 1,002 drains.
        assert!(average(spent.drains) <= drains + 0.002, "{what}: {spent:?}");
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

    // ---- strings -----------------------------------------------------------------------------

    type Strings = PBTreeMap<String, String>;
    const STRINGS: u64 = 20_000;

    /// The `n`th of many random strings of `len` bytes.
    fn text(n: u64, len: usize) -> String {
        let mut random = Rng::with_seed(n);
        (0..len).map(|_| random.alphanumeric()).collect()
    }

    /// What operations on keys and values of `len` bytes take: insert, overwrite with `other` bytes, remove.
    /// And at most so many bytes of the pool for an entry.
    fn measure_strings(len: usize, other: usize, [insert, overwrite, remove]: [f64; 3], space: u64) {
        let pool = Pool::anonymous(64 << 20).unwrap();
        let insert_one = |n, key, value| {
            let (key, value) = (text(n, key), text(!n ^ value as u64, value));
            pool.write(|tx| tx.open::<Strings>("map")?.insert(key, value).map(drop)).unwrap();
        };
        (0..STRINGS).for_each(|n| insert_one(n, len, len));
        pool.checkpoint().unwrap();
        let summary = pool.read().unwrap().open::<Strings>("map").unwrap().check().unwrap();
        println!(
            "space  | 20k keys and values of {len} bytes: {} bytes for an entry",
            summary.bytes / summary.entries
        );
        assert!(summary.bytes / summary.entries <= space, "{summary:?}");
        let name = |what: &str| format!("B-tree {what}, 20k keys and values of {len} bytes");
        spend(&name("insert"), &pool, insert, 1.0, OPERATIONS, || {
            (STRINGS..STRINGS + OPERATIONS).for_each(|n| insert_one(n, len, len));
        });
        spend(&name(&format!("overwrite ({other})")), &pool, overwrite, 1.0, OPERATIONS, || {
            (0..OPERATIONS).for_each(|i| insert_one(i * 17, len, other));
        });
        spend(&name("remove"), &pool, remove, 1.0, OPERATIONS, || {
            for i in 0..OPERATIONS {
                pool.write(|tx| tx.open::<Strings>("map")?.remove(text(i * 19, len)).map(drop)).unwrap();
            }
        });
        pool.read().unwrap().open::<Strings>("map").unwrap().check().unwrap();
    }

    #[test]
    fn operations_on_strings_of_16_bytes_take_at_most_10_4_and_6_lines_and_1_drain() {
        measure_strings(16, 18, [10.0, 4.0, 6.0], 80);
    }

    #[test]
    fn operations_on_strings_of_200_bytes_take_at_most_26_11_and_6_lines_and_1_drain() {
        measure_strings(200, 204, [26.0, 11.0, 6.0], 480);
    }

    #[test]
    fn a_bulk_load_takes_a_twentieth_of_the_lines_of_inserts() {
        let pool = Pool::anonymous(32 << 20).unwrap();
        spend("B-tree bulk load, 100k entries in 10 commits", &pool, 0.4, 0.001, ENTRIES, || {
            for part in 0..10 {
                let items = (part * ENTRIES / 10..(part + 1) * ENTRIES / 10).map(|n| (n, !n));
                pool.write(|tx| tx.open::<Map>("map")?.bulk_load(items)).unwrap();
            }
        });
        let summary = pool.read().unwrap().open::<Map>("map").unwrap().check().unwrap();
        assert_eq!((summary.entries, summary.leaves), (ENTRIES, ENTRIES.div_ceil(48)));
    }
}
