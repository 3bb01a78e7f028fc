//! Models of the protocols for loom: every interleaving of a few steps, within a bound of preemptions (two; three where two
//! do not show what the weakened ordering does). `tests/loom.rs` runs
//! them; each is run again with one ordering weakened, and must fail then.

use super::{
    cells::{Cells, Grow, Shape, Words},
    entries::{Entries, Hashed},
    log::Log,
    ordered::Ordered,
    queue::Queue,
    sync::{Ordering, Site, weaken},
};
use loom::sync::atomic::AtomicU64;
use pmem_alloc::{ErrorKind, Result};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

/// Words in DRAM. Their accesses order nothing: that is for the protocols to do.
#[derive(Clone)]
struct Memory(Arc<Vec<AtomicU64>>);

impl Memory {
    fn new(words: usize) -> Memory {
        Memory(Arc::new((0..words).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Words for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64 * 8
    }
    fn place(&self) -> u64 {
        4096
    }
    fn load(&self, at: u64) -> u64 {
        self.0[at as usize / 8].load(Ordering::Relaxed)
    }
    fn store(&self, at: u64, word: u64) {
        self.0[at as usize / 8].store(word, Ordering::Relaxed);
    }
    fn flush(&self, _: Range<u64>) -> Result<()> {
        Ok(())
    }
    fn drain(&self) -> Result<()> {
        Ok(())
    }
}

fn no_more() -> Grow<Memory> {
    Box::new(|| Err(ErrorKind::NoSpace { needed: 0 }.into()))
}

/// `count` cells that are free.
fn cells(shape: Shape, count: u64) -> Cells<Memory> {
    let memory = Memory::new((shape.cell() * count) as usize / 8);
    let cells = Cells::new(shape, 7, 1, vec![memory], no_more());
    cells.give_tail(0, 0, count);
    cells
}

/// Two words that belong together: one without the other is a torn value.
type Pair = [u64; 2];
type HashMap = Entries<u64, Pair, Memory, Hashed>;
type Map = Entries<u64, Pair, Memory, Ordered<u64>>;

const SHAPE: Shape = Shape { key: 1, value: 2 };

fn pair(n: u64) -> Pair {
    [n, !n]
}

fn check(pair: Pair) -> u64 {
    assert_eq!(pair[1], !pair[0], "torn");
    pair[0]
}

fn insert_against_get() {
    let map = Arc::new(HashMap::new(cells(SHAPE, 2)));
    let writer = map.clone();
    let writer = loom::thread::spawn(move || {
        writer.insert(&1, &pair(10)).unwrap();
        writer.insert(&1, &pair(11)).unwrap();
    });
    let mut last = 0;
    for _ in 0..2 {
        let seen = map.get(&1).unwrap().map_or(0, check);
        assert!([0, 10, 11].contains(&seen) && seen >= last);
        last = seen;
    }
    writer.join().unwrap();
    assert_eq!(map.get(&1).unwrap().map(check), Some(11));
}

fn insert_against_resize() {
    let map = Arc::new(HashMap::new(cells(SHAPE, 3)));
    map.insert(&1, &pair(1)).unwrap();
    let writer = map.clone();
    let writer = loom::thread::spawn(move || {
        writer.insert(&3, &pair(3)).unwrap();
    });
    assert_eq!(map.get(&1).unwrap().map(check), Some(1), "a key that is there all the time");
    if let Some(seen) = map.get(&3).unwrap() {
        assert_eq!(check(seen), 3);
    }
    writer.join().unwrap();
}

fn remove_against_get_and_reuse() {
    let map = Arc::new(HashMap::new(cells(SHAPE, 1)));
    map.insert(&1, &pair(1)).unwrap();
    let writer = map.clone();
    let writer = loom::thread::spawn(move || {
        writer.remove_if(&1, |_| true).unwrap();
        // The only cell: free again if no reader can know it.
        _ = writer.insert(&3, &pair(3));
    });
    if let Some(seen) = map.get(&1).unwrap() {
        assert_eq!(check(seen), 1, "the value of another key");
    }
    writer.join().unwrap();
}

fn insert_against_split() {
    let map = Arc::new(Map::new(cells(SHAPE, 3)));
    map.insert(&10, &pair(10)).unwrap();
    map.insert(&30, &pair(30)).unwrap();
    let writer = map.clone();
    let writer = loom::thread::spawn(move || {
        writer.insert(&20, &pair(20)).unwrap();
    });
    if let Some(seen) = map.get(&20).unwrap() {
        assert_eq!(check(seen), 20);
    }
    for key in [30, 10] {
        assert_eq!(map.get(&key).unwrap().map(check), Some(key), "a key that is there all the time");
    }
    writer.join().unwrap();
}

fn enqueue_against_dequeue() {
    let queue = Queue::<Pair, Memory>::new(cells(Shape { key: 0, value: 2 }, 3), Memory::new(1), []);
    let queue = Arc::new(queue);
    let push = |values: &'static [u64]| {
        let queue = queue.clone();
        loom::thread::spawn(move || values.iter().for_each(|&n| queue.push(&pair(n)).unwrap()))
    };
    let producers = [push(&[1, 2]), push(&[3])];
    let mut popped = Vec::new();
    if let Some(value) = queue.pop().unwrap() {
        popped.push(check(value));
    }
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    while let Some(value) = queue.pop().unwrap() {
        popped.push(check(value));
    }
    assert!(
        popped.iter().position(|&n| n == 1) < popped.iter().position(|&n| n == 2),
        "in order: {popped:?}"
    );
    popped.sort_unstable();
    assert_eq!(popped, [1, 2, 3], "each element once");
}

fn append_against_read() {
    let words = Memory::new(64);
    let grow: Grow<Memory> = Box::new(move || Ok(words.clone()));
    let log = Arc::new(Log::new(7, 1, grow));
    let writer = log.clone();
    let writer = loom::thread::spawn(move || {
        writer.append(&[&[1; 16]]).unwrap();
        writer.append(&[&[2; 16]]).unwrap();
    });
    let guard = crossbeam_epoch::pin();
    let watermark = log.watermark();
    let read = log.read(0, &guard);
    assert!(read.last().map_or(0, |(seq, _)| *seq) >= watermark, "a reader sees up to the watermark");
    for (i, (_, record)) in read.iter().enumerate() {
        assert_eq!(*record, [i as u8 + 1; 16], "torn");
    }
    drop(guard);
    writer.join().unwrap();
}

/// Name, model, preemptions, what is weakened for it to fail.
type Model = (&'static str, fn(), usize, Site);

const MODELS: [Model; 6] = [
    ("hash map: insert and overwrite against get", insert_against_get, 2, Site::Entry),
    ("hash map: insert against get while the table grows", insert_against_resize, 2, Site::Snapshot),
    ("hash map: remove against get, and reuse of the cell", remove_against_get_and_reuse, 3, Site::Retire),
    ("ordered map: insert against get while a leaf is split", insert_against_split, 2, Site::Snapshot),
    ("queue: pushes against pop", enqueue_against_dequeue, 3, Site::Ready),
    ("log: appends against read", append_against_read, 2, Site::Watermark),
];

/// Seconds after which a model is left, with what it has seen by then.
const LONGEST: u64 = 25;

/// Number of executions.
fn run(model: fn(), preemptions: usize) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 1_000_000;
    builder.max_duration = Some(std::time::Duration::from_secs(LONGEST));
    builder.check(move || {
        counted.fetch_add(1, SeqCst);
        model();
    });
    executions.load(SeqCst)
}

/// Which model a process runs weakened, by its number.
const WEAKENED: &str = "PMEM_LOOM_WEAKENED";

/// Runs all models, and prints how many executions each had. Panics if one fails, if one had fewer than 100, or if one does
/// not fail when its ordering is weakened: that is tried in a process of its own, because loom does not
/// survive a panic. `arguments` make this program call this function again.
pub fn run_all(arguments: &[&str]) {
    if let Some(number) = std::env::var(WEAKENED).ok().and_then(|number| number.parse::<usize>().ok()) {
        let (name, model, preemptions, site) = MODELS[number];
        weaken(Some(site));
        println!("begins: {name}");
        run(model, preemptions);
        println!("passed: {name}");
        return;
    }
    for (number, (name, model, preemptions, site)) in MODELS.into_iter().enumerate() {
        let executions = run(model, preemptions);
        println!("loom | {name:<56} | {executions:>7} executions");
        assert!(executions >= 100, "{name}: only {executions} executions");
        let this = std::env::current_exe().expect("a test has a file");
        let weakened = std::process::Command::new(this)
            .args(arguments)
            .env(WEAKENED, number.to_string())
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("this program can be run again");
        let output = String::from_utf8_lossy(&weakened.stdout);
        let failed = output.contains("begins") && !output.contains("passed") && !weakened.status.success();
        println!("loom | {name:<56} | weakened ({site:?}): {}", if failed { "fails" } else { "passes" });
        assert!(failed, "{name} passes although {site:?} is weakened");
    }
}
