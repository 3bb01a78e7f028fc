//! Format, mount and unmount.

use crate::{
    Error, Nova, Result,
    alloc::{Allocator, Run},
    checkpoint,
    commit::{Batch, Journal},
    format::*,
    guard::Guard,
    integrity::bad,
    media::Media,
    namespace, recovery,
    rules::Rule,
    snapshot::{self, Cleaning},
    table::{self, Table},
    volume::{Freed, Volume, data_blocks},
};
use bytemuck::Zeroable;
use pmem_map::{Dirtiness, Mapping, Medium, Region};
use pmem_tx::engine::Recovery;
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How to format a volume.
#[derive(Clone, Debug, Default)]
pub struct FormatOptions {
    stripes: Option<u32>,
    journal: Option<u64>,
    label: String,
    checksums: bool,
    parity: bool,
    replicas: bool,
}

impl FormatOptions {
    /// Stripes and journal by the volume's size, no label.
    pub fn new() -> FormatOptions {
        FormatOptions::default()
    }

    /// Parts that threads work in side by side: 1 to 62. Otherwise one for each 8 MiB, at most 8.
    pub fn stripes(mut self, stripes: u32) -> FormatOptions {
        self.stripes = Some(stripes);
        self
    }

    /// Bytes of the journal: whole blocks, at least 8,192. An operation's record may be a third of it. Otherwise a 32nd of the
    /// volume, at most 8 MiB.
    pub fn journal(mut self, bytes: u64) -> FormatOptions {
        self.journal = Some(bytes);
        self
    }

    /// A name for people: at most 32 bytes.
    pub fn label(mut self, label: impl Into<String>) -> FormatOptions {
        self.label = label.into();
        self
    }

    /// Whether content has checksums, which every read verifies: damage is an error, never content ([`integrity`](crate::integrity)). Takes 1.6 % of the
    /// space. Metadata always has them. Off, unless set.
    pub fn checksums(mut self, on: bool) -> FormatOptions {
        self.checksums = on;
        self
    }

    /// Whether content has parity, which damage of up to 512 bytes in a block is repaired from, and checksums. Takes 14.1 % of what content takes.
    /// Off, unless set.
    pub fn parity(mut self, on: bool) -> FormatOptions {
        self.parity = on;
        self
    }

    /// Whether metadata has replicas, which it is repaired from wherever it is damaged: as it is read, and by scrubbing. Twice the space that metadata takes, and the
    /// lines that a record and its application take; no drain. Off, unless set.
    pub fn replicas(mut self, on: bool) -> FormatOptions {
        self.replicas = on;
        self
    }

    fn features(&self) -> u64 {
        let checksums = if self.checksums || self.parity { feature::CHECKSUMS } else { 0 };
        checksums | if self.parity { feature::PARITY } else { 0 }
    }

    /// Formats all of the mapping, and mounts it. What was there is gone. Durable on return; a crash leaves no volume, or a complete one.
    ///
    /// # Errors
    ///
    /// [`Error::BadSize`] for fewer than 24 blocks, and for what does not fit.
    pub fn format(&self, mapping: Mapping, options: MountOptions) -> Result<Nova> {
        let region = Arc::new(mapping.into_region());
        let length = region.len() / BLOCK * BLOCK;
        let bad = |why| Err(Error::BadSize { length, why });
        if length < 24 * BLOCK {
            return bad("a volume has at least 24 blocks of 4,096 bytes");
        }
        let stripes = self.stripes.unwrap_or((length / (8 << 20)).clamp(1, 8) as u32);
        if !(1..=MAX_STRIPES).contains(&stripes) {
            return bad("a volume has 1 to 62 stripes");
        }
        let least = if self.replicas { 8 * BLOCK } else { 5 * BLOCK };
        let journal_len = self.journal.unwrap_or((length / 32).clamp(least, 8 << 20) / BLOCK * BLOCK);
        if journal_len % BLOCK != 0 || journal_len < 2 * BLOCK || journal_len > length / 2 {
            return bad("the journal has whole blocks, at least two, and at most half of the volume");
        }
        if self.features() != 0 && journal_len < 4 * BLOCK {
            return bad("where content is protected, the journal has at least four blocks");
        }
        if self.replicas && journal_len < 8 * BLOCK {
            return bad("where metadata has replicas, the journal has at least eight blocks");
        }
        if self.label.len() > 32 {
            return bad("a label has at most 32 bytes");
        }
        let mut label = [0; 32];
        label[..self.label.len()].copy_from_slice(self.label.as_bytes());
        let random = || RandomState::new().hash_one(Instant::now());
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&random().to_le_bytes());
        identity[8..].copy_from_slice(&random().to_le_bytes());
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        let mut superblock = Superblock {
            version: VERSION,
            magic: MAGIC,
            identity,
            length,
            block_size: BLOCK as u32,
            stripes,
            journal_len,
            read_only: self.features(),
            incompatible: if self.replicas { feature::REPLICAS } else { 0 },
            created,
            label,
            ..Superblock::zeroed()
        };
        superblock.journal = superblock.behind_state();
        write(&region, &superblock, options.broken)?;
        mount(region, options)
    }
}

