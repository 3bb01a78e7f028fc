//! Whether first stores are served now, and what went wrong with them. Read and written by the service thread, which waits for nobody.

use super::{FirstStoreFailure, RangeId};
use crate::{fault, futex};
use std::{
    io,
    sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst},
};

/// Closed, no store is served, and none is being served.
#[derive(Default)]
pub(super) struct Gate {
    closed: AtomicU32,
    serving: AtomicU32,
}

/// A store is being served.
pub(super) struct Serving<'a>(&'a Gate);

impl Gate {
    /// On the service thread: `None` if the gate is closed.
    pub(super) fn enter(&self) -> Option<Serving<'_>> {
        self.serving.store(1, SeqCst);
        let serving = Serving(self);
        (self.closed.load(SeqCst) == 0).then_some(serving)
    }

    /// Returns when nothing is being served any more.
    pub(super) fn close(&self) {
        self.closed.store(1, SeqCst);
        while self.serving.load(SeqCst) != 0 {
            futex::wait(&self.serving, 1);
        }
    }

    /// Those who wait are served.
    pub(super) fn open(&self) {
        self.closed.store(0, SeqCst);
        fault::ring();
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.serving.store(0, SeqCst);
        if self.0.closed.load(SeqCst) != 0 {
            futex::wake(&self.0.serving);
        }
    }
}

/// The first failure and how many there were. Written by the service thread alone, taken by anybody.
#[derive(Default)]
pub(super) struct Failures {
    range: AtomicU64,
    page: AtomicU64,
    /// Zero: there is none.
    error: AtomicI32,
    count: AtomicU64,
}

impl Failures {
    pub(super) fn note(&self, range: RangeId, page: u64, error: &io::Error) {
        self.count.fetch_add(1, SeqCst);
        if self.error.load(SeqCst) == 0 {
            self.range.store(range.0, SeqCst);
            self.page.store(page, SeqCst);
            self.error.store(error.raw_os_error().filter(|number| *number != 0).unwrap_or(libc::EIO), SeqCst);
        }
    }

    pub(super) fn take(&self) -> Option<FirstStoreFailure> {
        loop {
            let error = self.error.load(SeqCst);
            if error == 0 {
                return None;
            }
            // What is there stays there until the number is taken; if somebody else takes it first, look again.
            let (range, page) = (RangeId(self.range.load(SeqCst)), self.page.load(SeqCst));
            let failures = self.count.swap(0, SeqCst);
            if self.error.compare_exchange(error, 0, SeqCst, SeqCst).is_ok() {
                let error = io::Error::from_raw_os_error(error);
                return Some(FirstStoreFailure { range, page, error, failures });
            }
            self.count.fetch_add(failures, SeqCst);
        }
    }
}
