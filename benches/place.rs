//! Where the bytes of a benchmark are: emulated persistent memory on `/dev/shm` if there is one.
//!
//! All memory is prefaulted, for a page fault costs more than a transaction. `BENCH_DIR` names another folder. Where that is on
//! persistent memory (a DAX file system, whose files can be mapped with `MAP_SYNC`) nothing is emulated.

use memmap2::MmapMut;
use pmem_map::{Granularity, MapOptions, Mapping, Medium, PAGE};
use std::{
    env, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};
use tempfile::TempDir;

/// The folder for benchmark files: `BENCH_DIR`, or `/dev/shm`, or the system's temporary folder.
pub fn folder() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    let default = || if shm.is_dir() { shm } else { env::temp_dir() };
    env::var_os("BENCH_DIR").map_or_else(default, PathBuf::from)
}

fn scratch() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("pmem-bench-").tempdir_in(folder())
}

/// Whether a file in the folder is persistent memory by itself. Where nothing can be mapped at all, it is not; who maps will be told.
fn is_persistent() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| {
        let Ok(folder) = scratch() else { return false };
        let options = MapOptions::new().len(PAGE).create(true);
        // SAFETY: as in `mapping`.
        let mapping = unsafe { options.open(folder.path().join("bytes")) };
        mapping.is_ok_and(|mapping| matches!(mapping.medium(), Medium::DaxFile(_)))
    })
}

/// A prefaulted mapping of a file that goes away with it: of persistent memory, or as if it were some.
pub fn mapping(len: u64) -> Result<Mapping, Box<dyn std::error::Error>> {
    let folder = scratch()?;
    let options = MapOptions::new().len(len).create(true).emulate_pmem(!is_persistent());
    // SAFETY: the file is new, in a folder that only this process knows, and about to lose its name: nobody else
    // writes to it or truncates it.
    let mut mapping = unsafe { options.open(folder.path().join("bytes")) }?;
    touch(mapping.as_mut_slice());
    Ok(mapping)
}

/// A mapping of a file on the disk whose folder is given, which goes away with it: durable by `msync`, in pages.
///
/// # Errors
///
/// Among others, the folder is not on a disk: what is there needs no `msync`, or is gone with the power whatever is done.
pub fn disk_mapping(folder: &Path, len: u64) -> Result<Mapping, Box<dyn std::error::Error + Send + Sync>> {
    let scratch = tempfile::Builder::new().prefix("pmem-bench-").tempdir_in(folder)?;
    let options = MapOptions::new().len(len).create(true);
    // SAFETY: as in `mapping`.
    let mut mapping = unsafe { options.open(scratch.path().join("bytes")) }?;
    if mapping.granularity() != Granularity::Page {
        return Err(format!("{} is on no disk, but on {}", folder.display(), mapping.medium()).into());
    }
    touch(mapping.as_mut_slice());
    Ok(mapping)
}

/// As [`mapping`], by `memmap2` alone: what the raw baselines use.
pub fn raw_mapping(len: u64) -> io::Result<MmapMut> {
    let file = tempfile::tempfile_in(folder())?;
    file.set_len(len)?;
    // SAFETY: the file has no name: nobody else writes to it or truncates it.
    let mut map = unsafe { MmapMut::map_mut(&file) }?;
    touch(&mut map);
    // On persistent memory the blocks that this made are durable then, and flushes of lines are enough. On tmpfs, nothing.
    file.sync_all()?;
    Ok(map)
}

/// Stores to each page once.
fn touch(bytes: &mut [u8]) {
    for page in bytes.chunks_mut(PAGE as usize) {
        page[0] = std::hint::black_box(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_medium_is_called_emulated_exactly_where_it_is() {
        let mapping = mapping(PAGE).unwrap();
        assert_eq!(mapping.granularity(), Granularity::CacheLine);
        match mapping.medium() {
            Medium::DaxFile(_) => assert!(is_persistent()),
            Medium::EmulatedPmem(_) => assert!(!is_persistent()),
            other => panic!("{other}"),
        }
    }
}
