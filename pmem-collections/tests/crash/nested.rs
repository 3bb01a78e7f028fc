//! Maps in a map: made, filled and destroyed through the outer one.

use crate::harness::{Subject, explore};
use pmem_collections::*;
use std::{cell::Cell, collections::BTreeMap};

type Outer = PBTreeMap<String, PBTreeMap<u64, Vec<u8>>>;
type Model = BTreeMap<u64, BTreeMap<u64, usize>>;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Into one inner map, from a key on, so many, with values of a length.
    Put(u64, u64, u64, usize),
    /// One inner map, with all that is in it.
    Remove(u64),
    /// Inner maps whose number can be divided.
    Retain(u64),
    Clear,
}
use Op::*;

fn key(n: u64) -> String {
    format!("the inner map of number {n}")
}

fn number(key: &str) -> Option<u64> {
    key.strip_prefix("the inner map of number ")?.parse().ok()
}

struct Nested;

impl Subject for Nested {
    type Op = Op;
    type Model = Model;
    const LEN: u64 = 256 << 10;

    fn apply(op: &Op, model: &mut Model) {
        match *op {
            Put(n, from, count, len) => {
                model.entry(n).or_default().extend((from..from + count).map(|key| (key, len)))
            }
            Remove(n) => drop(model.remove(&n)),
            Retain(by) => model.retain(|n, _| n % by == 0),
            Clear => model.clear(),
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        pool.write(|tx| {
            let mut outer = tx.open::<Outer>("outer")?;
            match *op {
                Put(n, from, count, len) => {
                    outer.open_mut(key(n))?.extend((from..from + count).map(|key| (key, vec![n as u8; len])))
                }
                Remove(n) => outer.remove(key(n)).map(drop),
                Retain(by) => outer.retain_keys(|key| number(key).is_some_and(|n| n % by == 0)),
                Clear => outer.clear(),
            }
        })
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(Model, u64)> {
        let outer = tx.open::<Outer>("outer")?;
        let inside = Cell::new(0);
        let nodes = outer.check_objects(|inner| {
            let nodes = inner.check()?;
            inside.set(inside.get() + nodes.nodes() + nodes.blocks);
            Ok(())
        })?;
        let mut model = Model::new();
        for entry in outer.objects() {
            let (name, inner) = entry?;
            let n = number(name).ok_or_else(|| Error::abort(format!("key {name:?} is torn")))?;
            for entry in &inner {
                let (key, value) = entry?;
                if value.iter().any(|byte| *byte != n as u8) {
                    return Err(Error::abort(format!("the value of {key} in {n} is torn")));
                }
                model.entry(n).or_default().insert(*key, value.len());
            }
        }
        // Header, nodes, keys, and headers of the inner maps; and what these have.
        Ok((model, 1 + nodes.nodes() + nodes.blocks + inside.get()))
    }

    fn later() -> Vec<Op> {
        vec![Put(900, 1, 3, 30), Put(901, 1, 1, 5), Remove(900)]
    }
}

#[test]
fn maps_in_a_map_may_be_made_filled_and_destroyed_at_any_store() {
    let before: Vec<_> = (1..8).map(|n| Put(n, 0, 5 * n, 7 * n as usize)).collect();
    let ops = [
        Put(1, 0, 20, 50),
        Put(9, 0, 3, 300),
        Remove(7),
        Remove(2),
        Retain(3),
        Put(3, 1, 1, 1),
        Clear,
        Put(1, 1, 1, 1),
    ];
    explore::<Nested>("maps in a map", &before, &ops);
}
