//! Files as mappings: loads and stores go straight to the volume's bytes.
//!
//! A file that is to be mapped gets blocks behind every byte first, its own and with content: holes and reserved blocks are zeroed, shared
//! ones copied. While the mapping lives, the file's blocks stay where they are: the *lease*. Snapshots are made all the same: what they need
//! of a page is copied away before the first store to it ([`crate::snapshot`]).

#![allow(unsafe_code)]

use crate::{
    Code, Error, File, Kind, Result,
    alloc::{Purpose, Run, STRETCH},
    contiguous,
    edit::Edit,
    format::{BLOCK, Identity, Status},
    inode::{Lease, State},
    integrity::Protection,
    ordering::Stored,
    snapshot::MappedFile,
};
use parking_lot::Mutex;
use pmem_map::{Backing, Durability, Extent, Granularity, MapOptions, Mapping, Pages};
use std::{
    ops::Range,
    os::fd::FromRawFd,
    sync::{Arc, OnceLock},
};

/// How far a mapping may grow, beyond what the file has.
const GROWTH: u64 = 1 << 36;

impl File {
    /// Maps the file: exclusively, to read and write. Its length is the file's, in whole blocks (behind the end are zeros).
    ///
    /// It takes the file's lease: until the mapping is dropped, writing, truncating and mapping it again is refused with
    /// [`Error::Mapped`]; reading copies the bytes as they are. The mapping keeps the volume mounted. What makes its stores durable is the volume's:
    /// [`Region::flush`](pmem_map::Region::flush) and [`drain`](pmem_map::Region::drain), or `sync`. The mapping can grow, and the file with it.
    ///
    /// # Errors
    ///
    /// [`Error::Mapped`]; [`Code::Invalid`] for an empty file; [`Code::NoSpace`]; [`pmem_map::Error::CannotLend`] if the volume is in
    /// anonymous memory; [`Error::TooManyExtents`] for a file in more than 16,384 pieces, if there is no space for a copy in fewer, which would take 2 drains
    /// more; [`Error::Damaged`] where content is protected: all of it is verified first. Until the mapping is dropped, nothing protects the
    /// file ([`integrity::mapped`](crate::integrity::mapped)); saying so takes a drain, if nothing else is to be made durable. 2 drains if blocks have to be made, 1 if the file does not end with a block, 2 if bytes were written shortly before that are in
    /// a record.
    pub fn map(&self) -> Result<Mapping> {
        self.map_with(Lease::Exclusive)
    }

    /// Maps the file beside others who map and write it: NOVA's semantics. Writes go in place, atomic for aligned words only.
    ///
    /// # Safety
    ///
    /// The bytes change under every reference into the mapping: the caller sees to it that no `&[u8]` into it is alive while
    /// another mapping, or [`File::write_at`], stores there.
    pub unsafe fn map_shared(&self) -> Result<Mapping> {
        self.map_with(Lease::Shared(1))
    }

    /// Maps the file to read: as often as anybody likes, at the same time, also on a volume that is mounted read-only. Holes are zeros, and
    /// take no space. While such a mapping lives, writing, truncating and mapping the file otherwise is refused with [`Error::Mapped`].
    ///
    /// # Errors
    ///
    /// [`Error::Mapped`]; [`Code::Invalid`] for an empty file; [`Code::NotSupported`] in a snapshot; [`pmem_map::Error::CannotLend`] if the volume is in anonymous memory, or in a
    /// private view; [`Error::TooManyExtents`] for a file in more than 16,384 pieces; [`pmem_map::Error::BadExtent`] if the file has one block twice (by a reflink within itself). No drain.
    pub fn map_read(&self) -> Result<ReadMapping> {
        let volume = self.volume();
        if volume.view.is_some() {
            return Err(Code::NotSupported.into());
        }
        let mut state = volume.write_state(&self.inode)?;
        let size = state.status.size;
        if state.kind() != Kind::File || size == 0 {
            return Err(Code::Invalid.into());
        }
        let lease = match state.lease {
            Lease::None => Lease::Read(1),
            Lease::Read(others) => Lease::Read(others + 1),
            _ => return Err(Error::Mapped),
        };
        volume.verify_file(&state)?;
        let extents = self.extents_with_zeros(&state, size.div_ceil(BLOCK))?;
        contiguous::check(&extents)?;
        state.lease = lease;
        volume.protection.iter().for_each(Protection::lend);
        drop(state);
        let leased = Leased::new(self, extents, Vec::new(), Vec::new());
        Ok(ReadMapping { mapping: MapOptions::new().from_backing(leased)?, len: size as usize })
    }

