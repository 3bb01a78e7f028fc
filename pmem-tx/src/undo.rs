//! A transaction that changes bytes in place, once their old values are durable.

use crate::{
    Journal, Result, Savepoint, Transaction,
    engine::{Log, UndoSet},
    hooks::Hooks,
    journal::Writer,
    space::{give_back, with_space},
    transaction::invalid,
    tx::Saved,
};
use std::ops::Range;

/// An undo transaction over the bytes of a journal's mapping: [`Journal::begin_undo`]. Dropping it rolls back.
///
/// A place is changed once its old bytes are in the log, and drained. So a change costs a drain where a redo
/// transaction's costs none; but nothing is copied to DRAM first, nothing is looked up when it is read, and what is written is written
/// once. Right for large changes in place; [`snapshot`](Transaction::snapshot) lets several share a drain.
///
/// Reading and writing are in [`Transaction`]. It lends no references into the mapping: reads are copies.
///
/// `Send`: it may begin on one thread and commit on another.
#[must_use = "dropping a transaction rolls it back"]
pub struct UndoTx<'j> {
    journal: &'j Journal,
    /// There until commit or drop.
    writer: Option<Box<Writer>>,
    hooks: Hooks,
    committed: bool,
}

impl<'j> UndoTx<'j> {
    pub(crate) fn new(journal: &'j Journal, writer: Box<Writer>) -> UndoTx<'j> {
        UndoTx { journal, writer: Some(writer), hooks: Hooks::default(), committed: false }
    }

    /// Runs `work` with the log and the undo set; borrows log space for it if need be.
    fn with<R>(&mut self, mut work: impl FnMut(&mut Log, &mut UndoSet) -> Result<R>) -> Result<R> {
        let Writer { log, undo, .. } = self.writer.as_deref_mut().expect("there until commit");
        with_space(log, self.journal.space(), &self.journal.home(), |log| work(log, undo))
    }

    /// Gives the journal back, and runs the hooks.
    fn end(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let Writer { log, undo, .. } = &mut *writer;
        // Nothing is left of a committed one. An error poisons the log, which nobody can use from then on.
        let _ = log.abort_undo(undo);
        if let Some(space) = self.journal.space() {
            give_back(log, space);
        }
        self.journal.put_back(writer);
        self.hooks.run(self.committed);
    }
}

impl Transaction for UndoTx<'_> {
    fn get_bytes(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.journal.check(at, into.len() as u64, "bytes")?;
        // SAFETY: in bounds, just checked; only this transaction stores, through `&mut self`.
        unsafe { self.journal.region().load(at, into) };
        Ok(())
    }

    fn write_bytes(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.journal.check(at, bytes.len() as u64, "bytes")?;
        self.with(|log, set| log.undo_write(set, at, bytes))
    }

    fn fill(&mut self, at: u64, len: u64, byte: u8) -> Result<()> {
        self.journal.check(at, len, "bytes")?;
        self.with(|log, set| log.undo_fill(set, at, len, byte))
    }

    fn snapshot(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        ranges.iter().try_for_each(|range| self.journal.check_range(range))?;
        self.with(|log, set| log.snapshot(set, ranges))
    }

    fn declare_fresh(&mut self, range: Range<u64>) -> Result<()> {
        self.journal.check_range(&range)?;
        self.with(|log, set| log.declare_fresh(set, range.clone()))
    }

    fn prefetch(&self, at: u64, len: u64) {
        self.journal.region().prefetch(at..at.saturating_add(len));
    }

    fn savepoint(&mut self) -> Savepoint {
        let Writer { log, undo, .. } = self.writer.as_deref_mut().expect("there until commit");
        Savepoint { saved: Saved::Undo(log.undo_savepoint(undo)), hooks: self.hooks.len() }
    }

    fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        let Saved::Undo(mark) = &savepoint.saved else { return Err(crate::Error::ForeignSavepoint) };
        let Writer { log, undo, .. } = self.writer.as_deref_mut().expect("there until commit");
        log.undo_rollback_to(undo, mark)?;
        self.hooks.rollback_to(savepoint.hooks);
        Ok(())
    }

    fn on_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.on_commit(hook);
    }

    fn on_abort(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.on_abort(hook);
    }

    fn commit(mut self) -> Result<()> {
        let Writer { log, undo, .. } = self.writer.as_deref_mut().expect("there until commit");
        let committed = &mut self.committed;
        log.commit_undo(undo, || *committed = true)?;
        self.committed = true;
        self.end();
        Ok(())
    }
}

impl Drop for UndoTx<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Journal {
    /// Begins an undo transaction; waits while another transaction is open. One drain, if there are commits that are not
    /// durable: it changes only what is. [`Error::WouldDeadlock`](crate::Error) if it was this thread that began the one
    /// that is open, and in a subscriber.
    pub fn begin_undo(&self) -> Result<UndoTx<'_>> {
        Ok(UndoTx::new(self, self.take_settled()?))
    }

    /// Runs `body` in an undo transaction: commits on `Ok`, rolls back on `Err` and on panic. A drain for each
    /// [`snapshot`](Transaction::snapshot), and two; none if nothing was changed.
    pub fn write_undo<R>(&self, body: impl FnOnce(&mut UndoTx<'_>) -> Result<R>) -> Result<R> {
        let mut tx = self.begin_undo()?;
        let result = body(&mut tx)?;
        tx.commit()?;
        Ok(result)
    }

    /// [`Error::Invalid`](crate::Error) unless `len` bytes at `at` are the program's: in the journal's home, and not in its log.
    #[inline]
    pub(crate) fn check(&self, at: u64, len: u64, expected: &'static str) -> Result<()> {
        let (home, log) = (self.home(), self.log_area());
        let inside = at >= home.start && len <= home.end && at <= home.end - len;
        if inside && (at >= log.end || at + len <= log.start) {
            return Ok(());
        }
        self.not_the_programs(at, len, expected)
    }

    #[cold]
    fn not_the_programs(&self, at: u64, len: u64, expected: &'static str) -> Result<()> {
        let home = self.home();
        let why = match at.checked_add(len) {
            Some(end) if end <= self.region().len() => match at >= home.start && end <= home.end {
                true => "inside the log",
                false => "outside the journal's home",
            },
            _ => "past the end of the mapping",
        };
        invalid(at, expected, why)
    }

    pub(crate) fn check_range(&self, range: &Range<u64>) -> Result<()> {
        match range.end.checked_sub(range.start) {
            Some(len) => self.check(range.start, len, "range"),
            None => invalid(range.start, "range", "it ends before it starts"),
        }
    }
}
