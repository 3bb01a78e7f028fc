//! Files that are no pools, damaged pools, wrong uses: a typed error that says what to do, and nothing lost.
#![allow(missing_docs)]
use pmem_alloc::*;
use pmem_map::PAGE;
use std::path::{Path, PathBuf};

mod cell;
use cell::Cell;

const SIZE: u64 = 1 << 20;
/// Offsets of header fields, as in FORMAT.md.
const CHECKSUM: u64 = 8;
const VERSION: u64 = 16;
const HEADER_LEN: u64 = 20;
const INCOMPATIBLE: u64 = 24;
const READ_ONLY_COMPATIBLE: u64 = 32;
const COMPATIBLE: u64 = 40;
const POOL_SIZE: u64 = 64;
const MAX_SIZE: u64 = 72;
const LOG_START: u64 = 80;
const LOG_LEN: u64 = 88;
const STATE_START: u64 = 96;
const TABLE_START: u64 = 104;
const BITMAPS_START: u64 = 112;
const DATA_START: u64 = 120;
const DATA_PAGES: u64 = 128;
const LAYOUT_LEN: u64 = 136;

fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}

fn open(path: &Path) -> Result<Pool> {
    // SAFETY: a file of this test alone.
    unsafe { Pool::open(path) }
}

fn create(path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { Pool::create(path, SIZE) }
}

fn open_or_create(path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { PoolOptions::new().size(SIZE).open_or_create(path) }
}

