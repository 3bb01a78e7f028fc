//! Inserting a key that is not there, and splitting what is full.

use super::{
    Aim, Leaf, Path, Place, SlotAt, Tree,
    change::EntrySlots,
    layout::{FINGERPRINTS, MAX_HEIGHT, NODE_HEAD, OCCUPIED},
    node::{Inner, NodeHead, Slots, fingerprint},
    path::Step,
};
use crate::stored::{self, Shape, Slot, StoredBytes, align_of_form, invalid};
use pmem_alloc::{OrdKey, Result, Stored, Value, Write};
use std::{cmp::Ordering, marker::PhantomData};

impl<K: OrdKey, V: Stored> Tree<'_, K, V, Write> {
    /// Inserts an entry, or changes its value, where [`find`](Tree::find) said that the key could be; returns where it
    /// is. Key and value are in their stored forms.
    #[inline]
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

    /// Inserts an entry that is not there, with the slot of a value that was made for it. If it fails, what the slot
    /// refers to is freed.
    #[inline]
    pub(crate) fn insert_new(&mut self, place: Place, key: &[u8], value: Slot<'_>) -> Result<SlotAt> {
        let result = self.prepare(place, key).and_then(|target| {
            let slot = stored::make::<K>(&mut self.body, key)?;
            let entry = EntrySlots { key: &slot, value: &value, fingerprint: fingerprint(key) };
            let result = self.insert_entry(target, entry);
            if const { !stored::is_fixed::<K>() } && result.is_err() {
                stored::release::<K>(&mut self.body, self.at, &slot)?;
            }
            result
        });
        if const { !stored::is_fixed::<V>() } && result.is_err() {
            stored::release::<V>(&mut self.body, self.at, &value)?;
        }
        result
    }

    /// Compares all that must be compared to insert `key`, before anything is changed.
    #[inline]
    fn prepare(&self, place: Place, key: &[u8]) -> Result<Target> {
        match place {
            Place::Taken(_) => Err(self.wrong("a key that is not there", "one that is")),
            Place::Free(at) => Ok(Target::Slot(at)),
            Place::Full => match self.path(Aim::Key(key))? {
                Some(path) => Ok(Target::Split(Box::new(self.plan_split(path, key)?))),
                None => Ok(Target::NewTree),
            },
        }
    }

    #[inline]
    fn insert_entry(&mut self, target: Target, entry: EntrySlots<'_>) -> Result<SlotAt> {
        let len = self.len.checked_add(1).ok_or_else(|| self.wrong("fewer than 2^64 entries", "2^64 - 1"))?;
        let at = match target {
            Target::Slot(at) => {
                self.fill_slot(at, entry)?;
                at
            }
            Target::Split(split) => self.split_leaf(&split, entry)?,
            Target::NewTree => self.first_leaf(entry)?,
        };
        self.set_len(len)?;
        Ok(at)
    }

    fn first_leaf(&mut self, entry: EntrySlots<'_>) -> Result<SlotAt> {
        let leaf = self.alloc_leaf()?;
        let mut image = LeafImage::<K, V>::new();
        image.push(entry);
        image.write(self, leaf)?;
        self.set_root(leaf, 1)?;
        Ok(SlotAt { leaf, slot: 0 })
    }

    /// How to split the full leaf at the end of `path`, so that `key` has room.
    fn plan_split(&self, path: Path, key: &[u8]) -> Result<Split> {
        let leaf = self.leaf(path.leaf)?;
        let mut entries = Vec::with_capacity(Leaf::<K, V, Write>::LAYOUT.slots);
        leaf.list_into(&mut entries)?;
        let new = K::ordered(key).map_err(|why| invalid::<K>(self.at, why))?;
        // Keys that only grow fill the last leaf, and leave it full.
        let beyond_all = path.rightmost && entries.iter().all(|(other, _)| *other < new);
        let cut = if beyond_all { entries.len() } else { entries.len() / 2 };
        let right = if beyond_all {
            key
        } else {
            // The halves need no order.
            leaf.key_form(usize::from(entries.select_nth_unstable_by_key(cut, |(key, _)| *key).1.1))?
        };
        let left = match entries[..cut].iter().max_by_key(|(key, _)| *key) {
            Some((_, slot)) if const { !stored::is_fixed::<K>() } => Some(leaf.key_form(usize::from(*slot))?),
            _ => None,
        };
        let separator = separator::<K>(left, right);
        let order = K::compare(separator.as_slice(), key).map_err(|why| invalid::<K>(self.at, why))?;
        let goes_right = beyond_all || order != Ordering::Greater;
        let moves = entries[cut..].iter().fold(0, |moves, (_, slot)| moves | 1 << slot);
        Ok(Split { path, separator, moves, goes_right })
    }

    /// Splits a full leaf, and inserts an entry in one of the halves.
    fn split_leaf(&mut self, split: &Split, entry: EntrySlots<'_>) -> Result<SlotAt> {
        let leaf = self.leaf(split.path.leaf)?;
        let mut image = LeafImage::<K, V>::new();
        for slot in Slots(split.moves) {
            image.push(leaf.entry(slot));
        }
        let (old, mut stays, new_slot) = (leaf.at, leaf.occupied & !split.moves, image.entries);
        if split.goes_right {
            image.push(entry);
        }
        let fresh = self.alloc_for_split(&split.path, split.separator.as_slice())?;

        // From here on nothing fails but for damage.
        let right = fresh.leaf;
        image.write(self, right)?;
        let at = if split.goes_right {
            SlotAt { leaf: right, slot: new_slot }
        } else {
            let at = SlotAt { leaf: old, slot: (!stays).trailing_zeros() as usize };
            self.write_slot(at, entry)?;
            stays |= 1 << at.slot;
            at
        };
        self.set_occupied(old, stays)?;
        self.link(&split.path, fresh)?;
        Ok(at)
    }

    /// Allocates all that a split at the end of `path` needs, or nothing.
    pub(super) fn alloc_for_split(&mut self, path: &Path, separator: &[u8]) -> Result<Fresh> {
        let mut full = 0;
        for (depth, step) in path.steps().iter().enumerate().rev() {
            if !self.inner(step.node, self.level(depth))?.is_full() {
                break;
            }
            full += 1;
        }
        let grows = full == path.steps().len();
        if grows && self.height == MAX_HEIGHT {
            return Err(self.wrong(format!("at most {MAX_HEIGHT} levels"), "all full"));
        }
        let separator = StoredBytes::new(&stored::make::<K>(&mut self.body, separator)?, 1);
        let mut nodes = Vec::new();
        for i in 0..1 + full + usize::from(grows) {
            match if i == 0 { self.alloc_leaf() } else { self.alloc_inner() } {
                Ok(node) => nodes.push(node),
                Err(no_space) => {
                    for node in nodes {
                        self.free(node)?;
                    }
                    self.release_separator(self.at, &separator)?;
                    return Err(no_space);
                }
            }
        }
        Ok(Fresh { leaf: nodes.remove(0), inner: nodes, separator })
    }

    /// Gives back what was allocated for a split that does not happen.
    pub(super) fn free_fresh(&mut self, fresh: Fresh) -> Result<()> {
        for node in fresh.inner.into_iter().chain([fresh.leaf]) {
            self.free(node)?;
        }
        self.release_separator(self.at, &fresh.separator)
    }

    /// Makes the new leaf a child, right of the leaf at the end of `path`; splits inner nodes up to the root.
    pub(super) fn link(&mut self, path: &Path, fresh: Fresh) -> Result<()> {
        let size = Inner::<K, Write>::KEY;
        let (mut separator, mut right, mut spare) = (fresh.separator, fresh.leaf, fresh.inner.into_iter());
        for (depth, &Step { node, child }) in path.steps().iter().enumerate().rev() {
            let level = self.level(depth);
            let inner = self.inner(node, level)?;
            let count = inner.count();
            if !inner.is_full() {
                return self.insert_child(node, count, child, separator.as_slice(), right);
            }
            let mut keys = inner.keys.to_vec();
            let mut children = inner.children.to_vec();
            keys.splice(child * size..child * size, separator.as_slice().iter().copied());
            children.insert(child + 1, right);
            // At the right edge the old node stays nearly full, as leaves do.
            let cut = if path.rightmost { count - 1 } else { count.div_ceil(2) };
            let new = spare.next().ok_or_else(|| self.wrong("a node to spare", "none"))?;
            self.write_inner(new, level, &keys[(cut + 1) * size..], &children[cut + 1..])?;
            if child < cut {
                self.write_keys(node, child, &keys[child * size..cut * size])?;
                self.write_children(node, child + 1, &children[child + 1..=cut])?;
            }
            self.set_count(node, cut)?;
            (separator, right) = (StoredBytes::new(&keys[cut * size..(cut + 1) * size], 1), new);
        }
        let root = spare.next().ok_or_else(|| self.wrong("a node to spare", "none"))?;
        self.write_inner(root, self.height, separator.as_slice(), &[self.root, right])?;
        self.set_root(root, self.height + 1)
    }
}

