//! Files that volumes are in.

#![allow(unsafe_code)]

use crate::Failure;
use nova_core::{Code, Error, MountOptions, Nova};
use pmem_map::{Lock, MapOptions, Mapping};
use std::{fs::File, io::Read, os::unix::fs::FileExt, path::Path};

/// How to map an image.
#[derive(Clone, Copy, Default)]
pub(crate) struct How {
    pub(crate) read_only: bool,
    pub(crate) emulate_pmem: bool,
}

/// Maps an image that is there. Read-only is a private view: the file stays as it is, whatever a recovery does in there.
pub(crate) fn map(image: &Path, how: How) -> Result<Mapping, Failure> {
    let lock = if how.read_only { Lock::Shared } else { Lock::Exclusive };
    let options = MapOptions::new().lock(lock).emulate_pmem(how.emulate_pmem && !how.read_only);
    // SAFETY: whoever runs the command on a file says that nobody else writes it; the lock keeps other `nova`s out.
    Ok(unsafe { options.open(image) }?)
}

/// Makes an image of `len` bytes.
pub(crate) fn make(image: &Path, len: u64) -> Result<Mapping, Failure> {
    // SAFETY: as in `map`.
    Ok(unsafe { MapOptions::new().len(len).create(true).open(image) }?)
}

/// Mounts an image in this process, to look at it.
pub(crate) fn read(image: &Path) -> Result<Nova, Failure> {
    let mapping = map(image, How { read_only: true, ..How::default() })?;
    Ok(MountOptions::new().read_only(true).mount(mapping)?)
}

/// The same, as it was when a snapshot was made, if one is named.
pub(crate) fn read_as_of(image: &Path, snapshot: Option<&str>) -> Result<Nova, Failure> {
    as_of(read(image)?, snapshot)
}

/// A snapshot of a volume, if one is named; else the volume.
pub(crate) fn as_of(nova: Nova, snapshot: Option<&str>) -> Result<Nova, Failure> {
    let Some(name) = snapshot else { return Ok(nova) };
    nova.mount_snapshot(name).map_err(|error| match error {
        Error::Posix(Code::NotFound) => {
            format!("there is no snapshot {name:?}: `nova snapshot list` says which there are").into()
        }
        error => error.into(),
    })
}

/// Mounts an image in this process, to change it.
pub(crate) fn write(image: &Path) -> Result<Nova, Failure> {
    let mapping = map(image, How::default())?;
    Ok(MountOptions::new().mount(mapping)?)
}

/// What a file holds, if its beginning says so.
pub(crate) fn known_content(image: &Path) -> Result<Option<&'static str>, Failure> {
    let signatures: [(u64, &[u8], &str); 9] = [
        (8, b"NOVAPMEM", "a nova volume"),
        (0, b"XFSB", "an XFS filesystem"),
        (1080, &[0x53, 0xef], "an ext2, ext3 or ext4 filesystem"),
        (65_600, b"_BHRfS_M", "a Btrfs filesystem"),
        (0, b"hsqs", "a SquashFS filesystem"),
        (510, &[0x55, 0xaa], "a partition table, or a boot sector"),
        (0, b"\x7fELF", "a program"),
        (0, b"SQLite format 3\0", "a SQLite database"),
        (0, b"LUKS\xba\xbe", "an encrypted volume"),
    ];
    let mut file = File::open(image)?;
    for (at, bytes, what) in signatures {
        let mut found = vec![0; bytes.len()];
        if file.read_exact_at(&mut found, at).is_ok() && found == bytes {
            return Ok(Some(what));
        }
    }
    let mut start = vec![0; 65_536];
    let mut len = 0;
    while let Ok(read @ 1..) = file.read(&mut start[len..]) {
        len += read;
    }
    let is_blank = start[..len].iter().all(|byte| *byte == 0);
    Ok((!is_blank).then_some("bytes of something else"))
}
