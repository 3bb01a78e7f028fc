//! Nodes, to read: a leaf or an inner node, checked, zero-copy.

use super::change::EntrySlots;
use super::layout::{FINGERPRINTS, InnerLayout, LINE, LeafLayout, OCCUPIED};
use crate::{
    damage::corrupt,
    stored::{self, Old, Shape, invalid},
};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Body, Error, Form, Guard, Mode, Object, OrdKey, Ptr, Result, Stored, Value};
use std::{cmp::Ordering, fmt::Display, marker::PhantomData};

/// What every node begins with.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct NodeHead {
    magic: u32,
    level: u16,
    count: u16,
}
const _: () = assert!(size_of::<NodeHead>() == super::layout::NODE_HEAD);
/// Where an inner node's number of keys is.
pub(crate) const COUNT: u64 = 6;
const _: () = assert!(std::mem::offset_of!(NodeHead, count) as u64 == COUNT);

const LEAF_MAGIC: u32 = u32::from_le_bytes(*b"PBTl");
const INNER_MAGIC: u32 = u32::from_le_bytes(*b"PBTi");

impl NodeHead {
    pub(crate) const LEAF: NodeHead = NodeHead { magic: LEAF_MAGIC, level: 0, count: 0 };

    pub(crate) const fn inner(level: u32, count: usize) -> NodeHead {
        NodeHead { magic: INNER_MAGIC, level: level as u16, count: count as u16 }
    }

    /// All of it in one word: the magic lowest, the count highest.
    const fn word(self) -> u64 {
        self.magic as u64 | (self.level as u64) << 32 | (self.count as u64) << COUNT_SHIFT
    }
}
const COUNT_SHIFT: u32 = 48;

/// The bytes of the node at `at`, and its count; all else of its head must be as `expected`.
#[inline]
fn node<'a, M: Mode>(
    body: &'a Body<'_, M>,
    at: u64,
    size: usize,
    expected: NodeHead,
) -> Result<(&'a [u8], usize)> {
    if at == 0 || !at.is_multiple_of(LINE as u64) {
        return Err(misplaced(at));
    }
    let bytes = body.bytes(Ptr::from_offset(at), size as u64)?;
    let head = word_at(bytes, 0);
    if (head ^ expected.word()) << (64 - COUNT_SHIFT) == 0 {
        return Ok((bytes, (head >> COUNT_SHIFT) as usize));
    }
    Err(wrong_head(at, expected, bytemuck::cast(head.to_le_bytes())))
}

#[inline]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cold]
fn misplaced(at: u64) -> Error {
    corrupt(at, "a node, at a multiple of 64", format!("offset {at:#x}"))
}

#[cold]
fn wrong_head(at: u64, expected: NodeHead, found: NodeHead) -> Error {
    let name = |magic: u32| String::from_utf8_lossy(&magic.to_le_bytes()).into_owned();
    corrupt(
        at,
        format!("a node {:?} of level {}", name(expected.magic), expected.level),
        format!("{:?} of level {}", name(found.magic), found.level),
    )
}

#[cold]
fn wrong_count(at: u64, most: usize, count: usize) -> Error {
    corrupt(at + COUNT, format!("at most {most} keys"), format!("{count} keys"))
}

#[cold]
fn wrong_bitmap(at: u64, slots: usize, occupied: u64) -> Error {
    corrupt(at + OCCUPIED as u64, format!("at most {slots} slots"), format!("bitmap {occupied:#x}"))
}

#[cold]
fn wrong_bits(at: u64, why: impl Display) -> Error {
    corrupt(at, "offsets of nodes", why.to_string())
}

/// Where things are in a leaf.
pub(crate) const fn leaf_layout<K: Stored, V: Stored>() -> LeafLayout {
    LeafLayout::of(Shape::of::<K>(), Shape::of::<V>())
}

