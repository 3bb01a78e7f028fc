//! Asks for a lease, and maps what is lent.

#![allow(unsafe_code)]

use super::{END, GROW, LEASE, Page, Place, TAKE, keeper::Keeper, pin::Pin};
use crate::{
    Backing, Durability, Error, Extent, Filesystem, Granularity, Medium, PAGE, Pages, Result,
    durability::Verdict, file::LockedFile, system,
};
use std::{
    fs::File,
    io,
    ops::Range,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

/// What came of asking.
pub(crate) enum Asked {
    /// The file, lent.
    Lent(Box<Leased>),
    /// The file as it was: nobody lends it.
    Refused(LockedFile),
}

/// A file that is lent. The image is not mapped any more when it is dropped; then the lease is given back, and the image unlocked last.
pub(crate) struct Leased {
    /// As soon as it is mapped.
    keeper: OnceLock<Keeper>,
    file: LockedFile,
    _pin: Pin,
    image: LockedFile,
    /// The image once more, for extents.
    shared: Arc<File>,
    verdict: Verdict,
    /// Bytes of the file at first.
    len: u64,
    at_first: Vec<Extent>,
    known: Mutex<Known>,
}

/// What is lent so far.
struct Known {
    extents: u64,
    identity: Identity,
}

/// Which image it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// Asks whoever serves `file` to lend it. `emulate` as in [`MapOptions`](crate::MapOptions).
pub(crate) fn ask(file: LockedFile, emulate: Option<Granularity>) -> Result<Asked> {
    let is_fuse = Filesystem::from_magic(file.filesystem()?.magic) == Filesystem::Fuse;
    if !is_fuse || file.is_device() {
        return Ok(Asked::Refused(file));
    }
    let page = match take(file.file()) {
        Ok(page) => page,
        Err(error) if is_refusal(&error) => return Ok(Asked::Refused(file)),
        Err(source) => return Err(Error::io("map the image behind", file.path())(source)),
    };
    let bad = |why| Error::BadLease { path: file.path().into(), why };
    let identity = Identity { device: page.device, inode: page.inode };
    let path = PathBuf::from(format!("/proc/{}/fd/{}", page.pid, page.descriptor));
    let image = LockedFile::unlocked(&path, true)?.ok_or_else(|| bad("the daemon has no such descriptor"))?;
    let metadata = image.file().metadata().map_err(Error::io("inspect", &path))?;
    if identity != (Identity { device: metadata.dev(), inode: metadata.ino() }) {
        return Err(bad("the daemon's descriptor is another file than it says"));
    }
    // Before it is known that the daemon still serves the image: from then on nobody else opens it.
    system::lock_leased(image.file()).map_err(Error::io("lock", &path))?;
    let pin = Pin::new(file.file()).map_err(Error::io("hold", file.path()))?;
    let verdict = image.judge(emulate)?;
    let filesystem = Filesystem::from_magic(image.filesystem()?.magic);
    let verdict = Verdict { medium: Medium::Leased(filesystem), ..verdict };
    let shared = Arc::new(image.file().try_clone().map_err(Error::io("share", &path))?);
    let known = Mutex::new(Known { extents: 0, identity });
    let mut leased = Leased {
        keeper: OnceLock::new(),
        file,
        _pin: pin,
        image,
        shared,
        verdict,
        len: 0,
        at_first: Vec::new(),
        known,
    };
    (leased.len, leased.at_first) = leased.more(TAKE, 0)?;
    Ok(Asked::Lent(Box::new(leased)))
}

impl Leased {
    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What makes a store durable, and what such a store survives: as of the image.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn bad(&self, why: &'static str) -> Error {
        Error::BadLease { path: self.file.path().into(), why }
    }

    /// Asks for all extents that are not known yet: how many bytes of the file are lent, and these.
    fn more(&self, what: u32, len: u64) -> Result<(u64, Vec<Extent>)> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut extents = Vec::new();
        let mut what = what;
        loop {
            let first = known.extents + extents.len() as u64;
            let page = call(self.file.file(), what, first, len)
                .map_err(Error::io("map the image behind", self.file.path()))?;
            what = TAKE;
            if known.identity != (Identity { device: page.device, inode: page.inode }) {
                return Err(self.bad("it is in another image than before"));
            }
            let places = page.places.get(..page.count as usize);
            let places = places.ok_or_else(|| self.bad("a page has more extents than it has room for"))?;
            extents.extend(places.iter().map(|place| self.extent(place)));
            let got = known.extents + extents.len() as u64;
            if got >= u64::from(page.extents) {
                known.extents = got;
                return Ok((page.len, extents));
            }
            if places.is_empty() {
                return Err(self.bad("extents are missing"));
            }
        }
    }

    fn extent(&self, place: &Place) -> Extent {
        Extent { file: self.shared.clone(), offset: place.offset, len: place.len }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        drop(self.keeper.take());
        // If this fails, the kernel's release ends it.
        let _ = call(self.file.file(), END, 0, 0);
    }
}

