//! One range of addresses, reserved at once and filled piece by piece.
//!
//! Reserving first is what lets a mapping grow without moving, and lets pieces of several files appear side
//! by side. A range of 2 MiB or more begins at a multiple of 2 MiB, so that the kernel may use huge pages.

#![allow(unsafe_code)]

use crate::{PAGE, Pages, fork::Generation, futex};
use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::AsRawFd,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

/// Alignment of ranges that can hold a huge page.
pub(crate) const HUGE_PAGE: u64 = 2 << 20;

/// How a piece of a file is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Stores reach the file (`MAP_SHARED`).
    Shared,
    /// Stores reach the file, and the filesystem's metadata is durable before a store succeeds (`MAP_SYNC`).
    Synchronous,
    /// Stores stay here (`MAP_PRIVATE`).
    Private,
}

/// Which faults are taken when a piece is mapped, instead of at the first access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefault {
    /// Those of loads. No page becomes dirty, none is copied.
    Loads,
    /// Those of stores too.
    Stores,
}

/// How every piece of a range is treated once it is mapped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Treatment {
    /// Asks for transparent huge pages.
    pub(crate) huge_pages: bool,
    pub(crate) prefault: Option<Prefault>,
}

/// A reserved range of addresses, unmapped when dropped.
pub(crate) struct AddressSpace {
    reserved: Arc<Reserved>,
    unit: u64,
    treatment: Treatment,
}

/// What an [`AddressSpace`] shares with the [`Pages`] handles that outlive it.
pub(crate) struct Reserved {
    base: NonNull<u8>,
    len: usize,
    made_in: Generation,
    /// How many threads change protections now, and [`UNMAPPED`] once the range is or will be: none of them does after the
    /// addresses went to somebody else. No lock, for the thread that serves faults may wait for nobody here.
    users: AtomicU32,
}

/// In [`Reserved::users`].
const UNMAPPED: u32 = 1 << 31;

// SAFETY: `base` is an address; nothing is read or written through it here.
unsafe impl Send for Reserved {}
// SAFETY: as above.
unsafe impl Sync for Reserved {}

