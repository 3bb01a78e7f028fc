//! Memory of the tracer's own: second views of what is traced, and room that is there before it is needed.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nobody traces there"))]

use std::{io, ops::Range, ptr};

/// Addresses of our own, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) base: usize,
    pub(super) len: usize,
}

fn mapped(result: *mut libc::c_void) -> io::Result<usize> {
    if result == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

fn checked(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Addresses {
    fn new(len: usize, protection: i32, flags: i32) -> io::Result<Addresses> {
        // SAFETY: maps at an address of the kernel's choice and touches no memory of ours.
        let base = mapped(unsafe {
            libc::mmap(ptr::null_mut(), len, protection, flags | libc::MAP_ANONYMOUS, -1, 0)
        })?;
        Ok(Addresses { base, len })
    }

    /// Memory that the kernel provides as it is touched.
    pub(super) fn lazily_filled(len: usize) -> io::Result<Addresses> {
        Addresses::new(len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_NORESERVE)
    }

    /// A stack of `len` bytes; below it is a page that cannot be touched.
    pub(super) fn stack(len: usize) -> io::Result<Addresses> {
        let stack = Addresses::lazily_filled(len + PAGE)?;
        stack.protect(0..PAGE, libc::PROT_NONE)?;
        Ok(stack)
    }

    /// Addresses without memory.
    pub(super) fn reserved(len: usize) -> io::Result<Addresses> {
        Addresses::new(len, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_NORESERVE)
    }

    /// The same memory twice: to be written, and to be executed.
    pub(super) fn code(len: usize) -> io::Result<(Addresses, Addresses)> {
        let writable = Addresses::new(len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)?;
        let executable = Addresses::reserved(len)?;
        executable.show(0, writable.base, len)?;
        executable.protect(0..len, libc::PROT_READ | libc::PROT_EXEC)?;
        Ok((writable, executable))
    }

    /// Shows at `at` the `len` bytes that are mapped at `address`, shared: a second view of the same memory.
    pub(super) fn show(&self, at: usize, address: usize, len: usize) -> io::Result<()> {
        assert!(at + len <= self.len, "{len} bytes at {at}");
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let at = (self.base + at) as *mut libc::c_void;
        // SAFETY: `at` and what follows is ours (just checked). An old length of 0 leaves what is at `address` as it is.
        mapped(unsafe { libc::mremap(address as *mut libc::c_void, 0, len, flags, at) })?;
        // SAFETY: just mapped.
        checked(unsafe { libc::madvise(at, len, libc::MADV_DONTFORK) })
    }

    fn protect(&self, range: Range<usize>, protection: i32) -> io::Result<()> {
        let at = (self.base + range.start) as *mut libc::c_void;
        // SAFETY: ours, and nothing refers to it yet.
        checked(unsafe { libc::mprotect(at, range.len(), protection) })
    }

    /// Gives the memory back; the addresses stay, and read as zeros.
    pub(super) fn give_back(&self) {
        // SAFETY: ours, private, and the caller has done with it.
        unsafe { libc::madvise(self.base as *mut libc::c_void, self.len, libc::MADV_DONTNEED) };
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing refers to it any more.
        unsafe { libc::munmap(self.base as *mut libc::c_void, self.len) };
    }
}

pub(super) const PAGE: usize = pmem_map::PAGE as usize;

/// Lets pages be stored to, or not; they stay readable.
///
/// # Safety
///
/// `range` is of whole pages, which are mapped, and belong to the caller.
pub(super) unsafe fn set_writable(range: Range<usize>, writable: bool) -> io::Result<()> {
    let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: the caller's. A store to a protected page is a signal, not undefined behaviour.
    checked(unsafe { libc::mprotect(range.start as *mut libc::c_void, range.len(), protection) })
}
