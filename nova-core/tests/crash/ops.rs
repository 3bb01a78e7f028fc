//! Operations of a workload, and what they do to a volume.

#![allow(unsafe_code)]

use nova_core::{
    Access, Allocate, AttributeMode, Code, Credentials, Error, File, Nova, Quota, Rename, Result, SetAttr,
    Time,
};

pub(crate) const ROOT: &Credentials = &Credentials::ROOT;
type Path = &'static str;

/// One call, or a few that are one thing to a user. Paths are absolute; content follows from a byte.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Create(Path),
    Mkdir(Path),
    Symlink(Path, usize),
    Fifo(Path),
    Link(Path, Path),
    Unlink(Path),
    Rmdir(Path),
    Rename(Path, Path, Rename),
    /// Path, offset, length, what.
    Write(Path, u64, usize, u8),
    Append(Path, usize, u8),
    Truncate(Path, u64),
    Allocate(Path, u64, u64, Allocate),
    /// The second becomes the first, whole.
    Clone(Path, Path),
    /// Blocks of the first: offset, where in the second, length.
    CloneRange(Path, u64, Path, u64, u64),
    Mode(Path, u32),
    Owner(Path, u32),
    Times(Path, i64),
    Flags(Path, u32),
    Attribute(Path, Path, usize, u8),
    NoAttribute(Path, Path),
    /// Keeps the file open.
    Open(Path),
    /// A file without a name, with so many bytes, which is kept open.
    Tmpfile(usize),
    /// Gives the file that was opened last a name.
    LinkOpen(Path),
    /// Writes to the file that was opened last.
    WriteOpen(u64, usize, u8),
    TruncateOpen(u64),
    CloseAll,
    Quota(u32, u64),
    Snapshot(Path),
    /// Maps the file, beside others; until it is closed, writing goes in place.
    Map(Path),
    DeleteSnapshot(Path),
    /// One step of cleaning up after deleted snapshots.
    Clean,
    /// Nobody has a file open.
    Rollback(Path),
    Sync,
    /// Unmounts, and mounts again.
    Remount,
}

/// A path, or a name, that is made up.
pub(crate) fn leaked(text: String) -> Path {
    text.leak()
}

/// `len` bytes, of which each says where it is.
pub(crate) fn content(len: usize, what: u8) -> Vec<u8> {
    (0..len).map(|at| what ^ (at as u8).wrapping_mul(7) ^ (at >> 8) as u8).collect()
}

/// A volume, and the files that a workload has open.
pub(crate) struct Life {
    /// `None` only inside [`perform`](Life::perform).
    nova: Option<Nova>,
    files: Vec<File>,
    mappings: Vec<pmem_map::Mapping>,
    options: nova_core::MountOptions,
}

impl Life {
    pub(crate) fn new(nova: Nova, options: nova_core::MountOptions) -> Life {
        Life { nova: Some(nova), files: Vec::new(), mappings: Vec::new(), options }
    }

    pub(crate) fn nova(&self) -> &Nova {
        self.nova.as_ref().expect("there outside of perform")
    }

    pub(crate) fn unmount(mut self) -> Result<pmem_map::Mapping> {
        self.mappings.clear();
        self.files.clear();
        self.nova.take().expect("there outside of perform").unmount()
    }

    /// The power fails: nothing is closed.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }

    /// What POSIX refuses has no effect, and is no error of a workload.
    pub(crate) fn perform(&mut self, op: &Op) -> Result<()> {
        match self.attempt(op) {
            Err(error) if error.code().is_some_and(|code| code != Code::NoSpace) => Ok(()),
            done => done,
        }
    }

