//! What bytes are made of, in words for people.

use std::fmt;

/// A filesystem that this crate knows by its number in `statfs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filesystem {
    /// Memory, gone with the machine.
    Tmpfs,
    /// Memory, gone with the machine; never swapped.
    Ramfs,
    /// Huge pages of memory, gone with the machine.
    Hugetlbfs,
    /// ext4, or ext2 and ext3, which have the same number.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// A filesystem in a user process.
    Fuse,
    /// NFS.
    Nfs,
    /// SMB, CIFS.
    Smb,
    /// Ceph.
    Ceph,
    /// 9P, as between a virtual machine and its host.
    Plan9,
    /// None: a disk itself, or persistent memory that is used as one (`/dev/pmem0`).
    BlockDevice,
    /// overlayfs: the file is on another filesystem, which cannot be asked.
    Overlay,
    /// None of these.
    Other {
        /// Its `f_type`.
        magic: u64,
    },
}

impl Filesystem {
    /// The filesystem with this `f_type` (statfs(2), linux/magic.h).
    pub fn from_magic(magic: u64) -> Filesystem {
        match magic {
            0x0102_1994 => Filesystem::Tmpfs,
            0x8584_58f6 => Filesystem::Ramfs,
            0x9584_58f6 => Filesystem::Hugetlbfs,
            0xef53 => Filesystem::Ext4,
            0x5846_5342 => Filesystem::Xfs,
            0x9123_683e => Filesystem::Btrfs,
            0x6573_5546 => Filesystem::Fuse,
            0x6969 => Filesystem::Nfs,
            0x517b | 0xff53_4d42 | 0xfe53_4d42 => Filesystem::Smb,
            0x00c3_6400 => Filesystem::Ceph,
            0x0102_1997 => Filesystem::Plan9,
            0x794c_7630 => Filesystem::Overlay,
            magic => Filesystem::Other { magic },
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Filesystem::Tmpfs => "tmpfs",
            Filesystem::Ramfs => "ramfs",
            Filesystem::Hugetlbfs => "hugetlbfs",
            Filesystem::Ext4 => "ext4",
            Filesystem::Xfs => "XFS",
            Filesystem::Btrfs => "Btrfs",
            Filesystem::Fuse => "FUSE",
            Filesystem::Nfs => "NFS",
            Filesystem::Smb => "SMB",
            Filesystem::Ceph => "Ceph",
            Filesystem::Plan9 => "9P",
            Filesystem::BlockDevice => "a block device",
            Filesystem::Overlay => "overlayfs",
            Filesystem::Other { magic } => return write!(f, "an unknown filesystem ({magic:#x})"),
        })
    }
}

/// What a mapping's bytes are made of. `Display` says it to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Medium {
    /// Memory of this process.
    Anonymous,
    /// A file in memory, without a name.
    Memfd,
    /// A file, mapped through the page cache (which on a memory filesystem is the file).
    File(Filesystem),
    /// A file on persistent memory, mapped with `MAP_SYNC`.
    DaxFile(Filesystem),
    /// Persistent memory without a filesystem: a DAX character device.
    DaxDevice,
    /// A file treated as persistent memory.
    EmulatedPmem(Filesystem),
    /// A copy-on-write view of a file: stores stay in this process, and end with the mapping.
    PrivateView(Filesystem),
    /// A file of a mounted volume, mapped where it is in the volume's image, which is on this filesystem: see [`lease`](crate::lease).
    Leased(Filesystem),
    /// A `memmap2::MmapMut`, which does not say what it maps.
    Memmap,
    /// Bytes lent by a [`Backing`](crate::Backing), in its owner's words.
    Lent(&'static str),
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Medium::Anonymous => f.write_str("anonymous memory"),
            Medium::Memfd => f.write_str("memfd"),
            Medium::File(filesystem) => write!(f, "{filesystem}"),
            Medium::DaxFile(filesystem) => write!(f, "DAX file on {filesystem}"),
            Medium::DaxDevice => f.write_str("DAX device"),
            Medium::EmulatedPmem(filesystem) => write!(f, "emulated persistent memory on {filesystem}"),
            Medium::PrivateView(filesystem) => write!(f, "private view of a file on {filesystem}"),
            Medium::Leased(filesystem) => write!(f, "file of a mounted volume, in its image on {filesystem}"),
            Medium::Memmap => f.write_str("memmap2 mapping"),
            Medium::Lent(owner) => f.write_str(owner),
        }
    }
}
