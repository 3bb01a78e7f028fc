//! A snapshot, mounted: a volume of its own, which reads the past where there is one.
//!
//! It is read while the live volume goes on. Of an inode's lines, either an entry has them as they were, or nobody has changed them; that is looked at under the
//! history's lock. Pages of logs only grow, and marks of removal are read under the lock of the inode whose log it is. Content that the
//! snapshot has stays where it is, but for pages of mapped files: they are read, and then looked for once more among the copies.

use super::History;
use crate::{
    Code, Error, MountOptions, Nova, Result,
    alloc::Allocator,
    format::{BLOCK, Identity, Status},
    inode::{Index, Inode, State},
    media::Media,
    recovery,
    table::Table,
    volume::{Volume, data_blocks},
};

/// What a volume that is a snapshot is a view of.
pub(crate) struct View {
    live: Nova,
    pub(crate) epoch: u64,
}

impl Nova {
    /// Mounts a snapshot, beside the live volume and other snapshots: read-only, as everything was when it was made. It keeps the volume mounted, and cannot be deleted
    /// as long as it is mounted. No drain.
    ///
    /// Its files cannot be mapped. What [`Nova::fsck`] of it checks is the volume.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`]; [`Code::NotSupported`] of a snapshot; [`Error::Damaged`].
    pub fn mount_snapshot(&self, name: &str) -> Result<Nova> {
        let volume = self.volume();
        if volume.view.is_some() {
            return Err(Code::NotSupported.into());
        }
        let (superblock, state) = (volume.superblock, *volume.state.lock());
        let media = volume.media.clone();
        let table = {
            // No segment is being added.
            let _alone = volume.snapshots.alone();
            Table::read(&media, superblock.stripes)?
        };
        let view = {
            let mut history = volume.snapshots.history();
            let index = history.find(name.as_bytes()).ok_or(Error::Posix(Code::NotFound))?;
            let snapshot = &mut history.list[index];
            snapshot.views += 1;
            View { live: self.clone(), epoch: snapshot.head.epoch }
        };
        let options = MountOptions { read_only: true, ..volume.options.clone() };
        let allocator = Allocator::new(data_blocks(&superblock), superblock.stripes);
        let mut mounted = Volume::new(media, None, superblock, state, allocator, table, options, true);
        mounted.view = Some(view);
        recovery::read_limits(&mounted)?;
        Ok(Nova::over(mounted))
    }

    /// The name of the snapshot that this is; `None` of a live volume.
    pub fn snapshot_name(&self) -> Option<String> {
        let view = self.volume().view.as_ref()?;
        let history = view.live.volume().snapshots.history();
        let snapshot = history.list.iter().find(|snapshot| snapshot.head.epoch == view.epoch)?;
        Some(String::from_utf8_lossy(&snapshot.name).into_owned())
    }
}

impl View {
    /// The live volume.
    pub(crate) fn live(&self) -> &Nova {
        &self.live
    }

    fn volume(&self) -> &Volume {
        self.live.volume()
    }

    /// The two lines at `slot` as they were.
    pub(crate) fn lines(&self, slot: u64) -> Result<(Identity, Status)> {
        let lines = self.volume().lines_in_epoch(self.epoch, slot)?;
        let (identity, status) = lines.split_at(size_of::<Identity>());
        Ok((bytemuck::pod_read_unaligned(identity), bytemuck::pod_read_unaligned(status)))
    }

    /// An inode's log as it was.
    fn index(&self, media: &Media, ino: u64, identity: &Identity, status: &Status) -> Result<Index> {
        // Marks of removal are stored under this lock. An inode that is gone has pages that nobody changes any more.
        let live = self.volume().inode(ino).ok();
        let _still = live.as_ref().map(|inode| inode.state.read());
        Index::read(media, identity, status, self.epoch)
    }

    /// Copies content of a file that was at `at` out; verified, if it is protected now. (Pages of mapped files are not, nor are their copies.)
    fn copy_out(&self, past: &Volume, state: &State, at: u64, into: &mut [u8]) -> Result<()> {
        let (mut at, mut rest) = (at, into);
        while !rest.is_empty() {
            let len = rest.len().min((BLOCK - at % BLOCK) as usize);
            let (part, behind) = rest.split_at_mut(len);
            let (block, within) = (at / BLOCK, at % BLOCK);
            let copy = |history: &History| history.copy_of(self.epoch, block);
            let found = copy(&self.volume().snapshots.history())?;
            match found {
                Some(found) => past.media.copy_out(found * BLOCK + within, part, "extent")?,
                None => past.copy_data(state, at, part)?,
            }
            // Copied away meanwhile, and perhaps stored to: the copy is what was there.
            if found.is_none()
                && let Some(found) = copy(&self.volume().snapshots.history())?
            {
                past.media.copy_out(found * BLOCK + within, part, "extent")?;
            }
            (at, rest) = (at + len as u64, behind);
        }
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut history = self.live.volume().snapshots.history();
        if let Some(snapshot) = history.list.iter_mut().find(|snapshot| snapshot.head.epoch == self.epoch) {
            snapshot.views -= 1;
        }
    }
}

impl History {
    /// Where the content is that a block had at the end of an epoch, if it has been copied away since.
    pub(crate) fn copy_of(&self, epoch: u64, block: u64) -> Result<Option<u64>> {
        for snapshot in self.list.iter().filter(|snapshot| snapshot.head.epoch >= epoch) {
            if let Some(saved) = snapshot.blocks.get(&block) {
                return Ok(Some(saved.copy));
            }
            if let Some(copies) = &snapshot.copies
                && let Some(copy) = copies.copy_of(block)?
            {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }
}

impl Volume {
    /// Reads an inode's log, unless that was done. The caller holds its lock.
    pub(crate) fn read_log(&self, inode: &Inode, state: &mut State) -> Result<()> {
        if !state.is_read() {
            let (identity, status) = (&state.identity, &state.status);
            let index = match &self.view {
                Some(view) => view.index(&self.media, inode.ino, identity, status)?,
                None => Index::read(&self.media, identity, status, 0)?,
            };
            (state.pages, state.body, state.attributes) = (index.pages, index.body, index.attributes);
        }
        Ok(())
    }

    /// Copies a file's content out: of a snapshot, as it was.
    pub(crate) fn copy_content(&self, state: &State, at: u64, into: &mut [u8]) -> Result<()> {
        match &self.view {
            Some(view) => view.copy_out(self, state, at, into),
            None => self.copy_data(state, at, into),
        }
    }
}
