//! Every state that a power failure could leave of a pool, opened and judged: what was acknowledged is there, nothing is
//! there in half, no block is lost and none is used twice, and the pool can be written on.
//!
//! `PMEM_CRASH_LONG=1` explores further; without it, a seeded part that is quick.
#![allow(missing_docs)]

use pmem_alloc::*;
use pmem_crash::{Config, Exploration, Image, LintKind, Point, Report, Tear};
use pmem_map::{Event, Granularity, LINE, MapOptions, Observer, PAGE, Region};
use std::sync::{Arc, Mutex};

/// The smallest pool: images are copied by the thousand.
const SIZE: u64 = 128 << 10;
/// One with room for large blocks: 43 pages.
const ROOMY: u64 = 256 << 10;
const SLOTS: usize = 6;

fn config() -> Config {
    let config = Config::from_env();
    if std::env::var_os("PMEM_CRASH_LONG").is_some() {
        config.bound(1 << 14).samples(2048).nested(1024)
    } else {
        config.bound(256).samples(48).nested(48)
    }
}

/// Lints that are as they should be: kind, file, why.
const LINTS: &[(LintKind, &str, &str)] = &[(
    LintKind::CleanFlush,
    "pmem-alloc/src/making.rs",
    "creation flushes zeros that it finds: visible, perhaps not durable",
)];

fn survived(name: &str, report: &Report) {
    println!(
        "crash | {name:<46} | {:>3} operations | {:>5} events | {:>7} images | {:>8} recoveries | {} failures",
        report.operations,
        report.steps.len(),
        report.images,
        report.recoveries,
        report.failures
    );
    println!("{report:#}");
    report.assert_ok();
    assert!(report.images > 0 && report.recoveries >= report.images, "{name}: nothing was explored");
}

/// As [`survived`], and without a flush or drain that is missing, or that nobody needs. (What lints know of records ends with the
/// next drain: commits that are on their way keep lines longer.)
fn judge(name: &str, report: &Report) {
    survived(name, report);
    report.assert_no_lints_but(LINTS);
}

// ---- creation --------------------------------------------------------------------------------

type Counter = PHeap<u64>;

fn set(pool: &Pool, value: u64) -> Result<()> {
    pool.write(|tx| {
        *tx.open::<Counter>("counter")?.root_mut()? = value;
        Ok(())
    })
}

fn get(pool: &Pool) -> Result<u64> {
    match pool.read()?.open::<Counter>("counter") {
        Ok(counter) => Ok(*counter.root()?),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound { .. }) => Ok(0),
        Err(e) => Err(e),
    }
}

fn create_and_count(pool: impl FnOnce() -> Result<Pool>, ops: &pmem_crash::Ops) -> Result<()> {
    let pool = ops.run("create", pool)?;
    ops.run("first commit", || set(&pool, 1))?;
    ops.run("second commit", || set(&pool, 2))?;
    std::mem::forget(pool); // the power fails: nothing is closed
    Ok(())
}

/// `None`: there is no pool. What the counter says at each state, and that it goes on.
fn judge_counter(pool: Option<Pool>, point: &Point<'_>) -> Result<(), String> {
    let Some(pool) = pool else {
        return if point.acknowledged == 0 { Ok(()) } else { Err("the pool is gone".into()) };
    };
    let go_on = || -> Result<u64> {
        let found = get(&pool)?;
        set(&pool, 7)?;
        set(&pool, 8)?;
        assert_eq!(get(&pool)?, 8);
        Ok(found)
    };
    let found = go_on().map_err(|e| e.to_string())?;
    let report = pool.check().map_err(|e| e.to_string())?;
    if !report.is_ok() {
        return Err(report.to_string());
    }
    match point.range().any(|done| [0, 0, 1, 2][done] == found) {
        true => Ok(()),
        false => Err(format!("the counter is {found} after {:?} of 3 operations", point.range())),
    }
}

fn no_pool(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::NotAPool { .. } | ErrorKind::Damaged { .. })
}

