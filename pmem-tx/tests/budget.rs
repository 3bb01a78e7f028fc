//! Lines and drains of transactions: averages over 1,000 operations, the closing checkpoint included.

mod budget {
    use pmem_map::{Counters, Mapping};
    use pmem_tx::{Journal, JournalOptions, Transaction};

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

    /// One line for the object, two for its old bytes, one for the seal.
    #[test]
    fn one_64_byte_update_by_undo_takes_at_most_4_lines_and_3_drains() {
        measure("undo, one 64 B update", 4.0, 3.0, |journal, i| {
            journal.write_undo(|tx| tx.write(object(i), &[i + 1; 8])).unwrap();
        });
    }

    #[test]
    fn eight_64_byte_updates_by_undo_take_at_most_20_lines_and_3_drains() {
        measure("undo, eight 64 B updates, logged together", 20.0, 3.0, |journal, i| {
            let places: [u64; 8] = std::array::from_fn(|j| object(i * 8 + j as u64));
            journal
                .write_undo(|tx| {
                    tx.snapshot(&places.map(|at| at..at + 64))?;
                    places.iter().try_for_each(|at| tx.write(*at, &[i + 1; 8]))
                })
                .unwrap();
        });
    }

    #[test]
    fn an_undo_transaction_takes_a_drain_for_each_snapshot_with_something_new_and_2() {
        measure("undo, three snapshots of 8 B", 7.0, 5.0, |journal, i| {
            let write = |tx: &mut pmem_tx::UndoTx<'_>, j| tx.write(object(i * 3 + j), &(i + 1));
            journal
                .write_undo(|tx| (0..3).try_for_each(|j| write(tx, j).and_then(|()| write(tx, j))))
                .unwrap();
        });
        measure("undo, three snapshots of 8 B, rolled back", 7.0, 5.0, |journal, i| {
            let mut tx = journal.begin_undo().unwrap();
            (0..3).for_each(|j| tx.write(object(i * 3 + j), &(i + 1)).unwrap());
        });
    }

    #[test]
    fn an_undo_transaction_that_changes_nothing_takes_nothing() {
        measure("undo, read-only or empty", 0.0, 0.0, |journal, i| {
            journal.write_undo(|tx| tx.word(object(i)).map(|n| assert_eq!(n, 0))).unwrap();
            journal.begin_undo().unwrap().abort();
        });
    }

    #[test]
    fn redo_and_undo_in_turn_take_no_drain_more() {
        measure("redo, then undo, one 64 B update each", 8.0, 4.0, |journal, i| {
            journal.write(|tx| tx.write(object(i), &[i + 1; 8])).unwrap();
            journal.write_undo(|tx| tx.write(object(i), &[i + 2; 8])).unwrap();
        });
    }

    #[test]
    fn a_line_without_a_record_takes_1_line_and_1_drain() {
        measure("atomic_line, one word", 1.0, 1.0, |journal, i| {
            journal.atomic_line(object(i), &(i + 1).to_le_bytes()).unwrap();
        });
    }

    #[test]
    fn a_record_in_lent_space_takes_2_drains() {
        struct Space;
        impl pmem_tx::LogSpace for Space {
            fn lend(&self, len: u64) -> Option<std::ops::Range<u64>> {
                // A ring of places: what was lent two commits ago is free again.
                static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
                let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 8;
                let start = (2 << 20) + n * (128 << 10);
                Some(start..start + len.next_multiple_of(64))
            }
            fn take_back(&self, _: std::ops::Range<u64>) {}
        }
        let options = JournalOptions::new().log_space(std::sync::Arc::new(Space));
        let journal = options.create(Mapping::anonymous(4 << 20).unwrap(), LOG).unwrap();
        let cost = spent(&journal, || {
            (0..10).for_each(|i| journal.write(|tx| tx.fill(LOG.end, 64 << 10, i + 1)).unwrap());
        });
        println!("budget | {:<44} | {} drains for 10", "a record of 64 KiB in lent space", cost.drains);
        assert_eq!(cost.drains, 19, "the first one has nothing before it to drain");
    }

    /// A journal in memory that plays a disk.
    fn disk() -> Journal {
        let mapping = pmem_map::MapOptions::new().len(4 << 20).emulate_pages(true).anonymous().unwrap();
        Journal::create(mapping, LOG).unwrap()
    }

    fn spent(journal: &Journal, work: impl FnOnce()) -> Counters {
        let before = journal.region().counters();
        work();
        journal.region().counters() - before
    }

    fn eventual(journal: &Journal, i: u64) -> pmem_tx::Ticket {
        let mut tx = journal.begin().unwrap();
        tx.write(object(i), &[i + 1; 8]).unwrap();
        tx.commit_eventual().unwrap()
    }

