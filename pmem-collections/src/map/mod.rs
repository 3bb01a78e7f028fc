//! [`PBTreeMap`], and the guard on it.
//!
//! [`MapGuard`] has the methods; [`Entry`], [`Iter`] and [`KeyRange`] are what they take and return.

mod entry;
mod iter;
mod range;

pub use crate::{
    Salvage,
    stored::{MAX_KEY, MAX_VALUE, Old},
    tree::{EntryTooLarge, TreeSummary},
};
pub use entry::{Entry, Found, OccupiedEntry, VacantEntry};
pub use iter::{Iter, Keys, Objects};
pub use range::KeyRange;

use crate::{
    stored::{self, StoredBytes, align_of_form},
    tree::{self, Aim, Leaf, Place, Tree},
};
use pmem_alloc::{
    Body, EncodeAs, Form, Mode, Mut, Object, OrdKey, Plain, Ptr, Read, Result, Shape, Stored, Tracer, Types,
    Value, Write,
};
use std::{fmt, marker::PhantomData, ops::Bound};

/// A map in key order: a B+tree. Open it for a [`MapGuard`].
///
/// Keys are anything with an order ([`OrdKey`]), values anything that can be stored ([`Value`]), or containers
/// (`PBTreeMap<String, PBTreeMap<u64, u64>>`). Plain entries have up to about 4,000 bytes ([`EntryTooLarge`] otherwise);
/// what varies in length, up to [`MAX_KEY`] and [`MAX_VALUE`] bytes (`TooLarge` otherwise).
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut remarks = tx.open::<PBTreeMap<(String, u32), Option<String>>>("remarks")?;
///     remarks.insert(("ada", 1815), Some("poetical science"))?;
///     remarks.insert(("grace", 1906), None::<&str>)?;
///     let all = remarks.range(("ada", 0)..)?.collect::<Result<Vec<_>>>()?;
///     assert_eq!(all, [(("ada", 1815), Some("poetical science")), (("grace", 1906), None)]);
///
///     let mut mails = tx.open::<PBTreeMap<String, PBTreeMap<u64, String>>>("mails")?;
///     mails.open_mut("ada")?.insert(1, "hello")?;
///     assert_eq!(mails.open("ada")?.unwrap().get(1)?, Some("hello"));
///     Ok(())
/// })
/// # }
/// ```
///
/// Space: about 25 bytes for an entry of two `u64` after random inserts, 18 after inserts in ascending order. What
/// varies in length takes 24 bytes of its leaf, and if it has more than 20, a block of its own.
pub struct PBTreeMap<K, V>(PhantomData<fn() -> (K, V)>);

impl<K: OrdKey, V: Stored> Stored for PBTreeMap<K, V> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PBTreeMap<{}, {}>", K::type_name(), V::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PBTreeMap", |types| vec![types.add::<K>(), types.add::<V>()])
    }
}

impl<K: OrdKey, V: Stored> Object for PBTreeMap<K, V> {
    type Guard<'t, M: Mode> = MapGuard<'t, K, V, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        tree::create::<K, V>(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<MapGuard<'_, K, V, M>> {
        Ok(MapGuard { tree: Tree::attach(body, header)? })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.open_mut::<Self>(header)?.clear()?;
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        body.open::<Self>(header)?.tree.trace(tracer)
    }
}

/// A [`PBTreeMap`], during a transaction.
///
/// Reads borrow the guard, so the references they return can be used until the guard is changed or the
/// transaction ends. Every operation can fail, because what is in the pool is checked as it is read; the crate's
/// page says what to do then.
///
/// What is read is `K::Ref` and `V::Ref`: `&u64` of a `u64`, `&str` of a `String`; see [`Value`]. Values that are plain
/// can be changed in place ([`get_mut`](MapGuard::get_mut)); values that are containers are opened
/// ([`open`](MapGuard::open), [`open_mut`](MapGuard::open_mut)).
///
/// No operation drains: the transaction's commit does, once. What an operation on entries of two `u64` changes: an
/// insert 3 lines (the slot; fingerprint and bitmap; the header's length), a remove 2; splits and merges
/// included, on average 3.6 and 2.4 while 100,000 random keys go in and out again.
pub struct MapGuard<'t, K, V, M: Mode = Read> {
    tree: Tree<'t, K, V, M>,
}

