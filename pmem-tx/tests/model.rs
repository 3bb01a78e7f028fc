//! A transaction is a byte array, whether redo or undo: overlapping reads and writes, savepoints and rollbacks, commits,
//! eventual ones, syncs, aborts, stores of one line and reopenings against one.

use pmem_map::MapOptions;
use pmem_tx::{Error, Journal, JournalOptions, Savepoint, Transaction, Tx, UndoTx};
use proptest::prelude::*;
use std::iter::Peekable;

const LEN: u64 = (1 << 18) + 3 * 4096;
/// Large enough that no transaction of the model fills it.
const LOG: std::ops::Range<u64> = 4096..1 << 18;

#[derive(Clone, Debug)]
enum Step {
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    Bits {
        at: u64,
        clear: u64,
        set: u64,
    },
    Read {
        at: u64,
        len: u64,
    },
    Fill {
        at: u64,
        len: u64,
        byte: u8,
    },
    Snapshot(Vec<(u64, u64)>),
    Savepoint,
    /// To one of all the savepoints there ever were.
    Rollback(prop::sample::Index),
    Commit,
    /// Of an undo transaction a plain commit.
    CommitEventual,
    /// In the middle of a transaction, on this thread or another.
    Sync {
        here: bool,
    },
    Abort,
    Checkpoint,
    /// Ends the transaction, as the following do.
    Reopen,
    /// `Journal::atomic_line`.
    Line {
        at: u64,
        bytes: Vec<u8>,
    },
}

