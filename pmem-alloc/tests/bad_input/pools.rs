//! What the tests share: a sample pool, its bytes, and ways to spoil them.

use crate::cell::Cell;
use pmem_alloc::*;
use pmem_map::PAGE;
use std::path::{Path, PathBuf};

pub(crate) const SIZE: u64 = 1 << 20;
/// Offsets of header fields, as in FORMAT.md.
pub(crate) const CHECKSUM: u64 = 8;
pub(crate) const VERSION: u64 = 16;
pub(crate) const HEADER_LEN: u64 = 20;
pub(crate) const INCOMPATIBLE: u64 = 24;
pub(crate) const READ_ONLY_COMPATIBLE: u64 = 32;
pub(crate) const COMPATIBLE: u64 = 40;
pub(crate) const POOL_SIZE: u64 = 64;
pub(crate) const MAX_SIZE: u64 = 72;
pub(crate) const LOG_START: u64 = 80;
pub(crate) const LOG_LEN: u64 = 88;
pub(crate) const STATE_START: u64 = 96;
pub(crate) const TABLE_START: u64 = 104;
pub(crate) const BITMAPS_START: u64 = 112;
pub(crate) const DATA_START: u64 = 120;
pub(crate) const DATA_PAGES: u64 = 128;
pub(crate) const LAYOUT_LEN: u64 = 136;

pub(crate) fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}

pub(crate) fn open(path: &Path) -> Result<Pool> {
    // SAFETY: a file of this test alone.
    unsafe { Pool::open(path) }
}

pub(crate) fn create(path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { Pool::create(path, SIZE) }
}

pub(crate) fn open_or_create(path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { PoolOptions::new().size(SIZE).open_or_create(path) }
}

/// The bytes of a pool in which the cell "c" is 7, closed cleanly.
pub(crate) fn sample() -> Vec<u8> {
    let folder = folder();
    let path = folder.path().join("sample");
    let pool = create(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
    pool.close().unwrap();
    std::fs::read(path).unwrap()
}

pub(crate) fn on(bytes: &[u8]) -> Result<Pool> {
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    Pool::on(mapping)
}

pub(crate) fn value(pool: &Pool) -> u64 {
    *pool.read().unwrap().open::<Cell<u64>>("c").unwrap().get().unwrap()
}

pub(crate) fn word(bytes: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(bytes[at as usize..at as usize + 8].try_into().unwrap())
}

pub(crate) fn put(bytes: &mut [u8], at: u64, word: u64) {
    bytes[at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
}

/// Changes a field of both header copies, and makes the checksum right again.
pub(crate) fn forge(bytes: &mut [u8], field: u64, value: u64) {
    for copy in [0, PAGE] {
        put(bytes, copy + field, value);
        let covered = &bytes[copy as usize + 16..copy as usize + 256];
        let checksum = xxhash_rust::xxh3::xxh3_64(covered);
        put(bytes, copy + CHECKSUM, checksum);
    }
}
