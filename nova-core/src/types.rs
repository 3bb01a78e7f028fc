//! What callers hand in and get back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl Kind {
    /// By the type bits of a mode. Unknown ones are regular files' (they can only be damage, and are found by checks).
    pub fn of_mode(mode: u32) -> Kind {
        match mode & libc::S_IFMT {
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            libc::S_IFCHR => Kind::CharDevice,
            libc::S_IFBLK => Kind::BlockDevice,
            _ => Kind::File,
        }
    }

    /// The type bits of its mode.
    pub fn mode_bits(self) -> u32 {
        match self {
            Kind::File => libc::S_IFREG,
            Kind::Directory => libc::S_IFDIR,
            Kind::Symlink => libc::S_IFLNK,
            Kind::Fifo => libc::S_IFIFO,
            Kind::Socket => libc::S_IFSOCK,
            Kind::CharDevice => libc::S_IFCHR,
            Kind::BlockDevice => libc::S_IFBLK,
        }
    }
}

/// What `stat` says. Times are nanoseconds since 1970, signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Inode number; the root's is 1.
    pub ino: u64,
    /// Tells files apart that had the same number one after the other.
    pub generation: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Hard links; of a directory: 2 and one for each directory in it.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of device files.
    pub device: u64,
    /// Bytes; of a directory 64 for each name.
    pub size: u64,
    /// Units of 512 bytes that its data takes.
    pub blocks: u64,
    /// Last read, as far as the access-time policy notes it.
    pub accessed: i64,
    /// Last change of the content.
    pub modified: i64,
    /// Last change of content or attributes.
    pub changed: i64,
    /// Creation.
    pub created: i64,
    /// [`Flags`](crate::flags) that are set.
    pub flags: u32,
    /// Grows with every change of the inode.
    pub changes: u64,
}

impl Stat {
    /// What kind of file it is.
    pub fn kind(&self) -> Kind {
        Kind::of_mode(self.mode)
    }

    /// Last change of the content.
    pub fn modified_time(&self) -> SystemTime {
        let span = Duration::from_nanos(self.modified.unsigned_abs());
        if self.modified < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span }
    }
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The time of the call.
    Now,
    /// Nanoseconds since 1970.
    At(i64),
}

/// Attributes to set; those that are `None` stay.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permissions, with set-id and sticky bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes; a file grows by a hole, and what is cut off is gone.
    pub size: Option<u64>,
    /// Access time.
    pub accessed: Option<Time>,
    /// Modification time.
    pub modified: Option<Time>,
    /// [`Flags`](crate::flags), all of them.
    pub flags: Option<u32>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User; 0 may do (almost) everything.
    pub uid: u32,
    /// Group, of files that are created.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Permissions that new files do not get.
    pub umask: u32,
    /// Checks are passed over, for somebody has made them: the kernel, of a mount. New files are `uid`'s all the same.
    pub trusted: bool,
}

impl Credentials {
    /// The privileged user, with a umask of 0.
    pub const ROOT: Credentials =
        Credentials { uid: 0, gid: 0, groups: Vec::new(), umask: 0, trusted: false };

    /// An ordinary user of one group, with the usual umask.
    pub fn user(uid: u32, gid: u32) -> Credentials {
        Credentials { uid, gid, groups: Vec::new(), umask: 0o022, trusted: false }
    }

    /// Whether permission checks are passed over.
    pub fn is_privileged(&self) -> bool {
        self.uid == 0 || self.trusted
    }

    /// Whether the group is one of theirs.
    pub fn is_in(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// What to do about a name that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rename {
    /// Replace it.
    #[default]
    Replace,
    /// [`Code::Exists`](crate::Code::Exists).
    NoReplace,
    /// Both names are there, and change what they stand for.
    Exchange,
}

/// A name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name: any bytes but `/` and 0.
    pub name: Vec<u8>,
    /// What it stands for.
    pub ino: u64,
    /// Its kind.
    pub kind: Kind,
    /// Where to go on reading after it: stable while the directory changes, and across mounts.
    pub cookie: u64,
}

/// How much there is of what. Blocks are of 4,096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Blocks of the volume.
    pub blocks: u64,
    /// Free ones, those that are about to be free included.
    pub free: u64,
    /// Free ones without the reserve.
    pub available: u64,
    /// Blocks that deleted snapshots have left, and that will be free when that is cleaned up.
    pub freeing: u64,
    /// Inode numbers that there are, and could be.
    pub inodes: u64,
    /// Free ones of these.
    pub free_inodes: u64,
}

/// What `fallocate` does with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Blocks behind all of it; the file grows.
    Grow,
    /// Blocks behind all of it; the file keeps its size.
    KeepSize,
    /// No blocks: a hole that reads as zeros. The file keeps its size.
    PunchHole,
    /// Blocks that read as zeros; the file grows.
    Zero,
    /// The same; the file keeps its size.
    ZeroKeepSize,
    /// The range is taken out; what is behind it moves up. Whole blocks.
    Collapse,
    /// A hole is put in; what was there moves down. Whole blocks.
    Insert,
}

/// What `seek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte with data.
    Data,
    /// The next hole; the end of the file counts as one.
    Hole,
}
