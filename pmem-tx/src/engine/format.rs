//! The log's bytes on media: see FORMAT.md, whose tables these constants and types are.

use crate::{Error, Result};
use bytemuck::{Pod, Zeroable};
use pmem_map::LINE;
use std::ops::Range;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub(super) const MAGIC: [u8; 8] = *b"PMEMTXLG";
pub(super) const VERSION: u32 = 1;
pub(super) const SLOT: u64 = 256;
/// Lines before the ring: two headers, the state, a reserved one.
pub(super) const RING: u64 = 4 * LINE;
pub(super) const STATE: u64 = 2 * LINE;
/// The words of the state line: generation, horizon, and the lines in which unlogged stores may be under way.
pub(super) const HORIZON: u64 = STATE + 8;
pub(super) const UNLOGGED_START: u64 = STATE + 16;
pub(super) const UNLOGGED_END: u64 = STATE + 24;
pub(super) const MIN_AREA: u64 = 4096;
/// 1 TiB: slot numbers fit 32 bits.
pub(super) const MAX_AREA: u64 = 1 << 40;
/// Feature bits: records of [`UNDO`] and [`SEAL`]; records whose entries are in an extension.
pub(super) const FEATURES: u32 = 0b11;
/// The largest seq that a horizon can hold. A log that gets there starts a new generation.
pub(super) const MAX_SEQ: u64 = (1 << 40) - 1;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
    pub(super) features: u32,
    pub(super) identity: u64,
    pub(super) length: u64,
    pub(super) slot_size: u32,
    pub(super) lane: u16,
    pub(super) reserved: [u8; 18],
    pub(super) checksum: u64,
}
const _: () = assert!(size_of::<Header>() == LINE as usize);

impl Header {
    pub(super) fn new(identity: u64, length: u64) -> Header {
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            features: FEATURES,
            identity,
            length,
            slot_size: SLOT as u32,
            lane: 0,
            reserved: [0; 18],
            checksum: 0,
        };
        header.checksum = header.sum();
        header
    }

    fn sum(&self) -> u64 {
        xxh3_64(&bytemuck::bytes_of(self)[..56])
    }

    pub(super) fn is_intact(&self) -> bool {
        self.magic == MAGIC && self.checksum == self.sum()
    }

    /// Of an intact header: can this crate use it, and does it fit the area it was found in?
    pub(super) fn check(&self, area: &Range<u64>) -> Result<()> {
        if self.version != VERSION || self.features & !FEATURES != 0 || self.slot_size != SLOT as u32 {
            return Err(Error::Unsupported {
                offset: area.start,
                version: self.version,
                features: self.features,
                known: VERSION,
            });
        }
        if self.length != area.end - area.start {
            return Err(Error::NotALog { offset: area.start, why: "it was created with another length" });
        }
        Ok(())
    }
}

/// Whether no log is in these bytes: all zero, or a creation that a crash cut short (no whole header, and an untouched
/// ring, so that nothing was committed).
pub(crate) fn is_blank(area: &[u8]) -> bool {
    let Some((head, ring)) = area.split_at_checked(RING as usize) else { return false };
    let whole = |copy: &[u8]| bytemuck::pod_read_unaligned::<Header>(copy).is_intact();
    let (copies, state) = head.split_at(STATE as usize);
    let generation = u64::from_le_bytes(state[..8].try_into().expect("eight bytes")) as u32;
    ring.iter().all(|byte| *byte == 0)
        && !copies.chunks(LINE as usize).any(whole)
        && generation <= 1
        && state[8..].iter().all(|byte| *byte == 0)
}

/// Whether a log can be made in `area` of a mapping of `len` bytes.
pub(crate) fn check_area(area: &Range<u64>, len: u64) -> Result<()> {
    let bad = |why| Err(Error::BadArea { start: area.start, end: area.end, why });
    if area.end < area.start || area.end > len {
        return bad("outside the mapping");
    }
    if area.start % LINE != 0 || area.end % LINE != 0 {
        return bad("not aligned to 64");
    }
    match area.end - area.start {
        0..MIN_AREA => bad("shorter than 4096 bytes"),
        MIN_AREA..=MAX_AREA => Ok(()),
        _ => bad("longer than a tebibyte"),
    }
}

