//! Values of any shape, by serde: encoded at each write, decoded at each read.
//!
//! The stored form is a check, the low 32 bits of the XXH3-64 of what follows, and the value in postcard's wire format
//! (version 1). Decoders that are derived believe lengths and follow boxes as deep as the bytes say; so bytes that are not what was
//! written do not get to them.

use super::{EncodeAs, Field, Form, Invalid, Stored, Value, tuple};
use crate::{Shape, Types};
use serde::{Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_64;

/// A type that [`Serde`] can store: any with serde's derives, and a name on media.
///
/// ```
/// # use pmem_alloc::{Schema, Serde, Value}; use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// struct Order { lines: Vec<(String, u32)>, note: Option<String> }
/// impl Schema for Order { const NAME: &'static str = "shop.Order"; }
/// ```
///
/// The encoding has no field names: adding, removing or reordering fields makes another schema, of another
/// [`VERSION`](Schema::VERSION), and a pool with the old one is refused. For a type of another crate, make a struct of one
/// field around it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema name",
    label = "not a `Schema`",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` and\n\
            `impl Schema for {Self} {{ const NAME: &'static str = \"...\"; }}`"
)]
pub trait Schema: Serialize + DeserializeOwned + 'static {
    /// The type's name on media. Choose it once.
    const NAME: &'static str;
    /// Counts the layouts that the type has had.
    const VERSION: u32 = 1;
}

/// Stores any type with a [`Schema`]: `PBTreeMap<u64, Serde<Order>>`. Given as `Order` or `&Order`, read as `Order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serde<T>(pub T);

const CHECK: usize = 4;

fn check_of(bytes: &[u8]) -> [u8; CHECK] {
    (xxh3_64(bytes) as u32).to_le_bytes()
}

impl<T: Schema> Stored for Serde<T> {
    const FORM: Form = Form::Variable { align: 1 };
    fn type_name() -> String {
        format!("Serde<{}@{}>", T::NAME, T::VERSION)
    }
    fn describe(_: &mut Types) -> Shape {
        Shape::Encoded { args: Vec::new() }
    }
}

impl<T: Schema> Value for Serde<T> {
    type Ref<'a> = T;
    type Arg<'a> = &'a T;
    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let start = out.len();
        out.extend_from_slice(&[0; CHECK]);
        *out = postcard::to_extend(value, std::mem::take(out))
            .map_err(|_| Invalid("serde cannot encode it (a sequence of unknown length?)"))?;
        let check = check_of(&out[start + CHECK..]);
        out[start..start + CHECK].copy_from_slice(&check);
        Ok(())
    }
    fn decode(bytes: &[u8]) -> Result<T, Invalid> {
        let (check, bytes) = bytes.split_first_chunk::<CHECK>().ok_or(Invalid("shorter than its check"))?;
        if *check != check_of(bytes) {
            return Err(Invalid("its check is wrong"));
        }
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok(_) => Err(Invalid("goes on behind its end")),
            Err(_) => Err(Invalid("does not decode")),
        }
    }
    fn to_owned(read: T) -> Self {
        Serde(read)
    }
}

impl<T: Schema> Field for Serde<T> {
    type View<'a> = T;
    fn write(value: &T, out: &mut Vec<u8>) -> Result<(), Invalid> {
        tuple::write_counted::<Self>(value, out)
    }
    fn view(bytes: &mut &[u8]) -> Result<T, Invalid> {
        Self::decode(tuple::take_counted(bytes)?)
    }
    fn view_to_owned(view: T) -> Self {
        Serde(view)
    }
}

impl<T: Schema> EncodeAs<Serde<T>> for T {
    fn arg(&self) -> &T {
        self
    }
}

impl<T: Schema> EncodeAs<Serde<T>> for &T {
    fn arg(&self) -> &T {
        self
    }
}

impl<T: Schema> EncodeAs<Serde<T>> for Serde<T> {
    fn arg(&self) -> &T {
        &self.0
    }
}

impl<T: Schema> EncodeAs<Serde<T>> for &Serde<T> {
    fn arg(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle { radius: f32 },
        Many(Vec<Shape>, BTreeMap<String, u64>),
    }
    impl Schema for Shape {
        const NAME: &'static str = "test.Shape";
        const VERSION: u32 = 3;
    }

    fn shape() -> Shape {
        let tags = [("one", 1), ("two", 2)].map(|(k, v)| (k.to_string(), v));
        Shape::Many(vec![Shape::Point, Shape::Circle { radius: 1.5 }], tags.into())
    }

    #[test]
    fn any_serde_type_is_read_as_it_was_written() {
        let shape = shape();
        let bytes = Serde::stored(&shape).unwrap();
        assert_eq!(Serde::<Shape>::decode(&bytes), Ok(shape.clone()));
        assert_eq!(Serde::<Shape>::type_name(), "Serde<test.Shape@3>");
        let pair = <(u8, Serde<Shape>)>::stored((&1, &shape)).unwrap();
        assert_eq!(<(u8, Serde<Shape>)>::decode(&pair), Ok((1, shape)));
    }

    #[test]
    fn a_damaged_value_of_serde_is_an_error() {
        let bytes = Serde::stored(&shape()).unwrap().into_owned();
        for len in 0..bytes.len() {
            assert!(Serde::<Shape>::decode(&bytes[..len]).is_err());
        }
        for bit in 0..8 * bytes.len() {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Serde::<Shape>::decode(&bytes), Err(Invalid("its check is wrong")));
        }
    }
}
