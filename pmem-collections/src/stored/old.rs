//! Values that are no longer in a container.

use super::{StoredBytes, align_of_form, bytes, invalid};
use pmem_alloc::{Body, Form, Mode, Result, Stored, Value};
use std::{fmt, marker::PhantomData};

/// A value that was replaced or removed, still in its stored form: a damaged or costly one is read only by those who
/// look. An object that was removed is gone, and cannot be looked at.
pub struct Old<V> {
    /// Where it was.
    at: u64,
    form: StoredBytes,
    types: PhantomData<fn() -> V>,
}

impl<V: Stored> Old<V> {
    /// A copy of what is in the slot at `at`.
    #[inline]
    pub(crate) fn take<M: Mode>(body: &Body<'_, M>, at: u64, slot: &[u8]) -> Result<Self> {
        let form = match V::FORM {
            Form::Object(_) => &[],
            _ => bytes::<V, M>(body, at, slot)?,
        };
        Ok(Self::copy_of(at, form))
    }

    /// A copy of the stored form `form`, which was at `at` or was referred to there.
    #[inline]
    pub(crate) fn copy_of(at: u64, form: &[u8]) -> Self {
        Old { at, form: StoredBytes::new(form, const { align_of_form::<V>() }), types: PhantomData }
    }
}

impl<V: Value> Old<V> {
    /// Reads it. `Corrupt` if its bytes are no `V`.
    pub fn get(&self) -> Result<V::Ref<'_>> {
        V::decode(self.form.as_slice()).map_err(|why| invalid::<V>(self.at, why))
    }

    /// An owned copy. `Corrupt` if its bytes are no `V`.
    pub fn to_owned(&self) -> Result<V> {
        self.get().map(V::to_owned)
    }
}

impl<V> fmt::Debug for Old<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Old").field("at", &self.at).field("bytes", &self.form.as_slice().len()).finish()
    }
}
