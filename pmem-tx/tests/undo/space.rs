use super::*;
use parking_lot::Mutex;
use pmem_tx::{Error, JournalOptions, LogSpace};
use std::sync::Arc;

/// The upper half of the mapping, in pieces.
struct Space(Mutex<Vec<Range<u64>>>);

impl Space {
    fn new(pieces: &[Range<u64>]) -> Arc<Space> {
        Arc::new(Space(Mutex::new(pieces.to_vec())))
    }

    fn half() -> Arc<Space> {
        Space::new(&[LEN / 2..LEN])
    }

    fn free(&self) -> u64 {
        self.0.lock().iter().map(|range| range.end - range.start).sum()
    }
}

impl LogSpace for Space {
    fn lend(&self, _: u64) -> Option<Range<u64>> {
        self.0.lock().pop()
    }

    fn take_back(&self, range: Range<u64>) {
        self.0.lock().push(range);
    }
}

fn open(mapping: Mapping, space: &Arc<Space>) -> Journal {
    JournalOptions::new().log_space(space.clone()).open_or_create(mapping, LOG).unwrap()
}

fn lent() -> (Journal, Arc<Space>) {
    let space = Space::half();
    (open(Mapping::anonymous(LEN).unwrap(), &space), space)
}

/// More than the whole log.
const LARGE: u64 = 10_000;

#[test]
fn a_transaction_larger_than_the_log_takes_lent_space_and_two_drains() {
    let (journal, space) = lent();
    journal.write(|tx| tx.fill(AT, 100, 7)).unwrap();
    let cost = spent(&journal, || journal.write(|tx| tx.fill(AT, LARGE, 1)).unwrap());
    assert_eq!(cost.drains, 2);
    assert!(space.free() < LEN / 2, "held as long as a recovery may need it");
    let journal = Journal::open(killed(journal), LOG).unwrap(); // who opens it needs no space
    assert_eq!(journal.recovery().replayed, 1);
    assert!(journal.begin().unwrap().bytes(AT, LARGE).unwrap().iter().all(|byte| *byte == 1));
}

#[test]
fn an_undo_transaction_larger_than_the_log_takes_lent_space() {
    for commit in [true, false] {
        let space = Space::new(&[LEN / 2..LEN / 4 * 3, LEN / 4 * 3..LEN]);
        let journal = open(Mapping::anonymous(LEN).unwrap(), &space);
        journal.write_undo(|tx| tx.fill(AT, LARGE, 1)).unwrap();
        let mut tx = journal.begin_undo().unwrap();
        tx.fill(AT, LARGE, 2).unwrap();
        tx.fill(AT + LARGE, LARGE, 2).unwrap();
        if commit {
            tx.commit().unwrap();
        } else {
            tx.abort();
        }
        assert_eq!(space.free(), LEN / 2, "a seal ends the window");
        let expected = if commit { [2, 2] } else { [1, 0] };
        let tx = journal.begin().unwrap();
        assert_eq!([tx.bytes(AT + 77, 1).unwrap()[0], tx.bytes(AT + LARGE + 77, 1).unwrap()[0]], expected);
    }
}

#[test]
fn an_open_undo_transaction_in_lent_space_is_rolled_back_after_a_kill() {
    let (journal, _space) = lent();
    journal.write(|tx| tx.fill(AT, 1000, 1)).unwrap();
    let mut tx = journal.begin_undo().unwrap();
    tx.fill(AT, LARGE, 2).unwrap();
    std::mem::forget(tx);
    let journal = Journal::open(killed(journal), LOG).unwrap();
    assert_eq!(journal.recovery().rolled_back, 1);
    let tx = journal.begin().unwrap();
    let found = tx.bytes(AT, LARGE).unwrap();
    assert!(found[..1000].iter().all(|byte| *byte == 1) && found[1000..].iter().all(|byte| *byte == 0));
}

#[test]
fn space_comes_back_when_no_recovery_needs_it() {
    let (journal, space) = lent();
    journal.write(|tx| tx.fill(AT, LARGE, 1)).unwrap();
    journal.write(|tx| tx.write(AT, &1u64)).unwrap();
    assert!(space.free() < LEN / 2, "the window of the newest record reaches back to it");
    journal.write(|tx| tx.write(AT, &2u64)).unwrap();
    assert_eq!(space.free(), LEN / 2);
    journal.write(|tx| tx.fill(AT, LARGE, 2)).unwrap();
    journal.checkpoint().unwrap();
    assert_eq!(space.free(), LEN / 2);
    journal.write(|tx| tx.fill(AT, LARGE, 3)).unwrap();
    drop(journal);
    assert_eq!(space.free(), LEN / 2, "closed cleanly");
}

