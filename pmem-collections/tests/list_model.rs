//! `PLinkedList` does what `LinkedList` does, and its positions name the elements that they were given for: random operations on
//! both, in transactions that commit, are dropped, or go back to a savepoint, with reopening in between.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::{
    list::{ForeignPosition, ListInUse, Position},
    *,
};
use proptest::prelude::*;
use std::{collections::LinkedList, fmt::Debug};

/// A list of std, and where each element is; beside them, positions of elements that are gone.
#[derive(Clone, Default)]
struct Model<T> {
    elements: Vec<(Position, T)>,
    gone: Vec<Position>,
}

impl<T: Copy> Model<T> {
    fn std(&self) -> LinkedList<T> {
        self.elements.iter().map(|(_, value)| *value).collect()
    }

    fn remove(&mut self, i: usize) -> T {
        let (position, value) = self.elements.remove(i);
        self.gone.push(position);
        value
    }

    fn clear(&mut self) {
        self.gone.extend(self.elements.drain(..).map(|(position, _)| position));
    }
}

fn assert_same<T: Plain + PartialEq + Debug, M: Mode>(
    list: &ListGuard<'_, T, M>,
    model: &Model<T>,
) -> Result<()> {
    let std = model.std();
    assert_eq!((list.len(), list.is_empty()), (std.len(), std.is_empty()));
    assert_eq!(list.check()?.elements, std.len() as u64);
    assert!(list.iter().map(Result::unwrap).eq(&std));
    assert!(list.iter().rev().map(Result::unwrap).eq(std.iter().rev()));
    assert_eq!((list.front()?, list.back()?), (std.front(), std.back()));
    assert!(list.positions().map(Result::unwrap).eq(model.elements.iter().map(|(position, _)| *position)));
    for (position, value) in &model.elements {
        assert_eq!(list.get(*position)?, Some(value));
    }
    for position in &model.gone {
        assert!(!list.contains(*position)? && list.get(*position)?.is_none());
    }
    assert_eq!(list.first_position()?, model.elements.first().map(|(position, _)| *position));
    assert_eq!(list.last_position()?, model.elements.last().map(|(position, _)| *position));
    Ok(())
}

