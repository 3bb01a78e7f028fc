//! The one place where bytes become references.
//!
//! # The soundness argument
//!
//! A **write transaction** is shared by any number of guards (`&WriteTx`). Everything mutable in it is in one
//! `RefCell`, which is borrowed only inside functions of this crate and never while code of a caller runs. What
//! outlives those borrows is *addresses*, turned into references by [`Body`], under these invariants:
//!
//! - **I1 (committed bytes stand still).** While a transaction can be used nobody stores to committed bytes that it refers
//!   to. Only the application of commits stores to any: those have consumed their transactions, so no guard of theirs can be
//!   used; it holds the gate exclusively, so no reader is there. The write transaction that is open meanwhile, if it does
//!   not hold the pool's one writer itself, began after those commits were written: so all lines to be stored are in its
//!   write set's overlay, where it has been given them, in DRAM; and the overlay changes between transactions only.
//!   Large new blocks are written in place before that: but to bytes of blocks that are not allocated as committed, and
//!   a reader gets no address in those (I7).
//! - **I2 (shadows stand still).** A shadow's buffer is neither moved nor freed before its transaction has ended, or has
//!   gone back to a savepoint that is older than the shadow; and nobody stores to it but through a reference of I4, or
//!   when the transaction goes back. Savepoints, rollbacks and nested parts borrow the transaction mutably, which
//!   no guard survives: so then no reference into a shadow is alive, nor a guard that has checked something.
//! - **I3 (a shadow has one owner).** A shadow is created under an owner number, and only a `Body` with that number
//!   gets its address. Any other, even a reader of the same transaction, gets `Corrupt`.
//! - **I4 (an owner has one mutable path).** At any time one `Body<Write>` per owner can be used: a second guard on a
//!   name is refused while the first lives; `open_mut` borrows its parent mutably; all else that is derived from
//!   a `&Body<Write>` is a `Body<Peek>`, which has no function that changes anything.
//! - **I5 (references carry the guard's borrow).** `&T` lives as long as a `&Body`, `&mut T` as a `&mut Body`. In a read
//!   transaction, where nothing changes, a `&T` may live as long as that is borrowed ([`Body::steady`]).
//! - **I6 (plain data).** `T: Bytes`, and bounds, alignment and bits are checked at the address.
//! - **I7 (allocated bytes only).** An address (of at least one byte) is given out only inside one block that is allocated: as committed, for
//!   a reader; as its own transaction sees it, for a writer. Blocks do not overlap: the bitmaps and descriptors say
//!   where they are, are checked when the pool is opened, and are out of reach for objects. A block that the transaction
//!   frees can no longer be reached; references that were given out before stay good, for its bytes and its shadow
//!   stay, and nobody gets the block again before the transaction has ended. (Or has gone back to before the block was
//!   freed, or allocated: then no such reference is alive, as in I2.)
//!
//! `&T` into a shadow and `&mut T` into it: same owner (I3), so one path (I4), so the borrow checker excludes it (I5).
//! `&T` into committed bytes: no `&mut` to those exists, and nobody stores to them (I1). Nothing here relies on what
//! objects store in the pool: on a damaged one, where two objects refer to one block, the second gets `Corrupt` (I3), or
//! the first keeps a reference to committed bytes while the second changes a shadow.
#![expect(unsafe_code, reason = "one of two modules; see the essay and each SAFETY comment")]

use crate::{
    Error, ErrorKind, Object, Reservation, Result, Slab,
    directory::DIRECTORY,
    heap::Block,
    pool::Inner,
    slab,
    transaction::{ReadCore, WriteCore, Writer},
};
use pmem_map::{Bytes, PAGE, Ptr};
use pmem_tx::engine::{Conflict, Found, WriteSet};
use std::{ptr::NonNull, sync::Arc};

