//! A radix tree while nodes grow, shrink, come between others and go.

use crate::harness::{Subject, explore};
use pmem_collections::*;
use std::collections::BTreeMap;

/// Up to 20 bytes, or a block.
type Tree = PArt<String>;

struct Radix;

#[derive(Clone, Debug)]
enum Op {
    Insert(&'static str, usize),
    /// `count` keys of one byte behind a prefix, from a first byte on: with nodes that grow.
    Fan(&'static str, u8, u8),
    Remove(&'static str),
    /// The same keys.
    Unfan(&'static str, u8, u8),
    RemovePrefix(&'static str),
    KeepLong,
    Clear,
}
use Op::*;

fn fan(prefix: &str, first: u8, count: u8) -> impl Iterator<Item = Vec<u8>> {
    (first..first + count).map(move |byte| [prefix.as_bytes(), &[byte]].concat())
}

impl Subject for Radix {
    type Op = Op;
    type Model = BTreeMap<Vec<u8>, usize>;
    const LEN: u64 = 512 << 10;

    fn apply(op: &Op, model: &mut BTreeMap<Vec<u8>, usize>) {
        match *op {
            Insert(key, len) => _ = model.insert(key.into(), len),
            Fan(prefix, first, count) => model.extend(fan(prefix, first, count).map(|key| (key, 1))),
            Remove(key) => _ = model.remove(key.as_bytes()),
            Unfan(prefix, first, count) => fan(prefix, first, count).for_each(|key| _ = model.remove(&key)),
            RemovePrefix(prefix) => model.retain(|key, _| !key.starts_with(prefix.as_bytes())),
            KeepLong => model.retain(|_, len| *len > 1),
            Clear => model.clear(),
        }
    }

    fn perform(pool: &Pool, op: &Op) -> Result<()> {
        pool.write(|tx| {
            let mut art = tx.open::<Tree>("art")?;
            match *op {
                Insert(key, len) => art.insert(key, "v".repeat(len)).map(drop),
                Fan(prefix, first, count) => art.extend(fan(prefix, first, count).map(|key| (key, "v"))),
                Remove(key) => art.remove(key).map(drop),
                Unfan(prefix, first, count) => {
                    fan(prefix, first, count).try_for_each(|key| art.remove(&key).map(drop))
                }
                RemovePrefix(prefix) => art.remove_prefix(prefix).map(drop),
                KeepLong => art.retain(|_, value| value.len() > 1),
                Clear => art.clear(),
            }
        })
    }

    fn observe(tx: &ReadTx<'_>) -> Result<(BTreeMap<Vec<u8>, usize>, u64)> {
        let art = tx.open::<Tree>("art")?;
        let summary = art.check()?;
        let entries = art.iter().map(|entry| {
            let (key, value) = entry?;
            if value != "v".repeat(value.len()) {
                return Err(Error::abort(format!("{value:?} is torn")));
            }
            Ok((key.to_vec(), value.len()))
        });
        let blocks = 1 + summary.entries + summary.nodes.iter().sum::<u64>() + summary.blocks;
        Ok((entries.collect::<Result<_>>()?, blocks))
    }

    fn later() -> Vec<Op> {
        vec![
            Insert("later", 1),
            Insert("late", 30),
            Fan("l", 0, 18),
            Insert("", 2),
            Remove("later"),
            Unfan("l", 0, 16),
            RemovePrefix("la"),
            Insert("a", 3),
        ]
    }
}

#[test]
fn a_radix_tree_may_be_created_and_get_nodes_between_others_at_any_store() {
    let ops = [
        Insert("abcdef", 1),
        Insert("abcxyz", 30),
        Insert("abc", 2),
        Insert("", 3),
        Insert("abcdeg", 4),
        Insert("abd", 5),
        Insert("abcdef", 40),
    ];
    let blocks = explore::<Radix>("radix tree: creation, splits", &[], &ops);
    assert_eq!(blocks, (0, 1 + 6 + 4 + 2), "header, leaves, nodes, long values");
}

#[test]
fn the_nodes_of_a_radix_tree_may_grow_at_any_store() {
    let before = [Fan("n", 0, 4), Insert("other", 1)];
    let ops =
        [Fan("n", 4, 1), Fan("n", 5, 11), Fan("n", 16, 1), Fan("n", 17, 31), Fan("n", 48, 1), Insert("n", 2)];
    explore::<Radix>("radix tree: nodes grow", &before, &ops);
}

#[test]
fn the_nodes_of_a_radix_tree_may_shrink_and_go_at_any_store() {
    let before = [Fan("n", 0, 49), Insert("n", 2), Insert("other", 1)];
    let ops = [
        Unfan("n", 0, 12),
        Unfan("n", 12, 1),
        Unfan("n", 13, 24),
        Unfan("n", 37, 9),
        Unfan("n", 46, 2),
        Remove("n"),
        Remove("other"),
        Unfan("n", 48, 1),
        Insert("x", 1),
    ];
    explore::<Radix>("radix tree: nodes shrink and go", &before, &ops);
}

#[test]
fn a_radix_tree_may_be_emptied_at_any_store() {
    let before = [Fan("a", 0, 8), Fan("ab", 0, 3), Insert("b", 30), Insert("bb", 3)];
    let ops = [RemovePrefix("ab"), KeepLong, Fan("c", 0, 20), Clear, Insert("d", 1)];
    explore::<Radix>("radix tree: prefix removed, retain, clear", &before, &ops);
}
