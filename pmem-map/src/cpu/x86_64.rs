//! x86-64: `clwb`, `clflushopt`, `clflush`; SSE2 non-temporal stores; `sfence`.
//!
//! `clwb` and `clflushopt` are ordered only by a fence (SDM vol. 1, 11.4.4); two stores to one line reach
//! memory in program order; an aligned 8-byte store is the largest that is failure-atomic.

use super::FlushMethod;
use std::{
    arch::{
        asm,
        x86_64::{
            __cpuid_count, __m128i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_set1_epi8, _mm_sfence,
            _mm_stream_si64, _mm_stream_si128,
        },
    },
    sync::OnceLock,
};

/// The best flush instruction of this CPU.
pub(crate) fn detect() -> FlushMethod {
    static FOUND: OnceLock<FlushMethod> = OnceLock::new();
    *FOUND.get_or_init(|| {
        [FlushMethod::Clwb, FlushMethod::Clflushopt]
            .into_iter()
            .find(|how| supports(*how))
            .unwrap_or(FlushMethod::Clflush)
    })
}

/// Whether this CPU has the instruction.
pub(crate) fn supports(how: FlushMethod) -> bool {
    // Leaf 7, EBX: bit 24 is clwb, bit 23 is clflushopt. Every x86-64 has leaf 7 or reports zeros.
    let ebx = __cpuid_count(7, 0).ebx;
    match how {
        FlushMethod::Clwb => ebx >> 24 & 1 == 1,
        FlushMethod::Clflushopt => ebx >> 23 & 1 == 1,
        FlushMethod::Clflush => true,
        _ => false,
    }
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
    // SAFETY: the caller's; the instructions neither read nor change memory as the language sees it.
    unsafe {
        match how {
            FlushMethod::Clwb => asm!("clwb [{}]", in(reg) at, options(nostack, preserves_flags)),
            FlushMethod::Clflushopt => asm!("clflushopt [{}]", in(reg) at, options(nostack, preserves_flags)),
            FlushMethod::Clflush => asm!("clflush [{}]", in(reg) at, options(nostack, preserves_flags)),
            _ => {}
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

/// Stores 8 bytes past the caches.
///
/// # Safety
///
/// `to` is writable for 8 bytes, a multiple of 8, and no reference to it exists.
#[inline(always)]
unsafe fn stream_word(to: *mut u8, word: i64) {
    #[cfg(test)]
    super::trace::streamed(to, 8);
    // SAFETY: the caller's; SSE2 is part of x86-64.
    unsafe { _mm_stream_si64(to.cast(), word) };
}

/// Stores 64 bytes past the caches.
///
/// # Safety
///
/// `to` is writable for 64 bytes, a multiple of 16, and no reference to it exists.
#[inline(always)]
unsafe fn stream_line(to: *mut u8, words: [__m128i; 4]) {
    #[cfg(test)]
    super::trace::streamed(to, 64);
    let to = to.cast::<__m128i>();
    // SAFETY: the caller's; SSE2 is part of x86-64.
    unsafe {
        _mm_stream_si128(to, words[0]);
        _mm_stream_si128(to.add(1), words[1]);
        _mm_stream_si128(to.add(2), words[2]);
        _mm_stream_si128(to.add(3), words[3]);
    }
}

/// Copies past the caches by 64 bytes at a time.
///
/// # Safety
///
/// As for [`copy_nontemporal`]; `to` is a multiple of 16, and `len` one of 64.
#[inline(always)]
unsafe fn copy_lines(from: *const u8, to: *mut u8, len: usize) {
    for at in (0..len).step_by(64) {
        // SAFETY: the caller's.
        unsafe {
            let words = from.add(at).cast::<__m128i>();
            let words = [
                _mm_loadu_si128(words),
                _mm_loadu_si128(words.add(1)),
                _mm_loadu_si128(words.add(2)),
                _mm_loadu_si128(words.add(3)),
            ];
            stream_line(to.add(at), words);
        }
    }
}

/// Copies past the caches. Unaligned ends go by ordinary stores and a flush, for a non-temporal store has
/// to be aligned and whole (NOVA #105: forgotten tails).
///
/// # Safety
///
/// `from` readable and `to` writable for `len` bytes, not overlapping, and no reference to `to` exists.
#[inline]
pub(crate) unsafe fn copy_nontemporal(how: FlushMethod, from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: all pointers stay within the caller's ranges: `head` and `tail` are what is left before the
    // first and after the last aligned 8 bytes.
    unsafe {
        // Whole lines: what a log's records are.
        if (to as usize | len).is_multiple_of(64) {
            return copy_lines(from, to, len);
        }
        let head = to.align_offset(8).min(len);
        if head > 0 {
            std::ptr::copy_nonoverlapping(from, to, head);
            flush_line(how, to);
        }
        let (mut at, end) = (head, head + (len - head) / 8 * 8);
        while at < end && !(to.add(at) as usize).is_multiple_of(16) {
            stream_word(to.add(at), from.add(at).cast::<i64>().read_unaligned());
            at += 8;
        }
        let lines = (end - at) / 64 * 64;
        copy_lines(from.add(at), to.add(at), lines);
        at += lines;
        while at < end {
            stream_word(to.add(at), from.add(at).cast::<i64>().read_unaligned());
            at += 8;
        }
        if end < len {
            std::ptr::copy_nonoverlapping(from.add(end), to.add(end), len - end);
            flush_line(how, to.add(end));
        }
    }
}

/// Fills past the caches, with the same care for the ends.
///
/// # Safety
///
/// `to` writable for `len` bytes, and no reference to it exists.
#[inline]
pub(crate) unsafe fn fill_nontemporal(how: FlushMethod, to: *mut u8, byte: u8, len: usize) {
    // SAFETY: as in `copy_nontemporal`.
    unsafe {
        let (word, words) = (i64::from_ne_bytes([byte; 8]), [_mm_set1_epi8(byte as i8); 4]);
        let head = to.align_offset(8).min(len);
        if head > 0 {
            to.write_bytes(byte, head);
            flush_line(how, to);
        }
        let (mut at, end) = (head, head + (len - head) / 8 * 8);
        while at < end && !(to.add(at) as usize).is_multiple_of(16) {
            stream_word(to.add(at), word);
            at += 8;
        }
        while at + 64 <= end {
            stream_line(to.add(at), words);
            at += 64;
        }
        while at < end {
            stream_word(to.add(at), word);
            at += 8;
        }
        if end < len {
            to.add(end).write_bytes(byte, len - end);
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
