//! Files as atomic mappings: what is stored becomes the file's at `msync`, all of it or none. (NOVA's atomic-mmap; Xu and Swanson, FAST 2016.)
//!
//! The program stores to a copy in DRAM. Which of its pages are dirty is known from the page tables, or from the first store to each
//! ([`pmem_map::FirstStores`]). `msync` writes the dirty ones to new blocks, drains, and links all of them by one record: as a
//! `write()` of many places at once.

use crate::{
    Code, Error, File, Kind, Result,
    alloc::Purpose,
    edit::Edit,
    format::{BLOCK, LINE, MAX_SIZE, Status},
    inode::{Lease, State},
    ordering::{Durable, Stored},
    rules::Rule,
};
use pmem_map::{Dirtiness, FirstStore, FirstStores, MapOptions, Mapping, RangeId, Watched};
use std::{
    ops::{Deref, DerefMut, Range},
    sync::Arc,
};

/// How far the copy may grow, beyond what the file has.
const GROWTH: u64 = 1 << 36;

impl File {
    /// Maps the file so that stores become visible in it, and durable, only at [`AtomicMapping::msync`]: all since the one before, or, after a
    /// crash, none. Until then whoever reads the file sees what the last `msync` left.
    ///
    /// It takes the file's lease, as [`map`](File::map) does: writing, truncating and mapping the file otherwise is refused with [`Error::Mapped`]. It takes as
    /// much memory as the file has bytes, and no space on the volume before `msync`: any volume will do, also one in anonymous memory.
    ///
    /// # Errors
    ///
    /// [`Error::Mapped`]; [`Code::Invalid`] for what is no file, and for an empty one; [`Code::NotPermitted`] for files that are immutable or may only be appended
    /// to. No drain.
    pub fn map_atomic(&self) -> Result<AtomicMapping> {
        self.map_atomic_with(Dirtiness::Scan)
    }

    /// With dirty pages known in a certain way, for tests of each.
    #[doc(hidden)]
    pub fn map_atomic_with(&self, dirtiness: Dirtiness) -> Result<AtomicMapping> {
        let volume = self.volume();
        volume.writable()?;
        let mut state = volume.write_state(&self.inode)?;
        if state.kind() != Kind::File || state.status.size == 0 {
            return Err(Code::Invalid.into());
        }
        state.permit_change(false)?;
        if state.lease != Lease::None {
            return Err(Error::Mapped);
        }
        let size = state.status.size;
        let len = size.next_multiple_of(BLOCK);
        let mut mapping = MapOptions::new().len(len).max_len(len + GROWTH).anonymous()?;
        volume.copy_file(&state, 0, mapping.as_mut_slice())?;
        let mut atomic = AtomicMapping {
            stores: FirstStores::new(),
            watched: Vec::new(),
            dirtiness,
            mapping,
            size,
            lease: None,
        };
        atomic.watch(0..len)?;
        state.lease = Lease::Exclusive;
        drop(state);
        atomic.lease = Some(self.clone());
        Ok(atomic)
    }
}

/// A file that is mapped atomically: [`File::map_atomic`]. Its bytes are a copy of the file's, as long as the file will be.
///
/// Dropped, it gives up what was stored since the last [`msync`](Self::msync).
///
/// Where the kernel has no `PAGEMAP_SCAN` (before Linux 6.7), a system call that stores to the mapping fails with `EFAULT` at a page that was
/// not stored to since the last `msync`: read into a buffer, and copy.
#[derive(Debug)]
pub struct AtomicMapping {
    stores: FirstStores,
    /// All of the mapping; what is not watched counts as dirty.
    watched: Vec<Watched>,
    dirtiness: Dirtiness,
    mapping: Mapping,
    /// Bytes that the file will have.
    size: u64,
    /// The file, whose lease this has.
    lease: Option<File>,
}

/// The page is noted by who watches; its old content is in the file.
struct Noted;

