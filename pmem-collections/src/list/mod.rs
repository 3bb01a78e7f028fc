//! [`PLinkedList`], and the guard on it.
//!
//! A node for each element, with references both ways: what is inserted or removed changes its neighbours and nothing else, and
//! no element ever moves. References are checked against each other, so that a walk trusts nothing that it was not led to
//! from the other side.
//!
//! Two rules keep a failed operation from leaving a half-changed list: what can fail for an ordinary reason (no space)
//! comes before the first change, and every node is checked when it is read, before anything of it is changed.
//!
//! Reading order: `header`, `node` (reading), `position`, `change`, `splice`, `iter`, `check`, `trace`.

mod change;
mod check;
mod header;
mod iter;
mod node;
mod position;
mod splice;
mod trace;

pub use {
    check::ListSummary,
    header::ElementTooLarge,
    iter::{Iter, Positions},
    position::{ForeignPosition, Position},
    splice::ListInUse,
};

use crate::stored::{self, Old};
use header::Header;
use pmem_alloc::{
    Body, EncodeAs, Form, Mode, Mut, Object, Plain, Ptr, Read, Result, Shape, Stored, Tracer, Types, Value,
    Write,
};
use std::{fmt, marker::PhantomData};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A doubly linked list. Open it for a [`ListGuard`].
///
/// For what a vector cannot do: taking out of the middle and putting there without moving anything, elements that are
/// found again whatever happened around them ([`Position`]), and one list that becomes a part of another at once. For all else take
/// a [`PVec`](crate::PVec).
///
/// Elements are anything that can be stored ([`Value`]), or containers (`PLinkedList<PVec<u64>>`). Plain ones have up to 65,536
/// bytes ([`ElementTooLarge`] otherwise). Space: 24 bytes beside the element, 32 for an `u64`; an empty list takes 64 bytes.
pub struct PLinkedList<T>(PhantomData<fn() -> T>);

impl<T: Stored> Stored for PLinkedList<T> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PLinkedList<{}>", T::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PLinkedList", |types| vec![types.add::<T>()])
    }
}

impl<T: Stored> Object for PLinkedList<T> {
    type Guard<'t, M: Mode> = ListGuard<'t, T, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        let header = body.alloc(Header::new::<T>()?)?;
        // A start of its own, so that what positions of other lists expect at some place is not here by chance.
        let stamp = xxh3_64_with_seed(&header.offset().to_le_bytes(), body.pool_identity()) >> 1;
        body.get_mut(header)?.next_stamp = stamp;
        Ok(header.cast())
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<ListGuard<'_, T, M>> {
        let found = *body.get::<Header>(header.cast())?;
        found.check::<T>(header.offset())?;
        Ok(ListGuard { body, at: header.offset(), header: found, types: PhantomData })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.open_mut::<Self>(header)?.clear()?;
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        body.open::<Self>(header)?.trace(tracer)
    }
}

/// A [`PLinkedList`], during a transaction.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut queue = tx.open::<PLinkedList<String>>("queue")?;
///     queue.extend(["Ada", "Grace"])?;
///     let edsger = queue.push_back("Edsger")?;
///     queue.push_back("Barbara")?;
///     queue.pop_front()?;
///     queue.insert_before(edsger, "Alan")?; // wherever Edsger is by now
///     queue.move_to_front(edsger)?;
///     assert_eq!(queue.remove(edsger)?.unwrap().get()?, "Edsger");
///     assert_eq!(queue.get(edsger)?, None);
///     Ok(())
/// })?;
/// let tx = pool.read()?;
/// let queue = tx.open::<PLinkedList<String>>("queue")?;
/// assert_eq!(queue.iter().collect::<Result<Vec<_>>>()?, ["Grace", "Alan", "Barbara"]);
/// assert_eq!(queue.back()?, Some("Barbara"));
/// # Ok(()) }
/// ```
///
/// Reads borrow the guard, so the references they return can be used until the guard is changed or the
/// transaction ends. Every operation can fail, because what is in the pool is checked as it is read; the crate's
/// page says what to do then.
///
/// A [`Position`] borrows nothing: operations at a position check it, and answer `None` (or `false`) if its element is gone. With
/// another list's they end in [`ForeignPosition`], and nothing is changed.
///
/// No operation drains: the transaction's commit does, once. What an operation changes: a push or pop 3 lines (the node, its
/// neighbour, the header), an insert or a removal in the middle 4, a move up to 6.
pub struct ListGuard<'t, T, M: Mode = Read> {
    body: Body<'t, M>,
    at: u64,
    /// The checked header, kept up to date.
    header: Header,
    types: PhantomData<fn() -> T>,
}

