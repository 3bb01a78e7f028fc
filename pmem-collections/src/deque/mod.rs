//! [`PDeque`], and the guard on it.
//!
//! Elements are found by their position, which is theirs for life, through a tree of nodes that say which they are, as those of
//! a [vector](mod@crate::vec). What is before the first and behind the last leaf is not there: so the tree is a window over a long
//! row of leaves, and grows and shrinks at both ends. Its root is a ring, because the window may begin anywhere.
//!
//! The rules of the vector apply: what can fail for an ordinary reason (no space) comes before the first change, and every
//! node is checked when it is read, before anything of it is changed.
//!
//! Reading order: `header`, `node` (reading), `grow`, `shrink`, `shift`, `iter`, `check`, `trace`.

mod check;
mod grow;
mod header;
mod iter;
mod node;
mod shift;
mod shrink;
mod trace;

pub use {
    check::DequeSummary,
    header::ElementTooLarge,
    iter::{Drain, Iter},
};

use crate::{
    stored::{self, Old, Shape},
    vec::layout::Layout,
};
use header::Header;
use pmem_alloc::{
    Body, EncodeAs, Form, Mode, Mut, Object, Plain, Ptr, Read, Result, Stored, Tracer, Types, Value, Write,
};
use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    ops::{Range, RangeBounds},
};

/// A queue with two ends. Open it for a [`DequeGuard`].
///
/// Elements are anything that can be stored ([`Value`]), or containers (`PDeque<PVec<u64>>`). Plain ones have up to 4,088
/// bytes ([`ElementTooLarge`] otherwise). Space: a leaf of 1 KiB has 127 `u64`, and there may be an empty one at each end;
/// an empty deque takes 64 bytes, a small one as much as its elements, rounded up to a power of two.
pub struct PDeque<T>(PhantomData<fn() -> T>);

impl<T: Stored> Stored for PDeque<T> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PDeque<{}>", T::type_name())
    }
    fn describe(types: &mut Types) -> pmem_alloc::Shape {
        types.object("PDeque", |types| vec![types.add::<T>()])
    }
}

impl<T: Stored> Object for PDeque<T> {
    type Guard<'t, M: Mode> = DequeGuard<'t, T, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        Ok(body.alloc(Header::new::<T>()?)?.cast())
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<DequeGuard<'_, T, M>> {
        let found = *body.get::<Header>(header.cast())?;
        found.check::<T>(header.offset())?;
        let leaves = found.leaves();
        Ok(DequeGuard { body, at: header.offset(), header: found, leaves, types: PhantomData })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.open_mut::<Self>(header)?.clear()?;
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        body.open::<Self>(header)?.trace(tracer)
    }
}

/// An end of a deque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl End {
    fn other(self) -> End {
        match self {
            End::Front => End::Back,
            End::Back => End::Front,
        }
    }
}

/// A [`PDeque`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut tasks = tx.open::<PDeque<String>>("tasks")?;
///     tasks.extend(["wash", "iron"])?;
///     tasks.push_front("collect")?;
///     assert_eq!(tasks.pop_front()?.expect("three").get()?, "collect");
///     tasks.push_back("fold")
/// })?;
/// let tx = pool.read()?;
/// let tasks = tx.open::<PDeque<String>>("tasks")?;
/// assert_eq!((tasks.front()?, tasks.back()?), (Some("wash"), Some("fold")));
/// assert_eq!(tasks.iter().rev().collect::<Result<Vec<_>>>()?, ["fold", "iron", "wash"]);
/// # Ok(()) }
/// ```
///
/// Reads borrow the guard, so the references they return can be used until the guard is changed or the
/// transaction ends. Every operation can fail, because what is in the pool is checked as it is read; the crate's
/// page says what to do then.
///
/// No operation drains: the transaction's commit does, once. What an operation on `u64` changes: a push 2 lines (the slot, the
/// header), a pop 1, a set 1; a push that begins a leaf 16 more, once in 127, but in a queue (elements are pushed at one end, and popped
/// at the other) 3 more.
///
/// # Panics
///
/// As in std, a number beyond the end is a mistake of the program where no `Option` can say so: [`set`](DequeGuard::set),
/// [`insert`](DequeGuard::insert), [`swap`](DequeGuard::swap) and [`drain`](DequeGuard::drain) panic.
pub struct DequeGuard<'t, T, M: Mode = Read> {
    body: Body<'t, M>,
    at: u64,
    /// The checked header, kept up to date.
    header: Header,
    /// Numbers of all leaves.
    leaves: Range<u64>,
    types: PhantomData<fn() -> T>,
}

