//! Which span each data page is in: one word a page, in DRAM. Every address that is given out is looked up here.
//!
//! The writer's words, shared with readers, for whom they are ahead of what is committed. That misleads no reader:
//!
//! - Pages with an allocated block, as committed, stay in its span until a commit that frees the block is applied, and
//!   no commit is applied while a reader is there. So about those pages the words say what is committed.
//! - All other bits of the bitmaps on media are zero: opening checks that, and a run is released empty. So a reader
//!   that takes other pages for a run, be it one that is not committed, finds no bit set. For a large block
//!   it asks the committed descriptor.

use crate::{
    classes,
    format::{Geometry, Span},
    heap::Block,
    segments::{MOST_SEGMENTS, Segments},
};
use pmem_map::PAGE;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

// A page's word: the first page of its span in the upper half; in its lowest byte the class, if that is a run, or else:
const SLAB: u64 = 0xFD;
const LARGE: u64 = 0xFE;
const FREE: u64 = 0xFF;
const _: () = assert!(classes::COUNT <= SLAB as usize);

/// Where each data page's span begins, and what it is.
#[derive(Clone)]
pub(crate) struct PageMap {
    data_start: u64,
    /// Those of the pool's first part.
    words: Arc<[AtomicU64]>,
    segments: Segments,
    /// Those of each segment.
    of_segments: Arc<[OnceLock<Box<[AtomicU64]>>; MOST_SEGMENTS]>,
}

/// Words of pages that are free.
fn free_pages<C: FromIterator<AtomicU64>>(pages: u32) -> C {
    (0..pages).map(|_| AtomicU64::new(FREE)).collect()
}

impl PageMap {
    /// All pages are free.
    pub(crate) fn new(geometry: &Geometry) -> PageMap {
        let map = PageMap {
            data_start: geometry.data_start,
            words: free_pages(geometry.first_pages()),
            segments: geometry.segments.clone(),
            of_segments: Arc::new([const { OnceLock::new() }; MOST_SEGMENTS]),
        };
        map.extend();
        map
    }

    /// Knows all segments there are now; the pages of new ones are free.
    pub(crate) fn extend(&self) {
        for (segment, words) in self.segments.iter().zip(self.of_segments.iter()) {
            words.get_or_init(|| free_pages(segment.pages));
        }
    }

    /// The word of page `page` behind the first part. `FREE` if there is no such data page.
    fn word_in_segment(&self, page: u64) -> u64 {
        let word = || {
            let (index, segment) = self.segments.of_page(u32::try_from(page).ok()?)?;
            // Not there yet, if the pool is growing just now: then nothing can be in it.
            let words = self.of_segments[index].get()?;
            Some(words.get(page as usize - segment.first_page as usize)?.load(Relaxed))
        };
        word().unwrap_or(FREE)
    }

    /// Pages `page..` are `span` from now on.
    pub(crate) fn enter(&self, page: u32, span: Span) {
        let kind = match span {
            Span::Run { class, .. } => class as u64,
            Span::Large { .. } => LARGE,
            Span::Slab { .. } => SLAB,
        };
        self.set(page, span.pages(), (page as u64) << 32 | kind);
    }

    /// `pages` pages are free from now on.
    pub(crate) fn leave(&self, page: u32, pages: u32) {
        self.set(page, pages, FREE);
    }

    fn set(&self, page: u32, pages: u32, word: u64) {
        let words = match self.words.get(page as usize..(page + pages) as usize) {
            Some(words) => words,
            None => {
                let (index, segment) = self.segments.of_page(page).expect("pages of a span");
                let from = (page - segment.first_page) as usize;
                &self.of_segments[index].get().expect("extended when the pool grew")
                    [from..from + pages as usize]
            }
        };
        words.iter().for_each(|entry| entry.store(word, Relaxed));
    }

    /// The descriptors of these pages change to these words, all at once: readers are kept out. Pages that a span loses are free, unless
    /// another one gets them.
    pub(crate) fn replace(&self, descriptors: &[(u32, u64)]) {
        let page_word = |page: u64| match self.words.get(page as usize) {
            Some(word) => word.load(Relaxed),
            None => self.word_in_segment(page),
        };
        for &(page, _) in descriptors {
            let begins_here = |at: u64| {
                let word = page_word(at);
                word as u8 as u64 != FREE && word >> 32 == u64::from(page)
            };
            let pages = (u64::from(page)..).take_while(|&at| begins_here(at)).count();
            if pages > 0 {
                self.leave(page, pages as u32);
            }
        }
        for &(page, descriptor) in descriptors {
            if let Some(span) = Span::decode(descriptor) {
                self.enter(page, span);
            }
        }
    }

