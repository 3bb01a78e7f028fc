//! The pool's format on media: header, geometry, descriptors of spans. `FORMAT.md` has the diagrams.

use crate::{
    Error, ErrorKind, Result, classes,
    directory::head_checksum,
    segments::{BITMAP, DESCRIPTOR, MOST_SEGMENTS, Segment, Segments, pages_that_fit, tables},
};
use bytemuck::{Pod, Zeroable};
use pmem_map::PAGE;
use pmem_tx::engine::Log;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// "PMEMPOOL", read as a little-endian word.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"PMEMPOOL");
/// The version this crate writes, and the only one there is.
pub(crate) const VERSION: u32 = 1;
/// Where the two copies of the header are.
pub(crate) const COPIES: [u64; 2] = [0, PAGE];
/// The smallest pool.
pub(crate) const MIN_SIZE: u64 = 128 << 10;
/// The largest pool: 16 TiB, so that page numbers take 32 bits.
pub(crate) const MAX_SIZE: u64 = 1 << 44;
/// The longest layout name, in bytes.
pub(crate) const MAX_LAYOUT: usize = 112;

const MIN_LOG: u64 = 64 << 10;
const MAX_LOG: u64 = 16 << 20;
/// Words of bitmap for each data page.
pub(crate) const BITMAP_WORDS: usize = (BITMAP / 8) as usize;

/// One copy of the header, at the start of its page. All fields little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    /// XXH3 of the bytes that follow, up to `header_len`.
    pub(crate) checksum: u64,
    pub(crate) version: u32,
    pub(crate) header_len: u32,
    /// Features without which the pool cannot be read, cannot be written, can be ignored.
    pub(crate) incompatible: u64,
    pub(crate) read_only_compatible: u64,
    pub(crate) compatible: u64,
    pub(crate) identity: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) size: u64,
    pub(crate) max_size: u64,
    pub(crate) log_start: u64,
    pub(crate) log_len: u64,
    pub(crate) state_start: u64,
    pub(crate) table_start: u64,
    pub(crate) bitmaps_start: u64,
    pub(crate) data_start: u64,
    pub(crate) data_pages: u64,
    pub(crate) layout_len: u64,
    pub(crate) layout: [u8; MAX_LAYOUT],
}
const _: () = assert!(size_of::<Header>() == 256);
const _: () =
    assert!(cfg!(target_endian = "little"), "the format is little-endian, and so must be the machine");

/// What the checksum covers begins here.
const CHECKED_FROM: usize = 16;
const HEADER_LEN: usize = size_of::<Header>();

/// A segment, as the header lists it behind its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct SegmentEntry {
    pub(crate) start: u64,
    pub(crate) pages: u64,
}
const _: () = assert!(HEADER_LEN + MOST_SEGMENTS * size_of::<SegmentEntry>() == PAGE as usize);

/// Where things are in a pool. Offsets in bytes from the start of the mapping.
/// Clones share what grows: a segment that is added to one is added to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) log_start: u64,
    pub(crate) log_len: u64,
    /// The line of words that transactions change; the first is the directory's head.
    pub(crate) state_start: u64,
    pub(crate) table_start: u64,
    pub(crate) bitmaps_start: u64,
    pub(crate) data_start: u64,
    /// Data pages of the first part, before all segments. Page numbers begin with it.
    first_pages: u32,
    pub(crate) segments: Segments,
}

impl Geometry {
    /// For a new pool of at most `size` bytes.
    pub(crate) fn for_size(size: u64) -> Result<Geometry> {
        // A small pool gives more of itself: a record may take a third of the log.
        let log_len = (size / 64).max((size / 32).min(1 << 20)) & !(PAGE - 1);
        Geometry::with_log(size, log_len.clamp(MIN_LOG, MAX_LOG))
    }

