//! Files that are mapped to be written, and the moment of a snapshot.
//!
//! Programs store to them at any time, and one store after another: if a snapshot has the later one, it must have the earlier one. So all mappings are
//! protected, at one moment, and no store proceeds before all are; from then on [`Copies`] keeps what was there. What was stored before, and is not on the medium
//! yet, is flushed then, and drained before the record that makes the snapshot. Between protection and release nothing is allocated, and nothing
//! waited for.

use super::{
    copies::{Copies, ENTRIES, Piece},
    lent::Holder,
};
use crate::{
    Result,
    alloc::{Purpose, Run},
    format::BLOCK,
    rules::Rule,
    volume::Volume,
};
use parking_lot::{Condvar, Mutex, MutexGuard};
use pmem_map::{Dirtiness, FirstStore, FirstStores, Pages, RangeId, Watched};
use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex as Futex, PoisonError},
};

/// All files of a volume that are mapped to be written.
#[derive(Default)]
pub(crate) struct MappedFiles {
    stores: FirstStores,
    list: Mutex<Vec<Arc<MappedFile>>>,
    /// A mapping that was growing has grown.
    grown: Condvar,
    /// Where files were mapped that are not any more, in bytes of the volume: what was stored there may not be flushed.
    left: Mutex<Vec<Range<u64>>>,
}

/// So many places of files that are not mapped any more are put in order.
const MANY: usize = 1024;

/// One of them.
pub(crate) struct MappedFile {
    ino: u64,
    from: From,
    state: Mutex<State>,
    keeper: Arc<Keeper>,
}

impl std::fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MappedFile").field("ino", &self.ino).finish_non_exhaustive()
    }
}

/// Where it is stored to from.
enum From {
    /// This process.
    Here(Pages),
    /// Another, to which it is lent; and who can hold up its stores.
    Elsewhere(Option<Arc<dyn Holder>>),
}

struct State {
    /// Its blocks, in the order of the mapping, with their births.
    blocks: Vec<(Run, u64)>,
    /// Blocks that are mapped: fewer than there are, while it grows.
    mapped: u64,
    watched: Vec<Watched>,
    /// How many of its first blocks are watched.
    until: u64,
}

/// Is asked before the first store to each page. No lock is held for longer than it takes to look, or to copy one page.
#[derive(Default)]
struct Keeper(Futex<Option<Target>>);

/// Where the pages of a mapping are copied to.
struct Target {
    copies: Arc<Copies>,
    /// By the number of their first page, in order.
    blocks: Vec<(u64, Run)>,
}

impl Target {
    fn block(&self, page: u64) -> Option<u64> {
        let index = self.blocks.partition_point(|(first, _)| *first <= page).checked_sub(1)?;
        let (first, run) = self.blocks[index];
        (page - first < run.blocks).then(|| run.start + page - first)
    }
}

impl FirstStore for Keeper {
    fn first_store(&self, _: RangeId, page: u64) -> io::Result<()> {
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match target.as_ref().and_then(|target| Some((target, target.block(page / BLOCK)?))) {
            Some((target, block)) => {
                target.copies.keep(block).map_err(|_| io::Error::from_raw_os_error(libc::EIO))
            }
            None => Ok(()),
        }
    }
}

/// Where the pages of each file are to be copied to.
pub(crate) struct Targets(Vec<(Arc<MappedFile>, Option<Target>)>);

impl Targets {
    /// From here on they are; what was before is here. Allocates and frees nothing.
    pub(crate) fn switch(&mut self) {
        for (file, target) in &mut self.0 {
            std::mem::swap(&mut *file.keeper.0.lock().unwrap_or_else(PoisonError::into_inner), target);
        }
    }
}

/// Room for what is copied, and all else that the moment needs: so that it takes no lock of a file, and no memory.
pub(crate) struct Prepared {
    pub(crate) copies: Arc<Copies>,
    files: Vec<PreparedFile>,
    /// Which of the files a watched range is of, in the order of the ranges.
    ranges: Vec<(RangeId, usize)>,
}

struct PreparedFile {
    file: Arc<MappedFile>,
    target: Target,
    /// A bit for each page: stored to since the last moment.
    dirty: Vec<u64>,
}

