//! What a journal promises its user, sentence by sentence.

use pmem_map::Mapping;
use pmem_tx::{Committed, Error, Journal, JournalOptions, Recovered, Refusal, Subscriber, Tx};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

const LOG: std::ops::Range<u64> = 0..4096;
const AT: u64 = 4096;

fn journal() -> Journal {
    Journal::create(Mapping::anonymous(1 << 16).unwrap(), LOG).unwrap()
}

fn word(journal: &Journal, at: u64) -> u64 {
    *journal.begin().unwrap().read::<u64>(at).unwrap()
}

#[test]
fn a_transaction_that_is_dropped_or_fails_leaves_nothing() {
    let journal = journal();
    journal.begin().unwrap().write(AT, &1u64).unwrap();
    assert_eq!(word(&journal, AT), 0);
    let failed = journal.write(|tx| {
        tx.write(AT, &1u64)?;
        Err::<(), _>(Error::abort("changed my mind"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "aborted: changed my mind");
    assert_eq!(word(&journal, AT), 0);
    assert_eq!(journal.stats().unwrap().commits, 0);
}

#[test]
fn a_panic_rolls_back_and_the_journal_goes_on() {
    let journal = journal();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = journal.write(|tx| -> Result<(), Error> {
            tx.write(AT, &1u64)?;
            panic!("on purpose")
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(word(&journal, AT), 0);
    journal.write(|tx| tx.write(AT, &2u64)).unwrap();
    assert_eq!(word(&journal, AT), 2);
}

#[test]
fn what_was_committed_is_there_after_a_clean_close_and_nothing_is_replayed() {
    let journal = journal();
    journal.write(|tx| tx.write(AT, &5u64)).unwrap();
    let journal = Journal::open(journal.close().unwrap(), LOG).unwrap();
    assert_eq!(journal.recovery().replayed, 0);
    assert_eq!(word(&journal, AT), 5);
    assert_eq!(journal.stats().unwrap().generation, 2, "one for creation, one for the open");
}

#[test]
fn a_thread_that_asks_for_a_second_transaction_is_told_so() {
    let journal = journal();
    let _tx = journal.begin().unwrap();
    assert!(matches!(journal.begin(), Err(Error::WouldDeadlock)));
    assert!(matches!(journal.checkpoint(), Err(Error::WouldDeadlock)));
}

#[test]
fn transactions_of_other_threads_wait_their_turn() {
    let journal = journal();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    journal.write(|tx| tx.update(AT, |n: &mut u64| *n += 1)).unwrap();
                }
            });
        }
    });
    assert_eq!(word(&journal, AT), 2000);
}

#[test]
fn a_transaction_may_move_to_another_thread() {
    let journal = journal();
    let mut tx = journal.begin().unwrap();
    tx.write(AT, &1u64).unwrap();
    std::thread::scope(|scope| scope.spawn(move || tx.commit()).join().unwrap()).unwrap();
    assert_eq!(word(&journal, AT), 1);
}

#[test]
fn a_transaction_too_large_for_the_log_changes_nothing_and_says_how_much_it_needs() {
    let journal = journal();
    let too_much = journal.write(|tx| tx.write_bytes(AT, &[1; 4000]));
    let Err(Error::LogFull { needed, available }) = too_much else { panic!("{too_much:?}") };
    assert!(needed > 4000 && available == 1248, "{needed} {available}");
    assert_eq!(word(&journal, AT), 0);
    journal.write(|tx| tx.write_bytes(AT, &[1; 1000])).unwrap();
    assert_eq!(word(&journal, AT), u64::from_ne_bytes([1; 8]));
}