/// Where things are in an inner node.
pub(crate) const fn inner_layout<K: Stored>() -> InnerLayout {
    InnerLayout::of(Shape::of::<K>(), matches!(K::FORM, Form::Variable { .. }))
}

// ---- leaves ----------------------------------------------------------------------------------

/// A leaf that was checked: unsorted slots, a bitmap of the occupied ones, a fingerprint for each.
pub(crate) struct Leaf<'a, K, V, M: Mode> {
    /// What its slots refer into.
    pub(crate) body: &'a Body<'a, M>,
    pub(crate) at: u64,
    /// The whole node.
    pub(crate) bytes: &'a [u8],
    /// Slots that hold an entry.
    pub(crate) occupied: u64,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V, M: Mode> Clone for Leaf<'_, K, V, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V, M: Mode> Copy for Leaf<'_, K, V, M> {}

impl<'a, K: OrdKey, V: Stored, M: Mode> Leaf<'a, K, V, M> {
    pub(crate) const LAYOUT: LeafLayout = leaf_layout::<K, V>();

    #[inline]
    pub(crate) fn read(body: &'a Body<'_, M>, at: u64) -> Result<Self> {
        let (bytes, count) = node(body, at, Self::LAYOUT.size, NodeHead::LEAF)?;
        if count != 0 {
            return Err(wrong_count(at, 0, count));
        }
        let occupied = word_at(bytes, OCCUPIED);
        if occupied & !Self::LAYOUT.full() != 0 {
            return Err(wrong_bitmap(at, Self::LAYOUT.slots, occupied));
        }
        Ok(Leaf { body, at, bytes, occupied, types: PhantomData })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.occupied.count_ones() as usize
    }

    /// The lowest free slot.
    pub(crate) fn free_slot(&self) -> Option<usize> {
        let slot = (!self.occupied).trailing_zeros() as usize;
        (slot < Self::LAYOUT.slots).then_some(slot)
    }

    /// The slots that hold an entry.
    pub(crate) fn slots(&self) -> Slots {
        Slots(self.occupied)
    }

