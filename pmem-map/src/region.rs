//! A mapping's address and its means of durability, without references to the bytes.

use crate::{
    Counters, Durability, Error, Event, Granularity, LINE, Observer, Result,
    counters::Sharded,
    cpu::{self, Flush},
    mapping::Memory,
};
use std::{
    ops::Range,
    panic::Location,
    ptr::NonNull,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// A mapping's address and its means of durability: what journals, pools and filesystems are built on.
///
/// Shared freely. It hands out no reference to its bytes; stores through it are `unsafe`, because who may
/// store where is the owner's business and the compiler cannot see it.
pub struct Region {
    base: NonNull<u8>,
    len: AtomicU64,
    flush: Flush,
    granularity: Granularity,
    durability: Durability,
    counters: Sharded,
    observer: OnceLock<Arc<dyn Observer>>,
    memory: Memory,
}

// SAFETY: `base` is an address; every access through it is an `unsafe fn` whose caller answers for races.
// All other fields are `Send + Sync`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    pub(crate) fn new(memory: Memory, granularity: Granularity, durability: Durability) -> Region {
        let flush = if granularity == Granularity::Byte { Flush::None } else { cpu::detect() };
        let (base, len) = (memory.base(), memory.len());
        Region {
            base,
            len: AtomicU64::new(len),
            flush,
            granularity,
            durability,
            counters: Sharded::new(),
            observer: OnceLock::new(),
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

    /// Lines, drains and bytes since the region was mapped.
    pub fn counters(&self) -> Counters {
        self.counters.sum()
    }

    /// Tells `observer` every store, flush and drain from now on. Once per region; a second observer is
    /// handed back.
    pub fn observe(&self, observer: Arc<dyn Observer>) -> std::result::Result<(), Arc<dyn Observer>> {
        self.observer.set(observer)
    }

    /// Tells the observer, if there is one.
    #[inline(always)]
    fn tell(&self, event: impl FnOnce() -> Event<'static>) {
        if let Some(observer) = self.observer.get() {
            observer.event(self, event());
        }
    }

    /// Whether `len` bytes at `offset` are inside.
    #[inline]
    pub fn check(&self, offset: u64, len: u64) -> Result<()> {
        let all = self.len();
        if len <= all && offset <= all - len {
            return Ok(());
        }
        Err(Error::OutOfBounds { start: offset, end: offset.saturating_add(len), len: all })
    }

    #[inline(always)]
    fn at(&self, offset: u64, len: usize) -> *mut u8 {
        assert!(self.check(offset, len as u64).is_ok(), "{len} bytes at {offset} of {}", self.len());
        // SAFETY: in bounds, just checked.
        unsafe { self.base.as_ptr().add(offset as usize) }
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
        let (first, end) = (range.start & !(LINE - 1), range.end);
        let mut line = first;
        while line < end {
            // SAFETY: the line's first byte is inside the mapping, whose base and length are page-aligned.
            unsafe { cpu::flush_line(self.flush, self.base.as_ptr().add(line as usize)) };
            line += LINE;
        }
        if self.granularity != Granularity::Byte {
            self.counters.flushed((end - first).div_ceil(LINE));
        }
        if self.granularity == Granularity::Page {
            self.memory.mark(first..end);
        }
        let caller = Location::caller();
        self.tell(|| Event::Flush { offset: range.start, len, caller });
        Ok(())
    }

    /// Waits until what *this thread* flushed or stored past the caches is in the persistence domain. With
    /// [`Granularity::Page`] this writes back (`msync`, `fdatasync`), and can fail; the region is then
    /// poisoned, and so are all drains to come.
    #[inline]
    #[track_caller]
    pub fn drain(&self) -> Result<()> {
        let caller = Location::caller();
        self.tell(|| Event::BeforeDrain { caller });
        cpu::drain();
        if self.granularity == Granularity::Page {
            if self.memory.write_back()? {
                self.counters.synced();
            }
        }
        self.counters.drained();
        self.tell(|| Event::Drain { caller });
        Ok(())
    }

    /// Flush and drain: durable on return. One drain.
    #[track_caller]
    pub fn persist(&self, range: Range<u64>) -> Result<()> {
        self.flush(range)?;
        self.drain()
    }

    /// Asks the CPU to bring the lines of `range` into its caches. A hint: out of bounds does nothing.
    #[inline]
    pub fn prefetch(&self, range: Range<u64>) {
        if range.start < range.end && self.check(range.start, range.end - range.start).is_ok() {
            let mut line = range.start & !(LINE - 1);
            while line < range.end {
                // SAFETY: in bounds, just checked.
                cpu::prefetch(unsafe { self.base.as_ptr().add(line as usize) });
                line += LINE;
            }
        }
    }

    /// Copies `bytes` to `offset` by ordinary stores. Not durable until flushed and drained, and not atomic.
    ///
    /// # Safety
    ///
    /// No reference to these bytes is alive, and no other thread reads or stores them by plain accesses.
    ///
    /// # Panics
    ///
    /// Out of bounds.
    #[inline]
    #[track_caller]
    pub unsafe fn store(&self, offset: u64, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: `to` is in bounds; the caller excludes other accesses, and with them an overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        if let Some(observer) = self.observer.get() {
            observer.event(self, Event::Store { offset, bytes, caller: Location::caller() });
        }
    }

    /// Stores one word, atomically for other threads and for a crash.
    ///
    /// # Safety
    ///
    /// No reference to these bytes is alive, and other threads access them atomically, if at all.
    ///
    /// # Panics
    ///
    /// Out of bounds, or `offset` is no multiple of 8.
    #[inline]
    #[track_caller]
    pub unsafe fn store_word(&self, offset: u64, word: u64) {
        assert!(offset % 8 == 0, "word at {offset}");
        let to = self.at(offset, 8).cast::<u64>();
        // SAFETY: in bounds and aligned (the base is page-aligned); the caller excludes plain accesses.
        unsafe { AtomicU64::from_ptr(to) }.store(word.to_le(), Ordering::Release);
        if let Some(observer) = self.observer.get() {
            let bytes = &word.to_le_bytes();
            observer.event(self, Event::Store { offset, bytes, caller: Location::caller() });
        }
    }

    /// Copies `bytes` to `offset` past the caches: durable after this thread's next drain, with no flush.
    /// Unaligned ends are stored and flushed.
    ///
    /// # Safety
    ///
    /// As for [`store`](Region::store).
    ///
    /// # Panics
    ///
    /// Out of bounds.
    #[inline]
    #[track_caller]
    pub unsafe fn store_nontemporal(&self, offset: u64, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: as in `store`.
        unsafe { cpu::copy_nontemporal(self.flush, bytes.as_ptr(), to, bytes.len()) };
        if !bytes.is_empty() {
            let end = offset + bytes.len() as u64;
            self.counters.nontemporal(end.div_ceil(LINE) - offset / LINE, bytes.len() as u64);
            if self.granularity == Granularity::Page {
                self.memory.mark(offset..end);
            }
        }
        if let Some(observer) = self.observer.get() {
            observer.event(self, Event::StoreNontemporal { offset, bytes, caller: Location::caller() });
        }
    }

    /// Loads one word, atomically.
    ///
    /// # Safety
    ///
    /// No other thread stores these bytes by plain accesses.
    ///
    /// # Panics
    ///
    /// Out of bounds, or `offset` is no multiple of 8.
    #[inline]
    pub unsafe fn load_word(&self, offset: u64) -> u64 {
        assert!(offset % 8 == 0, "word at {offset}");
        let from = self.at(offset, 8).cast::<u64>();
        // SAFETY: in bounds and aligned; the caller excludes plain stores.
        u64::from_le(unsafe { AtomicU64::from_ptr(from) }.load(Ordering::Acquire))
    }

    /// Copies bytes out.
    ///
    /// # Safety
    ///
    /// No other thread stores these bytes.
    ///
    /// # Panics
    ///
    /// Out of bounds.
    #[inline]
    pub unsafe fn load(&self, offset: u64, into: &mut [u8]) {
        let from = self.at(offset, into.len());
        // SAFETY: in bounds; `into` is exclusive, so it does not overlap the mapping, which lends no `&mut`.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region")
            .field("len", &self.len())
            .field("granularity", &self.granularity)
            .field("durability", &self.durability)
            .finish()
    }
}
