//! A value that is read whole without a lock, and replaced as a whole.
//!
//! What lists, tables and tree nodes of the concurrent containers are made of: a writer builds the next value beside
//! the one that is being read and swaps the pointer; the old one is freed when every reader that could have seen it is
//! gone (epochs: Fraser 2004, by crossbeam). This is the one module of the crate with `unsafe` in it.
#![expect(unsafe_code, reason = "epoch-protected references; see each SAFETY comment")]

use crossbeam_epoch::{Atomic, Guard, Owned};
use std::sync::atomic::Ordering::Acquire;

use super::sync::{Site, release};

/// A value that is read whole without a lock, and replaced as a whole.
///
/// `Send + Sync`, because other threads hold references to it, and one of them may drop it.
pub(crate) struct Snapshot<T: Send + Sync + 'static>(Atomic<T>);

impl<T: Send + Sync + 'static> Snapshot<T> {
    pub(crate) fn new(value: T) -> Snapshot<T> {
        Snapshot(Atomic::new(value))
    }

    /// The value now. Stays as it is while both borrows last, whatever replaces it.
    #[inline]
    pub(crate) fn load<'g>(&'g self, guard: &'g Guard) -> &'g T {
        let now = self.0.load(Acquire, guard);
        // SAFETY: never null: made with a value, and swapped for values only. The value was published by a release
        // store (`Atomic::new`, before this snapshot was shared; `replace`) that the acquire load reads from. It is
        // freed by `replace`, deferred until every guard that was pinned then is gone, this one among them; or by
        // `drop`, which the borrow of `self` excludes.
        unsafe { now.deref() }
    }

    /// Puts `value` in place of what is there. Readers of the old value go on with it.
    ///
    /// Writers exclude each other, or the last one wins.
    pub(crate) fn replace(&self, value: T, guard: &Guard) {
        // Only who replaces it reads the old one here, and does so before: nothing is to be acquired.
        let old = self.0.swap(Owned::new(value), release(Site::Snapshot), guard);
        // SAFETY: no new reader can find `old`: the swap took it out, and nobody puts it back. Those that have it are
        // pinned. It may be dropped by another thread: `T` is `Send`.
        unsafe { guard.defer_destroy(old) };
    }
}

impl<T: Send + Sync + 'static> Drop for Snapshot<T> {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut self.0, Atomic::null());
        // SAFETY: the value was made by `Owned::new`, nobody else owns it, and no reader is left: `load` borrows `self`.
        drop(unsafe { last.try_into_owned() });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    /// Counts how many of it were dropped.
    struct Counted(u64, Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_value_that_was_read_stays_while_others_replace_it_and_each_is_dropped_once() {
        let dropped = Arc::new(AtomicUsize::new(0));
        let snapshot = Snapshot::new(Counted(0, dropped.clone()));
        // One of our own: other tests of this process pin the one that all share.
        let epochs = crossbeam_epoch::Collector::new();
        std::thread::scope(|s| {
            s.spawn(|| {
                let epochs = epochs.register();
                for n in 1..=1000 {
                    snapshot.replace(Counted(n, dropped.clone()), &epochs.pin());
                }
            });
            s.spawn(|| {
                let (epochs, mut last) = (epochs.register(), 0);
                for _ in 0..1000 {
                    let guard = epochs.pin();
                    let seen = snapshot.load(&guard);
                    assert!(seen.0 >= last && seen.0 <= 1000);
                    last = seen.0;
                }
            });
        });
        drop(snapshot);
        let epochs = epochs.register();
        for _ in 0..10_000 {
            if dropped.load(SeqCst) == 1001 {
                return;
            }
            epochs.pin().flush();
        }
        panic!("{} of 1001 were dropped", dropped.load(SeqCst));
    }
}