fn explore_creation(name: &str, start: Image) {
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = Exploration::new(name).config(config().tear(tear)).start(start.clone()).run(
            |mapping, ops| create_and_count(|| PoolOptions::new().identity(7).create_on(mapping), ops),
            |mapping| match Pool::on(mapping) {
                Ok(pool) => Ok(Some(pool)),
                Err(e) if no_pool(&e) => Ok(None),
                Err(e) => Err(e),
            },
            |pool, point| {
                let old = |pool: &Pool| pool.read().unwrap().open::<PHeap<u32>>("old").is_ok();
                match &pool {
                    Some(pool) if old(pool) => match point.acknowledged {
                        0 => Ok(()),
                        _ => Err("the old pool is still there".into()),
                    },
                    _ => judge_counter(pool, point),
                }
            },
        );
        judge(&format!("{name}, {tear:?}"), &report);
    }
}

#[test]
fn creation_on_zeros_leaves_no_pool_or_a_whole_one() {
    explore_creation("creation on zeros", Image::zeroed(SIZE));
}

#[test]
fn creation_over_garbage_leaves_no_pool_or_a_whole_one() {
    let mut rng = fastrand::Rng::with_seed(5);
    explore_creation("creation over garbage", Image::new((0..SIZE).map(|_| rng.u8(..)).collect()));
}

#[test]
fn creation_over_an_old_pool_leaves_the_old_one_or_none_or_the_new_one() {
    let pool = PoolOptions::new().identity(5).create_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
    pool.write(|tx| {
        tx.open::<PHeap<u32>>("old")?;
        let mut heap = tx.open::<PHeap<u64>>("also")?;
        (0..100).try_for_each(|i| heap.alloc([i; 9]).map(drop))
    })
    .unwrap();
    explore_creation("creation over an old pool", image_of(&pool));
}

#[test]
fn creation_by_path_leaves_nothing_or_a_whole_pool_or_what_open_or_create_completes() {
    for emulate_pmem in [true, false] {
        let options = |observer| {
            let mapping = MapOptions::new().emulate_pmem(emulate_pmem).observer(observer);
            PoolOptions::new().identity(7).size(SIZE).mapping(mapping)
        };
        let name = if emulate_pmem { "creation by path" } else { "creation by path, medium's granularity" };
        let report = Exploration::new(name).config(config()).run_files(
            // SAFETY: a file of this exploration alone.
            |path, ops| create_and_count(|| unsafe { options(ops.observer()).create(path) }, ops),
            // SAFETY: as above.
            |path, observer| match unsafe { options(observer).open_or_create(path) } {
                Ok(pool) => Ok(Some(pool)),
                // A name without a length: says to remove it.
                Err(e) if matches!(e.kind(), ErrorKind::Map(pmem_map::Error::BadLength { len: 0, .. })) => {
                    Ok(None)
                }
                Err(e) => Err(e),
            },
            judge_counter,
        );
        judge(name, &report);
    }
}

/// What is durable for certain: flushed or stored past the caches, and drained.
struct Durable(Mutex<(Vec<u8>, Stores)>);
type Stores = Vec<(u64, Vec<u8>)>;

impl Observer for Durable {
    fn event(&self, region: &Region, event: Event<'_>) {
        let (durable, on_their_way) = &mut *self.0.lock().unwrap();
        match event {
            Event::StoreNontemporal { offset, bytes, .. } => on_their_way.push((offset, bytes.to_vec())),
            Event::Flush { offset, len, .. } => {
                let lines = offset / LINE * LINE..(offset + len).next_multiple_of(LINE);
                let mut content = vec![0; (lines.end - lines.start) as usize];
                // SAFETY: the one thread that stores is in this call.
                unsafe { region.load(lines.start, &mut content) };
                on_their_way.push((lines.start, content));
            }
            Event::Drain { .. } => {
                for (at, content) in on_their_way.drain(..) {
                    durable[at as usize..][..content.len()].copy_from_slice(&content);
                }
            }
            _ => {}
        }
    }
}

/// The creator is killed between storing the magics and draining them. The next process sees a pool, and is told that
/// its commit is durable. Then power fails.
#[test]
fn an_acknowledged_commit_survives_a_creation_that_was_killed_at_its_last_drain() {
    let visible = image_of(&Pool::anonymous(SIZE).unwrap());
    let mut durable = visible.bytes().to_vec();
    durable[..8].fill(0);
    durable[4096..4104].fill(0);
    let durable = Arc::new(Durable(Mutex::new((durable, Vec::new()))));
    let mut mapping = Mapping::anonymous(SIZE).unwrap();
    mapping.as_mut_slice().copy_from_slice(visible.bytes());
    mapping.observe(durable.clone()).map_err(drop).unwrap();
    let pool = Pool::on(mapping).unwrap();
    set(&pool, 1).unwrap();
    let left = durable.0.lock().unwrap().0.clone();
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    let folder = tempfile::tempdir_in(parent).unwrap();
    let path = folder.path().join("pool");
    std::fs::write(&path, left).unwrap();
    // SAFETY: a file of this test alone.
    let pool = unsafe { PoolOptions::new().open_or_create(&path) }.unwrap();
    assert_eq!(get(&pool).unwrap(), 1);
}

