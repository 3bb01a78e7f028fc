//! Pools: made, opened, closed.

use crate::{
    CheckReport, ErrorKind, PoolStats, ReadTx, Reservation, Result, WriteTx, check,
    directory::{self, Names, Objects},
    eventual::Readers,
    format::{self, COPIES, Geometry, Header, MAGIC},
    gate::Turn,
    heap::{Block, Heap},
    media::Media,
    pages::PageMap,
    stats,
    transaction::Writer,
};
use parking_lot::Mutex;
use pmem_map::{MapOptions, Mapping, PAGE, Region};
use pmem_tx::{
    Subscriber,
    engine::{Log, LogOptions, Shortcuts},
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// How to create or open a pool.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    pub(crate) size: u64,
    layout: String,
    pub(crate) mapping: MapOptions,
    log: LogOptions,
    identity: Option<u64>,
    group: bool,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions {
            size: 4 << 20,
            layout: String::new(),
            mapping: MapOptions::new(),
            log: LogOptions::default(),
            identity: None,
            group: false,
        }
    }
}

impl PoolOptions {
    /// 4 MiB, no layout name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes at creation of a file or of anonymous memory; at least 128 KiB. A mapping brings its own length, and an
    /// existing file too.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// A name for what the pool holds, at most 112 bytes. Opening under another is an error; opening without one is not.
    pub fn layout(mut self, name: &str) -> Self {
        self.layout = name.into();
        self
    }

    /// Flush the lines of committed changes with every `commits`-th commit, each line once: cheaper where the same lines
    /// change again and again (counters, bitmaps), at the price of a longer replay after a crash. From 1, which is the
    /// default, to 65,536. Nothing of it is on media.
    pub fn flush_interval(mut self, commits: u32) -> Self {
        self.log.flush_interval = commits.clamp(1, 1 << 16);
        self
    }

    /// Whether commits of several threads share drains: worth it where a drain is dear, as on a disk. A commit then gives
    /// the right to write to the next transaction before its drain; that one sees its changes, readers do not, and a crash
    /// leaves both, the first, or none. `false` unless set. Nothing of it is on media.
    pub fn group_commit(mut self, group: bool) -> Self {
        self.group = group;
        self
    }

    /// Makes a pool that is the same each time, byte for byte: for explorations that have to repeat.
    #[doc(hidden)]
    pub fn identity(mut self, identity: u64) -> Self {
        self.identity = Some(identity);
        self
    }

    #[doc(hidden)]
    pub fn shortcuts(mut self, shortcuts: Shortcuts) -> Self {
        self.log.shortcuts = shortcuts;
        self
    }

