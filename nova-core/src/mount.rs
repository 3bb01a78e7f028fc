//! Mount and unmount.

use crate::{
    Error, MountOptions, Nova, Result,
    alloc::{Allocator, Run},
    checkpoint,
    commit::{Batch, Journal},
    format::*,
    guard::Guard,
    integrity::bad,
    media::Media,
    recovery,
    rules::Rule,
    snapshot::{self, Cleaning},
    superblock::{check, find, journal_identity, media_of, superblock_sum},
    table::Table,
    volume::{Freed, Volume, data_blocks},
};
use bytemuck::Zeroable;
use pmem_map::{Mapping, Medium, Region};
use pmem_tx::engine::Recovery;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What mounting found and did.
#[derive(Clone, Debug, Default)]
pub struct MountReport {
    /// It was unmounted in order: nothing was scanned.
    pub clean: bool,
    /// Records of the journal that were replayed.
    pub replayed: u64,
    /// The damaged superblock was replaced by its replica.
    pub repaired_superblock: bool,
    /// Inodes that were scanned.
    pub scanned: u64,
    /// Files without a name that nobody has open any more, and that were removed.
    pub orphans: u64,
    /// Files that were mapped to write when the volume was last in use, and that are protected again.
    pub mapped: u64,
    /// Damage that was met: the volume is mounted read-only then.
    pub damage: Vec<Damage>,
    /// How long mounting took.
    pub took: Duration,
}

/// Bytes on the medium that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The structure.
    pub what: &'static str,
    /// Its offset in the volume.
    pub offset: u64,
    /// The inode it is part of; 0 if it is none's.
    pub ino: u64,
    /// What does not hold.
    pub why: String,
}

/// Opens the journal, and recovers.
pub(crate) fn open_journal(
    region: &Arc<Region>,
    media: &Media,
    superblock: &Superblock,
) -> Result<(Journal, Recovery)> {
    let area = superblock.journal..superblock.journal + superblock.journal_len;
    let home = STATE..superblock.length - BLOCK;
    let (journal, recovery) = Journal::open(region.clone(), area, journal_identity(superblock), home)?;
    Ok((journal.replicated(media.replicas.clone()), recovery))
}

pub(crate) fn mount(region: Arc<Region>, options: MountOptions) -> Result<Nova> {
    let started = Instant::now();
    let (superblock, bad_copy) = find(&region)?;
    check(&superblock, region.len())?;
    let media = media_of(&region, &superblock);
    let private = matches!(region.medium(), Medium::PrivateView(_));
    let mut report = MountReport::default();
    let journal = if options.read_only && !private {
        // The first one itself: copies may be older, where records have to be recovered.
        match snapshot::read_state(&media.clone().replicated(None)) {
            Ok(state) if state.checkpoint != 0 => None,
            _ => return Err(Error::NeedsRecovery),
        }
    } else {
        let (journal, recovery) = open_journal(&region, &media, &superblock)?;
        report.replayed = recovery.replayed;
        media.replicas.iter().for_each(|replicas| replicas.set_may_store(!options.read_only));
        Some(journal)
    };
    let guard = options.write_protected.then(|| Guard::new(region.clone(), superblock.length)).transpose()?;
    let (media, journal) =
        (media.guarded_by(guard.clone()), journal.map(|journal| journal.guarded_by(guard)));
    let found = snapshot::read_state(&media);
    let state = *found.as_ref().unwrap_or(&VolumeState { epoch: u64::MAX >> 2, ..VolumeState::zeroed() });
    report.damage.extend(found.err().map(|error| recovery::damage_of(0, error)));
    let table = Table::read(&media, superblock.stripes)?;
    let allocator = Allocator::new(data_blocks(&superblock), superblock.stripes);
    let read_only = options.read_only || superblock.read_only & !feature::KNOWN != 0;
    let mut volume = Volume::new(media, journal, superblock, state, allocator, table, options, read_only);
    match snapshot::load(&volume.media, state.snapshots) {
        Ok(list) => volume.snapshots.set(list),
        Err(error) => report.damage.push(recovery::damage_of(0, error)),
    }
    let (mut orphans, mut mapped) = (Vec::new(), Vec::new());
    report.clean = state.checkpoint != 0 && checkpoint::load(&volume, state.checkpoint).is_ok();
    if !report.clean {
        let scan = recovery::scan(&volume)?;
        (report.scanned, orphans, mapped) = (scan.inodes, scan.orphans, scan.mapped);
        report.damage.extend(scan.damage);
    }
    if let Err(error) = recovery::read_limits(&volume) {
        report.damage.push(recovery::damage_of(ROOT, error));
    }
    match bad::retire(&volume) {
        Ok(damage) => report.damage.extend(damage),
        Err(error) => report.damage.push(recovery::damage_of(ROOT, error)),
    }
    volume.read_only |= !report.damage.is_empty();
    let can_roll_back = volume.journal.is_some() && superblock.read_only == 0 && report.damage.is_empty();
    if state.rollback != 0 && can_roll_back && volume.keeps(Rule::RollbackFinished) {
        // What a crash left half done; where nothing may be written, in the private view.
        let options = volume.options.clone();
        volume.read_only = false;
        let done = volume.roll_back();
        volume.abandon();
        drop(volume);
        done?;
        return mount(region, options);
    }
    if !volume.read_only {
        if let Some(at) = bad_copy {
            let copy = Superblock { checksum: superblock_sum(at, &superblock), ..superblock };
            volume.media.store_superblock(at, bytemuck::bytes_of(&copy))?;
            volume.media.drain()?;
            report.repaired_superblock = true;
        }
        let checkpoint = if volume.keeps(Rule::CheckpointVoid) { 0 } else { state.checkpoint };
        let mounted = VolumeState { mounts: state.mounts.wrapping_add(1), checkpoint, ..state };
        set_state(&volume, mounted)?;
        bad::record(&volume)?;
        (report.orphans, report.mapped) = (orphans.len() as u64, mapped.len() as u64);
    }
    volume.report = report;
    volume.media.replicas.iter().for_each(|replicas| replicas.set_may_store(!volume.read_only));
    let nova = Nova::over(volume);
    if !nova.volume().read_only && nova.volume().keeps(Rule::OrphansEnd) {
        for ino in orphans {
            nova.reclaim_orphan(ino)?;
        }
        nova.cleaning_is_due()?;
    }
    if !nova.volume().read_only {
        for ino in mapped {
            // One that was without a name is gone by now.
            if let Ok(inode) = nova.volume().inode(ino) {
                nova.volume().protect_marked(&inode)?;
            }
        }
    }
    nova.set_mount_time(started.elapsed());
    Ok(nova)
}

