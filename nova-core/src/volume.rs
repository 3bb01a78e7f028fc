//! A mounted volume: everything that its operations share.

use crate::{
    Code, Error, MountOptions, MountReport, Result,
    alloc::{Allocator, Purpose, Run},
    collect::Collected,
    commit::{Batch, Committed, Journal, Quiet},
    format::{BLOCK, Identity, LINE, Status, Structure as _, Superblock, VolumeState},
    inode::{Inode, State},
    integrity::{Protection, layout::Layout},
    media::Media,
    quota::Quotas,
    recovery,
    rules::Rule,
    shares::Shares,
    snapshot::{Snapshots, View},
    table::Table,
};
use parking_lot::{Mutex, RwLock};
use pmem_tx::Ticket;
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

const SHARDS: usize = 16;

/// Some of the inodes. Beside no other shard in a cache.
#[derive(Default)]
#[repr(align(128))]
struct Shard(RwLock<FxHashMap<u64, Arc<Inode>>>);

pub(crate) struct Volume {
    pub(crate) media: Media,
    /// Of content, if the volume has any.
    pub(crate) protection: Option<Protection>,
    /// Away while the volume is closed, and where nothing may be written.
    pub(crate) journal: Option<Journal>,
    pub(crate) superblock: Superblock,
    pub(crate) state: Mutex<VolumeState>,
    pub(crate) allocator: Allocator,
    pub(crate) table: Table,
    pub(crate) shares: Shares,
    pub(crate) quotas: Quotas,
    pub(crate) snapshots: Snapshots,
    /// Of a snapshot that is mounted: what it is a view of.
    pub(crate) view: Option<View>,
    pub(crate) collected: Collected,
    pub(crate) options: MountOptions,
    pub(crate) read_only: bool,
    pub(crate) report: MountReport,
    /// Directories change their parents, and renames cross directories, one at a time.
    pub(crate) tree: Mutex<()>,
    inodes: [Shard; SHARDS],
    limbo: Limbo,
    /// Allocations until one fails, for tests; negative: none does.
    failing: AtomicI64,
}

/// Blocks that end with a record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Freed {
    /// Of logs: one owner each; with the epoch in which each was allocated.
    pub(crate) pages: Vec<(Run, u64)>,
    /// Of data: nobody's, unless another file shares them.
    pub(crate) data: Vec<(Run, u64)>,
}

/// Blocks that were freed, and may still be named by records that a recovery would replay.
#[derive(Default)]
struct Limbo {
    runs: Mutex<VecDeque<(Ticket, Run)>>,
    blocks: AtomicU64,
}

impl Volume {
    #[expect(clippy::too_many_arguments, reason = "the parts of a volume, put together in one place")]
    pub(crate) fn new(
        media: Media,
        journal: Option<Journal>,
        superblock: Superblock,
        state: VolumeState,
        allocator: Allocator,
        table: Table,
        options: MountOptions,
        read_only: bool,
    ) -> Volume {
        Volume {
            media,
            protection: Protection::of(&superblock),
            journal,
            superblock,
            state: Mutex::new(state),
            allocator,
            table,
            shares: Shares::default(),
            quotas: Quotas::default(),
            snapshots: Snapshots::new(state.epoch),
            view: None,
            collected: Collected::default(),
            options,
            read_only,
            report: MountReport::default(),
            tree: Mutex::new(()),
            inodes: Default::default(),
            limbo: Limbo::default(),
            failing: AtomicI64::new(-1),
        }
    }

