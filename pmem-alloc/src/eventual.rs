//! Commits on their way to the medium: what a pool adds to the log's [`Pipeline`].
//!
//! A commit that was written and is not applied has three consequences here. Readers do not know objects that it made: their
//! names wait in `unpublished`. Blocks that it freed are not handed out: the heap keeps them until it is applied, and so its
//! pages are what readers take them for. And what the mapping says of metadata is old: whoever compares the two waits first.

use crate::{
    ErrorKind, Pool, Result, WriteTx,
    directory::{Names, Publication},
    gate::{Applying, Gate},
    pool::Inner,
    replicate::Following,
    transaction::{Outcome, WriteCore, Writer},
};
use parking_lot::Mutex;
use pmem_tx::{
    Ticket,
    engine::{Log, Pipeline},
};
use std::{collections::VecDeque, sync::Arc};

/// What keeps readers and the application of commits apart, and what has to happen in between.
pub(crate) struct Readers {
    pub(crate) gate: Gate,
    pub(crate) names: Names,
    /// Objects that commits made which are not applied, in order.
    unpublished: Mutex<VecDeque<(Ticket, Publication)>>,
    pub(crate) pipeline: Arc<Pipeline>,
    /// What changes for readers of a pool that follows another.
    pub(crate) following: Following,
}

impl Readers {
    pub(crate) fn new(log: &Log, names: Names, following: Following) -> Readers {
        let pipeline = log.pipeline().clone();
        Readers { gate: Gate::new(), names, unpublished: Mutex::default(), pipeline, following }
    }

    /// Waits for readers, because commits up to `newest` are about to be applied; until the result is dropped there are
    /// none. Tells them what these commits made.
    pub(crate) fn keep_out(&self, newest: Ticket) -> Applying<'_> {
        let applying = self.gate.write();
        let mut unpublished = self.unpublished.lock();
        while unpublished.front().is_some_and(|(ticket, _)| *ticket <= newest) {
            let (_, object) = unpublished.pop_front().expect("there is one");
            self.names.publish(object);
        }
        self.following.bring_up_to_date(newest);
        applying
    }

    /// Nobody can wait for themselves: the calling thread has no view open, and is not applying.
    pub(crate) fn check(&self, wanted: &'static str) -> Result<()> {
        let held = if self.gate.is_read_by_this_thread() {
            "ReadTx"
        } else if self.pipeline.is_applying_here() {
            "Subscriber's call"
        } else {
            return Ok(());
        };
        Err(ErrorKind::WouldDeadlock { held, wanted }.into())
    }

    /// Waits until a commit is durable and applied.
    pub(crate) fn wait(&self, ticket: Ticket) -> Result<()> {
        Ok(self.pipeline.wait(ticket, |newest| self.keep_out(newest))?)
    }

    /// Waits until all commits are, on behalf of the writer.
    pub(crate) fn finish(&self, writer: &mut Writer) -> Result<()> {
        let Writer { log, set, heap, .. } = writer;
        log.finish(set, |newest| self.keep_out(newest))?;
        heap.reclaim(log.applied());
        Ok(())
    }

    /// Retires the log's records.
    pub(crate) fn checkpoint(&self, writer: &mut Writer) -> Result<()> {
        self.finish(writer)?;
        Ok(writer.log.checkpoint()?)
    }
}

impl Pool {
    /// Makes every commit so far durable, and seen by readers: those by [`WriteTx::commit_eventual`]. Does not wait for an
    /// open transaction. One drain, whatever their number; none if all are durable.
    ///
    /// ```
    /// # use pmem_alloc::*; fn main() -> Result<()> {
    /// # let pool = Pool::anonymous(1 << 20)?;
    /// for n in 1..=10 {
    ///     let tx = pool.begin()?;
    ///     *tx.open::<PHeap<u64>>("n")?.root_mut()? = n;
    ///     tx.commit_eventual()?; // a crash now leaves one of the numbers so far
    /// }
    /// pool.sync()?; // 10
    /// # assert_eq!(*pool.read()?.open::<PHeap<u64>>("n")?.root()?, 10);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldDeadlock`] if this thread reads the pool, and in a subscriber. A failed write-back poisons the
    /// pool.
    pub fn sync(&self) -> Result<()> {
        self.wait(self.inner.readers.pipeline.newest())
    }

    /// Waits until the commit `ticket`, which is of this pool, and all before it are durable and seen by readers. At most one
    /// drain, unless other threads commit meanwhile.
    ///
    /// # Errors
    ///
    /// As of [`sync`](Pool::sync).
    pub fn wait(&self, ticket: Ticket) -> Result<()> {
        let inner = &*self.inner;
        inner.media.region().check_process()?;
        inner.readers.check("sync")?;
        inner.wait(ticket)?;
        inner.replication.acknowledge()
    }
}

impl Inner {
    /// Waits until a commit is durable and applied; pages that are gone are an error.
    pub(crate) fn wait(&self, ticket: Ticket) -> Result<()> {
        self.guarded_commit(|| self.readers.wait(ticket))?
    }

    /// Runs `work`, which stores; if a page of the file is gone meanwhile, half of it may be in place, and nobody may look any more.
    pub(crate) fn guarded_commit<R>(&self, work: impl FnOnce() -> R) -> Result<R> {
        self.media.region().guarded(work).map_err(|lost| {
            self.readers.gate.poison();
            lost.into()
        })
    }
}

impl WriteTx<'_> {
    /// Commits, and leaves it to [`Pool::sync`], [`Pool::wait`] or a later [`commit`](WriteTx::commit) to make that durable.
    /// Transactions after this one see its changes, readers do not before it is durable. A crash before leaves a prefix of the
    /// commits: this one never without those before it. What it frees can be allocated when it is durable.
    ///
    /// No drain; one if more than 4 KiB are newly allocated; when the log is full, three.
    ///
    /// # Errors
    ///
    /// As of [`commit`](WriteTx::commit).
    pub fn commit_eventual(mut self) -> Result<Ticket> {
        let WriteCore { inner, writer } = &mut self.core;
        inner.readers.check("commit")?;
        let writer = &mut **writer.get_mut().as_mut().expect("not ended");
        let readers = &inner.readers;
        let outcome = &mut self.outcome;
        let written = inner.guarded_commit(|| {
            writer.with_log_space(|log, set, objects| {
                log.write(
                    set,
                    |newest| readers.keep_out(newest),
                    |ticket| {
                        // A subscriber that panics later does not take it back.
                        *outcome = Outcome::Written(ticket);
                        let changed = objects.changed().map(|object| (ticket, object));
                        readers.unpublished.lock().extend(changed);
                    },
                )
            })
        })??;
        self.outcome = written.map_or(Outcome::Durable, Outcome::Written);
        Ok(written.unwrap_or(writer.log.newest())) // nothing changed: what it has read
    }
}

impl WriteCore {
    /// Blocks that commits freed which were not applied can be handed out now, at the price of a drain; and pages that the log holds, at the price of two. False if there are
    /// none, or if waiting for them would not end.
    #[cold]
    pub(crate) fn reclaim(&self) -> bool {
        if self.with(Writer::retire_log_space) {
            return true;
        }
        let newest = self.with(|writer| writer.heap.is_waiting().then(|| writer.log.newest()));
        let Some(newest) = newest else { return false };
        let readers = &self.inner.readers;
        // The writer is not borrowed: a subscriber is code of a caller. The overlay stays as it is, under the running body.
        if readers.check("allocate").is_err() || self.inner.wait(newest).is_err() {
            return false;
        }
        self.with(|writer| writer.heap.reclaim(newest));
        true
    }
}
