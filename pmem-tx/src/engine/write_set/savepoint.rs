//! Going back inside a transaction.
//!
//! A savepoint is a number of shadows and a place in a list of undo entries. Shadows that came after it are dropped by
//! a rollback. Of one that was there before, the content is copied aside when it is changed for the first time since
//! the newest savepoint; a rollback puts such copies back, the last one first. So a write set without savepoints does
//! nothing but ask whether there is one, and a savepoint costs nothing for blocks that are not changed after it.
//!
//! # Why this is sound
//!
//! Addresses of shadows are given out, and references made of them live on outside. `savepoint` and `rollback_to` take
//! `&mut self`, by which their callers prove that none is alive (`&mut Tx`, `&mut WriteTx`). Hence:
//!
//! - A rollback may store to buffers, forget those of newer shadows, and give their memory out again.
//! - A `&mut` into a buffer that is alive came from a `write` after the newest savepoint, and that `write` has
//!   copied the buffer aside already, or its shadow is newer than the savepoint. So the copy is made while nobody can
//!   change the buffer, and it holds what the block was at the savepoint.
//! - References that are alive while the copy is made are shared ones, and the copy only reads.
//!
//! Lines that a reader had [filled](WriteSet::fill) need no undo: they hold what the mapping holds.

use super::{NARROW, Shadow, WriteSet, has, hash};
use crate::engine::arena;
use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A state of a write set to come back to: [`WriteSet::savepoint`].
///
/// Numbers only: it keeps nothing alive, and one that has become void is refused.
#[derive(Debug)]
pub struct Mark {
    set: u64,
    serial: u64,
}

/// The mark is of another write set, or was given before it was cleared, or came after a state that it went back to,
/// or was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignMark;

/// What a write set knows about its marks.
pub(super) struct Savepoints {
    /// Which write set: no other of this process has the number.
    set: u64,
    /// Of the newest mark ever given; never goes back, so that no two marks of a write set are equal.
    serial: u64,
    /// Marks that can be gone back to, the oldest first.
    marks: Vec<Saved>,
    /// What to put back, the newest last.
    undo: Vec<Undo>,
    /// For each shadow that the newest mark found: the newest serial when it was last copied aside.
    copied_at: Vec<u64>,
}

/// What a mark stands for.
#[derive(Clone, Copy)]
struct Saved {
    serial: u64,
    shadows: usize,
    wide: usize,
    undo: usize,
    arena: arena::Place,
    filter: u64,
    fresh_bytes: u64,
}

/// A shadow as it was.
struct Undo {
    index: usize,
    shadow: Shadow,
    /// Its bits, if it has more than 64 lines: as in [`WriteSet::wide`].
    wide: Option<Box<[u64]>>,
    /// Its meaningful lines, one after the other.
    content: Box<[u8]>,
    /// `copied_at` before.
    copied_at: u64,
}

impl Savepoints {
    pub(super) fn new() -> Savepoints {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let set = NEXT.fetch_add(1, Relaxed);
        Savepoints { set, serial: 0, marks: Vec::new(), undo: Vec::new(), copied_at: Vec::new() }
    }

    /// Whether there is nothing to go back to.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.marks.clear();
        self.undo.clear();
        self.copied_at.clear();
    }

    fn find(&self, mark: &Mark) -> Result<usize, ForeignMark> {
        if mark.set != self.set {
            return Err(ForeignMark);
        }
        self.marks.binary_search_by_key(&mark.serial, |saved| saved.serial).map_err(|_| ForeignMark)
    }
}

impl WriteSet {
    /// Remembers this state. References into shadows must be gone: `&mut self` is how users prove it.
    ///
    /// From now on the first change of a block that has a shadow copies what the shadow holds.
    pub fn savepoint(&mut self) -> Mark {
        self.savepoints.serial += 1;
        let serial = self.savepoints.serial;
        self.savepoints.copied_at.resize(self.shadows.len(), 0);
        self.savepoints.marks.push(Saved {
            serial,
            shadows: self.shadows.len(),
            wide: self.wide.len(),
            undo: self.savepoints.undo.len(),
            arena: self.arena.place(),
            filter: self.filter,
            fresh_bytes: self.fresh_bytes,
        });
        Mark { set: self.savepoints.set, serial }
    }

