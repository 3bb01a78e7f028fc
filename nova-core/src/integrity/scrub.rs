//! Scrubbing: reading everything that is stored, before somebody needs it, and repairing what can be repaired.

use crate::{
    Damage, Error, Kind, Nova, Result,
    format::{BLOCK, MAGIC, STATE, STATE_COPY, SegmentHeader, StripeHead, Superblock, VolumeState},
    inode::{Index, Inode, State},
    integrity::{Repairs, replica::Look},
    media::Media,
    recovery::damage_of,
    snapshot,
    superblock::superblock_sum,
    table,
    volume::Volume,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Blocks that are verified in one go: so long operations on the file wait.
const TOGETHER: u64 = 64;
/// How often a line that records change is read again before its checksum counts as wrong.
const TRIES: u32 = 8;

/// How to scrub.
#[derive(Clone, Debug, Default)]
pub struct ScrubOptions {
    rate: Option<u64>,
}

impl ScrubOptions {
    /// As fast as it goes.
    pub fn new() -> ScrubOptions {
        ScrubOptions::default()
    }

    /// At most so many bytes of content in a second, on average.
    pub fn rate(mut self, bytes_per_second: u64) -> ScrubOptions {
        self.rate = Some(bytes_per_second.max(1));
        self
    }
}

/// How far a scrub is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubProgress {
    /// Slots of the inode table that it has been at.
    pub slots: u64,
    /// Slots that there are.
    pub all_slots: u64,
    /// Bytes of content that it has read.
    pub bytes: u64,
}

/// What a scrub did and found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Inodes whose lines and logs were read.
    pub inodes: u64,
    /// Blocks of content that were verified: whole, with both copies of their checksums and their parity.
    pub blocks: u64,
    /// Blocks without protection: of a volume that has none, or of files that are mapped.
    pub unprotected: u64,
    /// What was made right. (What others made right at the same time is counted here too.)
    pub repairs: Repairs,
    /// What could not be. (A damaged superblock is replaced by its copy, and is not among these.)
    pub damage: Vec<Damage>,
    /// Blocks of content that were moved away from bad ones.
    pub moved: u64,
    /// Superblocks that were replaced by their copies.
    pub superblocks: u64,
    /// It was told to stop before it was done.
    pub stopped: bool,
    /// How long it took.
    pub took: Duration,
}

impl Nova {
    /// Reads everything that the volume stores: checksums of all metadata, and content with all that protects it; and repairs what can be repaired.
    /// What cannot is in the report. Operations go on: each file is locked for a quarter of a mebibyte at a time. No drain, but for repairs.
    ///
    /// # Errors
    ///
    /// Those of the mapping: a page that is lost, say. Damage is no error.
    pub fn scrub(&self, options: &ScrubOptions) -> Result<ScrubReport> {
        scrub(self, options, &Shared::default())
    }

    /// The same by a thread of its own, which keeps the volume mounted until it is done or stopped.
    pub fn scrub_in_background(&self, options: &ScrubOptions) -> Scrub {
        let (nova, options, shared) = (self.clone(), options.clone(), Arc::new(Shared::default()));
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || scrub(&nova, &options, &theirs));
        Scrub { shared, thread: Some(thread) }
    }
}

/// A scrub that is going on. Dropped, it is stopped.
#[derive(Debug)]
pub struct Scrub {
    shared: Arc<Shared>,
    /// Until somebody waits for it.
    thread: Option<JoinHandle<Result<ScrubReport>>>,
}

impl Scrub {
    /// How far it is.
    pub fn progress(&self) -> ScrubProgress {
        let Shared { slots, all_slots, bytes, .. } = &*self.shared;
        ScrubProgress {
            slots: slots.load(Relaxed),
            all_slots: all_slots.load(Relaxed),
            bytes: bytes.load(Relaxed),
        }
    }

    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it, and returns what it found until now.
    pub fn stop(self) -> Result<ScrubReport> {
        self.shared.stop.store(true, Relaxed);
        self.wait()
    }

    /// Waits until it is done.
    pub fn wait(mut self) -> Result<ScrubReport> {
        let thread = self.thread.take().expect("nobody has waited yet");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.stop.store(true, Relaxed);
            let _ = thread.join();
        }
    }
}

/// What a scrub and who watches it share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    slots: AtomicU64,
    all_slots: AtomicU64,
    bytes: AtomicU64,
}

fn scrub(nova: &Nova, options: &ScrubOptions, shared: &Shared) -> Result<ScrubReport> {
    let (volume, started, before) = (nova.volume(), Instant::now(), nova.repairs());
    if let Some(view) = &volume.view {
        return scrub(view.live(), options, shared); // whose blocks it has
    }
    let media = volume.media.looking(Look::AtBoth);
    let mut pass = Pass { volume, media, options, shared, started, report: ScrubReport::default() };
    pass.volume_lines()?;
    pass.snapshots()?;
    shared.all_slots.store(volume.table.counts().0, Relaxed);
    for stripe in 0..volume.table.stripes() {
        for segment in volume.table.segments(stripe) {
            for slot in segment.first_slot..segment.first_slot + segment.slots {
                if pass.is_stopped() {
                    break;
                }
                let ino = volume.table.ino(stripe, slot);
                let result = pass.inode(ino);
                pass.note(ino, result)?;
                shared.slots.fetch_add(1, Relaxed);
            }
        }
    }
    let mut report = pass.report;
    (report.repairs, report.took) = (nova.repairs() - before, started.elapsed());
    Ok(report)
}

struct Pass<'s> {
    volume: &'s Volume,
    /// Its bytes: of metadata that has replicas, both are read.
    media: Media,
    options: &'s ScrubOptions,
    shared: &'s Shared,
    started: Instant,
    report: ScrubReport,
}

