//! A transaction over the bytes of a journal's mapping.

use crate::{
    Error, Journal, Result, Transaction,
    engine::{Found, Log, Mark, Ticket, UndoMark, WriteSet},
    hooks::Hooks,
    journal::Writer,
    space::with_space,
    transaction::invalid,
};
use parking_lot::Mutex;
use pmem_map::{Bytes, PAGE};
use std::{any::type_name, ops::Range, slice};

/// A transaction over the bytes of a journal's mapping. Dropping it rolls back.
///
/// `Send`: it may begin on one thread and commit on another. Offsets are bytes from the mapping's start; overlapping
/// reads and writes of any sizes see each other as they would in a byte array.
#[must_use = "dropping a transaction rolls it back"]
pub struct Tx<'j> {
    journal: &'j Journal,
    /// There until commit or drop.
    writer: Option<Box<Writer>>,
    /// Copies of ranges that are partly changed: lent out by `read`, dropped at the next change.
    /// (Vectors, not boxes: moving a box asserts that nobody else points into it.)
    scratch: Mutex<Vec<Vec<u8>>>,
    hooks: Hooks,
    committed: bool,
}

/// A state of a transaction to come back to: [`Transaction::savepoint`].
#[derive(Debug)]
pub struct Savepoint {
    pub(crate) saved: Saved,
    /// How many hooks there were.
    pub(crate) hooks: usize,
}

#[derive(Debug)]
pub(crate) enum Saved {
    Redo(Mark),
    Undo(UndoMark),
}

/// The one owner there is.
const OWNER: u32 = 1;

impl<'j> Tx<'j> {
    #[inline]
    pub(crate) fn new(journal: &'j Journal, writer: Box<Writer>) -> Tx<'j> {
        let (scratch, hooks) = (Mutex::new(Vec::new()), Hooks::default());
        Tx { journal, writer: Some(writer), scratch, hooks, committed: false }
    }

    #[inline]
    pub(crate) fn log_mut(&mut self) -> &mut Log {
        &mut self.writer.as_deref_mut().expect("there until commit").log
    }

    #[inline]
    fn writer(&self) -> &Writer {
        self.writer.as_deref().expect("there until commit")
    }

    #[inline]
    fn set_mut(&mut self) -> &mut WriteSet {
        &mut self.writer.as_deref_mut().expect("there until commit").set
    }

    #[inline]
    fn check(&self, at: u64, len: u64, expected: &'static str) -> Result<()> {
        self.journal.check(at, len, expected)
    }

    /// `len` bytes at `at`, with this transaction's changes.
    pub fn bytes(&self, at: u64, len: u64) -> Result<&[u8]> {
        self.check(at, len, "bytes")?;
        self.located(at, len, 1)
    }

    /// The value at offset `at`, with this transaction's changes. Checked: bounds, alignment, bits.
    #[inline]
    pub fn read<T: Bytes>(&self, at: u64) -> Result<&T> {
        let expected = type_name::<T>();
        self.check(at, size_of::<T>() as u64, expected)?;
        let bytes = self.located(at, size_of::<T>() as u64, align_of::<T>() as u64)?;
        match bytemuck::checked::try_from_bytes(bytes) {
            Ok(value) => Ok(value),
            Err(_) => invalid(at, expected, "misaligned, or not a value of the type"),
        }
    }

    /// Bytes of a checked range, in one piece.
    #[inline]
    fn located(&self, at: u64, len: u64, align: u64) -> Result<&[u8]> {
        let set = &self.writer().set;
        let one = |page: u64, at, len| set.read(page, at, len, OWNER).expect("one owner");
        let found = if set.is_transparent() || len == 0 {
            Found::Mapping
        } else if at / PAGE == (at + len - 1) / PAGE {
            one(at & !(PAGE - 1), at, len)
        } else if pieces(at, len)
            .all(|(page, piece)| matches!(one(page, piece.start, piece.end - piece.start), Found::Mapping))
        {
            Found::Mapping
        } else {
            Found::Mixed
        };
        let address = match found {
            // SAFETY: in bounds (`check`).
            Found::Mapping => unsafe { self.journal.region().base().add(at as usize) },
            Found::Shadow(address) => address,
            Found::Mixed => return self.gathered(at, len, align),
        };
        // SAFETY: readable for `len` bytes. In the mapping: while a transaction is open, nobody stores but to lines of
        // records that were written before it began, and those are not found in the mapping. In the overlay: it changes
        // between transactions only. In a shadow: it stands still until `&mut self` (a write, a rollback), which the
        // result's borrow excludes.
        Ok(unsafe { slice::from_raw_parts(address.as_ptr(), len as usize) })
    }

    /// A copy of a range that is partly changed, kept until the next change.
    #[cold]
    fn gathered(&self, at: u64, len: u64, align: u64) -> Result<&[u8]> {
        // Somewhere in a longer buffer is a place that is aligned as `at` is.
        let mut copy = vec![0u8; (len + align - 1) as usize];
        let skipped = (at.wrapping_sub(copy.as_ptr().addr() as u64) % align) as usize;
        let bytes = &mut copy[skipped..];
        for (page, piece) in pieces(at, len) {
            // Line by line: a line is changed as a whole, or not at all.
            let mut from = piece.start;
            while from < piece.end {
                let to = (from / 64 * 64 + 64).min(piece.end);
                let address = match self.writer().set.read(page, from, to - from, OWNER).expect("one owner") {
                    Found::Shadow(address) => address,
                    // SAFETY: in bounds (`check`).
                    _ => unsafe { self.journal.region().base().add(from as usize) },
                };
                // SAFETY: as in `located`.
                let line = unsafe { slice::from_raw_parts(address.as_ptr(), (to - from) as usize) };
                bytes[(from - at) as usize..(to - at) as usize].copy_from_slice(line);
                from = to;
            }
        }
        let mut scratch = self.scratch.lock();
        scratch.push(copy);
        let address = scratch.last().expect("just pushed")[skipped..].as_ptr();
        // SAFETY: `len` bytes, which stay where they are when the vector of vectors grows; they are dropped by `&mut
        // self` only, which the result's borrow excludes.
        Ok(unsafe { slice::from_raw_parts(address, len as usize) })
    }

    /// Replaces the bytes at offset `at`.
    #[inline]
    pub fn write_bytes(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.check(at, bytes.len() as u64, "bytes")?;
        self.put(at, bytes);
        Ok(())
    }

    /// Replaces the bytes of a checked range.
    #[inline]
    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.scratch.get_mut().clear();
        let end = self.journal.home().end;
        let set = self.set_mut();
        let mut rest = bytes;
        for (page, piece) in pieces(at, bytes.len() as u64) {
            let (now, later) = rest.split_at((piece.end - piece.start) as usize);
            rest = later;
            let block = page..(page + PAGE).min(end);
            let to = set.write(block, piece.start, now.len() as u64, OWNER).expect("one owner");
            // SAFETY: a shadow of at least that many bytes; `&mut self`: no reference into it is alive.
            unsafe { to.copy_from_nonoverlapping(std::ptr::NonNull::from(now).cast(), now.len()) };
        }
    }

