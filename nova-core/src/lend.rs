//! Files that other processes map, in the file that the volume is in: whoever serves a volume lends its files so
//! ([`pmem_map::lease`] is how a process asks).
//!
//! The lease is that of a mapping ([`File::map_shared`] with nobody beside it): blocks stay where they are, nothing of the content is verified or protected, and
//! who writes the file writes in place. But there is no mapping here: which pages were stored to is not known, and nobody can hold those stores up. So all of the
//! file counts as stored to when the lease ends, and no snapshot is made before.

use crate::{
    Code, File, Result,
    alloc::Run,
    format::{BLOCK, MAX_SIZE},
    inode::Lease,
    map::{Taken, bytes},
};
use parking_lot::Mutex;
use pmem_map::Extent;

/// A file that another process maps. Dropping it ends the lease; nobody may store to the file's bytes from then on.
#[derive(Debug)]
pub struct LentFile {
    file: File,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    extents: Vec<Extent>,
    blocks: Vec<(Run, u64)>,
    /// How many blocks that are.
    count: u64,
    /// Bytes of the file.
    len: u64,
}

impl File {
    /// Lends the file to another process, which maps the extents and stores there.
    ///
    /// Until what is returned is dropped, the file's blocks stay where they are; truncating it, punching holes, and mapping it is refused with [`Error::Mapped`](crate::Error::Mapped);
    /// [`write_at`](File::write_at) goes in place, atomic for aligned words only; and no snapshot is made ([`Error::Lent`](crate::Error::Lent)). It keeps the volume mounted. Reading copies
    /// the bytes as they are.
    ///
    /// # Errors
    ///
    /// As of [`map`](File::map), with the same drains.
    pub fn lend(&self) -> Result<LentFile> {
        let Taken { extents, blocks, .. } = self.take(Lease::Outside)?;
        let count = blocks.iter().map(|(run, _)| run.blocks).sum();
        let held = Held { extents, blocks, count, len: 0 };
        let lent = LentFile { file: self.clone(), held: Mutex::new(held) };
        // From here on, dropping it ends the lease. The file is not shorter than it was then, for nobody truncates it.
        let len = self.len()?;
        let mut held = lent.held.lock();
        held.len = len.min(held.count * BLOCK);
        drop(held);
        Ok(lent)
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
        held.blocks.extend(blocks);
        (held.count, held.len) = (to, to * BLOCK);
        Ok(())
    }
}

impl Drop for LentFile {
    fn drop(&mut self) {
        self.file.volume().snapshots.end_lending(&self.held.get_mut().blocks);
        self.file.end_lease();
    }
}
