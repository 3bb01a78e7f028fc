//! The first store to each page after a moment: what a snapshot of mapped files is made of.
//!
//! Threads store to mapped pages, with no call that could be intercepted. Who wants the bytes of one moment protects all pages of all
//! mappings, and only then lets a store proceed ([`FirstStores::protect`]): were pages protected one by one while stores go on,
//! the moment could hold a later store without an earlier one. From then on ([`Protecting::release`]) the first store to each page
//! waits until a [`FirstStore`] handler has copied the old content away. The page stays where it is.
//!
//! ```
//! use pmem_map::{Dirtiness, FirstStore, FirstStores, Mapping, PAGE, RangeId};
//! use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
//!
//! #[derive(Default)]
//! struct Last(AtomicU64);
//! impl FirstStore for Last {
//!     fn first_store(&self, _: RangeId, page: u64) -> std::io::Result<()> {
//!         self.0.store(page, Ordering::Relaxed); // a snapshot copies the page
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), pmem_map::Error> {
//! let mut mapping = Mapping::anonymous(16 * PAGE)?;
//! let (last, stores) = (Arc::new(Last::default()), FirstStores::new());
//! let pages = mapping.pages().expect("it is reserved addresses");
//! let watched = stores.watch(&pages, 0..16 * PAGE, Dirtiness::Unknown, last.clone())?;
//! stores.protect()?.release();
//! mapping.write(3 * PAGE + 10, b"x")?; // asks
//! mapping.write(3 * PAGE + 20, b"y")?; // does not
//! assert_eq!(last.0.load(Ordering::Relaxed), 3 * PAGE);
//! let mut dirty = Vec::new();
//! watched.dirtied(|pages| dirty.push(pages));
//! assert_eq!(dirty, [3 * PAGE..4 * PAGE]);
//! # Ok(()) }
//! ```
//!
//! # What is not seen
//!
//! - **The kernel.** A system call that stores to a protected page fails with `EFAULT`: read into a buffer and copy, as
//!   [`Mapping::read_from`](crate::Mapping::read_from) does.
//! - **Other views** of the same file, unless they are watched too; each asks for itself.
//! - **Other processes.** A forked child has none of the pages: a store there is SIGSEGV at once, and waits for nobody.
//!
//! # The duties of who takes the moment
//!
//! A thread that is kept waiting may hold any lock: that of standard output, of the allocator, of a
//! filesystem. So between [`protect`](FirstStores::protect) and [`release`](Protecting::release) the caller waits for none that a
//! storing thread may hold, allocates nothing if the allocator's memory may be watched, and stores to no watched page. The same
//! holds for a [`FirstStore`] handler. Nothing here does any of it: no lock, no memory, no message.

mod bits;
mod gate;
mod scan;
mod watch;

use crate::{Error, PAGE, Pages, Result, backing::whole_pages, fault, fork::Generation};
use gate::{Failures, Gate};
use scan::Scanner;
use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use watch::Watch;

/// Which range is meant, among all that were ever watched by one [`FirstStores`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RangeId(u64);

/// Is told of the first store to each page.
pub trait FirstStore: Send + Sync + 'static {
    /// A thread is about to store to a page of the range for the first time since it was protected, and waits; `page` is the page's first
    /// byte, within the mapping. Its content is what it was when it was protected, and readable. When this returns, the
    /// store is done, also after an error, which is kept for [`FirstStores::take_failure`].
    ///
    /// Called once for each page and each [`FirstStores::protect`], on the one service thread of the process. Also for pages that nobody is
    /// storing to yet, where the kernel has no room for page-wise protection (see [`FirstStores`]).
    ///
    /// It may take its time, but the thread that waits may hold any lock: no allocation, no message, no lock that
    /// a storing thread may hold, no store to watched pages, and no call of this module. If it panics, the process ends by SIGSEGV.
    ///
    /// # Errors
    ///
    /// Kept by its number: best made by [`io::Error::from_raw_os_error`], which allocates nothing; one without is kept as `EIO`.
    fn first_store(&self, range: RangeId, page: u64) -> io::Result<()>;
}

