//! Every store, flush and drain of commits, checkpoints, creation and recovery left out in turn: an exploration finds it, or
//! `mutation.exceptions` proves that the line is needed all the same.
//!
//! As many as it takes; all of them with `just mutation`, which prints the table for the whole workspace.

mod support;

use pmem_crash::{Config, Exploration, Image, Ops, Point, Report, mutation::Table};
use pmem_map::{Granularity, Mapping};
use pmem_tx::{Error, Journal, JournalOptions};
use std::cell::RefCell;
use support::{LOG, Op, Op::*, State, all_words as observe, apply, perform, set};

/// Steps that can be left out. More is better; less needs a reason.
const STEPS: usize = 752;

/// One-slot commits after which the ring (15 slots) begins again at its start.
const TO_THE_END: u64 = 15;

/// A pool to begin with, and what it holds.
#[derive(Clone)]
struct Start {
    image: Image,
    /// What may be found in it before anything was acknowledged.
    holds: Vec<State>,
    /// Its creation was cut short.
    unfinished: bool,
}

impl Start {
    fn new(image: Image, holds: Vec<State>) -> Start {
        Start { image, holds, unfinished: false }
    }
}

fn fresh() -> Start {
    Start::new(support::formatted(&JournalOptions::new()), vec![support::empty()])
}

/// What 10,000 transactions of one to eight words made, closed.
fn old() -> Start {
    let options = JournalOptions::new();
    let mut random = fastrand::Rng::with_seed(10_000);
    let mut state = support::empty();
    let journal = options.create(Mapping::anonymous(support::LEN).unwrap(), LOG).unwrap();
    for n in 0..10_000 {
        let op = Set((0..random.u64(1..8)).map(|i| (random.u64(0..state.len() as u64), n + i)).collect());
        apply(&op, &mut state);
        let Set(words) = op else { unreachable!() };
        set(&journal, &words, true).unwrap();
    }
    let mapping = journal.close().unwrap();
    Start::new(Image::new(mapping.as_slice().to_vec()), vec![state])
}

/// Commits of one word each.
fn ones(count: u64) -> Vec<Op> {
    (0..count).map(|n| Set(vec![(400 + n % 8, n + 1)])).collect()
}

fn text(error: Error) -> String {
    error.to_string()
}

/// Judges a journal: what was acknowledged is there, and it goes on.
fn judge(journal: &Journal, states: &[Vec<State>], point: &Point<'_>) -> Result<(), String> {
    let mut found = observe(journal).map_err(text)?;
    if !point.range().any(|done| states[done].contains(&found)) {
        return Err(format!("not a state of {:?}", point.range()));
    }
    for value in [7, 8] {
        set(journal, &[(0, value), (100, value)], true).map_err(text)?;
    }
    (found[0], found[100]) = (8, 8);
    if observe(journal).map_err(text)? == found {
        Ok(())
    } else {
        Err("two more commits are not seen".into())
    }
}

/// The states after each of `ops`.
fn states_of(start: &Start, ops: &[Op]) -> Vec<Vec<State>> {
    let mut states = vec![start.holds.clone()];
    let mut state = start.holds.last().unwrap().clone();
    for op in ops {
        apply(op, &mut state);
        states.push(vec![state.clone()]);
    }
    states
}

/// A journal in `start`, on which `before` was done: the operation, and two commits after it.
fn operation(
    exploration: Exploration,
    options: &JournalOptions,
    start: &Start,
    before: &[Op],
    name: &str,
    op: &Op,
) -> Report {
    let mut prepared = Start::new(start.image.clone(), vec![start.holds.last().unwrap().clone()]);
    before.iter().for_each(|op| apply(op, &mut prepared.holds[0]));
    let after = [Set(vec![(3, 71), (200, 72)]), Set(vec![(3, 81), (300, 82)])];
    let ops: Vec<Op> = [op].into_iter().chain(&after).cloned().collect();
    let states = states_of(&prepared, &ops);
    exploration.configure(|config| config.raw_stores(false)).start(start.image.clone()).run(
        |mapping, marks: &Ops| -> Result<(), Error> {
            let mut journal = marks.prepare(|| {
                let journal = options.open(mapping, LOG)?;
                before.iter().try_fold(journal, |journal, op| perform(journal, op, options))
            })?;
            for (n, name) in [name, "after it", "and after that"].into_iter().enumerate() {
                journal = marks.run(name, || perform(journal, &ops[n], options))?;
                marks.prepare(|| assert_eq!(observe(&journal).unwrap(), states[n + 1][0], "visible"));
            }
            std::mem::forget(journal); // the power fails: nothing is closed
            Ok(())
        },
        |mapping| options.open(mapping, LOG),
        |journal, point| judge(&journal, &states, point),
    )
}