impl FirstStore for Noted {
    fn first_store(&self, _: RangeId, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

impl AtomicMapping {
    /// Watches pages of which none is dirty.
    fn watch(&mut self, range: Range<u64>) -> Result<()> {
        let pages = self.mapping.pages().ok_or(Code::NotSupported)?;
        let by = |dirtiness| self.stores.watch(&pages, range.clone(), dirtiness, Arc::new(Noted));
        let mut watched = by(self.dirtiness)?;
        if watched.dirtiness() == Dirtiness::Unknown {
            self.dirtiness = Dirtiness::Faults;
            drop(watched);
            watched = by(Dirtiness::Faults)?;
        }
        self.watched.push(watched);
        Ok(())
    }

    /// Runs of dirty blocks.
    fn dirty(&self) -> Vec<Range<u64>> {
        if self.watched.is_empty() {
            return std::iter::once(0..self.mapping.len() / BLOCK).collect();
        }
        let mut dirty = Vec::new();
        self.watched
            .iter()
            .for_each(|watched| watched.dirtied(|run| dirty.push(run.start / BLOCK..run.end / BLOCK)));
        dirty
    }

    /// Everything that was stored since the last call is in the file, and durable: by one record. Returns how many pages that
    /// were. 2 drains, or none if nothing was stored. 1 drain if the file only grew.
    ///
    /// # Errors
    ///
    /// [`Code::NoSpace`], [`Code::QuotaExceeded`], or an error of the disk: the file is as the last call left it, the mapping as it is, and the call can be
    /// repeated. (If the disk failed in the middle of the commit, the next mount says whether it is there.)
    pub fn msync(&mut self) -> Result<u64> {
        let Some(file) = &self.lease else { return Ok(0) };
        let mut state = file.volume().write_state(&file.inode)?;
        // Nobody stores meanwhile: this is the only reference.
        let dirty = self.dirty();
        if dirty.is_empty() && state.status.size == self.size {
            return Ok(0);
        }
        let copy = Copy { file, bytes: self.mapping.as_slice(), size: self.size };
        copy.commit(&mut state, &dirty)?;
        drop(state);
        // It is done. Without a watch everything is written the next time.
        self.watched.clear();
        let _ = self.watch(0..self.mapping.len());
        Ok(blocks(&dirty))
    }

    /// How many pages an [`msync`](Self::msync) would write.
    pub fn dirty_pages(&self) -> u64 {
        blocks(&self.dirty())
    }

    /// Makes the mapping `len` bytes long, the new ones zero; the file at the next [`msync`](Self::msync). Does nothing if it is that long.
    ///
    /// # Errors
    ///
    /// [`Code::FileTooLarge`]; [`pmem_map::Error::CannotGrow`] for more than 64 GiB beyond the length that it was mapped with.
    pub fn grow(&mut self, len: u64) -> Result<()> {
        if len > MAX_SIZE {
            return Err(Code::FileTooLarge.into());
        }
        let from = self.mapping.len();
        if len > from {
            self.mapping.grow(len)?;
            let whole = from..self.mapping.len();
            if !self.watched.is_empty() && self.watch(whole).is_err() {
                self.watched.clear(); // everything is written the next time
            }
        }
        self.size = self.size.max(len);
        Ok(())
    }
}

impl Deref for AtomicMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.mapping.as_slice()[..self.size as usize]
    }
}

impl DerefMut for AtomicMapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.mapping.as_mut_slice()[..self.size as usize]
    }
}

impl Drop for AtomicMapping {
    fn drop(&mut self) {
        if let Some(file) = &self.lease {
            file.inode.state.write().lease = Lease::None;
        }
    }
}

/// What the file is to become.
struct Copy<'a> {
    file: &'a File,
    /// Whole blocks.
    bytes: &'a [u8],
    size: u64,
}