#[test]
fn many_pieces_hold_one_record() {
    let pieces: Vec<_> = (0..12).map(|i| LEN / 2 + i * 2048..LEN / 2 + i * 2048 + 1024).collect();
    let space = Space::new(&pieces);
    let journal = open(Mapping::anonymous(LEN).unwrap(), &space);
    let values: Vec<u8> = (0..LARGE).map(|i| (i % 251) as u8 + 1).collect();
    journal.write(|tx| tx.write_bytes(AT, &values)).unwrap();
    assert!(space.0.lock().len() < 4);
    let journal = Journal::open(killed(journal), LOG).unwrap();
    assert_eq!(journal.begin().unwrap().bytes(AT, LARGE).unwrap(), values);
}

#[test]
fn without_enough_space_the_log_is_full_nothing_changes_and_all_comes_back() {
    for space in [Space::new(&[]), Space::new(&[LEN / 2..LEN / 2 + 4096, LEN / 2 + 8192..LEN / 2 + 8256])] {
        let free = space.free();
        let journal = open(Mapping::anonymous(LEN).unwrap(), &space);
        let full = journal.write(|tx| tx.fill(AT, LARGE, 1));
        assert!(matches!(full, Err(Error::LogFull { needed, .. }) if needed > LARGE), "{full:?}");
        assert!(matches!(journal.write_undo(|tx| tx.fill(AT, LARGE, 1)), Err(Error::LogFull { .. })));
        assert_eq!((word(&journal, AT), space.free()), (0, free));
        journal.write(|tx| tx.fill(AT, 100, 1)).unwrap();
    }
}

#[test]
fn space_of_exactly_the_needed_size_is_enough_and_a_line_less_is_not() {
    // 157 lines, which are one entry: its head, and the lines.
    let exact = LARGE.next_multiple_of(64) + 64;
    for (len, fits) in [(exact, true), (exact - 64, false)] {
        let space = Space::new(&[LEN / 2..LEN / 2 + len]);
        let journal = open(Mapping::anonymous(LEN).unwrap(), &space);
        let result = journal.write(|tx| tx.fill(AT, LARGE.next_multiple_of(64), 1));
        assert_eq!(result.is_ok(), fits, "{len} bytes: {result:?}");
    }
}

/// Lends the same bytes whenever it is asked.
struct Careless;

impl LogSpace for Careless {
    fn lend(&self, _: u64) -> Option<Range<u64>> {
        Some(LEN / 2..LEN)
    }

    fn take_back(&self, _: Range<u64>) {}
}

#[test]
fn space_that_a_record_still_needs_cannot_be_lent_again() {
    let options = JournalOptions::new().log_space(Arc::new(Careless));
    let journal = options.create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    journal.write(|tx| tx.fill(AT, LARGE, 1)).unwrap();
    let again = journal.write(|tx| tx.fill(AT, LARGE, 2));
    assert!(matches!(again, Err(Error::Invalid { expected: "space for the log", .. })), "{again:?}");
    let journal = options.open(killed(journal), LOG).unwrap();
    assert!(journal.begin().unwrap().bytes(AT, LARGE).unwrap().iter().all(|byte| *byte == 1));
    journal.write(|tx| tx.fill(AT, LARGE, 2)).unwrap();
    journal.checkpoint().unwrap();
    journal.write(|tx| tx.fill(AT, LARGE, 3)).unwrap();
}

#[test]
fn a_loan_that_cannot_be_one_is_an_error_and_nothing_changes() {
    let bad: [&[Range<u64>]; 6] = [
        &[LEN / 2..LEN / 2],
        &[LEN / 2 + 8..LEN],
        &[LEN / 2..LEN + 4096],
        &[0..LEN / 2],
        &[LEN / 2..LEN / 2 + 1024, LEN / 2..LEN / 2 + 2048],
        &[Range { start: LEN, end: LEN / 2 }],
    ];
    for pieces in bad {
        let space = Space::new(pieces);
        let journal = open(Mapping::anonymous(LEN).unwrap(), &space);
        let result = journal.write(|tx| tx.fill(AT, LARGE, 1));
        assert!(matches!(result, Err(Error::Invalid { expected: "space for the log", .. })), "{result:?}");
        assert_eq!(word(&journal, AT), 0);
    }
    // What is lent while the transaction changes it.
    let (journal, space) = lent();
    let result = journal.write(|tx| tx.fill(LEN / 2 - 100, LARGE, 1));
    assert!(matches!(result, Err(Error::Invalid { .. })), "{result:?}");
    assert_eq!((word(&journal, LEN / 2), space.free()), (0, LEN / 2));
    let result = journal.write_undo(|tx| tx.fill(LEN / 2 - 100, LARGE, 1));
    assert!(matches!(result, Err(Error::Invalid { .. })), "{result:?}");
    assert_eq!((word(&journal, LEN / 2), space.free()), (0, LEN / 2));
}

