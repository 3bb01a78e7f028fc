//! Types that keys and values can be written as on a command line; all others are shown as hex.

use crate::size::hex;
use serde_json::{Value, json};

/// What the bytes of a stored value mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// Whole numbers, of so many bytes.
    Unsigned(usize),
    Signed(usize),
    /// Of 4 or 8 bytes.
    Float(usize),
    Bool,
    Char,
    /// UTF-8.
    Text,
    /// Of any number.
    Bytes,
    /// Of this number.
    Array(usize),
    /// Nothing: what a set has beside its keys.
    Unit,
    /// Something else.
    Unknown,
}

impl Scalar {
    /// By the name that a pool records.
    pub(crate) fn named(name: &str) -> Scalar {
        match name {
            "u8" => Scalar::Unsigned(1),
            "u16" => Scalar::Unsigned(2),
            "u32" => Scalar::Unsigned(4),
            "u64" => Scalar::Unsigned(8),
            "u128" => Scalar::Unsigned(16),
            "i8" => Scalar::Signed(1),
            "i16" => Scalar::Signed(2),
            "i32" => Scalar::Signed(4),
            "i64" => Scalar::Signed(8),
            "i128" => Scalar::Signed(16),
            "f32" => Scalar::Float(4),
            "f64" => Scalar::Float(8),
            "bool" => Scalar::Bool,
            "char" => Scalar::Char,
            "str" => Scalar::Text,
            "[u8]" => Scalar::Bytes,
            "()" => Scalar::Unit,
            _ => match name.strip_prefix("[u8; ").and_then(|rest| rest.strip_suffix(']')?.parse().ok()) {
                Some(len) => Scalar::Array(len),
                None => Scalar::Unknown,
            },
        }
    }

    /// Whether keys of the type can be compared here as the pool's own program does.
    pub(crate) fn is_ordered(self) -> bool {
        !matches!(self, Scalar::Unknown | Scalar::Float(_))
    }

    /// The stored form of what somebody wrote. Bytes are written as text, or as 0x and two digits each.
    pub(crate) fn parse(self, text: &str) -> Result<Vec<u8>, String> {
        let bad = |what: &str| format!("`{text}` is not {what}");
        let number = |bytes: Option<Vec<u8>>, signed: bool, len: usize| {
            bytes.ok_or_else(|| {
                bad(&format!("a number of {} bits{}", len * 8, if signed { ", signed" } else { "" }))
            })
        };
        match self {
            Scalar::Unsigned(len) => {
                let fits = |value: &u128| len == 16 || value >> (len * 8) == 0;
                number(
                    text.parse().ok().filter(fits).map(|value: u128| value.to_le_bytes()[..len].to_vec()),
                    false,
                    len,
                )
            }
            Scalar::Signed(len) => {
                let fits = |value: &i128| len == 16 || (-1..=0).contains(&(value >> (len * 8 - 1)));
                number(
                    text.parse().ok().filter(fits).map(|value: i128| value.to_le_bytes()[..len].to_vec()),
                    true,
                    len,
                )
            }
            Scalar::Float(4) => {
                text.parse().map(|value: f32| value.to_le_bytes().to_vec()).map_err(|_| bad("a number"))
            }
            Scalar::Float(_) => {
                text.parse().map(|value: f64| value.to_le_bytes().to_vec()).map_err(|_| bad("a number"))
            }
            Scalar::Bool => {
                text.parse().map(|value: bool| vec![u8::from(value)]).map_err(|_| bad("true or false"))
            }
            Scalar::Char => text
                .parse()
                .map(|value: char| u32::from(value).to_le_bytes().to_vec())
                .map_err(|_| bad("one character")),
            Scalar::Text => Ok(text.as_bytes().to_vec()),
            Scalar::Bytes => bytes(text),
            Scalar::Array(len) => {
                let bytes = bytes(text)?;
                if bytes.len() == len { Ok(bytes) } else { Err(bad(&format!("{len} bytes"))) }
            }
            Scalar::Unit if text.is_empty() => Ok(Vec::new()),
            Scalar::Unit => Err(bad("nothing")),
            Scalar::Unknown => bytes(text),
        }
    }

    /// Stored bytes for people; what they cannot mean is shown as hex.
    pub(crate) fn show(self, stored: &[u8]) -> String {
        self.text(stored).unwrap_or_else(|| format!("0x{}", hex(stored)))
    }

