//! What a mount after a crash does: reads every inode and its log, in parallel, and so finds who owns which block.
//!
//! The journal is recovered by then: what is on media is the state after the last acknowledged operation, or after some that were on
//! their way. Indexes are not kept: they are read again when somebody needs them.

use crate::{
    Damage, Error, Kind, Result,
    alloc::Run,
    attributes::INTERNAL,
    format::{BLOCK, Identity, LINE, MAX_SIZE, ROOT, Status, flag},
    inode::{Body, Index},
    snapshot,
    table::Segment,
    volume::Volume,
};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What a scan found, beside what it told the volume.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) inodes: u64,
    pub(crate) damage: Vec<Damage>,
    pub(crate) orphans: Vec<u64>,
    /// Files that were mapped, and are not protected.
    pub(crate) mapped: Vec<u64>,
}

/// Who owns which block.
pub(crate) struct Owners {
    bits: Vec<AtomicU64>,
    blocks: std::ops::Range<u64>,
    /// Owners beyond the first.
    shared: Mutex<FxHashMap<u64, u32>>,
}

impl Owners {
    pub(crate) fn new(volume: &Volume) -> Owners {
        let words = (volume.media.len() / BLOCK).div_ceil(64);
        let bits = (0..words).map(|_| AtomicU64::new(0)).collect();
        Owners { bits, blocks: volume.blocks(), shared: Mutex::default() }
    }

    /// Takes blocks: those of data may have several owners. The first that cannot be taken.
    pub(crate) fn take(&self, run: Run, data: bool) -> Result<(), u64> {
        for block in run.range() {
            if !self.blocks.contains(&block) {
                return Err(block);
            }
            let bit = 1 << (block % 64);
            if self.bits[(block / 64) as usize].fetch_or(bit, Relaxed) & bit != 0 {
                if !data {
                    return Err(block);
                }
                *self.shared.lock().entry(block).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Whether somebody owns a block.
    fn has(&self, block: u64) -> bool {
        self.bits[(block / 64) as usize].load(Relaxed) >> (block % 64) & 1 != 0
    }

    /// Blocks that nobody owns.
    pub(crate) fn free_runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for block in self.blocks.clone() {
            let word = self.bits[(block / 64) as usize].load(Relaxed);
            if word >> (block % 64) & 1 == 0 {
                match runs.last_mut() {
                    Some(last) if last.start + last.blocks == block => last.blocks += 1,
                    _ => runs.push(Run { start: block, blocks: 1 }),
                }
            }
        }
        runs
    }

    pub(crate) fn shared(&self) -> Vec<(u64, u32)> {
        self.shared.lock().iter().map(|(block, more)| (*block, *more)).collect()
    }
}

pub(crate) fn damage_of(ino: u64, error: Error) -> Damage {
    match error {
        Error::Damaged { what, offset, why } => Damage { what, offset, ino, why: why.into() },
        other => Damage { what: "inode", offset: 0, ino, why: other.to_string() },
    }
}

/// Scans everything, and tells the volume what is free and what is shared.
pub(crate) fn scan(volume: &Volume) -> Result<Scan> {
    let owners = Owners::new(volume);
    let segments: Vec<(u64, Segment)> = (0..volume.table.stripes())
        .flat_map(|stripe| volume.table.segments(stripe).into_iter().map(move |segment| (stripe, segment)))
        .collect();
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Scan::default()));
    let free: Vec<Mutex<Vec<u64>>> = (0..volume.table.stripes()).map(|_| Mutex::default()).collect();
    let work = || {
        while let Some((stripe, segment)) = segments.get(next.fetch_add(1, Relaxed)) {
            let mut scan = Scan::default();
            let run = Run { start: segment.at / BLOCK, blocks: segment.blocks };
            if owners.take(run, false).is_err() {
                let why = "its blocks are another structure's".into();
                scan.damage.push(Damage { what: "inode table segment", offset: segment.at, ino: 0, why });
            }
            let mut unused = Vec::new();
            for slot in (0..segment.slots).rev() {
                let ino = volume.table.ino(*stripe, segment.first_slot + slot);
                match scan_slot(volume, &owners, ino, &mut scan) {
                    Ok(true) => scan.inodes += 1,
                    Ok(false) => unused.push(segment.first_slot + slot),
                    Err(error) => scan.damage.push(damage_of(ino, error)),
                }
            }
            free[*stripe as usize].lock().extend(unused);
            let mut total = total.lock();
            total.inodes += scan.inodes;
            total.damage.extend(scan.damage);
            total.orphans.extend(scan.orphans);
            total.mapped.extend(scan.mapped);
        }
    };
    let threads = volume.options.threads.min(segments.len());
    if threads > 1 {
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    } else {
        work();
    }
    if let Err(error) = scan_history(volume, &owners) {
        total.lock().damage.push(damage_of(0, error));
    }
    owners.free_runs().into_iter().for_each(|run| volume.allocator.free(run));
    volume.shares.set(owners.shared());
    for (stripe, free) in free.into_iter().enumerate() {
        let mut free = free.into_inner();
        free.sort_unstable_by(|one, other| other.cmp(one));
        volume.table.set_free(stripe as u64, free);
    }
    let mut total = total.into_inner();
    total.damage.sort_by_key(|damage| damage.offset);
    total.orphans.sort_unstable();
    Ok(total)
}