/// What a guard may do: [`Read`] or [`Write`]. Sealed. Functions that take guards of either kind are
/// generic over it.
pub trait Mode: sealed::Sealed + Sized + 'static {
    /// The transaction.
    #[doc(hidden)]
    type Core: 'static;
    /// Marks the object as open while a guard lives. Mentions no lifetime: so the guard's drop glue does
    /// not touch the transaction, and `tx.commit()` needs no scope around the guards.
    #[doc(hidden)]
    type Token;
    /// What a shared borrow of a guard may do.
    type Shared: Mode;
    /// Address of `len` readable bytes, for `owner`.
    #[doc(hidden)]
    fn locate(tx: &Self::Core, owner: u32, at: u64, len: u64) -> Result<NonNull<u8>>;
    #[doc(hidden)]
    fn share<'a, 't: 'a>(body: &'a Body<'t, Self>) -> Body<'a, Self::Shared>;
    #[doc(hidden)]
    fn prefetch(tx: &Self::Core, at: u64, len: u64);
    /// As [`Body::steady`].
    #[doc(hidden)]
    fn steady<'t>(body: &Body<'t, Self>, at: u64, len: u64) -> Result<Option<&'t [u8]>> {
        _ = (body, at, len);
        Ok(None)
    }
}
/// In a [`ReadTx`](crate::ReadTx).
#[derive(Debug)]
pub struct Read;
/// In a [`WriteTx`](crate::WriteTx).
#[derive(Debug)]
pub struct Write;
/// Reading in a [`WriteTx`](crate::WriteTx), from a shared borrow of a guard. Programs need not name it.
#[derive(Debug)]
pub struct Peek;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Read {}
    impl Sealed for super::Write {}
    impl Sealed for super::Peek {}
}

impl Mode for Read {
    type Core = ReadCore;
    type Token = ();
    type Shared = Read;
    #[inline]
    fn locate(tx: &ReadCore, _: u32, at: u64, len: u64) -> Result<NonNull<u8>> {
        locate_committed(tx, at, len)
    }
    #[inline]
    fn share<'a, 't: 'a>(body: &'a Body<'t, Self>) -> Body<'a, Read> {
        Body { tx: body.tx, owner: body.owner, token: () }
    }
    #[inline]
    fn prefetch(tx: &ReadCore, at: u64, len: u64) {
        tx.inner.media.prefetch(at, len);
    }
    fn steady<'t>(body: &Body<'t, Read>, at: u64, len: u64) -> Result<Option<&'t [u8]>> {
        let address = locate_committed(body.tx, at, len)?;
        // SAFETY: readable for `len` bytes (I7). The transaction is borrowed for `'t`: so long nobody stores to them, and
        // they stay allocated (I1).
        Ok(Some(unsafe { std::slice::from_raw_parts(address.as_ptr(), len as usize) }))
    }
}

impl Mode for Write {
    type Core = WriteCore;
    type Token = Option<Arc<()>>;
    type Shared = Peek;
    #[inline]
    fn locate(tx: &WriteCore, owner: u32, at: u64, len: u64) -> Result<NonNull<u8>> {
        locate(tx, owner, at, len)
    }
    #[inline]
    fn share<'a, 't: 'a>(body: &'a Body<'t, Self>) -> Body<'a, Peek> {
        Body { tx: body.tx, owner: body.owner, token: () }
    }
    #[inline]
    fn prefetch(tx: &WriteCore, at: u64, len: u64) {
        tx.inner.media.prefetch(at, len);
    }
}

impl Mode for Peek {
    type Core = WriteCore;
    type Token = ();
    type Shared = Peek;
    #[inline]
    fn locate(tx: &WriteCore, owner: u32, at: u64, len: u64) -> Result<NonNull<u8>> {
        locate(tx, owner, at, len)
    }
    #[inline]
    fn share<'a, 't: 'a>(body: &'a Body<'t, Self>) -> Body<'a, Peek> {
        Body { tx: body.tx, owner: body.owner, token: () }
    }
    #[inline]
    fn prefetch(tx: &WriteCore, at: u64, len: u64) {
        tx.inner.media.prefetch(at, len);
    }
}

#[cold]
fn unallocated(at: u64, len: u64) -> Error {
    Error::corrupt(at, format!("{len} bytes inside an allocated block"), "none")
}

#[cold]
fn conflict(at: u64) -> Error {
    Error::corrupt(at, "bytes of this object", "bytes that another open object changed (two objects overlap)")
}

#[cold]
fn not_a<T>(at: u64, why: impl std::fmt::Display) -> Error {
    Error::corrupt(at, std::any::type_name::<T>(), why.to_string())
}

