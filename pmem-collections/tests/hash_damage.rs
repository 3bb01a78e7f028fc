//! A damaged hash map: every byte of its structure changed, references turned to other blocks. Every operation ends,
//! with a result or with `Corrupt`; nothing panics. And a full pool, in the middle of a split.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::{hash_map::TableSummary, *};
use std::collections::HashMap;
use support::{Tally, blocks, bytes, forge};

/// Values so large that a bucket has 4 slots and a full segment 4 buckets.
type Value = [u64; 60];
type Map = PHashMap<u64, Value>;

const POOL: u64 = 1 << 20;
const ENTRIES: u64 = 300;
const BUCKET: u64 = 1984;

fn value(n: u64) -> Value {
    [n; 60]
}

fn pool() -> Pool {
    let pool = PoolOptions::new().identity(5).create_on(Mapping::anonymous(POOL).unwrap()).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop)).unwrap();
    for part in (0..ENTRIES).collect::<Vec<_>>().chunks(20) {
        pool.write(|tx| tx.open::<Map>("map")?.extend(part.iter().map(|n| (n, value(*n))))).unwrap();
    }
    pool
}

fn summary(pool: &Pool) -> TableSummary {
    pool.read().unwrap().open::<Map>("map").unwrap().check().unwrap()
}

/// Where the buckets are.
fn buckets(pool: &Pool) -> Vec<u64> {
    // The tag is in bits 18 to 22 of the first word, behind the number, the size (4) and the depth.
    let all = (0..POOL).step_by(64).filter(|&at| {
        bytes::<8>(pool, at).is_ok_and(|word| {
            let word = u64::from_le_bytes(word);
            word >> 18 & 15 == 11 && word >> 6 & 15 == 2 && word & 63 <= 12 && word >> 10 & 255 < 4
        })
    });
    let found: Vec<_> = all.collect();
    assert_eq!(found.len() as u64, 4 * summary(pool).segments);
    found
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool, seed: u64) -> (bool, bool) {
    let mut tally = Tally::default();
    let found_by_check = {
        let tx = pool.read().unwrap();
        let Some(map) = tally.see(tx.open::<Map>("map")) else { return (true, true) };
        tally.see(map.check()).is_none()
    };
    let mut random = Rng::with_seed(seed);
    for operation in 0..7 {
        let tx = pool.begin().unwrap();
        let mut map = tx.open::<Map>("map").expect("the header was right");
        match operation {
            0 => {
                let most = map.len().saturating_add(1);
                let mut seen = 0;
                for entry in map.iter() {
                    tally.see(entry);
                    seen += 1;
                }
                assert!(seen <= most);
                let _ = format!("{map:?}");
            }
            1 => {
                for n in 0..ENTRIES {
                    tally.see(map.get(n).map(drop));
                }
            }
            2 => {
                for n in 0..60 {
                    tally.see(map.insert(ENTRIES + n, value(n)));
                }
            }
            3 => {
                for n in 0..ENTRIES {
                    tally.see(map.remove(n));
                }
            }
            4 => drop(tally.see(map.retain(|key, _| key % 3 != 0))),
            5 => {
                for _ in 0..50 {
                    let key = random.u64(..ENTRIES + 20);
                    if let Some(value) = tally.see(map.entry(key).or_insert(value(1))) {
                        value[0] += 1;
                    }
                    tally.see(map.get_mut(key).map(drop));
                }
            }
            _ => {
                if let Some(drain) = tally.see(map.drain()) {
                    for entry in drain.take(random.usize(..400)) {
                        tally.see(entry);
                    }
                }
                tally.see(map.insert(7, value(7)));
                tally.see(map.clear());
            }
        }
    }
    (found_by_check, tally.corrupt > 0)
}

fn assert_whole(pool: &Pool) {
    assert_eq!(try_everything(pool, 0), (false, false));
}

