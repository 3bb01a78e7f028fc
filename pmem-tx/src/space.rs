//! Space beyond the log area.

use crate::{Error, Result, engine::Log};
use pmem_map::LINE;
use std::ops::Range;

/// Lends space to a journal for transactions that its log area does not take: see
/// [`JournalOptions::log_space`](crate::JournalOptions::log_space).
///
/// Lent bytes are the journal's until it gives them back: the program keeps nothing there, and changes nothing there. A loan
/// is not on media. When the program ends, or dies, it is over: once the journal is open again, all of the space is
/// free again, and nothing of it has leaked. So a program needs to remember loans in DRAM only.
///
/// Called on the thread that commits, or takes a snapshot, while the journal is busy: a transaction of the same journal that
/// these functions begin is [`Error::WouldDeadlock`].
pub trait LogSpace: Send + Sync + 'static {
    /// Lends a range of the journal's home: aligned to 64, and made of whole lines. All of it is in use while a record is
    /// there. If it is shorter than `len`, more is asked for, up to 16 times. `None` if there is nothing: the transaction is then [`Error::LogFull`].
    fn lend(&self, len: u64) -> Option<Range<u64>>;

    /// A range that was lent, as a whole, is free again: no recovery can need it any more.
    fn take_back(&self, range: Range<u64>);
}

/// Runs `work`; if the log is too small for it, borrows from `space`, and runs it again. What is not needed any more goes back.
pub(crate) fn with_space<R>(
    log: &mut Log,
    space: Option<&dyn LogSpace>,
    home: &Range<u64>,
    mut work: impl FnMut(&mut Log) -> Result<R>,
) -> Result<R> {
    let mut result = work(log);
    let Some(space) = space else { return result };
    if let Err(Error::LogFull { needed, .. }) = result {
        match borrow(log, space, home, needed) {
            Ok(()) => result = work(log),
            Err(error) => result = Err(error),
        }
    }
    give_back(log, space);
    result
}

/// Gives back what the log does not need any more.
pub(crate) fn give_back(log: &mut Log, space: &dyn LogSpace) {
    if log.has_returned() {
        log.reclaim().into_iter().for_each(|range| space.take_back(range));
    }
}

#[cold]
fn borrow(log: &mut Log, space: &dyn LogSpace, home: &Range<u64>, needed: u64) -> Result<()> {
    const TIMES: usize = 16;
    let mut lent: Vec<Range<u64>> = Vec::new();
    let mut bytes = 0;
    while bytes < needed && lent.len() < TIMES {
        let Some(range) = space.lend(needed - bytes) else { break };
        let area = log.area();
        let apart = |other: &Range<u64>| range.end <= other.start || other.end <= range.start;
        let whole = range.start < range.end && range.start % LINE == 0 && range.end % LINE == 0;
        let inside = range.start >= home.start && range.end <= home.end;
        if !whole || !inside || !apart(&area) || !lent.iter().all(apart) || log.has_lent(&range) {
            let why = "not made of lines, outside the journal's home, in its log, or lent already";
            let error = Error::Invalid { offset: range.start, expected: "space for the log", why };
            lent.into_iter().for_each(|range| space.take_back(range));
            return Err(error);
        }
        bytes += range.end - range.start;
        lent.push(range);
    }
    lent.into_iter().for_each(|range| log.lend(range));
    Ok(())
}
