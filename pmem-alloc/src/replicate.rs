//! The seam for replication: who has a say in commits, and a pool that follows another.
//!
//! A **replicator** sits on the primary. It is told every record, in order ([`Subscriber`]), asked before a transaction begins and
//! before a commit is acknowledged, and told how the pool grows.
//!
//! A **follower** is a copy of a pool, made by [`Pool::backup`] or one of its copies, that changes by [`Pool::follow`] only: by what
//! was committed to the original. Which record came last is in the state line ([`Position`], FORMAT.md), and changes in the same
//! transaction as what the record says: so each is applied exactly once. Readers see it as they see any other commit.
//!
//! What a follower's readers need beside the bytes, and what is volatile, is brought up to date while the gate keeps them out: the
//! page map at each record that changes descriptors, the names when the directory changes. The heap, which only writers need, is
//! rebuilt when somebody asks.

use crate::{
    Error, ErrorKind, Pool, PoolOptions, Result,
    directory::{DIRECTORY, Objects},
    format::{Geometry, SegmentEntry, Span},
    gate::Applying,
    heap::Heap,
    pages::PageMap,
    pool::Inner,
    segments::DESCRIPTOR,
    transaction::Writer,
};
use parking_lot::Mutex;
use pmem_map::{LINE, PAGE};
use pmem_tx::{Refusal, Subscriber, Ticket};
use std::{cell::RefCell, collections::VecDeque, ops::Range, sync::Arc};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Who has to know what a pool commits: see the [crate](crate#replication). Its [`committed`](Subscriber::committed) is called on the
/// committing thread and must not wait; the other functions may.
pub trait Replicator: Subscriber {
    /// Whether a transaction may begin. Called without the writer's turn.
    ///
    /// # Errors
    ///
    /// The transaction does not begin: [`ErrorKind::Refused`].
    fn admit(&self) -> Result<(), Refusal>;

    /// Every record that the calling thread has committed is durable here, and was told. Returns when that may be acknowledged. Called
    /// without the writer's turn, so that others commit meanwhile.
    ///
    /// # Errors
    ///
    /// The commit is here, and is not taken back; its caller gets [`ErrorKind::Refused`].
    fn acknowledge(&self) -> Result<(), Refusal>;

    /// The pool has `size` bytes now and consists, beside its first part, of these segments. Told before any record that names the newest.
    fn grown(&self, segments: &[Grown], size: u64);

    /// Where a copy that holds every record told so far, and no other, goes on. Called while no commit is under way.
    fn position(&self) -> Position;
}

/// A part by which a pool grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Offset of its first byte.
    pub start: u64,
    /// Data pages in it.
    pub pages: u64,
}

/// Which record of a stream of records was applied last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which stream; not 0.
    pub stream: u64,
    /// Number of the record, counted through the whole stream.
    pub record: u64,
    /// The last message of the stream of which everything is applied, and all before it. Reading goes on after it.
    pub message: u64,
    /// The primary's term when it wrote the record.
    pub term: u64,
}

/// Where the position is in the state line.
pub(crate) const POSITION: Range<u64> = 16..56;

impl Position {
    /// The words that record it.
    pub(crate) fn words(self, geometry: &Geometry) -> [u64; 5] {
        let words = [self.stream, self.record, self.message, self.term];
        let sum = xxh3_64_with_seed(bytemuck::bytes_of(&words.map(u64::to_le)), geometry.state_start);
        [words[0], words[1], words[2], words[3], sum]
    }

    /// What the state line says.
    pub(crate) fn read(geometry: &Geometry, word: impl Fn(u64) -> u64) -> Result<Option<Position>> {
        let at = geometry.state_start + POSITION.start;
        let words: [u64; 5] = std::array::from_fn(|i| word(at + 8 * i as u64));
        let [stream, record, message, term, sum] = words;
        let position = Position { stream, record, message, term };
        if words == [0; 5] {
            return Ok(None);
        }
        let right = position.words(geometry)[4];
        match sum == right && stream != 0 {
            true => Ok(Some(position)),
            false => Err(Error::corrupt(
                at + 32,
                format!("checksum {right:#x} of a position"),
                format!("{sum:#x}"),
            )),
        }
    }
}

