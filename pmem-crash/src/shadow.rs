//! The persistence domain as far as it is known: what is durable for certain, and what may be.

mod traced;

pub(crate) use traced::Call;

use crate::{
    Image,
    line::{self, Content, Group, How, Pending},
    lint::Linter,
    reading, trace,
};
use pmem_map::{Event, Granularity, LINE, PAGE, Region};
use rustc_hash::FxHashMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    ops::Range,
    panic::Location,
    sync::Arc,
};

/// Whether the file's name would survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// There is none.
    Absent,
    /// Created, the directory not synced.
    Unsynced,
    /// Durable.
    Durable,
}

/// The shadow of one region, driven by its events.
///
/// *`CacheLine`*: x86 with ADR. Of each line, stores become durable in their order; at least those are durable that a
/// thread flushed (whoever stored them) before a drain of its own. What was stored past the caches is unordered,
/// and needs the drain of the thread that stored it, no flush.
///
/// *`Byte`*: x86 with eADR. The caches are durable, so ordinary stores are, in their order over all lines; the newest may
/// be in its core's store buffer, until the next store or drain. A flush does nothing. What was stored past
/// the caches leaves the core in the same order, but to a buffer that is lost: it is as above.
///
/// *`Page`*: a file's pages, written back by the kernel whenever it likes. It copies a page while the program stores on,
/// and a disk may tear it at any sector: so a line keeps a prefix of its stores, whatever its neighbours keep. But a
/// write-back takes pages: a drain makes everything durable that any thread has stored in any way, even after the flush, to
/// a page of which the draining thread has flushed a part, or to which it stored past the caches. What was visible in the beginning and
/// not durable is so because a write-back failed; the kernel then takes the page for clean, and writes it back only when
/// somebody has stored to it again.
#[derive(Debug)]
pub(crate) struct Shadow {
    /// What is durable for certain. As long as the longest length so far.
    durable: Vec<u8>,
    /// What a reader of the mapping would see, were there no raw stores. Empty when they are not looked for.
    current: Vec<u8>,
    pending: BTreeMap<u64, Arc<Pending>>,
    threads: Vec<Thread>,
    /// Stores so far.
    sequence: u64,
    /// Lines whose durable content changed since the last [`Domain`].
    changed: BTreeSet<u64>,
    /// The durable length, then each one it was changed to since.
    lengths: Vec<u64>,
    name: Name,
    raw_stores: bool,
    /// Stores are traced: those that are told are taken in already.
    traced: bool,
    /// The instruction taken in last, and the number of its first store.
    instruction: (u64, u64),
    granularity: Granularity,
    /// `Page` only: pages (their numbers) to which there was a store.
    dirtied: BTreeSet<u64>,
    pub(crate) linter: Linter,
}

/// What one thread's drain will make durable.
#[derive(Debug)]
struct Thread {
    /// As `gettid` says.
    id: i32,
    /// Stores there had been when its flush began, if it is told only when it is over.
    flush_began: Option<u64>,
    /// Lines flushed since its last drain, with the number of stores there had been by then.
    flushed: FxHashMap<u64, u64>,
    /// Lines stored to past the caches since its last drain.
    nontemporal: BTreeSet<u64>,
    /// `Page` only: pages (their numbers) of which it flushed a part since its last drain.
    pages: BTreeSet<u64>,
}

/// What a power failure at one moment could leave, as the change since the moment recorded before it.
#[derive(Debug)]
pub(crate) struct Domain {
    /// Lines (by offset) whose durable content changed.
    pub(crate) durable: Vec<(u64, Content)>,
    /// Lines (by offset) with stores that are not durable for certain.
    pub(crate) pending: Vec<(u64, Arc<Pending>)>,
    /// The durable length, then each one it was changed to since.
    pub(crate) lengths: Vec<u64>,
    pub(crate) name: Name,
}

