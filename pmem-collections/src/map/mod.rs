//! [`PBTreeMap`], and the guard on it.
//!
//! [`MapGuard`] has the methods; [`Entry`], [`Iter`] and [`KeyRange`] are what they take and return.

mod entry;
mod iter;
mod old;
mod range;

pub use crate::tree::{EntryTooLarge, TreeSummary};
pub use entry::{Entry, Found, OccupiedEntry, VacantEntry};
pub use iter::Iter;
pub use old::Old;
pub use range::KeyRange;

use crate::tree::{self, Aim, Direction, Path, Place, Tree};
use pmem_alloc::{
    Body, EncodeAs, Mode, Object, Plain, Ptr, Read, Result, Shape, Stored, Tracer, Types, Write,
};
use std::{cmp::Ordering, fmt, marker::PhantomData, ops::Bound};

/// A map in key order: a B+tree. Open it for a [`MapGuard`].
///
/// Keys and values are plain data of up to about 4,000 bytes together ([`EntryTooLarge`] otherwise). Space: about
/// 25 bytes for an entry of two `u64` after random inserts, 18 after inserts in ascending order.
pub struct PBTreeMap<K, V>(PhantomData<fn() -> (K, V)>);

/// What a [`PBTreeMap`] has as key: plain data with an order.
///
/// Keys that are equal must have equal bytes. An order that is none, or equal keys with unequal bytes, make a
/// map that finds the wrong thing or nothing; it remains memory safe and every operation ends.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a `PBTreeMap`",
    label = "not plain data with an order",
    note = "keys are plain data (`impl Plain`) with `Ord` (derive `PartialEq, Eq, PartialOrd, Ord`)"
)]
pub trait TreeKey: Plain + Ord {}
#[diagnostic::do_not_recommend]
impl<K: Plain + Ord> TreeKey for K {}

/// What a [`PBTreeMap`] has as value: plain data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of a `PBTreeMap`",
    label = "not plain data",
    note = "a `#[repr(C)]` struct of plain fields becomes plain data with two lines:\n\
            `#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]` and\n\
            `impl Plain for {Self} {{ const NAME: &'static str = \"...\"; }}`"
)]
pub trait TreeValue: Plain {}
#[diagnostic::do_not_recommend]
impl<V: Plain> TreeValue for V {}

impl<K: TreeKey, V: TreeValue> Stored for PBTreeMap<K, V> {
    fn type_name() -> String {
        format!("PBTreeMap<{}, {}>", K::full_name(), V::full_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PBTreeMap", |types| vec![types.add::<K>(), types.add::<V>()])
    }
}

impl<K: TreeKey, V: TreeValue> Object for PBTreeMap<K, V> {
    type Guard<'t, M: Mode> = MapGuard<'t, K, V, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        tree::create::<K, V>(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<MapGuard<'_, K, V, M>> {
        Ok(MapGuard { tree: Tree::attach(body, header)? })
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
/// No operation drains: the transaction's commit does, once. What an operation on entries of two `u64` changes: an
/// insert 3 lines (the slot; fingerprint and bitmap; the header's length), a remove 2; splits and merges
/// included, on average 3.6 and 2.4 while 100,000 random keys go in and out again.
pub struct MapGuard<'t, K, V, M: Mode = Read> {
    tree: Tree<'t, K, V, M>,
}

impl<K: TreeKey, V: TreeValue, M: Mode> MapGuard<'_, K, V, M> {
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
        Ok(matches!(self.tree.find(key.arg())?, Place::Taken(_)))
    }

    /// The value for `key`, zero-copy.
    pub fn get(&self, key: impl EncodeAs<K>) -> Result<Option<&V>> {
        Ok(self.get_key_value(key)?.map(|(_, value)| value))
    }

    /// The entry for `key`: the key as it is stored, and the value.
    pub fn get_key_value(&self, key: impl EncodeAs<K>) -> Result<Option<(&K, &V)>> {
        let key = key.arg();
        let Some(leaf) = self.tree.leaf_for(key)? else { return Ok(None) };
        let Some(slot) = leaf.find(key)? else { return Ok(None) };
        Ok(Some((leaf.key(slot)?, leaf.value(slot)?)))
    }

