//! Transactions over a pool, without their `unsafe` half, which is `body.rs`.

use crate::{
    Body, ErrorKind, Named, Object, Ptr, Read, Result, Write,
    directory::{Objects, Opened},
    gate::{Applying, Reading, thread_number},
    growth::Growth,
    heap::{Block, Heap},
    kind::Kind,
    pool::Inner,
};
use pmem_tx::{
    Ticket,
    engine::{Log, WriteSet},
};
use std::{
    any::TypeId,
    cell::{Cell, RefCell},
    marker::PhantomData,
    sync::Arc,
};

// ---- reading ---------------------------------------------------------------------------------

/// A view of the last commit.
///
/// `Sync`, so that scoped threads can scan through one; not `Send`, because a thread that asks to write
/// inside its own read must be recognised. (A scoped thread of a reader that writes waits for a reader that waits for
/// it: that cannot be recognised. Do not write there.)
pub struct ReadTx<'p> {
    core: ReadCore,
    _gate: Reading<'p>,
}

/// A transaction without its lifetime: guards hold `&'t Core`, and so are covariant in `'t`, which is what
/// lets iterators, entries and nested guards make do with one lifetime. Crate-private, never moved out.
#[doc(hidden)]
pub struct ReadCore {
    pub(crate) inner: Arc<Inner>,
}

impl<'p> ReadTx<'p> {
    pub(crate) fn new(inner: &'p Arc<Inner>) -> Result<ReadTx<'p>> {
        inner.media.region().check_process()?;
        let gate = inner.readers.gate.read();
        if inner.readers.gate.is_poisoned() {
            return Err(pmem_tx::Error::Poisoned.into());
        }
        Ok(ReadTx { core: ReadCore { inner: inner.clone() }, _gate: gate })
    }

    /// A guard on the object `name`. No drain.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::WrongType`]; what the object's own checks find.
    pub fn open<'t, 'n, O: Object>(&'t self, name: impl Into<Named<'n, O>>) -> Result<O::Guard<'t, Read>> {
        let (inner, named, rust_type) = (&self.core.inner, name.into(), TypeId::of::<O>());
        let names = &inner.readers.names;
        let find = |kind: Option<&Kind>| names.find(named.name(), named.version(), rust_type, kind);
        let header = match find(None)? {
            Some(header) => header,
            None => {
                let kind = Kind::of::<O>(); // code of a caller: no lock is held
                let header = find(Some(&kind))?.expect("checked against a type");
                inner.kinds.register(kind);
                header
            }
        };
        O::attach(Body::reading(&self.core), Ptr::from_offset(header))
    }
}

// ---- writing ---------------------------------------------------------------------------------

/// What the one writer of a pool works with; it waits in the pool while nobody writes.
pub(crate) struct Writer {
    pub(crate) log: Log,
    pub(crate) set: WriteSet,
    pub(crate) heap: Heap,
    pub(crate) objects: Objects,
    pub(crate) growth: Growth,
    /// The pool follows another, and `heap` and `objects` are not up to date.
    pub(crate) stale: bool,
}

impl Writer {
    pub(crate) fn new(log: Log, heap: Heap, objects: Objects, growth: Growth) -> Writer {
        Writer { set: log.write_set(), log, heap, objects, growth, stale: false }
    }
}

/// A transaction that changes a pool. Dropping it rolls back.
///
/// `Send` but not `Sync`: it may move to another thread, its guards may not.
#[must_use = "dropping a transaction rolls it back"]
pub struct WriteTx<'p> {
    pub(crate) core: WriteCore,
    /// Number of the thread that used it last: that thread is told when it would wait for itself.
    thread: Cell<u64>,
    pub(crate) outcome: Outcome,
    _pool: PhantomData<&'p Inner>,
}

/// What has become of a transaction.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// It is open, or has failed: no trace will be left.
    None,
    /// It is durable, whatever happens from here on.
    Durable,
    /// It is on its way.
    Written(Ticket),
}

/// As [`ReadCore`].
#[doc(hidden)]
pub struct WriteCore {
    pub(crate) inner: Arc<Inner>,
    /// Never borrowed while code of a caller runs. `None` only in `drop`.
    pub(crate) writer: RefCell<Option<Box<Writer>>>,
}

