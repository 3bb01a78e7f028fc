//! [`ConcurrentLog`].
//!
//! # On media
//!
//! Segments, each a slab. Its first line says that it is in use:
//!
//! ```text
//! word 0   start     seq of its first record; 0: not in use
//! word 1   checksum  XXH3-64 of start and previous, seeded with identity and place
//! word 2   previous  seq of the record before; 0: there never was one
//! ```
//!
//! Records follow, each from the start of a line on:
//!
//! ```text
//! word 0   seq       the number of the life in the upper 24 bits, a counter from 1 below
//! word 1   checksum  XXH3-64 of all words behind it, seeded with identity, place and seq
//! word 2   previous  seq of the record before
//! word 3   durable   seq up to which all records were durable when this one was made
//! word 4   length    bytes
//! word 5.. bytes, padded with zeros to a whole word
//! ```
//!
//! There is no pointer to the end: a record is the next one if its checksum is right and its `previous` is the one before.
//!
//! # The protocol
//!
//! *Append*: under the lock, take the next seq and place (and, where the segment is full, a new segment, whose first line
//! the appender stores); outside, store the record, flush, **drain**; then wait until all records before it are durable as
//! well. So what has been acknowledged is a prefix of the log, without gaps, and readers see up to that: the *watermark*.
//!
//! *Opening*: segments in the order of their starts; records as long as each is the next one. What comes behind was never
//! acknowledged; the word that would begin the next record is stored 0, so that a torn record does not become whole when
//! another is written over it, and later ones do not have the right `previous`. If a record behind the end says that more was durable, the end is
//! no end but damage: an error; and so is a segment that is not in order and whose start was durable by then. Nothing is stored before
//! that is known. All that was found is flushed and drained before it counts.
//!
//! *Truncation*: whole segments, the oldest first, each by a 0 in its start and a drain of its own, so that no crash leaves
//! a hole; and only while a record of the next one is durable. They are used again when no reader is left: a record of a number below
//! its segment's start is one of an earlier use.
//!
//! Drains: append 1, for a batch too. Lines: those of the records (64 bytes: 2).

use super::{
    cells::{COUNTER_BITS, Grow, MAX_LIFE, Shape, Words, exhausted, once_readers_are_gone},
    object::{self, Kind, Parts},
    shortcut::Shortcut,
    snapshot::Snapshot,
    sync::{Appended, Arc, AtomicU64, Condvar, Mutex, Ordering, Site, release},
};
use crate::damage::corrupt;
use crossbeam_epoch::Guard;
use pmem_alloc::{ErrorKind, Pool, Result, Slab};
use std::{collections::VecDeque, fmt, vec};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const LINE: u64 = 64;
/// Words of a record before its bytes.
const HEAD: u64 = 5;
/// Bytes of a segment, if the pool has as much in one piece.
const SEGMENT: u64 = 256 << 10;

struct LogKind;

impl Kind for LogKind {
    fn type_name() -> String {
        "ConcurrentLog".into()
    }
    const KEY: usize = 0;
    const VALUE: usize = 0;
    const SLAB: Option<u64> = Some(SEGMENT);
    fn shape() -> Result<Shape> {
        Ok(Shape { key: 0, value: 0 })
    }
}

/// A log for any number of producers and readers. An append is atomic, durable and linearizable when it returns, without a
/// transaction, and so are all appends before it: what survives a crash is a prefix.
///
/// ```
/// # use pmem_collections::*; fn main() -> Result<()> {
/// # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 22)?)?;
/// let log = ConcurrentLog::open(&pool, "events")?;
/// let first = log.append(b"started")?;
/// log.append_all([b"one".as_slice(), b"two"])?; // one drain
/// let all = log.iter().collect::<Result<Vec<_>>>()?;
/// assert_eq!(all[0], (first, b"started".to_vec()));
/// assert_eq!(all.len(), 3);
/// assert_eq!(log.watermark(), all[2].0);
/// # Ok(()) }
/// ```
///
/// Records are bytes, up to about 256 KiB each. Their numbers ascend, not always by one. Handles are cheap to clone and share what
/// is in DRAM: 16 bytes a record, made anew by reading the log once when it is opened.
///
/// An append drains once. It waits for appends before it that are under way on other threads. From time to time one allocates a
/// segment, in a transaction of the pool: a thread that has one open gets
/// [`WouldDeadlock`](crate::ErrorKind::WouldDeadlock) then.
///
/// Damage in the middle of the log is found, when it is opened, by records behind it. Of a damaged record at the very end nobody can say
/// that it was one: the log ends before it.
pub struct ConcurrentLog {
    log: Arc<Log<Slab>>,
    pool: Pool,
}

