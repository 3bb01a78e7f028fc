//! What a concurrent container has under its name: a header, and the list of its slabs. Changed by transactions.

use super::{
    cells::{Cell, Cells, Found, Grow, MAX_LIFE, Shape},
    shortcut::Shortcut,
    sync::Mutex,
};
use crate::damage::corrupt;
use bytemuck::{Pod, Zeroable};
use pmem_alloc::{
    Body, Error, ErrorKind, Form, MIN_SLAB, Mode, Named, Object, Pool, Ptr, Read, Result, Slab, Stored,
    Tracer, Write,
};
use std::{
    hash::{BuildHasher, RandomState},
    marker::PhantomData,
    mem::offset_of,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

/// On media: see format/concurrent.md.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    key_size: u32,
    value_size: u32,
    identity: u64,
    life: u64,
    slabs: u64,
    list: u64,
    /// Offset of a slab for words that are no cells; 0: the kind needs none.
    control: u64,
    reserved: u64,
}
const _: () = assert!(size_of::<Header>() == 64);
const MAGIC: [u8; 8] = *b"PMEMCELL";

const IN_A_LIST: usize = 62;

/// A part of the list of slabs.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct List {
    next: u64,
    used: u64,
    slabs: [u64; IN_A_LIST],
}
const _: () = assert!(size_of::<List>() == 512);

/// Slabs grow with the container, from this to that many bytes: so that a small one is small, and a large one does not
/// stop for long when it needs another.
const FIRST_SLAB: u64 = 16 << 10;
const LARGEST_SLAB: u64 = 256 << 10;

/// The name of a container's type, and the sizes of what it holds.
pub(crate) trait Kind: 'static {
    fn type_name() -> String;
    const KEY: usize;
    const VALUE: usize;
    /// Whether it needs a slab for words that are no cells.
    const CONTROL: bool = false;
    /// Bytes of a slab, if they are all alike.
    const SLAB: Option<u64> = None;
    /// Words of a cell.
    fn shape() -> Result<Shape>;
}

/// What is under the name.
pub(crate) struct CellsObject<T>(PhantomData<fn() -> T>);

impl<T: Kind> Stored for CellsObject<T> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        T::type_name()
    }
}

pub(crate) struct CellsGuard<'t, M: Mode> {
    body: Body<'t, M>,
    at: Ptr<Header>,
}

impl<T: Kind> Object for CellsObject<T> {
    type Guard<'t, M: Mode> = CellsGuard<'t, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        T::shape()?;
        let control = if T::CONTROL { body.alloc_slab(MIN_SLAB)?.offset() } else { 0 };
        let header = Header {
            magic: MAGIC,
            key_size: T::KEY as u32,
            value_size: T::VALUE as u32,
            identity: RandomState::new().hash_one(1),
            life: 0,
            slabs: 0,
            list: 0,
            control,
            reserved: 0,
        };
        Ok(body.alloc(header)?.cast())
    }

    /// Never called: it has no name that a program could give to a container.
    fn destroy(_: &mut Body<'_, Write>, _: Ptr<u8>) -> Result<()> {
        Err(Error::abort("a concurrent container cannot be in another container"))
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(header, size_of::<Header>() as u64)?;
        tracer.immovable(format!("{} has slabs, which threads store to", T::type_name()));
        let Header { control, list, .. } = *body.get::<Header>(header.cast())?;
        if control != 0 {
            tracer.slab(Ptr::from_offset(control))?;
        }
        let (mut slot, mut at) = (header.offset() + offset_of!(Header, list) as u64, list);
        // A list that was told before is an error: so this ends.
        while at != 0 {
            tracer.owned(slot, Ptr::from_offset(at), size_of::<List>() as u64)?;
            let part = body.get(Ptr::<List>::from_offset(at))?;
            let used = usize::try_from(part.used).ok().and_then(|used| part.slabs.get(..used));
            let used = used.ok_or_else(|| corrupt(at + 8, "a number of slabs", part.used.to_string()))?;
            used.iter().try_for_each(|&slab| tracer.slab(Ptr::from_offset(slab)))?;
            (slot, at) = (at + offset_of!(List, next) as u64, part.next);
        }
        Ok(())
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<CellsGuard<'_, M>> {
        let at = header.cast::<Header>();
        let found = *body.get(at)?;
        let offset = header.offset();
        if found.magic != MAGIC {
            return Err(corrupt(offset, "the magic of a concurrent container", "another"));
        }
        if (found.key_size as usize, found.value_size as usize) != (T::KEY, T::VALUE) {
            let expected = format!("keys of {} and values of {} bytes", T::KEY, T::VALUE);
            return Err(corrupt(offset, expected, format!("{} and {}", found.key_size, found.value_size)));
        }
        if found.life > MAX_LIFE || found.slabs >= 1 << 31 {
            return Err(corrupt(
                offset,
                "a life and a number of slabs",
                format!("{} and {}", found.life, found.slabs),
            ));
        }
        Ok(CellsGuard { body, at })
    }
}

