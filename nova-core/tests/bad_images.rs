//! What is no volume, or not one of this version, or not all of one: a typed error for each.
#![allow(missing_docs)]

use nova_core::*;
use pmem_map::Mapping;

const LEN: u64 = 512 << 10;
const LAST: usize = LEN as usize - 4096;

/// A volume with one file, unmounted.
fn volume() -> Vec<u8> {
    let format = FormatOptions::new().stripes(2).label("images");
    let nova =
        format.format(Mapping::anonymous(LEN).expect("memory"), MountOptions::new()).expect("a volume");
    nova.write_file("/file", &[7; 5000]).expect("there is room");
    nova.unmount().expect("nobody uses it").as_slice().to_vec()
}

fn mapping(bytes: &[u8]) -> Mapping {
    let mut mapping = Mapping::anonymous((bytes.len() as u64).max(4096)).expect("memory");
    mapping.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    mapping
}

fn mount(bytes: &[u8]) -> Result<Nova> {
    MountOptions::new().mount(mapping(bytes))
}

fn put(bytes: &mut [u8], at: usize, value: u64, width: usize) {
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

/// Changes a field of both superblocks, whose checksums are right again.
fn superblocks(field: usize, value: u64, width: usize) -> Vec<u8> {
    let mut bytes = volume();
    for at in [0, LAST] {
        put(&mut bytes, at + field, value, width);
        let sum = crc32c::crc32c(&bytes[at + 4..at + 256]);
        let sum = crc32c::crc32c_append(sum, &(at as u64).to_le_bytes());
        put(&mut bytes, at, u64::from(sum), 4);
    }
    bytes
}

/// Changes a field of a structure that begins at `at` and has `len` bytes, whose checksum is right again.
fn forged(at: usize, len: usize, field: usize, value: u64, width: usize) -> Vec<u8> {
    let mut bytes = volume();
    put(&mut bytes, at + field, value, width);
    let seed = crc32c::crc32c(&bytes[40..56]);
    let sum = crc32c::crc32c_append(seed, &bytes[at + 4..at + len]);
    let sum = crc32c::crc32c_append(sum, &(at as u64).to_le_bytes());
    put(&mut bytes, at, u64::from(sum), 4);
    bytes
}

/// Both ways to mount, and a repair, say the same.
fn refused(bytes: &[u8], is_right: impl Fn(&Error) -> bool) {
    let read_only = MountOptions::new().read_only(true).mount(mapping(bytes));
    let repair = MountOptions::new().repair(mapping(bytes)).map(|(nova, _)| nova);
    for result in [mount(bytes), read_only, repair] {
        let error = result.map(drop).expect_err("it must be refused");
        assert!(is_right(&error), "{error:?}");
        assert!(!error.to_string().is_empty() && error.errno() != 0);
    }
}

fn is_no_volume(error: &Error) -> bool {
    matches!(error, Error::NotAVolume { .. })
}

#[test]
fn a_volume_that_is_as_it_was_mounts() {
    assert_eq!(mount(&volume()).expect("a volume").read_file("/file").expect("its file"), [7; 5000]);
}

#[test]
fn zeros_and_random_bytes_and_ones_are_no_volume() {
    refused(&vec![0; LEN as usize], is_no_volume);
    refused(&vec![0xff; LEN as usize], is_no_volume);
    for seed in 0..20 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        refused(&(0..LEN).map(|_| random.u8(..)).collect::<Vec<u8>>(), is_no_volume);
    }
}

#[test]
fn another_filesystem_is_no_volume() {
    let mut ext4 = vec![0; LEN as usize];
    put(&mut ext4, 1024 + 56, 0xef53, 2);
    refused(&ext4, is_no_volume);
    let mut xfs = vec![0; LEN as usize];
    xfs[..4].copy_from_slice(b"XFSB");
    refused(&xfs, is_no_volume);
    let mut nova = vec![0; LEN as usize];
    nova[..4].copy_from_slice(b"NOVA");
    refused(&nova, is_no_volume);
}

