//! The list's own block.

use crate::{damage::corrupt, stored::Shape};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Error, Result, Stored};

const MAGIC: u64 = u64::from_le_bytes(*b"PLinkLst");
const VERSION: u16 = 1;

/// The largest element, bytes.
const MAX_SIZE: usize = 1 << 16;
const MAX_ALIGN: usize = 64;

/// The header, as it is on media (see `format/list.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    magic: u64,
    version: u16,
    flags: u16,
    reserved: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) len: u64,
    pub(super) next_stamp: u64,
    pub(super) generation: u64,
    element_size: u32,
    element_align: u16,
    reserved_too: u16,
}

const _: () = assert!(size_of::<Header>() == 64);
/// Where the references are.
pub(super) const FIRST: u64 = 16;
pub(super) const LAST: u64 = 24;
const _: () = assert!(std::mem::offset_of!(Header, first) as u64 == FIRST);
const _: () = assert!(std::mem::offset_of!(Header, last) as u64 == LAST);

/// Elements that a list cannot hold.
#[derive(Debug, thiserror::Error)]
#[error(
    "a list cannot hold elements of {size} bytes (aligned to {align}): at most 65,536, aligned to 64; store a `Ptr` to the \
     large part"
)]
pub struct ElementTooLarge {
    /// Size of the element, bytes.
    pub size: usize,
    /// Alignment of the element, bytes.
    pub align: usize,
}

impl Header {
    /// The header of an empty list; [`ElementTooLarge`], as the reason of an abort, if no node holds an element.
    pub(super) fn new<T: Stored>() -> Result<Header> {
        let Shape { size, align } = Shape::of::<T>();
        if size > MAX_SIZE || align > MAX_ALIGN {
            return Err(Error::abort(ElementTooLarge { size, align }));
        }
        Ok(Header {
            magic: MAGIC,
            version: VERSION,
            element_size: size as u32,
            element_align: align as u16,
            ..Header::zeroed()
        })
    }

    /// Checks a header that was read at `at`.
    #[inline]
    pub(super) fn check<T: Stored>(&self, at: u64) -> Result<()> {
        let expected = Self::new::<T>()?;
        let Header { first, last, len, next_stamp, generation, .. } = *self;
        if *self != (Header { first, last, len, next_stamp, generation, ..expected }) {
            return Err(self.fault(at, expected));
        }
        let possible = match len {
            0 => (first, last) == (0, 0),
            1 => first == last && first != 0,
            _ => first != last && first != 0 && last != 0,
        };
        if possible {
            return Ok(());
        }
        Err(corrupt(at, "first, last and len that belong together", format!("{first:#x}, {last:#x}, {len}")))
    }

    /// What is wrong with it.
    #[cold]
    fn fault(&self, at: u64, expected: Header) -> Error {
        if self.magic != MAGIC {
            return corrupt(at, "the header of a PLinkedList", format!("magic {:#x}", self.magic));
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
