//! Tries to break the interval tree: against a `Vec`, with a full pool, in damaged pools, and at every store of its
//! transactions, by the images that a power failure could leave.
#![allow(missing_docs)]

use examples::interval_tree::IntervalTree;
use pmem_collections::*;
use pmem_crash::{Config, Exploration, Image, Report};
use std::ops::Range;

const TREE: Named<IntervalTree> = Named::new("tree");
const ROOMS: Named<PBTreeMap<u64, IntervalTree>> = Named::new("rooms");
const LEN: usize = 256 << 10;

/// Intervals with their numbers, in the order of the tree.
type Model = Vec<(Range<u64>, u64)>;

fn key(interval: &Range<u64>) -> (u64, u64) {
    (interval.start, interval.end)
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Range<u64>, u64),
    Remove(Range<u64>),
    /// Two changes in one transaction.
    Move(Range<u64>, Range<u64>),
}
use Op::*;

fn apply(op: &Op, model: &mut Model) {
    match op {
        Insert(interval, tag) => match model.binary_search_by_key(&key(interval), |(i, _)| key(i)) {
            Ok(at) => model[at].1 = *tag,
            Err(at) => model.insert(at, (interval.clone(), *tag)),
        },
        Remove(interval) => model.retain(|(i, _)| i != interval),
        Move(from, to) => {
            apply(&Remove(from.clone()), model);
            apply(&Insert(to.clone(), 7), model);
        }
    }
}

fn perform(pool: &Pool, op: &Op) -> Result<()> {
    pool.write(|tx| {
        let mut tree = tx.open(TREE)?;
        match op {
            Insert(interval, tag) => tree.insert(interval.clone(), *tag).map(drop),
            Remove(interval) => tree.remove(interval).map(drop),
            Move(from, to) => {
                tree.remove(from)?;
                tree.insert(to.clone(), 7).map(drop)
            }
        }
    })
}

/// What the pool holds, after all checks: of the pool, with leaks, and of the tree.
fn observe(pool: &Pool) -> Result<Model, String> {
    let text = |error: Error| error.to_string();
    pool.register::<IntervalTree>();
    let report = pool.check().map_err(text)?;
    if !report.is_ok() || report.untraced_blocks > 0 {
        return Err(report.to_string());
    }
    let tx = pool.read().map_err(text)?;
    let tree = match tx.open(TREE) {
        Ok(tree) => tree,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => return Ok(Model::new()),
        Err(error) => return Err(text(error)),
    };
    tree.check().map_err(text)?;
    tree.iter().map_err(text)?.collect::<Result<_>>().map_err(text)
}

fn random_interval(random: &mut fastrand::Rng) -> Range<u64> {
    let start = random.u64(..60);
    start..start + random.u64(1..12)
}

fn random_op(random: &mut fastrand::Rng) -> Op {
    match random.u32(..8) {
        0..4 => Insert(random_interval(random), random.u64(..)),
        4..7 => Remove(random_interval(random)),
        _ => Move(random_interval(random), random_interval(random)),
    }
}

fn new_pool(len: usize) -> Pool {
    Pool::create_on(Mapping::anonymous(len as u64).unwrap()).unwrap()
}

fn image_of(pool: &Pool) -> Vec<u8> {
    pool.checkpoint().unwrap();
    let mut bytes = vec![0; pool.region().len() as usize];
    // SAFETY: this thread has the only pool on the region, and no transaction.
    unsafe { pool.region().load(0, &mut bytes) };
    bytes
}

fn pool_of(bytes: &[u8]) -> Result<Pool> {
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.as_mut_slice().copy_from_slice(bytes);
    Pool::on(mapping)
}

