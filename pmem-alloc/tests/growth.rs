//! Pools that grow: in steps, by themselves, beside readers, inside transactions, up to their limits.
#![allow(missing_docs)]

use pmem_alloc::*;
use pmem_map::{MapOptions, PAGE};
use std::path::{Path, PathBuf};

mod cell;
use cell::Cell;

const SIZE: u64 = 1 << 20;

fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}

fn create(options: &PoolOptions, path: &Path) -> Pool {
    // SAFETY: files of these tests alone.
    unsafe { options.create(path) }.unwrap()
}

fn open(options: &PoolOptions, path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { options.open(path) }
}

/// Flushed by lines: a disk would make these tests slow, and adds nothing to them.
fn growing(max_size: u64) -> PoolOptions {
    PoolOptions::new().size(SIZE).max_size(max_size).mapping(MapOptions::new().emulate_pmem(true))
}

/// A pool in memory with addresses for `max_size` bytes.
fn in_memory(options: &PoolOptions, max_size: u64) -> Pool {
    let mapping = MapOptions::new().len(SIZE).max_len(max_size).anonymous().unwrap();
    options.create_on(mapping).unwrap()
}

fn alloc(pool: &Pool, len: u64, fill: u8) -> Result<Ptr<u8>> {
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("heap")?;
        let at = heap.alloc_aligned(len, 8)?;
        heap.bytes_mut(at, len)?.fill(fill);
        Ok(at)
    })
}

fn free(pool: &Pool, blocks: &[Ptr<u8>]) {
    for some in blocks.chunks(64) {
        pool.write(|tx| {
            let mut heap = tx.open::<PHeap<u64>>("heap")?;
            some.iter().try_for_each(|&at| heap.free(at))
        })
        .unwrap();
    }
}

/// Allocates blocks of `len` bytes until there is no room.
fn fill(pool: &Pool, len: u64) -> Vec<Ptr<u8>> {
    let mut blocks = Vec::new();
    loop {
        let full = pool.write(|tx| {
            let mut heap = tx.open::<PHeap<u64>>("heap")?;
            for _ in 0..64 {
                match heap.alloc_aligned(len, 8) {
                    Ok(at) => blocks.push(at),
                    Err(e) if matches!(e.kind(), ErrorKind::NoSpace { .. }) => return Ok(true),
                    Err(e) => return Err(e),
                }
            }
            Ok(false)
        });
        if full.unwrap() {
            return blocks;
        }
    }
}

fn assert_filled(pool: &Pool, at: Ptr<u8>, len: u64, fill: u8) {
    let tx = pool.read().unwrap();
    let heap = tx.open::<PHeap<u64>>("heap").unwrap();
    assert!(heap.bytes(at, len).unwrap().iter().all(|&byte| byte == fill));
    assert!(heap.bytes(at, len + PAGE).is_err(), "not beyond its block");
}

fn assert_whole(pool: &Pool) {
    let report = pool.check().unwrap();
    assert!(report.problems.is_empty(), "{report}");
}

#[test]
fn a_pool_grows_in_steps_up_to_its_limit_and_keeps_what_it_holds() {
    // PMDK scenario 34
    let folder = folder();
    let path = folder.path().join("pool");
    let mut pool = create(&growing(4 * SIZE), &path);
    let mut blocks = vec![alloc(&pool, 100_000, 1).unwrap()];
    for step in 2..=4u8 {
        let result = alloc(&pool, 900_000 + 1_000 * u64::from(step), step);
        assert!(matches!(result.unwrap_err().kind(), ErrorKind::NoSpace { .. }));
        assert_eq!(pool.grow(SIZE).unwrap(), u64::from(step) * SIZE);
        blocks.push(alloc(&pool, 900_000 + 1_000 * u64::from(step), step).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), pool.stats().unwrap().size);
        if step == 3 {
            drop(pool);
            pool = open(&PoolOptions::new(), &path).unwrap(); // reserves what the pool says
        }
    }
    let stats = pool.stats().unwrap();
    assert_eq!((stats.size, stats.max_size, stats.capacity), (4 * SIZE, 4 * SIZE, stats.capacity));
    assert!(stats.capacity > 4 * SIZE * 9 / 10);
    let message = pool.grow(1).unwrap_err().to_string();
    assert!(message.contains("max_size"), "{message}");
    // A larger limit is recorded, a smaller one refused, and none is the one that is recorded.
    drop(pool);
    let refused = open(&growing(2 * SIZE), &path).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::SmallerMaximum { recorded, .. } if *recorded == 4 * SIZE));
    let pool = open(&growing(8 * SIZE), &path).unwrap();
    assert_eq!(pool.grow(SIZE).unwrap(), 5 * SIZE);
    drop(pool);
    let pool = open(&PoolOptions::new(), &path).unwrap();
    assert_eq!(pool.grow(3 * SIZE).unwrap(), 8 * SIZE);
    assert_filled(&pool, blocks[0], 100_000, 1);
    for step in 2..=4u8 {
        assert_filled(&pool, blocks[step as usize - 1], 900_000 + 1_000 * u64::from(step), step);
    }
    assert_whole(&pool);
}

