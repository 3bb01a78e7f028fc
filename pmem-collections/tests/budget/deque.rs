//! Lines and drains of operations on a deque of 100,000 words: averages over 1,000 of them.

mod budget {
    use pmem_collections::*;

    type Words = PDeque<u64>;
    const LEN: u64 = 100_000;
    const OPERATIONS: u64 = 1000;

    fn measure(
        what: &str,
        lines: f64,
        mut operation: impl FnMut(&mut DequeGuard<'_, u64, Write>, u64) -> Result<()>,
    ) {
        let pool = Pool::anonymous(8 << 20).unwrap();
        for start in (0..LEN).step_by(1000) {
            pool.write(|tx| tx.open::<Words>("deque")?.extend(start..start + 1000)).unwrap();
        }
        pool.checkpoint().unwrap();
        let before = pool.region().counters();
        for i in 0..OPERATIONS {
            pool.write(|tx| operation(&mut tx.open::<Words>("deque")?, i)).unwrap();
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
        pool.read().unwrap().open::<Words>("deque").unwrap().check().unwrap();
    }

    #[test]
    fn a_push_at_either_end_takes_at_most_5_lines_and_1_drain() {
        measure("deque push_back, 100k elements", 5.0, |deque, i| deque.push_back(i));
        measure("deque push_front, 100k elements", 5.0, |deque, i| deque.push_front(i));
    }

    #[test]
    fn a_pop_at_either_end_takes_at_most_3_lines_and_1_drain() {
        measure("deque pop_back, 100k elements", 3.0, |deque, _| deque.pop_back().map(drop));
        measure("deque pop_front, 100k elements", 3.0, |deque, _| deque.pop_front().map(drop));
    }

    #[test]
    fn a_push_and_a_pop_of_a_queue_in_one_transaction_take_at_most_5_lines_and_1_drain() {
        measure("deque push_back and pop_front, 100k elements", 5.0, |deque, i| {
            deque.push_back(i)?;
            deque.pop_front().map(drop)
        });
    }

    #[test]
    fn a_set_takes_at_most_3_lines_and_1_drain() {
        measure("deque set, 100k elements", 3.0, |deque, i| deque.set(97 * i as usize, i).map(drop));
    }
}
