//! Reading what can be read of a damaged table.

use super::{Bucket, Table};
use crate::salvage::Salvage;
use pmem_alloc::{Key, Mode, Result, Stored};

/// Behind damage, the next hash to go on from: as fine as a directory of four levels.
const STEP: u64 = 1 << (64 - 24);

impl<K: Key, V: Stored, M: Mode> Table<'_, K, V, M> {
    /// Calls `take` with each entry of each bucket that can be reached. `Ok(false)` of `take`: it could not read the entry, and has noted that.
    pub(crate) fn salvage(
        &self,
        salvage: &mut Salvage,
        take: &mut impl FnMut(&mut Salvage, &Bucket<'_, K, V, M>, usize) -> Result<bool>,
    ) -> Result<()> {
        salvage.expected = self.len;
        let mut at = Some(0u64);
        while let Some(hash) = at {
            let view = match self.segment_from(hash) {
                Ok(Some(view)) => view,
                Ok(None) => break,
                Err(error) => {
                    salvage.lost(error);
                    at = hash.checked_add(STEP);
                    continue;
                }
            };
            for number in 0..view.segment.buckets() {
                match view.bucket(number) {
                    Ok(bucket) => {
                        for slot in bucket.slots() {
                            if take(salvage, &bucket, slot)? {
                                salvage.entries += 1;
                            }
                        }
                    }
                    Err(error) => salvage.lost(error),
                }
            }
            at = view.next();
        }
        Ok(())
    }
}
