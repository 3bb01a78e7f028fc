//! What PMDK's own tests ask of a pool and its allocator, asked of this one. Those that other tests prove already are marked
//! there, by the same `PMDK scenario N`.
#![allow(missing_docs)]

mod list;

use list::{List, check, folder, image_of, on, pop, push, values};
use pmem_alloc::*;
use pmem_map::PAGE;
use std::collections::BTreeMap;

fn no_space(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::NoSpace { .. })
}

/// Everything that fits, of one size, each block filled with its number.
fn fill(pool: &Pool, len: u64) -> Vec<Ptr<u8>> {
    let mut all = Vec::new();
    loop {
        let some = pool.write(|tx| {
            let mut heap = tx.open::<PHeap<u64>>("heap")?;
            let mut some = Vec::new();
            // Few enough for a record: the first line of each is written.
            for _ in 0..64 {
                match heap.alloc_aligned(len, 8) {
                    Ok(at) => {
                        heap.bytes_mut(at, len.min(8))?.fill(some.len() as u8 + 1);
                        some.push(at);
                    }
                    Err(e) if no_space(&e) && !some.is_empty() => break,
                    Err(e) => return Err(e),
                }
                if len * some.len() as u64 > 16 << 10 {
                    break;
                }
            }
            Ok(some)
        });
        match some {
            Ok(some) => all.extend(some),
            Err(e) if no_space(&e) => return all,
            Err(e) => panic!("{e}"),
        }
    }
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

// PMDK scenario 13.
#[test]
fn each_field_of_the_header_that_is_spoiled_in_both_copies_is_named_and_in_one_is_mended() {
    let bytes = image_of(&Pool::anonymous(1 << 20).unwrap());
    let fields = [
        (0, None), // the magic: no pool
        (8, Some("checksum")),
        (20, Some("header_len")),
        (64, Some("size")),
        (72, Some("max_size")),
        (80, Some("log_start")),
        (88, Some("log_len")),
        (96, Some("state_start")),
        (104, Some("table_start")),
        (112, Some("bitmaps_start")),
        (120, Some("data_start")),
        (128, Some("data_pages")),
        (136, Some("layout_len")),
        (48, Some("checksum")), // any number is an identity, a time, a name
        (56, Some("checksum")),
        (144, Some("checksum")),
    ];
    for (at, field) in fields {
        let spoil = |copies: &[usize]| {
            let mut spoiled = bytes.clone();
            let width = if at == 20 { 4 } else { 8 };
            copies.iter().for_each(|copy| spoiled[copy + at..copy + at + width].fill(0xf7));
            spoiled
        };
        let error = on(&spoil(&[0, 4096])).unwrap_err();
        match (error.kind(), field) {
            (ErrorKind::Damaged { field: found, .. }, Some(field)) => assert_eq!(*found, field, "{at}"),
            (ErrorKind::NotAPool { .. }, None) => {}
            _ => panic!("{at}: {error}"),
        }
        for (copy, name) in [(0, 'A'), (4096, 'B')] {
            let pool = on(&spoil(&[copy])).unwrap();
            assert_eq!(pool.opening().repaired_header, Some(name), "{at}");
            assert!(image_of(&pool)[..8192] == bytes[..8192], "{at}");
        }
    }
}

// PMDK scenario 15.
#[test]
fn a_pool_made_anew_in_a_file_that_was_cut_off_and_filled_again_has_nothing_of_the_old_one() {
    let folder = folder();
    let path = folder.path().join("pool");
    // SAFETY: a file of this test alone.
    let pool = unsafe { PoolOptions::new().size(1 << 20).create(&path) }.unwrap();
    pool.write(|tx| (0..500).try_for_each(|i| push(&mut tx.open::<List>("list")?, i))).unwrap();
    drop(pool);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    file.set_len(1 << 20).unwrap();
    // SAFETY: as above.
    let pool = unsafe { PoolOptions::new().size(1 << 20).open_or_create(&path) }.unwrap();
    let stats = pool.stats().unwrap();
    assert_eq!((stats.objects, stats.blocks, stats.used), (0, 0, 0));
    check(&pool);
}

// PMDK scenarios 16 and 17.
#[test]
fn a_pool_filled_with_one_size_and_emptied_takes_smaller_ones_and_as_many_of_that_again() {
    let pool = Pool::anonymous(4 << 20).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("heap").map(drop)).unwrap();
    for bits in (3..=20).rev() {
        let blocks = fill(&pool, 1 << bits);
        free(&pool, &blocks);
        let smaller = fill(&pool, (1 << bits) / 2 + 1);
        free(&pool, &smaller);
        let again = fill(&pool, 1 << bits);
        assert_eq!(again.len(), blocks.len(), "{} bytes", 1 << bits);
        free(&pool, &again);
    }
    check(&pool);
}

