//! Sets in order.

use crate::map::{KeyRange, Keys, MapGuard, PBTreeMap, TreeSummary};
use pmem_alloc::{
    Body, EncodeAs, Form, Mode, Object, OrdKey, Ptr, Read, Result, Shape, Stored, Tracer, Types, Write,
};
use std::{fmt, marker::PhantomData};

/// A set in order: a [`PBTreeMap`] to values of no bytes. Open it for a [`SetGuard`].
pub struct PBTreeSet<K>(PhantomData<fn() -> K>);

impl<K: OrdKey> Stored for PBTreeSet<K> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PBTreeSet<{}>", K::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PBTreeSet", |types| vec![types.add::<K>()])
    }
}

impl<K: OrdKey> Object for PBTreeSet<K> {
    type Guard<'t, M: Mode> = SetGuard<'t, K, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        PBTreeMap::<K, ()>::create(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<SetGuard<'_, K, M>> {
        Ok(SetGuard { map: PBTreeMap::attach(body, header)? })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        PBTreeMap::<K, ()>::destroy(body, header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        PBTreeMap::<K, ()>::trace(body, header, tracer)
    }
}

/// A [`PBTreeSet`], during a transaction. What is said of a [`MapGuard`] holds here.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut names = tx.open::<PBTreeSet<String>>("names")?;
///     assert!(names.insert("grace")? && names.insert("ada")?);
///     assert!(!names.insert("ada")?);
///     assert_eq!(names.iter().collect::<Result<Vec<_>>>()?, ["ada", "grace"]);
///     Ok(())
/// })
/// # }
/// ```
pub struct SetGuard<'t, K, M: Mode = Read> {
    map: MapGuard<'t, K, (), M>,
}

impl<K: OrdKey, M: Mode> SetGuard<'_, K, M> {
    /// Number of keys. Kept in the header: costs nothing.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: impl EncodeAs<K>) -> Result<bool> {
        self.map.contains_key(key)
    }

    /// The key as it is stored.
    pub fn get(&self, key: impl EncodeAs<K>) -> Result<Option<K::Ref<'_>>> {
        Ok(self.map.get_key_value(key)?.map(|(key, _)| key))
    }

    /// The smallest key.
    pub fn first(&self) -> Result<Option<K::Ref<'_>>> {
        Ok(self.map.first()?.map(|(key, _)| key))
    }

    /// The greatest key.
    pub fn last(&self) -> Result<Option<K::Ref<'_>>> {
        Ok(self.map.last()?.map(|(key, _)| key))
    }

    /// All keys in order. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Keys<'_, K, (), M> {
        self.map.keys()
    }

    /// The keys in `range`, from both ends.
    pub fn range(
        &self,
        range: impl KeyRange<K>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<K::Ref<'_>>>> {
        Ok(self.map.range(range)?.map(|entry| entry.map(|(key, _)| key)))
    }

    /// Reads the whole set and checks it; see [`MapGuard::check`].
    pub fn check(&self) -> Result<TreeSummary> {
        self.map.check()
    }
}

impl<K: OrdKey> SetGuard<'_, K, Write> {
    /// Inserts `key`; `false` if it was there. The one that is stored stays.
    pub fn insert(&mut self, key: impl EncodeAs<K>) -> Result<bool> {
        Ok(self.map.insert(key, ())?.is_none())
    }

    /// Inserts many, one by one.
    pub fn extend(&mut self, keys: impl IntoIterator<Item = impl EncodeAs<K>>) -> Result<()> {
        self.map.extend(keys.into_iter().map(|key| (key, ())))
    }

    /// Inserts many that are, for the most part, in ascending order; see [`MapGuard::bulk_load`].
    pub fn bulk_load(&mut self, keys: impl IntoIterator<Item = impl EncodeAs<K>>) -> Result<()> {
        self.map.bulk_load(keys.into_iter().map(|key| (key, ())))
    }

    /// Removes `key`; `false` if it was not there.
    pub fn remove(&mut self, key: impl EncodeAs<K>) -> Result<bool> {
        Ok(self.map.remove(key)?.is_some())
    }

    /// Removes the smallest key.
    pub fn pop_first(&mut self) -> Result<Option<K>> {
        Ok(self.map.pop_first()?.map(|(key, _)| key))
    }

    /// Removes the greatest key.
    pub fn pop_last(&mut self) -> Result<Option<K>> {
        Ok(self.map.pop_last()?.map(|(key, _)| key))
    }

    /// Keeps the keys for which `keep` says so, asked in order.
    pub fn retain(&mut self, keep: impl FnMut(K::Ref<'_>) -> bool) -> Result<()> {
        self.map.retain_keys(keep)
    }

    /// Removes all keys and frees all nodes.
    pub fn clear(&mut self) -> Result<()> {
        self.map.clear()
    }
}

impl<'g, K: OrdKey, M: Mode> IntoIterator for &'g SetGuard<'_, K, M> {
    type Item = Result<K::Ref<'g>>;
    type IntoIter = Keys<'g, K, (), M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a set of std; where damage ends it, the error stands for the rest.
impl<K: OrdKey, M: Mode> fmt::Debug for SetGuard<'_, K, M>
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