/// Reading, whatever the elements are.
impl<T: Stored, M: Mode> ListGuard<'_, T, M> {
    /// Number of elements. Costs nothing.
    pub fn len(&self) -> usize {
        self.header.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the element that `position` is of is in the list.
    pub fn contains(&self, position: Position) -> Result<bool> {
        Ok(self.resolve(position)?.is_some())
    }

    /// The position of the first element.
    pub fn first_position(&self) -> Result<Option<Position>> {
        self.position_at(self.header.first)
    }

    /// The position of the last element.
    pub fn last_position(&self) -> Result<Option<Position>> {
        self.position_at(self.header.last)
    }

    /// The position behind another; `None` behind the last, and if the element is gone. (On a damaged list such steps may lead
    /// round in a circle; [`positions`](ListGuard::positions) does not.)
    pub fn next_position(&self, position: Position) -> Result<Option<Position>> {
        let Some(node) = self.resolve(position)? else { return Ok(None) };
        let Some(next) = self.next_to(node.links.next)? else { return Ok(None) };
        Ok(Some(self.position(&next.behind(node.at)?)))
    }

    /// The position before another; `None` before the first, and if the element is gone.
    pub fn previous_position(&self, position: Position) -> Result<Option<Position>> {
        let Some(node) = self.resolve(position)? else { return Ok(None) };
        let Some(prev) = self.next_to(node.links.prev)? else { return Ok(None) };
        Ok(Some(self.position(&prev.before(node.at)?)))
    }

    /// The positions of all elements, from both ends. Yields `Result`s; an error is the last item.
    pub fn positions(&self) -> Positions<'_, T, M> {
        Positions::new(self)
    }

    fn position_at(&self, at: u64) -> Result<Option<Position>> {
        Ok(self.next_to(at)?.map(|node| self.position(&node)))
    }

    fn next_to(&self, at: u64) -> Result<Option<node::Node<'_>>> {
        if at == 0 { Ok(None) } else { self.node(at).map(Some) }
    }
}

/// Reading values.
impl<T: Value, M: Mode> ListGuard<'_, T, M> {
    /// The first element; zero-copy where the type allows.
    pub fn front(&self) -> Result<Option<T::Ref<'_>>> {
        self.read(self.next_to(self.header.first)?)
    }

    /// The last element.
    pub fn back(&self) -> Result<Option<T::Ref<'_>>> {
        self.read(self.next_to(self.header.last)?)
    }

    /// The element at a position. `None` if it is gone.
    pub fn get(&self, position: Position) -> Result<Option<T::Ref<'_>>> {
        self.read(self.resolve(position)?)
    }

    /// All elements, from both ends. Yields `Result`s; an error is the last item.
    pub fn iter(&self) -> Iter<'_, T, M> {
        Iter::new(self)
    }

    /// Reads the whole list and checks it: references both ways, bits of elements, the length, that no node or block is
    /// reached twice. `Corrupt` names the first that is wrong.
    pub fn check(&self) -> Result<ListSummary> {
        self.check_with(|at, slot| stored::read::<T, M>(&self.body, at, slot).map(drop))
    }

    fn read<'a>(&'a self, node: Option<node::Node<'a>>) -> Result<Option<T::Ref<'a>>> {
        node.map(|node| stored::read::<T, M>(&self.body, Self::slot_at(node.at), node.slot)).transpose()
    }
}

/// Lists of containers: the inner object comes through the list's guard, which it borrows.
impl<T: Object, M: Mode> ListGuard<'_, T, M> {
    /// The object at a position, to read. `None` if it is gone.
    pub fn open(&self, position: Position) -> Result<Option<T::Guard<'_, M::Shared>>> {
        let Some(node) = self.resolve(position)? else { return Ok(None) };
        stored::open::<T, M>(&self.body, Self::slot_at(node.at), node.slot).map(Some)
    }

    /// As [`check`](ListGuard::check), for a list of objects: of these, `check_object` checks each.
    pub fn check_objects(
        &self,
        check_object: impl Fn(T::Guard<'_, M::Shared>) -> Result<()>,
    ) -> Result<ListSummary> {
        self.check_with(|at, slot| check_object(stored::open::<T, M>(&self.body, at, slot)?))
    }
}