    /// For a new pool of at most `size` bytes, `log_len` of them log.
    pub(crate) fn with_log(size: u64, log_len: u64) -> Result<Geometry> {
        let size = size & !(PAGE - 1);
        if size < MIN_SIZE {
            return Err(ErrorKind::TooSmall { size, minimum: MIN_SIZE }.into());
        }
        if size > MAX_SIZE {
            return Err(ErrorKind::TooLarge { what: "pool", size, maximum: MAX_SIZE }.into());
        }
        let log_start = 2 * PAGE;
        let least = 2 * PAGE + log_len + 4 * PAGE;
        if size < least {
            return Err(ErrorKind::TooSmall { size, minimum: least }.into());
        }
        let state_start = log_start + log_len;
        let table_start = state_start + PAGE;
        let data_pages = pages_that_fit(size - table_start);
        let (table, bitmaps) = tables(data_pages);
        Ok(Geometry {
            log_start,
            log_len,
            state_start,
            table_start,
            bitmaps_start: table_start + table,
            data_start: table_start + table + bitmaps,
            first_pages: data_pages as u32,
            segments: Segments::new(size, []),
        })
    }

    /// Bytes of the pool.
    pub(crate) fn size(&self) -> u64 {
        self.segments.size()
    }

    /// Data pages in all.
    pub(crate) fn data_pages(&self) -> u64 {
        self.stretches().map(|pages| u64::from(pages.end - pages.start)).sum()
    }

    /// The numbers of data pages: those of the first part, then those of each segment.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Range<u32>> {
        std::iter::once(0..self.first_pages).chain(self.segments.iter().map(Segment::page_numbers))
    }

    /// How many data pages there are from this one to the end of its part of the pool. `None` if it is none.
    pub(crate) fn pages_from(&self, page: u32) -> Option<u32> {
        self.stretches().find(|pages| pages.contains(&page)).map(|pages| pages.end - page)
    }

    /// Data pages of the first part.
    #[inline]
    pub(crate) fn first_pages(&self) -> u32 {
        self.first_pages
    }

    /// One past the largest page number.
    pub(crate) fn page_numbers_end(&self) -> u32 {
        self.segments.iter().next_back().map_or(self.first_pages, |last| last.page_numbers().end)
    }

    /// One past the last byte of the last page.
    pub(crate) fn data_end(&self) -> u64 {
        self.page_at(self.page_numbers_end())
    }

    /// What transactions may change.
    pub(crate) fn home(&self) -> Range<u64> {
        self.state_start..self.data_end()
    }

    /// What the log may use.
    pub(crate) fn log(&self) -> Range<u64> {
        self.log_start..self.log_start + self.log_len
    }

    /// Page table, bitmaps, state line of the first part: zero in a new pool, but for the checksum of an empty
    /// directory.
    pub(crate) fn metadata(&self) -> Range<u64> {
        self.state_start..self.data_start
    }

    /// Where the descriptor of page `page` is.
    #[inline]
    pub(crate) fn descriptor_at(&self, page: u32) -> u64 {
        if page < self.first_pages {
            return self.first_descriptor_at(page);
        }
        let segment = self.segment_of(page);
        segment.start + (page - segment.first_page) as u64 * DESCRIPTOR
    }

    /// Where word `word` of the bitmap of a run that starts at page `page` is.
    #[inline]
    pub(crate) fn bitmap_word_at(&self, page: u32, word: usize) -> u64 {
        if page < self.first_pages {
            return self.first_bitmap_word_at(page, word);
        }
        let segment = self.segment_of(page);
        segment.bitmaps_start + (page - segment.first_page) as u64 * BITMAP + word as u64 * 8
    }

    /// The same, of a page in the first part.
    #[inline]
    pub(crate) fn first_descriptor_at(&self, page: u32) -> u64 {
        self.table_start + page as u64 * DESCRIPTOR
    }

    /// The same, of a run in the first part.
    #[inline]
    pub(crate) fn first_bitmap_word_at(&self, page: u32, word: usize) -> u64 {
        self.bitmaps_start + page as u64 * BITMAP + word as u64 * 8
    }

    /// The segment of a data page behind the first part.
    #[inline(never)]
    fn segment_of(&self, page: u32) -> &Segment {
        let (_, segment) = self.segments.of_page(page).expect("the number of a data page");
        segment
    }

    /// Offset of page `page`.
    #[inline]
    pub(crate) fn page_at(&self, page: u32) -> u64 {
        self.data_start + page as u64 * PAGE
    }
}

