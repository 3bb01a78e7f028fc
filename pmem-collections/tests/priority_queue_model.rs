//! `PPriorityQueue` does what `BinaryHeap` does, and equal elements leave it in the order in which they came: random operations on
//! both, in transactions that commit, are dropped, or go back to a savepoint, with reopening in between.
#![allow(missing_docs)]

mod support;

use bytemuck::{Pod, Zeroable};
use fastrand::Rng;
use pmem_collections::*;
use proptest::prelude::*;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    fmt::Debug,
};

/// Two elements are equal if their priorities are: what else there is shows which of them it is.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Job {
    priority: u32,
    id: u32,
}
impl Plain for Job {
    const NAME: &'static str = "test.Job";
    const FIELDS: Option<&'static [PlainField]> = fields!(Job { priority: u32, id: u32 });
}
impl PartialEq for Job {
    fn eq(&self, other: &Job) -> bool {
        self.priority == other.priority
    }
}
impl Eq for Job {}
impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Job) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Job {
    fn cmp(&self, other: &Job) -> Ordering {
        self.priority.cmp(&other.priority)
    }
}

fn assert_same<T: Plain + Ord + Debug, M: Mode>(
    queue: &PriorityQueueGuard<'_, T, M>,
    model: &BinaryHeap<T>,
) -> Result<()> {
    assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(queue.check()?.entries, model.len() as u64);
    assert_eq!(queue.peek()?, model.peek());
    let sorted = model.clone().into_sorted_vec();
    assert_eq!(queue.to_sorted_vec()?, sorted);
    assert!(queue.iter().map(Result::unwrap).eq(sorted.iter().rev()));
    Ok(())
}

fn operate<T: Plain + Ord + Debug>(
    queue: &mut PriorityQueueGuard<'_, T, Write>,
    model: &mut BinaryHeap<T>,
    random: &mut Rng,
    value: &mut impl FnMut(&mut Rng) -> T,
    growing: bool,
) -> Result<()> {
    match random.u8(..if growing { 12 } else { 24 }) {
        0..6 => {
            let v = value(random);
            queue.push(v)?;
            model.push(v);
        }
        6 => {
            let many: Vec<T> = (0..random.usize(..50)).map(|_| value(random)).collect();
            queue.extend(&many)?;
            model.extend(many);
        }
        7 if random.u8(..30) == 0 => {
            let below = value(random);
            queue.retain(|element| *element < below)?;
            model.retain(|element| *element < below);
        }
        8 if random.u8(..100) == 0 => {
            let drained = queue.drain()?;
            assert!(drained.iter().rev().eq(model.clone().into_sorted_vec().iter()));
            model.clear();
        }
        9 if random.u8(..100) == 0 => {
            queue.clear()?;
            model.clear();
        }
        _ => assert_eq!(queue.pop()?, model.pop()),
    }
    Ok(())
}

fn random_operations<T: Plain + Ord + Debug>(
    seed: u64,
    operations: usize,
    mut value: impl FnMut(&mut Rng) -> T,
) -> Result<()> {
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut pool = Pool::anonymous(8 << 20)?;
    let mut model = BinaryHeap::new();
    let (mut done, mut growing) = (0, true);
    while done < operations {
        if random.u8(..6) == 0 {
            growing = !growing;
        }
        let mut tx = pool.begin()?;
        let mut changed = model.clone();
        for _ in 0..random.usize(1..4) {
            let (savepoint, before) = (tx.savepoint(), changed.clone());
            let mut queue = tx.open::<PPriorityQueue<T>>("queue")?;
            for _ in 0..random.usize(..100) {
                operate(&mut queue, &mut changed, &mut random, &mut value, growing)?;
                done += 1;
            }
            if random.u8(..4) == 0 {
                tx.rollback_to(&savepoint)?;
                changed = before;
            }
        }
        assert_same(&tx.open::<PPriorityQueue<T>>("queue")?, &changed)?;
        if random.u8(..4) == 0 {
            drop(tx);
        } else if tx.commit().is_ok() {
            model = changed;
        } // else it was too much for the log, and nothing happened
        if random.u8(..8) == 0 {
            pool = support::reopened(&pool);
        }
        let report = pool.check()?;
        assert!(report.is_ok());
        let tx = pool.read()?;
        match tx.open::<PPriorityQueue<T>>("queue") {
            Ok(queue) => {
                assert_same(&queue, &model)?;
                let summary = queue.check()?;
                let blocks = report.small_blocks + report.large_blocks;
                assert_eq!(blocks, 2 + summary.leaves + summary.inner_nodes);
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model.is_empty()),
        }
    }
    pool.write(|tx| tx.open::<PPriorityQueue<T>>("queue")?.clear())?;
    let report = pool.check()?;
    assert_eq!((report.small_blocks, report.large_blocks), (2, 0));
    Ok(())
}

