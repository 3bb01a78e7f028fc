//! An iterator over a map.

use super::{HashKey, HashValue};
use crate::hash::{Bucket, SegmentView, Slots, Table};
use pmem_alloc::{Mode, Result};
use std::iter::FusedIterator;

/// Iterator over a map. Yields `Result<(&K, &V)>`, and nothing after an error.
///
/// It goes through the segments in the order of the hashes they hold, which only grows; and one that finds more or fewer
/// entries than the map has says so (`Corrupt`): damage never makes an endless iterator, nor a short one
/// unnoticed.
pub struct Iter<'g, K, V, M: Mode> {
    table: &'g Table<'g, K, V, M>,
    /// The first hash of the next segment.
    from: Option<u64>,
    segment: Option<SegmentView<'g, K, V>>,
    /// Number of the next bucket of the segment.
    number: usize,
    bucket: Option<Bucket<'g, K, V>>,
    slots: Slots,
    done: bool,
    /// Entries of the map that were not yielded yet.
    left: u64,
}

impl<'g, K: HashKey, V: HashValue, M: Mode> Iter<'g, K, V, M> {
    pub(super) fn new(table: &'g Table<'_, K, V, M>) -> Self {
        Iter {
            table,
            from: Some(0),
            segment: None,
            number: 0,
            bucket: None,
            slots: Slots(0),
            done: false,
            left: table.len(),
        }
    }

    fn item(&mut self) -> Result<Option<(&'g K, &'g V)>> {
        loop {
            if let (Some(slot), Some(bucket)) = (self.slots.next(), &self.bucket) {
                let item = (bucket.key(slot)?, bucket.value(slot)?);
                self.left = self.left.checked_sub(1).ok_or_else(|| self.count_is_wrong("more"))?;
                return Ok(Some(item));
            }
            if let Some(segment) = self.segment.as_ref().filter(|s| self.number < s.segment.buckets()) {
                let bucket = segment.bucket(self.number)?;
                self.number += 1;
                self.slots = bucket.slots();
                self.bucket = Some(bucket);
                continue;
            }
            let next = self.from.map(|hash| self.table.segment_from(hash)).transpose()?.flatten();
            let Some(segment) = next else {
                return if self.left > 0 { Err(self.count_is_wrong("fewer")) } else { Ok(None) };
            };
            self.from = segment.next();
            self.segment = Some(segment);
            self.number = 0;
        }
    }

    fn count_is_wrong(&self, found: &str) -> pmem_alloc::Error {
        self.table.wrong(format!("{} entries, as the header says", self.table.len()), found)
    }
}

impl<'g, K: HashKey, V: HashValue, M: Mode> Iterator for Iter<'g, K, V, M> {
    type Item = Result<(&'g K, &'g V)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.item().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.done {
            return (0, Some(0));
        }
        // At most one item more than is left: an error.
        (0, usize::try_from(self.left).ok().and_then(|left| left.checked_add(1)))
    }
}

impl<K: HashKey, V: HashValue, M: Mode> FusedIterator for Iter<'_, K, V, M> {}
