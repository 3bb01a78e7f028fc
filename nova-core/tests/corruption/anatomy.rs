//! Where each structure of a volume is: FORMAT.md once more, read by other code than the crate's.

use std::{collections::BTreeMap, fmt, ops::Range};

pub(crate) const BLOCK: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Structure {
    Superblock,
    StateLine,
    StripeLine,
    Segment,
    Identity,
    Status,
    Page,
    Extent,
    Name,
    Attribute,
    Checkpoint,
    Journal,
    Data,
}

use Structure::*;

impl Structure {
    pub(crate) const ALL: [Structure; 13] = [
        Superblock, StateLine, StripeLine, Segment, Identity, Status, Page, Extent, Name, Attribute,
        Checkpoint, Journal, Data,
    ];
    /// Those whose checksums the tests can make right again: the journal's are another crate's, data has none.
    pub(crate) const FORGEABLE: [Structure; 11] = [
        Superblock, StateLine, StripeLine, Segment, Identity, Status, Page, Extent, Name, Attribute,
        Checkpoint,
    ];
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// A named field, and the structure that has it: the bytes that its checksum covers.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) structure: Structure,
    pub(crate) name: &'static str,
    pub(crate) at: u64,
    pub(crate) width: usize,
    pub(crate) unit: Range<u64>,
}

pub(crate) struct Anatomy {
    pub(crate) fields: Vec<Field>,
    /// Bytes that mean something.
    pub(crate) used: Vec<(Range<u64>, Structure)>,
    /// Offsets that fields refer to.
    pub(crate) places: Vec<u64>,
    identity: Vec<u8>,
}

pub(crate) fn number(bytes: &[u8], at: u64, width: usize) -> u64 {
    let mut word = [0; 8];
    word[..width].copy_from_slice(&bytes[at as usize..][..width]);
    u64::from_le_bytes(word)
}

pub(crate) fn put(bytes: &mut [u8], at: u64, width: usize, value: u64) {
    bytes[at as usize..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
}

type Layout = &'static [(&'static str, u64, usize)];

const SUPERBLOCK: Layout = &[
    ("checksum", 0, 4),
    ("version", 4, 4),
    ("magic", 8, 8),
    ("compatible", 16, 8),
    ("read-only", 24, 8),
    ("incompatible", 32, 8),
    ("identity", 40, 8),
    ("length", 56, 8),
    ("block size", 64, 4),
    ("stripes", 68, 4),
    ("journal", 72, 8),
    ("journal length", 80, 8),
    ("created", 88, 8),
    ("label", 96, 8),
    ("reserved", 128, 8),
];
const STATE: Layout =
    &[("checksum", 0, 4), ("mounts", 8, 8), ("checkpoint", 16, 8), ("epoch", 24, 8), ("reserved", 32, 8)];
const STRIPE: Layout = &[("checksum", 0, 4), ("stripe", 4, 4), ("segment", 8, 8), ("reserved", 16, 8)];
const SEGMENT: Layout = &[
    ("checksum", 0, 4),
    ("magic", 4, 4),
    ("stripe", 8, 4),
    ("blocks", 12, 4),
    ("first slot", 16, 8),
    ("next", 24, 8),
];
const IDENTITY: Layout = &[
    ("checksum", 0, 4),
    ("generation", 4, 4),
    ("number", 8, 8),
    ("mode", 16, 4),
    ("uid", 20, 4),
    ("gid", 24, 4),
    ("flags", 28, 4),
    ("device", 32, 8),
    ("created", 40, 8),
    ("log", 48, 8),
    ("parent", 56, 8),
];
const STATUS: Layout = &[
    ("checksum", 0, 4),
    ("links", 4, 4),
    ("size", 8, 8),
    ("tail", 16, 8),
    ("accessed", 24, 8),
    ("modified", 32, 8),
    ("changed", 40, 8),
    ("blocks", 48, 8),
    ("changes", 56, 8),
];
const PAGE: Layout = &[("checksum", 0, 4), ("magic", 4, 4), ("number", 8, 8), ("next", 16, 8)];
const EXTENT: Layout = &[
    ("checksum", 0, 4),
    ("kind", 4, 1),
    ("lines", 5, 1),
    ("flags", 6, 2),
    ("file block", 8, 8),
    ("block", 16, 8),
    ("count", 24, 4),
    ("epoch", 32, 8),
];
const NAME: Layout = &[
    ("checksum", 0, 4),
    ("kind", 4, 1),
    ("lines", 5, 1),
    ("name length", 6, 1),
    ("type", 7, 1),
    ("number", 8, 8),
    ("cookie", 16, 8),
    ("epoch", 24, 8),
    ("removed", 32, 8),
    ("name", 40, 2),
];
const ATTRIBUTE: Layout = &[
    ("checksum", 0, 4),
    ("kind", 4, 1),
    ("lines", 5, 1),
    ("name length", 6, 1),
    ("namespace", 7, 1),
    ("part", 8, 2),
    ("parts", 10, 2),
    ("length", 12, 4),
    ("here", 16, 4),
    ("epoch", 24, 8),
    ("removed", 32, 8),
    ("name", 40, 2),
    ("value", 56, 8),
];
const CHECKPOINT: Layout = &[
    ("checksum", 0, 4),
    ("magic", 4, 4),
    ("next", 8, 8),
    ("length", 16, 4),
    ("count", 64, 8),
    ("value", 72, 8),
    ("value", 80, 8),
];
const WORDS: Layout = &[("word", 0, 8), ("word", 8, 8), ("word", 24, 8), ("word", 32, 8)];