/// The bytes of a pool in which the cell "c" is 7, closed cleanly.
fn sample() -> Vec<u8> {
    let folder = folder();
    let path = folder.path().join("sample");
    let pool = create(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
    pool.close().unwrap();
    std::fs::read(path).unwrap()
}

fn on(bytes: &[u8]) -> Result<Pool> {
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    Pool::on(mapping)
}

fn value(pool: &Pool) -> u64 {
    *pool.read().unwrap().open::<Cell<u64>>("c").unwrap().get().unwrap()
}

fn word(bytes: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(bytes[at as usize..at as usize + 8].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: u64, word: u64) {
    bytes[at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
}

/// Changes a field of both header copies, and makes the checksum right again.
fn forge(bytes: &mut [u8], field: u64, value: u64) {
    for copy in [0, PAGE] {
        put(bytes, copy + field, value);
        let covered = &bytes[copy as usize + 16..copy as usize + 256];
        let checksum = xxhash_rust::xxh3::xxh3_64(covered);
        put(bytes, copy + CHECKSUM, checksum);
    }
}

macro_rules! assert_kind {
    ($result:expr, $kind:pat) => {{
        let error = $result.err().expect("an error");
        assert!(matches!(error.kind(), $kind), "{error}");
        error.to_string()
    }};
}

#[test]
fn a_file_that_is_no_pool_is_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join("letter");
    let letter = "Dear reader, this is no pool. ".repeat(40_000);
    for content in [letter.as_bytes(), &letter.as_bytes()[..5000], b"short"] {
        std::fs::write(&path, content).unwrap();
        assert_kind!(open(&path), ErrorKind::NotAPool { .. });
        assert_kind!(open_or_create(&path), ErrorKind::NotAPool { .. });
        assert_kind!(create(&path), ErrorKind::AlreadyExists { .. });
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    std::fs::write(&path, b"").unwrap();
    assert_kind!(open(&path), ErrorKind::Map(pmem_map::Error::BadLength { .. }));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn zeros_are_no_pool_but_room_for_one() {
    let folder = folder();
    let path = folder.path().join("zeros");
    std::fs::write(&path, vec![0; SIZE as usize]).unwrap();
    let message = assert_kind!(open(&path), ErrorKind::NotAPool { .. });
    assert!(message.contains("zeros"), "{message}");
    assert!(std::fs::read(&path).unwrap().iter().all(|&byte| byte == 0));
    let pool = open_or_create(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
    drop(pool);
    assert_eq!(value(&open_or_create(&path).unwrap()), 7);
    // Zeros, and then something: not ours to overwrite.
    let mut mostly = vec![0; SIZE as usize];
    mostly[SIZE as usize - 1] = 1;
    std::fs::write(&path, &mostly).unwrap();
    assert_kind!(open_or_create(&path), ErrorKind::NotAPool { .. });
    assert_eq!(std::fs::read(&path).unwrap(), mostly);
}

#[test]
fn a_missing_file_or_folder_is_said() {
    let folder = folder();
    let not_there = folder.path().join("no").join("pool");
    for result in [open(&not_there), create(&not_there), open_or_create(&not_there)] {
        let message = assert_kind!(result, ErrorKind::Map(pmem_map::Error::Io { .. }));
        assert!(message.contains("pool"), "{message}");
    }
    assert_kind!(open(folder.path()), ErrorKind::Map(pmem_map::Error::Io { .. }));
    assert_kind!(create(folder.path()), ErrorKind::AlreadyExists { .. });
}

#[test]
fn a_truncated_pool_is_said_to_be_and_not_touched() {
    let folder = folder();
    let path = folder.path().join("pool");
    let bytes = sample();
    for len in [SIZE - PAGE, SIZE / 2, 3 * PAGE, SIZE - 1] {
        std::fs::write(&path, &bytes[..len as usize]).unwrap();
        let message = assert_kind!(open(&path), ErrorKind::Truncated { expected: SIZE, .. });
        assert!(message.contains("backup"));
        assert_eq!(std::fs::read(&path).unwrap(), &bytes[..len as usize]);
    }
    for len in [PAGE, 100, 8] {
        std::fs::write(&path, &bytes[..len as usize]).unwrap();
        assert!(open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), &bytes[..len as usize]);
    }
    // Longer than its header says is fine.
    let mut longer = bytes.clone();
    longer.resize(SIZE as usize + 8192, 9);
    std::fs::write(&path, &longer).unwrap();
    assert_eq!(value(&open(&path).unwrap()), 7);
}

#[test]
fn one_damaged_header_copy_is_repaired_and_reported() {
    let bytes = sample();
    for (copy, name) in [(0, 'A'), (PAGE, 'B')] {
        for at in 0..256 {
            let mut damaged = bytes.clone();
            damaged[(copy + at) as usize] ^= 0x40;
            let pool = on(&damaged).unwrap();
            assert_eq!((pool.opening().repaired_header, value(&pool)), (Some(name), 7));
        }
    }
    let folder = folder();
    let path = folder.path().join("pool");
    let mut damaged = bytes.clone();
    damaged[..4096].fill(0xff);
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(open(&path).unwrap().opening().repaired_header, Some('A'));
    assert_eq!(open(&path).unwrap().opening().repaired_header, None);
    assert_eq!(std::fs::read(&path).unwrap()[..256], bytes[..256]);
}

#[test]
fn two_damaged_header_copies_are_refused_naming_the_field() {
    let bytes = sample();
    let fields = [
        (POOL_SIZE, "size"),
        (MAX_SIZE, "max_size"),
        (LOG_START, "log_start"),
        (LOG_LEN, "log_len"),
        (STATE_START, "state_start"),
        (TABLE_START, "table_start"),
        (BITMAPS_START, "bitmaps_start"),
        (DATA_START, "data_start"),
        (DATA_PAGES, "data_pages"),
        (LAYOUT_LEN, "layout_len"),
    ];
    for (at, name) in fields {
        let plausible = at == DATA_PAGES || at == LAYOUT_LEN; // 1 is
        for &value in if plausible { &[1 << 33, u64::MAX][..] } else { &[1, u64::MAX, u64::MAX - 4095] } {
            let mut damaged = bytes.clone();
            [0, PAGE].iter().for_each(|copy| put(&mut damaged, copy + at, value));
            let error = on(&damaged).err().unwrap_or_else(|| panic!("{name} = {value} was accepted"));
            let ErrorKind::Damaged { field, .. } = error.kind() else { panic!("{name}: {error}") };
            // An end that overflows is seen where the next thing should begin.
            assert!(*field == name || value > 1 << 33, "{field} instead of {name}");
            // And with a checksum that holds.
            forge(&mut damaged, at, value);
            assert!(on(&damaged).is_err(), "{name} = {value} was accepted");
        }
    }
    let mut damaged = bytes.clone();
    [0, PAGE].iter().for_each(|copy| put(&mut damaged, copy + CHECKSUM, 1));
    let error = on(&damaged).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Damaged { field: "checksum", .. }), "{error}");
    let mut damaged = bytes;
    [0, PAGE].iter().for_each(|copy| put(&mut damaged, copy + VERSION, 1 | 9999 << 32));
    let error = on(&damaged).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Damaged { field: "header_len", .. }), "{error}");
    assert_eq!(HEADER_LEN, VERSION + 4);
}

