//! [`PBox`], and the guard on it.

use crate::{
    damage::corrupt,
    stored::{self, MAX_VALUE, Old, Slot, align_of_form, invalid},
};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{
    Body, EncodeAs, Error, Form, Mode, Mut, Object, Plain, Ptr, Read, Result, Shape, Stored, Tracer, Types,
    Value, Write, block_size,
};
use std::{fmt, marker::PhantomData, mem::offset_of};

/// An owned value in an allocation of its own, or none: `Option<Box<T>>`. Open it for a [`BoxGuard`].
///
/// Where a [`PCell`](crate::PCell) is one plain value and has one from the start, this holds anything that can be stored ([`Value`]), of any
/// size, and also a container. Empty, it takes 64 bytes of the pool, however large its value is to be.
pub struct PBox<T>(PhantomData<fn() -> T>);

impl<T: Stored> Stored for PBox<T> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PBox<{}>", T::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PBox", |types| vec![types.add::<T>()])
    }
}

impl<T: Stored> Object for PBox<T> {
    type Guard<'t, M: Mode> = BoxGuard<'t, T, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        Ok(body.alloc(Header::new::<T>()?)?.cast())
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<BoxGuard<'_, T, M>> {
        let found = *body.get::<Header>(header.cast())?;
        found.check::<T>(header.offset())?;
        Ok(BoxGuard { body, at: header.offset(), header: found, types: PhantomData })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.open_mut::<Self>(header)?.clear()?;
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        body.open::<Self>(header)?.trace(tracer)
    }
}

const MAGIC: u64 = u64::from_le_bytes(*b"PBox    ");
const VERSION: u16 = 1;
const OBJECT: u16 = 1;
const VARIABLE: u16 = 2;
/// What addresses of blocks before commit are aligned to.
const MAX_ALIGN: usize = 64;
/// Longer values are not changed in place: all of it would go through the log, and to its place, at once.
const MAX_IN_PLACE: u64 = 4096;

/// The header, as it is on media (see `format/box.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: u64,
    version: u16,
    flags: u16,
    align: u32,
    size: u64,
    block: u64,
    len: u64,
    reserved: [u64; 3],
}

const _: () = assert!(size_of::<Header>() == 64);
/// Where the block's offset is.
const BLOCK: u64 = offset_of!(Header, block) as u64;

/// A value that a box cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("a box cannot hold a value aligned to {align} bytes: at most 64")]
pub struct AlignmentTooLarge {
    /// Alignment of the value, bytes.
    pub align: usize,
}

impl Header {
    fn new<T: Stored>() -> Result<Header> {
        let align = const { align_of_form::<T>() };
        if align > MAX_ALIGN {
            return Err(Error::abort(AlignmentTooLarge { align }));
        }
        let (flags, size) = match T::FORM {
            Form::Fixed { size, .. } => (0, size as u64),
            Form::Variable { .. } => (VARIABLE, 0),
            Form::Object(_) => (OBJECT, 0),
        };
        Ok(Header { magic: MAGIC, version: VERSION, flags, align: align as u32, size, ..Header::zeroed() })
    }

    /// Checks a header that was read at `at`.
    fn check<T: Stored>(&self, at: u64) -> Result<()> {
        let (expected, Header { block, len, .. }) = (Self::new::<T>()?, *self);
        if self.magic != MAGIC {
            return Err(corrupt(at, "the header of a PBox", format!("magic {:#x}", self.magic)));
        }
        if self.version != VERSION {
            let expected = format!("format version {VERSION} (a newer program wrote this?)");
            return Err(corrupt(at, expected, format!("version {}", self.version)));
        }
        if *self != (Header { block, len, ..expected }) {
            return Err(corrupt(at, format!("{expected:?} but for what changes"), format!("{self:?}")));
        }
        let possible = match T::FORM {
            _ if block == 0 => len == 0,
            Form::Fixed { size, .. } => len == size as u64,
            Form::Variable { .. } => len <= MAX_VALUE,
            Form::Object(_) => len == 0,
        };
        match possible {
            true => Ok(()),
            false => Err(corrupt(at, "block and len that belong together", format!("{block:#x}, {len}"))),
        }
    }
}

