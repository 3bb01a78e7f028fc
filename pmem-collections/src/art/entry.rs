//! A key's place in a radix tree: to look, change or insert with one search.

use super::{ArtGuard, insert::Place};
use crate::stored::{self, Old};
use pmem_alloc::{EncodeAs, Plain, Result, Value, Write};
use std::borrow::Cow;

/// The place for a key, taken or free; see [`ArtGuard::entry`].
///
/// Unlike std's it is no enum, so that `entry(key).or_insert(0)?` needs one `?` and not two: [`find`](Entry::find)
/// gives the enum. Plain values are yielded to be changed in place; of others [`or_set`](Entry::or_set) yields what a read
/// does.
#[must_use = "an entry alone changes nothing"]
pub struct Entry<'g, 't, V, Q> {
    art: &'g mut ArtGuard<'t, V, Write>,
    key: Q,
    place: Result<Place>,
}

/// What [`Entry::find`] found.
pub enum Found<'g, 't, V, Q> {
    /// The key is in the tree.
    Occupied(OccupiedEntry<'g, 't, V>),
    /// It is not.
    Vacant(VacantEntry<'g, 't, V, Q>),
}

fn key_of(key: &impl EncodeAs<Vec<u8>>) -> Result<Cow<'_, [u8]>> {
    stored::key_form::<Vec<u8>>(key.arg())
}

impl<'g, 't, V: Value, Q: EncodeAs<Vec<u8>>> Entry<'g, 't, V, Q> {
    pub(super) fn new(art: &'g mut ArtGuard<'t, V, Write>, key: Q) -> Self {
        let place = key_of(&key).and_then(|key| art.place(&key));
        Entry { art, key, place }
    }

    /// The key that was asked for.
    pub fn key(&self) -> &[u8] {
        self.key.arg()
    }

    /// The value there; `value` if there was none. As it is read.
    pub fn or_set(self, value: impl EncodeAs<V>) -> Result<V::Ref<'g>> {
        self.or_set_with(|| value)
    }

    /// The value there; that of `make` if there was none. As it is read.
    pub fn or_set_with<X: EncodeAs<V>>(self, make: impl FnOnce() -> X) -> Result<V::Ref<'g>> {
        match self.find()? {
            Found::Occupied(entry) => entry.into_ref(),
            Found::Vacant(entry) => entry.insert(make()),
        }
    }

    /// Which of the two it is.
    pub fn find(self) -> Result<Found<'g, 't, V, Q>> {
        let Entry { art, key, place } = self;
        Ok(match place? {
            Place::Taken(leaf) => Found::Occupied(OccupiedEntry { art, leaf }),
            place => Found::Vacant(VacantEntry { art, key, place }),
        })
    }
}

/// Values that can be changed in place.
impl<'g, V: Plain, Q: EncodeAs<Vec<u8>>> Entry<'g, '_, V, Q> {
    /// The value there; `value` if there was none.
    pub fn or_insert(self, value: V) -> Result<&'g mut V> {
        self.or_insert_with(|| value)
    }

    /// The value there; that of `make` if there was none.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> Result<&'g mut V> {
        match self.find()? {
            Found::Occupied(entry) => entry.into_mut(),
            Found::Vacant(entry) => entry.insert_mut(make()),
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
        if let Ok(Place::Taken(leaf)) = self.place {
            match self.art.value_mut(leaf) {
                Ok(value) => change(value),
                Err(error) => self.place = Err(error),
            }
        }
        self
    }
}

/// A key that is in the tree.
pub struct OccupiedEntry<'g, 't, V> {
    art: &'g mut ArtGuard<'t, V, Write>,
    leaf: u64,
}

impl<'g, V: Value> OccupiedEntry<'g, '_, V> {
    /// The key, as it is stored.
    pub fn key(&self) -> Result<&[u8]> {
        Ok(self.art.leaf(self.leaf)?.key)
    }

    /// The value.
    pub fn get(&self) -> Result<V::Ref<'_>> {
        self.art.value(self.art.leaf(self.leaf)?)
    }

    /// The value, for as long as the tree is borrowed.
    pub fn into_ref(self) -> Result<V::Ref<'g>> {
        let art: &'g ArtGuard<'_, V, Write> = self.art;
        art.value(art.leaf(self.leaf)?)
    }

    /// Replaces the value.
    pub fn insert(&mut self, value: impl EncodeAs<V>) -> Result<Old<V>> {
        let form = stored::form::<V>(value.arg())?;
        self.art.replace(self.leaf, &form)
    }

    /// Removes the entry.
    pub fn remove(self) -> Result<Old<V>> {
        let leaf = self.art.leaf(self.leaf)?;
        let key = leaf.key.to_vec();
        let removed = self.art.remove_key(&key)?;
        removed.ok_or_else(|| self.art.miscounted("one that its key does not lead to"))
    }
}

impl<'g, V: Plain> OccupiedEntry<'g, '_, V> {
    /// The value, to change.
    pub fn get_mut(&mut self) -> Result<&mut V> {
        self.art.value_mut(self.leaf)
    }

    /// The value, to change, for as long as the tree is borrowed.
    pub fn into_mut(self) -> Result<&'g mut V> {
        self.art.value_mut(self.leaf)
    }
}

/// A key that is not in the tree.
pub struct VacantEntry<'g, 't, V, Q> {
    art: &'g mut ArtGuard<'t, V, Write>,
    key: Q,
    place: Place,
}

impl<'g, V: Value, Q: EncodeAs<Vec<u8>>> VacantEntry<'g, '_, V, Q> {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.key.arg()
    }

    /// Inserts a value; returns it, as it is read.
    pub fn insert(self, value: impl EncodeAs<V>) -> Result<V::Ref<'g>> {
        let leaf = self.art.insert_at(self.place, &key_of(&self.key)?, value.arg())?;
        OccupiedEntry { art: self.art, leaf }.into_ref()
    }

    /// Inserts a plain value; returns it, to change.
    pub fn insert_mut(self, value: impl EncodeAs<V>) -> Result<&'g mut V>
    where
        V: Plain,
    {
        let leaf = self.art.insert_at(self.place, &key_of(&self.key)?, value.arg())?;
        self.art.value_mut(leaf)
    }
}
