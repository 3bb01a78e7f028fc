//! Rolling back: the live files become a snapshot's again.
//!
//! A record says so in the state line; then one record for each inode that was changed since, in the order of their numbers, makes it what it was, and says how far this
//! has come; then a record says that this is done. A mount that finds the word in the state line goes on from there: so whatever a power failure leaves, the
//! volume is as before, or rolled back. Other snapshots stay what they are: the lines that they need are saved, as for any change.
//!
//! An inode gets a new log beside the old one, which later snapshots may need. Its blocks are those that the snapshot has, with their births: so nothing
//! is copied. But where a later snapshot has another block in a place, the old one is copied to a new one: a block's owners are those from
//! its birth to its end, and it was away in between.

use crate::{
    Error, Nova, Result,
    alloc::{Purpose, Run},
    commit::Batch,
    extents::{Extents, Mapped},
    format::{BLOCK, Identity, LINE, Status, Structure as _, VolumeState, flag},
    inode::{Body, Index},
    log::{self, LINES, Rewrite},
    mount,
    rules::Rule,
    volume::{Freed, Volume},
};
use bytemuck::Zeroable as _;

impl Nova {
    /// Makes the live files those of a snapshot: all that was changed since is undone, quotas' limits included. Snapshots, also later ones, stay as they are. Durable on
    /// return; a crash before leaves the volume as it was, or rolled back.
    ///
    /// The volume is mounted anew, with a scan. What it costs before that follows what was changed: 2 drains for each inode, and its log; where later snapshots
    /// have other content, a copy of the old one.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`](crate::Code::NotFound) for a name that no snapshot has, [`Code::NoSpace`](crate::Code::NoSpace) and
    /// [`Code::ReadOnly`](crate::Code::ReadOnly): the volume is as it was, and unmounted. [`Error::InUse`] while there are files, mounted snapshots, or clones of
    /// this: it stays mounted as long as they live. After any other error, the next mount rolls back.
    pub fn rollback(self, name: &str) -> Result<Nova> {
        self.volume().writable()?;
        let epoch = self.snapshot(name)?.epoch;
        let mut volume = self.into_volume()?;
        volume.settle()?;
        if volume.roll_back_needs(epoch)? > volume.free_blocks() {
            return Err(crate::Code::NoSpace.into());
        }
        let (region, options) = (volume.media.region().clone(), volume.options.clone());
        let state = *volume.state.lock();
        let begun = mount::set_state(&volume, VolumeState { rollback: epoch, restored: 0, ..state });
        let done = begun.and_then(|()| volume.roll_back());
        volume.abandon();
        drop(volume);
        done?;
        mount::mount(region, options)
    }
}

/// An inode as it was: its lines, and what its log said. `None`: there was none.
type Was = Option<(Identity, Status, Index)>;

/// File blocks that go back to where they were, or to a copy.
enum Part {
    Same(u64, Mapped),
    /// `saved`: from what was copied away of a mapped file.
    Copy {
        file_block: u64,
        from: u64,
        saved: bool,
        unwritten: bool,
    },
}

impl Volume {
    /// What is in DRAM says nothing any more: nothing of it is written when the volume is closed.
    pub(crate) fn abandon(&mut self) {
        self.read_only = true;
    }

    /// Does what the state line says, and takes it out there. What is in DRAM is of before, then.
    pub(crate) fn roll_back(&self) -> Result<()> {
        let VolumeState { rollback: epoch, restored, .. } = *self.state.lock();
        if !self.snapshots.history().list.iter().any(|one| one.head.epoch == epoch && !one.is_deleted()) {
            return Error::damaged(
                "state line",
                crate::format::STATE,
                "the volume is rolled back to no snapshot",
            );
        }
        for ino in self.touched(epoch..u64::MAX).inodes.into_iter().filter(|ino| *ino > restored) {
            self.restore(epoch, ino)?;
        }
        let state = *self.state.lock();
        mount::set_state(self, VolumeState { rollback: 0, restored: 0, checkpoint: 0, ..state })?;
        self.settle()
    }

    /// Blocks that it may take to roll back.
    fn roll_back_needs(&self, epoch: u64) -> Result<u64> {
        let (mut blocks, mut logs, mut saved) = (2, 0, 0);
        for ino in self.touched(epoch..u64::MAX).inodes {
            saved += 3;
            let Some(at) = self.table.locate(ino) else { continue };
            let Some((_, _, index)) = self.was(epoch, at)? else { continue };
            let mut lines = index.attributes.lines();
            match &index.body {
                Body::File(extents) => {
                    let parts = self.parts(epoch, ino, extents)?;
                    lines += parts.len() as u64;
                    blocks += parts.iter().filter(|part| matches!(part, Part::Copy { .. })).count() as u64;
                }
                Body::Directory(names) => lines += names.lines(),
                _ => {}
            }
            // An entry that does not fit leaves the rest of its page.
            logs += (2 * lines).div_ceil(LINES);
        }
        Ok(blocks + (logs + (2u64 * saved).div_ceil(LINES)) * self.media.copies())
    }

    fn was(&self, epoch: u64, at: u64) -> Result<Was> {
        let lines = self.lines_in_epoch(epoch, at)?;
        let (identity, status) = lines.split_at(LINE as usize);
        let identity: Identity = bytemuck::pod_read_unaligned(identity);
        if identity.mode == 0 {
            return Ok(None);
        }
        self.media.check(at, bytemuck::bytes_of(&identity), Identity::NAME)?;
        self.media.check(at + LINE, status, Status::NAME)?;
        let status: Status = bytemuck::pod_read_unaligned(status);
        let index = Index::read(&self.media, &identity, &status, epoch)?;
        Ok(Some((identity, status, index)))
    }

