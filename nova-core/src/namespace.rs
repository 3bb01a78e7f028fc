//! Names: look-up, creation, links, removal, reading directories. Each change is one record.
//!
//! Locks are taken downwards: a directory's before that of what it names. (Renames: see `rename.rs`.)

use crate::{
    Code, Credentials, DirEntry, Error, File, Kind, Nova, Result, Stat,
    alloc::Purpose,
    attributes::target_key,
    commit::Batch,
    format::{Identity, LINE, MAX_LINKS, ROOT, Status, flag},
    inode::{Body, Inode, State},
    log::{self, Append, check_name},
    make::New,
    names::{Dentry, Names},
    permission::{EXECUTE, READ, WRITE},
    volume::{Freed, Volume},
};
use bytemuck::Zeroable;
use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use std::sync::atomic::Ordering::Relaxed;

/// The root directory of a new volume.
pub(crate) fn root(now: i64) -> (Identity, Status) {
    let identity = Identity {
        generation: 1,
        ino: ROOT,
        mode: libc::S_IFDIR | 0o755,
        created: now,
        parent: ROOT,
        ..Identity::zeroed()
    };
    let status = Status { links: 2, accessed: now, modified: now, changed: now, ..Status::zeroed() };
    (identity, status)
}

impl Volume {
    /// The state of a file that exists, with its log read.
    pub(crate) fn read_state<'i>(&self, inode: &'i Inode) -> Result<RwLockReadGuard<'i, State>> {
        let state = inode.state.read();
        state.alive()?;
        if state.is_read() {
            return Ok(state);
        }
        drop(state);
        Ok(RwLockWriteGuard::downgrade(self.write_state(inode)?))
    }

    /// The same, to change it.
    pub(crate) fn write_state<'i>(&self, inode: &'i Inode) -> Result<RwLockWriteGuard<'i, State>> {
        let mut state = inode.state.write();
        state.alive()?;
        self.read_log(inode, &mut state)?;
        Ok(state)
    }

    /// A directory, to change its names: by `who`, who may.
    pub(crate) fn write_directory<'i>(
        &self,
        inode: &'i Inode,
        who: &Credentials,
    ) -> Result<RwLockWriteGuard<'i, State>> {
        let state = self.write_state(inode)?;
        state.names()?;
        state.permit(who, WRITE | EXECUTE)?;
        if state.has(flag::IMMUTABLE) {
            return Err(Code::NotPermitted.into());
        }
        Ok(state)
    }

    /// Puts the removal of a name into a batch. (`state` is the directory's, and still has it.)
    pub(crate) fn put_removal(&self, batch: &mut Batch, dentry: Dentry) -> Result<()> {
        batch.line(dentry.at, &log::removed(&self.media, dentry.at, batch.epoch())?);
        Ok(())
    }

    /// Puts a file that ends into a batch: its slot is free. Blocks that are nobody's then.
    pub(crate) fn put_end(&self, batch: &mut Batch, inode: &Inode, state: &mut State) -> Result<Freed> {
        self.read_log(inode, state)?;
        let mut freed = Freed { pages: state.pages.born(), ..Freed::default() };
        if let Body::File(extents) = &state.body {
            freed.data.extend(extents.iter().map(|(_, mapped)| (mapped.run(), mapped.birth)));
        }
        let identity =
            Identity { generation: state.identity.generation, ino: inode.ino, ..Identity::zeroed() };
        batch.changes_inode(inode.at);
        batch.line(inode.at, bytemuck::bytes_of(&self.media.sealed(inode.at, identity)));
        let at = inode.at + LINE;
        batch.line(at, bytemuck::bytes_of(&self.media.sealed(at, Status::zeroed())));
        Ok(freed)
    }

    /// The record that ends a file is committed.
    pub(crate) fn ended(&self, inode: &Inode, state: &mut State) {
        let _ = self.quotas.charge(&state.identity, -(state.status.blocks as i64), -1);
        state.gone = true;
        state.body = Body::Other;
        self.forget(inode.ino);
        self.table.give_back(inode.ino);
    }

    /// Puts a new name, and what becomes of its directory, into a batch.
    #[expect(clippy::too_many_arguments, reason = "a directory, a name, and what it stands for")]
    pub(crate) fn put_name<'v>(
        &'v self,
        dir_inode: &Inode,
        dir: &State,
        batch: &mut Batch,
        name: &[u8],
        ino: u64,
        kind: Kind,
        now: i64,
    ) -> Result<Linked<'v>> {
        let (mut identity, mut status) = (dir.identity, dir.status);
        let mut log =
            Append::new(self, dir_inode.ino, identity.log, status.tail, &dir.pages, Purpose::Ordinary);
        let cookie = dir.names()?.next_cookie();
        let file_type = (kind.mode_bits() >> 12) as u8;
        let (at, page) = log.entry(batch, log::name(name, ino, cookie, file_type, batch.epoch()).bytes())?;
        log.finish(batch, &dir.pages);
        let freed = log.freed(&dir.pages);
        let moved = log.log != identity.log;
        (identity.log, status.tail) = (log.log, log.tail);
        (status.modified, status.changed) = (now, now);
        status.size += 1;
        if kind == Kind::Directory {
            status.links += 1;
        }
        self.put(batch, dir_inode.at, moved.then_some(&mut identity), &mut status);
        Ok(Linked { log, identity, status, dentry: Dentry { ino, cookie, file_type, at, page }, freed })
    }

    /// Commits a batch with a new name in it, and takes that over.
    pub(crate) fn commit_linked(
        &self,
        batch: &Batch,
        dir: &mut State,
        name: &[u8],
        mut linked: Linked<'_>,
    ) -> Result<()> {
        self.commit(batch, std::mem::take(&mut linked.freed))?;
        linked.done(dir, name);
        Ok(())
    }
}