    /// [`Code::ReadOnly`] where nothing may be written.
    pub(crate) fn writable(&self) -> Result<()> {
        if self.read_only { Err(Code::ReadOnly.into()) } else { Ok(()) }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i64,
            Err(before) => -(before.duration().as_nanos() as i64),
        }
    }

    /// The stripe of the calling thread.
    pub(crate) fn near(&self) -> usize {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static NUMBER: usize = THREADS.fetch_add(1, Relaxed));
        NUMBER.with(|number| *number) % self.superblock.stripes as usize
    }

    /// Commits a batch, with what it frees. Durable on return: one drain, or a share of one.
    pub(crate) fn commit(&self, batch: &Batch, freed: Freed) -> Result<Ticket> {
        self.writable()?;
        let committed = self.commit_with_history(batch)?;
        let Freed { pages, data } = freed;
        if pages.is_empty() && data.is_empty() && self.limbo.blocks.load(Relaxed) == 0 {
            return Ok(committed.ticket);
        }
        if !self.snapshots.are_there() && !self.shares.are_there() {
            let gone = pages.into_iter().chain(data).map(|(run, _)| run);
            return Ok(self.retire(gone, committed));
        }
        let release = |(run, birth)| self.shares.release(run).into_iter().map(move |run| (run, birth));
        let gone = pages.into_iter().chain(data.into_iter().flat_map(release));
        let gone = self.snapshots.keep_what_is_held(gone, self.keeps(Rule::SnapshotsHold));
        Ok(self.retire(gone.into_iter(), committed))
    }

    /// Blocks that are nobody's from this record on: free, when no record's window reaches it.
    pub(crate) fn retire(&self, runs: impl Iterator<Item = Run>, committed: Committed) -> Ticket {
        let mut limbo = self.limbo.runs.lock();
        for run in runs {
            self.limbo.blocks.fetch_add(run.blocks, Relaxed);
            limbo.push_back((committed.ticket, run));
        }
        let settled = match self.keeps(Rule::FreedBlocksWait) {
            true => committed.settled,
            false => committed.ticket,
        };
        self.reclaim(&mut limbo, settled);
        committed.ticket
    }

    /// One record of these batches.
    pub(crate) fn commit_record(&self, batches: &[&Batch<'_>]) -> Result<Committed> {
        let journal = self.journal.as_ref().ok_or(Error::Posix(Code::ReadOnly))?;
        journal.commit(batches, self.options.broken)
    }

    /// A batch of the epoch that is.
    pub(crate) fn batch(&self) -> Batch<'_> {
        let pass = self.snapshots.pass();
        Batch::new(self.epoch(), Some(pass))
    }

    /// The epoch that is: stands still as long as there is a batch.
    pub(crate) fn epoch(&self) -> u64 {
        self.snapshots.epoch()
    }

    /// Whether somebody else has any of these blocks, which were allocated in the epoch `birth`: another file, or a snapshot.
    pub(crate) fn is_shared(&self, run: Run, birth: u64) -> bool {
        self.snapshots.hold(birth) && self.keeps(Rule::SnapshotsShare) || self.shares.any(run)
    }

    /// Whether a rule holds: it does, outside of tests.
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.options.broken != Some(rule)
    }

    /// Content of this file is about to be stored past the journal, and a record will follow: so that no recovery from that record on brings back
    /// what an earlier one had there. Two drains if one could, otherwise none.
    pub(crate) fn leave_to_stores(&self, state: &State) -> Result<()> {
        match (state.patched, &self.journal) {
            (Some(record), Some(journal))
                if self.keeps(Rule::StoresAfterPatches) && !journal.has_retired(record) =>
            {
                self.settle()
            }
            _ => Ok(()),
        }
    }

    fn reclaim(&self, limbo: &mut VecDeque<(Ticket, Run)>, settled: Ticket) {
        // Pushed in the order of their locks, not always of their tickets: the front may wait for a later one.
        while let Some((ticket, run)) = limbo.front().copied() {
            if ticket > settled {
                break;
            }
            limbo.pop_front();
            self.limbo.blocks.fetch_sub(run.blocks, Relaxed);
            self.allocator.free(run);
        }
    }

    /// Makes blocks that were freed free at once: retires the journal's records. Two drains.
    pub(crate) fn settle(&self) -> Result<()> {
        if let Some(journal) = &self.journal
            && !self.read_only
        {
            let settled = journal.checkpoint()?;
            self.reclaim(&mut self.limbo.runs.lock(), settled);
        }
        Ok(())
    }

    /// Keeps every record out, all of them retired, for as long as the guard lives. `None`, where there is no journal.
    pub(crate) fn quiesce(&self) -> Result<Option<Quiet<'_>>> {
        let Some(journal) = self.journal.as_ref().filter(|_| !self.read_only) else { return Ok(None) };
        let (quiet, settled) = journal.quiesce()?;
        self.reclaim(&mut self.limbo.runs.lock(), settled);
        Ok(Some(quiet))
    }

    /// All inodes in DRAM.
    pub(crate) fn cached(&self) -> Vec<Arc<Inode>> {
        self.inodes.iter().flat_map(|shard| shard.0.read().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Free blocks, those that are about to be free included.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.allocator.free_blocks() + self.limbo.blocks.load(Relaxed)
    }

    /// Blocks in runs, near stripe `near`.
    pub(crate) fn allocate(&self, blocks: u64, purpose: Purpose) -> Result<Vec<Run>> {
        self.allocate_with(|| self.allocator.allocate(self.near(), blocks, purpose))
    }

    /// Blocks in runs, the first of them `goal` if it is free.
    pub(crate) fn allocate_at(&self, goal: u64, blocks: u64, purpose: Purpose) -> Result<Vec<Run>> {
        self.allocate_with(|| self.allocator.allocate_at(Some(goal), self.near(), blocks, purpose))
    }

    /// So many blocks of metadata, with their copies: where each is.
    pub(crate) fn allocate_places(&self, blocks: u64) -> Result<Vec<u64>> {
        if self.media.copies() == 1 {
            let runs = self.allocate(blocks, Purpose::Ordinary)?;
            return Ok(runs.iter().flat_map(|run| run.range()).map(|block| block * BLOCK).collect());
        }
        let mut places = Vec::new();
        for _ in 0..blocks {
            match self.allocate_run(self.near(), self.media.copies(), 1, Purpose::Ordinary) {
                Ok(run) => places.push(run.start * BLOCK),
                Err(error) => {
                    places.iter().for_each(|at| self.allocator.free(self.media.run_of(*at)));
                    return Err(error);
                }
            }
        }
        Ok(places)
    }

    /// Blocks side by side.
    pub(crate) fn allocate_run(&self, near: usize, blocks: u64, align: u64, purpose: Purpose) -> Result<Run> {
        self.allocate_with(|| self.allocator.allocate_run(near, blocks, align, purpose))
    }

    fn allocate_with<T>(&self, take: impl Fn() -> Option<T>) -> Result<T> {
        if self.failing.load(Relaxed) >= 0 && self.failing.fetch_sub(1, Relaxed) == 0 {
            return Err(Code::NoSpace.into());
        }
        if let Some(found) = take() {
            return Ok(found);
        }
        loop {
            if self.limbo.blocks.load(Relaxed) > 0 {
                self.settle()?;
            }
            if let Some(found) = take() {
                return Ok(found);
            }
            if !self.clean_for_space()? {
                return Err(Code::NoSpace.into());
            }
        }
    }

    /// The allocation after `allocations` more fails, once.
    pub(crate) fn fail_allocation(&self, allocations: Option<u32>) -> bool {
        let before = self.failing.swap(allocations.map_or(-1, i64::from), Relaxed);
        before < 0
    }

    /// Blocks that were to be linked, and are not: what was stored to them is done with.
    pub(crate) fn give_up(&self, runs: &[Run]) {
        if runs.is_empty() {
            return;
        }
        // Another thread may get them, and its stores must not be overtaken.
        let _ = self.media.drain();
        runs.iter().for_each(|run| self.allocator.free(*run));
    }

    /// The inode, from DRAM or from media. [`Code::NotFound`] if the number is nobody's.
    pub(crate) fn inode(&self, ino: u64) -> Result<Arc<Inode>> {
        let shard = &self.inodes[ino as usize % SHARDS].0;
        if let Some(inode) = shard.read().get(&ino) {
            return Ok(inode.clone());
        }
        // Loaded under the lock: whoever makes or frees an inode has it in DRAM as long as its record is on its way.
        let mut shard = shard.write();
        if let Some(inode) = shard.get(&ino) {
            return Ok(inode.clone());
        }
        let (identity, status, at) = self.lines(ino)?.ok_or(Error::Posix(Code::NotFound))?;
        let inode = Arc::new(Inode::new(ino, at, State::new(identity, status)));
        shard.insert(ino, inode.clone());
        Ok(inode)
    }

    /// The two lines of an inode on media, and where they are; `None` if the number is nobody's.
    pub(crate) fn lines(&self, ino: u64) -> Result<Option<(Identity, Status, u64)>> {
        let Some(at) = self.table.locate(ino) else { return Ok(None) };
        let (identity, status) = match &self.view {
            Some(view) => view.lines(at)?,
            None => self.media.inode_lines(at)?,
        };
        if bytemuck::bytes_of(&identity).iter().all(|byte| *byte == 0) {
            return Ok(None); // never used
        }
        self.media.check(at, bytemuck::bytes_of(&identity), Identity::NAME)?;
        if identity.ino != ino {
            return Error::damaged("inode", at, "it is another number's");
        }
        if identity.mode == 0 {
            return Ok(None);
        }
        self.media.check(at + LINE, bytemuck::bytes_of(&status), Status::NAME)?;
        recovery::check_lines(at, &identity, &status)?;
        Ok(Some((identity, status, at)))
    }

    /// An inode that is being made: `gone` until its record is committed.
    #[inline]
    pub(crate) fn enter(&self, ino: u64, at: u64, state: State) -> Arc<Inode> {
        let inode = Arc::new(Inode::new(ino, at, state));
        self.inodes[ino as usize % SHARDS].0.write().insert(ino, inode.clone());
        inode
    }

    /// Whether the inode is in DRAM.
    pub(crate) fn is_cached(&self, ino: u64) -> bool {
        self.inodes[ino as usize % SHARDS].0.read().contains_key(&ino)
    }

    /// Takes an inode out of DRAM again that was read by who looks at every one; unless somebody else uses it by now.
    pub(crate) fn let_go(&self, inode: Arc<Inode>) {
        let mut shard = self.inodes[inode.ino as usize % SHARDS].0.write();
        // The map's, and ours. Under the lock nobody gets another.
        let is_idle = Arc::strong_count(&inode) == 2 && inode.handles.load(Relaxed) == 0;
        let is_fresh = inode.state.try_read().is_some_and(|state| {
            state.patched.is_none() && !state.gone && state.lease == crate::inode::Lease::None
        });
        if is_idle && is_fresh && shard.get(&inode.ino).is_some_and(|cached| Arc::ptr_eq(cached, &inode)) {
            shard.remove(&inode.ino);
        }
    }

    /// The inode was freed, or was not made after all.
    pub(crate) fn forget(&self, ino: u64) {
        self.inodes[ino as usize % SHARDS].0.write().remove(&ino);
    }

    /// Puts an inode's state line into a batch, and its identity, if it changes.
    pub(crate) fn put(
        &self,
        batch: &mut Batch,
        at: u64,
        identity: Option<&mut Identity>,
        status: &mut Status,
    ) {
        if let Some(identity) = identity {
            *identity = self.media.sealed(at, *identity);
            batch.line(at, bytemuck::bytes_of(identity));
        }
        batch.changes_inode(at);
        status.changes = status.changes.wrapping_add(1);
        *status = self.media.sealed(at + LINE, *status);
        batch.line(at + LINE, bytemuck::bytes_of(status));
    }

    /// Blocks that can be allocated.
    pub(crate) fn blocks(&self) -> std::ops::Range<u64> {
        data_blocks(&self.superblock)
    }
}

/// Blocks that can be allocated.
pub(crate) fn data_blocks(superblock: &Superblock) -> std::ops::Range<u64> {
    Layout::of(superblock).data_blocks()
}
