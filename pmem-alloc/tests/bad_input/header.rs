//! The header: one copy damaged, both, a newer version, unknown features.

use crate::pools::*;
use pmem_alloc::*;
use pmem_map::PAGE;

#[test]
fn one_damaged_header_copy_is_repaired_and_reported() {
    // PMDK scenario 13
    let bytes = sample();
    for (copy, name) in [(0, 'A'), (PAGE, 'B')] {
        for at in 0..256 {
            let mut damaged = bytes.clone();
            damaged[(copy + at) as usize] ^= 0x40;
            let pool = on(&damaged).unwrap();
            assert_eq!((pool.opening().repaired_header, value(&pool)), (Some(name), 7));
        }
    }
    let folder = folder();
    let path = folder.path().join("pool");
    let mut damaged = bytes.clone();
    damaged[..4096].fill(0xff);
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(open(&path).unwrap().opening().repaired_header, Some('A'));
    assert_eq!(open(&path).unwrap().opening().repaired_header, None);
    assert_eq!(std::fs::read(&path).unwrap()[..256], bytes[..256]);
}

#[test]
fn two_damaged_header_copies_are_refused_naming_the_field() {
    let bytes = sample();
    let fields = [
        (POOL_SIZE, "size"),
        (MAX_SIZE, "max_size"),
        (LOG_START, "log_start"),
        (LOG_LEN, "log_len"),
        (STATE_START, "state_start"),
        (TABLE_START, "table_start"),
        (BITMAPS_START, "bitmaps_start"),
        (DATA_START, "data_start"),
        (DATA_PAGES, "data_pages"),
        (LAYOUT_LEN, "layout_len"),
    ];
    for (at, name) in fields {
        let plausible = at == DATA_PAGES || at == LAYOUT_LEN; // 1 is
        for &value in if plausible { &[1 << 33, u64::MAX][..] } else { &[1, u64::MAX, u64::MAX - 4095] } {
            let mut damaged = bytes.clone();
            [0, PAGE].iter().for_each(|copy| put(&mut damaged, copy + at, value));
            let error = on(&damaged).err().unwrap_or_else(|| panic!("{name} = {value} was accepted"));
            let ErrorKind::Damaged { field, .. } = error.kind() else { panic!("{name}: {error}") };
            // An end that overflows is seen where the next thing should begin.
            assert!(*field == name || value > 1 << 33, "{field} instead of {name}");
            // And with a checksum that holds.
            forge(&mut damaged, at, value);
            assert!(on(&damaged).is_err(), "{name} = {value} was accepted");
        }
    }
    let mut damaged = bytes.clone();
    [0, PAGE].iter().for_each(|copy| put(&mut damaged, copy + CHECKSUM, 1));
    let error = on(&damaged).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Damaged { field: "checksum", .. }), "{error}");
    let mut damaged = bytes;
    [0, PAGE].iter().for_each(|copy| put(&mut damaged, copy + VERSION, 1 | 9999 << 32));
    let error = on(&damaged).err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Damaged { field: "header_len", .. }), "{error}");
    assert_eq!(HEADER_LEN, VERSION + 4);
}

// PMDK scenario 14.
#[test]
fn a_newer_version_and_unknown_features_are_refused_but_for_compatible_ones() {
    // PMDK scenario 14
    let bytes = sample();
    let mut newer = bytes.clone();
    forge(&mut newer, VERSION, 2 | 256 << 32);
    assert_kind!(on(&newer), ErrorKind::NewerVersion { found: 2, known: 1 });
    let mut older = bytes.clone();
    forge(&mut older, VERSION, 256 << 32);
    assert_kind!(on(&older), ErrorKind::Damaged { field: "version", .. });
    for (field, bits) in [(INCOMPATIBLE, 1u64 << 63), (READ_ONLY_COMPATIBLE, 5)] {
        let mut unknown = bytes.clone();
        forge(&mut unknown, field, bits);
        let error = on(&unknown).err().unwrap();
        assert!(matches!(error.kind(), ErrorKind::UnknownFeatures { bits: found } if *found == bits));
    }
    let mut harmless = bytes.clone();
    forge(&mut harmless, COMPATIBLE, 1);
    assert_eq!(value(&on(&harmless).unwrap()), 7);
}