impl MappedFiles {
    /// A file is mapped now. The caller holds the gate, and the file's lock.
    pub(crate) fn add(
        &self,
        volume: &Volume,
        ino: u64,
        pages: Pages,
        blocks: Vec<(Run, u64)>,
    ) -> Arc<MappedFile> {
        let file = MappedFile::new(ino, From::Here(pages), blocks);
        file.track(volume, &self.stores);
        self.list.lock().push(file.clone());
        file
    }

    /// A file is lent now. The caller holds the gate, and the file's lock.
    pub(crate) fn add_lent(
        &self,
        ino: u64,
        blocks: Vec<(Run, u64)>,
        holder: Option<Arc<dyn Holder>>,
    ) -> Arc<MappedFile> {
        let file = MappedFile::new(ino, From::Elsewhere(holder), blocks);
        self.list.lock().push(file.clone());
        file
    }

    /// The files that are lent.
    pub(crate) fn lent(&self) -> Vec<Arc<MappedFile>> {
        self.list.lock().iter().filter(|file| file.is_lent()).cloned().collect()
    }

    /// It is not mapped any more.
    pub(crate) fn remove(&self, file: &Arc<MappedFile>) {
        // A snapshot that is being made finds its blocks there, or here: both are changed under this lock.
        let mut left = self.left.lock();
        let (blocks, watched) = {
            let mut state = file.state.lock();
            (std::mem::take(&mut state.blocks), std::mem::take(&mut state.watched))
        };
        left.extend(blocks.iter().map(|(run, _)| run.start * BLOCK..(run.start + run.blocks) * BLOCK));
        if left.len() > MANY {
            *left = joined(std::mem::take(&mut left));
        }
        drop(left);
        self.list.lock().retain(|other| !Arc::ptr_eq(other, file));
        drop(watched);
    }