impl Copy<'_> {
    fn commit(&self, state: &mut State, dirty: &[Range<u64>]) -> Result<()> {
        let volume = self.file.volume();
        if !volume.keeps(Rule::MsyncInOneRecord) {
            return dirty.iter().try_for_each(|run| self.link(state, std::slice::from_ref(run)));
        }
        // Each run is an entry of the record, which has to fit the journal: rather fewer runs, with clean blocks between.
        let most = (volume.superblock.journal_len / (8 * LINE)).max(1) as usize;
        let mut result = Ok(());
        for most in [most, most / 8, 1] {
            let runs = joined(dirty, most.max(1));
            result = self.link(state, &runs);
            let is_too_much = matches!(result, Err(Error::Posix(Code::NoSpace)));
            if !is_too_much || runs.len() <= 1 {
                break;
            }
        }
        result
    }

    /// New blocks for runs of blocks, linked by one record.
    fn link(&self, state: &mut State, runs: &[Range<u64>]) -> Result<()> {
        let (file, volume) = (self.file, self.file.volume());
        let mut edit = Edit::new(volume, &file.inode, state, Purpose::Ordinary);
        edit.zero_behind_end(state, self.size);
        let mut places = Vec::new();
        for run in runs {
            let mut to = run.start;
            for new in edit.allocate(run.end - run.start)? {
                self.store(to, new.start * BLOCK, new.blocks);
                places.push((to, new));
                to += new.blocks;
            }
        }
        let blocks = places.iter().map(|(_, run)| *run).collect();
        let durable = match volume.keeps(Rule::DataBeforeRecord) && !places.is_empty() {
            true => Stored::new(blocks).drain(&volume.media)?,
            false => Durable::with_record(blocks),
        };
        edit.link(state, &places, &durable)?;
        let now = volume.now();
        let status = Status { size: self.size, modified: now, changed: now, ..state.status };
        edit.commit(&file.inode, state, status, None)
    }

    /// Stores blocks past the caches; zeros behind the end.
    fn store(&self, from: u64, at: u64, blocks: u64) {
        let volume = self.file.volume();
        let (start, end) = (from * BLOCK, (from + blocks) * BLOCK);
        let whole = end.min(self.size / BLOCK * BLOCK).max(start);
        volume.store_data(at, &self.bytes[start as usize..whole as usize]);
        if whole < end {
            let mut last = self.bytes[whole as usize..end as usize].to_vec();
            last[(self.size.clamp(whole, end) - whole) as usize..].fill(0);
            volume.store_data(at + (whole - start), &last);
        }
    }
}

/// How many blocks runs have.
fn blocks(runs: &[Range<u64>]) -> u64 {
    runs.iter().map(|run| run.end - run.start).sum()
}

/// The runs, in order and apart, and no more than `most`: with what is between those that are nearest to each other.
fn joined(runs: &[Range<u64>], most: usize) -> Vec<Range<u64>> {
    let mut runs = runs.to_vec();
    runs.sort_by_key(|run| run.start);
    if runs.len() > most {
        let mut gaps: Vec<u64> = runs.windows(2).map(|pair| pair[1].start - pair[0].end).collect();
        gaps.sort_unstable();
        // Gaps up to this one are closed: at least as many as are too many.
        let closed = gaps[runs.len() - most - 1];
        runs.dedup_by(|next, last| {
            let is_near = next.start - last.end <= closed;
            if is_near {
                last.end = next.end;
            }
            is_near
        });
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn runs_that_are_near_are_joined_until_they_are_few_enough() {
        let runs = [40..41, 0..2, 3..5, 10..11, 12..14];
        assert_eq!(joined(&runs, 5), [0..2, 3..5, 10..11, 12..14, 40..41]);
        assert_eq!(joined(&runs, 4), [0..5, 10..14, 40..41]); // gaps of one length go together
        assert_eq!(joined(&runs, 3), [0..5, 10..14, 40..41]);
        assert_eq!(joined(&runs, 2), [0..14, 40..41]);
        assert_eq!(joined(&runs, 1).len(), 1);
        assert_eq!(joined(&[], 1).len(), 0);
    }
}
