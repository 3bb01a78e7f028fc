//! Every store, flush and drain of allocation, publishing, creation, opening and checkpoints left out in turn: an exploration
//! finds it, or `mutation.exceptions` proves that the line is needed all the same.
//!
//! As many as it takes; all of them with `just mutation`, which prints the table for the whole workspace.
#![allow(missing_docs)]

use pmem_alloc::*;
use pmem_crash::{Config, Exploration, Image, Ops, Point, Report, mutation::Table};
use pmem_map::{Event, Granularity, MapOptions, Observer, Region};
use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
};

/// Steps that can be left out. More is better; less needs a reason.
const STEPS: usize = 1039;

const SIZE: u64 = 256 << 10;
const SLOTS: usize = 8;
/// By so much a pool grows, once at most.
const GROWTH: u64 = 64 << 10;

/// What a slot refers to: offset, length, and the byte that fills it; zeros: nothing.
#[derive(Clone, Copy, Default, PartialEq, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Slot {
    at: u64,
    len: u64,
    fill: u64,
}

impl Plain for Slot {
    const NAME: &'static str = "mutation.Slot";
}

type Slots = PHeap<[Slot; SLOTS]>;

#[derive(Clone, Debug)]
enum Op {
    /// In one transaction: frees what is in each slot, and allocates so many bytes (0: none) full of one byte.
    Put(Vec<(usize, u64, u64)>),
    /// Allocates in one slot by way of a reservation.
    Publish(usize, u64, u64),
    /// Sets a word of a slot that nothing is allocated for.
    Word(usize, u64),
    /// Another named object.
    Name,
    /// The pool gets longer, in a mapping that is long enough already.
    Grow,
    Checkpoint,
}
use Op::*;

/// Length and fill of each slot, and whether there is another named object.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    slots: [(u64, u64); SLOTS],
    named: bool,
    /// Bytes of the pool.
    size: u64,
}

fn model(op: &Op, state: &mut State) {
    match op {
        Put(all) => all.iter().for_each(|&(slot, len, fill)| {
            state.slots[slot] = if len == 0 { (0, 0) } else { (len, fill) };
        }),
        &Publish(slot, len, fill) => state.slots[slot] = (len, fill),
        &Word(slot, fill) => state.slots[slot] = (0, fill),
        Name => state.named = true,
        Grow => state.size += GROWTH,
        Checkpoint => {}
    }
}

fn clear(heap: &mut Mut<'_, Slots>, slot: usize) -> Result<()> {
    let old = heap.root()?[slot];
    if old.len > 0 { heap.free(Ptr::<u8>::from_offset(old.at)) } else { Ok(()) }
}

fn perform(pool: &Pool, op: &Op) -> Result<()> {
    match op {
        Put(all) => pool.write(|tx| {
            let mut heap = tx.open::<Slots>("slots")?;
            for &(slot, len, fill) in all {
                clear(&mut heap, slot)?;
                let mut new = Slot::default();
                if len > 0 {
                    let at = heap.alloc_aligned(len, 8)?;
                    heap.bytes_mut(at, len)?.fill(fill as u8);
                    new = Slot { at: at.offset(), len, fill };
                }
                heap.root_mut()?[slot] = new;
            }
            Ok(())
        }),
        &Publish(slot, len, fill) => {
            let mut reservation = pool.reserve(len, 8)?;
            reservation.fill(fill as u8);
            pool.write(|tx| {
                let mut heap = tx.open::<Slots>("slots")?;
                clear(&mut heap, slot)?;
                let at = heap.publish(reservation)?.offset();
                heap.root_mut()?[slot] = Slot { at, len, fill };
                Ok(())
            })
        }
        &Word(slot, fill) => pool.write(|tx| {
            tx.open::<Slots>("slots")?.root_mut()?[slot].fill = fill;
            Ok(())
        }),
        Name => pool.write(|tx| tx.open::<PHeap<u64>>("another").map(drop)),
        Grow => pool.grow(GROWTH).map(drop),
        Checkpoint => pool.checkpoint(),
    }
}