// PMDK scenario 19.
#[test]
fn a_pool_opened_many_times_has_what_was_there_and_its_statistics_are_the_sum() {
    let mut bytes = image_of(&Pool::anonymous(1 << 20).unwrap());
    let mut rng = fastrand::Rng::with_seed(19);
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..30 {
        let pool = on(&bytes).unwrap();
        pool.write(|tx| {
            let mut heap = tx.open::<PHeap<u64>>("heap")?;
            for _ in 0..20 {
                if rng.bool() || live.is_empty() {
                    let len = rng.u64(1..3000);
                    live.insert(heap.alloc_aligned(len, 8)?.offset(), len);
                } else {
                    let at = *live.keys().nth(rng.usize(..live.len())).unwrap();
                    live.remove(&at);
                    heap.free(Ptr::<u8>::from_offset(at))?;
                }
            }
            Ok(())
        })
        .unwrap();
        let report = pool.check().unwrap();
        let found: Vec<_> = report.leaks.iter().map(|leak| leak.offset).collect();
        assert_eq!(found, live.keys().copied().collect::<Vec<_>>(), "round {round}");
        let stats = pool.stats().unwrap();
        let named: u64 = report.named.iter().map(|object| object.bytes).sum();
        let leaked: u64 = report.leaks.iter().map(|leak| leak.len).sum();
        let directory = stats.used - named - leaked;
        assert!(directory > 0 && directory <= 256, "round {round}: {directory}");
        assert_eq!(stats.blocks, live.len() as u64 + 2);
        let by_class: u64 = stats.classes.iter().map(|class| class.blocks * class.size).sum();
        assert_eq!(by_class, stats.used);
        bytes = image_of(&pool);
    }
}

// PMDK scenario 20.
#[test]
fn sizes_of_zero_and_beyond_the_pool_are_answered_and_the_pool_goes_on() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    pool.write(|tx| {
        let mut heap = tx.open::<List>("list")?;
        let nothing = heap.alloc_aligned(0, 8)?;
        let another = heap.alloc_aligned(0, 8)?;
        assert_ne!(nothing, another);
        for len in [1 << 20, 1 << 40, u64::MAX - 4096, u64::MAX] {
            for align in [8, 4096, 2 << 20] {
                assert!(no_space(&heap.alloc_aligned(len, align).unwrap_err()), "{len} {align}");
                assert!(no_space(&heap.resize(nothing, 0, len, align).unwrap_err()), "{len} {align}");
            }
        }
        assert!(matches!(heap.alloc_aligned(8, 3).unwrap_err().kind(), ErrorKind::BadAlignment { .. }));
        heap.free(nothing)?;
        heap.free(another)?;
        push(&mut heap, 1)
    })
    .unwrap();
    assert!(no_space(&pool.reserve(u64::MAX, 8).map(drop).unwrap_err()));
    check(&pool);
}

