//! [`PVec`], and the guard on it.
//!
//! Elements are found by number, through a tree of nodes that say which they are: so a look-up reads one line of
//! each level and none of it twice, and trusts what it finds. Nothing is moved when the vector grows, but for the
//! slots of an only leaf of less than a KiB.
//!
//! Two rules keep a failed operation from leaving a half-changed vector: what can fail for an ordinary reason (no space)
//! comes before the first change, and every node is checked when it is read, before anything of it is changed.
//!
//! Reading order: `layout`, `header`, `node` (reading), `grow`, `shrink`, `shift`, `bulk`, `iter`, `check`, `trace`.

mod bulk;
mod check;
mod grow;
mod header;
mod iter;
pub(crate) mod layout;
mod node;
mod shift;
mod shrink;
mod trace;

pub use {check::VecSummary, header::ElementTooLarge, iter::Iter};

use crate::stored::{self, Old, Shape};
use header::Header;
use layout::Layout;
use pmem_alloc::{
    Body, EncodeAs, Form, Mode, Mut, Object, Plain, Ptr, Read, Result, Stored, Tracer, Types, Value, Write,
};
use std::{fmt, marker::PhantomData, ops::RangeBounds};

/// A growable array. Open it for a [`VecGuard`].
///
/// Elements are anything that can be stored ([`Value`]), or containers (`PVec<PVec<u64>>`). Plain ones have up to 4,088
/// bytes ([`ElementTooLarge`] otherwise). Space: a leaf of 1 KiB has 127 `u64`; an empty vector takes 64 bytes, a small one
/// as much as its elements, rounded up to a power of two.
pub struct PVec<T>(PhantomData<fn() -> T>);

impl<T: Stored> Stored for PVec<T> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PVec<{}>", T::type_name())
    }
    fn describe(types: &mut Types) -> pmem_alloc::Shape {
        types.object("PVec", |types| vec![types.add::<T>()])
    }
}

impl<T: Stored> Object for PVec<T> {
    type Guard<'t, M: Mode> = VecGuard<'t, T, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        Ok(body.alloc(Header::new::<T>()?)?.cast())
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<VecGuard<'_, T, M>> {
        let found = *body.get::<Header>(header.cast())?;
        found.check::<T>(header.offset())?;
        Ok(VecGuard { body, at: header.offset(), header: found, types: PhantomData })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.open_mut::<Self>(header)?.clear()?;
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        body.open::<Self>(header)?.trace(tracer)
    }
}

/// A [`PVec`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut names = tx.open::<PVec<String>>("names")?;
///     names.extend(["Ada", "Grace"])?;
///     names.push("Edsger")?;
///     assert_eq!(names.remove(1)?.get()?, "Grace");
///     Ok(())
/// })?;
/// let tx = pool.read()?;
/// let names = tx.open::<PVec<String>>("names")?;
/// assert_eq!(names.get(1)?, Some("Edsger"));
/// assert_eq!(names.iter().collect::<Result<Vec<_>>>()?, ["Ada", "Edsger"]);
/// # Ok(()) }
/// ```
///
/// Reads borrow the guard, so the references they return can be used until the guard is changed or the
/// transaction ends. Every operation can fail, because what is in the pool is checked as it is read; the crate's
/// page says what to do then.
///
/// No operation drains: the transaction's commit does, once. What an operation on `u64` changes: a push or pop 2 lines
/// (the slot, the header), a set 1; a push that begins a leaf 16 more, once in 127.
///
/// # Panics
///
/// As in std, a number beyond the end is a mistake of the program where no `Option` can say so: [`set`](VecGuard::set),
/// [`insert`](VecGuard::insert), [`remove`](VecGuard::remove), [`swap`](VecGuard::swap) and
/// [`swap_remove`](VecGuard::swap_remove) panic.
pub struct VecGuard<'t, T, M: Mode = Read> {
    body: Body<'t, M>,
    at: u64,
    /// The checked header, kept up to date.
    header: Header,
    types: PhantomData<fn() -> T>,
}

