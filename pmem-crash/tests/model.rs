//! Random programs against a second, naive model of the memory, which keeps the whole history of each line
//! and crashes after every single event. The images must be the same: so the crash points of the explorer
//! leave nothing out, and its bookkeeping of what is durable invents nothing.

use pmem_crash::{Config, Exploration, Level, Tear};
use pmem_map::{Error, Mapping};
use std::{cell::RefCell, collections::BTreeSet};

const LINES: usize = 2;
const WORDS: usize = 3; // used of each line
const THREADS: usize = 2;

type Words = [u64; WORDS];
type State = [Words; LINES];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A copy of `values[..len]` from a word on: one store if `len` is 1.
    Store {
        line: usize,
        word: usize,
        len: usize,
        value: u64,
    },
    Nontemporal {
        line: usize,
        word: usize,
        len: usize,
        value: u64,
    },
    Flush(usize),
    Drain,
}

#[derive(Debug)]
struct Store {
    words: Vec<(usize, u64)>,
    nontemporal: bool,
    thread: usize,
    durable: bool,
    /// By thread: whether it flushed the line since.
    flushed: [bool; THREADS],
}

#[derive(Default)]
struct Model {
    lines: [Vec<Store>; LINES],
}

impl Model {
    fn step(&mut self, thread: usize, step: Step) {
        match step {
            Step::Store { line, word, len, value } | Step::Nontemporal { line, word, len, value } => {
                let nontemporal = matches!(step, Step::Nontemporal { .. });
                let words = (0..len).map(|n| (word + n, value + n as u64)).collect();
                let flushed = [false; THREADS];
                self.lines[line].push(Store { words, nontemporal, thread, durable: false, flushed });
            }
            Step::Flush(line) => self.lines[line].iter_mut().for_each(|store| store.flushed[thread] = true),
            Step::Drain => {
                for store in self.lines.iter_mut().flatten() {
                    let mine = if store.nontemporal { store.thread == thread } else { store.flushed[thread] };
                    store.durable |= mine;
                }
            }
        }
    }

    /// All contents of a line: every choice of words to keep is tried, and judged by the rules.
    fn contents(&self, line: usize, tear: Tear) -> BTreeSet<Words> {
        let stores = &self.lines[line];
        let words: Vec<(usize, usize, u64)> = stores
            .iter()
            .enumerate()
            .flat_map(|(index, store)| store.words.iter().map(move |&(word, value)| (index, word, value)))
            .collect();
        assert!(words.len() < 20, "the program is too long for this");
        let mut contents = BTreeSet::new();
        for kept in 0u32..1 << words.len() {
            let keeps = |at: usize| kept >> at & 1 == 1;
            let durable = (0..words.len()).all(|at| keeps(at) || !stores[words[at].0].durable);
            // An ordered store is kept only if what it is ordered after is: older stores to the line, or to
            // the word if words are on their own.
            let ordered = (0..words.len()).filter(|&at| keeps(at)).all(|at| {
                let (store, word, _) = words[at];
                (0..at).all(|older| {
                    let (older_store, older_word, _) = words[older];
                    let unordered = match tear {
                        Tear::EightBytes => older_word != word,
                        Tear::Line => {
                            older_store == store
                                || stores[store].nontemporal
                                || stores[older_store].nontemporal
                        }
                    };
                    unordered || keeps(older)
                })
            });
            if durable && ordered {
                let mut content = [0; WORDS];
                for (_, &(_, word, value)) in words.iter().enumerate().filter(|(at, _)| keeps(*at)) {
                    content[word] = value;
                }
                contents.insert(content);
            }
        }
        contents
    }

    fn states(&self, tear: Tear) -> BTreeSet<State> {
        let [first, second] = [0, 1].map(|line| self.contents(line, tear));
        first.iter().flat_map(|&first| second.iter().map(move |&second| [first, second])).collect()
    }
}