fn observe(pool: &Pool) -> Result<State> {
    let report = pool.check()?;
    if !report.is_ok() {
        return Err(Error::abort(report.to_string()));
    }
    let size = pool.stats()?.size;
    let tx = pool.read()?;
    let heap = tx.open::<Slots>("slots")?;
    let mut state = State { size, ..State::default() };
    for (slot, &Slot { at, len, fill }) in heap.root()?.iter().enumerate() {
        if len > 0 && heap.bytes(Ptr::from_offset(at), len)?.iter().any(|&byte| byte != fill as u8) {
            return Err(Error::abort(format!("slot {slot} is not full of {fill}")));
        }
        state.slots[slot] = (len, fill);
    }
    state.named = tx.open::<PHeap<u64>>("another").is_ok();
    drop(tx);
    let expected = state.slots.iter().filter(|slot| slot.0 > 0).count() + 2 * (1 + usize::from(state.named));
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

/// A pool to begin with.
#[derive(Clone)]
struct Start {
    image: Image,
    /// What may be found in it before anything was acknowledged.
    holds: Vec<State>,
    /// Its creation was cut short.
    unfinished: bool,
}

impl Start {
    fn new(image: Image, holds: Vec<State>) -> Start {
        Start { image, holds, unfinished: false }
    }

    fn last(&self) -> &State {
        self.holds.last().unwrap()
    }
}

fn create(max_size: u64) -> Pool {
    let options = PoolOptions::new().identity(7).max_size(max_size);
    let pool = options.create_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
    pool.write(|tx| tx.open::<Slots>("slots").map(drop)).unwrap();
    pool
}

fn fresh(max_size: u64) -> Start {
    let pool = create(max_size);
    Start::new(image_of(&pool), vec![observe(&pool).unwrap()])
}

/// With bytes of anybody behind the pool, into which it may grow.
fn with_room(start: Start) -> Start {
    let mut random = fastrand::Rng::with_seed(6);
    let mut bytes = start.image.bytes().to_vec();
    bytes.extend((0..GROWTH).map(|_| random.u8(..)));
    Start { image: Image::new(bytes), ..start }
}

/// A pool on which 10,000 transactions allocated, freed and changed.
fn old(max_size: u64) -> Start {
    let (pool, mut random) = (create(max_size), fastrand::Rng::with_seed(10_000));
    let mut state = observe(&pool).unwrap();
    let lengths = [0, 24, 64, 100, 500, 2000, 6000, 9000];
    for n in 0..10_000 {
        let (slot, len) = (random.usize(0..SLOTS), lengths[random.usize(0..lengths.len())]);
        let op =
            if n % 5 == 0 && len > 0 { Publish(slot, len, n % 251) } else { Put(vec![(slot, len, n % 251)]) };
        perform(&pool, &op).unwrap();
        model(&op, &mut state);
    }
    // Room for what the operations put there, and for one that is full.
    let op = Put((0..SLOTS).map(|slot| (slot, if slot == 7 { 64 } else { 0 }, 9)).collect());
    perform(&pool, &op).unwrap();
    model(&op, &mut state);
    assert_eq!(observe(&pool).unwrap(), state);
    Start::new(image_of(&pool), vec![state])
}

/// Offsets of records.
#[derive(Default)]
struct Records(Mutex<Vec<u64>>);

impl Observer for Records {
    fn event(&self, _: &Region, event: Event<'_>) {
        if let Event::StoreNontemporal { offset, .. } = event {
            self.0.lock().unwrap().push(offset);
        }
    }
}

/// `first`, and commits of one word that fill the ring up, from where it is when a pool is opened: the next record of any
/// length is at its start again.
fn filling(start: &Start, first: &[Op]) -> Vec<Op> {
    let records = Arc::new(Records::default());
    let mapping = start.image.to_mapping().unwrap();
    mapping.observe(records.clone()).map_err(drop).unwrap();
    let pool = Pool::on(mapping).unwrap();
    let mut ops = Vec::new();
    for n in 0.. {
        let op = first.get(n).cloned().unwrap_or(Word(3, 1 + n as u64));
        perform(&pool, &op).unwrap();
        let offsets = records.0.lock().unwrap();
        let wrapped = |pair: &[u64]| pair[1] < pair[0] && n >= first.len();
        if offsets.last_chunk::<2>().is_some_and(|pair| wrapped(pair)) {
            break;
        }
        drop(offsets);
        ops.push(op);
        assert!(n < 10_000, "the ring never wraps");
    }
    ops
}

fn text(error: Error) -> String {
    error.to_string()
}

/// Judges a pool: what was acknowledged is there, and it goes on.
fn judge(pool: &Pool, states: &[Vec<State>], point: &Point<'_>) -> std::result::Result<(), String> {
    let mut state = observe(pool).map_err(text)?;
    if !point.range().any(|done| states[done].contains(&state)) {
        return Err(format!("{state:?} is no state of {:?}", point.range()));
    }
    for op in [Put(vec![(0, 0, 0), (1, 64, 1)]), Put(vec![(1, 0, 0), (2, 64, 3), (3, 64, 4)])] {
        perform(pool, &op).map_err(text)?;
        model(&op, &mut state);
    }
    let found = observe(pool).map_err(text)?;
    if found == state { Ok(()) } else { Err(format!("{found:?} after two more commits, not {state:?}")) }
}

fn states_of(start: &Start, ops: &[Op]) -> Vec<Vec<State>> {
    let mut states = vec![start.holds.clone()];
    let mut state = start.last().clone();
    for op in ops {
        model(op, &mut state);
        states.push(vec![state.clone()]);
    }
    states
}

fn after() -> [Op; 2] {
    [Put(vec![(3, 64, 71), (5, 0, 72)]), Put(vec![(3, 0, 0), (4, 100, 82)])]
}

/// A pool in `start`, on which `before` was done: the operation, and two commits after it.
fn operation(
    exploration: Exploration,
    options: &PoolOptions,
    start: &Start,
    before: &[Op],
    name: &str,
    op: &Op,
) -> Report {
    let mut prepared = Start::new(start.image.clone(), vec![start.last().clone()]);
    before.iter().for_each(|op| model(op, &mut prepared.holds[0]));
    let ops: Vec<Op> = [op.clone()].into_iter().chain(after()).collect();
    let states = states_of(&prepared, &ops);
    exploration.configure(|config| config.raw_stores(false)).start(start.image.clone()).run(
        |mapping, marks: &Ops| -> Result<()> {
            let pool = marks.prepare(|| {
                let pool = options.open_on(mapping)?;
                before.iter().try_for_each(|op| perform(&pool, op))?;
                Ok::<Pool, Error>(pool)
            })?;
            for (n, name) in [name, "after it", "and after that"].into_iter().enumerate() {
                marks.run(name, || perform(&pool, &ops[n]))?;
                marks.prepare(|| assert_eq!(observe(&pool).unwrap(), states[n + 1][0], "visible"));
            }
            std::mem::forget(pool); // the power fails: nothing is closed
            Ok(())
        },
        |mapping| options.open_on(mapping),
        |pool, point| judge(&pool, &states, point),
    )
}

fn no_pool(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::NotAPool { .. } | ErrorKind::Damaged { .. })
}

