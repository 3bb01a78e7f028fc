//! Who may use a file: one that writes, or any number that read.
//!
//! No reader beside a writer: a view gives out `&[u8]`, and bytes that somebody stores meanwhile must not change under
//! that. (Readers of a pool beside its writer are threads of one process, which agree on when changes are applied.)
//!
//! The lock is an open-file-description lock (`F_OFD_SETLK`, fcntl(2)) on the whole file (but its last possible byte, which is
//! locked by who has mapped files of the volume inside: see [`lease`](crate::lease)): unlike the older
//! kind it belongs to the descriptor, so that a second mapping in the *same* process is refused too, and
//! closing an unrelated descriptor of the file does not drop it. It is dropped with the mapping; if the process
//! ends otherwise, the kernel drops it with the descriptor's last copy.
//!
//! `fork()` copies descriptors. When a process dies without dropping its mapping, a child that it forked, and
//! that did not `exec` (the descriptor is close-on-exec), keeps the lock until it ends too. The lock is
//! advisory: who does not ask is not stopped.

#![forbid(unsafe_code)]

use crate::{Error, Result, system};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Which lock a mapping holds on its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lock {
    /// No other mapping, here or in another process. The mapping reads and writes the file.
    #[default]
    Exclusive,
    /// Others may share the file, nobody may write it. The file is opened read-only and mapped
    /// copy-on-write: stores are seen by this mapping alone and end with it, the file stays as it is.
    Shared,
}

/// Takes the lock, or says who holds it. Never waits.
pub(crate) fn take(file: &File, lock: Lock, path: &Path) -> Result<()> {
    match system::lock(file, lock == Lock::Exclusive) {
        // Whoever served the volume in this file is gone, and has left a program that stores to it.
        Ok(()) if system::is_leased(file).unwrap_or(false) => {
            let pid = holder(file);
            let _ = system::unlock(file);
            Err(Error::Locked { path: path.into(), pid })
        }
        Ok(()) => Ok(()),
        Err(busy) if matches!(busy.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Err(Error::Locked { path: path.into(), pid: holder(file) })
        }
        Err(source) => Err(Error::io("lock", path)(source)),
    }
}

/// The process that holds a lock on this file.
///
/// `F_OFD_GETLK` answers -1, and so does `/proc/locks`: such a lock belongs to no process. But
/// `/proc/PID/fdinfo/N` lists the locks of descriptor N. Of several holders the first is named; of
/// processes that may not be looked into, none.
fn holder(file: &File) -> Option<u32> {
    let wanted = file.metadata().ok()?;
    let is_locked_here = |descriptor: &fs::DirEntry, process: &Path| {
        let number = descriptor.file_name();
        fs::read_to_string(descriptor.path()).is_ok_and(|info| info.contains("OFDLCK"))
            && fs::metadata(process.join("fd").join(number))
                .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    let holds = |process: &Path| -> io::Result<bool> {
        let mut descriptors = fs::read_dir(process.join("fdinfo"))?.flatten();
        Ok(descriptors.any(|descriptor| is_locked_here(&descriptor, process)))
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        holds(&process.path()).unwrap_or(false).then_some(pid)
    })
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::file::LockedFile;
    use std::path::PathBuf;

    /// The daemon that has the image is not in the way of who maps it by a lease; who comes after the daemon is kept out.
    #[test]
    fn an_image_that_somebody_has_mapped_by_a_lease_is_kept_by_its_daemon_and_opened_by_nobody_else() {
        let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::tempdir_in(parent).unwrap();
        let path = folder.path().join("image");
        let daemon = LockedFile::create(&path, 4096).unwrap().unwrap().file;
        let holder = LockedFile::unlocked(&path, true).unwrap().unwrap();
        assert!(!crate::lease::is_held(daemon.file()).unwrap());
        system::lock_leased(holder.file()).unwrap();
        assert!(crate::lease::is_held(daemon.file()).unwrap());
        drop(daemon);
        for lock in [Lock::Exclusive, Lock::Shared] {
            let refused = LockedFile::existing(&path, lock);
            let own = std::process::id();
            assert!(matches!(refused, Err(Error::Locked { pid: Some(pid), .. }) if pid == own));
        }
        drop(holder);
        LockedFile::existing(&path, Lock::Exclusive).unwrap().unwrap();
    }
}
