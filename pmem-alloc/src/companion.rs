//! What a program keeps in DRAM beside an object, for as long as anybody uses it: indexes, locks, free lists.
//!
//! Nothing of it is on media. Two handles on one object of one open pool have to share it, so the pool finds it again.

use crate::{Pool, Ptr, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::{
    any::Any,
    sync::{Arc, Weak},
};

type Place = Arc<Mutex<Option<Weak<dyn Any + Send + Sync>>>>;

/// The companions of a pool, by their object's header.
#[derive(Default)]
pub(crate) struct Companions(Mutex<FxHashMap<u64, Place>>);

impl Pool {
    /// The `T` that goes with the object whose header is at `header`: the one that is in use, or a new one by `make`.
    /// It is dropped with its last `Arc`; whoever asks next makes another.
    ///
    /// Waits while another thread makes it. `make` may open transactions; it must not ask for the same companion.
    ///
    /// # Errors
    ///
    /// Those of `make`; [`WouldDeadlock`](crate::ErrorKind::WouldDeadlock) if another thread makes it while this one has a
    /// transaction open.
    ///
    /// # Panics
    ///
    /// The companion in use is of another type: an object has one kind of companion.
    pub fn companion<T: Send + Sync + 'static>(
        &self,
        header: Ptr<u8>,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let place = self.inner.companions.0.lock().entry(header.offset()).or_default().clone();
        let mut place = match place.try_lock() {
            Some(place) => place,
            None => {
                // Whoever makes it may be waiting for this thread's transaction.
                self.inner.check_no_transaction("open it")?;
                place.lock()
            }
        };
        if let Some(living) = place.as_ref().and_then(Weak::upgrade) {
            return Ok(living.downcast().expect("one kind of companion for an object"));
        }
        let made: Arc<T> = Arc::new(make()?);
        let known: Arc<dyn Any + Send + Sync> = made.clone();
        *place = Some(Arc::downgrade(&known));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_one_companion_at_a_time_and_a_new_one_when_nobody_has_it_any_more() {
        let pool = Pool::anonymous(1 << 20).unwrap();
        let at = Ptr::from_offset(4096);
        let first = pool.companion(at, || Ok(1u32)).unwrap();
        let same = pool.companion(at, || -> Result<u32> { panic!("there is one") }).unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        assert_eq!(*pool.companion(Ptr::from_offset(64), || Ok(2u32)).unwrap(), 2);
        drop((first, same));
        assert!(
            pool.companion(at, || Err::<u32, _>(crate::ErrorKind::NoSpace { needed: 1 }.into())).is_err()
        );
        assert_eq!(*pool.companion(at, || Ok(3u32)).unwrap(), 3);
    }
}
