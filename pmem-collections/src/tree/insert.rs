//! Inserting a key that is not there, and splitting what is full.

use super::{
    Aim, Leaf, Path, Place, SlotAt, Tree,
    layout::{FINGERPRINTS, MAX_HEIGHT, NODE_HEAD, OCCUPIED},
    node::{NodeHead, fingerprint},
    path::Step,
};
use pmem_alloc::{Plain, Result, Write};
use std::{cmp::Ordering, marker::PhantomData};

impl<K: Plain + Ord, V: Plain> Tree<'_, K, V, Write> {
    /// Inserts an entry where [`find`](Tree::find) said that the key could be; returns where it is.
    pub(crate) fn insert_at(&mut self, place: Place, key: &K, value: &V) -> Result<SlotAt> {
        let len = self.len.checked_add(1).ok_or_else(|| self.wrong("fewer than 2^64 entries", "2^64 - 1"))?;
        let at = match place {
            Place::Taken(at) => {
                self.set_value(at, value)?;
                return Ok(at);
            }
            Place::Free(at) => {
                self.fill_slot(at, bytemuck::bytes_of(key), bytemuck::bytes_of(value))?;
                at
            }
            Place::Full => match self.path(Aim::Key(key))? {
                Some(path) => self.split_leaf(&path, key, value)?,
                None => self.first_leaf(key, value)?,
            },
        };
        self.set_len(len)?;
        Ok(at)
    }

    fn first_leaf(&mut self, key: &K, value: &V) -> Result<SlotAt> {
        let leaf = self.alloc_leaf()?;
        let mut image = LeafImage::<K, V>::new();
        image.push(bytemuck::bytes_of(key), bytemuck::bytes_of(value));
        image.write(self, leaf)?;
        self.set_root(leaf, 1)?;
        Ok(SlotAt { leaf, slot: 0 })
    }

    /// Splits the full leaf at the end of `path`, and inserts an entry in one of the halves.
    fn split_leaf(&mut self, path: &Path, key: &K, value: &V) -> Result<SlotAt> {
        let layout = Leaf::<K, V>::LAYOUT;
        let leaf = self.leaf(path.leaf)?;
        let mut entries = Vec::with_capacity(layout.slots);
        leaf.list_into(&mut entries, |_| true)?;
        // Keys that only grow fill the last leaf, and leave it full.
        let beyond_all = path.rightmost && entries.iter().all(|(other, _)| other.cmp(key) == Ordering::Less);
        let cut = if beyond_all { entries.len() } else { entries.len() / 2 };
        let separator = if cut < entries.len() {
            entries.select_nth_unstable_by_key(cut, |(key, _)| *key).1.0 // the halves need no order
        } else {
            *key
        };
        let goes_right = cut == entries.len() || separator.cmp(key) != Ordering::Greater;

        let mut image = LeafImage::<K, V>::new();
        let mut stays = leaf.occupied;
        for &(_, slot) in &entries[cut..] {
            let slot = usize::from(slot);
            stays &= !(1 << slot);
            image.push_from(&leaf, slot);
        }
        let (old, new_slot) = (leaf.at, image.entries);
        if goes_right {
            image.push(bytemuck::bytes_of(key), bytemuck::bytes_of(value));
        }
        let fresh = self.alloc_for_split(path)?;

        // From here on nothing fails but for damage, and no foreign code runs.
        let right = fresh.leaf;
        image.write(self, right)?;
        let at = if goes_right {
            SlotAt { leaf: right, slot: new_slot }
        } else {
            let at = SlotAt { leaf: old, slot: (!stays).trailing_zeros() as usize };
            self.write_slot(at, bytemuck::bytes_of(key), bytemuck::bytes_of(value))?;
            stays |= 1 << at.slot;
            at
        };
        self.set_occupied(old, stays)?;
        self.link(path, separator, fresh)?;
        Ok(at)
    }

    /// Allocates all that a split at the end of `path` needs, or nothing.
    fn alloc_for_split(&mut self, path: &Path) -> Result<Fresh> {
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
        let mut fresh = Fresh { leaf: self.alloc_leaf()?, inner: Vec::new() };
        for _ in 0..full + usize::from(grows) {
            match self.alloc_inner() {
                Ok(node) => fresh.inner.push(node),
                Err(no_space) => {
                    for node in fresh.inner.into_iter().chain([fresh.leaf]) {
                        self.free(node)?;
                    }
                    return Err(no_space);
                }
            }
        }
        Ok(fresh)
    }

    /// Makes the new leaf a child, right of the leaf at the end of `path`; splits inner nodes up to the root.
    fn link(&mut self, path: &Path, separator: K, fresh: Fresh) -> Result<()> {
        let (mut separator, mut right, mut spare) = (separator, fresh.leaf, fresh.inner.into_iter());
        for (depth, &Step { node, child }) in path.steps().iter().enumerate().rev() {
            let level = self.level(depth);
            let inner = self.inner(node, level)?;
            if !inner.is_full() {
                let count = inner.keys.len();
                return self.insert_child(node, count, child, separator, right);
            }
            let mut keys = inner.keys.to_vec();
            let mut children = inner.children.to_vec();
            keys.insert(child, separator);
            children.insert(child + 1, right);
            // At the right edge the old node stays nearly full, as leaves do.
            let cut = if path.rightmost { keys.len() - 2 } else { keys.len() / 2 };
            let new = spare.next().ok_or_else(|| self.wrong("a node to spare", "none"))?;
            self.write_inner(new, level, &keys[cut + 1..], &children[cut + 1..])?;
            if child < cut {
                self.write_keys(node, child, &keys[child..cut])?;
                self.write_children(node, child + 1, &children[child + 1..=cut])?;
            }
            self.set_count(node, cut)?;
            (separator, right) = (keys[cut], new);
        }
        let root = spare.next().ok_or_else(|| self.wrong("a node to spare", "none"))?;
        self.write_inner(root, self.height, &[separator], &[self.root, right])?;
        self.set_root(root, self.height + 1)
    }
}