/// The generation word: generation, and a check bound to the log's identity.
pub(super) fn generation_word(identity: u64, generation: u32) -> u64 {
    let check = xxh3_64(bytemuck::bytes_of(&[identity, u64::from(generation)])) as u32;
    u64::from(generation) | u64::from(check) << 32
}

pub(super) fn generation_of(word: u64, identity: u64) -> Option<u32> {
    (word == generation_word(identity, word as u32)).then_some(word as u32)
}

/// The horizon word: seq, tag of the generation, check.
pub(super) fn horizon_word(generation: u32, seq: u64) -> u64 {
    let low = seq & MAX_SEQ | u64::from(generation & 0xff) << 40;
    low | (xxh3_64(&low.to_le_bytes()) & 0xffff) << 48
}

/// The horizon in `generation`; 0 if the word is of another; `None` if it is damaged.
pub(super) fn horizon_of(word: u64, generation: u32) -> Option<u64> {
    if word == 0 {
        return Some(0);
    }
    let low = word & ((1 << 48) - 1);
    if word >> 48 != xxh3_64(&low.to_le_bytes()) & 0xffff {
        return None;
    }
    Some(if low >> 40 == u64::from(generation & 0xff) { low & MAX_SEQ } else { 0 })
}

/// A word of the unlogged range: a line's number, and a check. 0 is none.
pub(super) fn unlogged_word(line: u64) -> u64 {
    let low = line & ((1 << 48) - 1);
    if low == 0 { 0 } else { low | (xxh3_64(&low.to_le_bytes()) & 0xffff) << 48 }
}

/// The line's number; 0 if there is none, or the word is damaged: it is a hint.
pub(super) fn unlogged_of(word: u64) -> u64 {
    let line = word & ((1 << 48) - 1);
    if word == unlogged_word(line) { line } else { 0 }
}

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RecordHeader {
    pub(super) checksum: u64,
    pub(super) seq: u64,
    pub(super) from_distance: u32,
    pub(super) durable_distance: u32,
    pub(super) generation: u32,
    pub(super) lane: u16,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) length: u32,
    pub(super) entries: u32,
}
pub(super) const RECORD_HEADER: usize = size_of::<RecordHeader>();
const _: () = assert!(RECORD_HEADER == 40);

/// Kinds of records. New values, to be stored in place.
pub(super) const REDO: u8 = 1;
/// Old values, to be put back unless a seal follows.
pub(super) const UNDO: u8 = 2;
/// Ends an undo transaction: everything up to here is in place and drained.
pub(super) const SEAL: u8 = 3;

/// Flag of a record: its entries are in an extension, and it says where.
pub(super) const EXTENDED: u8 = 1;

impl RecordHeader {
    pub(super) fn from(&self) -> u64 {
        self.seq - u64::from(self.from_distance)
    }

    /// The last seq that was drained when the record was written.
    pub(super) fn durable(&self) -> u64 {
        self.seq - u64::from(self.durable_distance)
    }

    /// Cheap tests before the checksum is worth computing.
    pub(super) fn is_plausible(&self, generation: u32, max_record: u64) -> bool {
        self.generation == generation
            && self.lane == 0
            && (REDO..=SEAL).contains(&self.kind)
            && self.flags & !EXTENDED == 0
            && self.seq >= 1
            && self.seq <= MAX_SEQ
            && u64::from(self.from_distance) < self.seq
            && u64::from(self.durable_distance) <= self.seq
            && self.length % 8 == 0
            && self.length as usize >= RECORD_HEADER
            && u64::from(self.length) <= max_record
    }
}

/// Words of a slot.
const SLOT_WORDS: usize = (SLOT / 8) as usize;
/// Stands where a record's seq would be in every slot but the first of a record, and is no seq: so that what a record
/// contains cannot be taken for a record.
const INNER: u64 = u64::MAX;

/// Words on media of a record of `words` words: every further slot gives one up.
pub(super) fn words_on_media(words: usize) -> usize {
    words + words.saturating_sub(SLOT_WORDS).div_ceil(SLOT_WORDS - 1)
}

/// Slots of a record of `length` bytes.
pub(super) fn slots(length: u64) -> u64 {
    (words_on_media(length as usize / 8) as u64 * 8).div_ceil(SLOT)
}

/// Bytes of the largest record that fits in `slots` slots.
pub(super) fn longest(slots: u64) -> u64 {
    let words = SLOT_WORDS as u64 + slots.saturating_sub(1) * (SLOT_WORDS as u64 - 1);
    (words * 8).min(u64::from(u32::MAX) & !7)
}

