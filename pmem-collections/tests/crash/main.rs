//! Every state that a power failure could leave of a tree in a pool, while it grows, splits, shrinks and merges:
//! opened, checked, compared with `std`, and used.
//!
//! `PMEM_CRASH_LONG=1` explores further (`just crash`); without it, a seeded part that is quick.
#![allow(missing_docs)]

mod nested;
mod plain;
mod values;

use pmem_collections::*;
use pmem_crash::{Config, Exploration, Image, Report, Tear};
use std::fmt::Debug;

const LEN: u64 = 256 << 10;

/// Operations on a map in a pool and on its model.
trait Workload {
    type Op: Copy + Debug;
    type Model: Clone + Default + PartialEq;
    fn apply(op: Self::Op, model: &mut Self::Model);
    /// Durable on return.
    fn perform(pool: &Pool, op: Self::Op) -> Result<()>;
    /// What the pool holds, after all checks.
    fn observe(pool: &Pool) -> std::result::Result<Self::Model, String>;
    /// What is done with every state that is found: it grows and shrinks, past a split and a merge.
    fn use_it() -> Vec<Self::Op>;
}

fn text(error: Error) -> String {
    error.to_string()
}

/// Blocks that are allocated, if the pool is right.
fn blocks(pool: &Pool) -> std::result::Result<u64, String> {
    let report = pool.check().map_err(text)?;
    if !report.is_ok() {
        return Err(format!("the pool: {:?}", report.problems));
    }
    Ok(report.small_blocks + report.large_blocks)
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
fn explore<W: Workload>(name: &str, before: &[W::Op], ops: &[W::Op]) -> Report {
    let pool = Pool::create_on(Mapping::anonymous(LEN).unwrap()).unwrap();
    let mut model = W::Model::default();
    for &op in before {
        W::perform(&pool, op).unwrap();
        W::apply(op, &mut model);
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
        W::apply(op, &mut next);
        states.push(next);
    }
    let mut total: Option<Report> = None;
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = Exploration::new(name).config(config(tear)).start(start.clone()).run(
            |mapping, marks| -> Result<()> {
                let pool = Pool::on(mapping)?;
                for &op in ops {
                    marks.run(format!("{op:?}"), || W::perform(&pool, op))?;
                }
                std::mem::forget(pool); // the power fails: nothing is closed
                Ok(())
            },
            Pool::on,
            |pool, point| {
                let found = W::observe(&pool)?;
                if !point.range().any(|k| states[k] == found) {
                    return Err(format!("not a state of {:?}", point.range()));
                }
                // And it can be used.
                let mut expected = found;
                for op in W::use_it() {
                    W::perform(&pool, op).map_err(text)?;
                    W::apply(op, &mut expected);
                }
                if W::observe(&pool)? == expected { Ok(()) } else { Err("later changes are not seen".into()) }
            },
        );
        println!(
            "crash | {:<46} | {:>3} operations | {:>7} images | {:>8} recoveries | {} failures",
            format!("{name}, torn by {tear:?}"),
            report.operations,
            report.images,
            report.recoveries,
            report.failures
        );
        report.assert_ok();
        total = Some(report);
    }
    total.unwrap()
}