/// The header of a pool of `SIZE` bytes says that it has grown: by these segments, to so many bytes.
fn with_segments(bytes: &[u8], segments: &[(u64, u64)], size: u64) -> Vec<u8> {
    let mut grown = bytes.to_vec();
    grown.resize(size as usize, 0);
    let len = 256 + 16 * segments.len();
    for copy in [0, PAGE] {
        for (number, &(start, pages)) in segments.iter().enumerate() {
            put(&mut grown, copy + 256 + 16 * number as u64, start);
            put(&mut grown, copy + 264 + 16 * number as u64, pages);
        }
        put(&mut grown, copy + VERSION, 1 | (len as u64) << 32);
        put(&mut grown, copy + POOL_SIZE, size);
        put(&mut grown, copy + MAX_SIZE, size);
        let checksum = xxhash_rust::xxh3::xxh3_64(&grown[copy as usize + 16..copy as usize + len]);
        put(&mut grown, copy + CHECKSUM, checksum);
    }
    grown
}

#[test]
fn segments_that_cannot_be_are_refused_however_right_the_checksum() {
    let bytes = sample();
    let data_end = word(&bytes, DATA_START) + word(&bytes, DATA_PAGES) * PAGE;
    let right = with_segments(&bytes, &[(SIZE, 14), (SIZE + 16 * PAGE, 30)], SIZE + 64 * PAGE);
    let pool = on(&right).unwrap();
    assert_eq!((value(&pool), pool.check().unwrap().is_ok()), (7, true));
    assert_eq!(pool.stats().unwrap().capacity, (word(&bytes, DATA_PAGES) + 14 + 30) * PAGE);
    drop(pool);
    for (segments, what) in [
        (&[(SIZE, 0)][..], "no pages"),
        (&[(SIZE + 8, 14)], "not at a page"),
        (&[(data_end - PAGE, 14)], "over the first part"),
        (&[(SIZE, 63)], "beyond the end with its tables"),
        (&[(SIZE, u64::MAX)], "absurd"),
        (&[(SIZE, 1 << 32)], "absurd"),
        (&[(u64::MAX - 4095, 1)], "absurd"),
        (&[(SIZE, 14), (SIZE, 14)], "one over the other"),
        (&[(SIZE + 16 * PAGE, 14), (SIZE, 14)], "out of order"),
        (&[(SIZE, 14), (0, 0)], "an entry of zeros"),
    ] {
        let forged = with_segments(&bytes, segments, SIZE + 64 * PAGE);
        let error = on(&forged).err().unwrap_or_else(|| panic!("{what}: accepted"));
        assert!(matches!(error.kind(), ErrorKind::Damaged { field: "segments", .. }), "{what}: {error}");
    }
    // Half an entry.
    let mut forged = right.clone();
    for copy in [0, PAGE] {
        put(&mut forged, copy + VERSION, 1 | 264 << 32);
        let checksum = xxhash_rust::xxh3::xxh3_64(&forged[copy as usize + 16..copy as usize + 264]);
        put(&mut forged, copy + CHECKSUM, checksum);
    }
    assert_kind!(on(&forged), ErrorKind::Damaged { field: "header_len", .. });
    // A file that lost its last part.
    assert_kind!(on(&right[..SIZE as usize]), ErrorKind::Truncated { .. });
}

#[test]
fn damage_in_the_tables_of_a_segment_is_found_at_open() {
    let right = with_segments(&sample(), &[(SIZE, 14)], SIZE + 16 * PAGE);
    for (at, value, what) in [
        (SIZE, 3, "an unknown kind of span"),
        (SIZE, 2 | 15 << 32, "a span longer than the segment"),
        (SIZE + 8, 1 | 200 << 8 | 1 << 32, "an unknown class"),
        (SIZE + PAGE, 1, "a bit of a free page"),
    ] {
        let mut damaged = right.clone();
        put(&mut damaged, at, value);
        let message = assert_kind!(on(&damaged), ErrorKind::Corrupt { .. });
        assert!(message.contains(&at.to_string()), "{what}: {message}");
    }
}
