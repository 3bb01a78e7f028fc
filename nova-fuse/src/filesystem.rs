//! The kernel's requests, each one call of `nova_core`.

use crate::{
    control::{self, CONTROL, Message},
    convert::{attributes, caller, errno, generation, kind, time_or_now},
    handles::{Handles, Open},
    ioctl,
    lending::{self, Asker},
    report::{self, Report},
    stats::{self, Operation, Stats},
};
use fuser::*;
use nova_core::{
    Access, Allocate, AttributeMode, Code, Credentials, Error, File, Nova, Rename, Result, Seek, SetAttr,
    Stat,
};
use pmem_map::lease::{LEASE, Page};
use serde::Serialize;
use std::{
    ffi::OsStr,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How long the kernel may believe an answer: nobody else changes the filesystem but through the daemon.
const TTL: Duration = Duration::from_secs(1);
/// Names per `readdir`.
const NAMES: usize = 256;

pub(crate) struct Served {
    nova: Nova,
    handles: Handles,
    stats: Stats,
    /// Whether the kernel keeps pages of files.
    page_cache: bool,
}

/// Answers with a value, or with the error's number.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $ok:expr) => {{
        let result: Result<_> = $result;
        match result {
            Ok($value) => $ok,
            Err(error) => $reply.error(errno(&error)),
        }
    }};
}

impl Served {
    pub(crate) fn new(nova: Nova, page_cache: bool) -> Served {
        Served { nova, handles: Handles::default(), stats: Stats::new(), page_cache }
    }

    /// How the kernel is to treat an open file.
    fn how(&self) -> FopenFlags {
        match self.page_cache {
            true => FopenFlags::empty(),
            false => FopenFlags::FOPEN_DIRECT_IO,
        }
    }

    /// The kernel knows the inode from now on.
    fn known(&self, stat: Stat) -> Result<Stat> {
        self.handles.know(&self.nova, stat.ino)?;
        Ok(stat)
    }

