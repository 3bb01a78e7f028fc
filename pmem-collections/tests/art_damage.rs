//! A damaged radix tree: every byte of its structure changed, references turned to other nodes, so that there are circles and
//! nodes with many parents. Every operation ends, with a result or with `Corrupt`; nothing panics.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use support::{Tally, blocks, bytes, forge};

type Tree = PArt<u64>;

const POOL: u64 = 1 << 20;
const KINDS: [(&[u8], u64); 4] = [(b"PAr\x01", 64), (b"PAr\x02", 192), (b"PAr\x03", 704), (b"PAr\x04", 2112)];

/// Keys that make nodes of all kinds, some of them below each other, and keys that end at nodes.
fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    keys.extend((0..100).map(|n| vec![b'a', n, n]));
    keys.extend((0..30).map(|n| vec![b'b', b'b', n, 1, n]));
    keys.extend((0..10).map(|n| vec![b'c', n]));
    keys.extend(
        ["", "a", "bb", "c", "d/long/way", "d/long/walk", "d/long/", "e"].map(|key| key.as_bytes().to_vec()),
    );
    keys
}

fn pool() -> Pool {
    let pool = Pool::anonymous(POOL).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop)).unwrap();
    pool.write(|tx| tx.open::<Tree>("art")?.extend(keys().iter().zip(0u64..))).unwrap();
    pool
}

/// Nodes of all kinds with their lengths, and leaves.
fn nodes(pool: &Pool) -> (Vec<(u64, u64)>, Vec<u64>) {
    let nodes: Vec<_> = KINDS
        .iter()
        .flat_map(|(magic, len)| blocks(pool, magic).unwrap().into_iter().map(|at| (at, *len)))
        .collect();
    assert!(KINDS.iter().all(|(_, kind)| nodes.iter().any(|(_, len)| len == kind)), "all kinds");
    (nodes, blocks(pool, b"PArl").unwrap())
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool) -> (bool, bool) {
    let mut tally = Tally::default();
    let found_by_check = {
        let tx = pool.read().unwrap();
        let Some(art) = tally.see(tx.open::<Tree>("art")) else { return (true, true) };
        tally.see(art.check()).is_none()
    };
    let keys = keys();
    for operation in 0..6 {
        let tx = pool.begin().unwrap();
        let mut art = tx.open::<Tree>("art").expect("the header was right");
        match operation {
            0 => {
                art.iter().for_each(|entry| _ = tally.see(entry.map(drop)));
                art.iter().rev().for_each(|entry| _ = tally.see(entry.map(drop)));
                let (mut both, mut front) = (art.iter(), true);
                while let Some(entry) = if front { both.next() } else { both.next_back() } {
                    tally.see(entry.map(drop));
                    front = !front;
                }
                art.range("aa".."d").rev().for_each(|entry| _ = tally.see(entry.map(drop)));
                art.prefix("bb").for_each(|entry| _ = tally.see(entry.map(drop)));
                art.prefix("d/l").rev().for_each(|entry| _ = tally.see(entry.map(drop)));
                let _ = format!("{art:?}");
            }
            1 => {
                for key in &keys {
                    tally.see(art.get(key).map(drop));
                    tally.see(art.get_mut(key).map(drop));
                    tally.see(art.longest_prefix([&key[..], b"xyz"].concat()).map(drop));
                }
            }
            2 => {
                for (n, key) in keys.iter().enumerate().step_by(3) {
                    tally.see(art.insert(key, 1).map(drop));
                    tally.see(art.insert([&key[..], &[n as u8]].concat(), 2).map(drop));
                    tally.see(art.insert(&key[..key.len() / 2], 3).map(drop));
                }
            }
            3 => {
                for key in keys.iter().rev() {
                    tally.see(art.remove(key).map(drop));
                }
            }
            4 => {
                tally.see(art.pop_first().map(drop));
                tally.see(art.pop_last().map(drop));
                tally.see(art.remove_prefix("bb").map(drop));
                tally.see(art.retain(|_, value| value % 3 == 0));
            }
            _ => {
                tally.see(art.clear());
                tally.see(art.insert("x", 1).map(drop));
            }
        }
    }
    (found_by_check, tally.corrupt > 0)
}

fn wrong(pool: &Pool) -> bool {
    pool.read().unwrap().open::<Tree>("art").is_ok_and(|art| art.check().is_err())
}

#[test]
fn every_changed_byte_of_the_header_is_an_error_that_names_it() -> Result<()> {
    let pool = pool();
    assert_eq!(try_everything(&pool), (false, false));
    let [at] = blocks(&pool, b"PArtTree")?[..] else { panic!("one header") };
    for i in 0..64 {
        for bit in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 1 << bit])?;
            assert!(try_everything(&pool).0, "byte {i}, bit {bit}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    for len in [0, 1, 1 << 32, u64::MAX] {
        let before = forge(&pool, at + 24, &len.to_le_bytes())?;
        assert!(try_everything(&pool).0, "{len}");
        forge(&pool, at + 24, &before)?;
    }
    assert_eq!(try_everything(&pool), (false, false));
    Ok(())
}

