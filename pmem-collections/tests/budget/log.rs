//! Lines and drains of appends to a log, alone in their transactions: averages over 1,000 of them.
//!
//! Outside of transactions an append of 64 bytes takes the 2 lines of the record ([`ConcurrentLog`]). Here it takes 5.7: the
//! transaction's record has to hold the same bytes until they are in place, with 40 bytes of its own and 8 for each line, 128 in
//! all, 2.2 lines (a mark makes it 3, once in 6); in place there are 2.0, and 0.2 of marks; and once in 41 appends there is a
//! new segment, 48 lines of zeros, and an element of the index: 1.3. A pointer to the end would cost 1.8 more. In a batch of
//! 32 a record takes 3.3.

mod budget {
    use pmem_collections::*;

    const OPERATIONS: u64 = 1000;

    /// Lines and drains of an operation, on average, with the closing checkpoint.
    fn measure(
        what: &str,
        (lines, drains): (f64, f64),
        mut operation: impl FnMut(&mut WriteTx<'_>, u64) -> Result<()>,
    ) -> (f64, f64) {
        let pool = Pool::anonymous(8 << 20).unwrap();
        for _ in 0..20 {
            pool.write(|tx| tx.open::<PLog>("log")?.append_all([[7; 64]; 500]).map(drop)).unwrap();
        }
        pool.checkpoint().unwrap();
        let before = pool.region().counters();
        for i in 0..OPERATIONS {
            pool.write(|tx| operation(tx, i)).unwrap();
        }
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
        pool.read().unwrap().open::<PLog>("log").unwrap().check().unwrap();
        (average(spent.lines()), average(spent.drains))
    }

    #[test]
    fn an_append_of_64_bytes_takes_at_most_5_72_lines_and_1_drain() {
        measure("log append, 64 bytes", (5.72, 1.0), |tx, i| {
            tx.open::<PLog>("log")?.append(&[i as u8; 64]).map(drop)
        });
        // What a pointer to the end would add.
        measure("log append, and a word elsewhere", (7.56, 1.0), |tx, i| {
            tx.open::<PLog>("log")?.append(&[i as u8; 64])?;
            tx.open::<PCell<u64>>("cell")?.set(i + 1)
        });
    }

    #[test]
    fn an_append_of_a_batch_of_32_takes_at_most_3_32_lines_a_record_and_1_drain() {
        let records = [[7; 64]; 32];
        let (lines, _) = measure("log append, a batch of 32 x 64 bytes", (3.32 * 32.0, 1.0), |tx, _| {
            tx.open::<PLog>("log")?.append_all(records).map(drop)
        });
        println!("budget | {:<44} | {:6.3} lines", "log append, a record of such a batch", lines / 32.0);
    }

    #[test]
    fn an_append_and_a_truncation_to_1000_records_take_at_most_7_6_lines_and_1_drain() {
        measure("log append and truncate_before", (7.6, 1.0), |tx, i| {
            let mut log = tx.open::<PLog>("log")?;
            log.append(&[i as u8; 64])?;
            log.truncate_before(9_000 + i)
        });
    }

    #[test]
    fn reading_takes_nothing() {
        let pool = Pool::anonymous(1 << 20).unwrap();
        pool.write(|tx| tx.open::<PLog>("log")?.append_all([[7; 64]; 500]).map(drop)).unwrap();
        let before = pool.region().counters();
        let tx = pool.read().unwrap();
        let log = tx.open::<PLog>("log").unwrap();
        assert_eq!((log.get(300).unwrap(), log.len().unwrap()), (Some(&[7; 64][..]), 500));
        let spent = pool.region().counters() - before;
        assert_eq!((spent.lines(), spent.drains), (0, 0));
    }
}
