//! Bytes that somebody else owns and lends: the extension point for filesystems, devices and tests.

use crate::{
    Durability, Error, Granularity, PAGE, Result,
    address_space::{AddressSpace, HUGE_PAGE, Reserved, Sharing, Treatment, grants_map_sync},
    fault::{self, Answer, Fault, Registration, Serve},
    fork::OwnedByProcess,
};
use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, PoisonError},
};

/// A run of bytes that a [`Backing`] lends. Runs are mapped side by side, in order.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The file, open for reading and writing.
    pub file: Arc<File>,
    /// First byte: a multiple of [`PAGE`].
    pub offset: u64,
    /// Bytes: a multiple of [`PAGE`], not zero.
    pub len: u64,
}

/// Who owns the bytes of a mapping.
///
/// Kept alive by the mapping, and dropped after it is unmapped: that drop is where the lease ends (and a
/// filesystem turns parity back on). In a forked child, which has no mapping, it is not dropped.
///
/// Ranges and offsets are bytes within the mapping.
///
/// # Safety
///
/// From [`Mapping::from_backing`](crate::Mapping::from_backing) until `drop`:
/// 1. every extent's file keeps its length, with blocks behind every byte lent;
/// 2. the extents belong to no other live mapping (that they are disjoint among themselves is checked);
/// 3. **nobody else stores to them, and nobody else creates a reference to them** (the *lease*). A
///    filesystem refuses `write`, `truncate` and a second `map` of a leased file, and copies bytes out as a
///    kernel would (never through `&[u8]`);
/// 4. tricks of the owner keep content stable: a page may become read-only for a while, its bytes may not
///    change;
/// 5. `grow` never moves or shrinks what was handed out;
/// 6. an answer `true` of [`page_lost`](Backing::page_lost) is given only when the page can be used again, with
///    the content it had as far as anybody has read it.
#[expect(unsafe_code, reason = "who implements it makes promises")]
pub unsafe trait Backing: Send + Sync + 'static {
    /// The bytes, in the order in which they are to appear. Asked once.
    fn extents(&self) -> Vec<Extent>;

    /// What makes a store durable here.
    fn granularity(&self) -> Granularity;

    /// What a durable store survives.
    fn durability(&self) -> Durability;

    /// What this is, in a word for people.
    fn name(&self) -> &'static str {
        "bytes of another owner"
    }

    /// The extents are mapped. `pages` lets the owner protect them against stores, now or later.
    fn attached(&self, pages: Pages) {
        let _ = pages;
    }

    /// The mapping ends: its pages are mapped still, and nobody stores to them any more. What the page tables say of them is to be asked now.
    /// `drop` follows, when they are unmapped. Not told in a forked child.
    fn detaching(&self) {}

    /// Writes back whole pages: for [`Granularity::Page`] at each drain that has something to write back, otherwise
    /// when [`Region::sync`](crate::Region::sync) is called, after a drain. An error poisons the mapping.
    fn sync(&self, range: Range<u64>) -> Result<()> {
        let _ = range;
        Ok(())
    }

    /// Extends the bytes to `len` or somewhat more, durably; returns the new extents, which follow the old ones.
    fn grow(&self, len: u64) -> Result<Vec<Extent>> {
        Err(Error::CannotGrow { wanted: len, why: "its owner does not extend it" })
    }

    /// What `grow` returned is mapped: `len` bytes are, and can be stored to. Also called if it could not be mapped, with the length that there was.
    fn grown(&self, len: u64) {
        let _ = len;
    }

    /// A thread wants to store to a page that the owner protected, and waits. `true`: the page is
    /// unprotected, restart the store. `false`: nobody wanted this store; the process ends by SIGSEGV unless
    /// it had a handler of its own.
    ///
    /// Called on the service thread, not in a signal handler: it may lock and allocate, but it must not wait
    /// for the thread that stores, and not store to protected pages itself. Several threads may meet one
    /// page: then it is called again for a page that is unprotected already.
    fn write_fault(&self, page: Range<u64>) -> bool {
        let _ = page;
        false
    }

    /// A thread touched a page whose memory is gone: a media error, or a file truncated meanwhile (SIGBUS).
    /// `true`: there is memory again, restart. As for [`write_fault`](Backing::write_fault) otherwise.
    fn page_lost(&self, page: Range<u64>) -> bool {
        let _ = page;
        false
    }
}