    /// The word of the page of `at`. `FREE` if that is no data page.
    fn word_of(&self, at: u64) -> u64 {
        let page = at.wrapping_sub(self.data_start) / PAGE;
        match self.words.get(page as usize) {
            Some(word) => word.load(Relaxed),
            None => self.word_in_segment(page),
        }
    }

    /// First page of the span in which `at` is.
    pub(crate) fn first_page(&self, at: u64) -> Option<u32> {
        let word = self.word_of(at);
        (word as u8 as u64 != FREE).then_some((word >> 32) as u32)
    }

    /// Whether the page of `at` is in a run.
    pub(crate) fn is_in_run(&self, at: u64) -> bool {
        classes::get(self.word_of(at) as u8).is_some()
    }

    /// Whether the page of `at` is in a span.
    pub(crate) fn is_in_use(&self, at: u64) -> bool {
        self.first_page(at).is_some()
    }

    /// The allocated block in which all of `at..at + len` is. Asks `is_allocated` about a block of the run at a page,
    /// by its number, and `large` for the pages of the large block at a page; both as the asker sees them.
    #[inline(always)]
    pub(crate) fn locate(
        &self,
        at: u64,
        len: u64,
        is_allocated: impl FnOnce(u32, u32) -> bool,
        large: impl FnOnce(u32) -> Option<u32>,
    ) -> Option<Block> {
        // Before the data pages: beyond all of them.
        match self.words.get((at.wrapping_sub(self.data_start) / PAGE) as usize) {
            Some(word) => self.locate_by(word.load(Relaxed), at, len, is_allocated, large),
            None => self.locate_in_segment(at, len, is_allocated, large),
        }
    }

    /// Apart, so that those who find it in the first part pay nothing for this.
    #[inline(never)]
    fn locate_in_segment(
        &self,
        at: u64,
        len: u64,
        is_allocated: impl FnOnce(u32, u32) -> bool,
        large: impl FnOnce(u32) -> Option<u32>,
    ) -> Option<Block> {
        let word = self.word_in_segment(at.wrapping_sub(self.data_start) / PAGE);
        self.locate_by(word, at, len, is_allocated, large)
    }

    #[inline(always)]
    fn locate_by(
        &self,
        word: u64,
        at: u64,
        len: u64,
        is_allocated: impl FnOnce(u32, u32) -> bool,
        large: impl FnOnce(u32) -> Option<u32>,
    ) -> Option<Block> {
        let inside_data = at.wrapping_sub(self.data_start);
        let page = (word >> 32) as u32;
        let inside = inside_data.wrapping_sub(page as u64 * PAGE);
        let Some(class) = classes::get(word as u8) else {
            if word as u8 as u64 != LARGE {
                return None; // free, or a slab: no address in it is ever given out
            }
            let size = large(page)? as u64 * PAGE;
            return (inside < size && len <= size - inside).then(|| Block { start: at - inside, len: size });
        };
        // Behind a run's last block there is no bit.
        let slot = class.slot_of(inside);
        let inside_block = inside - slot as u64 * class.size;
        let fits = len <= class.size - inside_block;
        (fits && is_allocated(page, slot)).then(|| Block { start: at - inside_block, len: class.size })
    }

    /// The same, of what is committed; for a reader. `word` reads the mapping.
    #[inline(always)]
    pub(crate) fn locate_committed(
        &self,
        geometry: &Geometry,
        word: impl Fn(u64) -> u64,
        at: u64,
        len: u64,
    ) -> Option<Block> {
        match self.words.get((at.wrapping_sub(self.data_start) / PAGE) as usize) {
            Some(found) => {
                let is_allocated = |page, slot: u32| {
                    is_set(word(geometry.first_bitmap_word_at(page, slot as usize / 64)), slot)
                };
                let large = |page| pages_of_large(word(geometry.first_descriptor_at(page)));
                self.locate_by(found.load(Relaxed), at, len, is_allocated, large)
            }
            None => {
                let is_allocated =
                    |page, slot: u32| is_set(word(geometry.bitmap_word_at(page, slot as usize / 64)), slot);
                let large = |page| pages_of_large(word(geometry.descriptor_at(page)));
                self.locate_in_segment(at, len, is_allocated, large)
            }
        }
    }
}

/// Whether a block's bit is set in its word of the bitmap.
#[inline]
fn is_set(bits: u64, slot: u32) -> bool {
    bits >> (slot % 64) & 1 == 1
}

/// Pages of the large block that a descriptor is of.
fn pages_of_large(descriptor: u64) -> Option<u32> {
    match Span::decode(descriptor)? {
        Span::Large { pages } => Some(pages),
        Span::Run { .. } | Span::Slab { .. } => None,
    }
}
