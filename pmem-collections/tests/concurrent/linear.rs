//! Histories of small concurrent programs, and whether each is one that a program of one thread at a time could have had:
//! a complete check (Wing and Gong, 1993), and after it a crash.

use crate::maps::{Map, reopened};
use pmem_collections::*;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

/// A call, what it returned, and when it began and ended.
#[derive(Clone, Debug)]
struct Call<O> {
    op: O,
    began: u64,
    ended: u64,
}

/// What a structure does with a call, one at a time: whether it could have returned that.
trait Model: Clone + Eq + std::hash::Hash + Default {
    type Op: Clone + std::fmt::Debug + Send;
    fn step(&mut self, op: &Self::Op) -> bool;
}

/// The states in which the calls of `history` can end, each call at some moment between its beginning and its end. Empty: it is no
/// history that one thread at a time could have had.
fn ends<M: Model>(history: &[Call<M::Op>]) -> HashSet<M> {
    let mut ends = HashSet::new();
    let mut seen = HashSet::new();
    let mut open = vec![(0u64, M::default())];
    let all = (1u64 << history.len()) - 1;
    while let Some((done, state)) = open.pop() {
        if !seen.insert((done, state.clone())) {
            continue;
        }
        if done == all {
            ends.insert(state);
            continue;
        }
        let left = |i: &usize| done >> i & 1 == 0;
        let first_end = (0..history.len()).filter(left).map(|i| history[i].ended).min().expect("one is left");
        for i in (0..history.len()).filter(left).filter(|&i| history[i].began <= first_end) {
            let mut next = state.clone();
            if next.step(&history[i].op) {
                open.push((done | 1 << i, next));
            }
        }
    }
    ends
}

/// A call that is still to be made.
type Made<'s, O> = Box<dyn FnOnce() -> O + Send + 's>;