    /// Where files were mapped since this was asked before, and are not any more.
    pub(crate) fn take_left(&self) -> Vec<Range<u64>> {
        joined(std::mem::take(&mut self.left.lock()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }

    /// Of a mapping that grows: blocks that are about to be mapped. The caller holds the gate.
    pub(crate) fn grows(&self, file: &MappedFile, blocks: Vec<(Run, u64)>) {
        file.state.lock().blocks.extend(blocks);
    }

    /// So many bytes of it are mapped now.
    pub(crate) fn has_grown(&self, volume: &Volume, file: &MappedFile, len: u64) {
        let _list = self.list.lock();
        {
            let mut state = file.state.lock();
            state.mapped = len / BLOCK;
            // What could not be mapped is not.
            let mut left = state.mapped;
            state.blocks.retain_mut(|(run, _)| {
                run.blocks = run.blocks.min(left);
                left -= run.blocks;
                run.blocks > 0
            });
        }
        // Nobody stores to the new pages before this returns.
        file.track(volume, &self.stores);
        self.grown.notify_all();
    }

    /// The files, none of which is growing.
    fn still(&self) -> MutexGuard<'_, Vec<Arc<MappedFile>>> {
        let mut list = self.list.lock();
        while list.iter().any(|file| file.is_growing()) {
            self.grown.wait(&mut list);
        }
        list
    }

    /// Takes what a snapshot of the mapped files may need. `None`: there are none. The caller holds the gate alone. 1 drain.
    pub(crate) fn prepare(&self, volume: &Volume) -> Result<Option<Prepared>> {
        let list = self.still();
        if list.is_empty() {
            return Ok(None);
        }
        let mut pieces = Vec::new();
        for file in list.iter() {
            file.watch(&self.stores, Dirtiness::Unknown, Dirtiness::Unknown)?;
            pieces.extend(file.pieces());
        }
        let pieces = apart(pieces);
        let blocks: u64 = pieces.iter().map(|piece| piece.run.blocks).sum();
        let spare = volume.allocate(blocks, Purpose::Ordinary)?;
        let places = match volume.allocate_places(blocks.div_ceil(ENTRIES)) {
            Ok(places) => places,
            Err(error) => {
                volume.give_up(&spare);
                return Err(error);
            }
        };
        let waits = volume.keeps(Rule::CopiesBeforeStores);
        let copies = Arc::new(Copies::new(volume.media.clone(), pieces, spare, places, waits));
        volume.media.drain()?;
        let files = list.iter().map(|file| {
            let (target, pages) = file.target(&copies);
            PreparedFile { file: file.clone(), target, dirty: vec![0; pages.div_ceil(64) as usize] }
        });
        // None is watched before the moment that is not now: the gate keeps out who maps, and who grows.
        let mut ranges: Vec<(RangeId, usize)> = Vec::new();
        for (index, file) in list.iter().enumerate() {
            ranges.extend(file.state.lock().watched.iter().map(|watched| (watched.id(), index)));
        }
        ranges.sort_unstable();
        Ok(Some(Prepared { files: files.collect(), copies, ranges }))
    }

    /// The moment: from here on, what is stored to mapped pages is not the snapshot's. Returns the pages that were stored to since the last one.
    pub(crate) fn moment(&self, volume: &Volume, prepared: &mut Prepared) -> Result<Vec<Range<u64>>> {
        let mut targets: Vec<Option<Target>> = Vec::with_capacity(prepared.files.len());
        for PreparedFile { target, .. } in &prepared.files {
            targets.push(Some(Target { copies: target.copies.clone(), blocks: target.blocks.clone() }));
        }
        let atomic = volume.keeps(Rule::MappingsAtOnce);
        // Nothing is allocated or freed from here on, and no lock taken that others hold for longer than a moment. (Without the rule, each
        // file has a moment of its own.)
        let all = prepared.files.len();
        for turn in 0..if atomic { 1 } else { all } {
            let protecting = self.stores.protect()?;
            protecting.dirtied(|id, pages| prepared.note(id, pages));
            for index in if atomic { 0..all } else { turn..turn + 1 } {
                let keeper = &prepared.files[index].file.keeper;
                std::mem::swap(
                    &mut *keeper.0.lock().unwrap_or_else(PoisonError::into_inner),
                    &mut targets[index],
                );
            }
            protecting.release();
            if !atomic {
                // Others run when they want to, and at last they do.
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        }
        drop(targets);
        for PreparedFile { file, dirty, .. } in &mut prepared.files {
            // Nobody knows what another process has stored to.
            if file.is_lent() {
                dirty.fill(u64::MAX);
            }
        }
        let mut stored = Vec::new();
        for PreparedFile { file, target, dirty } in &prepared.files {
            if let Some(protection) = &volume.protection {
                // From now on the watch tells of later stores only. (Who unmaps the file waits for the gate before it asks.)
                protection.dirty.add_bits(file.ino, dirty);
            }
            for (first, run) in &target.blocks {
                let is_dirty = |page: u64| dirty[(page / 64) as usize] >> (page % 64) & 1 != 0;
                for within in (0..run.blocks).filter(|within| is_dirty(first + within)) {
                    let at = (run.start + within) * BLOCK;
                    match stored.last_mut() {
                        Some(Range { end, .. }) if *end == at => *end += BLOCK,
                        _ => stored.push(at..at + BLOCK),
                    }
                }
            }
        }
        Ok(stored)
    }

    /// From here on, pages are copied for another snapshot, or for none.
    pub(crate) fn copy_to(&self, copies: Option<&Arc<Copies>>) {
        self.targets(copies).switch();
    }

    /// What that needs.
    pub(crate) fn targets(&self, copies: Option<&Arc<Copies>>) -> Targets {
        let target = |file: &Arc<MappedFile>| (file.clone(), copies.map(|copies| file.target(copies).0));
        Targets(self.list.lock().iter().map(target).collect())
    }
}

impl Volume {
    /// Blocks of a mapped file are about to be stored to: what the newest snapshot has of them is copied away. The caller holds the gate. 2 drains for each
    /// block that was not copied yet.
    pub(crate) fn keep_for_snapshots(&self, run: Run) -> Result<()> {
        let copies = self.snapshots.history().list.last().and_then(|newest| newest.copies.clone());
        copies.map_or(Ok(()), |copies| run.range().try_for_each(|block| copies.keep(block)))
    }
}

impl Prepared {
    /// Notes that pages of a mapping were stored to. Allocates nothing, takes no lock.
    fn note(&mut self, id: RangeId, pages: Range<u64>) {
        let Ok(found) = self.ranges.binary_search_by_key(&id, |(id, _)| *id) else { return };
        let dirty = &mut self.files[self.ranges[found].1].dirty;
        for page in pages.start / BLOCK..pages.end / BLOCK {
            if let Some(word) = dirty.get_mut((page / 64) as usize) {
                *word |= 1 << (page % 64);
            }
        }
    }
}

/// The same bytes, in order, each once.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    ranges
}

/// Pieces that do not overlap: a file that is mapped twice has its blocks once.
fn apart(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_unstable_by_key(|piece| piece.run.start);
    let mut end = 0;
    pieces.retain_mut(|piece| {
        let known = end.max(piece.run.start) - piece.run.start;
        if known >= piece.run.blocks {
            return false;
        }
        piece.run = Run { start: piece.run.start + known, blocks: piece.run.blocks - known };
        piece.file_block += known;
        end = piece.run.start + piece.run.blocks;
        true
    });
    pieces
}

impl MappedFile {
    fn new(ino: u64, from: From, blocks: Vec<(Run, u64)>) -> Arc<MappedFile> {
        let mapped = blocks.iter().map(|(run, _)| run.blocks).sum();
        let state = State { blocks, mapped, watched: Vec::new(), until: 0 };
        Arc::new(MappedFile { ino, from, state: Mutex::new(state), keeper: Arc::default() })
    }

