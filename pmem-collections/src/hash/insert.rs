//! Inserting a key that is not there.

use super::{
    Bucket, Place, SlotAt, Table,
    bucket::{ELSEWHERE, FINGERPRINTS, MAX_DEPTH, OCCUPIED, Segment, bucket_layout, fingerprint, identity},
    directory::Reference,
};
use crate::{
    damage::corrupt,
    stored::{self, Slot},
};
use pmem_alloc::{Error, Key, Mode, Mut, Object, Plain, Ptr, Result, Stored, Value, Write};

/// So many bits of hashes are looked at before a bucket that is full of them is split.
const LOOK_AHEAD: u32 = 8;

/// A key that has no room, because a table is full of others with the same hash.
#[derive(Debug, thiserror::Error)]
#[error(
    "no room for one more key with the hash {hash:#x}: {equal} others agree with it in all bits that matter; the keys were chosen by someone \
     who knows the map's hash key: leave them out, or move what is good to a new map"
)]
pub struct TooManyEqualHashes {
    /// The hash.
    pub hash: u64,
    /// Keys that are in the way.
    pub equal: usize,
}

impl<K: Key, V: Stored> Table<'_, K, V, Write> {
    /// Inserts an entry, in stored form, where [`place`](Table::place) said that the key could be; returns where it is.
    pub(crate) fn insert_at(&mut self, place: Place, key: &[u8], value: &[u8]) -> Result<SlotAt>
    where
        V: Value,
    {
        if let Place::Taken(at) = place {
            self.set_value(at, value)?;
            return Ok(at);
        }
        let value = stored::make::<V>(&mut self.body, value)?;
        self.insert_new(place, key, value)
    }

    /// Inserts an entry whose key is not there, and whose value's slot was made. If that fails, what the slot
    /// refers to is freed.
    pub(crate) fn insert_new(&mut self, place: Place, key: &[u8], value: Slot<'_>) -> Result<SlotAt> {
        let inserted = self.insert_slots(place, key, &value);
        if inserted.is_err() {
            stored::release::<V>(&mut self.body, self.at, &value)?;
        }
        inserted
    }

    fn insert_slots(&mut self, place: Place, key: &[u8], value: &[u8]) -> Result<SlotAt> {
        let len = self.len.checked_add(1).ok_or_else(|| self.wrong("fewer than 2^64 entries", "2^64 - 1"))?;
        let at = match place {
            Place::Taken(at) | Place::Free(at) => at,
            Place::Full { hash } => self.make_room(hash)?,
        };
        let key = stored::make::<K>(&mut self.body, key)?;
        self.fill_slot(at, &key, value)?;
        self.set_len(len)?;
        Ok(at)
    }

    /// A free slot for a hash where there is none.
    fn make_room(&mut self, hash: u64) -> Result<SlotAt> {
        if self.root == 0 {
            self.first_segment()?;
        }
        // Each round gives the segment one bit more, of which it has so many at most.
        for _ in 0..=MAX_DEPTH + Self::LAYOUT.bits {
            let way = self.way(self.root, hash)?;
            match self.room(way.segment, hash)? {
                Place::Free(at) => return Ok(at),
                _ => self.check_separable(way.segment, hash)?,
            }
            if way.segment.bits < Self::LAYOUT.bits {
                self.grow(&way, hash)?;
            } else {
                self.split(&way, hash)?;
            }
        }
        Err(self.wrong("a segment with room, or one that can be split", "none"))
    }

    /// A segment of one bucket, for an empty table.
    fn first_segment(&mut self) -> Result<()> {
        let at = self.alloc(Self::LAYOUT.segment(0))?;
        *self.body.get_mut::<u64>(Ptr::from_offset(at))? = identity(0, 0, 0, 0);
        self.set_root(Reference::Segment(Segment { at, bits: 0 }).encode())
    }

    /// Whether splitting a segment soon makes room for a hash. If not, nothing will, but for unlimited space.
    fn check_separable(&self, segment: Segment, hash: u64) -> Result<()> {
        let home = segment.home(hash);
        let (mut differing, mut equal) = (0, 0);
        for probe in 0..segment.probes() {
            let bucket = self.bucket(segment, home ^ probe, hash)?;
            let depth = bucket.depth();
            let ahead = u64::MAX >> depth & !(u64::MAX >> (depth + LOOK_AHEAD).min(MAX_DEPTH));
            let home_bits = (1 << Self::LAYOUT.bits) - 1;
            for slot in bucket.slots() {
                differing |= (self.hash(bucket.key_form(slot)?) ^ hash) & (ahead | home_bits);
                equal += 1;
            }
            // Bits of the home that the segment has already: entries of the group's other homes differ there.
            differing &= !(segment.buckets() as u64 - 1);
        }
        if differing == 0 {
            return Err(Error::abort(TooManyEqualHashes { hash, equal }));
        }
        Ok(())
    }

    /// Makes an entry part of the table, in a free slot.
    fn fill_slot(&mut self, at: SlotAt, key: &[u8], value: &[u8]) -> Result<()> {
        let (layout, bucket) = (Self::LAYOUT, at.bucket(Self::LAYOUT.bucket));
        // Counted first: a count at its end is damage, and must not leave an entry that nobody counted.
        self.count_elsewhere(at, 1)?;
        if layout.value_stride == layout.key_stride && layout.values == layout.keys + key.len() {
            let slot = self.bytes_mut(bucket + layout.key(at.slot) as u64, key.len() + value.len())?;
            slot[..key.len()].copy_from_slice(key);
            slot[key.len()..].copy_from_slice(value);
        } else {
            self.bytes_mut(bucket + layout.key(at.slot) as u64, key.len())?.copy_from_slice(key);
            self.bytes_mut(bucket + layout.value(at.slot) as u64, value.len())?.copy_from_slice(value);
        }
        let head = self.bytes_mut(bucket + OCCUPIED as u64, FINGERPRINTS - OCCUPIED + at.slot + 1)?;
        head[FINGERPRINTS - OCCUPIED + at.slot] = fingerprint(at.hash);
        head[at.slot / 8] |= 1 << (at.slot % 8);
        Ok(())
    }

    fn value_at(at: SlotAt) -> u64 {
        at.bucket(Self::LAYOUT.bucket) + Self::LAYOUT.value(at.slot) as u64
    }

    /// Overwrites the value of an entry.
    pub(crate) fn set_value(&mut self, at: SlotAt, form: &[u8]) -> Result<()>
    where
        V: Value,
    {
        stored::replace::<V>(&mut self.body, Self::value_at(at), form)
    }

    /// The value of an entry, to change.
    pub(crate) fn value_mut(&mut self, at: SlotAt) -> Result<&mut V>
    where
        V: Plain,
    {
        self.body.get_mut(Ptr::from_offset(Self::value_at(at)))
    }

    /// The object that is the value of an entry, to change.
    pub(crate) fn object_mut(&mut self, at: SlotAt) -> Result<Mut<'_, V>>
    where
        V: Object,
    {
        stored::open_mut::<V>(&mut self.body, Self::value_at(at))
    }

    /// Tells the home of an entry, if that is not where it is, that there is one more (1) or one less (-1).
    pub(super) fn count_elsewhere(&mut self, at: SlotAt, change: i8) -> Result<()> {
        if at.probe == 0 {
            return Ok(());
        }
        let home = SlotAt { probe: 0, ..at }.bucket(Self::LAYOUT.bucket);
        let count = &mut self.bytes_mut(home + ELSEWHERE as u64 + at.probe as u64 - 1, 1)?[0];
        let changed = count.checked_add_signed(change).filter(|&n| usize::from(n) <= Self::LAYOUT.slots);
        let Some(changed) = changed else {
            return Err(corrupt(home, "a count of the entries elsewhere", "another number of them"));
        };
        *count = changed;
        Ok(())
    }
}

