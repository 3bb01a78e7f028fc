//! The heap: blocks of 8 bytes to gigabytes, allocated and freed by transactions.
//!
//! On media there are only descriptors of spans and bitmaps of runs; both are words that a transaction changes like
//! any others, so allocating adds a few words to its record and no drain. Everything else here is volatile: free spans,
//! runs with room, what is reserved. It is rebuilt when the pool is opened.
//!
//! Nothing is copied when a transaction begins. What it does to the volatile state is listed in `steps`; abort undoes
//! the list from its end, a rollback to a savepoint undoes a part of it, commit carries out what had to wait: a freed
//! block can be handed out only when the commit that freed it is durable and applied, and never to the transaction that freed it,
//! because other guards may still refer to it.

use crate::{
    Error, ErrorKind, Result, classes,
    format::{BITMAP_WORDS, Geometry, Span},
    pages::PageMap,
    repair::Mends,
    runs::Runs,
    scan::{Fault, Stretch, scan},
    spans::FreeSpans,
};
use pmem_map::PAGE;
use pmem_tx::Ticket;
use std::{collections::VecDeque, ops::Range};

/// The largest alignment of a block, counted from the start of the mapping.
pub(crate) const MAX_ALIGN: u64 = 2 << 20;

/// The metadata words that a transaction changes.
pub(crate) trait Words {
    fn set_word(&mut self, at: u64, value: u64);
}

/// A block: offset of its first byte, and its length (which may be more than was asked for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Block {
    #[inline]
    pub(crate) fn range(self) -> Range<u64> {
        self.start..self.start + self.len
    }
}

/// Bytes of the block that `len` bytes at a multiple of `align` get, if there can be one.
pub(crate) fn size_for(len: u64, align: u64) -> Option<u64> {
    if !align.is_power_of_two() || align > MAX_ALIGN {
        return None;
    }
    match classes::for_len(len.checked_next_multiple_of(align)?) {
        Some(class) if align <= PAGE => Some(classes::size(class)),
        _ => len.max(1).checked_next_multiple_of(PAGE),
    }
}

/// What the open transaction did to the volatile state.
enum Step {
    /// A block of a run became live.
    Slot { page: u32, slot: u32 },
    /// A block of a run was freed; it stays taken until commit.
    FreedSlot { page: u32, slot: u32 },
    /// Pages became a large block.
    Large { page: u32 },
    /// A large block was freed; its pages stay taken until commit.
    FreedLarge { page: u32 },
    /// Free pages became a run.
    Run { page: u32 },
    /// A block was reserved.
    Reserved { block: Block },
    /// An empty run became free pages.
    Released { page: u32, class: u8, pages: u32 },
}

/// How far the open transaction has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    steps: usize,
}

/// The heap as its one writer sees it.
pub(crate) struct Heap {
    geometry: Geometry,
    pages: PageMap,
    /// Data pages there are.
    pool_pages: u32,
    /// For each page the span that starts there after this transaction. A large block which was freed, or is only
    /// reserved, is here too: its `live` bit tells.
    starts: Vec<Option<Span>>,
    spans: FreeSpans,
    runs: Runs,
    steps: Vec<Step>,
    /// What commits freed which are on their way: taken until they are applied.
    waiting: VecDeque<(Ticket, Step)>,
}

impl Heap {
    /// From what is on media; checks all of it. `word` reads the mapping.
    pub(crate) fn rebuild(geometry: &Geometry, word: impl Fn(u64) -> u64) -> Result<Heap> {
        Heap::rebuild_with(geometry, word, |fault| {
            Err(Error::corrupt(fault.offset, fault.expected, fault.found))
        })
    }

