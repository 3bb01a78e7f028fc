//! `PDeque` does what `VecDeque` does: random operations on both, in transactions that commit, are dropped, or go back to a
//! savepoint, with reopening in between.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use proptest::prelude::*;
use std::{collections::VecDeque, fmt::Debug};

fn assert_same<T: Plain + PartialEq + Debug, M: Mode>(
    deque: &DequeGuard<'_, T, M>,
    model: &VecDeque<T>,
) -> Result<()> {
    assert_eq!(deque.len(), model.len());
    assert_eq!(deque.is_empty(), model.is_empty());
    assert_eq!(deque.check()?.elements, model.len() as u64);
    assert!(deque.iter().map(Result::unwrap).eq(model));
    assert!(deque.iter().rev().map(Result::unwrap).eq(model.iter().rev()));
    assert_eq!((deque.front()?, deque.back()?), (model.front(), model.back()));
    assert_eq!(deque.to_deque()?, *model);
    Ok(())
}

fn owned<T: Value>(old: Option<pmem_collections::map::Old<T>>) -> Result<Option<T>> {
    old.map(|old| old.to_owned()).transpose()
}

/// One random operation on both, with the same result. `drift`: which end grows, of 8.
fn operate<T: Plain + Debug + PartialEq>(
    deque: &mut DequeGuard<'_, T, Write>,
    model: &mut VecDeque<T>,
    random: &mut Rng,
    value: &mut impl FnMut(&mut Rng) -> T,
    (growing, drift): (bool, u8),
) -> Result<()> {
    let v = value(random);
    let i = random.usize(..model.len().max(1));
    let front = random.u8(..8) < drift;
    match random.u8(..if growing { 22 } else { 34 }) {
        0..8 if front => {
            deque.push_front(v)?;
            model.push_front(v);
        }
        0..8 => {
            deque.push_back(v)?;
            model.push_back(v);
        }
        8 => {
            let many: Vec<T> = (0..random.usize(..200)).map(|_| value(random)).collect();
            deque.extend(&many)?;
            model.extend(&many);
        }
        9 => assert_eq!(deque.get(i)?, model.get(i)),
        10 if !model.is_empty() => {
            assert_eq!(deque.set(i, v)?.to_owned()?, std::mem::replace(&mut model[i], v));
        }
        11 => match (deque.get_mut(i)?, model.get_mut(i)) {
            (Some(found), Some(expected)) => {
                assert_eq!(found, expected);
                (*found, *expected) = (v, v);
            }
            (found, expected) => assert_eq!(found, expected),
        },
        12 => {
            let place = random.usize(..=model.len());
            deque.insert(place, v)?;
            model.insert(place, v);
        }
        13 => assert_eq!(owned(deque.remove(i)?)?, model.remove(i)),
        14 if !model.is_empty() => {
            let j = random.usize(..model.len());
            deque.swap(i, j)?;
            model.swap(i, j);
        }
        15 => {
            let (a, b) = (i.min(model.len()), random.usize(..=model.len()));
            let (a, b) = (a.min(b), a.max(b));
            let (mut found, mut expected) = (deque.range(a..b), model.range(a..b));
            loop {
                let back = random.bool();
                let found = if back { found.next_back() } else { found.next() };
                let expected = if back { expected.next_back() } else { expected.next() };
                assert_eq!(found.transpose()?, expected);
                if expected.is_none() {
                    break;
                }
            }
            assert!(deque.range(model.len()..).next().is_none());
        }
        16 if random.u8(..10) == 0 => {
            let (a, b) = (i.min(model.len()), random.usize(..=model.len()));
            let (a, b) = (a.min(b), a.max(b).min(a.min(b) + 300));
            assert!(deque.drain(a..b)?.eq(model.drain(a..b)));
        }
        17 if random.u8(..20) == 0 => {
            let mut same = random.clone();
            deque.retain(|_| random.u8(..3) != 0)?;
            model.retain(|_| same.u8(..3) != 0);
        }
        18 if random.u8(..20) == 0 => {
            let len = random.usize(..=model.len() + 5);
            deque.truncate(len)?;
            model.truncate(len);
        }
        19 if random.u16(..200) == 0 => {
            deque.clear()?;
            model.clear();
        }
        20 => {
            // As a queue: what goes in at one end comes out at the other.
            for _ in 0..random.usize(..60) {
                deque.push_back(v)?;
                model.push_back(v);
                assert_eq!(owned(deque.pop_front()?)?, model.pop_front());
            }
        }
        _ => {
            for _ in 0..random.usize(..if growing { 3 } else { 80 }) {
                if random.u8(..8) < drift {
                    assert_eq!(owned(deque.pop_back()?)?, model.pop_back());
                } else {
                    assert_eq!(owned(deque.pop_front()?)?, model.pop_front());
                }
            }
        }
    }
    Ok(())
}