// PMDK scenario 25.
#[test]
fn a_block_resized_over_every_class_and_to_large_ones_keeps_its_content_and_has_zeros_behind() {
    let pool = Pool::anonymous(32 << 20).unwrap();
    let lens: Vec<u64> = (3..=17).flat_map(|bits| [(1u64 << bits) - 1, 1 << bits, (1 << bits) + 1]).collect();
    let mut rng = fastrand::Rng::with_seed(25);
    let (mut block, mut content) = (Ptr::NULL, Vec::<u8>::new());
    for round in 0..200 {
        let len = lens[rng.usize(..lens.len())];
        let (at, new) = pool
            .write(|tx| {
                let mut list = tx.open::<List>("list")?;
                let at = if round == 0 {
                    let first = list.alloc(list::Node::default())?;
                    *list.root_mut()? = first;
                    list.alloc_aligned(len, 8)?
                } else {
                    list.resize(block, content.len() as u64, len, 8)?
                };
                let first = *list.root()?;
                list.get_mut(first)?.large = at;
                let found = list.bytes(at, len)?.to_vec();
                let new: Vec<u8> = (0..len).map(|_| rng.u8(1..)).collect();
                list.bytes_mut(at, len)?.copy_from_slice(&new);
                let kept = found.len().min(content.len());
                assert!(found[..kept] == content[..kept], "round {round}");
                assert!(round == 0 || found[kept..].iter().all(|&byte| byte == 0), "round {round}");
                Ok((at, new))
            })
            .unwrap();
        (block, content) = (at, new);
    }
    check(&pool);
    assert_eq!(pool.stats().unwrap().blocks, 4);
    let freed =
        pool.write(|tx| tx.open::<List>("list")?.resize(Ptr::from_offset(8), 8, 8, 8).map(drop)).unwrap_err();
    assert!(matches!(freed.kind(), ErrorKind::Corrupt { .. }), "{freed}");
}

// PMDK scenario 26; 16 MiB, because 2 MiB has to be aligned twice.
#[test]
fn blocks_of_every_alignment_up_to_2_mib_are_aligned_without_a_header_between_them() {
    let pool = Pool::anonymous(16 << 20).unwrap();
    for align in (6..=21).map(|bits| 1u64 << bits) {
        for len in [1, 64, align] {
            let pair = pool.write(|tx| {
                let mut heap = tx.open::<PHeap<u64>>("heap")?;
                Ok([heap.alloc_aligned(len, align)?, heap.alloc_aligned(len, align)?])
            });
            let pair = pair.unwrap();
            assert!(pair.iter().all(|at| at.offset() % align == 0), "{len} at {align}");
            free(&pool, &pair);
        }
    }
    let before = pool.stats().unwrap().used;
    pool.write(|tx| (0..64).try_for_each(|_| tx.open::<PHeap<u64>>("heap")?.alloc([1u64; 8]).map(drop)))
        .unwrap();
    assert_eq!(pool.stats().unwrap().used - before, 64 * 64);
}

// PMDK scenario 27. (Killed before it is published: `crash.rs`.)
#[test]
fn of_many_reservations_those_that_are_cancelled_or_never_published_are_back_after_a_restart() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let mut published = 0;
    let mut kept = Vec::new();
    for i in 0..300u64 {
        let mut reservation = pool.reserve([24, 200, 1000, 6000][i as usize % 4], 8).unwrap();
        reservation.fill(7);
        match i % 3 {
            0 => reservation.cancel(),
            1 => {
                pool.write(|tx| {
                    let mut list = tx.open::<List>("list")?;
                    push(&mut list, i)?;
                    let first = *list.root()?;
                    let large = list.publish(reservation)?;
                    list.get_mut(first)?.large = large;
                    Ok(())
                })
                .unwrap();
                published += 1;
            }
            _ if i < 60 => kept.push(reservation),
            _ => drop(reservation),
        }
    }
    check(&pool);
    assert_eq!(pool.stats().unwrap().reserved_blocks, kept.len() as u64);
    let again = on(&image_of(&pool)).unwrap(); // the program was killed with reservations in its hands
    assert_eq!(again.stats().unwrap().reserved_blocks, 0);
    assert_eq!(again.stats().unwrap().blocks, 2 + 2 * published);
    check(&again);
    let large = kept[0].offset();
    kept.clear();
    assert!(pool.stats().unwrap().reserved_blocks == 0 && large > 0);
}

