//! Lines and drains per operation, exact, averaged over 1,000 operations with the closing checkpoint included; and how
//! much of a pool its objects can have. Not timings: the same on every machine.
#![allow(missing_docs)]

mod budget {
    use pmem_alloc::*;
    use pmem_map::MapOptions;

    const OPERATIONS: u64 = 1000;

    /// One line of references, in which objects are published.
    #[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Slots([u64; 8]);

    impl Plain for Slots {
        const NAME: &'static str = "budget.Slots";
    }

    type Objects = PHeap<Slots>;

    fn pool(size: u64) -> Pool {
        let pool = Pool::anonymous(size).unwrap();
        pool.write(|tx| tx.open::<Objects>("objects").map(drop)).unwrap();
        pool
    }

    struct Cost {
        lines: f64,
        drains: f64,
    }

    /// What each of 1,000 runs of `operation`, and the checkpoint after them, costs on average. `own_lines`: of these,
    /// lines that are the object's own, which the printed figure leaves out.
    fn measure(
        pool: &Pool,
        name: &str,
        own_lines: f64,
        mut operation: impl FnMut(usize) -> Result<()>,
    ) -> Cost {
        pool.checkpoint().unwrap();
        let before = pool.region().counters();
        for i in 0..OPERATIONS as usize {
            operation(i).unwrap();
        }
        pool.checkpoint().unwrap();
        let used = pool.region().counters() - before;
        let per = |n: u64| n as f64 / OPERATIONS as f64;
        let cost = Cost { lines: per(used.lines()) - own_lines, drains: per(used.drains) };
        println!("| {name:<66} | {:>6.3} | {:>6.3} |", cost.lines, cost.drains);
        cost
    }

    /// At most `lines` lines and `drains` drains each, not counting the closing checkpoint's: two drains, and a line for
    /// its horizon.
    fn assert_within(cost: &Cost, lines: f64, drains: f64) {
        let closing = 1.0 / OPERATIONS as f64;
        assert!(cost.lines <= lines + 2.0 * closing, "{} lines, {lines} allowed", cost.lines);
        assert!(cost.drains <= drains + 2.0 * closing, "{} drains, {drains} allowed", cost.drains);
    }

    #[test]
    fn allocate_publish_and_free_stay_within_their_lines_and_drains() {
        let pool = pool(8 << 20);
        let mut objects = Vec::new();
        let name = "allocate 64 B and publish, the object's own line not counted";
        let cost = measure(&pool, name, 1.0, |i| {
            pool.write(|tx| {
                let mut heap = tx.open::<Objects>("objects")?;
                let at = heap.alloc_aligned(64, 8)?;
                heap.root_mut()?.0[i % 8] = at.offset();
                objects.push(at);
                Ok(())
            })
        });
        assert_within(&cost, 4.0, 1.0);
        let cost = measure(&pool, "clear the reference and free 64 B", 0.0, |i| {
            pool.write(|tx| {
                let mut heap = tx.open::<Objects>("objects")?;
                heap.root_mut()?.0[i % 8] = 1 + i as u64; // never what it was
                heap.free(objects[i])
            })
        });
        assert_within(&cost, 4.0, 1.0);
        let cost = measure(&pool, "allocate 64 B with 64 B of contents and publish, all lines", 0.0, |i| {
            pool.write(|tx| {
                let mut heap = tx.open::<Objects>("objects")?;
                let at = heap.alloc([1 + i as u64; 8])?;
                heap.root_mut()?.0[i % 8] = at.offset();
                Ok(())
            })
        });
        assert_within(&cost, 6.0, 1.0);
    }

    #[test]
    fn allocation_adds_no_drain_to_its_transaction() {
        let pool = pool(8 << 20);
        let with = |objects: usize| {
            let name = format!("transaction with {objects} allocations of 64 B");
            measure(&pool, &name, 0.0, |i| {
                pool.write(|tx| {
                    let mut heap = tx.open::<Objects>("objects")?;
                    heap.root_mut()?.0[0] += 1;
                    for _ in 0..objects {
                        let at = heap.alloc([1 + i as u64; 8])?;
                        heap.root_mut()?.0[i % 7 + 1] = at.offset();
                    }
                    Ok(())
                })
            })
        };
        let (none, eight) = (with(0), with(8));
        assert_eq!(none.drains, eight.drains);
        assert_within(&eight, 40.0, 1.0);
    }