#[test]
fn a_pool_without_a_maximum_does_not_grow_until_it_is_opened_with_one() {
    let folder = folder();
    let path = folder.path().join("pool");
    let options = PoolOptions::new().size(SIZE).auto_grow(true);
    let pool = create(&options, &path);
    assert!(matches!(pool.grow(1).unwrap_err().kind(), ErrorKind::CannotGrow { .. }));
    assert!(matches!(alloc(&pool, SIZE, 1).unwrap_err().kind(), ErrorKind::NoSpace { .. }));
    drop(pool);
    let pool = open(&options.max_size(3 * SIZE), &path).unwrap();
    alloc(&pool, SIZE, 1).unwrap();
}

#[test]
fn a_pool_that_is_to_grow_by_itself_is_full_only_at_its_maximum() {
    let folder = folder();
    let path = folder.path().join("pool");
    let options = growing(5 * SIZE).auto_grow(true);
    let pool = create(&options, &path);
    let small = fill(&pool, 64);
    let stats = pool.stats().unwrap();
    assert_eq!(stats.size, 5 * SIZE);
    assert!(small.len() as u64 * 64 > 4 * SIZE);
    free(&pool, &small);
    assert_eq!(fill(&pool, 64).len(), small.len(), "all of it can be had again");
    free(&pool, &small);
    for len in [8, 5000, 300_000] {
        let blocks = fill(&pool, len);
        free(&pool, &blocks);
    }
    assert_whole(&pool);
    drop(pool);
    let pool = open(&options, &path).unwrap();
    assert_eq!(fill(&pool, 64).len(), small.len(), "after opening too");
    assert_whole(&pool);
}

#[test]
fn a_large_block_gets_the_room_it_needs_and_a_larger_one_than_the_limit_nothing() {
    let options = growing(64 * SIZE).auto_grow(true);
    let pool = in_memory(&options, 64 * SIZE);
    let at = alloc(&pool, 20 * SIZE, 7).unwrap();
    let size = pool.stats().unwrap().size;
    assert!(size < 22 * SIZE, "{size}");
    for len in [43 * SIZE, 64 * SIZE, u64::MAX, u64::MAX / 2] {
        assert!(matches!(alloc(&pool, len, 7).unwrap_err().kind(), ErrorKind::NoSpace { .. }));
        assert_eq!(pool.stats().unwrap().size, size);
    }
    let aligned = pool.write(|tx| tx.open::<PHeap<u64>>("heap")?.alloc_aligned(8 * SIZE, 2 << 20)).unwrap();
    assert_eq!(aligned.offset() % (2 << 20), 0);
    let reserved = pool.reserve(10 * SIZE, 8).unwrap();
    assert!(reserved.offset() > aligned.offset());
    assert_filled(&pool, at, 20 * SIZE, 7);
}

#[test]
fn a_pool_grown_inside_a_transaction_stays_grown_when_it_is_rolled_back() {
    let options = growing(4 * SIZE).auto_grow(true);
    let pool = in_memory(&options, 4 * SIZE);
    alloc(&pool, 64, 1).unwrap();
    let before = pool.stats().unwrap();
    let aborted: Result<()> = pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("heap")?;
        heap.alloc_aligned(SIZE, 8)?;
        heap.alloc([1u64; 100])?;
        Err(Error::abort("no"))
    });
    assert!(aborted.is_err());
    let part: Result<()> = pool.write(|tx| {
        let undone: Result<()> = tx.nested(|tx| {
            tx.open::<PHeap<u64>>("heap")?.alloc_aligned(SIZE * 3 / 2, 8)?;
            Err(Error::abort("no"))
        });
        assert!(undone.is_err());
        *tx.open::<PHeap<u64>>("heap")?.root_mut()? = 7;
        Ok(())
    });
    part.unwrap();
    let after = pool.stats().unwrap();
    assert!(after.size > 2 * SIZE && after.blocks == before.blocks);
    assert_eq!(after.free - before.free, after.capacity - before.capacity, "nothing of it is lost");
    assert_whole(&pool);
}

