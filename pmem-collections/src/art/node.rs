//! Nodes and leaves, to read: checked, zero-copy. Of a node no more is read than its first line and what is asked for.

use super::{
    ArtGuard,
    header::ROOT,
    layout::{BYTES, DEPTH, ENDING, HEAD, Kind, LEAF_HEAD, LEAF_MAGIC, LeafLayout, NUMBERS, Node, Target},
};
use crate::{
    damage::corrupt,
    stored::{self, MAX_KEY, Shape},
};
use pmem_alloc::{Error, Mode, Ptr, Result, Stored, Value};

/// What a byte string has at a node: a byte, or, if the string ends there, none. In this order, as strings are.
pub(super) type Step = Option<u8>;

/// The first line of a node.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) node: Node,
    pub(super) depth: u32,
    line: &'a [u8],
}

/// An entry of a node: where its reference is, and the reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) step: Step,
    pub(super) slot: u64,
    pub(super) word: u64,
}

/// A leaf.
#[derive(Clone, Copy)]
pub(super) struct Leaf<'a> {
    pub(super) at: u64,
    pub(super) key: &'a [u8],
    /// The value's bytes.
    pub(super) value: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The first bytes that two strings have in common.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Head<'_> {
    /// The places that hold a child, in a node that lists them: their numbers and bytes.
    fn listed(&self) -> Result<impl Iterator<Item = (usize, u8)>> {
        let Node { kind, at } = self.node;
        let place = kind.occupied();
        let occupied = u16::from_le_bytes(self.line[place..place + 2].try_into().expect("two bytes"));
        if u32::from(occupied) >> kind.capacity() != 0 {
            return Err(corrupt(
                at,
                format!("bits of {} children", kind.capacity()),
                format!("{occupied:#x}"),
            ));
        }
        let bytes = &self.line[BYTES..place];
        Ok((0..kind.capacity()).filter(move |i| occupied >> i & 1 == 1).map(|i| (i, bytes[i])))
    }

    /// The number of a place without a child, in a node that lists them.
    pub(super) fn free_place(&self) -> Result<Option<usize>> {
        let mut taken = 0u32;
        self.listed()?.for_each(|(i, _)| taken |= 1 << i);
        Ok(Some(taken.trailing_ones() as usize).filter(|&place| place < self.node.kind.capacity()))
    }
}

