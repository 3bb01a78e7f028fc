//! The rows of [`raw`](crate::raw), each with its bare cost.

use crate::{
    raw::Raw,
    rounds::{Row, Work},
    stream::{OBJECT, Stream, Update, WorkingSet},
};
use pmem_map::Counters;
use std::sync::Mutex;

/// A hand-written baseline, and the bare cost of its stores and drains.
pub struct Baseline {
    /// The baseline.
    pub row: Row,
    /// The same loads, stores, flushes and drains, with nothing to compute.
    pub bare: Row,
}

/// An update past which nothing of the kind can be made atomic: data, drain, flag, drain.
pub const TWO_DRAINS: &str = "raw: two drains, blind";
/// The same, reading what it changes.
pub const TWO_DRAINS_UPDATE: &str = "raw: two drains, update";
/// The same, under a lock.
pub const TWO_DRAINS_LOCKED: &str = "raw: two drains, update, in a mutex";
/// Eight objects, drained one by one, and a flag.
pub const NINE_DRAINS: &str = "raw: nine drains, blind";
/// The same, reading what it changes.
pub const NINE_DRAINS_UPDATE: &str = "raw: nine drains, update";
/// Objects that carry sequence and checksum, reading what it changes.
pub const SLOT_UPDATE: &str = "raw: slot, update";
/// One word that is atomic by itself, reading what it changes.
pub const WORD_UPDATE: &str = "raw: one word, update";

/// What an operation is, apart from its code.
#[derive(Clone, Copy)]
struct Shape {
    lines: u64,
    drains: u64,
    /// Bytes of an object, and how many an operation updates.
    object: u64,
    group: u64,
    nontemporal: bool,
}

/// All baselines over one working set.
pub fn all(set: WorkingSet) -> Vec<Baseline> {
    use Update::{Blind, ReadModifyWrite};
    let one = Shape { lines: 2, drains: 2, object: OBJECT, group: 1, nontemporal: false };
    let slot = Shape { lines: 2, drains: 1, object: Raw::SLOT, group: 1, nontemporal: false };
    let nine = Shape { lines: 9, drains: 9, object: OBJECT, group: 8, nontemporal: false };
    let two = Shape { drains: 2, ..nine };
    let word = Shape { lines: 1, drains: 1, ..one };
    let past = |shape| Shape { nontemporal: true, ..shape };
    let (blind, update) = (Blind, ReadModifyWrite);

    let two_drains = |name, update| {
        baseline(
            (name, set, one, update),
            move |raw, stream, value| raw.two_drains(stream.object(0), value, update),
            move |raw, stream, _| raw.bare_two_drains(stream.object(0), update),
        )
    };
    let two_drains_nontemporal = |name, update| {
        baseline(
            (name, set, past(one), update),
            move |raw, stream, value| raw.two_drains_nontemporal(stream.object(0), value, update),
            move |raw, stream, _| raw.bare_two_drains_nontemporal(stream.object(0), update),
        )
    };
    let slot_flushed = |name, update| {
        baseline(
            (name, set, slot, update),
            move |raw, stream, value| raw.slot(stream.object(0), value, update),
            move |raw, stream, value| raw.bare_slot(stream.object(0), value, update),
        )
    };
    let slot_nontemporal = |name, update| {
        baseline(
            (name, set, past(slot), update),
            move |raw, stream, value| raw.slot_nontemporal(stream.object(0), value, update),
            move |raw, stream, value| raw.bare_slot_nontemporal(stream.object(0), value, update),
        )
    };
    let nine_drains = |name, update| {
        baseline(
            (name, set, nine, update),
            move |raw, stream, value| raw.nine_drains(eight(stream), value, update),
            move |raw, stream, _| raw.bare_nine_drains(eight(stream), update),
        )
    };
    // What a transaction has, and the other baselines have not: others are kept out.
    static LOCK: Mutex<()> = Mutex::new(());
    let locked = baseline(
        (TWO_DRAINS_LOCKED, set, one, update),
        move |raw, stream, value| {
            let _guard = LOCK.lock();
            raw.two_drains(stream.object(0), value, update);
        },
        move |raw, stream, _| {
            let _guard = LOCK.lock();
            raw.bare_two_drains(stream.object(0), update);
        },
    );
    vec![
        two_drains(TWO_DRAINS, blind),
        two_drains(TWO_DRAINS_UPDATE, update),
        locked,
        two_drains_nontemporal("raw: two drains, past the caches, blind", blind),
        two_drains_nontemporal("raw: two drains, past the caches, update", update),
        slot_flushed("raw: slot, blind", blind),
        slot_flushed(SLOT_UPDATE, update),
        slot_nontemporal("raw: slot, past the caches, blind", blind),
        slot_nontemporal("raw: slot, past the caches, update", update),
        nine_drains(NINE_DRAINS, blind),
        nine_drains(NINE_DRAINS_UPDATE, update),
        baseline(
            ("raw: eight objects, two drains, update", set, two, update),
            move |raw, stream, value| raw.eight_then_flag(eight(stream), value, update),
            move |raw, stream, _| raw.bare_eight_then_flag(eight(stream), update),
        ),
        baseline(
            (WORD_UPDATE, set, word, update),
            move |raw, stream, value| raw.word(stream.object(0), value, update),
            move |raw, stream, _| raw.bare_word(stream.object(0), update),
        ),
    ]
}

