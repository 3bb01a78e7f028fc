//! Changes of a file's blocks: gathered, committed as one record, and then taken over by the index in DRAM.
//!
//! Content comes to be in one of three ways: *placed* in new blocks, past the caches, drained before the record that links them
//! ([`crate::ordering`]); *patched* in the record, if it is little and the block is the file's own; or *in place*, because the volume or
//! the file is relaxed. Blocks that are the file's already and are stored to past the caches (in place, or because they were only reserved)
//! may be named by a patch: [`Volume::leave_to_stores`] comes first.

use crate::{
    Result,
    alloc::{Purpose, Run, STRETCH},
    commit::Batch,
    extents::Mapped,
    format::{BLOCK, Identity, LINE, Status, flag},
    inode::{Body, Inode, State},
    integrity::patch::Patches,
    log::{self, Append, Pages},
    ordering::{Durable, Stored},
    volume::Volume,
};
use std::ops::Range;

/// One change of the map, in the order of the log.
enum Change {
    /// `shared`: the blocks have one owner more, for this.
    Map {
        file_block: u64,
        run: Run,
        unwritten: bool,
        shared: bool,
        birth: u64,
        page: u32,
    },
    Unmap {
        blocks: Range<u64>,
        page: u32,
    },
    Shift {
        from: u64,
        by: i64,
        page: u32,
    },
}

pub(crate) struct Edit<'v> {
    volume: &'v Volume,
    pub(crate) batch: Batch<'v>,
    /// There until the commit.
    log: Option<Append<'v>>,
    changes: Vec<Change>,
    /// Blocks that were allocated for this edit, and go back if it is not committed.
    fresh: Vec<Run>,
    /// Bytes of the file that become zeros: each of one block.
    zeros: Vec<Range<u64>>,
    /// Copies of single blocks: stored, not linked yet.
    copies: Vec<(u64, Run)>,
    /// The blocks of a shared source, whose owners become one more.
    sharing: Vec<Run>,
    /// Content that will be in the record.
    patches: Patches,
    committed: bool,
}