#[test]
fn a_block_in_store_is_had_without_waiting_for_the_writer_and_given_up_when_space_runs_out() {
    let pool = Pool::anonymous(256 << 10).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("heap").map(drop)).unwrap();
    drop(pool.reserve(1000, 8).unwrap());
    let tx = pool.begin().unwrap();
    let reservations: Vec<_> = (0..16).map(|_| pool.reserve(1000, 8).unwrap()).collect();
    let error = pool.reserve(1000, 8).map(drop).unwrap_err(); // none is left, and this thread writes
    assert!(matches!(error.kind(), ErrorKind::WouldDeadlock { .. }), "{error}");
    drop(reservations);
    tx.commit().unwrap();
    // All of the pool, with what was in store.
    let blocks = fill(&pool, 1000);
    assert_eq!(pool.stats().unwrap().reserved_blocks, 0);
    assert!(no_space(&pool.reserve(1000, 8).map(drop).unwrap_err()));
    free(&pool, &blocks);
    assert_eq!(fill(&pool, 1000).len(), blocks.len());
}

// PMDK scenarios 29 and 49.
#[test]
fn a_block_that_is_freed_twice_or_published_in_vain_is_an_error_and_is_freed_once() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let other = Pool::anonymous(1 << 20).unwrap();
    pool.write(|tx| (0..10).try_for_each(|i| push(&mut tx.open::<List>("list")?, i))).unwrap();
    let blocks = pool.stats().unwrap().blocks;
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        let first = *list.root()?;
        pop(&mut list)?;
        assert!(matches!(list.free(first).unwrap_err().kind(), ErrorKind::Corrupt { .. }));
        assert!(matches!(list.free(Ptr::<u8>::NULL).unwrap_err().kind(), ErrorKind::Corrupt { .. }));
        let own = list.alloc(7u64)?;
        list.free(own)?;
        assert!(list.get(own).is_err());
        Ok(())
    })
    .unwrap();
    assert_eq!(pool.stats().unwrap().blocks, blocks - 1);
    let reservation = pool.reserve(64, 8).unwrap();
    let error = other.write(|tx| tx.open::<List>("list")?.publish(reservation).map(drop)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ForeignReservation), "{error}");
    assert_eq!(pool.stats().unwrap().reserved_blocks, 0);
    check(&pool);
}

// PMDK scenario 30.
#[test]
fn threads_that_allocate_free_and_reserve_at_random_never_get_the_same_bytes() {
    let pool = Pool::anonymous(4 << 20).unwrap();
    pool.write(|tx| (0..8).try_for_each(|i| tx.open::<List>(&*format!("list {i}")).map(drop))).unwrap();
    std::thread::scope(|s| {
        for thread in 0..8u64 {
            let pool = &pool;
            s.spawn(move || {
                let (mut rng, name) = (fastrand::Rng::with_seed(thread), format!("list {thread}"));
                for i in 0..300 {
                    let mut reservation = pool.reserve(rng.u64(1..700), 8).unwrap();
                    reservation.fill(thread as u8 + 1);
                    if rng.bool() {
                        continue;
                    }
                    pool.write(|tx| {
                        let mut list = tx.open::<List>(&*name)?;
                        push(&mut list, i)?;
                        let (first, len) = (*list.root()?, reservation.len() as u64);
                        let block = list.publish(reservation)?;
                        list.get_mut(first)?.large = block;
                        list.get_mut(first)?.value = len;
                        if rng.u32(0..4) == 0 {
                            let gone = *list.get(first)?;
                            list.free(gone.large)?;
                            pop(&mut list)?;
                        }
                        Ok(())
                    })
                    .unwrap();
                }
            });
        }
    });
    check(&pool);
    let tx = pool.read().unwrap();
    for thread in 0..8u8 {
        let list = tx.open::<List>(&*format!("list {thread}")).unwrap();
        let mut at = *list.root().unwrap();
        while let Some(node) = list.follow(at).unwrap() {
            assert!(list.bytes(node.large, node.value).unwrap().iter().all(|&byte| byte == thread + 1));
            at = node.next;
        }
    }
    drop(tx);
    assert_eq!(pool.stats().unwrap().reserved_blocks, 0);
}

