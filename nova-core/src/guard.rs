//! Write protection of the volume's bytes: a stray store of the program is a SIGSEGV, and not damage.
//!
//! All pages are read-only but for *windows*: while the journal writes a record and applies it, and while content is stored. Mappings of
//! files are other addresses, and stay writable. (NOVA-Fortis flips a bit of the processor instead, which only a kernel may do.)
//!
//! Where the processor has protection keys, a window is two instructions, and the thread's own: stores of other threads go through in
//! windows of their own only. Every load and flush of the volume's bytes says before that this thread may ([`load`]); a window of
//! a signal handler, in which the first store to a mapped page is dealt with, is one like others.
//!
//! Elsewhere it is `mprotect`. Windows of several threads overlap; the first opens, and the last closes, with a system call each. What a window
//! lets through is what happens to be stored meanwhile.

use crate::{Result, format::BLOCK};
use pmem_map::{ProtectionKey, Region, Stores};
use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// How a volume's bytes are protected against stray stores: `Nova::write_protection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteProtection {
    /// They are not ([`MountOptions::write_protected`](crate::MountOptions::write_protected)).
    None,
    /// By `mprotect`: in a window all threads may store.
    Pages,
    /// By a protection key of the processor: in a window the thread that opened it may store, and no other.
    Key,
}

/// Pages that are read-only.
pub(crate) enum Guard {
    Key(ProtectionKey),
    Pages(Pages),
}

pub(crate) struct Pages {
    region: Arc<Region>,
    range: Range<u64>,
    /// How many windows are open. (The system's lock: it allocates nothing, for who copies a page before its first store.)
    open: Mutex<u32>,
}

/// While it lives, stores of this thread go through.
pub(crate) enum Window<'g> {
    Key { _stores: Stores<'g> },
    Pages { _open: OpenPages<'g> },
}

pub(crate) struct OpenPages<'g>(&'g Pages);

impl Guard {
    /// Protects the first `len` bytes.
    pub(crate) fn new(region: Arc<Region>, len: u64) -> Result<Arc<Guard>> {
        let range = 0..len / BLOCK * BLOCK;
        if let Some(key) = ProtectionKey::new(region.clone(), range.clone())? {
            return Ok(Arc::new(Guard::Key(key)));
        }
        region.protect(range.clone())?;
        Ok(Arc::new(Guard::Pages(Pages { region, range, open: Mutex::new(0) })))
    }

    fn window(&self) -> Window<'_> {
        match self {
            Guard::Key(key) => Window::Key { _stores: key.stores() },
            Guard::Pages(pages) => Window::Pages { _open: pages.open() },
        }
    }
}

impl Pages {
    fn open(&self) -> OpenPages<'_> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open == 0 {
            self.region.unprotect(self.range.clone()).expect("pages that were writable can be again");
        }
        *open += 1;
        OpenPages(self)
    }
}

impl Drop for OpenPages<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open -= 1;
        if *open == 0 {
            // If that fails they stay writable: nothing is lost but the protection.
            let _ = self.0.region.protect(self.0.range.clone());
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // Whoever gets the mapping back may store to it.
        let _ = self.region.unprotect(self.range.clone());
    }
}

/// A window, where there is a guard.
pub(crate) fn window(guard: &Option<Arc<Guard>>) -> Option<Window<'_>> {
    guard.as_ref().map(|guard| guard.window())
}

/// From now on this thread may load.
#[inline]
pub(crate) fn load(guard: &Option<Arc<Guard>>) {
    if let Some(Guard::Key(key)) = guard.as_deref() {
        key.loads();
    }
}

/// Which one there is.
pub(crate) fn kind(guard: &Option<Arc<Guard>>) -> WriteProtection {
    match guard.as_deref() {
        None => WriteProtection::None,
        Some(Guard::Pages(_)) => WriteProtection::Pages,
        Some(Guard::Key(_)) => WriteProtection::Key,
    }
}
