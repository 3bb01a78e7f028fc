//! A log that is appended to, and a queue that is pushed to and popped from: records of 64 bytes.

use super::{
    Place,
    stores::{check, pool},
};
use crate::{
    compare::{
        Outcome,
        subject::{Alone, Shared, Threads},
    },
    raw::Raw,
    rounds::Work,
    stream::{OBJECT, Object, Update},
};
use pmem_collections::{ConcurrentLog, MpmcQueue, Named, PDeque, PLog, Pool};
use pmem_map::Counters;
use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes of the hand-written ring.
const RING: u64 = 16 << 20;
/// Elements that a log or a queue has before it is measured.
pub const BEFORE: u64 = 1000;
/// Records of a log between two clearings, where a batch is no longer than that.
const ROOM: u64 = 200_000;

/// Hand-written code over a raw ring. `step` does one operation, of that number from 1 on.
struct Ring<F> {
    raw: Raw,
    done: u64,
    /// Lines and drains of one operation, by construction.
    cost: (u64, u64),
    step: F,
    /// Whether the last operation's record is there.
    is_there: fn(&mut Raw, u64) -> bool,
}

impl<F: FnMut(&mut Raw, u64)> Work for Ring<F> {
    fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            self.done += 1;
            (self.step)(&mut self.raw, self.done);
        }
    }
    fn counters(&self) -> Counters {
        let (lines, drains) = self.cost;
        Counters { lines_flushed: lines * self.done, drains: drains * self.done, ..Counters::default() }
    }
    fn verify(mut self: Box<Self>) {
        assert!((self.is_there)(&mut self.raw, self.done), "the last record is missing");
    }
}

fn ring(
    cost: (u64, u64),
    step: impl FnMut(&mut Raw, u64) + 'static,
    is_there: fn(&mut Raw, u64) -> bool,
) -> Outcome<Alone> {
    Ok(Alone(Box::new(Ring { raw: Raw::new(RING)?, done: 0, cost, step, is_there })))
}

/// The record of that number, in a ring of records that have a line each.
fn at(number: u64) -> u64 {
    number % (RING / OBJECT)
}

/// By hand: record and end of the log, without any ordering.
pub fn log_unordered() -> Outcome<Alone> {
    ring((0, 0), |raw, n| raw.unordered(&[at(n)], n, Update::Blind), |raw, n| raw.read(at(n)) == [n; 8])
}

/// By hand: the record, a drain, the end of the log, a drain.
pub fn log_by_hand() -> Outcome<Alone> {
    ring((2, 2), |raw, n| raw.two_drains(at(n), n, Update::Blind), |raw, n| raw.read(at(n)) == [n; 8])
}

/// By hand: a record with its checksum beside it, one drain; the end is where the checksums end.
pub fn log_of_slots() -> Outcome<Alone> {
    fn slot(n: u64) -> u64 {
        n % (RING / Raw::SLOT)
    }
    ring((2, 1), |raw, n| raw.slot(slot(n), n, Update::Blind), |raw, n| raw.read_slot(slot(n)) == [n; 8])
}

/// Where the head of a hand-written queue is. Records begin behind it.
const HEAD: u64 = 0;

fn behind_head(number: u64) -> u64 {
    1 + number % (RING / OBJECT - 1)
}

/// By hand: a push stores record and tail, a pop the head, without any ordering.
pub fn queue_unordered() -> Outcome<Alone> {
    let step = |raw: &mut Raw, n| {
        raw.unordered(&[behind_head(n)], n, Update::Blind);
        std::hint::black_box(raw.read(behind_head(n.saturating_sub(BEFORE))));
        raw.unordered(&[HEAD], n, Update::Blind);
    };
    ring((0, 0), step, |raw, n| raw.read(HEAD)[0] == n)
}

/// By hand: a push drains the record, then the tail; a pop drains the head.
pub fn queue_by_hand() -> Outcome<Alone> {
    let step = |raw: &mut Raw, n| {
        raw.two_drains(behind_head(n), n, Update::Blind);
        std::hint::black_box(raw.read(behind_head(n.saturating_sub(BEFORE))));
        raw.word(HEAD, n, Update::Blind);
    };
    ring((3, 3), step, |raw, n| raw.read(HEAD)[0] == n)
}

/// What is appended to, or pushed and popped.
pub enum Kind {
    /// `PLog`, one transaction for each record.
    Log(Pool),
    /// `ConcurrentLog`.
    ConcurrentLog(ConcurrentLog, Pool),
    /// A `Vec` in a lock.
    Vec(Mutex<Vec<Object>>),
    /// `PDeque`, one transaction for each push and each pop.
    Queue(Pool),
    /// `MpmcQueue`.
    ConcurrentQueue(MpmcQueue<Object>, Pool),
    /// A `VecDeque` in a lock.
    VecDeque(Mutex<VecDeque<Object>>),
}

/// The kinds, to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as those of `Kind`")]
pub enum Make {
    Log { group: bool },
    ConcurrentLog,
    Vec,
    Queue { group: bool },
    ConcurrentQueue,
    VecDeque,
}

const LOG: Named<'static, PLog> = Named::new("log");
const QUEUE: Named<'static, PDeque<Object>> = Named::new("queue");
const POISONED: &str = "a thread panicked in the lock";

/// A log or a queue that threads share.
pub struct Streamed {
    kind: Kind,
    /// Records of a log since it was cleared.
    appended: AtomicU64,
}