/// Reading, whatever the elements are.
impl<T: Stored, M: Mode> VecGuard<'_, T, M> {
    const LAYOUT: Layout = Layout::of(Shape::of::<T>());

    /// Number of elements. Costs nothing.
    pub fn len(&self) -> usize {
        self.header.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn index(&self, index: usize) -> Option<u64> {
        Some(index as u64).filter(|&index| index < self.header.len)
    }

    #[track_caller]
    fn must(&self, index: usize) -> u64 {
        self.index(index).unwrap_or_else(|| panic!("element {index} of a vector of {}", self.len()))
    }
}

/// Reading values.
impl<T: Value, M: Mode> VecGuard<'_, T, M> {
    /// The element number `index`; zero-copy where the type allows. `None` beyond the end.
    pub fn get(&self, index: usize) -> Result<Option<T::Ref<'_>>> {
        self.index(index).map(|index| self.read(index)).transpose()
    }

    /// The first element.
    pub fn first(&self) -> Result<Option<T::Ref<'_>>> {
        self.get(0)
    }

    /// The last element.
    pub fn last(&self) -> Result<Option<T::Ref<'_>>> {
        self.get(self.len().wrapping_sub(1))
    }

    /// All elements, from both ends. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Iter<'_, T, M> {
        Iter::new(self, ..)
    }

    /// The elements whose numbers are in `range`, from both ends. What of it is beyond the end has no elements.
    pub fn range(&self, range: impl RangeBounds<usize>) -> Iter<'_, T, M> {
        Iter::new(self, range)
    }

    /// A copy in DRAM.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.iter().map(|element| element.map(T::to_owned)).collect()
    }

    /// Reads the whole vector and checks it: nodes, bits of elements, that no node or block is reached twice.
    /// `Corrupt` names the first that is wrong.
    pub fn check(&self) -> Result<VecSummary> {
        self.check_with(|at, slot| stored::read::<T, M>(&self.body, at, slot).map(drop))
    }
}

/// Vectors of containers: the inner object comes through the vector's guard, which it borrows.
impl<T: Object, M: Mode> VecGuard<'_, T, M> {
    /// The object number `index`, to read. `None` beyond the end.
    pub fn open(&self, index: usize) -> Result<Option<T::Guard<'_, M::Shared>>> {
        let Some(index) = self.index(index) else { return Ok(None) };
        let (at, slot) = self.slot(index)?;
        stored::open::<T, M>(&self.body, at, slot).map(Some)
    }

    /// As [`check`](VecGuard::check), for a vector of objects: of these, `check_object` checks each.
    pub fn check_objects(
        &self,
        check_object: impl Fn(T::Guard<'_, M::Shared>) -> Result<()>,
    ) -> Result<VecSummary> {
        self.check_with(|at, slot| check_object(stored::open::<T, M>(&self.body, at, slot)?))
    }
}

impl<T: Object> VecGuard<'_, T, Write> {
    /// The object number `index`, to change. `None` beyond the end.
    pub fn open_mut(&mut self, index: usize) -> Result<Option<Mut<'_, T>>> {
        let Some(index) = self.index(index) else { return Ok(None) };
        let (at, _) = self.slot(index)?;
        stored::open_mut::<T>(&mut self.body, at).map(Some)
    }

    /// Appends a new, empty object; returns it, to change.
    pub fn push_new(&mut self) -> Result<Mut<'_, T>> {
        let slot = stored::make_object::<T>(&mut self.body)?;
        let at = self.push_slot(slot)?;
        stored::open_mut::<T>(&mut self.body, at)
    }
}

/// Taking out and moving, whatever the elements are.
impl<T: Stored> VecGuard<'_, T, Write> {
    /// Removes the last element; returns what was there. An object is destroyed, with all that is in it.
    pub fn pop(&mut self) -> Result<Option<Old<T>>> {
        let Some(last) = self.header.len.checked_sub(1) else { return Ok(None) };
        let old = self.old(last)?;
        self.cut(last)?;
        Ok(Some(old))
    }

    /// Removes all elements from number `len` on. Nothing happens if there are not as many.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        self.cut(len as u64)
    }

    /// Removes all elements and frees all nodes, and all that elements refer to.
    pub fn clear(&mut self) -> Result<()> {
        self.cut(0)?;
        self.free_all()
    }

    /// Removes element number `index`, and moves those behind it: the more there are, the more is logged.
    #[track_caller]
    pub fn remove(&mut self, index: usize) -> Result<Old<T>> {
        let index = self.must(index);
        let old = self.old(index)?;
        self.rotate_to_end(index)?;
        self.cut(self.header.len - 1)?;
        Ok(old)
    }

    /// Removes element number `index`; the last one takes its place.
    #[track_caller]
    pub fn swap_remove(&mut self, index: usize) -> Result<Old<T>> {
        let index = self.must(index);
        let (old, last) = (self.old(index)?, self.header.len - 1);
        self.swap_to_drop(index, last)?;
        self.cut(last)?;
        Ok(old)
    }

    /// Exchanges two elements.
    #[track_caller]
    pub fn swap(&mut self, a: usize, b: usize) -> Result<()> {
        self.swap_slots(self.must(a), self.must(b))
    }

    fn old(&self, index: u64) -> Result<Old<T>> {
        let (at, slot) = self.slot(index)?;
        Old::take(&self.body, at, slot)
    }
}

