//! Deleting snapshots: first nobody can see it any more. Then ([`clean`](super::clean)) what only it had becomes free, and what was saved for it, and older ones
//! need, becomes theirs (*merging*); the rest of it is free, too.

use super::{History, SavedBlock, Snapshot, clean::Sweep, log::MAX_NAME};
use crate::{
    Code, Error, Nova, Result,
    alloc::Run,
    commit::Batch,
    format::{BlockBefore, SNAPSHOT_INO, SnapshotHead, VolumeState, snapshot_flag},
    log::Rewrite,
    mount,
    volume::Volume,
};
use rustc_hash::FxHashMap;
use std::sync::atomic::Ordering::SeqCst;

impl Nova {
    /// Deletes a snapshot. When this returns it is gone, durably: 1 drain. What only it had becomes free by and by, as [`Cleaning`](crate::Cleaning) says:
    /// [`StatFs::freeing`](crate::StatFs::freeing) tells how much that is, operations that need the space take it, and [`sync`](Nova::sync) waits for all of it. That takes 2 drains for what is
    /// merged into an older snapshot. (If there is no space for that, it is done later.)
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`]; [`Code::Busy`] while it is mounted; [`Code::ReadOnly`].
    pub fn delete_snapshot(&self, name: &str) -> Result<()> {
        let volume = self.volume();
        volume.writable()?;
        if name.len() > MAX_NAME {
            return Err(Code::NameTooLong.into());
        }
        volume.hide_snapshot(name.as_bytes())?;
        self.cleaning_is_due()
    }
}

impl Snapshot {
    /// Those before it are lost: for a repair.
    pub(crate) fn forget_older(&self, volume: &Volume) -> Result<()> {
        let head = volume.media.sealed(self.at, SnapshotHead { next: 0, ..self.head });
        let mut batch = Batch::new(volume.epoch(), None);
        batch.line(self.at, bytemuck::bytes_of(&head));
        volume.commit_record(&[&batch]).map(drop)
    }
}

impl Volume {
    fn hide_snapshot(&self, name: &[u8]) -> Result<()> {
        let _alone = self.snapshots.alone();
        let mut history = self.snapshots.history();
        let index = history.find(name).ok_or(Error::Posix(Code::NotFound))?;
        let snapshot = &mut history.list[index];
        if snapshot.views > 0 {
            return Err(Code::Busy.into());
        }
        let mut head = snapshot.head;
        head.flags |= snapshot_flag::DELETED;
        let head = self.media.sealed(snapshot.at, head);
        let mut batch = Batch::new(self.epoch(), None);
        batch.line(snapshot.at, bytemuck::bytes_of(&head));
        let committed = self.commit_record(&[&batch])?;
        snapshot.head = head;
        self.snapshots.newest.store(history.newest(), SeqCst);
        history.sweep = Some(Sweep::begin(history.held.len(), &committed));
        Ok(())
    }

    /// Takes a deleted snapshot, before which there is no other deleted one, out of the list.
    pub(super) fn merge(&self, history: &mut History, index: usize) -> Result<()> {
        let mut batch = Batch::new(self.epoch(), None);
        let older = index.checked_sub(1).map(|older| &history.list[older]);
        let deleted = &history.list[index];
        let merged = match older {
            Some(older) => Some(self.write_merged(older, deleted)?),
            None => None,
        };
        let head = merged.as_ref().zip(older).map(|(merged, older)| {
            let head = SnapshotHead { log: merged.log, tail: merged.tail, copies: 0, ..older.head };
            self.media.sealed(older.at, head)
        });
        if let (Some(head), Some(older)) = (&head, older) {
            batch.line(older.at, bytemuck::bytes_of(head));
        }
        let newer = history.list.get(index + 1).map(|newer| {
            (newer.at, self.media.sealed(newer.at, SnapshotHead { next: deleted.head.next, ..newer.head }))
        });
        let state = match &newer {
            Some((at, head)) => {
                batch.line(*at, bytemuck::bytes_of(head));
                None
            }
            None => {
                let state = *self.state.lock();
                let after = VolumeState { snapshots: deleted.head.next, ..state };
                Some(mount::put_state(self, &mut batch, after))
            }
        };
        let committed = self.commit_record(&[&batch])?;
        if let Some(state) = state {
            *self.state.lock() = state;
        }
        let deleted = history.list.remove(index);
        let block = |at: u64| self.media.run_of(at);
        let mut free = deleted.pages.runs();
        free.push(block(deleted.at));
        free.extend(deleted.table.iter().map(|at| block(*at)));
        let copies = deleted.blocks.iter();
        match merged {
            Some(merged) => {
                let older = &mut history.list[index - 1];
                free.extend(older.pages.runs());
                free.extend(older.table.drain(..).map(block));
                let dropped = copies.filter(|(block, _)| {
                    merged.blocks.get(block).is_none_or(|kept| kept.copy != deleted.blocks[block].copy)
                });
                free.extend(dropped.map(|(_, saved)| Run { start: saved.copy, blocks: 1 }));
                older.head = head.expect("it was merged");
                (older.inodes, older.blocks) = (merged.inodes, merged.blocks);
                older.pages = merged.rewrite.done();
                merged.live.into_iter().for_each(|page| older.pages.add(page, 1));
            }
            None => free.extend(copies.map(|(_, saved)| Run { start: saved.copy, blocks: 1 })),
        }
        if let Some((at, head)) = newer {
            debug_assert_eq!(history.list[index].at, at);
            history.list[index].head = head;
        }
        self.retire(free.into_iter(), committed);
        Ok(())
    }

    /// A log with what is saved for `older` and what is saved for `deleted` and counts for `older`, too.
    fn write_merged(&self, older: &Snapshot, deleted: &Snapshot) -> Result<Merged<'_>> {
        let mut rewrite = Rewrite::new(self, SNAPSHOT_INO | older.head.epoch);
        let (mut inodes, mut blocks, mut live) = (FxHashMap::default(), FxHashMap::default(), Vec::new());
        let later = deleted.inodes.iter().filter(|(slot, _)| !older.inodes.contains_key(slot));
        for (slot, entry) in older.inodes.iter().chain(later) {
            let mut bytes = self.media.entry(*entry, "snapshot's inode")?;
            let (at, page) = rewrite.entry(&mut bytes)?;
            inodes.insert(*slot, at);
            live.push(page);
        }
        let later = deleted
            .blocks
            .iter()
            .filter(|(block, saved)| !older.blocks.contains_key(block) && saved.birth <= older.head.epoch);
        for (block, saved) in older.blocks.iter().chain(later) {
            let mut entry: BlockBefore = SavedBlock::entry(saved, *block);
            let (_, page) = rewrite.entry(bytemuck::bytes_of_mut(&mut entry))?;
            blocks.insert(*block, *saved);
            live.push(page);
        }
        let (log, tail) = rewrite.store()?;
        Ok(Merged { log, tail, rewrite, inodes, blocks, live })
    }
}

/// A log that was written, and what it has.
struct Merged<'v> {
    log: u64,
    tail: u64,
    rewrite: Rewrite<'v>,
    inodes: FxHashMap<u64, u64>,
    blocks: FxHashMap<u64, SavedBlock>,
    /// The page of each entry.
    live: Vec<u32>,
}