impl<M: Mode> CellsGuard<'_, M> {
    fn header(&self) -> Result<&Header> {
        self.body.get(self.at)
    }

    /// The slabs, oldest first.
    fn slabs(&self) -> Result<Vec<Ptr<Slab>>> {
        let Header { slabs: count, list, .. } = *self.header()?;
        let mut slabs = Vec::new();
        let mut at = list;
        while at != 0 && slabs.len() as u64 <= count {
            let part = self.body.get(Ptr::<List>::from_offset(at))?;
            let used = usize::try_from(part.used).ok().and_then(|used| part.slabs.get(..used));
            let used = used.ok_or_else(|| corrupt(at + 8, "a number of slabs", part.used.to_string()))?;
            if used.is_empty() {
                return Err(corrupt(at + 8, "a number of slabs", "0"));
            }
            slabs.extend(used.iter().rev().map(|&slab| Ptr::from_offset(slab)));
            at = part.next;
        }
        if slabs.len() as u64 != count || at != 0 {
            let expected = format!("a list of {count} slabs");
            return Err(corrupt(self.at.offset(), expected, slabs.len().to_string()));
        }
        slabs.reverse();
        let mut offsets: Vec<u64> = slabs.iter().map(|slab| slab.offset()).collect();
        offsets.push(self.header()?.control);
        offsets.sort_unstable();
        if let Some(twice) = offsets.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(corrupt(self.at.offset(), "a slab once", format!("the one at {} twice", twice[0])));
        }
        Ok(slabs)
    }
}

impl CellsGuard<'_, Write> {
    /// A new life begins: no seq of an earlier one comes again.
    fn begin(&mut self) -> Result<()> {
        let at = self.at.offset();
        let header = self.body.get_mut(self.at)?;
        if header.life >= MAX_LIFE {
            return Err(corrupt(at, "a life that has a next", header.life.to_string()));
        }
        header.life += 1;
        Ok(())
    }

    /// One slab more.
    fn add_slab(&mut self, len: Option<u64>) -> Result<Ptr<Slab>> {
        let Header { slabs, list, .. } = *self.header()?;
        let growing = FIRST_SLAB.checked_shl(slabs.min(32) as u32).unwrap_or(LARGEST_SLAB).min(LARGEST_SLAB);
        let len = len.unwrap_or(growing);
        let slab = match self.body.alloc_slab(len) {
            // No stretch of that length is left, but shorter ones may be.
            Err(e) if matches!(e.kind(), ErrorKind::NoSpace { .. }) && len > FIRST_SLAB => {
                self.body.alloc_slab(FIRST_SLAB)?
            }
            slab => slab?,
        };
        let part = Ptr::<List>::from_offset(list);
        let room = !part.is_null() && (self.body.get(part)?.used as usize) < IN_A_LIST;
        if room {
            let part = self.body.get_mut(part)?;
            part.slabs[part.used as usize] = slab.offset();
            part.used += 1;
        } else {
            let mut new = List { next: list, used: 1, slabs: [0; IN_A_LIST] };
            new.slabs[0] = slab.offset();
            let new = self.body.alloc(new)?;
            self.body.get_mut(self.at)?.list = new.offset();
        }
        self.body.get_mut(self.at)?.slabs += 1;
        Ok(slab)
    }
}

/// What is in the pool under the name.
pub(crate) struct Parts {
    pub(crate) identity: u64,
    pub(crate) life: u64,
    /// Oldest first.
    pub(crate) slabs: Vec<Slab>,
    pub(crate) control: Option<Slab>,
    pub(crate) grow: Grow<Slab>,
}

/// Opens the container, or makes it, and begins a new life. One drain.
pub(crate) fn open<T: Kind>(pool: &Pool, name: &str, shortcut: Option<Shortcut>) -> Result<Parts> {
    let (header, slabs) = pool.write(|tx| {
        let mut guard = tx.open(Named::<CellsObject<T>>::new(name))?;
        if shortcut != Some(Shortcut::NoNewLife) {
            guard.begin()?;
        }
        Ok((*guard.header()?, guard.slabs()?))
    })?;
    let slabs = slabs.into_iter().map(|slab| pool.slab(slab)).collect::<Result<Vec<_>>>()?;
    let control = match Ptr::from_offset(header.control) {
        none if none.is_null() => None,
        control => Some(pool.slab(control)?),
    };
    let (pool, name) = (pool.clone(), name.to_owned());
    let grow: Grow<Slab> = Box::new(move || {
        let slab = pool.write(|tx| tx.open(Named::<CellsObject<T>>::new(&name))?.add_slab(T::SLAB))?;
        pool.slab(slab)
    });
    Ok(Parts { identity: header.identity, life: header.life, slabs, control, grow })
}

