//! Bugs of known systems, each made again in a small structure: it is found. And the structure as it should have been is
//! explored completely, without a finding.

use pmem_crash::{Config, Exploration, Ops, Point, Report};
use pmem_map::{Error, Mapping};

fn config() -> Config {
    Config::default().bound(1 << 16).nested(u64::MAX)
}

fn word(mapping: &Mapping, at: u64) -> u64 {
    u64::from_le_bytes(mapping.as_slice()[at as usize..][..8].try_into().unwrap())
}

fn store(mapping: &Mapping, at: u64, value: u64) {
    // SAFETY: one thread, and no reference into the mapping is alive.
    unsafe { mapping.store_word(at, value) };
}

fn put(mapping: &Mapping, at: u64, value: u64) -> Result<(), Error> {
    store(mapping, at, value);
    mapping.persist(at..at + 8)
}

fn expect(right: bool, found: impl std::fmt::Debug) -> Result<(), String> {
    if right { Ok(()) } else { Err(format!("found {found:?}")) }
}

fn explore(
    workload: impl FnOnce(&mut Mapping, &Ops) -> Result<(), Error>,
    recover: impl Fn(&mut Mapping) -> Result<(), Error>,
    oracle: impl Fn(&mut Mapping, &Point<'_>) -> Result<(), String>,
) -> Report {
    Exploration::new("system").config(config()).len(8192).run(
        |mut mapping, ops| workload(&mut mapping, ops),
        |mut mapping| recover(&mut mapping).map(|()| mapping),
        |mut mapping, point| oracle(&mut mapping, point),
    )
}

/// Level Hashing (OSDI '18; Witcher's bugs 7 to 23): a slot's token, in the bucket's first line, is stored in the same window as
/// its key and value in another one, with one fence for both.
fn level_hashing(bug: bool) -> Report {
    let slot = |n: u64| 64 + 64 * n;
    explore(
        |m, ops| {
            (1..=3u64).try_for_each(|n| {
                ops.run(format!("insert {n}"), || {
                    m.write(slot(n), &[n as u8; 16])?;
                    m.flush(slot(n)..slot(n) + 16)?;
                    if !bug {
                        m.drain()?;
                    }
                    let tokens = word(m, 0);
                    put(m, 0, tokens | 1 << n)
                })
            })
        },
        |_| Ok(()),
        |m, point| {
            let tokens = word(m, 0);
            let whole = |n: u64| m.as_slice()[slot(n) as usize..][..16] == [n as u8; 16];
            let right = point.range().contains(&(tokens.count_ones() as usize));
            expect(right && (1..=3).all(|n| tokens >> n & 1 == 0 || whole(n)), tokens)
        },
    )
}

/// CCEH (FAST '19; Witcher's bug 24): a segment's local depth grows before the directory refers to the segment that takes
/// the other half of its keys. A crash in between, and a search for those finds a segment that says they are not its.
fn cceh(bug: bool) -> Report {
    // Directory: words 0 and 8, by the key's low bit. A segment: local depth, pattern, then keys.
    const OLD: u64 = 128;
    const NEW: u64 = 256;
    let find = |m: &Mapping, key: u64| {
        let segment = word(m, 8 * (key & 1));
        let (depth, pattern) = (word(m, segment), word(m, segment + 8));
        (depth == 0 || key & 1 == pattern) && (2..8).any(|n| word(m, segment + 8 * n) == key)
    };
    explore(
        |m, ops| {
            ops.prepare(|| {
                (2..6).for_each(|n| store(m, OLD + 8 * n, n + 10)); // keys 12 to 15
                m.persist(OLD..OLD + 64)?;
                store(m, 0, OLD);
                put(m, 8, OLD)
            })?;
            ops.run("split", || {
                store(m, NEW, 1);
                store(m, NEW + 8, 1);
                store(m, NEW + 16, 13);
                store(m, NEW + 24, 15);
                m.persist(NEW..NEW + 64)?;
                let grow = |m: &Mapping| {
                    store(m, OLD + 8, 0);
                    put(m, OLD, 1)
                };
                if bug {
                    grow(m)?;
                    return put(m, 8, NEW);
                }
                put(m, 8, NEW)?;
                grow(m)
            })?;
            ops.run("insert 17", || put(m, NEW + 32, 17))
        },
        |_| Ok(()),
        |m, point| {
            let lost = (12..16).chain((point.acknowledged == 2).then_some(17)).find(|key| !find(m, *key));
            expect(lost.is_none(), lost)
        },
    )
}

/// FAST&FAIR (FAST '18; Witcher): when the root splits, the root pointer is set to a new root of which the
/// entries are not flushed.
fn fast_fair(bug: bool) -> Report {
    const ROOT: u64 = 0;
    const LEFT: u64 = 64;
    const RIGHT: u64 = 128;
    const TOP: u64 = 192;
    // An inner node: 1, left child, key, right child. A leaf: 2, and keys.
    let find = |m: &Mapping, key: u64| {
        let mut node = word(m, ROOT);
        if word(m, node) == 1 {
            node = word(m, node + if key < word(m, node + 16) { 8 } else { 24 });
        }
        word(m, node) == 2 && (1..8).any(|n| word(m, node + 8 * n) == key)
    };
    explore(
        |m, ops| {
            ops.prepare(|| {
                store(m, LEFT, 2);
                (1..5).for_each(|n| store(m, LEFT + 8 * n, n));
                m.persist(LEFT..LEFT + 64)?;
                put(m, ROOT, LEFT)
            })?;
            ops.run("split the root", || {
                [2, 3, 4].iter().zip(0..).for_each(|(value, n)| store(m, RIGHT + 8 * n, *value));
                m.persist(RIGHT..RIGHT + 64)?;
                [1, LEFT, 3, RIGHT].iter().zip(0..).for_each(|(value, n)| store(m, TOP + 8 * n, *value));
                if !bug {
                    m.persist(TOP..TOP + 64)?;
                }
                put(m, ROOT, TOP)?;
                store(m, LEFT + 24, 0); // 3 and 4, which are in the right leaf
                store(m, LEFT + 32, 0);
                m.flush(TOP..TOP + 64)?;
                m.persist(LEFT..LEFT + 64)
            })?;
            ops.run("insert 5", || put(m, RIGHT + 24, 5))
        },
        |_| Ok(()),
        |m, point| {
            let lost = (1..5).chain((point.acknowledged == 2).then_some(5)).find(|key| !find(m, *key));
            expect(lost.is_none(), lost)
        },
    )
}

/// P-ART (RECIPE, SOSP '19; Witcher's bugs 26 and 27): a node's two counters lie in one line and are taken to change at
/// once, with one flush. A line keeps a prefix of its stores. The twin has both in one word.
fn p_art(bug: bool) -> Report {
    let counters = |m: &Mapping| match bug {
        true => (word(m, 0), word(m, 8)),
        false => (word(m, 0) & 0xffff_ffff, word(m, 0) >> 32),
    };
    explore(
        |m, ops| {
            (1..=3u64).try_for_each(|n| {
                ops.run(format!("add child {n}"), || {
                    put(m, 64 + 8 * n, n)?;
                    if bug {
                        store(m, 0, n); // compactCount: where the next child goes
                        store(m, 8, n); // count: when the node is full
                    } else {
                        store(m, 0, n | n << 32);
                    }
                    m.persist(0..16)
                })
            })
        },
        |_| Ok(()),
        |m, point| {
            let (compact, count) = counters(m);
            expect(compact == count && point.range().contains(&(count as usize)), (compact, count))
        },
    )
}

/// PMDK #5461: an undo log continues in a second block. A commit invalidates the first only; what is in the second is
/// valid still, and is applied when a later transaction, whose log is as long, crashes.
fn pmdk_5461(bug: bool) -> Report {
    // First block at 0: entries, generation. Second at 64: the same. An entry: where, and what was there.
    const DATA: u64 = 1024;
    let write = |m: &Mapping, generation: u64, values: &[(u64, u64)], commit: bool| -> Result<(), Error> {
        for (n, &(at, value)) in values.iter().enumerate() {
            let block = 64 * n as u64; // so small that the second entry is in the second block
            store(m, block + 16, at);
            store(m, block + 24, word(m, at));
            store(m, block + 8, generation);
            m.persist(block..block + 64)?;
            put(m, block, 1)?;
            put(m, at, value)?;
        }
        if commit { put(m, 0, 0) } else { Ok(()) }
    };
    let recover = |m: &mut Mapping| -> Result<(), Error> {
        if word(m, 0) != 0 {
            // The twin's second block counts only if it is of the same transaction.
            if word(m, 64) != 0 && (bug || word(m, 64 + 8) == word(m, 8)) {
                put(m, word(m, 64 + 16), word(m, 64 + 24))?;
            }
            put(m, word(m, 16), word(m, 24))?;
            put(m, 0, 0)?;
        }
        Ok(())
    };
    let (a, b) = (DATA, DATA + 64);
    explore(
        |m, ops| {
            ops.run("a = 1, b = 1", || write(m, 1, &[(a, 1), (b, 1)], true))?;
            ops.run("a = 2", || write(m, 2, &[(a, 2)], true))
        },
        recover,
        |m, point| {
            let found = (word(m, a), word(m, b));
            let states = [(0, 0), (1, 1), (2, 1)];
            expect(point.range().any(|done| states[done] == found), found)
        },
    )
}

/// Corundum (ASPLOS '21): a flush aligned its start down to 512 bytes, and flushed as many lines from there: not those that were
/// stored to.
fn corundum(bug: bool) -> Report {
    let at = |n: u64| 512 * n + 320;
    explore(
        |m, ops| {
            (1..=3u64).try_for_each(|n| {
                ops.run(format!("set {n}"), || {
                    m.write(at(n), &[n as u8; 24])?;
                    let start = if bug { at(n) & !511 } else { at(n) & !63 };
                    m.persist(start..start + 24)?;
                    put(m, 0, n)
                })
            })
        },
        |_| Ok(()),
        |m, point| {
            let valid = word(m, 0);
            let whole = |n: u64| m.as_slice()[at(n) as usize..][..24] == [n as u8; 24];
            expect(point.range().contains(&(valid as usize)) && (1..=valid).all(whole), valid)
        },
    )
}

/// System, and the structure: with its bug, and without.
type System = (&'static str, fn(bool) -> Report);

const SYSTEMS: &[System] = &[
    ("Level Hashing: token before key and value", level_hashing),
    ("CCEH: local depth before directory", cceh),
    ("FAST&FAIR: root before its entries", fast_fair),
    ("P-ART: two counters in one line", p_art),
    ("PMDK #5461: second block of an undo log", pmdk_5461),
    ("Corundum: flush aligned down to 512", corundum),
];

#[test]
fn every_bug_of_a_known_system_is_found_and_its_corrected_twin_has_none() {
    let mut wrong = Vec::new();
    for (name, structure) in SYSTEMS {
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
