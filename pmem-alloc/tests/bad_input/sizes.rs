//! Sizes: too small, too large, absurd.

use crate::cell::Cell;
use crate::pools::*;
use pmem_alloc::*;
use pmem_map::PAGE;

#[test]
fn absurd_sizes_are_refused() {
    // PMDK scenarios 6 and 20
    let folder = folder();
    let path = folder.path().join("pool");
    for size in [0, 1, 4096, 100_000] {
        // SAFETY: a file of this test alone.
        let result = unsafe { PoolOptions::new().size(size).create(&path) };
        assert_kind!(result, ErrorKind::TooSmall { .. });
        assert!(!path.exists());
    }
    for size in [u64::MAX, 1 << 62, 1 << 50] {
        // SAFETY: as above.
        let result = unsafe { PoolOptions::new().size(size).create(&path) };
        assert!(matches!(
            result.err().unwrap().kind(),
            ErrorKind::TooLarge { .. } | ErrorKind::Map(pmem_map::Error::Io { .. })
        ));
        assert!(!path.exists());
    }
    let pool = Pool::anonymous(SIZE).unwrap();
    for len in [SIZE, u64::MAX, u64::MAX - 100, 1 << 63] {
        for align in [8, 4096, 2 << 20] {
            let result = pool.write(|tx| tx.open::<PHeap<u64>>("h")?.alloc_aligned(len, align));
            assert_kind!(result, ErrorKind::NoSpace { .. });
            assert_kind!(pool.reserve(len, align), ErrorKind::NoSpace { .. });
        }
    }
    let long = "n".repeat(2000);
    let result = pool.write(|tx| tx.open::<Cell<u64>>(&long).map(drop));
    assert_kind!(result, ErrorKind::TooLarge { what: "name", .. });
}

#[test]
fn pools_of_every_size_near_the_smallest_are_whole_and_a_layout_name_may_have_112_bytes() {
    // PMDK scenarios 8 and 38
    let (longest, none) = ("x".repeat(112), String::new());
    for pages in 32..100 {
        for layout in [&longest, &none] {
            let size = pages * PAGE + pages % 3 * 64;
            let options = PoolOptions::new().layout(layout);
            let pool = options.create_on(Mapping::anonymous(size).unwrap()).unwrap();
            pool.write(|tx| {
                tx.open::<PHeap<u64>>("heap")?;
                tx.open::<Cell<u64>>("c")?.set(pages)
            })
            .unwrap();
            let largest = pool.stats().unwrap().longest_free.max(1);
            pool.write(|tx| tx.open::<PHeap<u64>>("heap")?.alloc_aligned(largest, 8)).unwrap();
            assert_eq!((value(&pool), pool.check().unwrap().is_ok()), (pages, true), "{size}");
        }
    }
}

#[test]
fn a_pool_whose_pages_are_wanted_ahead_has_all_of_them() {
    // PMDK scenario 37
    let folder = folder();
    let path = folder.path().join("pool");
    let options = PoolOptions::new().size(SIZE).mapping(pmem_map::MapOptions::new().prefault(true));
    let resident = |pool: &Pool| {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", pool.region().base().as_ptr() as usize);
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    // SAFETY: a file of this test alone.
    let pool = unsafe { options.create(&path) }.unwrap();
    assert_eq!(resident(&pool), SIZE);
    drop(pool);
    // SAFETY: as above.
    assert_eq!(resident(&unsafe { options.open(&path) }.unwrap()), SIZE);
}
