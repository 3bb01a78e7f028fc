//! Objects of an older schema version become those of a newer one; and objects go away.
//!
//! The new object is made under a name of its own beside the old one (`NAME` and a zero byte, `next`). The last
//! transaction gives it the old one's name, and frees the old one's blocks: so whoever opens the name, at any time, finds the
//! old version as it was or the new one whole.

use crate::{
    Body, Error, ErrorKind, Guard, Mut, Named, Object, PHeap, Peek, Plain, Pool, Ptr, Result, Write, WriteTx,
    directory::{DIRECTORY, Edit, Opened},
    heap::Block,
    kind::Kind,
    trace::{Reached, Tracer},
    transaction::{ReadCore, Writer},
};
use std::{any::TypeId, sync::Arc};

/// What a step of [`Pool::migrate_in_steps`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// The new object has everything.
    Done,
}

fn beside(name: &str, what: &str) -> String {
    format!("{name}\0{what}")
}

impl WriteTx<'_> {
    /// Makes an object of a newer schema version of an older one, if the pool has that: `work` is given the old object to
    /// read and a new and empty one to fill, which then has the name; the old one is gone. Part of this transaction:
    /// a crash leaves the old object or the new one. Returns whether there was something to do: not if there is no such object, or it
    /// has the version of `to` already.
    ///
    /// All changes have to fit the log; [`Pool::migrate_in_steps`] is for more. Guards that were opened before can no longer be used.
    ///
    /// ```
    /// # use pmem_alloc::*; fn main() -> Result<()> {
    /// # let pool = Pool::anonymous(1 << 20)?;
    /// # pool.write(|tx| { *tx.open::<PHeap<u32>>("hits")?.root_mut()? = 7; Ok(()) })?;
    /// const OLD: Named<PHeap<u32>> = Named::new("hits");
    /// const HITS: Named<PHeap<u64>> = Named::new("hits").schema(2);
    /// pool.write(|tx| {
    ///     tx.migrate(OLD, HITS, |old, new| {
    ///         *new.root_mut()? = u64::from(*old.root()?);
    ///         Ok(())
    ///     })
    /// })?;
    /// assert_eq!(*pool.read()?.open(HITS)?.root()?, 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// What `work` returns; [`ErrorKind::OlderSchema`], [`ErrorKind::NewerSchema`] if the object has another version than these two;
    /// [`ErrorKind::NotTraced`] if the old object cannot tell its blocks, and [`ErrorKind::ChangedHere`] if this transaction has changed it. Nothing of the
    /// migration is left in the transaction then.
    pub fn migrate<A: Object, B: Object>(
        &mut self,
        from: Named<'_, A>,
        to: Named<'_, B>,
        work: impl FnOnce(&Guard<'_, A, Peek>, &mut Mut<'_, B>) -> Result<()>,
    ) -> Result<bool> {
        if !self.has_to_migrate(&from, &to)? {
            return Ok(false);
        }
        self.settle("migrate")?;
        self.nested(|tx| {
            let next = beside(to.name(), "next");
            {
                let (body, header) = tx.body_of(&from)?;
                let old = body.open::<A>(header)?;
                let mut new = tx.open(Named::<B>::new(&next).schema(to.version()))?;
                work(&old, &mut new)?;
            }
            tx.take_place::<A>(from.name(), &next)
        })?;
        Ok(true)
    }

    /// Removes the object `name` and frees all its blocks. Returns whether there was one. Guards that were opened before can
    /// no longer be used.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`] and its like, as from [`open`](WriteTx::open); [`ErrorKind::NotTraced`] if the object cannot tell its blocks,
    /// [`ErrorKind::ChangedHere`] if this transaction has changed it. Nothing was changed.
    pub fn remove<'n, O: Object>(&mut self, name: impl Into<Named<'n, O>>) -> Result<bool> {
        let named = name.into();
        if self.writer_mut().objects.version(named.name()).is_none() {
            return Ok(false);
        }
        self.settle("remove")?;
        self.nested(|tx| {
            tx.body_of(&named)?;
            tx.free_blocks_of::<O>(named.name())?;
            let edits = tx.edit_directory(|writer| writer.objects.remove(named.name(), &mut writer.set));
            tx.write_edits(edits)
        })?;
        Ok(true)
    }

    fn has_to_migrate<A, B>(&mut self, from: &Named<'_, A>, to: &Named<'_, B>) -> Result<bool> {
        let name = from.name();
        if name != to.name() {
            return Err(ErrorKind::TwoNames { from: name.into(), to: to.name().into() }.into());
        }
        match self.writer_mut().objects.version(name) {
            None => Ok(false),
            Some(found) if found == to.version() => Ok(false),
            Some(found) if found == from.version() => Ok(true),
            Some(found) if found > to.version() => {
                Err(ErrorKind::NewerSchema { name: name.into(), found, known: to.version() }.into())
            }
            Some(found) => {
                Err(ErrorKind::OlderSchema { name: name.into(), found, wanted: from.version() }.into())
            }
        }
    }

    /// An object that is there, checked against its type.
    fn body_of<O: Object>(&self, named: &Named<'_, O>) -> Result<(Body<'_, Write>, Ptr<u8>)> {
        let kind = Kind::of::<O>();
        let (name, rust_type) = (named.name(), TypeId::of::<O>());
        let open = |w: &mut Writer| w.objects.open(name, named.version(), rust_type, Some(&kind));
        let Opened { owner, token, header, .. } = self.core().with(open)?.expect("checked against a type");
        self.core().inner.kinds.register(kind);
        let header = header.ok_or_else(|| ErrorKind::NotFound { name: name.into() })?;
        Ok((Body::writing(self.core(), owner, token), Ptr::from_offset(header)))
    }

    /// The object `next` gets the name of another one, of type `A`, whose blocks are freed.
    fn take_place<A: Object>(&mut self, name: &str, next: &str) -> Result<()> {
        self.free_blocks_of::<A>(name)?;
        let edits = self.edit_directory(|writer| writer.objects.remove(name, &mut writer.set));
        self.write_edits(edits)?;
        let len = self.writer_mut().objects.entry_len(next, name);
        let Writer { heap, set, .. } = self.writer_mut();
        let entry = heap.allocate(len, 8, set)?;
        let edits = self.edit_directory(|writer| {
            let mut edits = writer.objects.remove(next, &mut writer.set);
            edits.push(writer.objects.add_again(next, name, entry, &mut writer.set));
            edits
        });
        self.write_edits(edits)
    }

    fn edit_directory(&mut self, edit: impl FnOnce(&mut Writer) -> Vec<Edit>) -> Vec<Edit> {
        let writer = self.writer_mut();
        writer.objects.close_all();
        edit(writer)
    }

    /// Writes entries, and frees those that are gone.
    fn write_edits(&mut self, edits: Vec<Edit>) -> Result<()> {
        for edit in edits {
            match edit {
                Edit::New(entry, content) => Body::directory(self.core()).fill_new(entry, &content)?,
                Edit::Changed(at, content) => {
                    let mut body = Body::directory(self.core());
                    body.bytes_mut(Ptr::from_offset(at), content.len() as u64)?.copy_from_slice(&content);
                }
                Edit::Gone(at) => Body::directory(self.core()).free(Ptr::<u8>::from_offset(at))?,
            }
        }
        Ok(())
    }

    /// Commits before this transaction are in place on return: what follows an object through its blocks reads them there.
    fn settle(&mut self, wanted: &'static str) -> Result<()> {
        let inner = Arc::clone(&self.core().inner);
        inner.readers.check(wanted)?;
        inner.guarded_commit(|| inner.readers.finish(self.writer_mut()))?
    }

    /// Frees every block of an object that this transaction has not changed.
    fn free_blocks_of<O: Object>(&mut self, name: &str) -> Result<()> {
        self.settle("free an object")?;
        let inner = Arc::clone(&self.core().inner);
        let (owner, header) = self.writer_mut().objects.place(name).expect("an object that is there");
        if self.writer_mut().set.has_changes_of(owner) {
            return Err(ErrorKind::ChangedHere { name: name.into() }.into());
        }
        let blocks = {
            // The writer is out of reach for code of a caller while that follows the object. What it sees is what was committed.
            let lent = Lent::take(self);
            let heap = &lent.writer().heap;
            let mut reached = Reached::new(heap);
            let mut tracer = Tracer::new(heap, &inner.media, &mut reached, true);
            let core = ReadCore { inner: Arc::clone(&inner) };
            O::trace(&Body::reading(&core), Ptr::from_offset(header), &mut tracer)?;
            crate::graph::scan_words(&mut tracer);
            let found = tracer.found;
            if let Some(why) = found.not_traced.into_iter().next() {
                return Err(ErrorKind::NotTraced { name: name.into(), why }.into());
            }
            found.blocks
        };
        let Writer { heap, set, .. } = self.writer_mut();
        for Block { start, len } in blocks {
            let conflict =
                |_| Error::corrupt(start, "a block of one object", "one that another object changed");
            set.discard(start..start + len, owner).map_err(conflict)?;
            heap.free(start, set).ok_or_else(|| Error::corrupt(start, "an allocated block", "none"))?;
        }
        debug_assert_ne!(owner, DIRECTORY);
        Ok(())
    }
}