#[test]
fn every_changed_byte_of_heads_and_numbers_and_every_other_reference_is_found_by_check() -> Result<()> {
    let pool = pool();
    let (nodes, leaves) = nodes(&pool);
    for &(at, len) in &nodes {
        // Magic and depth; of nodes that list their children, which there are; of a node of 48, its numbers.
        let occupied = match len {
            64 => 20..22,
            192 => 32..34,
            704 => 64..320,
            _ => 0..0,
        };
        for i in (0..8).chain(occupied) {
            let [byte] = bytes(&pool, at + i)?;
            for changed in [byte ^ 1, byte ^ 0x41, 255] {
                forge(&pool, at + i, &[changed])?;
                assert!(changed == byte || wrong(&pool), "byte {i} of {at:#x}: {changed}");
                assert!(i % 16 != 0 || changed == byte || try_everything(&pool).0);
            }
            forge(&pool, at + i, &[byte])?;
        }
    }
    for &at in &leaves {
        for i in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 0x41])?;
            assert!(wrong(&pool), "byte {i} of leaf {at:#x}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    let others: Vec<u64> = nodes
        .iter()
        .map(|(at, len)| at | (KINDS.iter().position(|kind| kind.1 == *len).unwrap() as u64 + 1))
        .chain([leaves[0], leaves[9], 1, 5, 8, POOL, POOL + 1, u64::MAX, u64::MAX - 7])
        .collect();
    for &(at, len) in &nodes {
        let references = match len {
            64 => (8..16).chain(24..56),
            192 => (8..16).chain(64..192),
            704 => (8..16).chain(320..704),
            _ => (8..16).chain(64..2112),
        };
        for place in references.step_by(8) {
            for &other in &others {
                // What free places of nodes that list their children hold means nothing.
                let before = forge(&pool, at + place, &other.to_le_bytes())?;
                let is_reference = len == 2112 || before != [0; 8] || place == 8;
                if is_reference && before != other.to_le_bytes() {
                    assert!(wrong(&pool), "{place} of {at:#x}: {other:#x}");
                    assert!(place % 56 != 0 || try_everything(&pool).0);
                }
                forge(&pool, at + place, &before)?;
            }
        }
    }
    assert_eq!(try_everything(&pool), (false, false));
    Ok(())
}

#[test]
fn nodes_with_many_parents_end_walks_instead_of_multiplying_them() -> Result<()> {
    let pool = Pool::anonymous(POOL)?;
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop))?;
    // Below each other, 400 nodes with two entries, in each of which all references are turned to the next node: 2^400 ways.
    let long = [7u8; 400];
    pool.write(|tx| {
        let mut art = tx.open::<Tree>("art")?;
        (0..400).try_for_each(|len| art.insert([&long[..len], &[9]].concat(), 1).map(drop))
    })?;
    let mut nodes: Vec<(u32, u64)> = blocks(&pool, b"PAr\x01")?
        .into_iter()
        .map(|at| Ok((u32::from_le_bytes(bytes(&pool, at + 4)?), at)))
        .collect::<Result<_>>()?;
    nodes.sort_unstable();
    assert_eq!(nodes.len(), 399);
    for pair in nodes.windows(2) {
        for place in [24, 32] {
            forge(&pool, pair[0].1 + place, &(pair[1].1 | 1).to_le_bytes())?;
        }
    }
    let mut tally = Tally::default();
    let tx = pool.begin()?;
    let mut art = tx.open::<Tree>("art")?;
    tally.see(art.check());
    assert!(art.iter().count() < 10 && art.iter().rev().count() < 10 && art.prefix(&long[..3]).count() < 10);
    tally.see(art.longest_prefix(&long).map(drop));
    tally.see(art.remove(&long).map(drop));
    tally.see(art.retain(|_, _| false));
    tally.see(art.clear());
    assert!(tally.corrupt >= 3);
    drop(art);
    drop(tx);
    let report = pool.check()?;
    assert!(!report.is_ok(), "{report:?}");
    Ok(())
}

#[test]
fn no_changed_byte_anywhere_makes_an_operation_panic_or_loop() -> Result<()> {
    let seed = 5;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let pool = pool();
    let (nodes, leaves) = nodes(&pool);
    let places: Vec<(u64, u64)> = nodes.iter().copied().chain(leaves.iter().map(|&at| (at, 16))).collect();
    for _ in 0..700 {
        let damage: Vec<_> = (0..random.usize(1..4))
            .map(|_| {
                // As many nodes as leaves.
                let among = if random.bool() { &nodes } else { &places };
                let (at, len) = *random.choice(among).unwrap();
                let at = at + random.u64(..len / 8) * 8;
                let to = match random.u8(..4) {
                    0 => random.choice(&nodes).unwrap().0 | random.u64(..8),
                    1 => *random.choice(&leaves).unwrap(),
                    2 => random.u64(..),
                    _ => (8 * random.u64(..POOL / 8)) | random.u64(..8),
                };
                (at, forge(&pool, at, &to.to_le_bytes()).unwrap())
            })
            .collect();
        try_everything(&pool);
        for (at, before) in damage.iter().rev() {
            forge(&pool, *at, before)?;
        }
    }
    assert_eq!(try_everything(&pool), (false, false));
    Ok(())
}