/// Opening as the operation; then two commits.
fn opening(exploration: Exploration, options: &PoolOptions, start: &Start) -> Report {
    let mut states = states_of(start, &after());
    // Opened: what it shows from now on is there for good.
    states.insert(1, vec![start.last().clone()]);
    exploration.configure(|config| config.raw_stores(false)).start(start.image.clone()).run(
        |mapping, marks: &Ops| -> Result<()> {
            let pool = marks.run("open", || options.open_on(mapping))?;
            marks.prepare(|| assert_eq!(observe(&pool).unwrap(), states[1][0], "visible"));
            for op in &after() {
                marks.run("after it", || perform(&pool, op))?;
            }
            std::mem::forget(pool);
            Ok(())
        },
        |mapping| match options.open_on(mapping) {
            Err(error) if start.unfinished && no_pool(&error) => Ok(None),
            opened => opened.map(Some),
        },
        |pool, point| match pool {
            Some(pool) => judge(&pool, &states, point),
            None if point.acknowledged == 0 => Ok(()),
            None => Err("the pool is gone".to_owned()),
        },
    )
}

/// What the end of a process, or a power failure, in the last of `ops` leaves: nothing kept of what may be lost.
fn cut_off(options: &PoolOptions, start: &Start, ops: &[Op]) -> [Start; 2] {
    let left = RefCell::new(None);
    let states = states_of(start, ops);
    let config = Config::default().depth(0).bound(1).samples(0).raw_stores(false);
    let report = Exploration::new("cut off").config(config).start(start.image.clone()).run(
        |mapping, marks: &Ops| -> Result<()> {
            let (last, before) = ops.split_last().unwrap();
            let pool = marks.prepare(|| {
                let pool = options.open_on(mapping)?;
                before.iter().try_for_each(|op| perform(&pool, op))?;
                Ok::<Pool, Error>(pool)
            })?;
            marks.run("last", || perform(&pool, last))?;
            std::mem::forget(pool);
            Ok(())
        },
        |mapping| options.open_on(mapping),
        |pool, point| {
            let found = observe(&pool).map_err(text)?;
            if point.begun == 1 {
                left.borrow_mut().get_or_insert_with(|| (point.image().clone(), point.killed(), found));
            }
            Ok(())
        },
    );
    report.assert_ok();
    let (crashed, killed, found) = left.into_inner().expect("a crash point in the last operation");
    let last = states.last().unwrap()[0].clone();
    [Start::new(killed, vec![found.clone(), last]), Start::new(crashed, vec![found])]
}

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

