//! What the concurrent containers synchronize with, and nothing else they use: std and parking_lot, or loom's models of
//! them under `--cfg loom`.

#[cfg(not(loom))]
pub(crate) use {
    parking_lot::{Mutex, MutexGuard},
    std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    waiting::Condvar,
};

#[cfg(loom)]
pub(crate) use {
    loom::sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    modelled::{Condvar, Mutex},
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
