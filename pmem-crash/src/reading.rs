//! Reading a region's bytes while it is used: the only `unsafe` of this crate.

#![expect(unsafe_code)]

use pmem_map::{LINE, Region};

/// The present content of the line that begins at `offset`.
pub(crate) fn line(region: &Region, offset: u64) -> [u8; LINE as usize] {
    let mut bytes = [0; LINE as usize];
    words(region, offset, &mut bytes);
    bytes
}

/// Copies bytes out; `offset` and the length are multiples of 8, and inside the region.
pub(crate) fn words(region: &Region, offset: u64, into: &mut [u8]) {
    for (at, word) in (offset..).step_by(8).zip(into.chunks_exact_mut(8)) {
        // SAFETY: no other thread stores these bytes by plain accesses meanwhile. This runs inside an event
        // of the region or inside `Ops::compare`, on the thread that caused it, which therefore stores
        // nothing; and other threads do not store at that moment: this module is used only while
        // `Config::raw_stores` is on, whose contract is that the workload's threads take turns. (A recovery
        // is subject to the same setting.) The loads are atomic, so that a thread which does break its turn
        // with `Region::store_word` is no race either. No `&mut` into the bytes is used across the event:
        // a `Mapping` lends one only while its region's methods cannot be called.
        let value = unsafe { region.load_word(at) };
        word.copy_from_slice(&value.to_le_bytes());
    }
}
