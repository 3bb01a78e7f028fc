//! Every kind of bug that the explorer is for, planted once: it is found. And without the bug, nothing is.
//!
//! The program under test is a journal of slots, one line each, and a word that says how many are valid.

use pmem_crash::{Config, Exploration, Level, Report, Tear};
use pmem_map::{Error, Mapping};

const VALID: u64 = 0;
const OPERATIONS: u64 = 3;

fn slot(n: u64) -> u64 {
    64 * n
}

fn content(n: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(n * 7).to_le_bytes());
    bytes[8..].copy_from_slice(&(!n).to_le_bytes());
    bytes
}

fn word(mapping: &Mapping, at: u64) -> u64 {
    u64::from_le_bytes(mapping.as_slice()[at as usize..][..8].try_into().unwrap())
}

fn set_valid(mapping: &mut Mapping, n: u64) -> Result<(), Error> {
    mapping.write(VALID, &n.to_le_bytes())?;
    mapping.persist(VALID..VALID + 8)
}

fn check(mapping: &Mapping, allowed: std::ops::RangeInclusive<usize>) -> Result<(), String> {
    let valid = word(mapping, VALID);
    if !allowed.contains(&(valid as usize)) {
        return Err(format!("{valid} slots are valid, of {allowed:?}"));
    }
    for n in 1..=valid {
        let at = slot(n) as usize;
        if mapping.as_slice()[at..][..16] != content(n) {
            return Err(format!("slot {n} is wrong"));
        }
    }
    Ok(())
}

/// Explores three operations, each done by `operation`.
fn explore(name: &str, config: Config, operation: impl Fn(&mut Mapping, u64) -> Result<(), Error>) -> Report {
    let report = Exploration::new(name).config(config).len(4096).run(
        |mut mapping, ops| {
            (1..=OPERATIONS).try_for_each(|n| ops.run(format!("fill {n}"), || operation(&mut mapping, n)))
        },
        Ok::<Mapping, Error>,
        |mapping, point| check(&mapping, point.range()),
    );
    println!("{report:#}");
    report
}

fn found(name: &str, operation: impl Fn(&mut Mapping, u64) -> Result<(), Error>) -> Report {
    let report = explore(name, Config::from_env(), operation);
    let images = report.expect_failure();
    println!("{name}: {images} images to the first failure\n{}", report.first_failure.as_ref().unwrap());
    report
}

fn in_order(mapping: &mut Mapping, n: u64) -> Result<(), Error> {
    mapping.write(slot(n), &content(n))?;
    mapping.persist(slot(n)..slot(n) + 16)?;
    set_valid(mapping, n)
}

#[test]
fn a_word_set_after_its_data_is_durable_is_right() {
    for tear in [Tear::Line, Tear::EightBytes] {
        let report = explore("data, then valid", Config::from_env().tear(tear), in_order);
        report.assert_ok();
        assert!(report.complete && report.nested_complete);
    }
}

#[test]
fn a_missing_flush_is_found() {
    let report = found("flush missing", |mapping, n| {
        mapping.write(slot(n), &content(n))?;
        mapping.drain()?;
        set_valid(mapping, n)
    });
    let failure = report.first_failure.unwrap();
    let lost = &failure.crashes[0].lost;
    assert!(lost.iter().any(|store| store.offset == slot(1) && store.len == 16), "{lost:?}");
    assert!(lost.iter().all(|store| store.caller.file().ends_with("planted.rs")), "{lost:?}");
    assert_eq!(failure.operation, "fill 1");
}

#[test]
fn a_missing_drain_is_found() {
    found("drain missing", |mapping, n| {
        mapping.write(slot(n), &content(n))?;
        mapping.flush(slot(n)..slot(n) + 16)?;
        set_valid(mapping, n)
    });
}

#[test]
fn a_missing_last_drain_is_found_when_the_operation_is_acknowledged() {
    found("last drain missing", |mapping, n| {
        mapping.write(slot(n), &content(n))?;
        mapping.persist(slot(n)..slot(n) + 16)?;
        mapping.write(VALID, &n.to_le_bytes())?;
        mapping.flush(VALID..VALID + 8)
    });
}

