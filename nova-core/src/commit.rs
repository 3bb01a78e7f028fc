//! Commits: a batch of changes becomes one record of the volume's journal, all or nothing.
//!
//! A [`Batch`] is filled without any lock of the journal; [`Journal::commit`] takes the writer for as long as the record takes. Whoever has the
//! writer drains, and applies, by itself: on persistent memory that takes less than to hand a record over to another thread. On a disk, where a
//! drain is a device flush, records are written in turns, and who waits drains for all (the pipeline of `pmem-tx`).
//! A batch that is little becomes a record before it has the writer (`Log::commit_lines`); another does by way of the write set, which can place new lines before the record.
//!
//! Everything a record names is either *new* (log entries, page headers: logged whole, whatever stands there), *a line* that only records
//! ever change (compared, and only words that differ are logged), or *data* (logged whole: stores without a record reach these bytes at other
//! times, so what is visible need not be durable).

#![allow(unsafe_code)]

use crate::{
    Result,
    format::{BLOCK, LINE},
    guard::{self, Guard},
    integrity::replica::Replicas,
    rules::Rule,
    snapshot::Pass,
};
use parking_lot::{Mutex, MutexGuard};
use pmem_map::{Granularity, Region};
use pmem_tx::{
    Ticket,
    engine::{Lines, Log, LogOptions, Pipeline, Recovery, WriteSet},
};
use std::{cell::Cell, ops::Range, ptr::NonNull, sync::Arc};

/// The one owner of shadows: a batch has no second.
const OWNER: u32 = 1;

#[derive(Clone, Copy)]
enum Kind {
    New,
    Line,
    Data,
}

/// What a batch gathers.
#[derive(Default)]
struct Gathered {
    steps: Vec<(Kind, u64, Range<usize>)>,
    bytes: Vec<u8>,
    /// Where the lines of inodes are that change.
    inodes: Vec<u64>,
}

/// Bytes of a batch whose buffers are kept for the next one.
const KEPT: usize = 64 << 10;

/// Bytes of new lines above which it is worth a drain to write them in place, and not in the record.
const LITTLE: usize = 4096;

// What this thread's last record was made in.
thread_local!(static RECORD: Cell<Option<Box<Lines>>> = const { Cell::new(None) });

// Of the batch that this thread dropped last. Most operations make one batch, and its buffers are most of what they would allocate.
thread_local!(static SPARE: Cell<Option<Gathered>> = const { Cell::new(None) });

/// Changes that become one record, in one epoch: no snapshot is made as long as it lives.
pub(crate) struct Batch<'v> {
    gathered: Gathered,
    /// A line is named twice.
    repeats: bool,
    epoch: u64,
    _gate: Option<Pass<'v>>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut gathered = std::mem::take(&mut self.gathered);
        if gathered.bytes.capacity() <= KEPT {
            gathered.steps.clear();
            gathered.bytes.clear();
            gathered.inodes.clear();
            // A thread that ends keeps nothing.
            let _ = SPARE.try_with(|spare| spare.set(Some(gathered)));
        }
    }
}

impl<'v> Batch<'v> {
    pub(crate) fn new(epoch: u64, gate: Option<Pass<'v>>) -> Batch<'v> {
        let gathered = SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default();
        Batch { gathered, repeats: false, epoch, _gate: gate }
    }

    /// The epoch that what it changes is of.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The inode whose lines are at `at` changes.
    pub(crate) fn changes_inode(&mut self, at: u64) {
        if !self.gathered.inodes.contains(&at) {
            self.gathered.inodes.push(at);
        }
    }

    /// Where the lines of inodes are that change.
    pub(crate) fn inodes(&self) -> &[u64] {
        &self.gathered.inodes
    }

    fn push(&mut self, kind: Kind, at: u64, bytes: &[u8]) {
        debug_assert!(at % LINE == 0 && bytes.len() as u64 % LINE == 0);
        let Gathered { steps, bytes: gathered, .. } = &mut self.gathered;
        let start = gathered.len();
        gathered.extend_from_slice(bytes);
        steps.push((kind, at, start..gathered.len()));
    }

    /// Whole lines that nothing referred to.
    pub(crate) fn new_lines(&mut self, at: u64, bytes: &[u8]) {
        self.push(Kind::New, at, bytes);
    }

    /// A line that only records change. The same line twice: the later counts.
    pub(crate) fn line(&mut self, at: u64, bytes: &[u8]) {
        self.repeats |= self.gathered.steps.iter().any(|(_, other, _)| *other == at);
        self.push(Kind::Line, at, bytes);
    }

    /// So many bytes of a file's content, in whole lines of one block: the caller fills them.
    pub(crate) fn data(&mut self, at: u64, len: u64) -> &mut [u8] {
        debug_assert!(at % LINE == 0 && len % LINE == 0);
        let Gathered { steps, bytes, .. } = &mut self.gathered;
        let start = bytes.len();
        bytes.resize(start + len as usize, 0);
        steps.push((Kind::Data, at, start..bytes.len()));
        &mut bytes[start..]
    }

    /// Every change, in order; with `copies`, those of metadata for the copies after them.
    #[inline(always)]
    fn each(&self, copies: bool, mut put: impl FnMut(Kind, u64, &[u8])) {
        let steps = || {
            self.gathered
                .steps
                .iter()
                .map(|(kind, at, range)| (*kind, *at, &self.gathered.bytes[range.clone()]))
        };
        steps().for_each(|(kind, at, bytes)| put(kind, at, bytes));
        if copies {
            let metadata = steps().filter(|(kind, ..)| !matches!(kind, Kind::Data));
            metadata.for_each(|(kind, at, bytes)| put(kind, at + BLOCK, bytes));
        }
    }

    /// Whether there is any data.
    pub(crate) fn has_data(&self) -> bool {
        self.gathered.steps.iter().any(|(kind, ..)| matches!(kind, Kind::Data))
    }
}

struct Writer {
    log: Log,
    set: WriteSet,
}

/// The volume's journal.
pub(crate) struct Journal {
    writer: Mutex<Writer>,
    pipeline: Arc<Pipeline>,
    on_pages: bool,
    /// Bytes of which a page may be gone: then every operation fails.
    region: Arc<Region>,
    guard: Option<Arc<Guard>>,
    /// If metadata has replicas: what changes a block of it, changes its copy.
    replicas: Option<Arc<Replicas>>,
}

/// No record is written while it lives.
pub(crate) struct Quiet<'j> {
    _writer: MutexGuard<'j, Writer>,
}