/// One random operation on both, with the same result.
fn operate<T: Plain + PartialEq + Debug>(
    list: &mut ListGuard<'_, T, Write>,
    model: &mut Model<T>,
    random: &mut Rng,
    value: &mut impl FnMut(&mut Rng) -> T,
) -> Result<()> {
    let v = value(random);
    let len = model.elements.len();
    let (i, j) = (random.usize(..len.max(1)), random.usize(..len.max(1)));
    let at = |model: &Model<T>, i: usize| model.elements[i].0;
    match random.u8(..24) {
        0..3 => model.elements.push((list.push_back(v)?, v)),
        3..5 => model.elements.insert(0, (list.push_front(v)?, v)),
        5 if len > 0 => {
            let position = list.insert_before(at(model, i), v)?.expect("it is there");
            model.elements.insert(i, (position, v));
        }
        6 if len > 0 => {
            let position = list.insert_after(at(model, i), v)?.expect("it is there");
            model.elements.insert(i + 1, (position, v));
        }
        7 | 8 if len > 0 => {
            let old = list.remove(at(model, i))?.expect("it is there").to_owned()?;
            assert_eq!(old, model.remove(i));
        }
        9 => {
            let old = list.pop_front()?.map(|old| old.to_owned()).transpose()?;
            assert_eq!(old, (len > 0).then(|| model.remove(0)));
        }
        10 => {
            let old = list.pop_back()?.map(|old| old.to_owned()).transpose()?;
            assert_eq!(old, (len > 0).then(|| model.remove(len - 1)));
        }
        11 if len > 0 => {
            assert!(list.move_to_front(at(model, i))?);
            let moved = model.elements.remove(i);
            model.elements.insert(0, moved);
        }
        12 if len > 0 => {
            assert!(list.move_to_back(at(model, i))?);
            let moved = model.elements.remove(i);
            model.elements.push(moved);
        }
        13 | 14 if len > 0 => {
            let (from, to) = (at(model, i), at(model, j));
            let before = random.bool();
            assert!(if before { list.move_before(from, to)? } else { list.move_after(from, to)? });
            if i != j {
                let moved = model.elements.remove(i);
                let to = model.elements.iter().position(|(position, _)| *position == to).unwrap();
                model.elements.insert(to + usize::from(!before), moved);
            }
        }
        15 if len > 0 => {
            let old = list.set(at(model, i), v)?.expect("it is there").to_owned()?;
            assert_eq!(old, std::mem::replace(&mut model.elements[i].1, v));
        }
        16 if len > 0 => {
            *list.get_mut(at(model, i))?.expect("it is there") = v;
            model.elements[i].1 = v;
        }
        17 if len > 0 => {
            let next = list.next_position(at(model, i))?;
            assert_eq!(next, model.elements.get(i + 1).map(|(position, _)| *position));
            let previous = list.previous_position(at(model, i))?;
            assert_eq!(previous, i.checked_sub(1).map(|i| at(model, i)));
        }
        18 if !model.gone.is_empty() => {
            let gone = *random.choice(&model.gone).unwrap();
            assert!(list.remove(gone)?.is_none() && list.insert_after(gone, v)?.is_none());
            assert!(list.insert_before(gone, v)?.is_none() && list.set(gone, v)?.is_none());
            assert!(!list.move_to_back(gone)? && list.next_position(gone)?.is_none());
            assert!(len == 0 || !list.move_before(at(model, i), gone)?);
        }
        19 => {
            let (mut found, mut expected) = (list.iter(), model.elements.iter());
            loop {
                let back = random.bool();
                let found = if back { found.next_back() } else { found.next() };
                let expected = if back { expected.next_back() } else { expected.next() };
                assert_eq!(found.transpose()?, expected.map(|(_, value)| value));
                if expected.is_none() {
                    break;
                }
            }
        }
        20 if random.u8(..8) == 0 => {
            let mut same = random.clone();
            list.retain(|_| random.u8(..4) != 0)?;
            let (kept, gone) = model.elements.drain(..).partition(|_| same.u8(..4) != 0);
            model.elements = kept;
            model
                .gone
                .extend::<Vec<_>>(gone.into_iter().map(|(position, _): (Position, T)| position).collect());
        }
        21 if random.u8(..40) == 0 => {
            list.clear()?;
            model.clear();
        }
        22 => {
            if let Some(front) = list.front_mut()? {
                *front = v;
                model.elements[0].1 = v;
            }
            if let Some(back) = list.back_mut()? {
                *back = v;
                model.elements[len - 1].1 = v;
            }
        }
        _ => {
            let many: Vec<T> = (0..random.usize(..20)).map(|_| value(random)).collect();
            list.extend(&many)?;
            let positions = list.positions().skip(len).collect::<Result<Vec<_>>>()?;
            model.elements.extend(positions.into_iter().zip(many));
        }
    }
    Ok(())
}

fn random_operations<T: Plain + PartialEq + Debug>(
    seed: u64,
    operations: usize,
    mut value: impl FnMut(&mut Rng) -> T,
) -> Result<()> {
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut pool = Pool::anonymous(8 << 20)?;
    let mut model = Model { elements: Vec::new(), gone: Vec::new() };
    let mut done = 0;
    while done < operations {
        let mut tx = pool.begin()?;
        let mut changed = model.clone();
        for _ in 0..random.usize(1..4) {
            let (savepoint, before) = (tx.savepoint(), changed.clone());
            let mut list = tx.open::<PLinkedList<T>>("list")?;
            for _ in 0..random.usize(..60) {
                operate(&mut list, &mut changed, &mut random, &mut value)?;
                done += 1;
            }
            if random.u8(..4) == 0 {
                tx.rollback_to(&savepoint)?;
                changed = before;
            }
        }
        assert_same(&tx.open::<PLinkedList<T>>("list")?, &changed)?;
        if random.u8(..4) == 0 {
            drop(tx);
        } else if tx.commit().is_ok() {
            model = changed;
        } // else it was too much for the log, and nothing happened
        model.gone.truncate(500);
        if random.u8(..8) == 0 {
            pool = support::reopened(&pool);
        }
        let report = pool.check()?;
        assert!(report.is_ok());
        let tx = pool.read()?;
        match tx.open::<PLinkedList<T>>("list") {
            Ok(list) => {
                assert_same(&list, &model)?;
                assert_eq!(report.small_blocks + report.large_blocks, 2 + list.len() as u64);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model.elements.is_empty());
            }
        }
    }
    pool.write(|tx| tx.open::<PLinkedList<T>>("list")?.clear())?;
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
    random_operations::<u8>(1, 3_000, |r| r.u8(..))?;
    random_operations::<[u8; 3]>(2, 3_000, |r| [r.u8(..); 3])?;
    random_operations::<u128>(3, 3_000, |r| r.u128(..))?;
    random_operations::<[u64; 40]>(4, 2_000, |r| [r.u64(..); 40])?;
    random_operations::<[u8; 0]>(5, 2_000, |_| [])
}

