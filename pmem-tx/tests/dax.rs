//! Journals on real DAX, where there is some: see `tests/dax/place.rs`.
#![allow(missing_docs)]

#[path = "../../tests/dax/place.rs"]
mod place;

use place::{Place, places};
use pmem_map::Granularity;
use pmem_tx::{Journal, JournalOptions, Transaction};
use std::ops::Range;

const LEN: u64 = 1 << 20;
const LOG: Range<u64> = 0..64 << 10;
/// Where the words are.
const HOME: u64 = 128 << 10;
const WORDS: u64 = 1000;

fn word(n: u64) -> u64 {
    HOME + n * 8
}

fn read(journal: &Journal, n: u64) -> u64 {
    *journal.begin().unwrap().read::<u64>(word(n)).unwrap()
}

/// Commits 200 numbers each way, begins two transactions more, and aborts.
fn work_and_abort(place: &Place) {
    let journal = Journal::create(place.map(LEN), LOG).unwrap();
    for n in 0..200 {
        journal.write(|tx| (0..5).try_for_each(|k| tx.write(word(n * 5 + k), &(n + 1)))).unwrap();
    }
    for n in 0..200 {
        journal.write_undo(|tx| (0..5).try_for_each(|k| tx.write(word(n * 5 + k), &(n + 1001)))).unwrap();
    }
    let mut tx = journal.begin_undo().unwrap();
    (0..WORDS / 10).for_each(|n| tx.write(word(n), &7u64).unwrap()); // in place already
    std::process::abort()
}

#[test]
fn what_a_process_that_aborts_had_committed_is_there_and_nothing_else() {
    const NAME: &str = "what_a_process_that_aborts_had_committed_is_there_and_nothing_else";
    if let Some(place) = Place::of_child(NAME) {
        work_and_abort(&place);
    }
    let (places, _used) = places();
    for place in places {
        place.abandoned(NAME);
        let journal = Journal::open(place.map(LEN), LOG).unwrap();
        println!("{}: {:?}", journal.region().medium(), journal.recovery());
        for n in 0..WORDS {
            assert_eq!(read(&journal, n), n / 5 + 1001, "word {n}");
        }
        journal.write(|tx| tx.write(word(3), &5u64)).unwrap();
        let journal = Journal::open(journal.close().unwrap(), LOG).unwrap();
        assert_eq!((journal.recovery().replayed, read(&journal, 3)), (0, 5));
    }
}

/// No `msync` and no `fdatasync` on persistent memory, and lines only where there is something to flush.
#[test]
fn a_commit_is_one_drain_and_no_system_call() {
    let (places, _used) = places();
    for place in places {
        let journal = Journal::create(place.map(LEN), LOG).unwrap();
        journal.write(|tx| tx.write(word(0), &1u64)).unwrap();
        let before = journal.region().counters();
        for n in 0..100 {
            journal.write(|tx| tx.write(word(n), &n)).unwrap();
        }
        let spent = journal.region().counters() - before;
        assert_eq!((spent.drains, spent.syncs), (100, 0), "{spent:?}");
        let is_flushed = spent.lines() >= 100;
        assert_eq!(is_flushed, journal.region().granularity() == Granularity::CacheLine, "{spent:?}");
    }
}

/// Strict, eventual, and in groups, on four threads, with an abort of the process at the end of all.
#[test]
fn threads_that_commit_together_find_all_of_it_again() {
    const NAME: &str = "threads_that_commit_together_find_all_of_it_again";
    let grouped = JournalOptions::new().group_commit(true);
    if let Some(place) = Place::of_child(NAME) {
        let journal = grouped.create(place.map(LEN), LOG).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let journal = &journal;
                scope.spawn(move || {
                    for n in 0..100 {
                        journal.write(|tx| tx.write(word(thread * 100 + n), &(n + 1))).unwrap();
                    }
                });
            }
        });
        std::process::abort()
    }
    let (places, _used) = places();
    for place in places {
        place.abandoned(NAME);
        let journal = grouped.open(place.map(LEN), LOG).unwrap();
        for n in 0..400 {
            assert_eq!(read(&journal, n), n % 100 + 1, "word {n}");
        }
    }
}
