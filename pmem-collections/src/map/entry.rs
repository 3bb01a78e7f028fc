//! A key's place in a map: to look, change or insert with one search.

use super::Old;
use crate::{
    stored,
    tree::{Aim, Place, SlotAt, Tree},
};
use pmem_alloc::{EncodeAs, OrdKey, Plain, Result, Value, Write};

/// The place for a key, taken or free; see [`MapGuard::entry`](super::MapGuard::entry).
///
/// Unlike std's it is no enum, so that `entry(key).or_insert(0)?` needs one `?` and not two: [`find`](Entry::find)
/// gives the enum. Plain values are yielded to be changed in place; of others [`or_set`](Entry::or_set) yields what a read
/// does.
#[must_use = "an entry alone changes nothing"]
pub struct Entry<'g, 't, K, V, Q> {
    tree: &'g mut Tree<'t, K, V, Write>,
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

impl<'g, 't, K: OrdKey, V: Value, Q: EncodeAs<K>> Entry<'g, 't, K, V, Q> {
    pub(super) fn new(tree: &'g mut Tree<'t, K, V, Write>, key: Q) -> Self {
        let place = stored::key_form::<K>(key.arg()).and_then(|key| tree.find(&key));
        Entry { tree, key, place }
    }

    /// The key that was asked for.
    pub fn key(&self) -> K::Arg<'_> {
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
    pub fn find(self) -> Result<Found<'g, 't, K, V, Q>> {
        let Entry { tree, key, place } = self;
        Ok(match place? {
            Place::Taken(at) => Found::Occupied(OccupiedEntry { tree, at }),
            place => Found::Vacant(VacantEntry { tree, key, place }),
        })
    }
}

/// Values that can be changed in place.
impl<'g, K: OrdKey, V: Plain, Q: EncodeAs<K>> Entry<'g, '_, K, V, Q> {
    /// The value there; `value` if there was none.
    pub fn or_insert(self, value: V) -> Result<&'g mut V> {
        self.or_insert_with(|| value)
    }

    /// The value there; that of `make` if there was none.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> Result<&'g mut V> {
        self.or_insert_with_key(|_| make())
    }

    /// The value there; that of `make` for the key if there was none.
    pub fn or_insert_with_key(self, make: impl FnOnce(K::Arg<'_>) -> V) -> Result<&'g mut V> {
        match self.find()? {
            Found::Occupied(entry) => entry.into_mut(),
            Found::Vacant(entry) => {
                let value = make(entry.key());
                entry.insert_mut(value)
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
            match self.tree.value_mut(at) {
                Ok(value) => change(value),
                Err(error) => self.place = Err(error),
            }
        }
        self
    }
}

/// A key that is in the map.
pub struct OccupiedEntry<'g, 't, K, V> {
    tree: &'g mut Tree<'t, K, V, Write>,
    at: SlotAt,
}

impl<'g, K: OrdKey, V: Value> OccupiedEntry<'g, '_, K, V> {
    /// The key, as it is stored.
    pub fn key(&self) -> Result<K::Ref<'_>> {
        self.tree.leaf(self.at.leaf)?.key(self.at.slot)
    }

    /// The value.
    pub fn get(&self) -> Result<V::Ref<'_>> {
        self.tree.leaf(self.at.leaf)?.value(self.at.slot)
    }

    /// The value, for as long as the map is borrowed.
    pub fn into_ref(self) -> Result<V::Ref<'g>> {
        let tree: &'g Tree<'_, K, V, Write> = self.tree;
        tree.leaf(self.at.leaf)?.value(self.at.slot)
    }

    /// Replaces the value.
    pub fn insert(&mut self, value: impl EncodeAs<V>) -> Result<Old<V>> {
        let value = stored::form::<V>(value.arg())?;
        let old = self.tree.leaf(self.at.leaf)?.old(self.at.slot)?;
        self.tree.set_value(self.at, &value)?;
        Ok(old)
    }

    /// Removes the entry.
    pub fn remove(self) -> Result<Old<V>> {
        let leaf = self.tree.leaf(self.at.leaf)?;
        let old = leaf.old(self.at.slot)?;
        match self.tree.path(Aim::Key(leaf.key_form(self.at.slot)?))? {
            Some(path) if path.leaf == self.at.leaf => self.tree.remove_slots(&path, 1 << self.at.slot)?,
            _ => return Err(self.tree.wrong("one place for a key", "two (does its order hold?)")),
        }
        Ok(old)
    }
}

impl<'g, K: OrdKey, V: Plain> OccupiedEntry<'g, '_, K, V> {
    /// The value, to change.
    pub fn get_mut(&mut self) -> Result<&mut V> {
        self.tree.value_mut(self.at)
    }

    /// The value, to change, for as long as the map is borrowed.
    pub fn into_mut(self) -> Result<&'g mut V> {
        self.tree.value_mut(self.at)
    }
}

/// A key that is not in the map.
pub struct VacantEntry<'g, 't, K, V, Q> {
    tree: &'g mut Tree<'t, K, V, Write>,
    key: Q,
    place: Place,
}

impl<'g, K: OrdKey, V: Value, Q: EncodeAs<K>> VacantEntry<'g, '_, K, V, Q> {
    /// The key.
    pub fn key(&self) -> K::Arg<'_> {
        self.key.arg()
    }

    /// Inserts a value; returns it, as it is read.
    pub fn insert(self, value: impl EncodeAs<V>) -> Result<V::Ref<'g>> {
        let at = self.tree.insert_at(
            self.place,
            &stored::key_form::<K>(self.key.arg())?,
            &stored::form::<V>(value.arg())?,
        )?;
        OccupiedEntry { tree: self.tree, at }.into_ref()
    }

    /// Inserts a plain value; returns it, to change.
    pub fn insert_mut(self, value: impl EncodeAs<V>) -> Result<&'g mut V>
    where
        V: Plain,
    {
        let at = self.tree.insert_at(
            self.place,
            &stored::key_form::<K>(self.key.arg())?,
            &stored::form::<V>(value.arg())?,
        )?;
        self.tree.value_mut(at)
    }
}
