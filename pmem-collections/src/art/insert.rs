//! Adding a leaf. Everything that takes space is made before the first change.

use super::{
    ArtGuard,
    header::{LEN, ROOT},
    layout::{BYTES, DEPTH, ENDING, Kind, LEAF_HEAD, LEAF_MAGIC, NUMBERS, Node, Target},
    node::{Entry, Step},
    path::Parting,
};
use crate::{
    damage::corrupt,
    stored::{self, Slot},
};
use pmem_alloc::{Ptr, Result, Stored, Write};

/// Where a key is, or is to come.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In this leaf.
    Taken(u64),
    /// The tree is empty.
    Root,
    /// In a node, to which the word at `slot` refers.
    Node { node: Node, depth: u32, slot: u64 },
    /// Beside what the word at `slot` refers to, below a new node. That is where `step` leads.
    Beside { slot: u64, target: Target, depth: u32, step: Step },
}

impl<V: Stored> ArtGuard<'_, V, Write> {
    pub(super) fn place(&self, key: &[u8]) -> Result<Place> {
        let Some(path) = self.path(key)? else { return Ok(Place::Root) };
        Ok(match path.parting() {
            Parting::Equal => Place::Taken(path.leaf.at),
            Parting::InNode(i) => {
                let passed = path.nodes[i];
                Place::Node { node: passed.node, depth: passed.depth, slot: passed.slot }
            }
            Parting::Above(i) => {
                let (slot, target) = path.reference(i);
                let step = path.leaf.key.get(path.common).copied();
                if step.is_none() && matches!(target, Target::Node(_)) {
                    return Err(corrupt(
                        path.leaf.at,
                        format!("a key of more than {} bytes", path.common),
                        "a shorter one",
                    ));
                }
                Place::Beside { slot, target, depth: path.common as u32, step }
            }
        })
    }

    pub(super) fn set_word(&mut self, at: u64, word: u64) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(at))? = word;
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) -> Result<()> {
        self.header.len = len;
        self.set_word(self.at + LEN, len)
    }

    /// Changes a reference; the header's copy of its own too.
    pub(super) fn set_reference(&mut self, slot: u64, word: u64) -> Result<()> {
        if slot == self.at + ROOT {
            self.header.root = word;
        }
        self.set_word(slot, word)
    }

    /// Puts a new leaf where its key belongs; where it is. If that fails, what its value refers to is freed.
    pub(super) fn insert_new(&mut self, place: Place, key: &[u8], value: Slot<'_>) -> Result<u64> {
        let leaf = self.make_leaf(key, &value);
        let leaf = leaf.and_then(|leaf| match self.link(place, key, leaf) {
            Ok(()) => Ok(leaf),
            Err(error) => {
                self.body.free(Ptr::<u8>::from_offset(leaf))?;
                Err(error)
            }
        });
        if leaf.is_err() {
            stored::release::<V>(&mut self.body, self.at, &value)?;
        }
        leaf
    }

    fn make_leaf(&mut self, key: &[u8], value: &[u8]) -> Result<u64> {
        let layout = Self::LEAF;
        let len = layout.key + key.len();
        let at = self.body.alloc_aligned(len as u64, layout.align(len))?;
        let leaf = self.body.bytes_mut(at, len as u64)?;
        leaf[..4].copy_from_slice(&LEAF_MAGIC.to_le_bytes());
        leaf[4..LEAF_HEAD].copy_from_slice(&(key.len() as u32).to_le_bytes());
        leaf[layout.value..layout.key].copy_from_slice(value);
        leaf[layout.key..].copy_from_slice(key);
        Ok(at.offset())
    }

    /// Makes the tree refer to a new leaf.
    fn link(&mut self, place: Place, key: &[u8], leaf: u64) -> Result<()> {
        let len = self.header.len.checked_add(1);
        let len = len.ok_or_else(|| corrupt(self.at, "a number of entries", "one beyond 2^64"))?;
        let leaf = Target::Leaf(leaf).word();
        match place {
            Place::Taken(at) => return Err(corrupt(at, "another key", "the same")),
            Place::Root => self.set_reference(self.at + ROOT, leaf)?,
            Place::Node { node, depth, slot } => {
                self.add(node, depth, slot, key.get(depth as usize).copied(), leaf)?;
            }
            Place::Beside { slot, target, depth, step } => {
                let new = Entry { step: key.get(depth as usize).copied(), slot: 0, word: leaf };
                let old = Entry { step, slot: 0, word: target.word() };
                let node = self.make_node(Kind::Node4, depth, &[old, new])?;
                self.set_reference(slot, node)?;
            }
        }
        self.set_len(len)
    }

    /// Adds an entry to a node, to which the word at `slot` refers. A full one is replaced by a larger one.
    fn add(&mut self, node: Node, depth: u32, slot: u64, step: Step, word: u64) -> Result<()> {
        let Node { kind, at } = node;
        let Some(byte) = step else { return self.set_word(at + ENDING as u64, word) };
        let head = self.head(node, depth)?;
        let place = match kind {
            Kind::Node4 | Kind::Node16 => head.free_place()?,
            Kind::Node48 => self.free_number(node)?,
            Kind::Node256 => Some(usize::from(byte)),
        };
        let Some(place) = place else {
            let mut entries = self.entries(&head)?;
            entries.push(Entry { step, slot: 0, word });
            let larger = self.make_node(Kind::for_children(kind.capacity() + 1), depth, &entries)?;
            self.set_reference(slot, larger)?;
            return self.body.free(Ptr::<u8>::from_offset(at));
        };
        match kind {
            Kind::Node4 | Kind::Node16 => {
                self.set_byte(at + (BYTES + place) as u64, byte)?;
                *self.body.get_mut::<u16>(Ptr::from_offset(at + kind.occupied() as u64))? |= 1 << place;
            }
            Kind::Node48 => self.set_byte(at + (NUMBERS + usize::from(byte)) as u64, place as u8 + 1)?,
            Kind::Node256 => {}
        }
        self.set_word(at + (kind.children() + 8 * place) as u64, word)
    }

    pub(super) fn set_byte(&mut self, at: u64, byte: u8) -> Result<()> {
        *self.body.get_mut::<u8>(Ptr::from_offset(at))? = byte;
        Ok(())
    }

    /// A new node with these entries; the reference to it.
    pub(super) fn make_node(&mut self, kind: Kind, depth: u32, entries: &[Entry]) -> Result<u64> {
        let at = self.body.alloc_aligned(kind.len() as u64, 64)?;
        let node = self.body.bytes_mut(at, kind.len() as u64)?;
        node[..4].copy_from_slice(&kind.magic().to_le_bytes());
        node[DEPTH..DEPTH + 4].copy_from_slice(&depth.to_le_bytes());
        let mut children = 0;
        for entry in entries {
            let place = match entry.step {
                None => ENDING,
                Some(byte) => {
                    let place = if kind == Kind::Node256 { usize::from(byte) } else { children };
                    match kind {
                        Kind::Node4 | Kind::Node16 => node[BYTES + place] = byte,
                        Kind::Node48 => node[NUMBERS + usize::from(byte)] = place as u8 + 1,
                        Kind::Node256 => {}
                    }
                    children += 1;
                    kind.children() + 8 * place
                }
            };
            node[place..place + 8].copy_from_slice(&entry.word.to_le_bytes());
        }
        if matches!(kind, Kind::Node4 | Kind::Node16) {
            let occupied = (1u32 << children) - 1;
            node[kind.occupied()..kind.occupied() + 2].copy_from_slice(&(occupied as u16).to_le_bytes());
        }
        Ok(Target::Node(Node { kind, at: at.offset() }).word())
    }
}