    /// Makes a pool on a mapping, whatever it holds now: a file inside a library filesystem, anonymous memory, ...
    ///
    /// Everything but the magic is written and drained first: a crash before this returns leaves no pool, or all of it.
    /// About 6 drains.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooSmall`], [`ErrorKind::TooLarge`] (then the mapping is as it was); errors of draining.
    pub fn create_on(&self, mut mapping: Mapping) -> Result<Pool> {
        let geometry = Geometry::for_size(mapping.len())?;
        let (identity, created) = match self.identity {
            Some(identity) => (identity, 0),
            None => {
                (random_identity(), SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()))
            }
        };
        let header = Header::new(&geometry, identity, created, &self.layout)?;
        for copy in COPIES {
            mapping.write(copy, &[0; 8])?;
            mapping.flush(copy..copy + 8)?;
        }
        mapping.drain()?; // no old pool any more, before any part of it is overwritten
        zero(&mut mapping, geometry.metadata())?;
        for copy in COPIES {
            mapping.write(copy, bytemuck::bytes_of(&header))?;
            mapping.flush(copy..copy + size_of::<Header>() as u64)?;
        }
        mapping.drain()?;
        let media = Media::new(mapping);
        // Only now: without a header, a file that is not all zeros would look like somebody's. The log's drains cover it.
        let empty = geometry.state_start + 8;
        media.store_word(empty, directory::head_checksum(&geometry, 0));
        media.region().flush(empty..empty + 8)?;
        let log = media.create_log(geometry.log(), identity, self.log.clone())?;
        for copy in COPIES {
            media.store_word(copy, MAGIC);
            media.region().flush(copy..copy + 8)?;
        }
        media.region().drain()?;
        let heap = Heap::rebuild(&geometry, |_| 0)?;
        let (objects, names) = Objects::read(&heap, &media)?;
        Ok(Pool::new(media, geometry, log, heap, objects, names, (Opening::default(), self.group)))
    }

    /// Opens the pool on a mapping; replays what was committed and may not be in place. Checks the page table, all
    /// bitmaps, and the directory. 2 drains; one more if there is something to replay, and one if a copy of the header was
    /// repaired.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotAPool`], [`ErrorKind::Damaged`], [`ErrorKind::Truncated`], [`ErrorKind::NewerVersion`],
    /// [`ErrorKind::UnknownFeatures`], [`ErrorKind::WrongLayout`]: the bytes are as they were. Errors of the log, and
    /// [`ErrorKind::Corrupt`], which names the first place that cannot be right.
    pub fn open_on(&self, mapping: Mapping) -> Result<Pool> {
        let format::Found { header, geometry, damaged } = format::read(mapping.as_slice())?;
        if !self.layout.is_empty() && self.layout != header.layout() {
            let (expected, found) = (self.layout.clone(), header.layout());
            return Err(ErrorKind::WrongLayout { expected, found }.into());
        }
        let media = Media::new(mapping);
        // What is seen may not be durable: whoever made the pool can have been killed in its last drain. The same bytes
        // again, under the drains of opening the log, come before anything that this opening acknowledges.
        for copy in COPIES.into_iter().filter(|&copy| damaged.as_ref().is_none_or(|(at, _)| *at != copy)) {
            let content = media.copy(copy, header.header_len.into());
            media.store(copy, &content);
            media.region().flush(copy..copy + content.len() as u64)?;
        }
        let (log, recovery) =
            media.open_log(geometry.log(), header.identity, geometry.home(), self.log.clone())?;
        let heap = Heap::rebuild(&geometry, |at| media.word(at))?;
        let (objects, names) = Objects::read(&heap, &media)?;
        let mut opening = Opening {
            replayed: recovery.replayed,
            replayed_lines: recovery.lines,
            repaired_log: recovery.repaired_header,
            repaired_header: None,
        };
        if let Some((copy, content)) = damaged {
            media.store(copy, &content);
            media.region().persist(copy..copy + content.len() as u64)?;
            opening.repaired_header = Some(if copy == COPIES[0] { 'A' } else { 'B' });
        }
        Ok(Pool::new(media, geometry, log, heap, objects, names, (opening, self.group)))
    }
}

/// Zeroes whole pages, and flushes them: what is zero already may not be durable.
fn zero(mapping: &mut Mapping, range: Range<u64>) -> Result<()> {
    for at in range.step_by(PAGE as usize) {
        if mapping.as_slice()[at as usize..(at + PAGE) as usize].iter().any(|&byte| byte != 0) {
            mapping.write(at, &[0; PAGE as usize])?;
        }
        mapping.flush(at..at + PAGE)?;
    }
    Ok(())
}

/// A number that no other pool has. (`RandomState` is seeded by the system.)
fn random_identity() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish().max(1)
}

/// What opening a pool found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// Commits that were replayed, because they may not have been in place.
    pub replayed: u64,
    /// Cache lines that were replayed.
    pub replayed_lines: u64,
    /// A damaged copy of the log's header was written again.
    pub repaired_log: bool,
    /// This damaged copy (`'A'` or `'B'`) of the pool's header was written again.
    pub repaired_header: Option<char>,
}

