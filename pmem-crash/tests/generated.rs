//! Workloads that are generated, and shrunk when they fail.

use pmem_crash::{Config, Exploration, Generated, Report, explore_generated};
use pmem_map::{Error, Mapping};
use proptest::{collection::vec, prelude::*};

/// Operations of a stack: its length at 0, its elements in a line each.
#[derive(Clone, Debug, PartialEq)]
enum Op {
    Push(u8),
    Pop,
    Clear,
}
use Op::*;

fn operations() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![4 => (1..=255u8).prop_map(Push), 2 => Just(Pop), 1 => Just(Clear)];
    vec(op, 1..30)
}

fn apply(op: &Op, stack: &mut Vec<u8>) {
    match op {
        Push(value) => stack.push(*value),
        Pop => drop(stack.pop()),
        Clear => stack.clear(),
    }
}

fn set_len(mapping: &mut Mapping, len: u8, drain: bool) -> Result<(), Error> {
    mapping.write(0, &[len])?;
    mapping.flush(0..1)?;
    if drain { mapping.drain() } else { Ok(()) }
}

/// With the bug, a clear leaves its drain to the next operation: a push, which writes its element first.
fn perform(mapping: &mut Mapping, op: &Op, bug: bool) -> Result<(), Error> {
    let len = mapping.as_slice()[0];
    match op {
        Push(value) => {
            let at = 64 * (1 + u64::from(len));
            mapping.write(at, &[*value])?;
            mapping.persist(at..at + 1)?;
            set_len(mapping, len + 1, true)
        }
        Pop => set_len(mapping, len.saturating_sub(1), true),
        Clear => set_len(mapping, 0, !bug),
    }
}

fn explore(ops: &[Op], bug: bool) -> Report {
    let mut states = vec![Vec::new()];
    for op in ops {
        let mut next = states.last().unwrap().clone();
        apply(op, &mut next);
        states.push(next);
    }
    Exploration::new("stack").configure(|config| config.depth(0).bound(256).samples(32)).len(4096).run(
        |mut mapping, marks| {
            ops.iter().try_for_each(|op| marks.run(format!("{op:?}"), || perform(&mut mapping, op, bug)))
        },
        Ok::<Mapping, Error>,
        |mapping, point| {
            let found: Vec<u8> =
                (1..=mapping.as_slice()[0] as usize).map(|n| mapping.as_slice()[64 * n]).collect();
            match point.range().any(|done| states[done] == found) {
                true => Ok(()),
                false => Err(format!("{found:?} is no state of {:?}", point.range())),
            }
        },
    )
}

fn generated(seed: u64, bug: bool) -> Generated<Vec<Op>> {
    let generated =
        explore_generated(&Config::default().seed(seed), 32, operations(), |ops| explore(ops, bug));
    println!("generated | stack, bug: {bug:<5} | {generated}");
    generated
}

#[test]
fn a_failing_workload_shrinks_to_three_operations_at_most() {
    for seed in 1..4 {
        let (ops, report) = generated(seed, true).failure.expect("found");
        // An element has to be there for a clear to matter. (Shrinking finds no shorter neighbour, not always the shortest.)
        assert!(ops.len() <= 3 && ops[0] == Push(1) && ops.last() == Some(&Clear), "seed {seed}: {ops:?}");
        assert!(report.first_failure.is_some());
    }
}

#[test]
fn workloads_without_a_bug_are_all_explored() {
    let all = generated(1, false);
    all.assert_ok();
    assert_eq!((all.workloads, all.shrinking), (32, 0));
    assert!(all.images > 1000, "{all}");
}

#[test]
fn the_same_seed_generates_the_same_workloads() {
    let images = |seed| generated(seed, false).images;
    assert_eq!(images(5), images(5));
    assert_ne!(images(5), images(6));
}

#[test]
#[should_panic(
    expected = "the shortest workload that fails: [\n    Push(\n        1,\n    ),\n    Clear,\n]\nstack: a power failure"
)]
fn the_shortest_workload_is_told_with_its_failure() {
    generated(1, true).assert_ok();
}
