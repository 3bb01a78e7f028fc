//! A damaged log: bytes of every part of it changed, references turned elsewhere, its end torn. Every operation ends, with a
//! result or with `Corrupt`; nothing panics, and no record is read that was not appended.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use support::{Tally, blocks, bytes, forge};

const POOL: u64 = 1 << 20;
const COUNT: u64 = 700;
const FIRST: u64 = 60;

fn record(n: u64) -> Vec<u8> {
    let len = if n == 300 { 6_000 } else { 20 + n as usize * 7 % 90 };
    (0..len).map(|i| (n + i as u64) as u8 | 1).collect()
}

/// Segments of all sizes, one of a large record among them; the first records are truncated.
fn pool() -> Pool {
    let pool = Pool::anonymous(POOL).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop)).unwrap();
    for start in (0..COUNT).step_by(50) {
        pool.write(|tx| tx.open::<PLog>("log")?.append_all((start..start + 50).map(record)).map(drop))
            .unwrap();
    }
    pool.write(|tx| tx.open::<PLog>("log")?.truncate_before(FIRST)).unwrap();
    pool
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool, seed: u64) -> (bool, bool) {
    let mut tally = Tally::default();
    let found_by_check = {
        let tx = pool.read().unwrap();
        let Some(log) = tally.see(tx.open::<PLog>("log")) else { return (true, true) };
        tally.see(log.check()).is_none()
    };
    pool.check().unwrap();
    let mut random = Rng::with_seed(seed);
    for operation in 0..6 {
        let tx = pool.begin().unwrap();
        let mut log = tx.open::<PLog>("log").expect("the header was right");
        match operation {
            0 => {
                for found in &log {
                    if let Some((seq, bytes)) = tally.see(found) {
                        assert_eq!(bytes, record(seq), "record {seq}");
                    }
                }
                let _ = format!("{log:?}");
            }
            1 => {
                tally.see(log.seqs());
                tally.see(log.last().map(drop));
                for seq in (0..40).map(|_| random.u64(..COUNT + 10)) {
                    if let Some(Some(bytes)) = tally.see(log.get(seq)) {
                        assert_eq!(bytes, record(seq), "record {seq}");
                    }
                }
            }
            2 => {
                for n in 0..60 {
                    tally.see(log.append(&record(n)));
                }
                tally.see(log.append(&record(300)));
                tally.see(log.append_all((0..100).map(record)));
                tally.see(log.check());
            }
            3 => {
                tally.see(log.truncate_before(FIRST + random.u64(..300)));
                tally.see(log.truncate_before(COUNT - 5));
                tally.see(log.append(b"more"));
            }
            4 => {
                tally.see(log.clear());
                tally.see(log.append(b"more"));
            }
            _ => {
                drop(log);
                let mut tx = tx;
                tally.see(tx.remove::<PLog>("log"));
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
    let [at] = blocks(&pool, b"PLog    ")?[..] else { panic!("one header") };
    // But for the first record: that may be any of the first segment's.
    for i in (0..64).filter(|i| !(24..32).contains(i)) {
        for bit in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 1 << bit])?;
            assert!(try_everything(&pool, i).0, "byte {i}, bit {bit}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    for (field, value) in [(24, 0), (24, 1 << 40), (24, u64::MAX), (32, 0), (32, at), (40, 0), (48, at)] {
        let before = forge(&pool, at + field, &u64::to_le_bytes(value))?;
        assert!(try_everything(&pool, value).0, "{field}: {value}");
        forge(&pool, at + field, &before)?;
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn every_changed_byte_of_a_segments_head_is_found_by_check() -> Result<()> {
    let pool = pool();
    let segments = blocks(&pool, b"PLgS")?;
    assert!(segments.len() > 10);
    for &at in &segments {
        for i in 0..64 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 1 << (i % 8)])?;
            assert!(i % 4 == 0 || pool.read()?.open::<PLog>("log")?.check().is_err(), "byte {i} of {at:#x}");
            assert!(i % 4 != 0 || try_everything(&pool, i).0, "byte {i} of {at:#x}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn every_changed_byte_of_a_record_is_an_error_that_names_it() -> Result<()> {
    let pool = pool();
    let segments = blocks(&pool, b"PLgS")?;
    // The records of some segments: every byte, and what is behind the last one.
    for &at in [segments[0], segments[segments.len() - 1]].iter() {
        let size = u64::from(u32::from_le_bytes(bytes(&pool, at + 4)?));
        for i in (64..size).step_by(5) {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 0x10])?;
            let error = pool.read()?.open::<PLog>("log")?.check().err();
            let padding = error.is_none();
            if let Some(error) = error {
                let ErrorKind::Corrupt { offset, .. } = error.kind() else { panic!("{error}") };
                assert!((at..at + size).contains(offset), "byte {i} of {at:#x}: {error}");
            }
            assert!(!padding || byte == 0, "byte {i} of {at:#x}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn a_torn_end_is_an_error_for_those_who_append_and_those_who_read_that_far() -> Result<()> {
    let pool = Pool::anonymous(POOL)?;
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("vandal")?;
        tx.open::<PLog>("log")?.append_all([[7; 200], [8; 200], [9; 200]].map(Vec::from)).map(drop)
    })?;
    let at = *blocks(&pool, b"PLgS")?.last().expect("there are");
    let place = (at..at + 1024)
        .step_by(8)
        .find(|at| bytes::<8>(&pool, at + 8).is_ok_and(|found| found == [9; 8]))
        .expect("the last record");
    // Each of its lines as it was before the append: the first has its length, the last its end.
    for line in (place / 64 * 64..place + 208).step_by(64) {
        let start = line.max(place);
        let len = (line + 64).min(place + 208) - start;
        let before = forge(&pool, start, &vec![0; len as usize])?;
        let tx = pool.read()?;
        let log = tx.open::<PLog>("log")?;
        let all: Vec<_> = log.iter().collect();
        let (last, earlier) = all.split_last().expect("something");
        assert_eq!(earlier.len(), 2, "{all:?}");
        let Err(error) = last else { panic!("{last:?}") };
        let ErrorKind::Corrupt { offset, .. } = error.kind() else { panic!("{error}") };
        assert!((place..place + 208).contains(offset), "{error}");
        assert!(log.check().is_err());
        drop(all);
        drop(tx);
        if start > place {
            let error = pool.write(|tx| tx.open::<PLog>("log")?.append(b"more").map(drop)).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Corrupt { offset, .. } if *offset == place), "{error}");
        }
        forge(&pool, start, &before)?;
    }
    pool.write(|tx| tx.open::<PLog>("log")?.append(b"more").map(|seq| assert_eq!(seq, 3)))?;
    pool.read()?.open::<PLog>("log")?.check().map(drop)
}

#[test]
fn no_changed_byte_anywhere_makes_an_operation_panic_or_loop() -> Result<()> {
    let seed = 5;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = pool();
    let header = blocks(&pool, b"PLog    ")?.into_iter().flat_map(|at| [(at, 64); 10]);
    let index =
        [b"PDeque  ", b"PDe\0\0\0\0@"].iter().flat_map(|m| blocks(&pool, *m).unwrap()).map(|at| (at, 64));
    let heads = blocks(&pool, b"PLgS")?.into_iter().map(|at| (at, 64));
    let bodies = blocks(&pool, b"PLgS")?.into_iter().map(|at| (at, 512));
    let places: Vec<_> = header.chain(index).chain(heads).chain(bodies).collect();
    for _ in 0..600 {
        let (at, len) = places[random.usize(..places.len())];
        let at = at + random.u64(..len - 8);
        let bytes: Vec<u8> = (0..random.usize(1..9)).map(|_| random.u8(..)).collect();
        let before = forge(&pool, at, &bytes)?;
        try_everything(&pool, at);
        forge(&pool, at, &before)?;
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn a_record_at_its_place_in_another_log_is_no_record_of_this_one() -> Result<()> {
    let pool = Pool::anonymous(POOL)?;
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("vandal")?;
        for name in ["one", "other"] {
            tx.open::<PLog>(name)?.append_all(["the same", "in both"])?;
        }
        Ok(())
    })?;
    let segments = blocks(&pool, b"PLgS")?;
    let [one, other] = segments[..] else { panic!("{segments:?}") };
    let stolen: [u8; 16] = bytes(&pool, other + 64)?;
    let before = forge(&pool, one + 64, &stolen)?;
    assert_ne!(before, stolen);
    for name in ["one", "other"] {
        let tx = pool.read()?;
        let log = tx.open::<PLog>(name)?;
        let broken = blocks(&pool, b"PLog    ")?.len() == 2 && log.get(0).is_err();
        assert_eq!(
            (broken, log.check().is_err(), log.get(1)?),
            (name == "one", name == "one", Some(&b"in both"[..]))
        );
    }
    Ok(())
}
