//! Every state that a power failure could leave of a tree in a pool, while it grows, splits, shrinks and merges:
//! opened, checked, compared with `std`, and used.
//!
//! `PMEM_CRASH_LONG=1` explores further (`just crash`); without it, a seeded part that is quick.

#[path = "crash/art.rs"]
mod art;
#[path = "crash/boxed.rs"]
mod boxed;
#[path = "crash/deque.rs"]
mod deque;
#[path = "crash/harness.rs"]
mod harness;
#[path = "crash/hash.rs"]
mod hash;
#[path = "crash/list.rs"]
mod list;
#[path = "crash/log.rs"]
mod log;
#[path = "crash/nested.rs"]
mod nested;
#[path = "crash/priority_queue.rs"]
mod priority_queue;
#[path = "crash/text.rs"]
mod text;
#[path = "support/tree.rs"]
mod tree;
#[path = "crash/values.rs"]
mod values;
#[path = "crash/vec.rs"]
mod vec;

use pmem_collections::*;
use pmem_crash::{Config, Exploration, Image, Report, Tear};
use tree::{
    LEN, Model,
    Op::{self, *},
    apply, observe, perform,
};

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
