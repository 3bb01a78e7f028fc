//! What is on media: FORMAT.md as types. Every structure begins with its checksum.

use bytemuck::{Pod, Zeroable};

/// Bytes of a block.
pub(crate) const BLOCK: u64 = 4096;
/// Bytes of a line.
pub(crate) const LINE: u64 = pmem_map::LINE;
/// `NOVAPMEM`.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"NOVAPMEM");
/// Where it is in a superblock.
pub(crate) const MAGIC_AT: u64 = 8;
pub(crate) const VERSION: u32 = 1;
/// Where the state line is.
pub(crate) const STATE: u64 = BLOCK;
pub(crate) const MAX_STRIPES: u32 = 62;
/// Bytes of an inode's slot.
pub(crate) const SLOT: u64 = 2 * LINE;
/// The root directory.
pub(crate) const ROOT: u64 = 1;
pub(crate) const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"SEGM");
pub(crate) const PAGE_MAGIC: u32 = u32::from_le_bytes(*b"LOGP");
pub(crate) const SNAPSHOT_MAGIC: u32 = u32::from_le_bytes(*b"SNAP");
pub(crate) const COPIES_MAGIC: u32 = u32::from_le_bytes(*b"COPY");
/// What the logs of snapshots have where others have an inode number: this, and the epoch.
pub(crate) const SNAPSHOT_INO: u64 = 1 << 63;
/// Where the state line's second copy is.
pub(crate) const STATE_COPY: u64 = BLOCK + 63 * LINE;
pub(crate) const CHECKPOINT_MAGIC: u32 = u32::from_le_bytes(*b"CKPT");
/// Links that a file or directory can have.
pub(crate) const MAX_LINKS: u32 = 65_000;
pub(crate) const MAX_NAME: usize = 255;
/// Bytes of the largest file: a block number has 52 bits, and an offset fits `i64`.
pub(crate) const MAX_SIZE: u64 = 1 << 62;
/// Bytes of an attribute's largest value.
pub(crate) const MAX_ATTRIBUTE: usize = 65_536;

/// A structure that begins with its checksum.
pub(crate) trait Structure: Pod {
    /// Its name, for errors.
    const NAME: &'static str;
}

