//! Which records a crash left, and which of them count.

use super::{
    format::{self, Header, RECORD_HEADER, RING, RecordHeader, SLOT, STATE},
    record::{self, Entries},
    shortcut::{Shortcut, Shortcuts},
};
use crate::{Error, Recovered, Result};
use pmem_map::{LINE, Region};
use std::{collections::BTreeMap, ops::Range};

/// What opening a log had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records replayed. After a clean close none; after a crash a few (the window of the newest commit).
    pub replayed: u64,
    /// Lines that the replay stored.
    pub lines: u64,
    /// Undo records that were rolled back: of the transaction that was open when the program ended. Otherwise 0.
    pub rolled_back: u64,
    /// One copy of the log's header was damaged and was replaced from the other.
    pub repaired_header: bool,
}

/// A record as read from media: copied first, then checked.
pub(super) struct Found {
    pub(super) header: RecordHeader,
    /// The entries' words, and how many entries.
    body: Vec<u64>,
    count: u32,
    /// Where it is, and its words there: in the ring, then in extensions.
    pub(super) media: Vec<(u64, Vec<u64>)>,
}

impl Found {
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries::new(&self.body, self.count)
    }

    /// The extensions that hold its entries.
    fn extensions(&self) -> impl Iterator<Item = Range<u64>> {
        self.media[1..].iter().map(|(at, words)| *at..at + words.len() as u64 * 8)
    }
}

/// What is to be replayed.
pub(super) struct Plan {
    pub(super) identity: u64,
    pub(super) generation: u32,
    pub(super) damaged_copy: Option<u64>,
    /// Records up to this one are retired.
    horizon: u64,
    /// In order.
    pub(super) records: Vec<Found>,
    /// How many of them, the last ones, are snapshots of an undo transaction that no seal ended.
    pub(super) open: usize,
    /// Lines in which unlogged stores may have been under way.
    pub(super) unlogged: Range<u64>,
}

impl Plan {
    /// For a subscriber, once all of it is in place.
    pub(super) fn recovered<'a>(&self, region: &'a Region) -> Recovered<'a> {
        let mut lines: Vec<Range<u64>> = Vec::new();
        for (line, change) in self.records.iter().flat_map(Found::entries) {
            lines.push(line..line + change.lines());
        }
        lines.sort_unstable_by_key(|range| range.start);
        lines.dedup_by(|next, before| {
            let meets = next.start <= before.end;
            if meets {
                before.end = before.end.max(next.end);
            }
            meets
        });
        let newest = self.records.last().map_or(self.horizon, |found| found.header.seq);
        let first = self.records.first().map_or(newest + 1, |found| found.header.seq);
        let (identity, generation) = (self.identity, self.generation);
        Recovered { identity, generation, first, newest, lines, region }
    }
}

/// Bytes of the largest record of a log in `area`: three fit.
pub(super) fn max_record(area: &Range<u64>) -> u64 {
    format::longest((area.end - area.start - RING) / SLOT / 3)
}

/// Reads the log, and decides. Stores nothing.
pub(super) fn look(
    region: &Region,
    area: &Range<u64>,
    identity: Option<u64>,
    home: &Range<u64>,
    shortcuts: Shortcuts,
) -> Result<Plan> {
    let (header, damaged_copy) = read_headers(region, area, identity)?;
    let identity = header.identity;
    let state = area.start + STATE;
    let generation = format::generation_of(read_word(region, state), identity)
        .ok_or(Error::Damaged { offset: state, what: "the generation word fails its check" })?;
    let horizon = format::horizon_of(read_word(region, state + 8), generation)
        .ok_or(Error::Damaged { offset: state + 8, what: "the horizon word fails its check" })?;
    let mut scan = Scan {
        region,
        area,
        identity,
        shortcuts,
        candidates: BTreeMap::new(),
        read: BTreeMap::new(),
        budget: 4 * (area.end - area.start),
        body_budget: 4 * region.len(),
    };
    scan.collect(generation, horizon);
    let records = scan.select(horizon)?;
    for found in &records {
        let into_itself = || {
            found.extensions().any(|extension| {
                found.entries().any(|(line, change)| {
                    line * LINE < extension.end && (line + change.lines()) * LINE > extension.start
                })
            })
        };
        if record::check(&found.body, found.count, home, area).is_err()
            || found.extensions().count() > 0 && into_itself()
        {
            return Err(Error::Damaged {
                offset: area.start,
                what: "a record with a right checksum has an entry that is none, or is out of bounds",
            });
        }
    }
    let open = records.iter().rev().take_while(|record| record.header.kind == format::UNDO).count();
    let open = if shortcuts.has(Shortcut::UndoNotRolledBack) { 0 } else { open };
    // A hint for what is merely visible: flushing lines does no harm.
    let [start, end] = [format::UNLOGGED_START, format::UNLOGGED_END]
        .map(|at| format::unlogged_of(read_word(region, area.start + at)));
    let (start, end) = (start.max(home.start / LINE), end.min(home.end / LINE));
    Ok(Plan { identity, generation, damaged_copy, horizon, records, open, unlogged: start..end.max(start) })
}

