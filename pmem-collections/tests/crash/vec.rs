//! A vector while it grows, is shifted, and shrinks.

use crate::harness::{Subject, explore};
use pmem_collections::*;

/// 4 of these in a leaf; in an only leaf first 1, then 2.
type Element = [u64; 30];
type Elements = PVec<Element>;

struct Vector;

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(u64),
    /// Many in one transaction: with new nodes in it.
    Extend(u64, u64),
    Set(usize, u64),
    Insert(usize, u64),
    Remove(usize),
    SwapRemove(usize),
    Pop,
    Truncate(usize),
    Clear,
}
use Op::*;

fn element(n: u64) -> Element {
    std::array::from_fn(|i| n + i as u64)
}

impl Subject for Vector {
    type Op = Op;
    type Model = Vec<u64>;
    const LEN: u64 = 512 << 10;

    fn apply(op: &Op, model: &mut Vec<u64>) {
        match *op {
            Push(n) => model.push(n),
            Extend(from, to) => model.extend(from..to),
            Set(i, n) => model[i] = n,
            Insert(i, n) => model.insert(i, n),
            Remove(i) => drop(model.remove(i)),
            SwapRemove(i) => drop(model.swap_remove(i)),
            Pop => drop(model.pop()),
            Truncate(len) => model.truncate(len),
            Clear => model.clear(),
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        pool.write(|tx| {
            let mut vec = tx.open::<Elements>("vec")?;
            match *op {
                Push(n) => vec.push(element(n)),
                Extend(from, to) => vec.extend((from..to).map(element)),
                Set(i, n) => vec.set(i, element(n)).map(drop),
                Insert(i, n) => vec.insert(i, element(n)),
                Remove(i) => vec.remove(i).map(drop),
                SwapRemove(i) => vec.swap_remove(i).map(drop),
                Pop => vec.pop().map(drop),
                Truncate(len) => vec.truncate(len),
                Clear => vec.clear(),
            }
        })
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(Vec<u64>, u64)> {
        let vec = tx.open::<Elements>("vec")?;
        let summary = vec.check()?;
        let elements = vec.iter().map(|found| {
            let found = found?;
            if *found != element(found[0]) {
                return Err(Error::abort(format!("element {} is torn", found[0])));
            }
            Ok(found[0])
        });
        Ok((elements.collect::<Result<_>>()?, 1 + summary.leaves + summary.inner_nodes))
    }

    fn later() -> Vec<Op> {
        vec![
            Push(1),
            Extend(2, 20),
            Set(0, 7),
            SwapRemove(1),
            Push(8),
            Pop,
            Truncate(9),
            Insert(0, 7),
            Remove(1),
        ]
    }
}

fn pushes(from: u64, to: u64) -> Vec<Op> {
    (from..to).map(Push).collect()
}

#[test]
fn a_vector_may_be_created_and_grow_at_any_store() {
    let blocks = explore::<Vector>("vec: creation, first pushes", &[], &pushes(0, 8));
    assert_eq!(blocks, (0, 4), "header, root, two leaves");
}

#[test]
fn the_tree_of_a_vector_may_grow_and_shrink_at_any_store() {
    let blocks = explore::<Vector>("vec: growing root", &[Extend(0, 251)], &pushes(251, 256));
    assert_eq!(blocks, (1 + 63 + 1, 1 + 64 + 3));
    let ops = [Truncate(253), Truncate(248), Push(1), Pop, Truncate(5), Push(2)];
    explore::<Vector>("vec: shrinking root", &[Extend(0, 257)], &ops);
}

#[test]
fn elements_may_be_shifted_at_any_store() {
    let ops = [Insert(2, 50), Remove(1), Set(3, 60), SwapRemove(0), Insert(10, 70), Insert(0, 80), Pop];
    explore::<Vector>("vec: insert, remove, set", &[Extend(0, 11)], &ops);
}

#[test]
fn a_vector_may_be_emptied_at_any_store() {
    let ops = [Truncate(3), Push(1), Clear, Push(2), Extend(3, 30), Clear, Extend(0, 3)];
    explore::<Vector>("vec: truncate, clear", &[Extend(0, 30)], &ops);
}
