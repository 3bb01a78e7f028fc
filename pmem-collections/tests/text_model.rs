//! `PString` does what `String` does, and `PBytes` what `Vec<u8>` does: random operations on both, in transactions that commit, are
//! dropped, or go back to a savepoint, with reopening in between.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use proptest::prelude::*;
use std::borrow::Cow;

fn assert_same<M: Mode>(text: &StringGuard<'_, M>, model: &str) -> Result<()> {
    assert_eq!((text.len(), text.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(text.check()?.elements, model.len() as u64);
    assert_eq!(text.as_str()?, model);
    assert_eq!(matches!(text.as_str()?, Cow::Borrowed(_)), model.len() <= 1016);
    assert_eq!(text.pieces().collect::<Result<Vec<_>>>()?.concat(), model);
    assert!(*text == model && *text == *model && *text != format!("{model}.").as_str());
    assert!(model.is_empty() || *text != model[..model.len() - model.chars().last().unwrap().len_utf8()]);
    let bytes = text.as_bytes();
    assert!(*bytes == *model.as_bytes() && *bytes == model.as_bytes());
    assert_eq!((text.to_string(), format!("{text:?}")), (model.to_string(), format!("{model:?}")));
    Ok(())
}

/// Text of about `len` bytes, of characters of 1 to 4 bytes.
fn words(random: &mut Rng, len: usize) -> String {
    let mut text = String::new();
    while text.len() < len {
        text.push(*random.choice(&['a', 'b', '\n', 'ß', 'é', '€', '語', '🦀']).expect("some"));
    }
    text
}

/// A boundary of characters, at `at` or before.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).expect("0 is one")
}

fn length(random: &mut Rng) -> usize {
    match random.u8(..8) {
        0 => 0,
        1 => random.usize(..3_000),
        _ => random.usize(..100),
    }
}

fn operate(text: &mut StringGuard<'_, Write>, model: &mut String, random: &mut Rng) -> Result<()> {
    let len = length(random);
    let more = words(random, len);
    let a = boundary(model, random.usize(..=model.len()));
    match random.u8(..16) {
        0..5 => {
            text.push_str(&more)?;
            model.push_str(&more);
        }
        5..7 => {
            text.push('語')?;
            model.push('語');
        }
        7 => assert_eq!(text.pop()?, model.pop()),
        8 => {
            text.insert_str(a, &more)?;
            model.insert_str(a, &more);
        }
        9 => {
            let b = boundary(model, (a + random.usize(..200)).min(model.len()));
            text.replace_range(a..b, &more)?;
            model.replace_range(a..b, &more);
        }
        10 if random.u8(..8) == 0 => {
            text.truncate(a)?;
            model.truncate(a);
        }
        11 if random.u8(..20) == 0 => {
            text.set(&more)?;
            *model = more;
        }
        12 if random.u8(..40) == 0 => {
            text.clear()?;
            model.clear();
        }
        13 => {
            text.truncate(model.len() + 3)?;
            text.extend(["x", "語"])?;
            *model += "x語";
        }
        _ => {
            let at = random.usize(..model.len() + 2);
            assert_eq!(text.is_char_boundary(at)?, model.is_char_boundary(at), "{at}");
            let mut buffer = vec![0; random.usize(..2_000)];
            let read = text.as_bytes().read_at(at, &mut buffer)?;
            let expected = &model.as_bytes()[at.min(model.len())..];
            assert_eq!(buffer[..read], expected[..expected.len().min(buffer.len())]);
            assert_eq!(text.as_bytes().get(at)?, model.as_bytes().get(at).copied());
        }
    }
    Ok(())
}

#[test]
fn random_operations_on_a_string_do_what_std_does() -> Result<()> {
    for seed in 0..8 {
        println!("seed {seed}");
        let mut random = Rng::with_seed(seed);
        let mut pool = Pool::anonymous(8 << 20)?;
        let mut model = String::new();
        for _ in 0..100 {
            let mut tx = pool.begin()?;
            let mut changed = model.clone();
            for _ in 0..random.usize(1..4) {
                let (savepoint, before) = (tx.savepoint(), changed.clone());
                let mut text = tx.open::<PString>("text")?;
                for _ in 0..random.usize(..40) {
                    operate(&mut text, &mut changed, &mut random)?;
                }
                if random.u8(..4) == 0 {
                    tx.rollback_to(&savepoint)?;
                    changed = before;
                }
            }
            assert_same(&tx.open::<PString>("text")?, &changed)?;
            if random.u8(..4) == 0 {
                drop(tx);
            } else if tx.commit().is_ok() {
                model = changed;
            } // else it was too much for the log, and nothing happened
            if random.u8(..8) == 0 {
                pool = support::reopened(&pool);
            }
            let tx = pool.read()?;
            let mut blocks = 1; // the directory's
            match tx.open::<PString>("text") {
                Ok(text) => {
                    assert_same(&text, &model)?;
                    let summary = text.check()?;
                    blocks += 1 + summary.leaves + summary.inner_nodes;
                }
                Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model.is_empty()),
            }
            drop(tx);
            let report = pool.check()?;
            assert!(report.is_ok(), "{report}");
            assert!(blocks == 1 || report.small_blocks + report.large_blocks == blocks, "{report}");
        }
        pool.write(|tx| tx.open::<PString>("text")?.clear())?;
        let report = pool.check()?;
        assert_eq!((report.small_blocks, report.large_blocks), (2, 0));
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Operation {
    Extend(Vec<u8>),
    Push(u8),
    Splice(u16, u16, Vec<u8>),
    Remove(u16, u16),
    WriteAt(u16, Vec<u8>),
    Truncate(u16),
    Set(Vec<u8>),
    Clear,
}
use Operation::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..80),
        1 => (any::<u8>(), 0usize..4_000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => bytes().prop_map(Extend),
        2 => any::<u8>().prop_map(Push),
        3 => (any::<u16>(), any::<u16>(), bytes()).prop_map(|(a, b, new)| Splice(a, b, new)),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Remove(a, b)),
        2 => (any::<u16>(), bytes()).prop_map(|(at, new)| WriteAt(at, new)),
        2 => any::<u16>().prop_map(Truncate),
        1 => bytes().prop_map(Set),
        1 => Just(Clear),
    ]
}

