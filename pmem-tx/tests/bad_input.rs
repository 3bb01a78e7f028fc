//! Logs that are none, are damaged, foreign or newer: a clear error, and nothing changed.

use pmem_map::Mapping;
use pmem_tx::{Error, Journal, Transaction};
use xxhash_rust::xxh3::xxh3_64;

const LOG: std::ops::Range<u64> = 4096..12288;
const LEN: u64 = 1 << 15;

fn mapping(bytes: &[u8]) -> Mapping {
    let mut mapping = Mapping::anonymous(LEN).unwrap();
    mapping.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    mapping
}

/// A journal with a few commits that a crash left unapplied as far as recovery can tell.
fn crashed() -> Vec<u8> {
    let journal = Journal::create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    for i in 0..5u64 {
        journal.write(|tx| tx.write(16384 + i * 64, &(i + 1))).unwrap();
    }
    // SAFETY: no transaction is open, so nobody stores.
    let bytes =
        unsafe { std::slice::from_raw_parts(journal.region().base().as_ptr(), LEN as usize).to_vec() };
    drop(journal);
    bytes
}

fn damaged(result: Result<Journal, Error>) -> &'static str {
    match result {
        Err(Error::Damaged { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_that_were_never_a_log_are_refused() {
    for bytes in [vec![], vec![0x55; LEN as usize], b"PMEMTX??".repeat(1000)] {
        assert!(matches!(Journal::open(mapping(&bytes), LOG), Err(Error::NotALog { .. })));
    }
    // All zero means new, for who says so; anything else does not.
    Journal::open_or_create(mapping(&[]), LOG).unwrap();
    assert!(Journal::open_or_create(mapping(&vec![0x55; LEN as usize]), LOG).is_err());
}

#[test]
fn an_area_that_cannot_hold_a_log_is_refused() {
    for area in [0..4032, 1..8192, 0..LEN + 64, LEN..LEN, 64..4096 + 63] {
        let result = Journal::create(mapping(&[]), area.clone());
        assert!(matches!(result, Err(Error::BadArea { .. })), "{area:?}");
        assert!(Journal::open(mapping(&[]), area).is_err());
    }
    assert!(matches!(
        Journal::open(mapping(&crashed()), LOG.start..LOG.end + 64),
        Err(Error::NotALog { .. })
    ));
}

#[test]
fn either_header_copy_is_enough_and_is_repaired() {
    for copy in [0, 64] {
        for byte in 0..64 {
            let mut bytes = crashed();
            bytes[LOG.start as usize + copy + byte] ^= 0x10;
            let journal = Journal::open(mapping(&bytes), LOG).unwrap();
            assert!(journal.recovery().repaired_header, "copy at {copy}, byte {byte}");
            assert_eq!(*journal.begin().unwrap().read::<u64>(16384).unwrap(), 1);
            let journal = Journal::open(journal.close().unwrap(), LOG).unwrap();
            assert!(!journal.recovery().repaired_header);
        }
    }
}

#[test]
fn two_damaged_header_copies_are_refused() {
    let mut bytes = crashed();
    bytes[LOG.start as usize + 30] ^= 1;
    bytes[LOG.start as usize + 64 + 31] ^= 1;
    assert_eq!(damaged(Journal::open(mapping(&bytes), LOG)), "both copies of the header fail their checksum");
}

#[test]
fn a_damaged_state_word_is_refused_not_guessed() {
    for (byte, what) in
        [(128, "the generation word fails its check"), (134, "the generation word fails its check")]
    {
        let mut bytes = crashed();
        bytes[LOG.start as usize + byte] ^= 1;
        assert_eq!(damaged(Journal::open(mapping(&bytes), LOG)), what);
    }
    let mut bytes = crashed();
    bytes[LOG.start as usize + 136] ^= 1;
    assert_eq!(damaged(Journal::open(mapping(&bytes), LOG)), "the horizon word fails its check");
}

/// Rewrites both header copies with a right checksum.
fn with_header(change: impl Fn(&mut [u8])) -> Mapping {
    let mut bytes = crashed();
    for copy in [0, 64] {
        let header = &mut bytes[LOG.start as usize + copy..][..64];
        change(header);
        let sum = xxh3_64(&header[..56]);
        header[56..].copy_from_slice(&sum.to_le_bytes());
    }
    mapping(&bytes)
}

#[test]
fn a_newer_version_or_an_unknown_feature_is_refused_by_name() {
    let newer = Journal::open(with_header(|header| header[8] = 2), LOG);
    assert!(matches!(newer, Err(Error::Unsupported { version: 2, known: 1, .. })), "{newer:?}");
    let feature = Journal::open(with_header(|header| header[13] = 1), LOG);
    assert!(matches!(feature, Err(Error::Unsupported { features: 0x103, .. })), "{feature:?}");
    assert!(feature.unwrap_err().to_string().contains("use a newer one"));
}

#[test]
fn a_log_of_another_identity_has_none_of_the_old_records() {
    // The state words are bound to the identity, so a foreign header is noticed there.
    let foreign = Journal::open(with_header(|header| header[16] ^= 1), LOG);
    assert_eq!(damaged(foreign), "the generation word fails its check");
}

#[test]
fn a_record_with_a_right_checksum_and_a_wild_entry_is_refused() {
    let mut bytes = crashed();
    let identity = u64::from_le_bytes(bytes[LOG.start as usize + 16..][..8].try_into().unwrap());
    // The crashed image is of a journal that was dropped later: its horizon is still 0, its records count.
    let slot = 4; // the fifth record
    let at = LOG.start as usize + 256 + slot * 256;
    let length = u32::from_le_bytes(bytes[at + 32..][..4].try_into().unwrap()) as usize;
    let wild_line: u64 = (LEN / 64 + 5) << 8 | 1; // one word, past the end
    bytes[at + 40..][..8].copy_from_slice(&wild_line.to_le_bytes());
    let seed = identity ^ (slot as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bytes[at..][..8].copy_from_slice(&seed.to_le_bytes());
    let sum = xxh3_64(&bytes[at..][..length]);
    bytes[at..][..8].copy_from_slice(&sum.to_le_bytes());
    let what = damaged(Journal::open(mapping(&bytes), LOG));
    assert!(what.contains("out of bounds"), "{what}");
}

#[test]
fn a_flipped_bit_anywhere_in_the_ring_is_detected_or_changes_nothing() {
    let original = crashed();
    let mut detected = 0;
    for bit in (0..(LOG.end - LOG.start - 256) * 8).step_by(7) {
        let mut bytes = original.clone();
        bytes[(LOG.start + 256 + bit / 8) as usize] ^= 1 << (bit % 8);
        match Journal::open(mapping(&bytes), LOG) {
            Ok(journal) => {
                for i in 0..5u64 {
                    // The values are in place already: a record that fails its checksum changes nothing.
                    assert_eq!(*journal.begin().unwrap().read::<u64>(16384 + i * 64).unwrap(), i + 1);
                }
            }
            Err(Error::Damaged { what, .. }) => {
                assert_eq!(what, "a record is damaged that the newest commit needs");
                detected += 1;
            }
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
    assert!(detected > 10, "the fourth of five records is needed: {detected}");
}

/// A journal of which the last transaction, an undo one, was open when the program died: three snapshots.
fn open_undo() -> Vec<u8> {
    let journal = Journal::create(Mapping::anonymous(LEN).unwrap(), LOG).unwrap();
    journal.write(|tx| tx.fill(16384, 2048, 1)).unwrap();
    journal.write(|tx| tx.fill(18432, 2048, 1)).unwrap();
    let mut tx = journal.begin_undo().unwrap();
    (0..3).for_each(|i| tx.fill(16384 + i * 640, 640, 2).unwrap());
    std::mem::forget(tx);
    // SAFETY: the transaction is forgotten, so nobody stores.
    unsafe { std::slice::from_raw_parts(journal.region().base().as_ptr(), LEN as usize).to_vec() }
}

/// Documented: damage to the newest record alone looks like a record that was being written.
#[test]
fn a_flipped_bit_in_an_open_undo_transaction_is_detected_unless_it_is_in_its_newest_snapshot() {
    let original = open_undo();
    let (mut detected, mut rolled_back, mut newest) = (0, 0, 0);
    for bit in (0..(LOG.end - LOG.start - 256) * 8).step_by(13) {
        let mut bytes = original.clone();
        bytes[(LOG.start + 256 + bit / 8) as usize] ^= 1 << (bit % 8);
        match Journal::open(mapping(&bytes), LOG) {
            Ok(journal) => {
                let tx = journal.begin().unwrap();
                let data = tx.bytes(16384, 4096).unwrap();
                match journal.recovery().rolled_back {
                    3 => {
                        assert!(data.iter().all(|byte| *byte == 1), "bit {bit}");
                        rolled_back += 1;
                    }
                    2 => {
                        let changed = |i: usize| (1280..1920).contains(&i);
                        assert!((0..4096).all(|i| data[i] == if changed(i) { 2 } else { 1 }), "bit {bit}");
                        newest += 1;
                    }
                    other => panic!("bit {bit}: {other} rolled back"),
                }
            }
            Err(Error::Damaged { what, .. }) => {
                assert_eq!(what, "a record is damaged that the newest commit needs");
                detected += 1;
            }
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
    assert!(detected > 200 && rolled_back > 50 && newest > 200, "{detected}, {rolled_back}, {newest}");
}

#[test]
fn a_record_of_an_unknown_kind_or_with_unknown_flags_is_none() {
    for (at, value) in [(30, 0u8), (30, 4), (30, 255), (31, 2), (31, 3), (31, 0x80)] {
        let mut bytes = crashed();
        let slot = LOG.start as usize + 256 + 4 * 256; // the newest record
        bytes[slot + at] = value;
        let identity = u64::from_le_bytes(bytes[LOG.start as usize + 16..][..8].try_into().unwrap());
        let length = u32::from_le_bytes(bytes[slot + 32..][..4].try_into().unwrap()) as usize;
        let seed = identity ^ 5u64.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bytes[slot..][..8].copy_from_slice(&seed.to_le_bytes());
        let sum = xxh3_64(&bytes[slot..][..length]);
        bytes[slot..][..8].copy_from_slice(&sum.to_le_bytes());
        let journal = Journal::open(mapping(&bytes), LOG).unwrap();
        assert_eq!(journal.recovery().replayed, 2, "the window of the one before it");
    }
}
