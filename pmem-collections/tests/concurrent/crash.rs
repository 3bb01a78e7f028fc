//! Every state that a power failure could leave of a concurrent map, at any store of any operation, each by a thread
//! of its own: opened, checked, compared, and used.

use crate::maps::{Map, media};
use pmem_collections::{concurrent::Shortcut, *};
use pmem_crash::{Config, Exploration, Image, Report, Tear};
use std::collections::BTreeMap;

type Model = BTreeMap<u64, u64>;

const LEN: u64 = 256 << 10;

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u64, u64),
    TryInsert(u64, u64),
    Add(u64, u64),
    Remove(u64),
    /// All handles are dropped, and the map is opened again: another life.
    Reopen,
}
use Op::*;

fn apply(op: Op, model: &mut Model) {
    match op {
        Insert(key, value) => _ = model.insert(key, value),
        TryInsert(key, value) => _ = model.entry(key).or_insert(value),
        Add(key, value) => *model.entry(key).or_insert(0) += value,
        Remove(key) => _ = model.remove(&key),
        Reopen => {}
    }
}

fn perform<M: Map>(map: &M, op: Op) -> Result<()> {
    match op {
        Insert(key, value) => map.insert(key, value).map(drop),
        TryInsert(key, value) => map.try_insert(key, value).map(drop),
        Add(key, value) => map.update(key, |old| old.unwrap_or(0) + value).map(drop),
        Remove(key) => map.remove(key).map(drop),
        Reopen => Ok(()),
    }
}

/// By a thread of its own: what it did not flush and drain, no other does for it.
fn perform_elsewhere<M: Map>(map: &M, op: Op) -> Result<()> {
    std::thread::scope(|s| s.spawn(|| perform(map, op)).join().expect("no panic"))
}

pub(crate) fn config(tear: Tear) -> Config {
    let config = Config::from_env().tear(tear);
    if std::env::var_os("PMEM_CRASH_LONG").is_some() {
        config.bound(1 << 14).samples(1024).nested(512)
    } else {
        config.bound(128).samples(24).nested(16)
    }
}

/// What a pool has in the mapping, as a start.
pub(crate) fn image(pool: &Pool) -> Image {
    Image::new(media(pool))
}

pub(crate) fn print(name: &str, tear: Tear, report: &Report) {
    println!(
        "crash | {:<46} | {:>3} operations | {:>7} images | {:>8} recoveries | {} failures",
        format!("{name}, torn by {tear:?}"),
        report.operations,
        report.images,
        report.recoveries,
        report.failures
    );
}

/// Explores `ops` on a map that has had `before`, by whoever takes a shortcut, or none. The first failing report, or the last.
fn explore<M: Map>(name: &str, before: &[Op], ops: &[Op], shortcut: Option<Shortcut>) -> Report {
    let pool = Pool::create_on(Mapping::anonymous(LEN).unwrap()).unwrap();
    let mut model = Model::new();
    if !before.is_empty() {
        let map = M::open(&pool).unwrap();
        for &op in before {
            perform(&map, op).unwrap();
            apply(op, &mut model);
        }
    }
    pool.checkpoint().unwrap();
    let start = image(&pool);
    drop(pool);

    let mut states = vec![model.clone()];
    for &op in ops {
        apply(op, &mut model);
        states.push(model.clone());
    }
    let mut last = None;
    for tear in [Tear::Line, Tear::EightBytes] {
        let name = format!("{}: {name}", M::NAME);
        let report = Exploration::new(&name).config(config(tear)).start(start.clone()).run(
            |mapping, marks| -> Result<()> {
                let pool = Pool::on(mapping)?;
                let mut map = Some(M::open_with(&pool, shortcut)?);
                for &op in ops {
                    marks.run(format!("{op:?}"), || match op {
                        Reopen => {
                            drop(map.take());
                            map = Some(M::open_with(&pool, shortcut)?);
                            Ok(())
                        }
                        op => perform_elsewhere(map.as_ref().expect("there"), op),
                    })?;
                }
                std::mem::forget(pool); // the power fails: nothing is closed
                Ok(())
            },
            Pool::on,
            |pool, point| {
                let text = |error: Error| error.to_string();
                let found = |map: &M| {
                    map.check().map_err(text)?;
                    map.all().map_err(text)
                };
                let map = M::open_with(&pool, shortcut).map_err(text)?;
                let mut expected = found(&map)?;
                if !point.range().any(|k| states[k] == expected) {
                    return Err(format!("{expected:?} is no state of {:?}", point.range()));
                }
                if !pool.check().map_err(text)?.is_ok() {
                    return Err("the pool is not in order".into());
                }
                // And it can be used, in this life and the next: what was free, torn or superseded is used again.
                for op in (0..4).flat_map(|i| [Insert(1 << 40 | i, i), Insert(i, i + 1), Remove(i)]) {
                    perform(&map, op).map_err(text)?;
                    apply(op, &mut expected);
                }
                if found(&map)? != expected {
                    return Err("later changes are not seen".into());
                }
                drop(map);
                if found(&M::open(&pool).map_err(text)?)? != expected {
                    return Err("later changes are not found again".into());
                }
                Ok(())
            },
        );
        if shortcut.is_none() {
            print(&name, tear, &report);
            report.assert_ok();
        } else if report.failures > 0 {
            return report;
        }
        last = Some(report);
    }
    last.expect("two ways to tear")
}