// SAFETY: 1. The daemon keeps its image as long as it is, with blocks behind every byte that it lends, until the kernel releases the file (and another
// daemon is kept away from the image by the lock, whatever becomes of this one); that is checked against the image's length. 2, 3. The daemon lends a file once,
// and moves and frees no block of it; who writes to the file beside its mapping breaks the promise that `MapOptions::open` asks for. 4. Nothing is
// protected. 5. `grow` asks for what follows. 6. `page_lost` is not answered. The bytes are unmapped before this is dropped: see `Lent`.
unsafe impl Backing for Leased {
    fn extents(&self) -> Vec<Extent> {
        self.at_first.clone()
    }

    fn granularity(&self) -> Granularity {
        self.verdict.granularity
    }

    fn durability(&self) -> Durability {
        self.verdict.durability
    }

    fn name(&self) -> &'static str {
        "a file of a mounted volume"
    }

    fn attached(&self, pages: Pages) {
        let mapped = self.at_first.iter().map(|extent| extent.len).sum();
        // Without it, snapshots are refused while the file is mapped.
        if let Ok(keeper) = Keeper::new(self.file.file(), pages, mapped) {
            let _ = self.keeper.set(keeper);
        }
    }

    fn sync(&self, _: Range<u64>) -> Result<()> {
        match self.verdict.granularity {
            Granularity::Page => self.image.sync_data(),
            Granularity::Byte | Granularity::CacheLine => Ok(()),
        }
    }

    fn grow(&self, len: u64) -> Result<Vec<Extent>> {
        if let Some(keeper) = self.keeper.get() {
            keeper.grows();
        }
        let more = self.more(GROW, len.next_multiple_of(PAGE)).and_then(|(lent, extents)| match lent < len {
            true => Err(self.bad("it did not grow as far as it was asked to")),
            false => Ok(extents),
        });
        if let (Err(_), Some(keeper)) = (&more, self.keeper.get()) {
            keeper.grown(None);
        }
        // The kernel may remember the old length for a while.
        let _ = system::refresh(self.file.file());
        more
    }

    fn grown(&self, len: u64) {
        if let Some(keeper) = self.keeper.get() {
            keeper.grown(Some(len));
        }
    }
}

/// Errors that say that this file cannot be mapped so, and not that it cannot be mapped.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ENOTTY
                | libc::ENOSYS
                | libc::EOPNOTSUPP
                | libc::EINVAL
                | libc::EPERM
                | libc::EACCES
                | libc::EBUSY
        )
    )
}

/// Takes the lease. Of a process that was killed it ends a moment after the process's lock on the file; we have that now.
fn take(file: &File) -> io::Result<Box<Page>> {
    const WAITS: u32 = 200;
    for _ in 0..WAITS {
        match call(file, TAKE, 0, 0) {
            Err(busy) if busy.raw_os_error() == Some(libc::ETXTBSY) => {
                thread::sleep(Duration::from_millis(5))
            }
            answer => return answer,
        }
    }
    call(file, TAKE, 0, 0)
}

/// One question, and the answer to it.
fn call(file: &File, what: u32, first: u64, len: u64) -> io::Result<Box<Page>> {
    let mut page = Page::asking(what, first, len);
    loop {
        // SAFETY: a descriptor that is open, and a page to read from and write to: the number says how long it is.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), LEASE as libc::Ioctl, &raw mut *page) };
        match done {
            0 => break,
            _ => match io::Error::last_os_error() {
                interrupted if interrupted.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    let answered = Page::asked(bytemuck::bytes_of(&*page)).filter(|answer| what == END || answer.pid != 0);
    // Another filesystem has an ioctl of this number, and did something else.
    answered.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTTY))
}