#[test]
fn two_swapped_stores_are_found() {
    found("stores swapped", |mapping, n| {
        set_valid(mapping, n)?;
        mapping.write(slot(n), &content(n))?;
        mapping.persist(slot(n)..slot(n) + 16)
    });
}

#[test]
fn a_flush_that_misses_the_last_line_is_found() {
    // Corundum's flush stepped by lines from an unaligned start, and missed the line of the tail.
    let at = |n: u64| 128 * n + 56;
    let report = Exploration::new("flush misaligned").len(4096).run(
        |mut mapping, ops| {
            (1..=OPERATIONS).try_for_each(|n| {
                ops.run(format!("fill {n}"), || {
                    mapping.write(at(n), &content(n))?;
                    mapping.persist(at(n)..at(n) + 8)?;
                    set_valid(&mut mapping, n)
                })
            })
        },
        Ok::<Mapping, Error>,
        |mapping, _| {
            let wrong = (1..=word(&mapping, VALID))
                .find(|&n| mapping.as_slice()[at(n) as usize..][..16] != content(n));
            wrong.map_or(Ok(()), |n| Err(format!("slot {n} is wrong")))
        },
    );
    println!("{report}");
    report.expect_failure();
}

#[test]
fn a_drain_by_another_thread_than_the_flusher_is_found() {
    let by_another = |mapping: &Mapping| {
        std::thread::scope(|scope| scope.spawn(|| mapping.drain()).join().expect("no panic"))
    };
    found("drain by another thread", |mapping, n| {
        mapping.write(slot(n), &content(n))?;
        mapping.flush(slot(n)..slot(n) + 16)?;
        by_another(mapping)?;
        set_valid(mapping, n)
    });
}

#[test]
fn a_flush_and_drain_by_another_thread_than_the_writer_is_right() {
    explore("persist by another thread", Config::from_env(), |mapping, n| {
        mapping.write(slot(n), &content(n))?;
        let shared = &*mapping;
        std::thread::scope(|scope| {
            scope.spawn(|| shared.persist(slot(n)..slot(n) + 16)).join().expect("no panic")
        })?;
        set_valid(mapping, n)
    })
    .assert_ok();
}

fn store_nontemporal(mapping: &mut Mapping, n: u64) {
    // SAFETY: the mapping is exclusive.
    unsafe { mapping.store_nontemporal(slot(n), &content(n)) };
}

#[test]
fn a_nontemporal_store_without_a_drain_is_found() {
    found("non-temporal store, no drain", |mapping, n| {
        store_nontemporal(mapping, n);
        set_valid(mapping, n)
    });
}

#[test]
fn a_nontemporal_store_with_a_drain_needs_no_flush() {
    explore("non-temporal store, drain", Config::from_env(), |mapping, n| {
        store_nontemporal(mapping, n);
        mapping.drain()?;
        set_valid(mapping, n)
    })
    .assert_ok();
}

#[test]
fn a_raw_store_never_flushed_is_found() {
    let report = found("raw store, no flush", |mapping, n| {
        mapping.as_mut_slice()[slot(n) as usize..][..16].copy_from_slice(&content(n));
        set_valid(mapping, n)
    });
    let lost = &report.first_failure.unwrap().crashes[0].lost;
    let by_code = report.level == Level::EveryStore;
    assert!(lost.iter().any(|store| if by_code { store.code.is_some() } else { store.raw }), "{lost:?}");
}

#[test]
fn a_raw_store_that_is_flushed_and_drained_is_right() {
    explore("raw store, flushed", Config::from_env(), |mapping, n| {
        mapping.as_mut_slice()[slot(n) as usize..][..16].copy_from_slice(&content(n));
        mapping.persist(slot(n)..slot(n) + 16)?;
        set_valid(mapping, n)
    })
    .assert_ok();
}

