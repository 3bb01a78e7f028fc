//! Removing entries by what somebody says of each.

use super::{Aim, Direction, Leaf, Path, Tree};
use crate::stored::{StoredBytes, align_of_form};
use pmem_alloc::{OrdKey, Result, Stored, Write};
use std::{cmp::Ordering, ops::Bound};

impl<K: OrdKey, V: Stored> Tree<'_, K, V, Write> {
    /// Keeps those of the entries between two bounds for which `keep` says so, asked in order. One change of the bitmap per
    /// leaf.
    pub(crate) fn retain(
        &mut self,
        low: Bound<StoredBytes>,
        high: &Bound<StoredBytes>,
        mut keep: impl FnMut(&Leaf<'_, K, V, Write>, usize) -> Result<bool>,
    ) -> Result<()> {
        let (mut low, mut left) = (low, self.len);
        let mut slots = Vec::new();
        // A leaf at a time, each found anew: removing may have merged it with its neighbours.
        while let Some(path) = self.leaf_from(&low, &mut slots)? {
            left = left
                .checked_sub(slots.len() as u64)
                .ok_or_else(|| self.wrong(format!("{} entries, as the header says", self.len), "more"))?;
            let leaf = self.leaf(path.leaf)?;
            let (mut gone, mut ended) = (0, false);
            for &slot in &slots {
                let slot = usize::from(slot);
                ended = match high {
                    Bound::Included(high) => leaf.compare(slot, high.as_slice())? == Ordering::Greater,
                    Bound::Excluded(high) => leaf.compare(slot, high.as_slice())? != Ordering::Less,
                    Bound::Unbounded => false,
                };
                if ended {
                    break;
                }
                if !keep(&leaf, slot)? {
                    gone |= 1 << slot;
                }
            }
            if let Some(&slot) = slots.last() {
                let last = leaf.key_form(usize::from(slot))?;
                low = Bound::Excluded(StoredBytes::new(last, const { align_of_form::<K>() }));
            }
            if gone != 0 {
                self.remove_slots(&path, gone)?;
            }
            if ended {
                break;
            }
        }
        Ok(())
    }

    /// The leaf with the first entries from a bound on, and the slots of these in order.
    fn leaf_from(&self, low: &Bound<StoredBytes>, slots: &mut Vec<u8>) -> Result<Option<Path>> {
        let aim = match low {
            Bound::Included(key) | Bound::Excluded(key) => Aim::Key(key.as_slice()),
            Bound::Unbounded => Aim::First,
        };
        let Some(mut path) = self.path(aim)? else { return Ok(None) };
        let mut entries = Vec::new();
        loop {
            slots.clear();
            entries.clear();
            let leaf = self.leaf(path.leaf)?;
            leaf.sort_into(&mut entries)?;
            for &(_, slot) in &entries {
                let inside = match low {
                    Bound::Included(low) => {
                        leaf.compare(usize::from(slot), low.as_slice())? != Ordering::Less
                    }
                    Bound::Excluded(low) => {
                        leaf.compare(usize::from(slot), low.as_slice())? == Ordering::Greater
                    }
                    Bound::Unbounded => true,
                };
                if inside {
                    slots.push(slot);
                }
            }
            if !slots.is_empty() {
                return Ok(Some(path));
            }
            if leaf.len() == 0 {
                return self.check_empty(&leaf).map(|()| None);
            }
            if !self.step(&mut path, Direction::Forward)? {
                return Ok(None);
            }
        }
    }
}
