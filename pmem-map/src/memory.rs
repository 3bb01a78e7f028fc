//! Where a region's bytes come from, and what differs with it: extending, writing back, letting go.

#![allow(unsafe_code)]

use crate::{
    Error, PAGE, Pages, Result,
    address_space::{AddressSpace, Sharing, set_writable},
    backing::{Extent, Lent, whole_pages},
    file::LockedFile,
    fork::OwnedByProcess,
    key,
    write_back::Pending,
};
use memmap2::MmapMut;
use std::{io, ops::Range, ptr::NonNull, sync::Arc};

/// The bytes of a region. Fields and variants are dropped so that addresses go before what they show.
pub(crate) enum Memory {
    /// Memory from the allocator, for Miri, which knows no `mmap`.
    #[cfg_attr(not(miri), expect(dead_code))]
    Heap(Heap),
    Anonymous(AddressSpace),
    File {
        space: AddressSpace,
        file: LockedFile,
        sharing: Sharing,
    },
    Memmap {
        base: NonNull<u8>,
        map: OwnedByProcess<MmapMut>,
    },
    Lent(Lent),
}

/// Zeroed memory of a fixed length, aligned to a page.
pub(crate) struct Heap {
    base: NonNull<u8>,
    layout: std::alloc::Layout,
}

#[cfg(miri)]
impl Heap {
    pub(crate) fn new(len: u64) -> Result<Heap> {
        let bad = || Error::BadLength { len, why: "longer than the address space" };
        let layout = usize::try_from(len)
            .ok()
            .and_then(|len| std::alloc::Layout::from_size_align(len, PAGE as usize).ok())
            .ok_or_else(bad)?;
        // SAFETY: the layout is not empty: `len` is at least a page.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
            .unwrap_or_else(|| std::alloc::handle_alloc_error(layout));
        Ok(Heap { base, layout })
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: from `alloc_zeroed` with this layout.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}

impl Memory {
    pub(crate) fn base(&self) -> NonNull<u8> {
        match self {
            Memory::Heap(heap) => heap.base,
            Memory::Anonymous(space) | Memory::File { space, .. } => space.base(),
            Memory::Memmap { base, .. } => *base,
            Memory::Lent(lent) => lent.space.base(),
        }
    }

    /// Length to which this can be extended, given its length now.
    pub(crate) fn max_len(&self, len: u64) -> u64 {
        match self {
            Memory::Heap(heap) => heap.layout.size() as u64,
            Memory::File { sharing: Sharing::Private, .. } | Memory::Memmap { .. } => len,
            Memory::File { file, .. } if file.is_device() => len,
            Memory::Anonymous(space) | Memory::File { space, .. } => space.len(),
            Memory::Lent(lent) => lent.space.len(),
        }
    }

    /// Maps `wanted` bytes or a little more, of which the first `from` are mapped; returns how many. On
    /// failure nothing has changed.
    pub(crate) fn extend(&self, from: u64, wanted: u64) -> Result<u64> {
        let refused = |why| Err(Error::CannotGrow { wanted, why });
        match self {
            Memory::Memmap { .. } => return refused("a memmap2 mapping has its length for good"),
            Memory::File { sharing: Sharing::Private, .. } => {
                return refused("it is a private view of a file");
            }
            Memory::File { file, .. } if file.is_device() => {
                return refused("a device has its length for good");
            }
            _ => {}
        }
        if wanted > self.max_len(from) {
            return refused("no more addresses were reserved; ask for a larger `MapOptions::max_len`");
        }
        // `from` and `mapped` differ where an existing file does not end with a page.
        let mapped = from.next_multiple_of(PAGE);
        match self {
            Memory::Heap(_) => Ok(wanted.next_multiple_of(PAGE)),
            Memory::Anonymous(space) => {
                let to = wanted.next_multiple_of(PAGE);
                // SAFETY: addresses beyond the region's length, to which nothing refers yet.
                unsafe { space.place_zeroed(mapped, to - mapped) }
                    .map_err(Error::io("extend", "anonymous memory"))?;
                Ok(to)
            }
            Memory::File { space, file, sharing } => {
                let before = file.len()?;
                let to = file.extend(from, wanted)?;
                let placed = if to > space.len() {
                    Err(io::Error::from_raw_os_error(libc::ENOMEM))
                } else if to > mapped {
                    // SAFETY: as above.
                    unsafe { space.place_file(mapped, to - mapped, file.file(), mapped, *sharing) }
                } else {
                    Ok(())
                };
                placed.map_err(|source| {
                    file.take_back(before);
                    Error::io("map more of", file.path())(source)
                })?;
                Ok(to)
            }
            // An owner extends by whole pages, at least one.
            Memory::Lent(lent) => lent.extend(mapped, wanted.max(mapped + 1)),
            Memory::Memmap { .. } => unreachable!("refused above"),
        }
    }

    /// Addresses that this may ever use, and the bytes of a page there.
    pub(crate) fn addresses(&self, len: u64) -> (Range<usize>, u64) {
        let (len, unit) = match self {
            Memory::Anonymous(space) | Memory::File { space, .. } => (space.len(), space.unit()),
            Memory::Lent(lent) => (lent.space.len(), PAGE),
            Memory::Heap(_) | Memory::Memmap { .. } => (len, PAGE),
        };
        let base = self.base().as_ptr() as usize;
        (base..base + len as usize, unit)
    }