impl<T: Object> ListGuard<'_, T, Write> {
    /// The object at a position, to change. `None` if it is gone.
    pub fn open_mut(&mut self, position: Position) -> Result<Option<Mut<'_, T>>> {
        let Some(node) = self.resolve(position)? else { return Ok(None) };
        let at = Self::slot_at(node.at);
        stored::open_mut::<T>(&mut self.body, at).map(Some)
    }

    /// Puts a new, empty object before all others; returns it, to change.
    pub fn push_front_new(&mut self) -> Result<Mut<'_, T>> {
        let slot = stored::make_object::<T>(&mut self.body)?;
        let at = self.insert_slot(self.gap_behind(0), slot)?;
        stored::open_mut::<T>(&mut self.body, Self::slot_at(at))
    }

    /// Puts a new, empty object behind all others; returns it, to change.
    pub fn push_back_new(&mut self) -> Result<Mut<'_, T>> {
        let slot = stored::make_object::<T>(&mut self.body)?;
        let at = self.insert_slot(self.gap_before(0), slot)?;
        stored::open_mut::<T>(&mut self.body, Self::slot_at(at))
    }
}

/// Taking out and moving, whatever the elements are.
impl<T: Stored> ListGuard<'_, T, Write> {
    /// Removes the first element; returns what was there. An object is destroyed, with all that is in it.
    pub fn pop_front(&mut self) -> Result<Option<Old<T>>> {
        if self.is_empty() { Ok(None) } else { self.remove_node(self.header.first).map(Some) }
    }

    /// Removes the last element; returns what was there.
    pub fn pop_back(&mut self) -> Result<Option<Old<T>>> {
        if self.is_empty() { Ok(None) } else { self.remove_node(self.header.last).map(Some) }
    }

    /// Removes the element at a position; returns what was there. `None` if it is gone already.
    pub fn remove(&mut self, position: Position) -> Result<Option<Old<T>>> {
        let Some(at) = self.resolve(position)?.map(|node| node.at) else { return Ok(None) };
        self.remove_node(at).map(Some)
    }

    /// Makes the element at a position the first. `false` if it is gone.
    pub fn move_to_front(&mut self, position: Position) -> Result<bool> {
        self.move_node(position, Self::gap_behind, 0)
    }

    /// Makes the element at a position the last. `false` if it is gone.
    pub fn move_to_back(&mut self, position: Position) -> Result<bool> {
        self.move_node(position, Self::gap_before, 0)
    }

    /// Moves the element at a position to before `next`. `false` if either is gone.
    pub fn move_before(&mut self, position: Position, next: Position) -> Result<bool> {
        match self.resolve(next)?.map(|node| node.at) {
            Some(next) => self.move_node(position, Self::gap_before, next),
            None => Ok(false),
        }
    }

    /// Moves the element at a position to behind `prev`. `false` if either is gone.
    pub fn move_after(&mut self, position: Position, prev: Position) -> Result<bool> {
        match self.resolve(prev)?.map(|node| node.at) {
            Some(prev) => self.move_node(position, Self::gap_behind, prev),
            None => Ok(false),
        }
    }

    fn move_node(
        &mut self,
        position: Position,
        gap: impl FnOnce(&Self, u64) -> Result<(u64, u64)>,
        to: u64,
    ) -> Result<bool> {
        let Some(at) = self.resolve(position)?.map(|node| node.at) else { return Ok(false) };
        if at != to {
            self.relink(at, gap(self, to)?)?;
        }
        Ok(true)
    }

    /// Puts all elements of `other` behind those of this list; `other` is empty then.
    ///
    /// If this transaction has not changed `other` yet, nor the object that it is in, four references change, however many elements there
    /// are. If it has, or if `other` is of another pool, the elements are copied: then it takes as many lines as pushing them.
    ///
    /// Positions in `other` become void.
    ///
    /// # Errors
    ///
    /// `NoSpace`, and [`ListInUse`] if objects would have to be copied: nothing was changed.
    pub fn append(&mut self, other: &mut ListGuard<'_, T, Write>) -> Result<()> {
        let gap = self.gap_before(0)?;
        self.splice(gap, other)
    }

    /// As [`append`](ListGuard::append), but before the element at a position. `false` if that is gone, and nothing was changed.
    pub fn splice_before(&mut self, position: Position, other: &mut ListGuard<'_, T, Write>) -> Result<bool> {
        let Some(next) = self.resolve(position)?.map(|node| node.at) else { return Ok(false) };
        let gap = self.gap_before(next)?;
        self.splice(gap, other).map(|()| true)
    }

    /// Removes all elements and frees all nodes, and all that elements refer to.
    pub fn clear(&mut self) -> Result<()> {
        self.free_all()
    }
}

