//! Making snapshots, and saying which ones there are.

use super::{
    History, Snapshot,
    lent::Held,
    log::{MAX_NAME, block},
    mapped::Prepared,
};
use crate::{
    Code, Error, Nova, Result,
    alloc::{Purpose, Run},
    commit::Batch,
    format::{BLOCK, SNAPSHOT_MAGIC, SnapshotHead, VolumeState},
    log::Pages,
    media::Media,
    mount,
    rules::Rule,
    volume::Volume,
};
use bytemuck::Zeroable as _;
use std::sync::atomic::Ordering::SeqCst;

/// A snapshot, and what it costs. Blocks are of 4,096 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// Which one it is: they are numbered as they were made, each number once.
    pub epoch: u64,
    /// When it was made: nanoseconds since 1970.
    pub created: i64,
    /// Blocks that were in use then.
    pub used: u64,
    /// Blocks that would be free if this snapshot alone were deleted.
    pub unique: u64,
    /// Blocks that say how the volume differs from this snapshot: saved inodes, and copies of mapped pages.
    pub saved: u64,
}

impl Nova {
    /// Makes a snapshot: all files and directories as they are now, between two operations. Durable on return. 2 drains, whatever the volume has.
    ///
    /// From then on the first change of each inode takes 3 lines more, and content that the snapshot has is never stored to in place.
    /// Operations that are under way are waited for.
    ///
    /// # Errors
    ///
    /// [`Code::Exists`] for a name that a snapshot has; [`Code::Invalid`] for an empty name, and for one with `/` or a control character;
    /// [`Code::NameTooLong`] above 255 bytes; [`Code::NoSpace`]; [`Code::ReadOnly`]; [`Error::Lent`] if stores of other
    /// processes ([`File::lend`](crate::File::lend)) cannot be held up within two seconds. After an error of the disk older snapshots are what they were. But nothing can
    /// be made durable any more, and no store to a mapped file can be refused: of pages that are first stored to after that error, older
    /// snapshots say that they are damaged.
    pub fn create_snapshot(&self, name: &str) -> Result<SnapshotInfo> {
        let volume = self.volume();
        volume.writable()?;
        check_name(name)?;
        let mut made = volume.create_snapshot(name.as_bytes());
        if matches!(made, Err(Error::Posix(Code::NoSpace))) && volume.clean_step()? {
            // What it needs is known when it begins, and then it can make no space.
            volume.clean_up()?;
            volume.settle()?;
            made = volume.create_snapshot(name.as_bytes());
        }
        made?;
        self.snapshot(name)
    }

    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        let (media, history) = (&self.volume().media, self.volume().snapshots.history());
        let visible = history.list.iter().filter(|snapshot| !snapshot.is_deleted());
        visible.map(|snapshot| info(media, &history, snapshot)).collect()
    }

    /// One snapshot. [`Code::NotFound`] if there is none of this name.
    pub fn snapshot(&self, name: &str) -> Result<SnapshotInfo> {
        let history = self.volume().snapshots.history();
        let index = history.find(name.as_bytes()).ok_or(Error::Posix(Code::NotFound))?;
        Ok(info(&self.volume().media, &history, &history.list[index]))
    }
}