fn random_operations<T: Plain + Debug + PartialEq>(
    seed: u64,
    operations: usize,
    mut value: impl FnMut(&mut Rng) -> T,
) -> Result<()> {
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut pool = Pool::anonymous(8 << 20)?;
    let mut model = VecDeque::new();
    let (mut done, mut growing, mut drift) = (0, true, 4);
    while done < operations {
        if random.u8(..6) == 0 || model.len() > 20_000 {
            growing = !growing && model.len() < 20_000;
            drift = *random.choice(&[0, 1, 4, 7, 8]).expect("some");
        }
        let mut tx = pool.begin()?;
        let mut changed = model.clone();
        for _ in 0..random.usize(1..4) {
            let (savepoint, before) = (tx.savepoint(), changed.clone());
            let mut deque = tx.open::<PDeque<T>>("deque")?;
            for _ in 0..random.usize(..100) {
                operate(&mut deque, &mut changed, &mut random, &mut value, (growing, drift))?;
                done += 1;
            }
            if random.u8(..4) == 0 {
                tx.rollback_to(&savepoint)?;
                changed = before;
            }
        }
        assert_same(&tx.open::<PDeque<T>>("deque")?, &changed)?;
        if random.u8(..4) == 0 {
            drop(tx);
        } else if tx.commit().is_ok() {
            model = changed;
        } // else it was too much for the log, and nothing happened
        if random.u8(..8) == 0 {
            pool = support::reopened(&pool);
        }
        let report = pool.check()?;
        assert!(report.is_ok());
        let tx = pool.read()?;
        match tx.open::<PDeque<T>>("deque") {
            Ok(deque) => {
                assert_same(&deque, &model)?;
                let summary = deque.check()?;
                let blocks = report.small_blocks + report.large_blocks;
                assert_eq!(blocks, 2 + summary.leaves + summary.inner_nodes);
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model.is_empty()),
        }
    }
    pool.write(|tx| tx.open::<PDeque<T>>("deque")?.clear())?;
    let report = pool.check()?;
    assert_eq!((report.small_blocks, report.large_blocks), (2, 0));
    Ok(())
}

#[test]
fn random_operations_on_words_do_what_std_does() -> Result<()> {
    (0..8).try_for_each(|seed| random_operations::<u64>(seed, 6_000, |r| r.u64(..)))
}

#[test]
fn random_operations_on_elements_of_other_sizes_do_what_std_does() -> Result<()> {
    (0..2).try_for_each(|seed| random_operations::<u8>(seed, 4_000, |r| r.u8(..)))?;
    (0..2).try_for_each(|seed| random_operations::<[u8; 3]>(seed, 4_000, |r| [r.u8(..); 3]))?;
    (0..2).try_for_each(|seed| random_operations::<u128>(seed, 4_000, |r| r.u128(..)))?;
    (0..4).try_for_each(|seed| random_operations::<[u64; 40]>(seed, 3_000, |r| [r.u64(..); 40]))?;
    random_operations::<[u8; 0]>(1, 3_000, |_| [])
}

