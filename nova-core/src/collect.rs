//! Log collection.
//!
//! *Fast*: when a log gets a page, its oldest pages go in the same record if nothing of them counts any more ([`crate::log::Append`]).
//! *Thorough*: when less than half of a log counts, it is written anew, and a record switches to it. One drain for its pages and one for the record; as many
//! entries are written as still count, after at least as many were added: so an operation's share is constant.

use crate::{
    Nova, Result,
    extents::Extents,
    inode::{Body, Inode, State},
    log::{self, LINES, Rewrite},
    volume::{Freed, Volume},
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What collection has done since the volume was mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collections {
    /// Logs that were written anew.
    pub rewritten_logs: u64,
    /// Pages that these had and did not need.
    pub rewritten_pages: u64,
    /// Oldest pages of logs that went because nothing of them counted.
    pub dropped_pages: u64,
}

/// The same, as it is counted.
#[derive(Default)]
pub(crate) struct Collected {
    rewritten_logs: AtomicU64,
    rewritten_pages: AtomicU64,
    dropped_pages: AtomicU64,
}

impl Collected {
    pub(crate) fn rewrote(&self, pages: u64) {
        self.rewritten_logs.fetch_add(1, Relaxed);
        self.rewritten_pages.fetch_add(pages, Relaxed);
    }

    pub(crate) fn dropped(&self, pages: u64) {
        if pages > 0 {
            self.dropped_pages.fetch_add(pages, Relaxed);
        }
    }
}

impl Nova {
    /// What the collection of logs has done since the volume was mounted.
    pub fn collections(&self) -> Collections {
        let collected = &self.volume().collected;
        Collections {
            rewritten_logs: collected.rewritten_logs.load(Relaxed),
            rewritten_pages: collected.rewritten_pages.load(Relaxed),
            dropped_pages: collected.dropped_pages.load(Relaxed),
        }
    }
}

/// Logs of fewer pages are left alone.
const FEWEST: usize = 4;

impl Volume {
    /// Rewrites the log, if it is worth it. Without space it is left as it is: the next operation tries again.
    pub(crate) fn collect_if_worth_it(&self, inode: &Inode, state: &mut State) {
        let pages = state.pages.len();
        if pages < FEWEST {
            return;
        }
        let entries = match &state.body {
            Body::File(extents) => extents.len() as u64,
            Body::Directory(names) => names.lines(),
            _ => 0,
        };
        if (entries + state.attributes.lines() + LINES) * 2 < pages as u64 * LINES {
            let _ = self.rewrite_log(inode, state);
        }
    }

    /// Writes the log anew: only what counts.
    pub(crate) fn rewrite_log(&self, inode: &Inode, state: &mut State) -> Result<()> {
        let mut batch = self.batch();
        let mut rewrite = Rewrite::new(self, inode.ino);
        let attributes = state.attributes.rewrite(&mut rewrite)?;
        let mut new_extents = Extents::default();
        let mut live: Vec<(u32, u64)> = attributes.pages().map(|page| (page, 1)).collect();
        let mut moved = Vec::new();
        match &state.body {
            Body::File(extents) => {
                for (file_block, mapped) in extents.iter() {
                    for mut entry in log::extent(file_block, mapped.run(), mapped.unwritten, mapped.birth) {
                        let (_, page) = rewrite.entry(bytemuck::bytes_of_mut(&mut entry))?;
                        let count = u64::from(entry.count);
                        let part = crate::extents::Mapped { block: entry.block, count, page, ..mapped };
                        new_extents.insert(entry.file_block, part);
                        live.push((page, count));
                    }
                }
            }
            Body::Directory(names) => {
                for (name, dentry) in names.iter() {
                    let mut entry =
                        log::name(name, dentry.ino, dentry.cookie, dentry.file_type, self.epoch());
                    let (at, page) = rewrite.entry(entry.bytes())?;
                    moved.push((name.to_vec(), at, page));
                    live.push((page, 1));
                }
            }
            _ => {}
        }
        let (mut identity, mut status) = (state.identity, state.status);
        (identity.log, status.tail) = rewrite.store()?;
        self.put(&mut batch, inode.at, Some(&mut identity), &mut status);
        self.commit(&batch, Freed { pages: state.pages.born(), ..Freed::default() })?;
        let pages = rewrite.done();
        self.collected.rewrote((state.pages.len() as u64).saturating_sub(pages.len() as u64));
        state.pages = pages;
        live.into_iter().for_each(|(page, count)| state.pages.add(page, count));
        (state.identity, state.status, state.attributes) = (identity, status, attributes);
        match &mut state.body {
            Body::File(extents) => *extents = new_extents,
            Body::Directory(names) => {
                moved.into_iter().for_each(|(name, at, page)| names.moved(&name, at, page))
            }
            _ => {}
        }
        Ok(())
    }
}
