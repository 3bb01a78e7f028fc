//! A mapping's hold on its file: what it asks of the filesystem, and the end of its lease.

#![allow(unsafe_code)]

use crate::{File, alloc::Run, format::BLOCK, inode::Lease, map::bytes, snapshot::MappedFile};
use parking_lot::Mutex;
use pmem_map::{Backing, Durability, Extent, Granularity, Pages};
use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

/// A mapping's hold on its file.
pub(crate) struct Leased {
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

impl Leased {
    pub(crate) fn new(
        file: &File,
        extents: Vec<Extent>,
        runs: Vec<Range<u64>>,
        blocks: Vec<(Run, u64)>,
    ) -> Leased {
        Leased { file: file.clone(), extents, runs: Mutex::new(runs), blocks, mapped: OnceLock::new() }
    }

    /// Bytes that are mapped at first.
    pub(crate) fn len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len).sum()
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

    fn detaching(&self) {
        if let (Some(mapped), Some(protection)) = (self.mapped.get(), &self.file.volume().protection) {
            mapped.stored(|blocks| protection.dirty.add(self.file.ino(), blocks));
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
            let volume = self.file.volume();
            volume.snapshots.mapped.has_grown(volume, mapped, len);
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(mapped) = self.mapped.get() {
            self.file.no_longer_mapped(mapped);
        }
        self.file.end_lease();
    }
}