macro_rules! structure {
    ($(#[$doc:meta])* $name:ident, $size:literal, $what:literal { $($field:ident : $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
        #[repr(C)]
        pub(crate) struct $name {
            pub(crate) checksum: u32,
            $(pub(crate) $field: $type,)*
        }
        const _: () = assert!(size_of::<$name>() == $size);
        impl Structure for $name {
            const NAME: &'static str = $what;
        }
    };
}

structure!(
    /// The volume's constants.
    Superblock, 256, "superblock" {
        version: u32, magic: u64,
        compatible: u64, read_only: u64, incompatible: u64,
        identity: [u8; 16],
        length: u64,
        block_size: u32, stripes: u32,
        journal: u64, journal_len: u64,
        created: i64,
        label: [u8; 32],
        reserved: [u64; 16],
    }
);

impl Superblock {
    /// Whether metadata has replicas.
    pub(crate) fn has_replicas(&self) -> bool {
        self.incompatible & feature::REPLICAS != 0
    }

    /// Where the journal begins, by what the volume has: behind the block of the state line, and its copy.
    pub(crate) fn behind_state(&self) -> u64 {
        STATE + if self.has_replicas() { 2 * BLOCK } else { BLOCK }
    }
}

structure!(
    /// What changes of the volume as a whole.
    VolumeState, 64, "state line" {
        reserved: u32, mounts: u64, checkpoint: u64, epoch: u64, snapshots: u64, rollback: u64,
        restored: u64, reserved2: u64,
    }
);

structure!(
    /// Where a stripe's inode table begins.
    StripeHead, 64, "stripe line" { stripe: u32, segment: u64, reserved: [u64; 6] }
);

structure!(
    /// A run of inode slots.
    SegmentHeader, 64, "inode table segment" {
        magic: u32, stripe: u32, blocks: u32, first_slot: u64, next: u64, reserved: [u64; 4],
    }
);

structure!(
    /// What of an inode changes seldom.
    Identity, 64, "inode" {
        generation: u32, ino: u64, mode: u32, uid: u32, gid: u32, flags: u32, device: u64,
        created: i64, log: u64, parent: u64,
    }
);

structure!(
    /// What of an inode changes with every operation.
    Status, 64, "inode state" {
        links: u32, size: u64, tail: u64, accessed: i64, modified: i64, changed: i64, blocks: u64,
        changes: u64,
    }
);

structure!(
    /// The first line of a log page.
    PageHeader, 64, "log page" { magic: u32, ino: u64, next: u64, birth: u64, reserved: [u64; 4] }
);

structure!(
    /// Entries of one line: extents, holes, shifts.
    Extent, 64, "log entry" {
        kind: u8, lines: u8, flags: u16, file_block: u64, block: u64, count: u32, reserved: u32, epoch: u64,
        reserved2: [u64; 3],
    }
);

structure!(
    /// What precedes the name in a directory's entry.
    NameHead, 40, "directory entry" {
        kind: u8, lines: u8, name_len: u8, file_type: u8, ino: u64, cookie: u64, epoch: u64, removed: u64,
    }
);

structure!(
    /// What precedes name and value in an attribute's entry.
    AttributeHead, 40, "attribute entry" {
        kind: u8, lines: u8, name_len: u8, namespace: u8, part: u16, parts: u16, value_len: u32, here: u32,
        reserved: u32, epoch: u64, removed: u64,
    }
);

structure!(
    /// The first line of a checkpoint's block.
    CheckpointHead, 64, "checkpoint" { magic: u32, next: u64, len: u32, reserved: u32, reserved2: [u64; 5] }
);

structure!(
    /// The first line of a snapshot's block.
    SnapshotHead, 64, "snapshot" {
        magic: u32, epoch: u64, next: u64, log: u64, tail: u64, created: i64, copies: u64, flags: u32, name_len: u32,
    }
);

structure!(
    /// The first line of a block of a table of copies.
    CopiesHead, 64, "table of copies" { magic: u32, next: u64, reserved: [u64; 6] }
);

structure!(
    /// What precedes an inode's lines as they were, in a snapshot's log.
    InodeBefore, 64, "snapshot's inode" {
        kind: u8, lines: u8, flags: u16, slot: u64, ino: u64, reserved: [u64; 5],
    }
);

structure!(
    /// Where a block's old content is, in a snapshot's log.
    BlockBefore, 64, "snapshot's block" {
        kind: u8, lines: u8, flags: u16, block: u64, copy: u64, birth: u64, ino: u64, file_block: u64, reserved: [u64; 2],
    }
);

/// Flags of a snapshot's head.
pub(crate) mod snapshot_flag {
    /// Nobody can see it any more; what it has of older ones is still needed.
    pub(crate) const DELETED: u32 = 1;
}

/// Kinds of log entries.
pub(crate) mod kind {
    pub(crate) const EXTENT: u8 = 1;
    pub(crate) const HOLE: u8 = 2;
    pub(crate) const SHIFT: u8 = 3;
    pub(crate) const NAME: u8 = 4;
    pub(crate) const ATTRIBUTE: u8 = 5;
    pub(crate) const NEXT_PAGE: u8 = 6;
    pub(crate) const INODE_BEFORE: u8 = 7;
    pub(crate) const BLOCK_BEFORE: u8 = 8;
}

/// An extent that reads as zeros.
pub(crate) const UNWRITTEN: u16 = 1;

/// Features. Read-only ones, unless they say otherwise: who does not know one may only read.
pub(crate) mod feature {
    /// Content has checksums.
    pub(crate) const CHECKSUMS: u64 = 1;
    /// Content has parity; and checksums, without which nobody knows what is damaged.
    pub(crate) const PARITY: u64 = 2;
    /// Those that this program knows.
    pub(crate) const KNOWN: u64 = CHECKSUMS | PARITY;
    /// Metadata has replicas. An incompatible feature: it is in other places.
    pub(crate) const REPLICAS: u64 = 1;
}

/// Flags of an inode.
pub(crate) mod flag {
    pub(crate) const IMMUTABLE: u32 = 1;
    pub(crate) const APPEND: u32 = 2;
    pub(crate) const NO_DUMP: u32 = 4;
    pub(crate) const NO_ATIME: u32 = 8;
    pub(crate) const IN_PLACE: u32 = 16;
    pub(crate) const HAS_ATTRIBUTES: u32 = 32;
    pub(crate) const ALIGNED: u32 = 64;
    /// Mapped to be stored to: what protects the content counts for nothing.
    pub(crate) const MAPPED: u32 = 128;
    /// Those that a user may set.
    pub(crate) const SETTABLE: u32 = IMMUTABLE | APPEND | NO_DUMP | NO_ATIME | IN_PLACE | ALIGNED;
}
