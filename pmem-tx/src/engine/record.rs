//! A record in DRAM: building it for a commit, reading its entries for application and for recovery.
//!
//! Commit and recovery go through the same decoder, so what a commit applies is what a replay would.

use super::format::{self, LINES, PLACED, RECORD_HEADER, RecordHeader, WORDS, ZEROS, entry_head};
use pmem_map::LINE;
use std::ops::Range;

const HEADER_WORDS: usize = RECORD_HEADER / 8;
/// Words of the longest entry that is not a run, or that a record is padded with, and more: a power of two.
const ROOM: usize = 16;

/// How many ones a byte has. (Not every x86-64 has an instruction for that.)
const ONES: [u8; 256] = {
    let mut ones = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        ones[byte] = (byte as u8).count_ones() as u8;
        byte += 1;
    }
    ones
};

/// One change to one line or a run of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The words of the line named by the mask have these values, low bit first.
    Words {
        /// Which words of the line.
        mask: u8,
        /// One for each bit of the mask.
        values: &'a [u64],
    },
    /// Whole lines have these values.
    Lines(&'a [u64]),
    /// This many lines are zero.
    Zeros(u64),
    /// This many lines were written in place before the record.
    Placed(u64),
}

impl Change<'_> {
    /// Lines that the change covers.
    pub fn lines(&self) -> u64 {
        match *self {
            Change::Words { .. } => 1,
            Change::Lines(words) => words.len() as u64 / 8,
            Change::Zeros(n) | Change::Placed(n) => n,
        }
    }
}

/// A record being built. The buffers are kept from commit to commit.
pub(super) struct Builder {
    /// The record, and behind it at least [`ROOM`] words, of which none means anything: entries are stored without asking for
    /// room word by word.
    words: Vec<u64>,
    /// Words of the record, its header included.
    len: usize,
    /// The words as they go on media, of a finished record that needs more than one slot.
    media: Vec<u64>,
    entries: u32,
    /// Where the head of a run that may be extended is: (index, kind, line after it).
    run: Option<(usize, u8, u64)>,
}

/// A part of a record's entries.
pub(super) struct Chunk {
    words: Range<usize>,
    entries: u32,
}

