//! Pools on real DAX, where there is some: see `tests/dax/place.rs`.
#![allow(missing_docs)]

#[path = "../../tests/dax/place.rs"]
mod place;

use place::{Place, places};
use pmem_alloc::*;

const SIZE: u64 = 1 << 20;
const MOST: u64 = 24 << 20;

/// The numbers in blocks of their own, of many sizes.
type Blocks = PHeap<[Ptr<u8>; 32]>;

fn options(place: &Place) -> PoolOptions {
    let options = PoolOptions::new().mapping(place.options());
    if place.is_device {
        return options; // it is as large as it is
    }
    options.size(SIZE).max_size(MOST).auto_grow(true)
}

fn create(place: &Place) -> Pool {
    if place.is_device {
        return options(place).create_on(place.map(0)).unwrap();
    }
    // SAFETY: as `place` says of its file.
    unsafe { options(place).create(&place.path) }.unwrap()
}

fn open(place: &Place) -> Pool {
    // SAFETY: as above.
    unsafe { options(place).open(&place.path) }.unwrap()
}

fn len(n: u64) -> u64 {
    8 << (n % 12)
}

/// Block `n` is allocated, filled, and in its place.
fn put(pool: &Pool, n: u64) -> Result<()> {
    pool.write(|tx| {
        let mut heap = tx.open::<Blocks>("blocks")?;
        let at = heap.alloc_aligned(len(n), 8)?;
        heap.bytes_mut(at, len(n))?.fill(n as u8 ^ 0xa5);
        let before = std::mem::replace(&mut heap.root_mut()?[n as usize % 32], at);
        if !before.is_null() {
            heap.free(before)?;
        }
        Ok(())
    })
}

const BLOCKS: u64 = 640;

#[test]
fn a_pool_that_grew_is_whole_after_a_process_aborted_inside_a_transaction() {
    const NAME: &str = "a_pool_that_grew_is_whole_after_a_process_aborted_inside_a_transaction";
    if let Some(place) = Place::of_child(NAME) {
        let pool = create(&place);
        (0..BLOCKS).for_each(|n| put(&pool, n).unwrap());
        let large = pool.write(|tx| {
            let mut heap = tx.open::<PHeap<Ptr<u8>>>("large")?;
            let at = heap.alloc_aligned(5 << 20, 8)?; // more than there is of a file
            heap.bytes_mut(at, 5 << 20)?.fill(7);
            *heap.root_mut()? = at;
            Ok(())
        });
        large.unwrap();
        let _ = pool.write(|tx| -> Result<()> {
            tx.open::<Blocks>("blocks")?.root_mut()?.fill(Ptr::NULL);
            tx.open::<PHeap<u64>>("never")?;
            std::process::abort()
        });
    }
    let (places, _used) = places();
    for place in places {
        place.abandoned(NAME);
        let pool = open(&place);
        println!("{}: {} bytes, {:?}", pool.region().medium(), pool.region().len(), pool.opening());
        assert!(place.is_device || pool.region().len() > SIZE);
        let report = pool.check().unwrap();
        assert!(report.is_ok(), "{report}");
        let tx = pool.read().unwrap();
        let heap = tx.open::<Blocks>("blocks").unwrap();
        for n in BLOCKS - 32..BLOCKS {
            let at = heap.root().unwrap()[n as usize % 32];
            assert!(heap.bytes(at, len(n)).unwrap().iter().all(|byte| *byte == n as u8 ^ 0xa5), "block {n}");
        }
        let large = tx.open::<PHeap<Ptr<u8>>>("large").unwrap();
        assert!(large.bytes(*large.root().unwrap(), 5 << 20).unwrap().iter().all(|byte| *byte == 7));
        assert!(tx.open::<PHeap<u64>>("never").is_err());
        drop(tx);
        put(&pool, 1).unwrap();
        assert_eq!(pool.region().counters().syncs, 0, "nothing is written back on persistent memory");
        pool.close().unwrap();
    }
}

#[test]
fn eventual_commits_that_were_synced_are_there_after_an_abort() {
    const NAME: &str = "eventual_commits_that_were_synced_are_there_after_an_abort";
    let root = |pool: &Pool| *pool.read().unwrap().open::<PHeap<u64>>("n").unwrap().root().unwrap();
    if let Some(place) = Place::of_child(NAME) {
        let pool = create(&place);
        for n in 1..=500 {
            let tx = pool.begin().unwrap();
            *tx.open::<PHeap<u64>>("n").unwrap().root_mut().unwrap() = n;
            tx.commit_eventual().unwrap();
            if n == 400 {
                pool.sync().unwrap();
            }
        }
        std::process::abort()
    }
    let (places, _used) = places();
    for place in places {
        place.abandoned(NAME);
        let pool = open(&place);
        let found = root(&pool);
        assert!((400..=500).contains(&found), "{found}: a prefix, with all that was synced");
        assert!(pool.check().unwrap().is_ok());
    }
}
