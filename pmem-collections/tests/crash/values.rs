//! Trees of strings and byte slices: what varies in length is in slots and in blocks of its own, and separators are too.

use crate::harness::{Subject, explore};
use pmem_collections::*;
use std::collections::BTreeMap;

type Tree = PBTreeMap<String, Vec<u8>>;
/// Number of the key to length of the value.
type Model = BTreeMap<u64, usize>;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// A key, and the length of its value.
    Insert(u64, usize),
    Remove(u64),
    /// Three values of other lengths in one transaction.
    Overwrite(u64, [usize; 3]),
    /// Keys from one number on, so many, with values of a length.
    BulkLoad(u64, u64, usize),
    /// Those whose number can be divided.
    Retain(u64),
    Clear,
    /// Changes that are dropped.
    Abort(u64),
}
use Op::*;

/// Every third key has a long beginning in common with others, so that separators are long as well.
fn key(n: u64) -> String {
    match n % 3 {
        0 => format!("the same beginning as many have {n:08}"),
        1 => format!("{n}"),
        _ => {
            format!("the same beginning as many have {n:08}, and a long end: {}", "e".repeat(n as usize % 90))
        }
    }
}

fn number(key: &str) -> Option<u64> {
    let digits = key.trim_start_matches("the same beginning as many have ");
    digits.split(',').next()?.parse().ok()
}

fn value(n: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (n as usize + i) as u8).collect()
}

struct Values;

impl Subject for Values {
    type Op = Op;
    type Model = Model;
    const LEN: u64 = 256 << 10;

    fn apply(op: &Op, model: &mut Model) {
        match *op {
            Insert(n, len) => drop(model.insert(n, len)),
            Remove(n) => drop(model.remove(&n)),
            Overwrite(n, lens) => model.extend((n..).zip(lens)),
            BulkLoad(from, count, len) => model.extend((from..from + count).map(|n| (n, len))),
            Retain(by) => model.retain(|n, _| n % by == 0),
            Clear => model.clear(),
            Abort(_) => {}
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        let tx = pool.begin()?;
        let mut tree = tx.open::<Tree>("tree")?;
        match *op {
            Insert(n, len) => drop(tree.insert(key(n), value(n, len))?),
            Remove(n) => drop(tree.remove(key(n))?),
            Overwrite(n, lens) => {
                for (n, len) in (n..).zip(lens) {
                    tree.insert(key(n), value(n, len))?;
                }
            }
            BulkLoad(from, count, len) => {
                let items = (from..from + count).map(|n| (key(n), value(n, len)));
                tree.bulk_load_unsorted(items)?;
            }
            Retain(by) => tree.retain(|key, _| number(key).is_some_and(|n| n % by == 0))?,
            Clear => tree.clear()?,
            Abort(n) => {
                tree.insert(key(n), value(n, 300))?;
                tree.remove(key(n + 1))?;
                return Ok(());
            }
        }
        tx.commit()
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(Model, u64)> {
        let tree = tx.open::<Tree>("tree")?;
        let nodes = tree.check()?;
        let entry = |entry: Result<(&str, &[u8])>| {
            let (found, bytes) = entry?;
            match number(found).filter(|n| key(*n) == found) {
                Some(n) if bytes == value(n, bytes.len()) => Ok((n, bytes.len())),
                _ => Err(Error::abort(format!("the entry of {found:?} is torn"))),
            }
        };
        // Header, nodes, blocks of keys, values and separators.
        Ok((tree.iter().map(entry).collect::<Result<_>>()?, 1 + nodes.nodes() + nodes.blocks))
    }

    fn later() -> Vec<Op> {
        vec![Insert(900_000, 5), Insert(900_001, 100), Overwrite(900_000, [100, 5, 30]), Remove(900_001)]
    }
}

/// `n` entries with values of up to 60 bytes.
fn entries(n: u64) -> Vec<Op> {
    (0..n).map(|i| Insert(i * 10, i as usize * 7 % 60)).collect()
}

#[test]
fn the_first_strings_survive_at_any_store() {
    explore::<Values>(
        "strings: creation and first inserts",
        &[],
        &[Insert(1, 5), Insert(2, 50), Insert(3, 300)],
    );
}

#[test]
fn a_leaf_of_strings_may_split_at_any_store() {
    let ops = [Insert(33, 10), Insert(38, 30), Insert(41, 300), Remove(33), Insert(48, 0)];
    explore::<Values>("strings: leaf split", &entries(19), &ops);
}

#[test]
fn an_inner_node_of_strings_may_split_at_any_store() {
    let loads = |n| (0..n).map(|i| BulkLoad(30 * i, 30, 3)).collect::<Vec<_>>();
    let splits = (2..).find(|n| height(&loads(*n)) == 3).expect("a number of loads that splits the root");
    let (before, ops) = (loads(splits - 2), &loads(splits)[splits as usize - 2..]);
    let ops = [ops, &[Insert(1_000_003, 9), Remove(1_000_003)]].concat();
    explore::<Values>("strings: inner split, growing root", &before, &ops);
}

/// Levels of the tree after `ops`.
fn height(ops: &[Op]) -> u32 {
    let pool = Pool::create_on(Mapping::anonymous(Values::LEN).unwrap()).unwrap();
    ops.iter().for_each(|op| Values::perform(&pool, op).unwrap());
    pool.read().unwrap().open::<Tree>("tree").unwrap().check().unwrap().height
}

#[test]
fn leaves_of_strings_may_merge_at_any_store() {
    let ops: Vec<_> = (20..36).map(|i| Remove(i * 10)).collect();
    explore::<Values>("strings: merges", &entries(48), &ops);
}

#[test]
fn values_may_be_overwritten_with_others_of_any_length_at_any_store() {
    let lens = [[5, 100, 30], [100, 5, 31], [0, 104, 1000], [1000, 97, 0], [20, 21, 5000], [21, 20, 300]];
    let ops: Vec<_> = lens.map(|lens| Overwrite(30, lens)).to_vec();
    explore::<Values>("strings: overwrites", &entries(12), &ops);
}

#[test]
fn a_bulk_load_is_all_or_nothing_at_any_store() {
    let ops =
        [BulkLoad(1000, 50, 12), BulkLoad(1050, 30, 40), BulkLoad(1040, 20, 25), Insert(3, 3), Remove(1001)];
    explore::<Values>("strings: bulk loads", &entries(10), &ops);
}

#[test]
fn retaining_clearing_and_aborting_are_all_or_nothing_at_any_store() {
    let ops =
        [Retain(20), Insert(5, 50), Abort(7), Insert(8, 8), Remove(20), Clear, Insert(1, 70), Insert(2, 2)];
    explore::<Values>("strings: retain, abort, clear", &entries(45), &ops);
}
