//! Cells: entries on media that validate themselves, so that one drain makes an operation durable.
//!
//! A cell is `2 + n` words of a slab:
//!
//! ```text
//! word 0   seq        0: nothing is here
//! word 1   checksum   XXH3-64 of the words behind it and the seq, seeded with identity and place
//! word 2.. payload    a key's bytes, a value's bytes, each padded with zeros to whole words
//! ```
//!
//! # The protocol
//!
//! *Put*: reserve a cell that is free, store its words, flush them, **drain**; then publish the cell in a DRAM index, where
//! readers find it. So nobody reads what is not durable. Before the drain a crash leaves any mixture of old and new words,
//! of which no checksum is right: the seq is part of it, and no seq is used twice, in this life or another (its upper
//! bits are the number of the life, which is durable before the first put).
//!
//! *Overwrite*: put a new cell with a higher seq; publish it; then store 0 in the seq of the old one. That store is not
//! flushed now, for a pending flush makes the next locked instruction wait: the old cell is *superseded*, and is flushed
//! with the next drain under the same lock. A crash in between leaves both; the higher seq counts.
//!
//! *Remove*: store 0 in the seq, flush, **drain**; then take the cell out of the index. If an older cell of the same key may
//! still be valid on media, because it was superseded and not drained since, it would come back: then it is flushed and
//! drained first. Which cells those are is known: all changes of a key happen under one lock, its *stripe*'s, and the
//! stripe lists what it superseded.
//!
//! *Reuse*: a cell is free for another key when its 0 is durable, and no reader can have found it in the index: it is
//! retired through the epoch.
//!
//! *Opening* (see `recover`): all lines are flushed and **drained**, because what a killed process stored is visible and may not be
//! durable; then every cell is read; of several cells with one key the highest seq counts; all others, and
//! all that are neither empty nor valid, are stored 0. Those are flushed and **drained** before anybody may act on what
//! was found, for what is visible need not be durable.
//!
//! Drains: put 1, remove 1 (2 if the key was overwritten just before). Lines: those of the cell, and one for each cell
//! superseded before.

use super::{
    shortcut::Shortcut,
    sync::{Appended, Arc, AtomicU64, Mutex, Ordering, Site, is_weak},
};
use crate::damage::corrupt;
use crossbeam_epoch::Guard;
use pmem_alloc::{Error, Result, Slab};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Words that any thread may load and store: a slab of a pool, or a model of one.
pub(crate) trait Words: Send + Sync + 'static {
    /// Bytes.
    fn len(&self) -> u64;
    /// Where it is, for checksums: no two have the same.
    fn place(&self) -> u64;
    fn load(&self, at: u64) -> u64;
    fn store(&self, at: u64, word: u64);
    fn flush(&self, range: Range<u64>) -> Result<()>;
    fn drain(&self) -> Result<()>;
}

impl Words for Slab {
    fn len(&self) -> u64 {
        Slab::len(self)
    }
    fn place(&self) -> u64 {
        self.offset()
    }
    #[inline]
    fn load(&self, at: u64) -> u64 {
        Slab::load(self, at)
    }
    #[inline]
    fn store(&self, at: u64, word: u64) {
        Slab::store(self, at, word);
    }
    #[inline]
    fn flush(&self, range: Range<u64>) -> Result<()> {
        Slab::flush(self, range)
    }
    #[inline]
    fn drain(&self) -> Result<()> {
        Slab::drain(self)
    }
}

/// Where a cell is: the number of its slab, and its own there. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell(u64);

impl Cell {
    pub(crate) fn new(slab: usize, number: u64) -> Cell {
        debug_assert!(number < u64::from(u32::MAX));
        Cell((slab as u64) << 32 | (number + 1))
    }

    /// As a word that is not 0.
    pub(crate) fn to_word(self) -> u64 {
        self.0
    }

    /// The reverse; `None` for 0.
    pub(crate) fn from_word(word: u64) -> Option<Cell> {
        (word != 0).then_some(Cell(word))
    }

