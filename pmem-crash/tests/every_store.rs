//! Explorations at level 2: code that tells nobody of its stores, and bugs that only its real stores show.
#![cfg(target_arch = "x86_64")]

use pmem_crash::{Config, Exploration, Image, Level, LintKind, Report, Tear};
use pmem_map::{Error, Granularity, MapOptions, Mapping, Observer};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

const LEVELS: [Level; 2] = [Level::Events, Level::EveryStore];

fn words(bytes: &mut [u8]) -> &mut [u64] {
    // SAFETY: every bit pattern is a word.
    unsafe { bytes.align_to_mut().1 }
}

fn word(mapping: &Mapping, at: usize) -> u64 {
    u64::from_le_bytes(mapping.as_slice()[at..][..8].try_into().unwrap())
}

/// One operation on a zeroed mapping, and what must hold of what a failure leaves.
fn explore(
    config: Config,
    operation: impl Fn(&mut Mapping) -> Result<(), Error>,
    oracle: impl Fn(&Mapping, usize) -> bool,
) -> Report {
    let report = Exploration::new("operation").config(config).len(4096).run(
        |mut mapping, ops| ops.run("operate", || operation(&mut mapping)),
        Ok::<Mapping, Error>,
        |mapping, point| {
            let wrong = || format!("{:?}", &mapping.as_slice()[..192]);
            if oracle(&mapping, point.acknowledged) { Ok(()) } else { Err(wrong()) }
        },
    );
    println!("{report}");
    report
}

/// The operation at both levels: whether a failure was found.
fn found_at_levels(
    operation: impl Fn(&mut Mapping) -> Result<(), Error>,
    oracle: impl Fn(&Mapping, usize) -> bool,
) -> [bool; 2] {
    LEVELS.map(|level| explore(Config::default().level(level), &operation, &oracle).failures > 0)
}

/// Not inlined, so that it is a function of its own to point at.
#[inline(never)]
fn store_and_forget(bytes: &mut [u8]) {
    bytes[128] = 1; // the culprit
}

/// The line of the store above.
fn culprit() -> u32 {
    let line = include_str!("every_store.rs").lines().position(|line| line.ends_with("// the culprit"));
    line.unwrap() as u32 + 1
}

#[test]
fn only_level_2_sees_a_store_that_is_never_flushed_and_never_told() {
    let operation = |mapping: &mut Mapping| {
        store_and_forget(mapping.as_mut_slice());
        Ok(())
    };
    // A lock, say, that is not meant to be durable, and may become so: nobody is told of it.
    let is_free = |mapping: &Mapping, _| mapping.as_slice()[128] == 0;
    assert_eq!(found_at_levels(operation, is_free), [false, true]);

    // And if it is meant to be, the code is named that lost it.
    let oracle = |mapping: &Mapping, acknowledged: usize| acknowledged == 0 || mapping.as_slice()[128] == 1;
    let report = explore(Config::default().level2(), operation, oracle);
    let failure = report.first_failure.unwrap();
    let lost = &failure.crashes[0].lost;
    assert_eq!((lost.len(), lost[0].offset, lost[0].len, lost[0].raw), (1, 128, 1, false));
    let frame = lost[0].code.unwrap().frame().unwrap();
    assert!(frame.function.unwrap().ends_with("store_and_forget"));
    let place = format!("pmem-crash/tests/every_store.rs:{}", culprit());
    assert!(failure.to_string().contains(&format!("bytes 128..129 (line 2) stored at {place}")), "{failure}");
    let lint = report.lints.iter().find(|lint| lint.kind == LintKind::NotFlushed).unwrap();
    assert!(lint.to_string().contains(&place), "{lint}");
}

#[test]
fn only_level_2_sees_a_value_that_is_replaced_before_anybody_looks() {
    // A state that is set for a moment, and must not survive: a crash may leave it all the same.
    let operation = |mapping: &mut Mapping| {
        for state in [2, 0] {
            // SAFETY: a place in the mapping; volatile, as the compiler would leave the first store out.
            unsafe { words(mapping.as_mut_slice()).as_mut_ptr().add(16).write_volatile(state) };
        }
        mapping.as_mut_slice()[0] = 1;
        mapping.persist(0..192)
    };
    let oracle = |mapping: &Mapping, _| word(mapping, 128) == 0;
    assert_eq!(found_at_levels(operation, oracle), [false, true]);
}