    #[test]
    fn reserve_fill_and_publish_take_one_drain_and_cancelling_takes_none() {
        let pool = pool(8 << 20);
        let name = "reserve, fill, publish 64 B, all lines";
        let cost = measure(&pool, name, 0.0, |i| {
            let mut reservation = pool.reserve(64, 8)?;
            reservation.fill((i % 255) as u8 + 1);
            pool.write(|tx| {
                let mut heap = tx.open::<Objects>("objects")?;
                let at = heap.publish(reservation)?;
                heap.root_mut()?.0[i % 8] = at.offset();
                Ok(())
            })
        });
        assert_within(&cost, 6.0, 1.001); // one drain more to set up the run of pages
        let cost = measure(&pool, "reserve 64 B and cancel", 0.0, |_| pool.reserve(64, 8).map(drop));
        assert_eq!((cost.lines, cost.drains), (0.0, 0.0));
    }

    #[test]
    fn reads_and_empty_transactions_take_no_drain() {
        let pool = pool(1 << 20);
        let cost = measure(&pool, "read transaction, and write transaction without a change", 0.0, |_| {
            pool.read()?.open::<Objects>("objects")?;
            pool.write(|tx| tx.open::<Objects>("objects").map(drop))
        });
        assert_eq!((cost.lines, cost.drains), (0.0, 0.0));
    }

