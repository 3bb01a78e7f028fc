//! Files that other processes map, in the file that the volume is in: whoever serves a volume lends its files so
//! ([`pmem_map::lease`] is how a process asks).
//!
//! The lease is that of a mapping ([`File::map_shared`] with nobody beside it): blocks stay where they are, nothing of the content is verified or protected, and
//! who writes the file writes in place. But there is no mapping here: which pages were stored to is not known, so all of the file counts as stored to; and
//! only somebody in the other process can hold its stores up, for a snapshot: its [`Holder`](crate::Holder).

use crate::{
    Code, File, Result,
    format::{BLOCK, MAX_SIZE},
    inode::Lease,
    map::{Taken, bytes},
    snapshot::{Holder, MappedFile},
};
use parking_lot::Mutex;
use pmem_map::Extent;
use std::sync::Arc;

/// A file that another process maps. Dropping it ends the lease; nobody may store to the file's bytes from then on.
#[derive(Debug)]
pub struct LentFile {
    file: File,
    held: Mutex<Held>,
    /// Known to snapshots.
    mapped: Arc<MappedFile>,
}

#[derive(Debug)]
struct Held {
    extents: Vec<Extent>,
    /// How many blocks that are.
    count: u64,
    /// Bytes of the file.
    len: u64,
}

impl File {
    /// Lends the file to another process, which maps the extents and stores there; `holder` can hold up its stores.
    ///
    /// Until what is returned is dropped, the file's blocks stay where they are; truncating it, punching holes, and mapping it is refused with
    /// [`Error::Mapped`](crate::Error::Mapped); [`write_at`](File::write_at) goes in place, atomic for aligned words only. A snapshot asks the holder first; without one it is
    /// refused ([`Error::Lent`](crate::Error::Lent)). It keeps the volume mounted. Reading copies the bytes as they are.
    ///
    /// # Errors
    ///
    /// As of [`map`](File::map), with the same drains.
    pub fn lend(&self, holder: Option<Arc<dyn Holder>>) -> Result<LentFile> {
        self.take(Lease::Outside, |Taken { extents, blocks, len, .. }| {
            let count = blocks.iter().map(|(run, _)| run.blocks).sum();
            let held = Mutex::new(Held { extents, count, len });
            let mapped = self.volume().snapshots.mapped.add_lent(self.ino(), blocks, holder);
            Ok(LentFile { file: self.clone(), held, mapped })
        })
    }
}

impl LentFile {
    /// Where the file's bytes are, in order: whole blocks.
    pub fn extents(&self) -> Vec<Extent> {
        self.held.lock().extents.clone()
    }

    /// Bytes of the file that are lent.
    #[expect(clippy::len_without_is_empty, reason = "an empty file is not lent")]
    pub fn len(&self) -> u64 {
        self.held.lock().len
    }

    /// Lends more: the file has `len` bytes in whole blocks afterwards, if it has fewer, and all of them are lent. Extents are added behind those that there
    /// are. Durable on return: 2 drains.
    ///
    /// # Errors
    ///
    /// [`Code::NoSpace`], [`Code::QuotaExceeded`], [`Code::FileTooLarge`]: it
    /// is as it was.
    pub fn grow(&self, len: u64) -> Result<()> {
        let volume = self.file.volume();
        let mut held = self.held.lock();
        let mut state = self.file.inode.state.write();
        let _pass = volume.snapshots.pass();
        if len > MAX_SIZE {
            return Err(Code::FileTooLarge.into());
        }
        let (from, to) = (held.count, len.div_ceil(BLOCK));
        if to <= from {
            return Ok(());
        }
        let size = state.status.size.max(to * BLOCK);
        self.file.make_mappable(&mut state, from..to, size, None)?;
        let blocks = self.file.blocks(&state, from..to)?;
        let extents = volume.media.region().extents(&bytes(&blocks))?;
        held.extents.extend(extents);
        volume.snapshots.mapped.grows(&self.mapped, blocks);
        volume.snapshots.mapped.has_grown(volume, &self.mapped, to * BLOCK);
        (held.count, held.len) = (to, to * BLOCK);
        Ok(())
    }

    /// The other process is about to store to the page at `at`, in bytes of the file, for the first time since its stores were held up for a snapshot: what the
    /// snapshot has of it is copied away. Durable on return: 2 drains for a page that was not copied yet. (A copy that fails is missing in the snapshot, which says so.)
    pub fn keep(&self, at: u64) {
        self.mapped.keep(at);
    }
}

impl Drop for LentFile {
    fn drop(&mut self) {
        self.file.no_longer_mapped(&self.mapped);
        self.file.end_lease();
    }
}