/// What a commit was, and which ones are retired by now.
pub(crate) struct Committed {
    pub(crate) ticket: Ticket,
    pub(crate) settled: Ticket,
}

impl Journal {
    pub(crate) fn create(region: Arc<Region>, area: Range<u64>, identity: u64) -> Result<Journal> {
        // SAFETY: the volume took the mapping by value. Bytes that records name are loaded and stored under the locks of the inodes
        // they belong to, which are held until the record is applied; nobody has references to any bytes; the area is used by this
        // log alone.
        let create = || unsafe { Log::create(region.clone(), area, identity, LogOptions::default()) };
        let log = region.guarded(create)??;
        Ok(Journal::new(log))
    }

    /// Opens it and recovers. Records that lead outside `home` are damage.
    pub(crate) fn open(
        region: Arc<Region>,
        area: Range<u64>,
        identity: u64,
        home: Range<u64>,
    ) -> Result<(Journal, Recovery)> {
        // SAFETY: as in `create`; nobody else knows the volume yet.
        let open = || unsafe { Log::open(region.clone(), area, Some(identity), home, LogOptions::default()) };
        let (log, recovery) = region.guarded(open)??;
        Ok((Journal::new(log), recovery))
    }

    fn new(log: Log) -> Journal {
        let (pipeline, set) = (log.pipeline().clone(), log.write_set());
        let region = log.region().clone();
        let on_pages = log.region().granularity() == Granularity::Page;
        Journal {
            writer: Mutex::new(Writer { log, set }),
            pipeline,
            on_pages,
            region,
            guard: None,
            replicas: None,
        }
    }

    /// The same, where metadata has replicas, if it has.
    pub(crate) fn replicated(self, replicas: Option<Arc<Replicas>>) -> Journal {
        Journal { replicas, ..self }
    }

    /// The same, of bytes that are protected against stores.
    pub(crate) fn guarded_by(self, guard: Option<Arc<Guard>>) -> Journal {
        Journal { guard, ..self }
    }