/// 4 in a leaf: 63 leaves below a node make 252 elements.
type Large = [u64; 30];

#[test]
fn a_deque_of_three_levels_grows_and_shrinks_at_both_ends() -> Result<()> {
    let pool = Pool::anonymous(64 << 20)?;
    let count = 63 * 63 * 4 + 1000;
    for (grows_in_front, shrinks_in_front) in [(false, false), (true, true), (false, true), (true, false)] {
        for start in (0..count).step_by(500) {
            pool.write(|tx| {
                let mut deque = tx.open::<PDeque<Large>>("deque")?;
                (start..count.min(start + 500)).try_for_each(|n| match grows_in_front {
                    true => deque.push_front([n; 30]),
                    false => deque.push_back([n; 30]),
                })
            })?;
        }
        let mut model: VecDeque<u64> = (0..count).collect();
        if grows_in_front {
            model = model.into_iter().rev().collect();
        }
        for len in [63 * 63 * 4 + 1, 63 * 63 * 4, 63 * 63 * 4 - 4, 300, 253, 252, 248, 5, 1, 0] {
            pool.write(|tx| {
                let mut deque = tx.open::<PDeque<Large>>("deque")?;
                match shrinks_in_front {
                    true => drop(deque.drain(..deque.len() - len)?),
                    false => deque.truncate(len)?,
                }
                match shrinks_in_front {
                    true => drop(model.drain(..model.len() - len)),
                    false => model.truncate(len),
                }
                Ok(())
            })?;
            let tx = pool.read()?;
            let deque = tx.open::<PDeque<Large>>("deque")?;
            assert!(deque.iter().map(|n| n.unwrap()[0]).eq(model.iter().copied()));
            let summary = deque.check()?;
            let used = (len as u64).div_ceil(4);
            let (leaves, nodes) = (summary.leaves, summary.inner_nodes);
            assert!((used..=used + 3).contains(&leaves), "{len}: {summary:?}");
            // One over two leaves and more; those below a ring, of which the first and the last may be half empty.
            assert!(nodes <= 4 + leaves.div_ceil(63) + leaves.div_ceil(63 * 63), "{len}: {summary:?}");
        }
    }
    Ok(())
}

#[test]
fn a_queue_passes_its_leaves_on_and_never_takes_more_of_the_pool() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| tx.open::<PDeque<Large>>("queue")?.extend((0..300).map(|n| [n; 30])))?;
    // Far enough that every node has gone more than once.
    let (mut most, mut next) = (0, 300);
    for _ in 0..200 {
        pool.write(|tx| {
            let mut queue = tx.open::<PDeque<Large>>("queue")?;
            for _ in 0..20 {
                queue.push_back([next; 30])?;
                assert_eq!(queue.pop_front()?.expect("300").get()?[0], next - 300);
                next += 1;
            }
            most = most.max(queue.check()?.leaves + queue.check()?.inner_nodes);
            Ok(())
        })?;
    }
    assert!(most <= 300 / 4 + 3 + 4, "{most} blocks");
    assert!(pool.check()?.is_ok());
    Ok(())
}