/// A replicator, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Replication(pub(crate) Option<Arc<dyn Replicator>>);

impl Replication {
    #[inline]
    pub(crate) fn admit(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |replicator| replicator.admit().map_err(refused))
    }

    #[inline]
    pub(crate) fn acknowledge(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |replicator| replicator.acknowledge().map_err(refused))
    }
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Replication" } else { "none" })
    }
}

#[cold]
fn refused(why: Refusal) -> Error {
    ErrorKind::Refused(why).into()
}

/// New descriptors, by page.
type Descriptors = Vec<(u32, u64)>;

/// What a pool knows of following.
pub(crate) struct Following {
    pages: PageMap,
    /// Another pool was followed when this one was opened.
    active: bool,
    /// The newest position that was written; `None`: nobody is followed.
    newest: Mutex<Option<Position>>,
    /// Descriptors that records change which are not applied, in order.
    descriptors: Mutex<VecDeque<(Ticket, Descriptors)>>,
    /// Offsets of the directory's entries, ascending.
    entries: Mutex<Vec<u64>>,
}

impl Following {
    pub(crate) fn new(position: Option<Position>, pages: PageMap, objects: &Objects) -> Following {
        let (active, newest) = (position.is_some(), Mutex::new(position));
        let entries = Mutex::new(objects.entries());
        Following { pages, active, newest, descriptors: Mutex::default(), entries }
    }

    /// [`ErrorKind::Follower`] if the pool follows another.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        match self.active {
            false => Ok(()),
            true => Err(ErrorKind::Follower.into()),
        }
    }

    /// Readers are kept out, and records up to `newest` are about to be applied.
    pub(crate) fn bring_up_to_date(&self, newest: Ticket) {
        let mut waiting = self.descriptors.lock();
        while waiting.front().is_some_and(|(ticket, _)| *ticket <= newest) {
            let (_, descriptors) = waiting.pop_front().expect("there is one");
            self.pages.replace(&descriptors);
        }
    }
}

/// One record, looked at: whether it can be one, and what it changes beside bytes.
struct Incoming<'a> {
    changes: &'a [(u64, &'a [u8])],
    descriptors: Descriptors,
    directory: bool,
}

