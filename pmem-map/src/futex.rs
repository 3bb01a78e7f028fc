//! Waiting for a word to change, by threads and signal handlers: what the C library has no function for.

#![allow(unsafe_code)]

use std::{ptr, sync::atomic::AtomicU32};

/// Waits while `word` is `value`; may return early. Async-signal-safe.
pub(crate) fn wait(word: &AtomicU32, value: u32) {
    // SAFETY: the word is borrowed for as long as this waits; no timeout.
    unsafe {
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, word.as_ptr(), wait, value, ptr::null::<libc::timespec>());
    }
}

/// Wakes all who wait for `word`. Async-signal-safe.
pub(crate) fn wake(word: &AtomicU32) {
    // SAFETY: as above; the kernel only looks for waiters at the address.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX);
    }
}
