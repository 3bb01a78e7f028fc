//! Code that deals with a store to a protected page inside the signal handler itself.
//!
//! The service thread of [`fault`](crate::fault) may lock and allocate, but waking it costs more than the fault, and it does not
//! see the registers of the thread that stores. A tracer needs them, at every store. So its ranges have a table of their
//! own, which the handler reads first.
//!
//! A hook is not called after its [`StoreHookGuard`] is dropped: see [`places`](crate::places).

#![allow(unsafe_code)]

use crate::{Error, Result, fault, places::Places};
use std::{ffi::c_void, ops::Range, sync::Arc};

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
    let place = table.0.fill(range, hook).ok_or(Error::TooManyFaultHandlers { limit: MOST_HOOKS })?;
    Ok(StoreHookGuard { table, place })
}

impl Drop for StoreHookGuard {
    /// Returns when no handler uses the hook any more.
    fn drop(&mut self) {
        if !fault::is_current(self.table) {
            return; // a forked child: the handlers that use it are not here
        }
        // SAFETY: filled by `hook_stores`, and emptied here only. No handler runs `drop`.
        drop(unsafe { self.table.0.empty(self.place, 0) });
    }
}

/// The hooks of one process.
pub(crate) struct Table(Places<Arc<dyn StoreHook>>);

impl Table {
    pub(crate) fn new() -> Table {
        Table(Places::new(MOST_HOOKS))
    }

    /// Asks whose address it is. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`StoreHook::store`].
    pub(crate) unsafe fn store(&self, address: usize, context: *mut c_void) -> bool {
        // SAFETY: the caller's.
        self.0.any(|range| range.contains(&address), |_, hook| unsafe { hook.store(address, context) })
    }

    /// Asks all of them. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// As for [`StoreHook::stepped`].
    pub(crate) unsafe fn stepped(&self, context: *mut c_void) -> bool {
        // SAFETY: the caller's.
        self.0.any(|_| true, |_, hook| unsafe { hook.stepped(context) })
    }
}