impl<'a> Incoming<'a> {
    fn look(inner: &Inner, changes: &'a [(u64, &'a [u8])]) -> Result<Incoming<'a>> {
        let geometry = &inner.geometry;
        let home = geometry.home();
        let entries = inner.readers.following.entries.lock();
        let (mut descriptors, mut directory) = (Vec::new(), false);
        for &(at, bytes) in changes {
            let len = bytes.len() as u64;
            let end = at.checked_add(len).filter(|&end| at >= home.start && end <= home.end);
            let Some(end) = end.filter(|_| at % 8 == 0 && len % 8 == 0) else {
                let expected = "words that transactions may change";
                return Err(Error::corrupt(at, expected, format!("a record that changes {len} bytes")));
            };
            directory |= at < geometry.state_start + POSITION.start;
            // The checksum of an entry changes with it.
            let first = entries.partition_point(|&entry| entry + 8 < at);
            directory |= entries.get(first).is_some_and(|&entry| entry + 8 < end);
            for (word, bytes) in (at..end).step_by(8).zip(bytes.as_chunks::<8>().0) {
                let Some(page) = geometry.page_of_descriptor(word) else { continue };
                let value = u64::from_le_bytes(*bytes);
                let span = Span::decode(value);
                let fits = span.is_none_or(|span| Some(span.pages()) <= geometry.pages_from(page));
                if value != 0 && span.is_none() || !fits {
                    return Err(Error::corrupt(word, "a page's descriptor", format!("{value:#x}")));
                }
                descriptors.push((page, value));
            }
        }
        Ok(Incoming { changes, descriptors, directory })
    }

    /// Puts all of it, and the position, into the write set.
    ///
    /// `settled`: no record is on its way, and none would be replayed. Then what comes to pages that are free is put there before the
    /// record, as the original has put its new blocks there, and needs no log.
    fn enter(&self, inner: &Inner, writer: &mut Writer, position: Position, settled: bool) {
        for &(at, bytes) in self.changes {
            let end = at + bytes.len() as u64;
            let mut pages = (at & !(PAGE - 1)..end).step_by(PAGE as usize);
            let whole_lines = at % LINE == 0 && end % LINE == 0 && end - at >= PAGE;
            if settled
                && whole_lines
                && at >= inner.geometry.data_start
                && pages.all(|page| inner.is_free(page))
            {
                // One after the other of a record's runs begins elsewhere, and there is no shadow yet.
                let fresh = writer.set.fresh_with(at..end, DIRECTORY + 1, bytes);
                debug_assert!(fresh.is_ok(), "runs of one record do not meet");
                continue;
            }
            for (at, word) in (at..).step_by(8).zip(bytes.as_chunks::<8>().0) {
                writer.set.set_word(at, u64::from_le_bytes(*word));
            }
        }
        let at = inner.geometry.state_start + POSITION.start;
        for (i, word) in position.words(&inner.geometry).into_iter().enumerate() {
            writer.set.set_word(at + 8 * i as u64, word);
        }
    }

    /// Whether the record changes any byte of these pages.
    fn touches(&self, range: &Range<u64>) -> bool {
        self.changes.iter().any(|&(at, bytes)| at < range.end && at + bytes.len() as u64 > range.start)
    }
}

/// Readers are kept out while this lives; then they find the names that the directory has now.
struct Renaming<'a> {
    inner: &'a Inner,
    error: &'a RefCell<Option<Error>>,
    directory: bool,
    _applying: Applying<'a>,
}

impl Drop for Renaming<'_> {
    fn drop(&mut self) {
        let Renaming { inner, .. } = *self;
        if !self.directory {
            return;
        }
        let heap = Heap::rebuild(&inner.geometry, |at| inner.media.word(at));
        match heap.and_then(|heap| Objects::read(&heap, &inner.media)) {
            Ok((objects, names)) => {
                *inner.readers.following.entries.lock() = objects.entries();
                inner.readers.names.replace(names);
            }
            Err(error) => {
                inner.readers.gate.poison();
                *self.error.borrow_mut() = Some(error);
            }
        }
    }
}

impl PoolOptions {
    /// Tells `replicator` what opening finds of the life before, then all that is committed; it is asked before transactions begin and
    /// before they are acknowledged. Not with concurrent containers: no record has their words.
    pub fn replicator(mut self, replicator: Arc<dyn Replicator>) -> Self {
        self.log.subscriber = Some(replicator.clone());
        self.replication = Replication(Some(replicator));
        self
    }
}

impl Pool {
    /// A number that no other pool has.
    pub fn identity(&self) -> Result<u64> {
        self.inner.with_writer("ask for the identity", |writer| writer.log.identity())
    }

    /// The record that a pool which follows another has applied last; `None` if it follows none. What is told here may not be
    /// durable before [`sync`](Pool::sync).
    pub fn following(&self) -> Option<Position> {
        *self.inner.readers.following.newest.lock()
    }

    /// Which life of the pool's log this is, and the newest record in it.
    pub fn log_position(&self) -> Result<(u32, u64)> {
        self.inner.with_writer("ask for the log's position", |writer| writer.log.position())
    }

    /// The parts by which the pool grew, and its size.
    pub fn segments(&self) -> (Vec<Grown>, u64) {
        let segments = &self.inner.geometry.segments;
        (segments.iter().map(|s| Grown { start: s.start, pages: s.pages.into() }).collect(), segments.size())
    }

