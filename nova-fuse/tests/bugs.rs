//! What real programs found on a mounted volume. Needs root and /dev/fuse; says so and does nothing where they are missing.

use nova_core::{FormatOptions, MountOptions};
use nova_fuse::{Options, Server};
use pmem_map::Mapping;
use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::Path,
};
use tempfile::TempDir;

/// A new volume of 16 MiB, mounted; `None` where nothing can be mounted.
fn mounted() -> Option<(Server, TempDir)> {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return None;
    }
    let nova = FormatOptions::new().format(Mapping::memfd(16 << 20).unwrap(), MountOptions::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    match Server::mount(nova, folder.path(), &Options::new().threads(2)) {
        Ok(server) => Some((server, folder)),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// The answer to `FS_IOC_GETFLAGS` was longer than the kernel has room for, so that `lsattr` and stress-ng's `chattr` got `EIO`.
#[test]
fn flags_are_read_and_set_through_the_mount() {
    let Some((_server, folder)) = mounted() else { return };
    let path = folder.path().join("file");
    fs::write(&path, b"x").unwrap();
    let file = File::open(&path).unwrap();
    let flags = || {
        let mut flags: libc::c_long = 0;
        // SAFETY: a call of the system with a descriptor that is open, and room for the answer.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &mut flags) };
        (done == 0).then_some(flags)
    };
    let set = |flags: libc::c_long| {
        // SAFETY: as above.
        unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &flags) == 0 }
    };
    const IMMUTABLE: libc::c_long = 0x10;
    const NO_DUMP: libc::c_long = 0x40;
    assert_eq!(flags(), Some(0));
    assert!(set(NO_DUMP));
    assert_eq!(flags(), Some(NO_DUMP));
    assert!(set(IMMUTABLE));
    assert_eq!(flags(), Some(IMMUTABLE));
    assert!(fs::write(&path, b"y").is_err());
    assert!(set(0));
    fs::write(&path, b"y").unwrap();
}
