//! What real programs found on a mounted volume. Needs root and /dev/fuse; says so and does nothing where they are missing.

use nova_core::{FormatOptions, MountOptions};
use nova_fuse::{Options, Server};
use pmem_map::Mapping;
use std::{
    fs::{self, File},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
};
use tempfile::TempDir;

/// A new volume of 16 MiB, mounted; `None` where nothing can be mounted.
fn mounted() -> Option<(Server, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    Some((mounted_at(folder.path())?, folder))
}

fn mounted_at(folder: &Path) -> Option<Server> {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return None;
    }
    let nova = FormatOptions::new().format(Mapping::memfd(16 << 20).unwrap(), MountOptions::new()).unwrap();
    match Server::mount(nova, folder, &Options::new().threads(2)) {
        Ok(server) => Some(server),
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

/// Who had been unmounted from outside ended with `EINVAL`, or unmounted what somebody had mounted there since.
#[test]
fn a_server_that_somebody_unmounted_ends_well_and_leaves_its_place_to_others() {
    for ends in [
        |server: Server| drop(server.wait().unwrap()),
        |server: Server| drop(server.unmount().unwrap()),
        drop,
    ] {
        let Some((first, folder)) = mounted() else { return };
        let path = std::ffi::CString::new(folder.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: a call of the system with a string that ends with 0.
        assert_eq!(unsafe { libc::umount2(path.as_ptr(), 0) }, 0);
        while first.is_served() {
            std::thread::yield_now();
        }
        let second = mounted_at(folder.path()).unwrap();
        fs::write(folder.path().join("file"), b"x").unwrap();
        ends(first);
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"x");
        second.unmount().unwrap();
        assert!(!folder.path().join("file").exists());
    }
}