    /// Where the first `blocks` blocks of the file are; zeros from elsewhere for those that have no content.
    fn extents_with_zeros(&self, state: &State, blocks: u64) -> Result<Vec<Extent>> {
        let mut parts: Vec<(u64, Option<u64>)> = Vec::new(); // blocks, and where they are
        let mut at = 0;
        for (file_block, mapped) in state.extents()?.within(0..blocks) {
            parts.push((file_block - at, None));
            parts.push((mapped.count, (!mapped.unwritten).then_some(mapped.block)));
            at = file_block + mapped.count;
        }
        parts.push((blocks - at, None));
        parts.retain(|(count, _)| *count > 0);
        let content =
            |(count, block): &(u64, Option<u64>)| block.map(|block| block * BLOCK..(block + count) * BLOCK);
        let ranges: Vec<Range<u64>> = parts.iter().filter_map(content).collect();
        let mut lent = self.volume().media.region().extents(&ranges)?.into_iter();
        let missing: u64 = parts.iter().filter(|part| part.1.is_none()).map(|part| part.0 * BLOCK).sum();
        let zeros = (missing > 0).then(|| zeros(missing)).transpose()?;
        let mut offset = 0;
        let mut extents = Vec::new();
        for (count, block) in parts {
            let len = count * BLOCK;
            match (block, &zeros) {
                (None, Some(file)) => {
                    extents.push(Extent { file: file.clone(), offset, len });
                    offset += len;
                }
                // A range may be in several pieces, if the volume is in a file of a volume.
                _ => {
                    let mut missing = len;
                    while missing > 0 {
                        let piece = lent.next().expect("each range is lent as a whole");
                        missing -= piece.len;
                        extents.push(piece);
                    }
                }
            }
        }
        Ok(extents)
    }

    fn map_with(&self, wanted: Lease) -> Result<Mapping> {
        let volume = self.volume();
        volume.writable()?;
        let mut state = volume.write_state(&self.inode)?;
        // No snapshot is made before it is known that the file is mapped.
        let _pass = volume.snapshots.pass();
        if state.kind() != Kind::File {
            return Err(Code::Invalid.into());
        }
        state.permit_change(false)?;
        if state.status.size == 0 {
            return Err(Code::Invalid.into());
        }
        let lease = match (state.lease, wanted) {
            (Lease::None, wanted) => wanted,
            (Lease::Shared(others), Lease::Shared(_)) => Lease::Shared(others + 1),
            _ => return Err(Error::Mapped),
        };
        // Nobody else maps these blocks yet: they may be replaced.
        if state.lease == Lease::None {
            let size = state.status.size;
            // Before it is marked: whether anything of the volume can be mapped at all.
            let any = 0..BLOCK;
            volume.media.region().extents(std::slice::from_ref(&any))?;
            volume.verify_file(&state)?;
            let identity = volume.marked(&state);
            self.make_mappable(&mut state, 0..size.div_ceil(BLOCK), size, identity)?;
            self.make_contiguous(&mut state)?;
            self.zero_tail(&state)?;
            // The program's stores are followed by no record: not even the newest one's window may have bytes of this file.
            if state.patched.take().is_some() {
                volume.settle()?;
            }
        }
        let blocks = self.blocks(&state, 0..state.status.size.div_ceil(BLOCK))?;
        let runs = bytes(&blocks);
        let extents = volume.media.region().extents(&runs)?;
        contiguous::check(&extents)?;
        state.lease = lease;
        drop(state);
        let len: u64 = extents.iter().map(|extent| extent.len).sum();
        let leased = Leased::new(self, extents, runs, blocks);
        Ok(MapOptions::new().max_len(len + GROWTH).from_backing(leased)?)
    }

