//! The rules for large blocks, which are written in place before their record, each broken on purpose: the exploration
//! must find every one. (The log's own rules are broken in pmem-tx.)

use pmem_alloc::*;
use pmem_crash::{Config, Exploration, Image, Report};
use pmem_tx::engine::{Shortcut, Shortcuts};

const LEN: u64 = 256 << 10;

/// 8 KiB: two of them are more than a record should carry, so their content goes to its place.
type Block = [u64; 1024];
type Root = PHeap<Ptr<Block>>;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Allocates a block filled with a number, and frees the one before.
    Replace(u64),
    /// Sets every 64th word of the block, through records.
    Change(u64),
    /// Frees the block.
    Clear,
}
use Op::*;

/// What the block holds: its first word, and its second.
type State = Option<(u64, u64)>;

fn apply(op: Op, state: State) -> State {
    match op {
        Replace(n) => Some((n, n)),
        Change(n) => state.map(|(_, other)| (n, other)),
        Clear => None,
    }
}

fn perform(pool: &Pool, op: Op) -> Result<()> {
    pool.write(|tx| {
        let mut heap = tx.open::<Root>("root")?;
        let old = *heap.root()?;
        match op {
            Replace(n) => {
                if !old.is_null() {
                    heap.free(old)?;
                }
                let new = heap.alloc::<Block>([n; 1024])?;
                *heap.root_mut()? = new;
            }
            Change(n) if !old.is_null() => {
                for i in (0..1024).step_by(64) {
                    *heap.get_mut::<u64>(Ptr::from_offset(old.offset() + 8 * i))? = n;
                }
            }
            Change(_) => {}
            Clear => {
                if !old.is_null() {
                    heap.free(old)?;
                }
                *heap.root_mut()? = Ptr::NULL;
            }
        }
        Ok(())
    })
}

fn observe(pool: &Pool) -> std::result::Result<State, String> {
    let text = |error: Error| error.to_string();
    let tx = pool.read().map_err(text)?;
    let heap = tx.open::<Root>("root").map_err(text)?;
    let Some(block) = heap.follow(*heap.root().map_err(text)?).map_err(text)? else { return Ok(None) };
    let state = (block[0], block[1]);
    match block.iter().enumerate().find(|&(i, n)| *n != if i % 64 == 0 { state.0 } else { state.1 }) {
        Some((i, n)) => Err(format!("word {i} of the block is {n}, of {state:?}")),
        None => Ok(Some(state)),
    }
}

fn explore(name: &str, options: &PoolOptions) -> Report {
    let ops = [
        Replace(1),
        Change(2),
        Clear,
        Replace(3),
        Change(4),
        Replace(5),
        Clear,
        Replace(6),
        Change(7),
        Clear,
    ];
    let pool = Pool::create_on(Mapping::anonymous(LEN).unwrap()).unwrap();
    pool.write(|tx| tx.open::<Root>("root").map(drop)).unwrap();
    pool.checkpoint().unwrap();
    let mut bytes = vec![0; LEN as usize];
    // SAFETY: this thread has the only pool on the region, and no transaction.
    unsafe { pool.region().load(0, &mut bytes) };
    drop(pool);
    let mut states = vec![None];
    ops.iter().for_each(|&op| states.push(apply(op, *states.last().unwrap())));
    Exploration::new(name)
        .config(Config::from_env().bound(512).samples(64).nested(64))
        .start(Image::new(bytes))
        .run(
            |mapping, marks| -> Result<()> {
                let pool = options.open_on(mapping)?;
                for op in ops {
                    marks.run(format!("{op:?}"), || perform(&pool, op))?;
                }
                std::mem::forget(pool); // the power fails: nothing is closed
                Ok(())
            },
            |mapping| options.open_on(mapping),
            |pool, point| {
                let found = observe(&pool)?;
                if point.range().any(|k| states[k] == found) {
                    return Ok(());
                }
                Err(format!("found {found:?}, not a state of {:?}", point.range()))
            },
        )
}

const RULES: &[(Shortcut, u32, &str)] = &[
    (Shortcut::PlacedNotDrained, 1, "blocks written in place are drained before the record"),
    (Shortcut::PlacedWithoutFlush, 4, "a freed block is written in place only outside the window"),
    (Shortcut::ReplayAllValid, 1, "only the window is replayed"),
];

#[test]
fn every_shortcut_for_blocks_written_in_place_is_found() {
    for interval in [1, 4] {
        explore("large blocks", &PoolOptions::new().flush_interval(interval)).assert_ok();
    }
    let mut missed = Vec::new();
    for &(shortcut, interval, rule) in RULES {
        let options = PoolOptions::new().flush_interval(interval).shortcuts(Shortcuts::one(shortcut));
        let report = explore("large blocks", &options);
        match (&report.first_failure, report.images_to_first_failure) {
            (Some(failure), Some(images)) => {
                let operation = &failure.operation;
                println!(
                    "rule | {rule:<58} | large blocks: {operation} | {images} images to the first failure"
                );
            }
            _ => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "the exploration did not notice that these rules were broken: {missed:#?}");
}
