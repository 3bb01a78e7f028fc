//! Workloads of undo transactions, of both kinds in turn, of stores without a record, and of large records.

use super::{
    DATA,
    Op::{self, *},
    State, space,
};
use pmem_tx::{Error, Journal, Transaction};

/// This word says which of two buffers counts.
const PUBLISHED: u64 = 300;
/// The buffers' first words, and how many words each has.
const BUFFERS: [u64; 2] = [320, 352];
const BUFFER: u64 = 12;

/// The word and value that make `buffer` the one that counts.
pub(crate) fn published(buffer: u64, value: u64) -> (u64, u64) {
    (PUBLISHED, value * 2 + buffer)
}

/// The words of a buffer that is full of `value`.
pub(crate) fn filled(buffer: u64, value: u64) -> Vec<(u64, u64)> {
    (0..BUFFER).map(|i| (BUFFERS[buffer as usize] + i, value + i)).collect()
}

/// What of a state has to be right: not the buffer to which nothing refers, and not what is lent to the log.
pub(crate) fn judged(mut state: State) -> State {
    let other = BUFFERS[1 - (state[PUBLISHED as usize] % 2) as usize] as usize;
    state[other..other + BUFFER as usize].fill(0);
    state[space::LENT as usize..].fill(0);
    state
}

fn at(word: u64) -> u64 {
    DATA + word * 8
}

pub(crate) fn write(tx: &mut impl Transaction, base: u64, words: &[(u64, u64)]) -> Result<(), Error> {
    words.iter().try_for_each(|(word, value)| tx.write(base + word * 8, value))
}

pub(crate) fn read_words(tx: &impl Transaction, range: std::ops::Range<u64>) -> Result<Vec<u64>, Error> {
    range.step_by(8).map(|at| tx.word(at)).collect()
}

pub(crate) fn perform(journal: &Journal, op: &Op) -> Result<(), Error> {
    match op {
        Undo(words) => journal.write_undo(|tx| {
            let ranges: Vec<_> = words.iter().map(|(word, _)| at(*word)..at(*word) + 8).collect();
            tx.snapshot(&ranges)?;
            write(tx, DATA, words)
        }),
        UndoEach(words) => journal.write_undo(|tx| write(tx, DATA, words)),
        UndoAbort(words) => {
            let mut tx = journal.begin_undo()?;
            write(&mut tx, DATA, words)?;
            tx.abort();
            Ok(())
        }
        UndoPart([first, second, third]) => journal.write_undo(|tx| {
            write(tx, DATA, first)?;
            let savepoint = tx.savepoint();
            write(tx, DATA, second)?;
            tx.rollback_to(&savepoint)?;
            write(tx, DATA, third)
        }),
        UndoFresh(buffer, value) | UndoFreshOnly(buffer, value) => journal.write_undo(|tx| {
            let words = filled(*buffer, *value);
            tx.declare_fresh(at(words[0].0)..at(words[0].0 + BUFFER))?;
            write(tx, DATA, &words)?;
            match op {
                UndoFresh(..) => write(tx, DATA, &[published(*buffer, *value)]),
                _ => Ok(()),
            }
        }),
        Line(word, values) => journal.atomic_line(at(*word), bytemuck::cast_slice(values)),
        other => unreachable!("{other:?}"),
    }
}

fn words(range: std::ops::Range<u64>, value: u64) -> Vec<(u64, u64)> {
    range.map(|word| (word, value + word)).collect()
}

/// Commits: ranges logged together and one by one, the same places again, several lines.
pub(crate) fn commits() -> Vec<Op> {
    vec![
        Undo(vec![(0, 1), (64, 1)]),
        UndoEach(vec![(1, 2), (64, 2), (200, 2)]),
        Undo(words(4..20, 300)),
        UndoEach(vec![(0, 4), (5, 4)]),
        Undo(vec![(64, 5)]),
    ]
}

/// Aborts between commits, of the same places.
pub(crate) fn aborts() -> Vec<Op> {
    vec![
        Undo(vec![(0, 1), (8, 1)]),
        UndoAbort(vec![(0, 91), (64, 91)]),
        UndoAbort(vec![(64, 92), (8, 92), (0, 92)]),
        UndoEach(vec![(8, 2), (64, 2)]),
        UndoAbort(vec![(0, 93)]),
        Line(0, vec![3]),
        Set(vec![(0, 4), (64, 4)]),
    ]
}

/// Both kinds in turn, over the same words.
pub(crate) fn mixed() -> Vec<Op> {
    vec![
        Set(vec![(0, 1), (8, 1)]),
        Undo(vec![(0, 2), (16, 2)]),
        Set(vec![(0, 3), (16, 3)]),
        UndoEach(vec![(8, 4), (0, 4)]),
        UndoAbort(vec![(8, 95), (16, 95)]),
        Set(vec![(8, 5)]),
        Undo(vec![(8, 6)]),
        Set(vec![(16, 7)]),
    ]
}

/// One redo transaction after the other, then undo over what they changed: their lines are not drained yet.
pub(crate) fn redo_then_undo() -> Vec<Op> {
    vec![
        Set(vec![(0, 1), (8, 1)]),
        Set(vec![(8, 2), (16, 2)]),
        UndoEach(vec![(8, 3), (24, 3), (0, 3)]),
        Set(vec![(24, 4)]),
        Undo(vec![(24, 5), (16, 5)]),
    ]
}

