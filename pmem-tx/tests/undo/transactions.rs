use super::*;
use pmem_tx::{Committed, Error, JournalOptions, Subscriber};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

#[test]
fn what_was_committed_is_there_and_what_was_not_has_left_no_trace() {
    let journal = journal();
    journal.write_undo(|tx| tx.write(AT, &1u64)).unwrap();
    assert_eq!(word(&journal, AT), 1);
    let mut tx = journal.begin_undo().unwrap();
    tx.write(AT, &2u64).unwrap();
    assert_eq!(tx.word(AT).unwrap(), 2);
    tx.abort();
    assert_eq!(word(&journal, AT), 1);
    let failed = journal.write_undo(|tx| {
        tx.write(AT, &3u64)?;
        Err::<(), _>(Error::abort("changed my mind"))
    });
    assert!(failed.is_err());
    assert_eq!(word(&journal, AT), 1);
    assert_eq!(journal.stats().unwrap().commits, 1);
}

#[test]
fn a_panic_rolls_back_and_the_journal_goes_on() {
    let journal = journal();
    journal.write_undo(|tx| tx.write(AT, &1u64)).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = journal.write_undo(|tx| -> Result<(), Error> {
            tx.fill(AT, 500, 0xee)?;
            panic!("on purpose")
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(word(&journal, AT), 1);
    journal.write(|tx| tx.write(AT, &2u64)).unwrap();
    assert_eq!(word(&journal, AT), 2);
}

#[test]
fn a_transaction_that_was_open_when_the_program_died_is_rolled_back() {
    for fresh in [false, true] {
        let journal = journal();
        journal.write(|tx| tx.write(AT, &[1u64; 100])).unwrap();
        let mut tx = journal.begin_undo().unwrap();
        tx.write(AT + 80, &[2u64; 50]).unwrap();
        tx.write(AT, &[3u64; 20]).unwrap();
        if fresh {
            tx.declare_fresh(AT + 8192..AT + 9000).unwrap();
            tx.fill(AT + 8192, 800, 9).unwrap();
        }
        std::mem::forget(tx);
        let journal = Journal::open(killed(journal), LOG).unwrap();
        assert_eq!(journal.recovery().rolled_back, 2);
        assert_eq!(journal.begin().unwrap().get::<[u64; 100]>(AT).unwrap(), [1; 100]);
        let journal = Journal::open(journal.close().unwrap(), LOG).unwrap();
        assert_eq!(journal.recovery(), Default::default());
    }
}

#[test]
fn a_range_is_logged_once_whatever_overlaps() {
    let journal = journal();
    let mut tx = journal.begin_undo().unwrap();
    let drains = |work: &mut dyn FnMut()| spent(&journal, work).drains;
    assert_eq!(
        drains(&mut || tx.snapshot(&[AT..AT + 100, AT + 90..AT + 300, AT + 1000..AT + 1008]).unwrap()),
        1
    );
    // Inside, across what is adjacent, and the word that a range is part of.
    assert_eq!(drains(&mut || tx.write_bytes(AT, &[1; 300]).unwrap()), 0);
    assert_eq!(drains(&mut || tx.write_bytes(AT + 1003, &[1; 5]).unwrap()), 0);
    assert_eq!(drains(&mut || tx.snapshot(&[AT + 50..AT + 250]).unwrap()), 0);
    assert_eq!(drains(&mut || tx.write_bytes(AT + 303, &[1; 1]).unwrap()), 0, "its word was logged");
    assert_eq!(drains(&mut || tx.write_bytes(AT + 304, &[1; 1]).unwrap()), 1);
    assert_eq!(drains(&mut || tx.snapshot(&[AT..AT + 304, AT + 312..AT + 320]).unwrap()), 1);
    assert_eq!(drains(&mut || tx.snapshot(&[AT + 5..AT + 5, AT..AT + 320]).unwrap()), 0);
    tx.commit().unwrap();
}

#[test]
fn fresh_memory_is_not_logged_and_needs_no_drain() {
    let journal = journal();
    let mut tx = journal.begin_undo().unwrap();
    let cost = spent(&journal, || {
        tx.declare_fresh(AT..AT + 3000).unwrap();
        tx.fill(AT, 3000, 7).unwrap();
    });
    assert_eq!((cost.drains, cost.lines()), (0, 0));
    assert_eq!(
        spent(&journal, || tx.write(AT + 2992, &[8u64; 2]).unwrap()).drains,
        1,
        "half of it is not fresh"
    );
    let cost = spent(&journal, || tx.commit().unwrap());
    assert_eq!(cost.drains, 2);
    assert_eq!(word(&journal, AT + 8), 0x0707_0707_0707_0707);
}

#[test]
fn a_read_only_or_empty_transaction_costs_nothing_and_leaves_no_record() {
    let journal = journal();
    let cost = spent(&journal, || {
        journal.write_undo(|tx| tx.word(AT)).unwrap();
        journal.begin_undo().unwrap().abort();
        journal.write_undo(|tx| tx.write_bytes(AT, &[])).unwrap();
    });
    assert_eq!((cost.drains, cost.lines()), (0, 0));
}

#[test]
fn savepoints_nest_and_a_void_one_is_refused() {
    let journal = journal();
    journal
        .write_undo(|tx| {
            tx.write(AT, &1u64)?;
            let one = tx.savepoint();
            tx.write(AT, &2u64)?;
            tx.fill(AT + 100, 1000, 5)?;
            let two = tx.savepoint();
            tx.write(AT, &3u64)?;
            tx.rollback_to(&two)?;
            assert_eq!(tx.word(AT)?, 2);
            tx.write(AT, &4u64)?;
            tx.rollback_to(&one)?;
            assert_eq!((tx.word(AT)?, tx.word(AT + 104)?), (1, 0));
            assert!(matches!(tx.rollback_to(&two), Err(Error::ForeignSavepoint)));
            tx.rollback_to(&one)?;
            tx.write(AT + 8, &5u64)
        })
        .unwrap();
    assert_eq!([word(&journal, AT), word(&journal, AT + 8), word(&journal, AT + 104)], [1, 5, 0]);
}

#[test]
fn a_savepoint_of_the_other_kind_is_refused() {
    let journal = journal();
    let redo = journal.begin().unwrap().savepoint();
    let mut tx = journal.begin_undo().unwrap();
    assert!(matches!(tx.rollback_to(&redo), Err(Error::ForeignSavepoint)));
    let undo = tx.savepoint();
    drop(tx);
    assert!(matches!(journal.begin().unwrap().rollback_to(&undo), Err(Error::ForeignSavepoint)));
}

#[test]
fn words_and_bits_are_updated_in_both_kinds() {
    fn run(tx: &mut impl Transaction) -> Result<(), Error> {
        tx.set_word(AT, 0b1010)?;
        tx.set_bits(AT, 0b0101)?;
        tx.clear_bits(AT, 0b1000)?;
        tx.update_bits(AT, 0b1, 0b1_0000)?;
        assert_eq!(tx.word(AT)?, 0b1_0110);
        tx.update(AT + 8, |pair: &mut [u32; 2]| pair[1] += 3)?;
        assert_eq!(tx.get::<[u32; 2]>(AT + 8)?, [0, 3]);
        tx.fill(AT + 21, 5000, 0xab)?;
        tx.fill(AT + 30, 0, 0)?;
        let mut around = [0; 4];
        tx.get_bytes(AT + 5019, &mut around)?;
        assert_eq!(around, [0xab, 0xab, 0, 0]);
        assert!(matches!(tx.get::<bool>(AT + 21), Err(Error::Invalid { .. })));
        assert!(matches!(tx.set_word(AT + 4, 1), Err(Error::Invalid { .. })));
        Ok(())
    }
    let journal = || Journal::create(Mapping::anonymous(LEN).unwrap(), 48 << 10..LEN).unwrap();
    journal().write(|tx| run(tx)).unwrap();
    journal().write_undo(|tx| run(tx)).unwrap();
}

#[test]
fn places_that_are_not_the_programs_are_errors_and_nothing_happens() {
    let journal = journal();
    let mut tx = journal.begin_undo().unwrap();
    let invalid =
        |result: Result<(), Error>| assert!(matches!(result, Err(Error::Invalid { .. })), "{result:?}");
    invalid(tx.write(0, &1u64));
    invalid(tx.write(AT - 4, &[1u32; 2]));
    invalid(tx.write_bytes(LEN - 1, &[0; 2]));
    invalid(tx.write_bytes(u64::MAX, &[0; 2]));
    invalid(tx.fill(AT, u64::MAX, 0));
    invalid(tx.fill(AT, LEN, 0));
    invalid(tx.snapshot(&[AT..AT + 8, AT + 8..LEN + 1]));
    invalid(tx.snapshot(&[Range { start: AT + 8, end: AT }]));
    invalid(tx.snapshot(&[u64::MAX - 8..u64::MAX]));
    invalid(tx.declare_fresh(0..LEN));
    invalid(tx.update(AT + 1, |_: &mut u64| ()));
    let mut bytes = [0; 10];
    invalid(tx.get_bytes(LEN - 9, &mut bytes));
    assert_eq!(spent(&journal, || drop(tx)).drains, 0);
}

#[test]
fn a_snapshot_that_fills_the_log_changes_nothing_and_the_transaction_goes_on() {
    let journal = journal();
    journal.write(|tx| tx.fill(AT, 1000, 1)).unwrap();
    let mut tx = journal.begin_undo().unwrap();
    tx.fill(AT, 500, 2).unwrap();
    let full = tx.fill(AT + 8192, 8000, 3);
    match &full {
        Err(error @ Error::LogFull { needed, .. }) => {
            assert!(*needed > 8000);
            assert!(error.to_string().contains("lent space"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    tx.fill(AT + 500, 100, 2).unwrap();
    tx.commit().unwrap();
    let found = journal.begin().unwrap().bytes(AT, 1000).unwrap().to_vec();
    assert!(found[..600].iter().all(|byte| *byte == 2) && found[600..].iter().all(|byte| *byte == 1));
    assert_eq!(word(&journal, AT + 8192), 0);
}

#[test]
fn a_transaction_may_move_to_another_thread() {
    let journal = journal();
    let mut tx = journal.begin_undo().unwrap();
    tx.write(AT, &1u64).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            tx.write(AT + 64, &2u64).unwrap();
            tx.commit().unwrap();
        });
    });
    assert_eq!((word(&journal, AT), word(&journal, AT + 64)), (1, 2));
}

#[test]
fn a_second_transaction_of_any_kind_in_one_thread_is_told_so() {
    let journal = journal();
    let _tx = journal.begin_undo().unwrap();
    assert!(matches!(journal.begin(), Err(Error::WouldDeadlock)));
    assert!(matches!(journal.begin_undo(), Err(Error::WouldDeadlock)));
    assert!(matches!(journal.atomic_line(AT, &[1]), Err(Error::WouldDeadlock)));
    assert!(matches!(journal.checkpoint(), Err(Error::WouldDeadlock)));
}

struct Seen(Mutex<Vec<(u64, u8)>>);
impl Subscriber for Seen {
    fn committed(&self, record: &Committed<'_>) {
        record.for_each(|at, bytes| {
            let mut seen = self.0.lock().unwrap();
            seen.extend(bytes.iter().enumerate().map(|(i, byte)| (at + i as u64, *byte)));
        });
    }
}

#[test]
fn a_subscriber_sees_what_undo_transactions_changed_and_nothing_of_those_that_were_rolled_back() {
    let journal = journal();
    let seen = Arc::new(Seen(Mutex::default()));
    journal.subscribe(seen.clone()).unwrap();
    journal.write_undo(|tx| tx.fill(AT + 60, 10, 7)).unwrap();
    let mut tx = journal.begin_undo().unwrap();
    tx.fill(AT, 100, 9).unwrap();
    drop(tx);
    let mut copy = vec![0u8; LEN as usize];
    seen.0.lock().unwrap().iter().for_each(|(at, byte)| copy[*at as usize] = *byte);
    assert_eq!(copy[AT as usize..], killed(journal).as_slice()[AT as usize..]);
    assert_eq!(copy[AT as usize + 60..][..10], [7; 10]);
}

struct Panics;
impl Subscriber for Panics {
    fn committed(&self, _: &Committed<'_>) {
        panic!("on purpose")
    }
}

#[test]
fn a_subscriber_that_panics_undoes_nothing() {
    let journal = journal();
    journal.subscribe(Arc::new(Panics)).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| journal.write_undo(|tx| tx.fill(AT, 100, 9))));
    assert!(panicked.is_err());
    assert_eq!(word(&journal, AT), 0x0909_0909_0909_0909);
    let journal = Journal::open(killed(journal), LOG).unwrap();
    assert_eq!(word(&journal, AT), 0x0909_0909_0909_0909);
}

#[test]
fn a_log_of_before_undo_is_opened_and_then_marked() {
    let journal = journal();
    journal.write(|tx| tx.write(AT, &1u64)).unwrap();
    let mut mapping = killed(journal);
    for copy in [0, 64] {
        let header = &mut mapping.as_mut_slice()[copy..copy + 64];
        header[12..16].fill(0);
        let sum = xxhash_rust::xxh3::xxh3_64(&header[..56]);
        header[56..].copy_from_slice(&sum.to_le_bytes());
    }
    let journal = JournalOptions::new().open(mapping, LOG).unwrap();
    assert_eq!(word(&journal, AT), 1);
    journal.write_undo(|tx| tx.write(AT, &2u64)).unwrap();
    let mapping = journal.close().unwrap();
    assert_eq!(mapping.as_slice()[12..16], [3, 0, 0, 0], "a program of before refuses it now");
    assert_eq!(mapping.as_slice()[64 + 12..64 + 16], [3, 0, 0, 0]);
}
