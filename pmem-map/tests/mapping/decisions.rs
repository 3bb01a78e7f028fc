//! An observer is asked first, and may forbid.

use pmem_map::{Decision, Error, Event, Granularity, MapOptions, Observer, Region};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Decides on one operation, by its number, and counts those that were told.
struct Decides {
    asked: AtomicUsize,
    number: usize,
    decision: Decision,
    told: Mutex<Vec<&'static str>>,
}

impl Decides {
    fn on(number: usize, decision: Decision) -> Arc<Decides> {
        Arc::new(Decides { asked: AtomicUsize::new(0), number, decision, told: Mutex::default() })
    }
}

impl Observer for Decides {
    fn event(&self, _: &Region, event: Event<'_>) {
        self.told.lock().unwrap().push(match event {
            Event::Store { .. } => "store",
            Event::StoreNontemporal { .. } => "past the caches",
            Event::Flush { .. } => "flush",
            Event::BeforeDrain { .. } => "before drain",
            Event::Drain { .. } => "drain",
            Event::Covered { .. } => "covered",
            _ => "other",
        });
    }

    fn decide(&self, _: &Region, _: &Event<'_>) -> Decision {
        if self.asked.fetch_add(1, Ordering::Relaxed) == self.number {
            self.decision
        } else {
            Decision::Perform
        }
    }
}

/// Stores in every way, flushes, drains: what was told, the first words, and flushed lines and drains.
fn run(number: usize, decision: Decision) -> (Vec<&'static str>, [u64; 4], (u64, u64)) {
    let observer = Decides::on(number, decision);
    let mapping = MapOptions::new().len(4096).observer(observer.clone()).anonymous().unwrap();
    // SAFETY: one thread, and no reference into the mapping is alive.
    unsafe {
        mapping.store(0, &1u64.to_le_bytes());
        mapping.store_word(64, 2);
        mapping.store_words(2, 0b11, &[3, 4]);
        mapping.store_nontemporal(192, &5u64.to_le_bytes());
    }
    mapping.flush(0..64).unwrap();
    mapping.flush_lines(&[1, 2]).unwrap();
    mapping.covered_lines(&[0]);
    mapping.drain().unwrap();
    let counters = mapping.counters();
    // SAFETY: as above.
    let words = [0, 64, 128, 192].map(|at| unsafe { mapping.load_word(at) });
    let told = observer.told.lock().unwrap().clone();
    (told, words, (counters.lines_flushed, counters.drains))
}

#[test]
fn what_an_observer_skips_is_neither_done_nor_told() {
    let all = vec![
        "store",
        "store",
        "store",
        "store",
        "past the caches",
        "flush",
        "flush",
        "flush",
        "covered",
        "before drain",
        "drain",
    ];
    assert_eq!(run(usize::MAX, Decision::Skip), (all.clone(), [1, 2, 3, 5], (3, 1)));
    for (number, words) in [(0, [0, 2, 3, 5]), (1, [1, 0, 3, 5]), (2, [1, 2, 0, 5]), (4, [1, 2, 3, 0])] {
        let mut told = all.clone();
        told.remove(number);
        assert_eq!(run(number, Decision::Skip), (told, words, (3, 1)), "store {number}");
    }
    let (told, _, counts) = run(6, Decision::Skip);
    assert_eq!((told.iter().filter(|what| **what == "flush").count(), counts), (2, (2, 1)));
    let (told, _, counts) = run(8, Decision::Skip);
    assert_eq!((told.last(), counts), (Some(&"covered"), (3, 0)), "no drain");
}

#[test]
fn a_drain_that_an_observer_lets_fail_poisons_the_mapping() {
    for granularity in [Granularity::Page, Granularity::CacheLine] {
        let observer = Decides::on(0, Decision::Fail);
        let options = MapOptions::new().len(4096).granularity(granularity).observer(observer);
        let mapping = options.anonymous().unwrap();
        assert_eq!(mapping.granularity(), granularity);
        assert!(matches!(mapping.drain(), Err(Error::Io { .. })));
        assert!(mapping.is_poisoned());
        assert!(matches!(mapping.drain(), Err(Error::Poisoned)));
    }
}
