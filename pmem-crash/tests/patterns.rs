//! The ten patterns of bugs that keep being found in persistent structures, each planted in a small one: it is found. And its
//! corrected twin is explored completely, without a finding.
//!
//! Patterns and names are those of the bug studies (Witcher, SOSP '21; Agamotto, OSDI '20; PMRace, ASPLOS '22;
//! Yashme, ASPLOS '22; Jaaru, ASPLOS '21).

use pmem_crash::{Config, Exploration, Ops, Point, Report};
use pmem_map::{Error, Mapping};

fn config() -> Config {
    Config::default().bound(1 << 16).nested(u64::MAX)
}

fn word(mapping: &Mapping, at: u64) -> u64 {
    u64::from_le_bytes(mapping.as_slice()[at as usize..][..8].try_into().unwrap())
}

fn store(mapping: &Mapping, at: u64, value: u64) {
    // SAFETY: one thread at a time, and no reference into the mapping is alive.
    unsafe { mapping.store_word(at, value) };
}

/// Stores a word, and makes it durable.
fn put(mapping: &Mapping, at: u64, value: u64) -> Result<(), Error> {
    store(mapping, at, value);
    mapping.persist(at..at + 8)
}

fn expect(right: bool, found: impl std::fmt::Debug) -> Result<(), String> {
    if right { Ok(()) } else { Err(format!("found {found:?}")) }
}

