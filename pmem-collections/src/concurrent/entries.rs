//! What both maps are: cells on media, an index in DRAM, and the order of steps between them.

use super::{
    cells::{Cell, Cells, Found, MAX_PAYLOAD, Shape, Stripe, Words},
    hash::Shard,
    ordered::Ordered,
    shortcut::Shortcut,
    sync::{Mutex, MutexGuard},
};
use crate::damage::corrupt;
use crossbeam_epoch::Guard;
use pmem_alloc::{ErrorKind, Plain, Result};
use std::{
    hash::{BuildHasher, RandomState},
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

/// Locks of writers: a key belongs to one of them.
const STRIPES: usize = if cfg!(loom) { 1 } else { 256 };

/// A plain value as the words of a payload: its bytes, and zeros behind them.
pub(crate) struct Packed {
    short: [u64; 4],
    long: Vec<u64>,
    len: usize,
}

impl Packed {
    pub(crate) fn zeroed(len: usize) -> Packed {
        Packed { short: [0; 4], long: if len > 4 { vec![0; len] } else { Vec::new() }, len }
    }

    pub(crate) fn of<T: Plain>(value: &T) -> Packed {
        let mut packed = Packed::zeroed(words_of::<T>());
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut packed);
        bytes[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(value));
        packed
    }

    /// `None` if the bits are no `T`.
    pub(crate) fn unpack<T: Plain>(&self) -> Option<T> {
        let bytes: &[u8] = bytemuck::cast_slice(self);
        bytemuck::checked::try_pod_read_unaligned(&bytes[..size_of::<T>()]).ok()
    }
}

impl Deref for Packed {
    type Target = [u64];
    #[inline]
    fn deref(&self) -> &[u64] {
        if self.len > 4 { &self.long } else { &self.short[..self.len] }
    }
}

impl DerefMut for Packed {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        if self.len > 4 { &mut self.long } else { &mut self.short[..self.len] }
    }
}

pub(crate) const fn words_of<T>() -> usize {
    size_of::<T>().div_ceil(8)
}

/// Words of a key and of a value, if a cell has room for them.
pub(crate) fn shape_of<K: Plain, V: Plain>() -> Result<Shape> {
    let shape = Shape { key: words_of::<K>(), value: words_of::<V>() };
    if shape.key + shape.value <= MAX_PAYLOAD {
        return Ok(shape);
    }
    Err(pmem_alloc::Error::abort(super::TooLarge {
        key: size_of::<K>(),
        value: size_of::<V>(),
        most: MAX_PAYLOAD * 8,
    }))
}

/// How cells are found in DRAM.
pub(crate) trait Index<K, W: Words>: Send + Sync {
    fn new() -> Self;
    fn len(&self) -> u64;
    fn find(&self, at: &Asked<'_, K>, cells: &Cells<W>, guard: &Guard) -> Option<Cell>;
    /// Publishes `to` in place of `from`; who holds the stripe of the key does.
    fn set(&self, held: &mut Stripe, at: &Asked<'_, K>, from: Option<Cell>, to: Option<Cell>, guard: &Guard);
}

/// A key, and what was computed of it.
pub(crate) struct Asked<'k, K> {
    key: &'k K,
    words: Packed,
    hash: u64,
}

impl<K> Asked<'_, K> {
    fn stripe(&self) -> usize {
        (self.hash >> 32) as usize % STRIPES
    }
}

/// By hash: a table for each stripe.
pub(crate) struct Hashed(Box<[Shard]>);

impl<K, W: Words> Index<K, W> for Hashed {
    fn new() -> Hashed {
        Hashed((0..STRIPES).map(|_| Shard::new()).collect())
    }
    fn len(&self) -> u64 {
        self.0.iter().map(Shard::len).sum()
    }
    #[inline]
    fn find(&self, at: &Asked<'_, K>, cells: &Cells<W>, guard: &Guard) -> Option<Cell> {
        self.0[at.stripe()].find(cells, at.hash, &at.words, guard)
    }
    fn set(&self, held: &mut Stripe, at: &Asked<'_, K>, from: Option<Cell>, to: Option<Cell>, guard: &Guard) {
        let shard = &self.0[at.stripe()];
        match (from, to) {
            (Some(from), to) => shard.replace(held, at.hash, from, to, guard),
            (None, Some(to)) => shard.insert(held, at.hash, to, guard),
            (None, None) => {}
        }
    }
}

impl Hashed {
    /// The cells of one stripe, as they are now.
    pub(crate) fn cells<'g>(
        &'g self,
        stripe: usize,
        guard: &'g Guard,
    ) -> Option<impl Iterator<Item = Cell> + 'g> {
        Some(self.0.get(stripe)?.cells(guard))
    }
}