/// Reading, whatever the elements are.
impl<T: Stored, M: Mode> DequeGuard<'_, T, M> {
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
        self.index(index).unwrap_or_else(|| panic!("element {index} of a deque of {}", self.len()))
    }
}

/// Reading values.
impl<T: Value, M: Mode> DequeGuard<'_, T, M> {
    /// The element number `index`, from the front; zero-copy where the type allows. `None` beyond the end.
    pub fn get(&self, index: usize) -> Result<Option<T::Ref<'_>>> {
        self.index(index).map(|index| self.read(index)).transpose()
    }

    /// The first element.
    pub fn front(&self) -> Result<Option<T::Ref<'_>>> {
        self.get(0)
    }

    /// The last element.
    pub fn back(&self) -> Result<Option<T::Ref<'_>>> {
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
    pub fn to_deque(&self) -> Result<VecDeque<T>> {
        self.iter().map(|element| element.map(T::to_owned)).collect()
    }

    /// Reads the whole deque and checks it: nodes, bits of elements, that no node or block is reached twice.
    /// `Corrupt` names the first that is wrong.
    pub fn check(&self) -> Result<DequeSummary> {
        self.check_with(|at, slot| stored::read::<T, M>(&self.body, at, slot).map(drop))
    }
}

/// Deques of containers: the inner object comes through the deque's guard, which it borrows.
impl<T: Object, M: Mode> DequeGuard<'_, T, M> {
    /// The object number `index`, to read. `None` beyond the end.
    pub fn open(&self, index: usize) -> Result<Option<T::Guard<'_, M::Shared>>> {
        let Some(index) = self.index(index) else { return Ok(None) };
        let (at, slot) = self.slot(index)?;
        stored::open::<T, M>(&self.body, at, slot).map(Some)
    }

    /// As [`check`](DequeGuard::check), for a deque of objects: of these, `check_object` checks each.
    pub fn check_objects(
        &self,
        check_object: impl Fn(T::Guard<'_, M::Shared>) -> Result<()>,
    ) -> Result<DequeSummary> {
        self.check_with(|at, slot| check_object(stored::open::<T, M>(&self.body, at, slot)?))
    }
}

impl<T: Object> DequeGuard<'_, T, Write> {
    /// The object number `index`, to change. `None` beyond the end.
    pub fn open_mut(&mut self, index: usize) -> Result<Option<Mut<'_, T>>> {
        let Some(index) = self.index(index) else { return Ok(None) };
        let (at, _) = self.slot(index)?;
        stored::open_mut::<T>(&mut self.body, at).map(Some)
    }

    /// Adds a new, empty object at the end; returns it, to change.
    pub fn push_back_new(&mut self) -> Result<Mut<'_, T>> {
        self.push_new(End::Back)
    }

    /// Adds a new, empty object at the front; returns it, to change.
    pub fn push_front_new(&mut self) -> Result<Mut<'_, T>> {
        self.push_new(End::Front)
    }

    fn push_new(&mut self, end: End) -> Result<Mut<'_, T>> {
        let slot = stored::make_object::<T>(&mut self.body)?;
        let at = self.push_slot(end, slot)?;
        stored::open_mut::<T>(&mut self.body, at)
    }
}

