//! Repair: what can be proved is made right, and what cannot is said to be lost.
//!
//! In steps, each of which reads media anew: the journal ([`Journal::create`], if it cannot be read), the inode table's lists ([`table`]), each inode for
//! itself ([`salvage`]), then, on the volume mounted, what inodes say of each other ([`mend`]). Every change is a record, after which the volume is
//! less damaged than before: a repair that is interrupted is run again.

use super::{
    media_report, mend,
    report::{FsckReport, Problems},
    salvage,
    survey::Survey,
    table,
};
use crate::{
    Error, MountOptions, Nova, Result,
    alloc::Allocator,
    commit::Journal,
    format::{
        BLOCK, SEGMENT_MAGIC, STATE, STATE_COPY, SegmentHeader, StripeHead, Superblock, VolumeState, feature,
    },
    media::Media,
    mount, snapshot, superblock,
    table::{Table, stripe_line},
    volume::{Volume, data_blocks},
};
use bytemuck::Zeroable;
use pmem_map::{Mapping, Region};
use std::sync::Arc;

/// How often the last step is done: what it removes may be what something else hung on.
const ROUNDS: u32 = 4;

impl MountOptions {
    /// Checks a volume that need not be mountable, and repairs it; then mounts it to write. For a volume that mounted read-only because of
    /// damage: `MountOptions::new().repair(nova.unmount()?)`.
    ///
    /// What no path leads to any more is in `/lost+found`. The report says what was wrong, what was done, what is
    /// [lost](FsckReport::lost), and what is still wrong ([`FsckReport::left`]): nothing, unless there was no space for a log that had to be written
    /// anew. A crash meanwhile leaves a volume that can be repaired.
    ///
    /// # Errors
    ///
    /// [`Error::NotAVolume`] if both superblocks are damaged; [`Error::Unsupported`], [`Error::Truncated`]; those of the mapping.
    pub fn repair(&self, mapping: Mapping) -> Result<(Nova, FsckReport)> {
        let region = Arc::new(mapping.into_region());
        let (superblock, _) = superblock::find(&region)?;
        superblock::check(&superblock, region.len())?;
        let unknown = superblock.read_only & !feature::KNOWN;
        if unknown != 0 {
            return Err(Error::Unsupported { version: superblock.version, features: unknown });
        }
        let options = self.clone().read_only(false);
        let (mut repairs, mut lost) = (Vec::new(), Problems::default());
        let media = superblock::media_of(&region, &superblock);
        if !is_of(&media, &superblock) {
            return Error::damaged(
                "superblock",
                0,
                "nothing else here is sealed with its identity: it is another volume's",
            );
        }
        if let Ok(first) = media.read::<StripeHead>(stripe_line(0))
            && !data_blocks(&superblock).contains(&(first.segment / BLOCK))
            && media.read::<SegmentHeader>(first.segment).is_ok_and(|header| header.magic == SEGMENT_MAGIC)
        {
            return Error::damaged("superblock", 0, "the inode table is where it has protection");
        }
        let journal = open_journal(&region, &media, &superblock, &mut repairs, &mut lost)?;
        let mut report = media_report(&media, &superblock);
        media.replicas.iter().for_each(|replicas| replicas.set_may_store(true));
        from_copies(&media, &superblock, &mut repairs);
        table::rebuild(&media, &journal, &superblock, &mut repairs, &mut lost)?;
        mend_inodes(media, journal, &superblock, &options, &mut repairs, &mut lost)?;
        let nova = mount::mount(region, options)?;
        for _ in 0..ROUNDS {
            let volume = nova.volume();
            if volume.read_only || nova.fsck()?.is_clean() {
                break;
            }
            let survey = Survey::take(&volume.media, &volume.superblock);
            mend::mend(&nova, &survey, &mut repairs, &mut lost)?;
        }
        let last = nova.fsck()?;
        if nova.mount_report().repaired_superblock {
            repairs.push("the damaged superblock is a copy of the other one".into());
        }
        report.problems.splice(0..0, lost.0.iter().filter(|problem| problem.what == "journal").cloned());
        report.lost = lost.0;
        (report.repairs, report.left) = (repairs, last.problems.clone());
        Ok((
            nova,
            FsckReport {
                problems: report.problems,
                repairs: report.repairs,
                lost: report.lost,
                left: report.left,
                ..last
            },
        ))
    }
}

