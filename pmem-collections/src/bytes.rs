//! [`PBytes`], and the guard on it.

use crate::vec::{PVec, VecGuard, VecSummary};
use pmem_alloc::{Body, Form, Mode, Object, Ptr, Read, Result, Shape, Stored, Tracer, Types, Write};
use std::{
    borrow::Cow,
    fmt,
    iter::FusedIterator,
    ops::{Bound, Range, RangeBounds},
};

/// Bytes that grow. Open it for a [`BytesGuard`].
///
/// They are in pieces of 1,016, which stay where they are: an append to a long one copies nothing that is there. (A value of type
/// `Vec<u8>` in a map, or a [`PBox`](crate::PBox) with one, is in one piece, and is stored anew when it gets longer.) On media this is a
/// `PVec<u8>`; here bytes are read and written by the piece.
pub struct PBytes(());

impl Stored for PBytes {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        "PBytes".into()
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PBytes", |_| Vec::new())
    }
}

impl Object for PBytes {
    type Guard<'t, M: Mode> = BytesGuard<'t, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        PVec::<u8>::create(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<BytesGuard<'_, M>> {
        PVec::<u8>::attach(body, header).map(|bytes| BytesGuard { bytes })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        PVec::<u8>::destroy(body, header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        PVec::<u8>::trace(body, header, tracer)
    }
}

/// A [`PBytes`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut image = tx.open::<PBytes>("image")?;
///     image.extend_from_slice(&[7; 5000])?;
///     image.write_at(1000, b"in place")?;
///     image.insert(0, b"header")
/// })?;
/// let tx = pool.read()?;
/// let image = tx.open::<PBytes>("image")?;
/// let mut found = [0; 8];
/// image.read_at(1006, &mut found)?;
/// assert_eq!((image.len(), &found), (5006, b"in place"));
/// assert_eq!(image.pieces().collect::<Result<Vec<_>>>()?.concat(), image.to_vec()?);
/// # Ok(()) }
/// ```
///
/// No operation drains: the transaction's commit does, once; twice, if more than 4 KiB of it is fresh. An append of 64 bytes, alone
/// in its transaction, takes 6.9 lines: the 2 that it changes, the header, the transaction's record, which has the same bytes, and
/// once in 16 a new piece.
///
/// # Panics
///
/// As in std, places and ranges beyond the end are mistakes of the program: [`write_at`](BytesGuard::write_at),
/// [`insert`](BytesGuard::insert), [`remove`](BytesGuard::remove) and [`splice`](BytesGuard::splice) panic.
pub struct BytesGuard<'t, M: Mode = Read> {
    bytes: VecGuard<'t, u8, M>,
}

/// Reading.
impl<M: Mode> BytesGuard<'_, M> {
    /// Number of bytes. Costs nothing.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Byte number `index`. `None` beyond the end.
    pub fn get(&self, index: usize) -> Result<Option<u8>> {
        Ok(self.bytes.get(index)?.copied())
    }

    /// All bytes: zero-copy if they are in one piece, as up to 1,016 are; else copied together.
    pub fn as_slice(&self) -> Result<Cow<'_, [u8]>> {
        let (_, first) = self.bytes.piece(0)?;
        if first.len() == self.len() { Ok(Cow::Borrowed(first)) } else { self.to_vec().map(Cow::Owned) }
    }

    /// A copy in DRAM.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        self.bytes.copy(0..self.len() as u64)
    }

    /// All bytes, in pieces, zero-copy. Yields `Result`s; an error is the last item.
    pub fn pieces(&self) -> Pieces<'_, M> {
        self.pieces_from(0)
    }

    /// As [`pieces`](BytesGuard::pieces), from byte number `from` on.
    pub fn pieces_from(&self, from: usize) -> Pieces<'_, M> {
        Pieces { bytes: &self.bytes, next: from as u64 }
    }

    /// Copies the bytes from number `at` on to `buffer`; how many there are, at most as many as fit.
    pub fn read_at(&self, at: usize, buffer: &mut [u8]) -> Result<usize> {
        let mut read = 0;
        for piece in self.pieces_from(at) {
            let piece = piece?;
            let count = piece.len().min(buffer.len() - read);
            buffer[read..read + count].copy_from_slice(&piece[..count]);
            read += count;
            if read == buffer.len() {
                break;
            }
        }
        Ok(read)
    }

    /// Reads every piece and checks what leads to them. `Corrupt` names the first that is wrong.
    pub fn check(&self) -> Result<VecSummary> {
        self.bytes.check_bytes()
    }

    /// Where byte number `index` is in the pool.
    pub(crate) fn offset(&self, index: usize) -> Result<u64> {
        Ok(self.bytes.piece(index as u64)?.0)
    }

    #[track_caller]
    pub(crate) fn must(&self, range: impl RangeBounds<usize>) -> Range<u64> {
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&start) => start.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.checked_add(1),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => Some(self.len()),
        };
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= self.len() => start as u64..end as u64,
            bounds => panic!("bytes {bounds:?} of {}", self.len()),
        }
    }
}

