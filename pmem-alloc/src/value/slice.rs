//! Slices of plain data, read in place.

use super::{EncodeAs, Form, Invalid, Key, OrdKey, Plain, Stored, Value, text::common_prefix};
use crate::{Shape, Types};
use bytemuck::checked;
use std::borrow::Cow;

impl<T: Plain> Stored for Vec<T> {
    const FORM: Form = Form::Variable { align: align_of::<T>() };
    fn type_name() -> String {
        format!("[{}]", T::full_name())
    }
    fn describe(types: &mut Types) -> Shape {
        Shape::Encoded { args: vec![types.add::<T>()] }
    }
}

impl<T: Plain> Value for Vec<T> {
    type Ref<'a> = &'a [T];
    type Arg<'a> = &'a [T];
    fn encode(value: &[T], out: &mut Vec<u8>) -> Result<(), Invalid> {
        out.extend_from_slice(&Self::stored(value)?);
        Ok(())
    }
    fn stored(value: Self::Arg<'_>) -> Result<Cow<'_, [u8]>, Invalid> {
        if size_of::<T>() == 0 && !value.is_empty() {
            return Err(Invalid("elements without bytes, which cannot be counted"));
        }
        Ok(Cow::Borrowed(if size_of::<T>() == 0 { &[] } else { bytemuck::cast_slice(value) }))
    }
    fn decode(bytes: &[u8]) -> Result<&[T], Invalid> {
        if bytes.is_empty() {
            return Ok(&[]); // wherever it is
        }
        checked::try_cast_slice(bytes).map_err(|_| Invalid("wrong size, alignment or bits"))
    }
    fn to_owned(read: &[T]) -> Vec<T> {
        read.to_vec()
    }
}

impl<T: Plain> Key for Vec<T> {}

impl<T: Plain + Ord> OrdKey for Vec<T> {
    type Ordered<'a> = &'a [T];

    fn ordered(bytes: &[u8]) -> Result<&[T], Invalid> {
        Self::decode(bytes)
    }

    /// Up to the first element that differs.
    fn separator(left: &[u8], right: &[u8]) -> usize {
        let element = size_of::<T>().max(1);
        let same = common_prefix(left, right) / element;
        right.len().min((same + 1) * element)
    }
}

impl<T: Plain> EncodeAs<Vec<T>> for Vec<T> {
    fn arg(&self) -> &[T] {
        self
    }
}

impl<T: Plain, S: AsRef<[T]> + ?Sized> EncodeAs<Vec<T>> for &S {
    fn arg(&self) -> &[T] {
        (**self).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_where_it_is_if_it_is_aligned() {
        let words = [1u64, 2, 3];
        let stored = Vec::<u64>::stored(&words).unwrap();
        assert_eq!(Vec::<u64>::decode(&stored), Ok(&words[..]));
        assert_eq!(Vec::<u64>::decode(&stored[..12]), Err(Invalid("wrong size, alignment or bits")));
        assert!(Vec::<u64>::decode(&stored[4..12]).is_err());
        assert_eq!(Vec::<u64>::decode(&stored[1..1]), Ok(&[][..]));
        assert!(Vec::<bool>::decode(&[0, 1, 2]).is_err());
        assert!(Vec::<()>::stored(&[(), ()]).is_err() && Vec::<()>::stored(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_separator_of_slices_has_whole_elements() {
        let (left, right) = ([1u32, 0x100, 5], [1u32, 0x101, 6]);
        let [left, right] = [&left, &right].map(|key| bytemuck::cast_slice::<u32, u8>(key));
        assert_eq!(Vec::<u32>::separator(left, right), 8);
        assert_eq!(Vec::<u8>::separator(b"a", b"ab"), 2);
    }
}