    fn slab(self) -> usize {
        (self.0 >> 32) as usize
    }

    pub(crate) fn number(self) -> u64 {
        (self.0 & 0xffff_ffff) - 1
    }
}

/// Words of a key and of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) key: usize,
    pub(crate) value: usize,
}

/// Seq and checksum.
const HEAD: usize = 2;
/// Most words of a payload: a cell is at most a page, and a slab has several.
pub(crate) const MAX_PAYLOAD: usize = 510;
/// The upper bits of a seq are the number of the life, its lower bits count.
pub(crate) const COUNTER_BITS: u32 = 40;
/// The last life. (Sixteen million openings.)
pub(crate) const MAX_LIFE: u64 = (1 << (64 - COUNTER_BITS)) - 1;
/// Lists of spare cells; a thread uses one of them.
const LISTS: usize = if cfg!(loom) { 1 } else { 16 };
/// Cells that a list takes at once.
const SPARE: usize = if cfg!(loom) { 1 } else { 16 };

impl Shape {
    fn payload(self) -> usize {
        self.key + self.value
    }

    /// Bytes of a cell.
    pub(crate) fn cell(self) -> u64 {
        ((HEAD + self.payload()) * 8) as u64
    }
}

/// What belongs to the keys of one stripe, and is changed under its lock.
#[derive(Default)]
pub(crate) struct Stripe {
    /// Their 0 was stored, and is not known to be durable.
    superseded: Vec<Cell>,
}

/// Free cells at the end of a slab, in one piece.
struct Tail {
    slab: usize,
    next: u64,
    end: u64,
}

/// Makes a slab: a transaction of the pool.
pub(crate) type Grow<W> = Box<dyn Fn() -> Result<W> + Send + Sync>;

/// All cells of one container.
pub(crate) struct Cells<W: Words> {
    shape: Shape,
    identity: u64,
    life: u64,
    next_seq: AtomicU64,
    /// Only grows. Owned by the container alone: a copy that waited for readers would keep the pool open.
    slabs: Appended<W>,
    /// Free cells near a thread. No lock of these is held while anything else is waited for.
    spare: [Mutex<Vec<Cell>>; LISTS],
    /// Free cells for anybody.
    free: Arc<Mutex<Vec<Cell>>>,
    tails: Mutex<Vec<Tail>>,
    grow: Grow<W>,
    /// Set by tests only.
    shortcut: Option<Shortcut>,
}

impl<W: Words> Cells<W> {
    /// Cells in `slabs`; none of them is free before [`give`](Cells::give) and [`give_tail`](Cells::give_tail).
    pub(crate) fn new(shape: Shape, identity: u64, life: u64, slabs: Vec<W>, grow: Grow<W>) -> Cells<W> {
        debug_assert!(life <= MAX_LIFE && shape.payload() <= MAX_PAYLOAD);
        Cells {
            shape,
            identity,
            life,
            next_seq: AtomicU64::new(life << COUNTER_BITS | 1),
            slabs: appended(slabs),
            spare: std::array::from_fn(|_| Mutex::new(Vec::new())),
            free: Arc::new(Mutex::new(Vec::new())),
            tails: Mutex::new(Vec::new()),
            grow,
            shortcut: None,
        }
    }

    /// For tests.
    pub(crate) fn with(self, shortcut: Option<Shortcut>) -> Cells<W> {
        Cells { shortcut, ..self }
    }

