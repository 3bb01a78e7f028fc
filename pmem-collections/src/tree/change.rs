//! The smallest changes: a slot, a bitmap, a separator, the header. Each asks for the bytes it changes and no more.
//!
//! Offsets here are of nodes that were read, and so checked, before.

use super::{
    Leaf, SlotAt, Tree,
    header::{HEIGHT, LEN, ROOT},
    layout::{FINGERPRINTS, NODE_HEAD, OCCUPIED},
    node::{COUNT, Inner, NodeHead},
};
use crate::stored::{self, Shape, StoredBytes};
use pmem_alloc::{Mut, Object, OrdKey, Plain, Ptr, Result, Stored, Value, Write};

impl<K: OrdKey, V: Stored> Tree<'_, K, V, Write> {
    pub(super) fn bytes_mut(&mut self, at: u64, len: usize) -> Result<&mut [u8]> {
        if len == 0 { Ok(&mut []) } else { self.body.bytes_mut(Ptr::from_offset(at), len as u64) }
    }

    // ---- the header ----

    pub(super) fn set_len(&mut self, len: u64) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(self.at + LEN))? = len;
        self.len = len;
        Ok(())
    }

    pub(super) fn set_root(&mut self, root: u64, height: u32) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(self.at + ROOT))? = root;
        *self.body.get_mut::<u32>(Ptr::from_offset(self.at + HEIGHT))? = height;
        (self.root, self.height) = (root, height);
        Ok(())
    }

    // ---- blocks ----

    pub(super) fn alloc_leaf(&mut self) -> Result<u64> {
        self.body.alloc_bytes(Leaf::<K, V, Write>::LAYOUT.size as u64).map(Ptr::offset)
    }

    pub(super) fn alloc_inner(&mut self) -> Result<u64> {
        self.body.alloc_bytes(Inner::<K, Write>::LAYOUT.size as u64).map(Ptr::offset)
    }

    pub(super) fn free(&mut self, node: u64) -> Result<()> {
        self.body.free(Ptr::<u8>::from_offset(node))
    }

    // ---- leaves ----

    /// Makes an entry part of the tree, in a free slot.
    #[inline]
    pub(super) fn fill_slot(&mut self, at: SlotAt, entry: EntrySlots<'_>) -> Result<()> {
        self.write_entry(at, entry)?;
        // Bitmap and fingerprints are asked for together: they are in one line.
        let fingerprints = Leaf::<K, V, Write>::LAYOUT.fingerprint_bytes();
        let head = self.bytes_mut(at.leaf + OCCUPIED as u64, FINGERPRINTS - OCCUPIED + fingerprints)?;
        let (occupied, fingerprints) = head.split_at_mut(FINGERPRINTS - OCCUPIED);
        fingerprints[at.slot] = entry.fingerprint;
        occupied[at.slot / 8] |= 1 << (at.slot % 8);
        Ok(())
    }

    /// Writes an entry and its fingerprint to a free slot; the bitmap decides whether it is there.
    pub(super) fn write_slot(&mut self, at: SlotAt, entry: EntrySlots<'_>) -> Result<()> {
        self.write_entry(at, entry)?;
        self.bytes_mut(at.leaf + (FINGERPRINTS + at.slot) as u64, 1)?[0] = entry.fingerprint;
        Ok(())
    }

    #[inline]
    fn write_entry(&mut self, at: SlotAt, entry: EntrySlots<'_>) -> Result<()> {
        let layout = Leaf::<K, V, Write>::LAYOUT;
        let (key, value) = entry.sized::<K, V>();
        if !layout.is_interleaved() {
            self.bytes_mut(at.leaf + layout.key(at.slot) as u64, key.len())?.copy_from_slice(key);
            self.bytes_mut(at.leaf + layout.value(at.slot) as u64, value.len())?.copy_from_slice(value);
            return Ok(());
        }
        let slot = self.bytes_mut(at.leaf + layout.key(at.slot) as u64, layout.key_stride)?;
        slot[..key.len()].copy_from_slice(key);
        slot[key.len()..].copy_from_slice(value);
        Ok(())
    }

    /// Overwrites the value of an entry.
    pub(crate) fn set_value(&mut self, at: SlotAt, form: &[u8]) -> Result<()>
    where
        V: Value,
    {
        let slot = at.leaf + Leaf::<K, V, Write>::LAYOUT.value(at.slot) as u64;
        stored::replace::<V>(&mut self.body, slot, form)
    }

    /// The value of an entry, to change.
    pub(crate) fn value_mut(&mut self, at: SlotAt) -> Result<&mut V>
    where
        V: Plain,
    {
        self.body.get_mut(Ptr::from_offset(at.leaf + Leaf::<K, V, Write>::LAYOUT.value(at.slot) as u64))
    }

    /// The object that is the value of an entry, to change.
    pub(crate) fn object_mut(&mut self, at: SlotAt) -> Result<Mut<'_, V>>
    where
        V: Object,
    {
        stored::open_mut::<V>(&mut self.body, at.leaf + Leaf::<K, V, Write>::LAYOUT.value(at.slot) as u64)
    }

    pub(super) fn set_occupied(&mut self, leaf: u64, occupied: u64) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(leaf + OCCUPIED as u64))? = occupied;
        Ok(())
    }

    // ---- inner nodes ----

    pub(super) fn set_count(&mut self, node: u64, count: usize) -> Result<()> {
        *self.body.get_mut::<u16>(Ptr::from_offset(node + COUNT))? = count as u16;
        Ok(())
    }

    /// Writes the slots of keys from the `first` one on.
    pub(super) fn write_keys(&mut self, node: u64, first: usize, keys: &[u8]) -> Result<()> {
        let at = node + (Inner::<K, Write>::LAYOUT.keys + first * Inner::<K, Write>::KEY) as u64;
        self.bytes_mut(at, keys.len())?.copy_from_slice(keys);
        Ok(())
    }

    /// Writes children from the `first` one on.
    pub(super) fn write_children(&mut self, node: u64, first: usize, children: &[u64]) -> Result<()> {
        let at = node + (Inner::<K, Write>::LAYOUT.children + 8 * first) as u64;
        self.bytes_mut(at, 8 * children.len())?.copy_from_slice(bytemuck::cast_slice(children));
        Ok(())
    }

    /// Fills a new inner node.
    pub(super) fn write_inner(&mut self, node: u64, level: u32, keys: &[u8], children: &[u64]) -> Result<()> {
        let head = NodeHead::inner(level, children.len() - 1);
        self.bytes_mut(node, NODE_HEAD)?.copy_from_slice(bytemuck::bytes_of(&head));
        self.write_keys(node, 0, keys)?;
        self.write_children(node, 0, children)
    }

    /// Puts a child into an inner node that has room, right of the child `left`, with the separator between the two.
    pub(super) fn insert_child(
        &mut self,
        node: u64,
        count: usize,
        left: usize,
        separator: &[u8],
        child: u64,
    ) -> Result<()> {
        let (layout, size) = (Inner::<K, Write>::LAYOUT, separator.len());
        let start = layout.keys + left * size;
        insert_bytes(self.bytes_mut(node + start as u64, (count + 1 - left) * size)?, separator);
        let start = layout.children + 8 * (left + 1);
        insert_bytes(
            self.bytes_mut(node + start as u64, 8 * (count + 1 - left))?,
            bytemuck::bytes_of(&child),
        );
        self.set_count(node, count + 1)
    }

    /// Takes a child out of an inner node, together with the separator number `key`, whose slot it returns. It must have
    /// one.
    pub(super) fn remove_child(
        &mut self,
        node: u64,
        level: u32,
        key: usize,
        child: usize,
    ) -> Result<StoredBytes> {
        let inner = self.inner(node, level)?;
        let count = inner.count();
        let separator = StoredBytes::new(inner.key_slot(key), 1);
        let keys = inner.keys[(key + 1) * Inner::<K, Write>::KEY..].to_vec();
        let children = inner.children[child + 1..].to_vec();
        self.write_keys(node, key, &keys)?;
        self.write_children(node, child, &children)?;
        self.set_count(node, count - 1)?;
        Ok(separator)
    }

    /// Frees what the slot of a separator refers to that is in no node any more. `node` is the one that it was in.
    pub(super) fn release_separator(&mut self, node: u64, separator: &StoredBytes) -> Result<()> {
        stored::release::<K>(&mut self.body, node, separator.as_slice())
    }
}

/// An entry as it is in a leaf.
#[derive(Clone, Copy)]
pub(crate) struct EntrySlots<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Of the key's stored form.
    pub(crate) fingerprint: u8,
}

impl<'a> EntrySlots<'a> {
    /// Key and value, of lengths that the compiler knows.
    #[inline]
    pub(super) fn sized<K: Stored, V: Stored>(self) -> (&'a [u8], &'a [u8]) {
        (&self.key[..const { Shape::of::<K>().size }], &self.value[..const { Shape::of::<V>().size }])
    }
}

/// Puts `first` at the start of `bytes`, and what was there behind it.
fn insert_bytes(bytes: &mut [u8], first: &[u8]) {
    bytes.copy_within(..bytes.len() - first.len(), first.len());
    bytes[..first.len()].copy_from_slice(first);
}
