//! Removing entries, and merging what has become too empty.
//!
//! A leaf whose last entry went is unlinked. Two siblings that together fill less than 3/4 of a leaf become one:
//! the entries of the emptier go to free slots of the other. So a merged leaf takes a quarter of its slots before it
//! is split again, and a mix of inserts and removes does not split and merge in turns. Inner nodes are
//! merged by the same measure. An entry is gone before any merging starts, and each merge is a change of its own:
//! damage met by a merge leaves the tree as it was before that merge.

use super::{
    Leaf, Path, SlotAt, Tree,
    change::EntrySlots,
    layout::FINGERPRINTS,
    node::{Inner, Slots},
};
use crate::{
    damage::corrupt,
    stored::{self, Shape, StoredBytes},
};
use pmem_alloc::{OrdKey, Result, Stored, Write};
use std::collections::HashSet;

impl<K: OrdKey, V: Stored> Tree<'_, K, V, Write> {
    /// Removes the entries in `gone`, slots of the leaf at the end of `path`, with what they refer to.
    pub(crate) fn remove_slots(&mut self, path: &Path, gone: u64) -> Result<()> {
        if const { !stored::is_fixed::<K>() || !stored::is_fixed::<V>() } {
            self.release_entries(path.leaf, gone)?;
        }
        let occupied = self.leaf(path.leaf)?.occupied;
        let removed = u64::from((occupied & gone).count_ones());
        let len = self.len.checked_sub(removed).ok_or_else(|| {
            self.wrong(format!("at least {removed} entries in the header's len"), self.len.to_string())
        })?;
        self.set_occupied(path.leaf, occupied & !gone)?;
        self.set_len(len)?;
        self.settle_leaf(path, (occupied & !gone).count_ones() as usize)
    }

    /// Frees what the entries in `gone` refer to.
    fn release_entries(&mut self, leaf: u64, gone: u64) -> Result<()> {
        for slot in Slots(self.leaf(leaf)?.occupied & gone) {
            let leaf = self.leaf(leaf)?;
            let (key_at, value_at) = (leaf.key_at(slot), leaf.value_at(slot));
            let (key, value) =
                (StoredBytes::new(leaf.key_slot(slot), 1), StoredBytes::new(leaf.value_slot(slot), 1));
            stored::release::<K>(&mut self.body, key_at, key.as_slice())?;
            stored::release::<V>(&mut self.body, value_at, value.as_slice())?;
        }
        Ok(())
    }

    /// Takes a leaf with `entries` entries out of the tree if it is empty, or merges it if that pays.
    fn settle_leaf(&mut self, path: &Path, entries: usize) -> Result<()> {
        let Some((depth, step)) = path.steps().iter().enumerate().next_back() else { return Ok(()) };
        if entries == 0 {
            self.unlink(path, depth, step.child)?;
            return self.free(path.leaf);
        }
        let (few, enough) = thresholds(Leaf::<K, V, Write>::LAYOUT.slots);
        if entries > few {
            return Ok(());
        }
        let parent = self.inner(step.node, self.level(depth))?;
        for left in [step.child.wrapping_sub(1), step.child] {
            let Some(&[a, b]) =
                parent.children.get(left..left.wrapping_add(2)).and_then(|two| two.first_chunk())
            else {
                continue;
            };
            let (left_leaf, right_leaf) = (self.leaf(a)?, self.leaf(b)?);
            if a != b && left_leaf.len() + right_leaf.len() <= enough {
                let left_goes = left_leaf.len() < right_leaf.len();
                let (gone, to) = if left_goes { (a, b) } else { (b, a) };
                self.merge_leaf(gone, to)?;
                let child = left + usize::from(!left_goes);
                let separator = self.remove_child(step.node, self.level(depth), left, child)?;
                self.release_separator(step.node, &separator)?;
                self.free(gone)?;
                return self.settle_inner(path, depth);
            }
        }
        Ok(())
    }

    /// Copies all entries of one leaf to free slots of another, which has enough of them.
    fn merge_leaf(&mut self, from: u64, to: u64) -> Result<()> {
        let layout = Leaf::<K, V, Write>::LAYOUT;
        let source = self.leaf(from)?;
        let (slots, bytes) = (source.slots(), source.bytes.to_vec());
        let part = |start: usize, shape: Shape| &bytes[start..start + shape.size];
        let mut occupied = self.leaf(to)?.occupied;
        for (slot, free) in slots.zip(Slots(!occupied & layout.full())) {
            let entry = EntrySlots {
                key: part(layout.key(slot), Shape::of::<K>()),
                value: part(layout.value(slot), Shape::of::<V>()),
                fingerprint: bytes[FINGERPRINTS + slot],
            };
            self.write_slot(SlotAt { leaf: to, slot: free }, entry)?;
            occupied |= 1 << free;
        }
        self.set_occupied(to, occupied)
    }

    /// Takes a child out of the inner node at `depth`; nodes that lose their only child go too.
    fn unlink(&mut self, path: &Path, depth: usize, child: usize) -> Result<()> {
        let (mut depth, mut child) = (depth, child);
        loop {
            let node = path.steps()[depth].node;
            let level = self.level(depth);
            if self.inner(node, level)?.count() > 0 {
                // The range of the child goes to its left neighbour, or to its right one if it is the first.
                let separator = self.remove_child(node, level, child.saturating_sub(1), child)?;
                self.release_separator(node, &separator)?;
                return self.settle_inner(path, depth);
            }
            if depth == 0 {
                self.set_root(0, 0)?;
                return self.free(node);
            }
            self.free(node)?;
            depth -= 1;
            child = path.steps()[depth].child;
        }
    }

    /// Merges the inner node at `depth` if that pays, and so on upwards; lowers the tree if its root has one child.
    fn settle_inner(&mut self, path: &Path, depth: usize) -> Result<()> {
        let capacity = Inner::<K, Write>::LAYOUT.capacity;
        let (few, enough) = thresholds(capacity);
        for depth in (1..=depth).rev() {
            let (node, parent) = (path.steps()[depth].node, path.steps()[depth - 1]);
            let count = self.inner(node, self.level(depth))?.count();
            if count > few {
                return Ok(());
            }
            // Nodes without keys are tolerated, but they go as soon as they fit somewhere.
            let enough = if count == 0 { capacity } else { enough };
            if !self.merge_inner(parent.node, depth, parent.child, enough)? {
                return Ok(());
            }
        }
        while self.height > 1 {
            let (root, level) = (self.root, self.height - 1);
            let inner = self.inner(root, level)?;
            if inner.count() > 0 {
                break;
            }
            let child = inner.children[0];
            self.set_root(child, level)?;
            self.free(root)?;
        }
        Ok(())
    }

    /// Merges the inner node that is number `child` of `parent`, and `depth` steps below the root, with a sibling, if
    /// together they have at most `enough` keys.
    fn merge_inner(&mut self, parent: u64, depth: usize, child: usize, enough: usize) -> Result<bool> {
        let (level, parent_level) = (self.level(depth), self.level(depth - 1));
        let siblings = self.inner(parent, parent_level)?;
        for left in [child.wrapping_sub(1), child] {
            let Some(&[a, b]) =
                siblings.children.get(left..left.wrapping_add(2)).and_then(|two| two.first_chunk())
            else {
                continue;
            };
            if a == b {
                return Err(corrupt(parent, "different children", format!("{a:#x} twice")));
            }
            let (left_node, right_node) = (self.inner(a, level)?, self.inner(b, level)?);
            let (count, more) = (left_node.count(), 1 + right_node.count());
            if count + more > enough {
                continue;
            }
            let keys = [siblings.key_slot(left), right_node.keys].concat();
            let children = right_node.children.to_vec();
            self.write_keys(a, count, &keys)?;
            self.write_children(a, count + 1, &children)?;
            self.set_count(a, count + more)?;
            self.remove_child(parent, parent_level, left, left + 1)?; // the separator is in `a` now
            self.free(b)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes everything and frees all nodes.
    pub(crate) fn clear(&mut self) -> Result<()> {
        let (root, height) = (self.root, self.height);
        self.set_len(0)?;
        self.set_root(0, 0)?;
        if height > 0 { self.free_subtree(root, height - 1, &mut HashSet::new()) } else { Ok(()) }
    }

    fn free_subtree(&mut self, node: u64, level: u32, seen: &mut HashSet<u64>) -> Result<()> {
        if !seen.insert(node) {
            return Err(corrupt(node, "a node with one parent", "a node that is reached twice"));
        }
        if level == 0 {
            self.leaf(node)?;
            if const { !stored::is_fixed::<K>() || !stored::is_fixed::<V>() } {
                self.release_entries(node, u64::MAX)?;
            }
        } else {
            let inner = self.inner(node, level)?;
            let (keys, children) = (inner.keys.to_vec(), inner.children.to_vec());
            for child in children {
                self.free_subtree(child, level - 1, seen)?;
            }
            if const { !stored::is_fixed::<K>() } {
                for key in keys.chunks_exact(Inner::<K, Write>::KEY) {
                    stored::release::<K>(&mut self.body, node, key)?;
                }
            }
        }
        self.free(node)
    }
}

/// Of a capacity: so few that a sibling is looked at, and the most that two siblings are merged for.
const fn thresholds(capacity: usize) -> (usize, usize) {
    (capacity * 3 / 8, capacity * 3 / 4)
}
