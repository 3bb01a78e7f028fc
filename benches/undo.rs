//! Undo transactions beside redo ones: small updates, and large ones in place.

use crate::{
    place,
    rounds::{Row, Work},
    stream::{OBJECT, Object, Stream, Update, WorkingSet},
};
use pmem_map::Counters;
use pmem_tx::{Journal, Result, Transaction};

/// The kind of a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Changes go to DRAM, then to the log, then to their place.
    Redo,
    /// Old bytes go to the log, then changes to their place.
    Undo,
}

/// Undo transactions on `group` objects of 64 bytes each, which are logged together.
pub fn small(what: &str, set: WorkingSet, group: u64) -> Row {
    Row::new(what, set, move || {
        Box::new(Small {
            journal: journal(set.bytes, SMALL_LOG),
            stream: Stream::new(7, set.bytes / OBJECT, group),
            group,
        })
    })
}

/// Transactions that overwrite a block of `len` bytes, which is one of those that make up the working set.
pub fn large(kind: Kind, len: u64, set: WorkingSet) -> Row {
    let name = if kind == Kind::Redo { "redo" } else { "undo" };
    Row::new(&format!("{name}: one block of {} KiB", len >> 10), set, move || {
        let stream = Stream::new(7, set.bytes / len, 1);
        let content = vec![0; len as usize / 8];
        Box::new(Large { journal: journal(set.bytes, LARGE_LOG), stream, kind, content })
    })
}

const SMALL_LOG: u64 = 256 << 10;
/// A block of a mebibyte fits in a third of it.
const LARGE_LOG: u64 = 4 << 20;

fn journal(bytes: u64, log: u64) -> Journal {
    let mapping = place::mapping(log + bytes.next_multiple_of(4096)).expect("a mapping for the journal");
    Journal::create(mapping, 0..log).expect("a journal")
}

struct Small {
    journal: Journal,
    stream: Stream,
    group: u64,
}

impl Small {
    fn operation(tx: &mut impl Transaction, objects: &[u64], number: u64) -> Result<()> {
        let ranges: [_; 8] = std::array::from_fn(|i| objects.get(i).map_or(0..0, |at| *at..at + OBJECT));
        tx.snapshot(&ranges[..objects.len()])?;
        objects.iter().try_for_each(|&at| {
            tx.update(at, |words: &mut Object| {
                words.iter_mut().for_each(|word| *word = word.wrapping_add(number))
            })
        })
    }
}

impl Work for Small {
    fn run(&mut self, operations: u64) {
        let base = self.journal.log_area().end;
        for _ in 0..operations {
            let number = self.stream.begin();
            let mut objects = [0; 8];
            (0..self.group).for_each(|i| objects[i as usize] = base + self.stream.object(i) * OBJECT);
            let objects = &objects[..self.group as usize];
            self.journal.write_undo(|tx| Small::operation(tx, objects, number)).expect("a transaction");
        }
    }

    fn counters(&self) -> Counters {
        self.journal.region().counters()
    }

    fn verify(self: Box<Self>) {
        let (base, tx) = (self.journal.log_area().end, self.journal.begin_undo().expect("a transaction"));
        self.stream
            .verify(Update::ReadModifyWrite, |object| tx.get(base + object * OBJECT).expect("an object"));
    }
}

struct Large {
    journal: Journal,
    stream: Stream,
    kind: Kind,
    content: Vec<u64>,
}

impl Work for Large {
    fn run(&mut self, operations: u64) {
        let base = self.journal.log_area().end;
        for _ in 0..operations {
            let number = self.stream.begin();
            self.content.fill(number);
            let bytes: &[u8] = bytemuck::cast_slice(&self.content);
            let at = base + self.stream.object(0) * bytes.len() as u64;
            match self.kind {
                Kind::Redo => self.journal.write(|tx| tx.write_bytes(at, bytes)),
                Kind::Undo => self.journal.write_undo(|tx| tx.write_bytes(at, bytes)),
            }
            .expect("a transaction");
        }
    }

    fn counters(&self) -> Counters {
        self.journal.region().counters()
    }

    fn verify(self: Box<Self>) {
        let (base, tx) = (self.journal.log_area().end, self.journal.begin_undo().expect("a transaction"));
        let len = self.content.len() as u64 * 8;
        self.stream
            .verify(Update::Blind, |block| tx.get(base + block * len + len - OBJECT).expect("a block"));
    }
}
