//! [`PArt`], and the guard on it.
//!
//! An adaptive radix tree (Leis et al., ICDE 2013) whose nodes say at which byte of the key they are, as in Patricia: the bytes between two
//! nodes are in the leaves only, so that putting a node between others changes nothing of them, and a look-up reads a line or two of each
//! node, and the leaf, where it compares the key once.
//!
//! Two rules keep a failed operation from leaving a half-changed tree: what can fail for an ordinary reason (no space)
//! comes before the first change, and every node is checked when it is read, before anything of it is changed.
//!
//! Reading order: `layout`, `header`, `node` (reading), `path`, `insert`, `remove`, `entry`, `iter`, `check`, `trace`.

mod check;
mod entry;
mod header;
mod insert;
mod iter;
mod layout;
mod node;
mod path;
mod remove;
mod trace;

pub use {
    check::ArtSummary,
    entry::{Entry, Found, OccupiedEntry, VacantEntry},
    header::ValueTooLarge,
    iter::{Iter, Keys, Objects},
};

use crate::{
    map::KeyRange,
    stored::{self, Old},
};
use header::Header;
use insert::Place;
use layout::Target;
use node::Leaf;
use pmem_alloc::{
    Body, EncodeAs, Form, Mode, Mut, Object, Plain, Ptr, Read, Result, Shape, Stored, Tracer, Types, Value,
    Write,
};
use std::{borrow::Cow, fmt, marker::PhantomData, ops::Bound};

/// A map from byte strings in their order: an adaptive radix tree. Open it for an [`ArtGuard`].
///
/// Beside a [`PBTreeMap`](crate::PBTreeMap) of byte strings, which it is otherwise like: what begins with a prefix is one descent away, and so is the longest
/// key that a given one begins with; a look-up compares the key once, in the leaf, and its way is as long as keys are alike, not as there are
/// many. But each entry is in a block of its own: ranges are read faster from a map.
///
/// Keys are anything that is bytes (`"word"`, `b"bytes"`, `&[u8]`, `&String`), up to [`MAX_KEY`](crate::map::MAX_KEY) of them; they may hold zeros, and be prefixes
/// of each other. Values are anything that can be stored ([`Value`]), or containers (`PArt<PVec<u64>>`). Plain ones have
/// up to 65,536 bytes ([`ValueTooLarge`] otherwise).
///
/// Space: 50 bytes for an entry of 8 random bytes and an `u64`, 84 for a path of 44 bytes and an `u64` (at 100,000 entries).
pub struct PArt<V>(PhantomData<fn() -> V>);

impl<V: Stored> Stored for PArt<V> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PArt<{}>", V::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PArt", |types| vec![types.add::<V>()])
    }
}

impl<V: Stored> Object for PArt<V> {
    type Guard<'t, M: Mode> = ArtGuard<'t, V, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        Ok(body.alloc(Header::new::<V>()?)?.cast())
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<ArtGuard<'_, V, M>> {
        let found = *body.get::<Header>(header.cast())?;
        found.check::<V>(header.offset())?;
        Ok(ArtGuard { body, at: header.offset(), header: found, types: PhantomData })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.open_mut::<Self>(header)?.clear()?;
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        body.open::<Self>(header)?.trace(tracer)
    }
}

/// A [`PArt`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut routes = tx.open::<PArt<String>>("routes")?;
///     routes.extend([("/", "index"), ("/users", "users"), ("/users/ada", "countess")])?;
///     routes.insert("/unit", "none")?;
///     assert_eq!(routes.get("/users")?, Some("users"));
///     assert_eq!(routes.remove("/unit")?.unwrap().get()?, "none");
///     Ok(())
/// })?;
/// let tx = pool.read()?;
/// let routes = tx.open::<PArt<String>>("routes")?;
/// let (route, handler) = routes.longest_prefix("/users/grace")?.unwrap();
/// assert_eq!((route, handler), (&b"/users"[..], "users"));
/// let users = routes.prefix("/users").map(|entry| Ok(entry?.1)).collect::<Result<Vec<_>>>()?;
/// assert_eq!(users, ["users", "countess"]);
/// # Ok(()) }
/// ```
///
/// Reads borrow the guard, so the references they return can be used until the guard is changed or the
/// transaction ends. Every operation can fail, because what is in the pool is checked as it is read; the crate's
/// page says what to do then.
///
/// No operation drains: the transaction's commit does, once. What an operation changes: an insert 3 or 4 lines (the leaf, one or two
/// of a node, the header's length), a removal 2; nodes that grow, shrink or come between others come on top.
pub struct ArtGuard<'t, V, M: Mode = Read> {
    body: Body<'t, M>,
    at: u64,
    /// The checked header, kept up to date.
    header: Header,
    types: PhantomData<fn() -> V>,
}