/// How to mount a volume.
#[derive(Clone, Debug)]
pub struct MountOptions {
    pub(crate) read_only: bool,
    pub(crate) in_place: bool,
    pub(crate) access_times: AccessTimes,
    pub(crate) threads: usize,
    pub(crate) write_protected: bool,
    pub(crate) bad_blocks: Vec<u64>,
    pub(crate) cleaning: Cleaning,
    pub(crate) stores_known_by: Dirtiness,
    pub(crate) broken: Option<Rule>,
}

/// When reading changes a file's access time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessTimes {
    /// Never.
    Never,
    /// If it is not later than the last change, or older than a day.
    #[default]
    Relative,
    /// Each time: a commit for each read.
    Always,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        MountOptions {
            read_only: false,
            in_place: false,
            access_times: AccessTimes::default(),
            threads,
            write_protected: false,
            bad_blocks: Vec::new(),
            cleaning: Cleaning::default(),
            stores_known_by: Dirtiness::Scan,
            broken: None,
        }
    }
}

impl MountOptions {
    /// To write, strict: data and metadata atomic and durable when a call returns.
    pub fn new() -> MountOptions {
        MountOptions::default()
    }

    /// Nothing is written, not even what a recovery would. A volume that was not unmounted has to be a private view of its file then
    /// (`pmem_map::Lock::Shared`): it is recovered in there.
    pub fn read_only(mut self, read_only: bool) -> MountOptions {
        self.read_only = read_only;
        self
    }

    /// Relaxed: overwriting goes in place, durable when the call returns, atomic for aligned words only. Metadata stays atomic.
    pub fn in_place(mut self, in_place: bool) -> MountOptions {
        self.in_place = in_place;
        self
    }

    /// When reading changes access times.
    pub fn access_times(mut self, policy: AccessTimes) -> MountOptions {
        self.access_times = policy;
        self
    }

    /// Threads that scan after a crash: as many as there are processors, unless set.
    pub fn threads(mut self, threads: usize) -> MountOptions {
        self.threads = threads.max(1);
        self
    }

    /// Stray stores of the program do not reach the volume: its pages are read-only but for the time that a record, or content, is stored. A stray store
    /// is a SIGSEGV. Where the processor has protection keys that is so for all threads but the one that stores, and takes two instructions; elsewhere it takes
    /// two system calls, and while one thread stores others may: [`Nova::write_protection`](crate::Nova::write_protection). The benchmark `fs_protect` has figures.
    pub fn write_protected(mut self, write_protected: bool) -> MountOptions {
        self.write_protected = write_protected;
        self
    }

    /// When what deleted snapshots leave is cleaned up: in the background, unless set.
    pub fn cleaning(mut self, cleaning: Cleaning) -> MountOptions {
        self.cleaning = cleaning;
        self
    }

    /// For tests: how it is known which pages of a mapping are stored to.
    #[doc(hidden)]
    pub fn stores_known_by(mut self, dirtiness: Dirtiness) -> MountOptions {
        self.stores_known_by = dirtiness;
        self
    }

    /// For tests: without this rule.
    #[doc(hidden)]
    pub fn without(mut self, rule: Rule) -> MountOptions {
        self.broken = Some(rule);
        self
    }

    /// Mounts the volume in the mapping.
    ///
    /// # Errors
    ///
    /// [`Error::NotAVolume`], [`Error::Unsupported`], [`Error::Truncated`], [`Error::Damaged`]; [`Error::NeedsRecovery`]. Damage of single
    /// files does not keep a volume from being mounted, but read-only: [`MountReport::damage`].
    pub fn mount(&self, mapping: Mapping) -> Result<Nova> {
        mount(Arc::new(mapping.into_region()), self.clone())
    }
}

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

/// The checksum of a superblock at `at`: seeded with nothing.
pub(crate) fn superblock_sum(at: u64, superblock: &Superblock) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytemuck::bytes_of(superblock)[4..]), &at.to_le_bytes())
}