fn apply(guard: &mut BytesGuard<'_, Write>, model: &mut Vec<u8>, operation: &Operation) -> Result<()> {
    let range = |a: u16, b: u16, model: &[u8]| {
        let (a, b) = (usize::from(a) % (model.len() + 1), usize::from(b) % (model.len() + 1));
        a.min(b)..a.max(b)
    };
    match operation {
        Extend(new) => {
            guard.extend([&new[..new.len() / 2], &new[new.len() / 2..]])?;
            model.extend(new);
        }
        Push(byte) => {
            guard.push(*byte)?;
            model.push(*byte);
        }
        Splice(a, b, new) => {
            let range = range(*a, *b, model);
            guard.splice(range.clone(), new)?;
            model.splice(range, new.iter().copied());
        }
        Remove(a, b) => {
            let range = range(*a, *b, model);
            guard.remove(range.clone())?;
            model.drain(range);
        }
        WriteAt(at, new) => {
            let new = &new[..new.len().min(model.len())];
            let at = usize::from(*at) % (model.len() - new.len() + 1);
            guard.write_at(at, new)?;
            model[at..at + new.len()].copy_from_slice(new);
        }
        Truncate(len) => {
            guard.truncate((*len).into())?;
            model.truncate((*len).into());
        }
        Set(new) => {
            guard.set(new)?;
            model.clone_from(new);
        }
        Clear => {
            guard.clear()?;
            model.clear();
        }
    }
    assert_eq!(
        (guard.as_slice()?.into_owned(), guard.check()?.elements),
        (model.clone(), model.len() as u64)
    );
    assert_eq!(guard.pieces().collect::<Result<Vec<_>>>()?.concat(), *model);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_on_bytes_does_what_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..10), any::<bool>()), 1..6)
    ) {
        let pool = Pool::anonymous(16 << 20).unwrap();
        let mut committed = Vec::new();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut guard = tx.open::<PBytes>("bytes").unwrap();
            let mut model = committed.clone();
            for operation in &operations {
                apply(&mut guard, &mut model, operation).unwrap();
            }
            if commit && tx.commit().is_ok() {
                committed = model;
            }
        }
        let found = pool.read().unwrap().open::<PBytes>("bytes").map(|guard| guard.to_vec().unwrap());
        prop_assert_eq!(found.unwrap_or_default(), committed);
    }
}