// PMDK scenario 38, and every size in between.
#[test]
fn pools_of_odd_sizes_are_consistent_when_they_are_full_and_when_they_are_opened_again() {
    for pages in (40..400).step_by(37) {
        for extra in [0, 1, PAGE - 1] {
            let pool = Pool::anonymous(pages * PAGE + extra).unwrap();
            pool.write(|tx| tx.open::<PHeap<u64>>("heap").map(drop)).unwrap();
            let blocks = fill(&pool, 5000);
            let report = pool.check().unwrap();
            assert_eq!((report.problems.len(), report.leaks.len()), (0, blocks.len()));
            let again = on(&image_of(&pool)).unwrap();
            let report = again.check().unwrap();
            assert_eq!((report.problems.len(), report.leaks.len()), (0, blocks.len()));
        }
    }
}

// PMDK scenario 44.
#[test]
fn an_outer_abort_takes_back_what_inner_parts_had_done_and_an_inner_one_only_its_own() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let outer: Result<()> = pool.write(|tx| {
        push(&mut tx.open::<List>("list")?, 1)?;
        tx.nested(|tx| push(&mut tx.open::<List>("list")?, 2))?;
        Err(Error::abort("outer"))
    });
    assert!(outer.unwrap_err().to_string().contains("outer"));
    assert_eq!(pool.stats().unwrap().objects, 0);
    pool.write(|tx| {
        push(&mut tx.open::<List>("list")?, 1)?;
        let inner: Result<()> = tx.nested(|tx| {
            push(&mut tx.open::<List>("list")?, 2)?;
            Err(Error::abort("inner"))
        });
        assert!(inner.unwrap_err().to_string().contains("inner"));
        push(&mut tx.open::<List>("list")?, 3)
    })
    .unwrap();
    assert_eq!(values(&pool, "list").unwrap(), [3, 1]);
    check(&pool);
}

// ---- fragmentation: PMDK scenarios 32 and 33 -------------------------------------------------

const INDEX: usize = 448;
type Index = [Ptr<u8>; INDEX];

/// A root with room for many indices, each with room for many blocks.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Root([Ptr<Index>; 448]);
impl Default for Root {
    fn default() -> Root {
        Root([Ptr::NULL; 448])
    }
}
impl Plain for Root {
    const NAME: &'static str = "pmdk.Root";
    const FIELDS: Option<&'static [PlainField]> = fields!(Root { 0: [Ptr<Index>; 448] });
}

/// A pool with blocks of random sizes, all reachable from one root.
struct Workload {
    pool: Pool,
    rng: fastrand::Rng,
    used_slots: Vec<usize>,
    free_slots: Vec<usize>,
    next_slot: usize,
}

impl Workload {
    fn new() -> Workload {
        let pool = Pool::anonymous(64 << 20).unwrap();
        pool.write(|tx| tx.open::<PHeap<Root>>("root").map(drop)).unwrap();
        let rng = fastrand::Rng::with_seed(32);
        Workload { pool, rng, used_slots: Vec::new(), free_slots: Vec::new(), next_slot: 0 }
    }

