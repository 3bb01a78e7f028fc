//! Files: found, made, locked, extended; never shrunk.

#![forbid(unsafe_code)]

use crate::{
    Error, Event, Filesystem, Granularity, Lock, PAGE, Result,
    address_space::grants_map_sync,
    block::{self, BlockDevice},
    dax::{self, DaxDevice},
    durability::{self, Facts, Verdict},
    fork::Generation,
    lock,
    system::{self, FilesystemFacts},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A locked file; unlocked when dropped, except by a forked child, whose lock it is not.
#[derive(Debug)]
pub(crate) struct LockedFile {
    file: File,
    path: PathBuf,
    /// What it is, if it is no file at all.
    device: Option<Device>,
    made_in: Generation,
}

/// What is mapped as a file and is none: it has its length for good.
#[derive(Clone, Debug)]
pub(crate) enum Device {
    Dax(DaxDevice),
    Block(BlockDevice),
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        if self.made_in.is_current() {
            // Closing is not enough: a child that another thread is starting has a copy of the descriptor
            // until it calls `exec`, and the next open would fail as if by chance.
            let _ = system::unlock(&self.file);
        }
    }
}

/// A file and how it came to be, in the order in which it was done.
pub(crate) struct Created {
    pub(crate) file: LockedFile,
    pub(crate) history: [Event<'static>; 4],
}

impl LockedFile {
    fn new(file: File, path: &Path) -> LockedFile {
        LockedFile { file, path: path.into(), device: None, made_in: Generation::current() }
    }

    /// The device at `path`.
    pub(crate) fn of_device(file: File, path: &Path, device: Device) -> LockedFile {
        let mut device_file = LockedFile::new(file, path);
        device_file.device = Some(device);
        device_file
    }

    /// The file at `path`, locked; `None` if there is none.
    pub(crate) fn existing(path: &Path, lock: Lock) -> Result<Option<LockedFile>> {
        // A block device that is mounted, or that somebody else opens in this way, is refused then. (Of files this flag asks nothing
        // that is defined.)
        let is_block_device =
            || fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device());
        let alone = if lock == Lock::Exclusive && is_block_device() { libc::O_EXCL } else { 0 };
        let found = LockedFile::opened(path, lock == Lock::Exclusive, alone)?;
        if let Some(found) = &found {
            lock::take(&found.file, lock, path)?;
        }
        Ok(found)
    }

    /// The file at `path`, of which no lock is taken; `None` if there is none.
    pub(crate) fn unlocked(path: &Path, write: bool) -> Result<Option<LockedFile>> {
        LockedFile::opened(path, write, 0)
    }

