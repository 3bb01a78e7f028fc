//! What keeps a file open as long as something is mapped.

#![allow(unsafe_code)]

use crate::{PAGE, fork::OwnedByProcess};
use std::{fs::File, io, os::fd::AsRawFd, ptr::NonNull};

/// A page of a file, mapped so that nobody may touch it: the file is not released before this is dropped, whatever becomes of its
/// descriptors.
pub(super) struct Pin(#[expect(dead_code, reason = "held until it is dropped")] OwnedByProcess<Mapped>);

struct Mapped(NonNull<libc::c_void>);

// SAFETY: an address, through which nothing is read or written.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Pin {
    pub(super) fn new(file: &File) -> io::Result<Pin> {
        // SAFETY: maps at an address of the kernel's choice and touches no memory of ours.
        let page = unsafe {
            let (len, descriptor) = (PAGE as usize, file.as_raw_fd());
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, libc::MAP_PRIVATE, descriptor, 0)
        };
        let page = match NonNull::new(page) {
            Some(page) if page.as_ptr() != libc::MAP_FAILED => Mapped(page),
            _ => return Err(io::Error::last_os_error()),
        };
        // A child has no mapping of the image, and does not keep the file open for one.
        // SAFETY: advice on the page just mapped.
        if unsafe { libc::madvise(page.0.as_ptr(), PAGE as usize, libc::MADV_DONTFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Pin(OwnedByProcess::new(page)))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our page, to which nothing refers.
        unsafe { libc::munmap(self.0.as_ptr(), PAGE as usize) };
    }
}
