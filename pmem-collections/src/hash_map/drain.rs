//! Taking everything out.

use crate::hash::{Blocks, Table};
use pmem_alloc::{Key, Result, Value, Write};
use std::iter::FusedIterator;

/// Iterator over what was in a map: owned entries. Yields `Result<(K, V)>`, and nothing after an error.
///
/// Dropping it frees what it did not come to. If damage stops that, blocks stay allocated that nothing
/// refers to.
pub struct Drain<'g, 't, K: Key, V: Value> {
    table: &'g mut Table<'t, K, V, Write>,
    blocks: Blocks,
    entries: std::vec::IntoIter<(K, V)>,
    left: u64,
    done: bool,
}

impl<'g, 't, K: Key, V: Value> Drain<'g, 't, K, V> {
    pub(super) fn new(table: &'g mut Table<'t, K, V, Write>) -> Result<Self> {
        let left = table.len();
        let blocks = table.detach()?;
        Ok(Drain { table, blocks, entries: Vec::new().into_iter(), left, done: false })
    }

    fn item(&mut self) -> Result<Option<(K, V)>> {
        loop {
            if let Some(entry) = self.entries.next() {
                self.left = self.left.checked_sub(1).ok_or_else(|| self.count_is_wrong("more"))?;
                return Ok(Some(entry));
            }
            let Some((segment, hash)) = self.blocks.segments.pop() else {
                self.free_chunks()?;
                return if self.left > 0 { Err(self.count_is_wrong("fewer")) } else { Ok(None) };
            };
            let (view, mut owned) = (self.table.view(segment, hash)?, Vec::new());
            for number in 0..segment.buckets() {
                let bucket = view.bucket(number)?;
                for slot in bucket.slots() {
                    owned.push((K::to_owned(bucket.key(slot)?), V::to_owned(bucket.value(slot)?)));
                }
            }
            self.table.free_segment(segment, hash)?;
            self.entries = owned.into_iter();
        }
    }

    fn free_chunks(&mut self) -> Result<()> {
        while let Some(chunk) = self.blocks.chunks.pop() {
            self.table.free(chunk)?;
        }
        Ok(())
    }

    fn count_is_wrong(&self, found: &str) -> pmem_alloc::Error {
        self.table.wrong("as many entries as the header said", found)
    }
}

impl<K: Key, V: Value> Iterator for Drain<'_, '_, K, V> {
    type Item = Result<(K, V)>;

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
        (0, usize::try_from(self.left).ok().and_then(|left| left.checked_add(1)))
    }
}

impl<K: Key, V: Value> FusedIterator for Drain<'_, '_, K, V> {}

impl<K: Key, V: Value> Drop for Drain<'_, '_, K, V> {
    fn drop(&mut self) {
        while let Some((segment, hash)) = self.blocks.segments.pop() {
            let _ = self.table.free_segment(segment, hash);
        }
        let _ = self.free_chunks();
    }
}