    /// For protecting pages.
    pub(crate) fn pages(&self) -> Option<Pages> {
        match self {
            Memory::Anonymous(space) | Memory::File { space, .. } => Some(space.pages()),
            Memory::Lent(lent) => Some(lent.space.pages()),
            Memory::Heap(_) | Memory::Memmap { .. } => None,
        }
    }

    /// Gives blocks to holes of the file, if this is one that stores reach.
    pub(crate) fn fill_holes(&self) -> Result<()> {
        match self {
            Memory::File { file, sharing, .. } if *sharing != Sharing::Private => file.fill_holes(),
            _ => Ok(()),
        }
    }

    /// Where the bytes of `ranges`, whole pages, are in their file; `None` if they are in no file, or in one that stores do not
    /// reach.
    pub(crate) fn extents(&self, ranges: &[Range<u64>]) -> Result<Option<Vec<Extent>>> {
        match self {
            Memory::File { sharing: Sharing::Private, .. } => Ok(None),
            Memory::File { file, .. } => {
                let copy = file.file().try_clone().map_err(Error::io("share", file.path()))?;
                let file = Arc::new(copy);
                let extent = |range: &Range<u64>| Extent {
                    file: file.clone(),
                    offset: range.start,
                    len: range.end - range.start,
                };
                Ok(Some(ranges.iter().map(extent).collect()))
            }
            Memory::Lent(lent) => Ok(Some(ranges.iter().flat_map(|range| lent.extents(range)).collect())),
            Memory::Heap(_) | Memory::Anonymous(_) | Memory::Memmap { .. } => Ok(None),
        }
    }

    /// The length after [`extend`](Self::extend) is durable on return. Returns how often a file was synced.
    pub(crate) fn sync_length(&self) -> Result<u64> {
        match self {
            Memory::File { file, .. } => file.sync_all().map(|()| 1),
            // A backing has extended durably.
            Memory::Heap(_) | Memory::Anonymous(_) | Memory::Memmap { .. } | Memory::Lent(_) => Ok(0),
        }
    }

    /// Writes pages back, of a region of `len` bytes. Returns how many calls it took. One range of a file is
    /// `msync`; several are one `fdatasync`, whose cost is in waiting for the disk and not in the pages.
    pub(crate) fn write_back(&self, pending: Pending, len: u64) -> Result<u64> {
        let ranges = match pending {
            Pending::Ranges(ranges) => ranges,
            Pending::Everything => {
                let all = 0..len.next_multiple_of(PAGE);
                vec![all]
            }
        };
        match self {
            // Nothing to do; counted as if there were, for tests of budgets.
            Memory::Heap(_) | Memory::Anonymous(_) => Ok(u64::from(!ranges.is_empty())),
            Memory::File { space, file, .. } => match ranges.as_slice() {
                [] => Ok(0),
                [range] => {
                    space.write_back(range.clone()).map_err(Error::io("write back", file.path()))?;
                    Ok(1)
                }
                _ => file.sync_data().map(|()| 1),
            },
            Memory::Memmap { map, .. } => {
                for range in &ranges {
                    let end = range.end.min(len);
                    map.flush_range(range.start as usize, (end - range.start) as usize)
                        .map_err(Error::io("write back", "a memmap2 mapping"))?;
                }
                Ok(ranges.len() as u64)
            }
            Memory::Lent(lent) => {
                for range in &ranges {
                    lent.backing.sync(range.clone())?;
                }
                Ok(ranges.len() as u64)
            }
        }
    }

    /// Writes `bytes` to `offset`, whose address is `to`, and waits until they are on the medium. Returns how many calls
    /// that took. `by_descriptor`: what is written to the file is seen in the mapping, and kept by it.
    ///
    /// # Safety
    ///
    /// `to` is good for storing that many bytes, and nobody else accesses them.
    pub(crate) unsafe fn write_through(
        &self,
        offset: u64,
        to: *mut u8,
        bytes: &[u8],
        len: u64,
        by_descriptor: bool,
    ) -> Result<u64> {
        if let Memory::File { file, sharing: Sharing::Shared | Sharing::Synchronous, .. } = self
            && by_descriptor
        {
            // A file that somebody cut off would be made longer again, with holes for what is lost; a store would meet
            // the missing page.
            let length = file.len()?;
            if length < offset + bytes.len() as u64 {
                return Err(Error::PageLost { offset: length / PAGE * PAGE });
            }
            return file.write_through(offset, bytes);
        }
        // SAFETY: the caller's.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        let pages = whole_pages(offset..offset + bytes.len() as u64);
        self.write_back(Pending::Ranges(if bytes.is_empty() { Vec::new() } else { vec![pages] }), len)
    }

    /// Lets whole pages inside the mapping be stored to, or not.
    pub(crate) fn set_writable(&self, pages: Range<u64>, writable: bool) -> io::Result<()> {
        if matches!(self, Memory::Heap(_)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: pages of this mapping, which is alive.
        unsafe {
            let at = self.base().add(pages.start as usize);
            set_writable(at, pages.end - pages.start, writable)
        }
    }

    /// Gives whole pages inside the mapping a protection key.
    pub(crate) fn mark(&self, pages: Range<u64>, number: u32) -> io::Result<()> {
        if matches!(self, Memory::Heap(_)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: pages of this mapping, which is alive, readable and writable.
        unsafe { key::mark(self.base().as_ptr().add(pages.start as usize), pages.end - pages.start, number) }
    }
}
