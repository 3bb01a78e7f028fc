//! What the concurrent containers synchronize with, and nothing else they use: std and parking_lot, or loom's models of
//! them under `--cfg loom`.

pub(crate) use std::sync::Arc;

/// A place whose ordering (or whose patience) a model weakens, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Site {
    /// A cell is published in the hash map's index.
    Entry = 1,
    /// A snapshot is replaced.
    Snapshot,
    /// The watermark of a log rises.
    Watermark,
    /// A cell waits for readers before it is used again.
    Retire,
    /// An element of a queue is ready after its cell was stored.
    Ready,
}

/// [`Ordering::Release`], but where a model weakens it.
#[inline(always)]
pub(crate) fn release(site: Site) -> Ordering {
    if is_weak(site) { Ordering::Relaxed } else { Ordering::Release }
}

#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn is_weak(_: Site) -> bool {
    false
}

#[cfg(loom)]
pub(crate) use modelled::{is_weak, weaken};

#[cfg(not(loom))]
pub(crate) use {
    boxcar::Vec as Appended,
    parking_lot::{Mutex, MutexGuard},
    std::sync::atomic::{AtomicU64, Ordering},
    waiting::Condvar,
};

#[cfg(loom)]
pub(crate) use {
    loom::sync::{
        MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    modelled::{Appended, Condvar, Mutex},
};

#[cfg(not(loom))]
mod waiting {
    /// parking_lot's, with an interface that loom's has too.
    #[derive(Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Condvar {
            Condvar::default()
        }

        pub(crate) fn wait<'m, T>(
            &self,
            mut guard: parking_lot::MutexGuard<'m, T>,
        ) -> parking_lot::MutexGuard<'m, T> {
            self.0.wait(&mut guard);
            guard
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

#[cfg(loom)]
mod modelled {
    use super::Site;
    use std::sync::{
        OnceLock,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    };

    /// The site that is weak in all models of this process, one after the other; 0: none.
    static WEAK: AtomicU8 = AtomicU8::new(0);

    pub(crate) fn is_weak(site: Site) -> bool {
        WEAK.load(SeqCst) == site as u8
    }

    pub(crate) fn weaken(site: Option<Site>) {
        WEAK.store(site.map_or(0, |site| site as u8), SeqCst);
    }

    /// loom's mutex with parking_lot's interface: a panic in a model ends it, so poison means nothing.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no panic before")
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Mutex<T> {
            Mutex::new(T::default())
        }
    }

    /// A vector that only grows, whose elements stay where they are. (boxcar's cannot be built with loom by others.) std's
    /// cells order nothing in loom's eyes: who knows the number of an element must have learned it in an orderly way.
    pub(crate) struct Appended<T>([OnceLock<T>; 16], AtomicUsize);

    impl<T> Appended<T> {
        pub(crate) fn new() -> Appended<T> {
            Appended(std::array::from_fn(|_| OnceLock::new()), AtomicUsize::new(0))
        }

        pub(crate) fn push(&self, value: T) -> usize {
            let index = self.1.fetch_add(1, SeqCst);
            assert!(self.0[index].set(value).is_ok(), "a model has few elements");
            index
        }

        pub(crate) fn get(&self, index: usize) -> Option<&T> {
            self.0.get(index)?.get()
        }

        pub(crate) fn count(&self) -> usize {
            self.1.load(SeqCst)
        }
    }

    impl<T> std::ops::Index<usize> for Appended<T> {
        type Output = T;
        fn index(&self, index: usize) -> &T {
            self.get(index).expect("inside")
        }
    }

    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Condvar {
            Condvar(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<'m, T>(
            &self,
            guard: loom::sync::MutexGuard<'m, T>,
        ) -> loom::sync::MutexGuard<'m, T> {
            self.0.wait(guard).expect("no panic before")
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
