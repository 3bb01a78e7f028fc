//! Tuples and options: their parts one after the other, without gaps.
//!
//! A part of a fixed size is its bytes. A part that varies in length is that length (`u32`) and its bytes. An option is
//! a byte, 0 or 1, and in the second case the part. Parts are not aligned, so plain ones are read by copy. Two tuples
//! are compared part by part, as in Rust; equal ones have equal bytes.

use super::{EncodeAs, Form, Invalid, Key, OrdKey, Plain, Stored, Value};
use crate::{Shape, Types};
use bytemuck::checked;
use std::{borrow::Cow, cmp::Ordering, marker::PhantomData};

/// A value that can be part of a tuple or of an `Option`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a tuple or an `Option` in a pool",
    label = "not a `Field`",
    note = "plain data, `String`, `Vec<T>`, `Serde<T>`, and tuples and options of these can"
)]
pub trait Field: Value {
    /// What reading the part yields: `T` for plain `T`, `&str` for `String`, `Cow<[T]>` for `Vec<T>` (borrowed where it
    /// happens to be aligned; bytes always are), `T` for `Serde<T>`.
    type View<'a>;
    /// Appends the part.
    fn write(value: Self::Arg<'_>, out: &mut Vec<u8>) -> Result<(), Invalid>;
    /// Takes the part off the front; `bytes` may be garbage.
    fn view<'a>(bytes: &mut &'a [u8]) -> Result<Self::View<'a>, Invalid>;
    /// An owned copy.
    fn view_to_owned(view: Self::View<'_>) -> Self;
}

/// A part with an order.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no order, so a tuple of it cannot be the key of a tree",
    label = "not an `OrdField`"
)]
pub trait OrdField: Field + Key {
    /// The part, looked at for its order only.
    type OrderedPart<'a>: Copy + Ord;
    /// Takes the part off the front; `bytes` may be garbage.
    fn ordered_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::OrderedPart<'a>, Invalid>;
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], Invalid> {
    bytes.split_off(..n).ok_or(Invalid("ends too early"))
}

/// Takes a length and as many bytes.
pub(super) fn take_counted<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Invalid> {
    let len = u32::view(bytes)?;
    take(bytes, len as usize)
}

/// Appends the stored form of a value and, before it, its length.
pub(super) fn write_counted<V: Value>(value: V::Arg<'_>, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    V::encode(value, out)?;
    let len = u32::try_from(out.len() - start - 4).map_err(|_| Invalid("a part longer than 4 GiB"))?;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

fn all_of<T>(rest: &[u8], value: T) -> Result<T, Invalid> {
    if rest.is_empty() { Ok(value) } else { Err(Invalid("goes on behind its end")) }
}

// ---- parts -----------------------------------------------------------------------------------

#[diagnostic::do_not_recommend]
impl<T: Plain> Field for T {
    type View<'a> = T;
    fn write(value: &T, out: &mut Vec<u8>) -> Result<(), Invalid> {
        T::encode(value, out)
    }
    fn view(bytes: &mut &[u8]) -> Result<T, Invalid> {
        let bytes = take(bytes, size_of::<T>())?;
        checked::try_pod_read_unaligned(bytes).map_err(|_| Invalid("bits that are no value"))
    }
    fn view_to_owned(view: T) -> T {
        view
    }
}

#[diagnostic::do_not_recommend]
impl<T: Plain + Ord> OrdField for T {
    type OrderedPart<'a> = T;
    fn ordered_part(bytes: &mut &[u8]) -> Result<T, Invalid> {
        T::view(bytes)
    }
}

impl Field for String {
    type View<'a> = &'a str;
    fn write(value: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
        write_counted::<Self>(value, out)
    }
    fn view<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Invalid> {
        Self::decode(take_counted(bytes)?)
    }
    fn view_to_owned(view: &str) -> String {
        view.into()
    }
}

impl OrdField for String {
    type OrderedPart<'a> = &'a [u8];
    fn ordered_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Invalid> {
        take_counted(bytes)
    }
}

impl<T: Plain> Field for Vec<T> {
    type View<'a> = Cow<'a, [T]>;
    fn write(value: &[T], out: &mut Vec<u8>) -> Result<(), Invalid> {
        write_counted::<Self>(value, out)
    }
    fn view<'a>(bytes: &mut &'a [u8]) -> Result<Cow<'a, [T]>, Invalid> {
        let bytes = take_counted(bytes)?;
        match Self::decode(bytes) {
            Ok(slice) => Ok(Cow::Borrowed(slice)),
            Err(_) => Packed::new(bytes).map(|packed| Cow::Owned(packed.iter().collect())),
        }
    }
    fn view_to_owned(view: Cow<'_, [T]>) -> Vec<T> {
        view.into_owned()
    }
}