/// A log without its name.
pub(crate) struct Log<W: Words> {
    identity: u64,
    life: u64,
    /// Seq of the last record that is durable, with all before it.
    watermark: AtomicU64,
    /// In the order of their records; replaced under the lock of `state`.
    segments: Snapshot<Vec<Arc<Segment>>>,
    state: Mutex<State>,
    /// The watermark has risen, or the log is broken.
    moved: Condvar,
    /// Only grows. Owned by the log alone: a copy that waited for readers would keep the pool open.
    slabs: Appended<W>,
    /// Numbers of slabs that nobody uses.
    spare: Arc<Mutex<Vec<usize>>>,
    grow: Grow<W>,
    shortcut: Option<Shortcut>,
}

struct Segment {
    /// The number of its slab.
    slab: usize,
    start: u64,
    /// In order. Those above the watermark are under way.
    records: Appended<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    seq: u64,
    at: u32,
    len: u32,
}

struct State {
    next: u64,
    /// The last record that has a place.
    last: u64,
    /// Where the next record goes, in the last segment.
    at: u64,
    /// Appends whose records are not all known to be durable, with their last seqs; true: its own are.
    under_way: VecDeque<(u64, bool)>,
    /// An append failed: those behind it can never be acknowledged.
    broken: bool,
}

/// Bytes from the start of a record to that of the next.
fn footprint(len: u64) -> u64 {
    (HEAD * 8 + len).next_multiple_of(LINE)
}

fn seed(identity: u64, place: u64, seq: u64) -> u64 {
    identity ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seq.rotate_left(32)
}

/// A record as it is on media.
struct Found {
    seq: u64,
    previous: u64,
    durable: u64,
    len: u64,
}

/// The record that begins at `at`, if one does. Work for its length.
fn read_record<W: Words>(words: &W, identity: u64, at: u64, buffer: &mut Vec<u64>) -> Option<Found> {
    if at + HEAD * 8 > words.len() {
        return None;
    }
    let seq = words.load(at);
    let len = words.load(at + 32);
    if seq == 0 || len > words.len() || at + HEAD * 8 + len.next_multiple_of(8) > words.len() {
        return None;
    }
    buffer.clear();
    buffer.extend((2..HEAD + len.div_ceil(8)).map(|i| words.load(at + i * 8)));
    let sum = xxh3_64_with_seed(bytemuck::cast_slice(buffer), seed(identity, words.place() + at, seq));
    (words.load(at + 8) == sum).then(|| Found { seq, previous: buffer[0], durable: buffer[1], len })
}

/// An append that is under way. Dropped before it is done, it has failed, and the log is broken.
struct Appending<'l, W: Words> {
    log: &'l Log<W>,
    last: u64,
    done: bool,
}

impl<W: Words> Drop for Appending<'_, W> {
    fn drop(&mut self) {
        if !self.done {
            self.log.state.lock().broken = true;
            self.log.moved.notify_all();
        }
    }
}

/// Where an append's records go.
struct Reserved {
    segment: Arc<Segment>,
    first: u64,
    previous: u64,
    at: u64,
    /// The segment is new: its first line is to be stored.
    opens: bool,
}

impl<W: Words> Log<W> {
    /// An empty log in a new life.
    pub(crate) fn new(identity: u64, life: u64, grow: Grow<W>) -> Log<W> {
        debug_assert!(life <= MAX_LIFE);
        let next = life << COUNTER_BITS | 1;
        Log {
            identity,
            life,
            watermark: AtomicU64::new(0),
            segments: Snapshot::new(Vec::new()),
            state: Mutex::new(State { next, last: 0, at: 0, under_way: VecDeque::new(), broken: false }),
            moved: Condvar::new(),
            slabs: Appended::new(),
            spare: Arc::new(Mutex::new(Vec::new())),
            grow,
            shortcut: None,
        }
    }