    /// Makes one inode what it was, whatever it is.
    fn restore(&self, epoch: u64, ino: u64) -> Result<()> {
        let Some(at) = self.table.locate(ino) else { return Ok(()) };
        let Some((mut identity, mut status, index)) = self.was(epoch, at)? else { return self.end(ino, at) };
        let batch = self.batch();
        let mut rewrite = Rewrite::new(self, ino);
        index.attributes.rewrite(&mut rewrite)?;
        match &index.body {
            Body::File(extents) => {
                for part in self.parts(epoch, ino, extents)? {
                    let (file_block, run, unwritten, birth) = match part {
                        Part::Same(file_block, mapped) => {
                            (file_block, mapped.run(), mapped.unwritten, mapped.birth)
                        }
                        Part::Copy { file_block, from, saved, unwritten } => {
                            let run = self.allocate_run(self.near(), 1, 1, Purpose::Freeing)?;
                            if !unwritten {
                                // Pages of mapped files have no checksums, and their copies neither.
                                let is_protected = !saved && identity.flags & flag::MAPPED == 0;
                                self.copy_block(from, run, is_protected)?;
                            }
                            (file_block, run, unwritten, batch.epoch())
                        }
                    };
                    for mut entry in log::extent(file_block, run, unwritten, birth) {
                        rewrite.entry(bytemuck::bytes_of_mut(&mut entry))?;
                    }
                }
            }
            Body::Directory(names) => {
                for (name, dentry) in names.iter() {
                    let (ino, cookie, kind) = (dentry.ino, dentry.cookie, dentry.file_type);
                    rewrite.entry(log::name(name, ino, cookie, kind, batch.epoch()).bytes())?;
                }
            }
            _ => {}
        }
        // What was copied is durable by the same drain.
        (identity.log, status.tail) = rewrite.store()?;
        self.put_back(batch, at, identity, status)?;
        rewrite.done();
        Ok(())
    }

    /// There was no such file: the number is free, and keeps its generation.
    fn end(&self, ino: u64, at: u64) -> Result<()> {
        let (live, _) = self.media.inode_lines(at)?;
        if live.mode == 0 {
            return Ok(());
        }
        let free = Identity { generation: live.generation, ino, ..Identity::zeroed() };
        self.put_back(self.batch(), at, free, Status::zeroed())
    }

    /// The record that gives an inode its lines back.
    fn put_back(&self, mut batch: Batch<'_>, at: u64, identity: Identity, status: Status) -> Result<()> {
        let state = VolumeState { restored: identity.ino, ..*self.state.lock() };
        let state = mount::put_state(self, &mut batch, state);
        batch.changes_inode(at);
        batch.line(at, bytemuck::bytes_of(&self.media.sealed(at, identity)));
        batch.line(at + LINE, bytemuck::bytes_of(&self.media.sealed(at + LINE, status)));
        self.commit(&batch, Freed::default())?;
        *self.state.lock() = state;
        Ok(())
    }

    fn copy_block(&self, from: u64, to: Run, is_protected: bool) -> Result<()> {
        let mut content = vec![0; BLOCK as usize];
        match &self.protection {
            Some(protection) if is_protected => self.copy_verified(protection, from * BLOCK, &mut content)?,
            _ => self.media.copy_out(from * BLOCK, &mut content, "extent")?,
        }
        self.store_data(to.start * BLOCK, &content);
        Ok(())
    }

    /// What becomes of the blocks that a file had.
    fn parts(&self, epoch: u64, ino: u64, extents: &Extents) -> Result<Vec<Part>> {
        let has_later = self.keeps(Rule::RollbackCopies) && {
            let history = self.snapshots.history();
            history.list.iter().any(|one| one.head.epoch > epoch && !one.is_deleted())
        };
        let live = match self.lines(ino)? {
            Some((identity, status, _)) if has_later => {
                Some(Index::read(&self.media, &identity, &status, 0)?)
            }
            _ => None,
        };
        let live = live.as_ref().and_then(|index| match &index.body {
            Body::File(extents) => Some(extents),
            _ => None,
        });
        let stayed = |file_block: u64, block: u64, birth: u64| {
            let now = live.and_then(|extents| extents.at(file_block));
            !has_later || now.is_some_and(|now| now.block == block && now.birth == birth)
        };
        let history = self.snapshots.history();
        let mut parts: Vec<Part> = Vec::new();
        for (start, mapped) in extents.iter() {
            for skipped in 0..mapped.count {
                let (file_block, block) = (start + skipped, mapped.block + skipped);
                let copy = history.copy_of(epoch, block)?;
                if copy.is_none() && stayed(file_block, block, mapped.birth) {
                    match parts.last_mut() {
                        Some(Part::Same(first, last))
                            if *first + last.count == file_block
                                && last.block + last.count == block
                                && (last.unwritten, last.birth) == (mapped.unwritten, mapped.birth) =>
                        {
                            last.count += 1;
                        }
                        _ => parts.push(Part::Same(file_block, Mapped { block, count: 1, ..mapped })),
                    }
                } else {
                    let (from, unwritten) = (copy.unwrap_or(block), mapped.unwritten);
                    parts.push(Part::Copy { file_block, from, saved: copy.is_some(), unwritten });
                }
            }
        }
        Ok(parts)
    }
}