/// How it is known which pages of a range were stored to since the last protect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dirtiness {
    /// By the faults. Every range after its first protect; watched so, it is protected from the beginning, and the handler is
    /// asked from the beginning.
    Faults,
    /// By the kernel's page tables (`PAGEMAP_SCAN` of asynchronous userfaultfd write protection: Linux 6.7), until the first protect. A
    /// first store costs a fault inside the kernel, about 2 us, and a page table for the whole range. Where the kernel refuses, it is
    /// [`Unknown`](Self::Unknown).
    Scan,
    /// Not at all, until the first protect: every page counts as dirty.
    Unknown,
}

/// The first failure of a handler since they were asked for.
#[derive(Debug)]
#[non_exhaustive]
pub struct FirstStoreFailure {
    /// In which range.
    pub range: RangeId,
    /// The first byte of the page, within the mapping.
    pub page: u64,
    /// What the handler said. (Its number; `EIO` for one without.)
    pub error: io::Error,
    /// How many calls failed.
    pub failures: u64,
}

/// Ranges of mappings that are protected at one moment, together.
///
/// # The kernel's mappings
///
/// Protection by pages makes a kernel mapping of each run of pages, and a process has room for about 65,000 (`vm.max_map_count`). So while
/// all sets of the process together have fewer than 4,096 changes of protection inside their ranges, a store admits its page; below 8,192, all
/// pages of its aligned 2 MiB, after asking for each; below 12,288, its 64 MiB, and beyond that its 2 GiB. Watching adds at most
/// 12,290 kernel mappings, two for each range, and 1,024 for each TiB. Where the kernel has no room all the same, more pages are admitted,
/// at last the whole range, which always succeeds.
#[derive(Clone)]
pub struct FirstStores(Arc<Set>);

struct Set {
    gate: Gate,
    failures: Failures,
    next_id: AtomicU64,
    /// Held while the gate is closed.
    watches: Mutex<Vec<Arc<Watch>>>,
    scanner: OnceLock<Option<Scanner>>,
    made_in: Generation,
}

impl Set {
    fn watches(&self) -> MutexGuard<'_, Vec<Arc<Watch>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scanner(&self) -> Option<&Scanner> {
        self.scanner.get_or_init(|| Scanner::open().ok()).as_ref()
    }
}

impl Default for FirstStores {
    fn default() -> FirstStores {
        FirstStores::new()
    }
}

impl std::fmt::Debug for FirstStores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstStores").finish_non_exhaustive()
    }
}

impl FirstStores {
    /// No ranges yet.
    pub fn new() -> FirstStores {
        FirstStores(Arc::new(Set {
            gate: Gate::default(),
            failures: Failures::default(),
            next_id: AtomicU64::new(0),
            watches: Mutex::default(),
            scanner: OnceLock::new(),
            made_in: Generation::current(),
        }))
    }

    /// Watches all pages that `range`, bytes of a mapping, touches; until the [`Watched`] is dropped. Waits while somebody is
    /// [`Protecting`].
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] for a range that is empty or beyond the mapping's addresses; [`Error::Io`] with `EEXIST` if some of the pages are watched
    /// already, with `ENOMEM` if they are not mapped any more, with `EDEADLK` inside a handler, and if the kernel cannot protect them; [`Error::TooManyFaultHandlers`]; [`Error::Forked`].
    pub fn watch(
        &self,
        pages: &Pages,
        range: Range<u64>,
        dirtiness: Dirtiness,
        handler: Arc<dyn FirstStore>,
    ) -> Result<Watched> {
        self.check()?;
        let all = pages.0.len();
        let whole = whole_pages(range.clone());
        if range.is_empty() || whole.end > all {
            return Err(Error::OutOfBounds { start: range.start, end: range.end, len: all });
        }
        let failed = |error| Error::io("watch", "pages of a mapping")(error);
        if !pages.0.is_mapped() {
            return Err(failed(io::Error::from_raw_os_error(libc::ENOMEM)));
        }
        let mut watches = self.0.watches();
        if watches.iter().any(|other| other.overlaps(pages, &whole)) {
            return Err(failed(io::Error::from_raw_os_error(libc::EEXIST)));
        }
        let id = RangeId(self.0.next_id.fetch_add(1, Relaxed));
        let watch = Arc::new(Watch::new(id, pages.clone(), whole, handler, self.0.clone()));
        watch.start(dirtiness);
        let registration = fault::register(watch.addresses(), watch.clone()).inspect_err(|_| watch.end())?;
        let watched = Watched { watch: watch.clone(), registration: Some(registration) };
        watches.push(watch);
        if dirtiness == Dirtiness::Faults {
            let protected = watched.watch.protect();
            drop(watches); // which dropping `watched` takes
            protected.map_err(failed)?;
        }
        Ok(watched)
    }

    /// Protects every watched page, and lets no store to one proceed before it has protected all, nor after that until the
    /// returned value is dropped: stores that are done are done in all pages, and nothing follows them. Waits for a handler that runs.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the kernel cannot, and with `EDEADLK` inside a handler; [`Error::Forked`]. Everything is as it was then.
    pub fn protect(&self) -> Result<Protecting<'_>> {
        self.check()?;
        let watches = self.0.watches();
        self.0.gate.close();
        let mut protecting = Protecting { set: &self.0, watches, protected: 0, released: false };
        while let Some(watch) = protecting.watches.get(protecting.protected) {
            protecting.protected += 1;
            watch.protect().map_err(|error| Error::io("protect", "watched pages")(error))?;
        }
        Ok(protecting)
    }

    /// The first failure of a handler since the last call of this.
    pub fn take_failure(&self) -> Option<FirstStoreFailure> {
        self.0.failures.take()
    }

    fn check(&self) -> Result<()> {
        self.0.made_in.check()?;
        if fault::is_service_thread() {
            let would_wait = io::Error::from_raw_os_error(libc::EDEADLK);
            return Err(Error::io("protect or watch pages in", "a handler of first stores")(would_wait));
        }
        Ok(())
    }
}

