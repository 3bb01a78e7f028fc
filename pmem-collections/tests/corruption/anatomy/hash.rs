//! Where everything is in a hash map from `u64` to `u64`.

use super::{Anatomy, Layout, Structure::*, word};

const TABLE_HEADER: &Layout = &[
    ("magic", 0, 8),
    ("version", 8, 2),
    ("flags", 10, 2),
    ("slots", 12, 1),
    ("bits", 13, 1),
    ("key align", 14, 1),
    ("value align", 15, 1),
    ("root", 16, 8),
    ("len", 24, 8),
    ("key size", 32, 2),
    ("value size", 34, 2),
    ("bucket size", 36, 4),
    ("hash key", 40, 8),
    ("hash key", 48, 8),
    ("reserved", 56, 8),
];
const CHUNK_HEAD: &Layout = &[("magic", 0, 4), ("level", 4, 4), ("prefix", 8, 8)];
const BUCKET_HEAD: &Layout = &[
    ("identity", 0, 8),
    ("occupied", 8, 2),
    ("elsewhere", 10, 1),
    ("elsewhere", 11, 1),
    ("elsewhere", 12, 1),
    ("reserved", 13, 3),
];
const BUCKET: u64 = 256;

impl Anatomy {
    pub(super) fn find_table(&mut self, bytes: &[u8], header: u64) {
        self.fields(TableHeader, header, TABLE_HEADER);
        self.use_up(TableHeader, header..header + 64);
        self.find_below(bytes, word(bytes, header + 16));
    }

    fn find_below(&mut self, bytes: &[u8], reference: u64) {
        let (at, kind) = (reference & !63, reference & 63);
        self.places.extend([at, reference]);
        if kind != 1 {
            (0..1 << (kind / 2)).for_each(|number| self.find_bucket(bytes, at + BUCKET * number));
            return;
        }
        self.fields(References, at, CHUNK_HEAD);
        self.use_up(References, at..at + 16);
        self.use_up(References, at + 64..at + 576);
        let mut before = 0;
        for i in 0..64 {
            let place = at + 64 + 8 * i;
            self.field(References, "reference", place, 8);
            let reference = word(bytes, place);
            if reference != before {
                self.find_below(bytes, reference);
            }
            before = reference;
        }
    }

    fn find_bucket(&mut self, bytes: &[u8], at: u64) {
        self.fields(BucketHeads, at, BUCKET_HEAD);
        self.use_up(BucketHeads, at..at + 32);
        let occupied = word(bytes, at + 8) & 0xffff;
        for slot in (0..14).filter(|slot| occupied >> slot & 1 == 1) {
            self.field(BucketHeads, "fingerprint", at + 16 + slot, 1);
            self.field(TableEntries, "key", at + 32 + 16 * slot, 8);
            self.field(TableEntries, "value", at + 40 + 16 * slot, 8);
            self.use_up(TableEntries, at + 32 + 16 * slot..at + 48 + 16 * slot);
        }
    }
}