fn contents(pool: &Pool, name: &str) -> Result<Vec<u64>> {
    let tx = pool.read()?;
    let list = tx.open::<PLinkedList<u64>>(name)?;
    list.check()?;
    list.iter().map(|element| element.copied()).collect()
}

#[test]
fn a_list_becomes_a_part_of_another_by_references_or_if_it_was_changed_by_copies() -> Result<()> {
    for changed in [false, true] {
        let pool = Pool::anonymous(1 << 20)?;
        pool.write(|tx| {
            tx.open::<PLinkedList<u64>>("a")?.extend(0..5)?;
            tx.open::<PLinkedList<u64>>("b")?.extend(5..10)
        })?;
        pool.write(|tx| {
            let (mut a, mut b) = (tx.open::<PLinkedList<u64>>("a")?, tx.open::<PLinkedList<u64>>("b")?);
            let of_b = b.first_position()?.expect("it is there");
            if changed {
                *b.front_mut()?.expect("it is there") = 5;
            }
            a.append(&mut b)?;
            assert_eq!((a.len(), b.len()), (10, 0));
            let error = a.get(of_b).unwrap_err();
            assert!(error.to_string().contains("was used with the list"), "{error}");
            assert_eq!(b.get(of_b)?, None);
            // Both can be used, in the same transaction, with what has moved.
            let third = a.positions().nth(7).unwrap()?;
            a.insert_before(third, 70)?;
            a.pop_back()?;
            b.extend(20..23)?;
            assert_eq!(b.get(of_b)?, None);
            a.check()?;
            b.check().map(drop)
        })?;
        assert_eq!(contents(&pool, "a")?, [0, 1, 2, 3, 4, 5, 6, 70, 7, 8]);
        assert_eq!(contents(&pool, "b")?, [20, 21, 22]);
        pool.write(|tx| {
            let (mut a, mut b) = (tx.open::<PLinkedList<u64>>("a")?, tx.open::<PLinkedList<u64>>("b")?);
            let first = a.first_position()?.expect("it is there");
            assert!(a.splice_before(first, &mut b)?);
            assert!(a.splice_before(first, &mut b)?, "an empty one");
            let second = b.push_back(1)?;
            a.append(&mut b)?;
            assert!(b.get(second)?.is_none());
            Ok(())
        })?;
        assert_eq!(contents(&pool, "a")?, [20, 21, 22, 0, 1, 2, 3, 4, 5, 6, 70, 7, 8, 1]);
        assert_eq!(contents(&pool, "b")?, [] as [u64; 0]);
        let report = pool.check()?;
        assert!(report.is_ok());
        assert_eq!(report.small_blocks, 4 + 14);
    }
    Ok(())
}

#[test]
fn a_dropped_transaction_undoes_an_append() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        tx.open::<PLinkedList<u64>>("a")?.extend(0..5)?;
        tx.open::<PLinkedList<u64>>("b")?.extend(5..10)
    })?;
    let tx = pool.begin()?;
    tx.open::<PLinkedList<u64>>("a")?.append(&mut tx.open::<PLinkedList<u64>>("b")?)?;
    drop(tx);
    assert_eq!((contents(&pool, "a")?, contents(&pool, "b")?), ((0..5).collect(), (5..10).collect()));
    Ok(())
}

