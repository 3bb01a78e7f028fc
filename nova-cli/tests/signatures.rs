//! Nothing is formatted over what is there, and the refusal says what that is.

mod command;

use command::{fails, json, volume, works, write};
use std::{fs, process::Command};

/// Where, which bytes, what the refusal says.
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (8, b"NOVAPMEM", "nova volume"),
    (0, b"PMEMPOOL", "a pool"),
    (4, b"AVON", "NOVA kernel module"),
    (0, b"PMEMOBJ\0", "PMDK object pool"),
    (0, b"PMEMBLK\0", "PMDK block pool"),
    (0, b"PMEMLOG\0", "PMDK log pool"),
    (0, b"PMEMPOOLSET\n", "PMDK pool set"),
    (1080, &[0x53, 0xef], "ext2, ext3 or ext4"),
    (0, b"XFSB", "XFS"),
    (65_600, b"_BHRfS_M", "Btrfs"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "F2FS"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "EROFS"),
    (0, b"hsqs", "SquashFS"),
    (32_769, b"CD001", "ISO 9660"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (4086, b"SWAPSPACE2", "swap"),
    (0, b"LUKS\xba\xbe", "encrypted"),
    (512, b"LABELONE", "LVM"),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], "RAID"),
    (512, b"EFI PART", "partition table (GPT)"),
    (510, &[0x55, 0xaa], "partition table, or a boot sector"),
    (0, b"SQLite format 3\0", "SQLite"),
    (0, b"redb\x1a\x0a\xa9\x0d\x0a", "redb"),
    (16, &[0xde, 0xc0, 0xef, 0xbe], "LMDB"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"\x7fELF", "program"),
    (0, &[0x1f, 0x8b, 8], "gzip"),
    (0, b"BZh9", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (257, b"ustar", "tar"),
    (0, b"%PDF-1.7", "PDF"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, &[0xff, 0xd8, 0xff, 0xe0], "JPEG"),
    (100_000, b"anything", "bytes of something else"),
];

#[test]
fn what_is_known_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for (at, bytes, what) in FOREIGN {
        let mut content = vec![0; 1 << 20];
        content[*at..*at + bytes.len()].copy_from_slice(bytes);
        let path = write(&folder, "foreign", &content);
        let path = path.to_str().unwrap();
        for arguments in [&["mkfs", path][..], &["pool", "create", path]] {
            let said = fails(arguments);
            assert!(said.contains(what) && said.contains("--force"), "{what}: {said}");
        }
        assert!(fs::read(path).unwrap() == content, "{what}");
    }
}

#[test]
fn what_is_not_a_signature_is_no_reason_to_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let blank = write(&folder, "blank", &vec![0; 1 << 20]);
    works(&["mkfs", blank.to_str().unwrap()]);
    works(&["pool", "create", blank.to_str().unwrap(), "--force"]);
    works(&["mkfs", blank.to_str().unwrap(), "--force"]);
}

#[test]
fn our_own_are_recognised_as_they_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    assert!(fails(&["pool", "create", &image]).contains("a nova volume"));
    let pool = folder.path().join("pool");
    let pool = pool.to_str().unwrap();
    works(&["pool", "create", pool, "--size", "1M"]);
    assert!(fails(&["mkfs", pool]).contains("a pool"));
    assert!(json(&["pool", "check", "--json", pool])["ok"] == true);
}

#[test]
fn real_ones_are_recognised_where_their_makers_are_installed() {
    let folder = tempfile::tempdir().unwrap();
    let makers: [(&str, &[&str], &str); 5] = [
        ("mkfs.ext4", &["-q", "-F"], "ext4"),
        ("mkswap", &[], "swap"),
        ("mkfs.xfs", &["-q", "-f"], "XFS"),
        ("mkfs.btrfs", &["-q", "-f"], "Btrfs"),
        ("mkfs.vfat", &[], "boot sector"),
    ];
    for (maker, options, what) in makers {
        let path = folder.path().join(maker);
        fs::File::create(&path).unwrap().set_len(320 << 20).unwrap();
        match Command::new(maker).args(options).arg(&path).output() {
            Ok(made) if made.status.success() => {
                assert!(fails(&["mkfs", path.to_str().unwrap()]).contains(what), "{maker}");
            }
            _ => println!("skipped: there is no {maker}"),
        }
        fs::remove_file(&path).unwrap();
    }
}