/// Nodes allocated for a split: a leaf, and as many inner nodes as will be split, and a root if it grows.
struct Fresh {
    leaf: u64,
    inner: Vec<u64>,
}

/// A new leaf, built in DRAM: its entries fill the first slots.
struct LeafImage<K, V> {
    bytes: Vec<u8>,
    entries: usize,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Plain, V: Plain> LeafImage<K, V> {
    fn new() -> Self {
        let mut bytes = vec![0; Leaf::<K, V>::LAYOUT.size];
        bytes[..NODE_HEAD].copy_from_slice(bytemuck::bytes_of(&NodeHead::LEAF));
        LeafImage { bytes, entries: 0, types: PhantomData }
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        let (layout, slot) = (Leaf::<K, V>::LAYOUT, self.entries);
        self.bytes[FINGERPRINTS + slot] = fingerprint(key);
        self.bytes[layout.key(slot)..][..key.len()].copy_from_slice(key);
        self.bytes[layout.value(slot)..][..value.len()].copy_from_slice(value);
        self.entries += 1;
    }

    fn push_from(&mut self, leaf: &Leaf<'_, K, V>, slot: usize) {
        let layout = Leaf::<K, V>::LAYOUT;
        let (key, value) = (&leaf.bytes[layout.key(slot)..], &leaf.bytes[layout.value(slot)..]);
        self.push(&key[..size_of::<K>()], &value[..size_of::<V>()]);
    }

    /// Writes what is used of it to the new block at `at`.
    fn write(mut self, tree: &mut Tree<'_, K, V, Write>, at: u64) -> Result<()> {
        let layout = Leaf::<K, V>::LAYOUT;
        let occupied = layout.full() & !(layout.full() << self.entries);
        self.bytes[OCCUPIED..OCCUPIED + 8].copy_from_slice(&occupied.to_le_bytes());
        let last = self.entries - 1;
        let mut parts = vec![0..FINGERPRINTS + self.entries, layout.keys..layout.key(last) + size_of::<K>()];
        if layout.is_interleaved() {
            parts[1].end = layout.key(last) + layout.key_stride;
        } else {
            parts.push(layout.values..layout.value(last) + size_of::<V>());
        }
        for part in parts {
            tree.bytes_mut(at + part.start as u64, part.len())?.copy_from_slice(&self.bytes[part]);
        }
        Ok(())
    }
}
