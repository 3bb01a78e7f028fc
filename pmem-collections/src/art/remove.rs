//! Taking leaves out. A node that is left with one entry goes; one that is left with few is made smaller, if there is space.

use super::{
    ArtGuard,
    header::{LEN, ROOT},
    layout::{ENDING, Kind, NUMBERS, Node, Target},
    node::{Entry, Step},
    path::{Parting, Passed},
};
use crate::{
    damage::corrupt,
    stored::{self, Old, StoredBytes},
};
use pmem_alloc::{ErrorKind, Ptr, Result, Stored, Write};

impl<V: Stored> ArtGuard<'_, V, Write> {
    /// Removes the entry for `key`; what was there.
    pub(super) fn remove_key(&mut self, key: &[u8]) -> Result<Option<Old<V>>> {
        let Some(path) = self.path(key)? else { return Ok(None) };
        let Parting::Equal = path.parting() else { return Ok(None) };
        let (leaf, parent) = (path.leaf.at, path.nodes.last().copied());
        let old = Old::take(&self.body, Self::value_at(leaf), path.leaf.value)?;
        let value = StoredBytes::new(path.leaf.value, 1);
        let len = self.header.len.checked_sub(1);
        let len = len.ok_or_else(|| corrupt(self.at + LEN, "a length above 0", "0"))?;
        match parent {
            None => self.set_reference(self.at + ROOT, 0)?,
            Some(parent) => self.unlink(parent)?,
        }
        self.set_len(len)?;
        stored::release::<V>(&mut self.body, Self::value_at(leaf), value.as_slice())?;
        self.body.free(Ptr::<u8>::from_offset(leaf))?;
        Ok(Some(old))
    }

    /// Takes the entry by which a path has left a node out of it.
    fn unlink(&mut self, Passed { node, depth, slot, step }: Passed) -> Result<()> {
        let head = self.head(node, depth)?;
        let has_ending = self.entry_at(&head, None)?.is_some();
        let children = self.children(&head)?;
        let children_left = children - usize::from(step.is_some()).min(children);
        let entries_left = (children + usize::from(has_ending)).saturating_sub(1);
        let smaller = node.kind.after_removal(children_left);
        let instead = if entries_left > 1 && smaller == node.kind {
            None
        } else {
            let mut left = self.entries(&head)?;
            left.retain(|entry| entry.step != step);
            match left[..] {
                [] => return Err(corrupt(node.at, "two entries at least", "one")),
                [Entry { word, .. }] => Some(word),
                _ => match self.make_node(smaller, depth, &left) {
                    Ok(word) => Some(word),
                    // It stays as large as it is.
                    Err(error) if matches!(error.kind(), ErrorKind::NoSpace { .. }) => None,
                    Err(error) => return Err(error),
                },
            }
        };
        match instead {
            Some(word) => {
                self.set_reference(slot, word)?;
                self.body.free(Ptr::<u8>::from_offset(node.at))
            }
            None => self.clear_entry(node, depth, step),
        }
    }

    fn clear_entry(&mut self, node: Node, depth: u32, step: Step) -> Result<()> {
        let Node { kind, at } = node;
        let Some(byte) = step else { return self.set_word(at + ENDING as u64, 0) };
        let head = self.head(node, depth)?;
        let entry = self.entry_at(&head, step)?;
        let entry = entry.ok_or_else(|| corrupt(at, format!("an entry for byte {byte}"), "none"))?;
        match kind {
            Kind::Node4 | Kind::Node16 => {
                let place = (entry.slot - at - kind.children() as u64) / 8;
                *self.body.get_mut::<u16>(Ptr::from_offset(at + kind.occupied() as u64))? &= !(1 << place);
                Ok(())
            }
            Kind::Node48 => self.set_byte(at + (NUMBERS + usize::from(byte)) as u64, 0),
            Kind::Node256 => self.set_word(entry.slot, 0),
        }
    }

    /// Frees all nodes and leaves, and all that values refer to.
    pub(super) fn free_all(&mut self) -> Result<()> {
        let mut open = Vec::new();
        if self.header.root != 0 {
            open.push((self.at + ROOT, self.header.root, 0));
        }
        let mut freed = 0;
        // A block that was freed is not read again: so this ends, however damaged the tree is.
        while let Some((slot, word, least)) = open.pop() {
            let at = match Target::read(slot, word)? {
                Target::Leaf(at) => {
                    let value = StoredBytes::new(self.leaf(at)?.value, 1);
                    stored::release::<V>(&mut self.body, Self::value_at(at), value.as_slice())?;
                    freed += 1;
                    at
                }
                Target::Node(node) => {
                    let head = self.head(node, least)?;
                    let depth = head.depth;
                    let below = self.entries(&head)?;
                    open.extend(below.into_iter().map(|entry| (entry.slot, entry.word, depth + 1)));
                    node.at
                }
            };
            self.body.free(Ptr::<u8>::from_offset(at))?;
        }
        if freed != self.header.len {
            return Err(self.miscounted(freed.to_string()));
        }
        self.set_reference(self.at + ROOT, 0)?;
        self.set_len(0)
    }
}
