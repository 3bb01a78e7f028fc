//! One plain value under a name.

use pmem_alloc::{Body, Form, Mode, Object, Plain, Ptr, Read, Result, Shape, Stored, Tracer, Types, Write};
use std::{fmt, marker::PhantomData};

/// One plain value: a counter, a setting, a root of your own. Open it for a [`CellGuard`].
///
/// Created with the type's default value.
pub struct PCell<T>(PhantomData<fn() -> T>);

impl<T: Plain + Default> Stored for PCell<T> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PCell<{}>", T::full_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PCell", |types| vec![types.add::<T>()])
    }
}

impl<T: Plain + Default> Object for PCell<T> {
    type Guard<'t, M: Mode> = CellGuard<'t, T, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        Ok(body.alloc(T::default())?.cast())
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<CellGuard<'_, T, M>> {
        body.get::<T>(header.cast())?;
        Ok(CellGuard { body, at: header.cast() })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.free(header)
    }

    fn trace(_: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(header, size_of::<T>() as u64)?;
        tracer.plain::<T>(header.offset())
    }
}

/// A [`PCell`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut visits = tx.open::<PCell<u64>>("visits")?;
///     *visits.get_mut()? += 1;
///     Ok(())
/// })?;
/// assert_eq!(*pool.read()?.open::<PCell<u64>>("visits")?.get()?, 1);
/// # Ok(()) }
/// ```
pub struct CellGuard<'t, T, M: Mode = Read> {
    body: Body<'t, M>,
    at: Ptr<T>,
}

impl<T: Plain, M: Mode> CellGuard<'_, T, M> {
    /// The value. `Corrupt` if its bits are no `T`.
    pub fn get(&self) -> Result<&T> {
        self.body.get(self.at)
    }
}

impl<T: Plain> CellGuard<'_, T, Write> {
    /// The value, to change.
    pub fn get_mut(&mut self) -> Result<&mut T> {
        self.body.get_mut(self.at)
    }

    /// Replaces the value.
    pub fn set(&mut self, value: T) -> Result<()> {
        *self.get_mut()? = value;
        Ok(())
    }

    /// Replaces the value, and returns the one before.
    pub fn replace(&mut self, value: T) -> Result<T> {
        Ok(std::mem::replace(self.get_mut()?, value))
    }
}

impl<T: Plain + fmt::Debug, M: Mode> fmt::Debug for CellGuard<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Ok(value) => f.debug_tuple("PCell").field(value).finish(),
            Err(error) => f.debug_tuple("PCell").field(&error).finish(),
        }
    }
}