#[test]
fn deques_of_strings_and_of_deques_leak_nothing() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| {
        tx.open::<PDeque<String>>("words")?;
        tx.open::<PDeque<PDeque<String>>>("table").map(drop)
    })?;
    let empty = pool.stats()?.used;
    let mut random = Rng::with_seed(3);
    let mut model: VecDeque<String> = VecDeque::new();
    for _ in 0..40 {
        pool.write(|tx| {
            let mut words = tx.open::<PDeque<String>>("words")?;
            for _ in 0..40 {
                let word = "w".repeat(random.usize(..60));
                let i = random.usize(..=model.len());
                match random.u8(..7) {
                    0..3 => {
                        words.insert(i, &word)?;
                        model.insert(i, word);
                    }
                    3 if i < model.len() => {
                        assert_eq!(words.set(i, &word)?.get()?, model[i]);
                        model[i] = word;
                    }
                    4 => assert_eq!(owned(words.remove(i)?)?, model.remove(i)),
                    5 => assert_eq!(owned(words.pop_front()?)?, model.pop_front()),
                    6 if random.u8(..10) == 0 => {
                        let j = random.usize(i..=model.len());
                        assert!(words.drain(i..j)?.eq(model.drain(i..j)));
                    }
                    _ => {}
                }
            }
            words.check()?;
            assert_eq!(words.to_deque()?, model);
            Ok(())
        })?;
    }
    pool.write(|tx| {
        let mut table = tx.open::<PDeque<PDeque<String>>>("table")?;
        for n in 0..30 {
            let mut row = if n % 2 == 0 { table.push_back_new()? } else { table.push_front_new()? };
            row.extend((0..n).map(|i| format!("{:>1$}", i, 5 * i)))?;
        }
        table.open_mut(7)?.expect("it is there").push_back("more")?;
        assert_eq!(table.open(7)?.expect("it is there").back()?, Some("more"));
        table.swap(7, 29)?;
        table.remove(3)?;
        table.check_objects(|row| row.check().map(drop)).map(drop)
    })?;
    assert!(pool.check()?.is_ok());
    pool.write(|tx| {
        tx.open::<PDeque<String>>("words")?.clear()?;
        tx.open::<PDeque<PDeque<String>>>("table")?.clear()
    })?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[test]
fn a_deque_tells_all_its_blocks_and_its_compacted_copy_has_the_same_elements_and_takes_more() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    // Several levels that begin anywhere, elements in blocks, deques in a map.
    pool.write(|tx| tx.open::<PDeque<Large>>("large")?.extend((0..400).map(|n| [n; 30])))?;
    pool.write(|tx| tx.open::<PDeque<Large>>("large")?.drain(..100).map(drop))?;
    pool.write(|tx| tx.open::<PDeque<String>>("words")?.extend((0..200).map(|n| "w".repeat(n))))?;
    pool.write(|tx| {
        let mut table = tx.open::<PBTreeMap<u64, PDeque<u64>>>("table")?;
        (0..20).try_for_each(|n| {
            let mut row = table.open_mut(n)?;
            (0..n * 20).try_for_each(|i| row.push_front(i))
        })
    })?;
    let report = pool.check()?;
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report:?}");
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    for pool in [&pool, &copy] {
        let tx = pool.read()?;
        let large = tx.open::<PDeque<Large>>("large")?;
        assert!(large.to_deque()?.into_iter().eq((100..400).map(|n| [n; 30])));
        large.check()?;
        let words = tx.open::<PDeque<String>>("words")?;
        assert!(words.to_deque()?.into_iter().eq((0..200).map(|n| "w".repeat(n))));
        words.check()?;
        let table = tx.open::<PBTreeMap<u64, PDeque<u64>>>("table")?;
        assert!(table.open(19)?.expect("it is there").to_deque()?.into_iter().eq((0..380).rev()));
        table.check_objects(|row| row.check().map(drop))?;
    }
    copy.write(|tx| {
        tx.open::<PDeque<String>>("words")?.insert(3, "more")?;
        tx.open::<PDeque<Large>>("large")?.extend((0..100).map(|n| [n; 30]))
    })?;
    assert!(copy.check()?.is_ok());
    Ok(())
}

#[test]
fn a_full_pool_leaves_a_deque_as_it_was_and_later_pushes_work() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let element = |n: u64| [n; 500];
    let mut len = 0;
    // At one end, then at the other, until neither has room.
    for front in [false, true] {
        loop {
            let tx = pool.begin()?;
            let mut deque = tx.open::<PDeque<[u64; 500]>>("deque")?;
            match if front { deque.push_front(element(len)) } else { deque.push_back(element(len)) } {
                Ok(()) => len += 1,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                    assert_eq!((deque.len() as u64, deque.check()?.elements), (len, len));
                    break;
                }
            }
            tx.commit()?;
        }
    }
    assert!(len > 100, "{len}");
    pool.write(|tx| tx.open::<PDeque<[u64; 500]>>("deque")?.truncate(20))?;
    pool.write(|tx| tx.open::<PDeque<[u64; 500]>>("deque")?.extend((20..60).map(element)))?;
    let tx = pool.read()?;
    let deque = tx.open::<PDeque<[u64; 500]>>("deque")?;
    assert!(deque.range(20..).map(|found| found.unwrap()[0]).eq(20..60));
    assert_eq!(deque.check()?.elements, 60);
    Ok(())
}