/// What [`check`](BoxGuard::check) found in a box that is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoxSummary {
    /// Whether there is a value.
    pub is_some: bool,
    /// Bytes of the header and of the value's block; of an object, one byte.
    pub bytes: u64,
}

/// A [`PBox`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut motto = tx.open::<PBox<String>>("motto")?;
///     motto.set("persist, then publish")?;
///     let old = motto.replace("publish, or perish")?;
///     assert_eq!(old.expect("it was set").get()?, "persist, then publish");
///     Ok(())
/// })?;
/// assert_eq!(pool.read()?.open::<PBox<String>>("motto")?.get()?, Some("publish, or perish"));
/// # Ok(()) }
/// ```
///
/// No operation drains: the transaction's commit does, once. Setting a value of up to 4,096 bytes changes the lines in which it differs
/// from the one before, if that was about as long; a longer one goes to a new block, as a first one does.
pub struct BoxGuard<'t, T, M: Mode = Read> {
    body: Body<'t, M>,
    at: u64,
    /// The checked header, kept up to date.
    header: Header,
    types: PhantomData<fn() -> T>,
}

/// Reading, whatever the value is.
impl<T: Stored, M: Mode> BoxGuard<'_, T, M> {
    /// Whether there is a value. Costs nothing.
    pub fn is_some(&self) -> bool {
        self.header.block != 0
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        !self.is_some()
    }

    /// The word that refers to the value, as the slot of an object: where it is, and its bytes.
    fn slot(&self) -> (u64, [u8; 8]) {
        (self.at + BLOCK, self.header.block.to_le_bytes())
    }

    /// The value's stored form.
    fn form(&self) -> Result<Option<&[u8]>> {
        let Header { block, len, .. } = self.header;
        if block == 0 { Ok(None) } else { self.body.bytes(Ptr::from_offset(block), len).map(Some) }
    }

    fn summary(&self) -> BoxSummary {
        let value = match T::FORM {
            _ if self.is_none() => 0,
            Form::Object(_) => 1,
            _ => self.header.len,
        };
        BoxSummary { is_some: self.is_some(), bytes: 64 + value }
    }
}

/// Reading a value.
impl<T: Value, M: Mode> BoxGuard<'_, T, M> {
    /// The value; zero-copy where the type allows. `None` if there is none.
    pub fn get(&self) -> Result<Option<T::Ref<'_>>> {
        let Some(form) = self.form()? else { return Ok(None) };
        T::decode(form).map(Some).map_err(|why| invalid::<T>(self.header.block, why))
    }

    /// Reads the box and its value. `Corrupt` names what is wrong.
    pub fn check(&self) -> Result<BoxSummary> {
        self.get()?;
        Ok(self.summary())
    }
}

/// A box with a container: that comes through the box's guard, which it borrows.
impl<T: Object, M: Mode> BoxGuard<'_, T, M> {
    /// The object, to read. `None` if there is none.
    pub fn open(&self) -> Result<Option<T::Guard<'_, M::Shared>>> {
        let (at, slot) = self.slot();
        if self.is_none() { Ok(None) } else { stored::open::<T, M>(&self.body, at, &slot).map(Some) }
    }

    /// As [`check`](BoxGuard::check), for a box with an object, which `check_object` checks.
    pub fn check_object(
        &self,
        check_object: impl FnOnce(T::Guard<'_, M::Shared>) -> Result<()>,
    ) -> Result<BoxSummary> {
        self.open()?.map_or(Ok(()), check_object)?;
        Ok(self.summary())
    }
}

impl<T: Object> BoxGuard<'_, T, Write> {
    /// The object, to change. `None` if there is none.
    pub fn open_mut(&mut self) -> Result<Option<Mut<'_, T>>> {
        if self.is_none() {
            return Ok(None);
        }
        stored::open_mut::<T>(&mut self.body, self.at + BLOCK).map(Some)
    }

    /// Puts a new, empty object in; returns it, to change. One that was there is destroyed, with all that is in it.
    pub fn set_new(&mut self) -> Result<Mut<'_, T>> {
        let Slot::Object(slot) = stored::make_object::<T>(&mut self.body)? else {
            unreachable!("the slot of an object")
        };
        self.clear()?;
        self.refer_to(u64::from_le_bytes(slot), 0)?;
        stored::open_mut::<T>(&mut self.body, self.at + BLOCK)
    }
}

