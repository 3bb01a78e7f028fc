//! Random programs against a second, naive model of the memory, which keeps the whole history of each line
//! and crashes after every single event. The images must be the same: so the crash points of the explorer
//! leave nothing out, and its bookkeeping of what is durable invents nothing.

use pmem_crash::{Config, Exploration, Level, Tear};
use pmem_map::{Error, Granularity, Mapping};
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

    /// As [`step`](Model::step), where both lines are in one page, which is written back whole.
    fn step_on_pages(&mut self, marked: &mut [bool; THREADS], thread: usize, step: Step) {
        self.step(thread, step);
        match step {
            Step::Store { .. } => {}
            Step::Nontemporal { .. } | Step::Flush(_) => marked[thread] = true,
            Step::Drain => {
                if std::mem::take(&mut marked[thread]) {
                    self.lines.iter_mut().flatten().for_each(|store| store.durable = true);
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

fn program(random: &mut fastrand::Rng, longest: u64) -> Vec<(usize, Step)> {
    (1..=random.u64(1..=longest))
        .map(|n| {
            let (line, word) = (random.usize(0..LINES), random.usize(0..WORDS));
            let (len, value) = (random.usize(1..=WORDS - word), n * 10);
            let step = match random.u8(0..10) {
                0..4 => Step::Store { line, word, len, value },
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

fn explored(program: &[(usize, Step)], tear: Tear, granularity: Granularity) -> BTreeSet<State> {
    explored_with(program, Config::default().tear(tear).granularity(granularity))
}

fn explored_with(program: &[(usize, Step)], config: Config) -> BTreeSet<State> {
    let states = RefCell::new(BTreeSet::new());
    let config = config.depth(0).bound(1 << 20);
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

fn compare(tear: Tear) {
    for seed in 0..1500 {
        let program = program(&mut fastrand::Rng::with_seed(seed), 9);
        let mut model = Model::default();
        let mut expected = model.states(tear);
        for &(thread, step) in &program {
            model.step(thread, step);
            expected.extend(model.states(tear));
        }
        assert_eq!(explored(&program, tear, Granularity::CacheLine), expected, "seed {seed}: {program:#?}");
    }
}

#[test]
fn the_images_are_those_of_a_naive_model_that_crashes_after_every_event() {
    compare(Tear::Line);
}

#[test]
fn the_images_are_those_of_a_naive_model_whose_words_are_torn_apart() {
    compare(Tear::EightBytes);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_images_are_the_same_if_every_store_is_traced() {
    for tear in [Tear::Line, Tear::EightBytes] {
        for seed in 0..500 {
            let mut program = program(&mut fastrand::Rng::with_seed(seed), 9);
            for (_, step) in &mut program {
                // A longer copy is one store to the mapping, and several to the processor.
                if let Step::Store { len, .. } = step {
                    *len = 1;
                }
            }
            let mut model = Model::default();
            let mut expected = model.states(tear);
            for &(thread, step) in &program {
                model.step(thread, step);
                expected.extend(model.states(tear));
            }
            let found = explored_with(&program, Config::default().tear(tear).level(Level::EveryStore));
            assert_eq!(found, expected, "seed {seed}: {program:#?}");
        }
    }
}

#[test]
fn the_images_of_pages_are_those_of_a_naive_model_that_writes_back_both_lines() {
    for seed in 0..700 {
        let program = program(&mut fastrand::Rng::with_seed(seed), 9);
        let (mut model, mut marked) = (Model::default(), [false; THREADS]);
        let mut expected = model.states(Tear::Line);
        for &(thread, step) in &program {
            model.step_on_pages(&mut marked, thread, step);
            expected.extend(model.states(Tear::Line));
        }
        assert_eq!(explored(&program, Tear::Line, Granularity::Page), expected, "seed {seed}: {program:#?}");
    }
}

/// One store of a program, with persistent caches.
struct Cached {
    /// Line, word, value.
    words: Vec<(usize, usize, u64)>,
    nontemporal: bool,
    thread: usize,
    durable: bool,
}

/// Every choice of words to keep is tried, over both lines: a word is kept only if every ordinary store before its store
/// is, whole.
fn cached_states(stores: &[Cached]) -> BTreeSet<State> {
    let words: Vec<(usize, (usize, usize, u64))> = stores
        .iter()
        .enumerate()
        .flat_map(|(index, store)| store.words.iter().map(move |word| (index, *word)))
        .collect();
    let mut states = BTreeSet::new();
    for kept in 0u32..1 << words.len() {
        let keeps = |at: usize| kept >> at & 1 == 1;
        let whole = |store: usize| (0..words.len()).all(|at| words[at].0 != store || keeps(at));
        let durable = stores.iter().enumerate().all(|(index, store)| !store.durable || whole(index));
        let ordered = (0..words.len()).filter(|&at| keeps(at)).all(|at| {
            let (store, (line, word, _)) = words[at];
            let before = (0..store).all(|older| stores[older].nontemporal || whole(older));
            // Words past the caches replace each other in their order.
            let replaced =
                (0..at).all(|older| words[older].1.0 != line || words[older].1.1 != word || keeps(older));
            before && replaced
        });
        if durable && ordered {
            let mut state = State::default();
            for (_, &(_, (line, word, value))) in words.iter().enumerate().filter(|(at, _)| keeps(*at)) {
                state[line][word] = value;
            }
            states.insert(state);
        }
    }
    states
}

#[test]
fn the_images_of_persistent_caches_are_those_of_a_naive_model_that_keeps_stores_in_their_order() {
    for seed in 0..700 {
        let program = program(&mut fastrand::Rng::with_seed(seed), 5);
        let mut stores: Vec<Cached> = Vec::new();
        let mut expected = cached_states(&stores);
        for &(thread, step) in &program {
            match step {
                Step::Store { line, word, len, value } | Step::Nontemporal { line, word, len, value } => {
                    let words = (0..len).map(|n| (line, word + n, value + n as u64)).collect();
                    let nontemporal = matches!(step, Step::Nontemporal { .. });
                    stores.push(Cached { words, nontemporal, thread, durable: false });
                }
                Step::Flush(_) => {}
                Step::Drain => {
                    for store in &mut stores {
                        store.durable |= !store.nontemporal || store.thread == thread;
                    }
                }
            }
            expected.extend(cached_states(&stores));
        }
        assert_eq!(explored(&program, Tear::Line, Granularity::Byte), expected, "seed {seed}: {program:#?}");
    }
}