/// A workload of operations 1 to 3, with no recovery.
fn three(
    operation: impl Fn(&mut Mapping, u64) -> Result<(), Error>,
    oracle: impl Fn(&mut Mapping, &Point<'_>) -> Result<(), String>,
) -> Report {
    explore(
        |mapping, ops| (1..=3).try_for_each(|n| ops.run(format!("operation {n}"), || operation(mapping, n))),
        |_| Ok(()),
        oracle,
    )
}

fn explore(
    workload: impl FnOnce(&mut Mapping, &Ops) -> Result<(), Error>,
    recover: impl Fn(&mut Mapping) -> Result<(), Error>,
    oracle: impl Fn(&mut Mapping, &Point<'_>) -> Result<(), String>,
) -> Report {
    Exploration::new("pattern").config(config()).len(4096).run(
        |mut mapping, ops| workload(&mut mapping, ops),
        |mut mapping| recover(&mut mapping).map(|()| mapping),
        |mut mapping, point| oracle(&mut mapping, point),
    )
}

/// P1. A flag in another line says that data is valid, and is not ordered after it.
fn flag_before_data(bug: bool) -> Report {
    three(
        |m, n| {
            store(m, 64 * n, 7 * n);
            if bug {
                store(m, 0, n);
                m.flush(64 * n..64 * n + 8)?;
            } else {
                m.persist(64 * n..64 * n + 8)?;
                store(m, 0, n);
            }
            m.persist(0..8)
        },
        |m, point| {
            let valid = word(m, 0);
            let whole = (1..=valid).all(|n| word(m, 64 * n) == 7 * n);
            expect(point.range().contains(&(valid as usize)) && whole, valid)
        },
    )
}

/// P2. Two fields in different lines are taken to change together.
fn two_lines_at_once(bug: bool) -> Report {
    // Two accounts hold 100; each operation moves 10. The twin writes both to the other of two copies, and switches.
    let accounts = |m: &Mapping| match bug {
        true => (word(m, 64), word(m, 128)),
        false => {
            let copy = 64 + 128 * (word(m, 0) & 1);
            (word(m, copy), word(m, copy + 64))
        }
    };
    explore(
        |m, ops| {
            ops.prepare(|| put(m, 64, 100))?;
            (1..=3u64).try_for_each(|n| {
                ops.run(format!("move {n}"), || {
                    let (from, to) = accounts(m);
                    let copy = if bug { 64 } else { 64 + 128 * (n & 1) };
                    store(m, copy, from - 10);
                    store(m, copy + 64, to + 10);
                    m.flush(copy..copy + 8)?;
                    m.flush(copy + 64..copy + 72)?;
                    m.drain()?;
                    if bug { Ok(()) } else { put(m, 0, n) }
                })
            })
        },
        |_| Ok(()),
        |m, point| {
            let (from, to) = accounts(m);
            expect(from + to == 100 && point.range().contains(&((to / 10) as usize)), (from, to))
        },
    )
}

/// P3. Fields of one line go through a combination that means something else.
fn combination_within_a_line(bug: bool) -> Report {
    three(
        |m, n| {
            // A list in one line: its length, and its elements. The line keeps a prefix of its stores.
            let stores = if bug { [(0, n), (8 * n, 7 * n)] } else { [(8 * n, 7 * n), (0, n)] };
            stores.iter().for_each(|&(at, value)| store(m, at, value));
            m.persist(0..64)
        },
        |m, point| {
            let len = word(m, 0);
            let whole = (1..=len).all(|n| word(m, 8 * n) == 7 * n);
            expect(point.range().contains(&(len as usize)) && whole, len)
        },
    )
}

/// P4. A change of structure (a split) is visible before what it moved is there.
fn split_before_its_parts(bug: bool) -> Report {
    // Node 64 holds keys 1 to 4; a split moves 3 and 4 to a new node at 128, to which word 0 of the first one links.
    let keys = |m: &Mapping| -> Vec<u64> {
        let mut keys: Vec<u64> = (1..5).map(|n| word(m, 64 + 8 * n)).collect();
        if word(m, 64) != 0 {
            keys.extend((1..5).map(|n| word(m, word(m, 64) + 8 * n)));
        }
        keys.retain(|key| *key != 0);
        keys.sort_unstable();
        keys.dedup(); // moved, and not yet taken away
        keys
    };
    explore(
        |m, ops| {
            ops.prepare(|| {
                (1..5).for_each(|n| store(m, 64 + 8 * n, n));
                m.persist(64..128)
            })?;
            ops.run("split", || {
                let link = |m: &Mapping| put(m, 64, 128);
                if bug {
                    link(m)?; // the new node is still empty
                }
                (1..3).for_each(|n| store(m, 128 + 8 * n, n + 2));
                m.persist(128..192)?;
                if bug {
                    store(m, 64 + 24, 0);
                } else {
                    link(m)?;
                    store(m, 64 + 24, 0);
                }
                store(m, 64 + 32, 0);
                m.persist(64..128)
            })?;
            ops.run("insert 5", || put(m, 128 + 24, 5))
        },
        |m| {
            // The recovery trusts the link: what the new node has, the old one need not have.
            let new = word(m, 64);
            if new != 0 {
                for n in 3..5 {
                    put(m, 64 + 8 * n, 0)?;
                }
            }
            Ok(())
        },
        |m, point| {
            let found = keys(m);
            let right = (4..6).any(|n| {
                point.range().any(|done| done.max(1) + 3 == n) && found == (1..=n as u64).collect::<Vec<_>>()
            });
            expect(right, found)
        },
    )
}

/// P5. What a constructor wrote is not flushed.
fn constructor_unflushed(bug: bool) -> Report {
    const MAGIC: u64 = 0x1234;
    explore(
        |m, ops| {
            ops.run("create", || {
                (1..4).for_each(|n| store(m, 64 * n, n)); // header, free list, root
                if !bug {
                    m.persist(64..256)?;
                }
                put(m, 0, MAGIC)
            })
        },
        |_| Ok(()),
        |m, point| match word(m, 0) {
            MAGIC => expect((1..4).all(|n| word(m, 64 * n) == n), "an object that is not initialised"),
            _ => expect(point.acknowledged == 0, "no object"),
        },
    )
}

/// P6. A flush of the wrong address or length: it steps by lines from an unaligned start, and leaves out the tail.
fn flush_without_its_tail(bug: bool) -> Report {
    three(
        |m, n| {
            let at = 128 * n + 40; // 48 bytes: into the next line
            m.write(at, &[n as u8; 48])?;
            if bug {
                (at..at + 48 - 47).step_by(64).try_for_each(|line| m.flush(line..line + 1))?;
            } else {
                m.flush(at..at + 48)?;
            }
            m.drain()?;
            put(m, 0, n)
        },
        |m, point| {
            let valid = word(m, 0);
            let whole = |n: u64| {
                m.as_slice()[(128 * n + 40) as usize..][..48].iter().all(|byte| u64::from(*byte) == n)
            };
            expect(point.range().contains(&(valid as usize)) && (1..=valid).all(whole), valid)
        },
    )
}

/// P7. A reader acts on a value that is not durable, with a durable effect.
fn unpersisted_value_read(bug: bool) -> Report {
    explore(
        |m, ops| {
            ops.begin("a writer sets");
            store(m, 0, 1);
            if !bug {
                m.persist(0..8)?;
            }
            let m = &*m;
            ops.run("a reader copies what it sees", || {
                std::thread::scope(|scope| scope.spawn(|| put(m, 64, word(m, 0))).join().expect("no panic"))
            })?;
            m.persist(0..8)
        },
        |_| Ok(()),
        |m, _| expect(word(m, 64) <= word(m, 0), (word(m, 0), word(m, 64))),
    )
}

/// P7, too. A lock in persistent memory is still held after a crash.
fn lock_survives(bug: bool) -> Report {
    let add = |m: &mut Mapping| -> Result<bool, Error> {
        if word(m, 8) != 0 {
            return Ok(false); // somebody has the lock: for ever
        }
        store(m, 8, 1);
        let n = word(m, 0);
        put(m, 0, n + 1)?;
        store(m, 8, 0);
        Ok(true)
    };
    explore(
        |m, ops| (1..=3).try_for_each(|n| ops.run(format!("add {n}"), || add(m).map(|done| assert!(done)))),
        |m| if bug { Ok(()) } else { put(m, 8, 0) },
        |m, point| {
            let found = word(m, 0);
            expect(point.range().contains(&(found as usize)) && add(m).unwrap(), (found, word(m, 8)))
        },
    )
}

/// P8. A recovery that is not idempotent: it adds what the log says, and is interrupted before it clears the log.
fn recovery_twice(bug: bool) -> Report {
    explore(
        |m, ops| {
            (1..=2u64).try_for_each(|n| {
                ops.run(format!("log {n}"), || put(m, 64, if bug { 1 } else { n }))?;
                ops.run("apply", || recover(m, bug))
            })
        },
        |m| recover(m, bug),
        |m, point| {
            let found = word(m, 0);
            expect(point.range().any(|done| done.div_ceil(2) as u64 == found), found)
        },
    )
}

fn recover(m: &mut Mapping, bug: bool) -> Result<(), Error> {
    let logged = word(m, 64);
    if logged != 0 {
        let n = word(m, 0);
        put(m, 0, if bug { n + logged } else { logged })?;
        put(m, 64, 0)?;
    }
    Ok(())
}

/// P9. A block is allocated before anything refers to it: a crash in between loses it.
fn leak(bug: bool) -> Report {
    // Word 0 has a bit for each block, words 64.. are the references.
    let referenced = |m: &Mapping| {
        (0..4).map(|n| word(m, 64 + 8 * n)).filter(|at| *at != 0).fold(0, |bits, at| bits | 1 << at)
    };
    explore(
        |m, ops| {
            (1..=3).try_for_each(|n| {
                ops.run(format!("allocate {n}"), || {
                    let bits = word(m, 0);
                    put(m, 0, bits | 1 << n)?;
                    put(m, 64 + 8 * (n - 1), n)
                })
            })
        },
        // The twin's bits are rebuilt from what is referred to.
        |m| if bug { Ok(()) } else { put(m, 0, referenced(m)) },
        |m, _| expect(word(m, 0) == referenced(m), (word(m, 0), referenced(m))),
    )
}

/// P9, too. The reference is durable before the allocation: the block is handed out twice.
fn double_allocation(bug: bool) -> Report {
    explore(
        |m, ops| {
            ops.run("allocate", || {
                if bug {
                    put(m, 64, 1)?;
                    return put(m, 0, 1 << 1);
                }
                put(m, 0, 1 << 1)?;
                put(m, 64, 1)
            })
        },
        |_| Ok(()),
        |m, _| {
            // The next one takes the first free block.
            let new = (1..64).find(|n| word(m, 0) >> n & 1 == 0).unwrap();
            expect(word(m, 64) != new, new)
        },
    )
}

/// P10. A commit word is a plain assignment that the compiler makes two stores of.
fn torn_commit_word(bug: bool) -> Report {
    three(
        |m, n| {
            put(m, 64 * n, n)?;
            let (offset, len) = (64 * n, 8u64); // which are one only together
            if bug {
                m.write(0, &(offset as u32).to_le_bytes())?;
                m.write(4, &(len as u32 * n as u32).to_le_bytes())?;
            } else {
                store(m, 0, offset | (len * n) << 32);
            }
            m.persist(0..8)
        },
        |m, _| {
            let commit = word(m, 0);
            let (offset, len) = (commit & 0xffff_ffff, commit >> 32);
            expect(offset / 64 * 8 == len, (offset, len))
        },
    )
}

/// Pattern, and the structure: with the bug, and without.
type Pattern = (&'static str, fn(bool) -> Report);

const PATTERNS: &[Pattern] = &[
    ("P1  flag not ordered after its data", flag_before_data),
    ("P2  two lines taken for atomic", two_lines_at_once),
    ("P3  inconsistent combination in one line", combination_within_a_line),
    ("P4  split visible before its parts", split_before_its_parts),
    ("P5  constructor not flushed", constructor_unflushed),
    ("P6  flush without its unaligned tail", flush_without_its_tail),
    ("P7  unpersisted value read", unpersisted_value_read),
    ("P7  lock survives in the medium", lock_survives),
    ("P8  recovery not idempotent", recovery_twice),
    ("P9  block lost", leak),
    ("P9  block handed out twice", double_allocation),
    ("P10 commit word torn", torn_commit_word),
];

#[test]
fn every_pattern_of_bugs_is_found_and_its_corrected_twin_has_none() {
    let mut wrong = Vec::new();
    for (name, structure) in PATTERNS {
        let (bug, twin) = (structure(true), structure(false));
        match (bug.images_to_first_failure, &twin.first_failure) {
            (Some(images), None) if twin.complete => println!(
                "planted | {name:<42} | found after {images:>4} images | corrected: {:>5} images, {:>5} recoveries, 0 failures",
                twin.images, twin.recoveries
            ),
            (None, _) => wrong.push(format!("{name}: the bug is not found")),
            (_, Some(failure)) => wrong.push(format!("{name}: the twin fails: {failure}")),
            (_, None) => wrong.push(format!("{name}: the twin is not explored completely")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_flush_that_a_fault_shortens_by_its_tail_is_found() {
    let shortened = |step: usize| {
        Exploration::new("shortened").fault(pmem_crash::Fault::Shortened(step)).len(4096).run(
            |mut mapping, ops| {
                ops.run("write", || {
                    mapping.write(40, &[1; 48])?;
                    mapping.persist(40..88)?;
                    put(&mapping, 256, 1)
                })
            },
            Ok::<Mapping, Error>,
            |mapping, _| expect(word(&mapping, 256) == 0 || mapping.as_slice()[40..88] == [1; 48], "torn"),
        )
    };
    shortened(usize::MAX).assert_ok();
    shortened(1).expect_failure(); // step 0 is the store
}

#[test]
fn two_steps_that_a_fault_swaps_are_found_where_their_order_matters() {
    let swapped = |step: usize| {
        Exploration::new("swapped")
            .configure(|config| config.raw_stores(false))
            .fault(pmem_crash::Fault::Swapped(step))
            .len(4096)
            .run(
                |mapping, ops| {
                    ops.run("set", || {
                        store(&mapping, 8, 5); // 0
                        store(&mapping, 0, 1); // 1: in the same line
                        mapping.flush(0..16)?; // 2
                        mapping.drain()?; // 3
                        store(&mapping, 64, 1); // 4
                        mapping.persist(64..72) // 5, 6
                    })
                },
                Ok::<Mapping, Error>,
                |mapping, point| {
                    let [data, flag, done] = [8, 0, 64].map(|at| word(&mapping, at));
                    let right = (flag == 0 || data == 5)
                        && (done == 0 || flag == 1)
                        && (point.acknowledged == 0 || done == 1);
                    expect(right, (data, flag, done))
                },
            )
    };
    swapped(usize::MAX).assert_ok();
    for (step, what) in [
        (0, "two stores to a line"),
        (1, "store, flush"),
        (2, "flush, drain"),
        (3, "drain, store"),
        (4, "store, flush"),
        (5, "flush, drain"),
    ] {
        assert!(swapped(step).failures > 0, "step {step}: {what}");
    }
}
