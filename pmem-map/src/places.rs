//! A table of address ranges that is read without a lock: by signal handlers, and by the thread that answers for them.
//!
//! A place is used by many at once: each counts itself in before it looks, and whoever empties the place waits until they are
//! gone. So what is in a place is not used after it was taken out, and whoever reads waits for nobody.

#![allow(unsafe_code)]

use crate::futex;
use std::{
    ops::Range,
    ptr,
    sync::atomic::{
        AtomicPtr, AtomicU32, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

/// Ranges of addresses, and a value for each.
pub(crate) struct Places<T> {
    places: Box<[Place<T>]>,
    /// One past the last place ever used.
    used: AtomicUsize,
}

struct Place<T> {
    start: AtomicUsize,
    /// Zero: nobody's.
    end: AtomicUsize,
    /// Null: free.
    value: AtomicPtr<T>,
    /// Who is looking at this place.
    users: AtomicU32,
}

impl<T> Place<T> {
    fn range(&self) -> Range<usize> {
        self.start.load(SeqCst)..self.end.load(SeqCst)
    }
}

impl<T: Send + Sync> Places<T> {
    pub(crate) fn new(count: usize) -> Places<T> {
        let place = |_| Place {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            value: AtomicPtr::new(ptr::null_mut()),
            users: AtomicU32::new(0),
        };
        Places { places: (0..count).map(place).collect(), used: AtomicUsize::new(0) }
    }

    /// How many ranges there can be.
    pub(crate) fn limit(&self) -> usize {
        self.places.len()
    }

    /// Puts a value into a free place, and returns which; `None` if there is none. `range` is not empty.
    pub(crate) fn fill(&self, range: Range<usize>, value: T) -> Option<usize> {
        let value = Box::into_raw(Box::new(value));
        // The range of a free place is empty: nobody follows the value before it is there.
        let free =
            |place: &Place<T>| place.value.compare_exchange(ptr::null_mut(), value, SeqCst, Relaxed).is_ok();
        let Some(place) = self.places.iter().position(free) else {
            // SAFETY: ours still.
            drop(unsafe { Box::from_raw(value) });
            return None;
        };
        self.used.fetch_max(place + 1, SeqCst);
        self.places[place].start.store(range.start, SeqCst);
        self.places[place].end.store(range.end, SeqCst);
        Some(place)
    }

    /// Takes a value out, and returns it when no other than `own` users look at its place any more. Those that are left then
    /// look at it no more.
    ///
    /// # Safety
    ///
    /// The place was filled by the caller, who empties it once. If `own` is not 0, the calling thread is itself that many times
    /// inside [`any`](Self::any) at this place, and uses what it was handed there no more.
    pub(crate) unsafe fn empty(&self, place: usize, own: u32) -> T {
        let place = &self.places[place];
        place.end.store(0, SeqCst);
        loop {
            match place.users.load(SeqCst) {
                users if users == own => break,
                users => futex::wait(&place.users, users),
            }
        }
        // SAFETY: made by `Box::into_raw` when the place was filled, once. Nobody uses it, for the range is empty and
        // those that had looked before are gone.
        let value = unsafe { Box::from_raw(place.value.load(SeqCst)) };
        place.value.store(ptr::null_mut(), SeqCst);
        *value
    }

    /// Whether some range has this address. Async-signal-safe.
    pub(crate) fn contain(&self, address: usize) -> bool {
        self.filled().any(|(_, place)| place.range().contains(&address))
    }

    /// Asks the values (and says their places) whose ranges `is_asked` until one says `true`. Async-signal-safe, if `ask` is.
    pub(crate) fn any(
        &self,
        is_asked: impl Fn(Range<usize>) -> bool,
        mut ask: impl FnMut(usize, &T) -> bool,
    ) -> bool {
        self.filled().any(|(number, place)| {
            place.users.fetch_add(1, SeqCst);
            // Counted in, look again: if it is there now, it stays until we are counted out.
            let range = place.range();
            // SAFETY: a place with a range is filled, and its value is freed only when there are no users.
            let answer =
                !range.is_empty() && is_asked(range) && ask(number, unsafe { &*place.value.load(SeqCst) });
            place.users.fetch_sub(1, SeqCst);
            if place.end.load(SeqCst) == 0 {
                futex::wake(&place.users); // somebody may wait in `empty`
            }
            answer
        })
    }

    fn filled(&self) -> impl Iterator<Item = (usize, &Place<T>)> {
        let used = self.places[..self.used.load(SeqCst)].iter().enumerate();
        used.filter(|(_, place)| place.end.load(Relaxed) != 0)
    }
}

impl<T> Drop for Places<T> {
    fn drop(&mut self) {
        for place in &mut self.places {
            let value = *place.value.get_mut();
            if !value.is_null() {
                // SAFETY: made by `Box::into_raw`; there is no other reference, for `self` is borrowed mutably.
                drop(unsafe { Box::from_raw(value) });
            }
        }
    }
}
