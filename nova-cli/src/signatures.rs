//! What a file or a device holds already, by what its beginning says: nothing is formatted over it unasked.

use crate::Failure;
use std::{fs::File, io::Read, os::unix::fs::FileExt, path::Path};

/// Where, which bytes, what that is. The first that is right counts: those that are certain come before what may be chance.
const KNOWN: &[(u64, &[u8], &str)] = &[
    (8, b"NOVAPMEM", "a nova volume"),
    (4, b"AVON", "a filesystem of the NOVA kernel module"),
    (0, b"PMEMOBJ\0", "a PMDK object pool"),
    (0, b"PMEMBLK\0", "a PMDK block pool"),
    (0, b"PMEMLOG\0", "a PMDK log pool"),
    (0, b"PMEMPOOLSET", "a PMDK pool set"),
    (0, b"PMEMPOOL", "a pool"),
    (1080, &[0x53, 0xef], "an ext2, ext3 or ext4 filesystem"),
    (0, b"XFSB", "an XFS filesystem"),
    (65_600, b"_BHRfS_M", "a Btrfs filesystem"),
    (1024, &[0x10, 0x20, 0xf5, 0xf2], "an F2FS filesystem"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "an EROFS filesystem"),
    (0, b"hsqs", "a SquashFS filesystem"),
    (32_769, b"CD001", "an ISO 9660 filesystem"),
    (3, b"NTFS    ", "an NTFS filesystem"),
    (3, b"EXFAT   ", "an exFAT filesystem"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4086, b"SWAP-SPACE", "swap space"),
    (0, b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
    (512, b"LABELONE", "an LVM physical volume"),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], "a part of a RAID (md)"),
    (512, b"EFI PART", "a partition table (GPT)"),
    (510, &[0x55, 0xaa], "a partition table, or a boot sector"),
    (0, b"SQLite format 3\0", "a SQLite database"),
    (0, b"redb\x1a\x0a\xa9\x0d\x0a", "a redb database"),
    (16, &[0xde, 0xc0, 0xef, 0xbe], "an LMDB database"),
    (0, b"QFI\xfb", "a disk image (qcow2)"),
    (0, b"\x7fELF", "a program"),
    (0, &[0x1f, 0x8b], "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "a zstd archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (0, &[0xff, 0xd8, 0xff], "a picture (JPEG)"),
];

/// So much is blank of what is taken for empty, if nothing is known behind it.
const BEGINNING: u64 = 128 << 10;

/// What a file holds, if its beginning says so, or is not blank.
pub(crate) fn find(path: &Path) -> Result<Option<&'static str>, Failure> {
    let failed = |error| Failure::from(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    for (at, bytes, what) in KNOWN {
        let mut found = vec![0; bytes.len()];
        if file.read_exact_at(&mut found, *at).is_ok() && found == *bytes {
            return Ok(Some(what));
        }
    }
    let mut start = Vec::new();
    file.take(BEGINNING).read_to_end(&mut start).map_err(failed)?;
    let is_blank = start.iter().all(|byte| *byte == 0);
    Ok((!is_blank).then_some("bytes of something else"))
}