    fn words(&self, segment: &Segment) -> &W {
        &self.slabs[segment.slab]
    }

    /// The checksum of a segment's first line.
    fn seal(&self, segment: &Segment, previous: u64) -> u64 {
        let seed = seed(self.identity, self.words(segment).place(), segment.start);
        xxh3_64_with_seed(bytemuck::bytes_of(&[segment.start, previous]), seed)
    }

    fn takes(&self, shortcut: Shortcut) -> bool {
        self.shortcut == Some(shortcut)
    }

    /// Takes places for records of these lengths, one after the other. Makes a segment where one is needed, with no lock held:
    /// that is a transaction of the pool, which waits for readers.
    fn reserve(&self, lens: &[u64]) -> Result<Reserved> {
        let needed: u64 = lens.iter().map(|&len| footprint(len)).sum();
        if needed > SEGMENT - LINE {
            return Err(ErrorKind::TooLarge { what: "records", size: needed, maximum: SEGMENT - LINE }.into());
        }
        loop {
            if let Some(reserved) = self.try_reserve(lens, needed, &crossbeam_epoch::pin())? {
                return Ok(reserved);
            }
            let words = match (self.grow)() {
                Ok(words) => words,
                Err(e) => {
                    let reserved = || self.try_reserve(lens, needed, &crossbeam_epoch::pin()).transpose();
                    return once_readers_are_gone(reserved).unwrap_or(Err(e));
                }
            };
            let fits = LINE + needed <= words.len(); // a pool without longer stretches gives a short one
            let slab = self.slabs.push(words);
            self.spare.lock().push(slab);
            if !fits {
                return Err(ErrorKind::NoSpace { needed }.into());
            }
        }
    }

    fn try_reserve(&self, lens: &[u64], needed: u64, guard: &Guard) -> Result<Option<Reserved>> {
        let mut state = self.state.lock();
        if state.broken {
            return Err(self.failed(guard));
        }
        if (state.next + lens.len() as u64 - 1) >> COUNTER_BITS != self.life {
            return Err(exhausted());
        }
        let last = self.segments.load(guard).last();
        let (segment, opens) = match last.filter(|segment| state.at + needed <= self.words(segment).len()) {
            Some(segment) => (segment.clone(), false),
            None => {
                let mut spare = self.spare.lock();
                let Some(fits) = spare.iter().position(|&slab| LINE + needed <= self.slabs[slab].len())
                else {
                    return Ok(None);
                };
                let slab = spare.swap_remove(fits);
                let segment = Arc::new(Segment { slab, start: state.next, records: Appended::new() });
                let mut segments = self.segments.load(guard).clone();
                segments.push(segment.clone());
                self.segments.replace(segments, guard);
                state.at = LINE;
                (segment, true)
            }
        };
        let (first, previous, at) = (state.next, state.last, state.at);
        for &len in lens {
            segment.records.push(Place { seq: state.next, at: state.at as u32, len: len as u32 });
            state.at += footprint(len);
            state.last = state.next;
            state.next += 1;
        }
        let last = state.last;
        state.under_way.push_back((last, false));
        Ok(Some(Reserved { segment, first, previous, at, opens }))
    }

    /// Why nothing can be appended any more.
    #[cold]
    fn failed(&self, guard: &Guard) -> pmem_alloc::Error {
        let drained = self.segments.load(guard).last().map_or(Ok(()), |segment| self.words(segment).drain());
        drained.err().unwrap_or_else(|| {
            pmem_alloc::Error::abort("an append before this one did not end; open the log again")
        })
    }

