//! Protection of file content: checksums that every read verifies, parity that damage is repaired from, and scrubbing. Replicas of metadata.
//!
//! A volume is formatted with [`FormatOptions::checksums`](crate::FormatOptions::checksums), or with
//! [`FormatOptions::parity`](crate::FormatOptions::parity) too. Each block of content then has a *line* of checksums (eight stripes of 512 bytes, two copies)
//! and 512 bytes of parity, at a place that follows from the block's (`layout`). They are stored with the content: past the caches and drained
//! together with it (`store`), or in the same record (`patch`). So they cost no drain, and never disagree with content that is linked.
//!
//! # What becomes of damage
//!
//! | damaged | with checksums | with parity |
//! |---|---|---|
//! | content: any damage of up to 512 bytes side by side | reported | repaired |
//! | content: one stripe, however much of it; two stripes that touch no byte at the same place | reported | repaired |
//! | content: more | reported | reported |
//! | checksums: one copy of any stripes' | repaired | repaired |
//! | checksums: both copies, unequally | reported | repaired, if all of the content agrees with the parity |
//! | parity | | repaired by the next scrub; content is right |
//! | content and its checksums, or content and its parity | reported | reported |
//! | a block that is gone (a page that is lost) | reported | reported |
//!
//! *Reported*: whoever reads it gets [`Error::Damaged`], and nothing else of the file is affected. *Repaired*: whoever reads it gets
//! what was written; and if the volume is mounted to write, so does the medium. Bytes are never returned that neither copy of their checksum agrees with,
//! unless all of the block agrees with its parity and the copies contradict each other: then the line is what is damaged.
//!
//! # Metadata
//!
//! All metadata has checksums. On a volume that was formatted with [`FormatOptions::replicas`](crate::FormatOptions::replicas) each structure is there twice (FORMAT.md, "Replicas of
//! metadata"), and every record changes both:
//!
//! | damaged | without replicas | with replicas |
//! |---|---|---|
//! | a superblock, or one of the state lines | the other one counts, and mounting, a scrub or a repair stores it | the same |
//! | stripe line, segment of the inode table, inode; page or entry of a log; snapshot: in one place | reported | repaired by who reads it first; where only the copy is damaged, by a scrub or a repair |
//! | the same, in both places | reported; a repair keeps what else there is | the same |
//! | target of a symbolic link | as content | as an entry of a log |
//! | a line of a table of copies (of mapped files, for a snapshot) | counts as one that was being stored | repaired |
//! | the journal: the newest record | counts as one that was being written | the same |
//! | checkpoint | mounting scans | the same |
//!
//! # Files that are mapped
//!
//! Stores to a mapping are not seen by anybody, so protection of a file is off while it is mapped to write, and
//! comes back when the last such mapping ends ([`mapped`] has the table). [`File::map_read`](crate::File::map_read) does not turn it off: the file is verified when it is
//! mapped, and readers are given what is right. But as long as there is such a mapping, which lends references, no repair of the volume is stored.
//!
//! [`Error::Damaged`]: crate::Error::Damaged

pub(crate) mod bad;
pub(crate) mod crc;
pub(crate) mod dirty;
pub(crate) mod layout;
pub mod mapped;
pub(crate) mod parity;
pub(crate) mod patch;
pub(crate) mod replica;
pub mod scrub;
pub(crate) mod store;
pub(crate) mod sums;
pub(crate) mod verify;

use crate::{
    Nova,
    format::{BLOCK, Superblock},
};
use dirty::DirtyFiles;
use layout::Layout;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a stripe.
pub(crate) const STRIPE: u64 = 512;
/// Stripes of a block.
pub(crate) const STRIPES: usize = (BLOCK / STRIPE) as usize;