/// Runs `threads` at once; the history of their calls.
fn record<O: Send>(threads: Vec<Vec<Made<'_, O>>>) -> Vec<Call<O>> {
    let (clock, start) = (AtomicU64::new(0), Barrier::new(threads.len()));
    std::thread::scope(|s| {
        let running: Vec<_> = threads
            .into_iter()
            .map(|calls| {
                let (clock, start) = (&clock, &start);
                s.spawn(move || {
                    start.wait();
                    let call = |call: Made<'_, O>| {
                        let began = clock.fetch_add(1, SeqCst);
                        let op = call();
                        Call { op, began, ended: clock.fetch_add(1, SeqCst) }
                    };
                    calls.into_iter().map(call).collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[derive(Clone, Debug)]
enum MapOp {
    Get(u64, Option<u64>),
    Insert(u64, u64, Option<u64>),
    TryInsert(u64, u64, Option<u64>),
    Add(u64, u64),
    Remove(u64, Option<u64>),
}

impl Model for BTreeMap<u64, u64> {
    type Op = MapOp;
    fn step(&mut self, op: &MapOp) -> bool {
        match *op {
            MapOp::Get(key, found) => self.get(&key).copied() == found,
            MapOp::Insert(key, value, old) => self.insert(key, value) == old,
            MapOp::TryInsert(key, value, there) => {
                let before = self.get(&key).copied();
                self.entry(key).or_insert(value);
                before == there
            }
            MapOp::Add(key, new) => {
                let n = self.entry(key).or_insert(0);
                *n += 1;
                *n == new
            }
            MapOp::Remove(key, old) => self.remove(&key) == old,
        }
    }
}

fn map_call(map: &impl Map, rng: &mut fastrand::Rng, value: u64) -> MapOp {
    let key = rng.u64(..3);
    match rng.u8(..8) {
        0 | 1 => MapOp::Get(key, map.get(key).unwrap()),
        2 | 3 => MapOp::Insert(key, value, map.insert(key, value).unwrap()),
        4 => MapOp::TryInsert(key, value, map.try_insert(key, value).unwrap()),
        5 => MapOp::Add(key, map.update(key, |old| old.unwrap_or(0) + 1).unwrap()),
        _ => MapOp::Remove(key, map.remove(key).unwrap()),
    }
}

fn histories_of_maps<M: Map>() {
    let mut several = 0;
    for seed in 0..400 {
        let pool = Pool::create_on(Mapping::anonymous(512 << 10).unwrap()).unwrap();
        let map = M::open(&pool).unwrap();
        let map = &map;
        let threads = (0..3u64)
            .map(|thread| {
                let mut seeds = fastrand::Rng::with_seed(seed * 3 + thread);
                (0..5u64)
                    .map(|n| {
                        let mut rng = seeds.fork();
                        Box::new(move || map_call(map, &mut rng, thread * 100 + n)) as Made<'_, MapOp>
                    })
                    .collect()
            })
            .collect();
        let history = record(threads);
        let ends: HashSet<BTreeMap<u64, u64>> = ends(&history);
        assert!(!ends.is_empty(), "seed {seed} is not linearizable: {history:#?}");
        several += usize::from(ends.len() > 1);
        let found = map.all().unwrap();
        assert!(ends.contains(&found), "seed {seed}: {found:?} after {history:#?}");
        // All of it returned, so all of it survives.
        assert_eq!(M::open(&reopened(&pool)).unwrap().all().unwrap(), found);
    }
    println!("linear | {:<18} | 400 histories of 15 calls, {several} with several ends", M::NAME);
}

#[test]
fn histories_of_a_concurrent_hash_map_are_linearizable() {
    histories_of_maps::<ConcurrentHashMap<u64, u64>>();
}

#[test]
fn histories_of_a_concurrent_map_are_linearizable() {
    histories_of_maps::<ConcurrentMap<u64, u64>>();
}

#[derive(Clone, Debug)]
enum QueueOp {
    Push(u64),
    Pop(Option<u64>),
}

impl Model for VecDeque<u64> {
    type Op = QueueOp;
    fn step(&mut self, op: &QueueOp) -> bool {
        match *op {
            QueueOp::Push(value) => {
                self.push_back(value);
                true
            }
            QueueOp::Pop(found) => self.pop_front() == found,
        }
    }
}

#[test]
fn histories_of_a_queue_are_linearizable_also_across_a_crash() {
    for seed in 0..400 {
        let pool = Pool::create_on(Mapping::anonymous(512 << 10).unwrap()).unwrap();
        let queue = MpmcQueue::<u64>::open(&pool, "queue").unwrap();
        let queue = &queue;
        let threads = (0..3u64)
            .map(|thread| {
                let mut rng = fastrand::Rng::with_seed(seed * 3 + thread);
                (0..5u64)
                    .map(|n| {
                        let (pushes, value) = (rng.u8(..5) < 3, thread * 100 + n);
                        Box::new(move || match pushes {
                            true => {
                                queue.push(value).unwrap();
                                QueueOp::Push(value)
                            }
                            false => QueueOp::Pop(queue.pop().unwrap()),
                        }) as Made<'_, QueueOp>
                    })
                    .collect()
            })
            .collect();
        let history = record(threads);
        let ends: HashSet<VecDeque<u64>> = ends(&history);
        assert!(!ends.is_empty(), "seed {seed} is not linearizable: {history:#?}");
        let again = MpmcQueue::<u64>::open(&reopened(&pool), "queue").unwrap();
        for queue in [queue, &again] {
            let mut found = VecDeque::new();
            while let Some(value) = queue.pop().unwrap() {
                found.push_back(value);
            }
            assert!(ends.contains(&found), "seed {seed}: {found:?} after {history:#?}");
        }
    }
}

fn call<O>(op: O, began: u64, ended: u64) -> Call<O> {
    Call { op, began, ended }
}

#[test]
fn a_history_that_no_single_thread_could_have_had_is_refused() {
    let stale = [call(MapOp::Insert(1, 5, None), 0, 1), call(MapOp::Get(1, None), 2, 3)];
    assert!(ends::<BTreeMap<u64, u64>>(&stale).is_empty());
    let beside = [call(MapOp::Insert(1, 5, None), 0, 3), call(MapOp::Get(1, None), 1, 2)];
    assert_eq!(ends::<BTreeMap<u64, u64>>(&beside).len(), 1);
    let swapped =
        [call(QueueOp::Push(1), 0, 1), call(QueueOp::Push(2), 2, 3), call(QueueOp::Pop(Some(2)), 4, 5)];
    assert!(ends::<VecDeque<u64>>(&swapped).is_empty());
}