fn info(media: &Media, history: &History, snapshot: &Snapshot) -> SnapshotInfo {
    let epoch = snapshot.head.epoch;
    let seen = |birth: u64, last: u64| {
        let visible = history.list.iter().filter(|one| !one.is_deleted()).map(|one| one.head.epoch);
        visible.filter(|epoch| (birth..=last).contains(epoch)).collect::<Vec<_>>()
    };
    let alone = history.held.iter().filter(|held| seen(held.birth, held.last) == [epoch]);
    SnapshotInfo {
        name: String::from_utf8_lossy(&snapshot.name).into_owned(),
        epoch,
        created: snapshot.head.created,
        used: snapshot.used,
        unique: alone.map(|held| held.run.blocks).sum(),
        saved: snapshot.own(media).iter().map(|run| run.blocks).sum(),
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.len() > MAX_NAME {
        Err(Code::NameTooLong.into())
    } else if name.is_empty() || name.chars().any(|c| c == '/' || c.is_control()) {
        Err(Code::Invalid.into())
    } else {
        Ok(())
    }
}

impl Volume {
    fn create_snapshot(&self, name: &[u8]) -> Result<()> {
        // Before the gate closes: whoever is to hold up stores may have to get through it to say so.
        let held = Held::new(&self.snapshots.mapped)?;
        let _alone = self.snapshots.alone();
        let mut history = self.snapshots.history();
        // A file that was lent since then is stored to.
        held.check(&self.snapshots.mapped)?;
        if history.find(name).is_some() {
            return Err(Code::Exists.into());
        }
        let mapped = &self.snapshots.mapped;
        let run = self.allocate_run(self.near(), self.media.copies(), 1, Purpose::Ordinary)?;
        let mut prepared = match mapped.prepare(self) {
            Ok(prepared) => prepared,
            Err(error) => {
                self.give_up(&[run]);
                return Err(error);
            }
        };
        let made = self.link_snapshot(run, name, prepared.as_mut());
        let copies = prepared.map(|prepared| prepared.copies);
        let table: Vec<u64> = copies.iter().flat_map(|copies| copies.table().to_vec()).collect();
        match made {
            Ok(snapshot) => {
                self.fold(&mut history);
                self.snapshots.newest.store(snapshot.head.epoch, SeqCst);
                self.snapshots.epoch.store(snapshot.head.epoch + 1, SeqCst);
                history.list.push(Snapshot { table, copies, ..snapshot });
                held.taken();
                Ok(())
            }
            Err(error) => {
                // What is copied from here on is for the snapshot before it again, if that needs any; and what was copied since the moment.
                let older = history.list.last().and_then(|newest| newest.copies.as_ref());
                let adopted = match (older, &copies) {
                    (Some(older), Some(copies)) => {
                        let mut targets = mapped.targets(Some(older));
                        older.adopt(copies, || targets.switch())
                    }
                    _ => {
                        mapped.copy_to(older);
                        Vec::new()
                    }
                };
                let mut runs = vec![run];
                runs.extend(table.iter().map(|at| self.media.run_of(*at)));
                let spare = copies.iter().flat_map(|copies| copies.spare()).flat_map(Run::range);
                let left = spare.filter(|block| !adopted.contains(block));
                runs.extend(left.map(|start| Run { start, blocks: 1 }));
                self.give_up(&runs);
                Err(error)
            }
        }
    }

    /// What was copied for snapshots of files that were mapped is from here on as if it had been read from media, and what was set aside is free: pages are copied
    /// for a newer snapshot, or none is mapped. The caller holds the gate alone.
    pub(crate) fn fold(&self, history: &mut History) {
        for snapshot in &mut history.list {
            if let Some(copies) = snapshot.copies.take() {
                snapshot.blocks.extend(copies.saved());
                copies.unused().into_iter().for_each(|run| self.allocator.free(run));
            }
        }
    }

    fn link_snapshot(&self, run: Run, name: &[u8], mapped: Option<&mut Prepared>) -> Result<Snapshot> {
        let (at, state) = (run.start * BLOCK, *self.state.lock());
        let blocks = self.blocks();
        let used = blocks.end - blocks.start - self.free_blocks();
        let copies = mapped.as_ref().map_or(0, |prepared| prepared.copies.first());
        let mut stored = match mapped {
            Some(prepared) => self.snapshots.mapped.moment(self, prepared)?,
            None => Vec::new(),
        };
        stored.extend(self.snapshots.mapped.take_left());
        // What is not copied away later has to be durable as it is.
        for stored in stored.into_iter().filter(|_| self.keeps(Rule::StoresBeforeRecord)) {
            self.media.flush(stored)?;
        }
        let head = SnapshotHead {
            magic: SNAPSHOT_MAGIC,
            epoch: self.epoch(),
            next: state.snapshots,
            created: self.now(),
            copies,
            name_len: name.len() as u32,
            ..SnapshotHead::zeroed()
        };
        let head = self.media.sealed(at, head);
        self.media.store_twice(at, &block(&self.media, at, &head, used, name));
        if self.keeps(Rule::SnapshotBeforeRecord) {
            self.media.drain()?;
        }
        let mut batch = Batch::new(head.epoch, None);
        let after = VolumeState { epoch: head.epoch + 1, snapshots: at, ..state };
        let after = mount::put_state(self, &mut batch, after);
        self.commit_record(&[&batch])?;
        *self.state.lock() = after;
        Ok(Snapshot {
            at,
            head,
            name: name.to_vec(),
            pages: Pages::default(),
            inodes: Default::default(),
            blocks: Default::default(),
            used,
            table: Vec::new(),
            copies: None,
            views: 0,
        })
    }
}