/// Name, what was there before, what is explored.
type Story = (&'static str, Vec<Op>, Vec<Op>);

fn stories() -> Vec<Story> {
    let before: Vec<_> = (0..6).map(|key| Insert(key, key + 100)).collect();
    vec![
        ("creation, the first slab", vec![], vec![Insert(1, 1), Insert(2, 2), Insert(1, 3)]),
        (
            "overwrites",
            before.clone(),
            vec![Insert(1, 1), Insert(1, 2), Add(1, 5), TryInsert(1, 9), TryInsert(9, 9), Add(8, 1)],
        ),
        // The older value must not come back when the newer one is removed, nor when its cell is used again.
        (
            "removals after overwrites",
            before.clone(),
            vec![
                Insert(1, 1),
                Remove(1),
                Insert(2, 7),
                Insert(2, 8),
                Remove(2),
                Insert(1, 5),
                Remove(1),
                Insert(7, 7),
            ],
        ),
        (
            "lives",
            before,
            vec![
                Insert(1, 1),
                Reopen,
                Insert(1, 2),
                Remove(0),
                Reopen,
                Insert(0, 3),
                Remove(1),
                Insert(6, 6),
            ],
        ),
        // 512 cells are in the first slab; the next one is made in the middle of an operation.
        (
            "another slab",
            (0..511).map(|key| Insert(key, key)).collect(),
            vec![Insert(1000, 1), Insert(1001, 2), Insert(1000, 3), Remove(1001)],
        ),
    ]
}

fn explore_all<M: Map>() {
    for (name, before, ops) in stories() {
        explore::<M>(name, &before, &ops, None);
    }
}

#[test]
fn a_concurrent_hash_map_survives_at_any_store() {
    explore_all::<ConcurrentHashMap<u64, u64>>();
}

#[test]
fn a_concurrent_map_survives_at_any_store() {
    explore_all::<ConcurrentMap<u64, u64>>();
}

/// A process is killed after it stored a newer cell, and before its drain and the 0 of the older one; the next one opens the map, and then the power
/// fails. (Opening cleared the older cell while the newer one was not durable: an acknowledged value was gone.)
fn killed_before_the_drain<M: Map>() {
    let pool = Pool::create_on(Mapping::anonymous(LEN).unwrap()).unwrap();
    let map = M::open_with(&pool, Some(Shortcut::SupersededLeft)).unwrap();
    perform(&map, Insert(1, 1)).unwrap();
    let durable = media(&pool);
    perform(&map, Insert(1, 2)).unwrap();
    let start = image(&pool).with_durable(durable);
    for tear in [Tear::Line, Tear::EightBytes] {
        let name = format!("{}: killed before the drain", M::NAME);
        let report = Exploration::new(&name).config(config(tear)).start(start.clone()).run(
            |mapping, marks| -> Result<()> {
                let map = marks.run("open", || M::open(&Pool::on(mapping)?))?;
                std::mem::forget(map); // the power fails: nothing is closed
                Ok(())
            },
            Pool::on,
            |pool, _| {
                let all = M::open(&pool).and_then(|map| map.all()).map_err(|error| error.to_string())?;
                if all != Model::from([(1, 1)]) && all != Model::from([(1, 2)]) {
                    return Err(format!("{all:?} is neither what was durable nor what was on its way"));
                }
                Ok(())
            },
        );
        print(&name, tear, &report);
        report.assert_ok();
    }
}

#[test]
fn an_opening_after_a_kill_clears_nothing_before_what_supersedes_it_is_durable() {
    killed_before_the_drain::<ConcurrentHashMap<u64, u64>>();
    killed_before_the_drain::<ConcurrentMap<u64, u64>>();
}

/// Each shortcut is found by one of the stories.
#[test]
fn every_shortcut_through_the_protocol_of_cells_is_found_by_a_crash() {
    use Shortcut::*;
    let all = [
        PutNotDrained,
        RemoveNotDrained,
        OlderNotDrained,
        SupersededReused,
        SupersededLeft,
        NoNewLife,
        NoChecksum,
        AnyVersion,
    ];
    let mut missed = Vec::new();
    for shortcut in all {
        let found = stories().into_iter().find_map(|(name, before, ops)| {
            let report = explore::<ConcurrentHashMap<u64, u64>>(name, &before, &ops, Some(shortcut));
            (report.failures > 0).then_some((name, report.images))
        });
        match found {
            Some((name, images)) => {
                println!("rule | cells: {shortcut:?} | found in {name:?} after {images} images")
            }
            None => missed.push(shortcut),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