/// Opening as the operation; then two commits. A log that was never durable need not be there before it was opened.
fn opening(exploration: Exploration, options: &JournalOptions, start: &Start) -> Report {
    let after = [Set(vec![(3, 71), (200, 72)]), Set(vec![(3, 81), (300, 82)])];
    let mut states = states_of(start, &after);
    // Opened: what it shows from now on is there for good.
    states.insert(1, vec![start.holds.last().unwrap().clone()]);
    exploration.configure(|config| config.raw_stores(false)).start(start.image.clone()).run(
        |mapping, marks: &Ops| -> Result<(), Error> {
            let mut journal = marks.run("open", || options.open(mapping, LOG))?;
            marks.prepare(|| assert_eq!(observe(&journal).unwrap(), states[1][0], "visible"));
            for op in &after {
                journal = marks.run("after it", || perform(journal, op, options))?;
            }
            std::mem::forget(journal);
            Ok(())
        },
        |mapping| match options.open(mapping, LOG) {
            Err(Error::NotALog { .. } | Error::Damaged { .. }) if start.unfinished => Ok(None),
            opened => opened.map(Some),
        },
        |journal, point| match journal {
            Some(journal) => judge(&journal, &states, point),
            None if point.acknowledged == 0 => Ok(()),
            None => Err("the log is gone".to_owned()),
        },
    )
}

/// What a power failure, or the end of a process, in the last of `ops` leaves: nothing kept of what may be lost.
fn cut_off(options: &JournalOptions, start: &Start, ops: &[Op]) -> [Start; 2] {
    let left = RefCell::new(None);
    let states = states_of(start, ops);
    let config = Config::default().depth(0).bound(1).samples(0).raw_stores(false);
    let report = Exploration::new("cut off").config(config).start(start.image.clone()).run(
        |mapping, marks: &Ops| -> Result<(), Error> {
            let (last, before) = ops.split_last().unwrap();
            let mut journal = marks.prepare(|| {
                let journal = options.open(mapping, LOG)?;
                before.iter().try_fold(journal, |journal, op| perform(journal, op, options))
            })?;
            journal = marks.run("last", || perform(journal, last, options))?;
            std::mem::forget(journal);
            Ok(())
        },
        |mapping| options.open(mapping, LOG),
        |journal, point| {
            let found = observe(&journal).map_err(text)?;
            if point.begun == 1 {
                left.borrow_mut().get_or_insert_with(|| (point.image().clone(), point.killed(), found));
            }
            Ok(())
        },
    );
    report.assert_ok();
    let (crashed, killed, found) = left.into_inner().expect("a crash point in the last operation");
    let last = states.last().unwrap()[0].clone();
    [Start::new(killed, vec![found.clone(), last]), Start::new(crashed, vec![found])]
}