#[test]
fn a_magic_without_the_rest_is_no_volume() {
    let mut bytes = vec![0; LEN as usize];
    for at in [8, LAST + 8] {
        bytes[at..at + 8].copy_from_slice(b"NOVAPMEM");
    }
    refused(&bytes, is_no_volume);
}

#[test]
fn a_volume_that_was_cut_off_says_how_much_is_missing() {
    let bytes = volume();
    for len in [4096, 8192, 65_536, LEN as usize - 4096] {
        refused(
            &bytes[..len],
            |error| matches!(error, Error::Truncated { length: LEN, mapped } if *mapped == len as u64),
        );
    }
}

#[test]
fn less_than_a_block_is_no_volume() {
    refused(&volume()[..100], is_no_volume);
}

#[test]
fn a_longer_mapping_holds_the_volume_as_it_was() {
    let mut bytes = volume();
    bytes.resize(bytes.len() + 300_000, 0xab);
    let nova = mount(&bytes).expect("the volume is all there");
    assert_eq!(nova.read_file("/file").expect("its file"), [7; 5000]);
    assert!(nova.fsck().expect("a check").is_clean());
    // Even if the only good superblock is the one that is no longer at the end.
    bytes[..256].fill(0);
    refused(&bytes, is_no_volume);
    put(&mut bytes, 56, LEN, 8);
    assert!(mount(&bytes).expect("the replica is named").mount_report().repaired_superblock);
}

#[test]
fn a_newer_version_is_unsupported() {
    for version in [0, 2, 0xffff_ffff] {
        refused(
            &superblocks(4, version, 4),
            |error| matches!(error, Error::Unsupported { version: found, .. } if u64::from(*found) == version),
        );
    }
}

#[test]
fn unknown_incompatible_features_are_unsupported() {
    refused(&superblocks(32, 1 << 40, 8), |error| {
        matches!(error, Error::Unsupported { features: 0x100_0000_0000, .. })
    });
}

#[test]
fn unknown_compatible_features_are_ignored() {
    let nova = mount(&superblocks(16, 5, 8)).expect("they do not matter");
    assert!(!nova.is_read_only());
    nova.write_file("/other", b"written").expect("there is room");
}

#[test]
fn unknown_read_only_features_let_one_read() {
    let bytes = superblocks(24, 1 << 40, 8);
    let nova = mount(&bytes).expect("to read");
    assert!(nova.is_read_only());
    assert_eq!(nova.read_file("/file").expect("its file"), [7; 5000]);
    assert_eq!(nova.write_file("/other", b"no").expect_err("read-only").code(), Some(Code::ReadOnly));
    let repair = MountOptions::new().repair(mapping(&bytes)).map(drop);
    assert!(matches!(repair, Err(Error::Unsupported { features: 0x100_0000_0000, .. })), "{repair:?}");
}

#[test]
fn superblocks_whose_numbers_contradict_each_other_are_damage() {
    let absurd = [
        (64, 512, 4),
        (64, 0, 4),
        (68, 0, 4),
        (68, 63, 4),
        (68, u64::MAX, 4),
        (72, 0, 8),
        (72, LEN, 8),
        (72, u64::MAX - 4095, 8),
        (80, 0, 8),
        (80, 4096, 8),
        (80, 8191, 8),
        (80, LEN, 8),
        (80, !4095, 8),
        (56, 8192, 8),
        (56, 0, 8),
        (56, LEN - 1, 8),
    ];
    for (field, value, width) in absurd {
        refused(&superblocks(field, value, width), |error| {
            println!("{field}: {value:#x}: {error}");
            matches!(error, Error::Damaged { what: "superblock", .. } | Error::NotAVolume { .. })
        });
    }
    refused(&superblocks(56, !4095, 8), |error| matches!(error, Error::Truncated { .. }));
}