/// The bytes of a key.
fn key_of<'k>(key: &'k impl EncodeAs<Vec<u8>>) -> Result<Cow<'k, [u8]>> {
    stored::key_form::<Vec<u8>>(key.arg())
}

fn owned_bounds(range: impl KeyRange<Vec<u8>>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let (low, high) = range.bounds();
    (low.map(<[u8]>::to_vec), high.map(<[u8]>::to_vec))
}

/// The keys that begin with `prefix`.
fn bounds_of_prefix(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    // What comes behind them all: the prefix with its last byte raised, without the bytes that cannot be.
    let end = prefix.iter().rposition(|&byte| byte < u8::MAX).map(|last| {
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        end
    });
    let low = if prefix.is_empty() { Bound::Unbounded } else { Bound::Included(prefix.to_vec()) };
    (low, end.map_or(Bound::Unbounded, Bound::Excluded))
}

/// Reading, whatever the values are.
impl<V: Stored, M: Mode> ArtGuard<'_, V, M> {
    /// Number of entries. Kept in the header: costs nothing.
    pub fn len(&self) -> usize {
        self.header.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is an entry for `key`.
    pub fn contains_key(&self, key: impl EncodeAs<Vec<u8>>) -> Result<bool> {
        Ok(self.find(&key_of(&key)?)?.is_some())
    }

    /// The keys in order, from both ends. Yields `Result`s; an error is the last item.
    pub fn keys(&self) -> Keys<'_, V, M> {
        Keys::new(self, Bound::Unbounded, Bound::Unbounded)
    }

    /// The keys that begin with `prefix`, in order, from both ends.
    pub fn keys_with_prefix(&self, prefix: impl EncodeAs<Vec<u8>>) -> Keys<'_, V, M> {
        let (low, high) = bounds_of_prefix(prefix.arg());
        Keys::new(self, low, high)
    }

    /// The leaf with the longest key that `key` begins with. Only nodes' endings on the way, and what the way ends at, can hold one.
    fn longest(&self, key: &[u8]) -> Result<Option<Leaf<'_>>> {
        let Some(path) = self.path(key)? else { return Ok(None) };
        if key.starts_with(path.leaf.key) {
            return Ok(Some(path.leaf));
        }
        for passed in path.nodes.iter().rev().filter(|passed| passed.depth as usize <= path.common) {
            let head = self.head(passed.node, passed.depth)?;
            if let Some(ending) = self.entry_at(&head, None)?
                && let Target::Leaf(at) = Target::read(ending.slot, ending.word)?
            {
                return Ok(Some(self.leaf(at)?).filter(|leaf| key.starts_with(leaf.key)));
            }
        }
        Ok(None)
    }
}

/// Reading values.
impl<V: Value, M: Mode> ArtGuard<'_, V, M> {
    /// The value for `key`; zero-copy where the type allows.
    pub fn get(&self, key: impl EncodeAs<Vec<u8>>) -> Result<Option<V::Ref<'_>>> {
        self.find(&key_of(&key)?)?.map(|leaf| self.value(leaf)).transpose()
    }

    /// The entry with the longest key that `key` begins with: itself, if it is there.
    pub fn longest_prefix(&self, key: impl EncodeAs<Vec<u8>>) -> Result<Option<(&[u8], V::Ref<'_>)>> {
        self.longest(key.arg())?.map(|leaf| Ok((leaf.key, self.value(leaf)?))).transpose()
    }

    /// The entry with the smallest key.
    pub fn first(&self) -> Result<Option<(&[u8], V::Ref<'_>)>> {
        self.iter().next().transpose()
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Result<Option<(&[u8], V::Ref<'_>)>> {
        self.iter().next_back().transpose()
    }

    /// All entries in the order of their keys, from both ends. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Iter<'_, V, M> {
        Iter::new(self, Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries with keys in `range`, from both ends: `"a".."b"`, `b"x"..`, `..=&key`, `..`.
    ///
    /// A range that ends before it starts has no entries.
    pub fn range(&self, range: impl KeyRange<Vec<u8>>) -> Iter<'_, V, M> {
        let (low, high) = owned_bounds(range);
        Iter::new(self, low, high)
    }

    /// The entries with keys that begin with `prefix`, from both ends.
    pub fn prefix(&self, prefix: impl EncodeAs<Vec<u8>>) -> Iter<'_, V, M> {
        let (low, high) = bounds_of_prefix(prefix.arg());
        Iter::new(self, low, high)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = Result<V::Ref<'_>>> {
        self.iter().map(|entry| entry.map(|(_, value)| value))
    }

    /// Reads the whole tree and checks it: order, what keys have in common, depths, kinds, bits of values, the length, and that no node,
    /// leaf or block is reached twice. `Corrupt` names the first that is wrong.
    pub fn check(&self) -> Result<ArtSummary> {
        self.check_with(|leaf| self.value(leaf).map(drop))
    }
}