/// Puts the state line and its copy into a batch. The line.
pub(crate) fn put_state(volume: &Volume, batch: &mut Batch<'_>, state: VolumeState) -> VolumeState {
    let (state, copy) = (volume.media.sealed(STATE, state), volume.media.sealed(STATE_COPY, state));
    batch.line(STATE, bytemuck::bytes_of(&state));
    batch.line(STATE_COPY, bytemuck::bytes_of(&copy));
    state
}

pub(crate) fn set_state(volume: &Volume, state: VolumeState) -> Result<()> {
    let mut batch = volume.batch();
    let state = put_state(volume, &mut batch, state);
    volume.commit(&batch, Freed::default())?;
    *volume.state.lock() = state;
    Ok(())
}

impl Volume {
    /// Leaves the volume so that the next mount need not scan. What stands in the way of that (no space for the checkpoint) is
    /// no error: the next mount scans.
    pub(crate) fn close(&mut self) -> Result<()> {
        if self.read_only || self.journal.as_ref().is_none_or(Journal::is_poisoned) {
            return Ok(());
        }
        // What mapped files were copied for when their snapshot was deleted.
        self.fold_if_due();
        if self.options.cleaning == Cleaning::AtOnce {
            self.clean_up()?;
        }
        // What is merged later says so on media; which blocks are free has to be right now.
        self.sweep(&mut self.snapshots.history(), usize::MAX);
        self.settle()?;
        if let Some((first, used)) = checkpoint::store(self)? {
            let state = *self.state.lock();
            let closed = set_state(self, VolumeState { checkpoint: first, ..state });
            used.into_iter().for_each(|run: Run| self.allocator.free(run));
            closed?;
        }
        self.settle()?;
        self.read_only = true;
        Ok(())
    }

    /// The mapping again, after [`close`](Volume::close).
    #[allow(unsafe_code)]
    pub(crate) fn into_mapping(mut self) -> Option<Mapping> {
        let region = self.media.region().clone();
        self.journal = None;
        drop(self);
        // SAFETY: the volume and its journal are gone, which alone used the bytes, and never lent references.
        Arc::into_inner(region).map(|region| unsafe { Mapping::from_region(region) })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Only tidiness: without it, the next mount scans.
        let _ = self.close();
    }
}
