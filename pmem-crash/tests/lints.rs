//! Flushes and drains that are missing, or that nobody needs.

use pmem_crash::{Exploration, LintKind, Ops, Report};
use pmem_map::{Error, Mapping};

fn run(workload: impl FnOnce(&mut Mapping, &Ops) -> Result<(), Error>) -> Report {
    Exploration::new("lints").configure(|config| config.depth(0)).len(8192).run(
        |mut mapping, ops| workload(&mut mapping, ops),
        Ok::<Mapping, Error>,
        |_, _| Ok(()),
    )
}

/// Kinds, counts, and lines of this file.
fn found(report: &Report) -> Vec<(LintKind, u64, u32)> {
    assert!(report.lints.iter().all(|lint| lint.caller.file().ends_with("lints.rs")), "{:?}", report.lints);
    report.lints.iter().map(|lint| (lint.kind, lint.count, lint.caller.line())).collect()
}

#[test]
fn what_is_stored_flushed_and_drained_has_no_lint() {
    let report = run(|m, ops| {
        ops.run("set", || {
            m.write(0, &[1; 100])?;
            m.persist(0..100)
        })
    });
    report.assert_no_lints();
}

#[test]
fn a_line_that_is_not_flushed_on_return_is_told_with_its_store() {
    let mut line = 0;
    let report = run(|m, ops| {
        ops.run("set", || {
            m.write(0, &[1])?;
            line = line!() + 1;
            m.write(128, &[1])?;
            m.persist(0..1)
        })
    });
    assert_eq!(found(&report), [(LintKind::NotFlushed, 1, line)]);
    assert_eq!((report.lints[0].line, &*report.lints[0].operation), (Some(128), "set"));
    let text = report.lints[0].to_string();
    assert!(text.starts_with("not flushed on return: pmem-crash/tests/lints.rs:"), "{text}");
    assert!(text.ends_with("1 times, first in \"set\", line 2"), "{text}");
}

#[test]
fn a_line_that_is_not_drained_on_return_is_told_with_its_flush() {
    let mut line = 0;
    let report = run(|m, ops| {
        ops.run("set", || {
            m.write(0, &[1])?;
            line = line!() + 1;
            m.flush(0..1)
        })
    });
    assert_eq!(found(&report), [(LintKind::NotDrained, 1, line)]);
}

#[test]
fn a_store_past_the_caches_needs_a_drain_and_no_flush() {
    let set = |m: &mut Mapping, drain: bool| {
        // SAFETY: the mapping is exclusive.
        unsafe { m.store_nontemporal(0, &[1; 64]) };
        if drain { m.drain() } else { Ok(()) }
    };
    run(|m, ops| ops.run("set", || set(m, true))).assert_no_lints();
    let report = run(|m, ops| ops.run("set", || set(m, false)));
    assert!(matches!(found(&report)[..], [(LintKind::NotDrained, 1, _)]));
}

#[test]
fn a_line_that_a_durable_record_covers_must_be_flushed_by_the_next_drain() {
    let commit = |m: &mut Mapping, flush: bool, cover: bool| {
        if flush {
            m.flush(0..1)?;
        }
        m.write(4096, &[1])?; // the record
        m.persist(4096..4097)?;
        m.write(0, &[1])?; // applied
        if cover {
            m.covered_lines(&[0]);
        }
        Ok::<(), Error>(())
    };
    let report = run(|m, ops| {
        ops.run("first", || commit(m, false, true))?;
        ops.run("second", || commit(m, true, true))
    });
    report.assert_no_lints();
    let report = run(|m, ops| ops.run("not covered", || commit(m, false, false)));
    assert!(matches!(found(&report)[..], [(LintKind::NotFlushed, 1, _)]));
    let report = run(|m, ops| {
        ops.run("covered", || commit(m, false, true))?;
        ops.run("never flushed", || {
            m.write(4096, &[2])?;
            m.persist(4096..4097)
        })
    });
    assert!(matches!(found(&report)[..], [(LintKind::NotFlushed, 1, _)]), "{:?}", report.lints);
}

#[test]
fn what_costs_for_nothing_is_told() {
    let mut lines = [0; 3];
    let report = run(|m, ops| {
        ops.run("set", || {
            lines[0] = line!() + 1;
            m.flush(512..513)?;
            m.drain()?;
            m.write(0, &[1])?;
            m.flush(0..1)?;
            lines[1] = line!() + 1;
            m.flush(0..1)?;
            m.drain()?;
            lines[2] = line!() + 1;
            m.drain()
        })
    });
    let expected = [
        (LintKind::CleanFlush, 1, lines[0]),
        (LintKind::SecondFlush, 1, lines[1]),
        (LintKind::EmptyDrain, 1, lines[2]),
    ];
    assert_eq!(found(&report), expected);
    assert!(report.lints.iter().all(|lint| !lint.kind.is_bug()));
}

#[test]
fn a_line_stored_to_after_its_flush_is_flushed_again_for_a_reason() {
    let report = run(|m, ops| {
        ops.run("set", || {
            m.write(0, &[1])?;
            m.flush(0..1)?;
            m.write(0, &[2])?;
            m.persist(0..1)
        })
    });
    report.assert_no_lints();
}

#[test]
fn a_drain_by_another_thread_does_not_count() {
    let report = run(|m, ops| {
        ops.run("set", || {
            m.write(0, &[1])?;
            m.flush(0..1)?;
            let shared = &*m;
            std::thread::scope(|scope| scope.spawn(|| shared.drain()).join().expect("no panic"))
        })
    });
    let kinds: Vec<LintKind> = report.lints.iter().map(|lint| lint.kind).collect();
    assert_eq!(kinds, [LintKind::NotDrained, LintKind::EmptyDrain]);
}

#[test]
fn what_prepares_is_not_told() {
    let report = run(|m, ops| {
        ops.prepare(|| {
            m.drain()?;
            m.flush(0..64)
        })?;
        m.drain()?;
        ops.run("set", || {
            m.write(0, &[1])?;
            m.persist(0..1)
        })
    });
    report.assert_no_lints();
}

#[test]
#[should_panic(expected = "not flushed on return")]
fn an_exception_allows_one_kind_in_one_file() {
    let report = run(|m, ops| {
        m.drain()?;
        ops.run("set", || m.write(0, &[1]))
    });
    let empty = (LintKind::EmptyDrain, "tests/lints.rs", "the test wants it");
    let unflushed = (LintKind::NotFlushed, "tests/lints.rs", "and this");
    report.assert_no_lints_but(&[empty, unflushed]);
    report.assert_no_lints_but(&[empty]);
}
