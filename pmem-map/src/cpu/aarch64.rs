//! aarch64: `dc cvap` (Armv8.2 DCPoP), else `dc cvac`; `dsb sy`.
//!
//! Written from the Arm architecture manual (D7.4, cache maintenance; `HWCAP_DCPOP` of the kernel's
//! elf_hwcaps) and PMDK's `libpmem2/aarch64`; **this project's machines neither build nor run it.**
//! There is no non-temporal store that needs no clean afterwards, so copies are ordinary and then flushed.
//! Lines of 64 bytes are assumed, as on every server core so far; longer ones are flushed more than once.

use super::FlushMethod;
use crate::LINE;
use std::{arch::asm, sync::OnceLock};

/// `dc cvap` where the kernel reports it, else `dc cvac`, which Linux lets every program use.
pub(crate) fn detect() -> FlushMethod {
    static FOUND: OnceLock<FlushMethod> = OnceLock::new();
    *FOUND.get_or_init(|| {
        const HWCAP_DCPOP: u64 = 1 << 16;
        // SAFETY: reads a word of the process's auxiliary vector.
        let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP) };
        if capabilities & HWCAP_DCPOP != 0 { FlushMethod::DcCvap } else { FlushMethod::DcCvac }
    })
}

/// Whether this CPU has the instruction.
pub(crate) fn supports(how: FlushMethod) -> bool {
    how == FlushMethod::DcCvac || (how == FlushMethod::DcCvap && detect() == FlushMethod::DcCvap)
}

/// Starts the line that holds `at` on its way.
///
/// # Safety
///
/// `at` is mapped, and the CPU has the instruction.
#[inline(always)]
pub(crate) unsafe fn flush_line(how: FlushMethod, at: *const u8) {
    #[cfg(test)]
    super::trace::flushed(at);
    // SAFETY: the caller's; the instructions change no memory as the language sees it.
    unsafe {
        match how {
            FlushMethod::DcCvap => asm!("dc cvap, {}", in(reg) at, options(nostack, preserves_flags)),
            FlushMethod::DcCvac => asm!("dc cvac, {}", in(reg) at, options(nostack, preserves_flags)),
            _ => {}
        }
    }
}

/// Waits for this thread's flushes.
#[inline(always)]
pub(crate) fn drain() {
    // SAFETY: a barrier; without `nomem` the compiler moves no store across.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// An ordinary copy, flushed.
///
/// # Safety
///
/// `from` readable and `to` writable for `len` bytes, not overlapping, and no reference to `to` exists.
pub(crate) unsafe fn copy_nontemporal(how: FlushMethod, from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, len);
        flush_all(how, to, len);
    }
}

/// An ordinary fill, flushed.
///
/// # Safety
///
/// `to` writable for `len` bytes, and no reference to it exists.
pub(crate) unsafe fn fill_nontemporal(how: FlushMethod, to: *mut u8, byte: u8, len: usize) {
    // SAFETY: the caller's.
    unsafe {
        to.write_bytes(byte, len);
        flush_all(how, to, len);
    }
}

/// # Safety
///
/// `len` bytes at `at` are mapped.
unsafe fn flush_all(how: FlushMethod, at: *const u8, len: usize) {
    let mut done = 0;
    while done < len {
        // SAFETY: `done < len`.
        unsafe { flush_line(how, at.add(done)) };
        done += LINE as usize - (at as usize + done) % LINE as usize;
    }
}

/// Does nothing.
pub(crate) fn prefetch(_: *const u8) {}
