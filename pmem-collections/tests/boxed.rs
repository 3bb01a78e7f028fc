//! `PBox` does what an `Option<Box<T>>` does; it leaks nothing, and is not harmed by a full or damaged pool.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::{boxed::BoxGuard, map::Old, *};
use proptest::prelude::*;
use support::{Tally, blocks, forge};

#[derive(Clone, Debug)]
enum Operation {
    Set(usize),
    Replace(usize),
    Take,
    Clear,
}
use Operation::*;

/// A value of a length: not always the same one.
fn text(len: usize) -> String {
    (0..len).map(|i| char::from(b'a' + ((len + i) % 26) as u8)).collect()
}

fn owned<T: Value>(old: Option<Old<T>>) -> Result<Option<T>> {
    old.map(|old| old.to_owned()).transpose()
}

fn apply(
    guard: &mut BoxGuard<'_, String, Write>,
    model: &mut Option<String>,
    operation: &Operation,
) -> Result<()> {
    match *operation {
        Set(len) => {
            guard.set(text(len))?;
            *model = Some(text(len));
        }
        Replace(len) => assert_eq!(owned(guard.replace(text(len))?)?, model.replace(text(len))),
        Take => assert_eq!(owned(guard.take()?)?, model.take()),
        Clear => {
            guard.clear()?;
            *model = None;
        }
    }
    assert_eq!(guard.get()?, model.as_deref());
    assert_eq!((guard.is_some(), guard.is_none()), (model.is_some(), model.is_none()));
    Ok(())
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), 1usize..40, 40usize..5_000, 5_000usize..20_000]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => length().prop_map(Set),
        4 => length().prop_map(Replace),
        2 => Just(Take),
        1 => Just(Clear),
    ]
}

/// Transactions, each of which is committed, dropped, or committed without its second half; the pool is reopened after some.
fn run(transactions: &[(Vec<Operation>, u8)]) -> Result<()> {
    let mut pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| tx.open::<PBox<String>>("box").map(drop))?;
    let empty = pool.stats()?.used;
    let mut committed: Option<String> = None;
    for (operations, fate) in transactions {
        let mut tx = pool.begin()?;
        let mut model = committed.clone();
        let half = operations.len() / 2;
        for operation in &operations[..half] {
            apply(&mut tx.open::<PBox<String>>("box")?, &mut model, operation)?;
        }
        let (savepoint, saved) = (tx.savepoint(), model.clone());
        for operation in &operations[half..] {
            apply(&mut tx.open::<PBox<String>>("box")?, &mut model, operation)?;
        }
        if fate % 4 == 0 {
            tx.rollback_to(&savepoint)?;
            model = saved;
        }
        if fate % 4 == 1 {
            drop(tx);
        } else {
            tx.commit()?;
            committed = model;
        }
        if fate % 8 == 7 {
            pool = support::reopened(&pool);
        }
        let tx = pool.read()?;
        let guard = tx.open::<PBox<String>>("box")?;
        assert_eq!(guard.get()?, committed.as_deref());
        assert_eq!(format!("{guard:?}"), format!("{committed:?}"));
        let summary = guard.check()?;
        assert_eq!(summary.is_some, committed.is_some());
        assert_eq!(summary.bytes, 64 + committed.as_ref().map_or(0, |value| value.len() as u64));
        drop(tx);
        let report = pool.check()?;
        assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
    }
    pool.write(|tx| tx.open::<PBox<String>>("box")?.clear())?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[test]
fn a_long_run_does_what_an_option_of_std_does() -> Result<()> {
    let seed = 4;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut length = || match random.u8(..4) {
        0 => 0,
        1 => random.usize(..40),
        2 => random.usize(..5_000),
        _ => random.usize(..20_000),
    };
    let lengths: Vec<usize> = (0..6_000).map(|_| length()).collect();
    let transactions: Vec<_> = lengths
        .chunks(6)
        .map(|lengths| {
            let operations = lengths.iter().map(|&len| match len % 8 {
                0 => Take,
                1..=3 => Replace(len),
                _ => Set(len),
            });
            (operations.collect(), random.u8(..))
        })
        .collect();
    run(&transactions)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_an_option_of_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..8), any::<u8>()), 1..8)
    ) {
        run(&transactions).unwrap();
    }
}

#[test]
fn plain_values_of_any_size_are_changed_in_place_and_taken_out() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| {
        let mut small = tx.open::<PBox<u64>>("small")?;
        assert!(small.get()?.is_none() && small.get_mut()?.is_none());
        small.set(7)?;
        *small.get_mut()?.expect("it was set") += 1;
        assert_eq!(owned(small.take()?)?, Some(8));
        assert_eq!(owned(small.take()?)?, None);
        let mut large = tx.open::<PBox<[u64; 10_000]>>("large")?;
        large.set([1; 10_000])?;
        large.get_mut()?.expect("it was set")[9_999] = 2;
        let old = large.replace([3; 10_000])?.expect("it was set");
        assert_eq!((old.get()?[9_998], old.get()?[9_999]), (1, 2));
        tx.open::<PBox<()>>("nothing")?.set(())
    })?;
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    for pool in [&pool, &copy] {
        assert!(pool.check()?.is_ok());
        let tx = pool.read()?;
        assert_eq!(tx.open::<PBox<[u64; 10_000]>>("large")?.get()?, Some(&[3; 10_000]));
        assert_eq!(tx.open::<PBox<()>>("nothing")?.get()?, Some(&()));
        assert_eq!(tx.open::<PBox<u64>>("small")?.get()?, None);
    }
    Ok(())
}

