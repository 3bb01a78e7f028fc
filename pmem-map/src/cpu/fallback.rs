//! No instructions: ordinary copies and a compiler-and-CPU fence. Right where the medium needs no flush
//! (tmpfs, `msync`), and under Miri; it makes nothing durable by itself on persistent memory, and
//! [`Durability`](crate::Durability) says so there.

use super::FlushMethod;
use std::sync::atomic::{Ordering, fence};

/// There is no instruction to find.
pub(crate) fn detect() -> FlushMethod {
    FlushMethod::None
}

/// None.
pub(crate) fn supports(_: FlushMethod) -> bool {
    false
}

/// Does nothing.
///
/// # Safety
///
/// None needed; the signature is that of the other platforms.
pub(crate) unsafe fn flush_line(_: FlushMethod, _at: *const u8) {
    #[cfg(test)]
    super::trace::flushed(_at);
}

/// Orders earlier stores before later ones.
pub(crate) fn drain() {
    fence(Ordering::SeqCst);
}

/// An ordinary copy.
///
/// # Safety
///
/// `from` readable and `to` writable for `len` bytes, not overlapping, and no reference to `to` exists.
pub(crate) unsafe fn copy_nontemporal(_: FlushMethod, from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
}

/// An ordinary fill.
///
/// # Safety
///
/// `to` writable for `len` bytes, and no reference to it exists.
pub(crate) unsafe fn fill_nontemporal(_: FlushMethod, to: *mut u8, byte: u8, len: usize) {
    // SAFETY: the caller's.
    unsafe { to.write_bytes(byte, len) }
}

/// Does nothing.
pub(crate) fn prefetch(_: *const u8) {}
