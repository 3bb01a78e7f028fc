//! [`MpmcQueue`].
//!
//! # The protocol
//!
//! *Push*: take a ticket and a place at the end of the queue, under the lock; put a cell with that ticket as its seq (see
//! `cells`), which drains; then say, under the lock, that the element is ready.
//!
//! *Pop*: under the lock, take the first element off, waiting for its push if that is not ready, and store its ticket in the
//! *head*, a word on media; outside the lock, flush the head, drain, return. Elements up to the head are gone. The head
//! is one word, stored in the order of the tickets: whatever a crash leaves of several pops at once, it is the effect of the
//! first ones, and when one returns those before it are durable, because whoever flushes the head flushes all of it.
//! (Marking each element for itself will not do: of two pops that are under way, a crash could leave the second.)
//!
//! *Reuse*: a cell is free when a head that covers it is durable: only the pop that took it off knows it. What is left in
//! it counts no more, for its ticket is not above the head.
//!
//! *Opening*: head and cells are made durable; then the valid cells above the head count, in the order of their tickets, and all others are
//! stored 0.
//!
//! Drains: push 1, pop 1; lines: the cell's, and one. The lock is held for a few instructions, never while anybody drains.

use super::{
    cells::{Cell, Cells, Found, MAX_PAYLOAD, Shape, Words},
    entries::{Packed, words_of},
    object::{self, Fate, Kind},
    shortcut::Shortcut,
    sync::{Condvar, Mutex, Site, is_weak},
};
use crate::damage::corrupt;
use pmem_alloc::{EncodeAs, Plain, Pool, Result, Slab};
use std::{
    collections::{HashSet, VecDeque},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

struct QueueKind<T>(PhantomData<fn() -> T>);

impl<T: Plain> Kind for QueueKind<T> {
    fn type_name() -> String {
        format!("MpmcQueue<{}>", T::full_name())
    }
    const KEY: usize = 0;
    const VALUE: usize = size_of::<T>();
    const CONTROL: bool = true;
    fn shape() -> Result<Shape> {
        if words_of::<T>() <= MAX_PAYLOAD {
            return Ok(Shape { key: 0, value: words_of::<T>() });
        }
        let too_large = super::TooLarge { key: 0, value: size_of::<T>(), most: MAX_PAYLOAD * 8 };
        Err(pmem_alloc::Error::abort(too_large))
    }
}

/// A first-in first-out queue for any number of producers and consumers. Each operation is atomic, durable and
/// linearizable when it returns, without a transaction: after a crash every element whose push returned is there, in
/// order, unless a pop of it began; and none is there whose pop returned.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 22)?)?;
/// let jobs = MpmcQueue::<u64>::open(&pool, "jobs")?;
/// jobs.push(1)?;
/// jobs.push(2)?;
/// assert_eq!(jobs.pop()?, Some(1));
/// assert_eq!(jobs.len(), 1);
/// # Ok(()) }
/// ```
///
/// A pop hands an element over at most once: if the program dies right after it, nobody has the element. To do a job and
/// take it off a queue in one step, use a [`PBTreeMap`](crate::PBTreeMap) or another transactional container.
///
/// Elements are plain data of up to 4,080 bytes. A push and a pop cost one drain each. From time to time a push allocates
/// another slab, in a transaction of the pool: a thread that has one open gets
/// [`WouldDeadlock`](crate::ErrorKind::WouldDeadlock) then.
pub struct MpmcQueue<T> {
    queue: Arc<Queue<T, Slab>>,
    pool: Pool,
}

/// A queue without its name.
pub(crate) struct Queue<T, W: Words> {
    cells: Cells<W>,
    /// Its first word is the head.
    control: W,
    order: Mutex<Order>,
    /// The first element has become ready, or has failed.
    first_is_decided: Condvar,
    types: PhantomData<fn() -> T>,
}

/// An element, from its ticket to its pop.
#[derive(Clone, Copy, Debug)]
enum Element {
    /// Its push is under way.
    Pending,
    /// Durable.
    Ready(Cell),
    /// Its push failed: there is no such element.
    Failed,
}

struct Order {
    /// By ticket, without gaps: the first one's is `first`.
    elements: VecDeque<Element>,
    first: u64,
    /// Those of `elements` that are ready.
    ready: usize,
}

/// A push that is under way. Dropped, it has failed.
struct Pushing<'q, T, W: Words> {
    queue: &'q Queue<T, W>,
    ticket: u64,
    became: Element,
}

impl<T, W: Words> Drop for Pushing<'_, T, W> {
    fn drop(&mut self) {
        let mut order = self.queue.order.lock();
        let at = (self.ticket - order.first) as usize;
        order.elements[at] = self.became;
        order.ready += usize::from(matches!(self.became, Element::Ready(_)));
        if at == 0 {
            self.queue.first_is_decided.notify_all();
        }
    }
}

impl<T: Plain, W: Words> Queue<T, W> {
    /// A queue of these elements, whose tickets are below all that the cells give out.
    pub(crate) fn new(cells: Cells<W>, control: W, elements: impl IntoIterator<Item = Cell>) -> Queue<T, W> {
        let elements: VecDeque<_> = elements.into_iter().map(Element::Ready).collect();
        let ready = elements.len();
        // Counted backwards from the first ticket of this life; what their cells say is for openings.
        let first = cells.next_seq() - ready as u64;
        let order = Mutex::new(Order { elements, first, ready });
        Queue { cells, control, order, first_is_decided: Condvar::new(), types: PhantomData }
    }