/// A name on its way into a directory.
pub(crate) struct Linked<'v> {
    log: Append<'v>,
    pub(crate) identity: Identity,
    pub(crate) status: Status,
    pub(crate) dentry: Dentry,
    pub(crate) freed: Freed,
}

impl Linked<'_> {
    /// The record is committed.
    pub(crate) fn done(self, dir: &mut State, name: &[u8]) {
        self.log.done(&mut dir.pages);
        (dir.identity, dir.status) = (self.identity, self.status);
        let Dentry { ino, cookie, file_type, at, page } = self.dentry;
        let entered = dir.names_mut().insert(name, ino, cookie, file_type, at, page);
        debug_assert!(entered);
        dir.pages.add(page, 1);
    }
}

/// Takes a name out of a directory in DRAM.
pub(crate) fn forget_name(dir: &mut State, name: &[u8]) {
    if let Some(dentry) = dir.names_mut().remove(name) {
        dir.pages.remove(dentry.page, 1);
    }
}

impl Nova {
    /// What `name` in directory `parent` stands for. `.` and `..` are the directory and its parent.
    pub fn lookup(&self, parent: u64, name: &[u8], who: &Credentials) -> Result<Stat> {
        let ino = self.find(parent, name, who)?;
        self.getattr(ino).or_else(|error| self.dangles(parent, name, error))
    }

    /// Of a name that was found, and whose inode was not: whether it was removed meanwhile, or stands for nothing.
    pub(crate) fn dangles<T>(&self, parent: u64, name: &[u8], error: Error) -> Result<T> {
        let volume = self.volume();
        let inode = volume.inode(parent)?;
        let dir = volume.read_state(&inode)?;
        // Nobody removes names of a directory that is locked.
        match dir.names()?.get(name) {
            Some(dentry) if error.code() == Some(Code::NotFound) && volume.lines(dentry.ino)?.is_none() => {
                Error::damaged("directory entry", dentry.at, "what it stands for is free")
            }
            _ => Err(error),
        }
    }

