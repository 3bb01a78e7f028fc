//! Memory lent for transactions that the log does not take.

use super::DATA;
use parking_lot::Mutex;
use pmem_tx::LogSpace;
use std::ops::Range;

/// The data from this word on is lent: no operation keeps anything there.
pub(crate) const LENT: u64 = 512;

/// Two pieces of 2 KiB, the lower one first.
pub(crate) struct Space(Mutex<Vec<Range<u64>>>);

impl Space {
    pub(crate) fn new() -> Space {
        let at = DATA + LENT * 8;
        Space(Mutex::new(vec![at + 2048..at + 4096, at..at + 2048]))
    }
}

impl LogSpace for Space {
    fn lend(&self, _len: u64) -> Option<Range<u64>> {
        self.0.lock().pop()
    }

    fn take_back(&self, range: Range<u64>) {
        let mut free = self.0.lock();
        free.push(range);
        free.sort_by_key(|range| std::cmp::Reverse(range.start));
    }
}
