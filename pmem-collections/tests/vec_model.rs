//! `PVec` does what `Vec` does: random operations on both, in transactions that commit, are dropped, or go back to a
//! savepoint, with reopening in between.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use proptest::prelude::*;
use std::fmt::Debug;

fn assert_same<T: Plain + PartialEq + Debug, M: Mode>(vec: &VecGuard<'_, T, M>, model: &[T]) -> Result<()> {
    assert_eq!(vec.len(), model.len());
    assert_eq!(vec.is_empty(), model.is_empty());
    assert_eq!(vec.check()?.elements, model.len() as u64);
    assert!(vec.iter().map(Result::unwrap).eq(model));
    assert!(vec.iter().rev().map(Result::unwrap).eq(model.iter().rev()));
    assert_eq!((vec.first()?, vec.last()?), (model.first(), model.last()));
    assert_eq!(vec.to_vec()?, model);
    Ok(())
}

/// One random operation on both, with the same result.
fn operate<T: Plain + Ord + Debug>(
    vec: &mut VecGuard<'_, T, Write>,
    model: &mut Vec<T>,
    random: &mut Rng,
    value: &mut impl FnMut(&mut Rng) -> T,
    growing: bool,
) -> Result<()> {
    let v = value(random);
    let any = |random: &mut Rng, model: &[T]| random.usize(..model.len().max(1));
    let i = any(random, model);
    match random.u8(..if growing { 20 } else { 32 }) {
        0..6 => {
            vec.push(v)?;
            model.push(v);
        }
        6 => {
            let many: Vec<T> = (0..random.usize(..200)).map(|_| value(random)).collect();
            vec.extend(&many)?;
            model.extend(&many);
        }
        7 => assert_eq!(vec.get(i)?, model.get(i)),
        8 if !model.is_empty() => {
            assert_eq!(vec.set(i, v)?.to_owned()?, std::mem::replace(&mut model[i], v));
        }
        9 => match (vec.get_mut(i)?, model.get_mut(i)) {
            (Some(found), Some(expected)) => {
                assert_eq!(found, expected);
                (*found, *expected) = (v, v);
            }
            (found, expected) => assert_eq!(found, expected),
        },
        10 => {
            let place = random.usize(..=model.len());
            vec.insert(place, v)?;
            model.insert(place, v);
        }
        11 if !model.is_empty() => assert_eq!(vec.remove(i)?.to_owned()?, model.remove(i)),
        12 if !model.is_empty() => assert_eq!(vec.swap_remove(i)?.to_owned()?, model.swap_remove(i)),
        13 if !model.is_empty() => {
            let j = any(random, model);
            vec.swap(i, j)?;
            model.swap(i, j);
        }
        14 => {
            let (mut a, mut b) = (i, any(random, model));
            if a > b {
                (a, b) = (b, a);
            }
            let b = b.min(model.len());
            let (mut found, mut expected) = (vec.range(a.min(b)..b), model[a.min(b)..b].iter());
            loop {
                let back = random.bool();
                let found = if back { found.next_back() } else { found.next() };
                let expected = if back { expected.next_back() } else { expected.next() };
                assert_eq!(found.transpose()?, expected);
                if expected.is_none() {
                    break;
                }
            }
            assert!(vec.range(model.len()..).next().is_none());
        }
        15 if random.u8(..20) == 0 => {
            vec.sort_unstable()?;
            model.sort_unstable();
        }
        16 if random.u8(..20) == 0 => {
            let mut same = random.clone();
            vec.retain(|_| random.u8(..3) != 0)?;
            model.retain(|_| same.u8(..3) != 0);
        }
        17 if random.u8(..20) == 0 => {
            let len = random.usize(..=model.len() + 5);
            vec.truncate(len)?;
            model.truncate(len);
        }
        18 if random.u16(..200) == 0 => {
            vec.clear()?;
            model.clear();
        }
        _ => {
            for _ in 0..random.usize(..if growing { 3 } else { 80 }) {
                assert_eq!(vec.pop()?.map(|old| old.to_owned()).transpose()?, model.pop());
            }
        }
    }
    Ok(())
}

