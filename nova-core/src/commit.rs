//! Commits: a batch of changes becomes one record of the volume's journal, all or nothing.
//!
//! A [`Batch`] is filled without any lock of the journal; [`Journal::commit`] takes the writer for as long as the record takes. One thread
//! alone drains by itself (`Log::commit`). When others are waiting, or on a disk, records are written in turns and whoever waits drains for
//! all (the pipeline of `pmem-tx`): so threads share drains exactly when there is something to share.
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
    engine::{Log, LogOptions, Pipeline, Recovery, WriteSet},
};
use std::{
    ops::Range,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// The one owner of shadows: a batch has no second.
const OWNER: u32 = 1;

#[derive(Clone, Copy)]
enum Kind {
    New,
    Line,
    Data,
}

/// Changes that become one record, in one epoch: no snapshot is made as long as it lives.
pub(crate) struct Batch<'v> {
    steps: Vec<(Kind, u64, Range<usize>)>,
    bytes: Vec<u8>,
    /// Where the lines of inodes are that change.
    inodes: Vec<u64>,
    epoch: u64,
    _gate: Option<Pass<'v>>,
}

impl<'v> Batch<'v> {
    /// With room for what most operations change.
    pub(crate) fn new(epoch: u64, gate: Option<Pass<'v>>) -> Batch<'v> {
        Batch {
            steps: Vec::with_capacity(8),
            bytes: Vec::with_capacity(12 * LINE as usize),
            inodes: Vec::new(),
            epoch,
            _gate: gate,
        }
    }

    /// The epoch that what it changes is of.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The inode whose lines are at `at` changes.
    pub(crate) fn changes_inode(&mut self, at: u64) {
        if !self.inodes.contains(&at) {
            self.inodes.push(at);
        }
    }

    /// Where the lines of inodes are that change.
    pub(crate) fn inodes(&self) -> &[u64] {
        &self.inodes
    }

    fn push(&mut self, kind: Kind, at: u64, bytes: &[u8]) {
        debug_assert!(at % LINE == 0 && bytes.len() as u64 % LINE == 0);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.steps.push((kind, at, start..self.bytes.len()));
    }

    /// Whole lines that nothing referred to.
    pub(crate) fn new_lines(&mut self, at: u64, bytes: &[u8]) {
        self.push(Kind::New, at, bytes);
    }

    /// A line that only records change. The same line twice: the later counts.
    pub(crate) fn line(&mut self, at: u64, bytes: &[u8]) {
        self.push(Kind::Line, at, bytes);
    }

    /// So many bytes of a file's content, in whole lines of one block: the caller fills them.
    pub(crate) fn data(&mut self, at: u64, len: u64) -> &mut [u8] {
        debug_assert!(at % LINE == 0 && len % LINE == 0);
        let start = self.bytes.len();
        self.bytes.resize(start + len as usize, 0);
        self.steps.push((Kind::Data, at, start..self.bytes.len()));
        &mut self.bytes[start..]
    }

    /// Whether there is any.
    pub(crate) fn has_data(&self) -> bool {
        self.steps.iter().any(|(kind, ..)| matches!(kind, Kind::Data))
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
    /// Threads that want the writer.
    waiting: AtomicUsize,
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
            waiting: AtomicUsize::new(0),
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
        self.waiting.fetch_add(1, Relaxed);
        let mut writer = self.writer.lock();
        let alone = self.waiting.fetch_sub(1, Relaxed) == 1;
        // Behind the writer, for which nobody waits who repairs.
        let _pass = self.replicas.as_ref().map(|replicas| replicas.pass());
        let Writer { log, set } = &mut *writer;
        log.collect(set);
        let copies = self.replicas.is_some() && broken != Some(Rule::CopiesInRecord);
        batches.iter().for_each(|batch| fill(set, batch, copies, broken));
        let written = if alone && !self.on_pages && !log.is_in_flight() {
            log.commit(set, || ()).map(|_| None)
        } else {
            log.write(set, |_| (), |_| ())
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

/// Puts a batch into the write set; with `copies`, changes of metadata for the copies, too.
fn fill(set: &mut WriteSet, batch: &Batch<'_>, copies: bool, broken: Option<Rule>) {
    for (kind, at, range) in &batch.steps {
        let bytes = &batch.bytes[range.clone()];
        put(set, *kind, *at, bytes, broken);
        if copies && !matches!(kind, Kind::Data) {
            put(set, *kind, *at + BLOCK, bytes, broken);
        }
    }
}

fn put(set: &mut WriteSet, kind: Kind, at: u64, bytes: &[u8], broken: Option<Rule>) {
    let block = at..at + bytes.len() as u64;
    match kind {
        Kind::New if broken == Some(Rule::NewLinesWhole) => {}
        Kind::Data if broken == Some(Rule::DataWhole) => {}
        Kind::New => set.fresh(block.clone(), OWNER).expect("new lines are named once"),
        Kind::Data => set.replace(block.clone(), OWNER).expect("data is named once"),
        Kind::Line => {}
    }
    let to = set.write(block, at, bytes.len() as u64, OWNER).expect("one owner");
    // SAFETY: a shadow of at least that many bytes, to which there is no reference.
    unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
}