    /// The same of a damaged pool: descriptors that are none are taken for free pages, bits that belong to no block for
    /// zeros. `mends` is told the words that say otherwise.
    pub(crate) fn rebuild_mended(
        geometry: &Geometry,
        word: impl Fn(u64) -> u64,
        mends: &mut Mends,
    ) -> Result<Heap> {
        let heap = Heap::rebuild_with(geometry, &word, |fault| {
            mends.faults.push(Error::corrupt(fault.offset, fault.expected, fault.found));
            Ok(())
        })?;
        if !mends.faults.is_empty() {
            for page in geometry.stretches().flatten() {
                let (at, right) = (geometry.descriptor_at(page), heap.span_at(page).map_or(0, Span::encode));
                if word(at) != right {
                    mends.words.push((at, right));
                }
                let is_run = heap.pages.is_in_run(geometry.page_at(page));
                for (i, &live) in heap.runs.live_words(page, BITMAP_WORDS).iter().enumerate() {
                    let (at, right) = (geometry.bitmap_word_at(page, i), if is_run { live } else { 0 });
                    if word(at) != right {
                        mends.words.push((at, right));
                    }
                }
            }
        }
        Ok(heap)
    }

    fn rebuild_with(
        geometry: &Geometry,
        word: impl Fn(u64) -> u64,
        mut on_fault: impl FnMut(Fault) -> Result<()>,
    ) -> Result<Heap> {
        let mut heap = Heap {
            geometry: geometry.clone(),
            pages: PageMap::new(geometry),
            pool_pages: geometry.data_pages() as u32,
            starts: vec![None; geometry.page_numbers_end() as usize],
            spans: FreeSpans::default(),
            runs: Runs::new(geometry.page_numbers_end()),
            steps: Vec::with_capacity(64),
            waiting: VecDeque::new(),
        };
        scan(geometry, word, |stretch| match stretch {
            Stretch::Fault(fault) => on_fault(fault),
            Stretch::Free { page, pages } => {
                heap.spans.give(page, pages);
                Ok(())
            }
            Stretch::Span { page, span, bitmap } => {
                heap.enter(page, span);
                match span {
                    Span::Run { class, pages } => heap.runs.add_with(page, class, pages, bitmap),
                    Span::Large { .. } | Span::Slab { .. } => _ = heap.runs.set_live(page, 0, true),
                }
                Ok(())
            }
        })?;
        Ok(heap)
    }

    /// The pool has grown: what the geometry, in which nobody has looked yet, has more than this heap, is free. No part
    /// of the open transaction: it stays whatever becomes of that.
    pub(crate) fn extend(&mut self) {
        let known = self.starts.len() as u32;
        let end = self.geometry.page_numbers_end();
        self.starts.resize(end as usize, None);
        self.runs.extend(end);
        self.pages.extend();
        for pages in self.geometry.stretches().filter(|pages| pages.start >= known) {
            self.spans.give(pages.start, pages.end - pages.start);
        }
        self.pool_pages = self.geometry.data_pages() as u32;
    }

