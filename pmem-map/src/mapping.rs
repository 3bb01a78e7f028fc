//! Bytes mapped into this process, exclusively one value's.

#![allow(unsafe_code)]

use crate::{Backing, Bytes, Error, MapOptions, PAGE, Ptr, Region, Result};
use memmap2::MmapMut;
use std::{
    io::{ErrorKind, Read},
    ops::Range,
    path::Path,
};

/// Bytes mapped into this process, exclusively this value's.
///
/// Whoever holds the `Mapping` may look at all bytes ([`as_slice`](Self::as_slice)) and change them
/// ([`as_mut_slice`](Self::as_mut_slice), [`write`](Self::write)). A journal, a pool or a filesystem takes
/// the mapping by value and turns it into a [`Region`]: from then on no safe code can reach the bytes but
/// theirs.
#[derive(Debug)]
pub struct Mapping(Region);

impl Mapping {
    pub(crate) fn new(region: Region) -> Mapping {
        Mapping(region)
    }

    /// Maps the file at `path`, exclusively; makes it with `len` bytes if it is missing. [`MapOptions`] has more.
    ///
    /// # Errors
    ///
    /// As for [`MapOptions::open`].
    ///
    /// # Safety
    ///
    /// As for [`MapOptions::open`]: nobody else may write or truncate the file while it is mapped.
    pub unsafe fn open(path: impl AsRef<Path>, len: u64) -> Result<Mapping> {
        // SAFETY: the caller's.
        unsafe { MapOptions::new().len(len).create(true).open(path) }
    }

    /// Zeroed memory of at least `len` bytes (whole pages) that ends with the process: for tests.
    pub fn anonymous(len: u64) -> Result<Mapping> {
        MapOptions::new().len(len).anonymous()
    }

    /// A nameless file in memory, of at least `len` bytes (whole pages).
    pub fn memfd(len: u64) -> Result<Mapping> {
        MapOptions::new().len(len).memfd()
    }

    /// Maps what `backing` lends; see [`MapOptions::from_backing`].
    pub fn from_backing(backing: impl Backing) -> Result<Mapping> {
        MapOptions::new().from_backing(backing)
    }

    /// Takes over a plain `memmap2` mapping; see [`MapOptions::from_mmap`].
    pub fn from_mmap(map: MmapMut) -> Result<Mapping> {
        MapOptions::new().from_mmap(map)
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
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`]; [`Error::PageLost`].
    #[track_caller]
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.check(offset, bytes.len() as u64)?;
        // Not in the closure, whose caller is this line.
        let caller = std::panic::Location::caller();
        // SAFETY: in bounds; `&mut self` excludes every reference and every other access.
        self.0.guarded(|| unsafe { self.0.store_for(caller, offset, bytes) })
    }

    /// Fills `len` bytes at `offset` from `source`, or as many as it has; returns how many. Not durable until flushed and
    /// drained, and not atomic.
    ///
    /// Reads into a buffer and copies: a system call that reads into the mapping itself fails (`EFAULT`) while its pages
    /// are protected, by a tracer of stores or a filesystem that takes a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`]; what the source says. What was read before that stays.
    #[track_caller]
    pub fn read_from(&mut self, offset: u64, len: u64, source: &mut impl Read) -> Result<u64> {
        self.check(offset, len)?;
        let mut buffer = [0; PAGE as usize];
        let mut done = 0;
        while done < len {
            let wanted = (len - done).min(PAGE) as usize;
            match source.read(&mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(read) => {
                    self.write(offset + done, &buffer[..read])?;
                    done += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read from", "the source of a mapping's bytes")(error)),
            }
        }
        Ok(done)
    }

    /// The value at `ptr`, in place.
    ///
    /// # Errors
    ///
    /// If it is null, out of bounds, misaligned, or not of bits that a `T` can have; [`Error::PageLost`] if its page
    /// is gone now (if that happens later, using the reference is a SIGBUS).
    pub fn read<T: Bytes>(&self, ptr: Ptr<T>) -> Result<&T> {
        let bytes = &self.as_slice()[self.place(ptr)?];
        let bad_bits = |_| Error::BadBits { offset: ptr.offset(), type_name: std::any::type_name::<T>() };
        self.0.guarded(|| {
            for byte in bytes.iter().step_by(PAGE as usize).chain(bytes.last()) {
                std::hint::black_box(*byte); // an access to each page, that of plain bits too
            }
            bytemuck::checked::try_from_bytes(bytes).map_err(bad_bits)
        })?
    }

    /// Stores `value` at `ptr`. Not durable until flushed and drained, and not atomic.
    ///
    /// # Errors
    ///
    /// If it is null, out of bounds, or misaligned; [`Error::PageLost`].
    #[track_caller]
    pub fn write_value<T: Bytes>(&mut self, ptr: Ptr<T>, value: &T) -> Result<()> {
        let place = self.place(ptr)?;
        self.write(place.start as u64, bytemuck::bytes_of(value))
    }

    /// Where `ptr` points to, if a `T` has room there.
    fn place<T>(&self, ptr: Ptr<T>) -> Result<Range<usize>> {
        let (offset, align) = (ptr.offset(), align_of::<T>() as u64);
        if ptr.is_null() {
            return Err(Error::Null);
        }
        self.0.check(offset, size_of::<T>() as u64)?;
        if !(self.0.base().as_ptr() as u64 + offset).is_multiple_of(align) {
            return Err(Error::Misaligned { offset, align, type_name: std::any::type_name::<T>() });
        }
        Ok(offset as usize..offset as usize + size_of::<T>())
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