/// An open pool. Cheap to clone; `Send + Sync`; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Pool {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles and transactions of a pool share.
pub(crate) struct Inner {
    pub(crate) media: Media,
    pub(crate) geometry: Geometry,
    pub(crate) pages: PageMap,
    pub(crate) readers: Readers,
    pub(crate) turn: Turn<Writer>,
    /// Reservations that were dropped; the next writer gives them back.
    pub(crate) cancelled: Mutex<Vec<Block>>,
    pub(crate) any_cancelled: AtomicBool,
    /// Commits of several threads share drains.
    pub(crate) group: bool,
    opening: Opening,
}

impl Inner {
    /// Waits for the turn to write.
    #[inline]
    pub(crate) fn take_writer(&self, wanted: &'static str) -> Result<Box<Writer>> {
        self.media.region().check_process()?;
        if self.readers.pipeline.is_applying_here() {
            return Err(ErrorKind::WouldDeadlock { held: "Subscriber's call", wanted }.into());
        }
        let mut writer = self.turn.take(&self.readers.gate, wanted)?;
        let Writer { log, set, heap, .. } = &mut *writer;
        log.collect(set);
        heap.reclaim(log.applied());
        writer.take_back_log_space();
        if self.any_cancelled.load(Relaxed) {
            let mut cancelled = self.cancelled.lock();
            cancelled.drain(..).for_each(|block| writer.heap.cancel(block));
            self.any_cancelled.store(false, Relaxed);
        }
        Ok(writer)
    }

    /// Runs `work` with the writer, outside any transaction. The writer is given back whatever panics, and before the
    /// caller drops the result.
    fn with_writer<R>(&self, wanted: &'static str, work: impl FnOnce(&mut Writer) -> R) -> Result<R> {
        let mut lent = LentWriter { turn: &self.turn, writer: Some(self.take_writer(wanted)?) };
        Ok(work(lent.writer.as_mut().expect("given back when dropped")))
    }
}

/// The writer, outside any transaction; given back when dropped.
struct LentWriter<'p> {
    turn: &'p Turn<Writer>,
    /// `None` only in `drop`.
    writer: Option<Box<Writer>>,
}

impl Drop for LentWriter<'_> {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.turn.give(writer);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A forked child has a copy of this value, but no mapping.
        let Inner { media, readers, turn, .. } = self;
        if media.region().check_process().is_ok()
            && let Some(writer) = turn.get_mut()
        {
            // Nobody is left to tell; what a checkpoint spares is the next opening's replay.
            _ = readers.checkpoint(writer);
        }
    }
}

impl Pool {
    fn new(
        media: Media,
        geometry: Geometry,
        log: Log,
        heap: Heap,
        objects: Objects,
        names: Names,
        (opening, group): (Opening, bool),
    ) -> Pool {
        let pages = heap.page_map();
        let (set, readers) = (log.write_set(), Readers::new(&log, names));
        let turn = Turn::new(Box::new(Writer { log, set, heap, objects }));
        let (cancelled, any_cancelled) = (Mutex::default(), AtomicBool::new(false));
        let inner = Inner { media, geometry, pages, readers, turn, cancelled, any_cancelled, group, opening };
        Pool { inner: Arc::new(inner) }
    }

    /// A pool of `size` bytes in memory that ends with the process: for tests.
    pub fn anonymous(size: u64) -> Result<Pool> {
        PoolOptions::new().create_on(Mapping::anonymous(size)?)
    }

    /// Opens the pool on a mapping: [`PoolOptions::open_on`] with no layout asked for.
    pub fn on(mapping: Mapping) -> Result<Pool> {
        PoolOptions::new().open_on(mapping)
    }

    /// Makes a pool on a mapping: [`PoolOptions::create_on`] with no layout name.
    pub fn create_on(mapping: Mapping) -> Result<Pool> {
        PoolOptions::new().create_on(mapping)
    }

