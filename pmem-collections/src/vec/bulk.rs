//! Bytes, a leaf at a time.

use super::{VecGuard, VecSummary};
use pmem_alloc::{Mode, Result, Write};
use std::ops::Range;

impl<M: Mode> VecGuard<'_, u8, M> {
    /// The bytes from number `from` to the end of their leaf, or of all; where they are, too. None beyond the end.
    pub(crate) fn piece(&self, from: u64) -> Result<(u64, &[u8])> {
        if from >= self.header.len {
            return Ok((self.at, &[]));
        }
        let capacity = u64::from(self.header.capacity);
        let (at, leaf) = self.leaf(from / capacity)?;
        let start = from % capacity;
        let end = capacity.min(start + (self.header.len - from));
        let inside = Self::LAYOUT.slot(start as usize)..Self::LAYOUT.slot(end as usize);
        Ok((at + inside.start as u64, &leaf[inside]))
    }

    /// The bytes from number `from` on, copied. Not reserved before they are read: a damaged length is only a number.
    pub(crate) fn copy(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let (mut copy, mut from) = (Vec::new(), range.start);
        while from < range.end {
            let (_, piece) = self.piece(from)?;
            let piece = &piece[..piece.len().min((range.end - from) as usize)];
            if piece.is_empty() {
                break;
            }
            copy.extend_from_slice(piece);
            from += piece.len() as u64;
        }
        Ok(copy)
    }

    /// Reads every node and checks it. Any bytes are bytes.
    pub(crate) fn check_bytes(&self) -> Result<VecSummary> {
        self.check_nodes()
    }
}

impl VecGuard<'_, u8, Write> {
    /// Puts `new` in the place of the bytes in `range`, which are there, and moves those behind them. `NoSpace` leaves all as it was.
    pub(crate) fn replace_bytes(&mut self, range: Range<u64>, new: &[u8]) -> Result<()> {
        let (old_len, Range { start, end }) = (self.header.len, range);
        let len = old_len - (end - start) + new.len() as u64;
        let behind = if len == old_len { Vec::new() } else { self.copy(end..old_len)? };
        if len > old_len {
            self.reserve(len)?;
            self.set_len(len)?;
        }
        self.overwrite(start, new)?;
        self.overwrite(start + new.len() as u64, &behind)?;
        self.cut(len)
    }

    /// Leaves for `len` bytes. After `NoSpace` there are those that there were, of which an only one may be larger.
    fn reserve(&mut self, len: u64) -> Result<()> {
        while self.header.leaves * u64::from(self.header.capacity) < len {
            if let Err(no_space) = self.make_room(len) {
                self.free_unused()?;
                return Err(no_space);
            }
        }
        Ok(())
    }

    /// Stores bytes in the place of others, which are there.
    fn overwrite(&mut self, from: u64, new: &[u8]) -> Result<()> {
        let (mut from, mut new) = (from, new);
        while !new.is_empty() {
            let (at, piece) = self.piece(from)?;
            let (first, rest) = new.split_at(new.len().min(piece.len()));
            self.bytes_mut(at, first.len())?.copy_from_slice(first);
            (from, new) = (from + first.len() as u64, rest);
        }
        Ok(())
    }
}