    pub(crate) fn page_map(&self) -> PageMap {
        self.pages.clone()
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Pages `page..` are `span` from now on.
    fn enter(&mut self, page: u32, span: Span) {
        self.starts[page as usize] = Some(span);
        self.pages.enter(page, span);
    }

    /// Pages of a span are free from now on.
    fn leave(&mut self, page: u32, pages: u32) {
        self.starts[page as usize] = None;
        self.pages.leave(page, pages);
        self.spans.give(page, pages);
    }

    fn span_at(&self, page: u32) -> Option<Span> {
        self.starts[page as usize]
    }

    fn run_at(&self, page: u32) -> (u8, u32) {
        match self.span_at(page) {
            Some(Span::Run { class, pages }) => (class, pages),
            other => unreachable!("page {page} is {other:?}, and no run"),
        }
    }

    /// The allocated block in which all of `at..at + len` is, with this transaction's changes.
    #[inline]
    pub(crate) fn locate(&self, at: u64, len: u64) -> Option<Block> {
        let is_live = |page, slot| self.runs.is_live(page, slot);
        let large = |page| self.span_at(page).filter(|_| is_live(page, 0)).map(Span::pages);
        self.pages.locate(at, len, is_live, large)
    }

    /// Free pages, taken: of empty runs too if need be.
    fn take_pages(&mut self, pages: u32, align: u64, words: &mut impl Words) -> Option<u32> {
        loop {
            if let Some(page) = self.spans.take(pages, align, self.geometry.data_start / PAGE) {
                return Some(page);
            }
            let page = self.runs.an_empty_one()?;
            let (class, pages) = self.run_at(page);
            self.runs.remove(page, class);
            self.leave(page, pages);
            words.set_word(self.geometry.descriptor_at(page), 0);
            self.steps.push(Step::Released { page, class, pages });
        }
    }

    /// A new run of a class; a shorter one than usual if there are no pages for that.
    fn new_run(&mut self, class: u8, words: &mut impl Words) -> Option<u32> {
        let mut pages = classes::run_pages(class, self.pool_pages);
        let least = classes::least_run_pages(class);
        let page = loop {
            if let Some(page) = self.take_pages(pages, 1, words) {
                break page;
            }
            if pages == least {
                return None;
            }
            pages = classes::trimmed(class, (pages / 2).max(least));
        };
        let span = Span::Run { class, pages };
        self.enter(page, span);
        self.runs.add(page, class);
        words.set_word(self.geometry.descriptor_at(page), span.encode());
        self.steps.push(Step::Run { page });
        Some(page)
    }

    /// A block that nobody else gets, but that is not allocated yet.
    fn take(&mut self, len: u64, align: u64, words: &mut impl Words) -> Result<Block> {
        if !align.is_power_of_two() || align > MAX_ALIGN {
            return Err(ErrorKind::BadAlignment { align, maximum: MAX_ALIGN }.into());
        }
        let no_space = || Error::from(ErrorKind::NoSpace { needed: len });
        let rounded = len.checked_next_multiple_of(align).ok_or_else(no_space)?;
        if align <= PAGE
            && let Some(class) = classes::for_len(rounded)
        {
            let page = match self.runs.with_room(class) {
                Some(page) => page,
                None => self.new_run(class, words).ok_or_else(no_space)?,
            };
            let (_, pages) = self.run_at(page);
            let slot = self.runs.take(page, class, pages);
            let len = classes::size(class);
            return Ok(Block { start: self.geometry.page_at(page) + slot as u64 * len, len });
        }
        let pages = u32::try_from(len.max(1).div_ceil(PAGE)).map_err(|_| no_space())?;
        let page = self.take_pages(pages, (align / PAGE).max(1), words).ok_or_else(no_space)?;
        self.enter(page, Span::Large { pages });
        Ok(Block { start: self.geometry.page_at(page), len: pages as u64 * PAGE })
    }

    /// The place of a block that was taken: first page of its span, its span, its number.
    fn place_of(&self, block: Block) -> (u32, Span, u32) {
        let page = self.pages.first_page(block.start).expect("a taken block is in a span");
        let span = self.span_at(page).expect("a taken block is in a span");
        let inside = block.start - self.geometry.page_at(page);
        let slot = match span {
            Span::Run { .. } => (inside / block.len) as u32,
            Span::Large { .. } | Span::Slab { .. } => 0,
        };
        debug_assert_eq!(inside, slot as u64 * block.len);
        (page, span, slot)
    }

    /// Numbers that blocks can have: one more than the largest.
    pub(crate) fn block_numbers(&self) -> usize {
        self.geometry.page_numbers_end() as usize * 64 * BITMAP_WORDS
    }

    /// A number that no other block has: that of the block's bit, if it is in a run.
    pub(crate) fn block_number(&self, block: Block) -> usize {
        let (page, _, slot) = self.place_of(block);
        page as usize * 64 * BITMAP_WORDS + slot as usize
    }

    /// A block that was taken becomes part of the transaction.
    fn make_live(&mut self, block: Block, words: &mut impl Words) {
        let (page, span, slot) = self.place_of(block);
        let (word, bits) = self.runs.set_live(page, slot, true);
        match span {
            Span::Run { .. } => {
                words.set_word(self.geometry.bitmap_word_at(page, word), bits);
                self.steps.push(Step::Slot { page, slot });
            }
            Span::Large { .. } | Span::Slab { .. } => {
                words.set_word(self.geometry.descriptor_at(page), span.encode());
                self.steps.push(Step::Large { page });
            }
        }
    }

    /// Allocates at least `len` bytes at a multiple of `align`. Part of the transaction: abort takes it back.
    pub(crate) fn allocate(&mut self, len: u64, align: u64, words: &mut impl Words) -> Result<Block> {
        let block = self.take(len, align, words)?;
        self.make_live(block, words);
        Ok(block)
    }

    /// Allocates whole pages, at least `len` bytes, as a slab: [`locate`](Heap::locate) never finds it.
    pub(crate) fn allocate_slab(&mut self, len: u64, words: &mut impl Words) -> Result<Block> {
        let no_space = || Error::from(ErrorKind::NoSpace { needed: len });
        let pages = u32::try_from(len.max(1).div_ceil(PAGE)).map_err(|_| no_space())?;
        let page = self.take_pages(pages, 1, words).ok_or_else(no_space)?;
        self.enter(page, Span::Slab { pages });
        let block = Block { start: self.geometry.page_at(page), len: pages as u64 * PAGE };
        self.make_live(block, words);
        Ok(block)
    }

    /// Frees the block that starts at `at`. `None` if there is none.
    pub(crate) fn free(&mut self, at: u64, words: &mut impl Words) -> Option<Block> {
        let block = self.locate(at, 0).filter(|block| block.start == at)?;
        let (page, span, slot) = self.place_of(block);
        let (word, bits) = self.runs.set_live(page, slot, false);
        match span {
            Span::Run { .. } => {
                words.set_word(self.geometry.bitmap_word_at(page, word), bits);
                self.steps.push(Step::FreedSlot { page, slot });
            }
            Span::Large { .. } | Span::Slab { .. } => {
                words.set_word(self.geometry.descriptor_at(page), 0);
                self.steps.push(Step::FreedLarge { page });
            }
        }
        Some(block)
    }

    /// Takes a block that is to be allocated by a later transaction. This one commits a new run, if one was needed.
    pub(crate) fn reserve(&mut self, len: u64, align: u64, words: &mut impl Words) -> Result<Block> {
        let block = self.take(len, align, words)?;
        self.steps.push(Step::Reserved { block });
        Ok(block)
    }

    /// Gives a reserved block back.
    pub(crate) fn cancel(&mut self, block: Block) {
        let (page, span, slot) = self.place_of(block);
        match span {
            Span::Run { class, pages } => self.runs.give(page, class, pages, slot),
            Span::Large { pages } | Span::Slab { pages } => self.leave(page, pages),
        }
    }

    /// Allocates a reserved block. From now on it is the transaction's: abort gives it back.
    pub(crate) fn publish(&mut self, block: Block, words: &mut impl Words) {
        self.make_live(block, words);
    }

    /// The transaction is durable and applied: what it freed can be handed out.
    pub(crate) fn commit(&mut self) {
        let mut steps = std::mem::take(&mut self.steps);
        steps.drain(..).for_each(|step| self.release(step));
        self.steps = steps;
    }

    /// The transaction was written: what it freed can be handed out when it is applied. Until then readers see the blocks
    /// in their spans, and a record on its way may write to them.
    pub(crate) fn commit_later(&mut self, ticket: Ticket) {
        let freed = |step: &Step| matches!(step, Step::FreedSlot { .. } | Step::FreedLarge { .. });
        self.waiting.extend(self.steps.drain(..).filter(freed).map(|step| (ticket, step)));
    }

    /// Commits up to `applied` are applied.
    #[inline]
    pub(crate) fn reclaim(&mut self, applied: Ticket) {
        while self.waiting.front().is_some_and(|(ticket, _)| *ticket <= applied) {
            let (_, step) = self.waiting.pop_front().expect("there is one");
            self.release(step);
        }
    }

    /// Whether there are blocks that can be handed out when commits are applied.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn release(&mut self, step: Step) {
        match step {
            Step::FreedSlot { page, slot } => {
                let (class, pages) = self.run_at(page);
                self.runs.give(page, class, pages, slot);
            }
            Step::FreedLarge { page } => {
                let pages = self.span_at(page).expect("freed, not gone").pages();
                self.leave(page, pages);
            }
            Step::Slot { .. }
            | Step::Large { .. }
            | Step::Run { .. }
            | Step::Reserved { .. }
            | Step::Released { .. } => {}
        }
    }