/// Stores a new volume. See FORMAT.md, "Format".
fn write(region: &Arc<Region>, superblock: &Superblock, broken: Option<Rule>) -> Result<()> {
    let media = media_of(region, superblock);
    let replica = superblock.length - BLOCK;
    // The primary first: what it still says leads to the replica of what was there, which may be elsewhere.
    let before = media.load::<Superblock>(0)?;
    let named = Some(before.length.wrapping_sub(BLOCK)).filter(|at| at % BLOCK == 0 && *at < replica);
    let is_void = broken == Some(Rule::MagicsAway);
    for at in [Some(0), named, Some(replica)].into_iter().flatten().filter(|_| !is_void) {
        media.store_magic(at + MAGIC_AT, 0)?;
    }
    let store_copies = |magic: u64| {
        [0, replica].into_iter().try_for_each(|at| {
            let copy = Superblock { checksum: superblock_sum(at, superblock), magic, ..*superblock };
            media.store_superblock(at, bytemuck::bytes_of(&copy))
        })
    };
    if broken == Some(Rule::MagicLast) {
        store_copies(MAGIC)?;
    }
    // The first segment of the first stripe follows the journal, and has the root.
    let blocks = data_blocks(superblock);
    let segment = blocks.start * BLOCK;
    media.zero(STATE, media.copies() * BLOCK);
    media.zero(segment, media.copies() * BLOCK);
    let state = VolumeState { epoch: 1, ..VolumeState::zeroed() };
    for at in [STATE, STATE_COPY] {
        media.store_twice(at, bytemuck::bytes_of(&media.sealed(at, state)));
    }
    for stripe in 0..u64::from(superblock.stripes) {
        let at = table::stripe_line(stripe);
        let first = if stripe == 0 { segment } else { 0 };
        let head = StripeHead { stripe: stripe as u32, segment: first, ..StripeHead::zeroed() };
        media.store_twice(at, bytemuck::bytes_of(&media.sealed(at, head)));
    }
    let header = table::header(&media, segment, 0, media.copies(), 0, 0);
    media.store_twice(segment, bytemuck::bytes_of(&header));
    let root = segment + LINE;
    let (identity, status) = namespace::root(superblock.created);
    media.store_twice(root, bytemuck::bytes_of(&media.sealed(root, identity)));
    media.store_twice(root + LINE, bytemuck::bytes_of(&media.sealed(root + LINE, status)));
    let area = superblock.journal..superblock.journal + superblock.journal_len;
    Journal::create(region.clone(), area, journal_identity(superblock))?;
    store_copies(0)?;
    media.drain()?;
    for at in [0, replica] {
        media.store_magic(at + MAGIC_AT, MAGIC)?;
    }
    Ok(())
}

pub(crate) fn journal_identity(superblock: &Superblock) -> u64 {
    u64::from_le_bytes(superblock.identity[..8].try_into().expect("eight bytes"))
}

/// The superblock, and where a bad copy of it is.
pub(crate) fn find(region: &Arc<Region>) -> Result<(Superblock, Option<u64>)> {
    let media = Media::new(region.clone(), region.len(), &[0; 16]);
    let load = |at: u64| -> Option<Superblock> {
        let superblock = media.load::<Superblock>(at).ok()?;
        let good = superblock.magic == MAGIC && superblock.checksum == superblock_sum(at, &superblock);
        good.then_some(superblock)
    };
    if let Some(primary) = load(0) {
        let replica = primary.length.wrapping_sub(BLOCK);
        let bad = load(replica).is_none_or(|found| found.identity != primary.identity);
        return Ok((primary, bad.then_some(replica)));
    }
    // The replica is the volume's last block: the mapping's, or the one that the damaged primary names.
    let named = media.load::<Superblock>(0).map_or(0, |primary| primary.length);
    for end in [region.len() / BLOCK * BLOCK, named] {
        let at = end.wrapping_sub(BLOCK);
        if let Some(replica) = load(at).filter(|replica| replica.length == end) {
            return Ok((replica, Some(0)));
        }
    }
    Err(Error::NotAVolume { why: "neither superblock is one" })
}

/// The bytes of a volume.
pub(crate) fn media_of(region: &Arc<Region>, superblock: &Superblock) -> Media {
    Media::new(region.clone(), superblock.length, &superblock.identity)
        .naming(data_blocks(superblock))
        .replicated(superblock.has_replicas().then(Arc::default))
}

/// Whether a superblock's numbers can be.
pub(crate) fn check(superblock: &Superblock, mapped: u64) -> Result<()> {
    let Superblock { version, length, stripes, journal, journal_len, .. } = *superblock;
    if version != VERSION || superblock.incompatible & !feature::REPLICAS != 0 {
        return Err(Error::Unsupported { version, features: superblock.incompatible });
    }
    if length > mapped {
        return Err(Error::Truncated { length, mapped });
    }
    let right = superblock.block_size == BLOCK as u32
        && (1..=MAX_STRIPES).contains(&stripes)
        && length % BLOCK == 0
        && length >= 24 * BLOCK
        && journal == superblock.behind_state()
        && journal_len % BLOCK == 0
        && journal_len >= 2 * BLOCK
        && journal_len <= length / 2
        && superblock.read_only & (feature::CHECKSUMS | feature::PARITY) != feature::PARITY;
    if right { Ok(()) } else { Error::damaged("superblock", 0, "its numbers contradict each other") }
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
