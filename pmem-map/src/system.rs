//! System calls on descriptors that the standard library does not have.

#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::File,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::Path,
};

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn signed(bytes: u64) -> io::Result<i64> {
    i64::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}

/// Gives blocks to `len` bytes at `offset`, and extends the file over them.
pub(crate) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (signed(offset)?, signed(len)?);
    loop {
        // SAFETY: takes a descriptor and numbers.
        match check(unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, len) }) {
            Err(interrupted) if interrupted.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// Both ends of a pipe: the one that is read from, and the one that is written to.
pub(crate) fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are new, so that `File`s are their only owners.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])))
    }
}

/// Waits until there is something urgent about a file (`POLLPRI`); `false` if there is something to read from `stop` before.
///
/// # Errors
///
/// Nobody serves the file any more, or somebody has closed a descriptor.
pub(crate) fn is_urgent(file: &File, stop: &File) -> io::Result<bool> {
    let wanted = |file: &File, events| libc::pollfd { fd: file.as_raw_fd(), events, revents: 0 };
    let mut both = [wanted(file, libc::POLLPRI), wanted(stop, libc::POLLIN)];
    loop {
        // SAFETY: two requests that live through the call.
        let found = unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
        if found < 0 {
            match io::Error::last_os_error() {
                interrupted if interrupted.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            }
        }
        let [file, stop] = both.map(|one| one.revents);
        if (file | stop) & (libc::POLLERR | libc::POLLNVAL) != 0 {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if stop != 0 {
            return Ok(false);
        }
        if file & libc::POLLPRI != 0 {
            return Ok(true);
        }
    }
}

/// Tells whoever reads standard error. Allocates nothing, and takes no lock.
pub(crate) fn say(line: &'static str) {
    // SAFETY: bytes that live through the call, which only reads them.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}

/// Lets the kernel ask who serves this file for its attributes, instead of what it remembers of them.
pub(crate) fn refresh(file: &File) -> io::Result<()> {
    let how = libc::AT_EMPTY_PATH | libc::AT_STATX_FORCE_SYNC;
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: an empty string that ends with 0, and room for one `statx`, which is not read.
    check(unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), how, libc::STATX_BASIC_STATS, found.as_mut_ptr())
    })
}

/// What `statfs` says about the filesystem of a file.
pub(crate) struct FilesystemFacts {
    /// `f_type`.
    pub(crate) magic: u64,
    /// Bytes of a block.
    pub(crate) block: u64,
    /// Free bytes, where there is a limit.
    pub(crate) free: Option<u64>,
}

/// Asks `statfs`.
pub(crate) fn filesystem(file: &File) -> io::Result<FilesystemFacts> {
    let mut statfs = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: room for one `statfs`, which is read only if the call filled it.
    let statfs = unsafe {
        check(libc::fstatfs(file.as_raw_fd(), statfs.as_mut_ptr()))?;
        statfs.assume_init()
    };
    let block = statfs.f_bsize as u64;
    Ok(FilesystemFacts {
        magic: statfs.f_type as u64 & 0xffff_ffff, // some have bit 31 set and are sign-extended on the way
        block,
        free: (statfs.f_blocks > 0).then(|| statfs.f_bfree.saturating_mul(block)),
    })
}

/// Bytes that this process may make a file long (`RLIMIT_FSIZE`).
pub(crate) fn longest_file() -> io::Result<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: room for one `rlimit`, which is read only if the call filled it.
    let limit = unsafe {
        check(libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()))?;
        limit.assume_init()
    };
    Ok(if limit.rlim_cur == libc::RLIM_INFINITY { u64::MAX } else { limit.rlim_cur })
}

/// Major and minor number of a device.
pub(crate) fn device_numbers(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

/// Writes `bytes` at `offset`, on the medium on return. Returns how many calls waited for the medium. Where the kernel or
/// the filesystem has no `RWF_DSYNC`, it is `pwrite` and `fdatasync`.
pub(crate) fn write_through(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<u64> {
    let mut calls = 0;
    while !bytes.is_empty() {
        let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: one vector that lives through the call, of bytes that it only reads.
        let written =
            unsafe { libc::pwritev2(file.as_raw_fd(), &raw const part, 1, signed(offset)?, libc::RWF_DSYNC) };
        if written > 0 {
            calls += 1;
            offset += written as u64;
            bytes = &bytes[written as usize..];
            continue;
        }
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        match io::Error::last_os_error() {
            interrupted if interrupted.kind() == io::ErrorKind::Interrupted => {}
            missing
                if matches!(missing.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL)) =>
            {
                file.write_all_at(bytes, offset)?;
                file.sync_data()?;
                return Ok(calls + 1);
            }
            error => return Err(error),
        }
    }
    Ok(calls)
}

/// A file in memory, without a name.
pub(crate) fn memfd(name: &str) -> io::Result<File> {
    let name = CString::new(name)?;
    // SAFETY: a string that ends with a zero; the descriptor is new, so `File` is its only owner.
    unsafe {
        let descriptor = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        if descriptor < 0 { Err(io::Error::last_os_error()) } else { Ok(File::from_raw_fd(descriptor)) }
    }
}

/// Gives a file that was opened with `O_TMPFILE` its name. Fails if the name exists.
pub(crate) fn name_file(file: &File, path: &Path) -> io::Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: two strings that end with a zero.
    check(unsafe {
        libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
    })
}

/// The byte of [`lease::LEASED_BYTE`](crate::lease::LEASED_BYTE).
const LEASED: libc::off_t = crate::lease::LEASED_BYTE as libc::off_t;

/// Takes an open-file-description lock on the whole file but [`LEASED`], or fails with `EAGAIN`.
pub(crate) fn lock(file: &File, exclusive: bool) -> io::Result<()> {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    set_lock(file, request(kind, 0, LEASED), libc::F_OFD_SETLK).map(drop)
}

/// Says that somebody has mapped this image by a lease.
pub(crate) fn lock_leased(file: &File) -> io::Result<()> {
    set_lock(file, request(libc::F_RDLCK, LEASED, 1), libc::F_OFD_SETLK).map(drop)
}

/// Whether somebody has.
pub(crate) fn is_leased(file: &File) -> io::Result<bool> {
    let found = set_lock(file, request(libc::F_WRLCK, LEASED, 1), libc::F_OFD_GETLK)?;
    Ok(found.l_type != libc::F_UNLCK as libc::c_short)
}

/// Drops the lock, also for those who inherited the descriptor.
pub(crate) fn unlock(file: &File) -> io::Result<()> {
    set_lock(file, request(libc::F_UNLCK, 0, 0), libc::F_OFD_SETLK).map(drop)
}

/// A lock on `len` bytes from `start` on; 0: on all of them.
fn request(kind: i32, start: libc::off_t, len: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

fn set_lock(file: &File, mut request: libc::flock, command: libc::c_int) -> io::Result<libc::flock> {
    // SAFETY: the request lives through the call, which reads it and may put in its answer.
    check(unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut request) })?;
    Ok(request)
}
