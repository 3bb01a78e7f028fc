//! Pages that are gone when they are touched, made an error for the thread that asked for it.
//!
//! A page of a mapped file can lose what is behind it: somebody truncates the file, the disk is full when a hole is
//! stored to, the medium fails. The access is then a SIGBUS. A thread that runs [`guarded`] has said which addresses it
//! is about; the handler finds that note in a thread-local, puts a page of zeros in the place of the one that is gone,
//! notes its offset, and has the instruction restarted. What the thread computes from the zeros, its caller throws away.
//!
//! The handler runs on the very thread that faulted, and does nothing but read that thread's notes and call `mmap` and
//! `madvise`: it allocates nothing and takes no lock.

#![allow(unsafe_code)]

use std::{
    io,
    ops::Range,
    ptr,
    sync::{
        Once,
        atomic::{
            AtomicPtr, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
            compiler_fence,
        },
    },
};

/// What a thread is about, while it runs [`guarded`]. On its stack.
struct Guard {
    addresses: Range<usize>,
    /// Bytes of a page there.
    unit: usize,
    /// Address of the first page that was gone, or 0.
    lost: AtomicUsize,
    /// The guard in which this one runs.
    outer: *mut Guard,
}

thread_local! {
    static INNERMOST: AtomicPtr<Guard> = const { AtomicPtr::new(ptr::null_mut()) };
}

/// Takes the guard away again, however `work` ends.
struct Leave(*mut Guard);

impl Drop for Leave {
    fn drop(&mut self) {
        compiler_fence(SeqCst); // for the handler: `work` ends before this
        INNERMOST.with(|innermost| innermost.store(self.0, Relaxed));
    }
}

/// Runs `work`. If it touches a page of `addresses` that is gone, it goes on with zeros, and the offset of the first
/// such page is returned too. [`handle`] comes before.
#[inline]
pub(crate) fn guarded<R>(addresses: &Range<usize>, unit: u64, work: impl FnOnce() -> R) -> (R, Option<u64>) {
    let outer = INNERMOST.with(|innermost| innermost.load(Relaxed));
    let addresses = addresses.clone();
    let mut guard = Guard { addresses, unit: unit as usize, lost: AtomicUsize::new(0), outer };
    let leave = Leave(outer);
    INNERMOST.with(|innermost| innermost.store(&raw mut guard, Relaxed));
    compiler_fence(SeqCst); // for the handler: `work` begins after this
    let result = work();
    drop(leave);
    let lost = guard.lost.load(Relaxed);
    (result, (lost != 0).then(|| (lost - guard.addresses.start) as u64))
}

/// Sees to it that lost pages are handled, in this process and in its children.
#[inline]
pub(crate) fn handle() -> io::Result<()> {
    if cfg!(miri) || HANDLED.is_completed() { Ok(()) } else { handle_once() }
}

static HANDLED: Once = Once::new();

#[cold]
fn handle_once() -> io::Result<()> {
    crate::fault::handle_lost_pages()?;
    HANDLED.call_once(|| {});
    Ok(())
}

/// Puts a page of zeros at `address`, if this thread runs a guard that is about it. In the signal handler.
pub(crate) fn give_zeros(address: usize) -> bool {
    let mut next = INNERMOST.with(|innermost| innermost.load(Relaxed));
    let mut given = false;
    // SAFETY: guards are on this thread's stack, below the handler's frame or on another stack, and each is taken off
    // the list before it ends; what is listed lives.
    while let Some(guard) = unsafe { next.as_ref() } {
        if guard.addresses.contains(&address) {
            let page = address - address % guard.unit;
            if !given {
                // SAFETY: a page inside the reservation of the region that `guarded` was called on, which is borrowed
                // there. Nobody gets different bytes than a SIGBUS, except who is told of it.
                given = unsafe { map_zeros(page, guard.unit) };
                if !given {
                    return false;
                }
            }
            let before = guard.lost.load(Relaxed);
            guard.lost.store(if before == 0 { page } else { before.min(page) }, Relaxed);
        }
        next = guard.outer;
    }
    given
}

/// # Safety
///
/// `len` bytes at `page` belong to the caller.
unsafe fn map_zeros(page: usize, len: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the caller's.
    unsafe {
        let at = ptr::with_exposed_provenance_mut(page);
        libc::mmap(at, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) != libc::MAP_FAILED
            && libc::madvise(at, len, libc::MADV_DONTFORK) == 0
    }
}