fn random_operations<T: Plain + Ord + Debug>(
    seed: u64,
    operations: usize,
    mut value: impl FnMut(&mut Rng) -> T,
) -> Result<()> {
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut pool = Pool::anonymous(8 << 20)?;
    let mut model = Vec::new();
    let (mut done, mut growing) = (0, true);
    while done < operations {
        if random.u8(..6) == 0 || model.len() > 20_000 {
            growing = !growing && model.len() < 20_000;
        }
        let mut tx = pool.begin()?;
        let mut changed = model.clone();
        for _ in 0..random.usize(1..4) {
            let (savepoint, before) = (tx.savepoint(), changed.clone());
            let mut vec = tx.open::<PVec<T>>("vec")?;
            for _ in 0..random.usize(..100) {
                operate(&mut vec, &mut changed, &mut random, &mut value, growing)?;
                done += 1;
            }
            if random.u8(..4) == 0 {
                tx.rollback_to(&savepoint)?;
                changed = before;
            }
        }
        assert_same(&tx.open::<PVec<T>>("vec")?, &changed)?;
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
        match tx.open::<PVec<T>>("vec") {
            Ok(vec) => {
                assert_same(&vec, &model)?;
                let summary = vec.check()?;
                let blocks = report.small_blocks + report.large_blocks;
                assert_eq!(blocks, 2 + summary.leaves + summary.inner_nodes);
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model.is_empty()),
        }
    }
    pool.write(|tx| tx.open::<PVec<T>>("vec")?.clear())?;
    let report = pool.check()?;
    assert_eq!((report.small_blocks, report.large_blocks), (2, 0));
    Ok(())
}

#[test]
fn random_operations_on_words_do_what_std_does() -> Result<()> {
    (0..6).try_for_each(|seed| random_operations::<u64>(seed, 6_000, |r| r.u64(..)))
}

#[test]
fn random_operations_on_elements_of_other_sizes_do_what_std_does() -> Result<()> {
    (0..2).try_for_each(|seed| random_operations::<u8>(seed, 4_000, |r| r.u8(..)))?;
    (0..2).try_for_each(|seed| random_operations::<[u8; 3]>(seed, 4_000, |r| [r.u8(..); 3]))?;
    (0..2).try_for_each(|seed| random_operations::<u128>(seed, 4_000, |r| r.u128(..)))?;
    (0..2).try_for_each(|seed| random_operations::<[u64; 40]>(seed, 3_000, |r| [r.u64(..); 40]))?;
    random_operations::<[u8; 0]>(1, 3_000, |_| [])
}

#[test]
fn a_vector_of_three_levels_grows_and_shrinks() -> Result<()> {
    let pool = Pool::anonymous(64 << 20)?;
    // 4 elements in a leaf, 63 leaves below a node.
    let element = |n: u64| [n; 30];
    let count = 63 * 63 * 4 + 1000;
    for start in (0..count).step_by(500) {
        pool.write(|tx| {
            tx.open::<PVec<[u64; 30]>>("vec")?.extend((start..count.min(start + 500)).map(element))
        })?;
    }
    let same = |len: u64| -> Result<()> {
        let tx = pool.read()?;
        let vec = tx.open::<PVec<[u64; 30]>>("vec")?;
        for (n, element) in vec.iter().enumerate() {
            assert_eq!(element?[0], n as u64);
        }
        assert_eq!((vec.len() as u64, vec.check()?.elements), (len, len));
        Ok(())
    };
    same(count)?;
    for len in [63 * 63 * 4 + 1, 63 * 63 * 4, 63 * 63 * 4 - 4, 300, 253, 252, 248, 5, 1, 0] {
        pool.write(|tx| tx.open::<PVec<[u64; 30]>>("vec")?.truncate(len as usize))?;
        same(len)?;
    }
    Ok(())
}

