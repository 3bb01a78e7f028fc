//! Files of a mounted volume, mapped in the volume's image by processes that have them open. Needs root and /dev/fuse; says so and does
//! nothing where they are missing.
#![allow(missing_docs)]

mod foreign;
mod mapped;
mod processes;
mod roles;
mod snapshots;

use nova_core::{FormatOptions, MountOptions, Nova};
use nova_fuse::{
    Lease, Options, Server,
    report::{self, Report},
    stats::{self, Snapshot},
};
use pmem_map::{MapOptions, Mapping};
use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A volume that is served by this process.
struct Mounted {
    server: Option<Server>,
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// One test after the other: a process that another one starts has a copy of each descriptor for a moment, and a mount with open files is busy.
static ALONE: Mutex<()> = Mutex::new(());

/// A new volume with checksums and parity, mounted; `None` where nothing can be mounted.
fn mounted(options: &Options) -> Option<Mounted> {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return None;
    }
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mapping = Mapping::memfd(32 << 20).unwrap();
    let nova =
        FormatOptions::new().checksums(true).parity(true).format(mapping, MountOptions::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    match Server::mount(nova, folder.path(), options) {
        Ok(server) => Some(Mounted { server: Some(server), folder, _alone: alone }),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

impl Mounted {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn nova(&self) -> &Nova {
        self.server.as_ref().unwrap().nova()
    }

    /// A new file of so many bytes, each of them `byte`.
    fn file(&self, name: &str, len: usize, byte: u8) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, vec![byte; len]).unwrap();
        path
    }

    fn stats(&self) -> Snapshot {
        Snapshot::parse(&attribute(self.folder.path(), stats::ATTRIBUTE).unwrap()).unwrap()
    }

    /// How many writes were requested.
    fn writes(&self) -> u64 {
        let stats = self.stats();
        stats.latencies().filter(|(name, _)| *name == "write").map(|(_, latency)| latency.count).sum()
    }

    /// Unmounts, and checks all of the volume.
    fn check(mut self) {
        let nova = self.server.take().unwrap().unmount().unwrap();
        let report = nova.fsck().unwrap();
        assert!(report.is_clean(), "{report}");
        nova.unmount().unwrap();
    }
}

fn attribute(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let (path, name) = (CString::new(path.as_os_str().as_bytes())?, CString::new(name)?);
    let mut value = vec![0u8; 1 << 16];
    // SAFETY: a call of the system with two strings that end with 0, and as many bytes as the vector has.
    let len = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(len).map_err(|_| io::Error::last_os_error())?);
    Ok(value)
}

/// What the daemon says of a file.
fn report(path: &Path) -> Report {
    Report::parse(&attribute(path, report::ATTRIBUTE).unwrap()).unwrap()
}

fn leases(path: &Path) -> Vec<Lease> {
    report(path).leases
}

/// Maps a file, which must be mapped in the image.
fn map(path: &Path) -> Mapping {
    // SAFETY: of these tests, each has a file of its own, and what is written beside the mapping is looked at by copies only.
    let mapping = unsafe { MapOptions::new().max_len(1 << 30).open(path) }.unwrap();
    assert!(mapping.medium().to_string().starts_with("file of a mounted volume"), "{}", mapping.medium());
    mapping
}

/// A folder of a memory filesystem, for an image.
fn memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Waits until something is so, which it must be before long: the kernel tells the daemon of a closed file when it gets to it.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
