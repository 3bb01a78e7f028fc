//! Lines and drains of operations on a list of 100,000 words: averages over 1,000 of them.

mod budget {
    use fastrand::Rng;
    use pmem_collections::{list::Position, *};

    type Words = PLinkedList<u64>;
    const LEN: u64 = 100_000;
    const OPERATIONS: u64 = 1000;

    fn measure(
        what: &str,
        lines: f64,
        mut operation: impl FnMut(&mut ListGuard<'_, u64, Write>, Position, u64) -> Result<()>,
    ) {
        let pool = Pool::anonymous(16 << 20).unwrap();
        for start in (0..LEN).step_by(1000) {
            pool.write(|tx| tx.open::<Words>("list")?.extend(start..start + 1000)).unwrap();
        }
        let mut places: Vec<Position> = {
            let tx = pool.read().unwrap();
            let list = tx.open::<Words>("list").unwrap();
            list.positions().collect::<Result<_>>().unwrap()
        };
        Rng::with_seed(11).shuffle(&mut places);
        pool.checkpoint().unwrap();
        let before = pool.region().counters();
        for (i, place) in (0..OPERATIONS).zip(places) {
            pool.write(|tx| operation(&mut tx.open::<Words>("list")?, place, i)).unwrap();
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
        pool.read().unwrap().open::<Words>("list").unwrap().check().unwrap();
    }

    #[test]
    fn a_list_push_takes_at_most_7_lines_and_1_drain() {
        measure("list push_back, 100k elements", 7.0, |list, _, i| list.push_back(i).map(drop));
    }

    #[test]
    fn a_list_pop_takes_at_most_6_lines_and_1_drain() {
        measure("list pop_front, 100k elements", 6.0, |list, _, _| list.pop_front().map(drop));
    }

    #[test]
    fn a_list_insert_takes_at_most_8_lines_and_1_drain() {
        measure("list insert_before a random element", 8.0, |list, place, i| {
            list.insert_before(place, i).map(drop)
        });
    }

    #[test]
    fn a_list_remove_takes_at_most_7_lines_and_1_drain() {
        measure("list remove of a random element", 7.0, |list, place, _| list.remove(place).map(drop));
    }

    #[test]
    fn a_move_to_the_front_takes_at_most_7_lines_and_1_drain() {
        measure("list move_to_front of a random element", 7.0, |list, place, _| {
            list.move_to_front(place).map(drop)
        });
    }

    #[test]
    fn an_append_takes_as_few_lines_for_10_000_elements_as_for_10() {
        let lines = |len: u64| {
            let pool = Pool::anonymous(4 << 20).unwrap();
            pool.write(|tx| tx.open::<Words>("list")?.extend(0..10)).unwrap();
            for start in (0..len).step_by(1000) {
                let end = len.min(start + 1000);
                pool.write(|tx| tx.open::<Words>("other")?.extend(start..end)).unwrap();
            }
            pool.checkpoint().unwrap();
            let before = pool.region().counters();
            pool.write(|tx| tx.open::<Words>("list")?.append(&mut tx.open::<Words>("other")?)).unwrap();
            pool.checkpoint().unwrap();
            let spent = pool.region().counters() - before;
            pool.read().unwrap().open::<Words>("list").unwrap().check().unwrap();
            println!(
                "budget | {:<44} | {:>6} lines | {:>5} drains, the checkpoint's two among them",
                format!("list append of {len} elements"),
                spent.lines(),
                spent.drains
            );
            assert_eq!(spent.drains, 3);
            spent.lines()
        };
        assert_eq!(lines(10), lines(10_000));
    }
}