impl Header {
    /// Of a new pool. `magic` is still 0: it is written last.
    pub(crate) fn new(
        geometry: &Geometry,
        max_size: u64,
        identity: u64,
        created: u64,
        layout: &str,
    ) -> Result<Header> {
        if layout.len() > MAX_LAYOUT {
            let (what, size) = ("layout name", layout.len() as u64);
            return Err(ErrorKind::TooLarge { what, size, maximum: MAX_LAYOUT as u64 }.into());
        }
        let mut header = Header {
            version: VERSION,
            header_len: HEADER_LEN as u32,
            identity,
            created,
            size: geometry.size(),
            max_size: max_size.max(geometry.size()),
            log_start: geometry.log_start,
            log_len: geometry.log_len,
            state_start: geometry.state_start,
            table_start: geometry.table_start,
            bitmaps_start: geometry.bitmaps_start,
            data_start: geometry.data_start,
            data_pages: geometry.first_pages as u64,
            layout_len: layout.len() as u64,
            ..Header::zeroed()
        };
        header.layout[..layout.len()].copy_from_slice(layout.as_bytes());
        header.checksum = xxh3_64(&bytemuck::bytes_of(&header)[CHECKED_FROM..]);
        Ok(header)
    }

    /// The layout name.
    pub(crate) fn layout(&self) -> String {
        String::from_utf8_lossy(&self.layout[..self.layout_len.min(MAX_LAYOUT as u64) as usize]).into_owned()
    }

    /// The geometry, or the first field that cannot be right and why. `segments`: the entries behind the header's
    /// fields. `mapped`: bytes there are.
    fn geometry(&self, segments: &[u8], mapped: u64) -> Result<Geometry, (&'static str, String)> {
        let page_aligned = |field, value: u64| match value % PAGE {
            0 => Ok(()),
            _ => Err((field, format!("{value} is not at a page"))),
        };
        let follows = |field, value: u64, before: Option<u64>| match before {
            Some(end) if value >= end => page_aligned(field, value),
            _ => Err((field, format!("{value} overlaps what is before it"))),
        };
        page_aligned("size", self.size)?;
        if self.size < MIN_SIZE {
            return Err(("size", format!("{} is less than {MIN_SIZE}", self.size)));
        }
        if self.max_size < self.size {
            return Err(("max_size", format!("{} is less than the size {}", self.max_size, self.size)));
        }
        if self.max_size > MAX_SIZE {
            return Err(("max_size", format!("{} is more than {MAX_SIZE}", self.max_size)));
        }
        follows("log_start", self.log_start, Some(2 * PAGE))?;
        page_aligned("log_len", self.log_len)?;
        if self.log_len < MIN_LOG {
            return Err(("log_len", format!("{} is less than {MIN_LOG}", self.log_len)));
        }
        follows("state_start", self.state_start, self.log_start.checked_add(self.log_len))?;
        follows("table_start", self.table_start, self.state_start.checked_add(PAGE))?;
        let pages = match u32::try_from(self.data_pages) {
            Ok(pages @ 1..=0xffff_fffe) => pages as u64,
            _ => return Err(("data_pages", format!("{} is not possible", self.data_pages))),
        };
        follows("bitmaps_start", self.bitmaps_start, self.table_start.checked_add(pages * DESCRIPTOR))?;
        follows("data_start", self.data_start, self.bitmaps_start.checked_add(pages * BITMAP))?;
        if self.data_start.checked_add(pages * PAGE).is_none_or(|end| end > self.size) {
            return Err(("data_pages", format!("{pages} do not fit a pool of {} bytes", self.size)));
        }
        let entries = segments.chunks_exact(size_of::<SegmentEntry>());
        if entries.len() > MOST_SEGMENTS || !entries.remainder().is_empty() {
            return Err(("header_len", format!("{} bytes of segments are not possible", segments.len())));
        }
        let mut found: Vec<Segment> = Vec::with_capacity(entries.len());
        for entry in entries {
            let entry: SegmentEntry = bytemuck::pod_read_unaligned(entry);
            let end = found.last().map_or(self.data_start + pages * PAGE, Segment::end);
            follows("segments", entry.start, Some(end))?;
            let segment = Segment::new(entry, self.data_start).filter(|segment| segment.end() <= self.size);
            let why =
                || ("segments", format!("{} pages at {} do not fit the pool", entry.pages, entry.start));
            found.push(segment.ok_or_else(why)?);
        }
        if self.layout_len > MAX_LAYOUT as u64 {
            return Err(("layout_len", format!("{} is more than {MAX_LAYOUT}", self.layout_len)));
        }
        if self.size > mapped {
            return Err(("size", format!("{} is more than the {mapped} bytes there are", self.size)));
        }
        Ok(Geometry {
            log_start: self.log_start,
            log_len: self.log_len,
            state_start: self.state_start,
            table_start: self.table_start,
            bitmaps_start: self.bitmaps_start,
            data_start: self.data_start,
            first_pages: pages as u32,
            segments: Segments::new(self.size, found),
        })
    }
}