    /// Commits batches as one record. Durable and in place on return: one drain, or a share of one.
    pub(crate) fn commit(&self, batches: &[&Batch<'_>], broken: Option<Rule>) -> Result<Committed> {
        let _window = guard::window(&self.guard);
        self.region.guarded(|| self.commit_guarded(batches, broken))?
    }

    fn commit_guarded(&self, batches: &[&Batch<'_>], broken: Option<Rule>) -> Result<Committed> {
        let copies = self.replicas.is_some() && broken != Some(Rule::CopiesInRecord);
        // What a batch names does not change while its operation has the locks of it, but by a repair, where there are replicas.
        let batch = self.at_hand(batches);
        let early = batch.filter(|_| self.replicas.is_none());
        let mut lines = early.map(|batch| self.lines(batch, copies, broken));
        let mut writer = self.writer.lock();
        // Behind the writer, for which nobody waits who repairs.
        let _pass = self.replicas.as_ref().map(|replicas| replicas.pass());
        let Writer { log, set } = &mut *writer;
        log.collect(set);
        if lines.is_none() {
            lines = batch.map(|batch| self.lines(batch, copies, broken));
        }
        if let Some(mut lines) = lines.filter(|lines| log.takes_lines(lines)) {
            log.commit_lines(&mut lines, || ())?;
            let committed = Committed { ticket: log.newest(), settled: log.settled() };
            drop(writer);
            keep(lines);
            return Ok(committed);
        }
        batches.iter().for_each(|batch| {
            batch.each(copies, |kind, at, bytes| put_shadow(set, kind, at, bytes, broken));
        });
        let written = if self.on_pages || log.is_in_flight() {
            log.write(set, |_| (), |_| ())
        } else {
            log.commit(set, || ()).map(|_| None)
        };
        let ticket = match written {
            Ok(ticket) => ticket,
            Err(error) => {
                set.clear();
                return Err(error.into());
            }
        };
        let committed = Committed { ticket: ticket.unwrap_or(log.newest()), settled: log.settled() };
        drop(writer);
        if let Some(ticket) = ticket {
            self.pipeline.wait(ticket, |_| ())?;
        }
        Ok(committed)
    }

    /// The one batch, if its lines can be a record as they are: nothing of it has to be in place before the record, and this is no disk.
    #[inline]
    fn at_hand<'a, 'v>(&self, batches: &[&'a Batch<'v>]) -> Option<&'a Batch<'v>> {
        let [batch] = batches else { return None };
        let is_little = batch.gathered.bytes.len() <= LITTLE;
        (is_little && !batch.repeats && !self.on_pages).then_some(batch)
    }

    /// A batch as a record: by who has the locks of what it names, and, if there are replicas, keeps repairs out.
    #[inline]
    fn lines(&self, batch: &Batch<'_>, copies: bool, broken: Option<Rule>) -> Box<Lines> {
        let mut lines = RECORD.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let mut filling = lines.begin(&self.region);
        batch.each(copies, |kind, at, bytes| match is_compared(kind, broken) {
            false => filling.whole(at, bytes),
            // SAFETY: records and repairs alone store to such a line. A record that names it is another operation's, which needs the
            // lock (of the inode, the stripe or the history) that this one has, and gave it back when its record was applied; repairs are kept out.
            true => unsafe { filling.changed(at, bytes) },
        });
        lines
    }

    /// Retires all records. Which ones that is. Two drains; none if there is nothing to retire.
    pub(crate) fn checkpoint(&self) -> Result<Ticket> {
        let _window = guard::window(&self.guard);
        self.region.guarded(|| self.checkpoint_guarded())?
    }

    fn checkpoint_guarded(&self) -> Result<Ticket> {
        let mut writer = self.writer.lock();
        let Writer { log, set } = &mut *writer;
        log.finish(set, |_| ())?;
        log.checkpoint()?;
        Ok(log.settled())
    }

    /// Whether no record that is written from now on has this one in its window.
    pub(crate) fn has_retired(&self, record: Ticket) -> bool {
        self.writer.lock().log.settled() >= record
    }

    /// Retires all records, and keeps new ones out for as long as the guard lives. Two drains; none if there is nothing to retire.
    pub(crate) fn quiesce(&self) -> Result<(Quiet<'_>, Ticket)> {
        let _window = guard::window(&self.guard);
        let mut writer = self.writer.lock();
        let settled = self.region.guarded(|| -> Result<Ticket> {
            let Writer { log, set } = &mut *writer;
            log.finish(set, |_| ())?;
            log.checkpoint()?;
            Ok(log.settled())
        })??;
        Ok((Quiet { _writer: writer }, settled))
    }

    /// Whether an error left unknown what is durable.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.writer.lock().log.is_poisoned()
    }
}

/// Keeps the memory of a record for this thread's next one.
#[inline]
fn keep(lines: Box<Lines>) {
    if lines.capacity() <= KEPT as u64 {
        let _ = RECORD.try_with(|record| record.set(Some(lines)));
    }
}

/// Whether a change's words are compared with what stands there, or logged whole.
fn is_compared(kind: Kind, broken: Option<Rule>) -> bool {
    match kind {
        Kind::Line => true,
        Kind::New => broken == Some(Rule::NewLinesWhole),
        Kind::Data => broken == Some(Rule::DataWhole),
    }
}

/// Puts a change into a write set: of a batch that has much, or a line twice.
fn put_shadow(set: &mut WriteSet, kind: Kind, at: u64, bytes: &[u8], broken: Option<Rule>) {
    let block = at..at + bytes.len() as u64;
    match kind {
        _ if is_compared(kind, broken) => {}
        Kind::Data => set.replace(block.clone(), OWNER).expect("data is named once"),
        _ => set.fresh(block.clone(), OWNER).expect("new lines are named once"),
    }
    let to = set.write(block, at, bytes.len() as u64, OWNER).expect("one owner");
    // SAFETY: a shadow of at least that many bytes, to which there is no reference.
    unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
}
