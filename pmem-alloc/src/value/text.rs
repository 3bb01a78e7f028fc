//! Strings: their UTF-8, validated at each read.

use super::{EncodeAs, Form, Invalid, Key, OrdKey, Stored, Value};
use crate::{Shape, Types};
use std::borrow::Cow;

impl Stored for String {
    const FORM: Form = Form::Variable { align: 1 };
    fn type_name() -> String {
        "str".into()
    }
    fn describe(_: &mut Types) -> Shape {
        Shape::Encoded { args: Vec::new() }
    }
}

impl Value for String {
    type Ref<'a> = &'a str;
    type Arg<'a> = &'a str;
    fn encode(value: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }
    fn stored(value: Self::Arg<'_>) -> Result<Cow<'_, [u8]>, Invalid> {
        Ok(Cow::Borrowed(value.as_bytes()))
    }
    fn decode(bytes: &[u8]) -> Result<&str, Invalid> {
        str::from_utf8(bytes).map_err(|_| Invalid("not UTF-8"))
    }
    fn to_owned(read: &str) -> String {
        read.into()
    }
}

impl Key for String {}

/// The order of `str` is that of its bytes.
impl OrdKey for String {
    type Ordered<'a> = &'a [u8];

    fn ordered(bytes: &[u8]) -> Result<&[u8], Invalid> {
        Ok(bytes)
    }

    /// Up to the first character that differs.
    fn separator(left: &[u8], right: &[u8]) -> usize {
        let same = common_prefix(left, right);
        let is_continuation = |byte: &u8| byte & 0xC0 == 0x80;
        let end = right.iter().enumerate().skip(same + 1).find(|(_, byte)| !is_continuation(byte));
        end.map_or(right.len(), |(end, _)| end)
    }
}

/// How many bytes two keys begin with alike.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl EncodeAs<String> for String {
    fn arg(&self) -> &str {
        self
    }
}

impl<S: AsRef<str> + ?Sized> EncodeAs<String> for &S {
    fn arg(&self) -> &str {
        (**self).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_utf_8_are_no_string() {
        assert_eq!(String::decode("aé".as_bytes()), Ok("aé"));
        assert_eq!(String::decode(&[0x61, 0xC3]), Err(Invalid("not UTF-8")));
    }

    #[test]
    fn a_separator_is_a_string_between_two_others() {
        let words =
            ["", "a", "ab", "abc", "abd", "ac", "aé", "aê", "aÿz", "b", "é", "éa", "日本", "日本語", "本"];
        for (i, left) in words.iter().enumerate() {
            for right in &words[i + 1..] {
                let short = &right[..String::separator(left.as_bytes(), right.as_bytes())];
                assert!(*left < short && short <= *right, "{left} {short} {right}");
            }
        }
        assert_eq!(String::separator(b"abcdefg", b"abdefg"), 3);
    }
}