    #[inline]
    pub(crate) fn takes(&self, shortcut: Shortcut) -> bool {
        self.shortcut == Some(shortcut)
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// In the order of their numbers.
    pub(crate) fn slabs(&self) -> impl Iterator<Item = &W> {
        (0..self.slabs.count()).map(|slab| &self.slabs[slab])
    }

    /// Cells that fit in a slab.
    pub(crate) fn capacity(&self, slab: &W) -> u64 {
        slab.len() / self.shape.cell()
    }

    fn at(&self, cell: Cell) -> u64 {
        cell.number() * self.shape.cell()
    }

    fn checksum(&self, slab: &W, at: u64, seq: u64, payload: &[u64]) -> u64 {
        let seed =
            self.identity ^ (slab.place() + at).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seq.rotate_left(32);
        xxh3_64_with_seed(bytemuck::cast_slice(payload), seed)
    }

    /// The cell's seq, or 0 if nothing valid is there; its payload goes to `payload`. For opening and checking.
    pub(crate) fn read_checked(&self, slab: &W, number: u64, payload: &mut Vec<u64>) -> Found {
        let at = number * self.shape.cell();
        let seq = slab.load(at);
        if seq == 0 {
            return Found::Empty;
        }
        payload.clear();
        payload.extend((0..self.shape.payload()).map(|i| slab.load(at + ((HEAD + i) * 8) as u64)));
        if slab.load(at + 8) == self.checksum(slab, at, seq, payload) || self.takes(Shortcut::NoChecksum) {
            Found::Valid(seq)
        } else {
            Found::Torn
        }
    }

    /// Words `words` of the payload of a cell that the index has, or had when `guard` was pinned.
    #[inline]
    pub(crate) fn read(&self, cell: Cell, words: Range<usize>, _: &Guard, mut each: impl FnMut(usize, u64)) {
        let slab = &self.slabs[cell.slab()];
        let at = self.at(cell) + (HEAD * 8) as u64;
        let first = words.start;
        for i in words {
            each(i - first, slab.load(at + (i * 8) as u64));
        }
    }

    /// Whether the cell's key has these words.
    #[inline]
    pub(crate) fn has_key(&self, cell: Cell, key: &[u64], _: &Guard) -> bool {
        let slab = &self.slabs[cell.slab()];
        let at = self.at(cell) + (HEAD * 8) as u64;
        key.iter().enumerate().all(|(i, &word)| slab.load(at + (i * 8) as u64) == word)
    }

    /// The seq of a cell that is in the index.
    pub(crate) fn seq(&self, cell: Cell, _: &Guard) -> u64 {
        self.slabs[cell.slab()].load(self.at(cell))
    }

    /// Where a cell is in the pool, for errors.
    pub(crate) fn offset(&self, cell: Cell) -> u64 {
        self.slabs.get(cell.slab()).map_or(0, |slab| slab.place() + self.at(cell))
    }

    /// Stores 0 in a cell's seq, and flushes it: at opening.
    pub(crate) fn clear(&self, cell: Cell) -> Result<()> {
        self.slabs[cell.slab()].store(self.at(cell), 0);
        self.flush_seq(cell)
    }

    /// A number that no cell had in any life.
    fn new_seq(&self) -> Result<u64> {
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        self.check_seq(seq).map(|()| seq)
    }

    /// Whether a number is one that this life may give: a change that got another would count for less than what is there,
    /// or be given again by the next life.
    pub(crate) fn check_seq(&self, seq: u64) -> Result<()> {
        if seq >> COUNTER_BITS == self.life { Ok(()) } else { Err(exhausted()) }
    }

    /// An error if `seq`, of a cell or the head, found at `offset`, is none of an earlier life.
    pub(crate) fn check_earlier(&self, seq: u64, offset: u64) -> Result<()> {
        if seq >> COUNTER_BITS < self.life || self.takes(Shortcut::NoNewLife) {
            return Ok(());
        }
        Err(corrupt(offset, format!("a number of a life before {}", self.life), format!("{seq:#x}")))
    }

    /// The next number that [`put`](Cells::put) would use.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq.load(Ordering::Relaxed)
    }

