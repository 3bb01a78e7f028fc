//! A damaged list: every byte of its structure changed, references turned to other nodes, so that there are circles. Every
//! operation ends, with a result or with `Corrupt`; nothing panics.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use support::{Tally, blocks, bytes, forge};

type List = PLinkedList<u64>;

const POOL: u64 = 1 << 20;
const LEN: u64 = 60;

/// A pool, and where the list's nodes are, in order.
fn pool() -> (Pool, Vec<u64>) {
    let pool = Pool::anonymous(POOL).unwrap();
    pool.write(|tx| tx.open::<PHeap<u64>>("vandal").map(drop)).unwrap();
    pool.write(|tx| tx.open::<List>("list")?.extend(0..LEN)).unwrap();
    pool.write(|tx| tx.open::<List>("other")?.extend(0..3)).unwrap();
    let mut nodes = Vec::new();
    let header = header(&pool);
    let mut at = u64::from_le_bytes(bytes(&pool, header + 16).unwrap());
    while at != 0 {
        nodes.push(at);
        at = u64::from_le_bytes(bytes(&pool, at + 16).unwrap());
    }
    assert_eq!(nodes.len() as u64, LEN);
    (pool, nodes)
}

/// Of the longer list.
fn header(pool: &Pool) -> u64 {
    let headers = blocks(pool, b"PLinkLst").unwrap();
    assert_eq!(headers.len(), 2);
    let len = |at: &u64| u64::from_le_bytes(bytes(pool, at + 32).unwrap());
    headers.into_iter().find(|at| len(at) != 3).unwrap()
}

/// Every operation, in transactions that are dropped. Returns whether `check` (or opening) found damage, and whether
/// anything did.
fn try_everything(pool: &Pool) -> (bool, bool) {
    let mut tally = Tally::default();
    let (found_by_check, places) = {
        let tx = pool.read().unwrap();
        let Some(list) = tally.see(tx.open::<List>("list")) else { return (true, true) };
        let found = tally.see(list.check()).is_none();
        (found, list.positions().map_while(|place| tally.see(place)).collect::<Vec<_>>())
    };
    let mut random = Rng::with_seed(places.len() as u64);
    for operation in 0..8 {
        let tx = pool.begin().unwrap();
        let mut list = tx.open::<List>("list").expect("the header was right");
        match operation {
            0 => {
                list.iter().for_each(|element| _ = tally.see(element.map(drop)));
                list.iter().rev().for_each(|element| _ = tally.see(element.map(drop)));
                let (mut both, mut front) = (list.iter(), true);
                while let Some(element) = if front { both.next() } else { both.next_back() } {
                    tally.see(element.map(drop));
                    front = !front;
                }
                let _ = format!("{list:?}");
            }
            1 => {
                tally.see(list.front().map(drop));
                tally.see(list.back().map(drop));
                tally.see(list.front_mut().map(drop));
                tally.see(list.back_mut().map(drop));
                let mut place = tally.see(list.first_position()).flatten();
                for _ in 0..LEN + 5 {
                    place = place.and_then(|place| tally.see(list.next_position(place)).flatten());
                }
                let mut place = tally.see(list.last_position()).flatten();
                for _ in 0..LEN + 5 {
                    place = place.and_then(|place| tally.see(list.previous_position(place)).flatten());
                }
            }
            2 => {
                tally.see(list.push_back(1).map(drop));
                tally.see(list.push_front(2).map(drop));
            }
            3 => {
                for _ in 0..LEN + 5 {
                    tally.see(if random.bool() { list.pop_back() } else { list.pop_front() }.map(drop));
                }
            }
            4 => {
                for &place in &places {
                    let other = *random.choice(&places).expect("some");
                    tally.see(list.insert_before(place, 7).map(drop));
                    tally.see(list.insert_after(other, 7).map(drop));
                    tally.see(list.move_before(place, other).map(drop));
                    tally.see(list.move_to_front(other).map(drop));
                    tally.see(list.remove(place).map(drop));
                    tally.see(list.set(other, 9).map(drop));
                }
            }
            5 => {
                let mut other = tx.open::<List>("other").unwrap();
                tally.see(list.append(&mut other));
                tally.see(other.append(&mut list));
                tally.see(other.check().map(drop));
            }
            6 => _ = tally.see(list.retain(|element| element % 3 == 0)),
            _ => {
                tally.see(list.clear());
                tally.see(list.push_back(1).map(drop));
            }
        }
    }
    (found_by_check, tally.corrupt > 0)
}

