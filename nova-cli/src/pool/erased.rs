//! Values of types that this program does not have: their stored bytes, with the names that the pool records.
//!
//! A container's code is generic over its types, of which it uses form (size and alignment), name and order. So a [`Raw`] of the
//! right form, which takes its name and its order from what the pool says, opens the container.

use super::scalar::Scalar;
use pmem_alloc::{EncodeAs, Form, Invalid, Key, OrdKey, Shape, Stored, Types, Value};
use std::{borrow::Cow, cell::RefCell, marker::PhantomData};

/// What a key or a value is.
#[derive(Clone, Debug)]
struct Meaning {
    name: String,
    scalar: Scalar,
}

thread_local! {
    /// Set before a container is opened or registered, by the thread that does it.
    static MEANINGS: RefCell<Option<[Meaning; 2]>> = const { RefCell::new(None) };
}

/// Says what the container holds that is opened or registered next.
pub(crate) fn mean(key: &str, value: &str) {
    let meaning = |name: &str| Meaning { name: name.into(), scalar: Scalar::named(name) };
    MEANINGS.set(Some([meaning(key), meaning(value)]));
}

/// From now on registered containers are followed, of which there may be several.
pub(crate) fn mean_nothing() {
    MEANINGS.set(None);
}

/// Which of a container's two types.
pub(crate) trait Role: 'static {
    const NUMBER: usize;
}
pub(crate) struct OfKey;
pub(crate) struct OfValue;
impl Role for OfKey {
    const NUMBER: usize = 0;
}
impl Role for OfValue {
    const NUMBER: usize = 1;
}

/// Bytes that vary in number, as a [`Raw`]'s size.
pub(crate) const VARIABLE: usize = usize::MAX;

/// A value of `SIZE` bytes at a multiple of `ALIGN`.
pub(crate) struct Raw<R, const SIZE: usize, const ALIGN: usize>(PhantomData<R>);

impl<R: Role, const SIZE: usize, const ALIGN: usize> Raw<R, SIZE, ALIGN> {
    fn meaning() -> Option<Meaning> {
        MEANINGS.with_borrow(|meanings| meanings.as_ref().map(|meanings| meanings[R::NUMBER].clone()))
    }

    fn scalar() -> Scalar {
        MEANINGS.with_borrow(|meanings| {
            meanings.as_ref().map_or(Scalar::Unknown, |meanings| meanings[R::NUMBER].scalar)
        })
    }

    fn fits(bytes: &[u8]) -> Result<&[u8], Invalid> {
        if SIZE == VARIABLE || bytes.len() == SIZE { Ok(bytes) } else { Err(Invalid("wrong size")) }
    }
}

impl<R: Role, const SIZE: usize, const ALIGN: usize> Stored for Raw<R, SIZE, ALIGN> {
    const FORM: Form = match SIZE {
        VARIABLE => Form::Variable { align: ALIGN },
        size => Form::Fixed { size, align: ALIGN },
    };

    fn type_name() -> String {
        Self::meaning().map_or_else(|| "bytes".into(), |meaning| meaning.name)
    }

    /// As far as it matters: it holds no references (whoever opens a container has seen to that), and is not another type than the pool says.
    fn describe(types: &mut Types) -> Shape {
        match Self::meaning().map(|meaning| meaning.scalar) {
            // Fits whatever is recorded under this name.
            Some(Scalar::Unknown) => Shape::Opaque,
            Some(Scalar::Bytes) => Shape::Encoded { args: vec![types.add::<u8>()] },
            Some(Scalar::Array(len)) => Shape::Array { of: types.add::<u8>(), len: len as u64 },
            _ if SIZE == VARIABLE => Shape::Encoded { args: Vec::new() },
            _ => Shape::Plain { size: SIZE as u64, align: ALIGN as u32, fields: Some(Vec::new()) },
        }
    }
}

impl<R: Role, const SIZE: usize, const ALIGN: usize> Value for Raw<R, SIZE, ALIGN> {
    type Ref<'a> = &'a [u8];
    type Arg<'a> = &'a [u8];

    fn encode(value: Self::Arg<'_>, out: &mut Vec<u8>) -> Result<(), Invalid> {
        out.extend_from_slice(Self::fits(value)?);
        Ok(())
    }

    fn stored(value: Self::Arg<'_>) -> Result<Cow<'_, [u8]>, Invalid> {
        Self::fits(value).map(Cow::Borrowed)
    }

    fn decode(bytes: &[u8]) -> Result<&[u8], Invalid> {
        Self::fits(bytes)
    }

    fn to_owned(_: &[u8]) -> Self {
        Raw(PhantomData)
    }
}

impl<R: Role, const SIZE: usize, const ALIGN: usize> Key for Raw<R, SIZE, ALIGN> {}

/// A key's place in the order of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ordered<'a> {
    Unsigned(u128),
    Signed(i128),
    Bytes(&'a [u8]),
}

impl<R: Role, const SIZE: usize, const ALIGN: usize> OrdKey for Raw<R, SIZE, ALIGN> {
    type Ordered<'a> = Ordered<'a>;

    fn ordered(bytes: &[u8]) -> Result<Ordered<'_>, Invalid> {
        let bytes = Self::fits(bytes)?;
        let wide = |fill: u8| {
            let mut wide = [fill; 16];
            wide.get_mut(..bytes.len()).ok_or(Invalid("too large"))?.copy_from_slice(bytes);
            Ok(wide)
        };
        Ok(match Self::scalar() {
            Scalar::Unsigned(_) | Scalar::Bool | Scalar::Char => {
                Ordered::Unsigned(u128::from_le_bytes(wide(0)?))
            }
            Scalar::Signed(_) => {
                let is_negative = bytes.last().is_some_and(|byte| byte >> 7 == 1);
                Ordered::Signed(i128::from_le_bytes(wide(if is_negative { 0xff } else { 0 })?))
            }
            Scalar::Text | Scalar::Bytes | Scalar::Array(_) | Scalar::Unit => Ordered::Bytes(bytes),
            Scalar::Float(_) | Scalar::Unknown => return Err(Invalid("keys whose order is not known")),
        })
    }

    fn separator(left: &[u8], right: &[u8]) -> usize {
        match Self::scalar() {
            Scalar::Text => String::separator(left, right),
            Scalar::Bytes => Vec::<u8>::separator(left, right),
            _ => right.len(),
        }
    }
}

impl<R: Role, const SIZE: usize, const ALIGN: usize> EncodeAs<Raw<R, SIZE, ALIGN>> for &[u8] {
    fn arg(&self) -> &[u8] {
        self
    }
}
