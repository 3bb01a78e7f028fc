//! Many entries at once: those in ascending order fill leaves.
//!
//! Entries that come in order and beyond all that are there are gathered in DRAM, a leaf's worth at a time, and written as a
//! full leaf at the right edge: no slot is searched for, no leaf is split, and the lines that are written are new ones. An entry
//! out of order is inserted like any other.

use super::{
    Aim, Leaf, Tree,
    change::EntrySlots,
    insert::{LeafImage, separator},
    node::fingerprint,
};
use crate::stored::{self, StoredBytes, align_of_form, invalid};
use pmem_alloc::{OrdKey, Result, Value, Write};
use std::cmp::Ordering;

/// Entries in ascending order, in their stored forms, which will be a leaf.
struct Gathered {
    entries: Vec<(StoredBytes, StoredBytes)>,
    /// Bytes of them.
    bytes: usize,
}

/// So many bytes of values are gathered at most, so that large ones are not all in DRAM at once.
const MAX_GATHERED: usize = 64 << 10;

impl<K: OrdKey, V: Value> Tree<'_, K, V, Write> {
    /// Inserts what `next` yields, entries in stored form, until it ends or fails. If something fails, what came before is
    /// in the tree.
    pub(crate) fn bulk_load(
        &mut self,
        mut next: impl FnMut() -> Option<Result<(StoredBytes, StoredBytes)>>,
    ) -> Result<()> {
        let mut gathered = Gathered { entries: Vec::new(), bytes: 0 };
        while let Some(item) = next() {
            let (key, value) = match item {
                Ok(entry) => entry,
                Err(error) => {
                    self.load(&mut gathered)?;
                    return Err(error);
                }
            };
            let follows = match gathered.entries.last() {
                Some((last, _)) => self.compare_keys(last.as_slice(), key.as_slice())?.is_lt(),
                None => self.is_beyond_full(key.as_slice())?,
            };
            if !follows && !gathered.entries.is_empty() {
                self.load(&mut gathered)?;
            }
            if !follows {
                let place = self.find(key.as_slice())?;
                self.insert_at(place, key.as_slice(), value.as_slice())?;
                continue;
            }
            gathered.bytes += value.as_slice().len();
            gathered.entries.push((key, value));
            if gathered.entries.len() == Leaf::<K, V, Write>::LAYOUT.slots || gathered.bytes > MAX_GATHERED {
                self.load(&mut gathered)?;
            }
        }
        self.load(&mut gathered)
    }

    fn compare_keys(&self, a: &[u8], b: &[u8]) -> Result<Ordering> {
        K::compare(a, b).map_err(|why| invalid::<K>(self.at, why))
    }

    /// Whether `key` is greater than all keys, and there is no free slot beside these.
    fn is_beyond_full(&self, key: &[u8]) -> Result<bool> {
        let Some(path) = self.path(Aim::Key(key))? else { return Ok(true) };
        let leaf = self.leaf(path.leaf)?;
        if !path.rightmost || leaf.free_slot().is_some() {
            return Ok(false);
        }
        for slot in leaf.slots() {
            if leaf.compare(slot, key)? != Ordering::Less {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes what was gathered, greater than all that is in the tree, its last leaf; one by one if that needs more space
    /// than there is.
    fn load(&mut self, gathered: &mut Gathered) -> Result<()> {
        let entries = std::mem::take(&mut gathered.entries);
        gathered.bytes = 0;
        if entries.is_empty() || self.append_leaf(&entries)? {
            return Ok(());
        }
        entries.iter().try_for_each(|(key, value)| {
            let place = self.find(key.as_slice())?;
            self.insert_at(place, key.as_slice(), value.as_slice()).map(drop)
        })
    }

    /// `false`, and nothing changed, if it cannot be allocated.
    fn append_leaf(&mut self, entries: &[(StoredBytes, StoredBytes)]) -> Result<bool> {
        let n = entries.len() as u64;
        let len = self.len.checked_add(n).ok_or_else(|| self.wrong("fewer than 2^64 entries", "more"))?;
        let first = entries[0].0.as_slice();
        // What compares comes first, then what allocates.
        let last = match self.edge(Aim::Last)? {
            Some((path, slot)) => {
                let separator = separator::<K>(Some(self.leaf(path.leaf)?.key_form(slot)?), first);
                Some((path, separator))
            }
            None => None,
        };
        // An empty leaf, which only a tree of no entries has, is filled like any other.
        if last.is_none() && self.height > 0 {
            return Ok(false);
        }
        let mut slots = Vec::with_capacity(entries.len());
        let (fresh, leaf) = match &last {
            Some((path, separator)) => match self.alloc_for_split(path, separator.as_slice()) {
                Ok(fresh) => {
                    let leaf = fresh.leaf;
                    (Some(fresh), leaf)
                }
                Err(_) => return Ok(false),
            },
            None => match self.alloc_leaf() {
                Ok(leaf) => (None, leaf),
                Err(_) => return Ok(false),
            },
        };
        let mut image = LeafImage::<K, V>::new();
        for (key, value) in entries {
            let made = self.make_entry(key.as_slice(), value.as_slice());
            let Ok((key_slot, value_slot)) = made else {
                self.release_made(&slots)?;
                match fresh {
                    Some(fresh) => self.free_fresh(fresh)?,
                    None => self.free(leaf)?,
                }
                return Ok(false);
            };
            let fingerprint = fingerprint(key.as_slice());
            image.push(EntrySlots { key: key_slot.as_slice(), value: value_slot.as_slice(), fingerprint });
            slots.push((key_slot, value_slot));
        }
        image.write(self, leaf)?;
        match (last, fresh) {
            (Some((path, _)), Some(fresh)) => self.link(&path, fresh)?,
            _ => self.set_root(leaf, 1)?,
        }
        self.set_len(len)?;
        Ok(true)
    }

    /// The slots of an entry; nothing is allocated if one of them cannot be made.
    fn make_entry(&mut self, key: &[u8], value: &[u8]) -> Result<(StoredBytes, StoredBytes)> {
        let key_slot =
            StoredBytes::new(&stored::make::<K>(&mut self.body, key)?, const { align_of_form::<K>() });
        match stored::make::<V>(&mut self.body, value) {
            Ok(value) => Ok((key_slot, StoredBytes::new(&value, 1))),
            Err(error) => {
                stored::release::<K>(&mut self.body, self.at, key_slot.as_slice())?;
                Err(error)
            }
        }
    }

    fn release_made(&mut self, slots: &[(StoredBytes, StoredBytes)]) -> Result<()> {
        for (key, value) in slots {
            stored::release::<K>(&mut self.body, self.at, key.as_slice())?;
            stored::release::<V>(&mut self.body, self.at, value.as_slice())?;
        }
        Ok(())
    }
}

/// Puts entries in the order of their keys; equal keys stay in the order in which they came.
pub(crate) fn sort<K: OrdKey>(entries: &mut [(StoredBytes, StoredBytes)]) {
    // What was encoded just now can be compared.
    entries.sort_by(|(a, _), (b, _)| K::compare(a.as_slice(), b.as_slice()).unwrap_or(Ordering::Equal));
}
