//! A handler that counts, and mappings to watch.

use pmem_map::{Dirtiness, FirstStore, FirstStores, Mapping, PAGE, RangeId, Region, Watched};
use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicU32, Ordering::SeqCst},
    },
};

pub(crate) const P: u64 = PAGE;

/// Counts its calls, by page.
pub(crate) struct Counting {
    calls: Box<[AtomicU32]>,
    /// The error that it says, or 0.
    pub(crate) error: AtomicI32,
}

impl Counting {
    pub(crate) fn new(pages: u64) -> Arc<Counting> {
        let calls = (0..pages).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Counting { calls, error: AtomicI32::new(0) })
    }

    /// Pages for which it was called once, since this was asked before. None was called for twice.
    pub(crate) fn pages(&self) -> Vec<u64> {
        let calls = (0..self.calls.len()).map(|page| (page as u64, self.calls[page].swap(0, SeqCst)));
        calls
            .filter(|(page, calls)| {
                assert!(*calls <= 1, "page {page}: {calls} calls");
                *calls == 1
            })
            .map(|(page, _)| page)
            .collect()
    }
}

impl FirstStore for Counting {
    fn first_store(&self, _: RangeId, page: u64) -> io::Result<()> {
        self.calls[(page / P) as usize].fetch_add(1, SeqCst);
        match self.error.load(SeqCst) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// A watched mapping, and who is asked.
pub(crate) struct Scene {
    pub(crate) stores: FirstStores,
    pub(crate) handler: Arc<Counting>,
    pub(crate) watched: Option<Watched>,
    pub(crate) region: Region,
}

impl Scene {
    pub(crate) fn new(pages: u64) -> Scene {
        Scene::of(Mapping::memfd(pages * P).unwrap(), Dirtiness::Unknown)
    }

    pub(crate) fn of(mapping: Mapping, dirtiness: Dirtiness) -> Scene {
        let pages = mapping.len() / P;
        let (stores, handler) = (FirstStores::new(), Counting::new(pages));
        let handle = mapping.pages().unwrap();
        let watched = stores.watch(&handle, 0..pages * P, dirtiness, handler.clone()).unwrap();
        Scene { stores, handler, watched: Some(watched), region: mapping.into_region() }
    }

    pub(crate) fn store(&self, page: u64, value: u64) {
        // SAFETY: threads of a test that store to one page store equal values, or wait for each other.
        unsafe { self.region.store_word(page * P, value) };
    }

    pub(crate) fn load(&self, page: u64) -> u64 {
        // SAFETY: as above.
        unsafe { self.region.load_word(page * P) }
    }

    pub(crate) fn dirtied(&self) -> Vec<Range<u64>> {
        dirtied(self.watched.as_ref().unwrap())
    }
}

/// In pages.
pub(crate) fn dirtied(watched: &Watched) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    watched.dirtied(|run| runs.push(run.start / P..run.end / P));
    runs
}