#[test]
fn vectors_of_strings_and_of_vectors_leak_nothing() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| {
        tx.open::<PVec<String>>("words")?;
        tx.open::<PVec<PVec<String>>>("table").map(drop)
    })?;
    let empty = pool.stats()?.used;
    let mut random = Rng::with_seed(3);
    let mut model: Vec<String> = Vec::new();
    for _ in 0..40 {
        pool.write(|tx| {
            let mut words = tx.open::<PVec<String>>("words")?;
            for _ in 0..40 {
                let word = "w".repeat(random.usize(..60));
                let i = random.usize(..=model.len());
                match random.u8(..6) {
                    0..3 => {
                        words.insert(i, &word)?;
                        model.insert(i, word);
                    }
                    3 if i < model.len() => {
                        assert_eq!(words.set(i, &word)?.get()?, model[i]);
                        model[i] = word;
                    }
                    4 if i < model.len() => assert_eq!(words.remove(i)?.get()?, model.remove(i)),
                    5 if i < model.len() => assert_eq!(words.swap_remove(i)?.get()?, model.swap_remove(i)),
                    _ => {}
                }
            }
            words.check()?;
            assert_eq!(words.to_vec()?, model);
            Ok(())
        })?;
    }
    pool.write(|tx| {
        let mut table = tx.open::<PVec<PVec<String>>>("table")?;
        for n in 0..30 {
            let mut row = table.push_new()?;
            row.extend((0..n).map(|i| format!("{:>1$}", i, 5 * i)))?;
        }
        table.open_mut(7)?.expect("it is there").push("more")?;
        assert_eq!(table.open(7)?.expect("it is there").last()?, Some("more"));
        table.swap(7, 29)?;
        table.remove(3)?;
        table.check_objects(|row| row.check().map(drop)).map(drop)
    })?;
    pool.write(|tx| {
        tx.open::<PVec<String>>("words")?.clear()?;
        tx.open::<PVec<PVec<String>>>("table")?.clear()
    })?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[test]
fn a_vector_tells_all_its_blocks_and_its_compacted_copy_has_the_same_elements_and_takes_more() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    // Several levels, elements in blocks, vectors in a vector; after shrinking, so that there are holes.
    pool.write(|tx| tx.open::<PVec<[u64; 30]>>("large")?.extend((0..400).map(|n| [n; 30])))?;
    pool.write(|tx| tx.open::<PVec<[u64; 30]>>("large")?.truncate(300))?;
    pool.write(|tx| tx.open::<PVec<String>>("words")?.extend((0..200).map(|n| "w".repeat(n))))?;
    pool.write(|tx| {
        let mut table = tx.open::<PVec<PVec<u64>>>("table")?;
        (0..20).try_for_each(|n| table.push_new()?.extend(0..n * 20))
    })?;
    let report = pool.check()?;
    assert!(report.is_ok(), "{report:?}");
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    for pool in [&pool, &copy] {
        let tx = pool.read()?;
        let large = tx.open::<PVec<[u64; 30]>>("large")?;
        assert!(large.to_vec()?.into_iter().eq((0..300).map(|n| [n; 30])));
        large.check()?;
        let words = tx.open::<PVec<String>>("words")?;
        assert!(words.to_vec()?.into_iter().eq((0..200).map(|n| "w".repeat(n))));
        words.check()?;
        let table = tx.open::<PVec<PVec<u64>>>("table")?;
        assert_eq!(table.open(19)?.expect("it is there").to_vec()?, Vec::from_iter(0..380));
        table.check_objects(|row| row.check().map(drop))?;
    }
    copy.write(|tx| {
        tx.open::<PVec<String>>("words")?.insert(3, "more")?;
        tx.open::<PVec<[u64; 30]>>("large")?.extend((0..100).map(|n| [n; 30]))
    })?;
    assert!(copy.check()?.is_ok());
    Ok(())
}