impl Chunk {
    /// Bytes of a record of these entries.
    pub(super) fn bytes(&self) -> u64 {
        (HEADER_WORDS + self.words.len()) as u64 * 8
    }
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder { words: vec![0; 256], len: HEADER_WORDS, media: Vec::new(), entries: 0, run: None }
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = HEADER_WORDS;
        self.entries = 0;
        self.run = None;
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes so far.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.len as u64 * 8
    }

    /// The next words, to be filled.
    #[inline]
    fn room(&mut self) -> &mut [u64; ROOM] {
        if self.words.len() < self.len + 2 * ROOM {
            self.make_room(2 * ROOM);
        }
        let (_, rest) = self.words.split_at_mut(self.len);
        rest.first_chunk_mut().expect("just made")
    }

    #[cold]
    fn make_room(&mut self, words: usize) {
        let least = self.len + words;
        self.words.resize(least.max(2 * self.words.len()), 0);
    }

    fn extend(&mut self, words: &[u64]) {
        if self.words.len() < self.len + words.len() + ROOM {
            self.make_room(words.len() + ROOM);
        }
        self.words[self.len..self.len + words.len()].copy_from_slice(words);
        self.len += words.len();
    }

    /// The words of line `line` (a number, not an offset) that `mask` names have the values in `from`.
    #[inline]
    pub(super) fn words(&mut self, line: u64, mask: u8, from: &[u64; 8]) {
        debug_assert!(mask != 0);
        if mask == 0xff {
            return self.line(line, from);
        }
        self.entries += 1;
        self.run = None;
        let to = self.room();
        to[0] = entry_head(WORDS, line, mask);
        let (mut rest, mut len) = (u32::from(mask), 1);
        while rest != 0 {
            to[len % ROOM] = from[rest.trailing_zeros() as usize % 8];
            len += 1;
            rest &= rest - 1;
        }
        self.len += len;
    }

    /// As [`words`](Builder::words), with at most `run` whole lines in one entry.
    pub(super) fn words_in_runs(&mut self, line: u64, mask: u8, from: &[u64; 8], run: u8) {
        if self.run.is_some_and(|(at, ..)| self.words[at] as u8 >= run) {
            self.run = None;
        }
        self.words(line, mask, from);
    }

    /// Any words, which are not entries of changes, after the header.
    pub(super) fn raw(&mut self, words: &[u64]) {
        self.extend(words);
    }

    /// How many entries the raw words stand for.
    pub(super) fn set_entries(&mut self, count: u32) {
        self.entries = count;
    }

    /// The words of the entries, and how many entries.
    pub(super) fn body(&self) -> (&[u64], u32) {
        (&self.words[HEADER_WORDS..self.len], self.entries)
    }

    /// Bytes of memory that the buffers hold.
    pub(super) fn capacity(&self) -> u64 {
        (self.words.capacity() + self.media.capacity()) as u64 * 8
    }

    /// The entries in parts of at most `longest` bytes, header included. No entry is longer than that.
    pub(super) fn chunks(&self, longest: u64) -> Vec<Chunk> {
        let most = longest as usize / 8 - HEADER_WORDS;
        let mut chunks = vec![Chunk { words: HEADER_WORDS..HEADER_WORDS, entries: 0 }];
        let mut entries = self.entries();
        while entries.next().is_some() {
            let end = self.len - entries.words.len();
            let mut chunk = chunks.pop().expect("never empty");
            if end - chunk.words.start > most {
                let next = Chunk { words: chunk.words.end..end, entries: 1 };
                chunks.push(chunk);
                chunk = next;
            } else {
                chunk.words.end = end;
                chunk.entries += 1;
            }
            chunks.push(chunk);
        }
        chunks
    }

    /// Becomes a record of one part of `whole`.
    pub(super) fn copy_chunk(&mut self, whole: &Builder, chunk: &Chunk) -> &mut Builder {
        self.clear();
        self.extend(&whole.words[chunk.words.clone()]);
        self.entries = chunk.entries;
        self
    }

    /// Line `line` has these values.
    #[inline]
    pub(super) fn line(&mut self, line: u64, from: &[u64; 8]) {
        self.head(LINES, line);
        self.room()[..8].copy_from_slice(from);
        self.len += 8;
    }

    /// Line `line` is zero.
    pub(super) fn zeros(&mut self, line: u64) {
        self.head(ZEROS, line);
    }

    /// Line `line` was written in place.
    pub(super) fn placed(&mut self, line: u64) {
        self.head(PLACED, line);
    }

    /// Extends the run that ends before `line`, or begins one.
    #[inline]
    fn head(&mut self, kind: u8, line: u64) {
        if let Some((at, last_kind, next)) = self.run
            && last_kind == kind
            && next == line
            && self.words[at] & 0xff < 0xff
        {
            self.words[at] += 1;
            self.run = Some((at, kind, line + 1));
            return;
        }
        self.entries += 1;
        self.run = Some((self.len, kind, line + 1));
        self.room()[0] = entry_head(kind, line, 1);
        self.len += 1;
    }

    /// Completes the record for its slot; the words to write there, padded with zeros to whole lines.
    #[inline]
    pub(super) fn finish(&mut self, mut header: RecordHeader, identity: u64, slot: u64) -> &[u64] {
        header.length = self.len() as u32;
        header.entries = self.entries;
        header.checksum = format::seed(identity, slot);
        let words: [u64; HEADER_WORDS] = bytemuck::cast(header);
        self.words[..HEADER_WORDS].copy_from_slice(&words);
        self.words[0] = format::checksum(&self.words[..self.len]);
        if self.is_in_one_slot() {
            *self.room() = [0; ROOM];
        } else {
            format::spread(&self.words[..self.len], &mut self.media);
            self.media.resize(self.media.len().next_multiple_of(8), 0);
        }
        self.media()
    }

    /// The finished record, as it goes on media. What fits one slot is the same there.
    pub(super) fn media(&self) -> &[u64] {
        if self.is_in_one_slot() { &self.words[..self.len.next_multiple_of(8)] } else { &self.media }
    }

    fn is_in_one_slot(&self) -> bool {
        self.len() <= format::SLOT
    }

    /// Bytes of the slots that it takes.
    pub(super) fn bytes_of_slots(&self) -> u64 {
        format::slots(self.len()) * format::SLOT
    }

    /// The entries of the finished record.
    #[inline]
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries::new(&self.words[HEADER_WORDS..self.len], self.entries)
    }
}

/// The changes of one record, in order. Ends early on words that are no entry; `check` tells.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    words: &'a [u64],
    left: u32,
}

