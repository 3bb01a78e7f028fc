//! What redo and undo transactions have in common.

use crate::{Error, Result, Savepoint};
use pmem_map::Bytes;
use std::{any::type_name, mem::MaybeUninit, ops::Range};

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Tx<'_> {}
    impl Sealed for crate::UndoTx<'_> {}
}

/// A transaction of either kind, so that a structure is written once: [`Tx`](crate::Tx) (redo) and
/// [`UndoTx`](crate::UndoTx).
///
/// ```
/// use pmem_map::Mapping;
/// use pmem_tx::{Journal, Result, Transaction};
///
/// /// A counter, and how often it was changed.
/// fn count(tx: &mut impl Transaction, at: u64, by: u64) -> Result<u64> {
///     tx.snapshot(&[at..at + 16])?; // for undo: one drain for both
///     tx.update(at + 8, |times: &mut u64| *times += 1)?;
///     tx.update(at, |n: &mut u64| { *n += by; *n })
/// }
///
/// # fn main() -> Result<()> {
/// let journal = Journal::create(Mapping::anonymous(1 << 20)?, 0..65536)?;
/// journal.write(|tx| count(tx, 65536, 5))?;
/// journal.write_undo(|tx| count(tx, 65536, 6))?;
/// assert_eq!(journal.begin()?.get::<u64>(65536)?, 11);
/// # Ok(()) }
/// ```
///
/// Offsets are bytes from the mapping's start. Overlapping reads and writes of any sizes see each other as they would in a
/// byte array. Reads are copies; a redo transaction also lends references ([`Tx::read`](crate::Tx::read)).
///
/// | | [`Tx`](crate::Tx) (redo) | [`UndoTx`](crate::UndoTx) |
/// |---|---|---|
/// | a change goes to | DRAM, until commit | its place, once the old bytes are durable |
/// | drains | 1 | one for each [`snapshot`](Transaction::snapshot) with something new in it, and 2 |
/// | drains, rolled back | 0 | the same |
/// | size | a third of the log, or what [`LogSpace`](crate::LogSpace) lends | old bytes in the log, or what is lent |
/// | good for | almost everything | large changes in place |
///
/// # Errors
///
/// [`Error::Invalid`] for bytes outside the journal's home or inside its log, for misaligned values, and for bits that
/// are no value of the type. With undo, whatever changes something can fail with [`Error::LogFull`], and then changed
/// nothing: the transaction can go on; and errors of a drain poison the journal.
pub trait Transaction: sealed::Sealed {
    /// Copies the bytes at offset `at`, with this transaction's changes.
    fn get_bytes(&self, at: u64, into: &mut [u8]) -> Result<()>;

    /// Replaces the bytes at offset `at`.
    fn write_bytes(&mut self, at: u64, bytes: &[u8]) -> Result<()>;

    /// Replaces `len` bytes at offset `at` by `byte`.
    fn fill(&mut self, at: u64, len: u64, byte: u8) -> Result<()>;

    /// Says which ranges will be changed: undo logs what they hold, with one drain for all; redo brings them into the
    /// caches. Never needed, for a change does it for its own range; worth it for several.
    fn snapshot(&mut self, ranges: &[Range<u64>]) -> Result<()>;

    /// Says that nothing committed refers to these bytes: memory that is being allocated, say. Undo does not log
    /// them, and after an abort or a crash they hold anything; redo needs no such hint.
    fn declare_fresh(&mut self, range: Range<u64>) -> Result<()>;

    /// Brings `len` bytes at `at` into the caches while the program does something else. A hint: no error.
    fn prefetch(&self, at: u64, len: u64);

    /// Remembers this state, to [go back](Transaction::rollback_to) to it. No drain.
    fn savepoint(&mut self) -> Savepoint;

    /// Goes back to a state of this transaction: what was written since is undone. The savepoint can be used again; those
    /// that were taken after it cannot. No drain.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignSavepoint`]: nothing was undone.
    fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()>;

