//! Lends open files to the processes that have them open: the daemon's side of [`pmem_map::lease`], which has the protocol and its trust model.
//!
//! A lease is a [`LentFile`] beside the open file, and goes with it, if it is not given back before. So the kernel's release ends it, when the process closes the file and when it dies; the
//! daemon waits for nobody.

use crate::{handles::Open, hold::Hold};
use fuser::PollNotifier;
use nova_core::{Code, Error, LentFile, Result};
use pmem_map::{
    Extent,
    lease::{END, GROW, HELD, KEEP, Page, Place, is_held},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::Metadata,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A lease that somebody has.
pub(crate) struct Lent {
    file: LentFile,
    hold: Arc<Hold>,
    holder: Asker,
    since: SystemTime,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

impl Asker {
    /// The process of a thread that the kernel names.
    pub(crate) fn new(thread: u32, uid: u32) -> Asker {
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        Asker { pid: process.unwrap_or(thread), uid }
    }

    /// Whether it may map the image: it is root, or the daemon's own user.
    pub(crate) fn is_trusted(&self) -> bool {
        // Of a process's directory there, the owner is its effective user.
        let own = || std::fs::metadata("/proc/self").map(|metadata| metadata.uid());
        self.uid == 0 || own().is_ok_and(|own| own == self.uid)
    }
}

/// A lease, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lease {
    /// The process that asked for it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Bytes that are lent.
    pub bytes: u64,
    /// Since when: nanoseconds since 1970.
    pub since_ns: u64,
}

impl Lent {
    /// Whether its process is to hold up its stores. If not, `waits` is told when it is.
    pub(crate) fn is_urgent(&self, waits: PollNotifier) -> bool {
        self.hold.is_urgent(waits)
    }

    /// Whether anybody still maps the volume's file, or does not stop to within a second.
    pub(crate) fn is_held(&self) -> bool {
        let extents = self.file.extents();
        let is_held = || extents.first().is_some_and(|extent| is_held(&extent.file).unwrap_or(true));
        for _ in 0..100 {
            if !is_held() {
                return false;
            }
            // It closes the file first, and unlocks the image then.
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    pub(crate) fn shown(&self) -> Lease {
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let (pid, uid) = (self.holder.pid, self.holder.uid);
        Lease { pid, uid, bytes: self.file.len(), since_ns: u64::try_from(since).unwrap_or(u64::MAX) }
    }
}

/// Answers a question about an open file, and takes the lease with the first.
pub(crate) fn answer(open: &Open, mut page: Box<Page>, who: Asker) -> Result<Box<Page>> {
    if !who.is_trusted() {
        return Err(Code::NotPermitted.into());
    }
    if !open.writes {
        return Err(Code::NoAccess.into());
    }
    let mut lent = open.lent.lock();
    if page.what == END {
        drop(lent.take());
        return Ok(page);
    }
    match (page.what, &*lent) {
        (HELD, Some(lent)) => {
            page.len = lent.hold.held();
            return Ok(page);
        }
        (KEEP, Some(lent)) => {
            lent.file.keep(page.first);
            return Ok(page);
        }
        (HELD | KEEP, None) => return Err(Code::Invalid.into()),
        _ => {}
    }
    if lent.is_none() {
        let hold = Arc::new(Hold::default());
        let file = open.file.lend(Some(hold.clone()))?;
        image(&file.extents())?;
        tracing::info!(ino = open.file.ino(), pid = who.pid, uid = who.uid, bytes = file.len(), "lent");
        *lent = Some(Lent { file, hold, holder: who, since: SystemTime::now() });
    }
    let file = &lent.as_ref().expect("it is lent now").file;
    if page.what == GROW {
        file.grow(page.len)?;
    }
    let extents = file.extents();
    let (descriptor, metadata) = image(&extents)?;
    page.device = metadata.dev();
    page.inode = metadata.ino();
    page.pid = std::process::id();
    page.descriptor = descriptor;
    let places: Vec<Place> =
        extents.iter().map(|Extent { offset, len, .. }| Place { offset: *offset, len: *len }).collect();
    page.answer(file.len(), &places);
    Ok(page)
}

/// The file that all extents are in, and a descriptor of it that lasts as long as the lease.
fn image(extents: &[Extent]) -> Result<(u32, Metadata)> {
    let elsewhere = Error::Map(pmem_map::Error::CannotLend { why: "the volume is in several files" });
    let inspect = |extent: &Extent| {
        extent.file.metadata().map_err(|source| {
            Error::Map(pmem_map::Error::Io { action: "inspect", path: "the volume's file".into(), source })
        })
    };
    let Some(first) = extents.first() else { return Err(Code::Invalid.into()) };
    let metadata = inspect(first)?;
    // Those of one answer of the volume share their descriptor.
    let mut seen = first;
    for extent in extents {
        if !Arc::ptr_eq(&extent.file, &seen.file) {
            let other = inspect(extent)?;
            if (other.dev(), other.ino()) != (metadata.dev(), metadata.ino()) {
                return Err(elsewhere);
            }
            seen = extent;
        }
    }
    Ok((first.file.as_raw_fd() as u32, metadata))
}