    /// The inode number of a name.
    pub(crate) fn find(&self, parent: u64, name: &[u8], who: &Credentials) -> Result<u64> {
        let volume = self.volume();
        let inode = volume.inode(parent)?;
        let dir = volume.read_state(&inode)?;
        let names = dir.names()?;
        dir.permit(who, EXECUTE)?;
        match name {
            b"." => Ok(parent),
            b".." => Ok(dir.identity.parent),
            _ if name.len() > crate::format::MAX_NAME => Err(Code::NameTooLong.into()),
            _ => names.get(name).map(|dentry| dentry.ino).ok_or(Error::Posix(Code::NotFound)),
        }
    }

    /// Attributes of an inode. No drain.
    pub fn getattr(&self, ino: u64) -> Result<Stat> {
        let inode = self.volume().inode(ino)?;
        let state = inode.state.read();
        state.alive()?;
        Ok(state.stat())
    }

    /// Creates a regular file. Durable on return: 1 drain. With `mode` without the umask's bits.
    ///
    /// # Errors
    ///
    /// [`Code::Exists`]; and those of permissions, space and quotas.
    pub fn create(&self, parent: u64, name: &[u8], mode: u32, who: &Credentials) -> Result<Stat> {
        self.make_at(parent, name, who, &New { kind: Kind::File, mode, device: 0, target: b"" })
    }

    /// Creates a directory. Durable on return: 1 drain.
    pub fn mkdir(&self, parent: u64, name: &[u8], mode: u32, who: &Credentials) -> Result<Stat> {
        let mode = mode & (0o777 | libc::S_ISVTX); // set-id bits are for `setattr`, and for inheritance
        self.make_at(parent, name, who, &New { kind: Kind::Directory, mode, device: 0, target: b"" })
    }

    /// Creates a named pipe, a socket, a device file (by privileged users), or a regular file, by the type bits of `mode`. 1 drain.
    pub fn mknod(&self, parent: u64, name: &[u8], mode: u32, device: u64, who: &Credentials) -> Result<Stat> {
        let type_bits = mode & libc::S_IFMT;
        let kind = if type_bits == 0 { Kind::File } else { Kind::of_mode(mode) };
        match kind {
            Kind::Directory => return Err(Code::NotPermitted.into()),
            Kind::Symlink => return Err(Code::Invalid.into()),
            Kind::CharDevice | Kind::BlockDevice if !who.is_privileged() => {
                return Err(Code::NotPermitted.into());
            }
            _ if type_bits != 0 && kind.mode_bits() != type_bits => return Err(Code::Invalid.into()),
            _ => {}
        }
        let device = if matches!(kind, Kind::CharDevice | Kind::BlockDevice) { device } else { 0 };
        self.make_at(parent, name, who, &New { kind, mode, device, target: b"" })
    }

    /// Creates a symbolic link to `target`: 1 to 4,095 bytes without a 0. 1 drain (2 for a long target).
    pub fn symlink(&self, parent: u64, name: &[u8], target: &[u8], who: &Credentials) -> Result<Stat> {
        match target.len() {
            0 => return Err(Code::NotFound.into()),
            1..=4095 if !target.contains(&0) => {}
            1..=4095 => return Err(Code::Invalid.into()),
            _ => return Err(Code::NameTooLong.into()),
        }
        self.make_at(parent, name, who, &New { kind: Kind::Symlink, mode: 0o777, device: 0, target })
    }

