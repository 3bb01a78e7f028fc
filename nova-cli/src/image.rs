//! Files that volumes are in.

#![allow(unsafe_code)]

use crate::{Failure, signatures, size::Size};
use nova_core::{Code, Error, MountOptions, Nova};
use pmem_map::{Lock, MapOptions, Mapping};
use std::path::Path;

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

/// Refuses to overwrite what a file holds, unless that is what is wanted.
pub(crate) fn refuse_content(image: &Path, force: bool) -> Result<(), Failure> {
    match if force { None } else { signatures::find(image)? } {
        None => Ok(()),
        Some(what) => {
            let image = image.display();
            Err(format!("{image} holds {what}: use --force to overwrite it, or another file").into())
        }
    }
}

/// Refuses a size that a file that is there does not have.
pub(crate) fn refuse_other_size(image: &Path, wanted: Option<Size>, len: u64) -> Result<(), Failure> {
    match wanted {
        Some(Size(bytes)) if bytes != len => {
            Err(format!("{} has {len} bytes already; leave --size out", image.display()).into())
        }
        _ => Ok(()),
    }
}