    #[test]
    fn what_was_undone_takes_no_line_and_no_drain() {
        let pool = pool(1 << 20);
        let undone = |tx: &mut WriteTx<'_>| -> Result<()> {
            let part: Result<()> = tx.nested(|tx| {
                let mut heap = tx.open::<Objects>("objects")?;
                heap.root_mut()?.0 = [heap.alloc([7u64; 8])?.offset(); 8];
                tx.open::<PHeap<u64>>("another")?;
                Err(Error::abort("on purpose"))
            });
            assert!(part.is_err());
            Ok(())
        };
        let cost = measure(&pool, "transaction of which all is undone", 0.0, |_| pool.write(undone));
        assert_eq!((cost.lines, cost.drains), (0.0, 0.0));
        let update = |i: usize| {
            move |tx: &mut WriteTx<'_>| {
                tx.open::<Objects>("objects")?.root_mut()?.0[0] = i as u64 + 1;
                Ok(())
            }
        };
        let plain = measure(&pool, "update of one word", 0.0, |i| pool.write(update(i)));
        let beside = measure(&pool, "update of one word, and a part that is undone", 0.0, |i| {
            pool.write(|tx| {
                update(i + 7)(tx)?;
                undone(tx)
            })
        });
        assert_eq!((plain.lines, plain.drains), (beside.lines, beside.drains));
    }

    /// A commit where flushing is nothing: the record goes past the caches, one drain.
    #[test]
    fn with_caches_in_the_persistence_domain_a_commit_flushes_nothing() {
        let mapping = pmem_map::MapOptions::new().len(1 << 20).emulate_eadr(true).anonymous().unwrap();
        let pool = Pool::create_on(mapping).unwrap();
        pool.write(|tx| tx.open::<Objects>("objects").map(drop)).unwrap();
        let cost = measure(&pool, "update of one word, eADR", 0.0, |i| {
            pool.write(|tx| {
                tx.open::<Objects>("objects")?.root_mut()?.0[0] = i as u64 + 1;
                Ok(())
            })
        });
        assert_within(&cost, 2.0, 1.0);
        assert_eq!(pool.region().counters().lines_flushed, 0);
    }

    #[test]
    fn growth_takes_two_drains_and_the_lines_of_two_headers_and_three_over_bytes_of_somebody() {
        let mapping = pmem_map::MapOptions::new().len(1 << 20).max_len(8 << 20).anonymous().unwrap();
        let pool = PoolOptions::new().max_size(8 << 20).create_on(mapping).unwrap();
        for segments in 1..=6u64 {
            let before = pool.region().counters();
            pool.grow(1 << 20).unwrap();
            let used = pool.region().counters() - before;
            let header = (256 + 16 * segments).div_ceil(64);
            println!("| growth, segment {segments:<49} | {:>6} | {:>6} |", used.lines(), used.drains);
            assert_eq!((used.lines(), used.drains), (2 * header, 2));
        }
        // In a mapping that is long enough already, where anything can be.
        let mut bytes = vec![0xa5; 2 << 20];
        let small = PoolOptions::new().max_size(2 << 20);
        let pool = small.create_on(Mapping::anonymous(1 << 20).unwrap()).unwrap();
        pool.checkpoint().unwrap();
        // SAFETY: this thread is the only one, and no transaction is open.
        unsafe { pool.region().load(0, &mut bytes[..1 << 20]) };
        let mut mapping = Mapping::anonymous(2 << 20).unwrap();
        mapping.as_mut_slice().copy_from_slice(&bytes);
        let pool = Pool::on(mapping).unwrap();
        let before = pool.region().counters();
        pool.grow(1 << 20).unwrap();
        let used = pool.region().counters() - before;
        println!("| {:<66} | {:>6} | {:>6} |", "growth over bytes of somebody", used.lines(), used.drains);
        let tables = (4096 + 4 * 4096) / 64; // of 251 pages
        assert_eq!((used.lines(), used.drains), (tables + 10, 3));
        assert!(pool.check().unwrap().is_ok());
    }

    #[test]
    fn objects_of_64_bytes_fill_95_percent_of_a_pool_of_64_mib() {
        let pool = pool(64 << 20);
        let mut objects = 0u64;
        loop {
            let result = pool.write(|tx| {
                let mut heap = tx.open::<Objects>("objects")?;
                for _ in 0..1000 {
                    heap.alloc([7u64; 8])?;
                }
                Ok(())
            });
            match result {
                Ok(()) => objects += 1000,
                Err(e) if matches!(e.kind(), ErrorKind::NoSpace { .. }) => break,
                Err(e) => panic!("{e}"),
            }
        }
        let payload = (objects * 64) as f64 / (64 << 20) as f64;
        println!("| {:<66} | {:>5.2} % payload  |", "64 B objects in 64 MiB", payload * 100.0);
        assert!(payload >= 0.95, "{payload}");
    }

    fn set(tx: &WriteTx<'_>, n: u64) -> Result<()> {
        tx.open::<Objects>("objects")?.root_mut()?.0[0] = n;
        Ok(())
    }

    fn eventually(pool: &Pool, n: u64) -> Result<Ticket> {
        let tx = pool.begin()?;
        set(&tx, n)?;
        tx.commit_eventual()
    }

    #[test]
    fn eventual_commits_take_no_drain_and_their_sync_takes_1_on_lines_and_on_a_disk() {
        for disk in [false, true] {
            let mapping = MapOptions::new()
                .len(8 << 20)
                .granularity(if disk {
                    pmem_map::Granularity::Page
                } else {
                    pmem_map::Granularity::CacheLine
                })
                .anonymous()
                .unwrap();
            let pool = PoolOptions::new().create_on(mapping).unwrap();
            pool.write(|tx| tx.open::<Objects>("objects").map(drop)).unwrap();
            let spent = |work: &mut dyn FnMut()| {
                let before = pool.region().counters();
                work();
                let spent = pool.region().counters() - before;
                (spent.drains, spent.syncs)
            };
            let flushes = u64::from(disk);
            for n in [1, 2, 50] {
                let mut write = || (0..n).for_each(|i| _ = eventually(&pool, n * 100 + i).unwrap());
                assert_eq!(spent(&mut write), (0, 0));
                assert_eq!(spent(&mut || drop(pool.read().unwrap())), (0, 0));
                assert_eq!(spent(&mut || pool.sync().unwrap()), (1, flushes), "{n} commits");
                assert_eq!(spent(&mut || pool.sync().unwrap()), (0, 0));
            }
            for n in 0..100 {
                let mut strict = || pool.write(|tx| set(tx, n + 7)).unwrap();
                assert_eq!(spent(&mut strict), (1, flushes), "a strict commit takes exactly one");
            }
            eventually(&pool, 1).unwrap();
            let mut free = || {
                pool.write(|tx| tx.open::<Objects>("objects")?.alloc([1u64; 8]).map(drop)).unwrap();
            };
            assert_eq!(spent(&mut free), (1, flushes), "with the one before");
            assert_eq!(spent(&mut || pool.checkpoint().unwrap()), (2, 2 * flushes));
        }
    }

    #[test]
    fn a_group_of_writers_takes_at_most_as_many_drains_as_it_commits() {
        let pool =
            PoolOptions::new().group_commit(true).create_on(Mapping::anonymous(8 << 20).unwrap()).unwrap();
        pool.write(|tx| tx.open::<Objects>("objects").map(drop)).unwrap();
        let before = pool.region().counters().drains;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    (0..250).for_each(|n| pool.write(|tx| set(tx, thread * 1000 + n)).unwrap());
                });
            }
        });
        let drains = pool.region().counters().drains - before;
        println!("| {:<66} | {:>6} | of 1,000 commits |", "drains of four threads as a group", drains);
        assert!(drains <= 1000);
    }
}