    /// The target of a symbolic link. A drain if the access time changes.
    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        let state = volume.read_state(&inode)?;
        if state.kind() != Kind::Symlink {
            return Err(Code::Invalid.into());
        }
        let target = match state.attributes.get(&target_key()) {
            Some(target) => target.to_vec(),
            None => {
                let mut target = vec![0; state.status.size.min(4096) as usize];
                volume.copy_file(&state, 0, &mut target)?;
                target
            }
        };
        let notes = volume.is_access_due(&state);
        drop(state);
        if notes {
            volume.note_access(&inode)?;
        }
        Ok(target)
    }

    fn make_at(&self, parent: u64, name: &[u8], who: &Credentials, new: &New<'_>) -> Result<Stat> {
        check_name_to_make(name)?;
        let volume = self.volume();
        let dir = volume.inode(parent)?;
        let made = volume.make(&dir, Some(name), who, new)?;
        let stat = made.state.read().stat();
        Ok(stat)
    }

    /// A file without a name in the volume of directory `parent` (`O_TMPFILE`): it ends with its last handle, unless
    /// [`link`](Nova::link) gives it a name before. 1 drain.
    pub fn tmpfile(&self, parent: u64, mode: u32, who: &Credentials) -> Result<File> {
        let volume = self.volume();
        let dir = volume.inode(parent)?;
        let made = volume.make(&dir, None, who, &New { kind: Kind::File, mode, device: 0, target: b"" })?;
        File::new(self, made, who.clone())
    }

    /// Gives a file that is no directory another name. 1 drain.
    ///
    /// # Errors
    ///
    /// [`Code::TooManyLinks`], [`Code::Exists`], [`Code::NotPermitted`] for directories.
    pub fn link(&self, ino: u64, parent: u64, name: &[u8], who: &Credentials) -> Result<Stat> {
        check_name_to_make(name)?;
        let volume = self.volume();
        volume.writable()?;
        let (dir_inode, inode) = (volume.inode(parent)?, volume.inode(ino)?);
        let kind = inode.state.read().kind();
        if kind == Kind::Directory {
            return Err(Code::NotPermitted.into());
        }
        let mut dir = volume.write_directory(&dir_inode, who)?;
        let mut state = inode.state.write();
        state.alive()?;
        if dir.status.links == 0 {
            return Err(Code::NotFound.into());
        }
        if dir.names()?.get(name).is_some() {
            return Err(Code::Exists.into());
        }
        state.permit_change(false)?;
        if state.status.links == 0 && inode.handles.load(Relaxed) == 0 {
            return Err(Code::NotFound.into());
        }
        if state.status.links >= MAX_LINKS {
            return Err(Code::TooManyLinks.into());
        }
        let now = volume.now();
        let mut batch = volume.batch();
        let mut linked = volume.put_name(&dir_inode, &dir, &mut batch, name, ino, kind, now)?;
        let mut status = Status { links: state.status.links + 1, changed: now, ..state.status };
        volume.put(&mut batch, inode.at, None, &mut status);
        volume.commit(&batch, std::mem::take(&mut linked.freed))?;
        linked.done(&mut dir, name);
        state.status = status;
        volume.collect_if_worth_it(&dir_inode, &mut dir);
        Ok(state.stat())
    }

    /// Removes a name of a file that is no directory. The file ends with its last name, and its last handle. 1 drain.
    pub fn unlink(&self, parent: u64, name: &[u8], who: &Credentials) -> Result<()> {
        check_name(name)?;
        let volume = self.volume();
        volume.writable()?;
        let dir_inode = volume.inode(parent)?;
        let mut dir = volume.write_directory(&dir_inode, who)?;
        let dentry = dir.names()?.get(name).ok_or(Error::Posix(Code::NotFound))?;
        let inode = volume.inode(dentry.ino)?;
        if inode.state.read().is_directory() {
            return Err(Code::IsADirectory.into());
        }
        let mut state = inode.state.write();
        dir.permit_removal(&state, who)?;
        dir.permit_change(false)?;
        let now = volume.now();
        let mut batch = volume.batch();
        volume.put_removal(&mut batch, dentry)?;
        let mut dir_status = without_name(&dir.status, now);
        volume.put(&mut batch, dir_inode.at, None, &mut dir_status);
        let links = state.status.links.saturating_sub(1);
        let ends = links == 0 && inode.handles.load(Relaxed) == 0;
        let mut status = Status { links, changed: now, ..state.status };
        let freed = if ends {
            volume.put_end(&mut batch, &inode, &mut state)?
        } else {
            volume.put(&mut batch, inode.at, None, &mut status);
            Freed::default()
        };
        volume.commit(&batch, freed)?;
        dir.status = dir_status;
        forget_name(&mut dir, name);
        if ends {
            volume.ended(&inode, &mut state);
        } else {
            state.status = status;
        }
        Ok(())
    }

    /// Removes an empty directory. 1 drain.
    pub fn rmdir(&self, parent: u64, name: &[u8], who: &Credentials) -> Result<()> {
        match name {
            b"." => return Err(Code::Invalid.into()),
            b".." => return Err(Code::NotEmpty.into()),
            _ => check_name(name)?,
        }
        let volume = self.volume();
        volume.writable()?;
        let dir_inode = volume.inode(parent)?;
        let mut dir = volume.write_directory(&dir_inode, who)?;
        let dentry = dir.names()?.get(name).ok_or(Error::Posix(Code::NotFound))?;
        let inode = volume.inode(dentry.ino)?;
        if !inode.state.read().is_directory() {
            return Err(Code::NotADirectory.into());
        }
        let mut state = volume.write_state(&inode)?;
        dir.permit_removal(&state, who)?;
        dir.permit_change(false)?;
        if state.names()?.len() > 0 {
            return Err(Code::NotEmpty.into());
        }
        let now = volume.now();
        let mut batch = volume.batch();
        volume.put_removal(&mut batch, dentry)?;
        let mut dir_status = without_name(&dir.status, now);
        dir_status.links = dir_status.links.saturating_sub(1);
        volume.put(&mut batch, dir_inode.at, None, &mut dir_status);
        let ends = inode.handles.load(Relaxed) == 0;
        let mut status = Status { links: 0, changed: now, ..state.status };
        let freed = if ends {
            volume.put_end(&mut batch, &inode, &mut state)?
        } else {
            volume.put(&mut batch, inode.at, None, &mut status);
            Freed::default()
        };
        volume.commit(&batch, freed)?;
        dir.status = dir_status;
        forget_name(&mut dir, name);
        if ends {
            volume.ended(&inode, &mut state);
        } else {
            state.status = status;
        }
        Ok(())
    }

    /// Names of a directory behind `cookie` (0: from the start), at most `most`, in an order that stands. `.` and `..` come first.
    /// A drain if the access time changes.
    pub fn readdir(&self, ino: u64, cookie: u64, most: usize, who: &Credentials) -> Result<Vec<DirEntry>> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        let dir = volume.read_state(&inode)?;
        let names: &Names = dir.names()?;
        dir.permit(who, READ)?;
        let dots = [(&b"."[..], ino, 1), (b"..", dir.identity.parent, 2)]
            .into_iter()
            .filter(|(_, _, at)| *at > cookie)
            .map(|(name, ino, cookie)| DirEntry { name: name.to_vec(), ino, kind: Kind::Directory, cookie });
        let others = names.after(cookie).map(|(name, dentry)| DirEntry {
            name: name.to_vec(),
            ino: dentry.ino,
            kind: Kind::of_mode(u32::from(dentry.file_type) << 12),
            cookie: dentry.cookie,
        });
        let entries = dots.chain(others).take(most).collect();
        let notes = volume.is_access_due(&dir);
        drop(dir);
        if notes {
            volume.note_access(&inode)?;
        }
        Ok(entries)
    }
}

fn without_name(status: &Status, now: i64) -> Status {
    Status { size: status.size.saturating_sub(1), modified: now, changed: now, ..*status }
}

/// As [`check_name`]; `.` and `..` exist.
pub(crate) fn check_name_to_make(name: &[u8]) -> Result<()> {
    if name == b"." || name == b".." { Err(Code::Exists.into()) } else { check_name(name) }
}
