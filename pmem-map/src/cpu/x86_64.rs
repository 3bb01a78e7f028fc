//! x86-64: `clwb`, `clflushopt`, `clflush`; SSE2 non-temporal stores; `sfence`.
//!
//! `clwb` and `clflushopt` are ordered only by a fence (SDM vol. 1, 11.4.4); two stores to one line reach
//! memory in program order; an aligned 8-byte store is the largest that is failure-atomic.

use super::Flush;
use std::{
    arch::{
        asm,
        x86_64::{
            __cpuid_count, __m128i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_sfence, _mm_stream_si64,
            _mm_stream_si128,
        },
    },
    sync::OnceLock,
};

/// The best flush instruction of this CPU.
pub(crate) fn detect() -> Flush {
    static FOUND: OnceLock<Flush> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // Leaf 7, EBX: bit 24 is clwb, bit 23 is clflushopt. Every x86-64 has leaf 7 or reports zeros.
        let ebx = __cpuid_count(7, 0).ebx;
        if ebx >> 24 & 1 == 1 {
            Flush::Clwb
        } else if ebx >> 23 & 1 == 1 {
            Flush::Clflushopt
        } else {
            Flush::Clflush
        }
    })
}

/// Starts the line that holds `at` on its way.
///
/// # Safety
///
/// `at` is mapped, and the CPU has the instruction.
#[inline(always)]
pub(crate) unsafe fn flush_line(how: Flush, at: *const u8) {
    // SAFETY: the caller's; the instructions neither read nor change memory as the language sees it.
    unsafe {
        match how {
            Flush::Clwb => asm!("clwb [{}]", in(reg) at, options(nostack, preserves_flags)),
            Flush::Clflushopt => asm!("clflushopt [{}]", in(reg) at, options(nostack, preserves_flags)),
            Flush::Clflush => asm!("clflush [{}]", in(reg) at, options(nostack, preserves_flags)),
            Flush::None => {}
        }
    }
}

/// Waits for this thread's flushes and non-temporal stores.
#[inline(always)]
pub(crate) fn drain() {
    // SAFETY: SSE is part of x86-64. The `asm` keeps the compiler from moving stores across.
    unsafe {
        asm!("", options(nostack, preserves_flags));
        _mm_sfence();
        asm!("", options(nostack, preserves_flags));
    }
}

/// Copies past the caches. Unaligned ends go by ordinary stores and a flush, for a non-temporal store has
/// to be aligned and whole (NOVA #105: forgotten tails).
///
/// # Safety
///
/// `from` readable and `to` writable for `len` bytes, not overlapping, and no reference to `to` exists.
#[inline]
pub(crate) unsafe fn copy_nontemporal(how: Flush, from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: all pointers stay within the caller's ranges: `head` and `tail` are what is left before the
    // first and after the last aligned 8 bytes.
    unsafe {
        let head = to.align_offset(8).min(len);
        if head > 0 {
            std::ptr::copy_nonoverlapping(from, to, head);
            flush_line(how, to);
        }
        let (mut at, end) = (head, head + (len - head) / 8 * 8);
        while at < end && (to.add(at) as usize) % 16 != 0 {
            _mm_stream_si64(to.add(at).cast(), from.add(at).cast::<i64>().read_unaligned());
            at += 8;
        }
        while at + 64 <= end {
            let (s, d) = (from.add(at).cast::<__m128i>(), to.add(at).cast::<__m128i>());
            let (a, b, c, e) = (
                _mm_loadu_si128(s),
                _mm_loadu_si128(s.add(1)),
                _mm_loadu_si128(s.add(2)),
                _mm_loadu_si128(s.add(3)),
            );
            _mm_stream_si128(d, a);
            _mm_stream_si128(d.add(1), b);
            _mm_stream_si128(d.add(2), c);
            _mm_stream_si128(d.add(3), e);
            at += 64;
        }
        while at < end {
            _mm_stream_si64(to.add(at).cast(), from.add(at).cast::<i64>().read_unaligned());
            at += 8;
        }
        if end < len {
            std::ptr::copy_nonoverlapping(from.add(end), to.add(end), len - end);
            flush_line(how, to.add(end));
        }
    }
}

/// Brings a line into the caches. Any address will do: a bad one does nothing.
#[inline(always)]
pub(crate) fn prefetch(at: *const u8) {
    // SAFETY: SSE is part of x86-64; a prefetch never faults.
    unsafe { _mm_prefetch(at.cast(), _MM_HINT_T0) };
}
