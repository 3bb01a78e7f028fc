//! [`PHashMap`], and the guard on it.
//!
//! [`HashMapGuard`] has the methods; [`Entry`], [`Iter`] and [`Drain`] are what they return.

mod drain;
mod entry;
mod iter;

pub use crate::{
    Salvage,
    hash::{EntryTooLarge, TableSummary, TooManyEqualHashes},
    stored::{MAX_KEY, MAX_VALUE, Old},
};
pub use drain::Drain;
pub use entry::{Entry, Found, OccupiedEntry, VacantEntry};
pub use iter::{Iter, Keys};

use crate::{
    hash::{self, Gone, Place, Table},
    stored,
};
use pmem_alloc::{
    Body, EncodeAs, Form, Key, Mode, Mut, Object, Plain, Ptr, Read, Result, Shape, Stored, Tracer, Types,
    Value, Write,
};
use std::{fmt, marker::PhantomData};

/// A map without order: extendible hashing. Open it for a [`HashMapGuard`].
///
/// Keys are anything with a canonical stored form ([`Key`]; hashed and compared as its bytes), values anything that can be
/// stored ([`Value`]), or containers (`PHashMap<String, PHashSet<u64>>`). Plain entries have up to about 4,000 bytes
/// ([`EntryTooLarge`] otherwise); what varies in length, up to [`MAX_KEY`] and [`MAX_VALUE`] bytes (`TooLarge` otherwise).
///
/// The hash is keyed (SipHash-1-3, as std's), so that chosen keys cannot flood the map. No insert rehashes the map: the
/// longest splits one segment of 8 KiB. Space: 27 to 41 bytes for an entry of two `u64`; an empty map has 64 bytes, one of
/// up to 14 entries 320.
pub struct PHashMap<K, V>(PhantomData<fn() -> (K, V)>);

impl<K: Key, V: Stored> Stored for PHashMap<K, V> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PHashMap<{}, {}>", K::type_name(), V::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PHashMap", |types| vec![types.add::<K>(), types.add::<V>()])
    }
}

impl<K: Key, V: Stored> Object for PHashMap<K, V> {
    type Guard<'t, M: Mode> = HashMapGuard<'t, K, V, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        hash::create::<K, V>(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<HashMapGuard<'_, K, V, M>> {
        Ok(HashMapGuard { table: Table::attach(body, header)? })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.open_mut::<Self>(header)?.clear()?;
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        body.open::<Self>(header)?.table.trace(tracer)
    }
}

/// A [`PHashMap`], during a transaction.
///
/// Reads borrow the guard, so the references they return can be used until the guard is changed or the
/// transaction ends. Every operation can fail, because what is in the pool is checked as it is read; the crate's
/// page says what to do then.
///
/// What is read is `K::Ref` and `V::Ref`: `&u64` of a `u64`, `&str` of a `String`; see [`Value`]. Values that are plain
/// can be changed in place ([`get_mut`](HashMapGuard::get_mut)); values that are containers are opened
/// ([`open`](HashMapGuard::open), [`open_mut`](HashMapGuard::open_mut)).
///
/// No operation drains: the transaction's commit does, once; twice if a segment was split in it, about one insert in 250.
/// What an operation on entries of two `u64` changes: an insert 3 lines (the slot; fingerprint and bitmap; the header's
/// length), a remove 2; splits included, on average 3.7 while a map doubles.
pub struct HashMapGuard<'t, K, V, M: Mode = Read> {
    table: Table<'t, K, V, M>,
}

/// Reading, whatever the values are.
impl<K: Key, V: Stored, M: Mode> HashMapGuard<'_, K, V, M> {
    /// Number of entries. Kept in the header: costs nothing.
    pub fn len(&self) -> usize {
        self.table.len() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is an entry for `key`.
    pub fn contains_key(&self, key: impl EncodeAs<K>) -> Result<bool> {
        Ok(self.table.find(&stored::key_form::<K>(key.arg())?)?.is_some())
    }

    /// Whether there is an entry for a key, in its stored form.
    pub(crate) fn contains_form(&self, key: &[u8]) -> Result<bool> {
        Ok(self.table.find(key)?.is_some())
    }

    /// The keys, in an order that means nothing. Yields `Result`s; an error is the last item.
    pub fn keys(&self) -> Keys<'_, K, V, M> {
        Keys::new(&self.table)
    }
}