impl Pass<'_> {
    fn is_stopped(&mut self) -> bool {
        let stopped = self.shared.stop.load(Relaxed);
        self.report.stopped |= stopped;
        stopped
    }

    /// Damage is for the report, and everything else an error.
    fn note(&mut self, ino: u64, result: Result<()>) -> Result<()> {
        match result {
            Err(error @ Error::Damaged { .. }) => {
                self.report.damage.push(damage_of(ino, error));
                Ok(())
            }
            result => result,
        }
    }

    /// Superblocks, state line, stripe lines and segments.
    fn volume_lines(&mut self) -> Result<()> {
        let (volume, media) = (self.volume, self.media.clone());
        for at in [0, media.len() - BLOCK] {
            let found = media.load::<Superblock>(at)?;
            if found.magic == MAGIC && found.checksum == superblock_sum(at, &found) {
                continue;
            }
            if volume.read_only {
                self.note(0, Error::damaged("superblock", at, "its checksum or its magic is wrong"))?;
            } else {
                let right =
                    Superblock { checksum: superblock_sum(at, &volume.superblock), ..volume.superblock };
                media.store_superblock(at, bytemuck::bytes_of(&right))?;
                media.drain()?;
                self.report.superblocks += 1;
            }
        }
        for at in [STATE, STATE_COPY] {
            let state = tried(|| media.read::<VolumeState>(at).map(drop));
            self.note(0, state)?;
        }
        for stripe in 0..volume.table.stripes() {
            let line = tried(|| media.read::<StripeHead>(table::stripe_line(stripe)).map(drop));
            self.note(0, line)?;
            for segment in volume.table.segments(stripe) {
                let header = tried(|| media.read::<SegmentHeader>(segment.at).map(drop));
                self.note(0, header)?;
            }
        }
        Ok(())
    }

    /// What says what snapshots have.
    fn snapshots(&mut self) -> Result<()> {
        if self.media.copies() > 1 {
            // Under the lock nobody changes their list or their logs.
            let history = self.volume.snapshots.history();
            let newest = history.list.last().map_or(0, |newest| newest.at);
            let read = snapshot::load(&self.media, newest).map(drop);
            drop(history);
            self.note(0, read)?;
        }
        Ok(())
    }

    /// An inode's lines, its log, and its content.
    fn inode(&mut self, ino: u64) -> Result<()> {
        let volume = self.volume;
        // Slots that are nobody's, too.
        let slot = volume.table.locate(ino).map_or(Ok(()), |at| self.media.slot(at).map(drop));
        self.note(ino, slot)?;
        let was_known = volume.is_cached(ino);
        let inode = match volume.inode(ino) {
            Ok(inode) => inode,
            Err(Error::Posix(_)) => return Ok(()), // nobody's
            Err(error) => return Err(error),
        };
        let result = self.metadata(&inode).and_then(|has_content| match has_content {
            true => self.content(&inode).and_then(|()| {
                self.report.moved += volume.leave_bad_blocks(&inode)?;
                Ok(())
            }),
            false => Ok(()),
        });
        // It may be gone by now.
        let result = if matches!(result, Err(Error::Posix(_))) { Ok(()) } else { result };
        if !was_known {
            volume.let_go(inode);
        }
        result
    }

    /// Whether it has content.
    fn metadata(&mut self, inode: &Inode) -> Result<bool> {
        let state = inode.state.read();
        if state.gone {
            return Ok(false);
        }
        // As they are on media: while the lock is held, no record changes them.
        let Some((identity, status, _)) = self.volume.lines(inode.ino)? else { return Ok(false) };
        Index::read(&self.media, &identity, &status, 0)?;
        self.report.inodes += 1;
        Ok(matches!(Kind::of_mode(identity.mode), Kind::File | Kind::Symlink))
    }

    fn content(&mut self, inode: &Inode) -> Result<()> {
        let mut from = Some(0);
        while let Some(file_block) = from {
            let before = self.report.blocks;
            {
                let state = self.volume.read_state(inode)?;
                from = self.blocks(inode.ino, &state, file_block)?;
            }
            self.shared.bytes.fetch_add((self.report.blocks - before) * BLOCK, Relaxed);
            self.keep_to_the_rate();
            if self.is_stopped() {
                break;
            }
        }
        Ok(())
    }

    /// Verifies the next blocks of a file, under its lock. Where to go on.
    fn blocks(&mut self, ino: u64, state: &State, file_block: u64) -> Result<Option<u64>> {
        let extents = state.extents()?;
        let end = extents.end();
        let mut done = 0;
        for (start, mapped) in extents.within(file_block..end).filter(|(_, mapped)| !mapped.unwritten) {
            let count = mapped.count.min(TOGETHER - done);
            match &self.volume.protection {
                Some(protection) if !state.is_unprotected() => {
                    for block in mapped.block..mapped.block + count {
                        let result = self.volume.scrub_block(protection, block);
                        self.note(ino, result)?;
                        self.report.blocks += 1;
                    }
                }
                _ => self.report.unprotected += count,
            }
            done += count;
            if done == TOGETHER {
                return Ok(Some(start + count));
            }
        }
        Ok(None)
    }

    fn keep_to_the_rate(&self) {
        let Some(rate) = self.options.rate else { return };
        let bytes = self.shared.bytes.load(Relaxed);
        let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
        // In pieces, so that it can be stopped.
        while let Some(left) = due.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero()) {
            if self.shared.stop.load(Relaxed) {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }
}

/// Reads a line that a record may be changing at this moment.
fn tried(read: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 1..TRIES {
        if read().is_ok() {
            return Ok(());
        }
        std::thread::yield_now();
    }
    read()
}