// ---- allocation ------------------------------------------------------------------------------

/// What a slot refers to: offset, length, and the byte that fills it; zeros: nothing.
#[derive(Clone, Copy, Default, PartialEq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Slot {
    at: u64,
    len: u64,
    fill: u64,
}

impl Plain for Slot {
    const NAME: &'static str = "crash.Slot";
}

type Slots = PHeap<[Slot; SLOTS]>;

#[derive(Clone, Debug)]
enum Op {
    /// In one transaction: free what is in the slot, and allocate so many bytes (0: none).
    Put(Vec<(usize, u64, u64)>),
    /// As `Put` of one, through a reservation.
    Publish(usize, u64, u64),
    /// As `Put`, rolled back.
    Abort(Vec<(usize, u64, u64)>),
    /// As `Put`, of which the second list is undone in a nested part, an object that it creates with it.
    Nested(Vec<(usize, u64, u64)>, Vec<(usize, u64, u64)>),
    /// Changes the content.
    Fill(usize, u64),
    /// Reserves and forgets.
    Cancel(u64),
    /// A named object more.
    Name(&'static str),
    Checkpoint,
    /// Commits, and leaves it to others to make that durable.
    Later(Box<Op>),
    OnThread(Box<Op>),
    Sync,
    /// What readers see now: it has to survive.
    Look,
}
use Op::*;

fn later(op: Op) -> Op {
    Later(Box::new(op))
}

fn on_thread(op: Op) -> Op {
    OnThread(Box::new(op))
}

/// Whether all operations so far are durable when this one returns.
fn acknowledges(op: &Op) -> bool {
    match op {
        OnThread(op) => acknowledges(op),
        Later(_) | Abort(_) | Look => false,
        _ => true,
    }
}

/// Length and fill of each slot, and named objects besides the slots.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    slots: [(u64, u64); SLOTS],
    names: Vec<&'static str>,
}

fn model(op: &Op, state: &mut State) {
    match op {
        Put(all) | Nested(all, _) => all.iter().for_each(|&(slot, len, fill)| {
            state.slots[slot] = if len == 0 { (0, 0) } else { (len, fill) };
        }),
        &Publish(slot, len, fill) => state.slots[slot] = (len, fill),
        &Fill(slot, fill) => state.slots[slot].1 = fill,
        Name(name) => state.names.push(name),
        Later(op) | OnThread(op) => model(op, state),
        Abort(_) | Cancel(_) | Checkpoint | Sync | Look => {}
    }
}