/// That kind, by so many threads.
pub fn stream(make: Make, place: &Place, threads: u64) -> Outcome<Threads<Streamed>> {
    let pool = |group| pool(place, ROOM / 4, group); // of 320 bytes an entry
    let kind = match make {
        Make::Log { group } => Kind::Log(pool(group)?),
        Make::ConcurrentLog => {
            let pool = pool(false)?;
            Kind::ConcurrentLog(ConcurrentLog::open(&pool, "log")?, pool)
        }
        Make::Vec => Kind::Vec(Mutex::default()),
        Make::Queue { group } => Kind::Queue(pool(group)?),
        Make::ConcurrentQueue => {
            let pool = pool(false)?;
            Kind::ConcurrentQueue(MpmcQueue::open(&pool, "queue")?, pool)
        }
        Make::VecDeque => Kind::VecDeque(Mutex::default()),
    };
    for n in 0..BEFORE {
        kind.push(&[n; 8])?;
    }
    let streamed = Streamed { kind, appended: AtomicU64::new(BEFORE) };
    Ok(Threads::new(streamed, vec![BEFORE; threads as usize]))
}

impl Kind {
    fn push(&self, record: &Object) -> Outcome<()> {
        let bytes = bytemuck::bytes_of(record);
        match self {
            Kind::Log(pool) => pool.write(|tx| tx.open(LOG)?.append(bytes).map(drop))?,
            Kind::ConcurrentLog(log, _) => log.append(bytes).map(drop)?,
            Kind::Vec(records) => records.lock().map_err(|_| POISONED)?.push(*record),
            Kind::Queue(pool) => pool.write(|tx| tx.open(QUEUE)?.push_back(*record))?,
            Kind::ConcurrentQueue(queue, _) => queue.push(*record)?,
            Kind::VecDeque(records) => records.lock().map_err(|_| POISONED)?.push_back(*record),
        }
        Ok(())
    }

    /// Nothing is popped from a log.
    fn pop(&self) -> Outcome<()> {
        let is_there = match self {
            Kind::Log(_) | Kind::ConcurrentLog(..) | Kind::Vec(_) => true,
            Kind::Queue(pool) => pool.write(|tx| Ok(tx.open(QUEUE)?.pop_front()?.is_some()))?,
            Kind::ConcurrentQueue(queue, _) => queue.pop()?.is_some(),
            Kind::VecDeque(records) => records.lock().map_err(|_| POISONED)?.pop_front().is_some(),
        };
        if is_there { Ok(()) } else { Err("the queue is empty".into()) }
    }

    /// Records that are there.
    fn len(&self) -> Outcome<u64> {
        Ok(match self {
            Kind::Log(pool) => pool.read()?.open(LOG)?.len()?,
            Kind::ConcurrentLog(log, _) => log.iter().count() as u64,
            Kind::Vec(records) => records.lock().map_err(|_| POISONED)?.len() as u64,
            Kind::Queue(pool) => pool.read()?.open(QUEUE)?.len() as u64,
            Kind::ConcurrentQueue(queue, _) => queue.len() as u64,
            Kind::VecDeque(records) => records.lock().map_err(|_| POISONED)?.len() as u64,
        })
    }

    fn clear(&self) -> Outcome<()> {
        match self {
            Kind::Log(pool) => pool.write(|tx| tx.open(LOG)?.clear())?,
            Kind::ConcurrentLog(log, _) => log.truncate_before(log.watermark() + 1)?,
            Kind::Vec(records) => records.lock().map_err(|_| POISONED)?.clear(),
            Kind::Queue(_) | Kind::ConcurrentQueue(..) | Kind::VecDeque(_) => {}
        }
        Ok(())
    }

    fn pool(&self) -> Option<&Pool> {
        match self {
            Kind::Log(pool)
            | Kind::ConcurrentLog(_, pool)
            | Kind::Queue(pool)
            | Kind::ConcurrentQueue(_, pool) => Some(pool),
            Kind::Vec(_) | Kind::VecDeque(_) => None,
        }
    }

    fn is_log(&self) -> bool {
        matches!(self, Kind::Log(_) | Kind::ConcurrentLog(..) | Kind::Vec(_))
    }
}

impl Shared for Streamed {
    /// The number of a thread's next record.
    type Local = u64;

    /// Clears a log that has grown long.
    fn prepare(&self, _next: &mut u64, operations: u64) -> Outcome<()> {
        if self.kind.is_log() && self.appended.load(Ordering::Relaxed) + operations > ROOM {
            self.kind.clear()?;
            self.appended.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn run(&self, next: &mut u64, operations: u64) -> Outcome<()> {
        for _ in 0..operations {
            self.kind.push(&[*next; 8])?;
            *next += 1;
            self.kind.pop()?;
        }
        self.appended.fetch_add(operations, Ordering::Relaxed);
        Ok(())
    }

    fn counters(&self) -> Option<Counters> {
        self.kind.pool().map(|pool| pool.region().counters())
    }

    fn verify(self, _locals: Vec<u64>) -> Outcome<()> {
        let expected = if self.kind.is_log() { self.appended.into_inner() } else { BEFORE };
        let found = self.kind.len()?;
        if found != expected {
            return Err(format!("{found} records, not {expected}").into());
        }
        self.kind.pool().map_or(Ok(()), check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::subject::Subject;

    #[test]
    fn every_stream_has_the_records_that_it_should_also_after_it_was_cleared() {
        for make in [Make::Log { group: true }, Make::ConcurrentLog, Make::Vec, Make::Queue { group: false }]
        {
            let mut subject = stream(make, &Place::Memory, 2).unwrap();
            for operations in [100, ROOM, 7, 300] {
                subject.prepare(operations).unwrap();
                subject.batch(operations.min(1000)).unwrap();
            }
            Box::new(subject).finish().unwrap();
        }
    }
}