#[test]
fn boxes_of_containers_and_containers_of_boxes_leak_nothing() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    let make = |tx: &mut WriteTx<'_>| -> Result<()> {
        tx.open::<PBox<PVec<String>>>("one")?;
        tx.open::<PBTreeMap<u64, PBox<PBox<String>>>>("many").map(drop)
    };
    pool.write(make)?;
    let empty = pool.stats()?.used;
    pool.write(|tx| {
        let mut one = tx.open::<PBox<PVec<String>>>("one")?;
        assert!(one.open_mut()?.is_none() && one.open()?.is_none());
        one.set_new()?.extend((0..50).map(text))?;
        one.set_new()?.extend((0..70).map(text))?;
        one.open_mut()?.expect("it was set").push("more")?;
        assert_eq!(one.open()?.expect("it was set").len(), 71);
        one.check_object(|vec| vec.check().map(drop))?;
        let mut many = tx.open::<PBTreeMap<u64, PBox<PBox<String>>>>("many")?;
        for n in 0..40 {
            many.open_mut(n)?.set_new()?.set(text(n as usize * 9))?;
        }
        many.remove(7).map(drop)
    })?;
    let report = pool.check()?;
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    let tx = copy.read()?;
    let many = tx.open::<PBTreeMap<u64, PBox<PBox<String>>>>("many")?;
    assert_eq!(many.open(39)?.expect("there").open()?.expect("there").get()?, Some(&*text(39 * 9)));
    pool.write(|tx| {
        tx.open::<PBox<PVec<String>>>("one")?.clear()?;
        tx.open::<PBTreeMap<u64, PBox<PBox<String>>>>("many")?.clear()
    })?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[test]
fn a_full_pool_leaves_a_box_as_it_was() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| tx.open::<PBox<String>>("box")?.set(text(100)))?;
    let tx = pool.begin()?;
    let mut guard = tx.open::<PBox<String>>("box")?;
    let error = guard.set(text(2 << 20)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
    assert_eq!(guard.get()?, Some(&*text(100)));
    guard.set(text(200_000))?;
    assert_eq!(guard.get()?, Some(&*text(200_000)));
    drop(guard);
    tx.commit()?;
    assert!(pool.check()?.is_ok());
    Ok(())
}

#[test]
fn every_changed_byte_of_the_header_is_an_error_that_names_it_and_a_damaged_value_is_one_too() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        tx.open::<PHeap<u64>>("vandal")?;
        tx.open::<PBox<String>>("box")?.set("a value of a few words")
    })?;
    let [at] = blocks(&pool, b"PBox    ")?[..] else { panic!("one header") };
    let everything = |pool: &Pool| -> Tally {
        let mut tally = Tally::default();
        pool.check().unwrap();
        if let Some(guard) = tally.see(pool.read().unwrap().open::<PBox<String>>("box")) {
            tally.see(guard.check());
            let _ = format!("{guard:?}");
        }
        for operation in 0..4 {
            let tx = pool.begin().unwrap();
            let Some(mut guard) = tally.see(tx.open::<PBox<String>>("box")) else { continue };
            match operation {
                0 => tally.see(guard.set("b")),
                1 => tally.see(guard.replace("c").map(drop)),
                2 => tally.see(guard.take().map(drop)),
                _ => tally.see(guard.clear()),
            };
        }
        tally
    };
    assert_eq!(everything(&pool).corrupt, 0);
    let len = 32..40; // a value that is shorter, or longer by less than its block, looks right
    for i in (0..64).filter(|i| !len.contains(i)) {
        for bit in 0..8 {
            let before: [u8; 1] = support::bytes(&pool, at + i)?;
            forge(&pool, at + i, &[before[0] ^ 1 << bit])?;
            assert!(everything(&pool).corrupt > 0, "byte {i}, bit {bit}");
            forge(&pool, at + i, &before)?;
        }
    }
    let block = u64::from_le_bytes(support::bytes(&pool, at + 24)?);
    for (place, value) in [(at + 24, 0), (at + 24, 1), (at + 24, at), (at + 24, 1 << 20), (at + 32, 1 << 20)]
        .into_iter()
        .chain([(at + 24, u64::MAX), (at + 32, u64::MAX), (at + 32, 500), (block, 0xff)])
    {
        let before = forge(&pool, place, &u64::to_le_bytes(value))?;
        // The header itself is a block of this pool; but no text.
        assert!(everything(&pool).corrupt > 0, "{place:#x}: {value:#x}");
        forge(&pool, place, &before)?;
    }
    let before = forge(&pool, block + 3, &[0xff])?;
    let tx = pool.read()?;
    let error = tx.open::<PBox<String>>("box")?.get().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { offset, .. } if *offset == block), "{error}");
    drop(tx);
    forge(&pool, block + 3, &before)?;
    assert_eq!(everything(&pool).corrupt, 0);
    Ok(())
}

#[test]
fn a_box_of_another_type_and_a_value_that_is_aligned_too_far_are_errors_that_say_so() -> Result<()> {
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C, align(128))]
    struct Wide([u8; 128]);
    impl Plain for Wide {
        const NAME: &'static str = "boxed.Wide";
    }
    let pool = Pool::anonymous(1 << 20)?;
    let error = pool.write(|tx| tx.open::<PBox<Wide>>("wide").map(drop)).unwrap_err();
    assert!(error.to_string().contains("aligned to 128 bytes"), "{error}");
    pool.write(|tx| tx.open::<PBox<u64>>("word").map(drop))?;
    let error = pool.read()?.open::<PBox<i64>>("word").err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    Ok(())
}
