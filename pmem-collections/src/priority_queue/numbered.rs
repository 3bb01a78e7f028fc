//! The keys of a queue's tree: elements with a number, so that there may be equal ones. `format/priority_queue.md` has the bytes.

use pmem_alloc::{Form, Invalid, Key, OrdKey, Shape, Stored, Types, Value};
use std::cmp::{Ordering, Reverse};

/// An element and its number among those that equal it. (An owned copy has the element alone.)
pub(super) struct Numbered<T>(pub(super) T);

const NUMBER: usize = size_of::<u64>();

impl<T: Value> Numbered<T> {
    /// Where the number is in a stored form of `len` bytes.
    const fn number_at(len: usize) -> Option<usize> {
        match T::FORM {
            Form::Fixed { size, .. } => Some(size.next_multiple_of(NUMBER)),
            _ => len.checked_sub(NUMBER),
        }
    }

    /// The element's stored form and the number, in a stored form.
    fn parts(bytes: &[u8]) -> Result<(&[u8], u64), Invalid> {
        let shorter = Invalid("shorter than its number");
        let at = Self::number_at(bytes.len()).ok_or(shorter)?;
        let number = bytes.get(at..).and_then(|rest| rest.first_chunk::<NUMBER>()).ok_or(shorter)?;
        let end = if let Form::Fixed { size, .. } = T::FORM { size } else { at };
        Ok((&bytes[..end], u64::from_le_bytes(*number)))
    }
}

impl<T: Value> Stored for Numbered<T> {
    const FORM: Form = match T::FORM {
        Form::Fixed { size, align } => {
            let align = if align < NUMBER { NUMBER } else { align };
            Form::Fixed { size: (size.next_multiple_of(NUMBER) + NUMBER).next_multiple_of(align), align }
        }
        form => form,
    };
    fn type_name() -> String {
        format!("Numbered<{}>", T::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        Shape::Encoded { args: vec![types.add::<T>()] }
    }
}

impl<T: Value> Value for Numbered<T> {
    type Ref<'a> = (T::Ref<'a>, u64);
    type Arg<'a> = (T::Arg<'a>, u64);

    fn encode((element, number): (T::Arg<'_>, u64), out: &mut Vec<u8>) -> Result<(), Invalid> {
        let start = out.len();
        T::encode(element, out)?;
        if let Form::Fixed { size, .. } = T::FORM {
            out.resize(start + size.next_multiple_of(NUMBER), 0);
        }
        out.extend_from_slice(&number.to_le_bytes());
        if let Form::Fixed { size, .. } = Self::FORM {
            out.resize(start + size, 0);
        }
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<(T::Ref<'_>, u64), Invalid> {
        let (element, number) = Self::parts(bytes)?;
        Ok((T::decode(element)?, number))
    }

    fn to_owned((element, _): (T::Ref<'_>, u64)) -> Self {
        Numbered(T::to_owned(element))
    }
}

impl<T: Key> Key for Numbered<T> {}

impl<T: OrdKey> OrdKey for Numbered<T> {
    type Ordered<'a> = (T::Ordered<'a>, Reverse<u64>);

    fn ordered(bytes: &[u8]) -> Result<Self::Ordered<'_>, Invalid> {
        let (element, number) = Self::parts(bytes)?;
        Ok((T::ordered(element)?, Reverse(number)))
    }

    fn compare(a: &[u8], b: &[u8]) -> Result<Ordering, Invalid> {
        let ((a, first), (b, second)) = (Self::parts(a)?, Self::parts(b)?);
        Ok(T::compare(a, b)?.then(second.cmp(&first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form<T: Value>(element: T::Arg<'_>, number: u64) -> Vec<u8> {
        Numbered::<T>::stored((element, number)).unwrap().into_owned()
    }

    #[test]
    fn keys_are_what_the_format_says() {
        assert_eq!(form::<u8>(&7, 0x0102), [7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(form::<u128>(&7, 9).len(), 32);
        assert_eq!(form::<String>("ab", 9), [b'a', b'b', 9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(form::<()>(&(), 9), 9u64.to_le_bytes());
        let fixed = |form| matches!(form, Form::Fixed { size: 32, align: 16 });
        assert!(fixed(Numbered::<u128>::FORM));
    }

    #[test]
    fn equal_elements_are_in_descending_order_of_their_numbers() {
        type Keys = Numbered<String>;
        let order = [("a", 2), ("a", 1), ("a", 0), ("ab", 7), ("b", u64::MAX), ("b", 0)];
        let forms = order.map(|(element, number)| form::<String>(element, number));
        for pair in forms.windows(2) {
            assert_eq!(Keys::compare(&pair[0], &pair[1]), Ok(Ordering::Less));
            assert!(Keys::ordered(&pair[0]).unwrap() < Keys::ordered(&pair[1]).unwrap());
        }
        assert!(Keys::decode(b"short").is_err());
    }
}
