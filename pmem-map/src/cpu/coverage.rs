//! Every byte that was to become durable was flushed or went past the caches.

use super::trace;
use crate::{LINE, MapOptions, Mapping, Region};
use proptest::prelude::*;
use std::{collections::BTreeSet, ops::Range};

const SPACE: u64 = 3 * 4096;
const BASE: u64 = 4096;
const UNTOUCHED: u8 = 0xa5;

fn region() -> Region {
    let mut mapping = Mapping::anonymous(SPACE).unwrap();
    mapping.as_mut_slice().fill(UNTOUCHED);
    mapping.into_region()
}

fn bytes(region: &Region) -> &[u8] {
    // SAFETY: the whole mapping; these tests store to it only between two calls of this function.
    unsafe { std::slice::from_raw_parts(region.base().as_ptr(), region.len() as usize) }
}

fn lines(range: Range<u64>) -> BTreeSet<u64> {
    if range.is_empty() { BTreeSet::new() } else { (range.start / LINE..=(range.end - 1) / LINE).collect() }
}

/// What the trace says about `range`: every byte streamed, or in a flushed line; nothing outside its lines.
fn assert_covered(region: &Region, range: Range<u64>) {
    let trace = trace::take();
    if cfg!(any(pmem_fallback, miri)) {
        return; // no instruction to forget
    }
    let base = region.base().as_ptr() as u64;
    let flushed: BTreeSet<u64> = trace.flushed.iter().map(|at| (*at as u64 - base) / LINE).collect();
    let streamed: Vec<Range<u64>> =
        trace.streamed.iter().map(|r| r.start as u64 - base..r.end as u64 - base).collect();
    assert!(streamed.iter().all(|r| range.start <= r.start && r.end <= range.end), "{range:?}");
    assert!(flushed.is_subset(&lines(range.clone())), "{range:?}");
    for byte in range.clone() {
        let past = streamed.iter().any(|r| r.contains(&byte));
        assert!(past || flushed.contains(&(byte / LINE)), "byte {byte} of {range:?} stays in a cache");
    }
}

/// NOVA #105: the tail of an unaligned non-temporal copy was never flushed.
#[test]
fn a_nontemporal_copy_of_any_offset_and_length_copies_and_covers_every_byte_and_no_other() {
    let region = region();
    let source: Vec<u8> = (0..160u8).collect();
    for offset in 0..=160 {
        for len in 0..=160 {
            let (at, from) = (BASE + offset, &source[..len]);
            trace::take();
            // SAFETY: no reference to the region's bytes is alive, and no other thread knows them.
            unsafe { region.store_nontemporal(at, from) };
            let end = at + len as u64;
            assert_covered(&region, at..end);
            assert_eq!(&bytes(&region)[at as usize..end as usize], from, "{len} bytes at {offset}");
            let (before, after) = (&bytes(&region)[..at as usize], &bytes(&region)[end as usize..]);
            assert!(before.iter().chain(after).all(|byte| *byte == UNTOUCHED), "{len} bytes at {offset}");
            // SAFETY: as above.
            unsafe { region.store(at, &vec![UNTOUCHED; len]) };
        }
    }
}

#[test]
fn a_nontemporal_fill_of_any_offset_and_length_fills_and_covers_every_byte_and_no_other() {
    let region = region();
    for offset in 0..=160 {
        for len in 0..=160 {
            let (at, end) = (BASE + offset, BASE + offset + len);
            trace::take();
            // SAFETY: no reference to the region's bytes is alive, and no other thread knows them.
            unsafe { region.fill_nontemporal(at, 0x3c, len) };
            assert_covered(&region, at..end);
            assert!(bytes(&region)[at as usize..end as usize].iter().all(|byte| *byte == 0x3c));
            let (before, after) = (&bytes(&region)[..at as usize], &bytes(&region)[end as usize..]);
            assert!(before.iter().chain(after).all(|byte| *byte == UNTOUCHED), "{len} bytes at {offset}");
            // SAFETY: as above.
            unsafe { region.store(at, &vec![UNTOUCHED; len as usize]) };
        }
    }
}

proptest! {
    /// Corundum flushed from a misaligned start in steps of a line, and missed the last one.
    #[test]
    fn a_flush_of_any_range_flushes_exactly_its_lines_once(start in 0..SPACE, len in 0..SPACE) {
        let region = region();
        let range = start..(start + len).min(SPACE);
        trace::take();
        region.flush(range.clone()).unwrap();
        let base = region.base().as_ptr() as u64;
        let flushed: Vec<u64> = trace::take().flushed.iter().map(|at| (*at as u64 - base) / LINE).collect();
        let lines = lines(range);
        prop_assert_eq!(region.counters().lines_flushed, lines.len() as u64);
        if region.flush_method() == super::FlushMethod::None {
            prop_assert!(flushed.is_empty()); // no instruction to forget
        } else {
            prop_assert!(flushed.into_iter().eq(lines));
        }
    }
}

#[test]
fn each_flush_method_that_the_processor_has_can_be_asked_for_and_no_other() {
    use super::FlushMethod::{Clflush, Clflushopt, Clwb, DcCvac, DcCvap, None};
    for method in [Clwb, Clflushopt, Clflush, DcCvap, DcCvac, None] {
        let mapping = MapOptions::new().len(4096).flush_with(method).anonymous();
        assert_eq!(mapping.is_ok(), method.is_available(), "{method}");
        if let Ok(mapping) = mapping {
            assert_eq!(mapping.flush_method(), method);
            mapping.persist(0..4096).unwrap();
            assert_eq!(mapping.counters().lines_flushed, 64);
        }
    }
    assert!(super::FlushMethod::detect().is_available());
}