    fn is_lent(&self) -> bool {
        matches!(self.from, From::Elsewhere(_))
    }

    /// Who can hold up the stores of the process that it is lent to.
    pub(super) fn holder(&self) -> Option<&Arc<dyn Holder>> {
        match &self.from {
            From::Elsewhere(holder) => holder.as_ref(),
            From::Here(_) => None,
        }
    }

    /// The process that it is lent to is about to store to a page, `at` of the file, for the first time since the moment of a snapshot.
    pub(crate) fn keep(&self, at: u64) {
        let target = self.keeper.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((target, block)) =
            target.as_ref().and_then(|target| Some((target, target.block(at / BLOCK)?)))
        {
            // A copy that fails is noted, and is the snapshot's to report.
            let _ = target.copies.keep(block);
        }
    }

    fn is_growing(&self) -> bool {
        let state = self.state.lock();
        state.blocks.iter().map(|(run, _)| run.blocks).sum::<u64>() > state.mapped
    }

    /// Watches what is not watched yet: by the first means or, where that cannot be had, by the second.
    fn watch(&self, stores: &FirstStores, wanted: Dirtiness, otherwise: Dirtiness) -> Result<()> {
        let From::Here(pages) = &self.from else { return Ok(()) };
        let mut state = self.state.lock();
        if state.until < state.mapped {
            let range = state.until * BLOCK..state.mapped * BLOCK;
            let by = |means| stores.watch(pages, range.clone(), means, self.keeper.clone());
            let mut watched = by(wanted)?;
            if watched.dirtiness() != wanted && otherwise != Dirtiness::Unknown {
                drop(watched);
                watched = by(otherwise)?;
            }
            state.watched.push(watched);
            state.until = state.mapped;
        }
        Ok(())
    }

    /// Watches it from the beginning, where it counts which pages are stored to: for the next snapshot, and for what protects the file
    /// when it is not mapped any more. What cannot be watched counts as stored to.
    fn track(&self, volume: &Volume, stores: &FirstStores) {
        let by = volume.options.stores_known_by;
        let _ = match &volume.protection {
            Some(_) => self.watch(stores, by, Dirtiness::Faults),
            None if volume.snapshots.are_there() => self.watch(stores, by, Dirtiness::Unknown),
            None => Ok(()),
        };
    }

    /// Calls `each` with the blocks of the file that were stored to through this mapping since the last moment of a snapshot, as long as it is mapped.
    pub(crate) fn stored(&self, mut each: impl FnMut(Range<u64>)) {
        let state = self.state.lock();
        for watched in &state.watched {
            watched.dirtied(|pages| each(pages.start / BLOCK..pages.end / BLOCK));
        }
        each(state.until..state.mapped);
    }

    fn pieces(&self) -> Vec<Piece> {
        let state = self.state.lock();
        let mut file_block = 0;
        let pieces = state.blocks.iter().map(|(run, birth)| {
            file_block += run.blocks;
            Piece { run: *run, birth: *birth, ino: self.ino, file_block: file_block - run.blocks }
        });
        pieces.collect()
    }

    /// Where its pages are copied to, and how many it has.
    fn target(&self, copies: &Arc<Copies>) -> (Target, u64) {
        let state = self.state.lock();
        let mut page = 0;
        let blocks = state.blocks.iter().map(|(run, _)| {
            page += run.blocks;
            (page - run.blocks, *run)
        });
        let blocks = blocks.collect();
        (Target { copies: copies.clone(), blocks }, page)
    }
}
