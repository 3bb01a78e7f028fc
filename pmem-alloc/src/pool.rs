//! Pools: made, opened, closed.

use crate::{
    CheckReport, ErrorKind, Object, Occupancy, PoolStats, ReadTx, Reservation, Result, WriteTx,
    backup::Watch,
    cache::{self, Caches},
    check,
    companion::Companions,
    directory::{self, Names, Objects},
    eventual::Readers,
    format::{self, COPIES, Geometry, Header},
    gate::Turn,
    growth::{Growth, GrowthOptions, GrowthShortcut, checked_max_size},
    heap::{Block, Heap},
    kind::{Kind, Kinds},
    making::{self, Birth},
    media::Media,
    occupancy,
    pages::PageMap,
    repair::Mends,
    replicate::{Following, Position, Replication},
    stats,
    transaction::Writer,
};
use parking_lot::Mutex;
use pmem_map::{MapOptions, Mapping, Region};
use pmem_tx::{
    Subscriber,
    engine::{LogOptions, Shortcuts},
};
use std::sync::{
    Arc,
    atomic::{
        AtomicBool,
        Ordering::{Relaxed, Release},
    },
};

/// How to create or open a pool.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    pub(crate) size: u64,
    pub(crate) max_size: u64,
    pub(crate) growth: GrowthOptions,
    pub(crate) require_clean: bool,
    layout: String,
    pub(crate) mapping: MapOptions,
    pub(crate) log: LogOptions,
    pub(crate) identity: Option<u64>,
    pub(crate) group: bool,
    pub(crate) replication: Replication,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions {
            size: 4 << 20,
            max_size: 0,
            growth: GrowthOptions::default(),
            require_clean: false,
            layout: String::new(),
            mapping: MapOptions::new(),
            log: LogOptions::default(),
            identity: None,
            group: false,
            replication: Replication::default(),
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

    /// Bytes to which the pool may [grow](Pool::grow). Recorded when it is made; larger than its size, and at most 16 TiB.
    /// When it is opened: a larger maximum than the recorded one is recorded instead (2 drains more), a smaller one is
    /// refused. Costs addresses, nothing else.
    ///
    /// A mapping that the caller brings can grow as far as *its*
    /// [`max_len`](pmem_map::MapOptions::max_len).
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// Grow when there is no room for what is to be allocated, by at least an eighth of the pool. Not recorded. A full
    /// disk is then the disk's error; a pool at its maximal size is [`ErrorKind::NoSpace`].
    pub fn auto_grow(mut self, grow: bool) -> Self {
        self.growth.automatic = grow;
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

    #[doc(hidden)]
    pub fn growth_shortcut(mut self, shortcut: GrowthShortcut) -> Self {
        self.growth.shortcut = Some(shortcut);
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
        let Birth { identity, created } = Birth::new(self.identity);
        let max_size = checked_max_size(self.max_size)?;
        let header = Header::new(&geometry, max_size, identity, created, &self.layout)?;
        making::clear_magics(&mut mapping)?;
        making::zero(&mut mapping, geometry.metadata())?;
        making::write_headers(&mut mapping, bytemuck::bytes_of(&header))?;
        let media = Media::new(mapping);
        // Only now: without a header, a file that is not all zeros would look like somebody's. The log's drains cover it.
        let empty = geometry.state_start + 8;
        media.store_word(empty, directory::head_checksum(&geometry, 0));
        media.region().flush(empty..empty + 8)?;
        let log = making::finish(&media, &geometry, identity, self.log.clone())?;
        let heap = Heap::rebuild(&geometry, |_| 0)?;
        let (objects, names) = Objects::read(&heap, &media)?;
        let growth =
            Growth::new(media.copy(COPIES[0], header.header_len.into()), header.max_size, self.growth);
        let writer = Writer::new(log, heap, objects, growth);
        let about = (self.layout.clone(), Opening::default(), self.group);
        Ok(Pool::new(media, geometry, writer, names, about, (None, self.replication.clone())))
    }

    /// Opens the pool on a mapping; replays what was committed and may not be in place. Checks the page table, all
    /// bitmaps, and the directory. 2 drains; one more if there is something to replay, one if a copy of the header was
    /// repaired, and two if a larger [`max_size`](PoolOptions::max_size) is recorded. Holes of a sparse file get blocks.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotAPool`], [`ErrorKind::Damaged`], [`ErrorKind::Truncated`], [`ErrorKind::NewerVersion`],
    /// [`ErrorKind::UnknownFeatures`], [`ErrorKind::WrongLayout`], [`ErrorKind::SmallerMaximum`]: the bytes are as they
    /// were; as they are if a disk is too full for a sparse file. Errors of the log, and
    /// [`ErrorKind::Corrupt`], which names the first place that cannot be right.
    /// [`PageLost`](pmem_map::Error::PageLost) if the file is truncated meanwhile.
    pub fn open_on(&self, mapping: Mapping) -> Result<Pool> {
        self.open_mapping(mapping, None)
    }

    /// Opens the pool. With `mends`, what could follow from the rest is no error, but listed there: nothing of that is
    /// on media yet.
    pub(crate) fn open_mapping(&self, mapping: Mapping, mends: Option<&mut Mends>) -> Result<Pool> {
        let found = mapping.guarded(|| format::read(mapping.as_slice()))??;
        self.accept(&found.header)?;
        mapping.fill_holes()?; // before the first store
        let media = Media::new(mapping);
        let region = media.share();
        region.guarded(|| self.recover(media, found, mends))?
    }

    /// Whether the pool with this header is one that was asked for.
    fn accept(&self, header: &Header) -> Result<()> {
        if !self.layout.is_empty() && self.layout != header.layout() {
            let (expected, found) = (self.layout.clone(), header.layout());
            return Err(ErrorKind::WrongLayout { expected, found }.into());
        }
        let (asked, recorded) = (checked_max_size(self.max_size)?, header.max_size);
        if self.max_size != 0 && asked < recorded {
            return Err(ErrorKind::SmallerMaximum { asked, recorded }.into());
        }
        Ok(())
    }

    /// Opens what was found and accepted.
    fn recover(&self, media: Media, found: format::Found, mends: Option<&mut Mends>) -> Result<Pool> {
        let format::Found { header, geometry, damaged } = found;
        // What is seen may not be durable: whoever made the pool can have been killed in its last drain. The same bytes
        // again, under the drains of opening the log, come before anything that this opening acknowledges.
        for copy in COPIES.into_iter().filter(|&copy| damaged.as_ref().is_none_or(|(at, _)| *at != copy)) {
            let content = media.copy(copy, header.header_len.into());
            media.store(copy, &content);
            media.region().flush(copy..copy + content.len() as u64)?;
        }
        let (log, recovery) =
            media.open_log(geometry.log(), header.identity, geometry.home(), self.log.clone())?;
        let following = match (Position::read(&geometry, |at| media.word(at)), &mends) {
            (following, None) => following?,
            (following, Some(_)) => following.unwrap_or(None),
        };
        let (heap, (objects, names)) = match mends {
            None => {
                let heap = Heap::rebuild(&geometry, |at| media.word(at))?;
                let objects = Objects::read(&heap, &media)?;
                (heap, objects)
            }
            Some(mends) => {
                let heap = Heap::rebuild_mended(&geometry, |at| media.word(at), mends)?;
                mends.head = directory::find_head(&heap, &media)?;
                let objects = Objects::read_from(mends.head.as_ref().map(|(head, _)| *head), &heap, &media)?;
                (heap, objects)
            }
        };
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
        let content = media.copy(COPIES[0], header.header_len.into());
        let mut growth = Growth::new(content, header.max_size, self.growth);
        growth.raise(&media, geometry.size(), checked_max_size(self.max_size)?)?;
        if self.replication.0.is_some() && heap.has_slabs() {
            return Err(ErrorKind::NotReplicable.into());
        }
        let writer = Writer::new(log, heap, objects, growth);
        let about = (header.layout(), opening, self.group);
        Ok(Pool::new(media, geometry, writer, names, about, (following, self.replication.clone())))
    }
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
    /// Types of objects that this program has.
    pub(crate) kinds: Kinds,
    pub(crate) turn: Turn<Writer>,
    /// Reservations that were dropped; the next writer gives them back.
    pub(crate) cancelled: Mutex<Vec<Block>>,
    pub(crate) any_cancelled: AtomicBool,
    /// Reserved blocks in store.
    pub(crate) caches: Caches,
    pub(crate) companions: Companions,
    /// Commits of several threads share drains.
    pub(crate) group: bool,
    pub(crate) replication: Replication,
    opening: Opening,
    /// The layout's name.
    pub(crate) layout: String,
    /// Held while a backup is written.
    pub(crate) backing_up: Mutex<()>,
    /// What notes commits for a backup; the pool's subscriber is behind it then. Set under the writer's turn.
    pub(crate) watch: Mutex<Option<Arc<Watch>>>,
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

    /// [`ErrorKind::WouldDeadlock`] if the calling thread has a transaction open.
    pub(crate) fn check_no_transaction(&self, wanted: &'static str) -> Result<()> {
        self.readers.check(wanted)?;
        match self.turn.is_held_here() {
            true => Err(ErrorKind::WouldDeadlock { held: "WriteTx", wanted }.into()),
            false => Ok(()),
        }
    }

    /// Gives reserved blocks back. The writer may be in use, even by this thread: whoever takes it next sees to it.
    pub(crate) fn cancel(&self, blocks: impl IntoIterator<Item = Block>) {
        let mut cancelled = self.cancelled.lock();
        cancelled.extend(blocks);
        self.any_cancelled.store(!cancelled.is_empty(), Release);
    }

    /// Runs `work` with the writer, outside any transaction; pages that are gone are an error. The writer is given back
    /// whatever panics, and before the
    /// caller drops the result.
    pub(crate) fn with_writer<R>(
        &self,
        wanted: &'static str,
        work: impl FnOnce(&mut Writer) -> R,
    ) -> Result<R> {
        self.with_writer_as_it_is(wanted, |writer| {
            self.refresh(writer)?;
            Ok(work(writer))
        })?
    }

    /// The same; of a pool that follows another, heap and objects are as of some earlier record.
    pub(crate) fn with_writer_as_it_is<R>(
        &self,
        wanted: &'static str,
        work: impl FnOnce(&mut Writer) -> R,
    ) -> Result<R> {
        let mut lent = LentWriter { turn: &self.turn, writer: Some(self.take_writer(wanted)?) };
        let writer = lent.writer.as_mut().expect("given back when dropped");
        self.guarded_commit(|| work(writer))
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
            _ = media.region().guarded(|| readers.checkpoint(writer));
        }
    }
}