#[test]
fn a_newer_version_and_unknown_features_are_refused_but_for_compatible_ones() {
    let bytes = sample();
    let mut newer = bytes.clone();
    forge(&mut newer, VERSION, 2 | 256 << 32);
    assert_kind!(on(&newer), ErrorKind::NewerVersion { found: 2, known: 1 });
    let mut older = bytes.clone();
    forge(&mut older, VERSION, 256 << 32);
    assert_kind!(on(&older), ErrorKind::Damaged { field: "version", .. });
    for (field, bits) in [(INCOMPATIBLE, 1u64 << 63), (READ_ONLY_COMPATIBLE, 5)] {
        let mut unknown = bytes.clone();
        forge(&mut unknown, field, bits);
        let error = on(&unknown).err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::UnknownFeatures { bits: found } if *found == bits));
    }
    let mut harmless = bytes.clone();
    forge(&mut harmless, COMPATIBLE, 1);
    assert_eq!(value(&on(&harmless).unwrap()), 7);
}

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
    let names = word(&circle, head + 32);
    let len = 40 + (names as u32 as u64) + (names >> 32);
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
fn the_wrong_type_is_refused_by_name_in_every_way_of_opening() {
    let bytes = sample();
    let pool = on(&bytes).unwrap();
    let message =
        assert_kind!(pool.write(|tx| tx.open::<Cell<u32>>("c").map(drop)), ErrorKind::WrongType { .. });
    assert!(message.contains("Cell<u64>") && message.contains("Cell<u32>"), "{message}");
    assert_kind!(pool.read().unwrap().open::<PHeap<u64>>("c").map(drop), ErrorKind::WrongType { .. });
    assert_kind!(pool.read().unwrap().open::<Cell<u64>>("d").map(drop), ErrorKind::NotFound { .. });
    // The right one is not taken for the wrong one's sake, before and after.
    assert_eq!(value(&pool), 7);
    assert_kind!(pool.read().unwrap().open::<Cell<u32>>("c").map(drop), ErrorKind::WrongType { .. });
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(8)).unwrap();
    assert_kind!(pool.write(|tx| tx.open::<Cell<u32>>("c").map(drop)), ErrorKind::WrongType { .. });
}

#[test]
fn another_layout_is_refused() {
    let folder = folder();
    let path = folder.path().join("pool");
    let with = |name: &str| PoolOptions::new().size(SIZE).layout(name);
    // SAFETY: a file of this test alone.
    drop(unsafe { with("bank").create(&path) }.unwrap());
    // SAFETY: as above.
    let message = assert_kind!(unsafe { with("blog").open(&path) }, ErrorKind::WrongLayout { .. });
    assert!(message.contains("bank") && message.contains("blog"));
    // SAFETY: as above.
    drop(unsafe { with("bank").open(&path) }.unwrap());
    drop(open(&path).unwrap());
    let long = "x".repeat(113);
    assert_kind!(
        with(&long).create_on(Mapping::anonymous(SIZE).unwrap()),
        ErrorKind::TooLarge { what: "layout name", .. }
    );
}

