//! Every store, flush and drain of the tree's operations left out in turn: an exploration finds it, or
//! `mutation.exceptions` proves that the line is needed all the same.
//!
//! As many as it takes; all of them with `just mutation`, which prints the table for the whole workspace. A container
//! that is added adds its operations here.
#![allow(missing_docs)]

#[path = "support/tree.rs"]
mod tree;

use pmem_collections::*;
use pmem_crash::{Exploration, Image, Ops, Report, mutation::Table};
use pmem_map::{Event, Observer, Region};
use std::sync::{Arc, Mutex};
use tree::{
    LEN, Model,
    Op::{self, *},
    Tree, apply, observe, perform,
};

/// Steps that can be left out. More is better; less needs a reason.
const STEPS: usize = 710;

/// A pool to begin with.
#[derive(Clone)]
struct Start {
    image: Image,
    model: Model,
}

fn image_of(pool: &Pool) -> Image {
    pool.checkpoint().unwrap();
    let mut bytes = vec![0; LEN as usize];
    // SAFETY: this thread has the only pool on the region, and no transaction.
    unsafe { pool.region().load(0, &mut bytes) };
    Image::new(bytes)
}

/// A pool on which `count` random operations were done, and then all entries removed.
fn used(count: u64) -> Start {
    let pool = PoolOptions::new().identity(7).create_on(Mapping::anonymous(LEN).unwrap()).unwrap();
    let mut random = fastrand::Rng::with_seed(count);
    for n in 0..count {
        let k = random.u64(0..60);
        perform(&pool, if random.bool() { Insert(k, n) } else { Remove(k) }).unwrap();
    }
    if count > 0 {
        perform(&pool, Clear).unwrap();
    }
    Start { image: image_of(&pool), model: Model::new() }
}

/// `start`, and `ops` done.
fn with(start: &Start, ops: &[Op]) -> Start {
    let pool = Pool::on(start.image.to_mapping().unwrap()).unwrap();
    let mut model = start.model.clone();
    for &op in ops {
        perform(&pool, op).unwrap();
        apply(op, &mut model);
    }
    Start { image: image_of(&pool), model }
}

/// Offsets of records.
#[derive(Default)]
struct Records(Mutex<Vec<u64>>);

impl Observer for Records {
    fn event(&self, _: &Region, event: Event<'_>) {
        if let Event::StoreNontemporal { offset, .. } = event {
            self.0.lock().unwrap().push(offset);
        }
    }
}

/// Overwrites of an entry that fill the ring, from where it is when a pool is opened: the next record is at its start again.
fn filling(start: &Start) -> Vec<Op> {
    let records = Arc::new(Records::default());
    let mapping = start.image.to_mapping().unwrap();
    mapping.observe(records.clone()).map_err(drop).unwrap();
    let pool = Pool::on(mapping).unwrap();
    let Some(&k) = start.model.keys().next() else { return Vec::new() };
    let mut ops = Vec::new();
    loop {
        let op = Insert(k, 100 + ops.len() as u64);
        perform(&pool, op).unwrap();
        let offsets = records.0.lock().unwrap();
        if offsets.last_chunk::<2>().is_some_and(|pair| pair[1] < pair[0]) {
            return ops;
        }
        drop(offsets);
        ops.push(op);
        assert!(ops.len() < 10_000, "the ring never wraps");
    }
}

