//! Where a volume's structures are: for tools that draw a volume, and for those that damage one on purpose to see that it is found.

use super::survey::{self, Survey};
use crate::{
    Nova, Result,
    alloc::Run,
    extents::Extents,
    format::{BLOCK, LINE, SLOT, STATE},
    inode::Body,
    table,
};
use std::ops::Range;

/// What a block of a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Holds {
    /// One of the two superblocks.
    Superblock,
    /// State line and stripe lines.
    State,
    /// The journal.
    Journal,
    /// A segment of the inode table; copies too.
    InodeTable,
    /// A page of an inode's log, or its copy.
    Log,
    /// Bytes of one file.
    Data,
    /// Bytes of several files.
    Shared,
    /// What only snapshots have: what files had, and what says so.
    Snapshot,
    /// Checksums and parity of content.
    Protection,
    /// Metadata of another kind.
    Other,
    /// Nothing.
    Free,
}

/// Blocks side by side that are one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins, in bytes of the volume.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// What it is.
    pub holds: Holds,
}

/// What is where in a volume: all of it, without gaps. [`Nova::anatomy`] makes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Anatomy {
    /// In the order of their offsets.
    pub stretches: Vec<Stretch>,
    /// Files that have data.
    pub files: u64,
    /// Stretches that their data is in: as many as files, if nothing is fragmented.
    pub extents: u64,
}

impl Anatomy {
    /// Bytes that are one thing.
    pub fn bytes(&self, holds: Holds) -> u64 {
        self.stretches.iter().filter(|stretch| stretch.holds == holds).map(|stretch| stretch.len).sum()
    }

    /// Stretches of free blocks: how many, and the bytes of the longest.
    pub fn free_stretches(&self) -> (u64, u64) {
        let free = self.stretches.iter().filter(|stretch| stretch.holds == Holds::Free);
        free.fold((0, 0), |(count, longest), stretch| (count + 1, longest.max(stretch.len)))
    }
}

/// A part of a file, in blocks side by side. Offsets and lengths are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileExtent {
    /// Where in the file.
    pub file_offset: u64,
    /// Where in the volume.
    pub offset: u64,
    /// Whole blocks, of which the last may be behind the file's end.
    pub len: u64,
    /// Reserved only: it reads as zeros.
    pub unwritten: bool,
    /// Whether some of it is another file's, too.
    pub shared: bool,
}

/// Where the parts of one file are, in bytes of the volume. Where metadata has replicas, the copy of `identity`, of `state` and of each page of the log is 4,096 bytes
/// behind it. [`Nova::file_anatomy`] makes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileAnatomy {
    /// The inode's identity line.
    pub identity: Range<u64>,
    /// Its state line.
    pub state: Range<u64>,
    /// Pages of its log, oldest first: what of each is in use.
    pub log: Vec<Range<u64>>,
    /// What it maps, in the order of the file. Empty for what is no file and no symbolic link.
    pub extents: Vec<FileExtent>,
    /// Whether checksums and parity protect its content now: they do not while it is mapped to be stored to. `None` on a volume that has neither.
    pub protected: Option<bool>,
}