    fn text(self, stored: &[u8]) -> Option<String> {
        let wide = |negative: bool| {
            let mut wide = [if negative { 0xff } else { 0 }; 16];
            wide.get_mut(..stored.len())?.copy_from_slice(stored);
            Some(wide)
        };
        match self {
            Scalar::Unsigned(len) if stored.len() == len => {
                Some(u128::from_le_bytes(wide(false)?).to_string())
            }
            Scalar::Signed(len) if stored.len() == len => {
                Some(i128::from_le_bytes(wide(stored[len - 1] >> 7 == 1)?).to_string())
            }
            Scalar::Float(4) => Some(f32::from_le_bytes(stored.try_into().ok()?).to_string()),
            Scalar::Float(_) => Some(f64::from_le_bytes(stored.try_into().ok()?).to_string()),
            Scalar::Bool => [("false", [0]), ("true", [1])]
                .iter()
                .find(|(_, byte)| byte == stored)
                .map(|(name, _)| (*name).into()),
            Scalar::Char => char::from_u32(u32::from_le_bytes(stored.try_into().ok()?)).map(String::from),
            Scalar::Text => str::from_utf8(stored).ok().map(String::from),
            Scalar::Unit => Some("()".into()),
            _ => None,
        }
    }

    /// Stored bytes as JSON: numbers that every reader has exactly, otherwise strings.
    pub(crate) fn json(self, stored: &[u8]) -> Value {
        let text = self.show(stored);
        match self {
            Scalar::Unsigned(len) if len <= 8 => {
                text.parse::<u64>().map_or(json!(text), |value| json!(value))
            }
            Scalar::Signed(len) if len <= 8 => text.parse::<i64>().map_or(json!(text), |value| json!(value)),
            Scalar::Float(_) => text.parse::<f64>().map_or(json!(text), |value| json!(value)),
            Scalar::Bool => text.parse::<bool>().map_or(json!(text), |value| json!(value)),
            Scalar::Unit => Value::Null,
            _ => json!(text),
        }
    }
}

/// `0x` and two digits for each byte; anything else is the bytes of the text.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = text.strip_prefix("0x") else { return Ok(text.as_bytes().to_vec()) };
    let digit = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let pairs = (0..digits.len()).step_by(2).map(digit);
    pairs.collect::<Option<_>>().ok_or_else(|| format!("`{text}`: write 0x and two digits for each byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_they_are_written() {
        let values = [
            ("u8", "255"),
            ("u16", "65535"),
            ("u64", "18446744073709551615"),
            ("u128", "340282366920938463463374607431768211455"),
            ("i8", "-128"),
            ("i32", "-1"),
            ("i64", "-9223372036854775808"),
            ("i64", "9"),
            ("f32", "1.5"),
            ("f64", "-0.25"),
            ("bool", "true"),
            ("char", "é"),
            ("str", "häuser"),
            ("[u8]", "0x00ff"),
            ("[u8; 2]", "0x0102"),
            ("other#8/8", "0x01"),
        ];
        for (name, text) in values {
            let scalar = Scalar::named(name);
            assert_eq!(scalar.show(&scalar.parse(text).unwrap()), text, "{name}");
        }
        assert_eq!(Scalar::named("[u8]").parse("ab"), Ok(vec![0x61, 0x62]));
        assert_eq!(Scalar::named("u64").json(&7u64.to_le_bytes()), json!(7));
    }

    #[test]
    fn what_a_type_cannot_be_is_refused() {
        for (name, text) in [
            ("u8", "256"),
            ("u8", "-1"),
            ("i8", "128"),
            ("i8", "-129"),
            ("u64", "x"),
            ("bool", "1"),
            ("char", "ab"),
            ("[u8; 2]", "abc"),
            ("[u8]", "0x0"),
            ("[u8]", "0xgg"),
            ("[u8]", "0xä"),
            ("()", "x"),
        ] {
            assert!(Scalar::named(name).parse(text).is_err(), "{name} {text}");
        }
        // And what is stored may be anything.
        assert_eq!(Scalar::named("u64").show(&[1, 2]), "0x0102");
        assert_eq!(Scalar::named("str").show(&[0xff]), "0xff");
        assert_eq!(Scalar::named("bool").show(&[2]), "0x02");
    }
}
