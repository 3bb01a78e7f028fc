//! The processor's own instructions of which hand-written code over a raw mapping is made: no counters, no observer, no checks.

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use crate::stream::Object;
    use pmem_map::FlushMethod;
    use std::arch::{
        asm,
        x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128},
    };

    #[inline(always)]
    pub(crate) fn flush(method: FlushMethod, line: *const u8) {
        // SAFETY: `line` is mapped, and the CPU has what `FlushMethod::detect` found.
        unsafe {
            match method {
                FlushMethod::Clwb => asm!("clwb [{}]", in(reg) line, options(nostack, preserves_flags)),
                FlushMethod::Clflushopt => {
                    asm!("clflushopt [{}]", in(reg) line, options(nostack, preserves_flags))
                }
                FlushMethod::Clflush => asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags)),
                _ => {}
            }
        }
    }

    /// Keeps the compiler from leaving out stores that later ones would make superfluous; no instruction.
    #[inline(always)]
    pub(crate) fn keep_order() {
        // SAFETY: no instruction.
        unsafe { asm!("", options(nostack, preserves_flags)) }
    }

    #[inline(always)]
    pub(crate) fn drain() {
        // SAFETY: SSE is part of x86-64. The `asm` keeps the compiler from moving stores across.
        unsafe {
            asm!("", options(nostack, preserves_flags));
            _mm_sfence();
            asm!("", options(nostack, preserves_flags));
        }
    }

    /// `line` begins at a multiple of 64.
    #[inline(always)]
    pub(crate) fn store_nontemporal(line: &mut Object, words: Object) {
        let (from, to) = (words.as_ptr().cast::<__m128i>(), (&raw mut *line).cast::<__m128i>());
        assert!(to.is_aligned());
        // SAFETY: 64 bytes each; `to` is aligned, as was just checked.
        unsafe {
            for i in 0..4 {
                _mm_stream_si128(to.add(i), _mm_loadu_si128(from.add(i)));
            }
        }
    }
}

/// Elsewhere the baselines are plain stores and a fence, as in the portable fallback of `pmem-map`.
#[cfg(not(target_arch = "x86_64"))]
mod portable {
    use crate::stream::Object;
    use pmem_map::FlushMethod;
    use std::sync::atomic::{Ordering, fence};

    pub(crate) fn flush(_method: FlushMethod, _line: *const u8) {}
    pub(crate) fn keep_order() {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
    pub(crate) fn drain() {
        fence(Ordering::SeqCst);
    }
    pub(crate) fn store_nontemporal(line: &mut Object, words: Object) {
        *line = words;
    }
}