/// Reading, whatever the values are.
impl<K: OrdKey, V: Stored, M: Mode> MapGuard<'_, K, V, M> {
    /// Number of entries. Kept in the header: costs nothing.
    pub fn len(&self) -> usize {
        self.tree.len() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is an entry for `key`.
    pub fn contains_key(&self, key: impl EncodeAs<K>) -> Result<bool> {
        Ok(matches!(self.tree.find(&stored::key_form::<K>(key.arg())?)?, Place::Taken(_)))
    }

    /// The keys in order.
    pub fn keys(&self) -> Keys<'_, K, V, M> {
        Keys::new(&self.tree)
    }
}

/// Reading values.
impl<K: OrdKey, V: Value, M: Mode> MapGuard<'_, K, V, M> {
    /// The value for `key`; zero-copy where the type allows.
    pub fn get(&self, key: impl EncodeAs<K>) -> Result<Option<V::Ref<'_>>> {
        let key = stored::key_form::<K>(key.arg())?;
        let Some(leaf) = self.tree.leaf_for(&key)? else { return Ok(None) };
        let Some(slot) = leaf.find(&key)? else { return Ok(None) };
        leaf.value(slot).map(Some)
    }

    /// The entry for `key`: the key as it is stored, and the value.
    pub fn get_key_value(&self, key: impl EncodeAs<K>) -> Result<Option<(K::Ref<'_>, V::Ref<'_>)>> {
        let key = stored::key_form::<K>(key.arg())?;
        let Some(leaf) = self.tree.leaf_for(&key)? else { return Ok(None) };
        let Some(slot) = leaf.find(&key)? else { return Ok(None) };
        Ok(Some((leaf.key(slot)?, leaf.value(slot)?)))
    }

    /// The entry with the smallest key.
    pub fn first(&self) -> Result<Option<(K::Ref<'_>, V::Ref<'_>)>> {
        self.edge(Aim::First)
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Result<Option<(K::Ref<'_>, V::Ref<'_>)>> {
        self.edge(Aim::Last)
    }

    fn edge(&self, aim: Aim<'_>) -> Result<Option<(K::Ref<'_>, V::Ref<'_>)>> {
        let Some((path, slot)) = self.tree.edge(aim)? else { return Ok(None) };
        let leaf = self.tree.leaf(path.leaf)?;
        Ok(Some((leaf.key(slot)?, leaf.value(slot)?)))
    }

    /// All entries in order. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Iter<'_, K, V, M> {
        Iter::new(&self.tree, Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries with keys in `range`, from both ends: `3..9`, `"a".."b"`, `5..=9`, `..`, `(Bound::Excluded(7),
    /// Bound::Unbounded)`.
    ///
    /// A range that ends before it starts has no entries.
    pub fn range(&self, range: impl KeyRange<K>) -> Result<Iter<'_, K, V, M>> {
        let (low, high) = owned_bounds(range)?;
        Ok(Iter::new(&self.tree, low, high))
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = Result<V::Ref<'_>>> {
        self.iter().map(|entry| entry.map(|(_, value)| value))
    }

    /// Reads the whole map and checks it: order, separators, levels, counts, fingerprints, bits of keys and values, the
    /// length, and that no node or block is reached twice. `Corrupt` names the first that is wrong.
    pub fn check(&self) -> Result<TreeSummary> {
        self.tree.check(|leaf, slot| leaf.value(slot).map(drop))
    }

    /// Hands `take` every entry that can be read, damaged or not as the map may be, leaf by leaf in the order of keys (not within a leaf); what cannot be read is passed over, and
    /// is in the answer. Copy it into a new map:
    ///
    /// ```
    /// # use pmem_collections::*; fn main() -> Result<()> {
    /// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
    /// # pool.write(|tx| tx.open::<PBTreeMap<u64, u64>>("scores")?.insert(1, 2).map(drop))?;
    /// let salvage = pool.write(|tx| {
    ///     let damaged = tx.open::<PBTreeMap<u64, u64>>("scores")?;
    ///     let mut copy = tx.open::<PBTreeMap<u64, u64>>("scores, saved")?;
    ///     damaged.salvage(|key, value| copy.insert(key, value).map(drop))
    /// })?;
    /// println!("{} of {} entries", salvage.entries, salvage.expected);
    /// assert!(salvage.is_whole());
    /// # Ok(()) }
    /// ```
    ///
    /// What is handed over can be read; whether it is what was there, only a checksum of your own could tell.
    ///
    /// # Errors
    ///
    /// Those of `take`, at once. (A map whose header is damaged cannot be opened.)
    pub fn salvage(&self, mut take: impl FnMut(K::Ref<'_>, V::Ref<'_>) -> Result<()>) -> Result<Salvage> {
        let mut salvage = Salvage::default();
        self.tree.salvage(&mut salvage, &mut |salvage, leaf, slot| match leaf
            .key(slot)
            .and_then(|key| Ok((key, leaf.value(slot)?)))
        {
            Ok((key, value)) => take(key, value).map(|()| true),
            Err(error) => {
                salvage.lost(error);
                Ok(false)
            }
        })?;
        Ok(salvage)
    }
}