/// Trees of containers: the inner object comes through the tree's guard, which it borrows.
impl<V: Object, M: Mode> ArtGuard<'_, V, M> {
    /// The object for `key`, to read.
    pub fn open(&self, key: impl EncodeAs<Vec<u8>>) -> Result<Option<V::Guard<'_, M::Shared>>> {
        let Some(leaf) = self.find(&key_of(&key)?)? else { return Ok(None) };
        stored::open::<V, M>(&self.body, Self::value_at(leaf.at), leaf.value).map(Some)
    }

    /// Keys and objects in order.
    pub fn objects(&self) -> Objects<'_, V, M> {
        Objects::new(self, Bound::Unbounded, Bound::Unbounded)
    }

    /// As [`check`](ArtGuard::check), for a tree of objects: of these, `check_object` checks each.
    pub fn check_objects(
        &self,
        check_object: impl Fn(V::Guard<'_, M::Shared>) -> Result<()>,
    ) -> Result<ArtSummary> {
        self.check_with(|leaf| {
            check_object(stored::open::<V, M>(&self.body, Self::value_at(leaf.at), leaf.value)?)
        })
    }
}

impl<V: Object> ArtGuard<'_, V, Write> {
    /// The object for `key`, to change; made if there is none.
    pub fn open_mut(&mut self, key: impl EncodeAs<Vec<u8>>) -> Result<Mut<'_, V>> {
        let key = key_of(&key)?;
        let leaf = match self.place(&key)? {
            Place::Taken(leaf) => leaf,
            place => {
                let object = stored::make_object::<V>(&mut self.body)?;
                self.insert_new(place, &key, object)?
            }
        };
        stored::open_mut::<V>(&mut self.body, Self::value_at(leaf))
    }
}

/// Taking out, whatever the values are.
impl<V: Stored> ArtGuard<'_, V, Write> {
    /// Removes the entry for `key`; returns what was there. An object is destroyed, with all that is in it.
    pub fn remove(&mut self, key: impl EncodeAs<Vec<u8>>) -> Result<Option<Old<V>>> {
        self.remove_key(&key_of(&key)?)
    }

    /// Removes the entry with the smallest key.
    pub fn pop_first(&mut self) -> Result<Option<(Vec<u8>, Old<V>)>> {
        let first = self.keys().next().transpose()?.map(<[u8]>::to_vec);
        self.take_out(first)
    }

    /// Removes the entry with the greatest key.
    pub fn pop_last(&mut self) -> Result<Option<(Vec<u8>, Old<V>)>> {
        let last = self.keys().next_back().transpose()?.map(<[u8]>::to_vec);
        self.take_out(last)
    }

    fn take_out(&mut self, key: Option<Vec<u8>>) -> Result<Option<(Vec<u8>, Old<V>)>> {
        let Some(key) = key else { return Ok(None) };
        Ok(self.remove_key(&key)?.map(|old| (key, old)))
    }

    /// Removes all entries with keys that begin with `prefix`; how many.
    pub fn remove_prefix(&mut self, prefix: impl EncodeAs<Vec<u8>>) -> Result<usize> {
        let keys = self.keys_with_prefix(prefix).map(|key| key.map(<[u8]>::to_vec));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        keys.iter().try_for_each(|key| self.remove_key(key).map(drop))?;
        Ok(keys.len())
    }

    /// Removes all entries and frees all nodes, and all that values refer to.
    pub fn clear(&mut self) -> Result<()> {
        self.free_all()
    }
}