/// Puts a record's words where they go on media.
pub(super) fn spread(record: &[u64], media: &mut Vec<u64>) {
    let (first, rest) = record.split_at(record.len().min(SLOT_WORDS));
    media.clear();
    media.extend_from_slice(first);
    for inner in rest.chunks(SLOT_WORDS - 1) {
        media.extend_from_slice(&[inner[0], INNER]);
        media.extend_from_slice(&inner[1..]);
    }
}

/// The reverse of [`spread`]; `None` if an inner slot is not marked as one.
pub(super) fn gather(media: &[u64]) -> Option<Vec<u64>> {
    let (first, rest) = media.split_at(media.len().min(SLOT_WORDS));
    let mut record = first.to_vec();
    for inner in rest.chunks(SLOT_WORDS) {
        if *inner.get(1)? != INNER {
            return None;
        }
        record.push(inner[0]);
        record.extend_from_slice(&inner[2..]);
    }
    Some(record)
}

/// What the checksum field holds while the checksum is computed: binds a record to its log and its place.
pub(super) fn seed(identity: u64, slot: u64) -> u64 {
    identity ^ (slot + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Checksum of a record whose first word holds the seed.
pub(super) fn checksum(record: &[u64]) -> u64 {
    xxh3_64(bytemuck::cast_slice(record))
}

/// Checksum of the entries in an extension: bound to the log, the generation and the record.
pub(super) fn body_checksum(identity: u64, generation: u32, seq: u64, body: &[u64]) -> u64 {
    let seed = identity ^ u64::from(generation).rotate_left(32) ^ seq.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    xxh3_64_with_seed(bytemuck::cast_slice(body), seed)
}

/// Kinds of entries.
pub(super) const WORDS: u8 = 0;
pub(super) const LINES: u8 = 1;
pub(super) const ZEROS: u8 = 2;
pub(super) const PLACED: u8 = 3;

pub(super) fn entry_head(kind: u8, line: u64, n: u8) -> u64 {
    u64::from(n) | line << 8 | u64::from(kind) << 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_gathered_as_it_was_spread_and_no_inner_slot_can_be_a_record() {
        let mut media = Vec::new();
        for words in 5..300 {
            let record: Vec<u64> = (0..words).collect();
            spread(&record, &mut media);
            assert_eq!(media.len(), words_on_media(record.len()));
            assert_eq!(gather(&media).as_ref(), Some(&record));
            assert_eq!(slots(words * 8), (media.len() as u64).div_ceil(32));
            assert!(words * 8 <= longest(slots(words * 8)));
            assert!(media.chunks(32).skip(1).all(|slot| slot.len() > 1 && slot[1] > MAX_SEQ));
            if media.len() > 40 {
                media[33] = 7;
                assert_eq!(gather(&media), None);
            }
        }
        assert_eq!(longest(1), 256);
        assert_eq!(slots(longest(5)), 5);
        assert_eq!(slots(longest(5) + 8), 6);
    }

    #[test]
    fn a_generation_word_of_another_log_is_none() {
        let word = generation_word(7, 3);
        assert_eq!(generation_of(word, 7), Some(3));
        assert_eq!(generation_of(word, 8), None);
        assert_eq!(generation_of(word + 1, 7), None);
        assert_eq!(generation_of(0, 7), None);
    }

    #[test]
    fn a_horizon_counts_in_its_own_generation_only_and_damage_is_seen() {
        let word = horizon_word(5, 1234);
        assert_eq!(horizon_of(word, 5), Some(1234));
        assert_eq!(horizon_of(word, 6), Some(0));
        assert_eq!(horizon_of(0, 6), Some(0));
        for line in [0, 1, 77, (1 << 48) - 1] {
            assert_eq!(unlogged_of(unlogged_word(line)), line);
            assert!((0..64).all(|bit| unlogged_of(unlogged_word(line) ^ 1 << bit) != line || line == 0));
        }
        for bit in 0..64 {
            assert_ne!(horizon_of(word ^ 1 << bit, 5), Some(1234), "bit {bit}");
        }
        assert_eq!(horizon_of(word ^ 1 << 3, 5), None);
        assert_eq!(horizon_of(horizon_word(5, MAX_SEQ), 5), Some(MAX_SEQ));
    }
}
