//! Reads all descriptors and bitmaps and checks them against each other: for opening, and for the check.

use crate::{
    classes,
    format::{BITMAP_WORDS, Geometry, Span},
};
use std::ops::Range;

/// Something in the page table or the bitmaps that cannot be right.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) offset: u64,
    pub(crate) expected: &'static str,
    pub(crate) found: String,
}

/// What a stretch of data pages is.
pub(crate) enum Stretch<'a> {
    /// Free pages.
    Free { page: u32, pages: u32 },
    /// A span and, for a run, its bitmap: bit `i` is block `i`.
    Span { page: u32, span: Span, bitmap: &'a [u64] },
    /// Damage: a page without a right descriptor, which is told as free later, or what is wrong with the stretch told next.
    Fault(Fault),
}

/// Visits every data page once, in order, each part of the pool for itself, as long as `visit` does not fail. `word` reads the mapping. Bounded by the
/// number of pages, whatever the bytes are.
pub(crate) fn scan<E>(
    geometry: &Geometry,
    word: impl Fn(u64) -> u64,
    mut visit: impl FnMut(Stretch<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut bitmap = vec![0u64; classes::MAX_RUN_PAGES as usize * BITMAP_WORDS];
    let bits_from = |page: u32, from: usize, to: usize| {
        (from..to).map(|i| geometry.bitmap_word_at(page, i)).find(|&at| word(at) != 0)
    };
    let stray = |at: u64| {
        let (expected, found) = ("no bits outside a run's blocks", format!("{:#x}", word(at)));
        Stretch::Fault(Fault { offset: at, expected, found })
    };
    for Range { start, end } in geometry.stretches() {
        let mut free_from = start;
        let mut page = start;
        while page < end {
            let at = geometry.descriptor_at(page);
            let descriptor = word(at);
            if descriptor == 0 {
                if let Some(at) = bits_from(page, 0, BITMAP_WORDS) {
                    visit(stray(at))?;
                }
                page += 1;
                continue;
            }
            if free_from < page {
                visit(Stretch::Free { page: free_from, pages: page - free_from })?;
            }
            let left = end - page;
            let Some(span) = Span::decode(descriptor).filter(|span| span.pages() <= left) else {
                let (expected, found) = ("a descriptor of a span", format!("{descriptor:#x}"));
                visit(Stretch::Fault(Fault { offset: at, expected, found }))?;
                free_from = page; // who goes on takes it for a free page
                page += 1;
                continue;
            };
            for inner in page + 1..page + span.pages() {
                let (offset, expected) = (geometry.descriptor_at(inner), "no descriptor inside a span");
                let inner = word(offset);
                if inner != 0 {
                    visit(Stretch::Fault(Fault { offset, expected, found: format!("{inner:#x}") }))?;
                }
            }
            let words = match span {
                Span::Run { class, pages } => {
                    let slots = classes::slots(class, pages);
                    let words = slots.div_ceil(64) as usize;
                    for (i, bits) in bitmap[..words].iter_mut().enumerate() {
                        *bits = word(geometry.bitmap_word_at(page, i));
                    }
                    let beyond = if slots % 64 == 0 { 0 } else { !0 << (slots % 64) };
                    if bitmap[words - 1] & beyond != 0 {
                        visit(stray(geometry.bitmap_word_at(page, words - 1)))?;
                        bitmap[words - 1] &= !beyond;
                    }
                    words
                }
                Span::Large { .. } | Span::Slab { .. } => 0,
            };
            if let Some(at) = bits_from(page, words, span.pages() as usize * BITMAP_WORDS) {
                visit(stray(at))?;
            }
            visit(Stretch::Span { page, span, bitmap: &bitmap[..words] })?;
            page += span.pages();
            free_from = page;
        }
        if free_from < page {
            visit(Stretch::Free { page: free_from, pages: page - free_from })?;
        }
    }
    Ok(())
}
