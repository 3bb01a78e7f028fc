//! The tree's own block: what it holds, where its root is, how many entries there are.

use super::{
    layout::{InnerLayout, LeafLayout, MAX_HEIGHT},
    node::{inner_layout, leaf_layout},
};
use crate::{damage::corrupt, stored::Shape};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Error, Form, Result, Stored};

const MAGIC: u64 = u64::from_le_bytes(*b"PBTreeMp");
const VERSION: u16 = 1;
/// Flags: keys, values are references to what varies in length; values are objects.
const KEYS_VARY: u16 = 1;
const VALUES_VARY: u16 = 2;
const VALUES_ARE_OBJECTS: u16 = 4;

/// The header, as it is on media (see `FORMAT.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    magic: u64,
    version: u16,
    flags: u16,
    pub(crate) height: u32,
    pub(crate) root: u64,
    pub(crate) len: u64,
    key_size: u32,
    value_size: u32,
    key_align: u16,
    value_align: u16,
    leaf_size: u32,
    inner_size: u32,
    leaf_slots: u16,
    inner_keys: u16,
    reserved: u64,
}

const _: () = assert!(size_of::<Header>() == 64);
/// Where `height` and, right behind it, `root` are.
pub(crate) const HEIGHT: u64 = 12;
pub(crate) const ROOT: u64 = 16;
pub(crate) const LEN: u64 = 24;
const _: () = assert!(std::mem::offset_of!(Header, height) as u64 == HEIGHT);
const _: () = assert!(std::mem::offset_of!(Header, root) as u64 == ROOT);
const _: () = assert!(std::mem::offset_of!(Header, len) as u64 == LEN);

/// Entries of plain data that a tree cannot hold: too few would fit in the largest node.
#[derive(Debug, thiserror::Error)]
#[error(
    "a map cannot hold keys of {key_size} bytes (aligned to {key_align}) with values of {value_size} bytes (aligned to \
     {value_align}): at most about 2,030 for the key, 4,080 for both, aligned to 64; what varies in length, as `Vec<T>`, may be longer"
)]
pub struct EntryTooLarge {
    /// Size of the key, bytes.
    pub key_size: usize,
    /// Alignment of the key, bytes.
    pub key_align: usize,
    /// Size of the value, bytes.
    pub value_size: usize,
    /// Alignment of the value, bytes.
    pub value_align: usize,
}

impl Header {
    /// The header of an empty tree; [`EntryTooLarge`], as the reason of an abort, if there is no layout.
    pub(crate) fn new<K: Stored, V: Stored>() -> Result<Header> {
        if !Self::has_layout::<K, V>() {
            let (key, value) = (Shape::of::<K>(), Shape::of::<V>());
            return Err(Error::abort(EntryTooLarge {
                key_size: key.size,
                key_align: key.align,
                value_size: value.size,
                value_align: value.align,
            }));
        }
        Ok(Self::empty::<K, V>())
    }

    const fn has_layout<K: Stored, V: Stored>() -> bool {
        leaf_layout::<K, V>().slots > 0 && inner_layout::<K>().capacity > 0
    }

    /// The header of an empty tree, if there is a layout.
    const fn empty<K: Stored, V: Stored>() -> Header {
        let (key, value) = (Shape::of::<K>(), Shape::of::<V>());
        let (leaf, inner): (LeafLayout, InnerLayout) = (leaf_layout::<K, V>(), inner_layout::<K>());
        // All of these are small: nodes have at most 16 KiB.
        Header {
            magic: MAGIC,
            version: VERSION,
            flags: flags::<K, V>(),
            height: 0,
            root: 0,
            len: 0,
            key_size: key.size as u32,
            value_size: value.size as u32,
            key_align: key.align as u16,
            value_align: value.align as u16,
            leaf_size: leaf.size as u32,
            inner_size: inner.size as u32,
            leaf_slots: leaf.slots as u16,
            inner_keys: inner.capacity as u16,
            reserved: 0,
        }
    }

    /// Checks a header that was read at `at`.
    #[inline]
    pub(crate) fn check<K: Stored, V: Stored>(&self, at: u64) -> Result<()> {
        let Header { height, root, len, .. } = *self;
        let expected = Header { height, root, len, ..const { Self::empty::<K, V>() } };
        if const { Self::has_layout::<K, V>() }
            && bytemuck::bytes_of(self) == bytemuck::bytes_of(&expected)
            && self.is_plausible()
        {
            return Ok(());
        }
        Err(self.fault::<K, V>(at))
    }

    /// Whether height, root and length can belong together.
    fn is_plausible(&self) -> bool {
        self.height <= MAX_HEIGHT
            && (self.height == 0) == (self.root == 0)
            && (self.height > 0 || self.len == 0)
    }

    /// What is wrong with it.
    #[cold]
    fn fault<K: Stored, V: Stored>(&self, at: u64) -> Error {
        let expected = match Header::new::<K, V>() {
            Ok(expected) => expected,
            Err(no_layout) => return no_layout,
        };
        if self.magic != MAGIC {
            return corrupt(at, "the header of a PBTreeMap", format!("magic {:#x}", self.magic));
        }
        if (self.version, self.flags) != (VERSION, expected.flags) {
            return corrupt(
                at,
                format!(
                    "format version {VERSION}, flags {:#x} (a newer program wrote this?)",
                    expected.flags
                ),
                format!("version {}, flags {:#x}", self.version, self.flags),
            );
        }
        let Header { height, root, len, .. } = *self;
        if !self.is_plausible() {
            return corrupt(
                at,
                format!("a height of at most {MAX_HEIGHT}, and a root if and only if it is not 0"),
                format!("height {height}, root {root:#x}, {len} entries"),
            );
        }
        corrupt(at, format!("{expected:?} but for height, root and len"), format!("{self:?}"))
    }
}

const fn flags<K: Stored, V: Stored>() -> u16 {
    let keys = if let Form::Variable { .. } = K::FORM { KEYS_VARY } else { 0 };
    let values = match V::FORM {
        Form::Fixed { .. } => 0,
        Form::Variable { .. } => VALUES_VARY,
        Form::Object(_) => VALUES_ARE_OBJECTS,
    };
    keys | values
}
