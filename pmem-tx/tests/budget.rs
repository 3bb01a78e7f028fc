//! Lines and drains of redo transactions: averages over 1,000 operations, the closing checkpoint included.

mod budget {
    use pmem_map::{Counters, Mapping};
    use pmem_tx::Journal;

    const OPERATIONS: u64 = 1000;
    const LOG: std::ops::Range<u64> = 0..64 << 10;

    fn measure(what: &str, lines: f64, drains: f64, mut operation: impl FnMut(&Journal, u64)) {
        let journal = Journal::create(Mapping::anonymous(4 << 20).unwrap(), LOG).unwrap();
        let before = journal.region().counters();
        (0..OPERATIONS).for_each(|i| operation(&journal, i));
        journal.checkpoint().unwrap();
        let spent: Counters = journal.region().counters() - before;
        let average = |n: u64| n as f64 / OPERATIONS as f64;
        println!(
            "budget | {what:<44} | {:6.3} lines of at most {lines} | {:5.3} drains of at most {drains}",
            average(spent.lines()),
            average(spent.drains)
        );
        // The closing checkpoint is 2 drains and at most the last record's lines and the horizon's: 0.002 drains.
        assert!(average(spent.lines()) <= lines + 0.02, "{what}: {spent:?}");
        assert!(average(spent.drains) <= drains + 0.002, "{what}: {spent:?}");
    }

    fn object(i: u64) -> u64 {
        LOG.end + i * 2654435761 % 10000 * 64
    }

    #[test]
    fn one_64_byte_update_takes_at_most_4_lines_and_1_drain() {
        measure("transaction, one 64 B update", 4.0, 1.0, |journal, i| {
            journal.write(|tx| tx.write(object(i), &[i + 1; 8])).unwrap();
        });
    }

    #[test]
    fn eight_64_byte_updates_take_at_most_20_lines_and_1_drain() {
        measure("transaction, eight 64 B updates", 20.0, 1.0, |journal, i| {
            journal.write(|tx| (0..8).try_for_each(|j| tx.write(object(i * 8 + j), &[i + 1; 8]))).unwrap();
        });
    }

    #[test]
    fn one_word_takes_at_most_2_lines_and_1_drain() {
        measure("transaction, one 8 B update", 2.0, 1.0, |journal, i| {
            journal.write(|tx| tx.write(object(i), &(i + 1))).unwrap();
        });
    }

    #[test]
    fn a_read_only_or_empty_transaction_takes_nothing() {
        measure("transaction that changes nothing", 0.0, 0.0, |journal, i| {
            journal.write(|tx| tx.read::<u64>(object(i)).map(|n| assert_eq!(*n, 0))).unwrap();
            journal.write(|tx| tx.write(object(i), &0u64)).unwrap();
        });
    }

    #[test]
    fn a_transaction_that_is_rolled_back_takes_nothing() {
        measure("transaction, rolled back", 0.0, 0.0, |journal, i| {
            let mut tx = journal.begin().unwrap();
            tx.write(object(i), &(i + 1)).unwrap();
        });
    }
}