    /// Allocates blocks of sizes that `size` draws, of `bytes` in all.
    fn fill(&mut self, bytes: u64, size: impl Fn(&mut fastrand::Rng) -> u64) {
        let mut left = bytes;
        while left > 0 {
            let Workload { pool, rng, used_slots, free_slots, next_slot } = self;
            pool.write(|tx| {
                let mut heap = tx.open::<PHeap<Root>>("root")?;
                for _ in 0..200 {
                    let len = size(rng);
                    let slot = free_slots.pop().unwrap_or_else(|| {
                        *next_slot += 1;
                        *next_slot - 1
                    });
                    let mut index = heap.root()?.0[slot / INDEX];
                    if index.is_null() {
                        index = heap.alloc_aligned(size_of::<Index>() as u64, 8)?.cast();
                        heap.root_mut()?.0[slot / INDEX] = index;
                    }
                    heap.get_mut(index)?[slot % INDEX] = heap_alloc(&mut heap, len)?;
                    used_slots.push(slot);
                    left = left.saturating_sub(len);
                    if left == 0 || len > 4000 {
                        break;
                    }
                }
                Ok(())
            })
            .unwrap();
        }
    }

    /// Frees a part of the blocks, chosen at random.
    fn delete(&mut self, part: f64) {
        let Workload { pool, rng, used_slots, free_slots, .. } = self;
        rng.shuffle(used_slots);
        let gone = used_slots.split_off((used_slots.len() as f64 * (1.0 - part)) as usize);
        for some in gone.chunks(200) {
            pool.write(|tx| {
                let mut heap = tx.open::<PHeap<Root>>("root")?;
                for slot in some {
                    let index = heap.root()?.0[slot / INDEX];
                    let block = std::mem::take(&mut heap.get_mut(index)?[slot % INDEX]);
                    heap.free(block)?;
                }
                Ok(())
            })
            .unwrap();
        }
        free_slots.extend(gone);
    }

    /// Bytes of pages that are taken, for each byte in a block, less one: before and after a compaction.
    fn fragmentation(&self) -> (f64, f64) {
        let of = |pool: &Pool| {
            let stats = pool.stats().unwrap();
            (stats.capacity - stats.free_pages * PAGE) as f64 / stats.used as f64 - 1.0
        };
        check(&self.pool);
        let compact = self.pool.compact_on(Mapping::anonymous(64 << 20).unwrap()).unwrap();
        check(&compact);
        assert_eq!(compact.stats().unwrap().blocks, self.pool.stats().unwrap().blocks);
        (of(&self.pool), of(&compact))
    }
}

fn heap_alloc(heap: &mut Mut<'_, PHeap<Root>>, len: u64) -> Result<Ptr<u8>> {
    heap.alloc_aligned(len, 8)
}

