//! [`ConcurrentHashMap`].

use super::{
    cells::Shape,
    entries::{Entries, Hashed, shape_of},
    object::{self, Fate, Kind},
    shortcut::Shortcut,
};
use pmem_alloc::{EncodeAs, Plain, Pool, Result, Slab};
use std::{fmt, marker::PhantomData, sync::Arc};

struct HashMapKind<K, V>(PhantomData<fn() -> (K, V)>);

impl<K: Plain, V: Plain> Kind for HashMapKind<K, V> {
    fn type_name() -> String {
        format!("ConcurrentHashMap<{}, {}>", K::full_name(), V::full_name())
    }
    const KEY: usize = size_of::<K>();
    const VALUE: usize = size_of::<V>();
    fn shape() -> Result<Shape> {
        shape_of::<K, V>()
    }
}

/// A hash map for any number of threads. Each operation is atomic, durable and linearizable when it returns, without a
/// transaction: after a crash every change that returned is there, and one that had not is there as a whole or not at all.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 22)?)?;
/// let hits = ConcurrentHashMap::<u64, u64>::open(&pool, "hits")?;
/// std::thread::scope(|s| {
///     for _ in 0..4 {
///         s.spawn(|| (0..100).try_for_each(|page| hits.update(page, |n| n.unwrap_or(0) + 1).map(drop)));
///     }
/// });
/// assert_eq!(hits.get(7)?, Some(4));
/// assert_eq!(hits.len(), 100);
/// # Ok(()) }
/// ```
///
/// Keys and values are plain data of up to 4,080 bytes together; values are copied out. A handle is cheap to clone; all
/// handles on one object of an open pool share its index, which is in DRAM: about 24 to 48 bytes an entry, made
/// anew by a parallel scan when the first handle opens it. On media an entry takes 16 bytes and what key and value take, each
/// in whole words.
///
/// | | drains | lock |
/// |---|---|---|
/// | `get`, `contains_key`, `len`, iteration | 0 | none |
/// | `insert`, `update`, `remove` that change something | 1 | one of 256, by key |
/// | `remove` right after an overwrite of the key | 2 | the same |
///
/// From time to time a put allocates another slab, in a transaction of the pool: 3 drains more. A thread that has a
/// transaction of the pool open gets [`WouldDeadlock`](crate::ErrorKind::WouldDeadlock) then.
///
/// Protocol and essay: `concurrent/cells.rs`. The index follows FPTree's rule (SIGMOD'16): what can be rebuilt is in DRAM.
pub struct ConcurrentHashMap<K, V> {
    entries: Arc<Entries<K, V, Slab, Hashed>>,
    pool: Pool,
}

impl<K: Plain, V: Plain> ConcurrentHashMap<K, V> {
    /// Opens the map `name`, or makes it. 1 drain if another handle is open; otherwise the map is read once, and what is
    /// found is flushed: 1 drain and two for each thread that helps.
    ///
    /// # Errors
    ///
    /// [`WrongType`](crate::ErrorKind::WrongType); damage of header or list of slabs; no space; an open transaction of
    /// this thread. [`TooLarge`](super::TooLarge) as the reason of an abort.
    pub fn open(pool: &Pool, name: &str) -> Result<Self> {
        Self::open_with(pool, name, None)
    }

    /// For the tests of the tests.
    #[doc(hidden)]
    pub fn open_with(pool: &Pool, name: &str, shortcut: Option<Shortcut>) -> Result<Self> {
        let header = object::locate::<HashMapKind<K, V>>(pool, name)?;
        let entries = pool.companion(header, || {
            let (cells, _) = object::open_cells::<HashMapKind<K, V>>(pool, name, shortcut)?;
            let entries = Entries::new(cells);
            object::recover(entries.cells(), |cell, _, payload| {
                entries.admit(cell, payload, &crossbeam_epoch::pin()).map(|()| Fate::Keep)
            })?;
            Ok(entries)
        })?;
        Ok(ConcurrentHashMap { entries, pool: pool.clone() })
    }

    fn check_process(&self) -> Result<()> {
        Ok(self.pool.region().check_process()?)
    }

    /// The value for `key`.
    ///
    /// # Errors
    ///
    /// Damage: the bits are no `V`. A forked child.
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
    ///
    /// # Errors
    ///
    /// No space: nothing was changed. A failed write-back poisons the pool.
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

    /// Number of entries; while others change the map, a number that it had around now.
    pub fn len(&self) -> usize {
        self.entries.len() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, in no order. Entries that are there all the while are seen once; of those that come and go meanwhile,
    /// anything may be seen.
    pub fn iter(&self) -> impl Iterator<Item = Result<(K, V)>> {
        (0..)
            .map_while(|stripe| {
                if let Err(forked) = self.check_process() {
                    return (stripe == 0).then(|| vec![Err(forked)]);
                }
                let guard = crossbeam_epoch::pin();
                let cells = self.entries.index().cells(stripe, &guard)?;
                Some(cells.map(|cell| self.entries.entry(cell, &guard)).collect::<Vec<_>>())
            })
            .flatten()
    }

    /// Compares all that is on media with the index. For a map that nobody changes meanwhile.
    pub fn check(&self) -> Result<()> {
        self.check_process()?;
        self.entries.check().map(drop)
    }
}

impl<K, V> Clone for ConcurrentHashMap<K, V> {
    fn clone(&self) -> Self {
        ConcurrentHashMap { entries: self.entries.clone(), pool: self.pool.clone() }
    }
}

impl<K: Plain, V: Plain> fmt::Debug for ConcurrentHashMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentHashMap").field("len", &self.len()).finish_non_exhaustive()
    }
}
