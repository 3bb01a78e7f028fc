//! Lines and drains of operations on a vector of 100,000 words: averages over 1,000 of them.

mod budget {
    use pmem_collections::*;

    type Words = PVec<u64>;
    const LEN: u64 = 100_000;
    const OPERATIONS: u64 = 1000;

    fn measure(
        what: &str,
        lines: f64,
        mut operation: impl FnMut(&mut VecGuard<'_, u64, Write>, u64) -> Result<()>,
    ) {
        let pool = Pool::anonymous(8 << 20).unwrap();
        for start in (0..LEN).step_by(1000) {
            pool.write(|tx| tx.open::<Words>("vec")?.extend(start..start + 1000)).unwrap();
        }
        pool.checkpoint().unwrap();
        let before = pool.region().counters();
        for i in 0..OPERATIONS {
            pool.write(|tx| operation(&mut tx.open::<Words>("vec")?, i)).unwrap();
        }
        pool.checkpoint().unwrap();
        let spent = pool.region().counters() - before;
        let average = |n: u64| n as f64 / OPERATIONS as f64;
        println!(
            "budget | {what:<44} | {:6.3} lines of at most {lines} | {:5.3} drains of at most 1",
            average(spent.lines()),
            average(spent.drains)
        );
        assert!(average(spent.lines()) <= lines, "{what}: {spent:?}");
        // The closing checkpoint is 2 of 1,002 drains.
        assert!(average(spent.drains) <= 1.002, "{what}: {spent:?}");
        pool.read().unwrap().open::<Words>("vec").unwrap().check().unwrap();
    }

    #[test]
    fn a_push_takes_at_most_5_lines_and_1_drain() {
        measure("vec push, 100k elements", 5.0, |vec, i| vec.push(i));
    }

    #[test]
    fn a_pop_takes_at_most_3_lines_and_1_drain() {
        measure("vec pop, 100k elements", 3.0, |vec, _| vec.pop().map(drop));
    }

    #[test]
    fn a_set_takes_at_most_3_lines_and_1_drain() {
        measure("vec set, 100k elements", 3.0, |vec, i| vec.set(97 * i as usize, i).map(drop));
    }

    #[test]
    fn a_swap_remove_takes_at_most_5_lines_and_1_drain() {
        measure("vec swap_remove, 100k elements", 5.0, |vec, i| vec.swap_remove(90 * i as usize).map(drop));
    }
}
