//! [`PHashMap`], and the guard on it.
//!
//! [`HashMapGuard`] has the methods; [`Entry`], [`Iter`] and [`Drain`] are what they return.

mod drain;
mod entry;
mod iter;

pub use crate::{
    hash::{EntryTooLarge, TableSummary, TooManyEqualHashes},
    map::Old,
};
pub use drain::Drain;
pub use entry::{Entry, Found, OccupiedEntry, VacantEntry};
pub use iter::Iter;

use crate::hash::{self, Bucket, Gone, Place, SegmentView, SlotAt, Table};
use pmem_alloc::{Body, EncodeAs, Mode, Object, Plain, Ptr, Read, Result, Stored, Write};
use std::{fmt, marker::PhantomData};

/// A map without order: extendible hashing. Open it for a [`HashMapGuard`].
///
/// Keys and values are plain data of up to about 4,000 bytes together ([`EntryTooLarge`] otherwise). The hash is keyed
/// (SipHash-1-3, as std's), so that chosen keys cannot flood the map. No insert rehashes the map: the longest splits one
/// segment of 8 KiB. Space: 27 to 41 bytes for an entry of two `u64`; an empty map has 64 bytes, one of up to
/// 14 entries 320.
pub struct PHashMap<K, V>(PhantomData<fn() -> (K, V)>);

/// What a [`PHashMap`] has as key: plain data with equality.
///
/// Keys are hashed and compared as their bytes: keys that are equal must have equal bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a `PHashMap`",
    label = "not plain data with equality",
    note = "keys are plain data (`impl Plain`) with `Eq` (derive `PartialEq, Eq`)"
)]
pub trait HashKey: Plain + Eq {}
#[diagnostic::do_not_recommend]
impl<K: Plain + Eq> HashKey for K {}

/// What a [`PHashMap`] has as value: plain data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of a `PHashMap`",
    label = "not plain data",
    note = "a `#[repr(C)]` struct of plain fields becomes plain data with two lines:\n\
            `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]` and\n\
            `impl Plain for {Self} {{ const NAME: &'static str = \"...\"; }}`"
)]
pub trait HashValue: Plain {}
#[diagnostic::do_not_recommend]
impl<V: Plain> HashValue for V {}

impl<K: HashKey, V: HashValue> Stored for PHashMap<K, V> {
    fn type_name() -> String {
        format!("PHashMap<{}, {}>", K::full_name(), V::full_name())
    }
}

impl<K: HashKey, V: HashValue> Object for PHashMap<K, V> {
    type Guard<'t, M: Mode> = HashMapGuard<'t, K, V, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        hash::create::<K, V>(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<HashMapGuard<'_, K, V, M>> {
        Ok(HashMapGuard { table: Table::attach(body, header)? })
    }
}

/// A [`PHashMap`], during a transaction.
///
/// Reads borrow the guard, so the references they return can be used until the guard is changed or the
/// transaction ends. Every operation can fail, because what is in the pool is checked as it is read; the crate's
/// page says what to do then.
///
/// No operation drains: the transaction's commit does, once; twice if a segment was split in it, about one insert in 250.
/// What an operation on entries of two `u64` changes: an insert 3 lines (the slot; fingerprint and bitmap; the header's
/// length), a remove 2; splits included, on average 3.7 while a map doubles.
pub struct HashMapGuard<'t, K, V, M: Mode = Read> {
    table: Table<'t, K, V, M>,
}

/// A value that was at `at` and is about to go.
fn old<K: Plain, V: Plain>(bucket: &Bucket<'_, K, V>, at: SlotAt) -> Old<V> {
    let offset = bucket.at + Bucket::<K, V>::LAYOUT.value(at.slot) as u64;
    Old::new(offset, bucket.value(at.slot).ok().copied())
}

impl<K: HashKey, V: HashValue, M: Mode> HashMapGuard<'_, K, V, M> {
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
        Ok(self.table.find(bytemuck::bytes_of(key.arg()))?.is_some())
    }

    /// The value for `key`, zero-copy.
    pub fn get(&self, key: impl EncodeAs<K>) -> Result<Option<&V>> {
        let found = self.table.find(bytemuck::bytes_of(key.arg()))?;
        found.map(|(bucket, at)| bucket.value(at.slot)).transpose()
    }

    /// The entry for `key`: the key as it is stored, and the value.
    pub fn get_key_value(&self, key: impl EncodeAs<K>) -> Result<Option<(&K, &V)>> {
        let found = self.table.find(bytemuck::bytes_of(key.arg()))?;
        found.map(|(bucket, at)| Ok((bucket.key(at.slot)?, bucket.value(at.slot)?))).transpose()
    }

    /// All entries, in an order that means nothing. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Iter<'_, K, V, M> {
        Iter::new(&self.table)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = Result<&K>> {
        self.iter().map(|entry| entry.map(|(key, _)| key))
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = Result<&V>> {
        self.iter().map(|entry| entry.map(|(_, value)| value))
    }

    /// Reads the whole map and checks it: directory, homes, counts, fingerprints, bits of keys and values, the length, and that no key
    /// is there twice. `Corrupt` names the first place that is wrong.
    pub fn check(&self) -> Result<TableSummary> {
        self.table.check()
    }
}

