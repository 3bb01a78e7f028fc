//! What containers hold.

use crate::{Field, Shape, Types};
use bytemuck::checked;
use pmem_map::{Bytes, Ptr};
use std::cmp::Ordering;

/// Anything with a place in a pool and a name for its type: a [`Value`] or an [`Object`](crate::Object).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a pool",
    label = "cannot be stored",
    note = "a `#[repr(C)]` struct of plain fields can, with two lines:\n\
            `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]` and\n\
            `impl Plain for {Self} {{ const NAME: &'static str = \"...\"; }}`"
)]
pub trait Stored: 'static {
    /// The type's name, kept on media; opening under another name is an error.
    fn type_name() -> String;
    /// What the type consists of, kept on media too. Without it, only the name is known: the blocks of such an object
    /// are not followed by checks, and it cannot be moved by a compaction.
    fn describe(types: &mut Types) -> Shape {
        _ = types;
        Shape::Opaque
    }
}

/// A type whose values containers hold.
///
/// | stored as | read as `Ref<'_>` | given as |
/// |---|---|---|
/// | plain `T` ([`Plain`]) | `&T`, zero-copy | `T` or `&T` |
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a value that a container can hold",
    label = "not a `Value`",
    note = "a `#[repr(C)]` struct of plain fields becomes one with two lines:\n\
            `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]` and\n\
            `impl Plain for {Self} {{ const NAME: &'static str = \"...\"; }}`"
)]
pub trait Value: Stored + Sized {
    /// What a read yields.
    type Ref<'a>;
    /// What a write takes; see [`EncodeAs`] for what may stand for it.
    type Arg<'a>: Copy;
    /// Appends the stored form. [`Invalid`] if the value has none.
    fn encode(value: Self::Arg<'_>, out: &mut Vec<u8>) -> Result<(), Invalid>;
    /// Reads the stored form; `bytes` may be garbage. Zero-copy forms require their alignment.
    fn decode(bytes: &[u8]) -> Result<Self::Ref<'_>, Invalid>;
    /// An owned copy of what was read.
    fn to_owned(read: Self::Ref<'_>) -> Self;
}

/// A value whose stored form is canonical: equal values have equal bytes, so that it can be hashed.
#[diagnostic::on_unimplemented(message = "`{Self}` cannot be a key", note = "plain data can")]
pub trait Key: Value {}

/// A key with an order, for trees. An order that lies yields a wrong tree, never undefined behaviour.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no order, so it cannot be the key of a tree",
    note = "plain keys need `Ord` (derive `PartialEq, Eq, PartialOrd, Ord`)"
)]
pub trait OrdKey: Key {
    /// Compares a stored key with one asked for.
    fn compare(stored: &[u8], key: Self::Arg<'_>) -> Result<Ordering, Invalid>;
}

/// Bytes that are not a value of the type, or a value that cannot be stored. Containers add where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// What may be handed over where a stored `T` is expected: `7` or `&7` for `u64`. Lookups need no owned key,
/// as with `Borrow` in std.
#[diagnostic::on_unimplemented(
    message = "expected something storable as `{T}`, found `{Self}`",
    label = "cannot stand for a `{T}`"
)]
pub trait EncodeAs<T: Value> {
    /// The borrowed form.
    fn arg(&self) -> T::Arg<'_>;
}

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
    const FIELDS: Option<&'static [Field]> = None;
    /// As [`Stored::describe`]. Made from [`FIELDS`](Plain::FIELDS).
    fn shape(types: &mut Types) -> Shape
    where
        Self: Sized,
    {
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
        const FIELDS: Option<&'static [Field]> = Some(&[]);
        fn full_name() -> String {
            Self::NAME.into()
        }
    }
)* } }
plain! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 bool char }

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

impl<T: Plain> Stored for T {
    fn type_name() -> String {
        T::full_name()
    }
    fn describe(types: &mut Types) -> Shape {
        T::shape(types)
    }
}

impl<T: Plain> Value for T {
    type Ref<'a> = &'a T;
    type Arg<'a> = &'a T;
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), Invalid> {
        out.extend_from_slice(bytemuck::bytes_of(value));
        Ok(())
    }
    fn decode(bytes: &[u8]) -> Result<&T, Invalid> {
        checked::try_from_bytes(bytes).map_err(|_| Invalid("wrong size, alignment or bits"))
    }
    fn to_owned(read: &T) -> T {
        *read
    }
}

impl<T: Plain> Key for T {}

impl<T: Plain + Ord> OrdKey for T {
    fn compare(stored: &[u8], key: &T) -> Result<Ordering, Invalid> {
        Ok(T::decode(stored)?.cmp(key))
    }
}

impl<T: Plain> EncodeAs<T> for T {
    fn arg(&self) -> &T {
        self
    }
}

impl<T: Plain> EncodeAs<T> for &T {
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
    }
}
