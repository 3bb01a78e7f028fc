//! Two journals in one mapping, explored.

use super::undo::{read_words, write};
use pmem_crash::{Config, Exploration, Image, Report};
use pmem_map::Mapping;
use pmem_tx::{Error, Journal, JournalOptions, SharedMapping};
use std::ops::Range;

const LOGS: [Range<u64>; 2] = [0..4096, 4096..8192];
/// They meet in the middle of a page.
const HOMES: [Range<u64>; 2] = [8192..8192 + 1088, 8192 + 1088..12288];
const LEN: u64 = 12288;

/// A transaction of one of the journals, that sets words of its home (by number, from its start).
#[derive(Clone, Debug)]
struct Step {
    journal: usize,
    undo: bool,
    words: Vec<(u64, u64)>,
}

fn steps() -> Vec<Step> {
    let step = |journal, undo, words: &[(u64, u64)]| Step { journal, undo, words: words.to_vec() };
    vec![
        step(0, false, &[(135, 1), (0, 1)]), // the last line of the left one's home
        step(1, false, &[(0, 2), (8, 2)]),   // the first of the right one's
        step(0, false, &[(128, 3), (0, 3)]),
        step(1, true, &[(0, 4), (1, 4), (16, 4)]),
        step(0, true, &[(135, 5), (1, 5)]),
        step(1, false, &[(0, 6), (16, 6)]),
        step(0, false, &[(135, 7)]),
        step(1, false, &[(8, 8)]),
    ]
}

/// Both homes the same, or not.
fn homes(same: bool) -> [Range<u64>; 2] {
    if same { [HOMES[0].clone(), HOMES[0].clone()] } else { HOMES }
}

fn open(mapping: Mapping, options: &JournalOptions, same: bool) -> Result<[Journal; 2], Error> {
    let shared = SharedMapping::new(mapping);
    let [left, right] = homes(same);
    Ok([shared.open(options, LOGS[0].clone(), left)?, shared.open(options, LOGS[1].clone(), right)?])
}

fn perform(journals: &[Journal; 2], step: &Step, same: bool) -> Result<(), Error> {
    let (journal, base) = (&journals[step.journal], homes(same)[step.journal].start);
    if step.undo {
        journal.write_undo(|tx| write(tx, base, &step.words))
    } else {
        journal.write(|tx| write(tx, base, &step.words))
    }
}

/// The words of both homes.
fn observe(journals: &[Journal; 2]) -> Result<Vec<u64>, Error> {
    let mut words = Vec::new();
    for journal in journals {
        words.extend(read_words(&journal.begin_undo()?, journal.home())?);
    }
    Ok(words)
}

pub(crate) fn explore(config: Config, options: &JournalOptions, same: bool) -> Report {
    let shared = SharedMapping::new(Mapping::anonymous(LEN).unwrap());
    for (log, home) in LOGS.iter().zip(homes(same)) {
        drop(shared.create(options, log.clone(), home).unwrap());
    }
    let start = Image::new(shared.into_mapping().unwrap().as_slice().to_vec());
    let places: Vec<u64> = homes(same).into_iter().flat_map(|home| home.step_by(8)).collect();
    let mut states = vec![vec![0; places.len()]];
    for step in steps() {
        let mut next = states.last().unwrap().clone();
        for (word, value) in &step.words {
            let at = homes(same)[step.journal].start + word * 8;
            (0..places.len()).filter(|i| places[*i] == at).for_each(|i| next[i] = *value);
        }
        states.push(next);
    }
    Exploration::new("two journals").config(config).start(start).run(
        |mapping, marks| -> Result<(), Error> {
            let journals = open(mapping, options, same)?;
            for step in &steps() {
                marks.run(format!("{step:?}"), || perform(&journals, step, same))?;
            }
            std::mem::forget(journals);
            Ok(())
        },
        |mapping| open(mapping, options, same),
        |journals, point| {
            let error = |error: Error| error.to_string();
            let found = observe(&journals).map_err(error)?;
            if !point.range().any(|k| states[k] == found) {
                return Err(format!("not a state of {:?}", point.range()));
            }
            // And both can be written, twice.
            for (i, value) in [(0, 7), (1, 7), (1, 8), (0, 8)] {
                let words = vec![(3 + i as u64, value)];
                perform(&journals, &Step { journal: i, undo: value == 7, words }, same).map_err(error)?;
            }
            Ok(())
        },
    )
}