fn checked(result: *mut libc::c_void) -> io::Result<NonNull<u8>> {
    if result == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(result.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel grants `MAP_SYNC` on this file: asked by mapping its first page.
pub(crate) fn grants_map_sync(file: &File) -> bool {
    let (read_write, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC);
    // SAFETY: maps at an address of the kernel's choice and touches no memory of ours.
    let page =
        unsafe { libc::mmap(std::ptr::null_mut(), PAGE as usize, read_write, flags, file.as_raw_fd(), 0) };
    if page == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: the page just mapped, to which nothing refers.
    unsafe { libc::munmap(page, PAGE as usize) };
    true
}

impl AddressSpace {
    /// Reserves at least `len` bytes, for what has pages of `unit` bytes (a power of two, at least [`PAGE`]): the
    /// range is of whole ones, and begins at a multiple of one. `len` is not zero.
    pub(crate) fn reserve(len: u64, unit: u64) -> io::Result<AddressSpace> {
        let too_long = || io::Error::from_raw_os_error(libc::ENOMEM);
        let made_in = Generation::current();
        let align = if len >= HUGE_PAGE { unit.max(HUGE_PAGE) } else { unit };
        let len = len
            .checked_next_multiple_of(align)
            .and_then(|len| usize::try_from(len).ok())
            .ok_or_else(too_long)?;
        let slack = if align > PAGE { align as usize } else { 0 };
        let whole = len.checked_add(slack).ok_or_else(too_long)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: maps at an address of the kernel's choice and touches no memory of ours.
        let start =
            checked(unsafe { libc::mmap(std::ptr::null_mut(), whole, libc::PROT_NONE, flags, -1, 0) })?
                .as_ptr();
        let skip = (start as usize).next_multiple_of(align as usize) - start as usize;
        // SAFETY: `skip` is zero, for a page, or below `slack`, so `base` and the `len` bytes after it are in the new mapping; what
        // is before and after goes back, and nothing refers to it.
        unsafe {
            let base = start.add(skip);
            if skip > 0 {
                libc::munmap(start.cast(), skip);
            }
            if slack > skip {
                libc::munmap(base.add(len).cast(), slack - skip);
            }
            let base = NonNull::new_unchecked(base);
            let reserved = Arc::new(Reserved { base, len, made_in, users: AtomicU32::new(0) });
            Ok(AddressSpace { reserved, unit, treatment: Treatment::default() })
        }
    }

    /// The same range, of which each piece is treated so from now on.
    pub(crate) fn treated(mut self, treatment: Treatment) -> AddressSpace {
        self.treatment = treatment;
        self
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.reserved.base
    }

    /// Length of the reservation in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.reserved.len as u64
    }

    /// Bytes of a page of what is mapped here.
    pub(crate) fn unit(&self) -> u64 {
        self.unit
    }

    /// A handle for protecting pages that does not keep them mapped.
    pub(crate) fn pages(&self) -> Pages {
        Pages(self.reserved.clone())
    }

    /// Maps `len` bytes of zeroed memory at `at`.
    ///
    /// # Safety
    ///
    /// Nothing refers to these addresses.
    pub(crate) unsafe fn place_zeroed(&self, at: u64, len: u64) -> io::Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the caller's.
        unsafe { self.place(at, len, flags, -1, 0) }
    }

    /// Maps `len` bytes at `offset` of `file` at `at`. All are multiples of the page.
    ///
    /// # Safety
    ///
    /// Nothing refers to these addresses.
    pub(crate) unsafe fn place_file(
        &self,
        at: u64,
        len: u64,
        file: &File,
        offset: u64,
        sharing: Sharing,
    ) -> io::Result<()> {
        let offset = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        let flags = match sharing {
            Sharing::Shared => libc::MAP_SHARED,
            Sharing::Synchronous => libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC,
            Sharing::Private => libc::MAP_PRIVATE | libc::MAP_NORESERVE,
        };
        // SAFETY: the caller's.
        unsafe { self.place(at, len, flags, file.as_raw_fd(), offset) }
    }

    /// # Safety
    ///
    /// Nothing refers to these addresses.
    unsafe fn place(&self, at: u64, len: u64, flags: i32, file: i32, offset: i64) -> io::Result<()> {
        assert!(
            at.is_multiple_of(PAGE) && len > 0 && len <= self.len() && at <= self.len() - len,
            "{len} bytes at {at}"
        );
        let read_write = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: inside the reservation (just checked), which is ours, and to which nothing refers there.
        unsafe {
            let at = self.reserved.base.as_ptr().add(at as usize).cast();
            let placed =
                checked(libc::mmap(at, len as usize, read_write, flags | libc::MAP_FIXED, file, offset))
                    .and_then(|_| check(libc::madvise(at, len as usize, libc::MADV_DONTFORK)))
                    .and_then(|()| self.treatment.apply(at, len as usize));
            if placed.is_err() {
                // A failed MAP_FIXED may leave a hole, into which somebody else's mapping could fall.
                let reserve = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
                libc::mmap(at, len as usize, libc::PROT_NONE, reserve, -1, 0);
            }
            placed
        }
    }

    /// `msync`: waits until the pages of `range` are written back. `range` is of whole pages, and placed.
    pub(crate) fn write_back(&self, range: Range<u64>) -> io::Result<()> {
        let len = (range.end - range.start) as usize;
        // SAFETY: inside the reservation; msync changes no byte.
        check(unsafe {
            libc::msync(self.reserved.base.as_ptr().add(range.start as usize).cast(), len, libc::MS_SYNC)
        })
    }
}

impl Treatment {
    /// # Safety
    ///
    /// `len` bytes at `at`, a multiple of the page, were just mapped, and nothing refers to them.
    unsafe fn apply(self, at: *mut libc::c_void, len: usize) -> io::Result<()> {
        // SAFETY: advice on a range of the caller's, which changes no byte of it.
        let advise = |advice| check(unsafe { libc::madvise(at, len, advice) });
        let unknown = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
        if self.huge_pages {
            match advise(libc::MADV_HUGEPAGE) {
                Err(error) if unknown(&error) => {} // a kernel without them
                answer => answer?,
            }
        }
        let Some(prefault) = self.prefault else { return Ok(()) };
        let populate = match prefault {
            Prefault::Loads => libc::MADV_POPULATE_READ,
            Prefault::Stores => libc::MADV_POPULATE_WRITE,
        };
        match advise(populate) {
            // Before Linux 5.14: loads are what can be done without changing anything.
            Err(error) if unknown(&error) => {
                for page in (0..len).step_by(PAGE as usize) {
                    // SAFETY: inside the range, which is readable.
                    unsafe { at.cast::<u8>().add(page).read_volatile() };
                }
                Ok(())
            }
            answer => answer,
        }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        let users = &self.reserved.users;
        if self.reserved.made_in.is_current() {
            let mut now = users.fetch_or(UNMAPPED, SeqCst) | UNMAPPED;
            while now != UNMAPPED {
                futex::wait(users, now);
                now = users.load(SeqCst);
            }
            // SAFETY: our reservation; the region that handed out its address is being dropped. (In a forked
            // child the range was never there, and may be somebody else's.)
            unsafe { libc::munmap(self.reserved.base.as_ptr().cast(), self.reserved.len) };
        }
    }
}

