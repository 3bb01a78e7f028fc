//! Workloads on a small journal, explored: what was acknowledged is there, nothing is there in half.
#![allow(dead_code, reason = "each test binary uses a part")]

use pmem_crash::{Config, Exploration, Image, LintKind, Report};
use pmem_map::Mapping;
use pmem_tx::{Error, Journal, JournalOptions};
use std::{cell::RefCell, collections::BTreeMap, sync::Arc, thread};

pub(crate) mod shared;
pub(crate) mod space;
pub(crate) mod undo;

pub(crate) const LOG: std::ops::Range<u64> = 0..4096;
pub(crate) const DATA: u64 = LOG.end;
pub(crate) const LEN: u64 = 3 * 4096;

/// One operation of a workload.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// One transaction that sets these words of the data (number, value).
    Set(Vec<(u64, u64)>),
    /// As `Set`, on a thread of its own.
    SetOnThread(Vec<(u64, u64)>),
    /// As `Set`, durable at the next operation that is.
    Eventual(Vec<(u64, u64)>),
    EventualOnThread(Vec<(u64, u64)>),
    Sync,
    SyncOnThread,
    /// As `Set`; while the transaction is open, another thread syncs.
    SetAroundSync(Vec<(u64, u64)>),
    /// As `SetAroundSync`, and `Eventual`.
    EventualAroundSync(Vec<(u64, u64)>),
    /// A transaction that fills words with a value, and is rolled back.
    Abort(Vec<(u64, u64)>),
    Checkpoint,
    /// Closes the journal and opens it again.
    Reopen,
    /// An undo transaction that logs these words together, and sets them.
    Undo(Vec<(u64, u64)>),
    /// An undo transaction that logs and sets one word after the other.
    UndoEach(Vec<(u64, u64)>),
    /// As `UndoEach`, and rolled back.
    UndoAbort(Vec<(u64, u64)>),
    /// An undo transaction that sets the first words, then the second ones, takes these back, and sets the third ones.
    UndoPart([Vec<(u64, u64)>; 3]),
    /// An undo transaction that fills a buffer (0 or 1) to which nothing refers, and then makes it the one that counts.
    UndoFresh(u64, u64),
    /// An undo transaction that only fills a buffer to which nothing refers.
    UndoFreshOnly(u64, u64),
    /// Makes a buffer the one that counts.
    Publish(u64, u64),
    /// A redo transaction that fills a buffer, and makes it the one that counts.
    Refill(u64, u64),
    /// `Journal::atomic_line` of these values, from this word on.
    Line(u64, Vec<u64>),
}
use Op::*;

/// The data, as words.
pub(crate) type State = Vec<u64>;

pub(crate) fn empty() -> State {
    vec![0; ((LEN - DATA) / 8) as usize]
}

pub(crate) fn set(journal: &Journal, words: &[(u64, u64)], commit: bool) -> Result<(), Error> {
    let mut tx = journal.begin()?;
    for (word, value) in words {
        tx.write(DATA + word * 8, value)?;
    }
    if commit { tx.commit() } else { Ok(()) }
}

pub(crate) fn apply(op: &Op, state: &mut State) {
    match op {
        Set(words)
        | SetOnThread(words)
        | Eventual(words)
        | EventualOnThread(words)
        | SetAroundSync(words)
        | EventualAroundSync(words)
        | Undo(words)
        | UndoEach(words) => set_words(state, words),
        UndoPart([first, _, third]) => {
            set_words(state, first);
            set_words(state, third);
        }
        UndoFresh(buffer, value) | Refill(buffer, value) => {
            set_words(state, &undo::filled(*buffer, *value));
            set_words(state, &[undo::published(*buffer, *value)]);
        }
        UndoFreshOnly(buffer, value) => set_words(state, &undo::filled(*buffer, *value)),
        Publish(buffer, value) => set_words(state, &[undo::published(*buffer, *value)]),
        Line(word, values) => {
            values.iter().enumerate().for_each(|(i, value)| state[*word as usize + i] = *value);
        }
        Abort(_) | UndoAbort(_) | Checkpoint | Reopen | Sync | SyncOnThread => {}
    }
}

fn set_words(state: &mut State, words: &[(u64, u64)]) {
    words.iter().for_each(|(word, value)| state[*word as usize] = *value);
}

/// Whether all operations so far are durable when this one returns.
fn acknowledges(op: &Op) -> bool {
    !matches!(op, Eventual(_) | EventualOnThread(_) | EventualAroundSync(_) | Abort(_))
}

fn on_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|s| s.spawn(work).join().unwrap())
}

fn eventual(journal: &Journal, words: &[(u64, u64)]) -> Result<(), Error> {
    let mut tx = journal.begin()?;
    for (word, value) in words {
        tx.write(DATA + word * 8, value)?;
    }
    tx.commit_eventual().map(drop)
}

