//! Nodes, to read: checked, zero-copy.

use super::DequeGuard;
use super::header::over;
use crate::{
    damage::corrupt,
    stored,
    vec::layout::{FANOUT, INNER, NODE_HEAD},
};
use pmem_alloc::{Error, Mode, Ptr, Result, Stored, Value};

/// The first word of a node.
pub(super) const fn identity(level: u32, number: u64) -> u64 {
    u64::from_le_bytes(*b"PDe\0\0\0\0\0") | (level as u64) << 24 | number << 32
}

#[cold]
fn another_node(at: u64, level: u32, number: u64, found: u64) -> Error {
    corrupt(at, format!("node {number} of level {level} of a PDeque"), format!("first word {found:#x}"))
}

impl<T: Stored, M: Mode> DequeGuard<'_, T, M> {
    /// The bytes of a node.
    #[inline]
    fn node(&self, at: u64, level: u32, number: u64, len: usize) -> Result<&[u8]> {
        if at == 0 || !at.is_multiple_of(8) {
            return Err(corrupt(at, "a node, at a multiple of 8", format!("offset {at:#x}")));
        }
        let bytes = self.body.bytes(Ptr::from_offset(at), len as u64)?;
        let word = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        if word == identity(level, number) { Ok(bytes) } else { Err(another_node(at, level, number, word)) }
    }

    /// The number that a node over leaf `leaf` has.
    pub(super) fn number(&self, level: u32, leaf: u64) -> u64 {
        if level > 0 && level == self.header.root_level() { 0 } else { over(leaf, level) }
    }

    /// The children of the inner node at `at`, which is over leaf `leaf`.
    #[inline]
    pub(super) fn children(&self, at: u64, level: u32, leaf: u64) -> Result<&[u64]> {
        let bytes = self.node(at, level, self.number(level, leaf), INNER)?;
        bytemuck::try_cast_slice(&bytes[NODE_HEAD..])
            .map_err(|why| corrupt(at, "a node, at a multiple of 8", why.to_string()))
    }

    /// The node of a level over leaf `leaf`: where it is.
    #[inline]
    pub(super) fn node_at(&self, level: u32, leaf: u64) -> Result<u64> {
        let mut at = self.header.root;
        for above in (level + 1..u32::from(self.header.height)).rev() {
            at = self.children(at, above, leaf)?[child(above, leaf)];
        }
        Ok(at)
    }

    /// The leaf number `number`: where it is, and its bytes.
    #[inline]
    pub(super) fn leaf(&self, number: u64) -> Result<(u64, &[u8])> {
        let at = self.node_at(0, number)?;
        Ok((at, self.node(at, 0, number, Self::LAYOUT.bytes(self.header.capacity))?))
    }

    /// Leaf and slot of an element. Not for a deque without nodes.
    #[inline]
    pub(super) fn place(&self, index: u64) -> (u64, usize) {
        let position = self.header.head + index;
        if self.header.is_small() {
            return (0, (position % u64::from(self.header.capacity)) as usize);
        }
        let full = u64::from(const { Self::LAYOUT.full });
        (position / full, (position % full) as usize)
    }

    /// The slot of an element: where it is, and its bytes.
    #[inline]
    pub(super) fn slot(&self, index: u64) -> Result<(u64, &[u8])> {
        let (number, slot) = self.place(index);
        let (at, leaf) = self.leaf(number)?;
        let start = Self::LAYOUT.slot(slot);
        Ok((at + start as u64, &leaf[start..start + Self::LAYOUT.stride]))
    }

    /// An element.
    #[inline]
    pub(super) fn read(&self, index: u64) -> Result<T::Ref<'_>>
    where
        T: Value,
    {
        let (at, slot) = self.slot(index)?;
        stored::read::<T, M>(&self.body, at, slot)
    }
}

/// Which child of a node of `level` (above 0) is over leaf `leaf`.
#[inline]
pub(super) fn child(level: u32, leaf: u64) -> usize {
    (over(leaf, level - 1) % FANOUT) as usize
}