impl<T: Plain + Ord> OrdField for Vec<T> {
    type OrderedPart<'a> = Packed<'a, T>;
    fn ordered_part<'a>(bytes: &mut &'a [u8]) -> Result<Packed<'a, T>, Invalid> {
        Packed::new(take_counted(bytes)?)
    }
}

/// Elements side by side at any address, all of them checked.
#[doc(hidden)]
pub struct Packed<'a, T>(&'a [u8], PhantomData<T>);

impl<T> Clone for Packed<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Packed<'_, T> {}

impl<'a, T: Plain> Packed<'a, T> {
    fn new(bytes: &'a [u8]) -> Result<Self, Invalid> {
        let whole = bytes.is_empty() || size_of::<T>() > 0 && bytes.len().is_multiple_of(size_of::<T>());
        let right = |element: &[u8]| checked::try_pod_read_unaligned::<T>(element).is_ok();
        if whole && bytes.chunks_exact(size_of::<T>().max(1)).all(right) {
            Ok(Packed(bytes, PhantomData))
        } else {
            Err(Invalid("wrong size or bits"))
        }
    }

    fn iter(self) -> impl Iterator<Item = T> + 'a {
        self.0.chunks_exact(size_of::<T>().max(1)).map(checked::pod_read_unaligned)
    }
}

impl<T: Plain + Ord> PartialEq for Packed<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Plain + Ord> Eq for Packed<'_, T> {}

impl<T: Plain + Ord> PartialOrd for Packed<'_, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Plain + Ord> Ord for Packed<'_, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

// ---- options ---------------------------------------------------------------------------------

impl<A: Field> Stored for Option<A> {
    const FORM: Form = Form::Variable { align: 1 };
    fn type_name() -> String {
        format!("Option<{}>", A::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        Shape::Encoded { args: vec![types.add::<A>()] }
    }
}

impl<A: Field> Value for Option<A> {
    type Ref<'a> = Option<A::View<'a>>;
    type Arg<'a> = Option<A::Arg<'a>>;
    fn encode(value: Option<A::Arg<'_>>, out: &mut Vec<u8>) -> Result<(), Invalid> {
        out.push(value.is_some().into());
        value.map_or(Ok(()), |value| A::write(value, out))
    }
    fn decode(mut bytes: &[u8]) -> Result<Option<A::View<'_>>, Invalid> {
        let value = Self::view(&mut bytes)?;
        all_of(bytes, value)
    }
    fn to_owned(read: Option<A::View<'_>>) -> Self {
        read.map(A::view_to_owned)
    }
}

impl<A: Field> Field for Option<A> {
    type View<'a> = Option<A::View<'a>>;
    fn write(value: Option<A::Arg<'_>>, out: &mut Vec<u8>) -> Result<(), Invalid> {
        Self::encode(value, out)
    }
    fn view<'a>(bytes: &mut &'a [u8]) -> Result<Option<A::View<'a>>, Invalid> {
        if bool::view(bytes)? { A::view(bytes).map(Some) } else { Ok(None) }
    }
    fn view_to_owned(view: Option<A::View<'_>>) -> Self {
        view.map(A::view_to_owned)
    }
}

impl<A: Field + Key> Key for Option<A> {}

impl<A: OrdField> OrdKey for Option<A> {
    type Ordered<'a> = Option<A::OrderedPart<'a>>;
    fn ordered(mut bytes: &[u8]) -> Result<Option<A::OrderedPart<'_>>, Invalid> {
        let key = Self::ordered_part(&mut bytes)?;
        all_of(bytes, key)
    }
}