impl<'t, K: HashKey, V: HashValue> HashMapGuard<'t, K, V, Write> {
    /// Sets the value for `key`. Returns what was there; looking at it is optional, so that a damaged old value does
    /// not stop an overwrite. The key that is stored stays.
    ///
    /// # Errors
    ///
    /// [`NoSpace`](crate::ErrorKind::NoSpace), and [`TooManyEqualHashes`] as the reason of an abort: nothing was
    /// inserted, and the map can be used.
    pub fn insert(&mut self, key: impl EncodeAs<K>, value: impl EncodeAs<V>) -> Result<Option<Old<V>>> {
        let (key, value) = (bytemuck::bytes_of(key.arg()), bytemuck::bytes_of(value.arg()));
        let place = self.table.place(key)?;
        let old = match place {
            Place::Taken(at) => Some(old(&self.table.bucket_of(at)?, at)),
            _ => None,
        };
        self.table.insert_at(place, key, value)?;
        Ok(old)
    }

    /// Inserts many. (Not `std::iter::Extend`, which cannot fail.)
    pub fn extend(
        &mut self,
        items: impl IntoIterator<Item = (impl EncodeAs<K>, impl EncodeAs<V>)>,
    ) -> Result<()> {
        items.into_iter().try_for_each(|(key, value)| self.insert(key, value).map(drop))
    }

    /// The value for `key`, to change in place.
    pub fn get_mut(&mut self, key: impl EncodeAs<K>) -> Result<Option<&mut V>> {
        match self.table.find(bytemuck::bytes_of(key.arg()))? {
            Some((_, at)) => self.table.value_mut(at).map(Some),
            None => Ok(None),
        }
    }

    /// The place for `key`: `*counts.entry(word).or_insert(0)? += 1`.
    ///
    /// An error of the search comes from the method that ends the chain.
    pub fn entry<Q: EncodeAs<K>>(&mut self, key: Q) -> Entry<'_, 't, K, V, Q> {
        Entry::new(&mut self.table, key)
    }

    /// Removes the entry for `key`; returns what was there.
    pub fn remove(&mut self, key: impl EncodeAs<K>) -> Result<Option<Old<V>>> {
        let Some((bucket, at)) = self.table.find(bytemuck::bytes_of(key.arg()))? else { return Ok(None) };
        let old = old(&bucket, at);
        self.table.remove_at(at)?;
        Ok(Some(old))
    }

    /// Keeps the entries for which `keep` says so. A segment at a time: if `keep` panics, or damage ends it,
    /// the segments before were treated.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) -> Result<()> {
        let mut from = Some(0);
        while let Some(hash) = from {
            let Some(view) = self.table.segment_from(hash)? else { return Ok(()) };
            let mut gone = Gone::none(&view);
            for (number, gone) in gone.gone.iter_mut().enumerate() {
                let bucket = view.bucket(number)?;
                for slot in bucket.slots() {
                    if !keep(bucket.key(slot)?, bucket.value(slot)?) {
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

    /// Takes all entries out. The map is empty at once, whether or not they are looked at; they are read, and their
    /// blocks freed, as the iterator goes, and the rest when it is dropped.
    pub fn drain(&mut self) -> Result<Drain<'_, 't, K, V>> {
        Drain::new(&mut self.table)
    }

    /// Removes all entries and frees all blocks.
    pub fn clear(&mut self) -> Result<()> {
        self.table.clear()
    }
}

impl<'g, K: HashKey, V: HashValue, M: Mode> IntoIterator for &'g HashMapGuard<'_, K, V, M> {
    type Item = Result<(&'g K, &'g V)>;
    type IntoIter = Iter<'g, K, V, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a map of std; where damage ends it, the error stands for the rest.
impl<K: HashKey + fmt::Debug, V: HashValue + fmt::Debug, M: Mode> fmt::Debug for HashMapGuard<'_, K, V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for entry in self {
            match entry {
                Ok((key, value)) => map.entry(key, value),
                Err(error) => map.entry(&format_args!("error"), &error),
            };
        }
        map.finish()
    }
}

/// The entries of a segment, bucket by bucket.
pub(crate) fn entries<'a, K: Plain, V: Plain>(
    view: &SegmentView<'a, K, V>,
    out: &mut Vec<(&'a K, &'a V)>,
) -> Result<()> {
    for number in 0..view.segment.buckets() {
        let bucket = view.bucket(number)?;
        for slot in bucket.slots() {
            out.push((bucket.key(slot)?, bucket.value(slot)?));
        }
    }
    Ok(())
}
