//! Holds up stores to a lent file while its daemon takes a snapshot, and has the daemon keep each page before the first store after that.
//!
//! A thread waits until the daemon wants it (`poll`, which costs nothing meanwhile). From then until stores proceed, nothing is allocated here, and no
//! lock taken that others hold for longer than a moment: see [`FirstStores`].

#![allow(unsafe_code)]

use super::{COPY, HELD, KEEP, LEASE, Page, WAIT};
use crate::{Dirtiness, FirstStore, FirstStores, Pages, Protecting, RangeId, Watched, system};
use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// The thread, and what it shares with who grows the mapping.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// Written to, so that the thread ends.
    stop: File,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// The lent file.
    file: File,
    pages: Pages,
    stores: FirstStores,
    extent: Mutex<Extent>,
    changed: Condvar,
    asks: Arc<Asks>,
}

/// How far the mapping goes, and who is at it.
#[derive(Default)]
struct Extent {
    /// Bytes that are mapped.
    mapped: u64,
    /// How many of them are watched.
    watched: u64,
    watches: Vec<Watched>,
    /// More of the file is being mapped: no moment before that.
    grows: bool,
    /// Stores are held up: nothing is mapped meanwhile, for it would not be.
    holds: bool,
}

/// Asks the daemon to keep a page.
struct Asks {
    file: File,
    page: Mutex<Box<Page>>,
}

impl FirstStore for Asks {
    fn first_store(&self, _: RangeId, page: u64) -> io::Result<()> {
        let mut buffer = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if call(&self.file, &mut buffer, KEEP, page).is_err() {
            // The store would be in a snapshot from before it. Nobody can say so any more, and so nobody may store.
            system::say(
                "pmem-map: the daemon of a mounted volume is gone, and a snapshot of it needs the page that is stored to: ending\n",
            );
            std::process::abort();
        }
        Ok(())
    }
}

impl Keeper {
    /// Serves a mapping of `mapped` bytes of a lent file.
    pub(super) fn new(file: &File, pages: Pages, mapped: u64) -> io::Result<Keeper> {
        let asks = Arc::new(Asks { file: file.try_clone()?, page: Mutex::new(Page::asking(KEEP, 0, 0)) });
        let extent = Mutex::new(Extent { mapped, ..Extent::default() });
        let (file, stores) = (file.try_clone()?, FirstStores::new());
        let shared = Arc::new(Shared { file, pages, stores, extent, changed: Condvar::new(), asks });
        let (wakes, stop) = system::pipe()?;
        let serves = shared.clone();
        let thread = thread::Builder::new().name("pmem-map lease".into()).spawn(move || {
            if serves.serve(&wakes).is_err() {
                // A program that closes all descriptors has closed this one, too; it may be another file's by now.
                std::mem::forget(wakes);
            }
        })?;
        Ok(Keeper { shared, stop, thread: Some(thread) })
    }

    /// More of the file is about to be mapped.
    pub(super) fn grows(&self) {
        let mut extent = self.shared.lock();
        while extent.holds {
            extent = self.shared.changed.wait(extent).unwrap_or_else(PoisonError::into_inner);
        }
        extent.grows = true;
    }

    /// So many bytes are mapped now; as many as before, if it could not be.
    pub(super) fn grown(&self, mapped: Option<u64>) {
        let mut extent = self.shared.lock();
        extent.mapped = mapped.unwrap_or(extent.mapped);
        extent.grows = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = io::Write::write_all(&mut &self.stop, b"x");
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let watches = std::mem::take(&mut self.shared.lock().watches);
        drop(watches);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the mapping is gone; an error if the daemon is before.
    fn serve(&self, wakes: &File) -> io::Result<()> {
        let mut page = Page::asking(HELD, 0, 0);
        while system::is_urgent(&self.file, wakes)? {
            let mut extent = self.lock();
            while extent.grows {
                extent = self.changed.wait(extent).unwrap_or_else(PoisonError::into_inner);
            }
            extent.holds = true;
            let watched = self.watch(&mut extent);
            drop(extent);
            match watched.and_then(|()| self.stores.protect()) {
                Ok(protecting) => self.hold(protecting, &mut page),
                // The daemon does without, when it has waited long enough; and asks again.
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
            self.lock().holds = false;
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Holds stores up until the daemon says what has come of its snapshot.
    fn hold(&self, protecting: Protecting<'_>, page: &mut Page) {
        loop {
            match call(&self.file, page, HELD, 0).map(|()| page.len) {
                Ok(WAIT) => thread::sleep(Duration::from_micros(200)),
                // The daemon is gone: what has come of it nobody knows. It may be there.
                Ok(COPY) | Err(_) => return protecting.release(),
                Ok(_) => return protecting.cancel(),
            }
        }
    }

    /// Watches what is mapped, and not watched yet.
    fn watch(&self, extent: &mut Extent) -> crate::Result<()> {
        if extent.watched < extent.mapped {
            let (range, handler) = (extent.watched..extent.mapped, self.asks.clone());
            extent.watches.push(self.stores.watch(&self.pages, range, Dirtiness::Unknown, handler)?);
            extent.watched = extent.mapped;
        }
        Ok(())
    }
}

/// Asks, with a page that is there; the answer is in it.
fn call(file: &File, page: &mut Page, what: u32, first: u64) -> io::Result<()> {
    loop {
        page.ask(what, first, 0);
        // SAFETY: a descriptor that is open, and a page to read from and write to: the number says how long it is.
        if unsafe { libc::ioctl(file.as_raw_fd(), LEASE as libc::Ioctl, std::ptr::from_mut(page)) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
