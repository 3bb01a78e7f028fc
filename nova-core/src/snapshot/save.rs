//! What the past needs of a record: the lines of inodes that it changes first, as they were.

use super::log::lines_in;
use crate::{
    Result,
    alloc::Purpose,
    commit::{Batch, Committed},
    format::{Identity, InodeBefore, LINE, SLOT, SNAPSHOT_INO, kind},
    log::Append,
    rules::Rule,
    volume::Volume,
};
use bytemuck::Zeroable as _;

impl Volume {
    /// Commits a batch, and with it what the newest snapshot has to keep of the inodes that it changes. One drain.
    pub(crate) fn commit_with_history(&self, batch: &Batch<'_>) -> Result<Committed> {
        if !self.snapshots.are_there() || batch.inodes().is_empty() || !self.keeps(Rule::LinesSaved) {
            return self.commit_record(&[batch]);
        }
        let mut history = self.snapshots.history();
        let Some(newest) = history.list.last_mut() else { return self.commit_record(&[batch]) };
        let missing: Vec<u64> =
            batch.inodes().iter().copied().filter(|at| !newest.inodes.contains_key(at)).collect();
        if missing.is_empty() {
            // The gate keeps it the newest one.
            drop(history);
            return self.commit_record(&[batch]);
        }
        let mut more = Batch::new(batch.epoch(), None);
        let ino = SNAPSHOT_INO | newest.head.epoch;
        let (log, tail) = (newest.head.log, newest.head.tail);
        let mut log = Append::new(self, ino, log, tail, &newest.pages, Purpose::Freeing);
        let mut saved = Vec::with_capacity(missing.len());
        for slot in missing {
            let (at, page) = log.entry(&mut more, &mut self.before(slot)?)?;
            saved.push((slot, at, page));
        }
        log.finish(&mut more, &newest.pages);
        let mut head = newest.head;
        (head.log, head.tail) = (log.log, log.tail);
        let head = self.media.sealed(newest.at, head);
        more.line(newest.at, bytemuck::bytes_of(&head));
        // Under the lock: who reads the past finds the lines in their slot, or the entry.
        let committed = self.commit_record(&[batch, &more])?;
        newest.head = head;
        log.done(&mut newest.pages);
        for (slot, at, page) in saved {
            newest.inodes.insert(slot, at);
            newest.pages.add(page, 1);
        }
        Ok(committed)
    }

    /// An entry with an inode's lines as they are; one without them, if the slot is free. Not sealed.
    fn before(&self, slot: u64) -> Result<Vec<u8>> {
        let lines = self.media.slot(slot)?;
        let identity: Identity = bytemuck::pod_read_unaligned(&lines[..LINE as usize]);
        let is_free = identity.mode == 0;
        let head = InodeBefore {
            kind: kind::INODE_BEFORE,
            lines: if is_free { 1 } else { 3 },
            slot,
            ino: identity.ino,
            ..InodeBefore::zeroed()
        };
        let mut entry = bytemuck::bytes_of(&head).to_vec();
        if !is_free {
            entry.extend_from_slice(&lines);
        }
        Ok(entry)
    }

    /// The two lines of a slot as they were at the end of an epoch: what was saved since, or what is there now.
    pub(crate) fn lines_in_epoch(&self, epoch: u64, slot: u64) -> Result<[u8; SLOT as usize]> {
        let history = self.snapshots.history();
        let later = history.list.iter().filter(|snapshot| snapshot.head.epoch >= epoch);
        if let Some(entry) = later.filter_map(|snapshot| snapshot.inodes.get(&slot)).next() {
            return lines_in(&self.media, *entry);
        }
        // Under the lock: nobody changes them for the first time now.
        self.media.slot(slot)
    }
}
