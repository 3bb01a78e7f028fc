//! The states themselves: counted by hand, and compared.

use pmem_crash::{Config, Exploration, Report, Tear};
use pmem_map::{Error, Granularity, Mapping};
use std::{cell::RefCell, collections::BTreeSet};

fn store(mapping: &Mapping, at: u64, value: u64) {
    // SAFETY: one thread, and no reference into the mapping is alive.
    unsafe { mapping.store_word(at, value) };
}

fn nontemporal(mapping: &Mapping, at: u64, bytes: &[u8]) {
    // SAFETY: as above.
    unsafe { mapping.store_nontemporal(at, bytes) };
}

/// Runs a workload without operations; returns the report and the first 16 words of every image.
fn states(config: Config, workload: impl FnOnce(&mut Mapping)) -> (Report, BTreeSet<Vec<u64>>) {
    let images = RefCell::new(BTreeSet::new());
    let report = Exploration::new("states").config(config.depth(0)).len(4096).run(
        |mut mapping, _| {
            workload(&mut mapping);
            Ok::<(), Error>(())
        },
        Ok::<Mapping, Error>,
        |mapping, _| {
            let words = mapping.as_slice()[..128].chunks_exact(8);
            images.borrow_mut().insert(words.map(|w| u64::from_le_bytes(w.try_into().unwrap())).collect());
            Ok(())
        },
    );
    assert!(report.complete);
    (report, images.into_inner())
}

/// The number of distinct images of a workload.
fn count(workload: impl FnOnce(&mut Mapping)) -> u64 {
    let (report, images) = states(Config::default(), workload);
    assert_eq!(report.images, images.len() as u64, "no image is tried twice");
    report.images
}

fn torn(workload: impl FnOnce(&mut Mapping)) -> u64 {
    states(Config::default().tear(Tear::EightBytes), workload).0.images
}

#[test]
fn a_run_that_stores_nothing_leaves_one_image() {
    assert_eq!(count(|_| {}), 1);
    assert_eq!(count(|m| m.drain().unwrap()), 1);
    assert_eq!(count(|m| store(m, 0, 0)), 1, "what was there before");
}

#[test]
fn lines_are_independent() {
    let two_lines = |m: &mut Mapping| {
        store(m, 0, 1);
        store(m, 64, 2);
    };
    assert_eq!(count(two_lines), 4);
    assert_eq!(torn(two_lines), 4);
}

#[test]
fn a_line_keeps_a_prefix() {
    let three_words = |m: &mut Mapping| (0..3).for_each(|n| store(m, 8 * n, n + 1));
    let (_, images) = states(Config::default(), three_words);
    let prefix = |n: usize| [[1, 2, 3][..n].to_vec(), vec![0; 16 - n]].concat();
    assert_eq!(images, (0..=3).map(prefix).collect());
    assert_eq!(torn(three_words), 8);
}

#[test]
fn a_word_keeps_one_of_its_values() {
    let twice = |m: &mut Mapping| {
        store(m, 0, 1);
        store(m, 8, 9);
        store(m, 0, 2);
    };
    assert_eq!(count(twice), 4);
    assert_eq!(torn(twice), 6);
}

#[test]
fn a_copy_keeps_any_subset_of_its_words_after_what_came_before() {
    let copy = |m: &mut Mapping| {
        store(m, 0, 1);
        m.write(8, &[2; 24]).unwrap();
        store(m, 32, 3);
    };
    // Nothing; the first word; then 7 more subsets of the copy; then everything.
    assert_eq!(count(copy), 1 + 1 + 7 + 1);
    assert_eq!(torn(copy), 32);
}

#[test]
fn a_copy_across_two_lines_is_independent_in_each() {
    assert_eq!(count(|m| m.write(48, &[1; 32]).unwrap()), 16);
}

#[test]
fn an_unaligned_store_is_cut_into_what_one_instruction_can_do() {
    // Bytes 3, 4..8, 8..10.
    assert_eq!(count(|m| m.write(3, &[1; 7]).unwrap()), 8);
    assert_eq!(count(|m| m.write(4, &[1; 4]).unwrap()), 2);
}

#[test]
fn nontemporal_stores_are_unordered_within_a_line() {
    let two = |m: &mut Mapping| {
        nontemporal(m, 0, &[1; 8]);
        nontemporal(m, 8, &[1; 8]);
    };
    assert_eq!(count(two), 4);
    let mixed = |m: &mut Mapping| {
        store(m, 0, 1);
        nontemporal(m, 16, &[1; 8]);
        store(m, 8, 1);
    };
    assert_eq!(count(mixed), 3 * 2);
}

#[test]
fn an_older_nontemporal_store_never_wins_over_what_is_durable() {
    let (_, images) = states(Config::default(), |m| {
        let m = &*m;
        std::thread::scope(|scope| {
            scope.spawn(|| nontemporal(m, 0, &1u64.to_le_bytes())).join().unwrap();
        });
        store(m, 0, 2);
        m.persist(0..8).unwrap();
        store(m, 64, 3);
    });
    let word = |first, second| {
        let mut words = vec![0; 16];
        (words[0], words[8]) = (first, second);
        words
    };
    assert_eq!(images, [word(0, 0), word(1, 0), word(2, 0), word(2, 3)].into());
}

