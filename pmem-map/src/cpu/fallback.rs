//! No instructions: ordinary copies and a compiler-and-CPU fence. Right where the medium needs no flush
//! (tmpfs, `msync`), and under Miri; it makes nothing durable by itself on persistent memory.

use super::Flush;
use std::sync::atomic::{Ordering, fence};

/// There is no instruction to find.
pub(crate) fn detect() -> Flush {
    Flush::None
}

/// Does nothing.
///
/// # Safety
///
/// None needed; the signature is that of the other platforms.
pub(crate) unsafe fn flush_line(_: Flush, _: *const u8) {}

/// Orders earlier stores before later ones.
pub(crate) fn drain() {
    fence(Ordering::SeqCst);
}

/// An ordinary copy.
///
/// # Safety
///
/// `from` readable and `to` writable for `len` bytes, not overlapping, and no reference to `to` exists.
pub(crate) unsafe fn copy_nontemporal(_: Flush, from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
}

/// Does nothing.
pub(crate) fn prefetch(_: *const u8) {}