/// Reading values.
impl<K: Key, V: Value, M: Mode> HashMapGuard<'_, K, V, M> {
    /// The value for `key`; zero-copy where the type allows.
    pub fn get(&self, key: impl EncodeAs<K>) -> Result<Option<V::Ref<'_>>> {
        let found = self.table.find(&stored::key_form::<K>(key.arg())?)?;
        found.map(|(bucket, at)| bucket.value(at.slot)).transpose()
    }

    /// The entry for `key`: the key as it is stored, and the value.
    pub fn get_key_value(&self, key: impl EncodeAs<K>) -> Result<Option<(K::Ref<'_>, V::Ref<'_>)>> {
        let found = self.table.find(&stored::key_form::<K>(key.arg())?)?;
        found.map(|(bucket, at)| Ok((bucket.key(at.slot)?, bucket.value(at.slot)?))).transpose()
    }

    /// All entries, in an order that means nothing. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Iter<'_, K, V, M> {
        Iter::new(&self.table)
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = Result<V::Ref<'_>>> {
        self.iter().map(|entry| entry.map(|(_, value)| value))
    }

    /// Reads the whole map and checks it: directory, homes, counts, fingerprints, bits of keys and values, the length, that
    /// no key is there twice, and no block has two owners. `Corrupt` names the first place that is wrong.
    pub fn check(&self) -> Result<TableSummary> {
        self.table.check(|bucket, slot| bucket.value(slot).map(drop))
    }

    /// Hands `take` every entry that can be read, damaged or not as the map may be, in an order that means nothing; what cannot be read is passed over, and
    /// is in the answer. Copy it into a new map:
    ///
    /// ```
    /// # use pmem_collections::*; fn main() -> Result<()> {
    /// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
    /// # pool.write(|tx| tx.open::<PHashMap<u64, u64>>("scores")?.insert(1, 2).map(drop))?;
    /// let salvage = pool.write(|tx| {
    ///     let damaged = tx.open::<PHashMap<u64, u64>>("scores")?;
    ///     let mut copy = tx.open::<PHashMap<u64, u64>>("scores, saved")?;
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
        self.table.salvage(&mut salvage, &mut |salvage, bucket, slot| match bucket
            .key(slot)
            .and_then(|key| Ok((key, bucket.value(slot)?)))
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
impl<K: Key, V: Object, M: Mode> HashMapGuard<'_, K, V, M> {
    /// The object for `key`, to read.
    pub fn open(&self, key: impl EncodeAs<K>) -> Result<Option<V::Guard<'_, M::Shared>>> {
        let found = self.table.find(&stored::key_form::<K>(key.arg())?)?;
        found.map(|(bucket, at)| bucket.object(at.slot)).transpose()
    }

    /// As [`check`](HashMapGuard::check), for a map of objects: of these, `check_object` checks each.
    pub fn check_objects(
        &self,
        check_object: impl Fn(V::Guard<'_, M::Shared>) -> Result<()>,
    ) -> Result<TableSummary> {
        self.table.check(|bucket, slot| check_object(bucket.object(slot)?))
    }
}

impl<K: Key, V: Object> HashMapGuard<'_, K, V, Write> {
    /// The object for `key`, to change; made if there is none.
    pub fn open_mut(&mut self, key: impl EncodeAs<K>) -> Result<Mut<'_, V>> {
        let key = stored::key_form::<K>(key.arg())?;
        let at = match self.table.place(&key)? {
            Place::Taken(at) => at,
            place => {
                let object = stored::make_object::<V>(&mut self.table.body)?;
                self.table.insert_new(place, &key, object)?
            }
        };
        self.table.object_mut(at)
    }
}

