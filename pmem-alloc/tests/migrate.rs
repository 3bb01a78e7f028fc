//! From one schema version to the next, and objects that go away: old or new at any store, never both and never half.
#![allow(missing_docs)]

mod list;

use bytemuck::{Pod, Zeroable};
use list::{List, check, image_of, on, push, values};
use pmem_alloc::*;
use pmem_crash::{Config, Exploration, Image, Report, Tear};

/// A list whose nodes have their values doubled, and a note.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Wide {
    next: Ptr<Wide>,
    doubled: u64,
    note: u64,
}
impl Plain for Wide {
    const NAME: &'static str = "migrate.Wide";
    const FIELDS: Option<&'static [PlainField]> = fields!(Wide { next: Ptr<Wide>, doubled: u64, note: u64 });
}
type NewList = PHeap<Ptr<Wide>>;

const OLD: Named<List> = Named::new("list");
const NEW: Named<NewList> = Named::new("list").schema(2);

fn push_new(list: &mut Mut<'_, NewList>, doubled: u64) -> Result<()> {
    let next = *list.root()?;
    *list.root_mut()? = list.alloc(Wide { next, doubled, note: 7 })?;
    Ok(())
}

fn new_values(pool: &Pool) -> Result<Vec<u64>> {
    let tx = pool.read()?;
    let list = tx.open(NEW)?;
    let (mut values, mut at) = (Vec::new(), *list.root()?);
    while let Some(node) = list.follow(at)? {
        values.push(node.doubled / 2);
        at = node.next;
    }
    Ok(values)
}

fn copy(old: &Guard<'_, List, Peek>, new: &mut Mut<'_, NewList>) -> Result<()> {
    let mut at = *old.root()?;
    while let Some(node) = old.follow(at)? {
        push_new(new, 2 * node.value)?; // the order is the other one now
        at = node.next;
    }
    Ok(())
}

fn migrate(pool: &Pool) -> Result<bool> {
    pool.write(|tx| tx.migrate(OLD, NEW, copy))
}

/// A few nodes at a time, from the first on; the mark is how many were copied.
fn migrate_in_steps(pool: &Pool) -> Result<bool> {
    let mut steps = 0;
    pool.migrate_in_steps(OLD, NEW, |old, new, mark: &mut u64| {
        steps += 1;
        let mut at = *old.root()?;
        for _ in 0..*mark {
            at = old.get(at)?.next;
        }
        for _ in 0..3 {
            let Some(node) = old.follow(at)? else { return Ok(Step::Done) };
            push_new(new, 2 * node.value)?;
            *mark += 1;
            at = node.next;
        }
        assert!(steps < 100);
        Ok(Step::More)
    })
}

fn with_list(len: u64) -> Pool {
    let pool = PoolOptions::new().identity(3).create_on(Mapping::anonymous(128 << 10).unwrap()).unwrap();
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("before")?;
        (0..len).try_for_each(|i| push(&mut tx.open(OLD)?, i))?;
        tx.open::<PHeap<u64>>("after").map(drop)
    })
    .unwrap();
    pool
}

#[test]
fn an_object_is_migrated_once_and_the_old_one_is_gone_with_its_blocks() {
    for in_steps in [false, true] {
        let pool = with_list(40);
        let run = || if in_steps { migrate_in_steps(&pool) } else { migrate(&pool) };
        let blocks = pool.stats().unwrap().blocks;
        assert!(run().unwrap());
        assert!(!run().unwrap());
        assert_eq!(new_values(&pool).unwrap(), (0..40).collect::<Vec<_>>());
        assert_eq!(pool.stats().unwrap().blocks, blocks);
        check(&pool);
        let error = pool.read().unwrap().open(OLD).map(drop).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NewerSchema { found: 2, known: 1, .. }), "{error}");
        pool.write(|tx| push_new(&mut tx.open(NEW)?, 80)).unwrap();
        let again = on(&image_of(&pool)).unwrap();
        assert_eq!(new_values(&again).unwrap()[0], 40);
        assert_eq!(again.stats().unwrap().objects, 3);
        check(&again);
    }
}

#[test]
fn a_new_object_can_be_used_in_the_transaction_that_made_it_and_an_abort_brings_the_old_one_back() {
    let pool = with_list(5);
    pool.write(|tx| {
        tx.migrate(OLD, NEW, copy)?;
        push_new(&mut tx.open(NEW)?, 10)
    })
    .unwrap();
    assert_eq!(new_values(&pool).unwrap(), [5, 0, 1, 2, 3, 4]);

    let pool = with_list(5);
    let before = image_of(&pool);
    let failed: Result<()> = pool.write(|tx| {
        tx.migrate(OLD, NEW, copy)?;
        Err(Error::abort("on purpose"))
    });
    assert!(failed.is_err());
    assert_eq!(values(&pool, "list").unwrap(), [4, 3, 2, 1, 0]);
    pool.write(|tx| {
        let part = tx.migrate(OLD, NEW, |_, new| {
            push_new(new, 1)?;
            Err(Error::abort("in the middle"))
        });
        assert!(part.is_err());
        drop(tx.open(OLD)?);
        Ok(())
    })
    .unwrap();
    assert!(image_of(&pool) == before);
    check(&pool);
}