    /// The entry with the smallest key.
    pub fn first(&self) -> Result<Option<(&K, &V)>> {
        self.edge(Aim::First)
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Result<Option<(&K, &V)>> {
        self.edge(Aim::Last)
    }

    fn edge(&self, aim: Aim<'_, K>) -> Result<Option<(&K, &V)>> {
        let Some((path, slot)) = self.tree.edge(aim)? else { return Ok(None) };
        let leaf = self.tree.leaf(path.leaf)?;
        Ok(Some((leaf.key(slot)?, leaf.value(slot)?)))
    }

    /// All entries in order. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Iter<'_, K, V, M> {
        Iter::new(&self.tree, Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries with keys in `range`, from both ends: `3..9`, `5..=9`, `..`, `(Bound::Excluded(7), Bound::Unbounded)`.
    ///
    /// A range that ends before it starts has no entries.
    pub fn range(&self, range: impl KeyRange<K>) -> Result<Iter<'_, K, V, M>> {
        let (low, high) = range.bounds();
        Ok(Iter::new(&self.tree, low.cloned(), high.cloned()))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = Result<&K>> {
        self.iter().map(|entry| entry.map(|(key, _)| key))
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = Result<&V>> {
        self.iter().map(|entry| entry.map(|(_, value)| value))
    }

    /// Reads the whole map and checks it: order, separators, levels, counts, fingerprints, bits of keys and values, the
    /// length, and that no node is reached twice. `Corrupt` names the first node that is wrong.
    pub fn check(&self) -> Result<TreeSummary> {
        self.tree.check()
    }
}

impl<'t, K: TreeKey, V: TreeValue> MapGuard<'t, K, V, Write> {
    /// Sets the value for `key`. Returns what was there; looking at it is optional, so that a damaged old value does
    /// not stop an overwrite. The key that is stored stays.
    pub fn insert(&mut self, key: impl EncodeAs<K>, value: impl EncodeAs<V>) -> Result<Option<Old<V>>> {
        let (key, value) = (key.arg(), value.arg());
        let place = self.tree.find(key)?;
        let old = match place {
            Place::Taken(at) => Some(Old::read(&self.tree.leaf(at.leaf)?, at.slot)),
            _ => None,
        };
        self.tree.insert_at(place, key, value)?;
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
        match self.tree.find(key.arg())? {
            Place::Taken(at) => self.tree.value_mut(at).map(Some),
            _ => Ok(None),
        }
    }

    /// The place for `key`: `*counts.entry(word).or_insert(0)? += 1`.
    ///
    /// An error of the search comes from the method that ends the chain.
    pub fn entry<Q: EncodeAs<K>>(&mut self, key: Q) -> Entry<'_, 't, K, V, Q> {
        Entry::new(&mut self.tree, key)
    }

    /// Removes the entry for `key`; returns what was there.
    pub fn remove(&mut self, key: impl EncodeAs<K>) -> Result<Option<Old<V>>> {
        let key = key.arg();
        let Some(path) = self.tree.path(Aim::Key(key))? else { return Ok(None) };
        let leaf = self.tree.leaf(path.leaf)?;
        let Some(slot) = leaf.find(key)? else { return Ok(None) };
        let old = Old::read(&leaf, slot);
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

    fn pop(&mut self, aim: Aim<'_, K>) -> Result<Option<(K, Old<V>)>> {
        let Some((path, slot)) = self.tree.edge(aim)? else { return Ok(None) };
        let leaf = self.tree.leaf(path.leaf)?;
        let (key, old) = (*leaf.key(slot)?, Old::read(&leaf, slot));
        self.tree.remove_slots(&path, 1 << slot)?;
        Ok(Some((key, old)))
    }

    /// Keeps the entries for which `keep` says so, asked in order. One change of the bitmap per leaf.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) -> Result<()> {
        let (mut last, mut left): (Option<K>, u64) = (None, self.tree.len());
        let mut entries = Vec::new();
        // A leaf at a time, each found anew: removing may have merged it with its neighbours.
        while let Some(path) = self.leaf_after(last.as_ref(), &mut entries)? {
            left = left.checked_sub(entries.len() as u64).ok_or_else(|| {
                self.tree.wrong(format!("{} entries, as the header says", self.len()), "more")
            })?;
            let leaf = self.tree.leaf(path.leaf)?;
            let mut gone = 0;
            for &(_, slot) in &entries {
                let slot = usize::from(slot);
                if !keep(leaf.key(slot)?, leaf.value(slot)?) {
                    gone |= 1 << slot;
                }
            }
            if gone != 0 {
                self.tree.remove_slots(&path, gone)?;
            }
            last = entries.last().map(|(key, _)| *key);
        }
        Ok(())
    }

    /// The leaf with the first entries behind `last`, and these in order.
    fn leaf_after(&self, last: Option<&K>, entries: &mut Vec<(K, u8)>) -> Result<Option<Path>> {
        let Some(mut path) = self.tree.path(last.map_or(Aim::First, Aim::Key))? else { return Ok(None) };
        loop {
            entries.clear();
            let leaf = self.tree.leaf(path.leaf)?;
            leaf.sort_into(entries, |key| last.is_none_or(|last| key.cmp(last) == Ordering::Greater))?;
            if !entries.is_empty() {
                return Ok(Some(path));
            }
            if leaf.len() == 0 {
                return self.tree.check_empty(&leaf).map(|()| None);
            }
            if !self.tree.step(&mut path, Direction::Forward)? {
                return Ok(None);
            }
        }
    }

    /// Removes all entries and frees all nodes.
    pub fn clear(&mut self) -> Result<()> {
        self.tree.clear()
    }
}

impl<'g, K: TreeKey, V: TreeValue, M: Mode> IntoIterator for &'g MapGuard<'_, K, V, M> {
    type Item = Result<(&'g K, &'g V)>;
    type IntoIter = Iter<'g, K, V, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a map of std; where damage ends it, the error stands for the rest.
impl<K: TreeKey + fmt::Debug, V: TreeValue + fmt::Debug, M: Mode> fmt::Debug for MapGuard<'_, K, V, M> {
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