    /// Runs `hook` once this transaction is durable and the journal is free for the next one: on the committing thread, before
    /// `commit` returns. (After [`commit_eventual`](crate::Tx::commit_eventual) it need not be durable yet.) Several run in the order in which they were registered. Going back to a savepoint forgets those
    /// that came after it.
    ///
    /// A panic in a hook keeps no other from running, and reaches the caller of `commit`; the transaction is committed
    /// all the same. A hook may begin a transaction of its own.
    fn on_commit(&mut self, hook: impl FnOnce() + Send + 'static);

    /// Runs `hook` once this transaction is rolled back, however that came (abort, drop, an error, a panic), and the
    /// journal is free for the next one. Several run in the reverse order. One that was registered after a savepoint which is
    /// gone back to runs when the transaction ends, even if it commits: its part of it was rolled back.
    ///
    /// A panic in a hook keeps no other from running; it reaches who ended the transaction, unless that is a panic.
    fn on_abort(&mut self, hook: impl FnOnce() + Send + 'static);

    /// Commits. Durable on return. No drain if nothing was changed.
    ///
    /// # Errors
    ///
    /// Redo: [`Error::LogFull`], and nothing was changed. An error of a drain poisons the journal: what is durable
    /// is for the next opening to say.
    fn commit(self) -> Result<()>
    where
        Self: Sized;

    /// Rolls back, as dropping does.
    fn abort(self)
    where
        Self: Sized,
    {
    }

    /// The value at offset `at`, with this transaction's changes. Checked: bounds, alignment, bits.
    fn get<T: Bytes>(&self, at: u64) -> Result<T> {
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: all bytes are initialised, to zero; `u8` has no alignment, and the slice is gone before the value is
        // looked at.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
        aligned::<T>(at)?;
        self.get_bytes(at, bytes)?;
        match bytemuck::checked::try_from_bytes::<T>(bytes) {
            Ok(value) => Ok(*value),
            Err(_) => invalid(at, type_name::<T>(), "not a value of the type"),
        }
    }

    /// Replaces the value at offset `at`.
    fn write<T: Bytes>(&mut self, at: u64, value: &T) -> Result<()> {
        aligned::<T>(at)?;
        self.write_bytes(at, bytemuck::bytes_of(value))
    }

    /// Changes the value at offset `at`: `change` gets a copy, which is then written.
    fn update<T: Bytes, R>(&mut self, at: u64, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        let mut value = self.get::<T>(at)?;
        let result = change(&mut value);
        self.write_bytes(at, bytemuck::bytes_of(&value))?;
        Ok(result)
    }

    /// The little-endian word at offset `at`, a multiple of 8.
    fn word(&self, at: u64) -> Result<u64> {
        self.get::<u64>(at).map(u64::from_le)
    }

    /// Replaces the little-endian word at offset `at`, a multiple of 8: 16 bytes of log.
    fn set_word(&mut self, at: u64, word: u64) -> Result<()> {
        self.write(at, &word.to_le())
    }

    /// Sets the bits of `mask` in the little-endian word at offset `at`.
    fn set_bits(&mut self, at: u64, mask: u64) -> Result<()> {
        self.update_bits(at, 0, mask)
    }

    /// Clears the bits of `mask` in the little-endian word at offset `at`.
    fn clear_bits(&mut self, at: u64, mask: u64) -> Result<()> {
        self.update_bits(at, mask, 0)
    }

    /// Clears, then sets bits of the little-endian word at offset `at`: a bitmap's update.
    fn update_bits(&mut self, at: u64, clear: u64, set: u64) -> Result<()> {
        let word = self.word(at)?;
        self.set_word(at, word & !clear | set)
    }
}

fn aligned<T>(at: u64) -> Result<()> {
    if at % align_of::<T>() as u64 == 0 { Ok(()) } else { invalid(at, type_name::<T>(), "misaligned") }
}

#[cold]
#[inline(never)]
pub(crate) fn invalid<T>(offset: u64, expected: &'static str, why: &'static str) -> Result<T> {
    Err(Error::Invalid { offset, expected, why })
}