#[test]
fn random_operations_on_words_do_what_std_does() -> Result<()> {
    (0..4).try_for_each(|seed| random_operations::<u64>(seed, 6_000, |r| r.u64(..)))
}

#[test]
fn random_operations_with_many_equal_elements_do_what_std_does() -> Result<()> {
    (0..4).try_for_each(|seed| random_operations::<u64>(seed, 6_000, |r| r.u64(..12)))
}

#[test]
fn random_operations_on_elements_of_other_sizes_do_what_std_does() -> Result<()> {
    random_operations::<u8>(1, 3_000, |r| r.u8(..))?;
    random_operations::<[u8; 3]>(2, 3_000, |r| [r.u8(..); 3])?;
    random_operations::<u128>(3, 3_000, |r| r.u128(..))?;
    random_operations::<[u64; 40]>(4, 2_000, |r| [r.u64(..); 40])?;
    random_operations::<()>(5, 1_000, |_| ())
}

#[test]
fn elements_with_equal_priorities_leave_in_the_order_in_which_they_came_and_keep_what_else_they_have()
-> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    let mut random = Rng::with_seed(7);
    let mut waiting: Vec<Job> = Vec::new();
    for id in 0..2_000 {
        pool.write(|tx| {
            let mut jobs = tx.open::<PPriorityQueue<Job>>("jobs")?;
            let job = Job { priority: random.u32(..7), id };
            jobs.push(job)?;
            waiting.push(job);
            if random.u8(..5) < 2 {
                // The first of the greatest: `max_by_key` would find the last.
                let greatest = waiting.iter().map(|job| job.priority).max().expect("one was pushed");
                let first = waiting.iter().position(|job| job.priority == greatest).expect("it is there");
                let job = waiting.remove(first);
                assert_eq!(jobs.pop()?.map(|job| job.id), Some(job.id));
            }
            Ok(())
        })?;
    }
    waiting.sort_by_key(|job| Reverse(job.priority)); // stable
    let left = pool.write(|tx| tx.open::<PPriorityQueue<Job>>("jobs")?.drain())?;
    assert!(left.iter().map(|job| job.id).eq(waiting.iter().map(|job| job.id)));
    Ok(())
}

type Text = PPriorityQueue<Reverse<(u32, String)>>;

#[test]
fn the_smallest_of_tuples_with_strings_comes_first_and_nothing_leaks() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| tx.open::<Text>("queue").map(drop))?;
    let empty = pool.stats()?.used;
    let mut model = BinaryHeap::new();
    let mut random = Rng::with_seed(3);
    for _ in 0..60 {
        pool.write(|tx| {
            let mut queue = tx.open::<Text>("queue")?;
            for _ in 0..random.usize(..40) {
                let element = (random.u32(..20), "w".repeat(random.usize(..60)));
                queue.push(Reverse((element.0, &element.1)))?;
                model.push(Reverse(element));
            }
            for _ in 0..random.usize(..30) {
                let peeked = queue.peek()?.map(|Reverse((n, text))| Reverse((n, text.to_string())));
                assert_eq!(peeked.as_ref(), model.peek());
                assert_eq!(queue.pop()?, model.pop());
            }
            queue.check().map(drop)
        })?;
        assert!(pool.check()?.is_ok());
    }
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    for pool in [&pool, &copy] {
        let tx = pool.read()?;
        let queue = tx.open::<Text>("queue")?;
        assert_eq!(queue.to_sorted_vec()?, model.clone().into_sorted_vec());
        queue.check()?;
    }
    pool.write(|tx| tx.open::<Text>("queue")?.clear())?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[test]
