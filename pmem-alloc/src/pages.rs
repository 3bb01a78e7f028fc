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
};
use pmem_map::PAGE;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

// A page's word: the first page of its span in the upper half; in its lowest byte the class, if that is a run, or else:
const LARGE: u64 = 0xFE;
const FREE: u64 = 0xFF;
const _: () = assert!(classes::COUNT <= LARGE as usize);

/// Where each data page's span begins, and what it is.
#[derive(Clone)]
pub(crate) struct PageMap {
    data_start: u64,
    words: Arc<[AtomicU64]>,
}

impl PageMap {
    /// All pages are free.
    pub(crate) fn new(geometry: &Geometry) -> PageMap {
        let words = (0..geometry.data_pages).map(|_| AtomicU64::new(FREE)).collect();
        PageMap { data_start: geometry.data_start, words }
    }

    /// Pages `page..` are `span` from now on.
    pub(crate) fn enter(&self, page: u32, span: Span) {
        let kind = match span {
            Span::Run { class, .. } => class as u64,
            Span::Large { .. } => LARGE,
        };
        self.set(page, span.pages(), (page as u64) << 32 | kind);
    }

    /// `pages` pages are free from now on.
    pub(crate) fn leave(&self, page: u32, pages: u32) {
        self.set(page, pages, FREE);
    }

    fn set(&self, page: u32, pages: u32, word: u64) {
        for entry in &self.words[page as usize..(page + pages) as usize] {
            entry.store(word, Relaxed);
        }
    }

    /// First page of the span in which `at` is.
    pub(crate) fn first_page(&self, at: u64) -> Option<u32> {
        let word = self.words.get((at.wrapping_sub(self.data_start) / PAGE) as usize)?.load(Relaxed);
        (word as u8 as u64 != FREE).then_some((word >> 32) as u32)
    }

    /// Whether the page of `at` is in a run.
    pub(crate) fn is_in_run(&self, at: u64) -> bool {
        let word = self.words.get((at.wrapping_sub(self.data_start) / PAGE) as usize);
        word.is_some_and(|word| classes::get(word.load(Relaxed) as u8).is_some())
    }

    /// Whether the page of `at` is in a span.
    pub(crate) fn is_in_use(&self, at: u64) -> bool {
        self.first_page(at).is_some()
    }

    /// The allocated block in which all of `at..at + len` is. Asks `is_allocated` about a block of the run at a page,
    /// by its number, and `large` for the pages of the large block at a page; both as the asker sees them.
    #[inline]
    pub(crate) fn locate(
        &self,
        at: u64,
        len: u64,
        is_allocated: impl FnOnce(u32, u32) -> bool,
        large: impl FnOnce(u32) -> Option<u32>,
    ) -> Option<Block> {
        let inside_data = at.wrapping_sub(self.data_start); // before the data pages: beyond all of them
        let word = self.words.get((inside_data / PAGE) as usize)?.load(Relaxed);
        let page = (word >> 32) as u32;
        let inside = inside_data.wrapping_sub(page as u64 * PAGE);
        let Some(class) = classes::get(word as u8) else {
            if word as u8 as u64 == FREE {
                return None;
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
    #[inline]
    pub(crate) fn locate_committed(
        &self,
        geometry: &Geometry,
        word: impl Fn(u64) -> u64,
        at: u64,
        len: u64,
    ) -> Option<Block> {
        let is_allocated =
            |page, slot: u32| word(geometry.bitmap_word_at(page, slot as usize / 64)) >> (slot % 64) & 1 == 1;
        let large = |page| match Span::decode(word(geometry.descriptor_at(page)))? {
            Span::Large { pages } => Some(pages),
            Span::Run { .. } => None,
        };
        self.locate(at, len, is_allocated, large)
    }
}