#[test]
fn a_second_handle_by_path_is_refused_until_the_first_is_closed() {
    let folder = folder();
    let path = folder.path().join("pool");
    let pool = create(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
    let message = assert_kind!(open(&path), ErrorKind::Map(pmem_map::Error::Locked { .. }));
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    assert_kind!(open_or_create(&path), ErrorKind::Map(pmem_map::Error::Locked { .. }));
    drop(pool);
    assert_eq!(value(&open(&path).unwrap()), 7);
}

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
    // Hardly a free page is left that could be lent to the log.
    let free = pool.stats().unwrap().longest_free - (64 << 10);
    pool.write(|tx| tx.open::<PHeap<u64>>("h")?.alloc_aligned(free, 8)).unwrap();
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

#[test]
fn absurd_sizes_are_refused() {
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
fn a_pool_can_be_made_where_one_is_and_has_nothing_of_it() {
    let mut mapping = Mapping::anonymous(SIZE).unwrap();
    mapping.as_mut_slice().copy_from_slice(&sample());
    let pool = Pool::create_on(mapping).unwrap();
    assert_kind!(pool.read().unwrap().open::<Cell<u64>>("c").map(drop), ErrorKind::NotFound { .. });
    let stats = pool.stats().unwrap();
    assert_eq!((stats.used, stats.free), (0, stats.capacity));
    assert!(pool.check().unwrap().is_ok());
    // Over garbage too.
    let mut mapping = Mapping::anonymous(SIZE).unwrap();
    mapping.as_mut_slice().fill(0xa5);
    let pool = Pool::create_on(mapping).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(1)).unwrap();
    assert_eq!((value(&pool), pool.check().unwrap().is_ok()), (1, true));
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

#[test]
fn an_object_that_cannot_be_created_leaves_no_block_behind() {
    type Wide = PHeap<Big>;
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Big([u64; 8192]);
    impl Plain for Big {
        const NAME: &'static str = "Big";
    }
    impl Default for Big {
        fn default() -> Big {
            bytemuck::Zeroable::zeroed()
        }
    }
    let pool = Pool::anonymous(128 << 10).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c").map(drop)).unwrap();
    let before = pool.stats().unwrap();
    pool.write(|tx| {
        assert_kind!(tx.open::<Wide>("wide").map(drop), ErrorKind::NoSpace { .. });
        tx.open::<Cell<u64>>("c")?.set(3)
    })
    .unwrap();
    let after = pool.stats().unwrap();
    assert_eq!((after.blocks, after.objects, after.free), (before.blocks, before.objects, before.free));
    assert_kind!(pool.read().unwrap().open::<Wide>("wide").map(drop), ErrorKind::NotFound { .. });
    assert!(pool.check().unwrap().is_ok());
    pool.write(|tx| tx.open::<Cell<u64>>("wide").map(drop)).unwrap();
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

#[test]
fn a_pool_that_lost_its_magics_is_not_taken_for_an_unfinished_creation() {
    let folder = folder();
    let path = folder.path().join("pool");
    let without_magics = |mut bytes: Vec<u8>| {
        put(&mut bytes, 0, 0);
        put(&mut bytes, PAGE, 0);
        bytes
    };
    let blank_tables = |mut bytes: Vec<u8>| {
        let tables = word(&bytes, STATE_START) as usize..word(&bytes, DATA_START) as usize;
        bytes[tables].fill(0);
        bytes
    };
    let log = word(&sample(), LOG_START) as usize;
    let created = {
        drop(create(&path).unwrap());
        std::fs::read(&path).unwrap()
    };
    let opened = {
        drop(open(&path).unwrap());
        std::fs::read(&path).unwrap()
    };
    let without_log_header = |mut bytes: Vec<u8>| {
        bytes[log..log + 256].fill(0);
        bytes
    };
    for (bytes, what) in [
        (sample(), "tables that are not blank"),
        (blank_tables(sample()), "a log with a record"),
        (without_log_header(blank_tables(sample())), "a log with a record, and without a header"),
        (opened, "a log that was opened"),
    ] {
        let bytes = without_magics(bytes);
        std::fs::write(&path, &bytes).unwrap();
        let error = open_or_create(&path).err().unwrap_or_else(|| panic!("{what}: made anew"));
        assert!(matches!(error.kind(), ErrorKind::NotAPool { .. }), "{what}: {error}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{what}: changed");
    }
    std::fs::write(&path, without_magics(created)).unwrap();
    open_or_create(&path).unwrap();
}

#[test]
fn a_pool_in_a_longer_file_opens_whatever_the_length() {
    let folder = folder();
    let path = folder.path().join("pool");
    for more in [1, 63, 64, PAGE - 1, PAGE + 1] {
        let mut bytes = sample();
        bytes.resize((SIZE + more) as usize, 0xa5);
        std::fs::write(&path, &bytes).unwrap();
        let pool = open(&path).unwrap();
        assert_eq!(value(&pool), 7);
        pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(8)).unwrap();
        pool.close().unwrap();
        assert_eq!(value(&open(&path).unwrap()), 8);
        assert_eq!(std::fs::read(&path).unwrap()[SIZE as usize..], bytes[SIZE as usize..]);
    }
}

#[test]
fn a_pool_is_made_over_another_in_a_file_of_any_length_or_the_other_one_stays() {
    let folder = folder();
    let path = folder.path().join("pool");
    // SAFETY: a file of this test alone.
    let map = || unsafe { pmem_map::MapOptions::new().open(&path) }.unwrap();
    let mut bytes = sample();
    bytes.push(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let too_long = PoolOptions::new().layout(&"l".repeat(113));
    assert_kind!(too_long.create_on(map()), ErrorKind::TooLarge { what: "layout name", .. });
    assert!(std::fs::read(&path).unwrap() == bytes);
    let pool = Pool::create_on(map()).unwrap();
    assert_kind!(pool.read().unwrap().open::<Cell<u64>>("c").map(drop), ErrorKind::NotFound { .. });
}

#[test]
fn a_full_pool_that_is_emptied_holds_as_many_blocks_again() {
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
        assert!(pool.check().unwrap().is_ok());
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

#[test]
fn pools_of_every_size_near_the_smallest_are_whole_and_a_layout_name_may_have_112_bytes() {
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