impl Anatomy {
    pub(crate) fn of(bytes: &[u8]) -> Anatomy {
        let identity = bytes[40..56].to_vec();
        let mut anatomy = Anatomy { fields: Vec::new(), used: Vec::new(), places: vec![0], identity };
        let word = |at: u64| number(bytes, at, 8);
        let len = word(56);
        for at in [0, len - BLOCK] {
            anatomy.add(Superblock, at..at + 256, SUPERBLOCK);
        }
        anatomy.add(StateLine, BLOCK..BLOCK + 64, STATE);
        let (journal, journal_len) = (word(72), word(80));
        for at in (journal..journal + journal_len).step_by(64) {
            if bytes[at as usize..][..64].iter().any(|byte| *byte != 0) {
                anatomy.add(Journal, at..at + 64, WORDS);
            }
        }
        let mut checkpoint = word(BLOCK + 16);
        while checkpoint != 0 {
            anatomy.add(
                Checkpoint,
                checkpoint..checkpoint + 64 + number(bytes, checkpoint + 16, 4),
                CHECKPOINT,
            );
            checkpoint = word(checkpoint + 8);
        }
        let mut data = BTreeMap::new();
        for stripe in 0..number(bytes, 68, 4) {
            let line = BLOCK + 64 * (1 + stripe);
            anatomy.add(StripeLine, line..line + 64, STRIPE);
            let mut segment = word(line + 8);
            while segment != 0 {
                anatomy.add(Segment, segment..segment + 64, SEGMENT);
                let slots = (number(bytes, segment + 12, 4) * BLOCK - 64) / 128;
                for at in (0..slots).map(|slot| segment + 64 + slot * 128) {
                    anatomy.inode(bytes, at, &mut data);
                }
                segment = word(segment + 24);
            }
        }
        for (block, _) in data {
            let at = block * BLOCK;
            anatomy.add(Data, at..at + BLOCK, WORDS);
        }
        anatomy.places.sort_unstable();
        anatomy.places.dedup();
        anatomy
    }

    fn inode(&mut self, bytes: &[u8], at: u64, data: &mut BTreeMap<u64, ()>) {
        if bytes[at as usize..][..64].iter().all(|byte| *byte == 0) {
            return;
        }
        self.add(Identity, at..at + 64, IDENTITY);
        self.add(Status, at + 64..at + 128, STATUS);
        let (mut page, tail) = (number(bytes, at + 48, 8), number(bytes, at + 64 + 16, 8));
        while page != 0 {
            self.add(Page, page..page + 64, PAGE);
            let mut entry = page + 64;
            while entry != tail && entry < page + BLOCK {
                let (kind, lines) = (bytes[entry as usize + 4], u64::from(bytes[entry as usize + 5]));
                let unit = entry..entry + 64 * lines;
                match kind {
                    1..=3 => self.add(Extent, unit.clone(), EXTENT),
                    4 => self.add(Name, unit.clone(), NAME),
                    5 => self.add(Attribute, unit.clone(), ATTRIBUTE),
                    _ => self.add(Page, unit.clone(), &[("kind", 4, 1), ("lines", 5, 1)]),
                }
                if kind == 1 {
                    let (block, count) = (number(bytes, entry + 16, 8), number(bytes, entry + 24, 4));
                    data.extend((block..block + count).map(|block| (block, ())));
                }
                if kind == 6 {
                    break;
                }
                entry = unit.end;
            }
            if entry == tail {
                break;
            }
            page = number(bytes, page + 16, 8);
        }
    }

    fn add(&mut self, structure: Structure, unit: Range<u64>, layout: Layout) {
        let fields = layout.iter().filter(|(_, at, width)| unit.start + at + *width as u64 <= unit.end);
        self.fields.extend(fields.map(|(name, at, width)| Field {
            structure,
            name,
            at: unit.start + at,
            width: *width,
            unit: unit.clone(),
        }));
        self.places.push(unit.start);
        self.used.push((unit, structure));
    }

    /// Makes the checksum of a field's structure right again.
    pub(crate) fn recompute(&self, bytes: &mut [u8], field: &Field) {
        let Range { start, end } = field.unit;
        let seed = if field.structure == Superblock { 0 } else { crc32c::crc32c(&self.identity) };
        let sum = crc32c::crc32c_append(seed, &bytes[start as usize + 4..end as usize]);
        put(bytes, start, 4, u64::from(crc32c::crc32c_append(sum, &start.to_le_bytes())));
    }

    /// Those of `of` that this volume has.
    pub(crate) fn structures(&self, of: &[Structure]) -> Vec<Structure> {
        of.iter().copied().filter(|one| self.fields.iter().any(|field| field.structure == *one)).collect()
    }
}