/// Protects pages of a mapping against stores. For its owner; does not keep it mapped.
#[derive(Clone)]
pub struct Pages(pub(crate) Arc<Reserved>);

impl Pages {
    /// Stores to any page that `range` touches fault from now on. Loads do not.
    pub fn protect(&self, range: Range<u64>) -> Result<()> {
        self.set_writable(range, false)
    }

    /// Stores to all pages that `range` touches go through again.
    pub fn unprotect(&self, range: Range<u64>) -> Result<()> {
        self.set_writable(range, true)
    }

    fn set_writable(&self, range: Range<u64>, writable: bool) -> Result<()> {
        let action = if writable { "unprotect" } else { "protect" };
        self.0.set_writable(whole_pages(range), writable).map_err(Error::io(action, "pages of a backing"))
    }
}

/// All pages that `range` touches.
pub(crate) fn whole_pages(range: Range<u64>) -> Range<u64> {
    range.start / PAGE * PAGE..range.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
}

/// Bytes of a backing in their place. Fields are dropped in order: no more faults, unmapped, given back.
pub(crate) struct Lent {
    _faults: Registration,
    pub(crate) space: AddressSpace,
    pub(crate) backing: OwnedByProcess<Arc<dyn Backing>>,
    pieces: Mutex<Vec<Piece>>,
}

/// A checked extent. Files are told apart by device and inode.
struct Piece {
    file: Arc<File>,
    identity: (u64, u64),
    bytes: Range<u64>,
}

struct Faults {
    base: usize,
    backing: Arc<dyn Backing>,
}

impl Serve for Faults {
    fn fault(&self, address: usize, fault: Fault) -> Answer {
        let start = (address - self.base) as u64 / PAGE * PAGE;
        let served = match fault {
            Fault::Write => self.backing.write_fault(start..start + PAGE),
            Fault::Lost => self.backing.page_lost(start..start + PAGE),
        };
        if served { Answer::Served } else { Answer::Refused }
    }
}

impl Lent {
    /// Maps what `backing` lends at the beginning of a reservation of at least `max_len` bytes. Returns the
    /// length too. `treatment` says how bytes of that granularity are treated.
    pub(crate) fn map(
        backing: impl Backing,
        max_len: u64,
        treatment: impl FnOnce(Granularity) -> Treatment,
    ) -> Result<(Lent, u64)> {
        let backing: OwnedByProcess<Arc<dyn Backing>> = OwnedByProcess::new(Arc::new(backing));
        let pieces = checked(backing.extents(), &[])?;
        let len = total(&pieces)?;
        let reserve = len.max(max_len);
        let space = AddressSpace::reserve(reserve, PAGE)
            .map_err(Error::io("reserve addresses for", backing.name()))?;
        let space = space.treated(treatment(backing.granularity()));
        place(&space, 0, &pieces, backing.granularity()).map_err(Error::io("map", backing.name()))?;
        let base = space.base().as_ptr() as usize;
        let faults = Faults { base, backing: (*backing).clone() };
        let faults = fault::register(base..base + space.len() as usize, Arc::new(faults))?;
        backing.attached(space.pages());
        Ok((Lent { _faults: faults, space, backing, pieces: Mutex::new(pieces) }, len))
    }

    /// Where the bytes of a range are in the owner's files.
    pub(crate) fn extents(&self, range: &Range<u64>) -> Vec<Extent> {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        let mut at = 0;
        for piece in pieces.iter() {
            let len = piece.bytes.end - piece.bytes.start;
            let (start, end) = (range.start.max(at), range.end.min(at + len));
            if start < end {
                let offset = piece.bytes.start + (start - at);
                found.push(Extent { file: piece.file.clone(), offset, len: end - start });
            }
            at += len;
        }
        found
    }

    /// Maps more of it behind the first `from` bytes; returns the new length.
    pub(crate) fn extend(&self, from: u64, wanted: u64) -> Result<u64> {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.backing.grow(wanted)?;
        let placed = self.place_new(from, wanted, new, &mut pieces);
        self.backing.grown(*placed.as_ref().unwrap_or(&from));
        placed
    }

