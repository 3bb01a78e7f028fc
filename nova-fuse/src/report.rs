//! What a mounted file is, beyond what `stat` says. Read through the mount itself, as JSON, from an extended attribute of the file: [`ATTRIBUTE`].

use crate::lending::Lease;
use nova_core::{Nova, Result};
use serde::{Deserialize, Serialize};

/// The attribute that has it. It is in no list, and costs nothing on media.
pub const ATTRIBUTE: &str = "nova.file";

/// Bytes of a huge page.
const HUGE: u64 = 2 << 20;

/// What a file is. As JSON it is what [`ATTRIBUTE`] holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Which life of its inode number this is.
    pub generation: u32,
    /// Its flags, as [`nova_core::flags`] numbers them.
    pub flags: u32,
    /// How often it was changed.
    pub changes: u64,
    /// Parts of the volume that it is in.
    pub extents: u64,
    /// Of these, how many have blocks that another file has, too.
    pub shared: u64,
    /// Bytes that can be mapped by pages of 2 MiB.
    pub huge_bytes: u64,
    /// Pages of its log.
    pub log_pages: u64,
    /// Bytes of these that are in use.
    pub log_used: u64,
    /// Whether checksums and parity protect its content now: they do not while it is mapped. `None` on a volume without.
    pub protected: Option<bool>,
    /// Who has mapped it through the mount.
    pub leases: Vec<Lease>,
}

impl Report {
    /// What is known of a file that is lent to these.
    pub(crate) fn of(nova: &Nova, ino: u64, leases: Vec<Lease>) -> Result<Report> {
        let (stat, parts) = (nova.getattr(ino)?, nova.file_anatomy(ino)?);
        let fits = parts.extents.iter().filter(|part| part.offset % HUGE == part.file_offset % HUGE);
        let huge = fits
            .map(|part| ((part.offset + part.len) / HUGE).saturating_sub(part.offset.div_ceil(HUGE)) * HUGE);
        Ok(Report {
            generation: stat.generation,
            flags: stat.flags,
            changes: stat.changes,
            extents: parts.extents.len() as u64,
            shared: parts.extents.iter().filter(|part| part.shared).count() as u64,
            huge_bytes: huge.sum(),
            log_pages: parts.log.len() as u64,
            log_used: parts.log.iter().map(|page| page.end - page.start).sum(),
            protected: parts.protected,
            leases,
        })
    }

    /// Reads what [`ATTRIBUTE`] holds.
    ///
    /// # Errors
    ///
    /// It is not that.
    pub fn parse(json: &[u8]) -> Result<Report, serde_json::Error> {
        serde_json::from_slice(json)
    }
}
