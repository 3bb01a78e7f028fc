//! The same operations over a volume in this process, and by system call over a folder.

use nova_core::{Access, Credentials, File, FormatOptions, MountOptions, Nova, Rename};
use pmem_map::{Counters, Mapping};
use std::{
    env,
    ffi::{CStr, CString},
    fs,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const ROOT: &Credentials = &Credentials::ROOT;

/// The folder on the disk: `PMEM_TEST_DIR`, or the temporary folder.
pub fn disk() -> PathBuf {
    env::var_os("PMEM_TEST_DIR").map_or_else(env::temp_dir, PathBuf::from)
}

/// A name, prepared for who wants it with a zero at its end.
pub struct Name(CString);

impl Name {
    /// From text without a zero.
    pub fn new(name: String) -> Name {
        Name(CString::new(name).expect("a name without a zero"))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// One directory, and in it one file to append to and one to read and write. Whatever fails ends the benchmark.
pub trait System: Send + Sync {
    /// Makes an empty file.
    fn create(&self, name: &Name);
    /// Makes a directory.
    fn mkdir(&self, name: &Name);
    /// Removes an empty directory.
    fn rmdir(&self, name: &Name);
    /// Gives a file another name.
    fn rename(&self, from: &Name, to: &Name);
    /// Removes a file.
    fn unlink(&self, name: &Name);
    /// Bytes of the file of that name.
    fn stat(&self, name: &Name) -> u64;
    /// How many names there are, of those that were created here.
    fn readdir(&self) -> usize;
    /// To the file that is appended to.
    fn append(&self, bytes: &[u8]);
    /// Bytes of the file that is appended to.
    fn appended(&self) -> u64;
    /// Shortens that file to nothing.
    fn empty(&self);
    /// To the file that is read and written.
    fn write(&self, offset: u64, bytes: &[u8]);
    /// From that file, which has so many bytes.
    fn read(&self, offset: u64, into: &mut [u8]);
    /// Lines and drains, where somebody counts them.
    fn counters(&self) -> Option<Counters>;
}

/// A directory of a volume.
pub struct Volume {
    nova: Nova,
    directory: u64,
    log: File,
    data: File,
}

/// A new volume.
pub fn volume(mapping: Mapping) -> Nova {
    FormatOptions::new().format(mapping, MountOptions::new()).expect("a volume")
}

impl Volume {
    /// A new directory of the volume; its file to read and write has `len` bytes.
    pub fn new(nova: &Nova, name: &str, len: u64) -> Volume {
        let directory = nova.mkdir(nova_core::ROOT, name.as_bytes(), 0o755, ROOT).expect("a directory").ino;
        // Beside the directory that is measured: its names are counted.
        let file = |kind: &str| {
            let name = format!("{name}.{kind}");
            let made = nova.create(nova_core::ROOT, name.as_bytes(), 0o644, ROOT).expect("a file");
            nova.open_inode(made.ino, Access::READ_WRITE, ROOT).expect("an open file")
        };
        let (log, data) = (file("log"), file("data"));
        let part = vec![1; 1 << 20];
        (0..len).step_by(part.len()).for_each(|at| data.write_at(at, &part).expect("space"));
        Volume { nova: nova.clone(), directory, log, data }
    }
}

impl System for Volume {
    fn create(&self, name: &Name) {
        self.nova.create(self.directory, name.bytes(), 0o644, ROOT).expect("created");
    }
    fn mkdir(&self, name: &Name) {
        self.nova.mkdir(self.directory, name.bytes(), 0o755, ROOT).expect("made");
    }
    fn rmdir(&self, name: &Name) {
        self.nova.rmdir(self.directory, name.bytes(), ROOT).expect("removed");
    }
    fn rename(&self, from: &Name, to: &Name) {
        let directory = self.directory;
        self.nova
            .rename(directory, from.bytes(), directory, to.bytes(), Rename::Replace, ROOT)
            .expect("renamed");
    }
    fn unlink(&self, name: &Name) {
        self.nova.unlink(self.directory, name.bytes(), ROOT).expect("unlinked");
    }
    fn stat(&self, name: &Name) -> u64 {
        self.nova.lookup(self.directory, name.bytes(), ROOT).expect("found").size
    }
    fn readdir(&self) -> usize {
        self.nova.readdir(self.directory, 2, usize::MAX, ROOT).expect("read").len()
    }
    fn append(&self, bytes: &[u8]) {
        self.log.append(bytes).expect("appended");
    }
    fn appended(&self) -> u64 {
        self.log.len().expect("a length")
    }
    fn empty(&self) {
        self.log.set_len(0).expect("emptied");
    }
    fn write(&self, offset: u64, bytes: &[u8]) {
        self.data.write_at(offset, bytes).expect("written");
    }
    fn read(&self, offset: u64, into: &mut [u8]) {
        assert_eq!(self.data.read_at(offset, into).expect("read"), into.len());
    }
    fn counters(&self) -> Option<Counters> {
        Some(self.nova.counters())
    }
}

/// A folder of the system's, by system call. Nothing of it is durable when a call returns, unless it was made
/// [`durable`](Calls::durable).
pub struct Calls {
    durable: bool,
    names: fs::File,
    path: PathBuf,
    log: fs::File,
    data: fs::File,
    _folder: TempDir,
}

impl Calls {
    /// A new folder in `place`; its file to read and write has `len` bytes.
    pub fn new(place: &Path, len: u64) -> Calls {
        let folder = tempfile::Builder::new().prefix("nova-bench-").tempdir_in(place).expect("a folder");
        let path = folder.path().join("names");
        fs::create_dir(&path).expect("a folder");
        let open = |name: &str| {
            let mut options = fs::OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true);
            options.open(folder.path().join(name)).expect("a file")
        };
        let (log, data) = (open("log"), open("data"));
        data.write_all_at(&vec![1; len as usize], 0).expect("space");
        let names = fs::File::open(&path).expect("a folder");
        Calls { durable: false, names, path, log, data, _folder: folder }
    }
}

/// `0` is what a call returns that succeeded.
fn succeeded(result: i32) {
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

impl Calls {
    /// As [`new`](Calls::new); creating, renaming, appending and writing wait until it is durable.
    pub fn durable(place: &Path, len: u64) -> Calls {
        Calls { durable: true, ..Calls::new(place, len) }
    }

    fn sync_names(&self) {
        if self.durable {
            self.names.sync_all().expect("a folder that can be synced");
        }
    }

    fn sync(&self, file: &fs::File) {
        if self.durable {
            file.sync_data().expect("a file that can be synced");
        }
    }

    fn at(&self) -> i32 {
        self.names.as_raw_fd()
    }
}

fn text(name: &Name) -> *const libc::c_char {
    CStr::as_ptr(&name.0)
}

impl System for Calls {
    fn create(&self, name: &Name) {
        // SAFETY: an open folder, and a name that ends with a zero.
        succeeded(unsafe { libc::mknodat(self.at(), text(name), libc::S_IFREG | 0o644, 0) });
        self.sync_names();
    }
    fn mkdir(&self, name: &Name) {
        // SAFETY: as in `create`.
        succeeded(unsafe { libc::mkdirat(self.at(), text(name), 0o755) });
    }
    fn rmdir(&self, name: &Name) {
        // SAFETY: as in `create`.
        succeeded(unsafe { libc::unlinkat(self.at(), text(name), libc::AT_REMOVEDIR) });
    }
    fn rename(&self, from: &Name, to: &Name) {
        // SAFETY: as in `create`.
        succeeded(unsafe { libc::renameat(self.at(), text(from), self.at(), text(to)) });
        self.sync_names();
    }
    fn unlink(&self, name: &Name) {
        // SAFETY: as in `create`.
        succeeded(unsafe { libc::unlinkat(self.at(), text(name), 0) });
    }
    fn stat(&self, name: &Name) -> u64 {
        // SAFETY: as in `create`; a `stat` is plain numbers, and is written by the call.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            succeeded(libc::fstatat(self.at(), text(name), &mut stat, 0));
            stat.st_size as u64
        }
    }
    fn readdir(&self) -> usize {
        fs::read_dir(&self.path).expect("read").count()
    }
    fn append(&self, bytes: &[u8]) {
        use std::io::Write;
        (&self.log).write_all(bytes).expect("appended");
        self.sync(&self.log);
    }
    fn appended(&self) -> u64 {
        self.log.metadata().expect("a length").len()
    }
    fn empty(&self) {
        use std::io::Seek;
        self.log.set_len(0).expect("emptied");
        (&self.log).rewind().expect("a place");
    }
    fn write(&self, offset: u64, bytes: &[u8]) {
        self.data.write_all_at(bytes, offset).expect("written");
        self.sync(&self.data);
    }
    fn read(&self, offset: u64, into: &mut [u8]) {
        self.data.read_exact_at(into, offset).expect("read");
    }
    fn counters(&self) -> Option<Counters> {
        None
    }
}