    fn opened(path: &Path, write: bool, flags: libc::c_int) -> Result<Option<LockedFile>> {
        let opened = OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(libc::O_NONBLOCK | flags) // a named pipe must not make us wait
            .open(path);
        let file = match opened {
            Ok(file) => file,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("open", path)(source)),
        };
        let metadata = file.metadata().map_err(Error::io("inspect", path))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(Error::io("map", path)(io::ErrorKind::IsADirectory.into()));
        }
        let (major, minor) = system::device_numbers(metadata.rdev());
        let sysfs = Path::new("/sys");
        let device = if kind.is_char_device() {
            dax::look(sysfs, major, minor).map(|device| device.map(Device::Dax))
        } else if kind.is_block_device() {
            block::look(&file, sysfs, major, minor).map(|device| Some(Device::Block(device)))
        } else {
            Ok(None)
        };
        let device = device.map_err(Error::io("map", path))?;
        if !kind.is_file() && device.is_none() {
            let what = "neither a regular file nor a block device nor a DAX device";
            return Err(Error::io("map", path)(io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        Ok(Some(match device {
            Some(device) => LockedFile::of_device(file, path, device),
            None => LockedFile::new(file, path),
        }))
    }

    /// A new file of `len` bytes, all with blocks behind them, itself and its name durable; `None` if
    /// somebody else made one meanwhile.
    ///
    /// Where the filesystem can (`O_TMPFILE`), the file gets its name when it is complete, so that neither
    /// a crash nor another process meets an empty one.
    pub(crate) fn create(path: &Path, len: u64) -> Result<Option<Created>> {
        match LockedFile::create_then_name(path, len) {
            Err(Error::Io { source, .. }) if cannot_name_later(&source) => {}
            answer => return answer,
        }
        LockedFile::name_then_fill(path, len)
    }

    fn create_then_name(path: &Path, len: u64) -> Result<Option<Created>> {
        let nameless = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(folder_of(path))
            .map_err(Error::io("create", path))?;
        let file = LockedFile::new(nameless, path);
        lock::take(&file.file, Lock::Exclusive, path)?;
        let to = file.extend(0, len)?;
        file.sync_all()?;
        match system::name_file(&file.file, path) {
            Ok(()) => {}
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(Error::io("name", path)(source)),
        }
        sync_folder(path)?;
        let history =
            [Event::Resize { from: 0, to }, Event::FileSync, Event::NameCreated, Event::DirectorySync];
        Ok(Some(Created { file, history }))
    }

    fn name_then_fill(path: &Path, len: u64) -> Result<Option<Created>> {
        let file = match OpenOptions::new().read(true).write(true).create_new(true).open(path) {
            Ok(file) => LockedFile::new(file, path),
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(Error::io("create", path)(source)),
        };
        let filled = lock::take(&file.file, Lock::Exclusive, path)
            .and_then(|()| file.extend(0, len))
            .and_then(|to| file.sync_all().map(|()| to));
        let to = match filled {
            Ok(to) => to,
            // Somebody found our file before we locked it; it is theirs to judge.
            Err(locked @ Error::Locked { .. }) => return Err(locked),
            Err(error) => {
                // Ours, empty, and locked by us: leave everything as it was.
                let _ = fs::remove_file(path);
                return Err(error);
            }
        };
        sync_folder(path)?;
        let history =
            [Event::NameCreated, Event::Resize { from: 0, to }, Event::FileSync, Event::DirectorySync];
        Ok(Some(Created { file, history }))
    }

    /// A file in memory, of `len` bytes.
    pub(crate) fn memfd(len: u64) -> Result<LockedFile> {
        let file = system::memfd("pmem-map").map_err(Error::io("create", "memfd"))?;
        let file = LockedFile::new(file, Path::new("memfd"));
        file.extend(0, len)?;
        Ok(file)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a device, which has its length for good.
    pub(crate) fn is_device(&self) -> bool {
        self.device.is_some()
    }

    /// Whether it is a DAX device, which has no private views.
    pub(crate) fn is_dax_device(&self) -> bool {
        matches!(self.device, Some(Device::Dax(_)))
    }

    /// Bytes of its pages, which it is mapped and extended in.
    pub(crate) fn unit(&self) -> Result<u64> {
        match &self.device {
            Some(Device::Dax(device)) => Ok(device.align),
            Some(Device::Block(_)) => Ok(PAGE),
            None => Ok(unit_of(&self.filesystem()?)),
        }
    }

    /// Bytes of the pages that a file at `path` will have. A folder that cannot be asked has its say when the file
    /// is made there.
    pub(crate) fn unit_at(path: &Path) -> u64 {
        let folder = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(folder_of(path));
        folder.and_then(|folder| system::filesystem(&folder)).map_or(PAGE, |facts| unit_of(&facts))
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> Result<u64> {
        match &self.device {
            Some(Device::Dax(device)) => Ok(device.len),
            Some(Device::Block(device)) => Ok(device.len),
            None => Ok(self.file.metadata().map_err(Error::io("inspect", &self.path))?.len()),
        }
    }

    /// Extends the file from `from` to `to` bytes or to the next whole page of its filesystem, with blocks
    /// behind all of them: a store to a hole of a full disk would be a signal. Returns the new length. On
    /// failure the length is the old one.
    pub(crate) fn extend(&self, from: u64, to: u64) -> Result<u64> {
        let before = self.len()?;
        let filesystem = self.filesystem()?;
        let unit = unit_of(&filesystem);
        let too_long = || Error::BadLength { len: to, why: "longer than a file can be" };
        let to = to.checked_next_multiple_of(unit).ok_or_else(too_long)?;
        if filesystem.free.is_some_and(|free| free < to - from) {
            // Some filesystems take all that is free before they find that it is not enough, and for that
            // while the disk is full for everybody.
            return Err(Error::io("extend", &self.path)(io::Error::from_raw_os_error(libc::ENOSPC)));
        }
        if to > system::longest_file().map_err(Error::io("extend", &self.path))? {
            // The kernel would send SIGXFSZ, which ends the process.
            return Err(Error::io("extend", &self.path)(io::Error::from_raw_os_error(libc::EFBIG)));
        }
        system::allocate(&self.file, from, to - from).map_err(|source| {
            // A full disk can stop an allocation half way. The bytes added until then are nobody's.
            let _ = self.file.set_len(before);
            Error::io("extend", &self.path)(source)
        })?;
        Ok(to)
    }

    /// Gives blocks to the holes of the file, if it has any. Content and length stay. Where the filesystem cannot
    /// allocate, nothing is done.
    pub(crate) fn fill_holes(&self) -> Result<()> {
        if self.is_device() {
            return Ok(());
        }
        let metadata = self.file.metadata().map_err(Error::io("inspect", &self.path))?;
        let missing = metadata.len().saturating_sub(metadata.blocks() * 512);
        if missing == 0 {
            return Ok(());
        }
        if self.filesystem()?.free.is_some_and(|free| free < missing) {
            // As in `extend`: not even for a while.
            return Err(Error::io("allocate", &self.path)(io::Error::from_raw_os_error(libc::ENOSPC)));
        }
        match system::allocate(&self.file, 0, metadata.len()) {
            Err(cannot) if matches!(cannot.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => Ok(()),
            answer => answer.map_err(Error::io("allocate", &self.path)),
        }
    }

    /// Undoes an [`extend`](Self::extend) that nobody has seen.
    pub(crate) fn take_back(&self, len: u64) {
        let _ = self.file.set_len(len);
    }

    /// Content, length and everything else about the file is durable on return.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))
    }

    /// The name of a file that exists is durable on return: whoever made it may have died before it synced the
    /// folder. `false` where folders cannot be synced: not on this filesystem, or not by whoever may not read them.
    pub(crate) fn sync_name(&self) -> Result<bool> {
        // A link's target has its name elsewhere. Gone already: the path as given is the best there is.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        match sync_folder(&path) {
            Ok(()) => Ok(true),
            Err(Error::Io { source, .. }) if cannot_sync_folder(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Content is durable on return, and the length where it matters for that.
    pub(crate) fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write back", &self.path))
    }

    /// Writes `bytes` at `offset`, on the medium on return, and these alone. (`fdatasync` would write back every page that
    /// stores have changed.) Returns how many syncs that took.
    pub(crate) fn write_through(&self, offset: u64, bytes: &[u8]) -> Result<u64> {
        system::write_through(&self.file, offset, bytes).map_err(Error::io("write to", &self.path))
    }

    /// What is known about its filesystem.
    pub(crate) fn filesystem(&self) -> Result<FilesystemFacts> {
        system::filesystem(&self.file).map_err(Error::io("inspect", &self.path))
    }

    /// What it is on.
    pub(crate) fn kind(&self) -> Result<Filesystem> {
        match &self.device {
            Some(Device::Block(_)) => Ok(Filesystem::BlockDevice),
            _ => Ok(Filesystem::from_magic(self.filesystem()?.magic)),
        }
    }

    /// What makes a store to this file durable, and what a durable store survives.
    pub(crate) fn judge(&self, emulate: Option<Granularity>) -> Result<Verdict> {
        match &self.device {
            Some(Device::Dax(device)) => {
                return Ok(durability::judge_device(device.persistence_domain.as_deref()));
            }
            Some(Device::Block(device)) => return Ok(durability::judge_block(device.durability, emulate)),
            None => {}
        }
        let magic = self.filesystem()?.magic;
        if let Some(granularity) = emulate {
            return Ok(durability::emulated(magic, granularity));
        }
        let map_sync = grants_map_sync(&self.file);
        let domain = if map_sync {
            let device = self.file.metadata().map_err(Error::io("inspect", &self.path))?.dev();
            let (major, minor) = system::device_numbers(device);
            durability::persistence_domain(Path::new("/sys"), major, minor)
        } else {
            None
        };
        Ok(durability::judge(Facts { magic, map_sync, persistence_domain: domain.as_deref() }))
    }
}

/// Bytes of a page of this filesystem's files.
fn unit_of(filesystem: &FilesystemFacts) -> u64 {
    match Filesystem::from_magic(filesystem.magic) {
        Filesystem::Hugetlbfs => filesystem.block,
        _ => PAGE,
    }
}

/// The directory that holds the name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", folder))
}

/// Whether the filesystem does not sync folders, or this folder may be entered but not read.
fn cannot_sync_folder(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EACCES | libc::EPERM | libc::EROFS)
    )
}

/// Whether the filesystem has no `O_TMPFILE`, or `/proc` is not there to name such a file. (A missing
/// directory is reported by the other way of creating.)
fn cannot_name_later(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL | libc::ENOENT))
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        tempfile::tempdir_in(parent).unwrap()
    }

    #[test]
    fn both_ways_of_creating_leave_a_whole_file_and_tell_what_they_did() {
        let folder = folder();
        for (name, create) in [
            ("later", LockedFile::create_then_name as fn(&Path, u64) -> Result<Option<Created>>),
            ("first", LockedFile::name_then_fill),
        ] {
            let path = folder.path().join(name);
            let created = create(&path, 3 * PAGE).unwrap().unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(metadata.len(), 3 * PAGE);
            assert!(metadata.blocks() * 512 >= 3 * PAGE, "no holes");
            let position = |wanted: fn(&Event<'_>) -> bool| created.history.iter().position(wanted).unwrap();
            let resized = position(|e| matches!(e, Event::Resize { from: 0, to: 12288 }));
            let synced = position(|e| matches!(e, Event::FileSync));
            let named = position(|e| matches!(e, Event::NameCreated));
            let folder_synced = position(|e| matches!(e, Event::DirectorySync));
            assert!(resized < synced && named < folder_synced && synced < folder_synced);
            assert!(matches!(LockedFile::existing(&path, Lock::Exclusive), Err(Error::Locked { .. })));
            assert!(create(&path, PAGE).unwrap().is_none(), "somebody was faster");
            drop(created);
            assert_eq!(
                LockedFile::existing(&path, Lock::Exclusive).unwrap().unwrap().len().unwrap(),
                3 * PAGE
            );
        }
    }

    #[test]
    fn a_creation_that_finds_no_room_leaves_no_file() {
        let folder = folder();
        for create in [LockedFile::create_then_name, LockedFile::name_then_fill] {
            let path = folder.path().join("too large");
            assert!(matches!(create(&path, 1 << 60), Err(Error::Io { action: "extend", .. })));
            assert!(!path.exists());
        }
    }

    #[test]
    fn an_extension_that_finds_no_room_leaves_the_length() {
        let folder = folder();
        let path = folder.path().join("file");
        let file = LockedFile::create(&path, PAGE).unwrap().unwrap().file;
        assert!(matches!(file.extend(PAGE, 1 << 60), Err(Error::Io { action: "extend", .. })));
        assert_eq!(file.len().unwrap(), PAGE);
    }
}
