//! The check of a volume: what is on media against itself, and DRAM against media.
//!
//! [`survey`] reads all metadata, believing nothing in DRAM but the superblock; [`inodes`] checks each inode for itself, [`tree`] what they say of
//! each other, [`memory`] what a mounted volume has in DRAM.
//!
//! [`anatomy`] is the same survey, for who wants to see where things are.
//!
//! [`repair`] is for a volume that nobody has mounted: [`table`], [`salvage`] and [`mend`] are its steps.
//!
//! # Beside operations
//!
//! A check holds the journal's writer, with every record retired: no record can be written, and all metadata stands still. Operations wait where they
//! commit, holding their inodes; such inodes are *busy*: what DRAM says of them, and of free blocks, runs ahead of media or behind it. The check
//! lets them finish and comes back, a few times. What is wrong once and not again was an operation on its way.

mod anatomy;
mod inodes;
mod memory;
mod mend;
mod owners;
mod repair;
mod report;
mod salvage;
mod survey;
mod table;
mod tree;

pub use anatomy::{Anatomy, FileAnatomy, FileExtent, Holds, Stretch};
pub use report::FsckReport;

use crate::{
    Nova, Result,
    format::{BLOCK, MAGIC, Superblock},
    media::Media,
    superblock::superblock_sum,
    volume::Volume,
};
use report::Problems;
use survey::Survey;

/// How often a check looks again at what does not hold, or at inodes that are in use.
const ROUNDS: u32 = 8;

impl Nova {
    /// Checks everything that the volume's metadata says, on media and in DRAM. Changes nothing. 2 drains, or none.
    ///
    /// Operations may go on: they wait while it reads. What is damaged is in the report, not an error.
    ///
    /// # Errors
    ///
    /// Those of a journal that failed before.
    pub fn fsck(&self) -> Result<FsckReport> {
        let volume = self.volume();
        if let Some(view) = &volume.view {
            return view.live().fsck();
        }
        let mut report = FsckReport::default();
        for round in 0..ROUNDS {
            if round > 0 {
                std::thread::yield_now();
            }
            report = volume.check()?;
            if volume.read_only || report.busy == 0 && report.is_clean() {
                break;
            }
        }
        Ok(report)
    }
}

impl Volume {
    /// One round.
    fn check(&self) -> Result<FsckReport> {
        // Damage that mounting met leaves DRAM without what could not be read.
        let compare = self.report.damage.is_empty();
        // Before the journal, as who commits does it.
        let mut history = self.snapshots.history();
        // On media, what no snapshot has that can be seen is free.
        self.sweep(&mut history, usize::MAX);
        let set_aside = history.set_aside();
        let _quiet = self.quiesce()?;
        let mut survey = on_media(&self.media, &self.superblock);
        let busy = if compare { memory::check(self, &mut survey, &set_aside) } else { 0 };
        Ok(summary(survey, busy))
    }
}

/// All that media says, checked against itself.
fn on_media(media: &Media, superblock: &Superblock) -> Survey {
    let mut survey = Survey::take(media, superblock);
    check_superblocks(media, superblock, &mut survey.problems);
    inodes::check(&mut survey);
    tree::check(&mut survey);
    survey
}

/// The same, for a volume that is not mounted.
fn media_report(media: &Media, superblock: &Superblock) -> FsckReport {
    summary(on_media(media, superblock), 0)
}

/// Checks both superblocks against the one that was found.
fn check_superblocks(media: &Media, superblock: &Superblock, problems: &mut Problems) {
    for at in [0, media.len() - BLOCK] {
        match media.load::<Superblock>(at) {
            Err(error) => problems.error(0, error),
            Ok(found) if found.magic != MAGIC || found.checksum != superblock_sum(at, &found) => {
                problems.add("superblock", at, 0, "its checksum or its magic is wrong");
            }
            Ok(found) if (Superblock { checksum: superblock.checksum, ..found }) != *superblock => {
                problems.add("superblock", at, 0, "it is not the same as the other one");
            }
            Ok(_) => {}
        }
    }
}

fn summary(survey: Survey, busy: u64) -> FsckReport {
    let (data_blocks, metadata_blocks) = survey.owners.counts();
    let count =
        |which: fn(&survey::Node) -> bool| survey.nodes.values().filter(|node| which(node)).count() as u64;
    let mut problems = survey.problems.0;
    problems.sort_by_key(|problem| problem.offset);
    problems.dedup();
    FsckReport {
        inodes: survey.nodes.len() as u64,
        directories: count(|node| node.is_directory()),
        names: survey.nodes.values().map(survey::Node::names).sum(),
        orphans: count(|node| node.status.links == 0),
        data_blocks,
        shared_blocks: survey.owners.shared().len() as u64,
        metadata_blocks,
        free_blocks: survey.owners.free().iter().map(|run| run.blocks).sum(),
        busy,
        problems,
        ..FsckReport::default()
    }
}
