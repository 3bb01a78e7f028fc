//! A deque while it grows and shrinks at both ends, and its root is raised and lowered.

use crate::harness::{Subject, explore};
use pmem_collections::*;
use std::collections::VecDeque;

/// 4 of these in a leaf; in an only leaf first 1, then 2.
type Element = [u64; 30];
type Elements = PDeque<Element>;

struct Deque;

#[derive(Clone, Copy, Debug)]
enum Op {
    PushBack(u64),
    PushFront(u64),
    /// Many in one transaction: with new nodes in it.
    Extend(u64, u64),
    Set(usize, u64),
    Insert(usize, u64),
    Remove(usize),
    Drain(usize, usize),
    PopBack,
    PopFront,
    /// One in, one out, so many times.
    Queue(u64),
    Truncate(usize),
    Clear,
}
use Op::*;

fn element(n: u64) -> Element {
    std::array::from_fn(|i| n + i as u64)
}

impl Subject for Deque {
    type Op = Op;
    type Model = VecDeque<u64>;
    const LEN: u64 = 512 << 10;

    fn apply(op: &Op, model: &mut VecDeque<u64>) {
        match *op {
            PushBack(n) => model.push_back(n),
            PushFront(n) => model.push_front(n),
            Extend(from, to) => model.extend(from..to),
            Set(i, n) => model[i] = n,
            Insert(i, n) => model.insert(i, n),
            Remove(i) => drop(model.remove(i)),
            Drain(from, to) => drop(model.drain(from..to)),
            PopBack => drop(model.pop_back()),
            PopFront => drop(model.pop_front()),
            Queue(count) => {
                for n in 0..count {
                    model.push_back(n);
                    model.pop_front();
                }
            }
            Truncate(len) => model.truncate(len),
            Clear => model.clear(),
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        pool.write(|tx| {
            let mut deque = tx.open::<Elements>("deque")?;
            match *op {
                PushBack(n) => deque.push_back(element(n)),
                PushFront(n) => deque.push_front(element(n)),
                Extend(from, to) => deque.extend((from..to).map(element)),
                Set(i, n) => deque.set(i, element(n)).map(drop),
                Insert(i, n) => deque.insert(i, element(n)),
                Remove(i) => deque.remove(i).map(drop),
                Drain(from, to) => deque.drain(from..to).map(drop),
                PopBack => deque.pop_back().map(drop),
                PopFront => deque.pop_front().map(drop),
                Queue(count) => (0..count).try_for_each(|n| {
                    deque.push_back(element(n))?;
                    deque.pop_front().map(drop)
                }),
                Truncate(len) => deque.truncate(len),
                Clear => deque.clear(),
            }
        })
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(VecDeque<u64>, u64)> {
        let deque = tx.open::<Elements>("deque")?;
        let summary = deque.check()?;
        let elements = deque.iter().map(|found| {
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
            PushBack(1),
            PushFront(2),
            Extend(3, 20),
            Set(0, 7),
            Queue(9),
            PopBack,
            PopFront,
            Truncate(9),
            Insert(1, 7),
            Remove(1),
        ]
    }
}

fn pushes(from: u64, to: u64) -> Vec<Op> {
    (from..to).map(|n| if n % 2 == 0 { PushBack(n) } else { PushFront(n) }).collect()
}

#[test]
fn a_deque_may_be_created_and_grow_at_any_store() {
    let blocks = explore::<Deque>("deque: creation, first pushes", &[], &pushes(0, 8));
    assert_eq!(blocks, (0, 5), "header, root, three leaves");
}

#[test]
fn the_root_of_a_deque_may_be_raised_and_lowered_at_any_store() {
    // 62 leaves, of 63 that a ring takes; and they begin in the middle of a node's range.
    let blocks = explore::<Deque>("deque: raising the root", &[Extend(0, 248)], &pushes(248, 260));
    assert!(blocks.0 == 1 + 62 + 1 && blocks.1 >= 1 + 65 + 3, "{blocks:?}");
    let ops = [Truncate(253), Drain(0, 8), PushFront(1), PopBack, Drain(0, 160), Truncate(5), PushBack(2)];
    explore::<Deque>("deque: lowering the root", &[Extend(0, 257)], &ops);
}

#[test]
fn a_queue_may_pass_its_leaves_on_at_any_store() {
    let ops = [Queue(1), Queue(3), Queue(4), PopFront, PushBack(7), Queue(20), Queue(251)];
    explore::<Deque>("deque: a queue", &[Extend(0, 21)], &ops);
}

#[test]
fn elements_of_a_deque_may_be_shifted_at_any_store() {
    let ops = [Insert(2, 50), Remove(1), Set(3, 60), Drain(2, 5), Insert(8, 70), Insert(0, 80), Remove(7)];
    explore::<Deque>("deque: insert, remove, drain", &[Extend(0, 11)], &ops);
}

#[test]
fn a_deque_may_be_emptied_at_any_store() {
    let ops =
        [Truncate(3), PushFront(1), Drain(0, 4), PushBack(2), Clear, Extend(3, 30), Clear, PushFront(3)];
    explore::<Deque>("deque: truncate, drain, clear", &[Extend(0, 30)], &ops);
}
