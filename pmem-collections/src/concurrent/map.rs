//! [`ConcurrentMap`].

use super::{
    cells::Shape,
    entries::{Entries, shape_of},
    object::{self, Fate, Kind},
    ordered::Ordered,
    shortcut::Shortcut,
};
use crate::map::KeyRange;
use pmem_alloc::{EncodeAs, Plain, Pool, Result, Slab};
use std::{fmt, marker::PhantomData, ops::Bound, sync::Arc, vec};

struct MapKind<K, V>(PhantomData<fn() -> (K, V)>);

impl<K: Plain, V: Plain> Kind for MapKind<K, V> {
    fn type_name() -> String {
        format!("ConcurrentMap<{}, {}>", K::full_name(), V::full_name())
    }
    const KEY: usize = size_of::<K>();
    const VALUE: usize = size_of::<V>();
    fn shape() -> Result<Shape> {
        shape_of::<K, V>()
    }
}

/// The key of a [`ConcurrentMap`]: plain data with an order, that threads may share. (A blanket implementation has them all.)
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a `ConcurrentMap`",
    note = "keys are plain data (`impl Plain`) with `Ord`, `Send` and `Sync`"
)]
pub trait SharedKey: Plain + Ord + Send + Sync {}
#[diagnostic::do_not_recommend]
impl<K: Plain + Ord + Send + Sync> SharedKey for K {}

/// A map in key order for any number of threads. Each operation on one key is atomic, durable and linearizable when it returns,
/// without a transaction: after a crash every change that returned is there, and one that had not is there as a whole or
/// not at all.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 22)?)?;
/// let events = ConcurrentMap::<u64, u32>::open(&pool, "events")?;
/// std::thread::scope(|s| {
///     for source in 0..4 {
///         let events = &events;
///         s.spawn(move || (0..100).try_for_each(|n| events.insert(n * 4 + source as u64, source).map(drop)));
///     }
/// });
/// let some = events.range(10..14).collect::<Result<Vec<_>>>()?;
/// assert_eq!(some, [(10, 2), (11, 3), (12, 0), (13, 1)]);
/// # Ok(()) }
/// ```
///
/// Keys and values, handles, costs and errors are as of a [`ConcurrentHashMap`](super::ConcurrentHashMap), but for the index:
/// a B-link tree in DRAM (Lehman and Yao, 1981), about 25 bytes and a copy of the key for an entry.
///
/// An order that is none, or equal keys with unequal bytes, make a map that finds the wrong thing or nothing; it remains
/// memory safe and every operation ends.
pub struct ConcurrentMap<K: SharedKey, V> {
    entries: Arc<Entries<K, V, Slab, Ordered<K>>>,
    pool: Pool,
}

impl<K: SharedKey, V: Plain> ConcurrentMap<K, V> {
    /// Opens the map `name`, or makes it; costs and errors as of
    /// [`ConcurrentHashMap::open`](super::ConcurrentHashMap::open).
    pub fn open(pool: &Pool, name: &str) -> Result<Self> {
        Self::open_with(pool, name, None)
    }

    /// For the tests of the tests.
    #[doc(hidden)]
    pub fn open_with(pool: &Pool, name: &str, shortcut: Option<Shortcut>) -> Result<Self> {
        let header = object::locate::<MapKind<K, V>>(pool, name)?;
        let entries = pool.companion(header, || {
            let (cells, _) = object::open_cells::<MapKind<K, V>>(pool, name, shortcut)?;
            let entries = Entries::new(cells);
            object::recover(entries.cells(), |cell, _, payload| {
                entries.admit(cell, payload, &crossbeam_epoch::pin()).map(|()| Fate::Keep)
            })?;
            Ok(entries)
        })?;
        Ok(ConcurrentMap { entries, pool: pool.clone() })
    }

    fn check_process(&self) -> Result<()> {
        Ok(self.pool.region().check_process()?)
    }

    /// The value for `key`.
    pub fn get(&self, key: impl EncodeAs<K>) -> Result<Option<V>> {
        self.check_process()?;
        self.entries.get(key.arg())
    }

    /// Whether there is an entry for `key`.
    pub fn contains_key(&self, key: impl EncodeAs<K>) -> Result<bool> {
        self.check_process()?;
        Ok(self.entries.contains(key.arg()))
    }

    /// Sets the value for `key`; the value before.
    pub fn insert(&self, key: impl EncodeAs<K>, value: impl EncodeAs<V>) -> Result<Option<V>> {
        self.check_process()?;
        self.entries.insert(key.arg(), value.arg())
    }

    /// Sets the value for `key` if it has none; otherwise the value that it has.
    pub fn try_insert(&self, key: impl EncodeAs<K>, value: impl EncodeAs<V>) -> Result<Option<V>> {
        self.check_process()?;
        self.entries.try_insert(key.arg(), value.arg())
    }

