//! The tree's own block.

use crate::{damage::corrupt, stored::Shape};
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Error, Result, Stored};

const MAGIC: u64 = u64::from_le_bytes(*b"PArtTree");
const VERSION: u16 = 1;

/// The largest value, bytes.
const MAX_SIZE: usize = 1 << 16;
const MAX_ALIGN: usize = 64;

/// The header, as it is on media (see `format/art.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    magic: u64,
    version: u16,
    flags: u16,
    reserved: u32,
    pub(super) root: u64,
    pub(super) len: u64,
    value_size: u32,
    value_align: u32,
    reserved_too: [u64; 3],
}

const _: () = assert!(size_of::<Header>() == 64);
/// Where what changes is.
pub(super) const ROOT: u64 = 16;
pub(super) const LEN: u64 = 24;
const _: () = assert!(std::mem::offset_of!(Header, root) as u64 == ROOT);
const _: () = assert!(std::mem::offset_of!(Header, len) as u64 == LEN);

/// Values that a radix tree cannot hold.
#[derive(Debug, thiserror::Error)]
#[error(
    "a radix tree cannot hold values of {size} bytes (aligned to {align}): at most 65,536, aligned to 64; store a `Ptr` to the \
     large part"
)]
pub struct ValueTooLarge {
    /// Size of the value, bytes.
    pub size: usize,
    /// Alignment of the value, bytes.
    pub align: usize,
}

impl Header {
    /// The header of an empty tree; [`ValueTooLarge`], as the reason of an abort, if no leaf holds a value.
    pub(super) fn new<V: Stored>() -> Result<Header> {
        let Shape { size, align } = Shape::of::<V>();
        if size > MAX_SIZE || align > MAX_ALIGN {
            return Err(Error::abort(ValueTooLarge { size, align }));
        }
        Ok(Header {
            magic: MAGIC,
            version: VERSION,
            value_size: size as u32,
            value_align: align as u32,
            ..Header::zeroed()
        })
    }

    /// Checks a header that was read at `at`.
    #[inline]
    pub(super) fn check<V: Stored>(&self, at: u64) -> Result<()> {
        let expected = Self::new::<V>()?;
        let Header { root, len, .. } = *self;
        if *self != (Header { root, len, ..expected }) {
            return Err(self.fault(at, expected));
        }
        if (root == 0) == (len == 0) {
            return Ok(());
        }
        Err(corrupt(at, "a root if and only if there are entries", format!("root {root:#x}, {len} entries")))
    }

    /// What is wrong with it.
    #[cold]
    fn fault(&self, at: u64, expected: Header) -> Error {
        if self.magic != MAGIC {
            return corrupt(at, "the header of a PArt", format!("magic {:#x}", self.magic));
        }
        if (self.version, self.flags) != (VERSION, 0) {
            return corrupt(
                at,
                format!("format version {VERSION} without flags (a newer program wrote this?)"),
                format!("version {}, flags {:#x}", self.version, self.flags),
            );
        }
        corrupt(at, format!("{expected:?} but for root and len"), format!("{self:?}"))
    }
}
