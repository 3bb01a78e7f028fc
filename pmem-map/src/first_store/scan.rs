//! Which pages were written, from the page tables: `PAGEMAP_SCAN` of pages that a userfaultfd protects asynchronously.
//!
//! The kernel protects each page of a range in its page tables, and takes that away by itself at the first store, without waking
//! anybody. A page without the mark counts as written: that of a page that was taken out of memory meanwhile too.

#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::NonNull,
};

// <linux/userfaultfd.h>
const USER_MODE_ONLY: i32 = 1;
const API: u64 = 0xaa;
const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_MODE_WP: u64 = 1 << 1;
const WRITEPROTECT_MODE_WP: u64 = 1;

#[repr(C)]
struct UffdApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdRange {
    start: u64,
    len: u64,
}

#[repr(C)]
struct UffdRegister {
    range: UffdRange,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdWriteProtect {
    range: UffdRange,
    mode: u64,
}

// <linux/fs.h>
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const CHECK_WPASYNC: u64 = 1 << 1;

#[repr(C)]
#[derive(Default)]
struct PmScan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR(group, number, T)`, or `_IOR` where the kernel only reads.
const fn request<T>(group: u8, number: u8, writes: bool) -> u64 {
    const READ: u64 = 2;
    const WRITE: u64 = 1;
    let direction = if writes { READ | WRITE } else { READ };
    direction << 30 | (size_of::<T>() as u64) << 16 | (group as u64) << 8 | number as u64
}

const UFFDIO_API: u64 = request::<UffdApi>(0xaa, 0x3f, true);
const UFFDIO_REGISTER: u64 = request::<UffdRegister>(0xaa, 0x00, true);
const UFFDIO_UNREGISTER: u64 = request::<UffdRange>(0xaa, 0x01, false);
const UFFDIO_WRITEPROTECT: u64 = request::<UffdWriteProtect>(0xaa, 0x06, true);
const PAGEMAP_SCAN: u64 = request::<PmScan>(b'f', 16, true);

/// The kernel's means. For this process alone.
pub(super) struct Scanner {
    userfaultfd: OwnedFd,
    pagemap: File,
}

/// # Safety
///
/// `argument` is what the request takes.
unsafe fn ioctl<T>(file: &impl AsRawFd, request: u64, argument: &mut T) -> io::Result<i32> {
    // SAFETY: the caller's; the kernel reads and writes no more than the argument.
    match unsafe { libc::ioctl(file.as_raw_fd(), request as _, std::ptr::from_mut(argument)) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

fn range(at: NonNull<u8>, len: u64) -> UffdRange {
    UffdRange { start: at.as_ptr() as u64, len }
}

impl Scanner {
    /// An error before Linux 6.7, and where the administrator forbids it.
    pub(super) fn open() -> io::Result<Scanner> {
        let pagemap = File::open("/proc/self/pagemap")?;
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY;
        // SAFETY: a system call without pointers.
        let descriptor = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was just made, and is nobody else's.
        let userfaultfd = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
        let features = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED | FEATURE_WP_HUGETLBFS_SHMEM;
        let mut api = UffdApi { api: API, features, ioctls: 0 };
        // SAFETY: the request's argument.
        unsafe { ioctl(&userfaultfd, UFFDIO_API, &mut api)? };
        Ok(Scanner { userfaultfd, pagemap })
    }

    /// No page of these is written, from now on.
    pub(super) fn begin(&self, at: NonNull<u8>, len: u64) -> io::Result<()> {
        let mut register = UffdRegister { range: range(at, len), mode: REGISTER_MODE_WP, ioctls: 0 };
        let mut protect = UffdWriteProtect { range: range(at, len), mode: WRITEPROTECT_MODE_WP };
        // SAFETY: the requests' arguments. No byte changes.
        let begun = unsafe {
            ioctl(&self.userfaultfd, UFFDIO_REGISTER, &mut register)?;
            ioctl(&self.userfaultfd, UFFDIO_WRITEPROTECT, &mut protect)
        };
        begun.map(drop).inspect_err(|_| drop(self.end(at, len)))
    }

    /// Stores to these cost nothing more.
    pub(super) fn end(&self, at: NonNull<u8>, len: u64) -> io::Result<()> {
        // SAFETY: the request's argument.
        unsafe { ioctl(&self.userfaultfd, UFFDIO_UNREGISTER, &mut range(at, len)) }.map(drop)
    }

    /// Calls `each` with the addresses of pages written since [`begin`](Self::begin), in runs that do not touch, in order.
    pub(super) fn written(
        &self,
        at: NonNull<u8>,
        len: u64,
        each: &mut dyn FnMut(Range<u64>),
    ) -> io::Result<()> {
        let (mut start, end) = (at.as_ptr() as u64, at.as_ptr() as u64 + len);
        let mut regions = [PageRegion::default(); 64];
        let mut last: Option<Range<u64>> = None;
        while start < end {
            let mut scan = PmScan {
                size: size_of::<PmScan>() as u64,
                flags: CHECK_WPASYNC,
                start,
                end,
                vec: regions.as_mut_ptr() as u64,
                vec_len: regions.len() as u64,
                category_mask: PAGE_IS_WRITTEN,
                return_mask: PAGE_IS_WRITTEN,
                ..PmScan::default()
            };
            // SAFETY: the request's argument; `vec` has room for `vec_len` regions.
            let found = unsafe { ioctl(&self.pagemap, PAGEMAP_SCAN, &mut scan)? } as usize;
            for region in &regions[..found] {
                match &mut last {
                    Some(run) if run.end == region.start => run.end = region.end,
                    _ => {
                        if let Some(run) = last.replace(region.start..region.end) {
                            each(run);
                        }
                    }
                }
            }
            if scan.walk_end <= start {
                return Err(io::ErrorKind::UnexpectedEof.into()); // it makes no progress
            }
            start = scan.walk_end;
        }
        last.into_iter().for_each(each);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_numbers_of_the_kernels_headers() {
        assert_eq!(UFFDIO_API, 0xc018_aa3f);
        assert_eq!(UFFDIO_REGISTER, 0xc020_aa00);
        assert_eq!(UFFDIO_UNREGISTER, 0x8010_aa01);
        assert_eq!(UFFDIO_WRITEPROTECT, 0xc018_aa06);
        assert_eq!(PAGEMAP_SCAN, 0xc060_6610);
    }
}
