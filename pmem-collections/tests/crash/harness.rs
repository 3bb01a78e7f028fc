//! Exploring one container: what it takes besides its operations is the same for all.

use pmem_collections::*;
use pmem_crash::{Config, Exploration, Image, Tear};
use std::fmt::Debug;

/// A container in a pool, and its model.
pub(crate) trait Subject {
    /// One transaction.
    type Op: Clone + Debug;
    /// What it holds.
    type Model: Clone + Default + PartialEq + Debug;
    /// Bytes of the pool.
    const LEN: u64;
    fn apply(op: &Self::Op, model: &mut Self::Model);
    fn perform(pool: &Pool, op: &Self::Op) -> Result<()>;
    /// What the pool holds, after all checks of the container; the number of its blocks too. `None` if there is none.
    fn observe(tx: &ReadTx<'_>) -> Result<(Self::Model, u64)>;
    /// Operations that show that what was found can be used.
    fn later() -> Vec<Self::Op>;
}

fn text(error: Error) -> String {
    error.to_string()
}

fn observe<S: Subject>(pool: &Pool) -> std::result::Result<S::Model, String> {
    let report = pool.check().map_err(text)?;
    if !report.is_ok() {
        return Err(format!("the pool: {:?}", report.problems));
    }
    let tx = pool.read().map_err(text)?;
    let (model, blocks) = match S::observe(&tx) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => return Ok(S::Model::default()),
        observed => observed.map_err(text)?,
    };
    // Nothing is lost: its blocks, and the directory's entry.
    let found = report.small_blocks + report.large_blocks;
    if found != blocks + 1 {
        return Err(format!("{found} blocks are allocated, for {blocks}"));
    }
    Ok(model)
}

fn config(tear: Tear) -> Config {
    let config = Config::from_env().tear(tear);
    if std::env::var_os("PMEM_CRASH_LONG").is_some() {
        config.bound(1 << 14).samples(1024).nested(512)
    } else {
        config.bound(64).samples(16).nested(8)
    }
}

/// Explores `ops` on what `before` leaves. The container's number of blocks before and after them.
pub(crate) fn explore<S: Subject>(name: &str, before: &[S::Op], ops: &[S::Op]) -> (u64, u64) {
    let pool = PoolOptions::new().identity(7).create_on(Mapping::anonymous(S::LEN).unwrap()).unwrap();
    let mut model = S::Model::default();
    for op in before {
        S::perform(&pool, op).unwrap();
        S::apply(op, &mut model);
    }
    pool.checkpoint().unwrap();
    assert_eq!(observe::<S>(&pool).unwrap(), model);
    let mut bytes = vec![0; S::LEN as usize];
    // SAFETY: this thread has the only pool on the region, and no transaction.
    unsafe { pool.region().load(0, &mut bytes) };
    let start = Image::new(bytes);
    let blocks = |pool: &Pool| S::observe(&pool.read().unwrap()).map_or(0, |(_, blocks)| blocks);
    let blocks_before = blocks(&pool);
    ops.iter().for_each(|op| S::perform(&pool, op).unwrap());
    let blocks_after = blocks(&pool);
    drop(pool);

    let mut states = vec![model];
    for op in ops {
        let mut next = states.last().unwrap().clone();
        S::apply(op, &mut next);
        states.push(next);
    }
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = Exploration::new(name).config(config(tear)).start(start.clone()).run(
            |mapping, marks| -> Result<()> {
                let pool = Pool::on(mapping)?;
                for op in ops {
                    marks.run(format!("{op:?}"), || S::perform(&pool, op))?;
                }
                std::mem::forget(pool); // the power fails: nothing is closed
                Ok(())
            },
            Pool::on,
            |pool, point| {
                let mut found = observe::<S>(&pool)?;
                if !point.range().any(|k| states[k] == found) {
                    return Err(format!("not a state of {:?}: {found:?}", point.range()));
                }
                for op in S::later() {
                    S::perform(&pool, &op).map_err(text)?;
                    S::apply(&op, &mut found);
                }
                if observe::<S>(&pool)? == found { Ok(()) } else { Err("later changes are not seen".into()) }
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
    }
    (blocks_before, blocks_after)
}
