//! How a mapping is asked for.

#![allow(unsafe_code)]

use crate::{
    Backing, Durability, Error, Event, FlushMethod, Granularity, Lock, Mapping, Medium, Observer, PAGE,
    Region, Result,
    address_space::{AddressSpace, HUGE_PAGE, Prefault, Sharing, Treatment, grants_map_sync},
    backing::Lent,
    durability::{Verdict, kept_by},
    file::LockedFile,
    fork::OwnedByProcess,
    lease::{self, Asked, Leased},
    memory::Memory,
    region::Parts,
};
use memmap2::MmapMut;
use std::{path::Path, ptr::NonNull, sync::Arc};

/// How a mapping is asked for: lengths, what to do with a file, who watches.
///
/// ```
/// use pmem_map::MapOptions;
/// # fn main() -> Result<(), pmem_map::Error> {
/// let mapping = MapOptions::new().len(1 << 16).max_len(1 << 20).anonymous()?;
/// let before = mapping.base();
/// mapping.grow(1 << 20)?;
/// assert_eq!((mapping.len(), mapping.base()), (1 << 20, before));
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct MapOptions {
    len: u64,
    max_len: u64,
    create: bool,
    emulate: Option<Granularity>,
    huge_pages: bool,
    prefault: bool,
    lock: Lock,
    observer: Option<Arc<dyn Observer>>,
    flush: Option<FlushMethod>,
    granularity: Option<Granularity>,
    no_lease: bool,
}

impl std::fmt::Debug for MapOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MapOptions")
            .field("len", &self.len)
            .field("max_len", &self.max_len)
            .field("create", &self.create)
            .field("emulate", &self.emulate)
            .field("huge_pages", &self.huge_pages)
            .field("prefault", &self.prefault)
            .field("lock", &self.lock)
            .field("observed", &self.observer.is_some())
            .field("flush", &self.flush)
            .field("granularity", &self.granularity)
            .field("lease", &!self.no_lease)
            .finish()
    }
}

/// Longest mapping: what a slice may have, with room for alignment.
const LONGEST: u64 = isize::MAX as u64 - HUGE_PAGE;

impl MapOptions {
    /// An existing file, exclusively, with what its medium needs.
    pub fn new() -> MapOptions {
        MapOptions::default()
    }

    /// Length in bytes of what is *made* (a new file, memory): rounded up to whole pages, at least one. A file
    /// that exists has its own length.
    pub fn len(mut self, bytes: u64) -> MapOptions {
        self.len = bytes;
        self
    }

    /// Length in bytes to which [`Region::grow`] can extend the mapping: addresses are reserved for it, which
    /// cost next to nothing. As long as the mapping, if this is not set or less.
    pub fn max_len(mut self, bytes: u64) -> MapOptions {
        self.max_len = bytes;
        self
    }

    /// Whether a missing file is made: with [`len`](Self::len) bytes, all with blocks behind them, itself and its
    /// name durable before `open` returns.
    pub fn create(mut self, create: bool) -> MapOptions {
        self.create = create;
        self
    }

    /// Treats any file as persistent memory: lines are flushed, pages are not written back. For tests and
    /// benchmarks; [`Durability`] says `Process`.
    pub fn emulate_pmem(mut self, emulate: bool) -> MapOptions {
        self.emulate = emulate.then_some(Granularity::CacheLine);
        self
    }

    /// Treats any file, and memory too, as persistent memory whose caches are in the persistence domain (eADR):
    /// nothing is flushed, only drained. For tests and benchmarks; [`Durability`] says `Process`. Instead of
    /// [`emulate_pmem`](Self::emulate_pmem).
    pub fn emulate_eadr(mut self, emulate: bool) -> MapOptions {
        self.emulate = emulate.then_some(Granularity::Byte);
        self
    }

    /// Asks the kernel for transparent huge pages (`MADV_HUGEPAGE`): fewer misses of the TLB in large mappings of
    /// memory, and of tmpfs where it is mounted with `huge=advise`. A hint. Ranges of 2 MiB and more begin at a
    /// multiple of 2 MiB with or without it; a file on hugetlbfs has huge pages in any case, and so has a DAX file
    /// whose extents are aligned to them.
    pub fn huge_pages(mut self, ask: bool) -> MapOptions {
        self.huge_pages = ask;
        self
    }

