//! Where a key is, or could be.

use super::{
    Bucket, Table,
    bucket::{Segment, fingerprint},
};
use pmem_alloc::{Key, Mode, Ptr, Result, Stored};

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotAt {
    pub(crate) segment: Segment,
    /// The hash of its key.
    pub(crate) hash: u64,
    /// Number of its home bucket.
    pub(crate) home: usize,
    /// It is in bucket number `home ^ probe`.
    pub(crate) probe: usize,
    pub(crate) slot: usize,
}

impl SlotAt {
    /// The bucket that it is in.
    pub(crate) fn bucket(&self, bucket_size: usize) -> u64 {
        self.segment.at + ((self.home ^ self.probe) * bucket_size) as u64
    }
}

/// An entry that was found: its bucket, and where it is.
type Hit<'a, K, V, M> = (Bucket<'a, K, V, M>, SlotAt);

/// Where a key is, or could be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// There.
    Taken(SlotAt),
    /// It is not in the table; this slot is free.
    Free(SlotAt),
    /// It is not in the table, and there is no free slot where it could be.
    Full { hash: u64 },
}

impl<K: Key, V: Stored, M: Mode> Table<'_, K, V, M> {
    /// Bucket `number` of a segment that holds `hash`.
    #[inline]
    pub(crate) fn bucket(&self, segment: Segment, number: usize, hash: u64) -> Result<Bucket<'_, K, V, M>> {
        Bucket::read(&self.body, segment, number, hash)
    }

    /// The bucket that an entry is in.
    pub(crate) fn bucket_of(&self, at: SlotAt) -> Result<Bucket<'_, K, V, M>> {
        self.bucket(at.segment, at.home ^ at.probe, at.hash)
    }

    /// The segment of a hash. The table must have one.
    #[inline]
    fn segment(&self, hash: u64) -> Result<Segment> {
        let segment = self.way(self.root, hash)?.segment;
        // All lines of the home bucket at once: its head says which slot is needed, and should not be waited for.
        // (It may be nowhere: nothing of the segment is checked yet.)
        let home = segment.at.saturating_add((segment.home(hash) * Self::LAYOUT.bucket) as u64);
        self.body.prefetch(Ptr::from_offset(home), Self::LAYOUT.bucket as u64);
        Ok(segment)
    }

    /// The bucket and the slot of a key, in its stored form.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<Hit<'_, K, V, M>>> {
        if self.root == 0 {
            return Ok(None);
        }
        let hash = self.hash(key);
        self.find_in(self.segment(hash)?, key, hash)
    }

    #[inline]
    fn find_in(&self, segment: Segment, key: &[u8], hash: u64) -> Result<Option<Hit<'_, K, V, M>>> {
        let (home, fingerprint) = (segment.home(hash), fingerprint(hash));
        let first = self.bucket(segment, home, hash)?;
        if let Some(slot) = first.find(key, fingerprint)? {
            return Ok(Some((first, SlotAt { segment, hash, home, probe: 0, slot })));
        }
        for probe in 1..segment.probes() {
            if first.elsewhere(probe) > 0 {
                let bucket = self.bucket(segment, home ^ probe, hash)?;
                if let Some(slot) = bucket.find(key, fingerprint)? {
                    return Ok(Some((bucket, SlotAt { segment, hash, home, probe, slot })));
                }
            }
        }
        Ok(None)
    }

    /// Where a key, in its stored form, is or could be.
    pub(crate) fn place(&self, key: &[u8]) -> Result<Place> {
        let hash = self.hash(key);
        if self.root == 0 {
            return Ok(Place::Full { hash });
        }
        let segment = self.segment(hash)?;
        if let Some((_, at)) = self.find_in(segment, key, hash)? {
            return Ok(Place::Taken(at));
        }
        self.room(segment, hash)
    }

    /// A free slot for a hash in a segment.
    pub(crate) fn room(&self, segment: Segment, hash: u64) -> Result<Place> {
        let home = segment.home(hash);
        for probe in 0..segment.probes() {
            if let Some(slot) = self.bucket(segment, home ^ probe, hash)?.free_slot() {
                return Ok(Place::Free(SlotAt { segment, hash, home, probe, slot }));
            }
        }
        Ok(Place::Full { hash })
    }
}
