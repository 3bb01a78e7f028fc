//! An object of one plain value: the smallest container there is.
#![allow(dead_code, reason = "not every test uses all of it")]

use pmem_alloc::{Body, Form, Mode, Object, Plain, Ptr, Read, Result, Stored, Write};
use std::marker::PhantomData;

pub(crate) struct Cell<T>(PhantomData<fn() -> T>);

impl<T: Plain + Default> Stored for Cell<T> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("Cell<{}>", T::full_name())
    }
}

impl<T: Plain + Default> Object for Cell<T> {
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
}

pub(crate) struct CellGuard<'t, T, M: Mode = Read> {
    body: Body<'t, M>,
    at: Ptr<T>,
}

impl<T: Plain, M: Mode> CellGuard<'_, T, M> {
    pub(crate) fn get(&self) -> Result<&T> {
        self.body.get(self.at)
    }
}

impl<T: Plain> CellGuard<'_, T, Write> {
    pub(crate) fn get_mut(&mut self) -> Result<&mut T> {
        self.body.get_mut(self.at)
    }
    pub(crate) fn set(&mut self, value: T) -> Result<()> {
        *self.get_mut()? = value;
        Ok(())
    }
}