#[test]
fn one_superblock_is_enough_and_the_other_becomes_its_copy() {
    for at in [0, LAST] {
        let mut bytes = volume();
        bytes[at..at + 256].fill(0x55);
        let nova = mount(&bytes).expect("the other one");
        assert!(nova.mount_report().repaired_superblock);
        assert!(nova.fsck().expect("a check").is_clean());
        let bytes = nova.unmount().expect("nobody uses it").as_slice().to_vec();
        assert_eq!(bytes[4..256], bytes[LAST + 4..LAST + 256]);
    }
    let mut bytes = volume();
    for at in [0, LAST] {
        bytes[at + 50] ^= 1;
    }
    refused(&bytes, is_no_volume);
}

#[test]
fn a_replica_of_another_volume_is_replaced() {
    let mut bytes = volume();
    bytes[LAST..].copy_from_slice(&volume()[LAST..]);
    let nova = mount(&bytes).expect("the primary counts");
    assert!(nova.mount_report().repaired_superblock);
    assert!(nova.fsck().expect("a check").is_clean());
}

#[test]
fn a_checkpoint_anywhere_else_means_that_mounting_scans() {
    for value in [1, 4095, 4096, LEN - 4096, LEN, u64::MAX, u64::MAX - 4095, 1 << 63] {
        let nova = mount(&forged(4096, 64, 16, value, 8)).expect("it is found again");
        assert!(!nova.mount_report().clean && nova.mount_report().damage.is_empty());
        assert_eq!(nova.read_file("/file").expect("its file"), [7; 5000]);
        assert!(nova.fsck().expect("a check").is_clean());
    }
}

#[test]
fn an_inode_table_anywhere_else_is_damage_and_a_repair_finds_it() {
    for value in [1, 64, 4096, 8192, LEN - 4096, LEN, u64::MAX, u64::MAX - 4095, 1 << 63] {
        let bytes = forged(4096 + 64, 64, 8, value, 8);
        let error = mount(&bytes).map(drop).expect_err("no table");
        assert!(matches!(error, Error::Damaged { .. }), "{value:#x}: {error}");
        let (nova, report) = MountOptions::new().repair(mapping(&bytes)).expect("a repair");
        assert!(report.left.is_empty() && report.lost.is_empty() && !report.is_clean(), "{report}");
        assert_eq!(nova.read_file("/file").expect("its file"), [7; 5000]);
    }
}

#[test]
fn logs_anywhere_else_are_damage_of_their_inode_alone() {
    let root = {
        let bytes = volume();
        let journal = u64::from_le_bytes(bytes[80..88].try_into().expect("eight bytes"));
        (8192 + journal + 64) as usize
    };
    for value in [1, 64, 4096, 8192, LEN - 4096, LEN, u64::MAX, u64::MAX - 4095, 1 << 63] {
        for (line, field) in [(root, 48), (root + 64, 16)] {
            let bytes = forged(line, 64, field, value, 8);
            let nova = mount(&bytes).expect("nothing is scanned");
            let error = nova.read_dir("/").expect_err("the root's log");
            assert_eq!(error.errno(), libc::EUCLEAN, "{value:#x}: {error}");
            assert!(!nova.fsck().expect("a check").is_clean());
            let (nova, report) =
                MountOptions::new().repair(nova.unmount().expect("nobody uses it")).expect("a repair");
            assert!(report.left.is_empty(), "{report}");
            assert!(
                nova.exists("/file") || nova.exists("/lost+found/#3") || nova.exists("/lost+found/#2"),
                "{report}"
            );
        }
    }
}

#[test]
fn mappings_that_are_too_small_cannot_be_formatted() {
    for len in [4096, 23 * 4096] {
        let result = Nova::format(Mapping::anonymous(len).expect("memory")).map(drop);
        assert!(matches!(result, Err(Error::BadSize { length, .. }) if length == len), "{result:?}");
    }
}
