//! Threads that commit together, subscribers that see what they did, and what a failing disk does to all of them.

use pmem_map::{Backing, Durability, Error as MapError, Extent, Granularity, MapOptions, Mapping, PAGE};
use pmem_tx::{Committed, Error, Journal, JournalOptions, Subscriber};
use std::{
    fs::File,
    ops::Range,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

const LEN: u64 = 64 << 10;
const LOG: Range<u64> = 0..16 << 10;
const DATA: u64 = LOG.end;

fn mapping(disk: bool) -> Mapping {
    MapOptions::new()
        .len(LEN)
        .granularity(if disk { pmem_map::Granularity::Page } else { pmem_map::Granularity::CacheLine })
        .anonymous()
        .unwrap()
}

/// Accounts of which the sum is always the same, in lines that they share and in others.
const ACCOUNTS: u64 = 40;

fn account(i: u64) -> u64 {
    DATA + i * 24
}

fn transfer(journal: &Journal, random: &mut fastrand::Rng, eventual: bool) -> Result<(), Error> {
    let mut tx = journal.begin()?;
    let sum: u64 = (0..ACCOUNTS).map(|i| *tx.read::<u64>(account(i)).unwrap()).fold(0, u64::wrapping_add);
    assert_eq!(sum, 0, "a transaction sees all of a commit, or nothing");
    for _ in 0..random.u32(1..4) {
        let (from, to, amount) = (random.u64(0..ACCOUNTS), random.u64(0..ACCOUNTS), random.u64(..));
        tx.update(account(from), |n: &mut u64| *n = n.wrapping_sub(amount))?;
        tx.update(account(to), |n: &mut u64| *n = n.wrapping_add(amount))?;
    }
    match random.u32(0..10) {
        0 => Ok(()),
        _ if eventual => tx.commit_eventual().map(drop),
        _ => tx.commit(),
    }
}

#[test]
fn threads_that_commit_together_keep_the_sum_and_so_does_what_a_crash_leaves() {
    for disk in [false, true] {
        for seed in 0..4 {
            let options = JournalOptions::new().group_commit(true).flush_interval(1 + seed % 2 * 4);
            let journal = options.create(mapping(disk), LOG).unwrap();
            thread::scope(|scope| {
                for n in 0..4 {
                    let journal = &journal;
                    scope.spawn(move || {
                        let mut random = fastrand::Rng::with_seed(u64::from(seed) * 10 + n);
                        for i in 0..300 {
                            transfer(journal, &mut random, n == 0).unwrap();
                            if n == 0 && i % 20 == 19 {
                                journal.sync().unwrap();
                            }
                        }
                    });
                }
            });
            // What is in the mapping now is what a process leaves that is killed.
            let mut left = Mapping::anonymous(LEN).unwrap();
            let mapping = journal.close().unwrap();
            left.as_mut_slice().copy_from_slice(mapping.as_slice());
            let again = Journal::open(left, LOG).unwrap();
            transfer(&again, &mut fastrand::Rng::with_seed(0), false).unwrap();
        }
    }
}

#[test]
fn a_commit_is_seen_when_it_returns_by_the_thread_that_made_it_and_by_others() {
    let journal = JournalOptions::new().group_commit(true).create(mapping(false), LOG).unwrap();
    let newest: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for n in 0..4u64 {
            let (journal, newest) = (&journal, &newest);
            scope.spawn(move || {
                for i in 1..=300 {
                    journal.write(|tx| tx.write(account(n), &i)).unwrap();
                    newest[n as usize].store(i, Relaxed);
                    let other = (n + 1) % 4;
                    let at_least = newest[other as usize].load(Relaxed);
                    let tx = journal.begin().unwrap();
                    assert_eq!(*tx.read::<u64>(account(n)).unwrap(), i);
                    assert!(*tx.read::<u64>(account(other)).unwrap() >= at_least);
                }
            });
        }
    });
}

/// Three lines, that begin at one.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Lines([u64; 24]);

#[test]
fn a_value_of_several_lines_is_read_while_some_of_them_are_on_their_way() {
    let journal = Journal::create(mapping(false), LOG).unwrap();
    let mut tx = journal.begin().unwrap();
    tx.write(DATA + 64 + 8, &7u64).unwrap();
    tx.commit_eventual().unwrap();
    let mut tx = journal.begin().unwrap();
    let mut expected = Lines([0; 24]);
    expected.0[9] = 7;
    assert_eq!(tx.read::<Lines>(DATA).unwrap(), &expected);
    tx.write(DATA + 128, &8u64).unwrap();
    expected.0[16] = 8;
    assert_eq!(tx.read::<Lines>(DATA).unwrap(), &expected);
    assert!(tx.read::<Lines>(DATA + 8).is_err(), "misaligned, in a copy as in the mapping");
}

/// Notes the sequence numbers it is told, and the words at an account.
#[derive(Default)]
struct Notes(Mutex<Vec<(u64, Vec<u64>)>>);

impl Subscriber for Notes {
    fn committed(&self, record: &Committed<'_>) {
        let mut words = Vec::new();
        record.for_each(|_, bytes| words.extend(bytes.as_chunks().0.iter().map(|w| u64::from_le_bytes(*w))));
        self.0.lock().unwrap().push((record.seq(), words));
    }
}

#[test]
fn a_subscriber_is_told_each_record_once_and_in_order_whoever_applies_it() {
    let journal = JournalOptions::new().group_commit(true).create(mapping(false), LOG).unwrap();
    let notes = Arc::new(Notes::default());
    journal.subscribe(notes.clone()).unwrap();
    thread::scope(|scope| {
        for n in 0..4u64 {
            let journal = &journal;
            scope.spawn(move || {
                for i in 1..=100u64 {
                    journal.write(|tx| tx.write(account(0), &(n << 32 | i))).unwrap();
                }
            });
        }
    });
    let told = notes.0.lock().unwrap();
    assert!(told.iter().map(|(seq, _)| *seq).eq(1..=400));
    for n in 0..4 {
        let of_one = told.iter().map(|(_, words)| words[0]).filter(|word| word >> 32 == n);
        assert!(of_one.map(|word| word & 0xffff_ffff).eq(1..=100));
    }
}

