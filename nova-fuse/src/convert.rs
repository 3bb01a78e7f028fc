//! Attributes, times and errors, there and back.

use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, Request, TimeOrNow};
use nova_core::{Credentials, Error, Kind, Stat, Time};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

fn time(nanoseconds: i64) -> SystemTime {
    let span = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span }
}

/// Nanoseconds since 1970; a time that is out of range is the nearest that is not.
pub(crate) fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |span| -span),
    }
}

pub(crate) fn time_or_now(time: TimeOrNow) -> Time {
    match time {
        TimeOrNow::Now => Time::Now,
        TimeOrNow::SpecificTime(time) => Time::At(nanoseconds(time)),
    }
}

pub(crate) fn attributes(stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(stat.ino),
        size: stat.size,
        blocks: stat.blocks,
        atime: time(stat.accessed),
        mtime: time(stat.modified),
        ctime: time(stat.changed),
        crtime: time(stat.created),
        kind: kind(stat.kind()),
        perm: (stat.mode & 0o7777) as u16,
        nlink: stat.links,
        uid: stat.uid,
        gid: stat.gid,
        rdev: stat.device as u32,
        blksize: nova_core::BLOCK as u32,
        flags: 0,
    }
}

pub(crate) fn generation(stat: &Stat) -> Generation {
    Generation(u64::from(stat.generation))
}

pub(crate) fn errno(error: &Error) -> Errno {
    match error {
        Error::Posix(code) => tracing::debug!(?code, "refused"),
        _ => tracing::warn!(%error, "failed"),
    }
    Errno::from_i32(error.errno())
}

/// Who asks. The kernel has checked what they may do.
pub(crate) fn caller(request: &Request, umask: u32) -> Credentials {
    Credentials {
        uid: request.uid(),
        gid: request.gid(),
        groups: Vec::new(),
        umask: umask & 0o777,
        trusted: true,
    }
}