fn queues_are_values_of_other_containers() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    type Rooms = PBTreeMap<String, PPriorityQueue<u64>>;
    pool.write(|tx| {
        let mut rooms = tx.open::<Rooms>("rooms")?;
        rooms.open_mut("a")?.extend([3, 1, 2])?;
        rooms.open_mut("b")?.push(9)?;
        assert_eq!(rooms.open_mut("a")?.pop()?, Some(3));
        rooms.remove("b")?;
        rooms.check_objects(|queue| queue.check().map(drop)).map(drop)
    })?;
    let tx = pool.read()?;
    let rooms = tx.open::<Rooms>("rooms")?;
    assert_eq!(rooms.open("a")?.expect("it is there").to_sorted_vec()?, [1, 2]);
    assert!(rooms.open("b")?.is_none());
    drop(tx);
    assert!(pool.check()?.is_ok());
    Ok(())
}

#[test]
fn a_full_pool_leaves_a_queue_as_it_was_and_later_pushes_work() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let mut random = Rng::with_seed(2);
    let mut model = BinaryHeap::new();
    loop {
        let tx = pool.begin()?;
        let mut queue = tx.open::<PPriorityQueue<String>>("queue")?;
        let element = format!("{:0>2000}", random.u32(..));
        match queue.push(&element) {
            Ok(()) => model.push(element),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                assert_eq!(queue.check()?.entries, model.len() as u64);
                assert_eq!(queue.to_sorted_vec()?, model.clone().into_sorted_vec());
                break;
            }
        }
        tx.commit()?;
    }
    assert!(model.len() > 100, "{}", model.len());
    pool.write(|tx| {
        let mut queue = tx.open::<PPriorityQueue<String>>("queue")?;
        for _ in 0..50 {
            assert_eq!(queue.pop()?, model.pop());
        }
        Ok(())
    })?;
    pool.write(|tx| tx.open::<PPriorityQueue<String>>("queue")?.push("~"))?;
    model.push("~".into());
    let tx = pool.read()?;
    let queue = tx.open::<PPriorityQueue<String>>("queue")?;
    assert_eq!(queue.to_sorted_vec()?, model.into_sorted_vec());
    Ok(())
}

#[test]
fn elements_beyond_the_limit_and_other_types_are_errors_that_say_so() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let error = pool.write(|tx| tx.open::<PPriorityQueue<[u64; 300]>>("large").map(drop)).unwrap_err();
    assert!(error.to_string().contains("keys of 2408 bytes"), "{error}");
    pool.write(|tx| {
        let mut queue = tx.open::<PPriorityQueue<String>>("queue")?;
        queue.push("x".repeat((1 << 16) - 8))?;
        let error = queue.push("x".repeat((1 << 16) - 7)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error}");
        assert_eq!(queue.len(), 1);
        Ok(())
    })?;
    for error in [
        pool.read()?.open::<PPriorityQueue<Reverse<String>>>("queue").err().unwrap(),
        pool.read()?.open::<PBTreeSet<String>>("queue").err().unwrap(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Operation {
    Push(u8),
    Extend(Vec<u8>),
    Pop(u8),
    Keep(u8),
    Drain,
}
use Operation::*;

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => any::<u8>().prop_map(Push),
        2 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Extend),
        4 => (0..20u8).prop_map(Pop),
        1 => any::<u8>().prop_map(Keep),
        1 => Just(Drain),
    ]
}

fn apply(
    queue: &mut Mut<PPriorityQueue<u8>>,
    model: &mut BinaryHeap<u8>,
    operation: &Operation,
) -> Result<()> {
    match operation {
        Push(v) => {
            queue.push(v)?;
            model.push(*v);
        }
        Extend(values) => {
            queue.extend(values)?;
            model.extend(values);
        }
        Pop(n) => {
            for _ in 0..*n {
                assert_eq!(queue.pop()?, model.pop());
            }
        }
        Keep(below) => {
            queue.retain(|v| v < below)?;
            model.retain(|v| v < below);
        }
        Drain => {
            let drained = queue.drain()?;
            assert!(drained.iter().rev().eq(&model.clone().into_sorted_vec()));
            model.clear();
        }
    }
    assert_same(queue, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..10), any::<bool>()), 1..6)
    ) {
        let pool = Pool::anonymous(1 << 20).unwrap();
        let mut committed = BinaryHeap::new();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut queue = tx.open::<PPriorityQueue<u8>>("queue").unwrap();
            let mut model = committed.clone();
            for operation in &operations {
                apply(&mut queue, &mut model, operation).unwrap();
            }
            if commit {
                tx.commit().unwrap();
                committed = model;
            }
        }
    }
}
