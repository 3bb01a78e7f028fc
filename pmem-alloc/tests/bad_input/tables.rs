//! Page table, bitmaps and directory: damage is found, wherever it is.

use crate::cell::Cell;
use crate::pools::*;
use pmem_alloc::*;
use pmem_map::PAGE;

#[test]
fn damage_in_page_table_bitmaps_or_directory_is_found_at_open() {
    let bytes = sample();
    let (table, bitmaps, state) =
        (word(&bytes, TABLE_START), word(&bytes, BITMAPS_START), word(&bytes, STATE_START));
    let pages = word(&bytes, DATA_PAGES);
    let head = word(&bytes, state);
    let damages = [
        (table, 3, "an unknown kind of span"),
        (table, 1 | 200 << 8 | 1 << 32, "an unknown class"),
        (table, 2 | (pages + 1) << 32, "a span longer than the pool"),
        (table, 0, "bits of free pages"),
        (table + 8, 2 | 1 << 32, "a descriptor inside a span"),
        (bitmaps, 1 << 63 | word(&bytes, bitmaps), "nothing wrong"),
        (bitmaps + (pages - 1) * 64, 1, "a bit of a free page"),
        (state, 8, "a directory outside the data pages"),
        (state, head + 8, "a directory at no block's start"),
        (state, u64::MAX, "a directory beyond the end"),
        (head, head, "a directory that never ends"),
        (head + 16, 0, "another header"),
        (head + 32, u64::MAX, "absurd lengths"),
        (head + 40, 0, "another name"),
    ];
    for (at, value, what) in damages {
        let mut damaged = bytes.clone();
        put(&mut damaged, at, value);
        match on(&damaged) {
            Ok(_) if what == "nothing wrong" => {}
            Ok(_) => panic!("{what} was accepted"),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Corrupt { .. }), "{what}: {e}"),
        }
    }
}

/// The offset of the directory's newest entry becomes `head`, with a checksum that holds.
fn forge_head(bytes: &mut [u8], head: u64) {
    let state = word(bytes, STATE_START);
    put(bytes, state, head);
    put(bytes, state + 8, xxhash_rust::xxh3::xxh3_64_with_seed(&head.to_le_bytes(), state));
}

#[test]
fn a_directory_that_begins_or_goes_on_elsewhere_is_refused_not_read_without_its_objects() {
    let pool = on(&sample()).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("newer")?.set(1)).unwrap();
    pool.checkpoint().unwrap();
    let mut bytes = vec![0; SIZE as usize];
    // SAFETY: this thread is the only one, and no transaction is open.
    unsafe { pool.region().load(0, &mut bytes) };
    let state = word(&bytes, STATE_START);
    let head = word(&bytes, state);
    let next = word(&bytes, head);
    for (at, value) in [(state, 0), (state, next), (state + 8, 0), (head, 0), (next, head)] {
        let mut damaged = bytes.clone();
        put(&mut damaged, at, value);
        assert_kind!(on(&damaged), ErrorKind::Corrupt { .. });
    }
    assert_eq!(value(&on(&bytes).unwrap()), 7);
    let mut empty = vec![0; SIZE as usize];
    let pool = Pool::anonymous(SIZE).unwrap();
    // SAFETY: as above.
    unsafe { pool.region().load(0, &mut empty) };
    let state = word(&empty, STATE_START);
    put(&mut empty, state + 8, 0);
    assert_kind!(on(&empty), ErrorKind::Corrupt { .. });
}

#[test]
fn a_directory_with_a_right_checksum_that_leads_nowhere_or_in_a_circle_is_refused() {
    let bytes = sample();
    let head = word(&bytes, word(&bytes, STATE_START));
    for elsewhere in [8, head + 8, SIZE, u64::MAX] {
        let mut damaged = bytes.clone();
        forge_head(&mut damaged, elsewhere);
        let message = assert_kind!(on(&damaged), ErrorKind::Corrupt { .. });
        assert!(message.contains("an allocated block with a directory entry"), "{message}");
    }
    let mut circle = bytes;
    put(&mut circle, head, head);
    put(&mut circle, head + 8, 0);
    let (names, descriptor) = (word(&circle, head + 32), word(&circle, head + 24) >> 32);
    let len = 40 + (names as u32 as u64) + (names >> 32) + descriptor;
    let entry = &circle[head as usize..(head + len) as usize];
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(entry, head);
    put(&mut circle, head + 8, checksum);
    let message = assert_kind!(on(&circle), ErrorKind::Corrupt { .. });
    assert!(message.contains("a cycle"), "{message}");
}

#[test]
fn random_damage_anywhere_never_panics_and_never_blocks() {
    let bytes = sample();
    let data = word(&bytes, DATA_START);
    let log = word(&bytes, LOG_START);
    for seed in 0..if cfg!(miri) { 3 } else { 3000 } {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut damaged = bytes.clone();
        for _ in 0..rng.u32(1..8) {
            let area = match rng.u32(0..4) {
                0 => 0..2 * PAGE,
                1 => log..log + 2 * PAGE,
                2 => log..data,
                _ => data..data + 4 * PAGE,
            };
            let at = rng.u64(area) & !7;
            let old = word(&damaged, at);
            let new = match rng.u32(0..4) {
                0 => rng.u64(..),
                1 => old ^ 1 << rng.u32(0..64),
                2 => 0,
                _ => old.wrapping_add(rng.u64(0..16)),
            };
            put(&mut damaged, at, new);
        }
        let Ok(pool) = on(&damaged) else { continue };
        let report = pool.check().unwrap();
        assert!(report.is_ok(), "seed {seed}: what opens has no such faults: {report}");
        let _ = pool.write(|tx| {
            let mut heap = tx.open::<PHeap<u64>>("heap")?;
            let at = heap.alloc([1u64; 100])?;
            *heap.root_mut()? = at.offset();
            Ok(())
        });
        let _ = pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(8));
        let _ = pool.read().unwrap().open::<Cell<u64>>("c").map(drop);
    }
}

#[test]
fn the_check_finds_what_changed_under_an_open_pool() {
    let bytes = sample();
    let (table, bitmaps) = (word(&bytes, TABLE_START), word(&bytes, BITMAPS_START));
    let (state, pages) = (word(&bytes, STATE_START), word(&bytes, DATA_PAGES));
    let damages = [
        (table, 0, "free page"),
        (table + (pages - 1) * 8, 2 | 1 << 32, "large block"),
        (bitmaps, 3, "in memory"),
        (bitmaps + (pages - 1) * 64, 1, "no bits outside"),
        (state, 64, "directory"),
    ];
    for (at, value, what) in damages {
        let pool = on(&bytes).unwrap();
        assert!(pool.check().unwrap().is_ok());
        // SAFETY: this thread is the only one, and no transaction is open.
        unsafe { pool.region().store_word(at, value) };
        let report = pool.check().unwrap();
        assert!(!report.is_ok(), "{what}: {report}");
        println!("{what}: {report}");
    }
}
