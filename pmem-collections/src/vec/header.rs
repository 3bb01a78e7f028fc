//! The vector's own block.

use super::layout::{Layout, MAX_HEIGHT};
use crate::{damage::corrupt, stored::Shape};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Error, Result, Stored};

const MAGIC: u64 = u64::from_le_bytes(*b"PVector ");
const VERSION: u16 = 1;

/// The header, as it is on media (see `format/vec.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    magic: u64,
    version: u16,
    flags: u16,
    pub(super) height: u32,
    pub(super) root: u64,
    pub(super) len: u64,
    pub(super) leaves: u64,
    pub(super) capacity: u32,
    full: u32,
    element_size: u32,
    element_align: u32,
    reserved: u64,
}

const _: () = assert!(size_of::<Header>() == 64);
/// Where what changes is: from the height to the capacity.
pub(super) const HEIGHT: u64 = 12;
pub(super) const ROOT: u64 = 16;
pub(super) const LEN: u64 = 24;
pub(super) const LEAVES: u64 = 32;
pub(super) const CAPACITY: u64 = 40;
const _: () = assert!(std::mem::offset_of!(Header, height) as u64 == HEIGHT);
const _: () = assert!(std::mem::offset_of!(Header, root) as u64 == ROOT);
const _: () = assert!(std::mem::offset_of!(Header, len) as u64 == LEN);
const _: () = assert!(std::mem::offset_of!(Header, leaves) as u64 == LEAVES);
const _: () = assert!(std::mem::offset_of!(Header, capacity) as u64 == CAPACITY);

/// Elements that a vector cannot hold.
#[derive(Debug, thiserror::Error)]
#[error(
    "a vector cannot hold elements of {size} bytes (aligned to {align}): at most 4,088, aligned to 64; store a `Ptr` to the \
     large part"
)]
pub struct ElementTooLarge {
    /// Size of the element, bytes.
    pub size: usize,
    /// Alignment of the element, bytes.
    pub align: usize,
}

impl Header {
    /// The header of an empty vector; [`ElementTooLarge`], as the reason of an abort, if there is no layout.
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

    /// Checks a header that was read at `at`.
    #[inline]
    pub(super) fn check<T: Stored>(&self, at: u64) -> Result<()> {
        let expected = Self::new::<T>()?;
        let Header { height, root, len, leaves, capacity, .. } = *self;
        if *self != (Header { height, root, len, leaves, capacity, ..expected }) {
            return Err(self.fault(at, expected));
        }
        let layout = const { Layout::of(Shape::of::<T>()) };
        let room = leaves.checked_mul(u64::from(capacity));
        let used = len.div_ceil(u64::from(capacity.max(1)));
        let possible = match height {
            0 => (root, len, leaves, capacity) == (0, 0, 0, 0),
            1 => root != 0 && leaves == 1 && layout.is_capacity(capacity),
            _ => root != 0 && leaves > 1 && capacity == layout.full,
        };
        let fits = room.is_some_and(|room| len <= room) && leaves <= used.max(1) + 1 && leaves <= 1 << 32;
        if possible && fits && height <= MAX_HEIGHT && height == height_for(leaves) {
            return Ok(());
        }
        Err(corrupt(
            at,
            "height, root, len, leaves and capacity that belong together",
            format!("{height}, {root:#x}, {len}, {leaves}, {capacity}"),
        ))
    }

    /// What is wrong with it.
    #[cold]
    fn fault(&self, at: u64, expected: Header) -> Error {
        if self.magic != MAGIC {
            return corrupt(at, "the header of a PVec", format!("magic {:#x}", self.magic));
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

/// Levels of a vector with so many leaves.
pub(super) fn height_for(leaves: u64) -> u32 {
    if leaves == 0 {
        return 0;
    }
    let (mut height, mut most) = (1, 1u64);
    while most < leaves {
        height += 1;
        most = most.saturating_mul(super::layout::FANOUT);
    }
    height
}