#[test]
fn it_holds_what_a_vec_would_hold() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut pool, mut model) = (new_pool(1 << 20), Model::new());
    for n in 0..4000 {
        let op = random_op(&mut random);
        perform(&pool, &op).unwrap();
        apply(&op, &mut model);
        let range = random_interval(&mut random);
        let expected: Model =
            model.iter().filter(|(i, _)| i.start < range.end && range.start < i.end).cloned().collect();
        let tx = pool.read().unwrap();
        let tree = tx.open(TREE).unwrap();
        assert_eq!(tree.overlapping(range).unwrap().collect::<Result<Model>>().unwrap(), expected);
        assert_eq!(tree.is_empty().unwrap(), model.is_empty());
        if let Some((interval, tag)) = model.first() {
            assert_eq!(tree.get(interval).unwrap(), Some(*tag));
        }
        drop(tx);
        if n % 100 == 0 {
            pool = pool_of(&image_of(&pool)).unwrap();
            assert_eq!(observe(&pool).unwrap(), model);
        }
    }
}

#[test]
fn a_tree_that_is_removed_leaves_no_block() {
    let pool = new_pool(1 << 20);
    for n in 0..100 {
        perform(&pool, &Insert(n..n + 5, n)).unwrap();
    }
    assert!(pool.write(|tx| tx.remove(TREE)).unwrap());
    let report = pool.check().unwrap();
    assert!(report.is_ok() && report.small_blocks == 0 && report.objects == 0, "{report}");
}

#[test]
fn an_empty_interval_and_a_full_pool_change_nothing() {
    let pool = new_pool(LEN);
    let mut model = Model::new();
    let full = loop {
        let n = model.len() as u64;
        match perform(&pool, &Insert(n..n + 3, n)) {
            Ok(()) => apply(&Insert(n..n + 3, n), &mut model),
            Err(error) => break error,
        }
    };
    assert!(matches!(full.kind(), ErrorKind::NoSpace { .. }), "{full}");
    assert_eq!(observe(&pool).unwrap(), model);
    // The transaction can go on, too.
    pool.write(|tx| {
        let mut tree = tx.open(TREE)?;
        assert!(matches!(tree.insert(1..9, 0).unwrap_err().kind(), ErrorKind::NoSpace { .. }));
        assert!(tree.insert(5..5, 0).unwrap_err().to_string().contains("5..5 is empty"));
        tree.remove(&(0..3)).map(drop)
    })
    .unwrap();
    apply(&Remove(0..3), &mut model);
    assert_eq!(observe(&pool).unwrap(), model);
    perform(&pool, &Insert(0..9, 1)).unwrap();
    apply(&Insert(0..9, 1), &mut model);
    assert_eq!(observe(&pool).unwrap(), model);
}

/// Words of nodes are overwritten, with references to other nodes (circles, among others), small numbers and garbage.
#[test]
fn a_damaged_tree_ends_in_a_value_or_an_error() {
    let pool = new_pool(LEN);
    for n in 0..60 {
        perform(&pool, &Insert(n..n + 5, 0x7a67_0000 + n)).unwrap();
    }
    let good = image_of(&pool);
    let word = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().unwrap());
    // A node has its start, its end and its number side by side; so has the log, which does no harm.
    let nodes: Vec<usize> = (0..LEN - 56)
        .step_by(8)
        .filter(|&at| (0..60).any(|n| [word(at), word(at + 8), word(at + 16)] == [n, n + 5, 0x7a67_0000 + n]))
        .collect();
    assert!(nodes.len() >= 60);
    let mut random = fastrand::Rng::with_seed(2);
    let (mut errors, mut harmless) = (0, 0);
    for _ in 0..600 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            let at = nodes[random.usize(..nodes.len())] + 8 * random.usize(..7);
            let value = match random.u32(..4) {
                0 | 1 => nodes[random.usize(..nodes.len())] as u64,
                2 => random.u64(..100),
                _ => random.u64(..),
            };
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let Ok(pool) = pool_of(&bytes) else { continue };
        pool.register::<IntervalTree>();
        let everything = || -> Result<()> {
            let tx = pool.read()?;
            let tree = tx.open(TREE)?;
            let all = tree.iter()?.count();
            assert!(all <= nodes.len() + 1, "{all} intervals in {} nodes", nodes.len());
            tree.check()
        };
        match everything() {
            Ok(()) => harmless += 1,
            Err(_) => errors += 1,
        }
        _ = pool.check();
        for _ in 0..10 {
            _ = perform(&pool, &random_op(&mut random));
        }
        _ = pool.write(|tx| tx.remove(TREE));
    }
    println!("damaged trees: {errors} detected, {harmless} harmless");
    assert!(errors > 100);
}