/// Every watched page is protected, and no store to one proceeds. Dropped, it [`cancel`](Self::cancel)s.
#[must_use = "stores wait as long as it lives"]
pub struct Protecting<'a> {
    set: &'a Set,
    watches: MutexGuard<'a, Vec<Arc<Watch>>>,
    /// How many of them are.
    protected: usize,
    released: bool,
}

impl std::fmt::Debug for Protecting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protecting").field("pages", &self.pages()).finish_non_exhaustive()
    }
}

impl Protecting<'_> {
    /// Calls `each` with the pages that were stored to since the protect before this one, in runs, as bytes within their mapping.
    pub fn dirtied(&self, mut each: impl FnMut(RangeId, Range<u64>)) {
        self.watches.iter().for_each(|watch| watch.dirtied(&mut |pages| each(watch.id, pages)));
    }

    /// How many pages are watched.
    pub fn pages(&self) -> u64 {
        self.watches.iter().map(|watch| watch.len() / PAGE).sum()
    }

    /// This is the moment: stores proceed, each first one to a page after its handler has returned.
    pub fn release(mut self) {
        self.watches.iter().for_each(|watch| watch.begin_again());
        self.released = true;
    }

    /// This was no moment: stores proceed, handlers are asked for the pages for which they would have been asked without this, and
    /// the dirty pages stay so.
    pub fn cancel(self) {}
}

impl Drop for Protecting<'_> {
    fn drop(&mut self) {
        if !self.released {
            self.watches[..self.protected].iter().for_each(|watch| watch.go_on());
            fault::pages_became_writable();
        }
        self.set.gate.open();
    }
}

/// A watched range. Dropped, its pages are writable, and stores to them proceed, those that wait too, and no handler is asked.
///
/// Dropping waits while somebody is [`Protecting`], and for a handler that is asked about this range; it must not happen inside a handler.
#[must_use = "dropped, it ends the watch"]
pub struct Watched {
    watch: Arc<Watch>,
    registration: Option<fault::Registration>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("id", &self.watch.id).finish_non_exhaustive()
    }
}

impl Watched {
    /// Which one it is.
    pub fn id(&self) -> RangeId {
        self.watch.id
    }

    /// How its dirty pages are known.
    pub fn dirtiness(&self) -> Dirtiness {
        self.watch.dirtiness()
    }

    /// Calls `each` with the pages that were stored to since the last protect, in runs, as bytes within the mapping. Exactly those,
    /// but for pages that were admitted with others (see [`FirstStores`]), and as [`dirtiness`](Self::dirtiness) says.
    pub fn dirtied(&self, mut each: impl FnMut(Range<u64>)) {
        self.watch.dirtied(&mut each);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.watch.set.made_in.is_current() {
            return; // a forked child: nothing is mapped or protected here
        }
        let mut watches = self.watch.set.watches();
        watches.retain(|watch| watch.id != self.watch.id);
        self.watch.end();
        drop(self.registration.take());
    }
}
