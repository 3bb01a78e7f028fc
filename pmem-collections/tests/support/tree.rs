//! A tree of three levels with few entries: what is done to it, what it then holds, and what it shows.

use pmem_collections::*;
use std::collections::BTreeMap;

/// Keys so large that an inner node has 8 of them, values so large that a leaf has few: three levels with 60 entries.
pub(crate) type Key = [u64; 8];
pub(crate) type Value = [u64; 20];
pub(crate) type Tree = PBTreeMap<Key, Value>;
pub(crate) type Model = BTreeMap<u64, u64>;

pub(crate) const LEN: u64 = 256 << 10;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Insert(u64, u64),
    Remove(u64),
    /// Two entries in one transaction, by way of the entry API.
    Move(u64, u64),
    Clear,
}
use Op::*;

pub(crate) fn key(n: u64) -> Key {
    [n, 0, 0, 0, 0, 0, 0, !n]
}

pub(crate) fn value(n: u64) -> Value {
    std::array::from_fn(|i| n + i as u64)
}

pub(crate) fn apply(op: Op, model: &mut Model) {
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

pub(crate) fn perform(pool: &Pool, op: Op) -> Result<()> {
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
pub(crate) fn observe(pool: &Pool) -> std::result::Result<Model, String> {
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
