//! Counters and events say exactly what was done.

use crate::recorder::Recorder;
use pmem_map::{Counters, Durability, FlushMethod, Granularity, LINE, MapOptions, Mapping, PAGE};
use std::sync::Barrier;

#[test]
fn counts_of_a_hundred_threads_are_exact() {
    const THREADS: u64 = 100;
    const ROUNDS: u64 = 3000;
    let all_at_once = Barrier::new(THREADS as usize);
    let region = Mapping::anonymous(THREADS * PAGE).unwrap().into_region();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (region, all_at_once) = (&region, &all_at_once);
            scope.spawn(move || {
                // Whoever comes late has no slot of its own, and shares one.
                region.flush(thread * PAGE..thread * PAGE).unwrap();
                region.drain().unwrap();
                all_at_once.wait();
                for _ in 0..ROUNDS {
                    let at = thread * PAGE + 60;
                    // SAFETY: this page is this thread's alone.
                    unsafe { region.store_nontemporal(at, b"8 bytes.") };
                    region.persist(at..at + 70).unwrap();
                }
            });
        }
    });
    let times = THREADS * ROUNDS;
    let expected = Counters {
        lines_flushed: 3 * times,
        lines_nontemporal: 2 * times,
        bytes_nontemporal: 8 * times,
        drains: times + THREADS,
        syncs: 0,
    };
    assert_eq!(region.counters(), expected);
    assert_eq!(region.counters().lines(), 5 * times);
}

#[test]
fn every_line_of_a_nontemporal_copy_or_fill_is_told_to_be_on_its_way() {
    let recorder = Recorder::new();
    let region = MapOptions::new().len(PAGE).observer(recorder.clone()).anonymous().unwrap().into_region();
    let bytes = [9; 160];
    for offset in 0..=160u64 {
        for len in 0..=160u64 {
            // SAFETY: no reference to the region's bytes is alive, and no other thread knows them.
            unsafe {
                region.store_nontemporal(offset, &bytes[..len as usize]);
                region.fill_nontemporal(offset, 3, len);
            }
            region.flush(offset..offset + len).unwrap();
            let told = recorder.on_their_way();
            assert!(told.iter().all(|range| *range == (offset..offset + len)), "{told:?}");
            assert_eq!(told.len(), if len == 0 { 2 } else { 3 });
        }
    }
    let lines =
        |offset: u64, len: u64| if len == 0 { 0 } else { (offset + len).div_ceil(LINE) - offset / LINE };
    let once: u64 = (0..=160).flat_map(|offset| (0..=160).map(move |len| lines(offset, len))).sum();
    assert_eq!(region.counters().lines_nontemporal, 2 * once);
    assert_eq!(region.counters().lines_flushed, once);
}

#[test]
fn the_observer_sees_the_operations_of_a_thread_in_their_order() {
    let recorder = Recorder::new();
    let mapping = Mapping::anonymous(PAGE).unwrap();
    assert!(mapping.observe(recorder.clone()).is_ok());
    assert!(mapping.observe(recorder.clone()).is_err(), "one is enough");
    let region = mapping.into_region();
    // SAFETY: no reference to the region's bytes is alive, and no other thread knows them.
    unsafe {
        region.store(1, b"abc");
        region.store_word(8, 7);
        region.store_nontemporal(64, b"past");
        region.fill_nontemporal(128, 0, 5);
    }
    region.persist(1..16).unwrap();
    region.flush(9..9).unwrap();
    let expected =
        ["store 1+3", "store 8+8", "past 64+4", "past 128+5", "flush 1+15", "before drain", "drain"];
    assert_eq!(recorder.words(), expected);
}

#[test]
fn ranges_outside_the_mapping_are_refused() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    for range in [PAGE..PAGE + 1, 0..PAGE + 1, u64::MAX - 1..u64::MAX, 0..u64::MAX] {
        assert!(mapping.flush(range.clone()).is_err(), "{range:?}");
        assert!(mapping.persist(range.clone()).is_err(), "{range:?}");
        assert!(mapping.sync(range.clone()).is_err(), "{range:?}");
        assert!(mapping.protect(range.clone()).is_err(), "{range:?}");
    }
    mapping.flush(PAGE..PAGE).unwrap();
    assert_eq!(mapping.counters(), Counters::default());
}

#[test]
fn where_the_caches_are_in_the_persistence_domain_flushing_is_nothing_and_draining_is_counted() {
    let recorder = Recorder::new();
    let options = MapOptions::new().len(PAGE).emulate_eadr(true).observer(recorder.clone());
    let folder = crate::folder::folder();
    // SAFETY: a file of this test's own folder.
    let file = unsafe { options.clone().create(true).open(folder.path().join("file")) }.unwrap();
    for mapping in [options.anonymous().unwrap(), options.memfd().unwrap(), file] {
        recorder.words();
        assert_eq!((mapping.granularity(), mapping.durability()), (Granularity::Byte, Durability::Process));
        assert_eq!(mapping.flush_method(), FlushMethod::None);
        let region = mapping.into_region();
        // SAFETY: nobody else uses the region.
        unsafe {
            region.store(10, &[1; 200]);
            region.store_nontemporal(1000, &[1; 100]);
        }
        region.flush(10..210).unwrap();
        region.flush_lines(&[0, 1, 2, 3]).unwrap();
        region.persist(10..210).unwrap();
        region.sync(0..PAGE).unwrap();
        let expected =
            Counters { lines_nontemporal: 3, bytes_nontemporal: 100, drains: 2, ..Counters::default() };
        assert_eq!(region.counters(), expected);
        assert!(recorder.words().contains(&"flush 10+200".to_owned()), "an observer is told all the same");
        assert!(region.flush(0..PAGE + 1).is_err() && region.flush_lines(&[64]).is_err());
    }
}