/// Address of a readable range in a read transaction.
///
/// Not inlined, as the other two: what is, is [`Body::bytes`], so that callers know the length of what they get.
fn locate_committed(tx: &ReadCore, at: u64, len: u64) -> Result<NonNull<u8>> {
    let Inner { media, geometry, pages, .. } = &*tx.inner;
    if len == 0 {
        return media.address(at, 0); // no bytes: any place will do, the end of a block too
    }
    match pages.locate_committed(geometry, |at| media.word(at), at, len) {
        Some(_) => media.address(at, len),
        None => Err(unallocated(at, len)),
    }
}

/// Address of a readable range, for `owner`, in a write transaction.
fn locate(tx: &WriteCore, owner: u32, at: u64, len: u64) -> Result<NonNull<u8>> {
    if len == 0 {
        return tx.inner.media.address(at, 0);
    }
    tx.with(|writer| {
        let Writer { heap, set, .. } = writer;
        let Some(block) = heap.locate(at, len) else { return Err(unallocated(at, len)) };
        match set.read(block.start, at, len, owner) {
            Ok(Found::Mapping) => tx.inner.media.address(at, len),
            Ok(Found::Shadow(address)) => Ok(address),
            Ok(Found::Mixed) => fill(set, block, at, len, owner),
            Err(Conflict) => Err(conflict(at)),
        }
    })
}

/// Brings lines that are changed and lines that are not together.
#[inline(never)]
fn fill(set: &mut WriteSet, block: Block, at: u64, len: u64, owner: u32) -> Result<NonNull<u8>> {
    set.fill(block.range(), at, len, owner).map_err(|Conflict| conflict(at))
}

/// Address of a range that `owner` may change.
fn locate_mut(tx: &WriteCore, owner: u32, at: u64, len: u64) -> Result<NonNull<u8>> {
    if len == 0 {
        return tx.inner.media.address(at, 0);
    }
    tx.with(|writer| {
        let Writer { heap, set, .. } = writer;
        let Some(block) = heap.locate(at, len) else { return Err(unallocated(at, len)) };
        set.write(block.range(), at, len, owner).map_err(|Conflict| conflict(at))
    })
}

/// One object's bytes in one transaction: what containers are written on, in safe code.
///
/// Everything a container does is `get`, `get_mut`, `alloc` and `free` of its own body; the borrow of the
/// body is the proof that nothing aliases. Not `Clone`.
pub struct Body<'t, M: Mode> {
    tx: &'t M::Core,
    owner: u32,
    #[expect(dead_code, reason = "dropped, never read")]
    token: M::Token,
}

impl<'t> Body<'t, Read> {
    pub(crate) fn reading(tx: &'t ReadCore) -> Self {
        Body { tx, owner: 0, token: () }
    }
}

impl<'t, M: Mode> Body<'t, M> {
    /// The value at `at`, zero-copy. [`Corrupt`](crate::ErrorKind::Corrupt) if it is not in an allocated block, is
    /// misaligned, or its bits are no `T`.
    #[inline]
    pub fn get<T: Bytes>(&self, at: Ptr<T>) -> Result<&T> {
        let bytes = self.bytes(at.cast(), size_of::<T>() as u64)?;
        bytemuck::checked::try_from_bytes(bytes).map_err(|why| not_a::<T>(at.offset(), why))
    }

    /// `len` bytes at `at`, all in one block.
    #[inline(always)]
    pub fn bytes(&self, at: Ptr<u8>, len: u64) -> Result<&[u8]> {
        let address = M::locate(self.tx, self.owner, at.offset(), len)?;
        // SAFETY: readable for `len` bytes (`locate`, I7), which `len` as usize is, because they are mapped or in a
        // shadow; nobody changes them while `&self` lives (I1 to I5).
        Ok(unsafe { std::slice::from_raw_parts(address.as_ptr(), len as usize) })
    }

    /// As [`bytes`](Body::bytes), for as long as the transaction, if it only reads: for what a container looks at again and
    /// again. `None` in a write transaction, where these bytes may change.
    pub fn steady(&self, at: Ptr<u8>, len: u64) -> Result<Option<&'t [u8]>> {
        M::steady(self, at.offset(), len)
    }

    /// The nested object whose header is at `header`, to read.
    pub fn open<O: Object>(&self, header: Ptr<u8>) -> Result<O::Guard<'_, M::Shared>> {
        O::attach(M::share(self), header)
    }

    /// Brings `len` bytes at `at` closer, because they will be needed soon. Nothing happens where there are none: for
    /// pointers that are not checked yet.
    #[inline]
    pub fn prefetch(&self, at: Ptr<u8>, len: u64) {
        M::prefetch(self.tx, at.offset(), len);
    }
}