    /// The transaction never was.
    pub(crate) fn abort(&mut self) {
        self.rollback_to(Progress { steps: 0 });
    }

    /// How far the transaction has come.
    pub(crate) fn progress(&self) -> Progress {
        Progress { steps: self.steps.len() }
    }

    /// What the transaction did since `to` never was. The words that it set are another's business. Readers are
    /// misled by this no more than by an abort: pages of blocks that are allocated as committed stay in their spans.
    pub(crate) fn rollback_to(&mut self, to: Progress) {
        let mut steps = std::mem::take(&mut self.steps);
        for step in steps.drain(to.steps..).rev() {
            match step {
                Step::Slot { page, slot } => {
                    let (class, pages) = self.run_at(page);
                    self.runs.set_live(page, slot, false);
                    self.runs.give(page, class, pages, slot);
                }
                Step::FreedSlot { page, slot } => _ = self.runs.set_live(page, slot, true),
                Step::Large { page } => {
                    self.runs.set_live(page, 0, false);
                    let pages = self.span_at(page).expect("allocated, not gone").pages();
                    self.leave(page, pages);
                }
                Step::FreedLarge { page } => _ = self.runs.set_live(page, 0, true),
                Step::Run { page } => {
                    let (class, pages) = self.run_at(page);
                    self.runs.remove(page, class);
                    self.leave(page, pages);
                }
                Step::Reserved { block } => self.cancel(block),
                Step::Released { page, class, pages } => {
                    let exactly = self.spans.take_at(page, pages);
                    debug_assert!(exactly, "pages of a released run were not given back");
                    self.enter(page, Span::Run { class, pages });
                    self.runs.add(page, class);
                }
            }
        }
        self.steps = steps;
    }

