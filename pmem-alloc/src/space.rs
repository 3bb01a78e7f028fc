//! Log space from the heap: for transactions that are larger than a third of the log.
//!
//! Free pages are lent to the log, which puts the record there. Nothing of a loan is on media: a crash leaks nothing, for
//! opening finds the pages free, after the log has read the record in them. The pages are given back when no recovery can
//! need the record any more: usually two commits later, at a checkpoint, or when the heap has no others.

use crate::{directory::Objects, heap::Heap, transaction::Writer};
use pmem_tx::{
    Error, Result,
    engine::{Log, WriteSet},
};

impl Writer {
    /// Runs `work`; if the log is too small for it, lends it free pages, and runs it again.
    #[inline]
    pub(crate) fn with_log_space<R>(
        &mut self,
        mut work: impl FnMut(&mut Log, &mut WriteSet, &mut Objects) -> Result<R>,
    ) -> Result<R> {
        let Writer { log, set, heap, objects } = self;
        let mut result = work(log, set, objects);
        if let Err(Error::LogFull { needed, .. }) = result {
            lend(heap, log, needed);
            result = work(log, set, objects);
            self.take_back_log_space();
        }
        result
    }

    /// For want of space: retires the log's records, if that frees pages. (Between two stores of a transaction's body: its
    /// own record is not written yet.)
    #[cold]
    pub(crate) fn retire_log_space(&mut self) -> bool {
        let holds = self.log.holds_space() && !self.log.is_in_flight() && self.log.checkpoint().is_ok();
        self.take_back_log_space();
        holds
    }

    /// Pages that the log does not need any more are free again.
    #[inline]
    pub(crate) fn take_back_log_space(&mut self) {
        if self.log.has_returned() {
            self.log.reclaim().into_iter().for_each(|range| self.heap.take_back(range));
        }
    }
}

/// The longest spans, until it is enough. (A record is in 16 pieces at most.)
#[cold]
fn lend(heap: &mut Heap, log: &mut Log, needed: u64) {
    let mut lent = 0;
    for _ in 0..16 {
        let Some(range) = heap.lend(needed - lent) else { return };
        lent += range.end - range.start;
        log.lend(range);
        if lent >= needed {
            return;
        }
    }
}
