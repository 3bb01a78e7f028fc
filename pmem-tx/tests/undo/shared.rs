use super::*;
use pmem_tx::{Error, JournalOptions, SharedMapping};

const LOGS: [Range<u64>; 2] = [0..4096, 4096..8192];
const HOMES: [Range<u64>; 2] = [8192..20032, 20032..LEN];

fn two() -> (SharedMapping, [Journal; 2]) {
    let shared = SharedMapping::new(Mapping::anonymous(LEN).unwrap());
    let options = JournalOptions::new();
    let create = |i: usize| shared.create(&options, LOGS[i].clone(), HOMES[i].clone()).unwrap();
    let journals = [create(0), create(1)];
    (shared, journals)
}

#[test]
fn threads_use_their_journals_at_the_same_time_and_all_is_there_when_opened_again() {
    let (shared, journals) = two();
    std::thread::scope(|scope| {
        for journal in &journals {
            scope.spawn(move || {
                let home = journal.home();
                for i in 0..1000u64 {
                    // The lines at the border of both homes too.
                    let places = [home.start, home.end - 8, home.start + i % 1000 * 8];
                    let run = |tx: &mut dyn FnMut(u64) -> Result<u64, Error>| {
                        places.into_iter().try_for_each(|at| tx(at).map(drop))
                    };
                    match i % 3 {
                        0 => journal.write_undo(|tx| {
                            run(&mut |at| {
                                tx.update(at, |n: &mut u64| {
                                    *n += 1;
                                    *n
                                })
                            })
                        }),
                        _ => journal.write(|tx| {
                            run(&mut |at| {
                                tx.update(at, |n: &mut u64| {
                                    *n += 1;
                                    *n
                                })
                            })
                        }),
                    }
                    .unwrap();
                }
            });
        }
    });
    std::mem::forget(journals);
    let mut mapping = Mapping::anonymous(LEN).unwrap();
    // SAFETY: no transaction is open.
    unsafe { shared.region().load(0, mapping.as_mut_slice()) };
    let shared = SharedMapping::new(mapping);
    for i in [1, 0] {
        let journal = shared.open(&JournalOptions::new(), LOGS[i].clone(), HOMES[i].clone()).unwrap();
        assert_eq!((word(&journal, HOMES[i].start), word(&journal, HOMES[i].end - 8)), (1001, 1000));
    }
}

#[test]
fn a_journal_keeps_to_its_home() {
    let (_shared, [left, right]) = two();
    for (journal, at) in [(&left, HOMES[1].start), (&right, HOMES[0].end - 8), (&left, 4096), (&right, 0)] {
        let invalid =
            |result: Result<(), Error>| assert!(matches!(result, Err(Error::Invalid { .. })), "{result:?}");
        invalid(journal.write(|tx| tx.write(at, &1u64)));
        invalid(journal.write(|tx| tx.bytes(at, 1).map(drop)));
        invalid(journal.write_undo(|tx| tx.write(at, &1u64)));
        invalid(journal.write_undo(|tx| tx.snapshot(&[at..at + 1])));
        invalid(journal.atomic_line(at, &[1]));
    }
    let across = HOMES[0].end - 4;
    assert!(left.write(|tx| tx.write_bytes(across, &[1; 8])).is_err());
    assert!(right.write_undo(|tx| tx.write_bytes(across, &[1; 8])).is_err());
}

#[test]
fn logs_and_homes_that_meet_or_cannot_be_are_refused() {
    let (shared, journals) = two();
    let options = JournalOptions::new();
    let bad = |log: Range<u64>, home: Range<u64>| match shared.create(&options, log, home) {
        Err(Error::BadHome { why, .. } | Error::BadArea { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert!(bad(0..4096, LEN - 64..LEN).contains("another journal"), "its log");
    assert!(bad(8192..12288, LEN - 64..LEN).contains("another journal"), "its home as log");
    drop(journals);
    let left = shared.create(&options, LOGS[0].clone(), HOMES[0].clone()).unwrap();
    let log = || LEN - 4096..LEN;
    assert!(bad(log(), HOMES[0].end - 64..HOMES[0].end).contains("another journal"));
    assert!(bad(log(), 64..128).contains("another journal"), "its log as home");
    assert!(bad(log(), 30000..40000).contains("aligned"));
    assert!(bad(log(), 32768..32768).contains("empty"));
    assert!(bad(log(), 32768..LEN + 64).contains("outside"));
    assert!(bad(log(), Range { start: 32768, end: 4096 }).contains("empty"));
    assert!(bad(LEN..LEN + 4096, 32768..40960).contains("outside"));
    assert!(bad(LEN - 64..LEN, 32768..40960).contains("shorter"));
    assert_eq!(shared.journals(), 1);
    shared.create(&options, log(), 32768..LEN).unwrap(); // the log inside its home
    assert_eq!(shared.journals(), 1, "dropped, and free again");
    drop(left);
}

#[test]
fn a_record_that_leads_out_of_the_home_is_damage() {
    let (shared, [left, right]) = two();
    left.write(|tx| tx.write(HOMES[0].end - 8, &1u64)).unwrap();
    std::mem::forget((left, right)); // not closed: the record counts
    let mut mapping = Mapping::anonymous(LEN).unwrap();
    // SAFETY: no transaction is open.
    unsafe { shared.region().load(0, mapping.as_mut_slice()) };
    let shared = SharedMapping::new(mapping);
    let smaller = HOMES[0].start..HOMES[0].end - 64;
    let result = shared.open(&JournalOptions::new(), LOGS[0].clone(), smaller);
    assert!(matches!(result, Err(Error::Damaged { .. })), "{result:?}");
}

#[test]
fn the_mapping_comes_back_when_the_last_journal_is_gone() {
    let (shared, [left, right]) = two();
    left.write(|tx| tx.write(HOMES[0].start, &1u64)).unwrap();
    assert!(matches!(left.close(), Err(Error::Shared { .. })));
    assert!(matches!(shared.clone().into_mapping(), Err(Error::Shared { journals: 1 })));
    drop(right);
    let mapping = shared.into_mapping().unwrap();
    assert_eq!(mapping.as_slice()[HOMES[0].start as usize], 1);
    let shared = SharedMapping::new(mapping);
    let options = JournalOptions::new();
    let left = shared.open_or_create(&options, LOGS[0].clone(), HOMES[0].clone()).unwrap();
    assert_eq!((left.recovery().replayed, word(&left, HOMES[0].start)), (0, 1));
    let third = shared.open_or_create(&options, LEN - 4096..LEN, 32768..40960).unwrap();
    third.write(|tx| tx.write(32768, &1u64)).unwrap();
}
