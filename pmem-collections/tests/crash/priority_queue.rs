//! A queue while elements come and go.

use crate::harness::{Subject, explore};
use pmem_collections::*;
use std::cmp::Reverse;

/// The smallest first. So long that a leaf has few.
type Element = Reverse<[u64; 20]>;
type Queue = PPriorityQueue<Element>;

struct Waiting;

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(u64),
    Extend(u64, u64),
    Pop,
    PopMany(usize),
    KeepEven,
    Drain,
}
use Op::*;

fn element(n: u64) -> Element {
    Reverse(std::array::from_fn(|i| n + i as u64))
}

/// The numbers that elements begin with, sorted as they leave.
impl Subject for Waiting {
    type Op = Op;
    type Model = Vec<u64>;
    const LEN: u64 = 512 << 10;

    fn apply(op: &Op, model: &mut Vec<u64>) {
        match *op {
            Push(n) => model.push(n),
            Extend(from, to) => model.extend(from..to),
            Pop => drop(model.remove(0)),
            PopMany(n) => drop(model.drain(..n)),
            KeepEven => model.retain(|n| n % 2 == 0),
            Drain => model.clear(),
        }
        model.sort_unstable();
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        pool.write(|tx| {
            let mut queue = tx.open::<Queue>("queue")?;
            match *op {
                Push(n) => queue.push(element(n)),
                Extend(from, to) => queue.extend((from..to).map(element)),
                Pop => queue.pop().map(drop),
                PopMany(n) => (0..n).try_for_each(|_| queue.pop().map(drop)),
                KeepEven => queue.retain(|element| element.0[0] % 2 == 0),
                Drain => queue.drain().map(drop),
            }
        })
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(Vec<u64>, u64)> {
        let queue = tx.open::<Queue>("queue")?;
        let summary = queue.check()?;
        let elements = queue.iter().map(|found| {
            let Reverse(found) = found?;
            match element(found[0]) == Reverse(*found) {
                true => Ok(found[0]),
                false => Err(Error::abort(format!("element {} is torn", found[0]))),
            }
        });
        Ok((elements.collect::<Result<_>>()?, 1 + summary.leaves + summary.inner_nodes))
    }

    fn later() -> Vec<Op> {
        vec![Push(5), Extend(3, 20), Pop, PopMany(4), KeepEven, Push(5), Push(5), Pop]
    }
}

#[test]
fn a_queue_may_be_created_and_grow_at_any_store() {
    let ops = [Push(5), Push(3), Push(5), Push(9), Push(1), Push(5), Push(0), Push(7)];
    explore::<Waiting>("priority queue: creation, pushes, split", &[], &ops);
}

#[test]
fn elements_may_leave_a_queue_at_any_store() {
    let ops = [Pop, Push(2), PopMany(5), Pop, KeepEven, Push(8), Drain, Push(3)];
    explore::<Waiting>("priority queue: pops, retain, drain", &[Extend(0, 30), Push(4), Push(4)], &ops);
}
