//! Persistent memory as a block device (`/dev/pmem0`, without a filesystem: `tests/vm/run --fs none`, or `--fs raw`).
//!
//! It is the same memory, but the kernel lends its pages' cache and not the memory: `MAP_SYNC` is refused, stores are durable when their
//! pages are written back, and a power cut loses what was not (`cut control-block`).

use crate::{Result, check, detect, place, volume};
use pmem_map::{Filesystem, Medium};
use std::{fs::File, io, os::fd::AsRawFd, path::Path, ptr};

pub(crate) fn run() -> Result<()> {
    let device = place::block_device()?;
    map_sync_is_refused(&device)?;
    let (granularity, durability) = place::promised_of_blocks();
    let mut mapping = place::map(&device, 0)?;
    detect::expect(
        &mapping,
        |medium| medium == Medium::File(Filesystem::BlockDevice),
        granularity,
        durability,
    )?;
    let before = mapping.counters();
    mapping.write(4096, &[7; 640])?;
    mapping.persist(4096..4736)?;
    let syncs = mapping.counters().syncs - before.syncs;
    check(syncs == 1, || format!("640 bytes were written back by {syncs} calls"))?;
    drop(mapping);
    volume::on(&device, (granularity, durability))
}

/// As it is of a disk. (Of a file on ext4 or XFS with DAX, on the same memory, it is granted.)
fn map_sync_is_refused(device: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(device)?;
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC);
    // SAFETY: at an address of the kernel's choice; if it is granted, nobody uses it, and the program ends.
    let at = unsafe { libc::mmap(ptr::null_mut(), 4096, access, flags, file.as_raw_fd(), 0) };
    let error = io::Error::last_os_error();
    check(at == libc::MAP_FAILED && error.raw_os_error() == Some(libc::EOPNOTSUPP), || {
        format!("MAP_SYNC of {}: {at:?}, {error}", device.display())
    })?;
    println!("ok block    {}: MAP_SYNC is refused", device.display());
    Ok(())
}