    /// Free pages for the log: from one span, the best one for `len` bytes, or the longest. They are no block: no pointer leads
    /// there.
    pub(crate) fn lend(&mut self, len: u64) -> Option<Range<u64>> {
        let wanted = u32::try_from(len.div_ceil(PAGE)).unwrap_or(u32::MAX);
        let pages = wanted.min(self.spans.longest());
        let page = (pages > 0).then(|| self.spans.take(pages, 1, 0)).flatten()?;
        let start = self.geometry.page_at(page);
        Some(start..start + u64::from(pages) * PAGE)
    }

    /// Pages that were lent are free again.
    pub(crate) fn take_back(&mut self, range: Range<u64>) {
        let page = (range.start - self.geometry.data_start) / PAGE;
        self.spans.give(page as u32, ((range.end - range.start) / PAGE) as u32);
    }

    /// Free pages, those of empty runs not counted.
    pub(crate) fn free_spans(&self) -> &FreeSpans {
        &self.spans
    }

    /// Every span that is in use: first page, span, blocks allocated, blocks that cannot be handed out.
    pub(crate) fn each_span(&self) -> impl Iterator<Item = (u32, Span, u32, u32)> {
        let mut page = 0;
        std::iter::from_fn(move || {
            while (page as usize) < self.starts.len() {
                let Some(span) = self.span_at(page) else {
                    page += 1;
                    continue;
                };
                let first = page;
                page += span.pages();
                return Some(match span {
                    Span::Large { .. } | Span::Slab { .. } => {
                        (first, span, self.runs.is_live(first, 0) as u32, 1)
                    }
                    Span::Run { class, pages } => {
                        let live = self.runs.live_count(first, class, pages);
                        (first, span, live, self.runs.taken_count(first))
                    }
                });
            }
            None
        })
    }

