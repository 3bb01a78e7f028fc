//! What each medium could leave: persistent caches, pages that are written back, processes that are killed.

use pmem_crash::{Config, Exploration, Fault, Image, Report};
use pmem_map::{Error, Granularity, Mapping};
use std::{cell::RefCell, collections::BTreeSet};

fn on(granularity: Granularity) -> Config {
    Config::default().granularity(granularity)
}

fn store(mapping: &Mapping, at: u64, value: u64) {
    // SAFETY: one thread, and no reference into the mapping is alive.
    unsafe { mapping.store_word(at, value) };
}

fn nontemporal(mapping: &Mapping, at: u64, value: u64) {
    // SAFETY: as above.
    unsafe { mapping.store_nontemporal(at, &value.to_le_bytes()) };
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..][..8].try_into().unwrap())
}

/// Words 0, 64, 128 and 4096 of every image that a workload leaves.
fn images(config: Config, start: Image, workload: impl FnOnce(&mut Mapping)) -> BTreeSet<[u64; 4]> {
    let images = RefCell::new(BTreeSet::new());
    let report = Exploration::new("images").config(config.depth(0)).start(start).run(
        |mut mapping, _| {
            workload(&mut mapping);
            Ok::<(), Error>(())
        },
        Ok::<Mapping, Error>,
        |mapping, _| {
            images.borrow_mut().insert([0, 64, 128, 4096].map(|at| word(mapping.as_slice(), at)));
            Ok(())
        },
    );
    assert!(report.complete);
    images.into_inner()
}

fn blank() -> Image {
    Image::zeroed(8192)
}

#[test]
fn with_persistent_caches_ordinary_stores_are_durable_in_their_order() {
    let left = images(on(Granularity::Byte), blank(), |m| (0..3).for_each(|n| store(m, 64 * n, 1)));
    assert_eq!(left, [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]].into());
    let lines = images(on(Granularity::CacheLine), blank(), |m| (0..3).for_each(|n| store(m, 64 * n, 1)));
    assert_eq!(lines.len(), 8, "otherwise each line for itself");
}

#[test]
fn with_persistent_caches_a_store_past_them_still_needs_its_drain() {
    let left = images(on(Granularity::Byte), blank(), |m| {
        nontemporal(m, 0, 1);
        m.flush(0..8).unwrap();
        store(m, 64, 1);
    });
    assert!(left.contains(&[0, 1, 0, 0]), "{left:?}");
    let drained = images(on(Granularity::Byte), blank(), |m| {
        nontemporal(m, 0, 1);
        m.drain().unwrap();
        store(m, 64, 1);
    });
    assert!(!drained.contains(&[0, 1, 0, 0]), "{drained:?}");
}

#[test]
fn with_persistent_caches_a_copy_keeps_any_subset_of_its_words() {
    let copy = |m: &mut Mapping| {
        store(m, 128, 7);
        m.write(56, &[1; 16]).unwrap(); // the last word of a line, and the first of the next
        store(m, 0, 7);
    };
    let left = images(on(Granularity::Byte), blank(), copy);
    let one = u64::from_le_bytes([1; 8]);
    assert_eq!(left, [[0, 0, 0, 0], [0, 0, 7, 0], [0, one, 7, 0], [7, one, 7, 0]].into());
}

/// An order that only drains make, no flush: right with persistent caches, wrong without.
fn without_flushes(granularity: Granularity, past_the_caches: bool) -> Report {
    Exploration::new("no flush").config(on(granularity)).len(4096).run(
        |mapping, ops| {
            (1..=3).try_for_each(|n| {
                ops.run(format!("set {n}"), || {
                    if past_the_caches {
                        nontemporal(&mapping, 64, n)
                    } else {
                        store(&mapping, 64, n)
                    }
                    store(&mapping, 0, n);
                    mapping.drain()
                })
            })
        },
        Ok::<Mapping, Error>,
        |mapping, point| {
            let (valid, data) = (word(mapping.as_slice(), 0), word(mapping.as_slice(), 64));
            let right = point.range().contains(&(valid as usize)) && (data == valid || data == valid + 1);
            if right { Ok(()) } else { Err(format!("{valid} {data}")) }
        },
    )
}

#[test]
fn what_is_right_with_persistent_caches_only_is_found_on_other_media() {
    without_flushes(Granularity::Byte, false).assert_ok();
    without_flushes(Granularity::CacheLine, false).expect_failure();
    without_flushes(Granularity::Page, false).expect_failure();
    without_flushes(Granularity::Byte, true).expect_failure();
}

#[test]
fn a_page_is_written_back_whole_with_what_was_stored_after_the_flush() {
    let workload = |m: &mut Mapping| {
        store(m, 0, 1);
        m.flush(0..8).unwrap();
        store(m, 64, 1); // another line of the page
        store(m, 0, 2); // the same line, later
        m.drain().unwrap();
        store(m, 4096, 9);
    };
    let after =
        |left: BTreeSet<[u64; 4]>| -> BTreeSet<[u64; 4]> { left.into_iter().filter(|i| i[3] == 9).collect() };
    assert_eq!(after(images(on(Granularity::Page), blank(), workload)), [[2, 1, 0, 9]].into());
    assert_eq!(after(images(on(Granularity::CacheLine), blank(), workload)).len(), 4);
}

#[test]
fn a_page_may_be_torn_and_written_back_at_any_time() {
    let left = images(on(Granularity::Page), blank(), |m| {
        store(m, 0, 1);
        store(m, 64, 1);
        store(m, 4096, 1);
    });
    assert_eq!(left.len(), 8);
}

