//! Keys and values: both follow from numbers, so that they can be checked.

/// The longest value.
pub(crate) const LONGEST: usize = 100;

/// Scrambles a number; different ones stay different (each step can be undone).
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// The key of the `index`-th record: random, and never that of another.
pub(crate) fn key(seed: u64, index: u64) -> u64 {
    mix(index) ^ mix(seed ^ 0x5EED)
}

/// A value: the number of the write that it is of, the key, and bytes that follow from both.
pub(crate) struct Value {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Value {
    pub(crate) fn new(key: u64, number: u64, len: usize) -> Value {
        let (mut bytes, mut word) = ([0; LONGEST], key ^ number.rotate_left(32));
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..16].copy_from_slice(&key.to_le_bytes());
        for part in bytes[16..].chunks_mut(8) {
            word = word.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1);
            part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
        }
        Value { bytes, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The number that a value begins with.
pub(crate) fn number_of(value: &[u8]) -> u64 {
    word(value, 0)
}

/// The key that a value was made for.
pub(crate) fn key_of(value: &[u8]) -> u64 {
    word(value, 8)
}

fn word(value: &[u8], at: usize) -> u64 {
    value.get(at..at + 8).map_or(u64::MAX, |bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
}