/// The protection of a volume that has any.
pub(crate) struct Protection {
    pub(crate) layout: Layout,
    /// What checksums are seeded with.
    seed: u32,
    /// One repair at a time: two readers may meet the same damage.
    repairing: Mutex<()>,
    /// Mappings to read, which have references to bytes: while there are any, repairs are not stored.
    lent: AtomicU64,
    /// What was stored to of files that are mapped to write.
    pub(crate) dirty: DirtyFiles,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    data: AtomicU64,
    checksums: AtomicU64,
    parity: AtomicU64,
    damaged: AtomicU64,
}

/// What was met of damage since the volume was mounted: by reads, writes and scrubs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repairs {
    /// Stripes of content that were made right from parity.
    pub data: u64,
    /// Lines of checksums that were made right.
    pub checksums: u64,
    /// Blocks whose parity was made right.
    pub parity: u64,
    /// Structures of metadata that were made right: from their copies, or the copies from them.
    pub metadata: u64,
    /// How often content could not be made right, and whoever wanted it was told so.
    pub damaged: u64,
}

impl std::ops::Sub for Repairs {
    type Output = Repairs;

    fn sub(self, before: Repairs) -> Repairs {
        Repairs {
            data: self.data - before.data,
            checksums: self.checksums - before.checksums,
            parity: self.parity - before.parity,
            metadata: self.metadata - before.metadata,
            damaged: self.damaged - before.damaged,
        }
    }
}

impl Protection {
    /// Of this volume, if it has any.
    pub(crate) fn of(superblock: &Superblock) -> Option<Protection> {
        let layout = Layout::of(superblock);
        layout.has_checksums().then(|| Protection {
            layout,
            seed: crc32c::crc32c(&superblock.identity),
            repairing: Mutex::new(()),
            lent: AtomicU64::new(0),
            dirty: DirtyFiles::default(),
            counts: Counts::default(),
        })
    }

    /// Where the checksum of a stripe begins.
    #[inline]
    fn place(&self, block: u64, stripe: usize) -> u32 {
        let number = block * STRIPES as u64 + stripe as u64;
        self.seed ^ number as u32 ^ ((number >> 32) as u32).rotate_left(16)
    }

    /// The checksums of stripes side by side, the first of which is `first`: of as many as there are.
    #[inline]
    fn sums(&self, block: u64, first: usize, stripes: &[parity::Stripe]) -> [u32; STRIPES] {
        crc::stripes(|n| self.place(block, first + n), stripes)
    }

    /// What the line of a block says of stripes that are absent.
    fn mark(&self, block: u64) -> u32 {
        crc32c::crc32c_append(self.seed, &block.to_le_bytes())
    }

    /// A mapping to read begins. On return no repair is being stored, and none will be until it ends.
    pub(crate) fn lend(&self) {
        let _none = self.repairing.lock();
        self.lent.fetch_add(1, Relaxed);
    }

    pub(crate) fn end_lending(&self) {
        let _none = self.repairing.lock();
        self.lent.fetch_sub(1, Relaxed);
    }

    fn repairs(&self) -> Repairs {
        let Counts { data, checksums, parity, damaged } = &self.counts;
        Repairs {
            data: data.load(Relaxed),
            checksums: checksums.load(Relaxed),
            parity: parity.load(Relaxed),
            metadata: 0,
            damaged: damaged.load(Relaxed),
        }
    }
}

impl Nova {
    /// Whether content has checksums, and whether it has parity.
    pub fn protection(&self) -> (bool, bool) {
        let layout = Layout::of(&self.volume().superblock);
        (layout.has_checksums(), layout.parity_at(layout.first).is_some())
    }

    /// Whether metadata has replicas.
    pub fn has_replicas(&self) -> bool {
        self.volume().superblock.has_replicas()
    }

    /// What was met of damage since the volume was mounted: to content, and, where metadata has replicas, to metadata that could be repaired.
    pub fn repairs(&self) -> Repairs {
        let volume = self.volume();
        let content = volume.protection.as_ref().map_or(Repairs::default(), Protection::repairs);
        Repairs { metadata: volume.media.repaired(), ..content }
    }
}