/// Explores `ops`, each done by `step`, on a tree after `before`.
fn explore(name: &str, before: &[Op], ops: &[Op], step: fn(&Pool, &Op) -> Result<()>) -> Report {
    let pool = new_pool(LEN);
    let mut states = vec![Model::new()];
    for op in before {
        perform(&pool, op).unwrap();
        apply(op, &mut states[0]);
    }
    let start = Image::new(image_of(&pool));
    for op in ops {
        let mut next = states.last().unwrap().clone();
        apply(op, &mut next);
        states.push(next);
    }
    let config = match std::env::var_os("PMEM_CRASH_LONG") {
        Some(_) => Config::from_env().bound(1 << 14).samples(1024),
        None => Config::from_env().bound(128).samples(24).nested(16),
    };
    Exploration::new(name).config(config).start(start).run(
        |mapping, marks| -> Result<()> {
            let pool = Pool::on(mapping)?;
            for op in ops {
                marks.run(format!("{op:?}"), || step(&pool, op))?;
            }
            std::mem::forget(pool); // the power fails: nothing is closed
            Ok(())
        },
        Pool::on,
        |pool, point| {
            let mut found = observe(&pool)?;
            if !point.range().any(|n| states[n] == found) {
                return Err(format!("{} intervals, not a state of {:?}", found.len(), point.range()));
            }
            for op in [Insert(100..200, 1), Insert(101..102, 2), Remove(100..200)] {
                perform(&pool, &op).map_err(|error| error.to_string())?;
                apply(&op, &mut found);
            }
            if observe(&pool)? == found { Ok(()) } else { Err("later changes are not seen".into()) }
        },
    )
}

fn ascending(numbers: Range<u64>) -> Vec<Op> {
    numbers.map(|n| Insert(n * 10..n * 10 + 15, n)).collect()
}

#[test]
fn the_power_may_fail_at_any_store() {
    // Creation, and rotations; then nodes with two sides, rotations, and two changes at once.
    let grow = ascending(0..6);
    let mut shrink: Vec<_> = [7, 3, 0, 1].map(|n| Remove(n * 10..n * 10 + 15)).into();
    shrink.push(Move(20..35, 5..8));
    for (name, before, ops) in [("a tree grows", vec![], grow), ("a tree shrinks", ascending(0..16), shrink)]
    {
        let report = explore(name, &before, &ops, perform);
        println!("{report}");
        report.assert_ok();
        report.assert_no_lints();
        assert!(report.images > 100);
    }
}

/// A test that cannot fail proves nothing: here a move is two transactions.
#[test]
fn a_move_in_two_transactions_is_found() {
    let torn = |pool: &Pool, op: &Op| match op {
        Move(from, to) => {
            perform(pool, &Remove(from.clone()))?;
            perform(pool, &Insert(to.clone(), 7))
        }
        other => perform(pool, other),
    };
    let report = explore("a torn move", &ascending(0..4), &[Move(0..15, 1..2)], torn);
    println!("found after {} images", report.expect_failure());
}

#[test]
fn it_sits_in_a_map_and_moves_with_its_pool() {
    let pool = new_pool(1 << 20);

    pool.write(|tx| {
        let mut rooms = tx.open(ROOMS)?;
        for room in 0..3 {
            let mut tree = rooms.open_mut(room)?;
            (0..50).try_for_each(|n| tree.insert(n..n + 2, room).map(drop))?;
        }
        rooms.remove(1).map(drop)
    })
    .unwrap();
    let moved = pool.compact_on(Mapping::anonymous(1 << 20).unwrap()).unwrap();
    for pool in [pool, moved] {
        let report = pool.check().unwrap();
        assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
        let tx = pool.read().unwrap();
        let rooms = tx.open(ROOMS).unwrap();
        assert!(rooms.open(1).unwrap().is_none());
        let tree = rooms.open(2).unwrap().unwrap();
        tree.check().unwrap();
        assert_eq!((tree.len().unwrap(), tree.get(&(3..5)).unwrap()), (50, Some(2)));
    }
}