#[test]
fn every_changed_byte_of_the_header_is_an_error_that_names_it() -> Result<()> {
    let (pool, _) = pool();
    assert_eq!(try_everything(&pool), (false, false));
    let at = header(&pool);
    // But for the stamp and the generation, which may be any.
    for i in (0..64).filter(|i| !(40..56).contains(i)) {
        for bit in 0..8 {
            let [byte] = bytes(&pool, at + i)?;
            forge(&pool, at + i, &[byte ^ 1 << bit])?;
            assert!(try_everything(&pool).0, "byte {i}, bit {bit}");
            forge(&pool, at + i, &[byte])?;
        }
    }
    for len in [0, 1, LEN - 1, LEN + 1, 1 << 32, u64::MAX] {
        let before = forge(&pool, at + 32, &len.to_le_bytes())?;
        assert!(try_everything(&pool).0, "{len}");
        forge(&pool, at + 32, &before)?;
    }
    for stamp in [0, u64::MAX] {
        let before = forge(&pool, at + 40, &stamp.to_le_bytes())?;
        assert!(!try_everything(&pool).0);
        forge(&pool, at + 40, &before)?;
    }
    assert_eq!(try_everything(&pool), (false, false));
    Ok(())
}

#[test]
fn every_reference_to_another_place_is_found_by_check_and_circles_are_no_trap() -> Result<()> {
    let (pool, nodes) = pool();
    let wrong = || -> Result<bool> { Ok(pool.read()?.open::<List>("list")?.check().is_err()) };
    for (i, &at) in nodes.iter().enumerate() {
        for word in [8, 16] {
            let others =
                [0, 1, 8, POOL, u64::MAX, u64::MAX - 7, nodes[0], nodes[1], nodes[i / 2], nodes[59], at];
            for other in others {
                let before = forge(&pool, at + word, &other.to_le_bytes())?;
                if before != other.to_le_bytes() {
                    assert!(wrong()?, "word {word} of node {i}: {other:#x}");
                    assert!(i % 12 != 0 || try_everything(&pool).0);
                }
                forge(&pool, at + word, &before)?;
            }
        }
    }
    // A circle in which all references agree, out of which nothing leads: from node 20 to node 40 and round again. The list
    // is cut off before and behind it; a position inside leads round, but not for ever.
    let inside = pool.read()?.open::<List>("list")?.positions().nth(30).unwrap()?;
    let first = forge(&pool, nodes[20] + 8, &nodes[40].to_le_bytes())?;
    let last = forge(&pool, nodes[40] + 16, &nodes[20].to_le_bytes())?;
    assert_eq!(try_everything(&pool), (true, true));
    let tx = pool.begin()?;
    let mut list = tx.open::<List>("list")?;
    assert!(list.remove(inside)?.is_some());
    assert!(list.check().is_err());
    drop(list);
    drop(tx);
    forge(&pool, nodes[20] + 8, &first)?;
    forge(&pool, nodes[40] + 16, &last)?;
    assert_eq!(try_everything(&pool), (false, false));
    Ok(())
}

#[test]
fn no_changed_byte_anywhere_makes_an_operation_panic_or_loop() -> Result<()> {
    let seed = 5;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let (pool, nodes) = pool();
    for _ in 0..700 {
        let damage: Vec<_> = (0..random.usize(1..4))
            .map(|_| {
                let at = nodes[random.usize(..nodes.len())] + 8 * random.u64(..3);
                let to = match random.u8(..3) {
                    0 => nodes[random.usize(..nodes.len())],
                    1 => random.u64(..),
                    _ => 8 * random.u64(..POOL / 8),
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