#[test]
fn readers_go_on_while_a_pool_grows_and_find_what_is_in_the_new_part() {
    let pool = in_memory(&growing(64 * SIZE), 64 * SIZE);
    let first = alloc(&pool, 50_000, 9).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    assert_filled(&pool, first, 50_000, 9);
                }
            });
        }
        for step in 1..=20u8 {
            pool.grow(SIZE).unwrap();
            let at = alloc(&pool, 900_000, step).unwrap();
            assert_filled(&pool, at, 900_000, step);
        }
    });
    // Growth waits for no reader: this one stays.
    let (reads, grown) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let tx = pool.read().unwrap();
            reads.wait();
            grown.wait();
            assert_eq!(tx.open::<PHeap<u64>>("heap").unwrap().bytes(first, 1).unwrap(), &[9]);
        });
        reads.wait();
        pool.grow(SIZE).unwrap();
        grown.wait();
    });
    assert_whole(&pool);
}

#[test]
fn growth_inside_an_own_transaction_is_refused_not_waited_for() {
    let pool = in_memory(&growing(4 * SIZE), 4 * SIZE);
    let tx = pool.begin().unwrap();
    assert!(matches!(pool.grow(SIZE).unwrap_err().kind(), ErrorKind::WouldDeadlock { wanted: "grow", .. }));
    drop(tx);
    pool.grow(SIZE).unwrap();
}

#[test]
fn a_mapping_without_addresses_refuses_and_the_pool_goes_on() {
    let options = growing(64 * SIZE).auto_grow(true);
    let pool = options.create_on(Mapping::anonymous(SIZE).unwrap()).unwrap();
    let refused = pool.grow(SIZE).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Map(pmem_map::Error::CannotGrow { .. })), "{refused}");
    assert!(matches!(alloc(&pool, SIZE, 1).unwrap_err().kind(), ErrorKind::NoSpace { .. }));
    alloc(&pool, 100, 1).unwrap();
    assert_eq!(pool.stats().unwrap().size, SIZE);
}

#[test]
fn absurd_growth_and_absurd_limits_are_refused() {
    let pool = in_memory(&growing(4 * SIZE), 4 * SIZE);
    for bytes in [3 * SIZE + 1, 1 << 50, u64::MAX, u64::MAX - 4095] {
        assert!(matches!(pool.grow(bytes).unwrap_err().kind(), ErrorKind::CannotGrow { .. }), "{bytes}");
    }
    assert_eq!(pool.grow(0).unwrap(), SIZE + (64 << 10), "the smallest step");
    let folder = folder();
    let path = folder.path().join("pool");
    for max_size in [u64::MAX, 1 << 45, (1 << 44) + PAGE] {
        // SAFETY: a file of this test alone.
        let result = unsafe { growing(max_size).create(&path) };
        assert!(matches!(result.unwrap_err().kind(), ErrorKind::TooLarge { what: "maximal size", .. }));
        assert!(!path.exists());
    }
    drop(create(&growing(1 << 44), &path)); // a limit costs nothing but addresses
    assert_eq!(std::fs::metadata(&path).unwrap().len(), SIZE);
}

#[test]
fn a_pool_that_grew_as_often_as_it_can_says_so_and_had_taken_larger_steps_before() {
    let pool = in_memory(&growing(1 << 34), 1 << 34);
    let mut sizes = vec![SIZE];
    let refused = loop {
        match pool.grow(1) {
            Ok(size) => sizes.push(size),
            Err(e) => break e,
        }
        if sizes.len() == 121 {
            assert_eq!(*sizes.last().unwrap(), SIZE + 120 * (64 << 10));
        }
        if *sizes.last().unwrap() > 256 << 20 {
            break pool.grow(1 << 34).unwrap_err(); // large enough to believe it
        }
    };
    assert!(matches!(refused.kind(), ErrorKind::CannotGrow { .. }));
    let steps: Vec<u64> = sizes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        steps[..120].iter().all(|&step| step == 64 << 10) && steps.iter().skip(121).all(|&s| s > 1 << 20)
    );
    let last = alloc(&pool, 8 << 20, 5).unwrap();
    assert_filled(&pool, last, 8 << 20, 5);
    assert_whole(&pool);
}