impl Shadow {
    /// Of a region that holds an image.
    pub(crate) fn new(image: &Image, raw_stores: bool, granularity: Granularity) -> Shadow {
        let mut shadow = Shadow {
            durable: Vec::new(),
            current: Vec::new(),
            pending: BTreeMap::new(),
            threads: Vec::new(),
            sequence: 0,
            changed: BTreeSet::new(),
            lengths: vec![image.bytes.len() as u64],
            name: if image.named { Name::Durable } else { Name::Absent },
            raw_stores,
            traced: false,
            instruction: (0, 0),
            granularity,
            dirtied: BTreeSet::new(),
            linter: Linter::default(),
        };
        shadow.durable.extend_from_slice(image.durable_bytes());
        shadow.extend(image.bytes.len() as u64);
        if raw_stores {
            shadow.current[..image.bytes.len()].copy_from_slice(&image.bytes);
        }
        if image.durable.is_some() {
            let mut visible = image.bytes.clone();
            visible.resize(shadow.durable.len(), 0);
            for (line, (now, before)) in
                visible.as_chunks().0.iter().zip(shadow.durable.as_chunks().0).enumerate()
            {
                if now != before {
                    let (line, pieces) = (line as u64 * LINE, line::difference(before, now));
                    let group = Group {
                        sequence: 0,
                        how: How::Before,
                        caller: Location::caller(),
                        code: None,
                        pieces,
                    };
                    shadow.pending.insert(line, Arc::new(Pending { groups: vec![group] }));
                    shadow.linter.unknown(line);
                }
            }
        }
        shadow
    }

    /// Of a region as a process finds it whose predecessor was killed at a moment that is recorded in `domain`: all its
    /// stores are visible, in `image`; `image.durable` is what was durable for certain.
    pub(crate) fn of_killed(
        image: &Image,
        domain: &Domain,
        raw_stores: bool,
        granularity: Granularity,
    ) -> Shadow {
        let mut shadow = Shadow::new(image, raw_stores, granularity);
        shadow.pending = domain.pending.iter().cloned().collect();
        shadow.sequence = domain.pending.iter().flat_map(|(_, pending)| pending.last()).max().unwrap_or(0);
        shadow.lengths.clone_from(&domain.lengths);
        shadow.name = domain.name;
        shadow
    }

    fn extend(&mut self, len: u64) {
        let whole = len.next_multiple_of(PAGE).max(self.durable.len() as u64) as usize;
        self.durable.resize(whole, 0);
        if self.raw_stores {
            self.current.resize(whole, 0);
        }
    }

    /// Takes in an event other than [`Event::BeforeDrain`], which changes nothing.
    pub(crate) fn event(&mut self, region: &Region, event: &Event<'_>) {
        self.linter.on_pages |= region.granularity() == Granularity::Page;
        if !matches!(event, Event::Resize { .. } | Event::NameCreated) {
            self.meet(region);
        }
        match *event {
            Event::Store { .. } if self.traced => {}
            Event::StoreNontemporal { offset, bytes, caller } if self.traced => {
                self.flush_ends(offset, bytes.len() as u64, caller);
            }
            Event::Store { offset, bytes, caller } => {
                self.leave_core();
                lines(offset, bytes.len() as u64).for_each(|line| self.linter.stored(line, caller));
                self.store(region, offset, bytes, How::Store, caller);
            }
            Event::StoreNontemporal { offset, bytes, caller } => {
                let thread = self.thread();
                let stored = || lines(offset, bytes.len() as u64);
                self.threads[thread].nontemporal.extend(stored());
                if self.granularity == Granularity::Page {
                    self.threads[thread].pages.extend(stored().map(|line| line / PAGE));
                }
                stored().for_each(|line| self.linter.stored_nontemporal(line, caller));
                self.leave_core();
                self.store(region, offset, bytes, How::Nontemporal(thread), caller);
            }
            Event::Flush { offset, len, caller } => {
                self.compare(region, lines(offset, len), caller);
                let thread = self.thread();
                let stores = self.threads[thread].flush_began.take().unwrap_or(self.sequence);
                lines(offset, len).for_each(|line| self.linter.flushed(line, caller));
                match self.granularity {
                    Granularity::Byte => {}
                    Granularity::CacheLine => {
                        for line in lines(offset, len).filter(|line| self.pending.contains_key(line)) {
                            self.threads[thread].flushed.insert(line, stores);
                        }
                    }
                    Granularity::Page => {
                        self.threads[thread].pages.extend(lines(offset, len).map(|line| line / PAGE));
                    }
                }
            }
            Event::Covered { offset, len } => {
                lines(offset, len).for_each(|line| self.linter.covered(line));
            }
            Event::Drain { caller } => {
                self.linter.drained(caller);
                self.drain();
            }
            Event::WriteThrough { offset, len, .. } => {
                self.retire(lines(offset, len).collect(), |_, _| true);
            }
            Event::Resize { from, to } => {
                if self.lengths == [0] && from != 0 {
                    self.lengths = vec![from];
                }
                self.extend(to);
                self.lengths.push(to);
            }
            Event::FileSync => {
                self.lengths.drain(..self.lengths.len() - 1);
                let (thread, stores) = (self.thread(), self.sequence);
                let Thread { flushed, pages, .. } = &mut self.threads[thread];
                match self.granularity {
                    Granularity::Page => pages.extend(self.pending.keys().map(|line| line / PAGE)),
                    _ => flushed.extend(self.pending.keys().map(|line| (*line, stores))),
                }
                self.linter.synced();
                self.drain();
            }
            Event::NameCreated => self.name = Name::Unsynced,
            Event::DirectorySync => self.name = Name::Durable,
            _ => {}
        }
    }