impl<'t> Body<'t, Write> {
    pub(crate) fn writing(tx: &'t WriteCore, owner: u32, token: Arc<()>) -> Self {
        Body { tx, owner, token: Some(token) }
    }

    /// For the directory's own blocks. Used inside [`WriteTx::open`](crate::WriteTx::open) only, to fill a block that
    /// was just allocated: so two of them never hold references to one block (I4).
    pub(crate) fn directory(tx: &'t WriteCore) -> Self {
        Body { tx, owner: DIRECTORY, token: None }
    }

    /// Writes the content of a block that was allocated but has no shadow yet.
    pub(crate) fn fill_new(&mut self, block: Block, content: &[u8]) -> Result<()> {
        let fresh = self.tx.with(|writer| writer.set.fresh(block.range(), self.owner));
        fresh.map_err(|Conflict| conflict(block.start))?;
        self.bytes_mut(Ptr::from_offset(block.start), content.len() as u64)?.copy_from_slice(content);
        Ok(())
    }

    /// The value at `at`, to change. The lines it is in are compared and logged at commit.
    #[inline]
    pub fn get_mut<T: Bytes>(&mut self, at: Ptr<T>) -> Result<&mut T> {
        let bytes = self.bytes_mut(at.cast(), size_of::<T>() as u64)?;
        bytemuck::checked::try_from_bytes_mut(bytes).map_err(|why| not_a::<T>(at.offset(), why))
    }

    /// `len` bytes at `at`, all in one block, to change.
    #[inline(always)]
    pub fn bytes_mut(&mut self, at: Ptr<u8>, len: u64) -> Result<&mut [u8]> {
        let address = locate_mut(self.tx, self.owner, at.offset(), len)?;
        // SAFETY: `len` bytes of a shadow (I7) of this owner (I3), which stands still (I2); `&mut self` is the owner's
        // only usable path (I4), and is borrowed as long as the result (I5).
        Ok(unsafe { std::slice::from_raw_parts_mut(address.as_ptr(), len as usize) })
    }

    /// A new object. It is logged whole with the transaction; no drain of its own.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](crate::ErrorKind::NoSpace); [`BadAlignment`](crate::ErrorKind::BadAlignment) if `T` wants more than
    /// a page, which a mapping does not promise. Nothing was changed, and the transaction can go on.
    #[inline]
    pub fn alloc<T: Bytes>(&mut self, value: T) -> Result<Ptr<T>> {
        if align_of::<T>() as u64 > PAGE {
            let align = align_of::<T>() as u64;
            return Err(ErrorKind::BadAlignment { align, maximum: PAGE }.into());
        }
        let at = self.alloc_aligned(size_of::<T>() as u64, align_of::<T>() as u64)?;
        self.bytes_mut(at, size_of::<T>() as u64)?.copy_from_slice(bytemuck::bytes_of(&value));
        Ok(at.cast())
    }

    /// New zeroed bytes, at a multiple of 16.
    pub fn alloc_bytes(&mut self, len: u64) -> Result<Ptr<u8>> {
        self.alloc_aligned(len, 16)
    }

    /// New zeroed bytes at a multiple of `align`, a power of two up to 2 MiB. (Offsets are aligned; addresses are up to
    /// the alignment of the mapping, and up to 64 before commit.)
    pub fn alloc_aligned(&mut self, len: u64, align: u64) -> Result<Ptr<u8>> {
        let fresh = self.tx.allocating((len, align), |writer| {
            let Writer { heap, set, .. } = writer;
            let block = heap.allocate(len, align, set)?;
            set.fresh(block.range(), self.owner).map_err(|Conflict| conflict(block.start))?;
            Ok::<_, Error>(block)
        });
        fresh.map(|block| Ptr::from_offset(block.start))
    }