/// The writer of a transaction, taken out of it; put back when dropped.
struct Lent<'a, 'p> {
    tx: &'a mut WriteTx<'p>,
    writer: Option<Box<Writer>>,
}

impl<'a, 'p> Lent<'a, 'p> {
    fn take(tx: &'a mut WriteTx<'p>) -> Self {
        let writer = tx.writer_slot().take();
        Lent { tx, writer }
    }

    fn writer(&self) -> &Writer {
        self.writer.as_deref().expect("put back when dropped")
    }
}

impl Drop for Lent<'_, '_> {
    fn drop(&mut self) {
        *self.tx.writer_slot() = self.writer.take();
    }
}

impl Pool {
    /// As [`WriteTx::migrate`], in as many transactions as `step` wants: for objects that are too large for one.
    ///
    /// Each call of `step` is a transaction of its own. It is given the old object to read, the new one to fill, and a mark,
    /// which begins with its default: what the step before left in it, also if the program, or the machine, died in
    /// between. When a step says [`Step::Done`], the new object takes the old one's place in that very transaction. Until
    /// then the old one is there, and must not be changed. Returns whether there was something to do.
    ///
    /// # Errors
    ///
    /// As for [`migrate`](WriteTx::migrate); what earlier steps have done stays, and the next call goes on there.
    pub fn migrate_in_steps<A: Object, B: Object, P: Plain + Default>(
        &self,
        from: Named<'_, A>,
        to: Named<'_, B>,
        mut step: impl FnMut(&Guard<'_, A, Peek>, &mut Mut<'_, B>, &mut P) -> Result<Step>,
    ) -> Result<bool> {
        let (next, mark) = (beside(to.name(), "next"), beside(to.name(), "mark"));
        loop {
            let over = self.write(|tx| {
                if !tx.has_to_migrate(&from, &to)? {
                    return Ok(Some(false));
                }
                let said = {
                    let (body, header) = tx.body_of(&from)?;
                    let old = body.open::<A>(header)?;
                    let mut new = tx.open(Named::<B>::new(&next).schema(to.version()))?;
                    let mut mark = tx.open(Named::<PHeap<P>>::new(&mark))?;
                    step(&old, &mut new, mark.root_mut()?)?
                };
                Ok((said == Step::Done).then_some(true))
            })?;
            match over {
                None => {}
                Some(false) => return Ok(false),
                Some(true) => {
                    return self.write(|tx| {
                        tx.take_place::<A>(from.name(), &next)?;
                        tx.remove::<PHeap<P>>(&*mark)
                    });
                }
            }
        }
    }
}
