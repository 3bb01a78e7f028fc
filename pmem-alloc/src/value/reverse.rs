//! What is ordered the other way round: stored as it is, compared in reverse.

use super::{EncodeAs, Form, Invalid, Key, OrdKey, Stored, Value};
use crate::{Shape, Types};
use std::{
    borrow::Cow,
    cmp::{Ordering, Reverse},
};

#[diagnostic::do_not_recommend]
impl<T: Value> Stored for Reverse<T> {
    const FORM: Form = T::FORM;
    fn type_name() -> String {
        format!("Reverse<{}>", T::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        Shape::Encoded { args: vec![types.add::<T>()] }
    }
}

#[diagnostic::do_not_recommend]
impl<T: Value> Value for Reverse<T> {
    type Ref<'a> = Reverse<T::Ref<'a>>;
    type Arg<'a> = T::Arg<'a>;
    fn encode(value: T::Arg<'_>, out: &mut Vec<u8>) -> Result<(), Invalid> {
        T::encode(value, out)
    }
    fn stored(value: Self::Arg<'_>) -> Result<Cow<'_, [u8]>, Invalid> {
        T::stored(value)
    }
    fn decode(bytes: &[u8]) -> Result<Reverse<T::Ref<'_>>, Invalid> {
        T::decode(bytes).map(Reverse)
    }
    fn to_owned(read: Reverse<T::Ref<'_>>) -> Self {
        Reverse(T::to_owned(read.0))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Key> Key for Reverse<T> {}

#[diagnostic::do_not_recommend]
impl<T: OrdKey> OrdKey for Reverse<T> {
    type Ordered<'a> = Reverse<T::Ordered<'a>>;

    fn ordered(bytes: &[u8]) -> Result<Self::Ordered<'_>, Invalid> {
        T::ordered(bytes).map(Reverse)
    }

    fn compare(a: &[u8], b: &[u8]) -> Result<Ordering, Invalid> {
        T::compare(b, a)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Value, Q: EncodeAs<T>> EncodeAs<Reverse<T>> for Reverse<Q> {
    fn arg(&self) -> T::Arg<'_> {
        self.0.arg()
    }
}

#[diagnostic::do_not_recommend]
impl<T: Value, Q: EncodeAs<T>> EncodeAs<Reverse<T>> for &Reverse<Q> {
    fn arg(&self) -> T::Arg<'_> {
        self.0.arg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_other_way_round_and_the_bytes_are_the_same() {
        let words = ["a", "ab", "b"];
        for (a, b) in words.iter().zip(&words[1..]) {
            let [a, b] = [a, b].map(|word| Reverse::<String>::stored(word).unwrap());
            assert_eq!(Reverse::<String>::compare(&a, &b), Ok(Ordering::Greater));
            assert!(Reverse::<String>::ordered(&a).unwrap() > Reverse::<String>::ordered(&b).unwrap());
        }
        let keys = bytemuck::cast_slice::<u64, u8>(&[9, 7, 5, 3]);
        for (key, not_greater) in [(10u64, 0), (9, 1), (6, 2), (5, 3), (0, 4)] {
            assert_eq!(Reverse::<u64>::not_greater(keys, bytemuck::bytes_of(&key)), Ok(not_greater), "{key}");
        }
        assert_eq!(Reverse::<u64>::decode(bytemuck::bytes_of(&7u64)), Ok(Reverse(&7)));
    }
}