#[test]
fn strings_in_containers_leak_nothing_and_a_compacted_copy_has_the_same_text_and_takes_more() -> Result<()> {
    type Texts = PBTreeMap<u64, PString>;
    let pool = Pool::anonymous(4 << 20)?;
    pool.write(|tx| {
        tx.open::<Texts>("texts")?;
        tx.open::<PVec<PBytes>>("blobs").map(drop)
    })?;
    let empty = pool.stats()?.used;
    pool.write(|tx| {
        let (mut texts, mut blobs) = (tx.open::<Texts>("texts")?, tx.open::<PVec<PBytes>>("blobs")?);
        for n in 0..20 {
            let mut text = texts.open_mut(n)?;
            (0..n * 20).try_for_each(|i| text.push_str(&format!("{i}, ")))?;
            blobs.push_new()?.extend_from_slice(&vec![n as u8; n as usize * 300])?;
        }
        texts.remove(7)?;
        blobs.swap_remove(7).map(drop)
    })?;
    let report = pool.check()?;
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    for pool in [&pool, &copy] {
        pool.write(|tx| {
            let (mut texts, mut blobs) = (tx.open::<Texts>("texts")?, tx.open::<PVec<PBytes>>("blobs")?);
            for n in (0..20).filter(|n| *n != 7) {
                let mut text = texts.open_mut(n)?;
                let expected: String = (0..n * 20).map(|i| format!("{i}, ")).collect();
                assert!(text == expected.as_str());
                text.push_str("and more")?;
            }
            let mut last = blobs.open_mut(7)?.expect("the last one");
            assert!(last == vec![19; 5700].as_slice());
            last.push(1)?;
            texts.check_objects(|text| text.check().map(drop)).map(drop)
        })?;
        assert!(pool.check()?.is_ok());
    }
    pool.write(|tx| {
        tx.open::<Texts>("texts")?.clear()?;
        tx.open::<PVec<PBytes>>("blobs")?.clear()
    })?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[test]
fn a_full_pool_leaves_a_text_as_it_was() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let mut model = String::new();
    for part in ["ä".repeat(20_000), "ö".repeat(2_000), "ü".repeat(200)] {
        loop {
            let tx = pool.begin()?;
            let mut text = tx.open::<PString>("text")?;
            if let Err(error) = text.push_str(&part) {
                assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                let error = text.insert_str(2, &part).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                assert_same(&text, &model)?;
                // What was refused may be committed with the rest: nothing.
                tx.commit()?;
                break;
            }
            tx.commit()?;
            model += &part;
        }
        assert!(pool.check()?.is_ok());
    }
    assert!(model.len() > 500_000, "{}", model.len());
    pool.write(|tx| tx.open::<PString>("text")?.truncate(100))?;
    pool.write(|tx| tx.open::<PString>("text")?.push_str(&"é".repeat(5_000)))?;
    assert_eq!(pool.read()?.open::<PString>("text")?.as_str()?, "ä".repeat(50) + &"é".repeat(5_000));
    Ok(())
}

#[test]
#[should_panic(expected = "byte 1 of 4 begins no character")]
fn a_place_inside_of_a_character_is_a_mistake_of_the_program() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let tx = pool.begin().unwrap();
    let mut text = tx.open::<PString>("text").unwrap();
    text.push_str("éé").unwrap();
    drop(text.insert_str(1, "x"));
}

#[test]
#[should_panic(expected = "of 3")]
fn a_range_beyond_the_end_is_a_mistake_of_the_program() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let tx = pool.begin().unwrap();
    let mut bytes = tx.open::<PBytes>("bytes").unwrap();
    bytes.extend_from_slice(b"abc").unwrap();
    drop(bytes.write_at(2, b"xy"));
}