#[test]
fn a_full_pool_leaves_a_vector_as_it_was_and_later_pushes_work() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let element = |n: u64| [n; 500];
    let mut len = 0;
    loop {
        let tx = pool.begin()?;
        let pushed = tx.open::<PVec<[u64; 500]>>("vec")?.push(element(len));
        match pushed {
            Ok(()) => len += 1,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                let vec = tx.open::<PVec<[u64; 500]>>("vec")?;
                assert_eq!((vec.len() as u64, vec.check()?.elements), (len, len));
                break;
            }
        }
        tx.commit()?;
    }
    assert!(len > 100, "{len}");
    pool.write(|tx| tx.open::<PVec<[u64; 500]>>("vec")?.truncate(20))?;
    pool.write(|tx| tx.open::<PVec<[u64; 500]>>("vec")?.extend((20..60).map(element)))?;
    let tx = pool.read()?;
    let vec = tx.open::<PVec<[u64; 500]>>("vec")?;
    for (n, found) in vec.iter().enumerate() {
        assert_eq!(*found?, element(n as u64));
    }
    assert_eq!(vec.check()?.elements, 60);
    Ok(())
}

#[derive(Clone, Debug)]
enum Operation {
    Push(u8),
    Extend(u8, u8),
    Insert(u16, u8),
    Remove(u16),
    SwapRemove(u16),
    Pop(u8),
    Truncate(u16),
    Clear,
}
use Operation::*;

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => any::<u8>().prop_map(Push),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(v, n)| Extend(v, n)),
        4 => (any::<u16>(), any::<u8>()).prop_map(|(i, v)| Insert(i, v)),
        4 => any::<u16>().prop_map(Remove),
        2 => any::<u16>().prop_map(SwapRemove),
        4 => any::<u8>().prop_map(Pop),
        2 => any::<u16>().prop_map(Truncate),
        1 => Just(Clear),
    ]
}

/// So large that a leaf has 4.
type Large = [u8; 250];

fn apply(vec: &mut Mut<PVec<Large>>, model: &mut Vec<Large>, operation: &Operation) -> Result<()> {
    let at = |i: u16, model: &[Large]| usize::from(i) % model.len();
    match *operation {
        Push(v) => {
            vec.push([v; 250])?;
            model.push([v; 250]);
        }
        Extend(v, n) => {
            vec.extend(vec![[v; 250]; n.into()])?;
            model.extend(vec![[v; 250]; n.into()]);
        }
        Insert(i, v) => {
            let i = usize::from(i) % (model.len() + 1);
            vec.insert(i, [v; 250])?;
            model.insert(i, [v; 250]);
        }
        Remove(i) if !model.is_empty() => {
            let i = at(i, model);
            assert_eq!(vec.remove(i)?.to_owned()?, model.remove(i));
        }
        SwapRemove(i) if !model.is_empty() => {
            let i = at(i, model);
            assert_eq!(vec.swap_remove(i)?.to_owned()?, model.swap_remove(i));
        }
        Pop(n) => {
            for _ in 0..n {
                assert_eq!(vec.pop()?.map(|old| old.to_owned()).transpose()?, model.pop());
            }
        }
        Truncate(n) => {
            vec.truncate(n.into())?;
            model.truncate(n.into());
        }
        Clear => {
            vec.clear()?;
            model.clear();
        }
        _ => {}
    }
    assert_eq!(vec.check()?.elements, model.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..10), any::<bool>()), 1..6)
    ) {
        let pool = Pool::anonymous(16 << 20).unwrap();
        let mut committed = Vec::new();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut vec = tx.open::<PVec<Large>>("vec").unwrap();
            let mut model = committed.clone();
            for operation in &operations {
                apply(&mut vec, &mut model, operation).unwrap();
            }
            assert_same(&vec, &model).unwrap();
            if commit && tx.commit().is_ok() {
                committed = model;
            }
        }
    }
}

#[test]
fn a_pool_records_what_a_vector_holds() {
    // It had only the type's name: no program without the type could follow such a vector.
    let descriptor = pmem_alloc::Descriptor::of::<PVec<u64>>();
    let names: Vec<&str> = descriptor.types().iter().map(|info| info.name.as_str()).collect();
    assert_eq!((descriptor.kind(), names), (Some("PVec"), vec!["PVec<u64>", "u64"]));
}