    /// Goes back to the state at `mark`, which can be gone back to again; later marks are void. References into
    /// shadows must be gone: `&mut self` is how users prove it.
    ///
    /// # Errors
    ///
    /// [`ForeignMark`]: nothing was changed.
    pub fn rollback_to(&mut self, mark: &Mark) -> Result<(), ForeignMark> {
        let place = self.savepoints.find(mark)?;
        self.savepoints.marks.truncate(place + 1);
        let saved = self.savepoints.marks[place];
        while self.savepoints.undo.len() > saved.undo {
            let undo = self.savepoints.undo.pop().expect("there is one");
            if undo.index < saved.shadows {
                self.put_back(undo);
            }
        }
        for index in (saved.shadows..self.shadows.len()).rev() {
            self.leave(index);
        }
        self.shadows.truncate(saved.shadows);
        self.wide.truncate(saved.wide);
        self.savepoints.copied_at.truncate(saved.shadows);
        self.arena.rewind(saved.arena);
        self.filter = saved.filter;
        self.fresh_bytes = saved.fresh_bytes;
        Ok(())
    }

    /// Gives up `mark` and later ones, and keeps what changed since; copies that no earlier mark needs are dropped.
    /// Does nothing if the mark is void.
    pub fn release(&mut self, mark: &Mark) {
        let Ok(place) = self.savepoints.find(mark) else { return };
        let Savepoints { marks, undo, copied_at, .. } = &mut self.savepoints;
        let from = marks[place].undo;
        marks.truncate(place);
        let Some(outer) = marks.last() else {
            undo.clear();
            copied_at.clear();
            return;
        };
        let mut later = undo.split_off(from);
        // A shadow newer than `outer` will be dropped whole; of one that was copied since, there is an older copy.
        later.retain(|undo| undo.index < outer.shadows && undo.copied_at < outer.serial);
        undo.append(&mut later);
    }

    /// Copies a shadow aside, if it was there at the newest mark and was not copied since. The caller is about to
    /// change it, for its owner: so no `&mut` into it is alive (see above).
    #[cold]
    #[inline(never)]
    pub(super) fn copy_aside(&mut self, index: usize) {
        let Some(newest) = self.savepoints.marks.last() else { return };
        if index >= newest.shadows || self.savepoints.copied_at[index] >= newest.serial {
            return;
        }
        let shadow = self.shadows[index];
        let wide = (shadow.wide != NARROW)
            .then(|| Box::from(&self.wide[shadow.wide_valid().start..shadow.wide_marked().end]));
        let mut content = Vec::new();
        shadow.each_meaningful_line(wide.as_deref(), |address, len| {
            // SAFETY: `len` bytes of the buffer, initialised because the line is valid or the block fresh; nobody
            // changes them now.
            content.extend_from_slice(unsafe { std::slice::from_raw_parts(address.as_ptr(), len) });
        });
        let copied_at = std::mem::replace(&mut self.savepoints.copied_at[index], newest.serial);
        self.savepoints.undo.push(Undo { index, shadow, wide, content: content.into(), copied_at });
    }

    /// Makes a shadow what it was.
    fn put_back(&mut self, undo: Undo) {
        let Undo { index, shadow, wide, content, copied_at } = undo;
        let mut rest = &content[..];
        shadow.each_meaningful_line(wide.as_deref(), |address, len| {
            let (line, later) = rest.split_at(len);
            rest = later;
            // SAFETY: `len` bytes of the buffer, which is the shadow's since it was made; no reference into it is
            // alive (the caller has `&mut self` from outside).
            unsafe { address.copy_from_nonoverlapping(NonNull::from(line).cast(), len) };
        });
        self.shadows[index] = shadow;
        if let Some(wide) = wide {
            self.wide[shadow.wide_valid().start..shadow.wide_marked().end].copy_from_slice(&wide);
        }
        self.savepoints.copied_at[index] = copied_at;
    }

    /// Takes the newest shadow out of the table. Newer ones are out: so its entry is the last one that was made, no
    /// probe has passed over it, and without it the table is what it was. (A table that has grown since was filled
    /// in the same order.)
    fn leave(&mut self, index: usize) {
        let mask = self.table.len() - 1;
        let mut at = (hash(self.shadows[index].start) >> 32) as usize & mask;
        while self.table[at] != (self.round, index as u32) {
            at = (at + 1) & mask;
        }
        self.table[at] = (0, 0);
    }
}

