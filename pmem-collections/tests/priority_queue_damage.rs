//! A damaged queue: bytes and references of its tree changed, numbers that meet their end. Every operation ends, with a
//! result or with `Corrupt`; nothing panics.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use support::{Tally, blocks, bytes, forge};

type Queue = PPriorityQueue<u64>;

const POOL: u64 = 1 << 20;

fn pool() -> Pool {
    let pool = Pool::anonymous(POOL).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop)).unwrap();
    pool.write(|tx| tx.open::<Queue>("queue")?.extend((0..3_000).map(|n| n * 7 % 500))).unwrap();
    pool
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool) -> (bool, bool) {
    let mut tally = Tally::default();
    let found_by_check = {
        let tx = pool.read().unwrap();
        let Some(queue) = tally.see(tx.open::<Queue>("queue")) else { return (true, true) };
        tally.see(queue.check()).is_none()
    };
    for operation in 0..5 {
        let tx = pool.begin().unwrap();
        let mut queue = tx.open::<Queue>("queue").expect("the header was right");
        match operation {
            0 => {
                queue.iter().for_each(|element| _ = tally.see(element.map(drop)));
                queue.iter().rev().for_each(|element| _ = tally.see(element.map(drop)));
                let _ = format!("{queue:?}");
                tally.see(queue.to_sorted_vec().map(drop));
            }
            1 => {
                for n in 0..100 {
                    tally.see(queue.push(n * 5));
                }
            }
            2 => {
                for _ in 0..200 {
                    tally.see(queue.peek().map(drop));
                    tally.see(queue.pop().map(drop));
                }
            }
            3 => _ = tally.see(queue.retain(|element| element % 3 == 0)),
            _ => {
                tally.see(queue.drain().map(drop));
                tally.see(queue.clear());
                tally.see(queue.push(1));
            }
        }
    }
    (found_by_check, tally.corrupt > 0)
}

#[test]
fn every_changed_byte_of_the_header_is_an_error_that_names_it() -> Result<()> {
    let pool = pool();
    assert_eq!(try_everything(&pool), (false, false));
    let [at] = blocks(&pool, b"PBTreeMp")?[..] else { panic!("one header") };
    for i in 0..64 {
        let [byte] = bytes(&pool, at + i)?;
        forge(&pool, at + i, &[byte ^ 0x41])?;
        assert!(try_everything(&pool).0, "byte {i}");
        forge(&pool, at + i, &[byte])?;
    }
    assert_eq!(try_everything(&pool), (false, false));
    Ok(())
}

#[test]
fn no_changed_byte_anywhere_makes_an_operation_panic_or_loop() -> Result<()> {
    let seed = 5;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = pool();
    let (leaves, inner) = (blocks(&pool, b"PBTl")?, blocks(&pool, b"PBTi")?);
    let places: Vec<u64> = leaves.iter().chain(&inner).copied().collect();
    assert!(leaves.len() > 50 && inner.len() > 2);
    for _ in 0..300 {
        let at = *random.choice(&places).expect("some") + 8 * random.u64(..62);
        let to = match random.u8(..3) {
            0 => *random.choice(&places).expect("some"),
            1 => random.u64(..),
            _ => random.u64(..600),
        };
        let before = forge(&pool, at, &to.to_le_bytes())?;
        try_everything(&pool);
        forge(&pool, at, &before)?;
    }
    assert_eq!(try_everything(&pool), (false, false));
    Ok(())
}

#[test]
fn a_number_that_has_no_next_is_an_error_and_changes_nothing() -> Result<()> {
    let pool = Pool::anonymous(POOL)?;
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop))?;
    pool.write(|tx| tx.open::<Queue>("queue")?.push(3))?;
    let [leaf] = blocks(&pool, b"PBTl")?[..] else { panic!("one leaf") };
    // The element at 64, its number behind it; the first 8 bytes of the slots' line are the word 3.
    assert_eq!(bytes::<16>(&pool, leaf + 64)?, [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    forge(&pool, leaf + 72, &[0xFF; 8])?;
    // Its fingerprint is not that of the key any more, but nobody looks for the key.
    let error = pool.write(|tx| tx.open::<Queue>("queue")?.push(3)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
    pool.write(|tx| {
        let mut queue = tx.open::<Queue>("queue")?;
        queue.push(2)?;
        assert_eq!((queue.pop()?, queue.pop()?, queue.pop()?), (Some(3), Some(2), None));
        Ok(())
    })
}