    /// Runs `body` in a transaction: commits on `Ok`, rolls back on `Err` and on panic.
    ///
    /// One writer at a time; readers go on beside it. A thread that is inside its own [`read`](Pool::read)
    /// or `write` gets [`ErrorKind::WouldDeadlock`]. Cost: one drain, or a share of one under
    /// [group commit](PoolOptions::group_commit); none if nothing was changed.
    ///
    /// ```
    /// # use pmem_alloc::*; fn main() -> Result<()> {
    /// # let pool = Pool::anonymous(1 << 20)?;
    /// let n = pool.write(|tx| {
    ///     let mut hits = tx.open::<PHeap<u64>>("hits")?;
    ///     *hits.root_mut()? += 1;
    ///     Ok(*hits.root()?)
    /// })?;
    /// # assert_eq!(n, 1); Ok(()) }
    /// ```
    pub fn write<R>(&self, body: impl FnOnce(&mut WriteTx<'_>) -> Result<R>) -> Result<R> {
        self.transact(body)
    }

    /// As [`write`](Pool::write), with an error type of your own (it must be `From<Error>`). Separate,
    /// because with one generic function every plain use would need its error type spelled out.
    pub fn transact<R, E: From<crate::Error>>(
        &self,
        body: impl FnOnce(&mut WriteTx<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut tx = self.begin()?;
        let result = body(&mut tx)?;
        tx.commit()?;
        Ok(result)
    }

    /// Begins a write transaction; waits for the one before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldDeadlock`]; a log that was poisoned by a failed write-back: close the pool and open it again.
    pub fn begin(&self) -> Result<WriteTx<'_>> {
        WriteTx::new(&self.inner)
    }

    /// Begins to read. Sees the last commit that is durable, and no later one, until dropped. Commits are durable beside it, but wait
    /// for it before they return.
    pub fn read(&self) -> Result<ReadTx<'_>> {
        ReadTx::new(&self.inner)
    }

    /// Sets aside a block of at least `len` bytes at a multiple of `align` (a power of two up to 2 MiB), outside any
    /// transaction. Waits for the transaction that is open, if any.
    ///
    /// No drain, except when a run of pages has to be set up for a size class: one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSpace`], [`ErrorKind::BadAlignment`], [`ErrorKind::WouldDeadlock`] inside an own transaction.
    pub fn reserve(&self, len: u64, align: u64) -> Result<Reservation> {
        let tx = self.begin()?;
        let block = tx.reserve(len, align)?;
        tx.commit()?;
        Ok(Reservation::new(self, block, len))
    }

    /// Writes what every commit has changed to its place, so that the next opening has nothing to replay. Two drains;
    /// none if there is nothing to do; one more if commits are not durable yet. Waits for the transaction that is open, if any.
    pub fn checkpoint(&self) -> Result<()> {
        self.inner.with_writer("checkpoint", |writer| self.inner.readers.checkpoint(writer))?
    }

    /// Closes this handle with a [`checkpoint`](Pool::checkpoint), of which the errors are seen. Dropping the last
    /// handle does the same, and swallows them.
    pub fn close(self) -> Result<()> {
        self.checkpoint()
    }

    /// Tells `subscriber` every record that is committed from now on, in order, on the committing thread.
    pub fn subscribe(&self, subscriber: Arc<dyn Subscriber>) -> Result<()> {
        // The subscriber before is dropped when the writer was given back: its `drop` is code of a caller.
        self.inner.with_writer("subscribe", |writer| writer.log.subscribe(subscriber)).map(drop)
    }

    /// Compares bitmaps, descriptors and directory with each other. Waits for the transaction that is open, if any. No drain,
    /// unless commits are not durable yet.
    pub fn check(&self) -> Result<CheckReport> {
        self.inner.with_writer("check", |writer| {
            self.inner.readers.finish(writer)?;
            Ok(check::check(&self.inner.media, writer))
        })?
    }

    /// What the pool holds, and what the log has done. Waits for the transaction that is open, if any.
    pub fn stats(&self) -> Result<PoolStats> {
        self.inner.with_writer("ask for statistics", |writer| stats::stats(&self.inner.geometry, writer))
    }

    /// What opening it found and did.
    pub fn opening(&self) -> Opening {
        self.inner.opening
    }

    /// The bytes below: granularity, durability, counters.
    pub fn region(&self) -> &Region {
        self.inner.media.region()
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("region", self.region()).finish_non_exhaustive()
    }
}
