//! Pools that are read, or tried, and stay byte for byte as they are.
#![allow(missing_docs)]

use pmem_alloc::*;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

mod cell;
use cell::Cell;

const SIZE: u64 = 1 << 20;
const PART: &str = "PMEM_ALLOC_TEST_PART";

fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}

fn read_only(path: &Path) -> Result<ReadPool> {
    // SAFETY: (each) files that only these tests and their children know.
    unsafe { ReadPool::open(path) }
}

fn private(path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { PoolOptions::new().open_private(path) }
}

fn open(path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { Pool::open(path) }
}

fn set(pool: &Pool, value: u64) -> Result<()> {
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(value))
}

fn value(tx: &ReadTx<'_>) -> u64 {
    *tx.open::<Cell<u64>>("c").unwrap().get().unwrap()
}

/// A closed pool in which the cell "c" is 7.
fn closed(path: &Path) {
    // SAFETY: as above.
    let pool = unsafe { Pool::create(path, SIZE) }.unwrap();
    set(&pool, 7).unwrap();
    pool.close().unwrap();
}

/// A pool that lost power right after a commit: the cell is 8 by the log, and still 7 in its place.
fn crashed(path: &Path) {
    closed(path);
    let bytes = std::fs::read(path).unwrap();
    let pool = open(path).unwrap();
    set(&pool, 8).unwrap();
    let mut left = std::fs::read(path).unwrap();
    drop(pool);
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let state = word(96); // what the log changes begins here
    left[state..].copy_from_slice(&bytes[state..]);
    std::fs::write(path, left).unwrap();
}

fn hash(path: &Path) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&std::fs::read(path).unwrap())
}

fn is_locked<T>(result: Result<T>) -> bool {
    result.is_err_and(|e| matches!(e.kind(), ErrorKind::Map(pmem_map::Error::Locked { .. })))
}

/// What another process says of the pool.
fn ask(name: &str, path: &Path) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PART, path);
    String::from_utf8(child.output().unwrap().stdout).unwrap()
}

#[test]
fn processes_read_a_pool_beside_each_other_and_nobody_writes_it_meanwhile() {
    const NAME: &str = "processes_read_a_pool_beside_each_other_and_nobody_writes_it_meanwhile";
    if let Some(path) = std::env::var_os(PART).map(PathBuf::from) {
        match read_only(&path) {
            Ok(pool) => {
                println!("it is {}, writer refused: {}", value(&pool.read().unwrap()), is_locked(open(&path)))
            }
            Err(e) => println!("{e}"),
        }
        return;
    }
    let folder = folder();
    let path = folder.path().join("pool");
    closed(&path);
    let before = hash(&path);
    let (one, other) = (read_only(&path).unwrap(), read_only(&path).unwrap());
    assert_eq!((value(&one.read().unwrap()), value(&other.read().unwrap())), (7, 7));
    assert!(one.check().unwrap().problems.is_empty() && one.stats().unwrap().objects == 1);
    assert_eq!(one.opening().replayed, 0);
    assert!(is_locked(open(&path)));
    assert!(ask(NAME, &path).contains("it is 7, writer refused: true"));
    drop((one, other));
    assert_eq!(hash(&path), before);
    let writer = open(&path).unwrap();
    assert!(is_locked(read_only(&path)) && is_locked(private(&path)));
    assert!(ask(NAME, &path).contains(&format!("is in use by process {}", std::process::id())));
    drop(writer);
    assert!(ask(NAME, &path).contains("it is 7"));
}

#[test]
fn a_pool_that_was_not_closed_is_recovered_in_a_private_view_or_refused_if_asked() {
    let folder = folder();
    let path = folder.path().join("pool");
    crashed(&path);
    let before = hash(&path);
    for _ in 0..2 {
        let pool = read_only(&path).unwrap();
        assert!(pool.opening().replayed > 0);
        assert_eq!(value(&pool.read().unwrap()), 8);
        assert!(pool.check().unwrap().problems.is_empty());
        // SAFETY: a file of this test alone.
        let refused = unsafe { PoolOptions::new().require_clean(true).open_read_only(&path) };
        let refused = refused.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NeedsRecovery { records: 1.. }), "{refused}");
        drop(pool);
        assert_eq!(hash(&path), before);
    }
    let pool = open(&path).unwrap();
    assert!(pool.opening().replayed > 0, "as if nobody had looked");
    assert_eq!(value(&pool.read().unwrap()), 8);
    pool.close().unwrap();
    // SAFETY: as above.
    unsafe { PoolOptions::new().require_clean(true).open_read_only(&path) }.unwrap();
}

#[test]
fn a_damaged_header_copy_is_read_past_and_stays_damaged() {
    let folder = folder();
    let path = folder.path().join("pool");
    closed(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 + 100] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let pool = read_only(&path).unwrap();
    assert_eq!((pool.opening().repaired_header, value(&pool.read().unwrap())), (Some('B'), 7));
    drop(pool);
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[test]
fn what_is_tried_in_a_private_view_is_gone_and_the_file_is_as_it_was() {
    // PMDK scenario 36
    let folder = folder();
    let path = folder.path().join("pool");
    for make in [closed, crashed] {
        _ = std::fs::remove_file(&path);
        make(&path);
        let before = hash(&path);
        let (pool, other) = (private(&path).unwrap(), private(&path).unwrap());
        let was = value(&other.read().unwrap());
        set(&pool, 99).unwrap();
        let block = pool.write(|tx| tx.open::<PHeap<u64>>("heap")?.alloc([5u64; 20_000])).unwrap();
        assert_eq!(value(&pool.read().unwrap()), 99);
        assert_eq!(pool.read().unwrap().open::<PHeap<u64>>("heap").unwrap().get(block).unwrap()[19_999], 5);
        assert!(pool.check().unwrap().problems.is_empty());
        let refused = pool.grow(SIZE).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::CannotGrow { .. }), "{refused}");
        assert_eq!(
            (value(&other.read().unwrap()), value(&read_only(&path).unwrap().read().unwrap())),
            (was, was)
        );
        pool.close().unwrap();
        drop(other);
        assert_eq!(hash(&path), before);
        assert_eq!(value(&open(&path).unwrap().read().unwrap()), was);
    }
}

#[test]
fn a_file_that_may_only_be_read_can_be_read() {
    let folder = folder();
    let path = folder.path().join("pool");
    closed(&path);
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    assert_eq!(value(&read_only(&path).unwrap().read().unwrap()), 7);
    assert!(private(&path).is_ok());
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } != 0 {
        assert!(open(&path).is_err());
    }
}

#[test]
fn what_is_no_pool_or_another_one_cannot_be_read_either() {
    let folder = folder();
    let path = folder.path().join("pool");
    assert!(matches!(read_only(&path).unwrap_err().kind(), ErrorKind::Map(pmem_map::Error::Io { .. })));
    assert!(!path.exists(), "reading makes nothing");
    std::fs::write(&path, vec![0; SIZE as usize]).unwrap();
    assert!(matches!(read_only(&path).unwrap_err().kind(), ErrorKind::NotAPool { .. }));
    std::fs::remove_file(&path).unwrap();
    // SAFETY: a file of this test alone.
    drop(unsafe { PoolOptions::new().layout("one").create(&path) }.unwrap());
    // SAFETY: as above.
    let other = unsafe { PoolOptions::new().layout("another").open_read_only(&path) };
    assert!(matches!(other.unwrap_err().kind(), ErrorKind::WrongLayout { .. }));
}