    pub(crate) fn key_slot(&self, slot: usize) -> &'a [u8] {
        &self.bytes[Self::LAYOUT.key(slot)..][..const { Shape::of::<K>().size }]
    }

    pub(crate) fn value_slot(&self, slot: usize) -> &'a [u8] {
        &self.bytes[Self::LAYOUT.value(slot)..][..const { Shape::of::<V>().size }]
    }

    pub(crate) fn key_at(&self, slot: usize) -> u64 {
        self.at + Self::LAYOUT.key(slot) as u64
    }

    pub(crate) fn value_at(&self, slot: usize) -> u64 {
        self.at + Self::LAYOUT.value(slot) as u64
    }

    /// A key in its stored form.
    #[inline]
    pub(crate) fn key_form(&self, slot: usize) -> Result<&'a [u8]> {
        stored::bytes::<K, M>(self.body, self.key_at(slot), self.key_slot(slot))
    }

    #[inline]
    pub(crate) fn key(&self, slot: usize) -> Result<K::Ref<'a>> {
        stored::read::<K, M>(self.body, self.key_at(slot), self.key_slot(slot))
    }

    #[inline]
    pub(crate) fn value(&self, slot: usize) -> Result<V::Ref<'a>>
    where
        V: Value,
    {
        stored::read::<V, M>(self.body, self.value_at(slot), self.value_slot(slot))
    }

    /// An object among the values.
    pub(crate) fn object(&self, slot: usize) -> Result<Guard<'a, V, M::Shared>>
    where
        V: Object,
    {
        stored::open::<V, M>(self.body, self.value_at(slot), self.value_slot(slot))
    }

    /// The blocks that the key and the value of an entry refer to.
    pub(crate) fn blocks(&self, slot: usize) -> Result<[Option<u64>; 2]> {
        let key = stored::block::<K>(self.key_at(slot), self.key_slot(slot))?;
        let value = stored::block::<V>(self.value_at(slot), self.value_slot(slot))?;
        Ok([key, value].map(|block| block.map(|(at, _)| at)))
    }

    /// A copy of a value, for whoever takes it out.
    #[inline]
    pub(crate) fn old(&self, slot: usize) -> Result<Old<V>> {
        Old::take(self.body, self.value_at(slot), self.value_slot(slot))
    }

    /// A key, to be put in order.
    #[inline]
    pub(crate) fn ordered(&self, slot: usize) -> Result<K::Ordered<'a>> {
        K::ordered(self.key_form(slot)?).map_err(|why| invalid::<K>(self.key_at(slot), why))
    }

    /// How a key compares with another, in its stored form.
    #[inline]
    pub(crate) fn compare(&self, slot: usize, key: &[u8]) -> Result<Ordering> {
        K::compare(self.key_form(slot)?, key).map_err(|why| invalid::<K>(self.key_at(slot), why))
    }

    pub(crate) fn fingerprint(&self, slot: usize) -> u8 {
        self.bytes[FINGERPRINTS + slot]
    }

    /// An entry, to be copied elsewhere.
    pub(super) fn entry(&self, slot: usize) -> EntrySlots<'a> {
        let (key, value) = (self.key_slot(slot), self.value_slot(slot));
        EntrySlots { key, value, fingerprint: self.fingerprint(slot) }
    }

    /// The slot that holds `key`, in its stored form.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<usize>> {
        let fingerprints = &self.bytes[FINGERPRINTS..FINGERPRINTS + Self::LAYOUT.fingerprint_bytes()];
        let candidates = equal_bytes(fingerprints, fingerprint(key)) & self.occupied;
        for slot in Slots(candidates) {
            if self.compare(slot, key)? == Ordering::Equal {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Appends all entries to `entries`, in no order.
    pub(crate) fn list_into(&self, entries: &mut Vec<(K::Ordered<'a>, u8)>) -> Result<()> {
        for slot in self.slots() {
            entries.push((self.ordered(slot)?, slot as u8));
        }
        Ok(())
    }

    /// As [`list_into`](Leaf::list_into), and puts `entries` in order.
    pub(crate) fn sort_into(&self, entries: &mut Vec<(K::Ordered<'a>, u8)>) -> Result<()> {
        self.list_into(entries)?;
        entries.sort_unstable_by_key(|(key, _)| *key);
        Ok(())
    }
}

/// The ones of a bitmap, from the lowest.
pub(crate) struct Slots(pub(crate) u64);

impl Iterator for Slots {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// One byte that tells most keys of a leaf apart (FPTree, SIGMOD'16): the top byte of a multiplicative hash.
#[inline]
pub(crate) fn fingerprint(key: &[u8]) -> u8 {
    let (words, rest) = key.as_chunks::<8>();
    let mut hash = words.iter().fold(0, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    (hash >> 56) as u8
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Bit `i` is set if `bytes[i]` is `byte`: eight at a time in a 64-bit word. At most 64 bytes, whole words.
#[inline]
pub(crate) fn equal_bytes(bytes: &[u8], byte: u8) -> u64 {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let pattern = u64::from(byte) * 0x0101_0101_0101_0101;
    let (words, _) = bytes.as_chunks::<8>();
    let mut equal = 0;
    for (i, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ pattern;
        // The high bit of each byte of `zero` says that the byte of `differs` is 0; no carry crosses bytes.
        let zero = !(((differs & LOW) + LOW) | differs | LOW);
        // Gathers these eight bits in the top byte.
        equal |= ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    equal
}

// ---- inner nodes -----------------------------------------------------------------------------

/// An inner node that was checked: sorted separators and one child more.
pub(crate) struct Inner<'a, K, M: Mode> {
    body: &'a Body<'a, M>,
    at: u64,
    /// The separators' slots, side by side.
    pub(crate) keys: &'a [u8],
    pub(crate) children: &'a [u64],
    types: PhantomData<fn() -> K>,
}

impl<'a, K: OrdKey, M: Mode> Inner<'a, K, M> {
    pub(crate) const LAYOUT: InnerLayout = inner_layout::<K>();
    /// Bytes of a separator's slot.
    pub(crate) const KEY: usize = Shape::of::<K>().size;

    #[inline]
    pub(crate) fn read(body: &'a Body<'_, M>, at: u64, level: u32) -> Result<Self> {
        let layout = Self::LAYOUT;
        let (bytes, count) = node(body, at, layout.size, NodeHead::inner(level, 0))?;
        if count > layout.capacity {
            return Err(wrong_count(at, layout.capacity, count));
        }
        let keys = &bytes[layout.keys..layout.keys + count * Self::KEY];
        let children = bytemuck::try_cast_slice(&bytes[layout.children..layout.children + 8 * (count + 1)])
            .map_err(|why| wrong_bits(at + layout.children as u64, why))?;
        Ok(Inner { body, at, keys, children, types: PhantomData })
    }

    /// Number of separators.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.children.len() - 1
    }

    /// A separator's slot.
    pub(crate) fn key_slot(&self, i: usize) -> &'a [u8] {
        &self.keys[i * Self::KEY..(i + 1) * Self::KEY]
    }

    /// Where a separator's slot is.
    pub(crate) fn key_at(&self, i: usize) -> u64 {
        self.at + (Self::LAYOUT.keys + i * Self::KEY) as u64
    }

    /// A separator in its stored form.
    #[inline]
    pub(crate) fn key_form(&self, i: usize) -> Result<&'a [u8]> {
        stored::bytes::<K, M>(self.body, self.key_at(i), self.key_slot(i))
    }

    /// The block that a separator's slot refers to, and its length.
    pub(crate) fn key_block(&self, i: usize) -> Result<Option<(u64, u64)>> {
        stored::block::<K>(self.key_at(i), self.key_slot(i))
    }

    /// Which child `key` belongs to: the number of separators that are not greater.
    #[inline]
    pub(crate) fn child_for(&self, key: &[u8]) -> Result<usize> {
        if const { stored::is_fixed::<K>() } {
            return K::not_greater(self.keys, key).map_err(|why| invalid::<K>(self.key_at(0), why));
        }
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            let order = K::compare(self.key_form(middle)?, key)
                .map_err(|why| invalid::<K>(self.key_at(middle), why))?;
            if order == Ordering::Greater { high = middle } else { low = middle + 1 }
        }
        Ok(low)
    }

    /// Whether a further key has no room.
    pub(crate) fn is_full(&self) -> bool {
        self.count() == Self::LAYOUT.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_found_wherever_they_are_and_nothing_else_is() {
        for byte in [0u8, 1, 0x7F, 0x80, 0xFE, 0xFF] {
            for other in [0u8, 1, 0x7F, 0x80, 0x81, 0xFF] {
                for seed in 0..200 {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let bits = random.u64(..);
                    let bytes: Vec<u8> =
                        (0..64).map(|i| if bits >> i & 1 == 1 { byte } else { other }).collect();
                    let all = if byte == other { u64::MAX } else { bits };
                    for len in (8..=64).step_by(8) {
                        let expected = all & (u64::MAX >> (64 - len));
                        assert_eq!(equal_bytes(&bytes[..len], byte), expected, "{byte} {other} {seed} {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn fingerprints_are_what_the_format_says() {
        let hash = |words: &[u64]| {
            let step = |h: u64, w: &u64| (h.rotate_left(5) ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (words.iter().fold(0, step) >> 56) as u8
        };
        assert_eq!(fingerprint(&[]), 0);
        assert_eq!(fingerprint(&[7]), hash(&[7]));
        assert_eq!(fingerprint(&7u64.to_le_bytes()), hash(&[7]));
        assert_eq!(fingerprint(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 3]), hash(&[1, 0x0302]));
    }
}
