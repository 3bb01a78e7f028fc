//! What containers hold.
//!
//! [`Stored`] is anything with a place in a pool; a [`Value`] has a stored form, of bytes; [`Key`] and [`OrdKey`] are
//! values that can be found by it. The kinds of values, a file each: [`plain`] data, [`text`], [`slice`]s, [`tuple`]s
//! with [`Option`], what is ordered in [`reverse`], and what [`serde`] encodes.

mod plain;
mod reverse;
mod serde;
mod slice;
mod text;
mod tuple;

pub use {
    plain::Plain,
    serde::{Schema, Serde},
    tuple::{Field, OrdField},
};

use crate::{Body, Object, Ptr, Read, Result, Shape, Tracer, Types, Write};
use std::{borrow::Cow, cmp::Ordering};

/// Anything with a place in a pool and a name for its type: a [`Value`] or an [`Object`](crate::Object).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a pool",
    label = "cannot be stored",
    note = "a `#[repr(C)]` struct of plain fields can, with two lines:\n\
            `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]` and\n\
            `impl Plain for {Self} {{ const NAME: &'static str = \"...\"; }}`",
    note = "any type with serde's derives and `impl Schema for {Self}` can, as `Serde<{Self}>`"
)]
pub trait Stored: 'static {
    /// How it sits in a container; `Form::object::<Self>()` for an object.
    const FORM: Form;
    /// The type's name, kept on media; opening under another name is an error.
    fn type_name() -> String;
    /// What the type consists of, kept on media too. Without it, only the name is known: the blocks of such an object
    /// are not followed by checks, and it cannot be moved by a compaction.
    fn describe(types: &mut Types) -> Shape {
        _ = types;
        Shape::Opaque
    }
}

/// How a [`Stored`] thing sits in a container.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// As its bytes, always this many, at a multiple of `align`.
    Fixed {
        /// Bytes.
        size: usize,
        /// Bytes, a power of two.
        align: usize,
    },
    /// As bytes that vary in number, at a multiple of `align`, wherever the container puts them.
    Variable {
        /// Bytes, a power of two.
        align: usize,
    },
    /// As an object of its own, by the offset of its header: a container in a container.
    Object(ObjectForm),
}

impl Form {
    /// That of an object.
    pub const fn object<O: Object>() -> Form {
        Form::Object(ObjectForm { destroy: O::destroy, trace: O::trace })
    }
}

/// What a container does with an object in it, whatever its kind.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ObjectForm {
    /// [`Object::destroy`].
    pub destroy: fn(&mut Body<'_, Write>, Ptr<u8>) -> Result<()>,
    /// [`Object::trace`].
    pub trace: fn(&Body<'_, Read>, Ptr<u8>, &mut Tracer<'_>) -> Result<()>,
}