impl<V: Stored, M: Mode> ArtGuard<'_, V, M> {
    pub(super) const LEAF: LeafLayout = LeafLayout::of(Shape::of::<V>());

    /// The first line of a node, which has to be at byte `least` of the key at least.
    #[inline]
    pub(super) fn head(&self, node: Node, least: u32) -> Result<Head<'_>> {
        let line = self.body.bytes(Ptr::from_offset(node.at), HEAD)?;
        let first = word(line, 0);
        let (magic, depth) = (first as u32, (first >> (8 * DEPTH)) as u32);
        if magic == node.kind.magic() && depth >= least && u64::from(depth) <= MAX_KEY {
            return Ok(Head { node, depth, line });
        }
        Err(corrupt(
            node.at,
            format!("a {:?} at byte {least} of a key or behind it", node.kind),
            format!("magic {magic:#x}, byte {depth}"),
        ))
    }

    fn word(&self, at: u64) -> Result<u64> {
        Ok(word(self.body.bytes(Ptr::from_offset(at), 8)?, 0))
    }

    /// The entry for a byte, or for the end.
    #[inline]
    pub(super) fn entry_at(&self, head: &Head<'_>, step: Step) -> Result<Option<Entry>> {
        let Node { kind, at } = head.node;
        let children = at + kind.children() as u64;
        let Some(byte) = step else {
            let ending = word(head.line, ENDING);
            return self.ending(head, ending);
        };
        let place = match kind {
            Kind::Node4 | Kind::Node16 => head.listed()?.find(|(_, listed)| *listed == byte).map(|(i, _)| i),
            Kind::Node48 => {
                let number =
                    self.body.bytes(Ptr::from_offset(at + (NUMBERS + usize::from(byte)) as u64), 1)?[0];
                self.numbered(head.node, number)?
            }
            Kind::Node256 => Some(usize::from(byte)),
        };
        let Some(place) = place else { return Ok(None) };
        let slot = children + 8 * place as u64;
        let word = if kind == Kind::Node4 { word(head.line, (slot - at) as usize) } else { self.word(slot)? };
        Ok(Some(Entry { step, slot, word }).filter(|_| kind != Kind::Node256 || word != 0))
    }

    fn ending(&self, head: &Head<'_>, word: u64) -> Result<Option<Entry>> {
        let slot = head.node.at + ENDING as u64;
        match word {
            0 => Ok(None),
            _ if matches!(Target::read(slot, word)?, Target::Leaf(_)) => {
                Ok(Some(Entry { step: None, slot, word }))
            }
            _ => Err(corrupt(slot, "a reference to a leaf", format!("{word:#x}"))),
        }
    }

    /// The place that a number in a node of 48 stands for.
    fn numbered(&self, node: Node, number: u8) -> Result<Option<usize>> {
        match usize::from(number) {
            number if number <= node.kind.capacity() => Ok(number.checked_sub(1)),
            number => Err(corrupt(node.at, "a number of a reference, up to 48", number.to_string())),
        }
    }

    /// Some entry of a node.
    pub(super) fn any_entry(&self, head: &Head<'_>) -> Result<Entry> {
        let byte = match (self.entry_at(head, None)?, head.node.kind) {
            (Some(ending), _) => return Ok(ending),
            (None, Kind::Node4 | Kind::Node16) => head.listed()?.next().map(|(_, byte)| byte),
            (None, Kind::Node48) => {
                self.after_head(head.node, 256)?.iter().position(|number| *number != 0).map(|byte| byte as u8)
            }
            (None, Kind::Node256) => {
                let mut references = self.after_head(head.node, 8 * 256)?.chunks_exact(8);
                references.position(|reference| word(reference, 0) != 0).map(|byte| byte as u8)
            }
        };
        let entry = byte.map(|byte| self.entry_at(head, Some(byte))).transpose()?.flatten();
        entry.ok_or_else(|| no_entries(head.node))
    }

    /// How many children a node has.
    pub(super) fn children(&self, head: &Head<'_>) -> Result<usize> {
        Ok(match head.node.kind {
            Kind::Node4 | Kind::Node16 => head.listed()?.count(),
            Kind::Node48 => self.after_head(head.node, 256)?.iter().filter(|number| **number != 0).count(),
            Kind::Node256 => {
                let references = self.after_head(head.node, 8 * 256)?.chunks_exact(8);
                references.filter(|reference| word(reference, 0) != 0).count()
            }
        })
    }

    /// What of a node is behind its first line: so many bytes.
    fn after_head(&self, node: Node, len: usize) -> Result<&[u8]> {
        self.body.bytes(Ptr::from_offset(node.at + HEAD), len as u64)
    }

    /// All entries of a node, in the order of keys: the end first. There is one at least.
    pub(super) fn entries(&self, head: &Head<'_>) -> Result<Vec<Entry>> {
        let Node { kind, at } = head.node;
        let mut entries = Vec::from_iter(self.entry_at(head, None)?);
        let slot = |place: usize| at + (kind.children() + 8 * place) as u64;
        let mut add = |byte: u8, place: usize, word: u64| {
            entries.push(Entry { step: Some(byte), slot: slot(place), word });
        };
        let rest = |kind: Kind| self.after_head(head.node, kind.len() - HEAD as usize);
        match kind {
            Kind::Node4 => head.listed()?.for_each(|(i, byte)| add(byte, i, word(head.line, 24 + 8 * i))),
            Kind::Node16 => {
                let references = rest(kind)?;
                head.listed()?.for_each(|(i, byte)| add(byte, i, word(references, 8 * i)));
            }
            Kind::Node48 => {
                let rest = rest(kind)?;
                for byte in 0..=255 {
                    if let Some(place) = self.numbered(head.node, rest[usize::from(byte)])? {
                        add(byte, place, word(rest, 256 + 8 * place));
                    }
                }
            }
            Kind::Node256 => {
                let references = rest(kind)?;
                for (byte, reference) in (0..=255).zip(references.chunks_exact(8)) {
                    let word = word(reference, 0);
                    if word != 0 {
                        add(byte, usize::from(byte), word);
                    }
                }
            }
        }
        if matches!(kind, Kind::Node4 | Kind::Node16) {
            entries.sort_unstable_by_key(|entry| entry.step);
        }
        match entries.is_sorted_by(|a, b| a.step < b.step) && !entries.is_empty() {
            true => Ok(entries),
            false => Err(no_entries(head.node)),
        }
    }

    /// The place of no reference, in a node of 48.
    pub(super) fn free_number(&self, node: Node) -> Result<Option<usize>> {
        let numbers = self.after_head(node, 256)?;
        let mut taken = 0u64;
        for &number in numbers {
            self.numbered(node, number)?.into_iter().for_each(|place| taken |= 1 << place);
        }
        Ok(Some(taken.trailing_ones() as usize).filter(|&place| place < node.kind.capacity()))
    }

    /// The leaf at `at`.
    #[inline]
    pub(super) fn leaf(&self, at: u64) -> Result<Leaf<'_>> {
        let first = self.word(at)?;
        let (magic, len) = (first as u32, first >> 32);
        if magic != LEAF_MAGIC || len > MAX_KEY {
            return Err(no_leaf(at, magic, len));
        }
        let layout = const { Self::LEAF };
        let bytes = self.body.bytes(Ptr::from_offset(at), layout.key as u64 + len)?;
        debug_assert!(layout.value >= LEAF_HEAD);
        Ok(Leaf { at, key: &bytes[layout.key..], value: &bytes[layout.value..layout.key] })
    }

    /// Where the value of a leaf is.
    pub(super) fn value_at(leaf: u64) -> u64 {
        leaf + Self::LEAF.value as u64
    }

    /// The value of a leaf.
    pub(super) fn value<'a>(&'a self, leaf: Leaf<'a>) -> Result<V::Ref<'a>>
    where
        V: Value,
    {
        stored::read::<V, M>(&self.body, Self::value_at(leaf.at), leaf.value)
    }

    /// The leaf that holds `key`.
    pub(super) fn find(&self, key: &[u8]) -> Result<Option<Leaf<'_>>> {
        let (mut slot, mut word, mut least) = (self.at + ROOT, self.header.root, 0);
        if word == 0 {
            return Ok(None);
        }
        loop {
            let node = match Target::read(slot, word)? {
                Target::Leaf(at) => return Ok(Some(self.leaf(at)?).filter(|leaf| leaf.key == key)),
                Target::Node(node) => node,
            };
            let head = self.head(node, least)?;
            if head.depth as usize > key.len() {
                return Ok(None);
            }
            let Some(entry) = self.entry_at(&head, key.get(head.depth as usize).copied())? else {
                return Ok(None);
            };
            (slot, word, least) = (entry.slot, entry.word, head.depth + 1);
        }
    }
}

#[cold]
fn no_entries(node: Node) -> Error {
    corrupt(node.at, "entries with a byte each", "none, or two with the same")
}

#[cold]
fn no_leaf(at: u64, magic: u32, len: u64) -> Error {
    corrupt(at, "a leaf of a PArt", format!("magic {magic:#x}, a key of {len} bytes"))
}
