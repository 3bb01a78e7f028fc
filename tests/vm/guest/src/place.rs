//! What the guest has, and how it is mapped.

use crate::Result;
use pmem_map::{Durability, Granularity, MapOptions, Mapping};
use std::{
    env,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A filesystem without DAX, on a disk.
pub(crate) const DISK: &str = "/disk";

/// A file on the filesystem that is mounted with `-o dax`.
pub(crate) fn dax_file(name: &str) -> Result<PathBuf> {
    let folder = env::var_os("PMEM_TEST_DIR").ok_or("PMEM_TEST_DIR names no folder on a DAX filesystem")?;
    Ok(Path::new(&folder).join(name))
}

/// The DAX device.
pub(crate) fn dax_device() -> Result<PathBuf> {
    Ok(env::var_os("PMEM_TEST_DAX_DEVICE").ok_or("PMEM_TEST_DAX_DEVICE names no DAX device")?.into())
}

/// Persistent memory as a block device, which nothing is mounted from.
pub(crate) fn block_device() -> Result<PathBuf> {
    let path = env::var_os("PMEM_TEST_BLOCK_DEVICE");
    Ok(path.ok_or("PMEM_TEST_BLOCK_DEVICE names no block device; run this with --fs none or raw")?.into())
}

/// What a block device on it does.
pub(crate) fn promised_of_blocks() -> (Granularity, Durability) {
    (Granularity::Page, promised().1)
}

/// What persistent memory asks for and promises, by what the firmware says of it (`--persistence`).
pub(crate) fn promised() -> (Granularity, Durability) {
    match env::var("VM_PERSISTENCE").as_deref() {
        Ok("cpu") => (Granularity::Byte, Durability::Power),
        Ok("none") => (Granularity::CacheLine, Durability::Claimed),
        _ => (Granularity::CacheLine, Durability::Power),
    }
}

/// Maps a file, which is made with `len` bytes if there is none, or a device.
pub(crate) fn map(path: &Path, len: u64) -> Result<Mapping> {
    // SAFETY: nobody else in the guest uses what is mapped; the lock keeps this program's own children out.
    Ok(unsafe { MapOptions::new().len(len).create(true).open(path) }?)
}

/// Runs this program with a command that does its work and then ends by an abort, with everything open.
pub(crate) fn abandoned(command: &str, path: &Path) -> Result<()> {
    let status = Command::new(env::current_exe()?).arg(command).arg(path).status()?;
    crate::check(status.signal() == Some(6), || format!("{command} ended by {status}, not by its abort"))
}