/// Sets two words in two pages, one after the other; `careful` about drains that fail.
fn two_pages(fault: Option<Fault>, careful: bool) -> Report {
    let exploration = Exploration::new("two pages").config(on(Granularity::Page)).len(8192);
    let exploration = match fault {
        Some(fault) => exploration.fault(fault),
        None => exploration,
    };
    exploration.run(
        |mapping, ops| {
            let set = |at: u64, value: u64| {
                store(&mapping, at, value);
                let result = mapping.persist(at..at + 8);
                if careful { result } else { Ok(()) } // and goes on, as if it were nothing
            };
            ops.run("data", || set(4096, 7))?;
            ops.run("valid", || set(0, 1))
        },
        Ok::<Mapping, Error>,
        |mapping, point| match (word(mapping.as_slice(), 0), word(mapping.as_slice(), 4096)) {
            (0, 0 | 7) if point.acknowledged == 0 => Ok(()),
            (0, 7) if point.acknowledged == 1 => Ok(()),
            (1, 7) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
}

#[test]
fn after_a_drain_that_failed_nothing_is_durable_for_certain() {
    let report = two_pages(None, true);
    report.assert_ok();
    let drains: Vec<usize> = (0..report.steps.len())
        .filter(|step| report.steps[*step].kind == pmem_crash::StepKind::Drain)
        .collect();
    assert_eq!(drains.len(), 2);
    for drain in drains {
        two_pages(Some(Fault::Failed(drain)), true).assert_ok();
        two_pages(Some(Fault::Failed(drain)), false).expect_failure();
    }
}

#[test]
fn an_image_may_be_visible_without_being_durable() {
    let start = || {
        let mut visible = vec![0; 8192];
        visible[0] = 1;
        visible[64] = 1;
        Image::new(visible).with_durable(Vec::new())
    };
    assert_eq!(start().durable_bytes(), [0; 8192]);
    let untouched = images(on(Granularity::CacheLine), start(), |_| {});
    assert_eq!(untouched, [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]].into());
    let persisted = images(on(Granularity::CacheLine), start(), |m| {
        assert_eq!(word(m.as_slice(), 0), 1, "visible");
        m.persist(0..8).unwrap();
        store(m, 128, 5);
    });
    assert!(persisted.iter().all(|image| image[2] == 0 || image[0] == 1), "{persisted:?}");
    assert!(persisted.contains(&[1, 0, 5, 0]), "{persisted:?}");
}

#[test]
fn a_page_whose_write_back_failed_is_written_back_only_when_it_is_stored_to_again() {
    let start = || Image::new([vec![1], vec![0; 8191]].concat()).with_durable(Vec::new());
    let flushed = images(on(Granularity::Page), start(), |m| {
        m.persist(0..8).unwrap();
        store(m, 4096, 5);
    });
    assert!(flushed.contains(&[0, 0, 0, 5]), "{flushed:?}");
    let stored = images(on(Granularity::Page), start(), |m| {
        store(m, 0, 1);
        m.persist(0..8).unwrap();
        store(m, 4096, 5);
    });
    assert!(!stored.contains(&[0, 0, 0, 5]), "{stored:?}");
}

/// A log entry is applied by the recovery. Whoever sees it must make it durable first: its writer may have been killed.
fn replay(persist_first: bool, kills: bool) -> Report {
    let config = Config::default().kills(kills).nested(u64::MAX);
    Exploration::new("replay").config(config).len(4096).run(
        |mut mapping, ops| {
            ops.run("log", || {
                mapping.write(64, &[7; 16])?;
                mapping.persist(64..80)?;
                mapping.write(0, &[1])?;
                mapping.persist(0..1)
            })
        },
        |mut mapping| {
            if mapping.as_slice()[0] == 1 {
                if persist_first {
                    mapping.persist(0..80)?;
                }
                let logged: [u8; 16] = mapping.as_slice()[64..80].try_into().unwrap();
                mapping.write(128, &logged)?; // not one store: recovered again from the log, if it is torn
                mapping.persist(128..144)?;
            }
            Ok::<Mapping, Error>(mapping)
        },
        |mapping, _| match &mapping.as_slice()[128..144] {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            | [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7] => Ok(()),
            torn => Err(format!("torn: {torn:?}")),
        },
    )
}

#[test]
fn a_recovery_that_believes_what_a_killed_process_left_visible_is_found() {
    replay(true, true).assert_ok();
    replay(false, false).assert_ok();
    let failure = replay(false, true).first_failure.expect("found");
    assert!(failure.crashes[0].killed && !failure.crashes[1].killed, "{failure}");
    assert!(failure.to_string().contains("process killed at point 2"), "{failure}");
}

#[test]
fn a_second_life_may_begin_with_what_a_killed_process_left() {
    let seen = RefCell::new(BTreeSet::new());
    let exploration = Exploration::new("first life").config(Config::default().depth(0)).len(4096);
    let report = exploration.run(
        |mut mapping, _| {
            mapping.write(0, &[1])?;
            mapping.persist(0..1)
        },
        Ok::<Mapping, Error>,
        |_, point| {
            let killed = point.killed();
            seen.borrow_mut().insert((killed.bytes()[0], killed.durable_bytes()[0]));
            Ok(())
        },
    );
    report.assert_ok();
    assert_eq!(seen.into_inner(), [(1, 0), (1, 1)].into(), "always visible, not always durable");
}