#[test]
fn an_append_takes_a_list_of_another_pool_by_copies() -> Result<()> {
    let (here, there) = (Pool::anonymous(1 << 20)?, Pool::anonymous(1 << 20)?);
    there.write(|tx| {
        tx.open::<PLinkedList<String>>("list")?.extend(["short", "one that takes a block of its own"])
    })?;
    let (from, to) = (there.begin()?, here.begin()?);
    to.open::<PLinkedList<String>>("list")?.append(&mut from.open::<PLinkedList<String>>("list")?)?;
    from.commit()?;
    to.commit()?;
    let words = |pool: &Pool| -> Result<Vec<String>> {
        let tx = pool.read()?;
        let list = tx.open::<PLinkedList<String>>("list")?;
        list.check()?;
        list.iter().map(|word| word.map(String::from)).collect()
    };
    assert_eq!(words(&here)?, ["short", "one that takes a block of its own"]);
    assert_eq!(words(&there)?, [""; 0]);
    assert_eq!((here.check()?.small_blocks, there.check()?.small_blocks), (2 + 2 + 1, 2));
    Ok(())
}

#[test]
fn lists_of_containers_open_them_move_them_and_take_them_over_but_never_copy_them() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| {
        tx.open::<PLinkedList<PVec<u64>>>("a")?;
        tx.open::<PLinkedList<PVec<u64>>>("b").map(drop)
    })?;
    let empty = pool.stats()?.used;
    pool.write(|tx| {
        let mut a = tx.open::<PLinkedList<PVec<u64>>>("a")?;
        a.push_back_new()?.extend(0..200)?;
        a.push_front_new()?.extend(0..3)?;
        let mut b = tx.open::<PLinkedList<PVec<u64>>>("b")?;
        (0..4).try_for_each(|n| b.push_back_new()?.extend(0..n * 100))?;
        let error = a.append(&mut b).unwrap_err();
        assert!(error.to_string().contains("commit first"), "{error}");
        Ok(())
    })?;
    pool.write(|tx| {
        let mut a = tx.open::<PLinkedList<PVec<u64>>>("a")?;
        let mut b = tx.open::<PLinkedList<PVec<u64>>>("b")?;
        a.append(&mut b)?;
        let last = a.last_position()?.expect("it is there");
        a.open_mut(last)?.expect("it is there").push(7)?;
        assert_eq!(a.open(last)?.expect("it is there").len(), 301);
        assert!(a.move_to_front(last)?);
        a.pop_back()?;
        a.check_objects(|vec| vec.check().map(drop)).map(drop)
    })?;
    let tx = pool.read()?;
    let a = tx.open::<PLinkedList<PVec<u64>>>("a")?;
    let lens = a.positions().map(|position| Ok(a.open(position?)?.expect("it is there").len()));
    assert_eq!(lens.collect::<Result<Vec<_>>>()?, [301, 3, 200, 0, 100]);
    drop(tx);
    assert!(pool.check()?.is_ok());
    pool.write(|tx| tx.open::<PLinkedList<PVec<u64>>>("a")?.clear())?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[test]
fn a_position_kept_in_a_map_finds_its_element_and_never_another() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    type Places = PBTreeMap<u64, Position>;
    let mut random = Rng::with_seed(9);
    // An LRU cache: what was used last is in front.
    for round in 0..60 {
        pool.write(|tx| {
            let mut places = tx.open::<Places>("places")?;
            let mut order = tx.open::<PLinkedList<u64>>("order")?;
            for _ in 0..40 {
                let key = random.u64(..300);
                match places.get(key)?.copied() {
                    Some(place) if order.move_to_front(place)? => assert_eq!(order.front()?, Some(&key)),
                    _ => drop(places.insert(key, order.push_front(key)?)?),
                }
                if order.len() > 100 {
                    order.pop_back()?; // the map is not told
                }
            }
            Ok(())
        })?;
        let tx = pool.read()?;
        let (places, order) = (tx.open::<Places>("places")?, tx.open::<PLinkedList<u64>>("order")?);
        let (mut there, mut gone) = (0, 0);
        for entry in places.iter() {
            let (key, place) = entry?;
            match order.get(*place)? {
                Some(found) => {
                    assert_eq!(found, key);
                    there += 1;
                }
                None => gone += 1,
            }
        }
        assert_eq!(there, order.len());
        assert!(round < 20 || gone > 20, "{gone}");
    }
    assert!(pool.check()?.is_ok());
    Ok(())
}