fn count(pool: impl FnOnce() -> Result<Pool>, ops: &Ops) -> Result<()> {
    let pool = ops.run("create", pool)?;
    ops.run("first commit", || set(&pool, 1))?;
    ops.run("second commit", || set(&pool, 2))?;
    ops.prepare(|| assert_eq!(get(&pool).unwrap(), 2, "visible"));
    std::mem::forget(pool);
    Ok(())
}

/// `None`: there is no pool. What the counter says at each state, and that it goes on.
fn judge_counter(pool: Option<Pool>, point: &Point<'_>) -> std::result::Result<(), String> {
    let Some(pool) = pool else {
        return if point.acknowledged == 0 { Ok(()) } else { Err("the pool is gone".into()) };
    };
    if pool.read().map_err(text)?.open::<Slots>("slots").is_ok() {
        return if point.acknowledged == 0 { Ok(()) } else { Err("the old pool is still there".into()) };
    }
    let go_on = || -> Result<u64> {
        let found = get(&pool)?;
        set(&pool, 7)?;
        set(&pool, 8)?;
        Ok(found)
    };
    let found = go_on().map_err(text)?;
    let report = pool.check().map_err(text)?;
    if !report.is_ok() {
        return Err(report.to_string());
    }
    match point.range().any(|done| [0, 0, 1, 2][done] == found) {
        true => Ok(()),
        false => Err(format!("the counter is {found} after {:?} of 3 operations", point.range())),
    }
}

fn creation(exploration: Exploration, start: &Image) -> Report {
    exploration.configure(|config| config.raw_stores(false)).start(start.clone()).run(
        |mapping, ops| count(|| PoolOptions::new().identity(77).create_on(mapping), ops),
        |mapping| match Pool::on(mapping) {
            Err(e) if no_pool(&e) => Ok(None),
            opened => opened.map(Some),
        },
        judge_counter,
    )
}

fn creation_by_path(exploration: Exploration) -> Report {
    let options = |observer| {
        let mapping = MapOptions::new().emulate_pmem(true).observer(observer);
        PoolOptions::new().identity(7).size(128 << 10).mapping(mapping)
    };
    exploration.configure(|config| config.raw_stores(false)).run_files(
        // SAFETY: a file of this exploration alone.
        |path, ops| count(|| unsafe { options(ops.observer()).create(path) }, ops),
        // SAFETY: as above.
        |path, observer| match unsafe { options(observer).open_or_create(path) } {
            // A name without a length: says to remove it.
            Err(e) if matches!(e.kind(), ErrorKind::Map(pmem_map::Error::BadLength { len: 0, .. })) => {
                Ok(None)
            }
            opened => opened.map(Some),
        },
        judge_counter,
    )
}