    /// Appends records; the seq of the first one. Durable on return, with all before them. One drain.
    pub(crate) fn append(&self, records: &[&[u8]]) -> Result<u64> {
        let lens: Vec<u64> = records.iter().map(|record| record.len() as u64).collect();
        let Reserved { segment, first, previous, at, opens } = self.reserve(&lens)?;
        let mut appending = Appending { log: self, last: first + lens.len() as u64 - 1, done: false };
        let words = self.words(&segment);
        if opens {
            words.store(8, self.seal(&segment, previous));
            words.store(16, previous);
            words.store(0, segment.start);
            words.flush(0..24)?;
        }
        let durable = self.watermark.load(Ordering::Acquire);
        let (mut buffer, mut end, mut previous) = (Vec::new(), at, previous);
        for (seq, record) in (first..).zip(records) {
            buffer.clear();
            buffer.extend([previous, durable, record.len() as u64]);
            let (whole, rest) = record.as_chunks::<8>();
            buffer.extend(whole.iter().map(|word| u64::from_le_bytes(*word)));
            if !rest.is_empty() {
                let mut word = [0; 8];
                word[..rest.len()].copy_from_slice(rest);
                buffer.push(u64::from_le_bytes(word));
            }
            buffer.iter().zip(2..).for_each(|(&word, i)| words.store(end + i * 8, word));
            let seed = seed(self.identity, words.place() + end, seq);
            words.store(end + 8, xxh3_64_with_seed(bytemuck::cast_slice(&buffer), seed));
            words.store(end, seq);
            words.flush(end..end + HEAD * 8 + record.len() as u64)?;
            (end, previous) = (end + footprint(record.len() as u64), seq);
        }
        if !self.takes(Shortcut::PutNotDrained) {
            words.drain()?;
        }
        appending.done = true;
        self.wait_for(appending.last)?;
        Ok(first)
    }

    /// The records up to `last` of one append are durable: raises the watermark, and waits until it is there.
    fn wait_for(&self, last: u64) -> Result<()> {
        let mut state = self.state.lock();
        let at = state.under_way.iter().position(|(other, _)| *other == last).expect("until it is done");
        state.under_way[at].1 = true;
        let mut risen = false;
        while let Some(&(done, true)) = state.under_way.front() {
            state.under_way.pop_front();
            self.watermark.store(done, release(Site::Watermark));
            risen = true;
        }
        if risen {
            self.moved.notify_all();
        }
        while self.watermark.load(Ordering::Relaxed) < last && !self.takes(Shortcut::NotInOrder) {
            if state.broken {
                drop(state);
                return Err(self.failed(&crossbeam_epoch::pin()));
            }
            state = self.moved.wait(state);
        }
        Ok(())
    }

    pub(crate) fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// Reads some records from number `from` on, as far as the watermark; how many is this function's to choose. None: there are none.
    pub(crate) fn read(&self, from: u64, guard: &Guard) -> Vec<(u64, Vec<u8>)> {
        /// Bytes that are read at once, about.
        const ENOUGH: usize = 16 << 10;
        let end = self.watermark();
        let segments = self.segments.load(guard);
        let (mut read, mut bytes) = (Vec::new(), 0);
        let first = segments.partition_point(|segment| segment.start <= from).saturating_sub(1);
        for segment in &segments[first.min(segments.len())..] {
            let (records, words) = (&segment.records, self.words(segment));
            let (mut low, mut high) = (0, records.count());
            while low < high {
                let middle = low + (high - low) / 2;
                // One that is not there yet is above the watermark.
                let below = records.get(middle).is_some_and(|place| place.seq < from);
                if below { low = middle + 1 } else { high = middle }
            }
            while let Some(&Place { seq, at, len }) = records.get(low)
                && seq <= end
            {
                let at = u64::from(at) + HEAD * 8;
                let mut record = Vec::with_capacity(len.next_multiple_of(8) as usize);
                for word in 0..u64::from(len.div_ceil(8)) {
                    record.extend_from_slice(&words.load(at + word * 8).to_le_bytes());
                }
                record.truncate(len as usize);
                bytes += record.len() + 64;
                read.push((seq, record));
                low += 1;
                if bytes > ENOUGH {
                    return read;
                }
            }
        }
        read
    }

    /// Gives whole segments back whose records are all below `seq`. One drain for each.
    pub(crate) fn truncate(&self, seq: u64) -> Result<()> {
        loop {
            let guard = crossbeam_epoch::pin();
            let state = self.state.lock();
            let segments = self.segments.load(&guard);
            let [oldest, next, ..] = &segments[..] else { return Ok(()) };
            // One record of the next segment has to be durable, and with it its first line: it is what says where the log begins.
            if next.start > seq.min(self.watermark()) {
                return Ok(());
            }
            let words = self.words(oldest);
            words.store(0, 0);
            words.flush(0..8)?;
            words.drain()?;
            let (slab, spare) = (oldest.slab, self.spare.clone());
            self.segments.replace(segments[1..].to_vec(), &guard);
            drop(state);
            guard.defer(move || spare.lock().push(slab));
        }
    }
}