/// A transaction that is open while another thread makes all before it durable and applies it.
fn around_sync(journal: &Journal, words: &[(u64, u64)], strict: bool) -> Result<(), Error> {
    let mut tx = journal.begin()?;
    let (half, rest) = words.split_at(words.len() / 2);
    for (word, value) in half {
        tx.write(DATA + word * 8, value)?;
    }
    // References that are held meanwhile: to pieces of lines, since a longer piece is a copy.
    let held: Vec<&[u8]> = (DATA..LEN).step_by(64).map(|at| tx.bytes(at, 64)).collect::<Result<_, _>>()?;
    let before: Vec<Vec<u8>> = held.iter().map(|bytes| bytes.to_vec()).collect();
    on_thread(|| journal.sync())?;
    assert!(held.iter().zip(&before).all(|(now, then)| now == then), "bytes changed under a reference");
    for (word, value) in rest {
        tx.write(DATA + word * 8, value)?;
    }
    if strict { tx.commit() } else { tx.commit_eventual().map(drop) }
}

pub(crate) fn perform(journal: Journal, op: &Op, options: &JournalOptions) -> Result<Journal, Error> {
    match op {
        Set(words) => set(&journal, words, true)?,
        SetOnThread(words) => on_thread(|| set(&journal, words, true))?,
        Eventual(words) => eventual(&journal, words)?,
        EventualOnThread(words) => on_thread(|| eventual(&journal, words))?,
        Sync => journal.sync()?,
        SyncOnThread => on_thread(|| journal.sync())?,
        SetAroundSync(words) => around_sync(&journal, words, true)?,
        EventualAroundSync(words) => around_sync(&journal, words, false)?,
        Abort(words) => set(&journal, words, false)?,
        Checkpoint => journal.checkpoint()?,
        Reopen => return open(journal.close()?, options),
        Refill(buffer, value) => {
            let mut words = undo::filled(*buffer, *value);
            words.push(undo::published(*buffer, *value));
            set(&journal, &words, true)?;
        }
        Publish(buffer, value) => set(&journal, &[undo::published(*buffer, *value)], true)?,
        op => undo::perform(&journal, op)?,
    }
    Ok(journal)
}

/// With memory lent for large transactions; nothing is lent yet.
fn open(mapping: Mapping, options: &JournalOptions) -> Result<Journal, Error> {
    options.clone().log_space(Arc::new(space::Space::new())).open(mapping, LOG)
}

pub(crate) fn observe(journal: &Journal) -> Result<State, Error> {
    Ok(undo::judged(all_words(journal)?))
}