impl Pool {
    pub(crate) fn new(
        media: Media,
        geometry: Geometry,
        writer: Writer,
        names: Names,
        (layout, opening, group): (String, Opening, bool),
        (following, replication): (Option<Position>, Replication),
    ) -> Pool {
        let mut writer = writer;
        writer.growth.replication = replication.clone();
        let pages = writer.heap.page_map();
        let following = Following::new(following, pages.clone(), &writer.objects);
        let readers = Readers::new(&writer.log, names, following);
        let turn = Turn::new(Box::new(writer));
        let (cancelled, any_cancelled) = (Mutex::default(), AtomicBool::new(false));
        let (kinds, backing_up, watch) = (Kinds::default(), Mutex::default(), Mutex::default());
        let companions = Companions::default();
        let inner = Inner {
            media,
            geometry,
            pages,
            readers,
            kinds,
            turn,
            cancelled,
            any_cancelled,
            caches: Caches::default(),
            companions,
            group,
            replication,
            opening,
            layout,
            backing_up,
            watch,
        };
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
    /// [`ErrorKind::WouldDeadlock`]; [`ErrorKind::Follower`]; what a [`Replicator`](crate::Replicator) refuses; a log that was poisoned by a failed write-back: close the pool and open it again.
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
    /// No drain, except when a run of pages has to be set up for a size class: one. Blocks of up to 1 KiB are set aside
    /// some at a time, and those that were given back are kept: so most calls wait for nobody.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSpace`], [`ErrorKind::BadAlignment`], [`ErrorKind::WouldDeadlock`] inside an own transaction, unless there
    /// is a block in store.
    pub fn reserve(&self, len: u64, align: u64) -> Result<Reservation> {
        let class = cache::class_of(len, align);
        if let Some(block) = class.and_then(|class| self.inner.caches.take(class)) {
            return Ok(Reservation::new(self, block, len));
        }
        let tx = self.begin()?;
        let block = tx.reserve(len, align)?;
        let more: Vec<Block> = match class {
            Some(_) => (1..cache::BATCH).map_while(|_| tx.reserve(block.len, align).ok()).collect(),
            None => Vec::new(),
        };
        tx.commit()?;
        let surplus = more.into_iter().filter_map(|block| self.inner.caches.keep(block));
        self.inner.cancel(surplus);
        Ok(Reservation::new(self, block, len))
    }

    /// Makes the pool at least `bytes` bytes larger (64 KiB at the least), in place: no address changes, and readers go on. Returns
    /// its new size. Durable on return. Waits for the transaction that is open, if any. 2 drains, and a sync of the
    /// file. About 1.8 % of the new bytes are tables.
    ///
    /// A block lies in one part by which the pool grew, or in what it had at first: who needs blocks of gigabytes grows
    /// by more than that at a time. A pool can grow 240 times; towards the end it takes larger steps than asked for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CannotGrow`] beyond its [`max_size`](PoolOptions::max_size);
    /// [`pmem_map::Error::CannotGrow`] where the mapping cannot; [`pmem_map::Error::Io`] on a full disk. The pool is as
    /// it was, and goes on. An error of a drain poisons it.
    pub fn grow(&self, bytes: u64) -> Result<u64> {
        let media = &self.inner.media;
        self.inner.readers.following.check()?;
        self.inner.with_writer("grow", |writer| writer.growth.grow(media, &mut writer.heap, bytes))?
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

    /// Tells `subscriber` every record that is committed from now on, in order, on the thread that puts it in place: as a rule the
    /// one that commits.
    pub fn subscribe(&self, subscriber: Arc<dyn Subscriber>) -> Result<()> {
        // The subscriber before is dropped when the writer was given back: its `drop` is code of a caller.
        let inner = &*self.inner;
        let subscribe = |writer: &mut Writer| match &*inner.watch.lock() {
            Some(watch) => watch.next.lock().replace(subscriber),
            None => writer.log.subscribe(subscriber),
        };
        inner.with_writer("subscribe", subscribe).map(drop)
    }

    /// Tells the pool that this program has the type `O`, so that [`check`](Pool::check), repair and compaction can follow objects of it.
    /// Opening an object does the same for its type.
    pub fn register<O: Object>(&self) {
        self.inner.kinds.register(Kind::of::<O>());
    }

    /// Compares bitmaps, page table and directory with each other, and follows every named object through its blocks: what
    /// is allocated and belongs to no object is a leak; what belongs to two, or is referred to and not allocated, is
    /// damage. Reads all metadata and what the objects read to be followed. Waits for the transaction that is open, if any. No
    /// drain, unless commits are not durable yet.
    ///
    /// An object is followed if the program has its type ([`register`](Pool::register), or an object that it opened) and the type tells its
    /// blocks ([`Object::trace`]); a [`PHeap`](crate::PHeap) in any case, by what is recorded of it. As long as one object is not
    /// followed, the blocks that nothing refers to may be its own: they are counted as not traced, and are no leaks.
    pub fn check(&self) -> Result<CheckReport> {
        self.inner.with_writer("check", |writer| {
            self.inner.readers.finish(writer)?;
            Ok(check::check(&self.inner, writer))
        })?
    }

    /// What the pool holds, and what the log has done. Waits for the transaction that is open, if any.
    pub fn stats(&self) -> Result<PoolStats> {
        let inner = &*self.inner;
        inner.with_writer("ask for statistics", |writer| {
            inner.caches.empty_into(&mut writer.heap);
            stats::stats(writer)
        })
    }

    /// What is where in the pool; printing it draws a map. Waits for the transaction that is open, if any.
    ///
    /// ```
    /// # use pmem_alloc::*; fn main() -> Result<()> {
    /// # let pool = Pool::anonymous(1 << 20)?;
    /// println!("{}", pool.occupancy()?);
    /// # Ok(()) }
    /// ```
    pub fn occupancy(&self) -> Result<Occupancy> {
        let inner = &*self.inner;
        inner.with_writer("ask for the occupancy", |writer| {
            inner.caches.empty_into(&mut writer.heap);
            occupancy::occupancy(writer)
        })
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