/// Where a new entry goes.
enum Target {
    Slot(SlotAt),
    /// To a leaf that is full.
    Split(Box<Split>),
    /// To a tree without nodes.
    NewTree,
}

/// How a full leaf will be split.
struct Split {
    path: Path,
    separator: StoredBytes,
    /// The slots that move to the new leaf, which is to the right.
    moves: u64,
    /// Whether the new entry goes there.
    goes_right: bool,
}

/// What separates a leaf whose greatest key is `left` from one whose smallest is `right`.
pub(super) fn separator<K: OrdKey>(left: Option<&[u8]>, right: &[u8]) -> StoredBytes {
    let len = match left {
        Some(left) if const { !stored::is_fixed::<K>() } => K::separator(left, right).min(right.len()),
        _ => right.len(),
    };
    StoredBytes::new(&right[..len], const { align_of_form::<K>() })
}

/// What is allocated for a split: a leaf, as many inner nodes as will be split, a root if it grows, and the slot of the
/// separator.
pub(super) struct Fresh {
    pub(super) leaf: u64,
    inner: Vec<u64>,
    separator: StoredBytes,
}

/// A new leaf, built in DRAM: its entries fill the first slots.
pub(super) struct LeafImage<K, V> {
    bytes: Vec<u8>,
    pub(super) entries: usize,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: OrdKey, V: Stored> LeafImage<K, V> {
    pub(super) fn new() -> Self {
        let mut bytes = vec![0; Leaf::<K, V, Write>::LAYOUT.size];
        bytes[..NODE_HEAD].copy_from_slice(bytemuck::bytes_of(&NodeHead::LEAF));
        LeafImage { bytes, entries: 0, types: PhantomData }
    }

    #[inline]
    pub(super) fn push(&mut self, entry: EntrySlots<'_>) {
        let (layout, slot) = (Leaf::<K, V, Write>::LAYOUT, self.entries);
        let (key, value) = entry.sized::<K, V>();
        self.bytes[FINGERPRINTS + slot] = entry.fingerprint;
        self.bytes[layout.key(slot)..][..key.len()].copy_from_slice(key);
        self.bytes[layout.value(slot)..][..value.len()].copy_from_slice(value);
        self.entries += 1;
    }

    /// Writes what is used of it to the new block at `at`.
    pub(super) fn write(mut self, tree: &mut Tree<'_, K, V, Write>, at: u64) -> Result<()> {
        let layout = Leaf::<K, V, Write>::LAYOUT;
        let occupied = layout.full() & !layout.full().checked_shl(self.entries as u32).unwrap_or(0);
        self.bytes[OCCUPIED..OCCUPIED + 8].copy_from_slice(&occupied.to_le_bytes());
        let last = self.entries - 1;
        let (key_end, value_end) =
            (layout.key(last) + Shape::of::<K>().size, layout.value(last) + Shape::of::<V>().size);
        let head = 0..FINGERPRINTS + self.entries;
        let (keys, values) = match layout.is_interleaved() {
            true => (layout.keys..value_end, 0..0),
            false => (layout.keys..key_end, layout.values..value_end),
        };
        for part in [head, keys, values].into_iter().filter(|part| !part.is_empty()) {
            tree.bytes_mut(at + part.start as u64, part.len())?.copy_from_slice(&self.bytes[part]);
        }
        Ok(())
    }
}
