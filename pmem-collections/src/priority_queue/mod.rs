//! [`PPriorityQueue`], and the guard on it.
//!
//! The queue is a tree in the order of its elements, and not a heap in an array: what a heap moves at each step of a pop is a line, and
//! a heap of 100,000 elements has six steps, where a tree changes the last leaf's bitmap and the length. (Measured side by side
//! by the budget tests: a push takes 5.6 lines in the tree and 4.4 in a heap of 8 children a node, a pop 4.1 and 9.8, both together
//! in one transaction 5.8 and 9.6.)

mod iter;
mod numbered;

pub use iter::Iter;

use crate::{
    map::{self, TreeSummary},
    stored::{self, StoredBytes, align_of_form},
    tree::{self, Aim, Path, Tree},
};
use numbered::Numbered;
use pmem_alloc::{
    Body, EncodeAs, Form, Mode, Object, OrdKey, Ptr, Read, Result, Shape, Stored, Tracer, Types, Write,
};
use std::{fmt, marker::PhantomData, ops::Bound};

/// A queue that gives out its greatest element first. Open it for a [`PriorityQueueGuard`].
///
/// Elements are anything with an order ([`OrdKey`]); for the smallest first, `PPriorityQueue<Reverse<T>>` with std's
/// [`Reverse`](std::cmp::Reverse). A priority with what is to be done is a tuple, `PPriorityQueue<(u32, String)>`. Equal elements come out in the
/// order in which they went in: those are elements of which `Ord` says so, and a type that compares a priority alone keeps
/// what else it has.
///
/// Plain elements have up to about 2,020 bytes ([`EntryTooLarge`](crate::map::EntryTooLarge) otherwise), others up to 65,528 (`TooLarge`
/// otherwise). Space: 25 to 35 bytes for an `u64`.
pub struct PPriorityQueue<T>(PhantomData<fn() -> T>);

impl<T: OrdKey> Stored for PPriorityQueue<T> {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        format!("PPriorityQueue<{}>", T::type_name())
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("PPriorityQueue", |types| vec![types.add::<T>()])
    }
}

impl<T: OrdKey> Object for PPriorityQueue<T> {
    type Guard<'t, M: Mode> = PriorityQueueGuard<'t, T, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        tree::create::<Numbered<T>, ()>(body)
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<PriorityQueueGuard<'_, T, M>> {
        Ok(PriorityQueueGuard { tree: Tree::attach(body, header)? })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.open_mut::<Self>(header)?.clear()?;
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        body.open::<Self>(header)?.tree.trace(tracer)
    }
}

/// A [`PPriorityQueue`], during a transaction.
///
/// ```
/// # use pmem_collections::*; use std::cmp::Reverse; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20)?)?;
/// pool.write(|tx| {
///     let mut jobs = tx.open::<PPriorityQueue<(u32, String)>>("jobs")?;
///     jobs.extend([(1, "sweep"), (5, "ring"), (3, "cook")])?;
///     jobs.push((5, "answer"))?;
///     assert_eq!(jobs.peek()?, Some((5, "ring")));
///     assert_eq!(jobs.pop()?, Some((5, "ring".to_string())));
///
///     let mut alarms = tx.open::<PPriorityQueue<Reverse<u64>>>("alarms")?;
///     alarms.extend([900, 700, 800].map(Reverse))?;
///     assert_eq!(alarms.pop()?, Some(Reverse(700)));
///     Ok(())
/// })
/// # }
/// ```
///
/// Reads borrow the guard, so the references they return can be used until the guard is changed or the
/// transaction ends. Every operation can fail, because what is in the pool is checked as it is read; the crate's
/// page says what to do then.
///
/// No operation drains: the transaction's commit does, once. What an operation on `u64` changes: a push 3 lines (the slot;
/// fingerprint and bitmap; the header's length), a pop 2; splits and merges come on top.
pub struct PriorityQueueGuard<'t, T, M: Mode = Read> {
    tree: Tree<'t, Numbered<T>, (), M>,
}

