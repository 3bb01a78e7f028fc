//! How a value of any kind sits in a container.
//!
//! A container gives each value (or key) a **slot** of a size that depends on its type alone ([`Shape::of`]), and treats
//! what is in it as bytes: it may move slots within a node and between nodes. What the bytes are, this module knows:
//!
//! | type | slot |
//! |---|---|
//! | plain `T` | the value, at its alignment |
//! | what varies in length (`String`, `Vec<T>`, tuples, `Serde<T>`) | 24 bytes, aligned to 8, a [`Reference`]: up to 20 bytes inline, longer ones in a block of their own |
//! | an object (a container in a container) | 8 bytes: the offset of its header |
//!
//! # For authors of containers
//!
//! - To add: [`form`] of what the caller gave (checks limits; borrowed where it can be), then [`make`] the slot, which
//!   allocates what it needs, then copy the slot's bytes to their place. Make all slots, and allocate all nodes, before
//!   the first change; if one of them has no space, [`release`] those that were made.
//! - To look: [`bytes`] is the stored form, for hashing and comparing ([`pmem_alloc::OrdKey::compare`]); [`read`] is what
//!   the caller gets; [`open`] and [`open_mut`] are for objects.
//! - To overwrite: [`replace`] changes the slot at an offset, in place where the length allows.
//! - To take out: [`Old::take`] copies what was there, if the caller may look at it; then [`release`] frees what the
//!   slot refers to, with everything below it. Clearing the slot is up to the container.
//! - To check: [`read`] it, and see that no [`block`] is referred to twice.
//!
//! Everything here is safe on damaged media: a reference that is no reference, a block that is not allocated, bits that
//! are no value end in `Corrupt` with the slot's offset. After an error of [`replace`] or [`release`] other than
//! `NoSpace`, the transaction must be rolled back.
//!
//! `at` is always the offset of the slot; `slot` are its bytes.

mod old;
mod owned;
mod reference;

pub use old::Old;
pub(crate) use owned::StoredBytes;
pub(crate) use reference::Reference;

use crate::damage::corrupt;
use pmem_alloc::{
    Body, Error, ErrorKind, Form, Guard, Invalid, Mode, Mut, Object, Ptr, Read, Result, Stored, Tracer,
    Value, Write,
};
use std::{borrow::Cow, ops::Deref};

/// The longest stored form of a value, bytes.
pub const MAX_VALUE: u64 = 1 << 30;
/// The longest stored form of a key, bytes.
pub const MAX_KEY: u64 = 1 << 16;
/// What blocks of values can be aligned to, bytes: what a mapping promises of addresses before commit.
const MAX_ALIGN: usize = 64;

/// Size and alignment of a slot, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) size: usize,
    pub(crate) align: usize,
}

impl Shape {
    /// The slot of an `S`.
    pub(crate) const fn of<S: Stored>() -> Shape {
        match S::FORM {
            Form::Fixed { size, align } => Shape { size, align },
            // So that what asks for too much is refused where fixed values are: no node has slots of that alignment.
            Form::Variable { align } if align > MAX_ALIGN => Shape { size: align, align },
            Form::Variable { .. } => Shape { size: size_of::<Reference>(), align: align_of::<Reference>() },
            Form::Object(_) => Shape { size: 8, align: 8 },
        }
    }
}

/// Whether the slot is all there is of an `S`.
pub(crate) const fn is_fixed<S: Stored>() -> bool {
    matches!(S::FORM, Form::Fixed { .. })
}

/// What the alignment of a stored form must be.
pub(crate) const fn align_of_form<S: Stored>() -> usize {
    match S::FORM {
        Form::Fixed { align, .. } | Form::Variable { align } => align,
        Form::Object(_) => 8,
    }
}

// ---- what callers give -----------------------------------------------------------------------

/// The stored form of a value.
#[inline]
pub(crate) fn form<V: Value>(value: V::Arg<'_>) -> Result<Cow<'_, [u8]>> {
    let form = V::stored(value).map_err(unstorable::<V>)?;
    if const { is_fixed::<V>() } || form.len() as u64 <= MAX_VALUE {
        return Ok(form);
    }
    Err(too_large("value", form.len(), MAX_VALUE))
}

/// The stored form of a key.
#[inline]
pub(crate) fn key_form<K: Value>(key: K::Arg<'_>) -> Result<Cow<'_, [u8]>> {
    let form = K::stored(key).map_err(unstorable::<K>)?;
    if const { is_fixed::<K>() } || form.len() as u64 <= MAX_KEY {
        return Ok(form);
    }
    Err(too_large("key", form.len(), MAX_KEY))
}

#[cold]
fn too_large(what: &'static str, size: usize, maximum: u64) -> Error {
    ErrorKind::TooLarge { what, size: size as u64, maximum }.into()
}

#[cold]
fn unstorable<V: Value>(Invalid(why): Invalid) -> Error {
    Error::abort(format!("this {} cannot be stored: {why}", V::type_name()))
}

/// The error for bytes at `at` that are no `S`.
#[cold]
pub(crate) fn invalid<S: Stored>(at: u64, Invalid(why): Invalid) -> Error {
    corrupt(at, S::type_name(), why)
}

// ---- slots -----------------------------------------------------------------------------------

/// The bytes of a slot that was made, and is not in a container yet.
pub(crate) enum Slot<'a> {
    /// A value of a fixed size.
    Fixed(&'a [u8]),
    Reference(Reference),
    Object([u8; 8]),
}

impl Deref for Slot<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Slot::Fixed(bytes) => bytes,
            Slot::Reference(reference) => bytemuck::bytes_of(reference),
            Slot::Object(header) => header,
        }
    }
}

