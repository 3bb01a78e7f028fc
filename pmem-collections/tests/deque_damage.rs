//! A damaged deque: every byte of its structure changed, references turned to other blocks. Every operation ends, with
//! a result or with `Corrupt`; nothing panics.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use support::{Tally, blocks, bytes, forge};

/// 4 in a leaf, so that few make a tree of three levels.
type Element = [u64; 25];
type Elements = PDeque<Element>;

const POOL: u64 = 1 << 20;
const LEAF: u64 = 8 + 5 * 200;

/// A deque of more leaves than a ring has children, which begins in the middle of a node.
fn pool() -> Pool {
    let pool = Pool::anonymous(POOL).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop)).unwrap();
    for part in (0..400).collect::<Vec<_>>().chunks(20) {
        pool.write(|tx| {
            let mut deque = tx.open::<Elements>("deque")?;
            part.iter().try_for_each(|n| match n % 4 {
                0 => deque.push_front([*n; 25]),
                _ => deque.push_back([*n; 25]),
            })
        })
        .unwrap();
    }
    pool
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool, seed: u64) -> (bool, bool) {
    let mut tally = Tally::default();
    let found_by_check = {
        let tx = pool.read().unwrap();
        let Some(deque) = tally.see(tx.open::<Elements>("deque")) else { return (true, true) };
        tally.see(deque.check()).is_none()
    };
    pool.check().unwrap();
    let mut random = Rng::with_seed(seed);
    for operation in 0..7 {
        let tx = pool.begin().unwrap();
        let mut deque = tx.open::<Elements>("deque").expect("the header was right");
        match operation {
            0 => {
                deque.iter().for_each(|element| _ = tally.see(element.map(drop)));
                deque.range(..90).rev().for_each(|element| _ = tally.see(element.map(drop)));
                let _ = format!("{deque:?}");
            }
            1 => {
                for n in (0..deque.len().min(1000)).chain([deque.len().wrapping_sub(1)]) {
                    tally.see(deque.get(n).map(drop));
                    tally.see(deque.get_mut(n).map(drop));
                }
            }
            2 => {
                for n in 0..60 {
                    tally.see(deque.push_back([n; 25]));
                    tally.see(deque.push_front([n; 25]));
                }
            }
            3 => {
                for n in 0..200 {
                    tally.see(if n % 3 == 0 { deque.pop_front() } else { deque.pop_back() }.map(drop));
                }
                tally.see(deque.truncate(3));
            }
            4 => {
                let len = deque.len();
                tally.see(deque.insert(random.usize(..=len), [7; 25]));
                let len = deque.len();
                tally.see(deque.remove(random.usize(..=len)).map(drop));
                let len = deque.len();
                let from = random.usize(..=len);
                tally.see(deque.drain(from..len.min(from + 50)).map(drop));
                tally.see(deque.retain(|element| element[0] % 3 == 0));
            }
            5 => {
                // As a queue, past the end of leaves and of inner nodes.
                for n in 0..300 {
                    tally.see(deque.push_back([n; 25]));
                    tally.see(deque.pop_front().map(drop));
                }
            }
            _ => {
                tally.see(deque.clear());
                tally.see(deque.push_back([1; 25]));
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
    let [at] = blocks(&pool, b"PDeque  ")?[..] else { panic!("one header") };
    // But for head and length: a deque that is shorter by less than a leaf looks right.
    for i in (0..64).filter(|i| !(24..40).contains(i)) {
        for bit in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 1 << bit])?;
            assert!(try_everything(&pool, i).0, "byte {i}, bit {bit}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    let head = u64::from_le_bytes(bytes(&pool, at + 24)?);
    let heads = [0, 1, 10, head - 40, head + 40, head + 2000, 1 << 40, 1 << 63, u64::MAX];
    let lens = [0, 1, 380, 900, 1 << 32, 1 << 43, u64::MAX - head, u64::MAX];
    for (field, value) in heads.map(|head| (24, head)).into_iter().chain(lens.map(|len| (32, len))) {
        let before = forge(&pool, at + field, &value.to_le_bytes())?;
        assert!(try_everything(&pool, value).0, "{field}: {value}");
        forge(&pool, at + field, &before)?;
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn every_changed_byte_of_a_nodes_first_word_and_every_other_child_is_found_by_check() -> Result<()> {
    let pool = pool();
    let nodes = blocks(&pool, b"PDe\0")?;
    let inner: Vec<u64> = [b"PDe\x01", b"PDe\x02"].iter().flat_map(|m| blocks(&pool, *m).unwrap()).collect();
    let wrong = || -> Result<bool> { Ok(pool.read()?.open::<Elements>("deque")?.check().is_err()) };
    assert!(inner.len() >= 3);
    for &at in nodes.iter().chain(&inner) {
        for i in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 0x41])?;
            assert!(wrong()?, "byte {i} of {at:#x}");
            assert!(i % 4 != 0 || try_everything(&pool, i).0);
            forge(&pool, at + i, &[byte])?;
        }
    }
    for &at in &inner {
        for child in 0..63 {
            let place = at + 8 + 8 * child;
            for other in [0, 1, POOL, u64::MAX, u64::MAX - 7, nodes[0], nodes[5], inner[0], inner[1]] {
                let before = forge(&pool, place, &other.to_le_bytes())?;
                if before != other.to_le_bytes() {
                    assert!(wrong()?, "child {child} of {at:#x}: {other:#x}");
                    assert!(child % 16 != 0 || try_everything(&pool, other).0);
                }
                forge(&pool, place, &before)?;
            }
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
    let inner = [b"PDe\x01", b"PDe\x02"].iter().flat_map(|m| blocks(&pool, *m).unwrap()).map(|at| (at, 512));
    let header = blocks(&pool, b"PDeque  ")?.into_iter().flat_map(|at| [(at, 64); 20]);
    let leaves = blocks(&pool, b"PDe\0")?.into_iter().map(|at| (at, LEAF));
    let places: Vec<_> = leaves.chain(inner).chain(header).collect();
    for _ in 0..500 {
        let (at, len) = places[random.usize(..places.len())];
        let at = at + random.u64(..len - 8);
        let bytes: Vec<u8> = (0..random.usize(1..9)).map(|_| random.u8(..)).collect();
        let before = forge(&pool, at, &bytes)?;
        if pool.read()?.open::<Elements>("deque").is_ok_and(|deque| !deque.is_empty()) {
            try_everything(&pool, at);
        }
        forge(&pool, at, &before)?;
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn a_small_deque_is_checked_too() -> Result<()> {
    let pool = Pool::anonymous(POOL)?;
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("vandal")?;
        tx.open::<PDeque<u64>>("small")?.extend(0..5u64)
    })?;
    let [at] = blocks(&pool, b"PDeque  ")?[..] else { panic!("one header") };
    // There is a leaf of 7 slots, and 5 elements in it.
    let words = [(24, 7), (24, 1 << 40), (32, 8), (16, 0), (40, 127 << 32 | 8), (40, 127 << 32 | 127)];
    for (field, value) in words {
        let before = forge(&pool, at + field, &u64::to_le_bytes(value))?;
        let error = pool.read()?.open::<PDeque<u64>>("small").err().unwrap();
        let ErrorKind::Corrupt { offset, .. } = error.kind() else { panic!("{error}") };
        assert_eq!(*offset, at, "{field}: {value}");
        forge(&pool, at + field, &before)?;
    }
    pool.read()?.open::<PDeque<u64>>("small")?.check()?;
    Ok(())
}

#[test]
fn elements_at_the_limit_are_held_and_larger_ones_and_other_types_are_errors_that_say_so() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        let mut deque = tx.open::<PDeque<[u64; 511]>>("limit")?;
        (0..20).try_for_each(|n| deque.push_front([n; 511]))?;
        assert_eq!(deque.get(7)?, Some(&[12; 511]));
        assert_eq!((deque.get(20)?, deque.get(usize::MAX)?), (None, None));
        deque.check().map(drop)
    })?;
    let error = pool.write(|tx| tx.open::<PDeque<[u64; 512]>>("large").map(drop)).unwrap_err();
    assert!(error.to_string().contains("elements of 4096 bytes"), "{error}");
    let error = pool.read()?.open::<PDeque<u64>>("limit").err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    Ok(())
}