    /// Gives blocks of its own, with content, to every block of a range. `size` is the file's afterwards, and `identity`, if it changes.
    fn make_mappable(
        &self,
        state: &mut State,
        blocks: Range<u64>,
        size: u64,
        identity: Option<Identity>,
    ) -> Result<()> {
        let volume = self.volume();
        volume.leave_to_stores(state)?;
        let mut edit = Edit::new(volume, &self.inode, state, Purpose::Ordinary);
        let (mut places, mut at) = (Vec::new(), blocks.start);
        let mut holes = Vec::new();
        for (file_block, mapped) in state.extents()?.within(blocks.clone()) {
            holes.push(at..file_block);
            at = file_block + mapped.count;
            if volume.is_shared(mapped.run(), mapped.birth) {
                let mut to = file_block;
                for run in edit.allocate(mapped.count)? {
                    let mut content = vec![0; (run.blocks * BLOCK) as usize];
                    volume.copy_file(state, to * BLOCK, &mut content)?;
                    volume.store_data(run.start * BLOCK, &content);
                    places.push((to, run));
                    to += run.blocks;
                }
            } else if mapped.unwritten {
                volume.zero_data(mapped.run());
                places.push((file_block, mapped.run()));
            }
        }
        holes.push(at..blocks.end);
        for hole in holes.into_iter().filter(|hole| !hole.is_empty()) {
            let count = hole.end - hole.start;
            let aligned = (count >= STRETCH).then(|| edit.allocate_aligned(count, STRETCH)).flatten();
            let runs: Vec<Run> = match aligned {
                Some(run) => vec![run],
                None => edit.allocate(count)?,
            };
            let mut to = hole.start;
            for run in runs {
                volume.zero_data(run);
                places.push((to, run));
                to += run.blocks;
            }
        }
        let changes = !places.is_empty() || size != state.status.size;
        if !changes && identity.is_none() {
            return Ok(());
        }
        if !places.is_empty() {
            let durable = Stored::new(places.iter().map(|(_, run)| *run).collect()).drain(&volume.media)?;
            edit.link(state, &places, &durable)?;
        }
        let changed = if changes { volume.now() } else { state.status.changed };
        let status = Status { size, changed, ..state.status };
        edit.commit(&self.inode, state, status, identity)
    }

    /// Behind the end are zeros, for everybody who maps the file: in place, where only a mapping can see them. (Not by a record: replayed, it would
    /// undo what the mapping's program stored.)
    fn zero_tail(&self, state: &State) -> Result<()> {
        let (volume, size) = (self.volume(), state.status.size);
        match state.extents()?.at(size / BLOCK) {
            Some(last) if size % BLOCK != 0 => {
                volume.media.zero(last.block * BLOCK + size % BLOCK, BLOCK - size % BLOCK);
                volume.media.drain()
            }
            _ => Ok(()),
        }
    }

    /// Where a range of the file is, each with its birth.
    pub(crate) fn blocks(&self, state: &State, blocks: Range<u64>) -> Result<Vec<(Run, u64)>> {
        Ok(state.extents()?.within(blocks).map(|(_, mapped)| (mapped.run(), mapped.birth)).collect())
    }

    /// The lease of one mapping ends.
    fn end_lease(&self) {
        let volume = self.volume();
        let mut state = self.inode.state.write();
        if let Lease::Read(readers) = state.lease {
            state.lease = if readers > 1 { Lease::Read(readers - 1) } else { Lease::None };
            volume.protection.iter().for_each(Protection::end_lending);
            return;
        }
        state.lease = match state.lease {
            Lease::Shared(others) if others > 1 => Lease::Shared(others - 1),
            _ => Lease::None,
        };
        // What was stored is not known to have been; the time says that it may.
        let now = volume.now();
        let status = Status { modified: now, changed: now, ..state.status };
        // If it cannot be protected again, it stays marked.
        let last = state.lease == Lease::None;
        let identity = if last { volume.unmarked(&state).unwrap_or(None) } else { None };
        let edit = Edit::new(volume, &self.inode, &state, Purpose::Freeing);
        let _ = edit.commit(&self.inode, &mut state, status, identity);
    }
}

/// A file that is mapped to be read: [`File::map_read`]. Its bytes stand still as long as it lives.
#[derive(Debug)]
pub struct ReadMapping {
    mapping: Mapping,
    /// Of the file: the mapping has whole blocks.
    len: usize,
}

impl std::ops::Deref for ReadMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.mapping.as_slice()[..self.len]
    }
}