impl<'a> Entries<'a> {
    pub(super) fn new(words: &'a [u64], count: u32) -> Entries<'a> {
        Entries { words, left: count }
    }
}

impl<'a> Iterator for Entries<'a> {
    /// Number of the first line, and what happens to it and those after it.
    type Item = (u64, Change<'a>);

    #[inline]
    fn next(&mut self) -> Option<(u64, Change<'a>)> {
        if self.left == 0 {
            return None;
        }
        let (&head, rest) = self.words.split_first()?;
        let (n, line, kind) = (head as u8, head >> 8 & ((1 << 48) - 1), (head >> 56) as u8);
        let payload = match kind {
            WORDS => usize::from(ONES[usize::from(n)]),
            LINES => usize::from(n) * 8,
            _ => 0,
        };
        if n == 0 || payload > rest.len() {
            return None;
        }
        let (values, rest) = rest.split_at(payload);
        let change = match kind {
            WORDS => Change::Words { mask: n, values },
            LINES => Change::Lines(values),
            ZEROS => Change::Zeros(u64::from(n)),
            PLACED => Change::Placed(u64::from(n)),
            _ => return None,
        };
        self.words = rest;
        self.left -= 1;
        Some((line, change))
    }
}

/// Whether all `count` entries are entries, stay inside `home` and outside `log`. The number of the entry that
/// does not, if one does not.
pub(super) fn check(words: &[u64], count: u32, home: &Range<u64>, log: &Range<u64>) -> Result<(), u32> {
    let mut entries = Entries::new(words, count);
    for i in 0..count {
        let (line, change) = entries.next().ok_or(i)?;
        let (start, end) = (line * LINE, (line + change.lines()) * LINE);
        if start < home.start || end > home.end || start < log.end && end > log.start {
            return Err(i);
        }
    }
    if entries.words.is_empty() { Ok(()) } else { Err(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(build: impl FnOnce(&mut Builder)) -> Builder {
        let mut builder = Builder::new();
        builder.clear();
        build(&mut builder);
        builder.finish(RecordHeader { seq: 1, ..RecordHeader::default() }, 1, 0);
        builder
    }

    #[test]
    fn what_was_built_is_what_is_read() {
        let eight = [1, 2, 3, 4, 5, 6, 7, 8];
        let builder = built(|b| {
            b.words(5, 0b101, &eight);
            b.words(6, 0xff, &eight);
            b.line(7, &eight);
            b.zeros(9);
            b.zeros(10);
            b.zeros(12);
            b.placed(13);
        });
        let read: Vec<_> = builder.entries().collect();
        assert_eq!(read.len(), 5);
        assert_eq!(read[0], (5, Change::Words { mask: 0b101, values: &[1, 3] }));
        assert_eq!(read[1], (6, Change::Lines(&[eight, eight].concat())));
        assert_eq!(read[2..], [(9, Change::Zeros(2)), (12, Change::Zeros(1)), (13, Change::Placed(1))]);
    }

    #[test]
    fn runs_of_more_than_255_lines_are_several_entries() {
        let builder = built(|b| (0..600).for_each(|line| b.zeros(line)));
        let read: Vec<_> = builder.entries().collect();
        assert_eq!(read, [(0, Change::Zeros(255)), (255, Change::Zeros(255)), (510, Change::Zeros(90))]);
    }

    #[test]
    fn entries_outside_home_or_inside_the_log_or_cut_short_are_refused() {
        let head = |kind, line, n| entry_head(kind, line, n);
        let check = |words: &[u64], count| super::check(words, count, &(4096..8192), &(5120..6144));
        assert_eq!(check(&[head(ZEROS, 64, 16)], 1), Ok(()));
        assert_eq!(check(&[head(ZEROS, 64, 17)], 1), Err(0), "into the log");
        assert_eq!(check(&[head(ZEROS, 63, 1)], 1), Err(0), "before home");
        assert_eq!(check(&[head(ZEROS, 127, 2)], 1), Err(0), "past home");
        assert_eq!(check(&[head(ZEROS, (1 << 48) - 1, 255)], 1), Err(0), "far past home");
        assert_eq!(check(&[head(LINES, 64, 1), 1, 2], 1), Err(0), "cut short");
        assert_eq!(check(&[head(WORDS, 64, 0)], 1), Err(0), "no words");
        assert_eq!(check(&[head(9, 64, 1)], 1), Err(0), "no kind");
        assert_eq!(check(&[head(ZEROS, 64, 1), 0], 1), Err(1), "words left over");
        assert_eq!(check(&[], 1), Err(0), "missing");
    }
}