#[test]
fn bytes_that_a_record_needs_cannot_be_changed() {
    let (journal, _space) = lent();
    journal.write(|tx| tx.fill(AT, LARGE, 1)).unwrap();
    for undo in [false, true] {
        let result = match undo {
            false => journal.write(|tx| tx.write(LEN / 2, &1u64)),
            true => journal.write_undo(|tx| tx.write(LEN / 2, &1u64)),
        };
        assert!(matches!(result, Err(Error::Invalid { .. })), "{result:?}");
    }
    let journal = Journal::open(killed(journal), LOG).unwrap();
    assert!(journal.begin().unwrap().bytes(AT, LARGE).unwrap().iter().all(|byte| *byte == 1));
}

/// pmem/pmdk#5461: a crash past the commit of a transaction whose log was chained left the chain behind, and the next
/// recovery applied it again.
#[test]
fn a_chained_log_left_by_a_crash_past_its_commit_is_not_applied_again_pmdk_5461() {
    for undo in [false, true] {
        let (journal, _space) = lent();
        match undo {
            false => journal.write(|tx| tx.fill(AT, LARGE, 1)).unwrap(),
            true => journal.write_undo(|tx| tx.fill(AT, LARGE, 1)).unwrap(),
        }
        let space = Space::half();
        let journal = open(killed(journal), &space);
        // The next life: the same bytes change, and the lent ones get another use.
        journal.write(|tx| tx.fill(AT, 500, 2)).unwrap();
        let journal = open(killed(journal), &space);
        assert_eq!(word(&journal, AT), 0x0202_0202_0202_0202);
        assert_eq!(word(&journal, AT + 504), 0x0101_0101_0101_0101);
        let journal = open(killed(journal), &space);
        assert_eq!(journal.recovery().rolled_back, 0);
        assert_eq!(word(&journal, AT), 0x0202_0202_0202_0202);
    }
}

#[test]
fn a_damaged_extension_is_noticed_and_a_wild_one_refused() {
    let (journal, _space) = lent();
    journal.write(|tx| tx.fill(AT, LARGE, 1)).unwrap();
    journal.write(|tx| tx.write(AT, &5u64)).unwrap(); // its window reaches back to the large one
    let bytes = killed(journal).as_slice().to_vec();
    let open = |bytes: &[u8]| {
        let mut mapping = Mapping::anonymous(LEN).unwrap();
        mapping.as_mut_slice().copy_from_slice(bytes);
        Journal::open(mapping, LOG)
    };
    assert!(open(&bytes).is_ok());
    for byte in [0, 1000, 9000] {
        let mut damaged = bytes.clone();
        damaged[(LEN / 2) as usize + byte] ^= 1;
        let result = open(&damaged);
        assert!(matches!(result, Err(Error::Damaged { .. })), "byte {byte}: {result:?}");
    }
    // The record's own words, with its checksum made right: length, entries, checksum, then offset and length.
    let identity = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let word = |n: usize| 256 + 40 + n * 8;
    let huge = u64::MAX - 63;
    for (n, value) in
        [(0, huge), (0, 4), (1, 1 << 40), (3, 0), (3, 8), (3, LEN), (3, huge), (4, huge), (4, 0), (4, LEN)]
    {
        let mut wild = bytes.clone();
        wild[word(n)..][..8].copy_from_slice(&value.to_le_bytes());
        let length = u32::from_le_bytes(wild[256 + 32..][..4].try_into().unwrap()) as usize;
        let seed = identity ^ 0x9E37_79B9_7F4A_7C15;
        wild[256..264].copy_from_slice(&seed.to_le_bytes());
        let sum = xxhash_rust::xxh3::xxh3_64(&wild[256..][..length]);
        wild[256..264].copy_from_slice(&sum.to_le_bytes());
        let result = open(&wild);
        assert!(matches!(result, Err(Error::Damaged { .. })), "word {n} is {value}: {result:?}");
    }
}
