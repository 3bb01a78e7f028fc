//! [`PHeap`]: a heap of your own, for structures that no container gives you.

use crate::{
    Body, Descriptor, Form, Mode, Object, Plain, Read, Reservation, Result, Shape, Stored, Tracer, Types,
    Write, graph,
};
use pmem_map::{Bytes, Ptr};
use std::marker::PhantomData;

/// A heap of your own: a plain root, and whatever you allocate and link by [`Ptr`].
///
/// For structures that no container gives you. The borrow checker sees one owner: `&heap` reads
/// anything, `&mut heap` changes one thing at a time.
///
/// Which of its blocks are in use is found by following the references from the root: those are the fields of type
/// [`Ptr`], so the types of root and nodes should name their fields ([`Plain::FIELDS`], [`fields!`](crate::fields)). A block behind a `Ptr<T>`
/// holds one `T`, or as many as it has room for. What is in no field of a known type is guessed at: an aligned word that is the
/// offset of a block keeps that block from being called a leak, but the heap cannot be compacted then.
pub struct PHeap<R>(PhantomData<fn() -> R>);

impl<R: Plain + Default> Stored for PHeap<R> {
    fn type_name() -> String {
        format!("PHeap<{}>", R::full_name())
    }
    const FORM: Form = Form::object::<Self>();
    fn describe(types: &mut Types) -> Shape {
        types.object("PHeap", |types| vec![types.add::<R>()])
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
    fn trace(_: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        graph::trace(&Descriptor::of::<Self>(), header, tracer)
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
    /// A block of another size with the same content: see [`Body::resize`]. No drain of its own.
    pub fn resize(&mut self, at: Ptr<u8>, old: u64, len: u64, align: u64) -> Result<Ptr<u8>> {
        self.body.resize(at, old, len, align)
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