    /// A region may be longer than was told, or have a file that nobody told of: neither is durable then.
    pub(crate) fn meet(&mut self, region: &Region) {
        if region.len() > self.durable.len() as u64 {
            self.extend(region.len());
            self.lengths.push(region.len());
        }
        if self.name == Name::Absent {
            self.name = Name::Unsynced;
        }
    }

    /// From now on, stores are traced.
    pub(crate) fn trace(&mut self) {
        (self.traced, self.raw_stores) = (true, false);
    }

    fn thread(&mut self) -> usize {
        self.thread_of(trace::thread_id())
    }

    fn thread_of(&mut self, id: i32) -> usize {
        self.threads.iter().position(|thread| thread.id == id).unwrap_or_else(|| {
            self.threads.push(Thread {
                id,
                flush_began: None,
                flushed: FxHashMap::default(),
                nontemporal: BTreeSet::new(),
                pages: BTreeSet::new(),
            });
            self.threads.len() - 1
        })
    }

    fn store(
        &mut self,
        region: &Region,
        offset: u64,
        bytes: &[u8],
        how: How,
        caller: &'static Location<'static>,
    ) {
        let end = offset + bytes.len() as u64;
        for line in lines(offset, bytes.len() as u64) {
            let (first, last) = (offset.max(line), end.min(line + LINE));
            let part = &bytes[(first - offset) as usize..(last - offset) as usize];
            let within = (first - line) as usize;
            if self.raw_stores {
                // Bytes beside the stored ones may have changed before.
                let mut before = reading::line(region, line);
                let known = &self.current[line as usize..][..LINE as usize];
                before[within..][..part.len()].copy_from_slice(&known[within..][..part.len()]);
                self.raw(line, &before, caller);
                self.current[first as usize..last as usize].copy_from_slice(part);
            }
            self.push(line, how, caller, line::pieces(within, part));
        }
    }

    fn push(&mut self, line: u64, how: How, caller: &'static Location<'static>, pieces: Vec<line::Piece>) {
        self.sequence += 1;
        if self.granularity == Granularity::Page {
            self.dirtied.insert(line / PAGE);
        }
        let group = Group { sequence: self.sequence, how, caller, code: None, pieces };
        Arc::make_mut(self.pending.entry(line).or_default()).groups.push(group);
    }

