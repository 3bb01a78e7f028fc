//! The rules for large blocks, which are written in place before their record, each broken on purpose: the exploration
//! must find every one. (The log's own rules are broken in pmem-tx.)

use pmem_alloc::*;
use pmem_crash::{Config, Exploration, Image, Report};
use pmem_tx::engine::{Shortcut, Shortcuts};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    /// As that, and leaves it to others to make it durable.
    Later(&'static Op),
    Sync,
    /// What readers see now: it has to survive.
    Look,
}
use Op::*;

/// What the block holds: its first word, and its second.
type State = Option<(u64, u64)>;

fn apply(op: Op, state: State) -> State {
    match op {
        Replace(n) => Some((n, n)),
        Change(n) => state.map(|(_, other)| (n, other)),
        Clear => None,
        Later(op) => apply(*op, state),
        Sync | Look => state,
    }
}

fn perform(pool: &Pool, op: Op) -> Result<()> {
    let tx = pool.begin()?;
    match op {
        Sync => pool.sync(),
        Look => Ok(()),
        Later(op) => {
            change(&tx, *op)?;
            tx.commit_eventual().map(drop)
        }
        op => {
            change(&tx, op)?;
            tx.commit()
        }
    }
}

fn change(tx: &WriteTx<'_>, op: Op) -> Result<()> {
    {
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
            Later(_) | Sync | Look => unreachable!("no change"),
        }
        Ok(())
    }
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

const STRICT: &[Op] =
    &[Replace(1), Change(2), Clear, Replace(3), Change(4), Replace(5), Clear, Replace(6), Change(7), Clear];

const EVENTUAL: &[Op] = &[
    Replace(1),
    Later(&Change(2)),
    Look,
    Later(&Clear),
    Look,
    Later(&Replace(3)),
    Sync,
    Look,
    Later(&Change(4)),
    Later(&Replace(5)),
    Change(6),
];

fn explore(name: &str, options: &PoolOptions, ops: &[Op]) -> Report {
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
                let mut acknowledged = 0;
                for &op in ops {
                    let number = marks.begin(format!("{op:?}"));
                    perform(&pool, op)?;
                    if let Look = op {
                        let seen = observe(&pool).map_err(Error::abort)?;
                        acknowledged =
                            (acknowledged..number).find(|k| states[*k] == seen).expect("a state of a commit");
                    } else if !matches!(op, Later(_)) {
                        acknowledged = number;
                    }
                    marks.acknowledged_to(acknowledged);
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

const RULES: &[(Shortcut, u32, &[Op], &str)] = &[
    (Shortcut::PlacedNotDrained, 1, STRICT, "blocks written in place are drained before the record"),
    (Shortcut::PlacedWithoutFlush, 4, STRICT, "a freed block is written in place only outside the window"),
    (Shortcut::ReplayAllValid, 1, STRICT, "only the window is replayed"),
    (Shortcut::PlacedNotDrained, 1, EVENTUAL, "so are those of commits on their way"),
    (Shortcut::FreedBeforeApplied, 1, EVENTUAL, "a block is not handed out before its freeing is applied"),
    (Shortcut::ApplyBeforeDurable, 1, EVENTUAL, "readers see nothing that is not durable"),
];

#[test]
fn every_shortcut_for_blocks_written_in_place_is_found() {
    for interval in [1, 4] {
        for ops in [STRICT, EVENTUAL] {
            explore("large blocks", &PoolOptions::new().flush_interval(interval), ops).assert_ok();
        }
    }
    let mut missed = Vec::new();
    for &(shortcut, interval, ops, rule) in RULES {
        let options = PoolOptions::new().flush_interval(interval).shortcuts(Shortcuts::one(shortcut));
        // Some are seen without a crash.
        let found = catch_unwind(AssertUnwindSafe(|| explore("large blocks", &options, ops)));
        match found.map(|report| (report.first_failure, report.images_to_first_failure)) {
            Ok((Some(failure), Some(images))) => {
                let operation = &failure.operation;
                println!(
                    "rule | {rule:<58} | large blocks: {operation} | {images} images to the first failure"
                );
            }
            Ok(_) => missed.push(rule),
            Err(_) => println!("rule | {rule:<58} | large blocks: the workload sees it"),
        }
    }
    assert!(missed.is_empty(), "the exploration did not notice that these rules were broken: {missed:#?}");
}