    /// The block of `old` bytes that starts at `at`, with room for `len` bytes at a multiple of `align`: itself, if its size is
    /// right for that, or else a new one; then the old one is freed. Its content is the old one's as far as both
    /// lengths reach, and zeros behind. No drain of its own.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](crate::ErrorKind::NoSpace), and all is as it was; [`Corrupt`](crate::ErrorKind::Corrupt) if no allocated
    /// block of `old` bytes starts at `at`.
    pub fn resize(&mut self, at: Ptr<u8>, old: u64, len: u64, align: u64) -> Result<Ptr<u8>> {
        let start = at.offset();
        let found =
            self.tx.with(|writer| writer.heap.locate(start, old)).filter(|block| block.start == start);
        let block = found.ok_or_else(|| Error::corrupt(start, "the start of an allocated block", "none"))?;
        if crate::heap::size_for(len, align) == Some(block.len) && start.is_multiple_of(align) {
            if old < len {
                self.bytes_mut(Ptr::from_offset(start + old), len - old)?.fill(0);
            }
            return Ok(at);
        }
        let new = self.alloc_aligned(len, align)?;
        let (mut from, both) = (0, old.min(len));
        while from < both {
            let mut piece = [0; 4096];
            let piece = &mut piece[..(both - from).min(4096) as usize];
            piece.copy_from_slice(self.bytes(Ptr::from_offset(start + from), piece.len() as u64)?);
            self.bytes_mut(Ptr::from_offset(new.offset() + from), piece.len() as u64)?.copy_from_slice(piece);
            from += piece.len() as u64;
        }
        self.free(at)?;
        Ok(new)
    }

    /// The pages of a new slab; see `slab.rs`.
    pub(crate) fn allocate_slab(&mut self, len: u64) -> Result<Ptr<Slab>> {
        let block = self.tx.allocating((len, 8), |writer| slab::allocate(writer, len, self.owner))?;
        Ok(Ptr::from_offset(block.start))
    }

    /// Gives a block back. It can be had again when this transaction is committed.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if no allocated block starts at `at`.
    pub fn free<T>(&mut self, at: Ptr<T>) -> Result<()> {
        let at = at.offset();
        self.tx.with(|writer| {
            let Writer { heap, set, .. } = writer;
            let block = heap.locate(at, 0).filter(|block| block.start == at);
            let block = block.ok_or_else(|| Error::corrupt(at, "the start of an allocated block", "none"))?;
            set.discard(block.range(), self.owner).map_err(|Conflict| conflict(at))?;
            heap.free(at, set).expect("found just now");
            Ok(())
        })
    }

    /// Allocates what was reserved, with the content it was given.
    pub fn publish(&mut self, reservation: Reservation) -> Result<Ptr<u8>> {
        let (block, content) = reservation.accept(&self.tx.inner)?;
        self.tx.with(|writer| {
            let Writer { heap, set, .. } = writer;
            heap.publish(block, set);
        });
        self.fill_new(block, &content)?;
        Ok(Ptr::from_offset(block.start))
    }

    /// The pool's identity: a number that no other pool has, and that nobody outside knows, unless it was
    /// [chosen](crate::PoolOptions::identity).
    pub fn pool_identity(&self) -> u64 {
        self.tx.with(|writer| writer.log.identity())
    }

    /// Whether this object may go on with the blocks of another, which are no longer that one's: both are in one transaction,
    /// and it has not changed any of that object's blocks. (What it has changed can be reached only through the object it was
    /// changed through, until the commit: anybody else gets [`Corrupt`](crate::ErrorKind::Corrupt).) Costs no
    /// lines; a look at each block that the transaction has changed.
    pub fn may_take_over(&self, other: &Body<'_, Write>) -> bool {
        std::ptr::eq(self.tx, other.tx)
            && (self.owner == other.owner || !self.tx.with(|writer| writer.set.has_changes_of(other.owner)))
    }

    /// Makes a nested object; store the result.
    pub fn create<O: Object>(&mut self) -> Result<Ptr<u8>> {
        O::create(self)
    }

    /// The nested object whose header is at `header`, to change. Borrows this body: one at a time.
    pub fn open_mut<O: Object>(&mut self, header: Ptr<u8>) -> Result<O::Guard<'_, Write>> {
        O::attach(Body { tx: self.tx, owner: self.owner, token: None }, header)
    }
}