#[test]
fn many_segments_hold_what_a_model_says_across_openings() {
    let folder = folder();
    let path = folder.path().join("pool");
    let options = growing(64 * SIZE);
    let mut pool = create(&options, &path);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut model: Vec<(Ptr<u8>, u64, u8)> = Vec::new();
    for round in 0..600u32 {
        match rng.u32(0..10) {
            0 => _ = pool.grow(rng.u64(1..300_000)).unwrap(),
            1 if round % 7 == 0 => {
                drop(pool);
                pool = open(&options, &path).unwrap();
            }
            2..=6 => {
                let (len, fill) = (1 << rng.u32(3..18), rng.u8(..));
                match alloc(&pool, len, fill) {
                    Ok(at) => model.push((at, len, fill)),
                    Err(e) => assert!(matches!(e.kind(), ErrorKind::NoSpace { .. }), "{e}"),
                }
            }
            _ if !model.is_empty() => {
                let (at, len, fill) = model.swap_remove(rng.usize(0..model.len()));
                assert_filled(&pool, at, len, fill);
                free(&pool, &[at]);
            }
            _ => {}
        }
    }
    assert_whole(&pool);
    assert_eq!(pool.stats().unwrap().blocks, model.len() as u64 + 2, "an entry and a root");
    for (at, len, fill) in model {
        assert_filled(&pool, at, len, fill);
    }
}

#[test]
fn a_named_object_that_needs_room_makes_it_grow_too() {
    let pool = in_memory(&growing(4 * SIZE).auto_grow(true), 4 * SIZE);
    let mut names = 0;
    while pool.stats().unwrap().size == SIZE {
        pool.write(|tx| (0..100).try_for_each(|n| tx.open::<Cell<u64>>(&(names + n).to_string())?.set(n)))
            .unwrap();
        names += 100;
    }
    let tx = pool.read().unwrap();
    for n in 0..names {
        assert_eq!(*tx.open::<Cell<u64>>(&n.to_string()).unwrap().get().unwrap(), n % 100);
    }
    drop(tx);
    assert_whole(&pool);
}

#[test]
fn a_pool_of_several_parts_gives_out_exactly_what_was_freed_before_it_was_opened() {
    // PMDK scenario 35
    let folder = folder();
    let path = folder.path().join("pool");
    let options = growing(8 * SIZE);
    let pool = create(&options, &path);
    (0..7).for_each(|_| _ = pool.grow(SIZE).unwrap());
    let blocks = fill(&pool, 3000);
    assert!(blocks.len() as u64 * 3000 > 7 * SIZE, "more than one part holds");
    let freed: Vec<_> = blocks.iter().copied().step_by(3).collect();
    free(&pool, &freed);
    drop(pool);
    let pool = open(&options, &path).unwrap();
    let mut again = fill(&pool, 3000);
    again.sort_by_key(|at| at.offset());
    let mut expected = freed;
    expected.sort_by_key(|at| at.offset());
    assert_eq!(again, expected);
    assert_whole(&pool);
}

/// An object that is one slab.
struct Words;

impl Stored for Words {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        "Words".into()
    }
}

impl Object for Words {
    type Guard<'t, M: Mode> = (Body<'t, M>, Ptr<Slab>);
    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        let slab = body.alloc_slab(2 * SIZE)?;
        Ok(body.alloc(slab)?.cast())
    }
    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<(Body<'_, M>, Ptr<Slab>)> {
        let slab = *body.get::<Ptr<Slab>>(header.cast())?;
        Ok((body, slab))
    }
    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.free(header)
    }
}

#[test]
fn a_slab_gets_the_room_it_needs_and_is_found_in_its_part_of_the_pool() {
    let folder = folder();
    let path = folder.path().join("pool");
    let options = growing(8 * SIZE).auto_grow(true);
    let pool = create(&options, &path);
    let at = pool.write(|tx| Ok(tx.open::<Words>("words")?.1)).unwrap();
    let slab = pool.slab(at).unwrap();
    assert!(at.offset() > SIZE && slab.len() == 2 * SIZE);
    slab.store(2 * SIZE - 8, 7);
    slab.flush(2 * SIZE - 8..2 * SIZE).unwrap();
    slab.drain().unwrap();
    drop((slab, pool));
    let pool = open(&options, &path).unwrap();
    assert_eq!(pool.slab(at).unwrap().load(2 * SIZE - 8), 7);
    let tables = Ptr::from_offset(SIZE); // of the part in which it is
    assert!(pool.slab(tables).is_err());
    assert_whole(&pool);
}
