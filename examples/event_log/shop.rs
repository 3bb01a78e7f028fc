//! The shop: objects in one pool, changed together.
//!
//! | object | type | says |
//! |---|---|---|
//! | `events` | log | what happened, in order |
//! | `summary` | kind of event → count; and the sum of cents that were paid | what comes of all events |
//! | `truncated` | the same | what comes of those that are no longer in the log |

use bytemuck::{Pod, Zeroable};
use pmem_collections::*;
use std::{ops::Range, path::Path};

const EVENTS: Named<PLog> = Named::new("events");
const SUMMARY: Named<PBTreeMap<u32, u64>> = Named::new("summary");
const TRUNCATED: Named<PBTreeMap<u32, u64>> = Named::new("truncated");

/// Made, paid, shipped: a count each; and cents.
pub(crate) type Summary = [u64; 4];
const PAID: u32 = 1;
const CENTS: u32 = 3;

/// A record of the log: plain data, so that it is read where it is.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Event {
    order: u64,
    cents: u64,
    /// 0 made, 1 paid, 2 shipped.
    kind: u32,
    item: u32,
}

impl Event {
    pub(crate) fn random(random: &mut fastrand::Rng) -> Event {
        let order = random.u64(..100_000);
        Event { order, cents: random.u64(1..50_000), kind: random.u32(..3), item: random.u32(..200) }
    }

    fn read(seq: u64, record: &[u8]) -> Result<Event> {
        let event = bytemuck::try_pod_read_unaligned::<Event>(record).ok().filter(|event| event.kind < 3);
        event.ok_or_else(|| Error::abort(format!("record {seq} is no event: {record:?}")))
    }

    /// Adds what comes of it.
    fn count(&self, add: &mut impl FnMut(u32, u64) -> Result<()>) -> Result<()> {
        add(self.kind, 1)?;
        if self.kind == PAID { add(CENTS, self.cents) } else { Ok(()) }
    }
}

fn options() -> PoolOptions {
    PoolOptions::new().layout("event_log")
}

/// A new pool.
pub(crate) fn create(path: &Path) -> Result<()> {
    // SAFETY: a file that this program makes, and which no other changes.
    let pool = unsafe { options().size(8 << 20).create(path) }?;
    pool.write(|tx| {
        tx.open(EVENTS)?;
        tx.open(SUMMARY)?;
        tx.open(TRUNCATED).map(drop)
    })?;
    pool.close()
}

pub(crate) fn open(path: &Path) -> Result<Pool> {
    // SAFETY: as above; two processes of this program are kept apart by the pool's lock.
    unsafe { options().open(path) }
}

/// Appends events, and counts them: all or nothing, with one drain.
pub(crate) fn append(pool: &Pool, events: impl Iterator<Item = Event>) -> Result<Range<u64>> {
    pool.write(|tx| {
        let (mut log, mut summary) = (tx.open(EVENTS)?, tx.open(SUMMARY)?);
        let events: Vec<Event> = events.collect();
        for event in &events {
            event.count(&mut |what, count| {
                *summary.entry(what).or_insert(0)? += count;
                Ok(())
            })?;
        }
        log.append_all(events.iter().map(bytemuck::bytes_of))
    })
}

/// Takes the events before `seq` off the log, and counts them among those that are gone.
pub(crate) fn truncate_before(pool: &Pool, seq: u64) -> Result<()> {
    pool.write(|tx| {
        let (mut log, mut truncated) = (tx.open(EVENTS)?, tx.open(TRUNCATED)?);
        for record in log.range(..seq) {
            let (seq, record) = record?;
            Event::read(seq, record)?.count(&mut |what, count| {
                *truncated.entry(what).or_insert(0)? += count;
                Ok(())
            })?;
        }
        log.truncate_before(seq)
    })
}

/// The newest events, the oldest of them first.
pub(crate) fn latest(pool: &Pool, count: u64) -> Result<Vec<(u64, Event)>> {
    let tx = pool.read()?;
    let log = tx.open(EVENTS)?;
    let end = log.seqs()?.end;
    log.range(end.saturating_sub(count)..)
        .map(|record| record.and_then(|(seq, record)| Ok((seq, Event::read(seq, record)?))))
        .collect()
}

/// What is in the pool.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) seqs: Range<u64>,
    pub(crate) summary: Summary,
}

fn all(map: &Ref<'_, PBTreeMap<u32, u64>>) -> Result<Summary> {
    let mut summary = Summary::default();
    for entry in map {
        let (what, count) = entry?;
        let place = summary.get_mut(*what as usize);
        *place.ok_or_else(|| Error::abort(format!("a count of {what}")))? = *count;
    }
    Ok(summary)
}

/// Looks at everything: the pool itself, each record, and whether the log and what is gone from it make the summary.
pub(crate) fn audit(pool: &Pool) -> Result<Found> {
    let tx = pool.read()?;
    let (log, summary, truncated) = (tx.open(EVENTS)?, tx.open(SUMMARY)?, tx.open(TRUNCATED)?);
    log.check()?;
    let (seqs, summary, mut replayed) = (log.seqs()?, all(&summary)?, all(&truncated)?);
    let mut next = seqs.start;
    for record in &log {
        let (seq, record) = record?;
        Event::read(seq, record)?.count(&mut |what, count| {
            replayed[what as usize] += count;
            Ok(())
        })?;
        if seq != next {
            return Err(Error::abort(format!("event {seq} comes where {next} should")));
        }
        next += 1;
    }
    if next != seqs.end || replayed != summary || summary[..3].iter().sum::<u64>() != seqs.end {
        return Err(Error::abort(format!("the log says {replayed:?} up to {next}, the summary {summary:?}")));
    }
    drop(tx);
    let report = pool.check()?;
    if report.is_ok() {
        Ok(Found { seqs, summary })
    } else {
        Err(Error::abort(format!("the pool: {report}")))
    }
}