#[test]
fn a_list_tells_all_its_blocks_and_its_compacted_copy_has_the_same_elements_and_takes_more() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| {
        tx.open::<PLinkedList<String>>("words")?.extend((0..200).map(|n| "w".repeat(n)))?;
        tx.open::<PLinkedList<u64>>("numbers")?.extend(0..500)?;
        let mut table = tx.open::<PLinkedList<PLinkedList<u64>>>("table")?;
        (0..20).try_for_each(|n| table.push_back_new()?.extend(0..n))
    })?;
    pool.write(|tx| tx.open::<PLinkedList<u64>>("numbers")?.retain(|n| n % 3 == 0))?;
    let report = pool.check()?;
    assert!(report.is_ok(), "{report:?}");
    let old = pool.read()?.open::<PLinkedList<u64>>("numbers")?.last_position()?.expect("it is there");
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    for pool in [&pool, &copy] {
        let tx = pool.read()?;
        let words = tx.open::<PLinkedList<String>>("words")?;
        words.check()?;
        assert!(words.iter().map(Result::unwrap).eq((0..200).map(|n| "w".repeat(n))));
        let table = tx.open::<PLinkedList<PLinkedList<u64>>>("table")?;
        table.check_objects(|row| row.check().map(drop))?;
        let lens = table.positions().map(|place| Ok(table.open(place?)?.expect("it is there").len()));
        assert_eq!(lens.collect::<Result<Vec<_>>>()?, Vec::from_iter(0..20));
        assert_eq!(contents(pool, "numbers")?, Vec::from_iter((0..500).filter(|n| n % 3 == 0)));
    }
    copy.write(|tx| {
        let mut numbers = tx.open::<PLinkedList<u64>>("numbers")?;
        if let Ok(found) = numbers.get(old) {
            assert_eq!(found, None, "the positions of moved elements are void");
        } // or the list itself was moved, and they are another list's
        numbers.extend(0..100)
    })?;
    assert!(copy.check()?.is_ok());
    Ok(())
}

#[test]
fn a_full_pool_leaves_a_list_as_it_was_and_later_pushes_work() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let word = |n: u64| format!("{n:0>3000}");
    let mut len = 0;
    loop {
        let tx = pool.begin()?;
        let mut list = tx.open::<PLinkedList<String>>("list")?;
        let pushed = match list.first_position()? {
            Some(first) if len % 2 == 1 => list.insert_after(first, word(len)).map(drop),
            _ => list.push_back(word(len)).map(drop),
        };
        match pushed {
            Ok(()) => len += 1,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                assert_eq!((list.len() as u64, list.check()?.elements), (len, len));
                // What was copied before there was no space is freed.
                let mut more = tx.open::<PLinkedList<String>>("more")?;
                more.push_back("x")?;
                more.push_back("y".repeat(60))?;
                while more.push_back("z".repeat(60)).is_ok() {}
                let (before, all) = (list.len(), more.len());
                assert!(list.append(&mut more).is_err());
                assert_eq!((list.len(), more.len()), (before, all));
                list.check()?;
                more.check()?;
                break;
            }
        }
        tx.commit()?;
    }
    assert!(len > 100, "{len}");
    assert!(pool.check()?.is_ok());
    pool.write(|tx| tx.open::<PLinkedList<String>>("list")?.retain(|word| word.ends_with('7')))?;
    pool.write(|tx| tx.open::<PLinkedList<String>>("list")?.extend((0..20).map(word)))?;
    let tx = pool.read()?;
    tx.open::<PLinkedList<String>>("list")?.check()?;
    Ok(())
}