/// Offsets around page and line borders more often than elsewhere.
fn offset() -> impl Strategy<Value = u64> {
    let home = (LOG.end / 4096 - 1)..LEN / 4096;
    prop_oneof![
        LOG.end - 300..LEN,
        (home, 0u64..160).prop_map(|(page, n)| (page + 1) * 4096 - 80 + n),
        0u64..300,
        LOG.start - 300..LOG.start + 20
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (offset(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(at, bytes)| Step::Write { at, bytes }),
        1 => (offset(), any::<u64>(), any::<u64>()).prop_map(|(at, clear, set)| Step::Bits { at: at & !7, clear, set }),
        4 => (offset(), 0u64..300).prop_map(|(at, len)| Step::Read { at, len }),
        1 => (offset(), 0u64..5000, any::<u8>()).prop_map(|(at, len, byte)| Step::Fill { at, len, byte }),
        1 => prop::collection::vec((offset(), 0u64..200), 0..5).prop_map(Step::Snapshot),
        1 => (offset(), prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(at, bytes)| Step::Line { at, bytes }),
        2 => Just(Step::Savepoint),
        2 => any::<prop::sample::Index>().prop_map(Step::Rollback),
        2 => Just(Step::Commit),
        3 => Just(Step::CommitEventual),
        2 => any::<bool>().prop_map(|here| Step::Sync { here }),
        1 => Just(Step::Abort),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

fn allowed(at: u64, len: u64) -> bool {
    at + len <= LEN && !(at < LOG.end && at + len > LOG.start)
}

/// Each with the bytes it stands for, while it can be gone back to.
type Savepoints = Vec<(Savepoint, Option<Vec<u8>>)>;

trait Kind: Transaction {
    fn commit_eventual(self);
}

impl Kind for Tx<'_> {
    fn commit_eventual(self) {
        Tx::commit_eventual(self).unwrap();
    }
}

impl Kind for UndoTx<'_> {
    fn commit_eventual(self) {
        self.commit().unwrap();
    }
}

/// One transaction, and the model with it; the step that ended it.
fn transaction<T: Kind>(
    journal: &Journal,
    mut tx: T,
    left: &mut Peekable<impl Iterator<Item = Step>>,
    committed: &mut Vec<u8>,
    savepoints: &mut Savepoints,
) -> Result<Option<Step>, TestCaseError> {
    let mut model = committed.clone();
    for step in left {
        match step {
            Step::Write { at, bytes } => {
                let result = tx.write_bytes(at, &bytes);
                prop_assert_eq!(result.is_ok(), allowed(at, bytes.len() as u64));
                if result.is_ok() {
                    model[at as usize..][..bytes.len()].copy_from_slice(&bytes);
                }
            }
            Step::Bits { at, clear, set } => {
                let result = tx.update_bits(at, clear, set);
                prop_assert_eq!(result.is_ok(), allowed(at, 8));
                if result.is_ok() {
                    let word: &mut [u8; 8] = (&mut model[at as usize..][..8]).try_into().unwrap();
                    *word = (u64::from_le_bytes(*word) & !clear | set).to_le_bytes();
                }
            }
            Step::Read { at, len } => {
                let mut bytes = vec![0; len as usize];
                match tx.get_bytes(at, &mut bytes) {
                    Ok(()) => prop_assert_eq!(&bytes, &model[at as usize..][..len as usize]),
                    Err(_) => prop_assert!(!allowed(at, len)),
                }
            }
            Step::Fill { at, len, byte } => {
                let result = tx.fill(at, len, byte);
                prop_assert_eq!(result.is_ok(), allowed(at, len));
                if result.is_ok() {
                    model[at as usize..][..len as usize].fill(byte);
                }
            }
            Step::Snapshot(ranges) => {
                let ranges: Vec<_> = ranges.into_iter().map(|(at, len)| at..at + len).collect();
                let all = ranges.iter().all(|range| allowed(range.start, range.end - range.start));
                prop_assert_eq!(tx.snapshot(&ranges).is_ok(), all);
            }
            Step::Savepoint => savepoints.push((tx.savepoint(), Some(model.clone()))),
            Step::Rollback(_) if savepoints.is_empty() => {}
            Step::Rollback(index) => {
                let index = index.index(savepoints.len());
                let result = tx.rollback_to(&savepoints[index].0);
                match &savepoints[index].1 {
                    Some(bytes) => {
                        prop_assert!(result.is_ok());
                        model.clone_from(bytes);
                        savepoints[index + 1..].iter_mut().for_each(|(_, bytes)| *bytes = None);
                    }
                    None => prop_assert!(matches!(result, Err(Error::ForeignSavepoint))),
                }
            }
            Step::Sync { here: true } => journal.sync().unwrap(),
            Step::Sync { here: false } => std::thread::scope(|scope| {
                scope.spawn(|| journal.sync().unwrap());
            }),
            Step::CommitEventual => {
                tx.commit_eventual();
                *committed = model;
                return Ok(None);
            }
            Step::Commit => {
                tx.commit().unwrap();
                *committed = model;
                return Ok(None);
            }
            end => {
                drop(tx);
                return Ok(Some(end));
            }
        }
    }
    Ok(None)
}

/// How the journal behaves: lines or pages, shared drains, how often lines are flushed; and a bit for each transaction, set
/// if it is undo.
#[derive(Clone, Copy, Debug)]
struct Setting {
    interval: u32,
    group: bool,
    disk: bool,
    kinds: u64,
}

fn setting() -> impl Strategy<Value = Setting> {
    (1u32..5, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(|(interval, group, disk, kinds)| Setting {
        interval,
        group,
        disk,
        kinds,
    })
}

fn run(steps: Vec<Step>, setting: Setting) -> Result<(), TestCaseError> {
    let Setting { interval, group, disk, kinds } = setting;
    let options = JournalOptions::new().flush_interval(interval).group_commit(group);
    let mapping = MapOptions::new()
        .len(LEN)
        .granularity(if disk { pmem_map::Granularity::Page } else { pmem_map::Granularity::CacheLine })
        .anonymous()
        .unwrap();
    let mut journal = options.create(mapping, LOG).unwrap();
    let mut committed = vec![0u8; LEN as usize];
    let mut savepoints = Savepoints::new();
    let mut left = steps.into_iter().peekable();
    let mut number = 0;
    while left.peek().is_some() {
        let end = if kinds >> (number % 64) & 1 == 0 {
            transaction(&journal, journal.begin().unwrap(), &mut left, &mut committed, &mut savepoints)?
        } else {
            transaction(&journal, journal.begin_undo().unwrap(), &mut left, &mut committed, &mut savepoints)?
        };
        number += 1;
        savepoints.iter_mut().for_each(|(_, bytes)| *bytes = None);
        match end {
            Some(Step::Checkpoint) => journal.checkpoint().unwrap(),
            Some(Step::Reopen) => journal = options.open(journal.close().unwrap(), LOG).unwrap(),
            Some(Step::Line { at, bytes }) => {
                let len = bytes.len() as u64;
                let inside = len == 0 || at / 64 == (at + len - 1) / 64;
                let result = journal.atomic_line(at, &bytes);
                prop_assert_eq!(result.is_ok(), inside && allowed(at, len), "{:?}", result);
                if result.is_ok() {
                    committed[at as usize..][..bytes.len()].copy_from_slice(&bytes);
                }
            }
            _ => {}
        }
    }
    let mapping = journal.close().unwrap();
    let bytes = mapping.as_slice();
    prop_assert!(bytes[..LOG.start as usize] == committed[..LOG.start as usize], "before the log");
    prop_assert!(bytes[LOG.end as usize..] == committed[LOG.end as usize..], "behind the log");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn a_transaction_is_a_byte_array(steps in prop::collection::vec(step(), 1..60), setting in setting()) {
        run(steps, Setting { kinds: 0, ..setting })?;
    }

    #[test]
    fn an_undo_transaction_is_a_byte_array(steps in prop::collection::vec(step(), 1..60), setting in setting()) {
        run(steps, Setting { kinds: u64::MAX, ..setting })?;
    }

    #[test]
    fn redo_and_undo_transactions_in_turn_are_a_byte_array(
        steps in prop::collection::vec(step(), 1..80),
        setting in setting(),
    ) {
        run(steps, setting)?;
    }
}