fn read_headers(region: &Region, area: &Range<u64>, identity: Option<u64>) -> Result<(Header, Option<u64>)> {
    let read = |copy: u64| {
        let mut header = bytemuck::Zeroable::zeroed();
        read(region, area.start + copy * LINE, bytemuck::bytes_of_mut::<Header>(&mut header));
        header
    };
    let copies = [read(0), read(1)];
    let (header, damaged) = match (copies[0].is_intact(), copies[1].is_intact()) {
        (true, true) => (copies[0], None),
        (true, false) => (copies[0], Some(1)),
        (false, true) => (copies[1], Some(0)),
        (false, false) if copies.iter().any(|copy| copy.magic == format::MAGIC) => {
            return Err(Error::Damaged {
                offset: area.start,
                what: "both copies of the header fail their checksum",
            });
        }
        (false, false) => return Err(Error::NotALog { offset: area.start, why: "there is no header" }),
    };
    header.check(area)?;
    if identity.is_some_and(|identity| identity != header.identity) {
        return Err(Error::Damaged { offset: area.start, what: "the log belongs to another pool" });
    }
    Ok((header, damaged))
}

struct Scan<'a> {
    region: &'a Region,
    area: &'a Range<u64>,
    identity: u64,
    shortcuts: Shortcuts,
    /// Slots that start with a plausible header, by seq.
    candidates: BTreeMap<u64, Vec<u64>>,
    /// Those that were looked at in full.
    read: BTreeMap<u64, Option<Found>>,
    /// Bytes of checksums that may still be computed: a crafted ring must not take for ever.
    budget: u64,
    /// The same for extensions.
    body_budget: u64,
}