/// What snapshots own.
fn scan_history(volume: &Volume, owners: &Owners) -> Result<()> {
    let mut history = volume.snapshots.history();
    let claims = snapshot::claims(&volume.media, &history.list)?;
    for run in &claims.own {
        owners.take(*run, false).or_else(|block| {
            Error::damaged(
                "snapshot",
                block * BLOCK,
                "this block is another structure's, or not the volume's",
            )
        })?;
    }
    let held = claims.held(&history.list, |block| owners.has(block));
    for held in &held {
        owners.take(held.run, false).or_else(|block| {
            Error::damaged("snapshot", block * BLOCK, "it has a block that is not the volume's")
        })?;
    }
    history.held = held;
    Ok(())
}

/// Reads one inode and its log. Whether the slot is in use.
fn scan_slot(volume: &Volume, owners: &Owners, ino: u64, scan: &mut Scan) -> Result<bool> {
    let Some((identity, status, _)) = volume.lines(ino)? else { return Ok(false) };
    let index = Index::read(&volume.media, &identity, &status, 0)?;
    let claim = |run: Run, data: bool, what| {
        owners.take(run, data).or_else(|block| {
            Error::damaged(what, block * BLOCK, "this block is another structure's, or not the volume's")
        })
    };
    index.pages.runs().into_iter().try_for_each(|run| claim(run, false, "log page"))?;
    if let Body::File(extents) = &index.body {
        extents.iter().try_for_each(|(_, mapped)| claim(mapped.run(), true, "extent"))?;
    }
    if status.links == 0 {
        scan.orphans.push(ino);
    }
    if identity.flags & flag::MAPPED != 0 && identity.is_file() && volume.protection.is_some() {
        scan.mapped.push(ino);
    }
    // No limits are known yet: charging cannot fail.
    volume.quotas.charge(&identity, status.blocks as i64, 1)?;
    Ok(true)
}

/// Whether an inode's attributes can be.
pub(crate) fn check_lines(at: u64, identity: &Identity, status: &Status) -> Result<()> {
    let kind = Kind::of_mode(identity.mode);
    if kind.mode_bits() != identity.mode & libc::S_IFMT {
        return Error::damaged("inode", at, "there is no such type of file");
    }
    // A directory's size is a number of names.
    let most = if kind == Kind::Directory { MAX_SIZE / LINE } else { MAX_SIZE };
    if status.size > most || status.blocks > MAX_SIZE / BLOCK {
        return Error::damaged("inode state", at + LINE, "no file can be that large");
    }
    Ok(())
}

/// Reads the quotas' limits, which the root directory keeps.
pub(crate) fn read_limits(volume: &Volume) -> Result<()> {
    let root = volume.inode(ROOT)?;
    let mut state = root.state.write();
    if state.has(flag::HAS_ATTRIBUTES) {
        volume.read_log(&root, &mut state)?;
        if let Some(limits) = state.attributes.get(&(INTERNAL, b"quota".to_vec())) {
            volume.quotas.decode_limits(limits);
        }
    }
    Ok(())
}