#[test]
fn every_step_that_is_left_out_is_found() {
    let (options, lazy) = (PoolOptions::new(), PoolOptions::new().flush_interval(1 << 16));
    let (growing, growing_old) = (with_room(fresh(SIZE + GROWTH)), with_room(old(SIZE + GROWTH)));
    let (fresh, old) = (fresh(SIZE), old(SIZE));
    // What an operation finds in slots 0 and 1, and a commit whose lines it is to flush.
    let put = |op: &Op| -> Vec<Op> {
        let block = match op {
            Put(all) if all.iter().any(|(slot, len, _)| (*slot, *len) == (1, 0)) => 33_000,
            _ => 64,
        };
        vec![Put(vec![(0, 64, 5), (1, block, 6)]), Word(3, 1)]
    };
    let operations = [
        ("update of a word", Word(6, 50)),
        ("allocate 64 B with contents", Put(vec![(2, 64, 50)])),
        ("first block of a class", Put(vec![(2, 1024, 50)])),
        ("allocate 2 KB of zeros", Put(vec![(2, 2000, 0)])),
        ("free 64 B", Put(vec![(0, 0, 0)])),
        ("six allocations", Put((2..8).filter(|n| *n != 6).map(|n| (n, 64, 50 + n as u64)).collect())),
        ("large block, written in place", Put(vec![(2, 33_000, 50)])),
        ("free a large block", Put(vec![(1, 0, 0)])),
        ("reserve, fill, publish", Publish(2, 64, 50)),
        ("named object", Name),
        ("checkpoint", Checkpoint),
    ];
    let changes =
        vec![Put(vec![(0, 64, 1)]), Publish(1, 500, 2), Put(vec![(0, 0, 0), (2, 64, 3), (4, 100, 4)])];
    let wrapping: Vec<Op> = filling(&fresh, &[]).iter().chain(&changes).cloned().collect();
    let mut left = Vec::new();
    for (state, start, ops) in [
        ("log wrapped", &fresh, &wrapping),
        ("10,000 operations old", &old, &changes),
        ("fresh", &fresh, &changes),
    ] {
        for (how, left_by) in ["killed", "crashed"].into_iter().zip(cut_off(&options, start, ops)) {
            left.push((format!("{how}, {state}"), left_by));
        }
    }
    for (name, copy) in [("A", 0), ("B", 4096)] {
        let mut damaged = old.image.bytes().to_vec();
        damaged[copy + 40] ^= 0xff;
        left.push((
            format!("header copy {name} damaged"),
            Start::new(Image::new(damaged), old.holds.clone()),
        ));
    }
    // The process that created the pool was killed in its last drain: its magics are visible, and not durable.
    let mut durable = fresh.image.bytes().to_vec();
    durable[..8].fill(0);
    durable[4096..4104].fill(0);
    let image = fresh.image.clone().with_durable(durable);
    let unfinished = Start { image, holds: fresh.holds.clone(), unfinished: true };
    left.push(("killed in creation".to_owned(), unfinished.clone()));
    let mut random = fastrand::Rng::with_seed(5);
    let garbage = Image::new((0..SIZE).map(|_| random.u8(..)).collect());
    let blank = Image::zeroed(SIZE);

    let mut table = Table::new("pmem-alloc", include_str!("mutation.exceptions"));
    for (name, op) in &operations {
        let one = put(op);
        let full = filling(&fresh, &one);
        for (state, options, start, before) in [
            ("log about to wrap", &options, &fresh, full.clone()),
            ("log full", &lazy, &fresh, full),
            ("10,000 operations old", &options, &old, one.clone()),
            ("fresh", &options, &fresh, one),
        ] {
            table.row(*name, state, move |exploration| {
                operation(exploration, options, start, &before, name, op)
            });
        }
    }
    let grow = put(&Grow);
    for (state, start, before) in [
        ("log about to wrap", &growing, filling(&growing, &grow)),
        ("10,000 operations old", &growing_old, grow.clone()),
        ("fresh", &growing, grow),
    ] {
        let options = &options;
        table.row("growth", state, move |exploration| {
            operation(exploration, options, start, &before, "growth", &Grow)
        });
    }
    for (state, start) in &left {
        table.row("open", state, |exploration| opening(exploration, &options, start));
    }
    // Its write-back failed: who opens has to store again what is visible, or the kernel takes it for written.
    table.row("open", "killed in creation, pages", |exploration| {
        opening(exploration.configure(|config| config.granularity(Granularity::Page)), &options, &unfinished)
    });
    for (state, image) in
        [("10,000 operations old", &old.image), ("over garbage", &garbage), ("fresh", &blank)]
    {
        table.row("create", state, move |exploration| creation(exploration, image));
    }
    table.row("create", "by path", creation_by_path);
    table.finish(STEPS);
}
