//! Write protection of the volume's bytes: a stray store of the program is a SIGSEGV, and not damage.
//!
//! All pages are read-only but for *windows*: while the journal writes a record and applies it, and while content is stored. Windows of several threads overlap;
//! the first opens, and the last closes, with a call of `mprotect` each. (NOVA-Fortis flips a bit of the processor instead, which only a kernel may do; protection keys
//! would do for one thread what this does for all.) What a window lets through is what happens to be stored meanwhile. Mappings of files are other addresses, and stay writable.

use crate::{Result, format::BLOCK};
use pmem_map::Region;
use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Pages that are read-only.
pub(crate) struct Guard {
    region: Arc<Region>,
    range: Range<u64>,
    /// How many windows are open. (The system's lock: it allocates nothing, for who copies a page before its first store.)
    open: Mutex<u32>,
}

/// While it lives, stores go through.
pub(crate) struct Window<'g>(&'g Guard);

impl Guard {
    /// Protects the first `len` bytes.
    pub(crate) fn new(region: Arc<Region>, len: u64) -> Result<Arc<Guard>> {
        let range = 0..len / BLOCK * BLOCK;
        region.protect(range.clone())?;
        Ok(Arc::new(Guard { region, range, open: Mutex::new(0) }))
    }

    pub(crate) fn window(&self) -> Window<'_> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open == 0 {
            self.region.unprotect(self.range.clone()).expect("pages that were writable can be again");
        }
        *open += 1;
        Window(self)
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open -= 1;
        if *open == 0 {
            // If that fails they stay writable: nothing is lost but the protection.
            let _ = self.0.region.protect(self.0.range.clone());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Whoever gets the mapping back may store to it.
        let _ = self.region.unprotect(self.range.clone());
    }
}

/// A window, where there is a guard.
pub(crate) fn window(guard: &Option<Arc<Guard>>) -> Option<Window<'_>> {
    guard.as_ref().map(|guard| guard.window())
}
