//! Where everything is in a pool's bytes, read from them as the FORMAT.md of each crate describes it.

mod hash;

use crate::images::POOL;
use std::{collections::HashMap, fmt, ops::Range};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const PAGE: u64 = 4096;

/// Parts of a pool with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Structure {
    PoolHeader,
    LogHeader,
    LogState,
    Records,
    StateLine,
    Directory,
    Descriptors,
    PageTable,
    Bitmaps,
    TreeHeader,
    NodeHeads,
    LeafBitmaps,
    Fingerprints,
    Entries,
    Separators,
    Children,
    Slots,
    Texts,
    SerdeValues,
    TableHeader,
    References,
    BucketHeads,
    TableEntries,
}
use Structure::*;

impl Structure {
    pub(crate) const ALL: [Structure; 23] = [
        PoolHeader,
        LogHeader,
        LogState,
        Records,
        StateLine,
        Directory,
        Descriptors,
        PageTable,
        Bitmaps,
        TreeHeader,
        NodeHeads,
        LeafBitmaps,
        Fingerprints,
        Entries,
        Separators,
        Children,
        Slots,
        Texts,
        SerdeValues,
        TableHeader,
        References,
        BucketHeads,
        TableEntries,
    ];
    /// Those of which damage is found by a checksum, or harmless.
    pub(crate) const CHECKSUMMED: [Structure; 8] =
        [PoolHeader, LogHeader, LogState, Records, StateLine, Directory, Descriptors, SerdeValues];
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PoolHeader => "pool header",
            LogHeader => "log header",
            LogState => "log state",
            Records => "log records",
            StateLine => "state line",
            Directory => "directory",
            Descriptors => "descriptors",
            PageTable => "page table",
            Bitmaps => "bitmaps",
            TreeHeader => "tree header",
            NodeHeads => "node heads, counts",
            LeafBitmaps => "leaf bitmaps",
            Fingerprints => "fingerprints",
            Entries => "keys and values",
            Separators => "separators",
            Children => "child pointers",
            Slots => "references",
            Texts => "bytes of strings",
            SerdeValues => "serde values",
            TableHeader => "table header",
            References => "hash directory",
            BucketHeads => "bucket heads",
            TableEntries => "table's entries",
        })
    }
}

/// A number on media.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) structure: Structure,
    pub(crate) name: &'static str,
    pub(crate) at: u64,
    /// Bytes.
    pub(crate) width: usize,
    /// Start of what the checksum covers together with it: header copy, record, directory entry.
    pub(crate) unit: u64,
}

/// Where everything is.
pub(crate) struct Anatomy {
    pub(crate) fields: Vec<Field>,
    /// Used bytes, without overlaps.
    pub(crate) used: Vec<(Range<u64>, Structure)>,
    /// Offsets that are those of something, for references that point to the wrong thing.
    pub(crate) places: Vec<u64>,
    pub(crate) log: Range<u64>,
    identity: u64,
    /// Bytes of each serde value, by its start.
    serde_lens: HashMap<u64, u64>,
}

pub(crate) fn word(bytes: &[u8], at: u64) -> u64 {
    number(bytes, at, 8)
}

/// The number of `width` bytes at `at`.
pub(crate) fn number(bytes: &[u8], at: u64, width: usize) -> u64 {
    let mut word = [0; 8];
    word[..width].copy_from_slice(&bytes[at as usize..at as usize + width]);
    u64::from_le_bytes(word)
}