/// Whether anything beside the superblock is this volume's.
fn is_of(media: &Media, superblock: &Superblock) -> bool {
    snapshot::read_state(media).is_ok()
        || (0..u64::from(superblock.stripes))
            .any(|stripe| media.read::<StripeHead>(stripe_line(stripe)).is_ok())
        || media.read::<SegmentHeader>(data_blocks(superblock).start * BLOCK).is_ok()
}

/// Opens and recovers the journal; one that cannot be read is made anew.
fn open_journal(
    region: &Arc<Region>,
    media: &Media,
    superblock: &Superblock,
    repairs: &mut Vec<String>,
    lost: &mut Problems,
) -> Result<Journal> {
    match mount::open_journal(region, media, superblock) {
        Ok((journal, _)) => Ok(journal),
        Err(Error::Journal(error)) => {
            lost.add(
                "journal",
                superblock.journal,
                0,
                format!("operations before the crash may be undone in part: {error}"),
            );
            repairs.push("the journal is a new one".into());
            let area = superblock.journal..superblock.journal + superblock.journal_len;
            // Records of its first life would be those of a new one's.
            media.zero(area.start, superblock.journal_len);
            media.drain()?;
            let journal = Journal::create(region.clone(), area, superblock::journal_identity(superblock))?;
            Ok(journal.replicated(media.replicas.clone()))
        }
        Err(error) => Err(error),
    }
}

/// Repairs what there is a copy of.
fn from_copies(media: &Media, superblock: &Superblock, repairs: &mut Vec<String>) {
    let before = media.repaired();
    if media.copies() > 1 {
        Survey::repairing(media, superblock);
    }
    match media.repaired() - before {
        0 => {}
        count => repairs
            .push(format!("{count} structures of metadata are as their copies, or the copies as they are")),
    }
}

/// Mends every inode for itself, on a volume that nobody knows.
fn mend_inodes(
    media: Media,
    journal: Journal,
    superblock: &Superblock,
    options: &MountOptions,
    repairs: &mut Vec<String>,
    lost: &mut Problems,
) -> Result<()> {
    // Behind segments that were not found before.
    from_copies(&media, superblock, repairs);
    let survey = Survey::take(&media, superblock);
    let state = snapshot::read_state(&media);
    let is_damaged = |at: u64| media.read::<VolumeState>(at).is_err();
    if state.is_ok() && (is_damaged(STATE) || is_damaged(STATE_COPY)) {
        repairs.push("the damaged state line is a copy of the other one".into());
    }
    if state.is_err() {
        repairs.push("the state line is a new one".into());
        lost.add("state line", STATE, 0, "which snapshots there were, if any, is not known");
    }
    let state = state.unwrap_or(VolumeState { epoch: survey.last_epoch() + 1, ..VolumeState::zeroed() });
    let snapshots = survey.snapshots.last().map_or(0, |newest| newest.at);
    let oldest = survey.snapshots.first().filter(|oldest| oldest.head.next != 0);
    let table = Table::read(&media, superblock.stripes)?;
    let allocator = Allocator::new(data_blocks(superblock), superblock.stripes);
    let mut volume =
        Volume::new(media, Some(journal), *superblock, state, allocator, table, options.clone(), false);
    // A checkpoint would speak of what was before.
    let result = mount::set_state(&volume, VolumeState { checkpoint: 0, snapshots, ..state })
        .and_then(|()| {
            if snapshots != state.snapshots || oldest.is_some() {
                lost.add("snapshot", snapshots, 0, "a snapshot is damaged: it and those before it are lost");
                repairs.push(format!("{} snapshots are left", survey.snapshots.len()));
            }
            oldest.map_or(Ok(()), |oldest| oldest.forget_older(&volume))
        })
        .and_then(|()| salvage::mend(&volume, &survey, repairs, lost))
        .and_then(|()| volume.settle());
    volume.read_only = true; // or it would save what it does not know
    result
}
