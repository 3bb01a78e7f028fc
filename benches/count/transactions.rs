//! Redo and undo transactions on random objects of 64 bytes.

use crate::operations::{Operation, Work, memory, repeat};
use benches::stream::{OBJECT, Object, Stream, Update};
use pmem_tx::{Journal, Result, Transaction};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "redo: one 64 B update", start: || redo(1) },
    Operation { name: "redo: eight 64 B updates", start: || redo(8) },
    Operation { name: "undo: one 64 B update", start: || undo(1) },
    Operation { name: "undo: eight 64 B updates", start: || undo(8) },
];

const LOG: u64 = 256 << 10;
const OBJECTS: u64 = 4096;

/// A journal, and which objects change.
fn journal(group: u64) -> (Journal, Stream) {
    let journal = Journal::create(memory(LOG + OBJECTS * OBJECT), 0..LOG).expect("a journal");
    (journal, Stream::new(3, OBJECTS, group))
}

fn place(object: u64) -> u64 {
    LOG + object * OBJECT
}

fn add(tx: &mut impl Transaction, at: u64, number: u64) -> Result<()> {
    tx.update(at, |words: &mut Object| words.iter_mut().for_each(|word| *word = word.wrapping_add(number)))
}

fn verify((journal, stream): (Journal, Stream), _: u64) {
    let tx = journal.begin().expect("a transaction");
    stream.verify(Update::ReadModifyWrite, |object| *tx.read(place(object)).expect("an object"));
}

fn redo(group: u64) -> Box<dyn Work> {
    let step = move |(journal, stream): &mut (Journal, Stream), _| {
        let number = stream.begin();
        let change = |i| Ok::<_, pmem_tx::Error>(place(stream.object(i)));
        let mut places = (0..group).map(change);
        journal.write(|tx| places.try_for_each(|at| add(tx, at?, number))).expect("a commit");
    };
    repeat(journal(group), step, verify)
}

fn undo(group: u64) -> Box<dyn Work> {
    let step = move |(journal, stream): &mut (Journal, Stream), _| {
        let number = stream.begin();
        let mut ranges: [_; 8] = std::array::from_fn(|_| 0..0);
        for i in 0..group {
            let at = place(stream.object(i));
            ranges[i as usize] = at..at + OBJECT;
        }
        let ranges = &ranges[..group as usize];
        let body = |tx: &mut pmem_tx::UndoTx<'_>| {
            tx.snapshot(ranges)?;
            ranges.iter().try_for_each(|range| add(tx, range.start, number))
        };
        journal.write_undo(body).expect("a commit");
    };
    repeat(journal(group), step, verify)
}