    /// Whether a slab begins at `at`.
    pub(crate) fn is_slab(&self, at: u64) -> bool {
        self.pages.first_page(at).is_some_and(|page| {
            self.geometry.page_at(page) == at
                && matches!(self.span_at(page), Some(Span::Slab { .. }))
                && self.runs.is_live(page, 0)
        })
    }

    /// Whether there is a slab: memory that threads store to at any time.
    pub(crate) fn has_slabs(&self) -> bool {
        self.each_span().any(|(_, span, _, _)| matches!(span, Span::Slab { .. }))
    }

    /// Every allocated block but slabs, as this transaction sees it, whose number has no bit in `without`; in the order of offsets.
    pub(crate) fn each_block<'a>(&'a self, without: &'a [u64]) -> impl Iterator<Item = Block> {
        let spans = self.each_span().filter(|(_, span, _, _)| !matches!(span, Span::Slab { .. }));
        spans.flat_map(move |(page, span, _, _)| {
            let start = self.geometry.page_at(page);
            let (len, slots) = match span {
                Span::Run { class, pages } => (classes::size(class), classes::slots(class, pages)),
                Span::Large { pages } | Span::Slab { pages } => (pages as u64 * PAGE, 1),
            };
            let words = slots.div_ceil(64) as usize;
            let skip = without.get(page as usize * BITMAP_WORDS..).unwrap_or_default();
            self.runs.live_words(page, words).iter().enumerate().flat_map(move |(i, live)| {
                let bits = live & !skip.get(i).copied().unwrap_or(0);
                (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| {
                    let slot = i as u64 * 64 + bit;
                    Block { start: start + slot * len, len }
                })
            })
        })
    }

    /// The bitmap of a run as this transaction sees it.
    pub(crate) fn bitmap(&self, page: u32, words: usize) -> &[u64] {
        self.runs.live_words(page, words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Metadata words in DRAM: those committed, and those of the open transaction.
    #[derive(Default)]
    struct Metadata {
        committed: HashMap<u64, u64>,
        changed: HashMap<u64, u64>,
    }

    impl Words for Metadata {
        fn set_word(&mut self, at: u64, value: u64) {
            self.changed.insert(at, value);
        }
    }

    impl Metadata {
        fn word(&self, at: u64) -> u64 {
            self.committed.get(&at).copied().unwrap_or(0)
        }
    }

    /// All that can be seen of a heap's state, in order.
    fn state(heap: &Heap) -> String {
        let spans: Vec<_> = heap.each_span().filter(|&(_, _, _, taken)| taken > 0).collect();
        format!("{spans:?}")
    }

    /// Whatever an open transaction has done, readers find the committed `blocks`, and nothing else anywhere.
    fn assert_readers_see(blocks: &[Block], heap: &Heap, metadata: &Metadata, rng: &mut fastrand::Rng) {
        let geometry = heap.geometry();
        let seen = |at, len| heap.page_map().locate_committed(geometry, |word| metadata.word(word), at, len);
        for block in blocks {
            assert_eq!(seen(block.start, block.len), Some(*block));
            assert_eq!(seen(block.start, block.len + 1), None);
        }
        for _ in 0..64 {
            let at = rng.u64(geometry.data_start - 8..geometry.data_end() + 8);
            let expected = blocks.iter().find(|block| block.range().contains(&at)).copied();
            assert_eq!(seen(at, 1), expected, "at {at}");
        }
    }

    #[test]
    fn an_abort_takes_back_all_a_rollback_a_part_and_a_rebuild_finds_all() {
        for seed in 0..if cfg!(miri) { 2 } else { 200 } {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let geometry = Geometry::for_size(1 << 20).unwrap();
            let mut metadata = Metadata::default();
            let mut heap = Heap::rebuild(&geometry, |_| 0).unwrap();
            let mut blocks: Vec<Block> = Vec::new();
            for _ in 0..30 {
                let (before, mut next) = (state(&heap), blocks.clone());
                let mut savepoints = Vec::new();
                for _ in 0..rng.u32(1..30) {
                    let seen = |heap: &Heap| (state(heap), heap.free_spans().pages());
                    if rng.u32(0..8) == 0 {
                        savepoints.push((
                            heap.progress(),
                            seen(&heap),
                            next.clone(),
                            metadata.changed.clone(),
                        ));
                    } else if rng.u32(0..8) == 0 && !savepoints.is_empty() {
                        savepoints.truncate(rng.usize(1..=savepoints.len()));
                        let (progress, then, blocks_then, changed) = savepoints.last().unwrap();
                        heap.rollback_to(*progress);
                        assert_eq!(&seen(&heap), then);
                        next.clone_from(blocks_then);
                        metadata.changed.clone_from(changed);
                        assert_readers_see(&blocks, &heap, &metadata, &mut rng);
                    } else if next.is_empty() || rng.u32(0..5) > 1 {
                        let len = [rng.u64(1..100), rng.u64(1..10_000), rng.u64(1..200_000)][rng.usize(0..3)];
                        if let Ok(block) = heap.allocate(len, 1 << rng.u32(3..14), &mut metadata) {
                            assert!(block.len >= len);
                            let apart = |other: &Block| {
                                block.range().end <= other.start || other.range().end <= block.start
                            };
                            assert!(blocks.iter().chain(&next).all(apart), "{block:?} was given twice");
                            next.push(block);
                        }
                    } else {
                        let block = next.swap_remove(rng.usize(0..next.len()));
                        assert_eq!(heap.free(block.start + 1, &mut metadata), None);
                        assert_eq!(heap.free(block.start, &mut metadata), Some(block));
                        assert_eq!(heap.free(block.start, &mut metadata), None, "freed twice");
                        assert_eq!(heap.locate(block.start, 1), None);
                    }
                }
                assert_readers_see(&blocks, &heap, &metadata, &mut rng);
                if rng.bool() {
                    heap.abort();
                    metadata.changed.clear();
                    assert_eq!(state(&heap), before);
                } else {
                    heap.commit();
                    metadata.committed.extend(metadata.changed.drain());
                    blocks = next;
                }
                assert_readers_see(&blocks, &heap, &metadata, &mut rng);
                for block in &blocks {
                    assert_eq!(heap.locate(block.start + block.len - 1, 1), Some(*block));
                    assert_eq!(heap.locate(block.start, block.len + 1), None);
                }
                let rebuilt = Heap::rebuild(&geometry, |at| metadata.word(at)).unwrap();
                assert_eq!(state(&rebuilt), state(&heap));
                assert_eq!(rebuilt.free_spans().pages(), heap.free_spans().pages());
            }
        }
    }

    #[test]
    fn what_a_transaction_freed_it_cannot_have_again() {
        let geometry = Geometry::for_size(1 << 20).unwrap();
        let mut metadata = Metadata::default();
        let mut heap = Heap::rebuild(&geometry, |_| 0).unwrap();
        for len in [64, 100_000] {
            let first = heap.allocate(len, 8, &mut metadata).unwrap();
            heap.commit();
            heap.free(first.start, &mut metadata).unwrap();
            let second = heap.allocate(len, 8, &mut metadata).unwrap();
            assert_ne!(first.start, second.start);
            heap.commit();
            assert_eq!(heap.allocate(len, 8, &mut metadata).unwrap().start, first.start);
            heap.abort();
        }
    }
}