impl<T: Stored> BoxGuard<'_, T, Write> {
    /// Frees the value, if there is one; an object with all that is in it.
    pub fn clear(&mut self) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        let (at, slot) = self.slot();
        match T::FORM {
            Form::Object(_) => stored::release::<T>(&mut self.body, at, &slot)?,
            _ => self.body.free(Ptr::<u8>::from_offset(self.header.block))?,
        }
        self.refer_to(0, 0)
    }

    fn refer_to(&mut self, block: u64, len: u64) -> Result<()> {
        (self.header.block, self.header.len) = (block, len);
        *self.body.get_mut(Ptr::from_offset(self.at))? = self.header;
        Ok(())
    }
}

/// Changing a value.
impl<T: Value> BoxGuard<'_, T, Write> {
    /// Puts a value in, in place of the one before, if there was one.
    ///
    /// # Errors
    ///
    /// `NoSpace`, and `TooLarge` beyond [`MAX_VALUE`] bytes of what varies in length: nothing was changed.
    pub fn set(&mut self, value: impl EncodeAs<T>) -> Result<()> {
        let form = stored::form::<T>(value.arg())?;
        let (len, Header { block: old, len: old_len, .. }) = (form.len() as u64, self.header);
        let same_size = block_size(len.max(1)) == block_size(old_len.max(1));
        let block = if old != 0 && len <= MAX_IN_PLACE && same_size {
            old
        } else {
            let align = const { align_of_form::<T>() }.max(8) as u64;
            self.body.alloc_aligned(len.max(1), align)?.offset()
        };
        if !form.is_empty() {
            self.body.bytes_mut(Ptr::from_offset(block), len)?.copy_from_slice(&form);
        }
        if old != 0 && old != block {
            self.body.free(Ptr::<u8>::from_offset(old))?;
        }
        self.refer_to(block, len)
    }

    /// Puts a value in; returns the one before. Errors as [`set`](BoxGuard::set).
    pub fn replace(&mut self, value: impl EncodeAs<T>) -> Result<Option<Old<T>>> {
        let old = self.old()?;
        self.set(value)?;
        Ok(old)
    }

    /// Takes the value out, and frees its block.
    pub fn take(&mut self) -> Result<Option<Old<T>>> {
        let old = self.old()?;
        self.clear()?;
        Ok(old)
    }

    fn old(&self) -> Result<Option<Old<T>>> {
        Ok(self.form()?.map(|form| Old::copy_of(self.header.block, form)))
    }
}

impl<T: Plain> BoxGuard<'_, T, Write> {
    /// The value, to change in place. `None` if there is none.
    pub fn get_mut(&mut self) -> Result<Option<&mut T>> {
        match self.header.block {
            0 => Ok(None),
            block => self.body.get_mut(Ptr::from_offset(block)).map(Some),
        }
    }
}

impl<T: Stored> BoxGuard<'_, T, Read> {
    fn trace(&self, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(Ptr::from_offset(self.at), 64)?;
        let ((at, slot), Header { block, len, .. }) = (self.slot(), self.header);
        match T::FORM {
            _ if block == 0 => Ok(()),
            Form::Object(_) => stored::trace::<T>(&self.body, at, &slot, tracer),
            Form::Fixed { .. } | Form::Variable { .. } => {
                tracer.owned(at, Ptr::from_offset(block), len)?;
                tracer.plain::<T>(block)
            }
        }
    }
}

/// As an `Option` of std; where the value is damaged, the error stands for it.
impl<T: Value, M: Mode> fmt::Debug for BoxGuard<'_, T, M>
where
    for<'a> T::Ref<'a>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => value.fmt(f),
            Err(error) => f.debug_tuple("PBox").field(&error).finish(),
        }
    }
}