/// A pool in `start`, on which `before` was done: the operation, and two more after it.
fn operation(exploration: Exploration, start: &Start, before: &[Op], name: &str, op: Op) -> Report {
    let ops = [op, Insert(1 << 40, 1), Insert(1, 2)];
    let mut model = start.model.clone();
    before.iter().for_each(|&op| apply(op, &mut model));
    let mut states = vec![model];
    for op in ops {
        let mut next = states.last().unwrap().clone();
        apply(op, &mut next);
        states.push(next);
    }
    exploration.configure(|config| config.raw_stores(false)).start(start.image.clone()).run(
        |mapping, marks: &Ops| -> Result<()> {
            let pool = marks.prepare(|| {
                let pool = Pool::on(mapping)?;
                before.iter().try_for_each(|&op| perform(&pool, op))?;
                Ok::<Pool, Error>(pool)
            })?;
            for (n, name) in [name, "after it", "and after that"].into_iter().enumerate() {
                marks.run(name, || perform(&pool, ops[n]))?;
                marks.prepare(|| assert_eq!(observe(&pool).unwrap(), states[n + 1], "visible"));
            }
            std::mem::forget(pool); // the power fails: nothing is closed
            Ok(())
        },
        Pool::on,
        |pool, point| {
            let mut expected = observe(&pool)?;
            if !point.range().any(|done| states[done] == expected) {
                return Err(format!("{} entries, not a state of {:?}", expected.len(), point.range()));
            }
            // And it can be used: grow and shrink, past a split and a merge.
            for op in (0..6).map(|i| Insert(1 << 41 | i, i)).chain((0..5).map(|i| Remove(1 << 41 | i))) {
                perform(&pool, op).map_err(|error| error.to_string())?;
                apply(op, &mut expected);
            }
            if observe(&pool)? == expected { Ok(()) } else { Err("later changes are not seen".into()) }
        },
    )
}

/// Entries 0, 10, 20, ..., with the numbers 0, 1, 2, ...
fn ascending(n: u64) -> Vec<Op> {
    (0..n).map(|i| Insert(i * 10, i)).collect()
}

/// Of the operations `candidates` on what `before` leaves, the first that makes `wanted` of the leaves and inner nodes.
fn that_makes(
    start: &Start,
    before: &[Op],
    candidates: impl Iterator<Item = Op>,
    wanted: impl Fn((u64, u64), (u64, u64)) -> bool,
) -> (Vec<Op>, Op) {
    let pool = Pool::on(start.image.to_mapping().unwrap()).unwrap();
    before.iter().for_each(|&op| perform(&pool, op).unwrap());
    let shape = || {
        let tx = pool.read().unwrap();
        let nodes = tx.open::<Tree>("tree").unwrap().check().unwrap();
        (nodes.leaves, nodes.inner_nodes)
    };
    let mut done = before.to_vec();
    for op in candidates {
        let before = shape();
        perform(&pool, op).unwrap();
        if wanted(before, shape()) {
            return (done, op);
        }
        done.push(op);
    }
    panic!("no candidate does it");
}

#[test]
fn every_step_that_is_left_out_is_found() {
    let (new, old) = (used(0), used(10_000));
    let inserts = || (0..).map(|i| Insert(101 + i, i));
    let removes = |n: u64| (0..n).map(|i| Remove(i * 10));
    let operations = [
        ("tree: insert", (ascending(10), Insert(15, 7))),
        ("tree: overwrite", (ascending(10), Insert(50, 7))),
        ("tree: remove", (ascending(10), Remove(50))),
        ("tree: leaf split", that_makes(&new, &ascending(10), inserts(), |a, b| b.0 > a.0 && b.1 == a.1)),
        (
            "tree: inner split, new root",
            that_makes(&new, &ascending(30), inserts(), |a, b| a.1 >= 1 && b.1 > a.1),
        ),
        ("tree: leaf merge", that_makes(&new, &ascending(40), removes(40), |a, b| b.0 < a.0 && b.1 == a.1)),
        ("tree: inner merge or root gone", that_makes(&new, &ascending(50), removes(50), |a, b| b.1 < a.1)),
        ("tree: two changes in one", (ascending(12), Move(20, 500))),
        ("tree: clear", (ascending(30), Clear)),
        ("tree: first insert", (Vec::new(), Insert(5, 5))),
    ];
    let mut table = Table::new("pmem-collections", include_str!("mutation.exceptions"));
    for (name, (before, op)) in &operations {
        let (fresh, aged) = (with(&new, before), with(&old, before));
        let wrap = filling(&fresh);
        // A commit of which the lines are to be flushed by the operation.
        let one: Vec<Op> = fresh.model.keys().next_back().map(|&k| Insert(k, 77)).into_iter().collect();
        for (state, start, before) in [
            ("log about to wrap", fresh.clone(), wrap),
            ("10,000 operations old", aged, one.clone()),
            ("fresh", fresh, one),
        ] {
            // (An empty tree has no entry to overwrite.)
            if state != "log about to wrap" || !before.is_empty() {
                table
                    .row(*name, state, move |exploration| operation(exploration, &start, &before, name, *op));
            }
        }
    }
    table.finish(STEPS);
}
