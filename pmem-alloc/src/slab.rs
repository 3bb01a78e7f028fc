//! Memory whose words are stored outside transactions: what concurrent containers keep their slots in.
//!
//! A slab is whole pages with a kind of their own in the page table. No [`Body`](crate::Body) gets an address in one,
//! whatever a damaged object says, so no reference to its bytes exists in any program; all that happens to them are
//! atomic loads and stores of words through [`Slab`]. That is why they are safe, from any number of threads at once.
//!
//! **Against the log.** A record that is replayed must not take back what was stored here after it. So the log knows no
//! byte of a slab: its zeros are written in place and drained before the record that allocates it, together with
//! all applied lines (see "placed" in pmem-tx/FORMAT.md), so that no record of that one's window covers them; and
//! a slab is never freed.
//!
//! What is stored is durable when it was flushed and drained by one and the same thread, and what a crash leaves of other
//! stores is any mixture of words. Slots have to validate themselves.
#![expect(unsafe_code, reason = "words that nobody refers to; see each SAFETY comment")]

use crate::{
    Body, Error, Pool, Ptr, Result, Write, format::Span, heap::Block, pool::Inner, transaction::Writer,
};
use pmem_map::PAGE;
use std::{ops::Range, sync::Arc};

/// The smallest slab, bytes.
pub const MIN_SLAB: u64 = 16 << 10;

/// Pages of a pool whose words any thread may load and store, outside transactions. Cheap to clone.
#[derive(Clone)]
pub struct Slab {
    inner: Arc<Inner>,
    start: u64,
    len: u64,
}

impl Slab {
    /// Length in bytes; whole pages.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Where it is in the pool.
    pub fn offset(&self) -> u64 {
        self.start
    }

    #[inline]
    #[track_caller]
    fn at(&self, at: u64) -> u64 {
        assert!(at < self.len && at % 8 == 0, "word at {at} of a slab of {} bytes", self.len);
        self.start + at
    }

    /// The word at `at`, bytes from the slab's start. Acquires.
    ///
    /// # Panics
    ///
    /// Beyond the end, or `at` is no multiple of 8.
    #[inline]
    #[track_caller]
    pub fn load(&self, at: u64) -> u64 {
        // SAFETY: words of a slab are stored atomically only (module).
        unsafe { self.inner.media.region().load_word(self.at(at)) }
    }

    /// Stores a word. Releases. Not durable before [`flush`](Slab::flush) and [`drain`](Slab::drain).
    ///
    /// # Panics
    ///
    /// As [`load`](Slab::load).
    #[inline]
    #[track_caller]
    pub fn store(&self, at: u64, word: u64) {
        // SAFETY: no reference to a slab's bytes exists, and all other accesses are atomic (module).
        unsafe { self.inner.media.region().store_word(self.at(at), word) };
    }

    /// Starts the lines of `range`, bytes from the slab's start, on their way to the medium. Durable after this thread's next
    /// [`drain`](Slab::drain).
    #[inline]
    #[track_caller]
    pub fn flush(&self, range: Range<u64>) -> Result<()> {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} of a slab of {} bytes",
            self.len
        );
        Ok(self.inner.media.region().flush(self.start + range.start..self.start + range.end)?)
    }

    /// Waits until what this thread flushed is durable. One drain.
    #[inline]
    #[track_caller]
    pub fn drain(&self) -> Result<()> {
        Ok(self.inner.media.region().drain()?)
    }
}

impl std::fmt::Debug for Slab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slab").field("offset", &self.start).field("len", &self.len).finish()
    }
}

impl Body<'_, Write> {
    /// A new zeroed slab of at least `len` bytes, and at least [`MIN_SLAB`]. Part of the transaction; it can be used by
    /// [`Pool::slab`] when that is committed. It is never freed. Two drains at commit instead of one.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](crate::ErrorKind::NoSpace): nothing was changed.
    pub fn alloc_slab(&mut self, len: u64) -> Result<Ptr<Slab>> {
        self.allocate_slab(len.max(MIN_SLAB))
    }
}

impl Pool {
    /// The slab that a committed transaction allocated at `at`.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if no slab begins there.
    pub fn slab(&self, at: Ptr<Slab>) -> Result<Slab> {
        let (inner, at) = (&self.inner, at.offset());
        let geometry = &inner.geometry;
        let none = || Error::corrupt(at, "a slab", "none");
        let inside =
            at.checked_sub(geometry.data_start).filter(|inside| inside % PAGE == 0).ok_or_else(none)?;
        let page = u32::try_from(inside / PAGE).map_err(|_| none())?;
        let left = geometry.pages_from(page).ok_or_else(none)?;
        // While readers are let in, the page table is as committed. A slab stays one from then on.
        let _gate = inner.readers.gate.read();
        match Span::decode(inner.media.word(geometry.descriptor_at(page))) {
            Some(Span::Slab { pages }) if pages <= left => {
                Ok(Slab { inner: inner.clone(), start: at, len: u64::from(pages) * PAGE })
            }
            _ => Err(none()),
        }
    }
}

/// Takes the pages; the zeros are written with the commit.
pub(crate) fn allocate(writer: &mut Writer, len: u64, owner: u32) -> Result<Block> {
    if writer.growth.replication.0.is_some() {
        return Err(crate::ErrorKind::NotReplicable.into());
    }
    let Writer { heap, set, .. } = writer;
    let block = heap.allocate_slab(len, set)?;
    set.fresh_in_place(block.range(), owner)
        .map_err(|_| Error::corrupt(block.start, "free pages", "pages that an open object changed"))?;
    Ok(block)
}