/// Savepoints: what is taken back was logged before them, or after, or both.
pub(crate) fn savepoints() -> Vec<Op> {
    vec![
        UndoPart([vec![(0, 1), (8, 1)], vec![(0, 91), (16, 91)], vec![(16, 2)]]),
        UndoPart([vec![(0, 3)], vec![(0, 93), (8, 93), (1, 93)], vec![]]),
        UndoPart([vec![], vec![(16, 94), (64, 94)], vec![(64, 4)]]),
        Set(vec![(0, 5), (16, 5)]),
        UndoPart([vec![(1, 6)], vec![(1, 96)], vec![(1, 7), (0, 7)]]),
    ]
}

/// Snapshots that fill the ring (15 slots), so that it wraps inside transactions, with records of the largest size.
pub(crate) fn wrapping() -> Vec<Op> {
    vec![
        Set(vec![(0, 1)]),
        Undo(words(0..150, 1000)),
        UndoEach((0..7).map(|i| (i * 16, 2000 + i)).collect()),
        Set(words(0..100, 3000)),
        Undo(words(50..200, 4000)),
        UndoAbort((0..9).map(|i| (i * 16, 9000 + i)).collect()),
        Undo(words(0..40, 5000)),
        Set(vec![(0, 6)]),
    ]
}

/// Fresh buffers, filled in place and published, after records that cover them.
pub(crate) fn fresh() -> Vec<Op> {
    vec![
        Refill(1, 10),
        Refill(0, 20),
        UndoFreshOnly(1, 30),
        Publish(1, 30),
        UndoFresh(0, 40),
        Refill(1, 50),
        UndoFresh(0, 60),
        UndoFreshOnly(1, 70),
        Set(vec![(0, 7)]),
        Publish(1, 70),
    ]
}

/// Stores without a record: to lines that records of the window cover, and to others.
pub(crate) fn lines() -> Vec<Op> {
    vec![
        Set(vec![(0, 1), (8, 1)]),
        Line(1, vec![2]),
        Set(vec![(16, 3)]),
        Line(8, vec![4]),
        Line(0, vec![4]),
        Line(24, vec![5]),
        Set(vec![(24, 6), (8, 6)]),
        Set(vec![(32, 7)]),
        Line(25, vec![8, 8, 8]),
        Line(40, vec![9]),
        Undo(vec![(40, 10), (24, 10)]),
        Line(40, vec![11]),
        Line(40, vec![12]),
        Checkpoint,
        Line(0, vec![13]),
        Set(vec![(0, 14)]),
    ]
}

/// Transactions of which the record does not fit in the ring, one after the other, over the same words; and records that
/// change memory before it is lent.
pub(crate) fn extended() -> Vec<Op> {
    vec![
        Set(words(space::LENT..space::LENT + 8, 77)),
        Set(words(0..200, 1000)),
        Set(vec![(0, 2), (100, 2)]),
        Set(words(10..190, 2000)),
        Set(words(0..190, 3000)),
        Set(words(5..200, 4000)),
        Set(vec![(0, 5)]),
        Set(vec![(190, 6)]),
    ]
}

/// Undo transactions that log more than the ring holds.
pub(crate) fn extended_undo() -> Vec<Op> {
    vec![
        Set(vec![(0, 1), (199, 1)]),
        Undo([words(0..200, 1000), words(208..288, 1000), words(400..500, 1000)].concat()),
        Set(vec![(0, 2), (100, 2)]),
        UndoAbort(vec![(0, 99), (100, 99)]),
        Undo([words(0..190, 2000), words(208..288, 2000), words(400..490, 2000)].concat()),
        Set(vec![(0, 3)]),
        Undo(vec![(0, 4)]),
    ]
}

/// More snapshots than the ring has slots: [`Error::LogFull`], unless slots are given up too early.
pub(crate) fn overfull() -> Vec<Op> {
    vec![Set(vec![(0, 1)]), UndoEach((0..20).map(|i| (i * 16, 100 + i)).collect()), Set(vec![(1, 2)])]
}

/// The same place again and again in one transaction.
pub(crate) fn repeated() -> Vec<Op> {
    vec![UndoEach(vec![(0, 1), (0, 2), (0, 3)]), UndoEach(vec![(0, 4), (0, 5)]), Set(vec![(0, 6)])]
}

/// A large record in memory that the record before it changed.
pub(crate) fn covered() -> Vec<Op> {
    vec![Set(words(space::LENT..space::LENT + 8, 77)), Set(words(0..200, 1000))]
}

/// Undo, stores without a record and large records, each with commits before it that are not durable.
pub(crate) fn on_the_way() -> Vec<Op> {
    vec![
        Eventual(vec![(0, 1), (8, 1)]),
        Eventual(vec![(16, 2)]),
        Undo(vec![(0, 3), (16, 3)]),
        Eventual(vec![(0, 4)]),
        Line(8, vec![5]),
        Line(64, vec![5]),
        EventualOnThread(vec![(8, 6), (64, 6)]),
        Sync,
        Line(64, vec![7]),
        Set(vec![(0, 8)]),
        Line(64, vec![9]),
        Eventual(vec![(100, 10)]),
        Eventual(words(0..200, 1000)),
        Eventual(vec![(1, 11)]),
        UndoAbort(vec![(1, 91), (2, 91)]),
        Eventual(vec![(2, 12)]),
    ]
}