/// The baseline of that name over one working set.
///
/// # Panics
///
/// There is none.
pub fn named(name: &str, set: WorkingSet) -> Row {
    let baseline = all(set).into_iter().find(|baseline| baseline.row.what == name);
    baseline.unwrap_or_else(|| panic!("no baseline is called {name:?}")).row
}

/// Most objects of a group.
pub const MOST: u64 = 64;

/// Updates of `group` objects, at most [`MOST`], without any ordering.
pub fn unordered(set: WorkingSet, group: u64) -> Row {
    let shape = Shape { lines: 0, drains: 0, object: OBJECT, group, nontemporal: false };
    let name = format!("raw: unordered, {group}");
    baseline(
        (&name, set, shape, Update::ReadModifyWrite),
        move |raw, stream, value| {
            raw.unordered(&some(stream, group)[..group as usize], value, Update::ReadModifyWrite)
        },
        |_, _, _| {},
    )
    .row
}

/// Updates of `group` objects, at most [`MOST`], drained together; then a flag.
pub fn many(set: WorkingSet, group: u64) -> Row {
    let shape = Shape { lines: group + 1, drains: 2, object: OBJECT, group, nontemporal: false };
    let name = format!("raw: {group} objects, two drains");
    baseline(
        (&name, set, shape, Update::ReadModifyWrite),
        move |raw, stream, value| {
            raw.many_then_flag(&some(stream, group)[..group as usize], value, Update::ReadModifyWrite)
        },
        |_, _, _| {},
    )
    .row
}

#[inline(always)]
fn some(stream: &mut Stream, group: u64) -> [u64; MOST as usize] {
    let mut objects = [0; MOST as usize];
    (0..group).for_each(|i| objects[i as usize] = stream.object(i));
    objects
}

/// The bare cost of a redo transaction on one object, and of one on eight: see [`Raw::bare_redo`].
pub fn bare_redo(set: WorkingSet, objects: u64) -> Row {
    let shape = Shape { lines: 3, drains: 1, object: OBJECT, group: 1, nontemporal: false };
    let eight_objects = Shape { lines: 18, group: 8, ..shape };
    match objects {
        1 => bare_row(BARE_REDO, set, shape, |raw, stream, _| raw.bare_redo([stream.object(0)], 2)),
        8 => bare_row(BARE_REDO_EIGHT, set, eight_objects, |raw, stream, _| raw.bare_redo(eight(stream), 10)),
        _ => unreachable!("one or eight"),
    }
}

const BARE_REDO: &str = "bare redo: one object";
const BARE_REDO_EIGHT: &str = "bare redo: eight objects";

#[inline(always)]
fn eight(stream: &mut Stream) -> [u64; 8] {
    std::array::from_fn(|i| stream.object(i as u64))
}

fn baseline(
    (name, set, shape, update): (&str, WorkingSet, Shape, Update),
    step: impl Fn(&mut Raw, &mut Stream, u64) + Copy + 'static,
    bare: impl Fn(&mut Raw, &mut Stream, u64) + Copy + 'static,
) -> Baseline {
    let row = Row::new(name, set, move || {
        let (raw, stream) = place(set, shape);
        Box::new(RawWork { raw, stream, shape, update: Some(update), step })
    });
    Baseline { row, bare: bare_row(&format!("bare {name}"), set, shape, bare) }
}

fn bare_row(
    name: &str,
    set: WorkingSet,
    shape: Shape,
    step: impl Fn(&mut Raw, &mut Stream, u64) + Copy + 'static,
) -> Row {
    Row::new(name, set, move || {
        let (raw, stream) = place(set, shape);
        Box::new(RawWork { raw, stream, shape, update: None, step })
    })
}

fn place(set: WorkingSet, shape: Shape) -> (Raw, Stream) {
    let raw = Raw::new(set.bytes).expect("a mapping for the baselines");
    (raw, Stream::new(set.bytes, set.bytes / shape.object, shape.group))
}

struct RawWork<F> {
    raw: Raw,
    stream: Stream,
    shape: Shape,
    /// `None` for bare stores, which leave nothing to verify.
    update: Option<Update>,
    step: F,
}

impl<F: Fn(&mut Raw, &mut Stream, u64)> Work for RawWork<F> {
    fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            let number = self.stream.begin();
            (self.step)(&mut self.raw, &mut self.stream, number);
        }
    }

    /// By construction: there is nothing in a baseline that counts.
    fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        let lines = self.shape.lines * self.stream.operations();
        match self.shape.nontemporal {
            true => {
                (counters.lines_nontemporal, counters.bytes_nontemporal) = (lines, lines * pmem_map::LINE)
            }
            false => counters.lines_flushed = lines,
        }
        counters.drains = self.shape.drains * self.stream.operations();
        counters
    }

    fn verify(mut self: Box<Self>) {
        let Some(update) = self.update else { return };
        let (raw, shape) = (&mut self.raw, self.shape);
        self.stream.verify(update, |object| match (shape.object, shape.lines) {
            (Raw::SLOT, _) => raw.read_slot(object),
            (_, 1) => [raw.read(object)[0]; 8],
            _ => raw.read(object),
        });
    }
}
