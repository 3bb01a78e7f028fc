//! Parts of a transaction that can be undone while the rest goes on.
//!
//! Everything that a transaction changes is in three places, and each knows how to go back by itself: the write set
//! puts copies of blocks back, the heap and the directory undo the ends of their lists, as they undo all of them on
//! abort. Guards need nothing: all functions here take the transaction by `&mut`, so none can be used any more, and
//! their marks are cleared.

use crate::{ErrorKind, Result, WriteTx, directory, heap, transaction::Writer};
use pmem_tx::engine::Mark;

/// A state of a transaction to come back to: [`WriteTx::savepoint`].
///
/// It borrows nothing, and can be kept as long as one likes; where it means nothing, it is refused.
#[derive(Debug)]
pub struct Savepoint {
    set: Mark,
    heap: heap::Progress,
    objects: directory::Progress,
}

impl WriteTx<'_> {
    /// Remembers this state. Guards that were opened before can no longer be used; open them again.
    ///
    /// No drain, ever: going back happens in DRAM. But until the transaction ends, the first change of a block since
    /// the newest savepoint copies what the transaction had changed in it before. [`nested`](WriteTx::nested) gives
    /// such copies back as soon as it can.
    ///
    /// ```
    /// # use pmem_alloc::*; fn main() -> Result<()> {
    /// # let pool = Pool::anonymous(1 << 20)?;
    /// pool.write(|tx| {
    ///     *tx.open::<PHeap<u64>>("n")?.root_mut()? = 1;
    ///     let one = tx.savepoint();
    ///     *tx.open::<PHeap<u64>>("n")?.root_mut()? = 2;
    ///     tx.rollback_to(&one)
    /// })?;
    /// assert_eq!(*pool.read()?.open::<PHeap<u64>>("n")?.root()?, 1);
    /// # Ok(()) }
    /// ```
    pub fn savepoint(&mut self) -> Savepoint {
        let Writer { set, heap, objects, .. } = self.writer_mut();
        objects.close_all();
        Savepoint { set: set.savepoint(), heap: heap.progress(), objects: objects.progress() }
    }

    /// Goes back to a state of this transaction: what was written, allocated, freed and created since is undone.
    /// The savepoint can be used again; those that were taken after it cannot. Guards that were opened before can no
    /// longer be used. No drain.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ForeignSavepoint`]: nothing was undone.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        let Writer { set, heap, objects, .. } = self.writer_mut();
        objects.close_all();
        // If the write set knows the mark, the lists are not shorter than they were then.
        set.rollback_to(&savepoint.set).map_err(|_| ErrorKind::ForeignSavepoint)?;
        heap.rollback_to(savepoint.heap);
        objects.rollback_to(savepoint.objects);
        Ok(())
    }

    /// Runs `body` as a part that can fail on its own: on `Err` and on panic its changes are undone, and the
    /// transaction can go on. Parts may have parts. Guards that were opened before can no longer be used. No drain.
    ///
    /// Savepoints that were taken in a part mean nothing when it is over.
    ///
    /// ```
    /// # use pmem_alloc::*; fn main() -> Result<()> {
    /// # let pool = Pool::anonymous(1 << 20)?;
    /// pool.write(|tx| {
    ///     *tx.open::<PHeap<u64>>("n")?.root_mut()? = 1;
    ///     let failed: Result<()> = tx.nested(|tx| {
    ///         *tx.open::<PHeap<u64>>("n")?.root_mut()? = 2;
    ///         Err(Error::abort("no, better not"))
    ///     });
    ///     assert!(failed.is_err());
    ///     assert_eq!(*tx.open::<PHeap<u64>>("n")?.root()?, 1);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What `body` returns. [`ErrorKind::ForeignSavepoint`] if `body` failed, but had gone back to a savepoint older
    /// than the part: what it did afterwards is not undone, so go back further, or let the transaction fail. (The same
    /// if it has put another transaction in the place of this one.)
    pub fn nested<R>(&mut self, body: impl FnOnce(&mut WriteTx<'_>) -> Result<R>) -> Result<R> {
        let mut part = Part { savepoint: self.savepoint(), tx: self, over: false };
        let result = body(part.tx);
        part.over = true;
        if result.is_err() {
            part.tx.rollback_to(&part.savepoint)?;
        }
        part.tx.release(&part.savepoint);
        result
    }

    /// Gives a savepoint up, and what was kept for it.
    fn release(&mut self, savepoint: &Savepoint) {
        let Writer { set, objects, .. } = self.writer_mut();
        objects.close_all();
        set.release(&savepoint.set);
    }
}

/// A nested part; undone if a panic ends it.
struct Part<'a, 'p> {
    savepoint: Savepoint,
    tx: &'a mut WriteTx<'p>,
    over: bool,
}

impl Drop for Part<'_, '_> {
    fn drop(&mut self) {
        if !self.over && self.tx.rollback_to(&self.savepoint).is_ok() {
            self.tx.release(&self.savepoint);
        }
    }
}