#[test]
fn every_changed_byte_of_the_header_is_an_error_that_names_it() -> Result<()> {
    let pool = pool();
    assert_whole(&pool);
    let [at] = blocks(&pool, b"PHashMap")?[..] else { panic!("one header") };
    for i in 0..64 {
        for bit in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 1 << bit])?;
            assert!(try_everything(&pool, i).0, "byte {i}, bit {bit}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn every_changed_byte_of_a_buckets_head_is_found_by_check() -> Result<()> {
    let pool = pool();
    let mut random = Rng::with_seed(2);
    for at in buckets(&pool) {
        let occupied = u16::from_le_bytes(bytes(&pool, at + 8)?);
        for i in 0..32 {
            // Fingerprints of free slots mean nothing.
            if (16..30).contains(&i) && occupied >> (i - 16) & 1 == 0 {
                continue;
            }
            let [byte] = bytes(&pool, at + i)?;
            let changed = byte ^ random.u8(1..);
            forge(&pool, at + i, &[changed])?;
            // `check` alone for most: the rest is for the next test.
            let map_is_wrong = if i % 8 == 0 {
                try_everything(&pool, i).0
            } else {
                let tx = pool.read()?;
                tx.open::<Map>("map")?.check().is_err()
            };
            assert!(map_is_wrong, "byte {i} of {at:#x}: {changed:#x}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn no_changed_byte_anywhere_makes_an_operation_panic_or_loop() -> Result<()> {
    let seed = 5;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = pool();
    let chunks = blocks(&pool, b"PHMc")?;
    assert_eq!(chunks.len() as u64, summary(&pool).chunks);
    let places: Vec<_> =
        buckets(&pool).into_iter().map(|at| (at, BUCKET)).chain(chunks.iter().map(|&at| (at, 576))).collect();
    let mut found = 0;
    for _ in 0..800 {
        let (at, len) = places[random.usize(..places.len())];
        // Half of the time the head.
        let at = at + if random.bool() { random.u64(..32) } else { random.u64(..len) };
        let bytes: Vec<u8> = (0..random.usize(1..9)).map(|_| random.u8(..)).collect();
        let before = forge(&pool, at, &bytes)?;
        found += usize::from(try_everything(&pool, at).1);
        forge(&pool, at, &before)?;
    }
    assert!(found > 200, "{found}");
    assert_whole(&pool);
    Ok(())
}

#[test]
fn a_reference_to_any_other_block_is_found_by_check() -> Result<()> {
    let pool = pool();
    let chunks = blocks(&pool, b"PHMc")?;
    let segments: Vec<u64> = buckets(&pool).into_iter().step_by(4).collect();
    let segment = |at: &u64| at | 4;
    let others: Vec<u64> = [0, 1, 4, 64, POOL, POOL | 4, u64::MAX, u64::MAX - 63]
        .into_iter()
        .chain(chunks.iter().map(|at| at | 1))
        .chain(segments.iter().map(segment))
        .chain(segments.iter().map(|at| at | 2))
        .chain(segments.iter().map(|at| (at + BUCKET) | 4))
        .collect();
    let mut changed = 0;
    for at in &chunks {
        for place in (0..64).map(|i| at + 64 + 8 * i) {
            for other in &others {
                let before = forge(&pool, place, &other.to_le_bytes())?;
                if before != other.to_le_bytes() {
                    changed += 1;
                    let wrong = if changed % 20 == 0 {
                        try_everything(&pool, *other).0
                    } else {
                        pool.read()?.open::<Map>("map")?.check().is_err()
                    };
                    assert!(wrong, "{place:#x}: {other:#x}");
                }
                forge(&pool, place, &before)?;
            }
        }
    }
    assert!(changed > 400, "{changed}");
    assert_whole(&pool);
    Ok(())
}

#[test]
fn a_reference_to_the_end_of_all_offsets_is_an_error_and_not_an_overflow() -> Result<()> {
    let pool = pool();
    let [header] = blocks(&pool, b"PHashMap")?[..] else { panic!("one header") };
    let chunk = blocks(&pool, b"PHMc")?[0];
    for place in [header + 16, chunk + 64, chunk + 64 + 8 * 63] {
        for reference in [!63u64 | 4, !63 | 1, 1 << 63 | 4] {
            let before = forge(&pool, place, &reference.to_le_bytes())?;
            assert!(try_everything(&pool, reference).0, "{place:#x}: {reference:#x}");
            forge(&pool, place, &before)?;
        }
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn an_error_names_the_bucket_that_is_damaged() -> Result<()> {
    let pool = pool();
    for at in buckets(&pool) {
        let before = forge(&pool, at, &[0xff])?;
        let tx = pool.read()?;
        let map = tx.open::<Map>("map")?;
        let named =
            |error: &Error| matches!(error.kind(), ErrorKind::Corrupt { offset, .. } if *offset == at);
        assert!(named(&map.check().unwrap_err()));
        assert!(named(&map.iter().find_map(Result::err).unwrap()));
        drop(tx);
        forge(&pool, at, &before)?;
    }
    Ok(())
}

#[test]
fn another_type_under_the_name_is_an_error() -> Result<()> {
    let pool = pool();
    let tx = pool.begin()?;
    let wrong = |error: Error| assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    wrong(tx.open::<PHashMap<u64, u64>>("map").err().unwrap());
    wrong(tx.open::<PHashMap<u32, Value>>("map").err().unwrap());
    wrong(tx.open::<PBTreeMap<u64, Value>>("map").err().unwrap());
    wrong(tx.open::<PHashSet<u64>>("map").err().unwrap());
    Ok(())
}

#[test]
fn entries_at_the_limit_are_held_and_larger_ones_are_an_error_that_says_so() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    // 4 times 8 and 4,080 bytes, and a head: all of 16,384.
    type Limit = [u64; 510];
    type Large = [u64; 511];
    pool.write(|tx| {
        let mut map = tx.open::<PHashMap<u64, Limit>>("limit")?;
        for n in 0..20 {
            map.insert(n, [n; 510])?;
        }
        assert_eq!(map.get(7)?, Some(&[7; 510]));
        assert_eq!(map.check()?.entries, 20);
        // Nothing at all is a key too, of which there is one.
        let mut empty = tx.open::<PHashMap<[u8; 0], [u8; 0]>>("empty")?;
        assert!(empty.insert([], [])?.is_none());
        assert!(empty.insert([], [])?.is_some());
        assert_eq!(empty.check()?.entries, 1);
        Ok(())
    })?;
    let error = pool.write(|tx| tx.open::<PHashMap<u64, Large>>("large").map(drop)).unwrap_err();
    assert!(error.to_string().contains("values of 4088 bytes"), "{error}");
    Ok(())
}

#[test]
fn a_pool_that_is_full_in_the_middle_of_a_split_leaves_the_map_as_it_was_and_later_inserts_work() -> Result<()>
{
    let pool = Pool::anonymous(POOL)?;
    let mut model = HashMap::new();
    let mut refused = 0;
    let same = |model: &HashMap<u64, Value>| -> Result<TableSummary> {
        let tx = pool.read()?;
        let map = tx.open::<Map>("map")?;
        for (key, value) in model {
            assert_eq!(map.get(key)?, Some(value));
        }
        let summary = map.check()?;
        assert_eq!(summary.entries, model.len() as u64);
        Ok(summary)
    };
    for n in 0.. {
        let tx = pool.begin()?;
        let inserted = tx.open::<Map>("map")?.insert(n, value(n)).map(drop);
        match inserted {
            Ok(()) => {
                tx.commit()?;
                model.insert(n, value(n));
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                let before = same(&model)?;
                // The transaction can go on, too: nothing was changed.
                assert_eq!(tx.open::<Map>("map")?.check()?, before);
                tx.commit()?;
                assert_eq!(same(&model)?, before);
                refused += 1;
                if refused == 50 {
                    break;
                }
            }
        }
    }
    // Segments that are not full still took some; and with room again, all is taken.
    assert!(model.len() > 800, "{}", model.len());
    pool.write(|tx| tx.open::<Map>("map")?.retain(|key, _| key % 2 == 0))?;
    model.retain(|key, _| key % 2 == 0);
    for n in 100_000..100_200 {
        if pool.write(|tx| tx.open::<Map>("map")?.insert(n, value(n)).map(drop)).is_ok() {
            model.insert(n, value(n));
        }
    }
    same(&model)?;
    pool.write(|tx| tx.open::<Map>("map")?.clear())?;
    pool.write(|tx| tx.open::<Map>("map")?.insert(1, value(1)).map(drop))?;
    same(&HashMap::from([(1, value(1))]))?;
    Ok(())
}

#[test]
fn a_segment_or_chunk_at_the_end_of_all_addresses_is_an_error() -> Result<()> {
    let pool = pool();
    let header = blocks(&pool, b"PHashMap")?[0];
    for kind in [0, 1, 2, 4] {
        forge(&pool, header + 16, &(!63u64 | kind).to_le_bytes())?;
        for seed in 0..20 {
            assert!(try_everything(&pool, seed).1, "a root of {kind}");
        }
    }
    Ok(())
}

#[test]
fn a_salvage_loses_a_damaged_bucket_and_nothing_else() -> Result<()> {
    let pool = pool();
    let salvaged = || {
        let tx = pool.read().unwrap();
        let map = tx.open::<Map>("map").unwrap();
        let mut keys = std::collections::HashSet::new();
        let salvage = map
            .salvage(|key, value| {
                assert!(*value == self::value(*key) && keys.insert(*key));
                Ok(())
            })
            .unwrap();
        assert_eq!(keys.len() as u64, salvage.entries);
        salvage
    };
    assert!(salvaged().is_whole());
    for at in buckets(&pool) {
        let before = forge(&pool, at, &[0xff; 8])?;
        let salvage = salvaged();
        assert_eq!(salvage.expected, ENTRIES);
        // The first bucket of a segment says how far the segment reaches: with it, all four are lost.
        assert!(!salvage.damage.is_empty() && salvage.entries >= ENTRIES - 16, "{salvage:?}");
        forge(&pool, at, &before)?;
    }
    assert!(salvaged().is_whole());
    Ok(())
}
