//! What a name can stand for.

use crate::{Body, Form, Mode, Plain, Read, Reservation, Result, Stored, Write};
use pmem_map::{Bytes, Ptr};
use std::marker::PhantomData;

/// A kind of object that lives in a pool: a container, or a structure of your own.
///
/// The implementing type is only a name (`PBTreeMap<String, u64>`), never constructed; what a program
/// holds is its [`Guard`](Object::Guard), which borrows a transaction.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an object that can be opened in a transaction",
    label = "not an `Object`"
)]
pub trait Object: Stored {
    /// Access to one object during one transaction. `M` says what it may do: [`Read`] or [`Write`].
    type Guard<'t, M: Mode>;
    /// Makes an empty object; returns where its header is.
    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>>;
    /// Checks the header and makes a guard.
    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<Self::Guard<'_, M>>;
    /// Frees all blocks of the object, those of objects in it, and last its header: what a container does with an object
    /// that it no longer holds. After an error, which only damage gives, the transaction must be rolled back.
    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()>;
}

/// A guard of either kind: `fn total<M: Mode>(accounts: &Guard<'_, Accounts, M>)` takes both.
pub type Guard<'t, O, M> = <O as Object>::Guard<'t, M>;
/// The guard a reader holds.
pub type Ref<'t, O> = <O as Object>::Guard<'t, Read>;
/// The guard a writer holds.
pub type Mut<'t, O> = <O as Object>::Guard<'t, Write>;

/// A name with the type of what it stands for: write it once, as a constant.
///
/// `const HITS: Named<PHeap<u64>> = Named::new("hits");` then `tx.open(HITS)?`.
pub struct Named<'n, O>(&'n str, PhantomData<fn() -> O>);

impl<'n, O> Named<'n, O> {
    /// `name` stands for an `O`.
    pub const fn new(name: &'n str) -> Self {
        Named(name, PhantomData)
    }
    /// The name.
    pub const fn name(&self) -> &'n str {
        self.0
    }
}

impl<O> Clone for Named<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Named<'_, O> {}

impl<O> std::fmt::Debug for Named<'_, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Named").field(&self.0).finish()
    }
}

impl<'n, O> From<&'n str> for Named<'n, O> {
    fn from(name: &'n str) -> Self {
        Named::new(name)
    }
}

impl<'n, O> From<&'n String> for Named<'n, O> {
    fn from(name: &'n String) -> Self {
        Named::new(name)
    }
}

/// A heap of your own: a plain root, and whatever you allocate and link by [`Ptr`].
///
/// For structures that no container gives you. The borrow checker sees one owner: `&heap` reads
/// anything, `&mut heap` changes one thing at a time.
pub struct PHeap<R>(PhantomData<fn() -> R>);

impl<R: Plain + Default> Stored for PHeap<R> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PHeap<{}>", R::full_name())
    }
}

impl<R: Plain + Default> Object for PHeap<R> {
    type Guard<'t, M: Mode> = HeapGuard<'t, R, M>;
    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        Ok(body.alloc(R::default())?.cast())
    }
    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<HeapGuard<'_, R, M>> {
        body.get::<R>(header.cast())?;
        Ok(HeapGuard { body, root: header.cast() })
    }
    /// Frees the root. What is linked from it, only its program knows, which frees it before.
    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.free(header)
    }
}

/// Guard of a [`PHeap`].
pub struct HeapGuard<'t, R, M: Mode> {
    body: Body<'t, M>,
    root: Ptr<R>,
}

impl<R: Plain, M: Mode> HeapGuard<'_, R, M> {
    /// The root.
    pub fn root(&self) -> Result<&R> {
        self.body.get(self.root)
    }
    /// The object at `at`.
    pub fn get<T: Bytes>(&self, at: Ptr<T>) -> Result<&T> {
        self.body.get(at)
    }
    /// `len` bytes at `at`.
    pub fn bytes(&self, at: Ptr<u8>, len: u64) -> Result<&[u8]> {
        self.body.bytes(at, len)
    }
    /// The object at `at`, or `None` for null: `while let Some(node) = heap.follow(next)? { ... }`.
    pub fn follow<T: Bytes>(&self, at: Ptr<T>) -> Result<Option<&T>> {
        if at.is_null() { Ok(None) } else { self.get(at).map(Some) }
    }
}

impl<R: Plain> HeapGuard<'_, R, Write> {
    /// The root, to change.
    pub fn root_mut(&mut self) -> Result<&mut R> {
        self.body.get_mut(self.root)
    }
    /// The object at `at`, to change.
    pub fn get_mut<T: Bytes>(&mut self, at: Ptr<T>) -> Result<&mut T> {
        self.body.get_mut(at)
    }
    /// `len` bytes at `at`, to change.
    pub fn bytes_mut(&mut self, at: Ptr<u8>, len: u64) -> Result<&mut [u8]> {
        self.body.bytes_mut(at, len)
    }
    /// Allocates. No drain of its own.
    pub fn alloc<T: Bytes>(&mut self, value: T) -> Result<Ptr<T>> {
        self.body.alloc(value)
    }
    /// Allocates zeroed bytes at a multiple of `align`, a power of two up to 2 MiB. No drain of its own.
    pub fn alloc_aligned(&mut self, len: u64, align: u64) -> Result<Ptr<u8>> {
        self.body.alloc_aligned(len, align)
    }
    /// Frees. Refers to nothing afterwards; using it is an error or another object, never undefined.
    pub fn free<T>(&mut self, at: Ptr<T>) -> Result<()> {
        self.body.free(at)
    }
    /// Allocates what was reserved, with the content it was given. No drain of its own.
    pub fn publish(&mut self, reservation: Reservation) -> Result<Ptr<u8>> {
        self.body.publish(reservation)
    }
}