impl<K: Plain + Ord + Send + Sync, W: Words> Index<K, W> for Ordered<K> {
    fn new() -> Ordered<K> {
        Ordered::new()
    }
    fn len(&self) -> u64 {
        self.len()
    }
    #[inline]
    fn find(&self, at: &Asked<'_, K>, _: &Cells<W>, guard: &Guard) -> Option<Cell> {
        self.find(at.key, guard)
    }
    fn set(&self, _: &mut Stripe, at: &Asked<'_, K>, _: Option<Cell>, to: Option<Cell>, guard: &Guard) {
        self.set(at.key, to, guard);
    }
}

/// What becomes of an entry.
enum Change<V> {
    /// Nothing.
    Keep,
    /// It has this value.
    Put(V),
    /// It is gone.
    Remove,
}

/// A line of its own for each lock.
#[repr(align(64))]
#[derive(Default)]
struct Padded(Mutex<Stripe>);

/// A map without its names: what is in the pool, and what finds it.
pub(crate) struct Entries<K, V, W: Words, I> {
    cells: Cells<W>,
    index: I,
    stripes: Box<[Padded]>,
    hasher: RandomState,
    types: PhantomData<fn() -> (K, V)>,
}

/// A reserved cell; given back if it is not used.
struct Reserved<'c, W: Words>(&'c Cells<W>, Option<Cell>);

impl<W: Words> Drop for Reserved<'_, W> {
    fn drop(&mut self) {
        if let Some(cell) = self.1.take() {
            self.0.give_back(cell);
        }
    }
}

impl<K: Plain, V: Plain, W: Words, I: Index<K, W>> Entries<K, V, W, I> {
    /// Nothing, in cells that have been prepared.
    pub(crate) fn new(cells: Cells<W>) -> Self {
        Entries {
            cells,
            index: I::new(),
            stripes: (0..STRIPES).map(|_| Padded::default()).collect(),
            hasher: RandomState::new(),
            types: PhantomData,
        }
    }

    pub(crate) fn cells(&self) -> &Cells<W> {
        &self.cells
    }

    pub(crate) fn index(&self) -> &I {
        &self.index
    }

    pub(crate) fn len(&self) -> u64 {
        self.index.len()
    }