/// An ordinary store is of `longest` words at most: what a longer copy does is one store to the mapping, and several to the
/// processor.
fn program(random: &mut fastrand::Rng, longest: usize) -> Vec<(usize, Step)> {
    (1..=random.u64(1..10))
        .map(|n| {
            let (line, word) = (random.usize(0..LINES), random.usize(0..WORDS));
            let (len, value) = (random.usize(1..=WORDS - word), n * 10);
            let step = match random.u8(0..10) {
                0..4 => Step::Store { line, word, len: len.min(longest), value },
                4..6 => Step::Nontemporal { line, word, len, value },
                6..8 => Step::Flush(line),
                _ => Step::Drain,
            };
            (random.usize(0..THREADS), step)
        })
        .collect()
}

/// Runs a step on the mapping.
fn run(mapping: &Mapping, step: Step) -> Result<(), Error> {
    let at = |line: usize, word: usize| (64 * line + 8 * word) as u64;
    let bytes = |len: usize, value: u64| -> Vec<u8> {
        (0..len as u64).flat_map(|n| (value + n).to_le_bytes()).collect()
    };
    match step {
        Step::Store { line, word, len, value } => {
            // SAFETY: the threads take turns, and no reference into the mapping is alive.
            unsafe { mapping.store(at(line, word), &bytes(len, value)) };
        }
        Step::Nontemporal { line, word, len, value } => {
            // SAFETY: as above.
            unsafe { mapping.store_nontemporal(at(line, word), &bytes(len, value)) };
        }
        Step::Flush(line) => mapping.flush(at(line, 0)..at(line, WORDS))?,
        Step::Drain => mapping.drain()?,
    }
    Ok(())
}

/// Each thread lives as long as the program, for a thread that ended flushes nothing more; they take turns.
fn run_all(mapping: &Mapping, program: &[(usize, Step)]) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let (done, finished) = std::sync::mpsc::channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (order, orders) = std::sync::mpsc::channel::<Step>();
                let done = done.clone();
                scope.spawn(move || orders.iter().for_each(|step| done.send(run(mapping, step)).unwrap()));
                order
            })
            .collect();
        program.iter().try_for_each(|&(thread, step)| {
            threads[thread].send(step).unwrap();
            finished.recv().unwrap()
        })
    })
}

fn explored(program: &[(usize, Step)], tear: Tear, level: Level) -> BTreeSet<State> {
    let states = RefCell::new(BTreeSet::new());
    let config = Config::default().depth(0).bound(1 << 20).tear(tear).level(level);
    let report = Exploration::new("program").config(config).len(4096).run(
        |mapping, _| run_all(&mapping, program),
        Ok::<Mapping, Error>,
        |mapping, _| {
            let word = |at: usize| u64::from_le_bytes(mapping.as_slice()[at..][..8].try_into().unwrap());
            states.borrow_mut().insert([0, 1].map(|line| [0, 1, 2].map(|n| word(64 * line + 8 * n))));
            Ok(())
        },
    );
    assert!(report.complete);
    states.into_inner()
}

fn compare(tear: Tear, level: Level) {
    let (programs, longest) = if level == Level::Events { (1500, WORDS) } else { (500, 1) };
    for seed in 0..programs {
        let program = program(&mut fastrand::Rng::with_seed(seed), longest);
        let mut model = Model::default();
        let mut expected = model.states(tear);
        for &(thread, step) in &program {
            model.step(thread, step);
            expected.extend(model.states(tear));
        }
        assert_eq!(explored(&program, tear, level), expected, "seed {seed}: {program:#?}");
    }
}

#[test]
fn the_images_are_those_of_a_naive_model_that_crashes_after_every_event() {
    compare(Tear::Line, Level::Events);
}

#[test]
fn the_images_are_those_of_a_naive_model_whose_words_are_torn_apart() {
    compare(Tear::EightBytes, Level::Events);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_images_are_the_same_if_every_store_is_traced() {
    compare(Tear::Line, Level::EveryStore);
    compare(Tear::EightBytes, Level::EveryStore);
}