impl<'v> Edit<'v> {
    pub(crate) fn new(volume: &'v Volume, inode: &Inode, state: &State, purpose: Purpose) -> Edit<'v> {
        let batch = volume.batch();
        let log =
            Append::new(volume, inode.ino, state.identity.log, state.status.tail, &state.pages, purpose);
        Edit {
            volume,
            batch,
            log: Some(log),
            changes: Vec::new(),
            fresh: Vec::new(),
            zeros: Vec::new(),
            copies: Vec::new(),
            sharing: Vec::new(),
            patches: Patches::default(),
            committed: false,
        }
    }

    fn entry(&mut self, entry: &mut log::OneLine) -> Result<u32> {
        let log = self.log.as_mut().expect("until the commit");
        let (_, page) = log.entry(&mut self.batch, bytemuck::bytes_of_mut(entry))?;
        Ok(page)
    }

    /// New blocks; aligned for large pages, if they are many. They go back if the edit is dropped.
    pub(crate) fn allocate(&mut self, blocks: u64) -> Result<Vec<Run>> {
        if blocks >= STRETCH {
            let (allocator, near) = (&self.volume.allocator, self.volume.near());
            if let Some(run) = allocator.allocate_run(near, blocks, STRETCH, Purpose::Ordinary) {
                self.fresh.push(run);
                return Ok(vec![run]);
            }
        }
        let runs = self.volume.allocate(blocks, Purpose::Ordinary)?;
        self.fresh.extend(&runs);
        Ok(runs)
    }

    /// As [`allocate`](Self::allocate), from block `goal` on, if there is one and it is free.
    pub(crate) fn allocate_at(&mut self, goal: Option<u64>, blocks: u64) -> Result<Vec<Run>> {
        let Some(goal) = goal.filter(|_| blocks < STRETCH) else { return self.allocate(blocks) };
        let runs = self.volume.allocate_at(goal, blocks, Purpose::Ordinary)?;
        self.fresh.extend(&runs);
        Ok(runs)
    }

    /// New blocks side by side, at a multiple of `align`, if there are any.
    pub(crate) fn allocate_aligned(&mut self, blocks: u64, align: u64) -> Option<Run> {
        let near = self.volume.near();
        let run = self.volume.allocate_run(near, blocks, align, Purpose::Ordinary).ok()?;
        self.fresh.push(run);
        Some(run)
    }

    /// Links blocks whose content is durable: each of `places` is of `durable`.
    pub(crate) fn link(&mut self, state: &State, places: &[(u64, Run)], durable: &Durable) -> Result<()> {
        for (file_block, run) in places {
            let within = |of: &Run| of.start <= run.start && run.start + run.blocks <= of.start + of.blocks;
            assert!(durable.runs().iter().any(within), "blocks whose content is not durable");
            let birth = self.birth(state, *file_block, *run);
            self.map(*file_block, *run, false, false, birth)?;
        }
        Ok(())
    }

    /// Gives a file block new content in a block of its own, which the commit drains and links.
    pub(crate) fn replace(&mut self, file_block: u64, content: &[u8]) -> Result<()> {
        let runs = self.allocate(1)?;
        self.volume.store_data(runs[0].start * BLOCK, content);
        self.copies.push((file_block, runs[0]));
        Ok(())
    }

    /// Zeroes bytes of one file block with the commit.
    pub(crate) fn zero(&mut self, range: Range<u64>) {
        // Ranges of one block that touch become one: a record names a line once, and a shared block is copied once.
        let touches = |other: &Range<u64>| range.start <= other.end && other.start <= range.end;
        let same = |other: &Range<u64>| other.start / BLOCK == range.start / BLOCK && touches(other);
        if range.is_empty() {
        } else if let Some(other) = self.zeros.iter_mut().find(|other| same(other)) {
            *other = other.start.min(range.start)..other.end.max(range.end);
        } else {
            self.zeros.push(range);
        }
    }

    /// Zeroes bytes of one file block: in the record, or in a copy if other files share the block. Nothing, where it reads as zeros.
    fn put_zeros(&mut self, state: &State, range: Range<u64>) -> Result<()> {
        let (file_block, within) = (range.start / BLOCK, range.start % BLOCK);
        let len = (range.end - range.start) as usize;
        let Some(mapped) = state.extents()?.at(file_block).filter(|mapped| !mapped.unwritten) else {
            return Ok(());
        };
        if self.volume.is_shared(Run { start: mapped.block, blocks: 1 }, mapped.birth) {
            let mut content = vec![0; BLOCK as usize];
            self.volume.copy_data(state, mapped.block * BLOCK, &mut content)?;
            content[within as usize..within as usize + len].fill(0);
            return self.replace(file_block, &content);
        }
        self.patch(mapped.block * BLOCK + within, &vec![0; len])
    }

    /// Zeroes what lies between the file's end and the end of its block, up to `to`: for who makes it longer.
    pub(crate) fn zero_behind_end(&mut self, state: &State, to: u64) {
        let size = state.status.size;
        if to > size && size % BLOCK != 0 {
            self.zero(size..to.min(size.next_multiple_of(BLOCK)));
        }
    }

    /// Links blocks of another file, which has them too.
    pub(crate) fn share(&mut self, file_block: u64, mapped: Mapped) -> Result<()> {
        let run = mapped.run();
        self.volume.shares.add(run);
        self.sharing.push(run);
        self.map(file_block, run, mapped.unwritten, true, mapped.birth)
    }

    /// Links blocks that read as zeros.
    pub(crate) fn reserve(&mut self, state: &State, file_block: u64, run: Run) -> Result<()> {
        let birth = self.birth(state, file_block, run);
        self.map(file_block, run, true, false, birth)
    }

    /// When blocks were allocated: now, or, if the file has them at this place already, as it says.
    fn birth(&self, state: &State, file_block: u64, run: Run) -> u64 {
        let extents = state.extents().ok();
        let old = extents.and_then(|extents| extents.at(file_block)).filter(|old| old.block == run.start);
        old.map_or(self.batch.epoch(), |old| old.birth)
    }

    fn map(&mut self, file_block: u64, run: Run, unwritten: bool, shared: bool, birth: u64) -> Result<()> {
        for mut entry in log::extent(file_block, run, unwritten, birth) {
            let (file_block, part) =
                (entry.file_block, Run { start: entry.block, blocks: u64::from(entry.count) });
            let page = self.entry(&mut entry)?;
            self.changes.push(Change::Map { file_block, run: part, unwritten, shared, birth, page });
        }
        Ok(())
    }

    /// Nothing is mapped in these file blocks.
    pub(crate) fn unmap(&mut self, blocks: Range<u64>) -> Result<()> {
        let mut entry = log::hole(blocks.start, blocks.end - blocks.start, self.batch.epoch());
        let page = self.entry(&mut entry)?;
        self.changes.push(Change::Unmap { blocks, page });
        Ok(())
    }

    /// Everything from `from` on moves by `by` blocks.
    pub(crate) fn shift(&mut self, from: u64, by: i64) -> Result<()> {
        let mut entry = log::shift(from, by, self.batch.epoch());
        let page = self.entry(&mut entry)?;
        self.changes.push(Change::Shift { from, by, page });
        Ok(())
    }

    /// Puts bytes into the record, for a block in the volume that is the file's own. `at` is a byte offset in the volume; the range is
    /// inside one block, and shares no line with another patch of this edit.
    pub(crate) fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        match self.volume.protection {
            None => self.volume.patch(&mut self.batch, at, bytes)?,
            Some(_) => self.patches.add(at, bytes),
        }
        Ok(())
    }