impl Log<Slab> {
    /// Finds what is in the slabs. See the head of the file.
    fn recover(&mut self, slabs: Vec<Slab>) -> Result<()> {
        let guard = crossbeam_epoch::pin();
        let (mut used, mut unused) = (Vec::new(), Vec::new());
        for slab in slabs {
            let (start, previous, sum) = (slab.load(0), slab.load(16), slab.load(8));
            let segment = Segment { slab: self.slabs.push(slab), start, records: Appended::new() };
            if start != 0 && sum == self.seal(&segment, previous) {
                used.push((previous, segment));
            } else {
                unused.push(segment);
            }
        }
        used.sort_by_key(|(_, segment)| segment.start);
        let (mut segments, mut last, mut end, mut buffer) = (Vec::<Arc<Segment>>::new(), None, 0, Vec::new());
        // Up to here records were durable when one that was found was made.
        let mut durable = 0;
        let mut follows = true;
        for (previous, segment) in used {
            follows &= last.is_none_or(|last| last == previous);
            if !follows {
                // Its records were never acknowledged, or what is before them is damaged: see below.
                unused.push(segment);
                continue;
            }
            let mut newest = last.unwrap_or(previous);
            end = LINE;
            while let Some(found) = read_record(self.words(&segment), self.identity, end, &mut buffer)
                && found.previous == newest
                && found.seq > newest
                // Not one that an earlier use of the segment left here, whose first line was lost.
                && found.seq >= segment.start
            {
                segment.records.push(Place { seq: found.seq, at: end as u32, len: found.len as u32 });
                (newest, end) = (found.seq, end + footprint(found.len));
                durable = durable.max(found.durable);
            }
            last = Some(newest);
            segments.push(Arc::new(segment));
        }
        let last = last.unwrap_or(0);
        if let Some(segment) = segments.last() {
            self.look_for_damage(self.words(segment), end, last, &mut buffer)?;
        }
        for torn in unused.iter().filter(|segment| segment.start != 0) {
            self.look_for_damage(self.words(torn), LINE, last, &mut buffer)?;
        }
        if let Some(lost) = unused.iter().find(|segment| (1..=durable).contains(&segment.start)) {
            let expected =
                format!("the first line of a segment from number {}, which was durable", lost.start);
            return Err(corrupt(self.words(lost).offset(), expected, "a damaged one"));
        }
        if last >> COUNTER_BITS >= self.life && !self.takes(Shortcut::NoNewLife) {
            let place = segments.last().map_or(0, |segment| self.words(segment).offset());
            let expected = format!("numbers of lives before {}", self.life);
            return Err(corrupt(place, expected, format!("{last:#x}")));
        }
        // Nothing was stored before all of it was found in order.
        for segment in unused {
            let words = self.words(&segment);
            words.store(0, 0);
            words.flush(0..8)?;
            self.spare.lock().push(segment.slab);
        }
        if let Some(words) = segments.last().map(|segment| self.words(segment))
            && end < words.len()
            && !self.takes(Shortcut::TornLeft)
        {
            words.store(end, 0);
        }
        for segment in &segments {
            let words = self.words(segment);
            words.flush(0..words.len())?;
        }
        if let Some(words) = self.slabs.get(0) {
            words.drain()?; // this thread's flushes, of whichever slab
        }
        self.watermark.store(last, Ordering::Release);
        let mut state = self.state.lock();
        (state.last, state.at) = (last, end);
        self.segments.replace(segments, &guard);
        Ok(())
    }

    /// Behind the end of the log, a record that was made when more was durable shows that the end is none.
    fn look_for_damage(&self, words: &Slab, from: u64, last: u64, buffer: &mut Vec<u64>) -> Result<()> {
        // Bytes of checksums that may still be computed: what looks like more records than fit is no log.
        let mut budget = 8 * words.len();
        for at in (from..words.len()).step_by(LINE as usize) {
            let Some(found) = read_record(words, self.identity, at, buffer) else { continue };
            budget = budget.saturating_sub(footprint(found.len));
            // A lower number was left by an earlier use of the segment.
            if (found.seq > last.max(words.load(0).saturating_sub(1)) && found.durable > last) || budget == 0
            {
                let expected = format!("the record after number {last}, which was durable");
                return Err(corrupt(words.offset() + from, expected, "a damaged one"));
            }
        }
        Ok(())
    }
}