/// The same for a container of cells, of which none is known to be free or taken yet.
pub(crate) fn open_cells<T: Kind>(
    pool: &Pool,
    name: &str,
    shortcut: Option<Shortcut>,
) -> Result<(Cells<Slab>, Option<Slab>)> {
    let shape = T::shape()?;
    let Parts { identity, life, slabs, control, grow } = open::<T>(pool, name, shortcut)?;
    Ok((Cells::new(shape, identity, life, slabs, grow).with(shortcut), control))
}

/// Where the container's header is, for its companion: it is made if there is none.
pub(crate) fn locate<T: Kind>(pool: &Pool, name: &str) -> Result<Ptr<u8>> {
    let named = Named::<CellsObject<T>>::new(name);
    let known = match pool.read()?.open(named) {
        Ok(guard) => Some(guard.at),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound { .. }) => None,
        Err(e) => return Err(e),
    };
    let at = match known {
        Some(at) => at,
        None => pool.write(|tx| Ok(tx.open(named)?.at))?,
    };
    Ok(at.cast())
}

/// What becomes of a valid cell at opening.
pub(crate) enum Fate {
    /// It counts, or its owner has dealt with it.
    Keep,
    /// It counts no more.
    Free,
}

/// Says what becomes of a valid cell with this seq and payload.
type Admit<'a> = dyn Fn(Cell, u64, &[u64]) -> Result<Fate> + Sync + 'a;

/// Reads every cell, several slabs at a time: those that are valid go to `admit` with seq and payload, all others are free.
///
/// What is visible need not be durable: whoever stored it may have been killed before its drain. So all of it is flushed and
/// drained first. An older cell whose 0 became durable before the newer one would be an acknowledged value lost.
///
/// Work for each byte of the slabs: once through, and a flush of each line. Two drains for each thread.
pub(crate) fn recover(
    cells: &Cells<Slab>,
    admit: impl Fn(Cell, u64, &[u64]) -> Result<Fate> + Sync,
) -> Result<()> {
    let slabs: Vec<&Slab> = cells.slabs().collect();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(slabs.len().div_ceil(4)).max(1);
    let failed = Mutex::new(None);
    let in_parallel = |work: &(dyn Fn(usize) -> Result<()> + Sync),
                       after: &(dyn Fn() -> Result<()> + Sync)| {
        let next = AtomicUsize::new(0);
        let run = || {
            let all = || {
                while let slab = next.fetch_add(1, Relaxed)
                    && slab < slabs.len()
                {
                    work(slab)?;
                }
                after()
            };
            if let Err(e) = all() {
                failed.lock().get_or_insert(e);
            }
        };
        thread::scope(|s| {
            (1..threads).for_each(|_| _ = s.spawn(run));
            run();
        });
        failed.lock().take().map_or(Ok(()), Err)
    };
    let drain = || slabs.first().map_or(Ok(()), |slab| slab.drain());
    in_parallel(&|slab| slabs[slab].flush(0..slabs[slab].len()), &drain)?;
    in_parallel(&|slab| read_slab(cells, slabs[slab], slab, &admit), &drain)
}

fn read_slab(cells: &Cells<Slab>, words: &Slab, slab: usize, admit: &Admit<'_>) -> Result<()> {
    let (mut payload, mut free) = (Vec::new(), Vec::new());
    let end = cells.capacity(words);
    // Cells that were never used are in one piece at the end.
    let mut tail = end;
    for number in 0..end {
        let cell = Cell::new(slab, number);
        let found = cells.read_checked(words, number, &mut payload);
        if found == Found::Empty {
            free.push(cell);
            continue;
        }
        tail = number + 1;
        let fate = match found {
            Found::Valid(seq) => {
                cells.check_earlier(seq, cells.offset(cell))?;
                admit(cell, seq, &payload)?
            }
            _ => Fate::Free,
        };
        if let Fate::Free = fate {
            cells.clear(cell)?;
            free.push(cell);
        }
    }
    if tail == end && free.len() as u64 == end {
        tail = 0; // all are empty
    }
    cells.give(free.into_iter().filter(|cell| cell.number() < tail));
    cells.give_tail(slab, tail, end);
    Ok(())
}