/// Changing values.
impl<T: Value> ListGuard<'_, T, Write> {
    /// Puts an element before all others; returns where it is.
    ///
    /// # Errors
    ///
    /// `NoSpace`, and `TooLarge` beyond [`MAX_VALUE`](crate::map::MAX_VALUE) bytes: nothing was changed.
    pub fn push_front(&mut self, value: impl EncodeAs<T>) -> Result<Position> {
        self.insert(self.gap_behind(0), value)
    }

    /// Puts an element behind all others; returns where it is. Errors as of [`push_front`](ListGuard::push_front).
    pub fn push_back(&mut self, value: impl EncodeAs<T>) -> Result<Position> {
        self.insert(self.gap_before(0), value)
    }

    /// Puts an element before the one at a position. `None` if that is gone, and nothing was changed.
    pub fn insert_before(&mut self, position: Position, value: impl EncodeAs<T>) -> Result<Option<Position>> {
        let Some(next) = self.resolve(position)?.map(|node| node.at) else { return Ok(None) };
        self.insert(self.gap_before(next), value).map(Some)
    }

    /// Puts an element behind the one at a position. `None` if that is gone, and nothing was changed.
    pub fn insert_after(&mut self, position: Position, value: impl EncodeAs<T>) -> Result<Option<Position>> {
        let Some(prev) = self.resolve(position)?.map(|node| node.at) else { return Ok(None) };
        self.insert(self.gap_behind(prev), value).map(Some)
    }

    /// Appends many. (Not `std::iter::Extend`, which cannot fail.)
    pub fn extend(&mut self, values: impl IntoIterator<Item = impl EncodeAs<T>>) -> Result<()> {
        values.into_iter().try_for_each(|value| self.push_back(value).map(drop))
    }

    /// Replaces the element at a position; returns what was there. `None` if it is gone, and nothing was changed.
    pub fn set(&mut self, position: Position, value: impl EncodeAs<T>) -> Result<Option<Old<T>>> {
        let form = stored::form::<T>(value.arg())?;
        let Some(node) = self.resolve(position)? else { return Ok(None) };
        let at = Self::slot_at(node.at);
        let old = Old::take(&self.body, at, node.slot)?;
        stored::replace::<T>(&mut self.body, at, &form)?;
        Ok(Some(old))
    }

    /// Keeps the elements for which `keep` says so, asked in order.
    pub fn retain(&mut self, mut keep: impl FnMut(T::Ref<'_>) -> bool) -> Result<()> {
        let (mut at, mut prev) = (self.header.first, 0);
        while at != 0 {
            let node = self.node(at)?.behind(prev)?;
            let next = node.links.next;
            if keep(stored::read::<T, Write>(&self.body, Self::slot_at(at), node.slot)?) {
                prev = at;
            } else {
                self.remove_node(at)?;
            }
            at = next;
        }
        Ok(())
    }

    fn insert(&mut self, gap: Result<(u64, u64)>, value: impl EncodeAs<T>) -> Result<Position> {
        let gap = gap?;
        let form = stored::form::<T>(value.arg())?;
        let slot = stored::make::<T>(&mut self.body, &form)?;
        let at = self.insert_slot(Ok(gap), slot)?;
        Ok(self.position(&self.node(at)?))
    }
}

impl<T: Plain> ListGuard<'_, T, Write> {
    /// The element at a position, to change in place. `None` if it is gone.
    pub fn get_mut(&mut self, position: Position) -> Result<Option<&mut T>> {
        let Some(at) = self.resolve(position)?.map(|node| Self::slot_at(node.at)) else { return Ok(None) };
        self.body.get_mut(Ptr::from_offset(at)).map(Some)
    }

    /// The first element, to change in place.
    pub fn front_mut(&mut self) -> Result<Option<&mut T>> {
        self.slot_mut(self.header.first)
    }

    /// The last element, to change in place.
    pub fn back_mut(&mut self) -> Result<Option<&mut T>> {
        self.slot_mut(self.header.last)
    }

    fn slot_mut(&mut self, node: u64) -> Result<Option<&mut T>> {
        let Some(at) = self.next_to(node)?.map(|node| Self::slot_at(node.at)) else { return Ok(None) };
        self.body.get_mut(Ptr::from_offset(at)).map(Some)
    }
}

impl<'g, T: Value, M: Mode> IntoIterator for &'g ListGuard<'_, T, M> {
    type Item = Result<T::Ref<'g>>;
    type IntoIter = Iter<'g, T, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// As a list of std; where damage ends it, the error stands for the rest.
impl<T: Value, M: Mode> fmt::Debug for ListGuard<'_, T, M>
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
