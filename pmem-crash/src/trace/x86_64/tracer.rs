//! Puts a mapping under the tracer, and takes it out again.

use super::{engine::Engine, hook::Traced};
use crate::trace::{
    TraceError,
    log::Log,
    memory::{Addresses, PAGE, set_writable},
};
use pmem_map::{Medium, Region, StoreHookGuard, hook_stores};
use std::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Release},
    },
};

/// Bytes of a log: as much address space, and as much memory as was ever needed between two [`Tracer::take`]s.
const LOG: usize = 256 << 20;

/// The tracer of one mapping. Dropped, it takes down nothing more; the pages stay protected: see [`Tracer::detach`].
#[derive(Debug)]
pub(crate) struct Tracer {
    /// Before `traced`: no handler uses that once this is gone.
    _guard: StoreHookGuard,
    traced: Arc<Traced>,
    /// What was taken last.
    taken: Log,
}

impl std::fmt::Debug for Traced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traced").field("base", &self.base).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Tracer {
    /// Protects all pages of a region, and writes down the stores to them. The region outlives the tracer, or tells it
    /// before it goes.
    pub(crate) fn attach(region: &Region) -> Result<Tracer, TraceError> {
        let medium = region.medium();
        match medium {
            Medium::Memfd
            | Medium::File(_)
            | Medium::DaxFile(_)
            | Medium::EmulatedPmem(_)
            | Medium::Memmap => {}
            _ => return Err(TraceError::OneView { medium }),
        }
        Engine::get()?;
        let base = region.base().as_ptr() as usize;
        let len = (region.len() as usize).next_multiple_of(PAGE);
        let most = (region.max_len() as usize).next_multiple_of(PAGE).max(len);
        let reserved = || Addresses::reserved(most).map_err(TraceError::io("reserve addresses for"));
        let room = |len| Addresses::lazily_filled(len).map_err(TraceError::io("get memory for"));
        let log = || Log::new(LOG).map_err(TraceError::io("get memory for"));
        let traced = Arc::new(Traced {
            base,
            len: AtomicUsize::new(len),
            view: reserved()?,
            before: room(most)?,
            log: UnsafeCell::new(log()?),
        });
        traced.view.show(0, base, len).map_err(TraceError::io("get a second view for"))?;
        let guard = hook_stores(base..base + most, traced.clone())?;
        region.protect(0..region.len())?;
        Ok(Tracer { _guard: guard, traced, taken: log()? })
    }

    /// The region was extended to `len` bytes, and nobody stored to the new ones yet.
    pub(crate) fn grow(&mut self, len: u64) -> Result<(), TraceError> {
        let from = self.traced.len.load(std::sync::atomic::Ordering::Relaxed);
        let to = (len as usize).next_multiple_of(PAGE);
        if to > from {
            let (first, end) = (self.traced.base + from, self.traced.base + to);
            self.traced.view.show(from, first, to - from).map_err(TraceError::io("get a second view for"))?;
            // SAFETY: pages of the region, which has just been extended by them.
            unsafe { set_writable(first..end, false) }.map_err(TraceError::io("protect pages for"))?;
            self.traced.len.store(to, Release);
        }
        Ok(())
    }

    /// The stores since the last time.
    pub(crate) fn take(&mut self) -> Result<&Log, TraceError> {
        self.taken.clear();
        let (traced, taken) = (&self.traced, &mut self.taken);
        let engine = Engine::get()?;
        // SAFETY: under the lock, which all who write hold.
        engine.with_lock(|| unsafe { std::ptr::swap(traced.log.get(), taken) });
        match self.taken.lost {
            0 => Ok(&self.taken),
            lost => Err(TraceError::Full { lost }),
        }
    }

    /// Lets the pages be stored to again, untraced. The region is still mapped.
    pub(crate) fn detach(self) {
        let base = self.traced.base;
        let len = self.traced.len.load(std::sync::atomic::Ordering::Relaxed);
        // SAFETY: the region's pages, says the caller. That they stay protected if it fails is safe, and cannot be
        // helped.
        let _ = unsafe { set_writable(base..base + len, true) };
    }
}
