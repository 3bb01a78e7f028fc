//! Transactions on records of 64 bytes, or on their first words, at random places behind a journal's log.

use super::Place;
use crate::{
    baselines::MOST,
    compare::{
        Outcome,
        subject::{Shared, Threads},
    },
    stream::{OBJECT, Object, Stream, Update},
};
use pmem_map::Counters;
use pmem_tx::{Journal, JournalOptions, Transaction};

/// How transactions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// New bytes are logged.
    Redo,
    /// Redo, and what will be changed is fetched before.
    Prefetched,
    /// Redo; threads share a drain.
    Group,
    /// Old bytes are logged.
    Undo,
}

/// What transactions do.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How.
    pub kind: Kind,
    /// Bytes of all records.
    pub bytes: u64,
    /// Records that each one changes.
    pub group: u64,
    /// Whether all of a record is changed, or its first word.
    pub whole: bool,
}

/// A journal and the records behind it.
pub struct Records {
    journal: Journal,
    shape: Shape,
}

/// A thread's own part of the records.
pub struct Part {
    stream: Stream,
    base: u64,
    objects: u64,
}

const LOG: u64 = 1 << 20;

/// Transactions by so many threads, each on a part of the records of its own.
pub fn records(place: &Place, shape: Shape, threads: u64, seed: u64) -> Outcome<Threads<Records>> {
    assert!(shape.group <= MOST, "at most {MOST} records");
    let mapping = place.mapping(LOG + shape.bytes.next_multiple_of(4096))?;
    let journal = JournalOptions::new().group_commit(shape.kind == Kind::Group).create(mapping, 0..LOG)?;
    let objects = shape.bytes / OBJECT / threads;
    let parts = (0..threads).map(|thread| Part {
        stream: Stream::new(seed + thread, objects, shape.group),
        base: LOG + thread * objects * OBJECT,
        objects: objects / shape.group * shape.group,
    });
    Ok(Threads::new(Records { journal, shape }, parts.collect()))
}

impl Records {
    #[inline(always)]
    fn change(&self, tx: &mut impl Transaction, places: &[u64], number: u64) -> pmem_tx::Result<()> {
        if self.shape.kind == Kind::Prefetched {
            places.iter().for_each(|&at| tx.prefetch(at, OBJECT));
        }
        places.iter().try_for_each(|&at| {
            if self.shape.whole {
                tx.update(at, |words: &mut Object| {
                    words.iter_mut().for_each(|word| *word = word.wrapping_add(number))
                })
            } else {
                tx.update(at, |word: &mut u64| *word = word.wrapping_add(number))
            }
        })
    }
}

impl Shared for Records {
    type Local = Part;

    fn run(&self, part: &mut Part, operations: u64) -> Outcome<()> {
        let group = self.shape.group as usize;
        let len = if self.shape.whole { OBJECT } else { 8 };
        let mut places = [0; MOST as usize];
        for _ in 0..operations {
            let number = part.stream.begin();
            for (i, place) in places[..group].iter_mut().enumerate() {
                *place = part.base + part.stream.object(i as u64) * OBJECT;
            }
            let places = &places[..group];
            match self.shape.kind {
                Kind::Undo => self.journal.write_undo(|tx| {
                    let mut ranges: [_; MOST as usize] = std::array::from_fn(|_| 0..0);
                    places.iter().zip(&mut ranges).for_each(|(&at, range)| *range = at..at + len);
                    tx.snapshot(&ranges[..group])?;
                    self.change(tx, places, number)
                })?,
                _ => self.journal.write(|tx| self.change(tx, places, number))?,
            }
        }
        Ok(())
    }

    fn counters(&self) -> Option<Counters> {
        Some(self.journal.region().counters())
    }

    fn verify(self, parts: Vec<Part>) -> Outcome<()> {
        let tx = self.journal.begin_undo()?;
        for part in parts {
            let mut failure = None;
            part.stream.verify(Update::ReadModifyWrite, |object| {
                debug_assert!(object < part.objects);
                let found: pmem_tx::Result<Object> = tx.get(part.base + object * OBJECT);
                let words = found.unwrap_or_else(|error| {
                    failure = Some(error);
                    [0; 8]
                });
                if self.shape.whole { words } else { [words[0]; 8] }
            });
            failure.map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}