/// A file of zeros, which takes memory where it is looked at.
fn zeros(len: u64) -> Result<Arc<std::fs::File>> {
    let failed = |source| pmem_map::Error::Io { action: "create", path: "zeros for holes".into(), source };
    // SAFETY: a call of the system with a string that ends with 0.
    let descriptor = unsafe { libc::memfd_create(c"nova-core zeros".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(failed(std::io::Error::last_os_error()).into());
    }
    // SAFETY: a descriptor that was just made, and is nobody else's.
    let file = unsafe { std::fs::File::from_raw_fd(descriptor) };
    file.set_len(len).map_err(failed)?;
    Ok(Arc::new(file))
}

/// A mapping's hold on its file.
struct Leased {
    file: File,
    /// At first, in the file that the volume is in.
    extents: Vec<Extent>,
    /// Now, in bytes of the volume.
    runs: Mutex<Vec<Range<u64>>>,
    /// The same at first, in blocks, with their births. None of what is mapped to be read.
    blocks: Vec<(Run, u64)>,
    /// Known to snapshots.
    mapped: OnceLock<Arc<MappedFile>>,
}

/// Blocks as bytes of the volume.
pub(crate) fn bytes(blocks: &[(Run, u64)]) -> Vec<Range<u64>> {
    blocks.iter().map(|(run, _)| run.start * BLOCK..(run.start + run.blocks) * BLOCK).collect()
}

impl Leased {
    fn new(file: &File, extents: Vec<Extent>, runs: Vec<Range<u64>>, blocks: Vec<(Run, u64)>) -> Leased {
        Leased { file: file.clone(), extents, runs: Mutex::new(runs), blocks, mapped: OnceLock::new() }
    }
}

// SAFETY: 1. The volume's file keeps its length as long as its region is mapped, and the lease keeps the volume; blocks are behind every byte.
// 2, 3. An exclusive lease is one: no other mapping is made, `write` and everything that moves blocks are refused, and reads copy bytes
// out. With `map_shared` the caller promised to keep references apart. `map_read` lends bytes to several mappings, none of which gives out a
// `&mut` to them (`ReadMapping`), and nobody stores to them while its lease lasts. 4. Nothing is protected. 5. `grow` adds blocks and moves none.
// 6. `page_lost` is not answered.
unsafe impl Backing for Leased {
    fn extents(&self) -> Vec<Extent> {
        self.extents.clone()
    }

    fn granularity(&self) -> Granularity {
        self.file.volume().media.region().granularity()
    }

    fn durability(&self) -> Durability {
        self.file.volume().media.region().durability()
    }

    fn name(&self) -> &'static str {
        "a file of a nova volume"
    }

    fn attached(&self, pages: Pages) {
        if !self.blocks.is_empty() {
            let volume = self.file.volume();
            let mapped = volume.snapshots.mapped.add(volume, self.file.ino(), pages, self.blocks.clone());
            let _ = self.mapped.set(mapped);
        }
    }

    fn sync(&self, range: Range<u64>) -> pmem_map::Result<()> {
        let media = &self.file.volume().media;
        let mut at = 0;
        for run in &*self.runs.lock() {
            let len = run.end - run.start;
            let (start, end) = (range.start.max(at), range.end.min(at + len));
            if start < end {
                media.flush(run.start + (start - at)..run.start + (end - at))?;
            }
            at += len;
        }
        media.region().drain()
    }

    fn grow(&self, len: u64) -> pmem_map::Result<Vec<Extent>> {
        let refused = |why| pmem_map::Error::CannotGrow { wanted: len, why };
        let volume = self.file.volume();
        let mut state = self.file.inode.state.write();
        let _pass = volume.snapshots.pass();
        if state.lease != Lease::Exclusive {
            return Err(refused("others map the file, too"));
        }
        let (from, to) = (state.status.size.div_ceil(BLOCK), len.div_ceil(BLOCK));
        self.file
            .make_mappable(&mut state, from..to, to * BLOCK, None)
            .map_err(|_| refused("the volume has no space for it, or an error"))?;
        let blocks = self.file.blocks(&state, from..to).map_err(|_| refused("its blocks are damaged"))?;
        let runs = bytes(&blocks);
        let extents = volume.media.region().extents(&runs)?;
        self.runs.lock().extend(runs);
        if let Some(mapped) = self.mapped.get() {
            volume.snapshots.mapped.grows(mapped, blocks);
        }
        Ok(extents)
    }

    fn grown(&self, len: u64) {
        if let Some(mapped) = self.mapped.get() {
            self.file.volume().snapshots.mapped.has_grown(mapped, len);
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(mapped) = self.mapped.get() {
            let volume = self.file.volume();
            volume.snapshots.mapped.remove(mapped);
            volume.fold_if_nothing_is_mapped(&mut volume.snapshots.history());
            // Of snapshots that were deleted meanwhile. What cannot be done now is done by the next that is deleted, or the next mount.
            let _ = volume.merge_deleted();
        }
        self.file.end_lease();
    }
}