impl Nova {
    /// Reads where everything is, from media. Structures that are damaged are not followed. Operations wait meanwhile. 2 drains, or none.
    ///
    /// # Errors
    ///
    /// Those of a journal that failed before.
    pub fn anatomy(&self) -> Result<Anatomy> {
        let volume = self.volume();
        let _quiet = volume.quiesce()?;
        let survey = Survey::take(&volume.media, &volume.superblock);
        let mut blocks = vec![Holds::Other; (volume.media.len() / BLOCK) as usize];
        let last = blocks.len() as u64 - 1;
        let mut set = |run: Run, holds: Holds| {
            run.range().for_each(|block| blocks[block as usize] = holds);
        };
        let run = |start: u64, blocks: u64| Run { start, blocks };
        survey.owners.free().into_iter().for_each(|run| set(run, Holds::Free));
        for segment in survey.segments.iter().flatten() {
            set(run(segment.at / BLOCK, segment.blocks), Holds::InodeTable);
        }
        let (mut files, mut extents) = (0, 0);
        for node in survey.nodes.values() {
            node.index.pages.runs().into_iter().for_each(|run| set(run, Holds::Log));
            let runs = runs_of(&node.index.body);
            files += u64::from(!runs.is_empty());
            extents += runs.len() as u64;
            if !node.is_damaged {
                runs.into_iter().for_each(|(_, run, _)| set(run, Holds::Data));
            }
        }
        survey.owners.shared().into_iter().for_each(|(block, _)| set(run(block, 1), Holds::Shared));
        survey.held.iter().for_each(|held| set(held.run, Holds::Snapshot));
        let own = survey.snapshots.iter().flat_map(|snapshot| snapshot.own(&volume.media));
        own.for_each(|run| set(run, Holds::Snapshot));
        set(run(0, 1), Holds::Superblock);
        set(run(last, 1), Holds::Superblock);
        set(volume.media.run_of(STATE), Holds::State);
        let (journal, journal_len) = (volume.superblock.journal, volume.superblock.journal_len);
        set(run(journal / BLOCK, journal_len / BLOCK), Holds::Journal);
        let behind_journal = (journal + journal_len) / BLOCK;
        set(run(behind_journal, volume.blocks().start - behind_journal), Holds::Protection);
        let mut stretches: Vec<Stretch> = Vec::new();
        for (block, holds) in blocks.into_iter().enumerate() {
            match stretches.last_mut() {
                Some(stretch) if stretch.holds == holds => stretch.len += BLOCK,
                _ => stretches.push(Stretch { offset: block as u64 * BLOCK, len: BLOCK, holds }),
            }
        }
        Ok(Anatomy { stretches, files, extents })
    }

    /// Where the parts of an inode are: of a log that is damaged, what is before its damage. Waits for operations on it. No drain.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`](crate::Code::NotFound); [`Error::Damaged`](crate::Error::Damaged), if its lines are.
    pub fn file_anatomy(&self, ino: u64) -> Result<FileAnatomy> {
        let volume = self.volume();
        let inode = volume.inode(ino)?;
        let state = inode.state.read();
        state.alive()?;
        let (identity, status) = (&state.identity, &state.status);
        let (index, ..) = survey::read_log(&volume.media, identity, status.tail);
        let used = |page: Run| {
            let start = page.start * BLOCK;
            let tail = status.tail;
            start..if (start..=start + BLOCK).contains(&tail) { tail } else { start + BLOCK }
        };
        Ok(FileAnatomy {
            identity: inode.at..inode.at + LINE,
            state: inode.at + LINE..inode.at + SLOT,
            log: index.pages.runs().into_iter().map(used).collect(),
            extents: runs_of(&index.body)
                .into_iter()
                .map(|(file_block, run, unwritten)| FileExtent {
                    file_offset: file_block * BLOCK,
                    offset: run.start * BLOCK,
                    len: run.blocks * BLOCK,
                    unwritten,
                    shared: volume.shares.any(run),
                })
                .collect(),
            protected: volume.protection.as_ref().map(|_| !state.is_unprotected()),
        })
    }

    /// Where the line of a stripe is, in bytes of the volume. Stripes are counted from 0.
    #[doc(hidden)]
    pub fn stripe_line(&self, stripe: u32) -> Range<u64> {
        let at = table::stripe_line(u64::from(stripe));
        at..at + LINE
    }
}

/// What a file maps; nothing of what is no file.
fn runs_of(body: &Body) -> Vec<(u64, Run, bool)> {
    match body {
        Body::File(extents) => merged(extents),
        _ => Vec::new(),
    }
}

/// A file's map without the borders that log pages make in it: first file block, blocks, whether it reads as zeros.
pub(super) fn merged(extents: &Extents) -> Vec<(u64, Run, bool)> {
    let mut all: Vec<(u64, Run, bool)> = Vec::new();
    for (file_block, mapped) in extents.iter() {
        match all.last_mut() {
            Some((at, run, unwritten))
                if *at + run.blocks == file_block
                    && run.start + run.blocks == mapped.block
                    && *unwritten == mapped.unwritten =>
            {
                run.blocks += mapped.count;
            }
            _ => all.push((file_block, mapped.run(), mapped.unwritten)),
        }
    }
    all
}