    /// Replaces the value at offset `at`.
    #[inline]
    pub fn write<T: Bytes>(&mut self, at: u64, value: &T) -> Result<()> {
        if at % align_of::<T>() as u64 != 0 {
            return invalid(at, type_name::<T>(), "misaligned");
        }
        self.check(at, size_of::<T>() as u64, type_name::<T>())?;
        self.put(at, bytemuck::bytes_of(value));
        Ok(())
    }

    /// Changes the value at offset `at`: `change` gets a copy, which is then written.
    #[inline]
    pub fn update<T: Bytes, R>(&mut self, at: u64, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        let mut value = *self.read::<T>(at)?;
        let result = change(&mut value);
        self.put(at, bytemuck::bytes_of(&value)); // `read` checked the range
        Ok(result)
    }

    /// Clears, then sets bits of the word at offset `at`: a bitmap's update.
    pub fn update_bits(&mut self, at: u64, clear: u64, set: u64) -> Result<()> {
        self.update(at, |word: &mut u64| *word = *word & !clear | set)
    }

    /// Brings `len` bytes at `at` into the caches while the program does something else: worth it before updates of
    /// several cold objects. A hint: no error.
    pub fn prefetch(&self, at: u64, len: u64) {
        self.journal.region().prefetch(at..at.saturating_add(len));
    }

