//! Lines and drains of operations on radix trees of 100,000 keys: averages over 1,000 of them.

mod budget {
    use fastrand::Rng;
    use pmem_collections::*;

    type Tree = PArt<u64>;
    const LEN: u64 = 100_000;
    const OPERATIONS: u64 = 1000;

    /// Random keys of 8 bytes.
    fn number(n: u64) -> Vec<u8> {
        Rng::with_seed(n).u64(..).to_be_bytes().to_vec()
    }

    /// Keys of about 40 bytes that begin alike.
    fn path(n: u64) -> Vec<u8> {
        let mut random = Rng::with_seed(n);
        let parts = [random.u64(..20), random.u64(..200), random.u64(..)];
        format!("/home/{:02}/projects/{:03}/{:016x}", parts[0], parts[1], parts[2]).into_bytes()
    }

    fn measure(
        what: &str,
        key: impl Fn(u64) -> Vec<u8>,
        lines: f64,
        drains: f64,
        operation: impl Fn(&mut Mut<Tree>, &[u8], u64) -> Result<()>,
    ) {
        let pool = Pool::anonymous(32 << 20).unwrap();
        for start in (0..LEN).step_by(1000) {
            pool.write(|tx| tx.open::<Tree>("art")?.extend((start..start + 1000).map(|n| (key(n), n))))
                .unwrap();
        }
        pool.checkpoint().unwrap();
        let summary = pool.read().unwrap().open::<Tree>("art").unwrap().check().unwrap();
        let before = pool.region().counters();
        for i in 0..OPERATIONS {
            pool.write(|tx| operation(&mut tx.open::<Tree>("art")?, &key(97 * i), i)).unwrap();
        }
        pool.checkpoint().unwrap();
        let spent = pool.region().counters() - before;
        let average = |n: u64| n as f64 / OPERATIONS as f64;
        println!(
            "budget | {what:<44} | {:6.3} lines of at most {lines} | {:5.3} drains of at most {drains} | {} bytes an entry",
            average(spent.lines()),
            average(spent.drains),
            summary.bytes / summary.entries
        );
        assert!(average(spent.lines()) <= lines, "{what}: {spent:?}");
        // The closing checkpoint is 2 of 1,002 drains.
        assert!(average(spent.drains) <= drains + 0.002, "{what}: {spent:?}");
        pool.read().unwrap().open::<Tree>("art").unwrap().check().unwrap();
    }

    #[test]
    fn a_radix_tree_insert_takes_at_most_9_lines_and_1_drain() {
        measure("radix tree insert, 100k numbers", number, 9.0, 1.0, |art, _, i| {
            art.insert(number(LEN + i), i).map(drop)
        });
        measure("radix tree insert, 100k paths", path, 9.0, 1.0, |art, _, i| {
            art.insert(path(LEN + i), i).map(drop)
        });
    }

    #[test]
    fn a_radix_tree_overwrite_takes_at_most_2_lines_and_1_drain() {
        measure("radix tree overwrite, 100k numbers", number, 2.0, 1.0, |art, key, i| {
            art.insert(key, i).map(drop)
        });
    }

    #[test]
    fn a_radix_tree_remove_takes_at_most_6_lines_and_1_drain() {
        measure("radix tree remove, 100k numbers", number, 6.0, 1.0, |art, key, _| {
            assert!(art.remove(key)?.is_some());
            Ok(())
        });
        measure("radix tree remove, 100k paths", path, 6.0, 1.0, |art, key, _| {
            assert!(art.remove(key)?.is_some());
            Ok(())
        });
    }
}