/// Maps of containers: the inner object comes through the map's guard, which it borrows.
impl<K: OrdKey, V: Object, M: Mode> MapGuard<'_, K, V, M> {
    /// The object for `key`, to read.
    pub fn open(&self, key: impl EncodeAs<K>) -> Result<Option<V::Guard<'_, M::Shared>>> {
        let key = stored::key_form::<K>(key.arg())?;
        let Some(leaf) = self.tree.leaf_for(&key)? else { return Ok(None) };
        let Some(slot) = leaf.find(&key)? else { return Ok(None) };
        leaf.object(slot).map(Some)
    }

    /// Keys and objects in order.
    pub fn objects(&self) -> Objects<'_, K, V, M> {
        Objects::new(&self.tree)
    }

    /// As [`check`](MapGuard::check), for a map of objects: of these, `check_object` checks each.
    pub fn check_objects(
        &self,
        check_object: impl Fn(V::Guard<'_, M::Shared>) -> Result<()>,
    ) -> Result<TreeSummary> {
        self.tree.check(|leaf, slot| check_object(leaf.object(slot)?))
    }
}

impl<K: OrdKey, V: Object> MapGuard<'_, K, V, Write> {
    /// The object for `key`, to change; made if there is none.
    pub fn open_mut(&mut self, key: impl EncodeAs<K>) -> Result<Mut<'_, V>> {
        let key = stored::key_form::<K>(key.arg())?;
        let at = match self.tree.find(&key)? {
            Place::Taken(at) => at,
            place => {
                let object = stored::make_object::<V>(&mut self.tree.body)?;
                self.tree.insert_new(place, &key, object)?
            }
        };
        self.tree.object_mut(at)
    }
}

/// Taking out, whatever the values are.
impl<'t, K: OrdKey, V: Stored> MapGuard<'t, K, V, Write> {
    /// Removes the entry for `key`; returns what was there. An object is destroyed, with all that is in it.
    pub fn remove(&mut self, key: impl EncodeAs<K>) -> Result<Option<Old<V>>> {
        let key = stored::key_form::<K>(key.arg())?;
        let Some(path) = self.tree.path(Aim::Key(&key))? else { return Ok(None) };
        let leaf = self.tree.leaf(path.leaf)?;
        let Some(slot) = leaf.find(&key)? else { return Ok(None) };
        let old = leaf.old(slot)?;
        self.tree.remove_slots(&path, 1 << slot)?;
        Ok(Some(old))
    }

    /// Removes the entry with the smallest key.
    pub fn pop_first(&mut self) -> Result<Option<(K, Old<V>)>> {
        self.pop(Aim::First)
    }

    /// Removes the entry with the greatest key.
    pub fn pop_last(&mut self) -> Result<Option<(K, Old<V>)>> {
        self.pop(Aim::Last)
    }

