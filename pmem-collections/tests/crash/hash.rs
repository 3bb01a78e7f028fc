//! A hash map while it grows, splits, shrinks and is emptied.

use crate::harness::{Subject, explore};
use pmem_collections::*;
use std::collections::BTreeMap;

/// 4 slots in a bucket, 4 buckets in a full segment.
type Value = [u64; 60];
type Map = PHashMap<u64, Value>;

struct Hash;

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u64, u64),
    Remove(u64),
    /// Two entries in one transaction, by way of the entry API.
    Move(u64, u64),
    /// Many in one transaction: with splits in it.
    Fill(u64, u64),
    RetainEven,
    Drain,
    Clear,
}
use Op::*;

fn value(n: u64) -> Value {
    std::array::from_fn(|i| n + i as u64)
}

impl Subject for Hash {
    type Op = Op;
    type Model = BTreeMap<u64, u64>;
    const LEN: u64 = 512 << 10;

    fn apply(op: &Op, model: &mut Self::Model) {
        match *op {
            Insert(k, v) => drop(model.insert(k, v)),
            Remove(k) => drop(model.remove(&k)),
            Move(from, to) => {
                let v = model.remove(&from).unwrap_or(0);
                *model.entry(to).or_insert(1000) += v;
            }
            Fill(from, to) => model.extend((from..to).map(|k| (k, k))),
            RetainEven => model.retain(|k, _| k % 2 == 0),
            Drain | Clear => model.clear(),
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        pool.write(|tx| {
            let mut map = tx.open::<Map>("map")?;
            match *op {
                Insert(k, v) => drop(map.insert(k, value(v))?),
                Remove(k) => drop(map.remove(k)?),
                Move(from, to) => {
                    let v = map.remove(from)?.map_or(Ok(0), |old| old.get().map(|v| v[0]))?;
                    let place = map.entry(to).or_insert(value(1000))?;
                    *place = value(place[0] + v);
                }
                Fill(from, to) => map.extend((from..to).map(|k| (k, value(k))))?,
                RetainEven => map.retain(|k, _| k % 2 == 0)?,
                Drain => map.drain()?.take(3).try_for_each(|entry| entry.map(drop))?,
                Clear => map.clear()?,
            }
            Ok(())
        })
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(Self::Model, u64)> {
        let map = tx.open::<Map>("map")?;
        let summary = map.check()?;
        let entries = map.iter().map(|entry| {
            let (k, v) = entry?;
            if *v != value(v[0]) {
                return Err(Error::abort(format!("entry {k} is torn")));
            }
            Ok((*k, v[0]))
        });
        Ok((entries.collect::<Result<_>>()?, 1 + summary.segments + summary.chunks))
    }

    fn later() -> Vec<Op> {
        let mut ops: Vec<_> = (0..10).map(|i| Insert(1 << 40 | i, i)).collect();
        ops.extend([Fill(1 << 41, 1 << 41 | 40), Remove(1 << 40), Move(1 << 40 | 1, 1 << 40 | 2)]);
        ops
    }
}

fn inserts(from: u64, to: u64) -> Vec<Op> {
    (from..to).map(|k| Insert(k, k)).collect()
}

#[test]
fn a_hash_map_may_be_created_and_grow_at_any_store() {
    explore::<Hash>("hash: creation, first inserts, growing", &[], &inserts(0, 10));
}

#[test]
fn a_segment_may_split_at_any_store() {
    // Somewhere in these the full segment splits, and gets a directory.
    let blocks = explore::<Hash>("hash: the first split", &[Fill(0, 10)], &inserts(10, 18));
    assert_eq!(blocks, (2, 4), "header and segment, then another segment and a directory");
    // And here others do, in the directory.
    let (before, after) =
        explore::<Hash>("hash: further splits", &[Fill(0, 36)], &[Fill(36, 44), Insert(44, 1), Fill(45, 60)]);
    assert!(before >= 4 && after > before, "{before} blocks before, {after} after");
}

#[test]
fn entries_may_be_removed_and_moved_at_any_store() {
    let ops = [Remove(3), Move(4, 5), Move(6, 100), Remove(7), Insert(7, 8), Insert(8, 9)];
    explore::<Hash>("hash: removals, moves, overwrites", &[Fill(0, 30)], &ops);
}

#[test]
fn a_hash_map_may_be_thinned_and_emptied_at_any_store() {
    let ops = [RetainEven, Insert(1, 1), Clear, Insert(1, 1), Fill(2, 40), Drain, Insert(3, 3), Remove(3)];
    explore::<Hash>("hash: retain, clear, drain", &[Fill(0, 40)], &ops);
}