    /// Stores an entry in a reserved cell; durable on return, and not published. One drain.
    ///
    /// # Errors
    ///
    /// A failed drain: what is durable is for the next opening to say.
    pub(crate) fn put(
        &self,
        cell: Cell,
        stripe: &mut Stripe,
        key: &[u64],
        value: &[u64],
        guard: &Guard,
    ) -> Result<()> {
        let mut payload = [0u64; 8];
        let mut long;
        let payload = match payload.get_mut(..self.shape.payload()) {
            Some(short) => short,
            None => {
                long = vec![0; self.shape.payload()];
                &mut long[..]
            }
        };
        payload[..key.len()].copy_from_slice(key);
        payload[key.len()..].copy_from_slice(value);
        let slab = self.store(cell, self.new_seq()?, payload)?;
        if self.takes(Shortcut::PutNotDrained) {
            return Ok(());
        }
        self.drain_superseded(slab, stripe, guard)
    }

    /// The same with a number of the caller's, and no stripe.
    pub(crate) fn put_as(&self, cell: Cell, seq: u64, payload: &[u64]) -> Result<()> {
        let slab = self.store(cell, seq, payload)?;
        if self.takes(Shortcut::PutNotDrained) { Ok(()) } else { slab.drain() }
    }

    /// Stores an entry and flushes it.
    fn store(&self, cell: Cell, seq: u64, payload: &[u64]) -> Result<&W> {
        let slab = &self.slabs[cell.slab()];
        let at = self.at(cell);
        for (i, &word) in payload.iter().enumerate() {
            slab.store(at + ((HEAD + i) * 8) as u64, word);
        }
        slab.store(at + 8, self.checksum(slab, at, seq, payload));
        slab.store(at, seq);
        slab.flush(at..at + self.shape.cell())?;
        Ok(slab)
    }

    /// Flushes what the stripe superseded, and drains this thread; those cells can then be had again.
    fn drain_superseded(&self, slab: &W, stripe: &mut Stripe, guard: &Guard) -> Result<()> {
        for &cell in &stripe.superseded {
            self.flush_seq(cell)?;
        }
        slab.drain()?;
        stripe.superseded.drain(..).for_each(|cell| self.retire(cell, guard));
        Ok(())
    }

    fn flush_seq(&self, cell: Cell) -> Result<()> {
        let at = self.at(cell);
        self.slabs[cell.slab()].flush(at..at + 8)
    }

    /// A newer cell of the same key is durable and published: this one counts no more.
    pub(crate) fn supersede(&self, stripe: &mut Stripe, cell: Cell) {
        if !self.takes(Shortcut::SupersededLeft) {
            self.slabs[cell.slab()].store(self.at(cell), 0);
        }
        if self.takes(Shortcut::SupersededReused) {
            return self.give_back(cell);
        }
        stripe.superseded.push(cell);
    }

    /// Takes an entry away: durable on return. The caller unpublishes it then, and retires it. One drain, or two.
    pub(crate) fn invalidate(
        &self,
        stripe: &mut Stripe,
        cell: Cell,
        key: &[u64],
        guard: &Guard,
    ) -> Result<()> {
        let slab = &self.slabs[cell.slab()];
        let older = stripe.superseded.iter().any(|&older| self.has_key(older, key, guard));
        if older && !self.takes(Shortcut::OlderNotDrained) {
            self.drain_superseded(slab, stripe, guard)?;
        }
        slab.store(self.at(cell), 0);
        self.flush_seq(cell)?;
        if self.takes(Shortcut::RemoveNotDrained) {
            return Ok(());
        }
        self.drain_superseded(slab, stripe, guard)
    }

    /// The cell's 0 is durable, and the index has it no more: others may have it when no reader is left that could know it.
    pub(crate) fn retire(&self, cell: Cell, guard: &Guard) {
        if is_weak(Site::Retire) {
            return self.free.lock().push(cell);
        }
        let free = self.free.clone();
        guard.defer(move || free.lock().push(cell));
    }