#[test]
fn only_level_2_knows_that_raw_stores_to_one_line_are_in_order() {
    let operation = |mapping: &mut Mapping| {
        for at in 0..3 {
            // SAFETY: a place in the mapping; volatile, so that it is one store.
            unsafe { words(mapping.as_mut_slice()).as_mut_ptr().add(at).write_volatile(1) };
        }
        mapping.persist(0..24)
    };
    let oracle = |mapping: &Mapping, _| {
        let [first, second, third] = [0, 8, 16].map(|at| word(mapping, at));
        first >= second && second >= third
    };
    assert_eq!(found_at_levels(operation, oracle), [true, false]);
    let torn = Config::default().level2().tear(Tear::EightBytes);
    explore(torn, operation, oracle).expect_failure();
}

#[test]
fn a_sort_in_place_is_found_to_lose_elements() {
    let start: Vec<u8> = (0..32u64).rev().flat_map(|n| (n / 2).to_le_bytes()).collect();
    let sort = |level, safely: bool| {
        let mut image = start.clone();
        image.resize(4096, 0);
        Exploration::new("sort").config(Config::default().level(level)).start(Image::new(image)).run(
            |mut mapping, ops| {
                ops.run("sort", || {
                    if safely {
                        // Into new space, and then its place in one store.
                        let (old, new) = mapping.as_mut_slice().split_at_mut(1024);
                        new[..256].copy_from_slice(&old[..256]);
                        words(&mut new[..256]).sort_unstable();
                        mapping.persist(1024..1280)?;
                        words(mapping.as_mut_slice())[64] = 1024;
                        mapping.persist(512..520)
                    } else {
                        words(&mut mapping.as_mut_slice()[..256]).sort_unstable();
                        mapping.persist(0..256)
                    }
                })
            },
            Ok::<Mapping, Error>,
            |mapping, point| {
                let place = word(&mapping, 512) as usize;
                let found: Vec<u64> = (0..32).map(|n| word(&mapping, place + 8 * n)).collect();
                let mut sorted = found.clone();
                sorted.sort_unstable();
                let expected: Vec<u64> = (0..32).map(|n| n / 2).collect();
                match sorted == expected && (point.acknowledged == 0 || found == expected) {
                    true => Ok(()),
                    false => Err(format!("{found:?}")),
                }
            },
        )
    };
    let report = sort(Level::EveryStore, false);
    println!("{report}\n{}", report.first_failure.as_ref().unwrap());
    assert!(report.stores > 32);
    let report = sort(Level::EveryStore, true);
    println!("{report}");
    report.assert_ok();
}

#[test]
fn threads_may_store_at_once() {
    // Each thread fills its slot and publishes it by a bit of a shared word: right, as the bit is set after a drain.
    const THREADS: usize = 4;
    let explore = |persisted: bool| {
        let report = Exploration::new("threads").config(Config::default().level2().depth(0)).len(4096).run(
            |mapping, ops| {
                let region = mapping.into_region();
                ops.run("fill", || {
                    std::thread::scope(|scope| {
                        for n in 1..=THREADS {
                            let region = &region;
                            scope.spawn(move || {
                                let at =
                                    |offset: usize| region.base().as_ptr().wrapping_add(offset).cast::<u64>();
                                // SAFETY: this thread's slot, and the shared word as an atomic.
                                unsafe {
                                    at(64 * n).write_volatile(n as u64);
                                    at(64 * n + 8).write_volatile(!(n as u64));
                                    if persisted {
                                        region.persist(64 * n as u64..64 * n as u64 + 16)?;
                                    }
                                    AtomicU64::from_ptr(at(0)).fetch_or(1 << n, SeqCst);
                                }
                                region.persist(0..8)
                            });
                        }
                    });
                    Ok::<(), Error>(())
                })
            },
            Ok::<Mapping, Error>,
            |mapping, _| {
                let is_whole = |n: &usize| {
                    (word(&mapping, 64 * n), word(&mapping, 64 * n + 8)) == (*n as u64, !(*n as u64))
                };
                let published = (1..=THREADS).filter(|n| word(&mapping, 0) >> n & 1 == 1);
                match published.filter(|n| !is_whole(n)).count() {
                    0 => Ok(()),
                    n => Err(format!("{n} slots are published and not there")),
                }
            },
        );
        println!("{report}");
        report
    };
    let report = explore(true);
    report.assert_ok();
    assert_eq!(report.stores, 3 * THREADS as u64);
    explore(false).expect_failure();
}