/// Changing.
///
/// # Errors
///
/// All that make it longer: `NoSpace`, and nothing was changed.
impl BytesGuard<'_, Write> {
    /// Appends a byte.
    pub fn push(&mut self, byte: u8) -> Result<()> {
        self.bytes.push(byte)
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len() as u64;
        self.bytes.replace_bytes(end..end, bytes)
    }

    /// Appends the bytes of all parts.
    pub fn extend(&mut self, parts: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<()> {
        parts.into_iter().try_for_each(|part| self.extend_from_slice(part.as_ref()))
    }

    /// Makes it these bytes.
    pub fn set(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.replace_bytes(0..self.len() as u64, bytes)
    }

    /// Stores bytes in the place of those from number `at` on, which are there.
    #[track_caller]
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let range = self.must(at..at.saturating_add(bytes.len()));
        self.bytes.replace_bytes(range, bytes)
    }

    /// Puts bytes at number `at`, and moves those from there on: the more there are, the more is logged.
    #[track_caller]
    pub fn insert(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        self.splice(at..at, bytes)
    }

    /// Removes bytes, and moves those behind them: the more there are, the more is logged.
    #[track_caller]
    pub fn remove(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        self.splice(range, &[])
    }

    /// Puts bytes in the place of others, not always as many; if not, those behind are moved.
    #[track_caller]
    pub fn splice(&mut self, range: impl RangeBounds<usize>, bytes: &[u8]) -> Result<()> {
        let range = self.must(range);
        self.bytes.replace_bytes(range, bytes)
    }

    /// Removes the bytes from number `len` on. Nothing happens if there are not as many.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        self.bytes.truncate(len)
    }

    /// Removes all bytes and frees all pieces.
    pub fn clear(&mut self) -> Result<()> {
        self.bytes.clear()
    }
}

/// Iterator over bytes by the piece. Yields `Result<&[u8]>`, and nothing after an error.
pub struct Pieces<'g, M: Mode> {
    bytes: &'g VecGuard<'g, u8, M>,
    next: u64,
}

impl<'g, M: Mode> Iterator for Pieces<'g, M> {
    type Item = Result<&'g [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.bytes.len() as u64 {
            return None;
        }
        let piece = self.bytes.piece(self.next).map(|(_, piece)| piece);
        self.next = piece.as_ref().map_or(u64::MAX, |piece| self.next + piece.len() as u64);
        Some(piece)
    }
}

impl<M: Mode> FusedIterator for Pieces<'_, M> {}

/// Damaged bytes are equal to none.
impl<M: Mode> PartialEq<[u8]> for BytesGuard<'_, M> {
    fn eq(&self, other: &[u8]) -> bool {
        let mut rest = other;
        self.len() == other.len()
            && self.pieces().all(|piece| {
                let split = piece.ok().and_then(|piece| rest.strip_prefix(piece));
                rest = split.unwrap_or_default();
                split.is_some()
            })
    }
}

/// Damaged bytes are equal to none.
impl<M: Mode> PartialEq<&[u8]> for BytesGuard<'_, M> {
    fn eq(&self, other: &&[u8]) -> bool {
        *self == **other
    }
}

/// As a vector of std; where damage ends it, the error stands for the rest.
impl<M: Mode> fmt::Debug for BytesGuard<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for piece in self.pieces() {
            match piece {
                Ok(piece) => list.entries(piece),
                Err(error) => list.entry(&error),
            };
        }
        list.finish()
    }
}