/// The bytes of a segment that is being built.
pub(super) struct SegmentImage {
    pub(super) bytes: Vec<u8>,
    bits: u32,
}

impl SegmentImage {
    /// An empty one.
    pub(super) fn new<K: Stored, V: Stored>(hash: u64, depth: u32, bits: u32) -> Self {
        let layout = const { bucket_layout::<K, V>() };
        let mut bytes = vec![0; layout.segment(bits)];
        for (number, bucket) in bytes.chunks_exact_mut(layout.bucket).enumerate() {
            bucket[..8].copy_from_slice(&identity(hash, depth, bits, number).to_le_bytes());
        }
        SegmentImage { bytes, bits }
    }

    /// Copies an entry with its fingerprint to the same slot of bucket `number`, and counts it where it belongs.
    pub(super) fn push<K: Key, V: Stored, M: Mode>(
        &mut self,
        from: &Bucket<'_, K, V, M>,
        slot: usize,
        number: usize,
        hash: u64,
    ) -> Result<()> {
        let layout = const { bucket_layout::<K, V>() };
        let bucket = &mut self.bytes[number * layout.bucket..][..layout.bucket];
        bucket[layout.key(slot)..][..from.key_slot(slot).len()].copy_from_slice(from.key_slot(slot));
        bucket[layout.value(slot)..][..from.value_slot(slot).len()].copy_from_slice(from.value_slot(slot));
        bucket[FINGERPRINTS + slot] = from.bytes[FINGERPRINTS + slot];
        bucket[OCCUPIED + slot / 8] |= 1 << (slot % 8);
        let probe = probe(from.at, self.bits, number, hash)?;
        if probe > 0 {
            self.bytes[(number ^ probe) * layout.bucket + ELSEWHERE + probe - 1] += 1;
        }
        Ok(())
    }
}

/// Which bucket of its group an entry is in that has this hash and is in bucket `number`; `at` is where that is.
pub(super) fn probe(at: u64, bits: u32, number: usize, hash: u64) -> Result<usize> {
    let segment = Segment { at, bits };
    let probe = segment.home(hash) ^ number;
    if probe < segment.probes() {
        return Ok(probe);
    }
    Err(corrupt(at, format!("an entry with its home near bucket {number}"), format!("the hash {hash:#x}")))
}