    fn pop(&mut self, aim: Aim<'_>) -> Result<Option<(K, Old<V>)>> {
        let Some((path, slot)) = self.tree.edge(aim)? else { return Ok(None) };
        let leaf = self.tree.leaf(path.leaf)?;
        let (key, old) = (K::to_owned(leaf.key(slot)?), leaf.old(slot)?);
        self.tree.remove_slots(&path, 1 << slot)?;
        Ok(Some((key, old)))
    }

    /// Keeps the entries for whose keys `keep` says so, asked in order. One change of the bitmap per leaf.
    pub fn retain_keys(&mut self, mut keep: impl FnMut(K::Ref<'_>) -> bool) -> Result<()> {
        self.tree.retain(Bound::Unbounded, &Bound::Unbounded, |leaf, slot| Ok(keep(leaf.key(slot)?)))
    }

    /// Removes all entries and frees all nodes, and all that values refer to.
    pub fn clear(&mut self) -> Result<()> {
        self.tree.clear()
    }
}

/// Changing values.
impl<'t, K: OrdKey, V: Value> MapGuard<'t, K, V, Write> {
    /// Sets the value for `key`. Returns what was there; looking at it is optional, so that an old value whose bytes are
    /// damaged does not stop an overwrite. The key that is stored stays.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond [`MAX_KEY`] or [`MAX_VALUE`] bytes; `NoSpace`. Nothing was changed then.
    pub fn insert(&mut self, key: impl EncodeAs<K>, value: impl EncodeAs<V>) -> Result<Option<Old<V>>> {
        let (key, value) = (stored::key_form::<K>(key.arg())?, stored::form::<V>(value.arg())?);
        let place = self.tree.find(&key)?;
        let old = match place {
            Place::Taken(at) => Some(self.tree.leaf(at.leaf)?.old(at.slot)?),
            _ => None,
        };
        self.tree.insert_at(place, &key, &value)?;
        Ok(old)
    }

    /// Inserts many, one by one. (Not `std::iter::Extend`, which cannot fail.)
    pub fn extend(
        &mut self,
        items: impl IntoIterator<Item = (impl EncodeAs<K>, impl EncodeAs<V>)>,
    ) -> Result<()> {
        items.into_iter().try_for_each(|(key, value)| self.insert(key, value).map(drop))
    }

    /// The place for `key`: `*counts.entry(word).or_insert(0)? += 1`.
    ///
    /// An error of the search comes from the method that ends the chain.
    pub fn entry<Q: EncodeAs<K>>(&mut self, key: Q) -> Entry<'_, 't, K, V, Q> {
        Entry::new(&mut self.tree, key)
    }

    /// Keeps the entries for which `keep` says so, asked in order. One change of the bitmap per leaf.
    pub fn retain(&mut self, mut keep: impl FnMut(K::Ref<'_>, V::Ref<'_>) -> bool) -> Result<()> {
        let keep = |leaf: &Leaf<'_, K, V, Write>, slot| Ok(keep(leaf.key(slot)?, leaf.value(slot)?));
        self.tree.retain(Bound::Unbounded, &Bound::Unbounded, keep)
    }

    /// Takes out the entries in `range` for which `take` says so, asked in order. (As `extract_if` of std; at once, and not
    /// while an iterator goes on, so that an error cannot be dropped.)
    pub fn extract_if(
        &mut self,
        range: impl KeyRange<K>,
        mut take: impl FnMut(K::Ref<'_>, V::Ref<'_>) -> bool,
    ) -> Result<Vec<(K, Old<V>)>> {
        let (low, high) = owned_bounds(range)?;
        let mut taken = Vec::new();
        self.tree.retain(low, &high, |leaf, slot| {
            let stays = !take(leaf.key(slot)?, leaf.value(slot)?);
            if !stays {
                taken.push((K::to_owned(leaf.key(slot)?), leaf.old(slot)?));
            }
            Ok(stays)
        })?;
        Ok(taken)
    }

    /// Takes out all entries, in order.
    pub fn drain(&mut self) -> Result<Vec<(K, Old<V>)>> {
        let taken = self.iter().into_old().collect::<Result<Vec<_>>>()?;
        self.tree.clear()?;
        Ok(taken)
    }

