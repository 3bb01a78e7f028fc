//! What opening may believe: bytes that are visible need not be durable, records may be damaged or crafted, a creation may
//! have been cut short, and the process may be a forked child.

use pmem_map::{Event, LINE, MapOptions, Mapping, Observer, Region};
use pmem_tx::{
    Error, Journal, JournalOptions, Transaction,
    engine::{Shortcut, Shortcuts},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use xxhash_rust::xxh3::xxh3_64;

const LOG: std::ops::Range<u64> = 4096..12288;
const LEN: u64 = 1 << 15;
const A: u64 = 16384;
const B: u64 = A + 4096;
const C: u64 = B + 4096;

fn mapping(bytes: &[u8]) -> Mapping {
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.as_mut_slice().copy_from_slice(bytes);
    mapping
}

fn bytes(region: &Region) -> Vec<u8> {
    // SAFETY: no transaction is open.
    unsafe { std::slice::from_raw_parts(region.base().as_ptr(), region.len() as usize).to_vec() }
}

fn words(journal: &Journal) -> [i64; 3] {
    let tx = journal.begin().unwrap();
    [*tx.read(A).unwrap(), *tx.read(B).unwrap(), *tx.read(C).unwrap()]
}

/// What is durable for certain: flushed or past the caches, and drained. Starts as `durable`.
#[derive(Default)]
struct Medium {
    durable: Vec<u8>,
    pending: BTreeMap<u64, Vec<u8>>,
    /// What was durable when the first byte of data was stored.
    at_first_data: Option<Vec<u8>>,
    stored: Vec<(u64, Vec<u8>)>,
}
struct Watch(Mutex<Medium>);
impl Observer for Watch {
    fn event(&self, region: &Region, event: Event<'_>) {
        let mut m = self.0.lock().unwrap();
        match event {
            Event::Store { offset, bytes, .. } => {
                if offset >= A && m.at_first_data.is_none() {
                    m.at_first_data = Some(m.durable.clone());
                }
                m.stored.push((offset, bytes.to_vec()));
            }
            Event::StoreNontemporal { offset, bytes, .. } => {
                m.pending.insert(offset, bytes.to_vec());
            }
            Event::Flush { offset, len, .. } => {
                let (mut line, end) = (offset / LINE * LINE, offset + len);
                while line < end {
                    let mut content = vec![0; 64];
                    // SAFETY: one thread.
                    unsafe { region.load(line, &mut content) };
                    m.pending.insert(line, content);
                    line += LINE;
                }
            }
            Event::Drain { .. } => {
                for (at, content) in std::mem::take(&mut m.pending) {
                    m.durable[at as usize..at as usize + content.len()].copy_from_slice(&content);
                }
            }
            _ => {}
        }
    }
}

/// A process dies after the stores of a record and before its drain (kill -9 in msync); the next one sees the record
/// in the page cache, and replays it in place; the power fails during that.
fn after_a_kill_and_a_power_failure(options: &JournalOptions) -> [i64; 3] {
    let journal = Journal::create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    for i in 1..=3i64 {
        journal
            .write(|tx| {
                tx.write(A, &i)?;
                tx.write(B, &-i)
            })
            .unwrap();
    }
    journal.checkpoint().unwrap();
    let durable = bytes(journal.region());
    journal
        .write(|tx| {
            tx.write(A, &4i64)?;
            tx.write(B, &-4i64)
        })
        .unwrap();
    let after = bytes(journal.region());
    std::mem::forget(journal);
    // Visible to the next process: the whole record, not applied.
    let mut visible = durable.clone();
    let slot = (LOG.start + 256 + 3 * 256) as usize;
    visible[slot..slot + 256].copy_from_slice(&after[slot..slot + 256]);

    let watch = Arc::new(Watch(Mutex::new(Medium { durable: durable.clone(), ..Medium::default() })));
    let map = mapping(&visible);
    map.observe(watch.clone()).map_err(drop).unwrap();
    let journal = options.open(map, LOG).unwrap();
    assert_eq!(journal.recovery().replayed, 1);
    assert_eq!(words(&journal), [4, -4, 0]);
    std::mem::forget(journal);
    // A crash right after the first store of data: it has reached the medium (any line may at any time); nothing else that
    // was not drained by then has.
    let medium = watch.0.lock().unwrap();
    let mut crash = medium.at_first_data.clone().unwrap();
    let (at, content) = medium.stored.iter().find(|(at, _)| *at >= A).unwrap();
    crash[*at as usize..*at as usize + content.len()].copy_from_slice(content);
    let journal = Journal::open(mapping(&crash), LOG).unwrap();
    words(&journal)
}

#[test]
fn recovery_makes_a_record_durable_before_it_applies_it() {
    let found = after_a_kill_and_a_power_failure(&JournalOptions::new());
    assert!(found == [3, -3, 0] || found == [4, -4, 0], "half a transaction: {found:?}");
}

#[test]
fn a_recovery_that_applies_what_is_merely_visible_is_found_out() {
    let shortcut = Shortcuts::one(Shortcut::ReplayUndrained);
    let found = after_a_kill_and_a_power_failure(&JournalOptions::new().shortcuts(shortcut));
    assert!(found != [3, -3, 0] && found != [4, -4, 0], "{found:?}");
}

/// The same with the log's header: creation was killed before its last drain, the next process opens and commits.
#[test]
fn opening_makes_the_header_durable_that_it_found() {
    let journal = Journal::create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    let visible = bytes(journal.region());
    std::mem::forget(journal);
    let mut durable = visible.clone();
    durable[LOG.start as usize..LOG.start as usize + 128].fill(0);
    let watch = Arc::new(Watch(Mutex::new(Medium { durable, ..Medium::default() })));
    let map = mapping(&visible);
    map.observe(watch.clone()).map_err(drop).unwrap();
    let journal = Journal::open_or_create(map, LOG).unwrap();
    journal.write(|tx| tx.write(A, &7i64)).unwrap(); // acknowledged
    std::mem::forget(journal);
    let crash = watch.0.lock().unwrap().durable.clone();
    let journal = Journal::open(mapping(&crash), LOG).expect("an acknowledged commit is there");
    assert_eq!(words(&journal)[0], 7);
}

fn five_transfers() -> Vec<u8> {
    let journal = Journal::create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    for i in 1..=5i64 {
        // Sum is always 0.
        journal
            .write(|tx| {
                let (x, y) = if i <= 3 { (A, B) } else { (B, C) };
                tx.update(x, |v: &mut i64| *v -= i)?;
                tx.update(y, |v: &mut i64| *v += i)
            })
            .unwrap();
    }
    let image = bytes(journal.region());
    std::mem::forget(journal);
    image
}

#[test]
fn a_media_error_in_an_older_record_of_the_window_is_detected() {
    let mut image = five_transfers();
    image[(LOG.start + 256 + 3 * 256 + 48) as usize] ^= 1; // record 4 of the window 4..=5
    match Journal::open(mapping(&image), LOG) {
        Err(Error::Damaged { .. }) => {}
        Err(e) => panic!("{e}"),
        Ok(journal) => {
            let found = words(&journal);
            assert_eq!(
                found.iter().sum::<i64>(),
                0,
                "opened without a word, and torn: {found:?}, {:?}",
                journal.recovery()
            );
        }
    }
}

/// A crash between the two drains of `create`.
#[test]
fn open_or_create_goes_on_with_a_creation_that_a_crash_cut_short() {
    let journal = Journal::create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    let mut image = bytes(journal.region());
    std::mem::forget(journal);
    image[LOG.start as usize..LOG.start as usize + 128].fill(0);
    Journal::open_or_create(mapping(&image), LOG).unwrap();
}

#[test]
fn a_forked_child_may_drop_its_copy_of_a_journal() {
    let journal = Journal::create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    journal.write(|tx| tx.write(A, &1i64)).unwrap();
    // SAFETY: the child only drops and exits.
    let status = unsafe {
        match libc::fork() {
            0 => {
                drop(journal);
                libc::_exit(0)
            }
            child => {
                let mut status = 0;
                libc::waitpid(child, &mut status, 0);
                status
            }
        }
    };
    assert!(libc::WIFEXITED(status), "killed by signal {}", libc::WTERMSIG(status));
}

/// Every slot holds a right record; seq 1 is missing, and all others want it.
fn crafted(log_len: u64) -> (Vec<u8>, std::ops::Range<u64>) {
    let log = 0..log_len;
    let journal = Journal::create(Mapping::anonymous(log_len + 4096).unwrap(), log.clone()).unwrap();
    let mut image = bytes(journal.region());
    std::mem::forget(journal);
    let identity = u64::from_le_bytes(image[16..24].try_into().unwrap());
    for slot in 0..(log_len - 256) / 256 {
        let at = (256 + slot * 256) as usize;
        let seq = slot + 2;
        let mut record = [0u8; 48];
        let seed = identity ^ (slot + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        record[..8].copy_from_slice(&seed.to_le_bytes());
        record[8..16].copy_from_slice(&seq.to_le_bytes());
        record[16..20].copy_from_slice(&((seq - 1) as u32).to_le_bytes());
        record[24..28].copy_from_slice(&1u32.to_le_bytes());
        record[30] = 1;
        record[32..36].copy_from_slice(&48u32.to_le_bytes());
        record[36..40].copy_from_slice(&1u32.to_le_bytes());
        record[40..48].copy_from_slice(&((log_len / 64) << 8 | 1 | 2 << 56).to_le_bytes());
        let sum = xxh3_64(&record);
        record[..8].copy_from_slice(&sum.to_le_bytes());
        image[at..at + 48].copy_from_slice(&record);
    }
    (image, log)
}

#[test]
fn a_crafted_ring_is_refused_by_its_newest_record() {
    let (image, log) = crafted(4 << 20);
    match Journal::open(mapping(&image), log) {
        Err(Error::Damaged { what, .. }) => assert!(what.contains("that the newest commit needs"), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// Data that looks like a record, at a slot's start inside a record.
#[test]
fn what_a_record_contains_is_never_taken_for_a_record() {
    let mut before = vec![0u8; LEN as usize];
    before[A as usize..A as usize + 512].fill(0x5a); // so that every word differs, and whole lines are logged
    let journal = Journal::create(mapping(&before), LOG).unwrap();
    let identity =
        u64::from_le_bytes(bytes(journal.region())[LOG.start as usize + 16..][..8].try_into().unwrap());
    let mut fake = [0u8; 56];
    let slot = 1u64;
    let seed = identity ^ (slot + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    fake[..8].copy_from_slice(&seed.to_le_bytes());
    fake[8..16].copy_from_slice(&2u64.to_le_bytes());
    fake[24..28].copy_from_slice(&1u32.to_le_bytes());
    fake[30] = 1;
    fake[32..36].copy_from_slice(&56u32.to_le_bytes());
    fake[36..40].copy_from_slice(&1u32.to_le_bytes());
    fake[40..48].copy_from_slice(&((C / 64) << 8 | 1).to_le_bytes());
    fake[48..56].copy_from_slice(&666u64.to_le_bytes());
    let sum = xxh3_64(&fake);
    fake[..8].copy_from_slice(&sum.to_le_bytes());
    // Record: 40 bytes of header, 8 of entry head, then the data: slot 1 begins 208 bytes into the data.
    let mut data = vec![0xabu8; 512];
    data[208..208 + 56].copy_from_slice(&fake);
    journal.write(|tx| tx.write_bytes(A, &data)).unwrap();
    let mut image = bytes(journal.region());
    std::mem::forget(journal);
    image[A as usize..A as usize + 512].fill(0x5a); // applied lines were not flushed, and are lost in the crash
    let journal = Journal::open(mapping(&image), LOG).unwrap();
    let tx = journal.begin().unwrap();
    assert_eq!(tx.bytes(A, 512).unwrap(), &data[..], "the acknowledged commit is gone");
    assert_eq!(*tx.read::<u64>(C).unwrap(), 0, "nobody ever wrote this");
}

#[test]
fn the_mapping_may_be_of_any_length_that_holds_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    // SAFETY: nobody else has the file.
    let map = unsafe { MapOptions::new().len(LEN).create(true).emulate_pmem(true).open(&path) }.unwrap();
    Journal::create(map, LOG).unwrap().close().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(LEN + 1).unwrap();
    // SAFETY: as above.
    let map = unsafe { MapOptions::new().emulate_pmem(true).open(&path) }.unwrap();
    Journal::open(map, LOG).unwrap();
}

/// What a store to one line, or an undo transaction, left visible when its process died may not be durable. The next process
/// opens the journal, writes the value that it sees once more (which needs no logging, because it is there), and
/// is told that it is durable.
fn visible_and_written_again(leave: impl Fn(&Journal)) -> i64 {
    // A store to one line dies between the store and the drain.
    let options = JournalOptions::new().shortcuts(Shortcuts::one(Shortcut::LineNotDrained));
    let journal = options.create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    let durable = bytes(journal.region());
    leave(&journal);
    let visible = bytes(journal.region());
    std::mem::forget(journal);
    let watch = Arc::new(Watch(Mutex::new(Medium { durable, ..Medium::default() })));
    let map = mapping(&visible);
    map.observe(watch.clone()).map_err(drop).unwrap();
    let journal = Journal::open(map, LOG).unwrap();
    assert_eq!(words(&journal)[0], 7);
    journal
        .write(|tx| {
            tx.write(A, &7i64)?;
            tx.write(C, &1i64)
        })
        .unwrap(); // acknowledged
    std::mem::forget(journal);
    let crash = watch.0.lock().unwrap().durable.clone();
    words(&Journal::open(mapping(&crash), LOG).unwrap())[0]
}

#[test]
fn opening_makes_a_line_durable_that_was_stored_without_a_record() {
    assert_eq!(visible_and_written_again(|journal| journal.atomic_line(A, &7i64.to_le_bytes()).unwrap()), 7);
}

#[test]
fn opening_makes_fresh_memory_durable_that_an_undo_transaction_left() {
    let left = visible_and_written_again(|journal| {
        let mut tx = journal.begin_undo().unwrap();
        tx.declare_fresh(A - 64..A + 64).unwrap();
        tx.write(A, &7i64).unwrap();
        std::mem::forget(tx);
    });
    assert_eq!(left, 7);
}

#[test]
fn opening_makes_durable_what_it_rolls_back() {
    let left = visible_and_written_again(|journal| {
        journal.write(|tx| tx.write(A, &7i64)).unwrap();
        let mut tx = journal.begin_undo().unwrap();
        tx.write(A, &8i64).unwrap();
        std::mem::forget(tx);
    });
    assert_eq!(left, 7);
}
