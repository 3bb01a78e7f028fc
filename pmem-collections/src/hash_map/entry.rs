//! A key's place in a map: to look, change or insert with one search.

use super::{HashKey, HashValue, Old, old};
use crate::hash::{Place, SlotAt, Table};
use pmem_alloc::{EncodeAs, Result, Write};

/// The place for a key, taken or free; see [`HashMapGuard::entry`](super::HashMapGuard::entry).
///
/// Unlike std's it is no enum, so that `entry(key).or_insert(0)?` needs one `?` and not two: [`find`](Entry::find)
/// gives the enum.
#[must_use = "an entry alone changes nothing"]
pub struct Entry<'g, 't, K, V, Q> {
    table: &'g mut Table<'t, K, V, Write>,
    key: Q,
    place: Result<Place>,
}

/// What [`Entry::find`] found.
pub enum Found<'g, 't, K, V, Q> {
    /// The key is in the map.
    Occupied(OccupiedEntry<'g, 't, K, V>),
    /// It is not.
    Vacant(VacantEntry<'g, 't, K, V, Q>),
}

impl<'g, 't, K: HashKey, V: HashValue, Q: EncodeAs<K>> Entry<'g, 't, K, V, Q> {
    pub(super) fn new(table: &'g mut Table<'t, K, V, Write>, key: Q) -> Self {
        let place = table.place(bytemuck::bytes_of(key.arg()));
        Entry { table, key, place }
    }

    /// The key that was asked for.
    pub fn key(&self) -> &K {
        self.key.arg()
    }

    /// The value there; `value` if there was none.
    pub fn or_insert(self, value: V) -> Result<&'g mut V> {
        self.or_insert_with(|| value)
    }

    /// The value there; that of `make` if there was none.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> Result<&'g mut V> {
        self.or_insert_with_key(|_| make())
    }

    /// The value there; that of `make` for the key if there was none.
    pub fn or_insert_with_key(self, make: impl FnOnce(&K) -> V) -> Result<&'g mut V> {
        match self.find()? {
            Found::Occupied(entry) => entry.into_mut(),
            Found::Vacant(entry) => {
                let value = make(entry.key());
                entry.insert(value)
            }
        }
    }

    /// The value there; the type's default if there was none.
    pub fn or_default(self) -> Result<&'g mut V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Changes the value if there is one: `entry(key).and_modify(|n| *n += 1).or_insert(1)?`.
    pub fn and_modify(mut self, change: impl FnOnce(&mut V)) -> Self {
        if let Ok(Place::Taken(at)) = self.place {
            match self.table.value_mut(at) {
                Ok(value) => change(value),
                Err(error) => self.place = Err(error),
            }
        }
        self
    }

    /// Which of the two it is.
    pub fn find(self) -> Result<Found<'g, 't, K, V, Q>> {
        let Entry { table, key, place } = self;
        Ok(match place? {
            Place::Taken(at) => Found::Occupied(OccupiedEntry { table, at }),
            place => Found::Vacant(VacantEntry { table, key, place }),
        })
    }
}

/// A key that is in the map.
pub struct OccupiedEntry<'g, 't, K, V> {
    table: &'g mut Table<'t, K, V, Write>,
    at: SlotAt,
}

impl<'g, K: HashKey, V: HashValue> OccupiedEntry<'g, '_, K, V> {
    /// The key, as it is stored.
    pub fn key(&self) -> Result<&K> {
        self.table.bucket_of(self.at)?.key(self.at.slot)
    }

    /// The value.
    pub fn get(&self) -> Result<&V> {
        self.table.bucket_of(self.at)?.value(self.at.slot)
    }

    /// The value, to change.
    pub fn get_mut(&mut self) -> Result<&mut V> {
        self.table.value_mut(self.at)
    }

    /// The value, to change, for as long as the map is borrowed.
    pub fn into_mut(self) -> Result<&'g mut V> {
        self.table.value_mut(self.at)
    }

    /// Replaces the value.
    pub fn insert(&mut self, value: impl EncodeAs<V>) -> Result<Old<V>> {
        let old = old(&self.table.bucket_of(self.at)?, self.at);
        self.table.write_value(self.at, bytemuck::bytes_of(value.arg()))?;
        Ok(old)
    }

    /// Removes the entry.
    pub fn remove(self) -> Result<Old<V>> {
        let old = old(&self.table.bucket_of(self.at)?, self.at);
        self.table.remove_at(self.at)?;
        Ok(old)
    }
}

/// A key that is not in the map.
pub struct VacantEntry<'g, 't, K, V, Q> {
    table: &'g mut Table<'t, K, V, Write>,
    key: Q,
    place: Place,
}

impl<'g, K: HashKey, V: HashValue, Q: EncodeAs<K>> VacantEntry<'g, '_, K, V, Q> {
    /// The key.
    pub fn key(&self) -> &K {
        self.key.arg()
    }

    /// Inserts a value; returns it, to change.
    pub fn insert(self, value: impl EncodeAs<V>) -> Result<&'g mut V> {
        let at = self.table.insert_at(
            self.place,
            bytemuck::bytes_of(self.key.arg()),
            bytemuck::bytes_of(value.arg()),
        )?;
        self.table.value_mut(at)
    }
}