    fn place_new(&self, from: u64, wanted: u64, new: Vec<Extent>, pieces: &mut Vec<Piece>) -> Result<u64> {
        let new = checked(new, pieces)?;
        let to = from.saturating_add(total(&new)?);
        if to < wanted {
            return Err(Error::CannotGrow { wanted, why: "its owner lent fewer bytes than asked for" });
        }
        if to > self.space.len() {
            return Err(Error::CannotGrow {
                wanted,
                why: "its owner lent more than there are addresses for",
            });
        }
        place(&self.space, from, &new, self.backing.granularity())
            .map_err(Error::io("map", self.backing.name()))?;
        pieces.extend(new);
        Ok(to)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.space.pages().0.is_mapped() {
            self.backing.detaching();
        }
    }
}

/// The extents, found good, or what is wrong with the first bad one.
fn checked(extents: Vec<Extent>, before: &[Piece]) -> Result<Vec<Piece>> {
    if extents.is_empty() {
        return Err(Error::BadLength { len: 0, why: "its owner lent no bytes" });
    }
    let mut pieces: Vec<Piece> = Vec::with_capacity(extents.len());
    for (index, extent) in extents.into_iter().enumerate() {
        let Extent { file, offset, len } = extent;
        let bad = |why| Error::BadExtent { index, offset, len, why };
        if len == 0 {
            return Err(bad("it is empty"));
        }
        if offset % PAGE != 0 || len % PAGE != 0 {
            return Err(bad("it is not of whole pages"));
        }
        let end = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or_else(|| bad("it ends beyond the largest file"))?;
        let metadata = file.metadata().map_err(Error::io("inspect", "the file of an extent"))?;
        if metadata.is_file() && end > metadata.len() {
            return Err(bad("it ends beyond its file"));
        }
        let piece = Piece { file, identity: (metadata.dev(), metadata.ino()), bytes: offset..end };
        pieces.push(piece);
    }
    // Two addresses of one byte would be two `&mut` to it. Sorted, an overlap is between neighbours.
    let mut sorted: Vec<(&Piece, Option<usize>)> =
        pieces.iter().enumerate().map(|(index, piece)| (piece, Some(index))).collect();
    sorted.extend(before.iter().map(|piece| (piece, None)));
    sorted.sort_by_key(|(piece, _)| (piece.identity, piece.bytes.start));
    for pair in sorted.windows(2) {
        let ((one, first), (next, second)) = (pair[0], pair[1]);
        if one.identity == next.identity && next.bytes.start < one.bytes.end {
            let (piece, index) = if second.is_some() { (next, second) } else { (one, first) };
            return Err(Error::BadExtent {
                index: index.unwrap_or_default(),
                offset: piece.bytes.start,
                len: piece.bytes.end - piece.bytes.start,
                why: "another extent has bytes of it",
            });
        }
    }
    Ok(pieces)
}

fn total(pieces: &[Piece]) -> Result<u64> {
    let too_long = || Error::BadLength { len: u64::MAX, why: "longer than the address space" };
    let lens = pieces.iter().map(|piece| piece.bytes.end - piece.bytes.start);
    let sum = lens.into_iter().try_fold(0u64, u64::checked_add).ok_or_else(too_long)?;
    if sum > isize::MAX as u64 - HUGE_PAGE { Err(too_long()) } else { Ok(sum) }
}

/// Maps the pieces side by side from `at` on. Those that follow each other in one file become one kernel
/// mapping: a process has room for about 65,000 (`vm.max_map_count`).
#[expect(unsafe_code, reason = "maps over reserved addresses")]
fn place(space: &AddressSpace, mut at: u64, pieces: &[Piece], granularity: Granularity) -> io::Result<()> {
    let mut next = 0;
    while let Some(first) = pieces.get(next) {
        next += 1;
        let mut end = first.bytes.end;
        while let Some(piece) =
            pieces.get(next).filter(|p| p.identity == first.identity && p.bytes.start == end)
        {
            end = piece.bytes.end;
            next += 1;
        }
        let synchronous = granularity != Granularity::Page && grants_map_sync(&first.file);
        let sharing = if synchronous { Sharing::Synchronous } else { Sharing::Shared };
        let len = end - first.bytes.start;
        // SAFETY: addresses beyond the region's length, to which nothing refers yet.
        unsafe { space.place_file(at, len, &first.file, first.bytes.start, sharing)? };
        at += len;
    }
    Ok(())
}
