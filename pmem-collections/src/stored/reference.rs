//! The slot of what varies in length.
//!
//! 24 bytes, little-endian, aligned to 8:
//!
//! ```text
//!  0        4                                  24
//! +--------+------------------------------------+
//! | len    | up to 20 bytes, then zeroes        |      inline
//! +--------+--------+-----------------+---------+
//! | len    | 0      | offset of block | 0       |      in a block of its own
//! +--------+--------+-----------------+---------+
//!  0        4        8                 16        24
//! ```
//!
//! Inline is what has at most 20 bytes and is aligned to at most 4, and what has no bytes.

use crate::damage::corrupt;
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{Body, Error, Mode, Ptr, Result, Write, block_size};

const INLINE: usize = 20;
const INLINE_ALIGN: usize = 4;
/// Longer values are not changed in place: all of it would go through the log.
const MAX_IN_PLACE: usize = 4096;

/// The slot of what varies in length.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(8))]
pub(crate) struct Reference {
    len: u32,
    /// The bytes, or four zeroes, the block's offset, eight zeroes.
    rest: [u8; INLINE],
}

const _: () = assert!(size_of::<Reference>() == 24);
const REST: usize = std::mem::offset_of!(Reference, rest);
/// Where the block's offset is in `rest`.
const BLOCK: std::ops::Range<usize> = 4..12;

/// Where the block's offset is in the slot.
pub(super) const BLOCK_AT: u64 = (REST + BLOCK.start) as u64;

const fn fits(len: usize, align: usize) -> bool {
    len == 0 || len <= INLINE && align <= INLINE_ALIGN
}

impl Reference {
    fn inline(form: &[u8]) -> Reference {
        let mut rest = [0; INLINE];
        rest[..form.len()].copy_from_slice(form);
        Reference { len: form.len() as u32, rest }
    }

    fn to_block(len: usize, block: u64) -> Reference {
        let mut rest = [0; INLINE];
        rest[BLOCK].copy_from_slice(&block.to_le_bytes());
        Reference { len: len as u32, rest }
    }

    /// The reference to a stored form: in a new block, if it does not fit.
    pub(super) fn make(body: &mut Body<'_, Write>, form: &[u8], align: usize) -> Result<Reference> {
        if fits(form.len(), align) {
            return Ok(Self::inline(form));
        }
        let block = body.alloc_aligned(form.len() as u64, align.max(8) as u64)?;
        body.bytes_mut(block, form.len() as u64)?.copy_from_slice(form);
        Ok(Self::to_block(form.len(), block.offset()))
    }

    /// A slot's bytes.
    #[inline]
    pub(super) fn read(at: u64, slot: &[u8]) -> Result<Reference> {
        bytemuck::try_pod_read_unaligned(slot).map_err(|_| wrong(at, "a slot of 24 bytes", slot.len()))
    }

    /// Where its block is.
    fn offset(&self) -> u64 {
        u64::from_le_bytes(self.rest[BLOCK].try_into().expect("eight bytes"))
    }

    /// The stored form, in the slot or in its block.
    #[inline]
    pub(super) fn bytes<'a, M: Mode>(
        &self,
        body: &'a Body<'_, M>,
        at: u64,
        slot: &'a [u8],
        align: usize,
    ) -> Result<&'a [u8]> {
        let len = self.len as usize;
        if fits(len, align) {
            return Ok(&slot[REST..REST + len]);
        }
        let offset = self.offset();
        if self.rest[..BLOCK.start] != [0; 4] || self.rest[BLOCK.end..] != [0; 8] || offset == 0 {
            return Err(wrong(at, "a reference to a block", self.len as usize));
        }
        body.bytes(Ptr::from_offset(offset), len as u64)
    }

    /// Offset and length of its block, if it has one.
    pub(super) fn block(&self, align: usize) -> Option<(u64, u64)> {
        (!fits(self.len as usize, align)).then(|| (self.offset(), u64::from(self.len)))
    }

    /// Frees its block, if it has one.
    pub(super) fn release(&self, body: &mut Body<'_, Write>, align: usize) -> Result<()> {
        self.block(align).map_or(Ok(()), |(block, _)| body.free(Ptr::<u8>::from_offset(block)))
    }

    /// Changes what the slot at `at` refers to. A block is kept if one of the new length would be of the same size.
    pub(super) fn replace(body: &mut Body<'_, Write>, at: u64, form: &[u8], align: usize) -> Result<()> {
        let slot = Ptr::<u8>::from_offset(at);
        let old = Self::read(at, body.bytes(slot, size_of::<Self>() as u64)?)?;
        let len = form.len() as u64;
        let new = match old.block(align) {
            Some((block, old_len))
                if !fits(form.len(), align)
                    && form.len() <= MAX_IN_PLACE
                    && block_size(len) == block_size(old_len) =>
            {
                body.bytes_mut(Ptr::from_offset(block), len)?.copy_from_slice(form);
                Self::to_block(form.len(), block)
            }
            _ => {
                let new = Self::make(body, form, align)?;
                old.release(body, align)?;
                new
            }
        };
        if bytemuck::bytes_of(&new) != bytemuck::bytes_of(&old) {
            body.bytes_mut(slot, size_of::<Self>() as u64)?.copy_from_slice(bytemuck::bytes_of(&new));
        }
        Ok(())
    }
}

#[cold]
fn wrong(at: u64, expected: &str, len: usize) -> Error {
    corrupt(at, expected, format!("other bytes, for a length of {len}"))
}
