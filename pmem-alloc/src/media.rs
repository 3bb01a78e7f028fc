//! The pool's own reads and stores of its mapping: words, copies, the log, the header's last store.
//!
//! What makes all of it right is who has a [`Media`]: only a pool, which took its mapping by value. Bytes are stored
//! by three parties: creation, before anything else exists; recovery, likewise; and the application of a commit, by
//! the one thread that has the pool's writer, while the gate keeps readers out. (Growth stores too, where neither readers
//! nor transactions look: the header, and tables of a segment that is no part of the pool yet.) So whoever has the writer, or holds
//! the gate shared, sees bytes that stand still. Every caller in this crate is one of the two, or creates or opens.
#![expect(unsafe_code, reason = "one of two modules; see each SAFETY comment")]

use crate::{Error, Result};
use pmem_map::Region;
use pmem_tx::engine::{Log, LogOptions, Recovery};
use std::{ops::Range, ptr::NonNull, sync::Arc};

/// A pool's mapping.
pub(crate) struct Media {
    region: Arc<Region>,
}

impl Media {
    /// Takes the mapping over. Its bytes are reachable through this value, and what is made from it, only.
    pub(crate) fn new(mapping: pmem_map::Mapping) -> Media {
        Media { region: Arc::new(mapping.into_region()) }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// The region, for who outlives this value.
    pub(crate) fn share(&self) -> Arc<Region> {
        self.region.clone()
    }

    /// A word. Panics out of bounds or unaligned: callers pass places of checked geometry.
    #[inline]
    pub(crate) fn word(&self, at: u64) -> u64 {
        // SAFETY: nobody stores meanwhile (module).
        unsafe { self.region.load_word(at) }
    }

    /// A copy of `len` bytes, which are inside the mapping (or this panics).
    pub(crate) fn copy(&self, at: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        // SAFETY: nobody stores meanwhile (module).
        unsafe { self.region.load(at, &mut bytes) };
        bytes
    }

    /// Address of `at`, of which `len` bytes are inside the mapping.
    #[inline]
    pub(crate) fn address(&self, at: u64, len: u64) -> Result<NonNull<u8>> {
        if !self.region.contains(at, len) {
            return Err(self.outside(at, len));
        }
        // SAFETY: in bounds, just checked.
        Ok(unsafe { self.region.base().add(at as usize) })
    }

    #[cold]
    fn outside(&self, at: u64, len: u64) -> Error {
        pmem_map::Error::OutOfBounds { start: at, end: at.saturating_add(len), len: self.region.len() }.into()
    }

    /// A word that creation stores: those that make a pool of the bytes among them. Not flushed.
    pub(crate) fn store_word(&self, at: u64, word: u64) {
        // SAFETY: called by creation only, before anyone else knows the mapping.
        unsafe { self.region.store_word(at, word) };
    }

    /// Stores a copy of the header, or into a segment that is not in use yet. Not flushed.
    pub(crate) fn store(&self, at: u64, bytes: &[u8]) {
        // SAFETY: called by opening, before anyone else knows the mapping; and by the one who has the writer, when the
        // pool grows. Nobody but these reads headers; what is no part of the pool yet nobody reads.
        unsafe { self.region.store(at, bytes) };
    }

    /// Brings bytes closer, if they are inside the mapping.
    #[inline]
    pub(crate) fn prefetch(&self, at: u64, len: u64) {
        self.region.prefetch(at..at.saturating_add(len));
    }

    /// Formats the log.
    pub(crate) fn create_log(&self, area: Range<u64>, identity: u64, options: LogOptions) -> Result<Log> {
        // SAFETY: the pool governs its mapping: the log and its write sets are used through the pool's one writer,
        // commits apply behind the gate, and references into shadows and mapping are those of `body`, whose invariants
        // are that module's essay.
        Ok(unsafe { Log::create(self.region.clone(), area, identity, options) }?)
    }

    /// Opens the log and replays it. Entries outside `home` are refused.
    pub(crate) fn open_log(
        &self,
        area: Range<u64>,
        identity: u64,
        home: Range<u64>,
        options: LogOptions,
    ) -> Result<(Log, Recovery)> {
        let region = self.region.clone();
        // SAFETY: as in `create_log`.
        Ok(unsafe { Log::open(region, area, Some(identity), home, options) }?)
    }
}