impl WriteCore {
    /// Runs `work` with the writer. `work` must not call code of a caller.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Writer) -> R) -> R {
        let mut writer = self.writer.borrow_mut();
        work(writer.as_mut().expect("the transaction has not ended"))
    }

    /// Runs `work`, which allocates `len` bytes at a multiple of `align`. If there is no room, it is run again with what was
    /// kept in store, then with the blocks of commits that are on their way, and then, if the pool can and may grow, in the
    /// larger pool.
    #[inline]
    pub(crate) fn allocating<R>(
        &self,
        (len, align): (u64, u64),
        work: impl FnMut(&mut Writer) -> Result<R>,
    ) -> Result<R> {
        let mut work = work;
        match self.with(&mut work) {
            Err(full) if matches!(full.kind(), ErrorKind::NoSpace { .. }) => {
                self.making_room((len, align), full, &mut work)
            }
            result => result,
        }
    }

    #[cold]
    fn making_room<R>(
        &self,
        (len, align): (u64, u64),
        full: crate::Error,
        work: &mut dyn FnMut(&mut Writer) -> Result<R>,
    ) -> Result<R> {
        let is_full =
            |result: &Result<R>| matches!(result, Err(e) if matches!(e.kind(), ErrorKind::NoSpace { .. }));
        if self.with(|writer| self.inner.caches.empty_into(&mut writer.heap)) {
            let result = self.with(&mut *work);
            if !is_full(&result) {
                return result;
            }
        }
        if self.reclaim() {
            let result = self.with(&mut *work);
            if !is_full(&result) {
                return result;
            }
        }
        self.with(|writer| {
            let Writer { heap, growth, .. } = writer;
            match growth.make_room(&self.inner.media, heap, len, align)? {
                true => work(writer),
                false => Err(full),
            }
        })
    }
}

impl<'p> WriteTx<'p> {
    pub(crate) fn new(inner: &'p Arc<Inner>) -> Result<WriteTx<'p>> {
        inner.readers.following.check()?;
        if inner.replication.0.is_some() {
            inner.check_no_transaction("write")?; // who waits for others may not hold what they wait for
            inner.replication.admit()?;
        }
        let writer = inner.take_writer("write")?;
        if writer.log.is_poisoned() {
            inner.turn.give(writer);
            return Err(pmem_tx::Error::Poisoned.into());
        }
        let core = WriteCore { inner: inner.clone(), writer: RefCell::new(Some(writer)) };
        Ok(WriteTx { core, thread: Cell::new(thread_number()), outcome: Outcome::None, _pool: PhantomData })
    }

    /// A guard on the object `name`, which is created if there is none. No drain: creation is part of the transaction.
    ///
    /// # Errors
    ///
    /// One guard per object at a time: [`ErrorKind::AlreadyOpen`] while another lives.
    /// [`ErrorKind::WrongType`] if `name` stands for something else. [`ErrorKind::NoSpace`] if the pool has no room
    /// for a new object.
    pub fn open<'t, 'n, O: Object>(&'t self, name: impl Into<Named<'n, O>>) -> Result<O::Guard<'t, Write>> {
        let thread = thread_number();
        if self.thread.get() != thread {
            self.thread.set(thread);
            self.core.inner.turn.moved_here();
        }
        let (named, rust_type) = (name.into(), TypeId::of::<O>());
        let (name, schema) = (named.name(), named.version());
        let open = |kind: Option<&Kind>| self.core.with(|w| w.objects.open(name, schema, rust_type, kind));
        let Opened { index, owner, token, header } = match open(None)? {
            Some(opened) => opened,
            None => {
                let kind = Kind::of::<O>(); // code of a caller: nothing is borrowed
                let opened = open(Some(&kind))?.expect("checked against a type");
                self.core.inner.kinds.register(kind);
                opened
            }
        };
        let mut body = Body::writing(&self.core, owner, token);
        let header = match header {
            Some(header) => Ptr::from_offset(header),
            None => self.create::<O>(index, schema, &mut body)?,
        };
        O::attach(body, header)
    }

