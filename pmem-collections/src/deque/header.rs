//! The deque's own block.

use crate::{
    damage::corrupt,
    stored::Shape,
    vec::layout::{FANOUT, Layout, MAX_HEIGHT},
};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Error, Result, Stored};
use std::ops::Range;

const MAGIC: u64 = u64::from_le_bytes(*b"PDeque  ");
const VERSION: u16 = 1;

/// The number of the first full leaf: as far from both ends.
pub(super) const FIRST_LEAF: u64 = 1 << 40;
/// One more than the greatest number of a leaf.
pub(super) const LEAF_NUMBERS: u64 = 2 * FIRST_LEAF;

/// The header, as it is on media (see `format/deque.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    magic: u64,
    version: u16,
    flags: u16,
    pub(super) height: u16,
    pub(super) spare: u16,
    pub(super) root: u64,
    pub(super) head: u64,
    pub(super) len: u64,
    pub(super) capacity: u32,
    full: u32,
    element_size: u32,
    element_align: u32,
    reserved: u64,
}

const _: () = assert!(size_of::<Header>() == 64);
/// Where the root's offset is.
pub(super) const ROOT: u64 = 16;
const _: () = assert!(std::mem::offset_of!(Header, root) as u64 == ROOT);

/// There is a leaf before the first element's.
pub(super) const SPARE_FRONT: u16 = 1;
/// There is a leaf behind the last element's.
pub(super) const SPARE_BACK: u16 = 2;

/// Elements that a deque cannot hold.
#[derive(Debug, thiserror::Error)]
#[error(
    "a deque cannot hold elements of {size} bytes (aligned to {align}): at most 4,088, aligned to 64; store a `Ptr` to the \
     large part"
)]
pub struct ElementTooLarge {
    /// Size of the element, bytes.
    pub size: usize,
    /// Alignment of the element, bytes.
    pub align: usize,
}

impl Header {
    /// The header of an empty deque; [`ElementTooLarge`], as the reason of an abort, if there is no layout.
    pub(super) fn new<T: Stored>() -> Result<Header> {
        let (Shape { size, align }, layout) = (Shape::of::<T>(), Layout::of(Shape::of::<T>()));
        if layout.full == 0 {
            return Err(Error::abort(ElementTooLarge { size, align }));
        }
        Ok(Header {
            magic: MAGIC,
            version: VERSION,
            full: layout.full,
            element_size: size as u32,
            element_align: align as u32,
            ..Header::zeroed()
        })
    }

    /// Whether the only leaf is a ring.
    #[inline]
    pub(super) fn is_small(&self) -> bool {
        self.capacity < self.full
    }

    /// Level of the root. Not for a deque without nodes.
    pub(super) fn root_level(&self) -> u32 {
        u32::from(self.height) - 1
    }

    /// Numbers of the leaves in which the elements are, or the next one would be, without spare ones.
    pub(super) fn used(&self) -> Range<u64> {
        if self.is_small() {
            return 0..u64::from(self.height);
        }
        let full = u64::from(self.full);
        self.head / full..(self.head + self.len.saturating_sub(1)) / full + 1
    }

    /// Numbers of all leaves.
    pub(super) fn leaves(&self) -> Range<u64> {
        let used = self.used();
        used.start - u64::from(self.spare & SPARE_FRONT != 0)
            ..used.end + u64::from(self.spare & SPARE_BACK != 0)
    }

    /// Checks a header that was read at `at`.
    #[inline]
    pub(super) fn check<T: Stored>(&self, at: u64) -> Result<()> {
        let expected = Self::new::<T>()?;
        let Header { height, spare, root, head, len, capacity, .. } = *self;
        if *self != (Header { height, spare, root, head, len, capacity, ..expected }) {
            return Err(self.fault(at, expected));
        }
        if self.is_possible(const { Layout::of(Shape::of::<T>()) }) {
            return Ok(());
        }
        Err(corrupt(
            at,
            "height, spare, root, head, len and capacity that belong together",
            format!("{height}, {spare}, {root:#x}, {head}, {len}, {capacity}"),
        ))
    }

    fn is_possible(&self, layout: Layout) -> bool {
        let Header { height, spare, root, head, len, capacity, .. } = *self;
        if height == 0 {
            return (spare, root, head, len, capacity) == (0, 0, 0, 0, 0);
        }
        if root == 0 || u32::from(height) > MAX_HEIGHT || spare > SPARE_FRONT | SPARE_BACK {
            return false;
        }
        if self.is_small() {
            let inside = head < u64::from(capacity) && len <= u64::from(capacity);
            return height == 1 && spare == 0 && inside && layout.is_capacity(capacity);
        }
        // Spare leaves are of these numbers too: one less at both ends.
        let positions = 2 * u64::from(layout.full)..(LEAF_NUMBERS - 1) * u64::from(layout.full);
        let end = head.checked_add(len);
        let inside = positions.contains(&head) && end.is_some_and(|end| end <= positions.end);
        capacity == layout.full && inside && fits(self.root_level(), &self.leaves())
    }

    /// What is wrong with it.
    #[cold]
    fn fault(&self, at: u64, expected: Header) -> Error {
        if self.magic != MAGIC {
            return corrupt(at, "the header of a PDeque", format!("magic {:#x}", self.magic));
        }
        if (self.version, self.flags) != (VERSION, 0) {
            return corrupt(
                at,
                format!("format version {VERSION} without flags (a newer program wrote this?)"),
                format!("version {}, flags {:#x}", self.version, self.flags),
            );
        }
        corrupt(at, format!("{expected:?} but for what changes"), format!("{self:?}"))
    }
}

/// The number of the node of `level` over leaf `leaf`.
#[inline]
pub(super) fn over(leaf: u64, level: u32) -> u64 {
    // Divisors that the compiler knows, for all levels that a deque of a few million leaves has.
    match level {
        0 => leaf,
        1 => leaf / FANOUT,
        2 => leaf / FANOUT.pow(2),
        3 => leaf / FANOUT.pow(3),
        _ => leaf / FANOUT.pow(level),
    }
}

/// Whether a root of `level` can be over `leaves`, of which there is one at least.
pub(super) fn fits(level: u32, leaves: &Range<u64>) -> bool {
    match level {
        0 => leaves.end - leaves.start == 1,
        _ => over(leaves.end - 1, level - 1) - over(leaves.start, level - 1) < FANOUT,
    }
}