#[test]
fn every_store_is_a_crash_point_if_the_caches_are_durable() {
    // Right by lines; wrong only if a second store comes between.
    let operation = |mapping: &mut Mapping| {
        for at in [8, 0, 16] {
            // SAFETY: a place in the mapping; volatile, so that it is one store.
            unsafe { words(mapping.as_mut_slice()).as_mut_ptr().add(at).write_volatile(1) };
        }
        Ok(())
    };
    let seen = Mutex::new(BTreeSet::new());
    let config = Config::default().level2().granularity(Granularity::Byte);
    let report = explore(config, operation, |mapping, _| {
        seen.lock().unwrap().insert([64, 0, 128].map(|at| word(mapping, at)));
        true
    });
    assert_eq!(report.stores, 3);
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]].into());
}

#[test]
fn pages_that_a_file_grows_by_are_traced() {
    let map = |path: &std::path::Path, observer: Arc<dyn Observer>| {
        let options = MapOptions::new().len(4096).max_len(1 << 20).create(true).emulate_pmem(true);
        // SAFETY: a file of the exploration's own.
        unsafe { options.observer(observer).open(path) }
    };
    let explore = |flushed: bool| {
        let report = Exploration::new("growth").config(Config::default().level2()).run_files(
            |path, ops| {
                let mapping = map(path, ops.observer())?;
                ops.run("grow", || {
                    mapping.grow(3 * 4096)?;
                    let base = mapping.base().as_ptr().cast::<u64>();
                    // SAFETY: inside, and nobody else uses it.
                    unsafe { base.add(1024).write_volatile(5) };
                    if flushed {
                        mapping.persist(8192..8200)?;
                    }
                    // SAFETY: as above.
                    unsafe { base.write_volatile(8192) };
                    mapping.persist(0..8)
                })
            },
            |path, observer| match path.metadata() {
                Ok(file) if file.len() > 0 => map(path, observer).map(Some),
                _ => Ok(None),
            },
            |mapping, point| match mapping {
                None if point.acknowledged == 0 => Ok(()),
                None => Err("the file is gone".to_owned()),
                Some(mapping) => match word(&mapping, 0) as usize {
                    0 if point.acknowledged == 0 => Ok(()),
                    at if at == 8192 && word(&mapping, at) == 5 => Ok(()),
                    at => Err(format!("{at} is no place")),
                },
            },
        );
        println!("{report}");
        report
    };
    explore(true).assert_ok();
    explore(false).expect_failure();
}

#[test]
fn a_recovery_is_traced_too() {
    // A recovery that counts its runs in place, and marks the count as being changed without a flush in between.
    let explore = |level| {
        Exploration::new("recovery").config(Config::default().level(level)).len(4096).run(
            |mut mapping, ops| {
                ops.run("set", || {
                    words(mapping.as_mut_slice())[16] = 1;
                    mapping.persist(128..136)
                })
            },
            |mut mapping| {
                let words = words(mapping.as_mut_slice()).as_mut_ptr();
                // SAFETY: places in the mapping.
                unsafe {
                    words.write_volatile(1);
                    words.add(8).write_volatile(words.add(8).read_volatile() + 1);
                    words.write_volatile(0);
                }
                mapping.persist(0..128).map(|()| mapping)
            },
            |_, point| match word(&point.image().to_mapping().unwrap(), 0) {
                0 => Ok(()),
                _ => Err("the count was being changed".to_owned()),
            },
        )
    };
    explore(Level::Events).assert_ok();
    let failure = explore(Level::EveryStore).first_failure.expect("a failure inside the recovery");
    assert_eq!(failure.depth, 1);
}

#[test]
fn stores_through_the_regions_methods_are_ascribed_to_their_callers() {
    let report = explore(
        Config::default().level2(),
        |mapping| mapping.write(77, &[1; 300]),
        |mapping, acknowledged| acknowledged == 0 || mapping.as_slice()[77] == 1,
    );
    let lost = report.first_failure.unwrap().crashes[0].lost.clone();
    assert!(!lost.is_empty());
    for store in lost {
        assert!(store.code.is_none() && store.caller.file().ends_with("every_store.rs"), "{store}");
    }
}

#[test]
fn a_nontemporal_copy_with_unaligned_ends_needs_no_flush() {
    for granularity in [Granularity::CacheLine, Granularity::Byte, Granularity::Page] {
        let report = explore(
            Config::default().level2().granularity(granularity),
            |mapping| {
                // SAFETY: the mapping is exclusive.
                unsafe { mapping.store_nontemporal(3, &[1; 150]) };
                mapping.drain()
            },
            |mapping, acknowledged| acknowledged == 0 || mapping.as_slice()[3..153] == [1; 150],
        );
        report.assert_ok();
        report.assert_no_lints_but(&[]);
    }
}