    /// Remembers this state. No drain, ever: a rollback happens in DRAM. From now on the first change in a page that
    /// was changed before copies what was changed there.
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint { saved: Saved::Redo(self.set_mut().savepoint()), hooks: self.hooks.len() }
    }

    /// Goes back to a state of this transaction: what was written since is undone. The savepoint can be used again;
    /// those that were taken after it cannot.
    ///
    /// ```
    /// # use pmem_map::Mapping; use pmem_tx::*; fn main() -> Result<()> {
    /// # let journal = Journal::create(Mapping::anonymous(8192)?, 0..4096)?;
    /// journal.write(|tx| {
    ///     tx.write(4096, &1u64)?;
    ///     let one = tx.savepoint();
    ///     tx.write(4096, &2u64)?;
    ///     tx.rollback_to(&one)?;
    ///     assert_eq!(*tx.read::<u64>(4096)?, 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ForeignSavepoint`]: nothing was undone.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        let Saved::Redo(mark) = &savepoint.saved else { return Err(Error::ForeignSavepoint) };
        self.scratch.get_mut().clear();
        self.set_mut().rollback_to(mark).map_err(|_| Error::ForeignSavepoint)?;
        self.hooks.rollback_to(savepoint.hooks);
        Ok(())
    }

    /// Commits. Durable on return: one drain; none if nothing was changed. With it become durable all commits before, by
    /// [`commit_eventual`](Tx::commit_eventual), and so does what this transaction has read of them.
    ///
    /// # Errors
    ///
    /// [`Error::LogFull`]: the changes are too many for the log, and nothing was changed. A failing write-back
    /// poisons the journal.
    #[inline(always)]
    pub fn commit(mut self) -> Result<()> {
        let journal = self.journal;
        let writer = self.writer.as_deref_mut().expect("there until commit");
        if journal.group || writer.log.is_in_flight() || journal.space().is_some() {
            return self.commit_beside();
        }
        let committed = &mut self.committed;
        writer.log.commit(&mut writer.set, || *committed = true)?;
        self.committed = true;
        Ok(()) // `drop` does the rest
    }

    /// As [`commit`](Tx::commit), with others on their way, or with log space to be borrowed.
    #[cold]
    #[inline(never)]
    fn commit_beside(mut self) -> Result<()> {
        let journal = self.journal;
        if !journal.group && !self.log_mut().is_in_flight() {
            self.with_log(|log, set, committed| log.commit(set, || *committed = true))?;
            self.committed = true;
            return Ok(());
        }
        let ticket = self.write_record()?;
        self.put_back(); // the next transaction begins
        let waited = journal.wait(ticket);
        self.committed = waited.is_ok();
        waited
    }

    /// Commits, and leaves it to [`Journal::sync`], [`Journal::wait`] or a later [`commit`](Tx::commit) to make that durable.
    /// Transactions after this one see its changes, and hooks run. A crash before leaves a prefix of the commits: this one
    /// never without those before it. No drain; when the log is full, three.
    ///
    /// # Errors
    ///
    /// As of [`commit`](Tx::commit).
    pub fn commit_eventual(mut self) -> Result<Ticket> {
        self.write_record()
    }

    fn write_record(&mut self) -> Result<Ticket> {
        let written = self.with_log(|log, set, committed| log.write(set, |_| (), |_| *committed = true))?;
        self.committed = true;
        Ok(written.unwrap_or(self.log_mut().newest())) // nothing changed: what it has read
    }

    /// Runs `work` with the log; borrows log space for it if need be.
    #[inline]
    fn with_log<R>(
        &mut self,
        mut work: impl FnMut(&mut Log, &mut WriteSet, &mut bool) -> Result<R>,
    ) -> Result<R> {
        let Writer { log, set, .. } = self.writer.as_deref_mut().expect("there until commit");
        let committed = &mut self.committed;
        with_space(log, self.journal.space(), &self.journal.home(), |log| work(log, set, committed))
    }

    /// Rolls back, as dropping does.
    pub fn abort(self) {}

    #[inline(always)]
    fn put_back(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.set.clear();
            self.journal.put_back(writer);
        }
    }
}

impl Drop for Tx<'_> {
    #[inline]
    fn drop(&mut self) {
        self.put_back();
        self.hooks.run(self.committed);
    }
}

impl Transaction for Tx<'_> {
    #[inline]
    fn get_bytes(&self, at: u64, into: &mut [u8]) -> Result<()> {
        into.copy_from_slice(self.bytes(at, into.len() as u64)?);
        Ok(())
    }

    #[inline]
    fn get<T: Bytes>(&self, at: u64) -> Result<T> {
        self.read(at).copied()
    }

    #[inline]
    fn write_bytes(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        Tx::write_bytes(self, at, bytes)
    }

    fn fill(&mut self, at: u64, len: u64, byte: u8) -> Result<()> {
        self.check(at, len, "bytes")?;
        let part = [byte; PAGE as usize];
        for (_, piece) in pieces(at, len) {
            self.put(piece.start, &part[..(piece.end - piece.start) as usize]);
        }
        Ok(())
    }

    fn snapshot(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        ranges.iter().try_for_each(|range| self.journal.check_range(range))?;
        ranges.iter().for_each(|range| self.journal.region().prefetch(range.clone()));
        Ok(())
    }

    fn declare_fresh(&mut self, range: Range<u64>) -> Result<()> {
        self.journal.check_range(&range)
    }

    #[inline]
    fn prefetch(&self, at: u64, len: u64) {
        Tx::prefetch(self, at, len);
    }

    fn savepoint(&mut self) -> Savepoint {
        Tx::savepoint(self)
    }

    fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        Tx::rollback_to(self, savepoint)
    }

    fn on_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.on_commit(hook);
    }

    fn on_abort(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.on_abort(hook);
    }

    #[inline]
    fn commit(self) -> Result<()> {
        Tx::commit(self)
    }
}

/// The parts of a range, page by page: page's offset, part.
#[inline]
fn pieces(at: u64, len: u64) -> impl Iterator<Item = (u64, Range<u64>)> {
    let end = at + len;
    let mut from = at;
    std::iter::from_fn(move || {
        let page = from & !(PAGE - 1);
        let to = (page + PAGE).min(end);
        let piece = (from < end).then_some((page, from..to));
        from = to;
        piece
    })
}