#[test]
fn what_was_flushed_and_drained_is_never_lost() {
    // Nothing, 1; then 1 for certain, and 2.
    let persisted = |m: &mut Mapping| {
        store(m, 0, 1);
        m.persist(0..8).unwrap();
        store(m, 8, 2);
    };
    assert_eq!(count(persisted), 3);
}

#[test]
fn a_flush_covers_the_stores_made_so_far_and_no_later_one() {
    let (_, images) = states(Config::default(), |m| {
        store(m, 0, 1);
        m.flush(0..8).unwrap();
        store(m, 8, 2);
        m.drain().unwrap();
        store(m, 64, 3);
    });
    let has = |first, second, third| {
        images.iter().any(|words| words[0] == first && words[1] == second && words[8] == third)
    };
    assert!(has(1, 0, 3), "the second store may be lost after the drain");
    assert!(!has(0, 0, 3), "the first may not");
    assert_eq!(images.len(), 3 + 2);
}

#[test]
fn a_raw_change_keeps_any_subset_of_its_words() {
    let raw = |m: &mut Mapping| {
        m.as_mut_slice()[..24].fill(1);
        m.drain().unwrap();
    };
    assert_eq!(count(raw), 8);
    let unseen = |m: &mut Mapping| m.as_mut_slice()[..24].fill(1);
    assert_eq!(count(unseen), 1, "no event after it, nobody compared");
    let (report, _) = states(Config::default().raw_stores(false), raw);
    assert_eq!(report.images, 1);
}

#[test]
fn a_raw_change_before_a_store_to_its_line_comes_before_it() {
    let raw = |m: &mut Mapping| {
        m.as_mut_slice()[..16].fill(1);
        store(m, 16, 1);
    };
    assert_eq!(count(raw), 5);
}

#[test]
fn an_operation_may_end_in_a_raw_change() {
    let report = Exploration::new("compare").len(4096).run(
        |mut mapping, ops| {
            ops.begin("set");
            mapping.as_mut_slice()[0] = 1;
            ops.compare(&mapping);
            ops.acknowledged();
            Ok::<(), Error>(())
        },
        Ok::<Mapping, Error>,
        |_, _| Ok(()),
    );
    assert_eq!(report.images, 2);
}

#[test]
fn an_image_is_tried_again_when_the_oracle_allows_something_else() {
    let report = Exploration::new("range").configure(|config| config.depth(0)).len(4096).run(
        |mapping, ops| {
            ops.run("set", || {
                store(&mapping, 0, 1);
                mapping.drain()
            })
        },
        Ok::<Mapping, Error>,
        |_, _| Ok(()),
    );
    assert_eq!((report.operations, report.points, report.images), (1, 3, 2 + 2));
}

/// Too many lines to try all states.
fn many(config: Config) -> Report {
    Exploration::new("many").config(config).run(
        |mapping, ops| {
            ops.run("fill", || {
                (0..64).for_each(|line| store(&mapping, 64 * line, 1));
                mapping.persist(0..4096)
            })
        },
        Ok::<Mapping, Error>,
        |mapping, _| match mapping.as_slice().iter().filter(|&&byte| byte == 1).count() {
            27 => Err("27".to_owned()),
            _ => Ok(()),
        },
    )
}

#[test]
fn too_many_states_are_sampled_and_each_line_is_lost_and_kept_alone() {
    let report = many(Config::default().depth(0).samples(0));
    assert!(!report.complete);
    // Nothing, everything, 64 alone lost, 64 alone kept; everything again when it was acknowledged.
    assert_eq!(report.images, 2 + 64 + 64 + 1);
    report.assert_ok();
}

#[test]
fn the_same_seed_gives_the_same_report() {
    for seed in 1..4 {
        let config = Config::default().seed(seed).samples(2000);
        let report = many(config.clone());
        report.expect_failure();
        assert_eq!(report, many(config));
    }
    let first = |seed| many(Config::default().seed(seed).samples(2000)).images_to_first_failure;
    assert_ne!(first(1), first(2), "seeds that differ sample differently");
}

#[test]
fn what_was_written_through_is_durable_and_what_was_flushed_before_is_not() {
    let config = Config::default().depth(0).granularity(Granularity::Page);
    let report = Exploration::new("write through").config(config).len(4096).run(
        |mapping, ops| {
            let region = mapping.into_region();
            ops.run("both", || {
                // SAFETY: nobody else knows the region.
                unsafe { region.store_word(0, 1) };
                region.flush(0..8)?;
                // SAFETY: as above.
                unsafe { region.write_through(64, &[2; 8]) }
            })
        },
        Ok::<Mapping, Error>,
        |mapping, point| match (mapping.as_slice()[0], mapping.as_slice()[64], point.acknowledged) {
            (0, 2, 1) => Err("the flushed line was lost".to_owned()),
            (_, 0, 1) => Err("the line that was written through was lost".to_owned()),
            _ => Ok(()),
        },
    );
    assert!(report.first_failure.unwrap().message.contains("the flushed line"));
}
