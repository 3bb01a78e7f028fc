//! Blocks: full pools, full logs, alignments, frees that cannot be.

use crate::cell::Cell;
use crate::pools::*;
use pmem_alloc::*;
use pmem_map::PAGE;

// PMDK scenario 62.
#[test]
fn a_pool_that_is_full_in_the_middle_of_a_transaction_keeps_what_was_committed() {
    let pool = on(&sample()).unwrap();
    let before = pool.stats().unwrap();
    for len in [64u64, 5000, 100_000] {
        let result: Result<()> = pool.write(|tx| {
            tx.open::<Cell<u64>>("c")?.set(8)?;
            let mut heap = tx.open::<PHeap<u64>>("new")?;
            loop {
                heap.alloc_aligned(len, 8)?;
            }
        });
        let message = assert_kind!(result, ErrorKind::NoSpace { needed: _ });
        assert!(message.contains("free something"), "{message}");
        let after = pool.stats().unwrap();
        assert_eq!((after.free, after.used, after.objects), (before.free, before.used, before.objects));
        assert_eq!(value(&pool), 7);
        assert!(pool.check().unwrap().is_ok());
    }
    // The transaction may also go on after the error.
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("new")?;
        assert!(matches!(heap.alloc_aligned(SIZE, 8).unwrap_err().kind(), ErrorKind::NoSpace { .. }));
        tx.open::<Cell<u64>>("c")?.set(9)
    })
    .unwrap();
    assert_eq!(value(&pool), 9);
}

#[test]
fn a_transaction_too_large_for_the_log_changes_nothing() {
    let pool = Pool::anonymous(8 << 20).unwrap();
    let all: Vec<Ptr<[u64; 64]>> =
        (0..1000u64).map(|i| pool.write(|tx| tx.open::<PHeap<u64>>("h")?.alloc([i; 64])).unwrap()).collect();
    let before = pool.stats().unwrap();
    let result = pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("h")?;
        all.iter().try_for_each(|&at| {
            *heap.get_mut(at)? = [u64::MAX; 64];
            Ok(())
        })
    });
    assert_kind!(result, ErrorKind::Tx(pmem_tx::Error::LogFull { .. }));
    assert_eq!(pool.stats().unwrap().used, before.used);
    let tx = pool.read().unwrap();
    let heap = tx.open::<PHeap<u64>>("h").unwrap();
    for (i, &at) in all.iter().enumerate() {
        assert_eq!(heap.get(at).unwrap()[63], i as u64);
    }
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(8192))]
struct OfTwoPages([u64; 1024]);

impl Plain for OfTwoPages {
    const NAME: &'static str = "OfTwoPages";
}

#[test]
fn a_type_aligned_to_more_than_a_page_cannot_be_allocated_and_the_error_says_so() {
    let pool = Pool::anonymous(SIZE).unwrap();
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("h")?;
        let message = assert_kind!(
            heap.alloc(OfTwoPages([7; 1024])),
            ErrorKind::BadAlignment { align: 8192, maximum: PAGE }
        );
        assert!(message.contains("8192"), "{message}");
        *heap.root_mut()? = 1; // and the transaction goes on
        Ok(())
    })
    .unwrap();
    assert_eq!(pool.check().unwrap().small_blocks, 2, "an entry and a root");
}

// PMDK scenario 16.
#[test]
fn a_full_pool_that_is_emptied_holds_as_many_blocks_again() {
    // PMDK scenarios 16 and 17
    let pool = Pool::anonymous(SIZE).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("heap").map(drop)).unwrap();
    let fill = |len: u64| {
        let mut blocks: Vec<Ptr<u8>> = Vec::new();
        loop {
            // A few at a time, so that each record fits the log.
            let full = pool.write(|tx| {
                let mut heap = tx.open::<PHeap<u64>>("heap")?;
                for _ in 0..(1 << 12) / len.min(1 << 12) {
                    match heap.alloc_aligned(len, 8) {
                        Ok(block) => blocks.push(block),
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
    };
    let empty = |blocks: Vec<Ptr<u8>>| {
        for some in blocks.chunks(64) {
            pool.write(|tx| {
                let mut heap = tx.open::<PHeap<u64>>("heap")?;
                some.iter().try_for_each(|&block| heap.free(block))
            })
            .unwrap();
        }
    };
    let mut before = Vec::new();
    for len in [8, 64, 100, 1000, 4096, 20_000, 100_000, 300_000] {
        let blocks = fill(len);
        before.push((len, blocks.len()));
        empty(blocks);
    }
    // Whatever was there before, all of it is free again: for the same size, for smaller and for larger ones.
    for (len, count) in before.into_iter().rev() {
        let blocks = fill(len);
        assert_eq!(blocks.len(), count, "blocks of {len} bytes");
        let report = pool.check().unwrap();
        assert_eq!((report.problems.len(), report.leaks.len()), (0, blocks.len())); // nothing refers to them
        empty(blocks);
    }
}

#[test]
fn blocks_freed_twice_or_never_allocated_are_errors_and_an_abort_gives_freed_ones_back() {
    let pool = on(&sample()).unwrap();
    let block = pool.write(|tx| tx.open::<PHeap<u64>>("heap")?.alloc([5u64; 8])).unwrap();
    let before = pool.stats().unwrap();
    let aborted: Result<()> = pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("heap")?;
        heap.free(block)?;
        assert_kind!(heap.free(block), ErrorKind::Corrupt { .. });
        assert_kind!(heap.free(Ptr::<u64>::from_offset(block.offset() + 8)), ErrorKind::Corrupt { .. });
        for nothing in [0, 8, SIZE, u64::MAX] {
            assert_kind!(heap.free(Ptr::<u64>::from_offset(nothing)), ErrorKind::Corrupt { .. });
        }
        let new = heap.alloc([6u64; 8])?;
        assert_ne!(new, block, "handed out before its free is durable");
        heap.free(new)?;
        assert_kind!(heap.get(new), ErrorKind::Corrupt { .. });
        Err(Error::abort("no"))
    });
    assert_kind!(aborted, ErrorKind::Aborted(_));
    let after = pool.stats().unwrap();
    assert_eq!((after.blocks, after.used), (before.blocks, before.used));
    assert_eq!(*pool.read().unwrap().open::<PHeap<u64>>("heap").unwrap().get(block).unwrap(), [5; 8]);
    assert!(pool.check().unwrap().is_ok());
}

#[test]
fn a_block_of_no_bytes_is_a_block_of_its_own() {
    let pool = Pool::anonymous(SIZE).unwrap();
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("heap")?;
        let (one, other) = (heap.alloc_aligned(0, 8)?, heap.alloc_aligned(0, 4096)?);
        assert!(one != other && !one.is_null() && !other.is_null());
        heap.free(one)?;
        heap.free(other)
    })
    .unwrap();
    assert!(pool.check().unwrap().is_ok());
}