/// The bounds that PMDK asserts for its workloads, without and with defragmentation. Blocks are deleted at random here, which is the
/// worst for an allocator that cannot move them: so the bound without is asserted where nothing is deleted, and with it
/// (after a compaction) for all.
#[test]
fn fragmentation_stays_within_the_bounds_of_pmdks_workloads() {
    const MIB: u64 = 1 << 20;
    let between = |low: u64, high: u64| move |rng: &mut fastrand::Rng| rng.u64(low..=high);
    let run = |name: &str, bounds: (Option<f64>, f64), phases: &dyn Fn(&mut Workload)| {
        let mut workload = Workload::new();
        phases(&mut workload);
        let (before, after) = workload.fragmentation();
        // PMDK's pool has 3 GiB. In this one of 64 MiB, a run that is hardly begun for each size is not nothing.
        let stats = workload.pool.stats().unwrap();
        let begun = stats.classes.len() as f64 * 65536.0 / stats.used as f64;
        println!("fragmentation | {name:<48} | {before:>6.3} | compacted {after:>6.3}");
        assert!(bounds.0.is_none_or(|bound| before <= bound + begun), "{name}: {before}");
        assert!(after <= bounds.1 + begun, "{name}: {after}");
    };
    run("w0: 100 B", (Some(0.01), 0.01), &|w| w.fill(10 * MIB, between(100, 100)));
    run("w1: 100 B, 130 B", (Some(0.01), 0.01), &|w| {
        w.fill(8 * MIB, between(100, 100));
        w.fill(8 * MIB, between(130, 130));
    });
    run("w2: 100 B, delete 90 %, 130 B", (None, 0.01), &|w| {
        w.fill(8 * MIB, between(100, 100));
        w.delete(0.9);
        w.fill(8 * MIB, between(130, 130));
    });
    run("w3: 100 to 150 B, 200 to 250 B", (Some(0.9), 0.01), &|w| {
        w.fill(8 * MIB, between(100, 150));
        w.fill(8 * MIB, between(200, 250));
    });
    run("w4: the same with delete 90 % between", (None, 0.01), &|w| {
        w.fill(8 * MIB, between(100, 150));
        w.delete(0.9);
        w.fill(8 * MIB, between(200, 250));
    });
    run("w5: 100 to 200 B, delete 50 %, 1 to 2 KB", (None, 0.05), &|w| {
        w.fill(8 * MIB, between(100, 200));
        w.delete(0.5);
        w.fill(12 * MIB, between(1000, 2000));
    });
    run("w6: 1 to 2 KB, delete 90 %, 1.5 to 2.5 KB", (None, 0.09), &|w| {
        w.fill(12 * MIB, between(1000, 2000));
        w.delete(0.9);
        w.fill(12 * MIB, between(1500, 2500));
    });
    run("w7: 50 to 150 B, delete 90 %, 5 to 15 KB", (None, 0.13), &|w| {
        w.fill(8 * MIB, between(50, 150));
        w.delete(0.9);
        w.fill(16 * MIB, between(5000, 15_000));
    });
    run("w8: 2 MiB", (Some(0.01), 0.01), &|w| w.fill(40 * MIB, between(2 * MIB, 2 * MIB)));
    run("w9: 1 B to 5 MiB, exponential", (Some(3.0), 0.16), &|w| {
        w.fill(40 * MIB, |rng| (2f64.powf(rng.f64() * (5.0 * MIB as f64).log2())) as u64);
    });
}

// PMDK's obj_fragmentation: at most a tenth of a pool is lost, whatever the size of its blocks.
#[test]
fn a_pool_filled_with_one_size_loses_at_most_a_tenth_to_metadata_and_rounding() {
    for len in [64, 100, 200, 500, 1000, 3000, 5000, 10_000, 30_000, 100_000, 300_000] {
        let pool = Pool::anonymous(24 << 20).unwrap();
        pool.write(|tx| tx.open::<PHeap<u64>>("heap").map(drop)).unwrap();
        let payload = fill(&pool, len).len() as u64 * len;
        let part = payload as f64 / (24 << 20) as f64;
        println!("payload | {len:>8} B | {:>5.1} %", part * 100.0);
        assert!(part >= 0.9, "{len}: {part}");
    }
}

// PMDK's heap statistics, for people.
#[test]
fn the_occupancy_map_shows_what_is_free_full_and_large() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    assert!(pool.occupancy().unwrap().map().chars().all(|c| c == '.'));
    pool.write(|tx| tx.open::<PHeap<u64>>("heap")?.alloc_aligned(300_000, 8).map(drop)).unwrap();
    fill(&pool, 512);
    let occupancy = pool.occupancy().unwrap();
    let map = occupancy.map();
    assert_eq!(map.chars().filter(|&c| c == '#').count(), 300_000usize.div_ceil(4096));
    assert!(map.chars().filter(|&c| c == '9').count() > 100, "{map}");
    assert_eq!(occupancy.stretches.iter().map(|stretch| stretch.len).sum::<u64>(), occupancy.stats.capacity);
    let text = occupancy.to_string();
    assert!(text.contains("fragmentation") && text.contains(" 512 "), "{text}");
    println!("{text}");
}