pub(crate) fn put(bytes: &mut [u8], at: u64, width: usize, value: u64) {
    bytes[at as usize..at as usize + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

fn slice(bytes: &[u8], from: u64, to: u64) -> Option<&[u8]> {
    bytes.get(from as usize..to as usize)
}

type Layout = [(&'static str, u64, usize)];
const POOL_HEADER: &Layout = &[
    ("magic", 0, 8),
    ("checksum", 8, 8),
    ("version", 16, 4),
    ("header_len", 20, 4),
    ("incompatible", 24, 8),
    ("read_only_compatible", 32, 8),
    ("compatible", 40, 8),
    ("identity", 48, 8),
    ("created", 56, 8),
    ("size", 64, 8),
    ("max_size", 72, 8),
    ("log_start", 80, 8),
    ("log_len", 88, 8),
    ("state_start", 96, 8),
    ("table_start", 104, 8),
    ("bitmaps_start", 112, 8),
    ("data_start", 120, 8),
    ("data_pages", 128, 8),
    ("layout_len", 136, 8),
    ("layout", 144, 8),
];
const LOG_HEADER: &Layout = &[
    ("magic", 0, 8),
    ("version", 8, 4),
    ("features", 12, 4),
    ("identity", 16, 8),
    ("length", 24, 8),
    ("slot size", 32, 4),
    ("lane", 36, 2),
    ("reserved", 38, 8),
    ("checksum", 56, 8),
];
const RECORD: &Layout = &[
    ("checksum", 0, 8),
    ("seq", 8, 8),
    ("from", 16, 4),
    ("durable", 20, 4),
    ("generation", 24, 4),
    ("lane", 28, 2),
    ("kind", 30, 1),
    ("reserved", 31, 1),
    ("length", 32, 4),
    ("entries", 36, 4),
];
const DIRECTORY_ENTRY: &Layout = &[
    ("next", 0, 8),
    ("checksum", 8, 8),
    ("header", 16, 8),
    ("schema", 24, 4),
    ("descriptor_len", 28, 4),
    ("type_len", 32, 4),
    ("name_len", 36, 4),
    ("type", 40, 8),
];
const TREE_HEADER: &Layout = &[
    ("magic", 0, 8),
    ("version", 8, 2),
    ("flags", 10, 2),
    ("height", 12, 4),
    ("root", 16, 8),
    ("len", 24, 8),
    ("key size", 32, 4),
    ("value size", 36, 4),
    ("key align", 40, 2),
    ("value align", 42, 2),
    ("leaf size", 44, 4),
    ("inner size", 48, 4),
    ("leaf slots", 52, 2),
    ("inner keys", 54, 2),
    ("reserved", 56, 8),
];
const NODE_HEAD: &Layout = &[("magic", 0, 4), ("level", 4, 2), ("count", 6, 2)];
/// Where things are in the nodes of a tree.
#[derive(Clone, Copy)]
struct Shape {
    references: bool,
    /// Slots of a leaf, where the first is, and bytes of a key's, which are those of a value's too.
    slots: u64,
    first_slot: u64,
    slot: u64,
    /// Where an inner node's children are.
    children: u64,
}

impl Shape {
    const PLAIN: Shape = Shape { references: false, slots: 48, first_slot: 64, slot: 8, children: 256 };
    const STRINGS: Shape = Shape { references: true, slots: 20, first_slot: 40, slot: 24, children: 752 };
}
const RING: u64 = 256;
const SLOT: u64 = 256;

impl Anatomy {
    pub(crate) fn of(bytes: &[u8]) -> Anatomy {
        let [log_start, log_len, state, table, bitmaps, data, pages] =
            [80, 88, 96, 104, 112, 120, 128].map(|at| word(bytes, at));
        let mut anatomy = Anatomy {
            fields: Vec::new(),
            used: Vec::new(),
            places: vec![state, table, bitmaps, data, log_start],
            log: log_start..log_start + log_len,
            identity: word(bytes, 48),
            serde_lens: HashMap::new(),
        };
        for copy in [0, PAGE] {
            anatomy.fields(PoolHeader, copy, POOL_HEADER);
            anatomy.use_up(PoolHeader, copy..copy + 256);
        }
        anatomy.find_log(bytes);
        anatomy.field(StateLine, "directory", state, 8);
        anatomy.field(StateLine, "checksum", state + 8, 8);
        anatomy.use_up(StateLine, state..state + 16);
        for page in 0..pages {
            anatomy.field(PageTable, "descriptor", table + 8 * page, 8);
            for i in 0..8 {
                let at = bitmaps + 64 * page + 8 * i;
                // Words of free blocks alone are aimed at too, but not as often.
                if word(bytes, at) != 0 || (page + i) % 8 == 0 {
                    anatomy.field(Bitmaps, "bitmap word", at, 8);
                }
            }
        }
        anatomy.use_up(PageTable, table..table + 8 * pages);
        anatomy.use_up(Bitmaps, bitmaps..bitmaps + 64 * pages);
        let mut entry = word(bytes, state);
        while entry != 0 {
            anatomy.places.push(entry);
            anatomy.fields(Directory, entry, DIRECTORY_ENTRY);
            let names = number(bytes, entry + 32, 4) + number(bytes, entry + 36, 4);
            anatomy.use_up(Directory, entry..entry + 40 + names);
            let descriptor = entry + 40 + names..entry + 40 + names + number(bytes, entry + 28, 4);
            for at in descriptor.clone() {
                let name = "byte of a descriptor";
                anatomy.fields.push(Field { structure: Descriptors, name, at, width: 1, unit: entry });
            }
            anatomy.use_up(Descriptors, descriptor);
            let header = word(bytes, entry + 16);
            if bytes[header as usize..].starts_with(b"PBTreeMp") {
                anatomy.places.push(header);
                anatomy.fields(TreeHeader, header, TREE_HEADER);
                anatomy.use_up(TreeHeader, header..header + 64);
                let shape = if number(bytes, header + 10, 2) == 0 { Shape::PLAIN } else { Shape::STRINGS };
                anatomy.find_nodes(bytes, word(bytes, header + 16), shape);
            }
            if bytes[header as usize..].starts_with(b"PHashMap") {
                anatomy.places.push(header);
                anatomy.find_table(bytes, header);
            }
            entry = word(bytes, entry);
        }
        anatomy
    }

    /// Those of `structures` that are in this pool.
    pub(crate) fn structures(&self, structures: &[Structure]) -> Vec<Structure> {
        let there = |of: &&Structure| self.fields.iter().any(|field| field.structure == **of);
        structures.iter().filter(there).copied().collect()
    }

    fn find_log(&mut self, bytes: &[u8]) {
        let log = self.log.clone();
        for copy in [log.start, log.start + 64] {
            self.fields(LogHeader, copy, LOG_HEADER);
            self.use_up(LogHeader, copy..copy + 64);
        }
        self.field(LogState, "generation", log.start + 128, 8);
        self.field(LogState, "horizon", log.start + 136, 8);
        self.use_up(LogState, log.start + 128..log.start + 144);
        let generation = number(bytes, log.start + 128, 4);
        let horizon = word(bytes, log.start + 136) & ((1 << 40) - 1);
        let (mut at, mut old) = (log.start + RING, 0);
        while at < log.end {
            let (length, count) = (number(bytes, at + 32, 4), number(bytes, at + 36, 4));
            let newer = word(bytes, at + 8) > horizon;
            // Of old records, which mean nothing any more, only some.
            if number(bytes, at + 24, 4) != generation || self.record_sum(bytes, at) != Some(word(bytes, at))
            {
                at += SLOT;
                continue;
            }
            old += u64::from(!newer);
            if !newer && old % 8 != 1 {
                at += length.next_multiple_of(SLOT);
                continue;
            }
            self.fields(Records, at, RECORD);
            self.use_up(Records, at..at + length);
            let mut head = at + 40;
            for _ in 0..count.min(40) {
                for (name, from, width) in
                    [("entry's n", 0, 1), ("entry's line", 1, 6), ("entry's kind", 7, 1)]
                {
                    self.fields.push(Field { structure: Records, name, at: head + from, width, unit: at });
                }
                let n = u64::from(bytes[head as usize]);
                head += 8;
                let words = match bytes[head as usize - 1] {
                    0 => n.count_ones().into(),
                    1 => 8 * n,
                    _ => 0,
                };
                if words > 0 {
                    self.fields.push(Field {
                        structure: Records,
                        name: "entry's word",
                        at: head,
                        width: 8,
                        unit: at,
                    });
                }
                head += 8 * words;
            }
            at += length.next_multiple_of(SLOT);
        }
    }

    fn find_nodes(&mut self, bytes: &[u8], at: u64, shape: Shape) {
        self.places.push(at);
        self.fields(NodeHeads, at, NODE_HEAD);
        self.use_up(NodeHeads, at..at + 8);
        if bytes[at as usize..].starts_with(b"PBTl") {
            let occupied = word(bytes, at + 8);
            self.field(LeafBitmaps, "occupied", at + 8, 8);
            self.use_up(LeafBitmaps, at + 8..at + 16);
            self.use_up(Fingerprints, at + 16..at + 16 + shape.slots.next_multiple_of(8));
            for slot in (0..shape.slots).filter(|slot| occupied >> slot & 1 == 1) {
                let key = at + shape.first_slot + slot * 2 * shape.slot;
                self.field(Fingerprints, "fingerprint", at + 16 + slot, 1);
                if shape.references {
                    self.find_reference(bytes, key, Texts);
                    self.find_reference(bytes, key + shape.slot, SerdeValues);
                } else {
                    self.field(Entries, "key", key, 8);
                    self.field(Entries, "value", key + 8, 8);
                    self.use_up(Entries, key..key + 16);
                }
            }
        } else {
            let count = number(bytes, at + 6, 2);
            self.use_up(Children, at + shape.children..at + shape.children + 8 * (count + 1));
            for i in 0..=count {
                let key = at + 8 + shape.slot * i;
                match i < count {
                    true if shape.references => self.find_reference(bytes, key, Texts),
                    true => {
                        self.field(Separators, "separator", key, 8);
                        self.use_up(Separators, key..key + 8);
                    }
                    false => {}
                }
                let child = at + shape.children + 8 * i;
                self.field(Children, "child", child, 8);
                self.find_nodes(bytes, word(bytes, child), shape);
            }
        }
    }

    /// The slot of what varies in length, and its bytes.
    fn find_reference(&mut self, bytes: &[u8], at: u64, content: Structure) {
        let len = number(bytes, at, 4);
        self.field(Slots, "len", at, 4);
        let start = if len <= 20 {
            self.use_up(Slots, at..at + 4);
            at + 4
        } else {
            self.field(Slots, "zero", at + 4, 4);
            self.field(Slots, "block", at + 8, 8);
            self.field(Slots, "reserved", at + 16, 8);
            self.use_up(Slots, at..at + 24);
            self.places.push(word(bytes, at + 8));
            word(bytes, at + 8)
        };
        if len == 0 {
            return;
        }
        self.use_up(content, start..start + len);
        if content == SerdeValues {
            self.serde_lens.insert(start, len);
            self.field(content, "check", start, 4);
        }
        for (name, place) in [("first", 0), ("fifth", 4), ("middle", len / 2), ("last", len - 1)] {
            let place = if content == SerdeValues { place.max(4) } else { place };
            if place < len {
                self.fields.push(Field {
                    structure: content,
                    name,
                    at: start + place,
                    width: 1,
                    unit: start,
                });
            }
        }
    }

    fn field(&mut self, structure: Structure, name: &'static str, at: u64, width: usize) {
        self.fields.push(Field { structure, name, at, width, unit: at });
    }

    fn fields(&mut self, structure: Structure, unit: u64, layout: &Layout) {
        let field = |&(name, at, width): &_| Field { structure, name, at: unit + at, width, unit };
        self.fields.extend(layout.iter().map(field));
    }

    fn use_up(&mut self, structure: Structure, range: Range<u64>) {
        assert!(range.end <= POOL, "{structure} at {range:#x?}");
        self.used.push((range, structure));
    }

    /// What the checksum of the record at `at` should be, as far as it has a length.
    fn record_sum(&self, bytes: &[u8], at: u64) -> Option<u64> {
        let slot = (at - self.log.start - RING) / SLOT;
        let end = at + number(bytes, at + 32, 4) / 8 * 8;
        let record = slice(bytes, at, end.min(self.log.end)).filter(|record| record.len() >= 40)?;
        let seed = self.identity ^ (slot + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Some(xxh3_64(&[&seed.to_le_bytes(), &record[8..]].concat()))
    }

    /// Makes the checksum right again that covers `field`, as far as there is a place and a length for it.
    pub(crate) fn recompute(&self, bytes: &mut [u8], field: Field) {
        let unit = field.unit;
        let sum = match field.structure {
            PoolHeader => {
                let len = number(bytes, unit + 20, 4).clamp(256, PAGE);
                Some((unit + 8, xxh3_64(slice(bytes, unit + 16, unit + len).expect("two pages"))))
            }
            LogHeader => Some((unit + 56, xxh3_64(slice(bytes, unit, unit + 56).expect("a header")))),
            LogState if field.name == "generation" => {
                let generation = number(bytes, unit, 4);
                let check = xxh3_64(&[self.identity.to_le_bytes(), generation.to_le_bytes()].concat());
                Some((unit, generation | check << 32))
            }
            LogState => {
                let low = word(bytes, unit) & ((1 << 48) - 1);
                Some((unit, low | xxh3_64(&low.to_le_bytes()) << 48))
            }
            Records => self.record_sum(bytes, unit).map(|sum| (unit, sum)),
            Directory | Descriptors => {
                let lens = [28, 32, 36].map(|at| number(bytes, unit + at, 4));
                let end = unit + 40 + lens.iter().sum::<u64>();
                slice(bytes, unit, end).map(|entry| {
                    let whole = [&entry[..8], &[0; 8], &entry[16..]].concat();
                    (unit + 8, xxh3_64_with_seed(&whole, unit))
                })
            }
            SerdeValues => {
                let end = unit + self.serde_lens[&unit];
                let check = xxh3_64(&bytes[unit as usize + 4..end as usize]);
                put(bytes, unit, 4, check);
                None
            }
            StateLine if field.name == "directory" => {
                Some((unit + 8, xxh3_64_with_seed(&bytes[unit as usize..][..8], unit)))
            }
            _ => None,
        };
        if let Some((at, sum)) = sum {
            put(bytes, at, 8, sum);
        }
    }
}
