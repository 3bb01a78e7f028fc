//! A mapping's address and its means of durability, without references to the bytes.

#![allow(unsafe_code)]

use crate::{
    Counters, Decision, Durability, Error, Event, Extent, FlushMethod, Granularity, LINE, Medium, Observer,
    PAGE, Pages, Result,
    backing::whole_pages,
    counters::Sharded,
    cpu,
    durability::Verdict,
    fork::Generation,
    lost,
    memory::Memory,
    write_back::{Pending, WriteBack},
};
use std::{
    ops::Range,
    panic::Location,
    ptr::NonNull,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A mapping's address and its means of durability: what journals, pools and filesystems are built on.
///
/// Shared freely. It hands out no reference to its bytes; stores through it are `unsafe`, because who may
/// store where is the owner's business and the compiler cannot see it.
pub struct Region {
    pub(crate) base: NonNull<u8>,
    len: AtomicU64,
    pub(crate) flush: FlushMethod,
    pub(crate) granularity: Granularity,
    durability: Durability,
    medium: Medium,
    pub(crate) counters: Sharded,
    pub(crate) observer: OnceLock<Arc<dyn Observer>>,
    pub(crate) write_back: WriteBack,
    /// Held while the region grows.
    growing: Mutex<()>,
    /// Every address that this may ever use, and the bytes of a page there.
    addresses: Range<usize>,
    unit: u64,
    /// Offset of the first page that was found to be gone, or [`NONE_LOST`].
    lost: AtomicU64,
    made_in: Generation,
    memory: Memory,
}

const NONE_LOST: u64 = u64::MAX;

// SAFETY: `base` is an address; every access through it is an `unsafe fn` whose caller answers for races.
// `memory` is addresses and descriptors of which the same is true, and a `Backing`, which is `Send + Sync`.
// All other fields are `Send + Sync`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// What a region is made of.
pub(crate) struct Parts {
    pub(crate) memory: Memory,
    pub(crate) len: u64,
    pub(crate) verdict: Verdict,
    pub(crate) flush: FlushMethod,
}

impl Region {
    pub(crate) fn new(parts: Parts, observer: Option<Arc<dyn Observer>>) -> Region {
        let Parts { memory, len, verdict, flush } = parts;
        let (addresses, unit) = memory.addresses(len);
        Region {
            base: memory.base(),
            len: AtomicU64::new(len),
            flush,
            granularity: verdict.granularity,
            durability: verdict.durability,
            medium: verdict.medium,
            counters: Sharded::new(),
            observer: observer.map_or_else(OnceLock::new, OnceLock::from),
            write_back: WriteBack::new(),
            growing: Mutex::new(()),
            addresses,
            unit,
            lost: AtomicU64::new(NONE_LOST),
            made_in: Generation::current(),
            memory,
        }
    }

    /// Address of the first byte. Dereferencing is `unsafe`, and the owner's to justify: mapped readable and
    /// writable for [`len`](Region::len) bytes as long as the region lives.
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes. Grows, never shrinks.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[inline]
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// What makes a store durable here.
    #[inline]
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// What a durable store survives.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// What the bytes are made of, for people.
    pub fn medium(&self) -> Medium {
        self.medium
    }

    /// How lines are flushed.
    pub fn flush_method(&self) -> FlushMethod {
        self.flush
    }

    /// Length in bytes to which [`grow`](Region::grow) can extend the region.
    pub fn max_len(&self) -> u64 {
        self.memory.max_len(self.len())
    }

    /// Whether writing back ever failed, or a page was [lost](Error::PageLost). Every drain since then has been
    /// [`Error::Poisoned`].
    pub fn is_poisoned(&self) -> bool {
        self.write_back.is_poisoned()
    }

    /// [`Error::Forked`] in a child of the process that made the region: the child has no such mapping, and
    /// touching its addresses is SIGSEGV. One load: cheap enough to ask at the start of every transaction.
    #[inline]
    pub fn check_process(&self) -> Result<()> {
        self.made_in.check()
    }

    /// Lines, drains and bytes since the region was mapped.
    pub fn counters(&self) -> Counters {
        self.counters.sum()
    }

    /// Tells `observer` every store, flush and drain from now on. Once per region; a second observer is
    /// handed back.
    pub fn observe(&self, observer: Arc<dyn Observer>) -> std::result::Result<(), Arc<dyn Observer>> {
        self.observer.set(Arc::clone(&observer))?;
        observer.attached(self);
        Ok(())
    }

    /// Tells the observer, if there is one.
    #[inline(always)]
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event<'static>) {
        if let Some(observer) = self.observer.get() {
            observer.event(self, event());
        }
    }

    /// [`Error::OutOfBounds`] unless `len` bytes at `offset` are inside.
    #[inline]
    pub fn check(&self, offset: u64, len: u64) -> Result<()> {
        if self.contains(offset, len) { Ok(()) } else { self.out_of_bounds(offset, len) }
    }

    /// Whether `len` bytes at `offset` are inside, for those who have their own error.
    #[inline]
    pub fn contains(&self, offset: u64, len: u64) -> bool {
        let all = self.len();
        len <= all && offset <= all - len
    }

    #[cold]
    #[inline(never)]
    fn out_of_bounds(&self, offset: u64, len: u64) -> Result<()> {
        Err(Error::OutOfBounds { start: offset, end: offset.saturating_add(len), len: self.len() })
    }

    #[inline(always)]
    pub(crate) fn at(&self, offset: u64, len: u64) -> *mut u8 {
        if !self.contains(offset, len) {
            outside(offset, len, self.len());
        }
        // SAFETY: in bounds, just checked.
        unsafe { self.base.as_ptr().add(offset as usize) }
    }

    /// Asks the CPU to bring the lines of `range` into its caches. A hint: out of bounds does nothing.
    #[inline]
    pub fn prefetch(&self, range: Range<u64>) {
        if range.start < range.end && self.contains(range.start, range.end - range.start) {
            let mut line = range.start & !(LINE - 1);
            while line < range.end {
                // SAFETY: in bounds, just checked.
                cpu::prefetch(unsafe { self.base.as_ptr().add(line as usize) });
                line += LINE;
            }
        }
    }

    /// Starts the lines of `range` on their way to the persistence domain. Durable after this thread's next
    /// [`drain`](Region::drain). An empty range does nothing.
    #[inline]
    #[track_caller]
    pub fn flush(&self, range: Range<u64>) -> Result<()> {
        let len = range.end.saturating_sub(range.start);
        self.check(range.start, len)?;
        if len == 0 {
            return Ok(());
        }
        let perform = || self.flush_now(range.start & !(LINE - 1)..range.end);
        match self.observer.get() {
            None => perform(),
            Some(observer) => {
                let event = Event::Flush { offset: range.start, len, caller: Location::caller() };
                self.observed(observer, event, perform);
            }
        }
        Ok(())
    }

    /// Flushes the lines of a range that is not empty, is inside, and starts with a line.
    #[inline(always)]
    fn flush_now(&self, range: Range<u64>) {
        let mut line = if self.flush == FlushMethod::None { range.end } else { range.start };
        while line < range.end {
            // SAFETY: the line's first byte is inside the mapping, whose base and length are page-aligned.
            unsafe { cpu::flush_line(self.flush, self.base.as_ptr().add(line as usize)) };
            line += LINE;
        }
        if self.granularity != Granularity::Byte {
            self.counters.flushed((range.end - range.start).div_ceil(LINE));
        }
        if self.granularity == Granularity::Page {
            self.write_back.mark(range);
        }
    }

    /// Flushes whole lines, given by their numbers (offset / 64): what a list of changed lines wants, at the price
    /// of one look at the counters and the observer.
    #[inline]
    #[track_caller]
    pub fn flush_lines(&self, lines: &[u64]) -> Result<()> {
        if self.observer.get().is_some() {
            for &line in lines {
                let at = line.saturating_mul(LINE);
                self.flush(at..at.saturating_add(LINE))?;
            }
            return Ok(());
        }
        match self.flush {
            // So that the instruction is chosen once, and not for each line.
            FlushMethod::Clwb => self.flush_lines_by(FlushMethod::Clwb, lines)?,
            FlushMethod::Clflushopt => self.flush_lines_by(FlushMethod::Clflushopt, lines)?,
            other => self.flush_lines_by(other, lines)?,
        }
        if self.granularity != Granularity::Byte {
            self.counters.flushed(lines.len() as u64);
        }
        if self.granularity == Granularity::Page {
            lines.iter().for_each(|line| self.write_back.mark(line * LINE..(line + 1) * LINE));
        }
        Ok(())
    }

    #[inline(always)]
    fn flush_lines_by(&self, how: FlushMethod, lines: &[u64]) -> Result<()> {
        let count = self.len().div_ceil(LINE);
        for &line in lines {
            if line >= count {
                return self.check(line.saturating_mul(LINE), LINE);
            }
            // SAFETY: the line begins inside the mapping, whose base and length are page-aligned.
            unsafe { cpu::flush_line(how, self.base.as_ptr().add((line * LINE) as usize)) };
        }
        Ok(())
    }

    /// Says that a durable record holds what these lines (numbers: offset / 64) hold now, so that they need no flush
    /// before the next drain. Changes nothing: it is for an observer that reports lines left unflushed.
    #[inline]
    pub fn covered_lines(&self, lines: &[u64]) {
        if self.observer.get().is_some() {
            lines.iter().for_each(|line| self.tell(|| Event::Covered { offset: line * LINE, len: LINE }));
        }
    }

    /// Waits until what *this thread* flushed or stored past the caches is in the persistence domain. With
    /// [`Granularity::Page`] this writes back (`msync`, `fdatasync`) the pages it marked, and can fail; the
    /// region is then poisoned, and so are all drains to come, of any thread.
    #[inline]
    #[track_caller]
    pub fn drain(&self) -> Result<()> {
        self.write_back.check()?;
        let caller = Location::caller();
        if let Some(observer) = self.observer.get() {
            match observer.decide(self, &Event::Drain { caller }) {
                Decision::Perform => observer.event(self, Event::BeforeDrain { caller }),
                Decision::Skip => return Ok(()),
                Decision::Fail => return self.fail_drain(observer, caller),
            }
        }
        cpu::drain();
        if self.granularity == Granularity::Page {
            self.write_back(self.write_back.take())?;
        }
        self.counters.drained();
        self.tell(|| Event::Drain { caller });
        Ok(())
    }

    /// A drain that an observer lets fail.
    #[cold]
    fn fail_drain(&self, observer: &Arc<dyn Observer>, caller: &'static Location<'static>) -> Result<()> {
        observer.event(self, Event::BeforeDrain { caller });
        let injected = std::io::Error::other("an observer lets it fail");
        self.or_poison(Err(Error::io("write back", "pages")(injected)))
    }

    fn write_back(&self, pending: Pending) -> Result<()> {
        self.check_process()?;
        let calls = self.or_poison(self.memory.write_back(pending, self.len()))?;
        self.counters.synced(calls);
        Ok(())
    }

    /// A failed sync is the last word on durability.
    fn or_poison<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.write_back.poison();
        }
        result
    }

    /// Stores `bytes` at `offset`, durable on return. One drain. With [`Granularity::Page`], of these bytes alone: one
    /// device flush, by `pwritev2` with `RWF_DSYNC` for a file on a disk, and what this thread flushed otherwise still waits for its
    /// next [`drain`](Region::drain). Otherwise it is a store past the caches, and a drain.
    ///
    /// # Errors
    ///
    /// As of [`drain`](Region::drain): a failure poisons the region.
    ///
    /// # Safety
    ///
    /// As for [`store`](Region::store).
    ///
    /// # Panics
    ///
    /// Out of bounds.
    #[track_caller]
    pub unsafe fn write_through(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.granularity != Granularity::Page {
            // SAFETY: the caller's.
            unsafe { self.store_nontemporal(offset, bytes) };
            return self.drain();
        }
        self.check_process()?;
        self.write_back.check()?;
        let (caller, to) = (Location::caller(), self.at(offset, bytes.len() as u64));
        // A network or FUSE filesystem need not show in a mapping what was written to the file, and may write an old page
        // over it: there it is a store and `msync`.
        let known = self.durability == Durability::Power;
        // SAFETY: `to` is good for that many bytes, just checked; the caller excludes other accesses.
        let written = unsafe { self.memory.write_through(offset, to, bytes, self.len(), known) };
        if let Err(Error::PageLost { offset }) = written {
            self.lose(offset);
        }
        let calls = self.or_poison(written)?;
        let len = bytes.len() as u64;
        self.counters.nontemporal((offset + len).div_ceil(LINE) - offset / LINE, len);
        self.counters.synced(calls);
        self.counters.drained();
        // One call did all three; a crash between the first two may leave any of the bytes.
        if let Some(observer) = self.observer.get() {
            observer.event(self, Event::StoreNontemporal { offset, bytes, caller });
            observer.event(self, Event::BeforeDrain { caller });
            observer.event(self, Event::WriteThrough { offset, len, caller });
        }
        Ok(())
    }

    /// Flush and drain: durable on return. One drain.
    #[track_caller]
    pub fn persist(&self, range: Range<u64>) -> Result<()> {
        self.flush(range)?;
        self.drain()
    }

    /// Flush, drain, and whatever `msync` means to the owner of the bytes: the same as
    /// [`persist`](Region::persist), but for a [`Backing`](crate::Backing) whose granularity is not `Page`, which
    /// is asked to [`sync`](crate::Backing::sync) the range's pages too. One drain.
    #[track_caller]
    pub fn sync(&self, range: Range<u64>) -> Result<()> {
        self.persist(range.clone())?;
        if self.granularity != Granularity::Page
            && !range.is_empty()
            && matches!(self.memory, Memory::Lent(_))
        {
            self.write_back(Pending::Ranges(vec![whole_pages(range)]))?;
        }
        Ok(())
    }

    /// Extends the region to `len` bytes, rounded up to whole pages, in place: no address changes. The new
    /// bytes are zero, and have memory or disk blocks behind them. Does nothing if it is that long.
    ///
    /// Durable on return: the file's length (`fsync`). What the program notes about its length it notes after
    /// that; a file longer than a program knows is harmless, a shorter one is not.
    ///
    /// # Errors
    ///
    /// [`Error::CannotGrow`] beyond [`max_len`](Region::max_len), and for what has a fixed length; [`Error::Io`]
    /// on a full disk, or a filesystem that cannot allocate. The region and its file then keep their length,
    /// unless it was the `fsync` that failed: that poisons the region.
    pub fn grow(&self, len: u64) -> Result<()> {
        self.check_process()?;
        self.write_back.check()?;
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.len();
        if len <= from {
            return Ok(());
        }
        let to = self.memory.extend(from, len)?;
        self.tell(|| Event::Resize { from, to });
        let calls = self.or_poison(self.memory.sync_length())?;
        if self.granularity == Granularity::Page {
            self.counters.synced(calls);
        }
        self.tell(|| Event::FileSync);
        self.len.store(to, Ordering::Release);
        Ok(())
    }

    /// Where the bytes of `ranges`, whole pages of this region, are in their file, in order: for a [`Backing`](crate::Backing) that lends
    /// parts of what is mapped here. What is stored there is stored here.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`]; [`Error::CannotLend`] if a range is not made of whole pages, and for memory that is in no file, and
    /// private views of one.
    pub fn extents(&self, ranges: &[Range<u64>]) -> Result<Vec<Extent>> {
        for range in ranges {
            self.check(range.start, range.end.saturating_sub(range.start))?;
            if !range.start.is_multiple_of(PAGE) || !range.end.is_multiple_of(PAGE) || range.is_empty() {
                return Err(Error::CannotLend { why: "not whole pages" });
            }
        }
        let none = Error::CannotLend { why: "the bytes are in no file; map a file, or a `Mapping::memfd`" };
        self.memory.extents(ranges)?.ok_or(none)
    }

    /// Stores to any page that `range` touches fault from now on, until [`unprotect`](Region::unprotect).
    /// Loads do not. The fault is SIGSEGV, unless the bytes have a [`Backing`](crate::Backing) that serves it.
    pub fn protect(&self, range: Range<u64>) -> Result<()> {
        self.set_writable(range, false)
    }

    /// Stores to all pages that `range` touches go through again.
    pub fn unprotect(&self, range: Range<u64>) -> Result<()> {
        self.set_writable(range, true)
    }

    /// A handle for protecting pages that does not keep them mapped. `None` for what is not in addresses reserved
    /// by this crate (a `memmap2` mapping), and for pages that are not of [`PAGE`] bytes.
    pub fn pages(&self) -> Option<Pages> {
        if self.unit == PAGE { self.memory.pages() } else { None }
    }

    /// Gives blocks to the holes of a sparse file, as a copy may be: a store to a hole of a full disk is a SIGBUS.
    /// (Files that are made or grown here have none.) Content and length stay as they are.
    ///
    /// Does nothing where there are no holes, for what is not a file, for private views, and where the filesystem
    /// cannot allocate. On filesystems that write elsewhere (Btrfs, and files that share blocks) a full disk can
    /// still refuse a store.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], on a disk that has no room for them.
    pub fn fill_holes(&self) -> Result<()> {
        self.check_process()?;
        self.memory.fill_holes()
    }

    /// Runs `work`, and reports pages of this region that turn out to be gone while it runs: the file was truncated,
    /// a store met a hole of a full disk, the medium failed. Without this, such an access is a SIGBUS, which ends the
    /// process.
    ///
    /// Covered: every load and store of bytes of this region by this thread while `work` runs, through this value or
    /// through references. They read zeros from the page on, and what they store there is lost: which is why the
    /// result is withheld, and the region is [poisoned](Region::is_poisoned) and fails every call of this function,
    /// and every drain, from then on. Not covered: other threads (they die of the page, or read zeros if they come
    /// later), and system calls that are handed bytes of the region (they fail with `EFAULT`).
    ///
    /// [`Mapping::read`](crate::Mapping::read), [`write`](crate::Mapping::write) and
    /// [`write_value`](crate::Mapping::write_value) run under it. Costs a few thread-local stores. The first call in
    /// a process installs a SIGBUS handler, which hands on what is not its own.
    ///
    /// # Errors
    ///
    /// [`Error::PageLost`]; [`Error::Forked`].
    pub fn guarded<R>(&self, work: impl FnOnce() -> R) -> Result<R> {
        self.check_process()?;
        self.check_pages()?;
        lost::handle().map_err(|error| Error::io("handle", "lost pages")(error))?;
        let (result, lost) = lost::guarded(&self.addresses, self.unit, work);
        if let Some(offset) = lost {
            self.lose(offset);
        }
        self.check_pages()?; // another thread's loss too
        Ok(result)
    }

    /// Nothing is promised any more.
    #[cold]
    fn lose(&self, offset: u64) {
        self.lost.fetch_min(offset, Ordering::Relaxed);
        self.write_back.poison();
    }

    /// [`Error::PageLost`] if a page was.
    #[inline]
    fn check_pages(&self) -> Result<()> {
        match self.lost.load(Ordering::Relaxed) {
            NONE_LOST => Ok(()),
            offset => Err(Error::PageLost { offset }),
        }
    }

    fn set_writable(&self, range: Range<u64>, writable: bool) -> Result<()> {
        self.check_process()?;
        self.check(range.start, range.end.saturating_sub(range.start))?;
        if range.is_empty() {
            return Ok(());
        }
        let action = if writable { "unprotect" } else { "protect" };
        let pages = whole_pages(range);
        self.memory.set_writable(pages, writable).map_err(Error::io(action, "pages"))
    }

    /// Gives all pages that `range` touches a protection key; 0 is the one that everybody has all rights to.
    pub(crate) fn mark(&self, range: Range<u64>, key: u32) -> Result<()> {
        self.check_process()?;
        self.check(range.start, range.end.saturating_sub(range.start))?;
        if range.is_empty() {
            return Ok(());
        }
        self.memory.mark(whole_pages(range), key).map_err(Error::io("protect", "pages by a key"))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.get().filter(|_| self.made_in.is_current()) {
            observer.detached(self);
        }
    }
}

/// By value: an assertion's message would keep all of it in memory, checked or not.
#[cold]
#[inline(never)]
#[track_caller]
fn outside(offset: u64, len: u64, all: u64) -> ! {
    panic!("{len} bytes at {offset} of {all}")
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region")
            .field("len", &self.len())
            .field("granularity", &self.granularity)
            .field("durability", &self.durability)
            .field("medium", &self.medium)
            .finish()
    }
}
