//! Removing entries by what somebody says of each.

use super::{Aim, Direction, Leaf, Path, Tree};
use crate::stored::{StoredBytes, align_of_form};
use pmem_alloc::{OrdKey, Result, Stored, Write};
use std::cmp::Ordering;

impl<K: OrdKey, V: Stored> Tree<'_, K, V, Write> {
    /// Keeps the entries for which `keep` says so, asked in order. One change of the bitmap per leaf.
    pub(crate) fn retain(
        &mut self,
        mut keep: impl FnMut(&Leaf<'_, K, V, Write>, usize) -> Result<bool>,
    ) -> Result<()> {
        let (mut last, mut left): (Option<StoredBytes>, u64) = (None, self.len);
        let mut slots = Vec::new();
        // A leaf at a time, each found anew: removing may have merged it with its neighbours.
        while let Some(path) = self.leaf_after(last.as_ref(), &mut slots)? {
            left = left
                .checked_sub(slots.len() as u64)
                .ok_or_else(|| self.wrong(format!("{} entries, as the header says", self.len), "more"))?;
            let leaf = self.leaf(path.leaf)?;
            let mut gone = 0;
            for &slot in &slots {
                if !keep(&leaf, usize::from(slot))? {
                    gone |= 1 << slot;
                }
            }
            last = match slots.last() {
                Some(&slot) => {
                    Some(StoredBytes::new(leaf.key_form(usize::from(slot))?, const { align_of_form::<K>() }))
                }
                None => None,
            };
            if gone != 0 {
                self.remove_slots(&path, gone)?;
            }
        }
        Ok(())
    }

    /// The leaf with the first entries behind `last`, and the slots of these in order.
    fn leaf_after(&self, last: Option<&StoredBytes>, slots: &mut Vec<u8>) -> Result<Option<Path>> {
        let last = last.map(StoredBytes::as_slice);
        let Some(mut path) = self.path(last.map_or(Aim::First, Aim::Key))? else { return Ok(None) };
        let mut entries = Vec::new();
        loop {
            slots.clear();
            entries.clear();
            let leaf = self.leaf(path.leaf)?;
            leaf.sort_into(&mut entries)?;
            for &(_, slot) in &entries {
                let behind = match last {
                    Some(last) => leaf.compare(usize::from(slot), last)? == Ordering::Greater,
                    None => true,
                };
                if behind {
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