    pub(crate) fn push(&self, value: &T) -> Result<()> {
        let cell = self.cells.reserve()?;
        let ticket = {
            let mut order = self.order.lock();
            let ticket = order.first + order.elements.len() as u64;
            if let Err(exhausted) = self.cells.check_seq(ticket) {
                drop(order);
                self.cells.give_back(cell);
                return Err(exhausted);
            }
            order.elements.push_back(Element::Pending);
            ticket
        };
        let mut pushing = Pushing { queue: self, ticket, became: Element::Failed };
        if is_weak(Site::Ready) {
            pushing.became = Element::Ready(cell);
            drop(pushing);
            return self.cells.put_as(cell, ticket, &Packed::of(value));
        }
        self.cells.put_as(cell, ticket, &Packed::of(value))?;
        pushing.became = Element::Ready(cell);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Result<Option<T>> {
        let guard = crossbeam_epoch::pin();
        let cell = {
            let mut order = self.order.lock();
            loop {
                match order.elements.front().copied() {
                    None => return Ok(None),
                    Some(Element::Pending) => order = self.first_is_decided.wait(order),
                    Some(Element::Failed) => {
                        order.elements.pop_front();
                        order.first += 1;
                    }
                    Some(Element::Ready(cell)) => {
                        order.elements.pop_front();
                        order.first += 1;
                        order.ready -= 1;
                        self.control.store(0, self.cells.seq(cell, &guard));
                        break cell;
                    }
                }
            }
        };
        let mut packed = Packed::zeroed(words_of::<T>());
        self.cells.read(cell, 0..words_of::<T>(), &guard, |i, word| packed[i] = word);
        let offset = self.cells.offset(cell);
        if !self.cells.takes(Shortcut::RemoveNotDrained) {
            self.control.flush(0..8)?;
            self.control.drain()?;
        }
        self.cells.give_back(cell); // nobody else knows it
        let value = packed.unpack();
        value.map(Some).ok_or_else(|| corrupt(offset, std::any::type_name::<T>(), "bits that are none"))
    }

    pub(crate) fn len(&self) -> usize {
        self.order.lock().ready
    }
}

impl<T: Plain> MpmcQueue<T> {
    /// Opens the queue `name`, or makes it. No drain if another handle is open; otherwise the queue is read once, and what
    /// is found is flushed: 2 drains and two for each thread that helps.
    ///
    /// # Errors
    ///
    /// [`WrongType`](crate::ErrorKind::WrongType); damage of header or list of slabs; no space; an open transaction of this
    /// thread. [`TooLarge`](super::TooLarge) as the reason of an abort.
    pub fn open(pool: &Pool, name: &str) -> Result<Self> {
        Self::open_with(pool, name, None)
    }

    /// For the tests of the tests.
    #[doc(hidden)]
    pub fn open_with(pool: &Pool, name: &str, shortcut: Option<Shortcut>) -> Result<Self> {
        let header = object::locate::<QueueKind<T>>(pool, name)?;
        let queue = pool.companion(header, || {
            let (cells, control) = object::open_cells::<QueueKind<T>>(pool, name, shortcut)?;
            let control = control.ok_or_else(|| corrupt(header.offset(), "a slab with the head", "none"))?;
            let (head, found) = (control.load(0), Mutex::new(Vec::new()));
            cells.check_earlier(head, control.offset())?;
            control.flush(0..8)?; // it is visible, and is drained with the cells
            object::recover(&cells, |cell, seq, _| {
                if seq > head {
                    found.lock().push((seq, cell));
                    return Ok(Fate::Keep);
                }
                Ok(Fate::Free)
            })?;
            control.drain()?;
            let mut found = std::mem::take(&mut *found.lock());
            found.sort_unstable_by_key(|&(seq, _)| seq);
            Ok(Queue::new(cells, control, found.into_iter().map(|(_, cell)| cell)))
        })?;
        Ok(MpmcQueue { queue, pool: pool.clone() })
    }

    /// Adds an element at the end. Durable on return; one drain.
    ///
    /// # Errors
    ///
    /// No space: nothing was changed. A failed write-back poisons the pool.
    pub fn push(&self, value: impl EncodeAs<T>) -> Result<()> {
        self.pool.region().check_process()?;
        self.queue.push(value.arg())
    }

    /// Takes the first element off; `None` if there is none. Durable on return; one drain.
    ///
    /// # Errors
    ///
    /// Damage: the bits are no `T`; the element is gone. A failed write-back poisons the pool.
    pub fn pop(&self) -> Result<Option<T>> {
        self.pool.region().check_process()?;
        self.queue.pop()
    }

    /// Number of elements; while others change the queue, a number that it had around now.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compares all that is on media with the queue in DRAM. For a queue that nobody changes meanwhile.
    pub fn check(&self) -> Result<()> {
        self.pool.region().check_process()?;
        let Queue { cells, control, order, .. } = &*self.queue;
        let head = control.load(0);
        let mut left: HashSet<Cell> = HashSet::new();
        left.extend(order.lock().elements.iter().filter_map(|element| match element {
            Element::Ready(cell) => Some(cell),
            _ => None,
        }));
        let mut payload = Vec::new();
        for (slab, words) in cells.slabs().enumerate() {
            for number in 0..cells.capacity(words) {
                let cell = Cell::new(slab, number);
                let known = left.remove(&cell);
                let found = cells.read_checked(words, number, &mut payload);
                if known != matches!(found, Found::Valid(seq) if seq > head) || found == Found::Torn {
                    let expected = if known { "an element" } else { "none" };
                    return Err(corrupt(cells.offset(cell), expected, format!("{found:?}")));
                }
            }
        }
        Ok(())
    }
}

impl<T> Clone for MpmcQueue<T> {
    fn clone(&self) -> Self {
        MpmcQueue { queue: self.queue.clone(), pool: self.pool.clone() }
    }
}

impl<T: Plain> fmt::Debug for MpmcQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpmcQueue").field("len", &self.len()).finish_non_exhaustive()
    }
}