#[test]
fn what_cannot_be_migrated_is_an_error_that_says_why() {
    let pool = with_list(2);
    let third = Named::<NewList>::new("list").schema(3);
    pool.write(|tx| {
        let error = tx.migrate(Named::<List>::new("list").schema(2), third, copy).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OlderSchema { found: 1, wanted: 2, .. }), "{error}");
        let error = tx.migrate(OLD, Named::<NewList>::new("other"), copy).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TwoNames { .. }), "{error}");
        push(&mut tx.open(OLD)?, 9)?;
        let error = tx.migrate(OLD, NEW, copy).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ChangedHere { .. }), "{error}");
        assert!(!tx.migrate(
            Named::<List>::new("nothing"),
            Named::<NewList>::new("nothing").schema(2),
            copy
        )?);
        Ok(())
    })
    .unwrap();
    assert!(migrate(&pool).unwrap());
    let newer =
        pool.write(|tx| tx.migrate(Named::<List>::new("list").schema(9), OLD, |_, _| Ok(()))).unwrap_err();
    assert!(matches!(newer.kind(), ErrorKind::NewerSchema { found: 2, known: 1, .. }), "{newer}");
}

#[test]
fn an_object_that_is_removed_is_gone_for_readers_and_can_be_made_anew() {
    let pool = with_list(20);
    let reader = pool.read().unwrap();
    assert!(reader.open(OLD).is_ok());
    drop(reader);
    pool.write(|tx| {
        assert!(tx.remove(OLD)?);
        assert!(!tx.remove(OLD)?);
        Ok(())
    })
    .unwrap();
    assert!(matches!(
        pool.read().unwrap().open(OLD).map(drop).unwrap_err().kind(),
        ErrorKind::NotFound { .. }
    ));
    assert_eq!(pool.stats().unwrap().blocks, 4);
    check(&pool);
    for name in ["after", "before"] {
        pool.write(|tx| tx.remove::<PHeap<u64>>(name)).unwrap();
    }
    assert_eq!(pool.stats().unwrap().blocks, 0);
    pool.write(|tx| push(&mut tx.open(OLD)?, 1)).unwrap();
    assert_eq!(values(&on(&image_of(&pool)).unwrap(), "list").unwrap(), [1]);
    check(&pool);
}

// ---- explorations ----------------------------------------------------------------------------

fn config() -> Config {
    let config = Config::from_env();
    if std::env::var_os("PMEM_CRASH_LONG").is_some() {
        config.bound(1 << 14).samples(2048).nested(1024)
    } else {
        config.bound(256).samples(48).nested(48)
    }
}

fn judge(name: &str, report: &Report) {
    println!(
        "crash | {name:<46} | {:>3} operations | {:>7} images | {:>8} recoveries | {} failures",
        report.operations, report.images, report.recoveries, report.failures
    );
    report.assert_ok();
    assert!(report.images > 0 && report.recoveries >= report.images, "{name}: nothing was explored");
}

/// What the list is: its version, and its values; version 0: there is none.
fn state(pool: &Pool) -> Result<(u32, Vec<u64>)> {
    let found = pool.read()?.open(NEW).map(drop);
    match found.as_ref().map_err(Error::kind) {
        Ok(()) => Ok((2, new_values(pool)?)),
        Err(ErrorKind::OlderSchema { .. }) => Ok((1, values(pool, "list")?)),
        Err(ErrorKind::NotFound { .. }) => Ok((0, Vec::new())),
        Err(_) => found.map(|()| unreachable!()),
    }
}

fn explore(name: &str, run: impl Fn(&Pool) -> Result<bool>) {
    let start = Image::new(image_of(&with_list(10)));
    let down: Vec<u64> = (0..10).rev().collect();
    let up: Vec<u64> = (0..10).collect();
    let with = |first: u64, rest: &[u64]| [&[first], rest].concat();
    let states = [
        (1, down.clone()),
        (2, up.clone()),
        (2, with(20, &up)),
        (2, with(21, &with(20, &up))),
        (0, vec![]),
        (1, vec![30]),
    ];
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = Exploration::new(name).config(config().tear(tear)).start(start.clone()).run(
            |mapping, ops| -> Result<()> {
                let pool = Pool::on(mapping)?;
                ops.run("migrate", || run(&pool))?;
                ops.run("push", || pool.write(|tx| push_new(&mut tx.open(NEW)?, 40)))?;
                ops.run("push again", || pool.write(|tx| push_new(&mut tx.open(NEW)?, 42)))?;
                ops.run("remove", || pool.write(|tx| tx.remove(NEW)))?;
                ops.run("make anew", || pool.write(|tx| push(&mut tx.open(OLD)?, 30)))?;
                std::mem::forget(pool); // the power fails: nothing is closed
                Ok(())
            },
            Pool::on,
            |pool, point| {
                let judge = || -> Result<()> {
                    let whole = |pool: &Pool| {
                        let report = pool.check()?;
                        if report.is_ok() { Ok(()) } else { Err(Error::abort(report.to_string())) }
                    };
                    whole(&pool)?;
                    let found = state(&pool)?;
                    if !point.range().any(|done| states[done] == found) {
                        return Err(Error::abort(format!("{found:?} is no state of {:?}", point.range())));
                    }
                    // A program that starts now migrates, and goes on.
                    let had_old = found.0 == 1;
                    assert_eq!(run(&pool)?, had_old);
                    let mut expected = found.1;
                    if had_old {
                        expected.reverse();
                    }
                    pool.write(|tx| push_new(&mut tx.open(NEW)?, 100))?;
                    expected.insert(0, 50);
                    whole(&pool)?;
                    if new_values(&pool)? != expected || pool.stats()?.objects != 3 {
                        return Err(Error::abort("after migrating again, and one value more, others"));
                    }
                    Ok(())
                };
                judge().map_err(|e| e.to_string())
            },
        );
        judge(&format!("{name}, {tear:?}"), &report);
    }
}

#[test]
fn a_migration_in_one_transaction_leaves_old_or_new_at_any_store() {
    explore("migration in one transaction", migrate);
}

#[test]
fn a_migration_in_steps_leaves_old_or_new_at_any_store_and_goes_on() {
    explore("migration in steps", migrate_in_steps);
}