impl<T: OrdKey, M: Mode> PriorityQueueGuard<'_, T, M> {
    /// Number of elements. Costs nothing.
    pub fn len(&self) -> usize {
        self.tree.len() as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The greatest element: the one that [`pop`](PriorityQueueGuard::pop) takes out.
    pub fn peek(&self) -> Result<Option<T::Ref<'_>>> {
        let Some((path, slot)) = self.greatest()? else { return Ok(None) };
        Ok(Some(self.tree.leaf(path.leaf)?.key(slot)?.0))
    }

    /// All elements in the order in which they would leave (std's are in no order), from both ends. Yields `Result`s; an error is
    /// the last item.
    pub fn iter(&self) -> Iter<'_, T, M> {
        Iter::new(&self.tree)
    }

    /// A copy in DRAM, in ascending order.
    pub fn to_sorted_vec(&self) -> Result<Vec<T>> {
        self.iter().rev().map(|element| element.map(T::to_owned)).collect()
    }

    /// Reads the whole queue and checks it; see [`MapGuard::check`](crate::map::MapGuard::check).
    pub fn check(&self) -> Result<TreeSummary> {
        self.tree.check(|_, _| Ok(()))
    }

    fn greatest(&self) -> Result<Option<(Path, usize)>> {
        self.tree.edge(Aim::Last)
    }

    /// The key of an element with a number, aligned as elements have to be.
    fn key(element: T::Arg<'_>, number: u64) -> Result<StoredBytes> {
        let form = stored::key_form::<Numbered<T>>((element, number))?;
        Ok(StoredBytes::new(&form, const { align_of_form::<Numbered<T>>() }))
    }
}

impl<T: OrdKey> PriorityQueueGuard<'_, T, Write> {
    /// Puts an element in.
    ///
    /// # Errors
    ///
    /// `NoSpace`, and `TooLarge` beyond 65,528 bytes: nothing was changed.
    pub fn push(&mut self, element: impl EncodeAs<T>) -> Result<()> {
        let (newest, oldest) = (Self::key(element.arg(), u64::MAX)?, Self::key(element.arg(), 0)?);
        let range = (Bound::Included(newest), Bound::Included(oldest.clone()));
        let equal = map::Iter::new(&self.tree, range.0, range.1).next().transpose()?;
        let key = match equal.map(|((_, number), ())| number) {
            None => oldest,
            Some(last) => {
                let number = last.checked_add(1);
                Self::key(element.arg(), number.ok_or_else(|| self.tree.wrong("a number", "the last one"))?)?
            }
        };
        let place = self.tree.find(key.as_slice())?;
        self.tree.insert_at(place, key.as_slice(), &[]).map(drop)
    }

    /// Takes the greatest element out.
    pub fn pop(&mut self) -> Result<Option<T>> {
        let Some((path, slot)) = self.greatest()? else { return Ok(None) };
        let element = T::to_owned(self.tree.leaf(path.leaf)?.key(slot)?.0);
        self.tree.remove_slots(&path, 1 << slot)?;
        Ok(Some(element))
    }

    /// Puts many in, one by one. (Not `std::iter::Extend`, which cannot fail.)
    pub fn extend(&mut self, elements: impl IntoIterator<Item = impl EncodeAs<T>>) -> Result<()> {
        elements.into_iter().try_for_each(|element| self.push(element))
    }

    /// Keeps the elements for which `keep` says so, asked in ascending order.
    pub fn retain(&mut self, mut keep: impl FnMut(T::Ref<'_>) -> bool) -> Result<()> {
        self.tree.retain(Bound::Unbounded, &Bound::Unbounded, |leaf, slot| Ok(keep(leaf.key(slot)?.0)))
    }

    /// Takes all elements out, in the order in which they would have left.
    pub fn drain(&mut self) -> Result<Vec<T>> {
        let mut elements = Vec::new();
        for entry in map::Iter::new(&self.tree, Bound::Unbounded, Bound::Unbounded).into_old() {
            elements.push(entry?.0.0);
        }
        elements.reverse();
        self.tree.clear()?;
        Ok(elements)
    }

    /// Removes all elements and frees all nodes.
    pub fn clear(&mut self) -> Result<()> {
        self.tree.clear()
    }
}

impl<'g, T: OrdKey, M: Mode> IntoIterator for &'g PriorityQueueGuard<'_, T, M> {
    type Item = Result<T::Ref<'g>>;
    type IntoIter = Iter<'g, T, M>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// In the order in which the elements would leave; where damage ends it, the error stands for the rest.
impl<T: OrdKey, M: Mode> fmt::Debug for PriorityQueueGuard<'_, T, M>
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
