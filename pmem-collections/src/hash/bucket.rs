//! A bucket, to read: checked, zero-copy.

use super::layout::{GROUP, HEAD, Layout};
use crate::{
    damage::corrupt,
    stored::{self, Old, Shape},
    tree::equal_bytes,
};
use pmem_alloc::{Body, Error, Guard, Key, Mode, Object, Ptr, Result, Stored, Value};
use std::marker::PhantomData;

/// Bits of the hash that choose a segment, at most.
pub(crate) const MAX_DEPTH: u32 = 42;

/// Where things are in a head.
pub(crate) const OCCUPIED: usize = 8;
pub(crate) const ELSEWHERE: usize = 10;
pub(crate) const FINGERPRINTS: usize = 16;
const FINGERPRINT_BYTES: usize = 16;
const _: () = assert!(FINGERPRINTS + FINGERPRINT_BYTES == HEAD);
const _: () = assert!(ELSEWHERE + GROUP - 1 <= FINGERPRINTS);

const TAG: u64 = 11;

/// The high `depth` bits of a hash.
#[inline]
pub(crate) const fn prefix(hash: u64, depth: u32) -> u64 {
    if depth == 0 { 0 } else { hash & (u64::MAX << (64 - depth)) }
}

/// One byte that tells most keys of a bucket apart (FPTree, SIGMOD'16); bits that choose neither bucket nor segment.
#[inline]
pub(crate) const fn fingerprint(hash: u64) -> u8 {
    (hash >> 8) as u8
}

/// Where a segment is, and how large: what a reference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) at: u64,
    /// log2 of its number of buckets.
    pub(crate) bits: u32,
}

impl Segment {
    /// Number of the bucket where an entry with this hash belongs.
    #[inline]
    pub(crate) const fn home(self, hash: u64) -> usize {
        hash as usize & (self.buckets() - 1)
    }

    pub(crate) const fn buckets(self) -> usize {
        1 << self.bits
    }

    /// Buckets that an entry can be in.
    #[inline]
    pub(crate) const fn probes(self) -> usize {
        if self.buckets() < GROUP { self.buckets() } else { GROUP }
    }
}

/// What a bucket's first word must be.
#[inline]
pub(crate) const fn identity(hash: u64, depth: u32, bits: u32, number: usize) -> u64 {
    prefix(hash, depth) | TAG << 18 | (number as u64) << 10 | (bits as u64) << 6 | depth as u64
}

/// Where things are in a bucket.
pub(crate) const fn bucket_layout<K: Stored, V: Stored>() -> Layout {
    Layout::of(Shape::of::<K>(), Shape::of::<V>())
}

/// A bucket that was checked.
pub(crate) struct Bucket<'a, K, V, M: Mode> {
    /// What its slots refer into.
    pub(crate) body: &'a Body<'a, M>,
    pub(crate) at: u64,
    /// All of it.
    pub(crate) bytes: &'a [u8],
    /// Slots that hold an entry.
    pub(crate) occupied: u16,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V, M: Mode> Clone for Bucket<'_, K, V, M> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V, M: Mode> Copy for Bucket<'_, K, V, M> {}

impl<'a, K: Key, V: Stored, M: Mode> Bucket<'a, K, V, M> {
    pub(crate) const LAYOUT: Layout = bucket_layout::<K, V>();

    /// Bucket `number` of a segment that holds `hash`.
    #[inline]
    pub(crate) fn read(body: &'a Body<'_, M>, segment: Segment, number: usize, hash: u64) -> Result<Self> {
        let at = segment.at.saturating_add((number * Self::LAYOUT.bucket) as u64);
        let bytes = body.bytes(Ptr::from_offset(at), Self::LAYOUT.bucket as u64)?;
        Self::of(body, at, bytes, segment.bits, number, hash)
    }

    /// The bucket in `bytes`, which were read at `at`.
    #[inline]
    pub(crate) fn of(
        body: &'a Body<'_, M>,
        at: u64,
        bytes: &'a [u8],
        bits: u32,
        number: usize,
        hash: u64,
    ) -> Result<Self> {
        let word = word_at(bytes, 0);
        let depth = (word & 63) as u32;
        if depth > MAX_DEPTH || word != identity(hash, depth, bits, number) {
            return Err(not_this_bucket(at, bits, number, hash, word));
        }
        let occupied = u16::from_le_bytes([bytes[OCCUPIED], bytes[OCCUPIED + 1]]);
        if occupied >> Self::LAYOUT.slots != 0 {
            return Err(wrong_bitmap(at, Self::LAYOUT.slots, occupied));
        }
        Ok(Bucket { body, at, bytes, occupied, types: PhantomData })
    }

    /// Depth of its segment.
    pub(crate) fn depth(&self) -> u32 {
        (word_at(self.bytes, 0) & 63) as u32
    }

    /// Entries that belong here and are in the `probe`th bucket of the group.
    #[inline]
    pub(crate) fn elsewhere(&self, probe: usize) -> u8 {
        self.bytes[ELSEWHERE + probe - 1]
    }

    /// Bytes of the head that mean nothing.
    pub(crate) fn reserved(&self) -> [u8; 5] {
        let head = self.bytes;
        [head[13], head[14], head[15], head[30], head[31]]
    }

    /// The slot of a key, in its stored form.
    #[inline]
    pub(crate) fn find(&self, key: &[u8], fingerprint: u8) -> Result<Option<usize>> {
        let fingerprints = &self.bytes[FINGERPRINTS..FINGERPRINTS + FINGERPRINT_BYTES];
        let mut candidates = equal_bytes(fingerprints, fingerprint) & u64::from(self.occupied);
        while candidates != 0 {
            let slot = candidates.trailing_zeros() as usize;
            if stored::is_form::<K>(self.key_form(slot)?, key) {
                return Ok(Some(slot));
            }
            candidates &= candidates - 1;
        }
        Ok(None)
    }

    /// A slot that holds no entry.
    #[inline]
    pub(crate) fn free_slot(&self) -> Option<usize> {
        let slot = (!self.occupied).trailing_zeros() as usize;
        (slot < Self::LAYOUT.slots).then_some(slot)
    }

    /// Slots that hold an entry.
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

    /// A copy of a value, for whoever takes it out.
    #[inline]
    pub(crate) fn old(&self, slot: usize) -> Result<Old<V>> {
        Old::take(self.body, self.value_at(slot), self.value_slot(slot))
    }
}

#[inline]
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cold]
fn not_this_bucket(at: u64, bits: u32, number: usize, hash: u64, word: u64) -> Error {
    corrupt(
        at,
        format!("bucket {number} of {} that hold the hash {hash:#x}", 1u64 << bits),
        format!("identity {word:#x}"),
    )
}

#[cold]
fn wrong_bitmap(at: u64, slots: usize, occupied: u16) -> Error {
    corrupt(at + OCCUPIED as u64, format!("at most {slots} slots"), format!("bitmap {occupied:#x}"))
}

/// The ones of a bitmap, from the lowest.
#[derive(Clone, Copy)]
pub(crate) struct Slots(pub(crate) u16);

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