/// Taking out and moving, whatever the elements are.
impl<T: Stored> DequeGuard<'_, T, Write> {
    /// Removes the first element; returns what was there. An object is destroyed, with all that is in it.
    pub fn pop_front(&mut self) -> Result<Option<Old<T>>> {
        self.pop(End::Front, 0)
    }

    /// Removes the last element; returns what was there. An object is destroyed, with all that is in it.
    pub fn pop_back(&mut self) -> Result<Option<Old<T>>> {
        self.pop(End::Back, self.header.len.wrapping_sub(1))
    }

    fn pop(&mut self, end: End, index: u64) -> Result<Option<Old<T>>> {
        if self.is_empty() {
            return Ok(None);
        }
        let old = self.old(index)?;
        self.cut(end, 1)?;
        Ok(Some(old))
    }

    /// Removes all elements from number `len` on. Nothing happens if there are not as many.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        self.cut(End::Back, self.header.len.saturating_sub(len as u64))
    }

    /// Removes all elements and frees all nodes, and all that elements refer to.
    pub fn clear(&mut self) -> Result<()> {
        self.cut(End::Back, self.header.len)?;
        self.free_all()
    }

    /// Removes element number `index`, and moves those of the shorter side: the more there are, the more is logged. `None` beyond
    /// the end.
    pub fn remove(&mut self, index: usize) -> Result<Option<Old<T>>> {
        let Some(index) = self.index(index) else { return Ok(None) };
        let old = self.old(index)?;
        self.remove_range(index..index + 1)?;
        Ok(Some(old))
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
impl<T: Value> DequeGuard<'_, T, Write> {
    /// Adds an element at the end.
    ///
    /// # Errors
    ///
    /// `NoSpace`, and `TooLarge` beyond [`MAX_VALUE`](crate::map::MAX_VALUE) bytes: nothing was changed.
    pub fn push_back(&mut self, value: impl EncodeAs<T>) -> Result<()> {
        self.push(End::Back, value)
    }

    /// Adds an element at the front. Errors as [`push_back`](DequeGuard::push_back).
    pub fn push_front(&mut self, value: impl EncodeAs<T>) -> Result<()> {
        self.push(End::Front, value)
    }

    fn push(&mut self, end: End, value: impl EncodeAs<T>) -> Result<()> {
        let form = stored::form::<T>(value.arg())?;
        let slot = stored::make::<T>(&mut self.body, &form)?;
        self.push_slot(end, slot).map(drop)
    }

    /// Adds many at the end. (Not `std::iter::Extend`, which cannot fail.)
    pub fn extend(&mut self, values: impl IntoIterator<Item = impl EncodeAs<T>>) -> Result<()> {
        values.into_iter().try_for_each(|value| self.push_back(value))
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

    /// Puts an element at number `index`, and moves those of the shorter side: the more there are, the more is logged.
    #[track_caller]
    pub fn insert(&mut self, index: usize, value: impl EncodeAs<T>) -> Result<()> {
        assert!(index <= self.len(), "a place at {index} in a deque of {}", self.len());
        let end = self.nearer(index as u64);
        self.push(end, value)?;
        let from = if end == End::Front { 0 } else { self.header.len - 1 };
        self.rotate(from, index as u64)
    }

    /// Removes the elements whose numbers are in `range`, at once, and moves those of the shorter side; returns owned copies.
    #[track_caller]
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> Result<Drain<T>> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        let inside = iter::inside(bounds, self.header.len);
        let all = iter::inside(bounds, u64::MAX);
        let unbounded = matches!(bounds.1, std::ops::Bound::Unbounded);
        let right = inside.start == all.start && (unbounded || inside.end == all.end);
        assert!(right, "elements {bounds:?} of a deque of {}", self.len());
        let elements =
            self.range(bounds).map(|element| element.map(T::to_owned)).collect::<Result<Vec<T>>>()?;
        self.remove_range(inside)?;
        Ok(Drain(elements.into_iter()))
    }

    /// Keeps the elements for which `keep` says so, in their order.
    pub fn retain(&mut self, keep: impl FnMut(T::Ref<'_>) -> bool) -> Result<()> {
        self.retain_slots(keep)
    }
}

impl<T: Plain> DequeGuard<'_, T, Write> {
    /// Element number `index`, to change in place. `None` beyond the end.
    pub fn get_mut(&mut self, index: usize) -> Result<Option<&mut T>> {
        let Some(index) = self.index(index) else { return Ok(None) };
        let (at, _) = self.slot(index)?;
        self.body.get_mut(Ptr::from_offset(at)).map(Some)
    }

    /// The first element, to change in place.
    pub fn front_mut(&mut self) -> Result<Option<&mut T>> {
        self.get_mut(0)
    }

    /// The last element, to change in place.
    pub fn back_mut(&mut self) -> Result<Option<&mut T>> {
        self.get_mut(self.len().wrapping_sub(1))
    }
}

impl<'g, T: Value, M: Mode> IntoIterator for &'g DequeGuard<'_, T, M> {
    type Item = Result<T::Ref<'g>>;
    type IntoIter = Iter<'g, T, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a deque of std; where damage ends it, the error stands for the rest.
impl<T: Value, M: Mode> fmt::Debug for DequeGuard<'_, T, M>
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
