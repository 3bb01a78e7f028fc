//! A damaged vector: every byte of its structure changed, references turned to other blocks. Every operation ends, with
//! a result or with `Corrupt`; nothing panics.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use support::{Tally, blocks, bytes, forge};

/// 4 in a leaf, so that few make a tree of three levels.
type Element = [u64; 25];
type Elements = PVec<Element>;

const POOL: u64 = 1 << 20;
const LEN: u64 = 280;
const LEAF: u64 = 8 + 5 * 200;

fn pool() -> Pool {
    let pool = Pool::anonymous(POOL).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop)).unwrap();
    for part in (0..LEN + 60).collect::<Vec<_>>().chunks(20) {
        pool.write(|tx| tx.open::<Elements>("vec")?.extend(part.iter().map(|n| [*n; 25]))).unwrap();
    }
    pool
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool, seed: u64) -> (bool, bool) {
    let mut tally = Tally::default();
    let found_by_check = {
        let tx = pool.read().unwrap();
        let Some(vec) = tally.see(tx.open::<Elements>("vec")) else { return (true, true) };
        tally.see(vec.check()).is_none()
    };
    let mut random = Rng::with_seed(seed);
    for operation in 0..6 {
        let tx = pool.begin().unwrap();
        let mut vec = tx.open::<Elements>("vec").expect("the header was right");
        match operation {
            0 => {
                vec.iter().for_each(|element| _ = tally.see(element.map(drop)));
                vec.range(..90).rev().for_each(|element| _ = tally.see(element.map(drop)));
                let _ = format!("{vec:?}");
            }
            1 => {
                for n in 0..vec.len() {
                    tally.see(vec.get(n).map(drop));
                    tally.see(vec.get_mut(n).map(drop));
                }
            }
            2 => {
                for n in 0..60 {
                    tally.see(vec.push([n; 25]));
                }
            }
            3 => {
                for _ in 0..200 {
                    tally.see(vec.pop().map(drop));
                }
                tally.see(vec.truncate(3));
            }
            4 => {
                let len = vec.len();
                tally.see(vec.insert(random.usize(..=len), [7; 25]));
                let len = vec.len();
                tally.see(vec.remove(random.usize(..len)).map(drop));
                let len = vec.len();
                tally.see(vec.swap_remove(random.usize(..len)).map(drop));
                tally.see(vec.retain(|element| element[0] % 3 == 0));
            }
            _ => {
                tally.see(vec.clear());
                tally.see(vec.push([1; 25]));
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
    let [at] = blocks(&pool, b"PVector ")?[..] else { panic!("one header") };
    // But for the length: a vector that is shorter by less than a leaf looks right.
    for i in (0..64).filter(|i| !(24..32).contains(i)) {
        for bit in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 1 << bit])?;
            assert!(try_everything(&pool, i).0, "byte {i}, bit {bit}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    for len in [0, 1, LEN - 20, LEN + 500, 1 << 32, u64::MAX] {
        let before = forge(&pool, at + 24, &len.to_le_bytes())?;
        assert!(try_everything(&pool, len).0, "{len}");
        forge(&pool, at + 24, &before)?;
    }
    assert_whole(&pool);
    Ok(())
}

#[test]
fn every_changed_byte_of_a_nodes_first_word_and_every_other_child_is_found_by_check() -> Result<()> {
    let pool = pool();
    let nodes = blocks(&pool, b"PVe\0")?;
    let inner: Vec<u64> = [b"PVe\x01", b"PVe\x02"].iter().flat_map(|m| blocks(&pool, *m).unwrap()).collect();
    let wrong = || -> Result<bool> { Ok(pool.read()?.open::<Elements>("vec")?.check().is_err()) };
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
    let inner = [b"PVe\x01", b"PVe\x02"].iter().flat_map(|m| blocks(&pool, *m).unwrap()).map(|at| (at, 512));
    let places: Vec<_> = blocks(&pool, b"PVe\0")?.into_iter().map(|at| (at, LEAF)).chain(inner).collect();
    for _ in 0..500 {
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
fn elements_at_the_limit_are_held_and_larger_ones_and_other_types_are_errors_that_say_so() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        let mut vec = tx.open::<PVec<[u64; 511]>>("limit")?;
        (0..20).try_for_each(|n| vec.push([n; 511]))?;
        assert_eq!(vec.get(7)?, Some(&[7; 511]));
        assert_eq!((vec.get(20)?, vec.get(usize::MAX)?), (None, None));
        vec.check().map(drop)
    })?;
    let error = pool.write(|tx| tx.open::<PVec<[u64; 512]>>("large").map(drop)).unwrap_err();
    assert!(error.to_string().contains("elements of 4096 bytes"), "{error}");
    let error = pool.read()?.open::<PVec<u64>>("limit").err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    Ok(())
}
