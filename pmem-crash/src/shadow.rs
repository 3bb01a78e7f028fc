//! The persistence domain as far as it is known: what is durable for certain, and what may be.

use crate::{
    Image,
    line::{self, Content, Group, How, Pending},
    reading,
};
use pmem_map::{Event, LINE, PAGE, Region};
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
/// x86 with ADR, per line: stores become durable in their order; at least those are durable that a thread
/// flushed (whoever stored them) before a drain of its own. What was stored past the caches is unordered,
/// and needs the drain of the thread that stored it, no flush.
///
/// `Granularity::Page` keeps these promises too (a page is written back as it is at some moment), and so does
/// `Granularity::Byte`, so the states are a superset of what they could leave.
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
}

/// What one thread's drain will make durable.
#[derive(Debug)]
struct Thread {
    id: std::thread::ThreadId,
    /// Lines flushed since its last drain, with the number of stores there had been by then.
    flushed: FxHashMap<u64, u64>,
    /// Lines stored to past the caches since its last drain.
    nontemporal: BTreeSet<u64>,
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
    /// Of a region that holds an image, all durable.
    pub(crate) fn new(image: &Image, raw_stores: bool) -> Shadow {
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
        };
        shadow.durable.extend_from_slice(&image.bytes);
        shadow.extend(image.bytes.len() as u64);
        if raw_stores {
            shadow.current.copy_from_slice(&shadow.durable);
        }
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
        if !matches!(event, Event::Resize { .. } | Event::NameCreated) {
            self.meet(region);
        }
        match *event {
            Event::Store { offset, bytes, caller } => {
                self.store(region, offset, bytes, How::Store, caller);
            }
            Event::StoreNontemporal { offset, bytes, caller } => {
                let thread = self.thread();
                self.threads[thread].nontemporal.extend(lines(offset, bytes.len() as u64));
                self.store(region, offset, bytes, How::Nontemporal(thread), caller);
            }
            Event::Flush { offset, len, caller } => {
                self.compare(region, lines(offset, len), caller);
                let (thread, stores) = (self.thread(), self.sequence);
                for line in lines(offset, len).filter(|line| self.pending.contains_key(line)) {
                    self.threads[thread].flushed.insert(line, stores);
                }
            }
            Event::Drain { .. } => self.drain(),
            Event::WriteThrough { offset, len, .. } => self.written_through(offset, len),
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
                self.threads[thread].flushed.extend(self.pending.keys().map(|line| (*line, stores)));
                self.drain();
            }
            Event::NameCreated => self.name = Name::Unsynced,
            Event::DirectorySync => self.name = Name::Durable,
            _ => {}
        }
    }

    /// A region may be longer than was told, or have a file that nobody told of: neither is durable then.
    fn meet(&mut self, region: &Region) {
        if region.len() > self.durable.len() as u64 {
            self.extend(region.len());
            self.lengths.push(region.len());
        }
        if self.name == Name::Absent {
            self.name = Name::Unsynced;
        }
    }

    fn thread(&mut self) -> usize {
        let id = std::thread::current().id();
        self.threads.iter().position(|thread| thread.id == id).unwrap_or_else(|| {
            self.threads.push(Thread { id, flushed: FxHashMap::default(), nontemporal: BTreeSet::new() });
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
        let group = Group { sequence: self.sequence, how, caller, pieces };
        Arc::make_mut(self.pending.entry(line).or_default()).groups.push(group);
    }

    /// Takes in a line whose content is now `now`, if that is not what the events led to expect.
    fn raw(&mut self, line: u64, now: &Content, caller: &'static Location<'static>) {
        let known: &mut Content =
            (&mut self.current[line as usize..][..LINE as usize]).try_into().expect("a whole line");
        if known != now {
            let pieces = line::difference(known, now);
            *known = *now;
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
        lines.extend(flushed.keys());
        for line in lines {
            let stores = flushed.get(&line).copied().unwrap_or(0);
            self.retire(line, |group| match group.how {
                How::Store | How::Raw => group.sequence <= stores,
                How::Nontemporal(by) => by == thread,
            });
        }
    }

    /// These lines are durable as they are, and only these.
    fn written_through(&mut self, offset: u64, len: u64) {
        for line in lines(offset, len) {
            self.retire(line, |_| true);
        }
    }

    /// Some stores of a line are durable.
    fn retire(&mut self, line: u64, is_durable: impl Fn(&Group) -> bool) {
        let Some(pending) = self.pending.get_mut(&line) else { return };
        let durable: &mut Content =
            (&mut self.durable[line as usize..][..LINE as usize]).try_into().expect("a whole line");
        Arc::make_mut(pending).retire(durable, is_durable);
        if pending.groups.is_empty() {
            self.pending.remove(&line);
        }
        self.changed.insert(line);
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