/// Changing values.
impl<'t, V: Value> ArtGuard<'t, V, Write> {
    /// Sets the value for `key`; returns the one before.
    ///
    /// # Errors
    ///
    /// `NoSpace`, and `TooLarge` beyond [`MAX_KEY`](crate::map::MAX_KEY) and [`MAX_VALUE`](crate::map::MAX_VALUE) bytes: nothing was
    /// changed.
    pub fn insert(&mut self, key: impl EncodeAs<Vec<u8>>, value: impl EncodeAs<V>) -> Result<Option<Old<V>>> {
        let key = key_of(&key)?;
        match self.place(&key)? {
            Place::Taken(leaf) => self.replace(leaf, &stored::form::<V>(value.arg())?).map(Some),
            place => self.insert_at(place, &key, value.arg()).map(|_| None),
        }
    }

    /// A key's place, to look, change or insert with one search.
    ///
    /// ```
    /// # use pmem_collections::*; fn main() -> Result<()> {
    /// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
    /// pool.write(|tx| {
    ///     let mut counts = tx.open::<PArt<u64>>("counts")?;
    ///     for word in "a rose is a rose".split(' ') {
    ///         *counts.entry(word).or_insert(0)? += 1;
    ///     }
    ///     assert_eq!(counts.get("rose")?, Some(&2));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn entry<Q: EncodeAs<Vec<u8>>>(&mut self, key: Q) -> Entry<'_, 't, V, Q> {
        Entry::new(self, key)
    }

    /// Puts a new leaf at a place; where it is.
    fn insert_at(&mut self, place: Place, key: &[u8], value: V::Arg<'_>) -> Result<u64> {
        let form = stored::form::<V>(value)?;
        let slot = stored::make::<V>(&mut self.body, &form)?;
        self.insert_new(place, key, slot)
    }

    /// Replaces the value in a leaf; what was there.
    fn replace(&mut self, leaf: u64, form: &[u8]) -> Result<Old<V>> {
        let at = Self::value_at(leaf);
        let old = Old::take(&self.body, at, self.leaf(leaf)?.value)?;
        stored::replace::<V>(&mut self.body, at, form)?;
        Ok(old)
    }

    /// Inserts many, one by one. (Not `std::iter::Extend`, which cannot fail.)
    pub fn extend(
        &mut self,
        entries: impl IntoIterator<Item = (impl EncodeAs<Vec<u8>>, impl EncodeAs<V>)>,
    ) -> Result<()> {
        entries.into_iter().try_for_each(|(key, value)| self.insert(key, value).map(drop))
    }

    /// Keeps the entries for which `keep` says so, asked in order. The keys of the others are collected in DRAM first.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], V::Ref<'_>) -> bool) -> Result<()> {
        let mut gone = Vec::new();
        for entry in self.iter() {
            let (key, value) = entry?;
            if !keep(key, value) {
                gone.push(key.to_vec());
            }
        }
        gone.iter().try_for_each(|key| self.remove_key(key).map(drop))
    }
}

impl<V: Plain> ArtGuard<'_, V, Write> {
    /// The value for `key`, to change in place.
    pub fn get_mut(&mut self, key: impl EncodeAs<Vec<u8>>) -> Result<Option<&mut V>> {
        let leaf = self.find(&key_of(&key)?)?.map(|leaf| leaf.at);
        leaf.map(|leaf| self.value_mut(leaf)).transpose()
    }

    fn value_mut(&mut self, leaf: u64) -> Result<&mut V> {
        self.body.get_mut(Ptr::from_offset(Self::value_at(leaf)))
    }
}

impl<'g, V: Value, M: Mode> IntoIterator for &'g ArtGuard<'_, V, M> {
    type Item = Result<(&'g [u8], V::Ref<'g>)>;
    type IntoIter = Iter<'g, V, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a map of std, keys as byte strings; where damage ends it, the error stands for the rest.
impl<V: Value, M: Mode> fmt::Debug for ArtGuard<'_, V, M>
where
    for<'a> V::Ref<'a>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for entry in self {
            match entry {
                Ok((key, value)) => map.entry(&format_args!("b\"{}\"", key.escape_ascii()), &value),
                Err(error) => map.entry(&format_args!("error"), &error),
            };
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_with_a_prefix_end_before_the_next_prefix() {
        let end = |prefix: &[u8]| bounds_of_prefix(prefix).1;
        assert_eq!(end(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(end(b"a\xFF\xFF"), Bound::Excluded(b"b".to_vec()));
        assert_eq!(end(b"\xFF\xFF"), Bound::Unbounded);
        assert_eq!(bounds_of_prefix(b""), (Bound::Unbounded, Bound::Unbounded));
    }
}
