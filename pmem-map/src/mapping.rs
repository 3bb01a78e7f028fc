//! Bytes mapped into this process, exclusively one value's.

use crate::{Durability, Error, Granularity, PAGE, Region, Result};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ops::Range,
    ptr::NonNull,
};

/// Where a region's bytes come from.
pub(crate) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn heap(len: u64) -> Result<Memory> {
        let bad = || Error::BadLength { len, why: "longer than the address space" };
        let layout = usize::try_from(len)
            .ok()
            .and_then(|len| Layout::from_size_align(len, PAGE as usize).ok())
            .ok_or_else(bad)?;
        // SAFETY: the layout is not empty: `len` is at least a page.
        let base =
            NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        Ok(Memory { base, layout })
    }
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
    pub(crate) fn len(&self) -> u64 {
        self.layout.size() as u64
    }
    pub(crate) fn mark(&self, _range: Range<u64>) {}
    pub(crate) fn write_back(&self) -> Result<bool> {
        Ok(false)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from `alloc_zeroed` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Bytes mapped into this process, exclusively this value's.
///
/// Whoever holds the `Mapping` may look at all bytes ([`as_slice`](Self::as_slice)) and change them
/// ([`as_mut_slice`](Self::as_mut_slice), [`write`](Self::write)). A journal, a pool or a filesystem takes
/// the mapping by value and turns it into a [`Region`]: from then on no safe code can reach the bytes but
/// theirs.
#[derive(Debug)]
pub struct Mapping(Region);

impl Mapping {
    /// Zeroed memory of at least `len` bytes (whole pages) that ends with the process: for tests.
    pub fn anonymous(len: u64) -> Result<Mapping> {
        let len = len
            .max(1)
            .checked_next_multiple_of(PAGE)
            .ok_or(Error::BadLength { len, why: "longer than the address space" })?;
        Ok(Mapping(Region::new(Memory::heap(len)?, Granularity::CacheLine, Durability::Process)))
    }

    /// All bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped for `len` bytes; `&self` excludes `as_mut_slice` and the region's stores, for the
        // region is reached mutably through `&mut self` or by value only.
        unsafe { std::slice::from_raw_parts(self.0.base().as_ptr(), self.0.len() as usize) }
    }

    /// All bytes, to change. Not durable until flushed and drained, and not atomic: for that, use a journal.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above; `&mut self` excludes every other reference.
        unsafe { std::slice::from_raw_parts_mut(self.0.base().as_ptr(), self.0.len() as usize) }
    }

    /// Copies `bytes` to `offset`. Not durable until flushed and drained, and not atomic.
    #[track_caller]
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.check(offset, bytes.len() as u64)?;
        // SAFETY: in bounds; `&mut self` excludes every reference and every other access.
        unsafe { self.0.store(offset, bytes) };
        Ok(())
    }

    /// Gives up safe access to the bytes, for code that manages them itself.
    pub fn into_region(self) -> Region {
        self.0
    }

    /// The mapping again, for the region's owner.
    ///
    /// # Safety
    ///
    /// No reference into the region's bytes is alive, and no other thread uses them. (Owning the `Region`
    /// rules out every honest way.)
    pub unsafe fn from_region(region: Region) -> Mapping {
        Mapping(region)
    }
}

impl std::ops::Deref for Mapping {
    type Target = Region;
    /// Length, granularity, durability, counters, flush, drain.
    fn deref(&self) -> &Region {
        &self.0
    }
}
