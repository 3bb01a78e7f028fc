//! Safe functions of the engine, misused: they panic before anything happens.

use pmem_map::Mapping;
use pmem_tx::engine::{Log, LogOptions};
use std::sync::Arc;

fn log(len: u64) -> Log {
    let region = Arc::new(Mapping::anonymous(len).unwrap().into_region());
    // SAFETY: nobody else has the region; no reference into it is made.
    unsafe { Log::create(region, 0..4096, 1, LogOptions::default()) }.unwrap()
}

/// `WriteSet::write(block, at, len)` "Panics: the range is outside the block". Without overflow checks (release), it
/// does not: run with `-C overflow-checks=off -C debug-assertions=off`.
#[test]
fn a_range_that_wraps_around_is_outside_the_block() {
    let log = log(1 << 16);
    let mut set = log.write_set();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        _ = set.write(8192..8256, u64::MAX - 3, 8196, 1);
    }));
    assert!(result.is_err());
}

/// `WriteSet::word`: "Panics: `at` is no multiple of 8". It reads a misaligned u64 instead.
#[test]
fn a_misaligned_word_panics() {
    let log = log(1 << 16);
    let mut set = log.write_set();
    set.set_word(8192, 1);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| set.word(8196)));
    assert!(result.is_err(), "{:?}", result.ok());
}

/// A write set of another log's region, as the sizes have it: nothing refuses it.
#[test]
fn a_foreign_write_set_is_refused() {
    let (mut small, large) = (log(1 << 16), log(1 << 20));
    let mut set = large.write_set();
    set.set_word(1 << 19, 7);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| small.commit(&mut set, || ())));
    let region = small.region().clone();
    drop(small);
    // SAFETY: as above.
    let opened = unsafe { Log::open(region, 0..4096, None, 0..1 << 16, LogOptions::default()) };
    assert!(opened.is_ok(), "after {result:?}: {:?}", opened.err());
}