#[test]
fn two_raw_stores_to_one_line_have_no_order() {
    let exploration =
        Exploration::new("raw stores, one line").configure(|config| config.level(Level::Events)).len(4096);
    let report = exploration.run(
        |mut mapping, ops| {
            ops.run("set", || {
                mapping.as_mut_slice()[..8].fill(1);
                mapping.as_mut_slice()[8..16].fill(1);
                mapping.persist(0..16)
            })
        },
        Ok::<Mapping, Error>,
        |mapping, _| match (word(&mapping, 0), word(&mapping, 8)) {
            (0, second) if second != 0 => Err("the second without the first".to_owned()),
            _ => Ok(()),
        },
    );
    report.expect_failure();
}

/// Data, then the word that makes it valid, in the same line, with one flush and one drain.
fn same_line(config: Config) -> Report {
    Exploration::new("one line").config(config).len(4096).run(
        |mut mapping, ops| {
            ops.run("set", || {
                mapping.write(8, &5u64.to_le_bytes())?;
                mapping.write(0, &1u64.to_le_bytes())?;
                mapping.persist(0..16)
            })
        },
        Ok::<Mapping, Error>,
        |mapping, point| match (word(&mapping, 0), word(&mapping, 8)) {
            (0, _) if point.acknowledged == 0 => Ok(()),
            (1, 5) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
}

#[test]
fn stores_to_one_line_need_no_flush_between_them() {
    same_line(Config::from_env()).assert_ok();
}

#[test]
fn unless_each_word_of_a_line_is_on_its_own() {
    same_line(Config::from_env().tear(Tear::EightBytes)).expect_failure();
}

#[test]
fn a_copy_of_two_words_is_not_atomic() {
    let report = Exploration::new("copy").len(4096).run(
        |mut mapping, ops| {
            ops.run("set", || {
                mapping.write(0, &[1; 16])?;
                mapping.persist(0..16)
            })
        },
        Ok::<Mapping, Error>,
        |mapping, _| match (word(&mapping, 0), word(&mapping, 8)) {
            (first, second) if first == second => Ok(()),
            _ => Err("torn".to_owned()),
        },
    );
    report.expect_failure();
}

#[test]
fn an_operation_acknowledged_too_early_is_found() {
    let report = Exploration::new("acknowledged before").len(4096).run(
        |mut mapping, ops| {
            ops.begin("fill 1");
            ops.acknowledged();
            in_order(&mut mapping, 1)
        },
        Ok::<Mapping, Error>,
        |mapping, point| check(&mapping, point.range()),
    );
    report.expect_failure();
}

#[test]
fn a_panic_of_the_oracle_is_a_failure_with_its_message() {
    let report = Exploration::new("panic").len(4096).run(
        |_, _| Ok::<(), Error>(()),
        Ok::<Mapping, Error>,
        |_, _| panic!("element {} is missing", 3),
    );
    assert_eq!(report.first_failure.unwrap().message, "the oracle panics: element 3 is missing");
}

#[test]
fn all_failures_are_counted_if_so_configured() {
    let count = |stop_at_first: bool| {
        Exploration::new("count")
            .configure(|config| config.stop_at_first(stop_at_first).depth(0))
            .len(4096)
            .run(
                |mut mapping, _| mapping.write(0, &[1; 16]),
                Ok::<Mapping, Error>,
                |_, _| Err("always".to_owned()),
            )
    };
    let (first, all) = (count(true), count(false));
    assert_eq!((first.failures, first.images, first.stopped, first.complete), (1, 1, true, false));
    assert_eq!((all.failures, all.images, all.stopped, all.complete), (4, 4, false, true));
    assert_eq!(first.first_failure, all.first_failure);
}

#[test]
fn an_error_of_the_recovery_is_a_failure() {
    let report = Exploration::new("error").len(4096).run(
        |_, _| Ok::<(), Error>(()),
        |_| Err::<(), String>("bad magic".to_owned()),
        |(), _| Ok(()),
    );
    assert_eq!(report.first_failure.unwrap().message, "the recovery fails: bad magic");
}

#[test]
#[should_panic(expected = "the workload itself fails: no space")]
fn an_error_of_the_workload_is_no_finding() {
    Exploration::new("error")
        .run(|_, _| Err("no space"), Ok::<Mapping, Error>, |_, _| Ok(()))
        .expect_failure();
}
