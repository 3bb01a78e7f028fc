//! Lines and drains of operations on a queue of 100,000 words: averages over 1,000 of them. Beside them, those of a heap in a
//! vector, which the queue is not, for this reason.

mod budget {
    use fastrand::Rng;
    use pmem_collections::*;

    type Queue = PPriorityQueue<u64>;
    type Heap = PVec<u64>;
    const LEN: u64 = 100_000;
    const OPERATIONS: u64 = 1000;

    /// Average lines and drains of an operation on what `fill` has filled.
    fn measure(
        what: &str,
        fill: impl Fn(&WriteTx, &[u64]) -> Result<()>,
        mut operation: impl FnMut(&WriteTx, u64) -> Result<()>,
    ) -> [f64; 2] {
        let mut random = Rng::with_seed(11);
        let elements: Vec<u64> = (0..LEN).map(|_| random.u64(..)).collect();
        let pool = Pool::anonymous(16 << 20).unwrap();
        for part in elements.chunks(1000) {
            pool.write(|tx| fill(tx, part)).unwrap();
        }
        pool.checkpoint().unwrap();
        let before = pool.region().counters();
        for _ in 0..OPERATIONS {
            let element = random.u64(..);
            pool.write(|tx| operation(tx, element)).unwrap();
        }
        pool.checkpoint().unwrap();
        let spent = pool.region().counters() - before;
        let average = |n: u64| n as f64 / OPERATIONS as f64;
        println!(
            "budget | {what:<44} | {:6.3} lines | {:5.3} drains",
            average(spent.lines()),
            average(spent.drains)
        );
        [average(spent.lines()), average(spent.drains)]
    }

    fn queue(what: &str, operation: impl Fn(&mut Mut<Queue>, u64) -> Result<()>) -> [f64; 2] {
        measure(
            what,
            |tx, part| tx.open::<Queue>("queue")?.extend(part),
            |tx, element| operation(&mut tx.open::<Queue>("queue")?, element),
        )
    }

    fn heap(what: &str, operation: impl Fn(&mut Mut<Heap>, u64) -> Result<()>) -> [f64; 2] {
        measure(
            what,
            |tx, part| {
                let mut heap = tx.open::<Heap>("heap")?;
                part.iter().try_for_each(|element| heap_push(&mut heap, *element))
            },
            |tx, element| operation(&mut tx.open::<Heap>("heap")?, element),
        )
    }

    const CHILDREN: usize = 8;

    fn heap_push(heap: &mut Mut<Heap>, element: u64) -> Result<()> {
        heap.push(element)?;
        let mut at = heap.len() - 1;
        while at > 0 {
            let above = (at - 1) / CHILDREN;
            let parent = *heap.get(above)?.expect("it is there");
            if parent >= element {
                break;
            }
            heap.set(at, parent)?;
            at = above;
        }
        heap.set(at, element).map(drop)
    }

    fn heap_pop(heap: &mut Mut<Heap>) -> Result<u64> {
        let last = heap.pop()?.expect("it is not empty").to_owned()?;
        let greatest = *heap.first()?.expect("it is not empty");
        let mut at = 0;
        loop {
            let mut next = (last, at);
            for child in CHILDREN * at + 1..=CHILDREN * at + CHILDREN {
                match heap.get(child)? {
                    Some(&element) if element > next.0 => next = (element, child),
                    _ => {}
                }
            }
            heap.set(at, next.0)?;
            if next.1 == at {
                return Ok(greatest);
            }
            at = next.1;
        }
    }

    #[test]
    fn a_queue_push_takes_at_most_6_lines_and_a_pop_at_most_5_and_each_1_drain() {
        let push = queue("queue push, 100k elements", |queue, element| queue.push(element));
        let pop = queue("queue pop, 100k elements", |queue, _| queue.pop().map(drop));
        assert!(push[0] <= 6.0 && pop[0] <= 5.0);
        // The closing checkpoint is 2 of 1,002 drains.
        assert!(push[1] <= 1.002 && pop[1] <= 1.002);
    }

    #[test]
    fn a_push_and_a_pop_take_fewer_lines_than_those_of_a_heap_in_a_vector() {
        let both = queue("queue push and pop", |queue, element| {
            queue.push(element)?;
            queue.pop().map(drop)
        });
        heap("heap of 8 in a vector: push", heap_push);
        heap("heap of 8 in a vector: pop", |heap, _| heap_pop(heap).map(drop));
        let other = heap("heap of 8 in a vector: push and pop", |heap, element| {
            heap_push(heap, element)?;
            heap_pop(heap).map(drop)
        });
        assert!(both[0] < other[0], "{both:?} {other:?}");
    }
}