/// Calls the journal when it is told something.
struct Calls(Mutex<Option<Arc<Journal>>>, Mutex<Vec<bool>>);

impl Subscriber for Calls {
    fn committed(&self, _: &Committed<'_>) {
        if let Some(journal) = &*self.0.lock().unwrap() {
            let refused = matches!(journal.begin().map(drop), Err(Error::WouldDeadlock))
                && matches!(journal.sync(), Err(Error::WouldDeadlock));
            self.1.lock().unwrap().push(refused);
        }
    }
}

#[test]
fn a_subscriber_that_would_wait_for_itself_gets_an_error() {
    let options = JournalOptions::new().group_commit(true);
    let journal = Arc::new(options.create(mapping(false), LOG).unwrap());
    let calls = Arc::new(Calls(Mutex::new(Some(journal.clone())), Mutex::default()));
    journal.subscribe(calls.clone()).unwrap();
    journal.write(|tx| tx.write(DATA, &1u64)).unwrap();
    assert_eq!(*calls.1.lock().unwrap(), [true]);
    *calls.0.lock().unwrap() = None;
}

struct Panics;

impl Subscriber for Panics {
    fn committed(&self, record: &Committed<'_>) {
        assert!(record.seq() != 2, "no");
    }
}

#[test]
fn a_panic_of_a_subscriber_reaches_one_thread_and_the_record_is_committed() {
    let journal = JournalOptions::new().group_commit(true).create(mapping(false), LOG).unwrap();
    journal.subscribe(Arc::new(Panics)).unwrap();
    for i in 1..=3u64 {
        let mut tx = journal.begin().unwrap();
        tx.write(DATA + i * 8, &i).unwrap();
        tx.commit_eventual().unwrap();
    }
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| journal.sync()));
    assert!(caught.is_err());
    journal.sync().unwrap();
    let mapping = journal.close().unwrap();
    let words: Vec<u64> =
        mapping.as_slice()[DATA as usize..].as_chunks().0.iter().map(|w| u64::from_le_bytes(*w)).collect();
    assert_eq!(words[..4], [0, 1, 2, 3]);
}

/// A disk, as far as anybody can see, that fails at a certain write-back.
struct Disk {
    file: Arc<File>,
    left: Arc<AtomicU64>,
}

// SAFETY: a nameless file, known to this value in one test, and never shortened.
unsafe impl Backing for Disk {
    fn extents(&self) -> Vec<Extent> {
        vec![Extent { file: self.file.clone(), offset: 0, len: LEN }]
    }
    fn granularity(&self) -> Granularity {
        Granularity::Page
    }
    fn durability(&self) -> Durability {
        Durability::Power
    }
    fn sync(&self, range: Range<u64>) -> pmem_map::Result<()> {
        assert!(range.start % PAGE == 0 && range.end <= LEN);
        if self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
            let source = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(MapError::Io { action: "write back", path: "disk".into(), source });
        }
        Ok(())
    }
}

#[test]
fn a_write_back_that_fails_is_an_error_for_all_who_wait_and_for_everybody_after() {
    let left = Arc::new(AtomicU64::new(1000));
    let file = tempfile::tempfile().unwrap();
    file.set_len(LEN).unwrap();
    let disk = Disk { file: Arc::new(file), left: left.clone() };
    let options = JournalOptions::new().group_commit(true);
    let journal = options.create(Mapping::from_backing(disk).unwrap(), LOG).unwrap();
    journal.write(|tx| tx.write(DATA, &1u64)).unwrap();
    let all = Barrier::new(4);
    thread::scope(|scope| {
        for n in 0..4u64 {
            let (journal, all, left) = (&journal, &all, &left);
            scope.spawn(move || {
                let mut tx = journal.begin().unwrap();
                tx.write(DATA + 64 + n * 8, &1u64).unwrap();
                let ticket = tx.commit_eventual().unwrap();
                if all.wait().is_leader() {
                    left.store(0, Relaxed);
                }
                all.wait();
                assert!(journal.wait(ticket).is_err());
            });
        }
    });
    left.store(1000, Relaxed);
    assert!(matches!(journal.sync(), Err(Error::Poisoned)));
    assert!(matches!(journal.write(|tx| tx.write(DATA, &2u64)), Err(Error::Poisoned)));
    assert!(matches!(journal.checkpoint(), Err(Error::Poisoned)));
}

#[test]
fn a_commit_whose_write_fails_on_a_disk_poisons_the_journal() {
    let left = Arc::new(AtomicU64::new(1000));
    let file = tempfile::tempfile().unwrap();
    file.set_len(LEN).unwrap();
    let disk = Disk { file: Arc::new(file), left: left.clone() };
    let journal = Journal::create(Mapping::from_backing(disk).unwrap(), LOG).unwrap();
    journal.write(|tx| tx.write(DATA, &1u64)).unwrap();
    left.store(0, Relaxed);
    assert!(matches!(journal.write(|tx| tx.write(DATA, &2u64)), Err(Error::Map(MapError::Io { .. }))));
    left.store(1000, Relaxed);
    assert!(matches!(journal.write(|tx| tx.write(DATA, &3u64)), Err(Error::Poisoned)));
    assert_eq!(*journal.begin().unwrap().read::<u64>(DATA).unwrap(), 1, "it was not put in place");
}