    /// How many blocks more the file has afterwards, and which of those that it has it has no longer.
    fn replaced(&self, state: &State) -> Result<(i64, Vec<(Run, u64)>)> {
        let extents = state.extents()?;
        let (mut more, mut freed) = (0, Vec::new());
        for change in &self.changes {
            let (blocks, stays) = match change {
                Change::Map { file_block, run, shared, .. } => {
                    more += run.blocks as i64;
                    // A block that stays where it is is not freed; one that is shared with this file itself has an owner too many.
                    let stays = (!shared).then_some(run.start.wrapping_sub(*file_block));
                    (*file_block..file_block + run.blocks, stays)
                }
                Change::Unmap { blocks, .. } => (blocks.clone(), None),
                Change::Shift { .. } => continue,
            };
            for (at, old) in extents.within(blocks) {
                more -= old.count as i64;
                if stays != Some(old.block.wrapping_sub(at)) {
                    freed.push((old.run(), old.birth));
                }
            }
        }
        Ok((more, freed))
    }

    /// Commits: everything above, and `status` as the file's state. Durable on return. One drain. The index is changed; the
    /// caller still holds the file's lock.
    pub(crate) fn commit(
        mut self,
        inode: &Inode,
        state: &mut State,
        mut status: Status,
        identity: Option<Identity>,
    ) -> Result<()> {
        let volume = self.volume;
        for range in std::mem::take(&mut self.zeros) {
            // What has other content now, or none, needs no zeros.
            let block = range.start / BLOCK;
            let replaced = self.changes.iter().any(|change| match change {
                Change::Map { file_block, run, .. } => {
                    (*file_block..file_block + run.blocks).contains(&block)
                }
                Change::Unmap { blocks, .. } => blocks.contains(&block),
                Change::Shift { .. } => false,
            });
            if !replaced {
                self.put_zeros(state, range)?;
            }
        }
        let is_fresh = |block| self.fresh.iter().any(|run| run.range().contains(&block));
        std::mem::take(&mut self.patches).put(volume, &mut self.batch, is_fresh)?;
        let copies = std::mem::take(&mut self.copies);
        if !copies.is_empty() {
            let stored = Stored::new(copies.iter().map(|(_, run)| *run).collect());
            let durable = stored.drain(&volume.media)?;
            self.link(state, &copies, &durable)?;
        }
        let (more, data) = self.replaced(state)?;
        let owner = identity.unwrap_or(state.identity);
        volume.quotas.charge(&owner, more, 0)?;
        let charged = Charged { volume, identity: owner, blocks: more, kept: false };
        let log = self.log.take().expect("once");
        log.finish(&mut self.batch, &state.pages);
        let mut freed = log.freed(&state.pages);
        freed.data = data;
        status.blocks = status.blocks.saturating_add_signed(more);
        let moved = log.log != state.identity.log;
        let changes_identity = moved || identity.is_some();
        let mut identity = identity.unwrap_or(state.identity);
        identity.log = log.log;
        status.tail = log.tail;
        volume.put(&mut self.batch, inode.at, changes_identity.then_some(&mut identity), &mut status);
        let record = volume.commit(&self.batch, freed)?;
        self.committed = true;
        if self.batch.has_data() {
            state.patched = Some(record);
        }
        charged.keep();
        log.done(&mut state.pages);
        take_over(state, std::mem::take(&mut self.changes));
        (state.identity, state.status) = (identity, status);
        volume.collect_if_worth_it(inode, state);
        Ok(())
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.volume.give_up(&self.fresh);
            self.sharing.iter().for_each(|run| drop(self.volume.shares.release(*run)));
        }
    }
}