fn creation(exploration: Exploration, start: &Image) -> Report {
    let word = |at: usize| u64::from_le_bytes(start.bytes()[at..][..8].try_into().unwrap());
    let before = [word(8192), word(8256)];
    let blank = start.bytes().iter().all(|byte| *byte == 0);
    exploration.configure(|config| config.raw_stores(false)).start(start.clone()).run(
        |mapping, marks| -> Result<(), Error> {
            let journal = marks.run("create", || Journal::create(mapping, LOG))?;
            marks.run("first commit", || journal.write(|tx| tx.write(8192, &1u64)))?;
            marks.run("second commit", || journal.write(|tx| tx.write(8256, &2u64)))?;
            std::mem::forget(journal);
            Ok(())
        },
        // Whatever a crash leaves of a creation on zeros can be made a log again, without being told to.
        |mapping| match JournalOptions::new().open_or_create(mapping, LOG) {
            Err(Error::NotALog { .. } | Error::Damaged { .. }) if !blank => Ok(None),
            opened => opened.map(Some),
        },
        |journal: Option<Journal>, point| {
            let Some(journal) = journal else {
                return if point.acknowledged == 0 { Ok(()) } else { Err("the log is gone".into()) };
            };
            let read = || -> Result<[u64; 2], Error> {
                let tx = journal.begin()?;
                Ok([*tx.read(8192)?, *tx.read(8256)?])
            };
            let found = read().map_err(text)?;
            let states = [before, before, [1, before[1]], [1, 2]];
            if !point.range().any(|k| states[k] == found) {
                return Err(format!("found {found:?} of {:?}", point.range()));
            }
            journal.write(|tx| tx.write(8192, &9u64)).map_err(text)
        },
    )
}

#[test]
fn every_step_that_is_left_out_is_found() {
    let (options, lazy) = (JournalOptions::new(), JournalOptions::new().flush_interval(64));
    let (fresh, old) = (fresh(), old());
    let (one, wrap) = (ones(1), ones(TO_THE_END));
    let words = |count: u64, apart: u64| Set((0..count).map(|n| (n * apart, 50 + n)).collect());
    let operations = [
        ("commit of a word", words(1, 1)),
        ("commit of a line", words(8, 1)),
        ("commit of eight lines", words(64, 1)),
        ("commit of eight words, far apart", words(8, 64)),
        ("checkpoint", Checkpoint),
    ];
    let changes: Vec<Op> = support::overlapping().into_iter().chain([words(9, 7)]).collect();
    let wrapping: Vec<Op> = wrap.iter().cloned().chain(changes.clone()).collect();
    let mut left = Vec::new();
    for (state, start, ops) in [
        ("log wrapped", &fresh, &wrapping),
        ("10,000 operations old", &old, &changes),
        ("fresh", &fresh, &changes),
    ] {
        for (options, interval) in [(&options, ""), (&lazy, ", lazy")] {
            for (how, left_by) in ["killed", "crashed"].into_iter().zip(cut_off(options, start, ops)) {
                left.push((format!("{how}, {state}{interval}"), options, left_by));
            }
        }
    }
    let mut damaged = old.image.bytes().to_vec();
    damaged[64 + 20] ^= 0xff;
    left.push((
        "a header copy damaged".to_owned(),
        &options,
        Start::new(Image::new(damaged), old.holds.clone()),
    ));
    // The process that created the log was killed in its last drain: its header is visible, and not durable.
    let mut durable = fresh.image.bytes().to_vec();
    durable[..128].fill(0);
    let image = fresh.image.clone().with_durable(durable);
    let holds = fresh.holds.clone();
    let unfinished = Start { image, holds, unfinished: true };
    left.push(("killed in creation".to_owned(), &options, unfinished.clone()));
    let mut random = fastrand::Rng::with_seed(5);
    let garbage = Image::new((0..support::LEN).map(|_| random.u8(..)).collect());
    let blank = Image::zeroed(support::LEN);

    let mut table = Table::new("pmem-tx", include_str!("mutation.exceptions"));
    for (name, op) in &operations {
        for (state, options, start, before) in [
            ("log about to wrap", &options, &fresh, &wrap),
            ("log full", &lazy, &fresh, &wrap),
            ("10,000 operations old", &options, &old, &one),
            ("fresh", &options, &fresh, &one),
        ] {
            table.row(*name, state, move |exploration| {
                operation(exploration, options, start, before, name, op)
            });
        }
    }
    for (state, options, start) in &left {
        table.row("open", state, |exploration| opening(exploration, options, start));
    }
    // Its write-back failed: who opens has to store again what is visible, or the kernel takes it for written.
    table.row("open", "killed in creation, pages", |exploration| {
        opening(exploration.configure(|config| config.granularity(Granularity::Page)), &options, &unfinished)
    });
    for (state, image) in
        [("10,000 operations old", &old.image), ("over garbage", &garbage), ("fresh", &blank)]
    {
        table.row("create", state, move |exploration| creation(exploration, image));
    }
    table.finish(STEPS);
}