impl<A: OrdField> OrdField for Option<A> {
    type OrderedPart<'a> = Option<A::OrderedPart<'a>>;
    fn ordered_part<'a>(bytes: &mut &'a [u8]) -> Result<Option<A::OrderedPart<'a>>, Invalid> {
        if bool::view(bytes)? { A::ordered_part(bytes).map(Some) } else { Ok(None) }
    }
}

impl<A: Field, X: EncodeAs<A>> EncodeAs<Option<A>> for Option<X> {
    fn arg(&self) -> Option<A::Arg<'_>> {
        self.as_ref().map(EncodeAs::arg)
    }
}

impl<A: Field, X: EncodeAs<A>> EncodeAs<Option<A>> for &Option<X> {
    fn arg(&self) -> Option<A::Arg<'_>> {
        self.as_ref().map(EncodeAs::arg)
    }
}

// ---- tuples ----------------------------------------------------------------------------------

macro_rules! tuple { ($($T:ident $X:ident $i:tt),+) => {
    impl<$($T: Field),+> Stored for ($($T,)+) {
        const FORM: Form = Form::Variable { align: 1 };
        fn type_name() -> String {
            format!("({})", [$($T::type_name()),+].join(", "))
        }
        fn describe(types: &mut Types) -> Shape {
            Shape::Encoded { args: vec![$(types.add::<$T>()),+] }
        }
    }

    impl<$($T: Field),+> Value for ($($T,)+) {
        type Ref<'a> = ($($T::View<'a>,)+);
        type Arg<'a> = ($($T::Arg<'a>,)+);
        fn encode(value: Self::Arg<'_>, out: &mut Vec<u8>) -> Result<(), Invalid> {
            $($T::write(value.$i, out)?;)+
            Ok(())
        }
        fn decode(mut bytes: &[u8]) -> Result<Self::Ref<'_>, Invalid> {
            let value = Self::view(&mut bytes)?;
            all_of(bytes, value)
        }
        fn to_owned(read: Self::Ref<'_>) -> Self {
            ($($T::view_to_owned(read.$i),)+)
        }
    }

    impl<$($T: Field),+> Field for ($($T,)+) {
        type View<'a> = ($($T::View<'a>,)+);
        fn write(value: Self::Arg<'_>, out: &mut Vec<u8>) -> Result<(), Invalid> {
            Self::encode(value, out)
        }
        fn view<'a>(bytes: &mut &'a [u8]) -> Result<Self::View<'a>, Invalid> {
            Ok(($($T::view(bytes)?,)+))
        }
        fn view_to_owned(view: Self::View<'_>) -> Self {
            ($($T::view_to_owned(view.$i),)+)
        }
    }

    impl<$($T: Field + Key),+> Key for ($($T,)+) {}

    impl<$($T: OrdField),+> OrdKey for ($($T,)+) {
        type Ordered<'a> = ($($T::OrderedPart<'a>,)+);
        fn ordered(mut bytes: &[u8]) -> Result<Self::Ordered<'_>, Invalid> {
            let key = Self::ordered_part(&mut bytes)?;
            all_of(bytes, key)
        }
    }

    impl<$($T: OrdField),+> OrdField for ($($T,)+) {
        type OrderedPart<'a> = ($($T::OrderedPart<'a>,)+);
        fn ordered_part<'a>(bytes: &mut &'a [u8]) -> Result<Self::OrderedPart<'a>, Invalid> {
            Ok(($($T::ordered_part(bytes)?,)+))
        }
    }

    impl<$($T: Field, $X: EncodeAs<$T>),+> EncodeAs<($($T,)+)> for ($($X,)+) {
        fn arg(&self) -> ($($T::Arg<'_>,)+) {
            ($(self.$i.arg(),)+)
        }
    }

    impl<$($T: Field, $X: EncodeAs<$T>),+> EncodeAs<($($T,)+)> for &($($X,)+) {
        fn arg(&self) -> ($($T::Arg<'_>,)+) {
            ($(self.$i.arg(),)+)
        }
    }
} }

