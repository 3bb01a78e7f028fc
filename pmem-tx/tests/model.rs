//! A transaction is a byte array: overlapping reads and writes, savepoints and rollbacks, commits, eventual ones, syncs, aborts and
//! reopenings against one.

use pmem_map::MapOptions;
use pmem_tx::{Error, JournalOptions, Savepoint};
use proptest::prelude::*;

const LEN: u64 = 6 * 4096;
const LOG: std::ops::Range<u64> = 4096..3 * 4096;

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
    Savepoint,
    /// To one of all the savepoints there ever were.
    Rollback(prop::sample::Index),
    Commit,
    CommitEventual,
    /// In the middle of a transaction, on this thread or another.
    Sync {
        here: bool,
    },
    Abort,
    Checkpoint,
    Reopen,
}

/// Offsets around page and line borders more often than elsewhere.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![0..LEN, (3u64..6, 0u64..160).prop_map(|(page, n)| page * 4096 - 80 + n), 0u64..300]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (offset(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(at, bytes)| Step::Write { at, bytes }),
        1 => (offset(), any::<u64>(), any::<u64>()).prop_map(|(at, clear, set)| Step::Bits { at: at & !7, clear, set }),
        4 => (offset(), 0u64..300).prop_map(|(at, len)| Step::Read { at, len }),
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

fn run(steps: Vec<Step>, interval: u32, group: bool, disk: bool) -> Result<(), TestCaseError> {
    let options = JournalOptions::new().flush_interval(interval).group_commit(group);
    let mapping = MapOptions::new().len(LEN).emulate_pages(disk).anonymous().unwrap();
    let mut journal = options.create(mapping, LOG).unwrap();
    let mut committed = vec![0u8; LEN as usize];
    // Each with the bytes it stands for, while it can be gone back to.
    let mut savepoints: Vec<(Savepoint, Option<Vec<u8>>)> = Vec::new();
    let mut left = steps.into_iter().peekable();
    while left.peek().is_some() {
        let mut model = committed.clone();
        let mut tx = journal.begin().unwrap();
        let mut end = None;
        for step in left.by_ref() {
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
                Step::Read { at, len } => match tx.bytes(at, len) {
                    Ok(bytes) => prop_assert_eq!(bytes, &model[at as usize..][..len as usize]),
                    Err(_) => prop_assert!(!allowed(at, len)),
                },
                Step::Sync { here: true } => journal.sync().unwrap(),
                Step::Sync { here: false } => std::thread::scope(|scope| {
                    scope.spawn(|| journal.sync().unwrap());
                }),
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
                step => {
                    end = Some(step);
                    break;
                }
            }
        }
        savepoints.iter_mut().for_each(|(_, bytes)| *bytes = None);
        match end {
            Some(Step::Commit) => {
                tx.commit().unwrap();
                committed = model;
            }
            Some(Step::CommitEventual) => {
                tx.commit_eventual().unwrap();
                committed = model;
            }
            other => {
                drop(tx);
                match other {
                    Some(Step::Checkpoint) => journal.checkpoint().unwrap(),
                    Some(Step::Reopen) => journal = options.open(journal.close().unwrap(), LOG).unwrap(),
                    _ => {}
                }
            }
        }
    }
    let mapping = journal.close().unwrap();
    let bytes = mapping.as_slice();
    prop_assert!(bytes[..LOG.start as usize] == committed[..LOG.start as usize], "before the log");
    prop_assert!(bytes[LOG.end as usize..] == committed[LOG.end as usize..], "behind the log");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_transaction_is_a_byte_array(
        steps in prop::collection::vec(step(), 1..60),
        interval in 1u32..5,
        group: bool,
        disk: bool,
    ) {
        run(steps, interval, group, disk)?;
    }
}