fn commit(pool: &Pool, eventual: bool, body: impl FnOnce(&mut WriteTx<'_>) -> Result<()>) -> Result<()> {
    let mut tx = pool.begin()?;
    body(&mut tx)?;
    if eventual { tx.commit_eventual().map(drop) } else { tx.commit() }
}

fn put(heap: &mut Mut<'_, Slots>, slot: usize, len: u64, fill: u64) -> Result<()> {
    let old = heap.root()?[slot];
    if old.len > 0 {
        heap.free(Ptr::<u8>::from_offset(old.at))?;
    }
    let mut new = Slot::default();
    if len > 0 {
        let at = heap.alloc_aligned(len, 8)?;
        heap.bytes_mut(at, len)?.fill(fill as u8);
        new = Slot { at: at.offset(), len, fill };
    }
    heap.root_mut()?[slot] = new;
    Ok(())
}

fn perform(pool: &Pool, op: &Op) -> Result<()> {
    perform_as(pool, op, false)
}

fn perform_as(pool: &Pool, op: &Op, eventual: bool) -> Result<()> {
    match op {
        Later(op) => perform_as(pool, op, true),
        OnThread(op) => {
            std::thread::scope(|scope| scope.spawn(|| perform_as(pool, op, eventual)).join().unwrap())
        }
        Sync => pool.sync(),
        Look => Ok(()),
        Put(all) => commit(pool, eventual, |tx| {
            let mut heap = tx.open::<Slots>("slots")?;
            all.iter().try_for_each(|&(slot, len, fill)| put(&mut heap, slot, len, fill))
        }),
        Abort(all) => {
            let tx = pool.begin()?;
            let mut heap = tx.open::<Slots>("slots")?;
            all.iter().try_for_each(|&(slot, len, fill)| put(&mut heap, slot, len, fill))
        }
        Nested(all, undone) => commit(pool, eventual, |tx| {
            let (before, after) = all.split_at(all.len() / 2);
            before
                .iter()
                .try_for_each(|&(slot, len, fill)| put(&mut tx.open::<Slots>("slots")?, slot, len, fill))?;
            let part: Result<()> = tx.nested(|tx| {
                let mut heap = tx.open::<Slots>("slots")?;
                undone.iter().try_for_each(|&(slot, len, fill)| put(&mut heap, slot, len, fill))?;
                tx.open::<PHeap<u64>>("undone")?;
                Err(Error::abort("on purpose"))
            });
            assert!(part.is_err_and(|e| matches!(e.kind(), ErrorKind::Aborted(_))));
            let mut heap = tx.open::<Slots>("slots")?;
            after.iter().try_for_each(|&(slot, len, fill)| put(&mut heap, slot, len, fill))
        }),
        &Publish(slot, len, fill) => {
            let mut reservation = pool.reserve(len, 8)?;
            reservation.fill(fill as u8);
            commit(pool, eventual, |tx| {
                let mut heap = tx.open::<Slots>("slots")?;
                put(&mut heap, slot, 0, 0)?;
                let at = heap.publish(reservation)?.offset();
                heap.root_mut()?[slot] = Slot { at, len, fill };
                Ok(())
            })
        }
        &Fill(slot, fill) => commit(pool, eventual, |tx| {
            let mut heap = tx.open::<Slots>("slots")?;
            heap.root_mut()?[slot].fill = fill;
            let Slot { at, len, .. } = heap.root()?[slot];
            heap.bytes_mut(Ptr::from_offset(at), len)?.fill(fill as u8);
            Ok(())
        }),
        &Cancel(len) => pool.reserve(len, 8).map(drop),
        Name(name) => commit(pool, eventual, |tx| tx.open::<PHeap<u64>>(*name).map(drop)),
        Checkpoint => pool.checkpoint(),
    }
}

/// What readers see.
fn view(pool: &Pool, names: &[&'static str]) -> Result<State> {
    let tx = pool.read()?;
    let heap = tx.open::<Slots>("slots")?;
    let mut state = State::default();
    for (slot, &Slot { at, len, fill }) in heap.root()?.iter().enumerate() {
        if len > 0 && heap.bytes(Ptr::from_offset(at), len)?.iter().any(|&byte| byte != fill as u8) {
            return Err(Error::abort(format!("slot {slot} is not full of {fill}")));
        }
        state.slots[slot] = (len, fill);
    }
    state.names = names.iter().copied().filter(|name| tx.open::<PHeap<u64>>(*name).is_ok()).collect();
    Ok(state)
}

fn observe(pool: &Pool, names: &[&'static str]) -> Result<State> {
    let report = pool.check()?;
    if !report.is_ok() {
        return Err(Error::abort(report.to_string()));
    }
    let state = view(pool, names)?;
    let expected = state.slots.iter().filter(|slot| slot.0 > 0).count() + 2 * (1 + state.names.len());
    let found = pool.stats()?.blocks;
    if found != expected as u64 {
        return Err(Error::abort(format!("{found} blocks are allocated, {expected} are in use")));
    }
    Ok(state)
}

fn image_of(pool: &Pool) -> Image {
    pool.checkpoint().unwrap();
    let mut bytes = vec![0; pool.region().len() as usize];
    // SAFETY: this thread is the only one, and no transaction is open: nobody stores.
    unsafe { pool.region().load(0, &mut bytes) };
    Image::new(bytes)
}

fn explore(name: &str, ops: &[Op]) {
    explore_on(name, &PoolOptions::new(), Granularity::CacheLine, &[Tear::Line, Tear::EightBytes], ops);
}

fn explore_on(name: &str, options: &PoolOptions, granularity: Granularity, tears: &[Tear], ops: &[Op]) {
    let start = {
        let pool = PoolOptions::new().identity(7).create_on(Mapping::anonymous(ROOMY).unwrap()).unwrap();
        pool.write(|tx| tx.open::<Slots>("slots").map(drop)).unwrap();
        image_of(&pool)
    };
    let mut states = vec![State::default()];
    for op in ops {
        let mut next = states.last().unwrap().clone();
        model(op, &mut next);
        states.push(next);
    }
    let names = &states.last().unwrap().names;
    for &tear in tears {
        let config = config().tear(tear).granularity(granularity);
        let report = Exploration::new(name).config(config).start(start.clone()).run(
            |mapping, marks| -> Result<()> {
                let pool = options.open_on(mapping)?;
                let mut acknowledged = 0;
                for op in ops {
                    let number = marks.begin(format!("{op:?}"));
                    perform(&pool, op)?;
                    if acknowledges(op) {
                        acknowledged = number;
                    } else if let Look = op {
                        let seen = view(&pool, names)?;
                        let seen = (acknowledged..number).find(|done| states[*done] == seen);
                        acknowledged =
                            seen.expect("readers see a commit that is not older than the last one");
                    }
                    marks.acknowledged_to(acknowledged);
                }
                std::mem::forget(pool); // the power fails: nothing is closed
                Ok(())
            },
            |mapping| options.open_on(mapping),
            |pool, point| {
                let judge = || -> Result<()> {
                    let mut state = observe(&pool, names)?;
                    if !point.range().any(|done| states[done] == state) {
                        return Err(Error::abort(format!("{state:?} is no state of {:?}", point.range())));
                    }
                    // And it can be used: blocks of the same class and a large one, what is there freed, more taken.
                    let go_on = [
                        Put(vec![(0, 0, 0)]),
                        Put(vec![(0, 64, 1), (1, 40_000, 2)]),
                        Put(vec![(0, 0, 0), (2, 64, 3), (3, 64, 4)]),
                    ];
                    for op in &go_on {
                        perform(&pool, op)?;
                        model(op, &mut state);
                    }
                    let found = observe(&pool, names)?;
                    if found != state {
                        return Err(Error::abort(format!(
                            "{found:?} after three more commits, not {state:?}"
                        )));
                    }
                    Ok(())
                };
                judge().map_err(|e| e.to_string())
            },
        );
        let on_the_way = ops.iter().any(|op| matches!(op, Later(_)));
        let judge = if on_the_way { survived } else { judge };
        judge(&format!("{name}, {tear:?}"), &report);
    }
}

// PMDK scenarios 22 and 23.
#[test]
fn allocation_and_free_of_small_blocks_survive_at_any_store() {
    explore(
        "allocate, free, small",
        &[
            Put(vec![(0, 64, 1)]),
            Put(vec![(1, 64, 2), (2, 24, 3)]),
            Put(vec![(0, 0, 0)]),
            Put(vec![(0, 64, 4), (1, 0, 0)]),
            Fill(2, 9),
            Put(vec![(0, 0, 0), (2, 0, 0), (3, 64, 5)]),
        ],
    );
}

#[test]
fn allocation_and_free_of_large_blocks_survive_at_any_store() {
    explore(
        "allocate, free, large (in place)",
        &[
            Put(vec![(0, 33_000, 1)]),
            Put(vec![(1, 6000, 2)]),
            Put(vec![(0, 0, 0)]),
            Put(vec![(2, 33_000, 3)]), // the pages that were just freed
            Put(vec![(1, 0, 0), (3, 64, 4)]),
            Put(vec![(4, 6000, 5)]),
        ],
    );
}

/// A third of this pool's log is 2.6 KB: the fills are larger.
#[test]
fn transactions_larger_than_a_third_of_the_log_survive_at_any_store() {
    explore(
        "log extension",
        &[
            Put(vec![(0, 8000, 1), (1, 5000, 1)]),
            Fill(0, 2),
            Put(vec![(1, 0, 0), (2, 24, 3)]), // its pages may be lent now
            Fill(0, 4),
            later(Fill(0, 5)),
            later(Fill(2, 6)),
            Fill(0, 7),
            Put(vec![(3, 60_000, 8)]),
            Fill(0, 9),
            Put(vec![(0, 0, 0)]),
        ],
    );
}

#[test]
fn a_block_freed_written_and_allocated_again_survives_at_any_store() {
    for len in [500, 5000, 15_000] {
        explore(
            &format!("free, allocate again, rewrite {len}"),
            &[
                Put(vec![(0, len, 1)]),
                Fill(0, 2),
                Put(vec![(0, 0, 0)]),
                Put(vec![(1, len, 3)]),
                Checkpoint,
                Put(vec![(1, 0, 0)]),
                Put(vec![(2, len, 4)]),
                Fill(2, 5),
            ],
        );
    }
}

#[test]
fn an_abort_between_commits_leaves_nothing_at_any_store() {
    explore(
        "abort",
        &[
            Put(vec![(0, 64, 1)]),
            Abort(vec![(0, 0, 0), (1, 100, 2), (2, 6000, 3)]),
            Put(vec![(1, 100, 4)]),
            Abort(vec![(1, 0, 0)]),
            Put(vec![(0, 64, 5)]),
        ],
    );
}

#[test]
fn what_a_nested_part_has_undone_is_not_there_at_any_store() {
    explore(
        "nested part undone",
        &[
            Put(vec![(0, 64, 1)]),
            Nested(vec![(1, 64, 2), (2, 24, 3)], vec![(0, 0, 0), (1, 100, 4), (3, 6000, 5)]),
            Nested(vec![], vec![(0, 64, 6), (2, 0, 0)]), // nothing is left of it
            Nested(vec![(1, 0, 0), (3, 6000, 7)], vec![(4, 33_000, 8), (0, 6000, 9)]),
            Put(vec![(0, 0, 0), (4, 33_000, 10)]),
        ],
    );
}

// PMDK scenario 27, killed before it is published.
#[test]
fn reserve_publish_and_cancel_survive_at_any_store() {
    explore(
        "reserve, publish, cancel",
        &[
            Publish(0, 64, 1),
            Cancel(64),
            Publish(1, 6000, 2),
            Cancel(6000),
            Publish(0, 64, 3),
            Put(vec![(1, 0, 0), (2, 64, 4)]),
        ],
    );
}

#[test]
fn a_run_released_for_another_class_survives_at_any_store() {
    // One block takes all pages but three; then runs of other classes have to make room for each other.
    explore(
        "runs released and set up",
        &[
            Put(vec![(0, 38 * PAGE, 1)]),
            Put(vec![(1, 2000, 2), (2, 1000, 6)]),
            Put(vec![(1, 0, 0), (2, 0, 0)]),
            Put(vec![(2, 3 * PAGE, 3)]), // the pages of both runs, too
            Put(vec![(2, 0, 0)]),
            Put(vec![(3, 3000, 4)]),
            Put(vec![(4, 2 * PAGE, 5)]),
        ],
    );
}

#[test]
fn named_objects_appear_whole_at_any_store() {
    explore("named objects", &[Name("one"), Put(vec![(0, 64, 1)]), Name("two"), Put(vec![(0, 0, 0)])]);
}

/// Blocks of all kinds, allocated, freed and changed by commits on their way; readers look now and then.
fn on_the_way() -> Vec<Op> {
    vec![
        later(Put(vec![(0, 64, 1)])),
        Look,
        later(Put(vec![(0, 64, 2), (1, 24, 3)])),
        on_thread(later(Fill(0, 4))),
        Look,
        Sync,
        Look,
        later(Put(vec![(0, 0, 0)])),
        later(Put(vec![(2, 64, 5)])),
        on_thread(Put(vec![(3, 64, 6)])),
        later(Name("a")),
        Look,
        later(Put(vec![(1, 40_000, 7)])),
        on_thread(later(Put(vec![(1, 0, 0), (0, 24, 8)]))),
        Abort(vec![(1, 64, 9), (0, 0, 0)]),
        on_thread(Sync),
        Look,
        later(Put(vec![(2, 40_000, 10)])),
        Put(vec![(0, 64, 11)]),
        later(Fill(0, 12)),
        Checkpoint,
        later(Put(vec![(3, 0, 0)])),
        Put(vec![(1, 64, 13)]),
    ]
}

#[test]
fn a_prefix_of_commits_on_their_way_survives_at_any_store_with_all_that_readers_saw() {
    for granularity in [Granularity::CacheLine, Granularity::Page] {
        let name = format!("eventual, {granularity:?}");
        explore_on(&name, &PoolOptions::new(), granularity, &[Tear::EightBytes], &on_the_way());
    }
}

#[test]
fn commits_of_pools_that_share_a_drain_survive_at_any_store() {
    for granularity in [Granularity::CacheLine, Granularity::Page] {
        let options = PoolOptions::new().group_commit(true).flush_interval(3);
        let name = format!("group commit, {granularity:?}");
        explore_on(&name, &options, granularity, &[Tear::Line], &on_the_way());
    }
}