#[test]
fn positions_of_other_lists_are_errors_that_say_so_and_elements_have_a_limit() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        let (mut a, mut b) = (tx.open::<PLinkedList<u64>>("a")?, tx.open::<PLinkedList<u64>>("b")?);
        let (of_a, of_b) = (a.push_back(1)?, b.push_back(2)?);
        for error in [
            a.get(of_b).map(drop).unwrap_err(),
            a.remove(of_b).map(drop).unwrap_err(),
            a.insert_before(of_b, 3).map(drop).unwrap_err(),
            a.move_to_back(of_b).map(drop).unwrap_err(),
            b.move_before(of_b, of_a).map(drop).unwrap_err(),
        ] {
            let ErrorKind::Aborted(reason) = error.kind() else { panic!("{error}") };
            assert!(reason.downcast_ref::<ForeignPosition>().is_some(), "{error}");
        }
        assert_eq!((a.len(), b.len(), a.check()?.elements), (1, 1, 1));
        Ok(())
    })?;
    let error = pool.write(|tx| tx.open::<PLinkedList<[u64; 8193]>>("large").map(drop)).unwrap_err();
    assert!(error.to_string().contains("elements of 65544 bytes"), "{error}");
    let error = pool.read()?.open::<PLinkedList<i64>>("a").err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    assert_eq!(ListInUse.to_string().matches("commit first").count(), 1);
    Ok(())
}

#[derive(Clone, Debug)]
enum Operation {
    PushBack(u8),
    PushFront(u8),
    InsertBefore(u8, u8),
    Remove(u8),
    PopBack,
    PopFront,
    Move(u8, u8),
    Append(Vec<u8>),
    Clear,
}
use Operation::*;

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => any::<u8>().prop_map(PushBack),
        4 => any::<u8>().prop_map(PushFront),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(i, v)| InsertBefore(i, v)),
        4 => any::<u8>().prop_map(Remove),
        2 => Just(PopBack),
        2 => Just(PopFront),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Move(from, to)),
        2 => prop::collection::vec(any::<u8>(), 0..5).prop_map(Append),
        1 => Just(Clear),
    ]
}

fn apply(tx: &WriteTx, model: &mut Vec<u8>, operation: &Operation) -> Result<()> {
    let mut list = tx.open::<PLinkedList<u8>>("list")?;
    let mut places = list.positions().collect::<Result<Vec<_>>>()?;
    match operation {
        PushBack(v) => {
            list.push_back(v)?;
            model.push(*v);
        }
        PushFront(v) => {
            list.push_front(v)?;
            model.insert(0, *v);
        }
        PopBack => assert_eq!(list.pop_back()?.map(|old| old.to_owned()).transpose()?, model.pop()),
        PopFront => {
            let first = (!model.is_empty()).then(|| model.remove(0));
            assert_eq!(list.pop_front()?.map(|old| old.to_owned()).transpose()?, first);
        }
        Append(values) => {
            let mut other = tx.open::<PLinkedList<u8>>("other")?;
            other.extend(values)?;
            list.append(&mut other)?;
            assert!(other.is_empty());
            model.extend(values);
        }
        Clear => {
            list.clear()?;
            model.clear();
        }
        _ if model.is_empty() => {}
        InsertBefore(i, v) => {
            let i = usize::from(*i) % model.len();
            list.insert_before(places[i], v)?;
            model.insert(i, *v);
        }
        Remove(i) => {
            let i = usize::from(*i) % model.len();
            assert_eq!(list.remove(places[i])?.unwrap().to_owned()?, model.remove(i));
            assert!(!list.contains(places.remove(i))?);
        }
        Move(from, to) => {
            let (from, to) = (usize::from(*from) % model.len(), usize::from(*to) % model.len());
            list.move_after(places[from], places[to])?;
            if from != to {
                let moved = model.remove(from);
                model.insert(to + usize::from(from > to), moved);
            }
        }
    }
    list.check()?;
    assert!(list.iter().map(|element| *element.unwrap()).eq(model.iter().copied()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..12), any::<bool>()), 1..6)
    ) {
        let pool = Pool::anonymous(1 << 20).unwrap();
        let mut committed = Vec::new();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut model = committed.clone();
            for operation in &operations {
                apply(&tx, &mut model, operation).unwrap();
            }
            if commit {
                tx.commit().unwrap();
                committed = model;
            }
        }
    }
}