/// Makes the slot of a value from its stored form; allocates a block if it does not fit.
#[inline]
pub(crate) fn make<'a, V: Stored>(body: &mut Body<'_, Write>, form: &'a [u8]) -> Result<Slot<'a>> {
    match V::FORM {
        Form::Variable { align } => Reference::make(body, form, align).map(Slot::Reference),
        _ => Ok(Slot::Fixed(form)),
    }
}

/// Makes the slot of a new, empty object.
pub(crate) fn make_object<O: Object>(body: &mut Body<'_, Write>) -> Result<Slot<'static>> {
    Ok(Slot::Object(body.create::<O>()?.offset().to_le_bytes()))
}

/// The stored form of what is in a slot.
#[inline]
pub(crate) fn bytes<'a, S: Stored, M: Mode>(
    body: &'a Body<'_, M>,
    at: u64,
    slot: &'a [u8],
) -> Result<&'a [u8]> {
    match S::FORM {
        Form::Variable { align } => Reference::read(at, slot)?.bytes(body, at, slot, align),
        _ => Ok(slot),
    }
}

/// Whether a stored form is `wanted`. Forms of a fixed size are compared without a call.
#[inline]
pub(crate) fn is_form<S: Stored>(form: &[u8], wanted: &[u8]) -> bool {
    let size = const { Shape::of::<S>().size };
    match (form.get(..size), wanted.get(..size)) {
        (Some(form), Some(wanted)) if const { is_fixed::<S>() } => form == wanted,
        _ => form == wanted,
    }
}

/// What is in a slot.
#[inline]
pub(crate) fn read<'a, V: Value, M: Mode>(
    body: &'a Body<'_, M>,
    at: u64,
    slot: &'a [u8],
) -> Result<V::Ref<'a>> {
    V::decode(bytes::<V, M>(body, at, slot)?).map_err(|why| invalid::<V>(at, why))
}

/// The header of the object that a slot refers to. It is checked by the object.
fn header(at: u64, slot: &[u8]) -> Result<Ptr<u8>> {
    match slot.try_into().map(u64::from_le_bytes) {
        Ok(header) if header != 0 => Ok(Ptr::from_offset(header)),
        _ => Err(corrupt(at, "the offset of an object", "none")),
    }
}

/// The object in a slot, to read.
pub(crate) fn open<'a, O: Object, M: Mode>(
    body: &'a Body<'_, M>,
    at: u64,
    slot: &[u8],
) -> Result<Guard<'a, O, M::Shared>> {
    body.open::<O>(header(at, slot)?)
}

/// The object in the slot at `at`, to change.
pub(crate) fn open_mut<'a, O: Object>(body: &'a mut Body<'_, Write>, at: u64) -> Result<Mut<'a, O>> {
    let header = header(at, body.bytes(Ptr::from_offset(at), 8)?)?;
    body.open_mut::<O>(header)
}

/// Changes the value in the slot at `at`, in place if it varies in length and the block it has is of the right size.
/// `NoSpace` leaves it as it was.
#[inline]
pub(crate) fn replace<V: Value>(body: &mut Body<'_, Write>, at: u64, form: &[u8]) -> Result<()> {
    match V::FORM {
        Form::Variable { align } => Reference::replace(body, at, form, align),
        _ if form.is_empty() => Ok(()),
        _ => {
            body.bytes_mut(Ptr::from_offset(at), form.len() as u64)?.copy_from_slice(form);
            Ok(())
        }
    }
}

/// Frees what a slot refers to, with everything below it.
#[inline]
pub(crate) fn release<S: Stored>(body: &mut Body<'_, Write>, at: u64, slot: &[u8]) -> Result<()> {
    match S::FORM {
        Form::Fixed { .. } => Ok(()),
        Form::Variable { align } => Reference::read(at, slot)?.release(body, align),
        Form::Object(object) => (object.destroy)(body, header(at, slot)?),
    }
}

/// The block that a slot refers to, and its length, if it refers to one; that of an object is its header.
pub(crate) fn block<S: Stored>(at: u64, slot: &[u8]) -> Result<Option<(u64, u64)>> {
    match S::FORM {
        Form::Fixed { .. } => Ok(None),
        Form::Variable { align } => Ok(Reference::read(at, slot)?.block(align)),
        Form::Object(_) => Ok(Some((header(at, slot)?.offset(), 1))),
    }
}

/// Tells `tracer` what the slot at `at` refers to, with everything below it; where values of a fixed size have no
/// references, there is nothing to tell.
pub(crate) fn trace<S: Stored>(
    body: &Body<'_, Read>,
    at: u64,
    slot: &[u8],
    tracer: &mut Tracer<'_>,
) -> Result<()> {
    match S::FORM {
        Form::Fixed { .. } => tracer.plain::<S>(at),
        Form::Variable { align } => {
            tracer.plain::<S>(at)?; // whether its type may hide references
            match Reference::read(at, slot)?.block(align) {
                Some((block, len)) => tracer.owned(at + reference::BLOCK_AT, Ptr::from_offset(block), len),
                None => Ok(()),
            }
        }
        Form::Object(object) => {
            let header = header(at, slot)?;
            tracer.pointer(at, header)?;
            (object.trace)(body, header, tracer)
        }
    }
}