    #[test]
    fn eventual_commits_take_no_drain_and_a_sync_of_any_number_of_them_takes_1() {
        for journal in [Journal::create(Mapping::anonymous(4 << 20).unwrap(), LOG).unwrap(), disk()] {
            for n in [1, 2, 10, 60] {
                let writing = spent(&journal, || (0..n).for_each(|i| _ = eventual(&journal, i + n)));
                assert_eq!(writing.drains, 0);
                assert_eq!(spent(&journal, || journal.sync().unwrap()).drains, 1);
                assert_eq!(spent(&journal, || journal.sync().unwrap()).drains, 0, "all is durable");
                journal.checkpoint().unwrap(); // room for the next ones
            }
            let ticket = eventual(&journal, 1000);
            assert_eq!(spent(&journal, || journal.wait(ticket).unwrap()).drains, 1);
            assert_eq!(spent(&journal, || journal.wait(ticket).unwrap()).drains, 0);
            eventual(&journal, 1001);
            let strict = spent(&journal, || journal.write(|tx| tx.write(object(9), &9u64)).unwrap());
            assert_eq!(strict.drains, 1, "with the one before");
        }
    }

    #[test]
    fn eventual_commits_and_a_sync_for_every_hundred_take_at_most_4_lines_and_4_hundredths_of_a_drain() {
        measure("transaction, one 64 B update, sync every 100", 4.0, 0.04, |journal, i| {
            eventual(journal, i);
            if i % 100 == 99 {
                journal.sync().unwrap();
            }
        });
    }

    #[test]
    fn a_group_of_threads_that_wait_takes_1_drain() {
        for page in [false, true] {
            let mapping = pmem_map::MapOptions::new().len(4 << 20).emulate_pages(page).anonymous().unwrap();
            let journal = JournalOptions::new().group_commit(true).create(mapping, LOG).unwrap();
            for n in [2, 5, 8] {
                let group = spent(&journal, || {
                    // All of them have written before the first one waits.
                    let tickets: Vec<_> = (0..n)
                        .map(|i| {
                            std::thread::scope(|s| s.spawn(|| eventual(&journal, i + n)).join().unwrap())
                        })
                        .collect();
                    let all = std::sync::Barrier::new(tickets.len());
                    std::thread::scope(|scope| {
                        for ticket in tickets {
                            let (journal, all) = (&journal, &all);
                            scope.spawn(move || {
                                all.wait();
                                journal.wait(ticket).unwrap();
                            });
                        }
                    });
                });
                assert_eq!((group.drains, group.syncs), (1, u64::from(page)), "{n} threads");
            }
        }
    }

    #[test]
    fn threads_never_take_more_drains_than_they_commit() {
        let mapping = Mapping::anonymous(4 << 20).unwrap();
        let options = JournalOptions::new().group_commit(true);
        let journal = options.create(mapping, 0..1 << 20).unwrap();
        let all = spent(&journal, || {
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let journal = &journal;
                    scope.spawn(move || {
                        (0..500).for_each(|i| {
                            journal.write(|tx| tx.write((2 << 20) + thread * 64, &(i + 1))).unwrap();
                        });
                    });
                }
            });
        });
        println!("budget | 2,000 commits of 4 threads as a group: {} drains", all.drains);
        assert!(all.drains <= 2000);
    }

    #[test]
    fn a_commit_to_a_disk_takes_1_device_flush_and_a_checkpoint_2() {
        let journal = disk();
        let commits = 100;
        let all = spent(&journal, || {
            for i in 0..commits {
                let one = spent(&journal, || journal.write(|tx| tx.write(object(i), &[i + 1; 8])).unwrap());
                assert_eq!((one.syncs, one.drains), (1, 1), "commit {i}");
            }
        });
        assert_eq!(all.syncs, commits);
        assert_eq!(spent(&journal, || journal.checkpoint().unwrap()).syncs, 2);
        let read = spent(&journal, || _ = journal.begin().unwrap().read::<u64>(object(0)).unwrap());
        assert_eq!(read, Counters::default());
        // Far more than the ring takes: each lap adds a checkpoint.
        let before = journal.stats().unwrap();
        let many = spent(&journal, || {
            (0..1000).for_each(|i| journal.write(|tx| tx.write(object(i), &[i + 2; 8])).unwrap());
        });
        let checkpoints = journal.stats().unwrap().checkpoints - before.checkpoints;
        assert_eq!(many.syncs, 1000 + 2 * checkpoints);
        assert!(checkpoints <= 1000 / (before.capacity / 256) + 1, "{checkpoints}");
    }
}