/// A type whose values containers hold.
///
/// | stored as | read as `Ref<'_>` | given as |
/// |---|---|---|
/// | plain `T` ([`Plain`]), `()` | `&T`, zero-copy | `T` or `&T` |
/// | `String` | `&str`, zero-copy, validated at each read | `&str`, `&String`, `String` |
/// | `Vec<T>`, `T` plain | `&[T]`, zero-copy | `&[T]`, `&[T; N]`, `&Vec<T>`, `Vec<T>` |
/// | tuples of 1 to 6, `Option<A>` | of the parts' [views](Field::View), e.g. `(u32, &str)` | `(7, "x")`, `Some(7)` |
/// | `Reverse<T>`, of std, for keys in descending order | `Reverse` of what `T` is read as | `Reverse` of what is given for `T` |
/// | [`Serde<T>`] | `T`, decoded | `T`, `&T` |
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a value that a container can hold",
    label = "not a `Value`",
    note = "a `#[repr(C)]` struct of plain fields becomes one with two lines:\n\
            `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]` and\n\
            `impl Plain for {Self} {{ const NAME: &'static str = \"...\"; }}`",
    note = "any type with serde's derives and `impl Schema for {Self}` becomes one as `Serde<{Self}>`"
)]
pub trait Value: Stored + Sized {
    /// What a read yields.
    type Ref<'a>;
    /// What a write takes; see [`EncodeAs`] for what may stand for it.
    type Arg<'a>: Copy;
    /// Appends the stored form. [`Invalid`] if the value has none.
    fn encode(value: Self::Arg<'_>, out: &mut Vec<u8>) -> Result<(), Invalid>;
    /// The stored form: borrowed, where the value is its own stored form.
    fn stored(value: Self::Arg<'_>) -> Result<Cow<'_, [u8]>, Invalid> {
        let mut out = Vec::new();
        Self::encode(value, &mut out)?;
        Ok(Cow::Owned(out))
    }
    /// Reads the stored form; `bytes` may be garbage. Zero-copy forms require their alignment.
    fn decode(bytes: &[u8]) -> Result<Self::Ref<'_>, Invalid>;
    /// An owned copy of what was read.
    fn to_owned(read: Self::Ref<'_>) -> Self;
}

/// A value whose stored form is canonical: equal values have equal bytes, so that it can be hashed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "not a `Key`",
    note = "plain data, `String`, `Vec<T>`, and tuples and options of these can; `Serde<T>` cannot"
)]
pub trait Key: Value {}

/// A key with an order, for trees. An order that lies yields a wrong tree, never undefined behaviour.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no order, so it cannot be the key of a tree",
    label = "not an `OrdKey`",
    note = "plain keys need `Ord` (derive `PartialEq, Eq, PartialOrd, Ord`)"
)]
pub trait OrdKey: Key {
    /// A stored key, looked at for its order only.
    type Ordered<'a>: Copy + Ord;

    /// Looks at a stored key; `bytes` may be garbage.
    fn ordered(bytes: &[u8]) -> Result<Self::Ordered<'_>, Invalid>;

    /// Compares two stored keys.
    fn compare(a: &[u8], b: &[u8]) -> Result<Ordering, Invalid> {
        Ok(Self::ordered(a)?.cmp(&Self::ordered(b)?))
    }

    /// For keys of a fixed size: how many of `keys`, stored side by side in ascending order, are not greater than `key`.
    fn not_greater(keys: &[u8], key: &[u8]) -> Result<usize, Invalid> {
        let Form::Fixed { size, .. } = Self::FORM else {
            return Err(Invalid("keys of varying size side by side"));
        };
        let at = |i: usize| Self::compare(keys.get(i * size..(i + 1) * size).unwrap_or_default(), key);
        let (mut low, mut high) = (0, keys.len().checked_div(size).unwrap_or(0));
        while low < high {
            let middle = low + (high - low) / 2;
            if at(middle)? == Ordering::Greater { high = middle } else { low = middle + 1 }
        }
        Ok(low)
    }

    /// For `left` < `right`: how many of the first bytes of `right` are a key by themselves, greater than `left` and not
    /// greater than `right`. (A tree keeps such short keys in its inner nodes; prefix B-trees, Bayer and Unterauer 1977.)
    fn separator(left: &[u8], right: &[u8]) -> usize {
        let _ = left;
        right.len()
    }
}

/// Bytes that are not a value of the type, or a value that cannot be stored. Containers add where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// What may be handed over where a stored `T` is expected: `7` or `&7` for `u64`, `"x"` or `&string` for `String`,
/// `(1, "x")` for `(u32, String)`, `&order` for `Serde<Order>`. Lookups need no owned key, as with `Borrow` in std,
/// but tuples work too.
#[diagnostic::on_unimplemented(
    message = "expected something storable as `{T}`, found `{Self}`",
    label = "cannot stand for a `{T}`"
)]
pub trait EncodeAs<T: Value> {
    /// The borrowed form.
    fn arg(&self) -> T::Arg<'_>;
}
