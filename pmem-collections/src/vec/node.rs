//! Nodes, to read: checked, zero-copy.

use super::{
    VecGuard,
    layout::{FANOUT, INNER, NODE_HEAD},
};
use crate::{damage::corrupt, stored};
use pmem_alloc::{Error, Mode, Ptr, Result, Stored, Value};

/// The first word of a node.
pub(super) const fn identity(level: u32, number: u64) -> u64 {
    u64::from_le_bytes(*b"PVe\0\0\0\0\0") | (level as u64) << 24 | number << 32
}

#[cold]
fn another_node(at: u64, level: u32, number: u64, found: u64) -> Error {
    corrupt(at, format!("node {number} of level {level} of a PVec"), format!("first word {found:#x}"))
}

impl<T: Stored, M: Mode> VecGuard<'_, T, M> {
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

    /// The children of the inner node at `at`.
    #[inline]
    pub(super) fn children(&self, at: u64, level: u32, number: u64) -> Result<&[u64]> {
        let bytes = self.node(at, level, number, INNER)?;
        bytemuck::try_cast_slice(&bytes[NODE_HEAD..])
            .map_err(|why| corrupt(at, "a node, at a multiple of 8", why.to_string()))
    }

    /// Bytes of a leaf.
    pub(super) fn leaf_bytes(&self) -> usize {
        Self::LAYOUT.bytes(self.header.capacity)
    }

    /// The leaf number `number`: where it is, and its bytes.
    #[inline]
    pub(super) fn leaf(&self, number: u64) -> Result<(u64, &[u8])> {
        let at = self.node_at(0, number)?;
        Ok((at, self.node(at, 0, number, self.leaf_bytes())?))
    }

    /// Where node `number` of a level is.
    #[inline]
    pub(super) fn node_at(&self, level: u32, number: u64) -> Result<u64> {
        let mut at = self.header.root;
        for above in (level + 1..self.header.height).rev() {
            let below = number / FANOUT.pow(above - 1 - level);
            at = self.children(at, above, below / FANOUT)?[(below % FANOUT) as usize];
        }
        Ok(at)
    }

    /// The slot of an element: where it is, and its bytes.
    #[inline]
    pub(super) fn slot(&self, index: u64) -> Result<(u64, &[u8])> {
        let capacity = if self.header.height == 1 {
            u64::from(self.header.capacity)
        } else {
            u64::from(const { Self::LAYOUT.full })
        };
        let (at, leaf) = self.leaf(index / capacity)?;
        let start = Self::LAYOUT.slot((index % capacity) as usize);
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