    /// Applies a record of the pool that this one follows: offsets and new bytes, and where this leaves it. One transaction; durable,
    /// and seen by readers, with the next [`sync`](Pool::sync). Position and bytes are never apart.
    ///
    /// No drain; several for a record that changes the directory or is larger than the log takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if this can be no record of such a pool; [`ErrorKind::WouldDeadlock`]; errors of the log. Nothing was
    /// changed. ([`ErrorKind::Corrupt`] of the directory, too: then the pool is poisoned, and is not to be followed any further.)
    ///
    /// # Panics
    ///
    /// The pool follows none.
    pub fn follow(&self, changes: &[(u64, &[u8])], position: Position) -> Result<Ticket> {
        let inner = &*self.inner;
        let followed = inner.with_writer_as_it_is("follow", |writer| {
            assert!(inner.readers.following.active, "a pool that follows another");
            let incoming = Incoming::look(inner, changes)?;
            writer.stale = true;
            incoming.enter(inner, writer, position, false);
            let applied = match incoming.directory {
                false => inner.follow_later(writer, &incoming),
                true => inner.follow_now(writer, &incoming),
            };
            let applied = match applied {
                Err(e) if matches!(e.kind(), ErrorKind::Tx(pmem_tx::Error::LogFull { .. })) => {
                    inner.follow_large(writer, &incoming, position)
                }
                applied => applied,
            };
            writer.set.clear();
            applied
        })??;
        *inner.readers.following.newest.lock() = Some(position);
        Ok(followed)
    }

    /// The pool that this one follows has grown: so does this one. Durable on return; 2 drains for each segment that is missing.
    ///
    /// # Errors
    ///
    /// As of [`grow`](Pool::grow); [`ErrorKind::Corrupt`] if this pool has grown otherwise.
    pub fn follow_growth(&self, segments: &[Grown], size: u64) -> Result<()> {
        let inner = &*self.inner;
        inner.with_writer("grow", |writer| {
            let own = self.segments().0;
            if own.len() > segments.len() || own != segments[..own.len()] {
                let (expected, found) = (format!("segments {segments:?}"), format!("{own:?}"));
                return Err(Error::corrupt(0, expected, found));
            }
            for (i, &Grown { start, pages }) in segments.iter().enumerate().skip(own.len()) {
                let end = segments.get(i + 1).map_or(size, |next| next.start);
                let Writer { growth, heap, .. } = writer;
                growth.add(&inner.media, heap, SegmentEntry { start, pages }, end)?;
                inner.pages.extend();
            }
            Ok(())
        })?
    }

    /// The pool follows nobody any more: from its next opening on it is written like any other. Durable on return.
    pub fn stop_following(&self) -> Result<()> {
        let inner = &*self.inner;
        inner.with_writer("stop following", |writer| {
            inner.readers.checkpoint(writer)?;
            for at in (inner.geometry.state_start + POSITION.start..).step_by(8).take(5) {
                writer.set.set_word(at, 0);
            }
            let Writer { log, set, .. } = writer;
            log.commit(set, || inner.readers.gate.write())?;
            inner.readers.checkpoint(writer)
        })?
    }

    /// A number that two pools share, but for one chance in 2^64, if the same is allocated in them at the same places and holds the
    /// same: a pool and its followers, when these have everything. Reads all blocks. Waits for the transaction that is open.
    pub fn digest(&self) -> Result<u64> {
        let inner = &*self.inner;
        inner.with_writer("compute the digest", |writer| {
            inner.readers.finish(writer)?;
            let mut hash = Xxh3::new();
            hash.update(&inner.media.copy(inner.geometry.state_start, POSITION.start));
            for (page, span, ..) in writer.heap.each_span() {
                hash.update(&page.to_le_bytes());
                hash.update(&span.encode().to_le_bytes());
            }
            for block in writer.heap.each_block(&[]) {
                hash.update(&block.start.to_le_bytes());
                hash.update(&inner.media.copy(block.start, block.len));
            }
            Ok(hash.digest())
        })?
    }
}