    fn attempt(&mut self, op: &Op) -> Result<()> {
        let nova = self.nova();
        let set = |path: Path, set: SetAttr| nova.set_metadata(path, &set).map(drop);
        match *op {
            Op::Create(path) => nova.create_new(path).map(drop),
            Op::Mkdir(path) => nova.create_dir(path),
            Op::Symlink(path, len) => nova.symlink_path("t".repeat(len), path),
            Op::Fifo(path) => {
                let (dir, name) = parent(nova, path)?;
                nova.mknod(dir, name, libc::S_IFIFO | 0o600, 0, ROOT).map(drop)
            }
            Op::Link(old, new) => nova.hard_link(old, new),
            Op::Unlink(path) => nova.remove_file(path),
            Op::Rmdir(path) => nova.remove_dir(path),
            Op::Rename(from, to, how) => {
                let ((dir, name), (new_dir, new_name)) = (parent(nova, from)?, parent(nova, to)?);
                nova.rename(dir, name, new_dir, new_name, how, ROOT)
            }
            Op::Write(path, at, len, what) => nova.open(path)?.write_at(at, &content(len, what)),
            Op::Append(path, len, what) => nova.open(path)?.append(&content(len, what)).map(drop),
            Op::Truncate(path, size) => nova.open(path)?.set_len(size),
            Op::Allocate(path, at, len, how) => nova.open(path)?.allocate(at, len, how),
            Op::Clone(from, to) => {
                let from = nova.open(from)?;
                nova.open(to)?.clone_range(&from, 0, 0, from.len()?)
            }
            Op::CloneRange(from, at, to, to_at, len) => {
                nova.open(to)?.clone_range(&nova.open(from)?, at, to_at, len)
            }
            Op::Mode(path, mode) => set(path, SetAttr { mode: Some(mode), ..SetAttr::default() }),
            Op::Owner(path, uid) => {
                set(path, SetAttr { uid: Some(uid), gid: Some(uid), ..SetAttr::default() })
            }
            Op::Times(path, at) => {
                let (accessed, modified) = (Some(Time::At(at)), Some(Time::At(at + 1)));
                set(path, SetAttr { accessed, modified, ..SetAttr::default() })
            }
            Op::Flags(path, flags) => set(path, SetAttr { flags: Some(flags), ..SetAttr::default() }),
            Op::Attribute(path, name, len, what) => {
                let ino = nova.metadata(path)?.ino;
                nova.set_attribute(ino, name.as_bytes(), &content(len, what), AttributeMode::Set, ROOT)
            }
            Op::NoAttribute(path, name) => {
                let ino = nova.metadata(path)?.ino;
                nova.remove_attribute(ino, name.as_bytes(), ROOT)
            }
            Op::Open(path) => {
                let ino = nova.metadata(path)?.ino;
                let file = nova.open_inode(ino, Access::READ, ROOT)?;
                self.files.push(file);
                Ok(())
            }
            Op::Tmpfile(len) => {
                let file = nova.tmpfile(nova_core::ROOT, 0o600, ROOT)?;
                if len > 0 {
                    file.write_at(0, &content(len, 9))?;
                }
                self.files.push(file);
                Ok(())
            }
            Op::LinkOpen(path) => {
                let (dir, name) = parent(nova, path)?;
                match self.files.last() {
                    Some(file) => nova.link(file.ino(), dir, name, ROOT).map(drop),
                    None => Err(Error::Posix(Code::NotFound)),
                }
            }
            Op::WriteOpen(at, len, what) => match self.files.last() {
                Some(file) => file.write_at(at, &content(len, what)),
                None => Ok(()),
            },
            Op::TruncateOpen(size) => match self.files.last() {
                Some(file) => file.set_len(size),
                None => Ok(()),
            },
            Op::CloseAll => {
                self.mappings.clear();
                self.files.clear();
                Ok(())
            }
            Op::Quota(uid, blocks) => nova.set_quota(Quota::User(uid), blocks, 0),
            Op::Snapshot(name) => nova.create_snapshot(name).map(drop),
            Op::DeleteSnapshot(name) => nova.delete_snapshot(name),
            Op::Clean => nova.clean().map(drop),
            Op::Map(path) => {
                let file = nova.open(path)?;
                // SAFETY: nobody makes references to its bytes.
                self.mappings.push(unsafe { file.map_shared() }?);
                Ok(())
            }
            Op::Rollback(name) => {
                nova.snapshot(name)?;
                self.mappings.clear();
                self.files.clear();
                let nova = self.nova.take().expect("there outside of perform");
                self.nova = Some(nova.rollback(name)?);
                Ok(())
            }
            Op::Sync => nova.sync(),
            Op::Remount => {
                self.mappings.clear();
                self.files.clear();
                let nova = self.nova.take().expect("there outside of perform");
                let mapping = nova.unmount()?;
                self.nova = Some(self.options.mount(mapping)?);
                Ok(())
            }
        }
    }
}

/// The directory that a path's last name is in, and the name.
fn parent(nova: &Nova, path: Path) -> Result<(u64, &'static [u8])> {
    let (dir, name) = path.rsplit_once('/').expect("absolute");
    let dir = if dir.is_empty() { "/" } else { dir };
    Ok((nova.metadata(dir)?.ino, name.as_bytes()))
}
