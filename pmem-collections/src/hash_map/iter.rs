//! Iterators over a map.

use crate::hash::{Bucket, SegmentView, Slots, Table};
use pmem_alloc::{Key, Mode, Result, Stored, Value};
use std::iter::FusedIterator;

/// An entry: its bucket and its slot.
type Hit<'g, K, V, M> = (Bucket<'g, K, V, M>, usize);

/// The entries of a table, one after the other, as bucket and slot.
///
/// It goes through the segments in the order of the hashes they hold, which only grows; and one that finds more or fewer
/// entries than the map has says so (`Corrupt`): damage never makes an endless iterator, nor a short one
/// unnoticed.
struct Cursor<'g, K, V, M: Mode> {
    table: &'g Table<'g, K, V, M>,
    /// The first hash of the next segment.
    from: Option<u64>,
    segment: Option<SegmentView<'g, K, V, M>>,
    /// Number of the next bucket of the segment.
    number: usize,
    bucket: Option<Bucket<'g, K, V, M>>,
    slots: Slots,
    done: bool,
    /// Entries of the map that were not yielded yet.
    left: u64,
}

impl<'g, K: Key, V: Stored, M: Mode> Cursor<'g, K, V, M> {
    fn new(table: &'g Table<'_, K, V, M>) -> Self {
        let (from, left) = (Some(0), table.len());
        Cursor { table, from, segment: None, number: 0, bucket: None, slots: Slots(0), done: false, left }
    }

    fn find(&mut self) -> Result<Option<Hit<'g, K, V, M>>> {
        loop {
            if let (Some(slot), Some(bucket)) = (self.slots.next(), self.bucket) {
                self.left = self.left.checked_sub(1).ok_or_else(|| self.count_is_wrong("more"))?;
                return Ok(Some((bucket, slot)));
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

    /// The next entry, as `read` reads it; nothing after an error.
    fn next<R>(&mut self, read: impl FnOnce(Bucket<'g, K, V, M>, usize) -> Result<R>) -> Option<Result<R>> {
        if self.done {
            return None;
        }
        let item = self.find().transpose().map(|found| found.and_then(|(bucket, slot)| read(bucket, slot)));
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

/// Iterator over a map. Yields `Result<(K::Ref, V::Ref)>`, and nothing after an error.
pub struct Iter<'g, K, V, M: Mode>(Cursor<'g, K, V, M>);

impl<'g, K: Key, V: Value, M: Mode> Iter<'g, K, V, M> {
    pub(super) fn new(table: &'g Table<'_, K, V, M>) -> Self {
        Iter(Cursor::new(table))
    }
}

impl<'g, K: Key, V: Value, M: Mode> Iterator for Iter<'g, K, V, M> {
    type Item = Result<(K::Ref<'g>, V::Ref<'g>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|bucket, slot| Ok((bucket.key(slot)?, bucket.value(slot)?)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<K: Key, V: Value, M: Mode> FusedIterator for Iter<'_, K, V, M> {}

/// Iterator over the keys of a map. Yields `Result<K::Ref>`, and nothing after an error.
pub struct Keys<'g, K, V, M: Mode>(Cursor<'g, K, V, M>);

impl<'g, K: Key, V: Stored, M: Mode> Keys<'g, K, V, M> {
    pub(super) fn new(table: &'g Table<'_, K, V, M>) -> Self {
        Keys(Cursor::new(table))
    }

    /// The next key, and its stored form.
    pub(crate) fn next_form(&mut self) -> Option<Result<(K::Ref<'g>, &'g [u8])>> {
        self.0.next(|bucket, slot| Ok((bucket.key(slot)?, bucket.key_form(slot)?)))
    }
}

impl<'g, K: Key, V: Stored, M: Mode> Iterator for Keys<'g, K, V, M> {
    type Item = Result<K::Ref<'g>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(|bucket, slot| bucket.key(slot))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<K: Key, V: Stored, M: Mode> FusedIterator for Keys<'_, K, V, M> {}