    /// Takes the page faults when the file is mapped, or grows, instead of at the first access to each page. On media
    /// that are written back, and in private views, those of loads only: faults of stores would make every page
    /// dirty, or copy it.
    pub fn prefault(mut self, prefault: bool) -> MapOptions {
        self.prefault = prefault;
        self
    }

    /// Whether the file is this mapping's alone (the default), or a read-only one of which others may have views too.
    pub fn lock(mut self, lock: Lock) -> MapOptions {
        self.lock = lock;
        self
    }

    /// Who is told of every event, from the file's creation on. Those of opening are told when the mapping
    /// exists, just before `open` returns it.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> MapOptions {
        self.observer = Some(observer);
        self
    }

    /// Flushes lines in this way instead of the best that the processor has: for tests and comparisons. Where
    /// the method does not reach the persistence domain, [`Durability`] promises less.
    pub fn flush_with(mut self, method: FlushMethod) -> MapOptions {
        self.flush = Some(method);
        self
    }

    /// Lets [`anonymous`](Self::anonymous) memory and a [`memfd`](Self::memfd) ask for this granularity, as if they were such a
    /// medium: for tests.
    /// Nothing else takes notice of it. [`Granularity::CacheLine`], unless set.
    pub fn granularity(mut self, granularity: Granularity) -> MapOptions {
        self.granularity = Some(granularity);
        self
    }

    /// Whether a file of a mounted volume is mapped in the volume's image, if who serves it lends it ([`lease`](crate::lease)): the default. Otherwise
    /// it is mapped through the kernel's pages, which are written back.
    pub fn lease(mut self, ask: bool) -> MapOptions {
        self.no_lease = !ask;
        self
    }

    /// Maps the file at `path`.
    ///
    /// That can be a regular file (on hugetlbfs: in huge pages), a DAX device (`/dev/dax0.0`), or a block device (`/dev/pmem0`), which is
    /// written back by pages on persistent memory too, and refused while it is mounted. Devices have their length for good. A file that exists is neither shrunk nor extended nor written to; under an exclusive lock its folder is synced,
    /// so that its name is durable before anything that is written to it. Whether it is persistent memory is
    /// learned from the kernel (`MAP_SYNC`) and from sysfs; see [`Region::granularity`],
    /// [`Region::durability`] and [`Region::medium`].
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another mapping holds the file; [`Error::BadLength`] if it is empty;
    /// [`Error::Io`] for what the system refuses. A creation that fails leaves no file.
    ///
    /// # Safety
    ///
    /// As in `memmap2`: no other process, and nobody else in this one, may write or truncate the file while it
    /// is mapped. The bytes of a mapping are lent out as `&[u8]`, and a change under such a reference is
    /// undefined behaviour; a truncated file is worse still: touching a page that is gone is SIGBUS, which
    /// ends the process, except under [`Region::guarded`]. The exclusive lock helps to keep the promise among programs that use this crate, or
    /// lock in the same way; it stops nobody else.
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Mapping> {
        let path = path.as_ref();
        if self.create && self.lock == Lock::Shared {
            let refused = std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "a shared lock is for a file that exists; create it first, with an exclusive one",
            );
            return Err(Error::io("create", path)(refused));
        }
        loop {
            if let Some(file) = LockedFile::existing(path, self.lock)? {
                let len = file.len()?;
                if len == 0 {
                    let why = "the file is empty, perhaps since its creation was cut short; remove it first";
                    return Err(Error::BadLength { len, why });
                }
                let synced = self.lock == Lock::Exclusive && !file.is_device() && file.sync_name()?;
                return self.map_existing(file, if synced { &[Event::DirectorySync] } else { &[] });
            }
            if !self.create {
                return Err(Error::io("open", path)(std::io::ErrorKind::NotFound.into()));
            }
            let unit = LockedFile::unit_at(path);
            let len = whole(self.len, unit)?;
            let space = self.reserve(len, unit, path)?; // before there is a file to regret
            if let Some(created) = LockedFile::create(path, len)? {
                return self.map_locked(space, created.file, &created.history);
            }
            // Somebody else made it meanwhile.
        }
    }

    /// Maps a file or device that was found.
    pub(crate) fn map_existing(&self, file: LockedFile, history: &[Event<'static>]) -> Result<Mapping> {
        let unit = file.unit()?;
        let space = self.reserve(whole(file.len()?, unit)?, unit, file.path())?;
        self.map_locked(space, file, history)
    }

    fn map_locked(
        &self,
        space: AddressSpace,
        file: LockedFile,
        history: &[Event<'static>],
    ) -> Result<Mapping> {
        let file = match self.lock {
            Lock::Exclusive if !self.no_lease => match lease::ask(file, self.emulate)? {
                Asked::Lent(leased) => return self.map_leased(*leased, history),
                Asked::Refused(file) => file,
            },
            _ => file,
        };
        let (sharing, verdict) = match self.lock {
            Lock::Shared if file.is_dax_device() => {
                let what = "a DAX device has no private views; open it exclusively";
                let refused = std::io::Error::new(std::io::ErrorKind::InvalidInput, what);
                return Err(Error::io("map", file.path())(refused));
            }
            // Stores to a private view end with it; `Process` is the least that there is a word for.
            Lock::Shared => (Sharing::Private, memory_verdict(Medium::PrivateView(file.kind()?))),
            Lock::Exclusive => {
                let synchronous = !file.is_device() && grants_map_sync(file.file());
                let sharing = if synchronous { Sharing::Synchronous } else { Sharing::Shared };
                (sharing, file.judge(self.emulate)?)
            }
        };
        self.map_file(space, file, sharing, verdict, history)
    }

    fn map_leased(&self, leased: Leased, history: &[Event<'static>]) -> Result<Mapping> {
        let (len, verdict) = (leased.len(), leased.verdict());
        let (lent, mapped) = Lent::map(leased, self.max_len, |granularity| self.treatment(granularity))?;
        if len > mapped || len == 0 {
            return Err(Error::BadLength { len, why: "who serves the file lends fewer bytes than it has" });
        }
        self.finish(Memory::Lent(lent), len, verdict, history)
    }

    /// Zeroed memory that ends with the process: for tests.
    pub fn anonymous(&self) -> Result<Mapping> {
        let len = whole(self.len, PAGE)?;
        let memory = self.anonymous_memory(len)?;
        let verdict = self.emulated(memory_verdict(Medium::Anonymous));
        let granularity = self.granularity.unwrap_or(verdict.granularity);
        self.finish(memory, len, Verdict { granularity, ..verdict }, &[])
    }

    /// A file in memory, without a name (`memfd_create`): as [`anonymous`](Self::anonymous), but through a file.
    pub fn memfd(&self) -> Result<Mapping> {
        let len = whole(self.len, PAGE)?;
        let space = self.reserve(len, PAGE, Path::new("memfd"))?;
        let file = LockedFile::memfd(len)?;
        let verdict = self.emulated(memory_verdict(Medium::Memfd));
        let granularity = self.granularity.unwrap_or(verdict.granularity);
        self.map_file(space, file, Sharing::Shared, Verdict { granularity, ..verdict }, &[])
    }

    /// Maps what `backing` lends. Its extents are checked; what cannot be checked it has promised by being a
    /// [`Backing`].
    pub fn from_backing(&self, backing: impl Backing) -> Result<Mapping> {
        let (lent, len) = Lent::map(backing, self.max_len, |granularity| self.treatment(granularity))?;
        let verdict = Verdict {
            granularity: lent.backing.granularity(),
            durability: lent.backing.durability(),
            medium: Medium::Lent(lent.backing.name()),
        };
        self.finish(Memory::Lent(lent), len, verdict, &[])
    }

    /// Takes over a plain `memmap2` mapping. What it maps is not known: pages are written back through it, and
    /// what that is worth is [`Durability::Unknown`]. It has to begin at a page (no odd offset), and cannot grow.
    pub fn from_mmap(&self, mut map: MmapMut) -> Result<Mapping> {
        let len = map.len() as u64;
        let base = NonNull::new(map.as_mut_ptr())
            .filter(|base| len > 0 && (base.as_ptr() as u64).is_multiple_of(PAGE));
        let base = base.ok_or(Error::BadLength {
            len,
            why: "a memmap2 mapping must begin at a page, and not be empty",
        })?;
        map.advise(memmap2::Advice::DontFork).map_err(Error::io("prepare", "a memmap2 mapping"))?;
        let verdict = Verdict {
            granularity: Granularity::Page,
            durability: Durability::Unknown,
            medium: Medium::Memmap,
        };
        self.finish(Memory::Memmap { base, map: OwnedByProcess::new(map) }, len, verdict, &[])
    }

    fn reserve(&self, len: u64, unit: u64, path: &Path) -> Result<AddressSpace> {
        if self.max_len > LONGEST {
            return Err(Error::BadLength { len: self.max_len, why: "longer than the address space" });
        }
        AddressSpace::reserve(self.max_len.max(len), unit).map_err(Error::io("reserve addresses for", path))
    }

    #[cfg(not(miri))]
    fn anonymous_memory(&self, len: u64) -> Result<Memory> {
        let space = self.reserve(len, PAGE, Path::new("anonymous memory"))?;
        let space = space.treated(self.treatment(Granularity::CacheLine));
        // SAFETY: a new reservation, to which nothing refers.
        unsafe { space.place_zeroed(0, len) }.map_err(Error::io("map", "anonymous memory"))?;
        Ok(Memory::Anonymous(space))
    }

    #[cfg(miri)]
    fn anonymous_memory(&self, len: u64) -> Result<Memory> {
        let max_len = self.max_len.max(len).next_multiple_of(PAGE);
        Ok(Memory::Heap(crate::memory::Heap::new(max_len)?))
    }

    fn treatment(&self, granularity: Granularity) -> Treatment {
        let prefault = match granularity {
            _ if !self.prefault => None,
            Granularity::Page => Some(Prefault::Loads),
            Granularity::CacheLine | Granularity::Byte => Some(Prefault::Stores),
        };
        Treatment { huge_pages: self.huge_pages, prefault }
    }

    /// The verdict on memory, with the granularity that is to be emulated.
    fn emulated(&self, verdict: Verdict) -> Verdict {
        Verdict { granularity: self.emulate.unwrap_or(verdict.granularity), ..verdict }
    }

    fn map_file(
        &self,
        space: AddressSpace,
        file: LockedFile,
        sharing: Sharing,
        verdict: Verdict,
        history: &[Event<'static>],
    ) -> Result<Mapping> {
        let len = file.len()?;
        if len > space.len() {
            return Err(Error::BadLength { len, why: "the file grew while it was opened" });
        }
        let mut treatment = self.treatment(verdict.granularity);
        if sharing == Sharing::Private {
            treatment.prefault = treatment.prefault.and(Some(Prefault::Loads));
        }
        let space = space.treated(treatment);
        // SAFETY: a new reservation, to which nothing refers.
        unsafe { space.place_file(0, len.next_multiple_of(PAGE), file.file(), 0, sharing) }
            .map_err(Error::io("map", file.path()))?;
        self.finish(Memory::File { space, file, sharing }, len, verdict, history)
    }

    fn finish(
        &self,
        memory: Memory,
        len: u64,
        verdict: Verdict,
        history: &[Event<'static>],
    ) -> Result<Mapping> {
        let flush = match self.flush {
            Some(method) if !method.is_available() => return Err(Error::NoInstruction(method)),
            Some(method) => method,
            None if verdict.granularity == Granularity::CacheLine => FlushMethod::detect(),
            None => FlushMethod::None,
        };
        let verdict = Verdict { durability: kept_by(flush, verdict), ..verdict };
        let region = Region::new(Parts { memory, len, verdict, flush }, self.observer.clone());
        if let Some(observer) = &self.observer {
            observer.attached(&region);
        }
        for event in history {
            region.tell(|| *event);
        }
        Ok(Mapping::new(region))
    }
}

/// `len` in whole pages of `unit` bytes, at least one.
fn whole(len: u64, unit: u64) -> Result<u64> {
    match len.max(1).checked_next_multiple_of(unit) {
        Some(whole) if whole <= LONGEST => Ok(whole),
        _ => Err(Error::BadLength { len, why: "longer than the address space" }),
    }
}

fn memory_verdict(medium: Medium) -> Verdict {
    Verdict { granularity: Granularity::CacheLine, durability: Durability::Process, medium }
}