/// What reading the header found.
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) geometry: Geometry,
    /// The copy that is damaged, and the whole content that it should have.
    pub(crate) damaged: Option<(u64, Box<[u8]>)>,
}

/// Why one copy cannot be used.
enum Fault {
    NoMagic,
    /// The checksum does not hold; the first implausible field.
    Checksum(&'static str, String),
    /// The checksum holds, so this is what was written.
    Refused(Error),
}

/// Checks one copy; `page` is what is mapped of its page. Returns the header and the bytes it covers.
fn read_copy(page: &[u8], mapped: u64) -> Result<(Header, Geometry, usize), Fault> {
    let Some(bytes) = page.get(..HEADER_LEN) else { return Err(Fault::NoMagic) };
    let header: Header = bytemuck::pod_read_unaligned(bytes);
    if header.magic != MAGIC {
        return Err(Fault::NoMagic);
    }
    let len = header.header_len as usize;
    let covered = page.get(CHECKED_FROM..len).filter(|_| len >= HEADER_LEN);
    let Some(covered) = covered else {
        return Err(Fault::Checksum("header_len", format!("{len} is not between {HEADER_LEN} and {PAGE}")));
    };
    let segments = &page[HEADER_LEN..len];
    if xxh3_64(covered) != header.checksum {
        let (field, why) = match header.geometry(segments, mapped) {
            Err(implausible) => implausible,
            Ok(_) => ("checksum", format!("{:#x} does not match the content", header.checksum)),
        };
        return Err(Fault::Checksum(field, why));
    }
    let refused = |kind: ErrorKind| Err(Fault::Refused(kind.into()));
    if header.version > VERSION {
        return refused(ErrorKind::NewerVersion { found: header.version, known: VERSION });
    }
    if header.version != VERSION {
        let why = format!("{} was never used", header.version);
        return refused(ErrorKind::Damaged { field: "version", why });
    }
    let unknown = header.incompatible | header.read_only_compatible;
    if unknown != 0 {
        return refused(ErrorKind::UnknownFeatures { bits: unknown });
    }
    if header.size > mapped {
        return refused(ErrorKind::Truncated { expected: header.size, found: mapped });
    }
    match header.geometry(segments, mapped) {
        Ok(geometry) => Ok((header, geometry, len)),
        Err((field, why)) => refused(ErrorKind::Damaged { field, why }),
    }
}

/// Finds the header in a mapping. Writes nothing.
pub(crate) fn read(bytes: &[u8]) -> Result<Found> {
    let mapped = bytes.len() as u64;
    let page = |at: u64| {
        let start = bytes.len().min(at as usize);
        &bytes[start..bytes.len().min((at + PAGE) as usize)]
    };
    let [first, second] = COPIES.map(|at| read_copy(page(at), mapped));
    let healthy = |at: usize, found: (Header, Geometry, usize), other_is_same: bool| {
        let (header, geometry, len) = found;
        let content = page(COPIES[at])[..len].into();
        Ok(Found { header, geometry, damaged: (!other_is_same).then_some((COPIES[1 - at], content)) })
    };
    match (first, second) {
        // Copy A is written first; where they differ, it is the newer one.
        (Ok(a), Ok(b)) => {
            let same = page(COPIES[0])[..a.2] == page(COPIES[1])[..b.2];
            healthy(0, a, same)
        }
        (Ok(a), Err(_)) => healthy(0, a, false),
        (Err(Fault::Refused(e)), _) => Err(e),
        (Err(_), Ok(b)) => healthy(1, b, false),
        (_, Err(Fault::Refused(e))) => Err(e),
        (Err(Fault::Checksum(field, why)), _) | (_, Err(Fault::Checksum(field, why))) => {
            Err(ErrorKind::Damaged { field, why }.into())
        }
        (Err(Fault::NoMagic), Err(Fault::NoMagic)) => {
            let why = if bytes.iter().take(2 * PAGE as usize).all(|&byte| byte == 0) {
                "its first two pages are zeros"
            } else if mapped < MIN_SIZE {
                "it is shorter than the smallest pool"
            } else {
                "neither copy of the header has the magic"
            };
            Err(ErrorKind::NotAPool { why }.into())
        }
    }
}

/// A header that reads right, with its pool grown: `size`, `max_size`, and one segment more or none.
pub(crate) fn grown(content: &[u8], size: u64, max_size: u64, segment: Option<SegmentEntry>) -> Vec<u8> {
    let mut header: Header = bytemuck::pod_read_unaligned(&content[..HEADER_LEN]);
    (header.size, header.max_size) = (size, max_size);
    let mut segments = content[HEADER_LEN..].to_vec();
    segments.extend_from_slice(segment.as_ref().map_or(&[], bytemuck::bytes_of));
    header.header_len = (HEADER_LEN + segments.len()) as u32;
    let mut grown = bytemuck::bytes_of(&header).to_vec();
    grown.append(&mut segments);
    let checksum = xxh3_64(&grown[CHECKED_FROM..]);
    grown[8..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    grown
}

/// The header of a copy: what `content` says, but for the identity and the time. Without magic.
pub(crate) fn reborn(content: &[u8], identity: u64, created: u64) -> Vec<u8> {
    let mut header: Header = bytemuck::pod_read_unaligned(&content[..HEADER_LEN]);
    (header.magic, header.identity, header.created) = (0, identity, created);
    let mut reborn = bytemuck::bytes_of(&header).to_vec();
    reborn.extend_from_slice(&content[HEADER_LEN..]);
    let checksum = xxh3_64(&reborn[CHECKED_FROM..]);
    reborn[8..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    reborn
}

/// The geometry that a header which was just made describes, and the largest size.
pub(crate) fn in_header(content: &[u8], mapped: u64) -> Result<(Geometry, u64)> {
    let header: Header = bytemuck::pod_read_unaligned(&content[..HEADER_LEN]);
    let geometry = header.geometry(&content[HEADER_LEN..], mapped);
    let geometry = geometry.map_err(|(field, why)| ErrorKind::Damaged { field, why })?;
    Ok((geometry, header.max_size))
}

/// Bytes to which the pool that begins with these pages may grow, as far as one can tell from them: for reserving
/// addresses before it is mapped, no more.
pub(crate) fn hint_of_max_size(pages: &[u8]) -> u64 {
    let copies =
        COPIES.iter().filter_map(|&at| pages.get(at as usize..pages.len().min((at + PAGE) as usize)));
    let max_size = |page| read_copy(page, u64::MAX).map_or(0, |(header, ..)| header.max_size);
    copies.map(max_size).max().unwrap_or(0)
}

/// Whether these bytes, which [`read`] refused with `error`, are a pool whose creation was cut short (or that is about
/// to be created: zeros): nobody's data can be in them. Creation writes the headers without magic before all else; and
/// where the tables are not blank or the log has a record, a whole pool has lost its magics.
pub(crate) fn is_unfinished(bytes: &[u8], error: &Error) -> bool {
    if !matches!(error.kind(), ErrorKind::NotAPool { .. }) || bytes.len() as u64 <= 2 * PAGE {
        return false;
    }
    let is_zero = |range: Range<u64>| bytes[range.start as usize..range.end as usize].iter().all(|&b| b == 0);
    let [a, b] = COPIES;
    let header_len = HEADER_LEN as u64;
    if !is_zero(a..a + 8)
        || !is_zero(b..b + 8)
        || !is_zero(header_len..b)
        || !is_zero(b + header_len..2 * PAGE)
    {
        return false;
    }
    let mut complete_but_magic = COPIES.iter().filter_map(|&copy| {
        let content = &bytes[copy as usize..copy as usize + HEADER_LEN];
        let header: Header = bytemuck::pod_read_unaligned(content);
        (header.checksum == xxh3_64(&content[CHECKED_FROM..])).then_some(header)
    });
    let is_unused = |header: Header| {
        let Ok(geometry) = header.geometry(&[], bytes.len() as u64) else { return false };
        let log = &bytes[geometry.log_start as usize..][..geometry.log_len as usize];
        let Range { start: state, end } = geometry.metadata();
        let empty = u64::from_le_bytes(bytes[state as usize + 8..][..8].try_into().expect("eight bytes"));
        header.version == VERSION
            && is_zero(state..state + 8)
            && (empty == 0 || empty == head_checksum(&geometry, 0))
            && is_zero(state + 16..end)
            && !Log::may_have_committed(log, header.identity)
    };
    match complete_but_magic.next() {
        Some(header) => is_unused(header) && complete_but_magic.all(is_unused),
        None => is_zero(2 * PAGE..bytes.len() as u64),
    }
}

/// What the descriptor of a span's first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// Blocks of one class, side by side.
    Run { class: u8, pages: u32 },
    /// One block of whole pages.
    Large { pages: u32 },
    /// Whole pages whose words are stored outside transactions: nobody gets a reference to them.
    Slab { pages: u32 },
}

impl Span {
    const RUN: u64 = 1;
    const LARGE: u64 = 2;
    const SLAB: u64 = 3;

    /// The descriptor. 0, which no span has, is a free page.
    pub(crate) fn encode(self) -> u64 {
        match self {
            Span::Run { class, pages } => Span::RUN | (class as u64) << 8 | (pages as u64) << 32,
            Span::Large { pages } => Span::LARGE | (pages as u64) << 32,
            Span::Slab { pages } => Span::SLAB | (pages as u64) << 32,
        }
    }

    /// The span, if the descriptor is one that [`encode`](Span::encode) gives.
    #[inline]
    pub(crate) fn decode(descriptor: u64) -> Option<Span> {
        let (low, pages) = (descriptor as u32 as u64, (descriptor >> 32) as u32);
        if low == Span::LARGE {
            return (pages > 0).then_some(Span::Large { pages });
        }
        if low == Span::SLAB {
            return (pages > 0).then_some(Span::Slab { pages });
        }
        let class = (low >> 8) as u8;
        let valid = low == Span::RUN | (class as u64) << 8
            && (class as usize) < classes::COUNT
            && (1..=classes::MAX_RUN_PAGES).contains(&pages)
            && classes::slots(class, pages) > 0;
        valid.then_some(Span::Run { class, pages })
    }

    /// Pages of the span.
    #[inline]
    pub(crate) fn pages(self) -> u32 {
        match self {
            Span::Run { pages, .. } | Span::Large { pages } | Span::Slab { pages } => pages,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_descriptor_decodes_to_what_was_encoded_and_others_to_nothing() {
        for class in 0..classes::COUNT as u8 {
            let span = Span::Run { class, pages: classes::run_pages(class, 1 << 20) };
            assert_eq!(Span::decode(span.encode()), Some(span));
        }
        for pages in [1, 9, u32::MAX] {
            assert_eq!(Span::decode(Span::Large { pages }.encode()), Some(Span::Large { pages }));
        }
        let bad =
            [0, 3, 1, 2, 1 | 80 << 8 | 16 << 32, 1 | 65 << 32, 1 | 79 << 8 | 1 << 32, 2 | 1 << 16 | 1 << 32];
        for descriptor in bad {
            assert_eq!(Span::decode(descriptor), None, "{descriptor:#x}");
        }
    }

    #[test]
    fn a_geometry_uses_its_size_and_survives_the_header() {
        for size in [MIN_SIZE, 1 << 20, (1 << 20) + 5 * PAGE + 3, 64 << 20, 1 << 30, 1 << 40] {
            let geometry = Geometry::for_size(size).unwrap();
            assert!(geometry.data_end() <= size && size - geometry.data_end() < 4 * PAGE);
            let mut header = Header::new(&geometry, 0, 1, 2, "layout").unwrap();
            assert_eq!(header.geometry(&[], size), Ok(geometry));
            header.data_pages += 4;
            assert_eq!(header.geometry(&[], size).unwrap_err().0, "data_pages");
        }
        assert!(Geometry::for_size(MIN_SIZE - 1).is_err());
        assert!(Geometry::for_size(u64::MAX).is_err());
        let pool = Geometry::for_size(64 << 20).unwrap();
        assert!(pool.data_pages() * PAGE * 100 > (64 << 20) * 96);
    }
}