/// Taking out, whatever the values are.
impl<K: Key, V: Stored> HashMapGuard<'_, K, V, Write> {
    /// Removes the entry for `key`; returns what was there. An object is destroyed, with all that is in it.
    pub fn remove(&mut self, key: impl EncodeAs<K>) -> Result<Option<Old<V>>> {
        let Some((bucket, at)) = self.table.find(&stored::key_form::<K>(key.arg())?)? else {
            return Ok(None);
        };
        let old = bucket.old(at.slot)?;
        self.table.remove_at(at)?;
        Ok(Some(old))
    }

    /// Keeps the entries for whose keys `keep` says so.
    pub fn retain_keys(&mut self, mut keep: impl FnMut(K::Ref<'_>) -> bool) -> Result<()> {
        self.retain_slots(|bucket, slot| Ok(keep(bucket.key(slot)?)))
    }

    fn retain_slots(
        &mut self,
        mut keep: impl FnMut(&hash::Bucket<'_, K, V, Write>, usize) -> Result<bool>,
    ) -> Result<()> {
        let mut from = Some(0);
        while let Some(hash) = from {
            let Some(view) = self.table.segment_from(hash)? else { return Ok(()) };
            let mut gone = Gone::none(&view);
            for (number, gone) in gone.gone.iter_mut().enumerate() {
                let bucket = view.bucket(number)?;
                for slot in bucket.slots() {
                    if !keep(&bucket, slot)? {
                        *gone |= 1 << slot;
                    }
                }
            }
            from = view.next();
            if gone.gone.iter().any(|&gone| gone != 0) {
                self.table.remove_slots(&gone)?;
            }
        }
        Ok(())
    }

    /// Removes all entries and frees all blocks, and all that values refer to.
    pub fn clear(&mut self) -> Result<()> {
        self.table.clear()
    }
}

/// Changing values.
impl<'t, K: Key, V: Value> HashMapGuard<'t, K, V, Write> {
    /// Sets the value for `key`. Returns what was there; looking at it is optional, so that a damaged old value does
    /// not stop an overwrite. The key that is stored stays.
    ///
    /// # Errors
    ///
    /// `TooLarge` beyond [`MAX_KEY`] or [`MAX_VALUE`] bytes; [`NoSpace`](crate::ErrorKind::NoSpace);
    /// [`TooManyEqualHashes`] as the reason of an abort: nothing was inserted then, and the map can be used.
    pub fn insert(&mut self, key: impl EncodeAs<K>, value: impl EncodeAs<V>) -> Result<Option<Old<V>>> {
        let (key, value) = (stored::key_form::<K>(key.arg())?, stored::form::<V>(value.arg())?);
        let place = self.table.place(&key)?;
        let old = match place {
            Place::Taken(at) => Some(self.table.bucket_of(at)?.old(at.slot)?),
            _ => None,
        };
        self.table.insert_at(place, &key, &value)?;
        Ok(old)
    }

    /// Inserts many. (Not `std::iter::Extend`, which cannot fail.)
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
        Entry::new(&mut self.table, key)
    }

    /// Keeps the entries for which `keep` says so. A segment at a time: if `keep` panics, or damage ends it,
    /// the segments before were treated.
    pub fn retain(&mut self, mut keep: impl FnMut(K::Ref<'_>, V::Ref<'_>) -> bool) -> Result<()> {
        self.retain_slots(|bucket, slot| Ok(keep(bucket.key(slot)?, bucket.value(slot)?)))
    }

    /// Takes all entries out. The map is empty at once, whether or not they are looked at; they are read, and their
    /// blocks freed, as the iterator goes, and the rest when it is dropped.
    pub fn drain(&mut self) -> Result<Drain<'_, 't, K, V>> {
        Drain::new(&mut self.table)
    }
}

impl<K: Key, V: Plain> HashMapGuard<'_, K, V, Write> {
    /// The value for `key`, to change in place.
    pub fn get_mut(&mut self, key: impl EncodeAs<K>) -> Result<Option<&mut V>> {
        match self.table.find(&stored::key_form::<K>(key.arg())?)? {
            Some((_, at)) => self.table.value_mut(at).map(Some),
            None => Ok(None),
        }
    }
}

impl<'g, K: Key, V: Value, M: Mode> IntoIterator for &'g HashMapGuard<'_, K, V, M> {
    type Item = Result<(K::Ref<'g>, V::Ref<'g>)>;
    type IntoIter = Iter<'g, K, V, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a map of std; where damage ends it, the error stands for the rest.
impl<K: Key, V: Value, M: Mode> fmt::Debug for HashMapGuard<'_, K, V, M>
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