impl ConcurrentLog {
    /// Opens the log `name`, or makes it. No drain if another handle is open; otherwise the log is read once, and what is
    /// found is flushed: 2 drains.
    ///
    /// # Errors
    ///
    /// [`WrongType`](crate::ErrorKind::WrongType); damage, also in the middle of the log; no space; an open transaction of
    /// this thread.
    pub fn open(pool: &Pool, name: &str) -> Result<Self> {
        Self::open_with(pool, name, None)
    }

    /// For the tests of the tests.
    #[doc(hidden)]
    pub fn open_with(pool: &Pool, name: &str, shortcut: Option<Shortcut>) -> Result<Self> {
        let header = object::locate::<LogKind>(pool, name)?;
        let log = pool.companion(header, || {
            let Parts { identity, life, slabs, grow, .. } = object::open::<LogKind>(pool, name, shortcut)?;
            let mut log = Log { shortcut, ..Log::new(identity, life, grow) };
            log.recover(slabs)?;
            Ok(log)
        })?;
        Ok(ConcurrentLog { log, pool: pool.clone() })
    }

    /// Appends a record; its number. Durable on return, with all before it; one drain.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge); no space: nothing was changed. A failed write-back poisons the pool.
    pub fn append(&self, record: &[u8]) -> Result<u64> {
        self.append_all([record])
    }

    /// Appends several records, one after the other, with no other's between; the number of the first. Durable on return; one drain. A
    /// crash meanwhile leaves some of the first of them. With none, the number of the last record there is.
    pub fn append_all<'r>(&self, records: impl IntoIterator<Item = &'r [u8]>) -> Result<u64> {
        self.pool.region().check_process()?;
        let records: Vec<&[u8]> = records.into_iter().collect();
        if records.is_empty() {
            return Ok(self.log.watermark());
        }
        self.log.append(&records)
    }

    /// Number of the last record that is durable with all before it; 0: there never was one.
    pub fn watermark(&self) -> u64 {
        self.log.watermark()
    }

    /// All records up to the watermark at each moment, with their numbers, oldest first.
    pub fn iter(&self) -> LogIter<'_> {
        self.iter_from(0)
    }

    /// The records from number `from` on. An iterator that has come to its end goes on when more was appended.
    pub fn iter_from(&self, from: u64) -> LogIter<'_> {
        LogIter { log: self, read: Vec::new().into_iter(), from }
    }

    /// The record of that number.
    pub fn get(&self, seq: u64) -> Result<Option<Vec<u8>>> {
        let found = self.iter_from(seq).next().transpose()?;
        Ok(found.and_then(|(found, record)| (found == seq).then_some(record)))
    }

    /// Gives up records below `seq`, as far as they fill whole segments: those are used again. One drain for each.
    pub fn truncate_before(&self, seq: u64) -> Result<()> {
        self.pool.region().check_process()?;
        self.log.truncate(seq)
    }
}

/// Records of a [`ConcurrentLog`], oldest first.
pub struct LogIter<'l> {
    log: &'l ConcurrentLog,
    read: vec::IntoIter<(u64, Vec<u8>)>,
    from: u64,
}

impl Iterator for LogIter<'_> {
    type Item = Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.as_slice().is_empty() {
            if let Err(e) = self.log.pool.region().check_process() {
                return Some(Err(e.into()));
            }
            self.read = self.log.log.read(self.from, &crossbeam_epoch::pin()).into_iter();
        }
        let (seq, record) = self.read.next()?;
        self.from = seq + 1;
        Some(Ok((seq, record)))
    }
}

impl Clone for ConcurrentLog {
    fn clone(&self) -> Self {
        ConcurrentLog { log: self.log.clone(), pool: self.pool.clone() }
    }
}

impl fmt::Debug for ConcurrentLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentLog").field("watermark", &self.watermark()).finish_non_exhaustive()
    }
}
