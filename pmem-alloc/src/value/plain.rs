//! Plain data: stored as it is in memory, and read in place.

use super::{EncodeAs, Form, Invalid, Key, OrdKey, Stored, Value};
use crate::{PlainField, Shape, Types};
use bytemuck::checked;
use pmem_map::{Bytes, Ptr};
use std::{borrow::Cow, cmp::Ordering};

/// Plain data with a name: zero-copy as a value.
///
/// ```
/// # use bytemuck::{Pod, Zeroable}; use pmem_alloc::Plain;
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[repr(C)]
/// struct Account { owner: u64, cents: i64 }
/// impl Plain for Account { const NAME: &'static str = "bank.Account"; }
/// ```
///
/// Safe to implement: what makes it sound is checked by `bytemuck`'s derives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain data with a name",
    label = "not `Plain`",
    note = "add `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)] #[repr(C)]` and\n\
            `impl Plain for {Self} {{ const NAME: &'static str = \"...\"; }}`"
)]
pub trait Plain: Bytes {
    /// The type's name on media. Choose it once; a new layout needs a new name.
    const NAME: &'static str;
    /// The fields, as [`fields!`](crate::fields) lists them: recorded, so that a program with other fields under this name is
    /// refused, and so that references ([`Ptr`]) among them can be followed. `None`: not known.
    const FIELDS: Option<&'static [PlainField]> = None;
    /// As [`Stored::describe`]. Made from [`FIELDS`](Plain::FIELDS).
    fn shape(types: &mut Types) -> Shape {
        types.plain::<Self>()
    }
    /// Name, size and alignment, as recorded.
    fn full_name() -> String {
        format!("{}#{}/{}", Self::NAME, size_of::<Self>(), align_of::<Self>())
    }
}

macro_rules! plain { ($($t:ty)*) => { $(
    impl Plain for $t {
        const NAME: &'static str = stringify!($t);
        const FIELDS: Option<&'static [PlainField]> = Some(&[]);
        fn full_name() -> String {
            Self::NAME.into()
        }
    }
)* } }
plain! { () u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 bool char }

impl<T: Plain + bytemuck::Pod, const N: usize> Plain for [T; N] {
    const NAME: &'static str = "array";
    fn shape(types: &mut Types) -> Shape {
        Shape::Array { of: types.add::<T>(), len: N as u64 }
    }
    fn full_name() -> String {
        format!("[{}; {N}]", T::full_name())
    }
}

impl<T: Plain> Plain for Ptr<T> {
    const NAME: &'static str = "Ptr";
    fn shape(types: &mut Types) -> Shape {
        Shape::Pointer { to: types.add::<T>() }
    }
}

#[diagnostic::do_not_recommend]
impl<T: Plain> Stored for T {
    const FORM: Form = Form::Fixed { size: size_of::<T>(), align: align_of::<T>() };
    fn type_name() -> String {
        T::full_name()
    }
    fn describe(types: &mut Types) -> Shape {
        T::shape(types)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Plain> Value for T {
    type Ref<'a> = &'a T;
    type Arg<'a> = &'a T;
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), Invalid> {
        out.extend_from_slice(bytemuck::bytes_of(value));
        Ok(())
    }
    #[inline]
    fn stored(value: Self::Arg<'_>) -> Result<Cow<'_, [u8]>, Invalid> {
        Ok(Cow::Borrowed(bytemuck::bytes_of(value)))
    }
    #[inline]
    fn decode(bytes: &[u8]) -> Result<&T, Invalid> {
        checked::try_from_bytes(bytes).map_err(|_| Invalid("wrong size, alignment or bits"))
    }
    fn to_owned(read: &T) -> T {
        *read
    }
}

#[diagnostic::do_not_recommend]
impl<T: Plain> Key for T {}

#[diagnostic::do_not_recommend]
impl<T: Plain + Ord> OrdKey for T {
    type Ordered<'a> = T;

    #[inline]
    fn ordered(bytes: &[u8]) -> Result<T, Invalid> {
        T::decode(bytes).copied()
    }

    #[inline]
    fn compare(a: &[u8], b: &[u8]) -> Result<Ordering, Invalid> {
        Ok(T::decode(a)?.cmp(T::decode(b)?))
    }

    /// Without branches.
    #[inline]
    fn not_greater(keys: &[u8], key: &[u8]) -> Result<usize, Invalid> {
        let mut keys: &[T] =
            checked::try_cast_slice(keys).map_err(|_| Invalid("wrong size, alignment or bits"))?;
        let key = T::decode(key)?;
        let not_greater = |other: &T| other.cmp(key) != Ordering::Greater;
        let mut before = 0;
        while keys.len() > 1 {
            let half = keys.len() / 2;
            let right = not_greater(&keys[half - 1]);
            before += if right { half } else { 0 };
            keys = if right { &keys[half..] } else { &keys[..keys.len() - half] };
        }
        Ok(before + usize::from(keys.first().is_some_and(not_greater)))
    }
}

impl<T: Plain> EncodeAs<T> for T {
    #[inline]
    fn arg(&self) -> &T {
        self
    }
}

impl<T: Plain> EncodeAs<T> for &T {
    #[inline]
    fn arg(&self) -> &T {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_their_bytes() {
        let mut out = Vec::new();
        u64::encode(7u64.arg(), &mut out).unwrap();
        assert_eq!(out, 7u64.to_le_bytes());
        assert_eq!(u8::decode(&[9]), Ok(&9));
        assert!(u64::decode(&out[..7]).is_err());
        assert!(bool::decode(&[2]).is_err());
        assert_eq!(<[Ptr<u8>; 3]>::type_name(), "[Ptr#8/8; 3]");
        assert_eq!((<()>::type_name(), <()>::decode(&[])), ("()".into(), Ok(&())));
    }

    #[test]
    fn keys_side_by_side_are_searched_for_the_number_that_is_not_greater() {
        for count in 0..=31u64 {
            let keys: Vec<u64> = (0..count).map(|i| 10 * i + 10).collect();
            for key in 0..=10 * count + 10 {
                let found = u64::not_greater(bytemuck::cast_slice(&keys), bytemuck::bytes_of(&key));
                assert_eq!(found, Ok(keys.iter().filter(|k| **k <= key).count()));
            }
        }
        assert!(u64::not_greater(&[0; 7], &[0; 8]).is_err());
    }
}
