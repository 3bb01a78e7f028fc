//! Transactions over a pool, without their `unsafe` half, which is `body.rs`.

use crate::{
    Body, ErrorKind, Named, Object, Ptr, Read, Result, Write,
    directory::{Objects, Opened},
    gate::{Applying, Reading, thread_number},
    heap::{Block, Heap},
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
        let (names, name, rust_type) =
            (&self.core.inner.readers.names, name.into().name(), TypeId::of::<O>());
        let header = match names.find(name, rust_type, None)? {
            Some(header) => header,
            None => {
                let type_name = O::type_name(); // code of a caller: no lock is held
                names.find(name, rust_type, Some(&type_name))?.expect("checked against a name")
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

    /// As [`with`](WriteCore::with), once more if there is no space but for blocks of commits that are on their way.
    #[inline]
    pub(crate) fn allocating<R>(&self, work: impl Fn(&mut Writer) -> Result<R>) -> Result<R> {
        match self.with(&work) {
            Err(full) if matches!(full.kind(), ErrorKind::NoSpace { .. }) && self.reclaim() => {
                self.with(work)
            }
            result => result,
        }
    }
}

impl<'p> WriteTx<'p> {
    pub(crate) fn new(inner: &'p Arc<Inner>) -> Result<WriteTx<'p>> {
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
        let (name, rust_type) = (name.into().name(), TypeId::of::<O>());
        let open = |type_name: Option<&str>| self.core.with(|w| w.objects.open(name, rust_type, type_name));
        let Opened { index, owner, token, header } = match open(None)? {
            Some(opened) => opened,
            None => {
                let type_name = O::type_name(); // code of a caller: nothing is borrowed
                open(Some(&type_name))?.expect("checked against a name")
            }
        };
        let mut body = Body::writing(&self.core, owner, token);
        let header = match header {
            Some(header) => Ptr::from_offset(header),
            None => self.create::<O>(index, &mut body)?,
        };
        O::attach(body, header)
    }

    /// Makes an object and enters it in the directory. Should it fail, the entry's block is given back; what
    /// `O::create` has allocated is its own business.
    #[cold]
    fn create<O: Object>(&self, index: u32, body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        let type_name = O::type_name();
        let entry = self.core.with(|writer| {
            let Writer { objects, heap, set, .. } = writer;
            objects.allocate_entry(index, &type_name, heap, set)
        })?;
        let header = O::create(body).and_then(|header| body.bytes(header, 1).map(|_| header));
        let content = self.core.with(|writer| {
            let Writer { objects, heap, set, .. } = writer;
            match &header {
                Ok(header) => {
                    let rust_type = (TypeId::of::<O>(), &*type_name);
                    Some(objects.create(index, header.offset(), rust_type, entry, set))
                }
                Err(_) => {
                    heap.free(entry.start, set);
                    None
                }
            }
        });
        if let Some(content) = content {
            Body::directory(&self.core).fill_new(entry, &content)?;
        }
        header
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
            return inner.readers.wait(ticket);
        }
        let outcome = &mut self.outcome;
        writer.with_log_space(|log, set, objects| {
            log.commit(set, || {
                *outcome = Outcome::Durable;
                let applying: Applying<'_> = inner.readers.gate.write();
                objects.created().for_each(|object| inner.readers.names.publish(object));
                applying
            })
        })?;
        self.outcome = Outcome::Durable;
        Ok(()) // `drop` does the rest
    }

    /// Rolls back, as dropping does. No drain.
    pub fn abort(self) {}

    /// Sets a block aside. Commit keeps it so; it is not part of what is committed.
    pub(crate) fn reserve(&self, len: u64, align: u64) -> Result<Block> {
        self.core.allocating(|writer| {
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