    /// Sets the value for `key` to what `change` makes of the one before; returns it. No other change of that key comes between.
    ///
    /// `change` runs under the key's lock: it must use neither this map nor a transaction of its pool, which could wait for a
    /// thread that waits for that lock. If it panics, nothing was changed.
    pub fn update(&self, key: impl EncodeAs<K>, change: impl FnOnce(Option<V>) -> V) -> Result<V> {
        self.check_process()?;
        self.entries.update(key.arg(), change)
    }

    /// Removes the entry for `key`; the value that it had.
    pub fn remove(&self, key: impl EncodeAs<K>) -> Result<Option<V>> {
        self.remove_if(key, |_| true)
    }

    /// Removes the entry for `key` if `condition` holds; the value that was removed. `condition` runs under the key's lock,
    /// with the same bounds as `change` of [`update`](Self::update).
    pub fn remove_if(&self, key: impl EncodeAs<K>, condition: impl FnOnce(&V) -> bool) -> Result<Option<V>> {
        self.check_process()?;
        self.entries.remove_if(key.arg(), condition)
    }

    /// The entry with the smallest key.
    ///
    /// While others change the map it is an entry that was there at some time of the call, but need not have been the first one at any
    /// one moment: leaves are read one after the other.
    pub fn first(&self) -> Result<Option<(K, V)>> {
        self.iter().next().transpose()
    }

    /// The entry with the greatest key.
    ///
    /// While others change the map it is an entry that was there at some time of the call, but need not have been the last one at any
    /// one moment: leaves are read one after the other.
    pub fn last(&self) -> Result<Option<(K, V)>> {
        self.check_process()?;
        let guard = crossbeam_epoch::pin();
        let last = self.entries.index().last(&guard);
        last.map(|(key, cell)| Ok((key, self.entries.value(cell, &guard)?))).transpose()
    }

    /// Number of entries; while others change the map, a number that it had around now.
    pub fn len(&self) -> usize {
        self.entries.len() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self, Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries with keys in `range`, in order.
    ///
    /// Read a leaf at a time: what is there all the while is seen once, what comes and goes meanwhile may be seen or not,
    /// and the keys ascend.
    pub fn range(&self, range: impl KeyRange<K>) -> Iter<'_, K, V> {
        let (low, high) = range.bounds();
        Iter::new(self, low.cloned(), high.cloned())
    }

    /// Compares all that is on media with the index. For a map that nobody changes meanwhile.
    pub fn check(&self) -> Result<()> {
        self.check_process()?;
        self.entries.check().map(drop)
    }
}

/// Entries of a [`ConcurrentMap`] in order.
pub struct Iter<'m, K: SharedKey, V> {
    map: &'m ConcurrentMap<K, V>,
    /// Entries that were read.
    read: vec::IntoIter<Result<(K, V)>>,
    /// Where to read on.
    low: Option<Bound<K>>,
    high: Bound<K>,
}

impl<'m, K: SharedKey, V: Plain> Iter<'m, K, V> {
    fn new(map: &'m ConcurrentMap<K, V>, low: Bound<K>, high: Bound<K>) -> Self {
        Iter { map, read: Vec::new().into_iter(), low: Some(low), high }
    }

    /// Reads the next leaf that has anything.
    fn read_on(&mut self, low: Bound<K>) {
        if let Err(e) = self.map.check_process() {
            (self.read, self.low) = (vec![Err(e)].into_iter(), None);
            return;
        }
        let (guard, mut read, mut beyond) = (crossbeam_epoch::pin(), Vec::new(), false);
        let next = self.map.entries.index().entries_from(low, &guard, |key, cell| {
            beyond = beyond
                || match &self.high {
                    Bound::Included(high) => key > high,
                    Bound::Excluded(high) => key >= high,
                    Bound::Unbounded => false,
                };
            if !beyond {
                read.push(self.map.entries.value(cell, &guard).map(|value| (*key, value)));
            }
        });
        self.read = read.into_iter();
        self.low = next.filter(|_| !beyond);
    }
}

impl<K: SharedKey, V: Plain> Iterator for Iter<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.read.next() {
                return Some(entry);
            }
            let low = self.low.take()?;
            self.read_on(low);
        }
    }
}

impl<K: SharedKey, V> Clone for ConcurrentMap<K, V> {
    fn clone(&self) -> Self {
        ConcurrentMap { entries: self.entries.clone(), pool: self.pool.clone() }
    }
}

impl<K: SharedKey, V: Plain> fmt::Debug for ConcurrentMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentMap").field("len", &self.len()).finish_non_exhaustive()
    }
}