    /// Makes an object and enters it in the directory. Should it fail, the entry's block is given back; what
    /// `O::create` has allocated is its own business.
    #[cold]
    fn create<O: Object>(&self, index: u32, schema: u32, body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        let kind = Kind::of::<O>();
        let len = self.core.with(|writer| writer.objects.new_entry_len(index, &kind))?;
        let entry = self.core.allocating((len, 8), |writer| {
            let Writer { heap, set, .. } = writer;
            heap.allocate(len, 8, set)
        })?;
        let header = O::create(body).and_then(|header| body.bytes(header, 1).map(|_| header));
        let content = self.core.with(|writer| {
            let Writer { objects, heap, set, .. } = writer;
            match &header {
                Ok(header) => Some(objects.create(index, header.offset(), (&kind, schema), entry, set)),
                Err(_) => {
                    heap.free(entry.start, set);
                    None
                }
            }
        });
        if let Some(content) = content {
            Body::directory(&self.core).fill_new(entry, &content)?;
        }
        self.core.inner.kinds.register(kind);
        header
    }

    pub(crate) fn core(&self) -> &WriteCore {
        &self.core
    }

    /// Where the writer is, while no guard can be used. Put it back.
    pub(crate) fn writer_slot(&mut self) -> &mut Option<Box<Writer>> {
        self.core.writer.get_mut()
    }

    /// The writer, while no guard can be used.
    pub(crate) fn writer_mut(&mut self) -> &mut Writer {
        self.core.writer.get_mut().as_mut().expect("the transaction has not ended")
    }

    /// Commits: durable on return. Guards may still be in scope, but no longer be used. One drain; none if nothing
    /// was changed; two if more than 4 KiB are newly allocated, or if the record is larger than a third of the log: then it
    /// borrows free pages of the heap for a while. With it become durable all commits before, by
    /// [`commit_eventual`](WriteTx::commit_eventual).
    ///
    /// Waits for read transactions that are open, before the changes are put in place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldDeadlock`] if this thread reads the pool: drop the [`ReadTx`] first. Errors of the log:
    /// a record too large for it, and for the free pages of the pool, leaves everything as it was (split the transaction, or
    /// make the pool larger); a failed write-back poisons the pool, and what is durable
    /// is found when it is opened again.
    pub fn commit(mut self) -> Result<()> {
        let WriteCore { inner, writer } = &mut self.core;
        if inner.readers.gate.is_read_by_this_thread() {
            return Err(ErrorKind::WouldDeadlock { held: "ReadTx", wanted: "commit" }.into());
        }
        let writer = &mut **writer.get_mut().as_mut().expect("not ended");
        if inner.group || writer.log.is_in_flight() {
            let inner = inner.clone();
            let ticket = self.commit_eventual()?;
            inner.wait(ticket)?;
            return inner.replication.acknowledge();
        }
        let outcome = &mut self.outcome;
        let committed = inner.guarded_commit(|| {
            writer.with_log_space(|log, set, objects| {
                log.commit(set, || {
                    *outcome = Outcome::Durable;
                    let applying: Applying<'_> = inner.readers.gate.write();
                    objects.changed().for_each(|object| inner.readers.names.publish(object));
                    applying
                })
            })
        })?;
        committed?;
        self.outcome = Outcome::Durable;
        if inner.replication.0.is_none() {
            return Ok(()); // `drop` does the rest
        }
        let inner = inner.clone();
        drop(self); // others write while this one waits
        inner.replication.acknowledge()
    }

    /// Rolls back, as dropping does. No drain.
    pub fn abort(self) {}

    /// Sets a block aside. Commit keeps it so; it is not part of what is committed.
    pub(crate) fn reserve(&self, len: u64, align: u64) -> Result<Block> {
        self.core.allocating((len, align), |writer| {
            let Writer { heap, set, .. } = writer;
            heap.reserve(len, align, set)
        })
    }
}

impl Drop for WriteTx<'_> {
    fn drop(&mut self) {
        let Some(mut writer) = self.core.writer.get_mut().take() else { return };
        match self.outcome {
            Outcome::Durable => {
                if writer.log.is_poisoned() {
                    self.core.inner.readers.gate.poison(); // a panic while it was applied
                }
                writer.heap.commit();
                writer.objects.commit();
            }
            Outcome::Written(ticket) => {
                writer.heap.commit_later(ticket);
                writer.objects.commit();
            }
            Outcome::None => {
                writer.heap.abort();
                writer.objects.abort();
            }
        }
        writer.set.clear();
        writer.objects.close_all();
        self.core.inner.turn.give(writer);
    }
}