    /// Takes in a line whose content is now `now`, if that is not what the events led to expect.
    fn raw(&mut self, line: u64, now: &Content, caller: &'static Location<'static>) {
        let known: &mut Content =
            (&mut self.current[line as usize..][..LINE as usize]).try_into().expect("a whole line");
        if known != now {
            let pieces = line::difference(known, now);
            *known = *now;
            self.linter.stored(line, caller);
            self.push(line, How::Raw, caller, pieces);
        }
    }

    fn compare(
        &mut self,
        region: &Region,
        lines: impl Iterator<Item = u64>,
        caller: &'static Location<'static>,
    ) {
        if self.raw_stores {
            for line in lines {
                self.raw(line, &reading::line(region, line), caller);
            }
        }
    }

    /// Finds all raw stores since the last time.
    pub(crate) fn compare_all(&mut self, region: &Region, caller: &'static Location<'static>) {
        self.meet(region);
        if !self.raw_stores {
            return;
        }
        let mut page = [0; PAGE as usize];
        for offset in (0..region.len()).step_by(PAGE as usize) {
            reading::words(region, offset, &mut page);
            if page != self.current[offset as usize..][..PAGE as usize] {
                self.compare(region, lines(offset, PAGE), caller);
            }
        }
    }

    /// What this thread flushed or stored past the caches is durable.
    fn drain(&mut self) {
        let thread = self.thread();
        let flushed = mem::take(&mut self.threads[thread].flushed);
        let mut lines = mem::take(&mut self.threads[thread].nontemporal);
        let pages = mem::take(&mut self.threads[thread].pages);
        match self.granularity {
            Granularity::CacheLine => {
                lines.extend(flushed.keys());
                self.retire(lines, |line, group| match group.how {
                    How::Nontemporal(by) => by == thread,
                    _ => flushed.get(&line).is_some_and(|&stores| group.sequence <= stores),
                });
            }
            Granularity::Byte => {
                lines.extend(self.pending.keys());
                self.retire(lines, |_, group| match group.how {
                    How::Nontemporal(by) => by == thread,
                    _ => true,
                });
            }
            Granularity::Page => {
                let lines = self.pending.keys().copied().filter(|line| pages.contains(&(line / PAGE)));
                let dirtied = mem::take(&mut self.dirtied);
                self.retire(lines.collect(), |line, group| {
                    group.how != How::Before || dirtied.contains(&(line / PAGE))
                });
                self.dirtied = dirtied;
            }
        }
    }

    /// A store comes after those before it: with persistent caches these are durable.
    fn leave_core(&mut self) {
        if self.granularity == Granularity::Byte {
            self.retire(self.pending.keys().copied().collect(), |_, group| group.how.is_cached());
        }
    }

    /// These stores to these lines are durable.
    fn retire(&mut self, lines: BTreeSet<u64>, is_durable: impl Fn(u64, &Group) -> bool) {
        for line in lines {
            let Some(pending) = self.pending.get_mut(&line) else { continue };
            let durable: &mut Content =
                (&mut self.durable[line as usize..][..LINE as usize]).try_into().expect("a whole line");
            Arc::make_mut(pending).retire(durable, |group| is_durable(line, group));
            if pending.groups.is_empty() {
                self.pending.remove(&line);
            }
            self.changed.insert(line);
        }
    }

    /// What a power failure now could leave.
    pub(crate) fn domain(&mut self) -> Domain {
        let content =
            |line: &u64| self.durable[*line as usize..][..LINE as usize].try_into().expect("a whole line");
        Domain {
            durable: mem::take(&mut self.changed).iter().map(|line| (*line, content(line))).collect(),
            pending: self.pending.iter().map(|(line, pending)| (*line, Arc::clone(pending))).collect(),
            lengths: self.lengths.clone(),
            name: self.name,
        }
    }
}

/// The lines that hold some of `len` bytes at `offset`.
fn lines(offset: u64, len: u64) -> impl Iterator<Item = u64> {
    let range: Range<u64> = if len == 0 { 0..0 } else { offset / LINE..(offset + len).div_ceil(LINE) };
    range.map(|line| line * LINE)
}