    fn entry(&self, reply: ReplyEntry, made: Result<Stat>) {
        match made.and_then(|stat| self.known(stat)) {
            Ok(stat) => reply.entry(&TTL, &attributes(&stat), generation(&stat)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn empty(reply: ReplyEmpty, done: Result<()>) {
        match done {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<Open>> {
        self.handles.get(handle.0).ok_or(Error::Posix(Code::Stale))
    }

    fn opened(&self, ino: u64, flags: i32, who: &Credentials) -> Result<u64> {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let access = Access { read: false, write: writes, execute: false };
        let file = self.nova.open_inode(ino, access, who)?;
        Ok(self.handles.open(file, flags & libc::O_APPEND != 0, writes))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handles.end();
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let wanted = [
            InitFlags::FUSE_POSIX_ACL,
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_BIG_WRITES,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPORT_SUPPORT,
        ];
        // A kernel that lacks one does without.
        for flag in wanted {
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _request = self.stats.request(Operation::Lookup);
        self.entry(reply, self.nova.lookup(parent.0, name.as_bytes(), &Credentials::ROOT));
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        self.handles.forget(ino.0, times);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let _request = self.stats.request(Operation::Stat);
        let stat = match handle.and_then(|handle| self.handles.get(handle.0)) {
            Some(open) => open.file.stat(),
            None => self.nova.getattr(ino.0),
        };
        answer!(reply, stat, stat => reply.attr(&TTL, &attributes(&stat)));
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _request = self.stats.request(Operation::SetAttributes);
        let _open = handle.and_then(|handle| self.handles.get(handle.0));
        let set = SetAttr {
            mode,
            uid,
            gid,
            size,
            accessed: accessed.map(time_or_now),
            modified: modified.map(time_or_now),
            flags: None,
        };
        answer!(reply, self.nova.setattr(ino.0, &set, &caller(request, 0)),
            stat => reply.attr(&TTL, &attributes(&stat)));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let _request = self.stats.request(Operation::Stat);
        answer!(reply, self.nova.readlink(ino.0), target => reply.data(&target));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let _request = self.stats.request(Operation::Create);
        let who = caller(request, umask);
        self.entry(reply, self.nova.mknod(parent.0, name.as_bytes(), mode, u64::from(device), &who));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let _request = self.stats.request(Operation::Create);
        self.entry(reply, self.nova.mkdir(parent.0, name.as_bytes(), mode, &caller(request, umask)));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _request = self.stats.request(Operation::Remove);
        Self::empty(reply, self.nova.unlink(parent.0, name.as_bytes(), &caller(request, 0)));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _request = self.stats.request(Operation::Remove);
        Self::empty(reply, self.nova.rmdir(parent.0, name.as_bytes(), &caller(request, 0)));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let _request = self.stats.request(Operation::Create);
        let target = target.as_os_str().as_bytes();
        self.entry(reply, self.nova.symlink(parent.0, name.as_bytes(), target, &caller(request, 0)));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _request = self.stats.request(Operation::Rename);
        let how = match flags {
            flags if flags.is_empty() => Rename::Replace,
            RenameFlags::RENAME_NOREPLACE => Rename::NoReplace,
            RenameFlags::RENAME_EXCHANGE => Rename::Exchange,
            _ => return reply.error(Errno::EINVAL),
        };
        let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
        let who = caller(request, 0);
        Self::empty(reply, self.nova.rename(parent.0, name, new_parent.0, new_name, how, &who));
    }

    fn link(&self, request: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _request = self.stats.request(Operation::Create);
        self.entry(reply, self.nova.link(ino.0, parent.0, name.as_bytes(), &caller(request, 0)));
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _request = self.stats.request(Operation::Open);
        answer!(reply, self.opened(ino.0, flags.0, &caller(request, 0)),
            handle => reply.opened(FileHandle(handle), self.how()));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let _request = self.stats.request(Operation::Create);
        let who = caller(request, umask);
        let made = || {
            let stat = self.nova.create(parent.0, name.as_bytes(), mode, &who)?;
            let stat = self.known(stat)?;
            Ok((stat, self.opened(stat.ino, flags, &who)?))
        };
        answer!(reply, made(), (stat, handle) => reply.created(
            &TTL, &attributes(&stat), generation(&stat), FileHandle(handle), self.how()));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _request = self.stats.request(Operation::Read);
        let read = || {
            let mut bytes = vec![0; size as usize];
            let len = self.file(handle)?.file.read_at(offset, &mut bytes)?;
            bytes.truncate(len);
            self.stats.read(len);
            Ok(bytes)
        };
        answer!(reply, read(), bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        bytes: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _request = self.stats.request(Operation::Write);
        let write = || {
            let open = self.file(handle)?;
            // Pages of a mapping go where they belong, whatever the file was opened with.
            if open.appends && !flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
                open.file.append(bytes)?;
            } else {
                open.file.write_at(offset, bytes)?;
            }
            self.stats.wrote(bytes.len());
            Ok(())
        };
        answer!(reply, write(), () => reply.written(bytes.len() as u32));
    }

    fn flush(&self, _: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let _request = self.stats.request(Operation::Sync);
        Self::empty(reply, self.file(handle).and_then(|open| open.file.sync()));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let _request = self.stats.request(Operation::Open);
        self.handles.close(handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let _request = self.stats.request(Operation::Sync);
        Self::empty(reply, self.file(handle).and_then(|open| open.file.sync()));
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let _request = self.stats.request(Operation::Open);
        let open = || {
            let file: File = self.nova.open_inode(ino.0, Access::default(), &caller(request, 0))?;
            Ok(self.handles.open(file, false, false))
        };
        answer!(reply, open(), handle => reply.opened(FileHandle(handle), FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let _request = self.stats.request(Operation::ReadDir);
        let mut at = offset;
        loop {
            let entries = match self.nova.readdir(ino.0, at, NAMES, &Credentials::ROOT) {
                Ok(entries) => entries,
                Err(error) => return reply.error(errno(&error)),
            };
            let Some(last) = entries.last().map(|entry| entry.cookie) else { return reply.ok() };
            for entry in entries {
                let name = std::ffi::OsString::from_vec(entry.name);
                if reply.add(INodeNo(entry.ino), entry.cookie, kind(entry.kind), name) {
                    return reply.ok();
                }
            }
            at = last;
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _request = self.stats.request(Operation::ReadDir);
        let mut at = offset;
        loop {
            let entries = match self.nova.readdir(ino.0, at, NAMES, &Credentials::ROOT) {
                Ok(entries) => entries,
                Err(error) => return reply.error(errno(&error)),
            };
            let Some(last) = entries.last().map(|entry| entry.cookie) else { return reply.ok() };
            for entry in entries {
                let is_dot = entry.name == b"." || entry.name == b"..";
                // A name whose file ended meanwhile, or is damaged, is shown by `readdir`, and found out by who looks it up.
                let Ok(stat) = self.nova.getattr(entry.ino) else { continue };
                // The kernel counts each of these as a look-up, but not `.` and `..`.
                if !is_dot && self.known(stat).is_err() {
                    continue;
                }
                let name = std::ffi::OsString::from_vec(entry.name);
                let (attributes, generation) = (attributes(&stat), generation(&stat));
                if reply.add(INodeNo(entry.ino), entry.cookie, name, &TTL, &attributes, generation) {
                    if !is_dot {
                        self.handles.forget(entry.ino, 1);
                    }
                    return reply.ok();
                }
            }
            at = last;
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        let _request = self.stats.request(Operation::Open);
        self.handles.close(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let _request = self.stats.request(Operation::Sync);
        Self::empty(reply, self.file(handle).and_then(|open| open.file.sync()));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let _request = self.stats.request(Operation::Other);
        let now = self.nova.statfs();
        let block = nova_core::BLOCK as u32;
        reply.statfs(now.blocks, now.free, now.available, now.inodes, now.free_inodes, block, 255, block);
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let _request = self.stats.request(Operation::Xattr);
        let mode = match flags {
            libc::XATTR_CREATE => AttributeMode::Create,
            libc::XATTR_REPLACE => AttributeMode::Replace,
            _ => AttributeMode::Set,
        };
        let who = caller(request, 0);
        Self::empty(reply, self.nova.set_attribute(ino.0, name.as_bytes(), value, mode, &who));
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _request = self.stats.request(Operation::Xattr);
        let value = match name.to_str() {
            Some(stats::ATTRIBUTE) if ino.0 == nova_core::ROOT => Ok(json(&self.stats.snapshot(&self.nova))),
            Some(report::ATTRIBUTE) => {
                Report::of(&self.nova, ino.0, self.handles.leases(ino.0)).map(|report| json(&report))
            }
            _ => self.nova.attribute(ino.0, name.as_bytes(), &caller(request, 0)),
        };
        sized(reply, value, size);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let _request = self.stats.request(Operation::Xattr);
        // `trusted.` names are for those who may read them; the kernel asks with the daemon's eyes.
        let who = Credentials { trusted: false, ..caller(request, 0) };
        let list = self
            .nova
            .attributes(ino.0, &who)
            .map(|names| names.into_iter().flat_map(|name| name.into_iter().chain([0])).collect::<Vec<u8>>());
        sized(reply, list, size);
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _request = self.stats.request(Operation::Xattr);
        Self::empty(reply, self.nova.remove_attribute(ino.0, name.as_bytes(), &caller(request, 0)));
    }

    fn ioctl(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _: IoctlFlags,
        command: u32,
        input: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        let _request = self.stats.request(Operation::Other);
        let stat = || self.nova.getattr(ino.0);
        match command {
            ioctl::GET_FLAGS => answer!(reply, stat(), stat => {
                // Its number says 8 bytes; the kernel has room for 4.
                reply.ioctl(0, &ioctl::to_linux(&ioctl::FLAGS, stat.flags).to_le_bytes())
            }),
            ioctl::GET_FSXATTR => answer!(reply, stat(), stat => {
                let mut bytes = [0; ioctl::FSXATTR];
                let flags = ioctl::to_linux(&ioctl::FSXATTR_FLAGS, stat.flags);
                bytes[..4].copy_from_slice(&flags.to_le_bytes());
                reply.ioctl(0, &bytes)
            }),
            ioctl::SET_FLAGS | ioctl::SET_FSXATTR => {
                let set = || {
                    let flags = ioctl::asked(command, input, stat()?.flags)
                        .ok_or(Error::Posix(Code::NotSupported))?;
                    // The kernel does not check this one.
                    let who = Credentials { trusted: false, ..caller(request, 0) };
                    self.nova.setattr(ino.0, &SetAttr { flags: Some(flags), ..SetAttr::default() }, &who)
                };
                answer!(reply, set(), _ => reply.ioctl(0, &[]));
            }
            CONTROL => match Message::asked(input) {
                None => reply.error(Errno::EOPNOTSUPP),
                Some(asked)
                    if !asked.is_of_a_file() && !Asker::new(request.pid(), request.uid()).is_trusted() =>
                {
                    reply.error(Errno::EPERM)
                }
                Some(asked) => {
                    // It may have to wait for other requests.
                    let (nova, open) = (self.nova.clone(), self.file(handle).ok());
                    std::thread::spawn(move || {
                        let answered = control::answer(&nova, open.as_deref(), asked);
                        drop((open, nova)); // whoever hears of it may unmount
                        answer!(reply, answered, message => reply.ioctl(0, bytemuck::bytes_of(&*message)));
                    });
                }
            },
            LEASE => match Page::asked(input) {
                None => reply.error(Errno::EOPNOTSUPP),
                // It would not see what is stored to the image.
                Some(_) if self.page_cache => reply.error(Errno::EBUSY),
                Some(page) => {
                    let who = Asker::new(request.pid(), request.uid());
                    let answered = self.file(handle).and_then(|open| lending::answer(&open, page, who));
                    answer!(reply, answered, page => reply.ioctl(0, bytemuck::bytes_of(&*page)));
                }
            },
            _ => reply.error(Errno::ENOTTY),
        }
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        waits: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        let _request = self.stats.request(Operation::Other);
        let open = self.handles.get(handle.0);
        let is_urgent =
            open.is_some_and(|open| open.lent.lock().as_ref().is_some_and(|lent| lent.is_urgent(waits)));
        // Files never keep anybody waiting.
        let always =
            PollEvents::POLLIN | PollEvents::POLLOUT | PollEvents::POLLRDNORM | PollEvents::POLLWRNORM;
        reply.poll(if is_urgent { always | PollEvents::POLLPRI } else { always });
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let _request = self.stats.request(Operation::Allocate);
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        let how = match mode {
            0 => Allocate::Grow,
            libc::FALLOC_FL_KEEP_SIZE => Allocate::KeepSize,
            PUNCH => Allocate::PunchHole,
            libc::FALLOC_FL_ZERO_RANGE => Allocate::Zero,
            ZERO_KEEP => Allocate::ZeroKeepSize,
            libc::FALLOC_FL_COLLAPSE_RANGE => Allocate::Collapse,
            libc::FALLOC_FL_INSERT_RANGE => Allocate::Insert,
            _ => return reply.error(Errno::EOPNOTSUPP),
        };
        Self::empty(reply, self.file(handle).and_then(|open| open.file.allocate(offset, len, how)));
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let _request = self.stats.request(Operation::Other);
        let what = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let seek = || {
            let offset = u64::try_from(offset).map_err(|_| Error::Posix(Code::NoSuchPosition))?;
            self.file(handle)?.file.seek(offset, what)
        };
        answer!(reply, seek(), at => reply.offset(at as i64));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        from: FileHandle,
        offset: u64,
        _: INodeNo,
        to: FileHandle,
        to_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let _request = self.stats.request(Operation::Copy);
        let copy = || {
            let (from, to) = (self.file(from)?, self.file(to)?);
            // The answer has 32 bits; the caller comes again.
            to.file.copy_from(&from.file, offset, to_offset, len.min(1 << 30))
        };
        answer!(reply, copy(), copied => reply.written(copied as u32));
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers and names")
}

/// A value for who asked with room for `size` bytes; its size for who asked with none.
fn sized(reply: ReplyXattr, value: Result<Vec<u8>>, size: u32) {
    match value {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(errno(&error)),
    }
}