#[test]
fn reads_outside_the_mapping_inside_the_log_misaligned_or_of_bad_bits_are_errors() {
    let journal = journal();
    let len = journal.region().len();
    let mut tx = journal.begin().unwrap();
    let why = |result: Result<(), Error>| match result {
        Err(Error::Invalid { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(tx.read::<u64>(len).map(drop)), "past the end of the mapping");
    assert_eq!(why(tx.read::<u64>(len - 4).map(drop)), "past the end of the mapping");
    assert_eq!(why(tx.read::<u64>(u64::MAX - 3).map(drop)), "past the end of the mapping");
    assert_eq!(why(tx.read::<u64>(LOG.end - 8).map(drop)), "inside the log");
    assert_eq!(why(tx.read::<u64>(AT + 1).map(drop)), "misaligned, or not a value of the type");
    assert_eq!(why(tx.write(AT + 1, &1u64)), "misaligned");
    assert_eq!(why(tx.write(LOG.end - 8, &1u64)), "inside the log");
    tx.write(AT, &7u8).unwrap();
    assert_eq!(why(tx.read::<bool>(AT).map(drop)), "misaligned, or not a value of the type");
}

#[test]
fn a_reference_stays_what_it_was_while_other_lines_are_read() {
    let journal = journal();
    let mut tx = journal.begin().unwrap();
    tx.write(AT + 60, &[1u8; 8]).unwrap();
    let whole = tx.bytes(AT, 256).unwrap(); // changed and unchanged lines
    let across = tx.bytes(AT + 4000, 200).unwrap(); // two pages
    let part = tx.bytes(AT + 60, 8).unwrap();
    assert_eq!(&whole[60..68], part);
    assert!(across.iter().all(|byte| *byte == 0));
    assert_eq!(whole.iter().map(|byte| u32::from(*byte)).sum::<u32>(), 8);
}

/// Offset and new bytes.
type Change = (u64, Vec<u8>);

/// Every record's seq and changes.
#[derive(Default)]
struct Capture(Mutex<Vec<(u64, Vec<Change>)>>);

impl Subscriber for Capture {
    fn committed(&self, record: &Committed<'_>) {
        let mut changes = Vec::new();
        record.for_each(|at, bytes| changes.push((at, bytes.to_vec())));
        self.0.lock().unwrap().push((record.seq(), changes));
    }
}

#[test]
fn a_subscriber_sees_committed_records_in_order_and_can_rebuild_the_bytes() {
    let journal = journal();
    let capture = Arc::new(Capture::default());
    journal.subscribe(capture.clone()).unwrap();
    for i in 0..20u64 {
        let mut tx = journal.begin().unwrap();
        tx.write_bytes(AT + i * 37, &[i as u8 + 1; 100]).unwrap();
        if i % 3 == 0 { tx.abort() } else { tx.commit().unwrap() }
    }
    let records = capture.0.lock().unwrap();
    assert_eq!(records.iter().map(|r| r.0).collect::<Vec<_>>(), (1..=13).collect::<Vec<u64>>());
    let mut copy = vec![0u8; 1 << 16];
    for (at, bytes) in records.iter().flat_map(|r| &r.1) {
        copy[*at as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    let mapping = journal.close().unwrap();
    assert!(copy[AT as usize..] == mapping.as_slice()[AT as usize..]);
}

/// Generation, first and newest record, lines.
type Found = (u32, u64, u64, Vec<Change>);

/// Seq and bytes after each commit that it was told of, and what it was told of a life before.
#[derive(Default)]
struct Heir {
    told: Mutex<Vec<(u64, Vec<Change>)>>,
    recovered: Mutex<Option<Found>>,
    refuses: bool,
}

impl Subscriber for Heir {
    fn committed(&self, record: &Committed<'_>) {
        let mut changes = Vec::new();
        record.for_each(|at, bytes| changes.push((at, bytes.to_vec())));
        self.told.lock().unwrap().push((record.seq(), changes));
    }

    fn recovered(&self, recovered: &Recovered<'_>) -> Result<(), Refusal> {
        let mut lines = Vec::new();
        recovered.for_each(|at, bytes| lines.push((at, bytes.to_vec())));
        let said = (recovered.generation(), recovered.first(), recovered.newest(), lines);
        *self.recovered.lock().unwrap() = Some(said);
        if self.refuses { Err("not yet".into()) } else { Ok(()) }
    }
}

fn put(bytes: &mut [u8], changes: &[Change]) {
    for (at, new) in changes {
        bytes[*at as usize..][..new.len()].copy_from_slice(new);
    }
}

#[test]
fn who_knows_the_records_before_the_recovered_ones_has_with_them_what_the_newest_left() {
    for interval in [1, 7] {
        let heir = Arc::new(Heir::default());
        let options = || JournalOptions::new().flush_interval(interval);
        let journal =
            options().subscriber(heir.clone()).create(Mapping::anonymous(1 << 16).unwrap(), 0..AT).unwrap();
        let mut rng = fastrand::Rng::with_seed(7);
        for n in 1..=200u64 {
            let mut tx = journal.begin().unwrap();
            for _ in 0..rng.u64(1..5) {
                tx.write_bytes(AT + rng.u64(0..20_000), &[rng.u8(..); 100]).unwrap();
            }
            tx.commit().unwrap();
            // The process ends here, and the log is opened by another.
            let mut image = Mapping::anonymous(1 << 16).unwrap();
            let mut bytes = vec![0; 1 << 16];
            // SAFETY: nobody stores meanwhile.
            unsafe { journal.region().load(0, &mut bytes) };
            image.write(0, &bytes).unwrap();
            let next = Arc::new(Heir::default());
            let opened = options().subscriber(next.clone()).open(image, 0..AT).unwrap();
            let (generation, first, newest, lines) = next.recovered.lock().unwrap().take().unwrap();
            assert_eq!((generation, newest), (1, n));
            assert!(first <= newest && newest - first <= 2 * u64::from(interval), "{first} to {newest}");
            // Whoever missed any of the last ones gets them.
            let told = heir.told.lock().unwrap();
            for known in first - 1..=newest {
                let mut copy = vec![0; 1 << 16];
                told.iter().filter(|(seq, _)| *seq <= known).for_each(|(_, changes)| put(&mut copy, changes));
                put(&mut copy, &lines);
                assert!(copy[AT as usize..] == bytes[AT as usize..], "after {known} of {first} to {newest}");
            }
            drop(told);
            let mut tx = opened.begin().unwrap();
            tx.write(AT, &n).unwrap();
            tx.commit().unwrap();
            assert_eq!(next.told.lock().unwrap().last().map(|(seq, _)| *seq), Some(1));
        }
        // A clean close leaves nothing to tell but the number.
        let mapping = journal.close().unwrap();
        let refuses = Arc::new(Heir { refuses: true, ..Heir::default() });
        let refused = options().subscriber(refuses.clone()).open(mapping, 0..AT).unwrap_err();
        assert!(matches!(refused, Error::Refused(_)), "{refused}");
        assert_eq!(refuses.recovered.lock().unwrap().take(), Some((1, 201, 200, vec![])));
    }
}

#[test]
fn types_are_send_and_sync_as_documented() {
    fn both<T: Send + Sync>() {}
    both::<Journal>();
    both::<Tx<'static>>();
    both::<JournalOptions>();
    both::<Error>();
}