impl Reserved {
    /// Lets the pages of `range` be stored to, or not. `range` is of whole pages, and placed. Allocates nothing, and waits for
    /// nobody.
    pub(crate) fn set_writable(&self, range: Range<u64>, writable: bool) -> io::Result<()> {
        self.while_mapped(&range, |at, len| {
            // SAFETY: inside the reservation, which stays mapped meanwhile.
            unsafe { set_writable(at, len, writable) }
        })
    }

    /// Runs `work` with the address and length of `range`, which stay mapped meanwhile.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if they are not mapped any more, or not in this process.
    pub(crate) fn while_mapped<R>(
        &self,
        range: &Range<u64>,
        work: impl FnOnce(NonNull<u8>, u64) -> io::Result<R>,
    ) -> io::Result<R> {
        let gone = || Err(io::Error::from_raw_os_error(libc::ENOMEM));
        if !self.made_in.is_current() || range.end > self.len as u64 || range.start > range.end {
            return gone();
        }
        let result = if self.users.fetch_add(1, SeqCst) & UNMAPPED == 0 {
            // SAFETY: inside the reservation, just checked.
            work(unsafe { self.base.add(range.start as usize) }, range.end - range.start)
        } else {
            gone()
        };
        if self.users.fetch_sub(1, SeqCst) & UNMAPPED != 0 {
            futex::wake(&self.users); // somebody may wait to unmap it
        }
        result
    }

    /// Whether the addresses are this mapping's still, in this process.
    pub(crate) fn is_mapped(&self) -> bool {
        self.made_in.is_current() && self.users.load(SeqCst) & UNMAPPED == 0
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Address of the first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

/// `mprotect`: the pages stay readable.
///
/// # Safety
///
/// `len` bytes at `at`, a multiple of the page, are mapped, and belong to the caller.
pub(crate) unsafe fn set_writable(at: NonNull<u8>, len: u64, writable: bool) -> io::Result<()> {
    let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: the caller's. A store to a protected page is a signal, not undefined behaviour.
    check(unsafe { libc::mprotect(at.as_ptr().cast(), len as usize, protection) })
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_can_hold_a_huge_page_begins_at_one() {
        for len in [HUGE_PAGE, HUGE_PAGE + 1, 7 * HUGE_PAGE] {
            let space = AddressSpace::reserve(len, PAGE).unwrap();
            assert_eq!(space.base().as_ptr() as u64 % HUGE_PAGE, 0);
            assert_eq!(space.len(), len.next_multiple_of(HUGE_PAGE));
        }
        let small = AddressSpace::reserve(1, PAGE).unwrap();
        assert_eq!((small.base().as_ptr() as u64 % PAGE, small.len()), (0, PAGE));
    }

    #[test]
    fn a_range_for_large_pages_is_of_whole_ones() {
        for unit in [HUGE_PAGE, 16 * HUGE_PAGE] {
            for len in [1, PAGE, unit, unit + 1] {
                let space = AddressSpace::reserve(len, unit).unwrap();
                assert_eq!(space.base().as_ptr() as u64 % unit, 0);
                assert_eq!(space.len(), len.next_multiple_of(unit));
            }
        }
    }

    #[test]
    fn an_absurd_reservation_is_refused() {
        assert!(AddressSpace::reserve(1 << 60, PAGE).is_err());
        assert!(AddressSpace::reserve(u64::MAX, PAGE).is_err());
    }

    #[test]
    fn pages_of_a_range_that_is_gone_cannot_be_protected() {
        let space = AddressSpace::reserve(PAGE, PAGE).unwrap();
        let pages = space.pages();
        // SAFETY: nothing refers to the new range.
        unsafe { space.place_zeroed(0, PAGE).unwrap() };
        pages.protect(0..1).unwrap();
        pages.unprotect(0..1).unwrap();
        assert!(pages.protect(0..PAGE + 1).is_err());
        drop(space);
        assert!(pages.protect(0..1).is_err());
    }
}
