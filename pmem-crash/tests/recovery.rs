//! Crashes inside recovery.

use pmem_crash::{Config, Exploration, Image, Report};
use pmem_map::{Error, Mapping};

const COUNTER: u64 = 0;
const LOGGED: u64 = 64;
const ATTEMPTS: u64 = 128;

fn word(mapping: &Mapping, at: u64) -> u64 {
    u64::from_le_bytes(mapping.as_slice()[at as usize..][..8].try_into().unwrap())
}

fn set(mapping: &mut Mapping, at: u64, value: u64) -> Result<(), Error> {
    mapping.write(at, &value.to_le_bytes())?;
    mapping.persist(at..at + 8)
}

/// Adds one to the counter, by a log that recovery is to apply.
fn explore(
    name: &str,
    config: Config,
    log: impl Fn(u64) -> u64,
    recover: impl Fn(&mut Mapping) -> Result<(), Error>,
) -> Report {
    let report = Exploration::new(name).config(config).len(4096).run(
        |mut mapping, ops| ops.run("log", || set(&mut mapping, LOGGED, log(0))),
        |mut mapping| recover(&mut mapping).map(|()| mapping),
        |mapping, point| {
            let counter = word(&mapping, COUNTER);
            if point.range().contains(&(counter as usize)) && word(&mapping, LOGGED) == 0 {
                Ok(())
            } else {
                Err(format!("the counter is {counter}, of {:?}", point.range()))
            }
        },
    );
    println!("{report}");
    report
}

/// The log says what to add: applying it twice adds twice.
fn add_and_clear(mapping: &mut Mapping) -> Result<(), Error> {
    let add = word(mapping, LOGGED);
    if add != 0 {
        set(mapping, COUNTER, word(mapping, COUNTER) + add)?;
        set(mapping, LOGGED, 0)?;
    }
    Ok(())
}

#[test]
fn a_recovery_that_is_not_idempotent_is_found_by_one_crash_inside_it() {
    let all = Config::default().nested(u64::MAX);
    explore("add, never interrupted", all.clone().depth(0), |old| old + 1, add_and_clear).assert_ok();
    for config in [all, Config::default()] {
        let report = explore("add", config, |old| old + 1, add_and_clear);
        let failure = report.first_failure.expect("found");
        println!("{failure}");
        assert_eq!((failure.depth, failure.crashes.len()), (1, 2));
        assert!(failure.crashes[1].moment.contains("inside the recovery"), "{failure}");
    }
}

#[test]
fn an_idempotent_recovery_is_right() {
    let config = Config::default().nested(u64::MAX);
    let report = explore(
        "set",
        config,
        |old| old + 1,
        |mapping| {
            let value = word(mapping, LOGGED);
            if value != 0 {
                set(mapping, COUNTER, value)?;
                set(mapping, LOGGED, 0)?;
            }
            Ok(())
        },
    );
    report.assert_ok();
    assert!(report.complete && report.nested_complete);
    assert!(report.recoveries > report.images);
}

/// Counts its attempts durably, and adds twice at the third.
fn third_time_wrong(mapping: &mut Mapping) -> Result<(), Error> {
    if word(mapping, LOGGED) != 0 {
        let attempts = word(mapping, ATTEMPTS);
        set(mapping, ATTEMPTS, attempts + 1)?;
        set(mapping, COUNTER, if attempts < 2 { 1 } else { 2 })?;
        set(mapping, LOGGED, 0)?;
    }
    Ok(())
}

#[test]
fn a_recovery_that_fails_only_when_interrupted_twice_is_found_at_depth_two() {
    let all = Config::default().nested(u64::MAX);
    explore("third time, depth 1", all.clone().depth(1), |old| old + 1, third_time_wrong).assert_ok();
    for config in [all, Config::default()] {
        let report = explore("third time, depth 2", config, |old| old + 1, third_time_wrong);
        let failure = report.first_failure.expect("found");
        assert_eq!((failure.depth, failure.crashes.len()), (2, 3));
    }
}

#[test]
fn what_recovery_leaves_without_a_drain_may_be_lost_or_kept() {
    // Clears the log first, then forgets to flush the counter.
    let report = explore(
        "no flush in recovery",
        Config::default(),
        |old| old + 1,
        |mapping| {
            let value = word(mapping, LOGGED);
            if value != 0 {
                mapping.write(COUNTER, &value.to_le_bytes())?;
                set(mapping, LOGGED, 0)?;
            }
            Ok(())
        },
    );
    assert_eq!(report.first_failure.expect("found").depth, 1);
}

/// A log that is applied and not cleared does no harm until a later operation is overwritten by it: in a
/// second life, when that crashes too.
fn two_lives(clear: bool, second_life: bool) -> Report {
    let recover = |mapping: &mut Mapping| {
        let value = word(mapping, LOGGED);
        if value != 0 {
            set(mapping, COUNTER, value)?;
            if clear {
                set(mapping, LOGGED, 0)?;
            }
        }
        Ok::<(), Error>(())
    };
    let second = |image: &Image, found: u64| {
        let exploration = Exploration::new("second life").start(image.clone());
        exploration.configure(|config| config.depth(0)).run(
            |mut mapping, ops| {
                recover(&mut mapping)?;
                ops.run("overwrite", || set(&mut mapping, COUNTER, 5))
            },
            |mut mapping| recover(&mut mapping).map(|()| mapping),
            |mapping, point| match word(&mapping, COUNTER) {
                5 if point.begun == 1 => Ok(()),
                counter if counter == found && point.acknowledged == 0 => Ok(()),
                counter => Err(format!("the counter is {counter}")),
            },
        )
    };
    Exploration::new("first life").configure(|config| config.depth(0)).len(4096).run(
        |mut mapping, ops| ops.run("log", || set(&mut mapping, LOGGED, 1)),
        |mut mapping| recover(&mut mapping).map(|()| mapping),
        |mapping, point| {
            let found = word(&mapping, COUNTER);
            if !point.range().contains(&(found as usize)) {
                return Err(format!("the counter is {found}"));
            }
            if second_life { second(point.image(), found).into_result().map(drop) } else { Ok(()) }
        },
    )
}

#[test]
fn a_second_life_is_an_exploration_that_starts_with_an_image() {
    two_lives(true, true).assert_ok();
    two_lives(false, false).assert_ok();
    let failure = two_lives(false, true).first_failure.expect("found");
    assert!(failure.message.contains("the counter is 1"), "{failure}");
    assert!(failure.message.contains("overwrite"), "{failure}");
}

#[test]
fn an_image_known_from_inside_a_recovery_is_explored_further_when_the_workload_leaves_it() {
    // The workload goes on to what an interrupted recovery leaves: one more crash is then the second.
    let report = Exploration::new("known").configure(|config| config.depth(1)).len(4096).run(
        |mut mapping, ops| {
            ops.begin("log");
            set(&mut mapping, LOGGED, 1)?;
            set(&mut mapping, ATTEMPTS, 1)
        },
        |mut mapping| third_time_wrong(&mut mapping).map(|()| mapping),
        |mapping, _| match word(&mapping, COUNTER) {
            0 | 1 => Ok(()),
            counter => Err(format!("the counter is {counter}")),
        },
    );
    let failure = report.first_failure.expect("found");
    assert_eq!((failure.depth, failure.point), (1, 2));
}