/// Changing values.
impl<T: Value> VecGuard<'_, T, Write> {
    /// Appends an element.
    ///
    /// # Errors
    ///
    /// `NoSpace`, and `TooLarge` beyond [`MAX_VALUE`](crate::map::MAX_VALUE) bytes: nothing was changed.
    pub fn push(&mut self, value: impl EncodeAs<T>) -> Result<()> {
        let form = stored::form::<T>(value.arg())?;
        let slot = stored::make::<T>(&mut self.body, &form)?;
        self.push_slot(slot).map(drop)
    }

    /// Appends many. (Not `std::iter::Extend`, which cannot fail.)
    pub fn extend(&mut self, values: impl IntoIterator<Item = impl EncodeAs<T>>) -> Result<()> {
        values.into_iter().try_for_each(|value| self.push(value))
    }

    /// Replaces element number `index`; returns what was there.
    #[track_caller]
    pub fn set(&mut self, index: usize, value: impl EncodeAs<T>) -> Result<Old<T>> {
        let index = self.must(index);
        let (form, old) = (stored::form::<T>(value.arg())?, self.old(index)?);
        let (at, _) = self.slot(index)?;
        stored::replace::<T>(&mut self.body, at, &form)?;
        Ok(old)
    }

    /// Puts an element at number `index`, and moves those from there on: the more there are, the more is logged.
    #[track_caller]
    pub fn insert(&mut self, index: usize, value: impl EncodeAs<T>) -> Result<()> {
        assert!(index <= self.len(), "a place at {index} in a vector of {}", self.len());
        self.push(value)?;
        self.rotate_from_end(index as u64)
    }

    /// Keeps the elements for which `keep` says so, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(T::Ref<'_>) -> bool) -> Result<()> {
        let mut kept = 0;
        for index in 0..self.header.len {
            if keep(self.read(index)?) {
                if kept < index {
                    self.swap_slots(kept, index)?;
                }
                kept += 1;
            }
        }
        self.cut(kept)
    }
}

impl<T: Plain> VecGuard<'_, T, Write> {
    /// Element number `index`, to change in place. `None` beyond the end.
    pub fn get_mut(&mut self, index: usize) -> Result<Option<&mut T>> {
        let Some(index) = self.index(index) else { return Ok(None) };
        let (at, _) = self.slot(index)?;
        self.body.get_mut(Ptr::from_offset(at)).map(Some)
    }

    /// Puts the elements in order, by way of a copy in DRAM.
    pub fn sort_unstable(&mut self) -> Result<()>
    where
        T: Ord,
    {
        let mut elements = self.to_vec()?;
        elements.sort_unstable();
        for (index, element) in elements.iter().enumerate() {
            let (at, slot) = self.slot(index as u64)?;
            let new = bytemuck::bytes_of(element);
            if slot != new {
                self.bytes_mut(at, new.len())?.copy_from_slice(new);
            }
        }
        Ok(())
    }
}

impl<'g, T: Value, M: Mode> IntoIterator for &'g VecGuard<'_, T, M> {
    type Item = Result<T::Ref<'g>>;
    type IntoIter = Iter<'g, T, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a vector of std; where damage ends it, the error stands for the rest.
impl<T: Value, M: Mode> fmt::Debug for VecGuard<'_, T, M>
where
    for<'a> T::Ref<'a>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for element in self {
            match element {
                Ok(element) => list.entry(&element),
                Err(error) => list.entry(&error),
            };
        }
        list.finish()
    }
}