impl Inner {
    /// Writes the record that the write set has; it is applied when somebody waits for it.
    fn follow_later(&self, writer: &mut Writer, incoming: &Incoming<'_>) -> Result<Ticket> {
        let Writer { log, set, .. } = writer;
        let announce = |ticket| {
            if !incoming.descriptors.is_empty() {
                let mut waiting = self.readers.following.descriptors.lock();
                waiting.push_back((ticket, incoming.descriptors.clone()));
            }
        };
        let written = log.write(set, |newest| self.readers.keep_out(newest), announce)?;
        Ok(written.unwrap_or(log.newest()))
    }

    /// Commits the record, and applies it.
    fn follow_now(&self, writer: &mut Writer, incoming: &Incoming<'_>) -> Result<Ticket> {
        self.readers.finish(writer)?;
        let error = RefCell::new(None);
        let Writer { log, set, .. } = writer;
        log.commit(set, || {
            let applying = self.readers.gate.write();
            self.pages.replace(&incoming.descriptors);
            Renaming { inner: self, error: &error, directory: incoming.directory, _applying: applying }
        })?;
        match error.take() {
            Some(error) => Err(error),
            None => Ok(log.newest()),
        }
    }

    /// The same of a record that the log does not take: it borrows pages that are free before and after it.
    #[cold]
    fn follow_large(
        &self,
        writer: &mut Writer,
        incoming: &Incoming<'_>,
        position: Position,
    ) -> Result<Ticket> {
        writer.set.clear();
        self.refresh(writer)?;
        incoming.enter(self, writer, position, true);
        writer.stale = true;
        let committed = self.follow_now(writer, incoming);
        let needed = match committed.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Tx(pmem_tx::Error::LogFull { needed, .. })) => *needed,
            _ => return committed,
        };
        let (mut kept, mut lent, mut pieces) = (Vec::new(), 0, 0);
        while lent < needed && pieces < 16 {
            let Some(range) = writer.heap.lend(needed - lent) else { break };
            if incoming.touches(&range) {
                kept.extend((range.start..range.end).step_by(PAGE as usize).map(|at| at..at + PAGE));
                continue;
            }
            (lent, pieces) = (lent + range.end - range.start, pieces + 1);
            writer.log.lend(range);
        }
        let committed = self.follow_now(writer, incoming);
        kept.into_iter().for_each(|range| writer.heap.take_back(range));
        let ticket = committed?;
        self.refresh(writer)?; // and the log gives its loan back
        Ok(ticket)
    }

    /// Whether the page at `at` is a data page in no span, as committed.
    fn is_free(&self, at: u64) -> bool {
        let number = (at - self.geometry.data_start) / PAGE;
        let known = u32::try_from(number).is_ok_and(|number| self.geometry.pages_from(number).is_some());
        known && !self.pages.is_in_use(at)
    }

    /// Brings the heap and the objects, as writers see them, up to date with what was followed.
    pub(crate) fn refresh(&self, writer: &mut Writer) -> Result<()> {
        if !writer.stale {
            return Ok(());
        }
        self.readers.finish(writer)?;
        writer.log.checkpoint()?;
        writer.take_back_log_space();
        writer.heap = Heap::rebuild(&self.geometry, |at| self.media.word(at))?;
        writer.objects = Objects::read(&writer.heap, &self.media)?.0;
        writer.stale = false;
        Ok(())
    }
}

impl Geometry {
    /// The data page whose descriptor is the word at `at`, if that is one.
    fn page_of_descriptor(&self, at: u64) -> Option<u32> {
        if at < self.bitmaps_start {
            let page = at.checked_sub(self.table_start)? / DESCRIPTOR;
            return (page < self.first_pages().into()).then_some(page as u32);
        }
        let segment = self.segments.iter().rev().find(|segment| segment.start <= at)?;
        let page = (at - segment.start) / DESCRIPTOR;
        (page < segment.pages.into()).then(|| segment.first_page + page as u32)
    }
}
