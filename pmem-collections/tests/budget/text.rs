//! Lines and drains of operations on a text of 100,000 bytes: averages over 1,000 of them.

mod budget {
    use pmem_collections::*;

    const OPERATIONS: u64 = 1000;

    fn measure(
        what: &str,
        lines: f64,
        mut operation: impl FnMut(&mut StringGuard<'_, Write>, u64) -> Result<()>,
    ) {
        let pool = Pool::anonymous(8 << 20).unwrap();
        (0..100)
            .try_for_each(|_| pool.write(|tx| tx.open::<PString>("text")?.push_str(&"x".repeat(1000))))
            .unwrap();
        pool.checkpoint().unwrap();
        let before = pool.region().counters();
        for i in 0..OPERATIONS {
            pool.write(|tx| operation(&mut tx.open::<PString>("text")?, i)).unwrap();
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
        pool.read().unwrap().open::<PString>("text").unwrap().check().unwrap();
    }

    #[test]
    fn an_append_of_64_bytes_takes_at_most_6_9_lines_and_1_drain() {
        let line = "y".repeat(64);
        measure("string push_str, 64 bytes, 100k bytes", 6.9, |text, _| text.push_str(&line));
    }

    #[test]
    fn a_push_takes_at_most_4_1_lines_and_1_drain() {
        measure("string push, 100k bytes", 4.1, |text, _| text.push('y'));
    }

    #[test]
    fn a_replacement_of_8_bytes_in_place_takes_at_most_2_3_lines_and_1_drain() {
        measure("string replace_range, 8 bytes, 100k bytes", 2.3, |text, i| {
            let at = 97 * i as usize;
            text.replace_range(at..at + 8, "12345678")
        });
    }
}