/// The index in DRAM says what the log says.
fn take_over(state: &mut State, changes: Vec<Change>) {
    let State { body, pages, .. } = state;
    let Body::File(extents) = body else { return };
    let forget = |pages: &mut Pages, old: Vec<(u64, Mapped)>| {
        old.into_iter().for_each(|(_, old)| pages.remove(old.page, old.count));
    };
    for change in changes {
        match change {
            Change::Map { file_block, run, unwritten, birth, page, .. } => {
                let mapped = Mapped { block: run.start, count: run.blocks, unwritten, birth, page };
                let old = extents.insert(file_block, mapped);
                pages.add(page, run.blocks);
                forget(pages, old);
            }
            Change::Unmap { blocks, page } => {
                let old = extents.remove(blocks);
                pages.orders(page);
                forget(pages, old);
            }
            Change::Shift { from, by, page } => {
                extents.shift(from, by);
                pages.orders(page);
            }
        }
    }
}

/// A charge that is taken back unless it is kept.
struct Charged<'v> {
    volume: &'v Volume,
    identity: Identity,
    blocks: i64,
    kept: bool,
}

impl Charged<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Charged<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.volume.quotas.restore(&self.identity, -self.blocks, 0);
        }
    }
}

impl Volume {
    /// Bytes that a record takes instead of blocks of their own. On a disk a drain costs more than bytes do.
    pub(crate) fn small(&self) -> u64 {
        // By lines, 2 KiB in a record and a block of their own are 68 and 70 lines, and one drain and two; above, the block is ahead.
        let most = match self.media.region().granularity() {
            pmem_map::Granularity::Page => 4 * BLOCK,
            _ => BLOCK / 2,
        };
        (self.superblock.journal_len / 8).clamp(BLOCK / 4, most)
    }

    /// Puts bytes of one block into a batch, as data: whole lines, what is around them as it is.
    pub(crate) fn patch(&self, batch: &mut Batch, at: u64, bytes: &[u8]) -> Result<()> {
        let (end, whole) = (at + bytes.len() as u64, LINE as usize);
        let (start, stop) = (at / LINE * LINE, end.next_multiple_of(LINE));
        let lines = batch.data(start, stop - start);
        if start < at {
            self.media.copy_out(start, &mut lines[..whole], "block")?;
        }
        if end < stop {
            let last = lines.len() - whole;
            self.media.copy_out(stop - LINE, &mut lines[last..], "block")?;
        }
        lines[(at - start) as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Content of a new block: in the record, or past the caches and drained.
    pub(crate) fn place_small(&self, batch: &mut Batch, runs: &[Run], bytes: &[u8]) -> Result<()> {
        let at = runs[0].start * BLOCK;
        if bytes.len() as u64 <= self.small() && self.protection.is_some() {
            let mut patches = Patches::default();
            patches.add(at, bytes);
            return patches.put(self, batch, |_| true);
        }
        if bytes.len() as u64 <= self.small() {
            let lines = batch.data(at, (bytes.len() as u64).next_multiple_of(LINE));
            lines[..bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        self.store_data(at, bytes);
        self.media.drain()
    }

    /// Whether writes of this file may go in place. Not where content is protected: a stripe that is torn would be damage.
    pub(crate) fn is_relaxed(&self, state: &State) -> bool {
        self.protection.is_none() && (self.options.in_place || state.has(flag::IN_PLACE))
    }
}