impl Shadow {
    /// Addresses and lengths of the parts of the buffer that mean something, in order.
    fn each_meaningful_line(&self, wide: Option<&[u64]>, mut visit: impl FnMut(NonNull<u8>, usize)) {
        let valid = match wide {
            Some(wide) => &wide[..wide.len() / 2],
            None => std::slice::from_ref(&self.valid),
        };
        for line in 0..self.line_count() {
            if self.state.is_whole() || has(valid, line) {
                let part = self.line_range(line);
                visit(self.address(part.start), (part.end - part.start) as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Conflict, record::Builder, write_set::State};
    use pmem_map::{Mapping, Region};
    use std::{ops::Range, sync::Arc};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Write { block: usize, at: u64, len: u64, fill: u8 },
        Fresh { block: usize },
        Discard { block: usize },
        Word { at: u64, value: u64 },
        Fill { block: usize, at: u64, len: u64 },
    }

    /// A line of metadata words, then blocks of 8 bytes to 160 lines, and many small ones to make the table grow.
    fn blocks() -> Vec<Range<u64>> {
        let lens = [8u64, 24, 64, 200, 512, 4096, 10_240].into_iter().cycle().take(21);
        let mut next = 4096;
        lens.chain(std::iter::repeat_n(64, 200))
            .map(|len| {
                let start = next;
                next += len;
                start..next
            })
            .collect()
    }

    fn region() -> Arc<Region> {
        let mut mapping = Mapping::anonymous(1 << 18).unwrap();
        let bytes: Vec<u8> = (0..1 << 18).map(|i: u32| (i % 251) as u8).collect();
        mapping.write(0, &bytes).unwrap();
        Arc::new(mapping.into_region())
    }

    fn take(set: &mut WriteSet, blocks: &[Range<u64>], step: Step) -> Result<(), Conflict> {
        let owner = |block: usize| 1 + block as u32 % 3;
        match step {
            Step::Write { block, at, len, fill } => {
                let to = set.write(blocks[block].clone(), blocks[block].start + at, len, owner(block))?;
                // SAFETY: `len` bytes, to which there is no reference.
                unsafe { to.write_bytes(fill, len as usize) };
            }
            Step::Fresh { block } => set.fresh(blocks[block].clone(), owner(block))?,
            Step::Discard { block } => set.discard(blocks[block].clone(), owner(block))?,
            Step::Word { at, value } => set.set_word(at, value),
            Step::Fill { block, at, len } => {
                if set.is_fresh(blocks[block].start).is_some() {
                    set.fill(blocks[block].clone(), blocks[block].start + at, len, owner(block))?;
                }
            }
        }
        Ok(())
    }

    fn random_step(rng: &mut fastrand::Rng, blocks: &[Range<u64>]) -> Step {
        let block = if rng.bool() { rng.usize(0..21) } else { rng.usize(0..blocks.len()) };
        let size = blocks[block].end - blocks[block].start;
        let at = rng.u64(0..size);
        let len = rng.u64(1..=(size - at).min(300));
        match rng.u32(0..20) {
            0..10 => Step::Write { block, at, len, fill: rng.u8(..) },
            10..13 => Step::Fresh { block },
            13..15 => Step::Discard { block },
            15..18 => Step::Word { at: rng.u64(0..64) * 8, value: rng.u64(..) },
            _ => Step::Fill { block, at, len },
        }
    }

    /// Everything that can be seen of a write set: what it would log, in order, and what a reader finds.
    fn visible(set: &mut WriteSet, blocks: &[Range<u64>]) -> String {
        let mut record = Builder::new();
        record.clear();
        set.encode(&mut record, false);
        let mut seen =
            format!("{:?} {} {}", record.entries().collect::<Vec<_>>(), set.fresh_bytes(), set.is_empty());
        for (i, block) in blocks.iter().enumerate() {
            let (fresh, len) = (set.is_fresh(block.start), block.end - block.start);
            let known = set.is_fresh(block.start).is_some();
            let address = known.then(|| set.fill(block.clone(), block.start, len, 1 + i as u32 % 3).unwrap());
            // SAFETY: `len` bytes, which nobody changes meanwhile.
            let bytes = address.map(|a| unsafe { std::slice::from_raw_parts(a.as_ptr(), len as usize) });
            // A block that was allocated and freed has no content.
            let bytes =
                bytes.filter(|_| set.shadows[set.find(block.start).unwrap()].state != State::Discarded);
            seen += &format!("{fresh:?} {bytes:?}\n");
        }
        (0..64).for_each(|word| seen += &format!("{} ", set.word(word * 8)));
        seen
    }

    #[test]
    fn what_is_rolled_back_leaves_no_trace_in_what_is_read_or_logged() {
        let (region, blocks) = (region(), blocks());
        for seed in 0..if cfg!(miri) { 2 } else { 150 } {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut set = WriteSet::new(region.clone());
            for _ in 0..3 {
                let mut steps: Vec<Step> = Vec::new();
                let mut marks: Vec<(Mark, usize)> = Vec::new();
                let mut void: Vec<Mark> = Vec::new();
                for _ in 0..rng.u32(1..120) {
                    match rng.u32(0..12) {
                        0 => marks.push((set.savepoint(), steps.len())),
                        1 if !marks.is_empty() => {
                            let to = rng.usize(0..marks.len());
                            set.rollback_to(&marks[to].0).unwrap();
                            steps.truncate(marks[to].1);
                            void.extend(marks.drain(to + 1..).map(|(mark, _)| mark));
                        }
                        2 if !marks.is_empty() => {
                            let from = rng.usize(0..marks.len());
                            set.release(&marks[from].0);
                            void.extend(marks.drain(from..).map(|(mark, _)| mark));
                        }
                        3 if !void.is_empty() => {
                            let mark = &void[rng.usize(0..void.len())];
                            assert_eq!(set.rollback_to(mark), Err(ForeignMark));
                            set.release(mark); // does nothing
                        }
                        _ => {
                            for _ in 0..rng.u32(1..10) {
                                let step = random_step(&mut rng, &blocks);
                                if take(&mut set, &blocks, step).is_ok() {
                                    steps.push(step);
                                }
                            }
                        }
                    }
                }
                let mut plain = WriteSet::new(region.clone());
                steps.iter().for_each(|&step| take(&mut plain, &blocks, step).unwrap());
                assert_eq!(visible(&mut set, &blocks), visible(&mut plain, &blocks));
                set.clear();
                assert!(marks.iter().all(|(mark, _)| set.rollback_to(mark) == Err(ForeignMark)));
            }
        }
    }

    #[test]
    fn a_mark_of_another_write_set_is_refused() {
        let region = region();
        let (mut one, mut two) = (WriteSet::new(region.clone()), WriteSet::new(region));
        let (of_one, _of_two) = (one.savepoint(), two.savepoint());
        assert_eq!(two.rollback_to(&of_one), Err(ForeignMark));
        assert_eq!(one.rollback_to(&of_one), Ok(()));
    }

    #[test]
    fn parts_that_succeed_one_after_the_other_do_not_pile_up_copies() {
        let (region, blocks) = (region(), blocks());
        let mut set = WriteSet::new(region);
        let step = |fill| Step::Write { block: 5, at: 0, len: 8, fill };
        take(&mut set, &blocks, step(1)).unwrap();
        let outer = set.savepoint();
        for i in 0..100 {
            let inner = set.savepoint();
            take(&mut set, &blocks, step(i)).unwrap();
            set.release(&inner);
            assert_eq!(set.savepoints.undo.len(), 1, "what `outer` needs, and no more");
        }
        set.release(&outer);
        assert!(set.savepoints.is_empty() && set.savepoints.undo.is_empty());
    }

    #[test]
    fn an_address_stays_while_savepoints_come_and_go_and_its_content_comes_back() {
        let (region, blocks) = (region(), blocks());
        let mut set = WriteSet::new(region);
        let block = blocks[4].clone();
        let write = |set: &mut WriteSet, fill: u8| {
            let address = set.write(block.clone(), block.start, 512, 1).unwrap();
            // SAFETY: 512 bytes, to which there is no reference.
            unsafe { address.write_bytes(fill, 512) };
            address
        };
        let address = write(&mut set, 1);
        let mark = set.savepoint();
        for fill in 2..5 {
            assert_eq!(write(&mut set, fill), address);
            (21..221).for_each(|i| set.fresh(blocks[i].clone(), 1).unwrap());
            set.rollback_to(&mark).unwrap();
            // SAFETY: the shadow is older than the mark, so the address is good; nobody changes it now.
            assert!(unsafe { std::slice::from_raw_parts(address.as_ptr(), 512) }.iter().all(|&b| b == 1));
        }
    }
}
