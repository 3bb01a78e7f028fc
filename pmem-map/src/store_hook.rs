//! Code that deals with a store to a protected page inside the signal handler itself.
//!
//! The service thread of [`fault`](crate::fault) may lock and allocate, but waking it costs more than the fault, and it does not
//! see the registers of the thread that stores. A tracer needs them, at every store. So its ranges have a table of their
//! own, which the handler reads first.
//!
//! A place of the table is used by many handlers at once: each counts itself in before it looks, and whoever
//! takes a hook out waits until they are gone. So a hook is not called after its [`StoreHookGuard`] is dropped.

#![allow(unsafe_code)]

use crate::{Error, Result, fault};
use std::{
    ffi::c_void,
    ops::Range,
    ptr,
    sync::{
        Arc,
        atomic::{
            AtomicPtr, AtomicU32, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

/// Most hooks at once.
const MOST_HOOKS: usize = 256;

/// Deals with stores to protected pages inside the signal handler, on the thread that stores.
///
/// # Safety
///
/// Both functions run in a signal handler, on any thread, at any instruction that stores to the range: they neither allocate
/// nor panic, and take no lock that a thread may hold while it stores to the range or while it can be interrupted. All
/// signals but those of faults are blocked meanwhile. What they leave in `context` is what the thread goes on with.
pub unsafe trait StoreHook: Send + Sync + 'static {
    /// A store to `address` (its first byte in a page that cannot be written) has faulted. `true`: dealt with; go on as
    /// `context` says. `false`: the next one is asked, and at last whoever handled SIGSEGV before.
    ///
    /// # Safety
    ///
    /// Called by a signal handler, with its third argument, a `ucontext_t`.
    unsafe fn store(&self, address: usize, context: *mut c_void) -> bool;

    /// This thread executed one instruction in single step (SIGTRAP, `TRAP_TRACE`). `true`: this hook had asked for it.
    ///
    /// # Safety
    ///
    /// As for [`store`](StoreHook::store).
    unsafe fn stepped(&self, context: *mut c_void) -> bool {
        let _ = context;
        false
    }
}

/// Has a [`StoreHook`] called, until it is dropped.
#[must_use = "dropped, it ends the hook"]
pub struct StoreHookGuard {
    table: &'static Table,
    place: usize,
}

impl std::fmt::Debug for StoreHookGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreHookGuard").field("place", &self.place).finish()
    }
}

/// Has `hook` called for stores to protected pages among `range`, a range of addresses. It is asked before the owner of
/// the pages is (see [`Backing::write_fault`](crate::Backing::write_fault)).
///
/// # Errors
///
/// [`Error::TooManyFaultHandlers`]; [`Error::Io`] if the signal handlers cannot be installed.
pub fn hook_stores(range: Range<usize>, hook: Arc<dyn StoreHook>) -> Result<StoreHookGuard> {
    let table = fault::hooks()?;
    let hook = Box::into_raw(Box::new(hook));
    // The range of a free place is empty: nobody follows the hook before it is there.
    let free = |place: &Place| place.hook.compare_exchange(ptr::null_mut(), hook, SeqCst, Relaxed).is_ok();
    let Some(place) = table.places.iter().position(free) else {
        // SAFETY: ours still.
        drop(unsafe { Box::from_raw(hook) });
        return Err(Error::TooManyFaultHandlers { limit: MOST_HOOKS });
    };
    table.used.fetch_max(place + 1, SeqCst);
    table.places[place].start.store(range.start, SeqCst);
    table.places[place].end.store(range.end, SeqCst);
    Ok(StoreHookGuard { table, place })
}

impl Drop for StoreHookGuard {
    /// Returns when no handler uses the hook any more.
    fn drop(&mut self) {
        if !fault::is_current(self.table) {
            return; // a forked child: the handlers that use it are not here
        }
        let place = &self.table.places[self.place];
        place.end.store(0, SeqCst);
        while place.users.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
        let hook = place.hook.load(SeqCst);
        // SAFETY: made by `Box::into_raw` when the place was filled. No handler uses it, for the range is empty and those
        // that had looked before are gone.
        drop(unsafe { Box::from_raw(hook) });
        place.hook.store(ptr::null_mut(), SeqCst);
    }
}

/// The hooks of one process.
pub(crate) struct Table {
    places: Box<[Place]>,
    /// One past the last place ever used.
    used: AtomicUsize,
}

#[derive(Default)]
struct Place {
    start: AtomicUsize,
    /// Zero: nobody's.
    end: AtomicUsize,
    /// Null: free.
    hook: AtomicPtr<Arc<dyn StoreHook>>,
    /// Handlers that are looking at this place.
    users: AtomicU32,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table { places: (0..MOST_HOOKS).map(|_| Place::default()).collect(), used: AtomicUsize::new(0) }
    }

    /// Asks whose address it is. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`StoreHook::store`].
    pub(crate) unsafe fn store(&self, address: usize, context: *mut c_void) -> bool {
        self.ask(
            |place| (place.start.load(SeqCst)..place.end.load(SeqCst)).contains(&address),
            |hook| {
                // SAFETY: the caller's.
                unsafe { hook.store(address, context) }
            },
        )
    }

    /// Asks all of them. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`StoreHook::stepped`].
    pub(crate) unsafe fn stepped(&self, context: *mut c_void) -> bool {
        self.ask(
            |place| place.end.load(SeqCst) != 0,
            |hook| {
                // SAFETY: the caller's.
                unsafe { hook.stepped(context) }
            },
        )
    }

    fn ask(&self, is_asked: impl Fn(&Place) -> bool, ask: impl Fn(&dyn StoreHook) -> bool) -> bool {
        self.places[..self.used.load(SeqCst)].iter().any(|place| {
            if place.end.load(Relaxed) == 0 {
                return false;
            }
            place.users.fetch_add(1, SeqCst);
            // Counted in, look again: if it is there now, it stays until we are counted out.
            // SAFETY: a place with a range is filled, and its hook is freed only when there are no users.
            let served = is_asked(place) && ask(unsafe { &**place.hook.load(SeqCst) });
            place.users.fetch_sub(1, SeqCst);
            served
        })
    }
}