    #[inline]
    fn asked<'k>(&self, key: &'k K) -> Asked<'k, K> {
        let words = Packed::of(key);
        let hash = if cfg!(loom) { words[0] } else { self.hasher.hash_one(&*words) };
        Asked { key, words, hash }
    }

    fn lock(&self, at: &Asked<'_, K>) -> MutexGuard<'_, Stripe> {
        self.stripes[at.stripe()].0.lock()
    }

    /// The value in a published cell.
    #[inline]
    pub(crate) fn value(&self, cell: Cell, guard: &Guard) -> Result<V> {
        let Shape { key, value } = self.cells.shape();
        let mut packed = Packed::zeroed(value);
        self.cells.read(cell, key..key + value, guard, |i, word| packed[i] = word);
        packed.unpack().ok_or_else(|| self.no_value::<V>(cell))
    }

    /// Key and value in a published cell.
    pub(crate) fn entry(&self, cell: Cell, guard: &Guard) -> Result<(K, V)> {
        let Shape { key, .. } = self.cells.shape();
        let mut packed = Packed::zeroed(key);
        self.cells.read(cell, 0..key, guard, |i, word| packed[i] = word);
        let key = packed.unpack().ok_or_else(|| self.no_value::<K>(cell))?;
        Ok((key, self.value(cell, guard)?))
    }

    #[cold]
    fn no_value<T>(&self, cell: Cell) -> pmem_alloc::Error {
        corrupt(self.cells.offset(cell), std::any::type_name::<T>(), "bits that are none")
    }

    /// The value for a key. No lock, no flush.
    #[inline]
    pub(crate) fn get(&self, key: &K) -> Result<Option<V>> {
        let (at, guard) = (self.asked(key), crossbeam_epoch::pin());
        match self.index.find(&at, &self.cells, &guard) {
            Some(cell) => self.value(cell, &guard).map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    pub(crate) fn contains(&self, key: &K) -> bool {
        let (at, guard) = (self.asked(key), crossbeam_epoch::pin());
        self.index.find(&at, &self.cells, &guard).is_some()
    }

    /// Looks at the entry of `key`, and does what `change` says, with nothing between. Durable on return.
    fn change<R>(
        &self,
        key: &K,
        may_put: bool,
        change: impl FnOnce(Option<Result<V>>) -> Result<(Change<V>, R)>,
    ) -> Result<R> {
        let at = self.asked(key);
        let mut reserved = Reserved(&self.cells, if may_put { Some(self.cells.reserve()?) } else { None });
        let mut stripe = self.lock(&at);
        let guard = crossbeam_epoch::pin();
        let old = self.index.find(&at, &self.cells, &guard);
        let (what, result) = change(old.map(|cell| self.value(cell, &guard)))?;
        match (what, old) {
            (Change::Put(value), _) => {
                let cell =
                    reserved.1.take().ok_or(ErrorKind::NoSpace { needed: self.cells.shape().cell() })?;
                self.cells.put(cell, &mut stripe, &at.words, &Packed::of(&value), &guard)?;
                self.index.set(&mut stripe, &at, old, Some(cell), &guard);
                if let Some(old) = old {
                    self.cells.supersede(&mut stripe, old);
                }
            }
            (Change::Remove, Some(old)) => {
                self.cells.invalidate(&mut stripe, old, &at.words, &guard)?;
                self.index.set(&mut stripe, &at, Some(old), None, &guard);
                self.cells.retire(old, &guard);
            }
            (Change::Remove, None) | (Change::Keep, _) => {}
        }
        Ok(result)
    }

    /// Sets a value; the one before.
    pub(crate) fn insert(&self, key: &K, value: &V) -> Result<Option<V>> {
        self.change(key, true, |old| Ok((Change::Put(*value), old.transpose()?)))
    }

    /// Sets a value where there is none; the one that there is.
    pub(crate) fn try_insert(&self, key: &K, value: &V) -> Result<Option<V>> {
        self.change(key, true, |old| match old.transpose()? {
            Some(old) => Ok((Change::Keep, Some(old))),
            None => Ok((Change::Put(*value), None)),
        })
    }

    /// Sets a value to what `change` makes of the one before; the new one.
    pub(crate) fn update(&self, key: &K, change: impl FnOnce(Option<V>) -> V) -> Result<V> {
        self.change(key, true, |old| {
            let new = change(old.transpose()?);
            Ok((Change::Put(new), new))
        })
    }

    /// Removes an entry whose value is as wanted; that value.
    pub(crate) fn remove_if(&self, key: &K, condition: impl FnOnce(&V) -> bool) -> Result<Option<V>> {
        self.change(key, false, |old| match old.transpose()? {
            Some(old) if condition(&old) => Ok((Change::Remove, Some(old))),
            _ => Ok((Change::Keep, None)),
        })
    }

    /// Enters a cell that was found valid at opening. Of several with one key the one with the highest seq stays.
    pub(crate) fn admit(&self, cell: Cell, payload: &[u64], guard: &Guard) -> Result<()> {
        let Shape { key, .. } = self.cells.shape();
        let mut packed = Packed::zeroed(key);
        packed.copy_from_slice(&payload[..key]);
        let key: K = packed.unpack().ok_or_else(|| self.no_value::<K>(cell))?;
        let at = self.asked(&key);
        let mut stripe = self.lock(&at);
        let old = self.index.find(&at, &self.cells, guard);
        let any = self.cells.takes(Shortcut::AnyVersion);
        let newer = old.is_none_or(|old| !any && self.cells.seq(old, guard) < self.cells.seq(cell, guard));
        if newer {
            self.index.set(&mut stripe, &at, old, Some(cell), guard);
        }
        let superseded = if newer { old } else { Some(cell) };
        if let Some(superseded) = superseded {
            self.cells.clear(superseded)?;
            self.cells.retire(superseded, guard);
        }
        Ok(())
    }

    /// Compares every cell on media with the index: the number of entries, or what is wrong.
    ///
    /// For a map that nobody changes meanwhile.
    pub(crate) fn check(&self) -> Result<u64> {
        let guard = crossbeam_epoch::pin();
        let (mut found, mut payload) = (0, Vec::new());
        for (slab, words) in self.cells.slabs().enumerate() {
            for number in 0..self.cells.capacity(words) {
                let cell = Cell::new(slab, number);
                let offset = self.cells.offset(cell);
                match self.cells.read_checked(words, number, &mut payload) {
                    Found::Empty => {}
                    Found::Torn => {
                        return Err(corrupt(offset, "an entry with a right checksum, or none", "another"));
                    }
                    Found::Valid(_) => {
                        let (key, _) = self.entry(cell, &guard)?;
                        if self.index.find(&self.asked(&key), &self.cells, &guard) != Some(cell) {
                            return Err(corrupt(
                                offset,
                                "an entry that the index has",
                                "one that it has not",
                            ));
                        }
                        found += 1;
                    }
                }
            }
        }
        if found != self.len() {
            let (expected, found) = (format!("{} entries", self.len()), found.to_string());
            return Err(corrupt(0, expected, found));
        }
        Ok(found)
    }
}
