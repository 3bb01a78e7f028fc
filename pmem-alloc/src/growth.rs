//! How a pool grows: a segment behind its end, first made, then named by the header, then used.
//!
//! The steps and what a crash leaves of them are in FORMAT.md, "Growth". The header is no part of what transactions
//! change, and no record names a segment before the header does: so a pool can grow inside a transaction, and stays
//! grown if that is rolled back.

use crate::{
    Error, ErrorKind, Grown, Result,
    format::{self, COPIES, MAX_SIZE, SegmentEntry},
    heap::Heap,
    media::Media,
    replicate::Replication,
    segments::{MOST_SEGMENTS, Segment, pages_that_fit, tables},
};
use pmem_map::PAGE;

/// Bytes of the smallest segment.
const LEAST: u64 = 64 << 10;
/// Bytes of the smallest segment that a pool adds by itself: a run of any size class fits.
const LEAST_AUTOMATIC: u64 = 512 << 10;

/// One way to get growth wrong: switches for the tests that prove the crash exploration finds what they break. Never set
/// outside tests.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowthShortcut {
    /// Both copies of the header are stored under one drain.
    CopiesInOneDrain,
    /// What is beyond the end of the pool is taken for zeros.
    TablesNotBlanked,
    /// The blank tables are drained with the header that names them.
    BlankWithHeader,
    /// Memory takes the pages over, and the header is written by the next growth.
    HeaderLater,
}

/// How a pool grows, as far as it is not recorded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GrowthOptions {
    pub(crate) automatic: bool,
    pub(crate) shortcut: Option<GrowthShortcut>,
}

/// What growth needs to know. The writer has it.
pub(crate) struct Growth {
    /// What both copies of the header hold.
    header: Vec<u8>,
    max_size: u64,
    options: GrowthOptions,
    /// Told when the pool has grown.
    pub(crate) replication: Replication,
}

impl Growth {
    /// `header`: what both copies hold, or will.
    pub(crate) fn new(header: Vec<u8>, max_size: u64, options: GrowthOptions) -> Growth {
        Growth { header, max_size, options, replication: Replication::default() }
    }

    fn cuts(&self, shortcut: GrowthShortcut) -> bool {
        self.options.shortcut == Some(shortcut)
    }

    /// What both copies of the pool's header hold.
    pub(crate) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Bytes to which the pool may grow.
    pub(crate) fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Makes the pool at least `bytes` bytes larger. Returns its size.
    pub(crate) fn grow(&mut self, media: &Media, heap: &mut Heap, bytes: u64) -> Result<u64> {
        let geometry = heap.geometry().clone();
        let (size, count) = (geometry.size(), geometry.segments.count());
        let refused = |why| Err(ErrorKind::CannotGrow { size, bytes, why }.into());
        if count == MOST_SEGMENTS {
            return refused("it has grown as often as it can; move to a new pool");
        }
        let room = self.max_size - size;
        let wanted = bytes.max(LEAST).checked_next_multiple_of(PAGE).filter(|&wanted| wanted <= room);
        let Some(wanted) = wanted else {
            return refused("its max_size would be exceeded; open it with a larger `PoolOptions::max_size`");
        };
        // Who grows in tiny steps must not run out of them.
        let least = if count < MOST_SEGMENTS / 2 { 0 } else { (size / 8) & !(PAGE - 1) };
        let new_size = size + wanted.max(least).min(room);

        let entry = SegmentEntry { start: size, pages: pages_that_fit(new_size - size) };
        self.add(media, heap, entry, new_size)?;
        Ok(new_size)
    }

