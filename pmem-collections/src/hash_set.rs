//! [`PHashSet`], and the guard on it: a hash map to values of no bytes.

use crate::{
    hash::TableSummary,
    hash_map::{Drain, HashMapGuard, Keys, PHashMap},
};
use pmem_alloc::{
    Body, EncodeAs, Form, Key, Mode, Object, Ptr, Read, Result, Shape, Stored, Tracer, Types, Write,
};
use std::{fmt, marker::PhantomData};

/// What the map of a set has as values.
type Nothing = ();

/// A set without order. Open it for a [`HashSetGuard`].
///
/// Everything that is said about [`PHashMap`] holds. Space: about 19 bytes for a `u64`.
pub struct PHashSet<K>(PhantomData<fn() -> K>);

impl<K: Key> Stored for PHashSet<K> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PHashSet<{}>", K::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PHashSet", |types| vec![types.add::<K>()])
    }
}

impl<K: Key> Object for PHashSet<K> {
    type Guard<'t, M: Mode> = HashSetGuard<'t, K, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        PHashMap::<K, Nothing>::create(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<HashSetGuard<'_, K, M>> {
        Ok(HashSetGuard { map: PHashMap::<K, Nothing>::attach(body, header)? })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        PHashMap::<K, Nothing>::destroy(body, header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        PHashMap::<K, Nothing>::trace(body, header, tracer)
    }
}

/// A [`PHashSet`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut seen = tx.open::<PHashSet<u64>>("seen")?;
///     assert!(seen.insert(7)?);
///     assert!(!seen.insert(7)?);
///     Ok(())
/// })?;
/// assert!(pool.read()?.open::<PHashSet<u64>>("seen")?.contains(7)?);
/// # Ok(()) }
/// ```
pub struct HashSetGuard<'t, K, M: Mode = Read> {
    map: HashMapGuard<'t, K, Nothing, M>,
}

impl<K: Key, M: Mode> HashSetGuard<'_, K, M> {
    /// Number of members. Kept in the header: costs nothing.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether `key` is a member.
    pub fn contains(&self, key: impl EncodeAs<K>) -> Result<bool> {
        self.map.contains_key(key)
    }

    /// The member that equals `key`, as it is stored.
    pub fn get(&self, key: impl EncodeAs<K>) -> Result<Option<K::Ref<'_>>> {
        Ok(self.map.get_key_value(key)?.map(|(key, _)| key))
    }

    /// All members, in an order that means nothing. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Members<'_, K, M> {
        Members(self.map.keys())
    }

    /// Whether every member is one of `other`'s.
    pub fn is_subset<N: Mode>(&self, other: &HashSetGuard<'_, K, N>) -> Result<bool> {
        if self.len() > other.len() {
            return Ok(false);
        }
        Ok(self.difference(other).next().transpose()?.is_none())
    }

    /// Whether every member of `other` is one of this set's.
    pub fn is_superset<N: Mode>(&self, other: &HashSetGuard<'_, K, N>) -> Result<bool> {
        other.is_subset(self)
    }

    /// Whether no member is one of `other`'s.
    pub fn is_disjoint<N: Mode>(&self, other: &HashSetGuard<'_, K, N>) -> Result<bool> {
        Ok(self.intersection(other).next().transpose()?.is_none())
    }

    /// The members that are `other`'s too.
    pub fn intersection<'a, N: Mode>(
        &'a self,
        other: &'a HashSetGuard<'_, K, N>,
    ) -> impl Iterator<Item = Result<K::Ref<'a>>> {
        self.which_are(other, true)
    }

    /// The members that are not `other`'s.
    pub fn difference<'a, N: Mode>(
        &'a self,
        other: &'a HashSetGuard<'_, K, N>,
    ) -> impl Iterator<Item = Result<K::Ref<'a>>> {
        self.which_are(other, false)
    }

    /// The members of both, each once.
    pub fn union<'a, N: Mode>(
        &'a self,
        other: &'a HashSetGuard<'_, K, N>,
    ) -> impl Iterator<Item = Result<K::Ref<'a>>> {
        self.iter().chain(other.difference(self))
    }

    /// The members of one set only.
    pub fn symmetric_difference<'a, N: Mode>(
        &'a self,
        other: &'a HashSetGuard<'_, K, N>,
    ) -> impl Iterator<Item = Result<K::Ref<'a>>> {
        self.difference(other).chain(other.difference(self))
    }

    fn which_are<'a, N: Mode>(
        &'a self,
        other: &'a HashSetGuard<'_, K, N>,
        wanted: bool,
    ) -> impl Iterator<Item = Result<K::Ref<'a>>> {
        let mut keys = self.map.keys();
        std::iter::from_fn(move || {
            loop {
                let (key, form) = match keys.next_form()? {
                    Ok(found) => found,
                    Err(error) => return Some(Err(error)),
                };
                match other.map.contains_form(form) {
                    Ok(there) if there == wanted => return Some(Ok(key)),
                    Ok(_) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }

    /// Reads the whole set and checks it, as [`HashMapGuard::check`] does.
    pub fn check(&self) -> Result<TableSummary> {
        self.map.check()
    }
}

impl<'t, K: Key> HashSetGuard<'t, K, Write> {
    /// Adds `key`; whether it was not there.
    pub fn insert(&mut self, key: impl EncodeAs<K>) -> Result<bool> {
        Ok(self.map.insert(key, ())?.is_none())
    }

    /// Adds many. (Not `std::iter::Extend`, which cannot fail.)
    pub fn extend(&mut self, keys: impl IntoIterator<Item = impl EncodeAs<K>>) -> Result<()> {
        keys.into_iter().try_for_each(|key| self.insert(key).map(drop))
    }

    /// Removes `key`; whether it was there.
    pub fn remove(&mut self, key: impl EncodeAs<K>) -> Result<bool> {
        Ok(self.map.remove(key)?.is_some())
    }

    /// Keeps the members for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(K::Ref<'_>) -> bool) -> Result<()> {
        self.map.retain_keys(&mut keep)
    }

    /// Takes all members out, as [`HashMapGuard::drain`] does.
    pub fn drain(&mut self) -> Result<impl Iterator<Item = Result<K>> + use<'_, 't, K>> {
        let drain: Drain<'_, 't, K, Nothing> = self.map.drain()?;
        Ok(drain.map(|entry| entry.map(|(key, _)| key)))
    }

    /// Removes all members and frees all blocks.
    pub fn clear(&mut self) -> Result<()> {
        self.map.clear()
    }
}

/// Iterator over a set. Yields `Result<K::Ref>`, and nothing after an error.
pub struct Members<'g, K, M: Mode>(Keys<'g, K, Nothing, M>);

impl<'g, K: Key, M: Mode> Iterator for Members<'g, K, M> {
    type Item = Result<K::Ref<'g>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<K: Key, M: Mode> std::iter::FusedIterator for Members<'_, K, M> {}

impl<'g, K: Key, M: Mode> IntoIterator for &'g HashSetGuard<'_, K, M> {
    type Item = Result<K::Ref<'g>>;
    type IntoIter = Members<'g, K, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a set of std; where damage ends it, the error stands for the rest.
impl<K: Key, M: Mode> fmt::Debug for HashSetGuard<'_, K, M>
where
    for<'a> K::Ref<'a>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_set();
        for key in self {
            match key {
                Ok(key) => set.entry(&key),
                Err(error) => set.entry(&error),
            };
        }
        set.finish()
    }
}