impl Scan<'_> {
    fn collect(&mut self, generation: u32, horizon: u64) {
        let max = max_record(self.area);
        let slots = (self.area.end - self.area.start - RING) / SLOT;
        for slot in 0..slots {
            let header = self.header(slot);
            let fits = slot + format::slots(u64::from(header.length)) <= slots;
            if header.is_plausible(generation, max) && header.seq > horizon && fits {
                self.candidates.entry(header.seq).or_default().push(slot);
            }
        }
    }

    fn header(&self, slot: u64) -> RecordHeader {
        let mut header = RecordHeader::default();
        read(self.region, self.area.start + RING + slot * SLOT, bytemuck::bytes_of_mut(&mut header));
        header
    }

    /// Whether there is a valid record `seq`.
    fn valid(&mut self, seq: u64) -> Result<bool> {
        if !self.read.contains_key(&seq) {
            let mut found = None;
            for slot in self.candidates.get(&seq).cloned().unwrap_or_default() {
                found = self.read_record(slot)?;
                if found.is_some() {
                    break;
                }
            }
            self.read.insert(seq, found);
        }
        Ok(self.read[&seq].is_some())
    }

    fn read_record(&mut self, slot: u64) -> Result<Option<Found>> {
        let header = self.header(slot);
        let length = u64::from(header.length);
        self.budget = self.budget.checked_sub(length).ok_or(Error::Damaged {
            offset: self.area.start + RING,
            what: "the ring holds more records than fit in it",
        })?;
        let at = self.area.start + RING + slot * SLOT;
        let mut media = vec![0u64; format::words_on_media(length as usize / 8)];
        read(self.region, at, bytemuck::cast_slice_mut(&mut media));
        let Some(mut words) = format::gather(&media) else { return Ok(None) };
        let sum = std::mem::replace(&mut words[0], format::seed(self.identity, slot));
        if format::checksum(&words) != sum && !self.shortcuts.has(Shortcut::NoChecksum) {
            return Ok(None);
        }
        if header.flags & format::EXTENDED != 0 {
            return self.read_extended(header, &words[RECORD_HEADER / 8..], (at, media));
        }
        let body = words.split_off(RECORD_HEADER / 8);
        Ok(Some(Found { header, body, count: header.entries, media: vec![(at, media)] }))
    }

    /// A record whose entries are in extensions; `chain` says where. No record if they are not there in full: they are
    /// drained together with it.
    fn read_extended(
        &mut self,
        header: RecordHeader,
        chain: &[u64],
        ring: (u64, Vec<u64>),
    ) -> Result<Option<Found>> {
        let wild = || Error::Damaged {
            offset: ring.0,
            what: "a record with a right checksum has an extension that is out of bounds",
        };
        let Some((&[len, count, sum], pieces)) = chain.split_first_chunk::<3>() else { return Err(wild()) };
        let (pieces, rest) = pieces.as_chunks::<2>();
        let mut total = 0u64;
        for &[start, bytes] in pieces {
            let end = start.checked_add(bytes).ok_or_else(wild)?;
            let in_log = start < self.area.end && end > self.area.start;
            if start % LINE != 0 || bytes % LINE != 0 || bytes == 0 || end > self.region.len() || in_log {
                return Err(wild());
            }
            total = total.checked_add(bytes).ok_or_else(wild)?;
        }
        let count = u32::try_from(count).map_err(|_| wild())?;
        if !rest.is_empty() || pieces.len() != header.entries as usize || len % 8 != 0 || len > total {
            return Err(wild());
        }
        self.body_budget = self.body_budget.checked_sub(total).ok_or_else(wild)?;
        let (mut body, mut media) = (Vec::new(), vec![ring]);
        for &[start, bytes] in pieces {
            let mut words = vec![0u64; bytes as usize / 8];
            read(self.region, start, bytemuck::cast_slice_mut(&mut words));
            body.extend_from_slice(&words);
            media.push((start, words));
        }
        body.truncate(len as usize / 8);
        if format::body_checksum(self.identity, header.generation, header.seq, &body) != sum
            && !self.shortcuts.has(Shortcut::ExtensionUnchecked)
        {
            return Ok(None);
        }
        Ok(Some(Found { header, body, count, media }))
    }

    /// The newest commit is the largest c for which every seq in [max(from(c), horizon + 1), c] is valid. A gap that no
    /// crash can make is damage: what was drained before c was written, and is still in its window, has to be there.
    fn select(&mut self, horizon: u64) -> Result<Vec<Found>> {
        let seqs: Vec<u64> = self.candidates.keys().rev().copied().collect();
        if self.shortcuts.has(Shortcut::ReplayAllValid) || self.shortcuts.has(Shortcut::NewestValidIsCommit) {
            return self.select_wrongly(&seqs);
        }
        'commits: for &seq in &seqs {
            if !self.valid(seq)? {
                continue;
            }
            let header = self.read[&seq].as_ref().expect("valid").header;
            let from = header.from().max(horizon + 1);
            for earlier in (from..seq).rev() {
                if self.valid(earlier)? {
                    continue;
                }
                if earlier > header.durable() {
                    continue 'commits; // not drained when `seq` was written, and neither is `seq`
                }
                return Err(Error::Damaged {
                    offset: self.area.start + RING,
                    what: "a record is damaged that the newest commit needs",
                });
            }
            return Ok((from..=seq).map(|seq| self.read.remove(&seq).flatten().expect("valid")).collect());
        }
        Ok(Vec::new())
    }

    /// Two rules that look plausible.
    fn select_wrongly(&mut self, seqs: &[u64]) -> Result<Vec<Found>> {
        let mut valid = Vec::new();
        for &seq in seqs {
            if self.valid(seq)? {
                valid.push(seq);
            }
        }
        if self.shortcuts.has(Shortcut::NewestValidIsCommit) {
            valid.truncate(1);
        }
        valid.reverse();
        Ok(valid.into_iter().map(|seq| self.read.remove(&seq).flatten().expect("valid")).collect())
    }
}

fn read(region: &Region, at: u64, into: &mut [u8]) {
    // SAFETY: the log's area (callers), which nobody else uses while it is being opened.
    unsafe { region.load(at, into) }
}

fn read_word(region: &Region, at: u64) -> u64 {
    // SAFETY: as in `read`.
    unsafe { region.load_word(at) }
}
