//! Unmounting, and what is mounted.

use crate::{Outcome, image};
use std::{
    ffi::CString,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// How long a volume may take to be closed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Unmounts, and waits until who served it has closed the volume.
#[allow(unsafe_code)]
pub(crate) fn umount(dir: &Path) -> Outcome {
    let image = source_of(&dir.canonicalize()?)?;
    // Who serves a snapshot, or read-only, shares the volume with readers: that it can be read does not say that he has closed it.
    let servers = image.as_deref().map(servers_of).transpose()?.unwrap_or_default();
    let path = CString::new(dir.as_os_str().as_bytes())?;
    // SAFETY: a call of the system with a string that ends with 0.
    if unsafe { libc::umount2(path.as_ptr(), 0) } != 0 {
        let error = io::Error::last_os_error();
        return Err(format!("cannot unmount {}: {error}", dir.display()).into());
    }
    let Some(image) = image else { return Ok(ExitCode::SUCCESS) };
    let started = Instant::now();
    let is_closed = || -> Result<(), String> {
        // (Of several that serve snapshots of it, one has to close it: which of them served this mount nobody says.)
        if !servers.is_empty() && servers.iter().all(|process| has_open(process, &image)) {
            return Err(format!("{} has it open", servers[0].display()));
        }
        let reading = image::How { read_only: true, ..image::How::default() };
        image::map(&image, reading).map(drop).map_err(|error| error.to_string())
    };
    while let Err(error) = is_closed() {
        if started.elapsed() > PATIENCE {
            return Err(format!("unmounted, but the volume is not closed: {error}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(ExitCode::SUCCESS)
}

/// The file that a FUSE mount at a directory is of, if it is of one.
fn source_of(dir: &Path) -> io::Result<Option<PathBuf>> {
    let mounts = fuse_mounts()?;
    let source = mounts.into_iter().rev().find(|(_, at, _)| at == dir).map(|(source, ..)| source);
    Ok(source.filter(|image| holds_a_volume(image)))
}

/// Whether a volume can be there: in a file, or on a device.
fn holds_a_volume(source: &Path) -> bool {
    source.metadata().is_ok_and(|found| {
        let kind = found.file_type();
        kind.is_file() || kind.is_block_device() || kind.is_char_device()
    })
}

/// Processes, as folders of `/proc`, that serve this file: that have it open, and `/dev/fuse`. Those that may be looked into.
fn servers_of(image: &Path) -> io::Result<Vec<PathBuf>> {
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let is_process =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
    let serves = |process: &PathBuf| has_open(process, Path::new("/dev/fuse")) && has_open(process, image);
    Ok(processes.filter(is_process).filter(serves).collect())
}

/// Whether a process has a file open. (Not if it has ended, or may not be looked into.)
fn has_open(process: &Path, file: &Path) -> bool {
    let Ok(wanted) = fs::metadata(file) else { return false };
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        fs::metadata(descriptor.path())
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    })
}

/// Where volumes may be mounted: what is mounted by FUSE from a file or a device, and does not say that it is another program's.
pub(crate) fn mounted() -> std::io::Result<Vec<PathBuf>> {
    let is_ours = |(source, _, kind): &(PathBuf, PathBuf, String)| {
        matches!(kind.as_str(), "fuse" | "fuse.nova") && holds_a_volume(source)
    };
    Ok(fuse_mounts()?.into_iter().filter(is_ours).map(|(_, at, _)| at).collect())
}

/// Source, directory and kind of all FUSE mounts.
fn fuse_mounts() -> std::io::Result<Vec<(PathBuf, PathBuf, String)>> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let path =
        |text: &str| PathBuf::from(text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"));
    let one = |line: &str| {
        let mut fields = line.split(' ');
        let (source, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        kind.starts_with("fuse").then(|| (path(source), path(at), kind.to_owned()))
    };
    Ok(mounts.lines().filter_map(one).collect())
}