    /// Inserts many that are, for the most part, in ascending order and beyond the greatest key: these fill leaves, with a
    /// twentieth of the lines that inserts would take. Entries in any other order are inserted as by
    /// [`extend`](MapGuard::extend).
    ///
    /// Leaves and long values are written in place before the commit, but keys and values in blocks of less than 256 bytes
    /// go through the log: many of these are best loaded by several transactions.
    ///
    /// # Errors
    ///
    /// As of [`insert`](MapGuard::insert); the entries before the one that failed are in the map.
    pub fn bulk_load(
        &mut self,
        items: impl IntoIterator<Item = (impl EncodeAs<K>, impl EncodeAs<V>)>,
    ) -> Result<()> {
        let mut items = items.into_iter();
        self.tree.bulk_load(|| items.next().map(|(key, value)| owned_entry::<K, V>(key.arg(), value.arg())))
    }

    /// Inserts many in any order: sorts them in DRAM, where all must fit, and loads them in order. Of equal keys the last
    /// counts.
    ///
    /// # Errors
    ///
    /// As of [`insert`](MapGuard::insert); the entries with smaller keys than the one that failed are in the map.
    pub fn bulk_load_unsorted(
        &mut self,
        items: impl IntoIterator<Item = (impl EncodeAs<K>, impl EncodeAs<V>)>,
    ) -> Result<()> {
        let items = items.into_iter();
        let entries = items.map(|(key, value)| owned_entry::<K, V>(key.arg(), value.arg()));
        let mut entries = entries.collect::<Result<Vec<_>>>()?;
        tree::sort::<K>(&mut entries);
        let mut entries = entries.into_iter();
        self.tree.bulk_load(|| entries.next().map(Ok))
    }
}

impl<K: OrdKey, V: Plain> MapGuard<'_, K, V, Write> {
    /// The value for `key`, to change in place.
    pub fn get_mut(&mut self, key: impl EncodeAs<K>) -> Result<Option<&mut V>> {
        match self.tree.find(&stored::key_form::<K>(key.arg())?)? {
            Place::Taken(at) => self.tree.value_mut(at).map(Some),
            _ => Ok(None),
        }
    }
}

/// Copies of a key and a value, in stored form.
fn owned_entry<K: OrdKey, V: Value>(
    key: K::Arg<'_>,
    value: V::Arg<'_>,
) -> Result<(StoredBytes, StoredBytes)> {
    let key = StoredBytes::new(&stored::key_form::<K>(key)?, const { align_of_form::<K>() });
    Ok((key, StoredBytes::new(&stored::form::<V>(value)?, const { align_of_form::<V>() })))
}

/// Copies of the bounds of a range, in stored form.
fn owned_bounds<K: OrdKey>(range: impl KeyRange<K>) -> Result<(Bound<StoredBytes>, Bound<StoredBytes>)> {
    let (low, high) = range.bounds();
    let own = |key: K::Arg<'_>| -> Result<StoredBytes> {
        Ok(StoredBytes::new(&stored::key_form::<K>(key)?, const { align_of_form::<K>() }))
    };
    let own = |bound| -> Result<Bound<StoredBytes>> {
        Ok(match bound {
            Bound::Included(key) => Bound::Included(own(key)?),
            Bound::Excluded(key) => Bound::Excluded(own(key)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    };
    Ok((own(low)?, own(high)?))
}

impl<'g, K: OrdKey, V: Value, M: Mode> IntoIterator for &'g MapGuard<'_, K, V, M> {
    type Item = Result<(K::Ref<'g>, V::Ref<'g>)>;
    type IntoIter = Iter<'g, K, V, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a map of std; where damage ends it, the error stands for the rest.
impl<K: OrdKey, V: Value, M: Mode> fmt::Debug for MapGuard<'_, K, V, M>
where
    for<'a> K::Ref<'a>: fmt::Debug,
    for<'a> V::Ref<'a>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for entry in self {
            match entry {
                Ok((key, value)) => map.entry(&key, &value),
                Err(error) => map.entry(&format_args!("error"), &error),
            };
        }
        map.finish()
    }
}
