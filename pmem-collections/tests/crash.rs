//! Every state that a power failure could leave of a tree in a pool, while it grows, splits, shrinks and merges:
//! opened, checked, compared with `std`, and used.
//!
//! `PMEM_CRASH_LONG=1` explores further (`just crash`); without it, a seeded part that is quick.

#[path = "crash/harness.rs"]
mod harness;
#[path = "crash/hash.rs"]
mod hash;
#[path = "crash/nested.rs"]
mod nested;
#[path = "crash/values.rs"]
mod values;
#[path = "crash/vec.rs"]
mod vec;

use pmem_collections::*;
use pmem_crash::{Config, Exploration, Image, Report, Tear};
use std::collections::BTreeMap;

/// Keys so large that an inner node has 8 of them, values so large that a leaf has few: three levels with 60 entries.
type Key = [u64; 8];
type Value = [u64; 20];
type Tree = PBTreeMap<Key, Value>;
type Model = BTreeMap<u64, u64>;

const LEN: u64 = 256 << 10;

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u64, u64),
    Remove(u64),
    /// Two entries in one transaction, by way of the entry API.
    Move(u64, u64),
    Clear,
}
use Op::*;

fn key(n: u64) -> Key {
    [n, 0, 0, 0, 0, 0, 0, !n]
}

fn value(n: u64) -> Value {
    std::array::from_fn(|i| n + i as u64)
}

fn apply(op: Op, model: &mut Model) {
    match op {
        Insert(k, v) => drop(model.insert(k, v)),
        Remove(k) => drop(model.remove(&k)),
        Move(from, to) => {
            let v = model.remove(&from).unwrap_or(0);
            *model.entry(to).or_insert(1000) += v;
        }
        Clear => model.clear(),
    }
}

fn perform(pool: &Pool, op: Op) -> Result<()> {
    pool.write(|tx| {
        let mut tree = tx.open::<Tree>("tree")?;
        match op {
            Insert(k, v) => drop(tree.insert(key(k), value(v))?),
            Remove(k) => drop(tree.remove(key(k))?),
            Move(from, to) => {
                let v = tree.remove(key(from))?.map_or(Ok(0), |old| old.get().map(|v| v[0]))?;
                let place = tree.entry(key(to)).or_insert(value(1000))?;
                *place = value(place[0] + v);
            }
            Clear => tree.clear()?,
        }
        Ok(())
    })
}

/// What the pool holds, after all checks.
fn observe(pool: &Pool) -> std::result::Result<Model, String> {
    let text = |error: Error| error.to_string();
    let report = pool.check().map_err(text)?;
    if !report.is_ok() {
        return Err(format!("the pool: {:?}", report.problems));
    }
    let tx = pool.read().map_err(text)?;
    let tree = match tx.open::<Tree>("tree") {
        Ok(tree) => tree,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => return Ok(Model::new()),
        Err(error) => return Err(text(error)),
    };
    let nodes = tree.check().map_err(text)?;
    let blocks = report.small_blocks + report.large_blocks;
    // Nothing is lost: header, nodes, and the directory's entry.
    if blocks != 2 + nodes.leaves + nodes.inner_nodes {
        return Err(format!("{blocks} blocks are allocated, for {nodes:?}"));
    }
    tree.iter()
        .map(|entry| {
            let (k, v) = entry.map_err(text)?;
            if *k != key(k[0]) || *v != value(v[0]) {
                return Err(format!("entry {} is torn", k[0]));
            }
            Ok((k[0], v[0]))
        })
        .collect()
}

fn config(tear: Tear) -> Config {
    let config = Config::from_env().tear(tear);
    if std::env::var_os("PMEM_CRASH_LONG").is_some() {
        config.bound(1 << 14).samples(1024).nested(512)
    } else {
        config.bound(128).samples(24).nested(16)
    }
}

/// Explores `ops` on a tree that holds `before`.
fn explore(name: &str, before: &[Op], ops: &[Op]) -> Report {
    let pool = Pool::create_on(Mapping::anonymous(LEN).unwrap()).unwrap();
    let mut model = Model::new();
    for &op in before {
        perform(&pool, op).unwrap();
        apply(op, &mut model);
    }
    pool.checkpoint().unwrap();
    let mut bytes = vec![0; LEN as usize];
    // SAFETY: this thread has the only pool on the region, and no transaction.
    unsafe { pool.region().load(0, &mut bytes) };
    let start = Image::new(bytes);
    drop(pool);

    let mut states = vec![model];
    for &op in ops {
        let mut next = states.last().unwrap().clone();
        apply(op, &mut next);
        states.push(next);
    }
    let mut total: Option<Report> = None;
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = Exploration::new(name).config(config(tear)).start(start.clone()).run(
            |mapping, marks| -> Result<()> {
                let pool = Pool::on(mapping)?;
                for &op in ops {
                    marks.run(format!("{op:?}"), || perform(&pool, op))?;
                }
                std::mem::forget(pool); // the power fails: nothing is closed
                Ok(())
            },
            Pool::on,
            |pool, point| {
                let found = observe(&pool)?;
                if !point.range().any(|k| states[k] == found) {
                    return Err(format!("{} entries, not a state of {:?}", found.len(), point.range()));
                }
                // And it can be used: grow and shrink, past a split and a merge.
                let mut expected = found;
                for op in (0..6).map(|i| Insert(1 << 40 | i, i)).chain((0..5).map(|i| Remove(1 << 40 | i))) {
                    perform(&pool, op).map_err(|error| error.to_string())?;
                    apply(op, &mut expected);
                }
                if observe(&pool)? == expected { Ok(()) } else { Err("later changes are not seen".into()) }
            },
        );
        println!(
            "crash | {:<46} | {:>3} operations | {:>5} events | {:>7} images | {:>8} recoveries | {} failures",
            format!("{name}, torn by {tear:?}"),
            report.operations,
            report.steps.len(),
            report.images,
            report.recoveries,
            report.failures
        );
        println!("{report:#}");
        report.assert_ok();
        report.assert_no_lints();
        total = Some(report);
    }
    total.unwrap()
}

fn ascending(n: u64) -> Vec<Op> {
    (0..n).map(|i| Insert(i * 10, i)).collect()
}

#[test]
fn the_first_inserts_survive_at_any_store() {
    explore("tree: creation and first inserts", &[], &ascending(3));
}

#[test]
fn a_leaf_may_split_at_any_store() {
    explore(
        "tree: leaf split",
        &ascending(4),
        &[Insert(15, 1), Insert(16, 2), Insert(17, 3), Insert(5, 4), Remove(16)],
    );
}

#[test]
fn the_root_may_split_at_any_store() {
    let ops: Vec<_> = (0..8).map(|i| Insert(101 + i, i)).collect();
    explore("tree: inner split, growing root", &ascending(36), &ops);
}

#[test]
fn leaves_and_inner_nodes_may_merge_at_any_store() {
    let before = ascending(44);
    let ops: Vec<_> = (20..44).map(|i| Remove(i * 10)).collect();
    explore("tree: merges, shrinking root", &before, &ops);
}

#[test]
fn several_changes_in_one_transaction_are_one() {
    let ops = [Move(10, 11), Move(20, 20), Move(30, 400), Insert(30, 7), Clear, Insert(1, 1)];
    explore("tree: several changes, clear", &ascending(12), &ops);
}