tuple!(A X 0);
tuple!(A X 0, B Y 1);
tuple!(A X 0, B Y 1, C Z 2);
tuple!(A X 0, B Y 1, C Z 2, D W 3);
tuple!(A X 0, B Y 1, C Z 2, D W 3, E V 4);
tuple!(A X 0, B Y 1, C Z 2, D W 3, E V 4, F U 5);

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;
    use std::fmt::Debug;

    fn stored<V: Value>(value: &impl EncodeAs<V>) -> Vec<u8> {
        V::stored(value.arg()).unwrap().into_owned()
    }

    type Six = (u32, String, Option<i8>, Vec<u16>, (bool, char), Option<(String, u64)>);

    fn six(random: &mut Rng) -> Six {
        let mut text =
            |n| (0..random.usize(..n)).map(|_| random.choice(['a', 'b', 'é']).unwrap()).collect::<String>();
        let (a, b) = (text(4), text(3));
        (
            random.u32(..3),
            a,
            random.bool().then(|| random.i8(-2..2)),
            (0..random.usize(..3)).map(|_| random.u16(..) & 0x101).collect(),
            (random.bool(), 'x'),
            random.bool().then(|| (b, random.u64(..3))),
        )
    }

    #[test]
    fn tuples_and_options_are_read_as_they_were_written() {
        let bytes = stored::<(u32, String)>(&(7, "x"));
        assert_eq!(bytes, [7, 0, 0, 0, 1, 0, 0, 0, b'x']);
        assert_eq!(<(u32, String)>::decode(&bytes), Ok((7, "x")));
        assert_eq!(Option::<u16>::decode(&stored::<Option<u16>>(&Some(9))), Ok(Some(9)));
        assert_eq!(Option::<u16>::decode(&stored::<Option<u16>>(&None::<u16>)), Ok(None));
        let mut random = Rng::with_seed(1);
        for _ in 0..1000 {
            let value = six(&mut random);
            assert_eq!(
                <Six as Value>::to_owned(Six::decode(&stored::<Six>(&borrowed(&value))).unwrap()),
                value
            );
        }
        assert_eq!(Six::type_name(), "(u32, str, Option<i8>, [u16], (bool, char), Option<(str, u64)>)");
    }

    /// References to parts stand for the parts.
    fn borrowed(value: &Six) -> impl EncodeAs<Six> {
        (value.0, &value.1, value.2, &value.3, value.4, &value.5)
    }

    #[test]
    fn stored_tuples_are_ordered_as_in_rust_and_equal_ones_have_equal_bytes() {
        let mut random = Rng::with_seed(2);
        let values: Vec<Six> = (0..200).map(|_| six(&mut random)).collect();
        let bytes: Vec<_> = values.iter().map(|value| stored::<Six>(&borrowed(value))).collect();
        for (a, x) in values.iter().zip(&bytes) {
            for (b, y) in values.iter().zip(&bytes) {
                assert_eq!(Six::compare(x, y), Ok(a.cmp(b)));
                assert_eq!(x == y, a == b);
            }
        }
    }

    fn survives<V: OrdKey>(bytes: &[u8], random: &mut Rng)
    where
        for<'a> V::Ref<'a>: Debug,
    {
        let mut bytes = bytes.to_vec();
        for _ in 0..3 {
            match random.u8(..4) {
                0 => bytes.truncate(random.usize(..=bytes.len())),
                1 => bytes.push(random.u8(..)),
                _ if bytes.is_empty() => {}
                _ => {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.choice([0, 1, 2, 0xFF, bytes[at] ^ 1]).unwrap();
                }
            }
            let _ = (V::decode(&bytes), V::ordered(&bytes).map(drop));
        }
    }

    #[test]
    fn garbage_is_an_error_or_a_value() {
        let mut random = Rng::with_seed(3);
        for _ in 0..20_000 {
            let bytes = stored::<Six>(&borrowed(&six(&mut random)));
            survives::<Six>(&bytes, &mut random);
            survives::<Option<(Vec<u64>, char)>>(&bytes, &mut random);
        }
        assert_eq!(<(u8,)>::decode(&[1, 2]), Err(Invalid("goes on behind its end")));
        assert_eq!(<(u8, String)>::decode(&[1, 0xFF, 0xFF, 0xFF, 0xFF]), Err(Invalid("ends too early")));
        assert!(Option::<u8>::decode(&[2, 0]).is_err() && Option::<u8>::decode(&[0, 0]).is_err());
    }
}
