//! What undo transactions, hooks, stores of one line, lent log space and shared mappings promise, sentence by sentence.

#![allow(clippy::single_range_in_vec_init, reason = "one range is what is meant")]

mod hooks;
mod lines;
mod shared;
mod space;
mod transactions;

use pmem_map::{Counters, Mapping};
use pmem_tx::{Journal, Transaction};
use std::ops::Range;

const LOG: Range<u64> = 0..4096;
const AT: u64 = LOG.end;
const LEN: u64 = 1 << 16;

fn journal() -> Journal {
    Journal::create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap()
}

fn word(journal: &Journal, at: u64) -> u64 {
    journal.begin().unwrap().word(at).unwrap()
}

/// What `work` costs.
fn spent(journal: &Journal, work: impl FnOnce()) -> Counters {
    let before = journal.region().counters();
    work();
    journal.region().counters() - before
}

/// The mapping's bytes, as a kill would leave them.
fn killed(journal: Journal) -> Mapping {
    let region = journal.region();
    let mut mapping = Mapping::anonymous(region.len()).unwrap();
    // SAFETY: no transaction is open, so nobody stores.
    unsafe { region.load(0, mapping.as_mut_slice()) };
    std::mem::forget(journal);
    mapping
}
