//! What the concurrent containers synchronize with, and nothing else they use: std and parking_lot, or loom's models of
//! them under `--cfg loom`.

#[cfg(not(loom))]
pub(crate) use {
    parking_lot::{Mutex, MutexGuard},
    std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

#[cfg(loom)]
pub(crate) use {
    loom::sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    modelled::Mutex,
};

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
}
