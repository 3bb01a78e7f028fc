//! A list while nodes come, move, go, and become another list's.

use crate::harness::{Subject, explore};
use pmem_collections::*;

/// A word, or one that takes a block.
type List = PLinkedList<String>;

/// Two lists; operations on places by number.
struct Lists;

#[derive(Clone, Copy, Debug)]
enum Op {
    PushBack(u64),
    PushFront(u64),
    InsertBefore(usize, u64),
    Remove(usize),
    PopBack,
    PopFront,
    ToFront(usize),
    MoveAfter(usize, usize),
    Set(usize, u64),
    /// Onto the other list, so that it has something to give.
    Other(u64),
    /// The other list, which this transaction has not changed, becomes the end of this one.
    Append,
    /// The same, after an element of it was changed.
    ChangeAndAppend(u64),
    SpliceBefore(usize),
    KeepEven,
    Clear,
}
use Op::*;

fn word(n: u64) -> String {
    if n.is_multiple_of(3) { format!("{n:0>40}") } else { n.to_string() }
}

fn places(list: &ListGuard<'_, String, Write>) -> Result<Vec<list::Position>> {
    list.positions().collect()
}

impl Subject for Lists {
    type Op = Op;
    type Model = [Vec<u64>; 2];
    const LEN: u64 = 512 << 10;

    fn apply(op: &Op, [list, other]: &mut [Vec<u64>; 2]) {
        match *op {
            PushBack(n) => list.push(n),
            PushFront(n) => list.insert(0, n),
            InsertBefore(i, n) => list.insert(i, n),
            Remove(i) => drop(list.remove(i)),
            PopBack => drop(list.pop()),
            PopFront => drop(list.remove(0)),
            ToFront(i) => {
                let n = list.remove(i);
                list.insert(0, n);
            }
            MoveAfter(from, to) => {
                let n = list.remove(from);
                list.insert(to + usize::from(from > to), n);
            }
            Set(i, n) => list[i] = n,
            Other(n) => other.push(n),
            Append => list.append(other),
            ChangeAndAppend(n) => {
                other[0] = n;
                list.append(other);
            }
            SpliceBefore(i) => drop(list.splice(i..i, other.drain(..))),
            KeepEven => list.retain(|n| n % 2 == 0),
            Clear => list.clear(),
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        pool.write(|tx| {
            let (mut list, mut other) = (tx.open::<List>("list")?, tx.open::<List>("other")?);
            let at = places(&list)?;
            match *op {
                PushBack(n) => list.push_back(word(n)).map(drop),
                PushFront(n) => list.push_front(word(n)).map(drop),
                InsertBefore(i, n) => list.insert_before(at[i], word(n)).map(drop),
                Remove(i) => list.remove(at[i]).map(drop),
                PopBack => list.pop_back().map(drop),
                PopFront => list.pop_front().map(drop),
                ToFront(i) => list.move_to_front(at[i]).map(drop),
                MoveAfter(from, to) => list.move_after(at[from], at[to]).map(drop),
                Set(i, n) => list.set(at[i], word(n)).map(drop),
                Other(n) => other.push_back(word(n)).map(drop),
                Append => list.append(&mut other),
                ChangeAndAppend(n) => {
                    let first = other.first_position()?.expect("it is there");
                    other.set(first, word(n))?;
                    list.append(&mut other)
                }
                SpliceBefore(i) => list.splice_before(at[i], &mut other).map(drop),
                KeepEven => list.retain(|word| word.ends_with(['0', '2', '4', '6', '8'])),
                Clear => list.clear(),
            }
        })
    }

    fn observe(tx: &ReadTx<'_>) -> Result<([Vec<u64>; 2], u64)> {
        let mut blocks = 1; // the directory's second entry
        let mut read = |name| -> Result<Vec<u64>> {
            let list = tx.open::<List>(name)?;
            let summary = list.check()?;
            blocks += 1 + summary.elements + summary.blocks;
            let elements = list.iter().map(|element| {
                let element = element?;
                let n = element.parse().unwrap_or(u64::MAX);
                if element == word(n) { Ok(n) } else { Err(Error::abort(format!("{element:?} is torn"))) }
            });
            elements.collect()
        };
        Ok(([read("list")?, read("other")?], blocks))
    }

    fn later() -> Vec<Op> {
        vec![
            PushBack(2),
            PushFront(3),
            Other(4),
            Other(6),
            Append,
            ToFront(2),
            Remove(1),
            PopBack,
            Set(0, 8),
            InsertBefore(0, 9),
            KeepEven,
        ]
    }
}

#[test]
fn a_list_may_be_created_and_grow_at_both_ends_at_any_store() {
    let ops = [PushBack(1), PushFront(3), PushBack(4), InsertBefore(1, 6), PushFront(5)];
    let blocks = explore::<Lists>("list: creation, first pushes", &[], &ops);
    assert_eq!(blocks, (0, 1 + 2 + 5 + 2), "two headers, five nodes, two long words");
}

#[test]
fn elements_may_move_and_go_at_any_store() {
    let before = [1, 2, 3, 4, 5, 6].map(PushBack);
    let ops = [
        ToFront(3),
        MoveAfter(0, 5),
        Remove(2),
        Set(1, 9),
        PopFront,
        PopBack,
        InsertBefore(2, 12),
        ToFront(1),
    ];
    explore::<Lists>("list: moves, removals", &before, &ops);
}

#[test]
fn a_list_may_become_a_part_of_another_at_any_store() {
    let before = [PushBack(1), PushBack(2), Other(3), Other(4), Other(5)];
    let ops = [Append, Other(6), Other(7), SpliceBefore(1), Other(8), ChangeAndAppend(9), PopBack];
    explore::<Lists>("list: append, splice", &before, &ops);
}

#[test]
fn a_list_may_be_emptied_at_any_store() {
    let before = [1, 2, 3, 4, 5, 6, 7, 8, 9].map(PushBack);
    explore::<Lists>(
        "list: retain, clear",
        &before,
        &[KeepEven, PushBack(3), Clear, PushBack(2), PopFront, PushFront(6)],
    );
}