/// Those that are lent, or that a crash may tear, among them.
pub(crate) fn all_words(journal: &Journal) -> Result<State, Error> {
    let tx = journal.begin()?;
    let bytes = tx.bytes(DATA, LEN - DATA)?;
    Ok(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

/// An image of a formatted, empty journal.
pub(crate) fn formatted(options: &JournalOptions) -> Image {
    let mapping = options.create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap().close().unwrap();
    Image::new(mapping.as_slice().to_vec())
}

/// Runs `ops` on a journal in `start`, which holds `before`; explores; hands every image that was judged right to
/// `each`, with the state that it holds.
pub(crate) fn explore(
    exploration: Exploration,
    options: &JournalOptions,
    start: &Image,
    before: &State,
    ops: &[Op],
    each: impl Fn(&Image, &State),
) -> Report {
    let mut states = vec![before.clone()];
    for op in ops {
        let mut next = states.last().unwrap().clone();
        apply(op, &mut next);
        states.push(next);
    }
    let whole = states.clone();
    states.iter_mut().for_each(|state| *state = undo::judged(std::mem::take(state)));
    exploration.start(start.clone()).run(
        |mapping, marks| -> Result<(), Error> {
            let mut journal = Some(open(mapping, options)?);
            for op in ops {
                let number = marks.begin(format!("{op:?}"));
                journal = Some(perform(journal.take().unwrap(), op, options)?);
                if acknowledges(op) {
                    marks.acknowledged_to(number);
                }
            }
            std::mem::forget(journal); // the power fails: nothing is closed
            Ok(())
        },
        |mapping| open(mapping, options),
        |journal, point| {
            let found = observe(&journal).map_err(|error| error.to_string())?;
            let Some(k) = point.range().rev().find(|k| states[*k] == found) else {
                let differs: Vec<_> =
                    (0..found.len()).filter(|i| found[*i] != states[point.begun][*i]).collect();
                return Err(format!(
                    "not a state of {:?}; words {differs:?} differ from the last",
                    point.range()
                ));
            };
            if point.depth == 0 {
                each(point.image(), &whole[k]);
            }
            // And it can be written: two more commits, one over the same words.
            for value in [7, 8] {
                set(&journal, &[(0, value), (100, value)], true).map_err(|error| error.to_string())?;
            }
            let mut expected = states[k].clone();
            (expected[0], expected[100]) = (8, 8);
            let found = observe(&journal).map_err(|error| error.to_string())?;
            if found == expected { Ok(()) } else { Err("two more commits are not seen".to_owned()) }
        },
    )
}

/// Explores `ops` on a fresh journal; then, from `lives` of the images that this left, recovers, runs `later` and
/// explores again. The reports added up.
pub(crate) fn lives(
    name: &str,
    config: &Config,
    options: &JournalOptions,
    ops: &[Op],
    later: &[Op],
    lives: usize,
) -> Totals {
    let kept = RefCell::new((Vec::<(Image, State)>::new(), 0u64, fastrand::Rng::with_seed(config.seed)));
    let keep = |image: &Image, state: &State| {
        // A reservoir: every image has the same chance.
        let (kept, seen, random) = &mut *kept.borrow_mut();
        *seen += 1;
        let place = if kept.len() < lives { kept.len() } else { random.u64(0..*seen) as usize };
        if place < lives {
            let entry = (image.clone(), state.clone());
            if place == kept.len() { kept.push(entry) } else { kept[place] = entry }
        }
    };
    let exploration = || Exploration::new(name).config(config.clone());
    let report = explore(exploration(), options, &formatted(options), &empty(), ops, keep);
    let mut totals = Totals::default();
    totals.add(report);
    for (image, state) in kept.into_inner().0 {
        if totals.failed() && config.stop_at_first {
            break;
        }
        totals.add(explore(exploration(), options, &image, &state, later, |_, _| ()));
    }
    totals
}

/// Sums of reports.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) operations: usize,
    pub(crate) events: usize,
    pub(crate) images: u64,
    pub(crate) recoveries: u64,
    pub(crate) failures: u64,
    pub(crate) first: Option<Report>,
    /// Recoveries before the first failure, over all explorations.
    pub(crate) until_failure: u64,
    /// Flushes and drains that are missing, or that nobody needs: one of each kind and source line.
    pub(crate) lints: BTreeMap<(LintKind, &'static str, u32), String>,
}

/// Lints that are as they should be: kind, file, why.
const EXCEPTIONS: &[(LintKind, &str, &str)] = &[(
    LintKind::NotFlushed,
    "engine/log/unlogged.rs",
    "the hint of unlogged stores is for whoever opens after a kill; a power failure may take it",
)];

impl Totals {
    pub(crate) fn add(&mut self, report: Report) {
        if self.first.is_none() {
            self.until_failure += report.images_to_first_failure.unwrap_or(report.recoveries);
        }
        for lint in &report.lints {
            let site = (lint.kind, lint.caller.file(), lint.caller.line());
            self.lints.entry(site).or_insert_with(|| lint.to_string());
        }
        self.operations += report.operations;
        self.events += report.steps.len();
        self.images += report.images;
        self.recoveries += report.recoveries;
        self.failures += report.failures;
        if report.failures > 0 && self.first.is_none() {
            self.first = Some(report);
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn print(&self, name: &str) {
        println!(
            "crash | {name:<46} | {:>3} operations | {:>5} events | {:>7} images | {:>8} recoveries | {} failures",
            self.operations, self.events, self.images, self.recoveries, self.failures
        );
    }

    pub(crate) fn assert_ok(&self, name: &str) {
        self.assert_survived(name);
        let excepted =
            |kind: LintKind, file: &str| EXCEPTIONS.iter().any(|e| e.0 == kind && file.ends_with(e.1));
        let lints = self.lints.iter().filter(|((kind, file, _), _)| !excepted(*kind, file));
        let lints: Vec<&String> = lints.map(|(_, lint)| lint).collect();
        assert!(lints.is_empty(), "{name}: {lints:#?}");
    }

    /// As [`assert_ok`](Totals::assert_ok), but for the lints. They know what a record of one log covers from a commit to the
    /// next drain; not that snapshots, commits on their way, lent memory, a second log, or the rollback of an opening keep lines longer.
    pub(crate) fn assert_survived(&self, name: &str) {
        self.print(name);
        if let Some(report) = &self.first {
            report.assert_ok();
        }
        assert!(self.images > 0 && self.recoveries >= self.images, "{name}: nothing was explored");
    }
}

/// Single words, far apart and in one line.
pub(crate) fn small() -> Vec<Op> {
    vec![
        Set(vec![(0, 1)]),
        Set(vec![(1, 2), (64, 2)]),
        Set(vec![(0, 3), (200, 3)]),
        Set(vec![(64, 4)]),
        Set(vec![(0, 5), (1, 5), (64, 5), (200, 5), (300, 5)]),
    ]
}

/// The same lines again and again, and lines that one commit changes and the next does not.
pub(crate) fn overlapping() -> Vec<Op> {
    vec![
        Set((0..8).map(|i| (i, 10 + i)).collect()),
        Set((4..12).map(|i| (i, 20 + i)).collect()),
        Abort(vec![(0, 99), (400, 99)]),
        Set(vec![(0, 31), (11, 31)]),
        Set((0..16).map(|i| (i * 8, 40 + i)).collect()),
        Set(vec![(8, 51)]),
    ]
}

/// Records as large as they may be, so that the ring (15 slots) wraps, and small ones between.
pub(crate) fn wrapping() -> Vec<Op> {
    let large = |first: u64, value: u64| Set((0..128).map(|i| (first + i, value + i)).collect());
    vec![
        large(0, 1000),
        Set(vec![(5, 1)]),
        large(64, 2000),
        large(0, 3000),
        Set(vec![(64, 2)]),
        large(128, 4000),
        Set(vec![(0, 3)]),
        Set(vec![(1, 4)]),
        large(0, 5000),
        large(32, 6000),
    ]
}

/// Records of which the ring takes hardly three, with a wrap that leaves slots unused.
pub(crate) fn tight() -> Vec<Op> {
    let large = |first: u64, value: u64| Set((0..128).map(|i| (first + i, value + i)).collect());
    let mut ops = vec![Set(vec![(0, 1)])];
    ops.extend((1..8).map(|n| large(n * 16, n * 1000)));
    ops
}

pub(crate) fn checkpoints() -> Vec<Op> {
    vec![
        Set(vec![(0, 1), (50, 1)]),
        Checkpoint,
        Set(vec![(0, 2), (60, 2)]),
        Set(vec![(50, 3)]),
        Checkpoint,
        Checkpoint,
        Set(vec![(0, 4)]),
        Reopen,
        Set(vec![(50, 5), (60, 5)]),
        Set(vec![(0, 6)]),
    ]
}

/// Commits by alternating threads.
pub(crate) fn threads() -> Vec<Op> {
    vec![
        Set(vec![(0, 1)]),
        SetOnThread(vec![(8, 2)]),
        Set(vec![(16, 3)]),
        SetOnThread(vec![(24, 4), (0, 4)]),
        SetOnThread(vec![(8, 5)]),
        Set(vec![(32, 6)]),
    ]
}

/// Eventual commits of one thread, that go back to values which are still in place; syncs between.
pub(crate) fn eventual_commits() -> Vec<Op> {
    vec![
        Eventual(vec![(0, 1)]),
        Eventual(vec![(1, 2), (64, 2)]),
        Eventual(vec![(0, 0), (200, 3)]),
        Sync,
        Set(vec![(64, 4)]),
        Eventual(vec![(0, 5), (1, 0), (200, 0)]),
        Set(vec![(0, 0), (300, 6)]),
        Eventual(vec![(64, 7)]),
        Abort(vec![(64, 99), (0, 99)]),
        Eventual(vec![(64, 4), (8, 8)]),
        Checkpoint,
        Eventual(vec![(0, 9)]),
        Reopen,
        Eventual(vec![(0, 10), (8, 10)]),
        Set(vec![(8, 11)]),
        Set(vec![(0, 12)]),
    ]
}

/// Threads that write and leave the drain to others, in turns.
pub(crate) fn groups() -> Vec<Op> {
    vec![
        EventualOnThread(vec![(0, 1), (8, 1)]),
        SetOnThread(vec![(16, 2), (0, 2)]),
        Eventual(vec![(8, 3)]),
        SyncOnThread,
        EventualOnThread(vec![(0, 4), (24, 4)]),
        EventualAroundSync(vec![(8, 1), (0, 5)]),
        SetAroundSync(vec![(0, 6), (24, 0), (32, 6)]),
        Set(vec![(8, 7)]),
        EventualOnThread(vec![(0, 2)]),
        Set(vec![(16, 8), (0, 8)]),
    ]
}

/// Eventual commits of which the ring takes hardly three, behind one that is durable.
pub(crate) fn eventual_tight() -> Vec<Op> {
    let large = |first: u64, value: u64| (0..128).map(|i| (first + i, value + i)).collect();
    let mut ops = vec![Set(vec![(0, 1)]), Set(large(16, 1000))];
    ops.extend((2..7).map(|n| Eventual(large(n * 16, n * 1000))));
    ops.push(Set(vec![(5, 1)]));
    ops.push(Eventual(large(0, 9000)));
    ops
}
