//! A forked child has none of its parent's mappings, and must not act as if it had.
//!
//! Mappings are `MADV_DONTFORK`: in a child their addresses are empty, and may come to hold something else.
//! So a child must not unmap them either, nor run the owner's clean-up, which may write to the medium.

#![allow(unsafe_code)]

use crate::{Error, Result, fault};
use std::{
    mem::ManuallyDrop,
    ops::Deref,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// How many `fork()`s lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Relaxed);
    fault::forget_the_parents_dispatcher();
}

/// Which process this is, in a line of forks.
///
/// Seen by `fork()` of the C library only: a raw `clone` system call goes unnoticed. A child that calls
/// `exec` (as `std::process::Command` does) has nothing to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    pub(crate) fn current() -> Generation {
        static WATCH: Once = Once::new();
        if !cfg!(miri) {
            // SAFETY: the handler only adds to an atomic and clears a pointer, which is async-signal-safe.
            WATCH.call_once(|| unsafe {
                libc::pthread_atfork(None, None, Some(in_child));
            });
        }
        Generation(FORKS.load(Relaxed))
    }

    /// Whether this process is the one that called [`current`](Self::current): one load.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self.0 == FORKS.load(Relaxed)
    }

    /// [`Error::Forked`] in a child.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Error::Forked) }
    }
}

/// A value that only the process that made it drops.
pub(crate) struct OwnedByProcess<T> {
    value: ManuallyDrop<T>,
    made_in: Generation,
}

impl<T> OwnedByProcess<T> {
    pub(crate) fn new(value: T) -> OwnedByProcess<T> {
        OwnedByProcess { value: ManuallyDrop::new(value), made_in: Generation::current() }
    }
}

impl<T> Deref for OwnedByProcess<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for OwnedByProcess<T> {
    fn drop(&mut self) {
        if self.made_in.is_current() {
            // SAFETY: dropped here and never again, for `self` is gone after this.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}