#[test]
#[should_panic(expected = "elements")]
fn draining_beyond_the_end_is_a_mistake_of_the_program() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let tx = pool.begin().unwrap();
    let mut deque = tx.open::<PDeque<u64>>("deque").unwrap();
    deque.extend(0..3u64).unwrap();
    drop(deque.drain(2..5));
}

#[derive(Clone, Debug)]
enum Operation {
    PushBack(u8, u8),
    PushFront(u8, u8),
    Insert(u16, u8),
    Remove(u16),
    Drain(u16, u16),
    PopFront(u8),
    PopBack(u8),
    Truncate(u16),
    Clear,
}
use Operation::*;

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (any::<u8>(), any::<u8>()).prop_map(|(v, n)| PushBack(v, n)),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(v, n)| PushFront(v, n)),
        4 => (any::<u16>(), any::<u8>()).prop_map(|(i, v)| Insert(i, v)),
        4 => any::<u16>().prop_map(Remove),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Drain(a, b)),
        4 => any::<u8>().prop_map(PopFront),
        4 => any::<u8>().prop_map(PopBack),
        2 => any::<u16>().prop_map(Truncate),
        1 => Just(Clear),
    ]
}

/// So large that a leaf has 4.
type Medium = [u8; 250];

fn apply(deque: &mut Mut<PDeque<Medium>>, model: &mut VecDeque<Medium>, operation: &Operation) -> Result<()> {
    match *operation {
        PushBack(v, n) => {
            deque.extend(vec![[v; 250]; n.into()])?;
            model.extend(vec![[v; 250]; n.into()]);
        }
        PushFront(v, n) => {
            for _ in 0..n {
                deque.push_front([v; 250])?;
                model.push_front([v; 250]);
            }
        }
        Insert(i, v) => {
            let i = usize::from(i) % (model.len() + 1);
            deque.insert(i, [v; 250])?;
            model.insert(i, [v; 250]);
        }
        Remove(i) => {
            let i = usize::from(i) % (model.len() + 1);
            assert_eq!(owned(deque.remove(i)?)?, model.remove(i));
        }
        Drain(a, b) => {
            let (a, b) = (usize::from(a) % (model.len() + 1), usize::from(b) % (model.len() + 1));
            let range = a.min(b)..a.max(b);
            assert!(deque.drain(range.clone())?.eq(model.drain(range)));
        }
        PopFront(n) => {
            for _ in 0..n {
                assert_eq!(owned(deque.pop_front()?)?, model.pop_front());
            }
        }
        PopBack(n) => {
            for _ in 0..n {
                assert_eq!(owned(deque.pop_back()?)?, model.pop_back());
            }
        }
        Truncate(n) => {
            deque.truncate(n.into())?;
            model.truncate(n.into());
        }
        Clear => {
            deque.clear()?;
            model.clear();
        }
    }
    assert_eq!(deque.check()?.elements, model.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..10), any::<bool>()), 1..6)
    ) {
        let pool = Pool::anonymous(16 << 20).unwrap();
        let mut committed = VecDeque::new();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut deque = tx.open::<PDeque<Medium>>("deque").unwrap();
            let mut model = committed.clone();
            for operation in &operations {
                apply(&mut deque, &mut model, operation).unwrap();
            }
            assert_same(&deque, &model).unwrap();
            if commit && tx.commit().is_ok() {
                committed = model;
            }
        }
    }
}
