//! Lines and drains of operations on a box: averages over 1,000 of them.

mod budget {
    use pmem_collections::*;

    const OPERATIONS: u64 = 1000;
    type Value = [u64; 8];

    fn measure(
        what: &str,
        lines: f64,
        mut operation: impl FnMut(&mut BoxGuard<'_, Value, Write>, u64) -> Result<()>,
    ) {
        let pool = Pool::anonymous(1 << 20).unwrap();
        pool.write(|tx| tx.open::<PBox<Value>>("box")?.set([7; 8])).unwrap();
        pool.checkpoint().unwrap();
        let before = pool.region().counters();
        for i in 0..OPERATIONS {
            pool.write(|tx| operation(&mut tx.open::<PBox<Value>>("box")?, i)).unwrap();
        }
        pool.checkpoint().unwrap();
        let spent = pool.region().counters() - before;
        let average = |n: u64| n as f64 / OPERATIONS as f64;
        println!(
            "budget | {what:<44} | {:6.3} lines of at most {lines} | {:5.3} drains of at most 1",
            average(spent.lines()),
            average(spent.drains)
        );
        // The closing checkpoint is 2 of 1,002 drains, and a line or two.
        assert!(average(spent.lines()) <= lines + 0.002, "{what}: {spent:?}");
        assert!(average(spent.drains) <= 1.002, "{what}: {spent:?}");
    }

    #[test]
    fn a_set_of_64_bytes_takes_at_most_3_lines_and_1_drain() {
        measure("box set, 64 bytes", 3.0, |value, i| value.set([i; 8]));
    }

    #[test]
    fn a_take_and_a_set_take_at_most_6_lines_and_1_drain() {
        measure("box take and set, 64 bytes", 6.0, |value, i| {
            value.take()?;
            value.set([i; 8])
        });
    }
}
