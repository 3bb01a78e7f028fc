//! What the instructions did, for the tests that prove that none was forgotten.

use std::{cell::RefCell, ops::Range};

/// Addresses of this thread's flushes and non-temporal stores.
#[derive(Default)]
pub(crate) struct Trace {
    /// One address in each flushed line.
    pub(crate) flushed: Vec<usize>,
    /// Bytes that went past the caches.
    pub(crate) streamed: Vec<Range<usize>>,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

pub(crate) fn flushed(at: *const u8) {
    TRACE.with_borrow_mut(|trace| trace.flushed.push(at as usize));
}

#[cfg_attr(any(pmem_fallback, miri), expect(dead_code, reason = "the fallback streams nothing"))]
pub(crate) fn streamed(at: *const u8, len: usize) {
    TRACE.with_borrow_mut(|trace| trace.streamed.push(at as usize..at as usize + len));
}

/// What was traced since the last call.
pub(crate) fn take() -> Trace {
    TRACE.take()
}
