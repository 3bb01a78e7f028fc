//! Nodes, to read: checked, zero-copy.

use super::ListGuard;
use crate::{damage::corrupt, stored::Shape};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Error, Mode, Ptr, Result, Stored};

/// What a node begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Links {
    pub(super) stamp: u64,
    pub(super) prev: u64,
    pub(super) next: u64,
}

const _: () = assert!(size_of::<Links>() == 24);
/// Where the references are.
pub(super) const PREV: u64 = 8;
pub(super) const NEXT: u64 = 16;
const _: () = assert!(std::mem::offset_of!(Links, prev) as u64 == PREV);
const _: () = assert!(std::mem::offset_of!(Links, next) as u64 == NEXT);

/// The nodes of elements of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Where the slot is.
    pub(super) slot: usize,
    /// Bytes of a node.
    pub(super) len: usize,
    /// What a node is aligned to.
    pub(super) align: usize,
}

impl Layout {
    pub(super) const fn of(element: Shape) -> Layout {
        let slot = size_of::<Links>().next_multiple_of(element.align);
        let len = slot + element.size;
        Layout { slot, len, align: if len > 32 { 64 } else { 32 } }
    }
}

/// A node that was read.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) at: u64,
    pub(super) links: Links,
    /// The slot's bytes.
    pub(super) slot: &'a [u8],
}

#[cold]
fn broken(at: u64, what: &str, expected: u64, found: u64) -> Error {
    corrupt(at, format!("a node with {expected:#x} {what} it"), format!("{found:#x}"))
}

impl Node<'_> {
    /// The node, if `prev` is what is before it.
    pub(super) fn behind(self, prev: u64) -> Result<Self> {
        match self.links.prev == prev {
            true => Ok(self),
            false => Err(broken(self.at, "before", prev, self.links.prev)),
        }
    }

    /// The node, if `next` is what is behind it.
    pub(super) fn before(self, next: u64) -> Result<Self> {
        match self.links.next == next {
            true => Ok(self),
            false => Err(broken(self.at, "behind", next, self.links.next)),
        }
    }
}

impl<T: Stored, M: Mode> ListGuard<'_, T, M> {
    pub(super) const LAYOUT: Layout = Layout::of(Shape::of::<T>());

    /// The node at `at`.
    #[inline]
    pub(super) fn node(&self, at: u64) -> Result<Node<'_>> {
        if at == 0 || !at.is_multiple_of(8) {
            return Err(corrupt(at, "a node, at a multiple of 8", format!("offset {at:#x}")));
        }
        let bytes = self.body.bytes(Ptr::from_offset(at), Self::LAYOUT.len as u64)?;
        let links = bytemuck::pod_read_unaligned(&bytes[..size_of::<Links>()]);
        Ok(Node { at, links, slot: &bytes[Self::LAYOUT.slot..] })
    }

    /// Where the slot of a node is.
    pub(super) fn slot_at(node: u64) -> u64 {
        node + Self::LAYOUT.slot as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_what_the_format_says() {
        let of = |size, align| Layout::of(Shape { size, align });
        assert_eq!(of(0, 1), Layout { slot: 24, len: 24, align: 32 });
        assert_eq!(of(8, 8), Layout { slot: 24, len: 32, align: 32 });
        assert_eq!(of(16, 16), Layout { slot: 32, len: 48, align: 64 });
        assert_eq!(of(24, 8), Layout { slot: 24, len: 48, align: 64 });
        assert_eq!(of(64, 64), Layout { slot: 64, len: 128, align: 64 });
    }
}