    /// A free cell, for the caller alone. Call it with no lock held: it may make a slab, in a transaction of the pool,
    /// which waits for readers, of which any may be waiting for that lock.
    ///
    /// # Errors
    ///
    /// No space in the pool; or this thread has a transaction open, and a slab would be needed.
    pub(crate) fn reserve(&self) -> Result<Cell> {
        let list = &self.spare[this_list()];
        loop {
            {
                let mut spare = list.lock();
                if let Some(cell) = spare.pop() {
                    return Ok(cell);
                }
                self.refill(&mut spare);
                if let Some(cell) = spare.pop() {
                    return Ok(cell);
                }
            }
            match (self.grow)() {
                Ok(slab) => self.add_slab(slab),
                Err(e) => {
                    let reclaimed = || {
                        self.refill(&mut list.lock());
                        self.spare.iter().find_map(|list| list.lock().pop())
                    };
                    return once_readers_are_gone(reclaimed).ok_or(e);
                }
            }
        }
    }

    /// Takes free cells over, if there are any.
    fn refill(&self, spare: &mut Vec<Cell>) {
        {
            let mut free = self.free.lock();
            let from = free.len().saturating_sub(SPARE);
            spare.extend(free.drain(from..));
        }
        if !spare.is_empty() {
            return;
        }
        let mut tails = self.tails.lock();
        if let Some(tail) = tails.last_mut() {
            // In ascending order, so that neighbours in a line are filled one after the other.
            let end = (tail.next + SPARE as u64).min(tail.end);
            spare.extend((tail.next..end).rev().map(|number| Cell::new(tail.slab, number)));
            tail.next = end;
            if tail.next == tail.end {
                tails.pop();
            }
        }
    }

    /// A slab of zeros joins the others.
    fn add_slab(&self, slab: W) {
        let end = self.capacity(&slab);
        let slab = self.slabs.push(slab);
        self.tails.lock().push(Tail { slab, next: 0, end });
    }

    /// A reserved cell that was not needed. A thread that gives more than it takes gives to others.
    pub(crate) fn give_back(&self, cell: Cell) {
        let mut spare = self.spare[this_list()].lock();
        spare.push(cell);
        if spare.len() >= 2 * SPARE {
            self.free.lock().extend(spare.drain(SPARE..));
        }
    }

    /// Cells found free at opening.
    pub(crate) fn give(&self, cells: impl IntoIterator<Item = Cell>) {
        self.free.lock().extend(cells);
    }

    /// Cells found free at the end of a slab.
    pub(crate) fn give_tail(&self, slab: usize, from: u64, end: u64) {
        if from < end {
            self.tails.lock().push(Tail { slab, next: from, end });
        }
    }
}

/// A life has no number left.
#[cold]
pub(crate) fn exhausted() -> Error {
    Error::abort(
        "2^40 changes were made since this container was opened: drop all handles on it, and open it again",
    )
}

/// As a vector that only grows.
pub(crate) fn appended<T>(all: impl IntoIterator<Item = T>) -> Appended<T> {
    let appended = Appended::new();
    all.into_iter().for_each(|one| _ = appended.push(one));
    appended
}

/// What a cell on media is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its seq is 0.
    Empty,
    /// Neither empty nor valid: a crash cut its put short, or it is damaged.
    Torn,
    /// An entry with this seq.
    Valid(u64),
}

/// Tries `attempt` until it gives something, while the epoch turns: what it wants may be waiting for readers that are gone
/// by now. For when there is no space.
#[cold]
pub(crate) fn once_readers_are_gone<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    const TURNS: usize = if cfg!(loom) { 1 } else { 256 }; // each may be held up by a reader
    (0..TURNS).find_map(|_| {
        crossbeam_epoch::pin().flush();
        std::thread::yield_now();
        attempt()
    })
}

/// Which list of spare cells the calling thread uses.
#[cfg(not(loom))]
fn this_list() -> usize {
    use std::sync::atomic::AtomicUsize;
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| number % LISTS)
}

#[cfg(loom)]
fn this_list() -> usize {
    0
}