    /// Makes the pool larger by this segment, which begins where it ends.
    pub(crate) fn add(
        &mut self,
        media: &Media,
        heap: &mut Heap,
        entry: SegmentEntry,
        new_size: u64,
    ) -> Result<()> {
        let geometry = heap.geometry().clone();
        let max_size = self.max_size.max(new_size);
        let wrong =
            || Error::corrupt(entry.start, "a segment that fits the pool", format!("{} pages", entry.pages));
        let fits = entry.start == geometry.size()
            && new_size > entry.start
            && entry.pages == pages_that_fit(new_size - entry.start)
            && geometry.segments.count() < MOST_SEGMENTS;
        let segment = Segment::new(entry, geometry.data_start).filter(|_| fits).ok_or_else(wrong)?;
        let region = media.region();
        let mapped = region.len();
        region.grow(new_size)?;
        if !self.cuts(GrowthShortcut::TablesNotBlanked) && blank(media, &segment, mapped)? {
            self.drain_unless(GrowthShortcut::BlankWithHeader, media)?;
        }
        self.write_header(media, format::grown(&self.header, new_size, max_size, Some(entry)))?;
        self.max_size = max_size;
        geometry.segments.add(segment, new_size);
        heap.extend();
        if let Some(replicator) = &self.replication.0 {
            let segments = geometry.segments.iter();
            let all: Vec<Grown> = segments.map(|s| Grown { start: s.start, pages: s.pages.into() }).collect();
            replicator.grown(&all, new_size);
        }
        Ok(())
    }

    /// Makes room for a block of `len` bytes at a multiple of `align`, if the pool grows by itself and can. More than
    /// that where possible, so that it need not grow for each.
    #[cold]
    pub(crate) fn make_room(&mut self, media: &Media, heap: &mut Heap, len: u64, align: u64) -> Result<bool> {
        let size = heap.geometry().size();
        let room = self.max_size - size;
        if !self.options.automatic || len > room {
            return Ok(false);
        }
        let pages = len.div_ceil(PAGE).max(1) + align / PAGE;
        let needed = (pages * PAGE + tables(pages).0 + tables(pages).1).max(LEAST);
        if needed > room {
            return Ok(false);
        }
        let step = needed.max(LEAST_AUTOMATIC).max(size / 8).min(room);
        let mut grown = self.grow(media, heap, step);
        if matches!(&grown, Err(e) if is_refused_by_the_disk(e)) && needed < step {
            grown = self.grow(media, heap, needed);
        }
        match grown {
            Ok(_) => Ok(true),
            Err(e) if is_no_way_to_grow(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Records a larger maximum. 2 drains; none if it is recorded already.
    pub(crate) fn raise(&mut self, media: &Media, size: u64, max_size: u64) -> Result<()> {
        if max_size > self.max_size {
            self.write_header(media, format::grown(&self.header, size, max_size, None))?;
            self.max_size = max_size;
        }
        Ok(())
    }

    /// Copy A, then copy B: one of them is whole at any time.
    fn write_header(&mut self, media: &Media, content: Vec<u8>) -> Result<()> {
        if self.cuts(GrowthShortcut::HeaderLater) {
            self.header = content;
            return Ok(());
        }
        for copy in COPIES {
            media.store(copy, &content);
            media.region().flush(copy..copy + content.len() as u64)?;
            if copy == COPIES[0] {
                self.drain_unless(GrowthShortcut::CopiesInOneDrain, media)?;
            }
        }
        media.region().drain()?;
        self.header = content;
        Ok(())
    }

    fn drain_unless(&self, shortcut: GrowthShortcut, media: &Media) -> Result<()> {
        if !self.cuts(shortcut) {
            media.region().drain()?;
        }
        Ok(())
    }
}

/// `size` and everything that can be asked for as a maximum, or what is wrong with it.
pub(crate) fn checked_max_size(asked: u64) -> Result<u64> {
    if asked > MAX_SIZE {
        let what = "maximal size";
        return Err(ErrorKind::TooLarge { what, size: asked, maximum: MAX_SIZE }.into());
    }
    Ok(asked & !(PAGE - 1))
}

/// Zeroes the tables of a segment that is not in use yet, and flushes them. What is behind the first `mapped` bytes is
/// zero and durable already. Whether there is something to drain.
fn blank(media: &Media, segment: &Segment, mapped: u64) -> Result<bool> {
    let mut any = false;
    for at in (segment.start..segment.data_start).step_by(PAGE as usize).take_while(|&at| at < mapped) {
        if media.copy(at, PAGE).iter().any(|&byte| byte != 0) {
            media.store(at, &[0; PAGE as usize]);
        }
        media.region().flush(at..at + PAGE)?; // what is zero already may not be durable
        any = true;
    }
    Ok(any)
}

fn is_refused_by_the_disk(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Map(pmem_map::Error::Io { .. }))
}

fn is_no_way_to_grow(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::CannotGrow { .. } | ErrorKind::Map(pmem_map::Error::CannotGrow { .. }))
}
