//! `PArt` does what `BTreeMap<Vec<u8>, _>` does, and finds prefixes: random operations on both, in transactions that commit, are
//! dropped, or go back to a savepoint, with reopening in between.
#![allow(missing_docs)]

mod support;

use fastrand::Rng;
use pmem_collections::*;
use proptest::prelude::*;
use std::{collections::BTreeMap, fmt::Debug, ops::Bound};

type Model<V> = BTreeMap<Vec<u8>, V>;

/// Keys of many kinds: short ones of few bytes, zero among them, of which many are prefixes of others; with a long beginning
/// in common; of two bytes, so that nodes get full; of random bytes.
fn key(random: &mut Rng) -> Vec<u8> {
    let short = |random: &mut Rng| -> Vec<u8> {
        (0..random.usize(..7)).map(|_| *random.choice(&[0, 1, b'a', 255]).unwrap()).collect()
    };
    match random.u8(..8) {
        0..3 => short(random),
        3 => [b"/a/long/way/that/all/of/them/go/".to_vec(), short(random)].concat(),
        4 => [short(random), vec![random.u8(..3); 300], short(random)].concat(),
        5 | 6 => vec![random.u8(..3), random.u8(..)],
        _ => random.u64(..500).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec(),
    }
}

/// The entries that begin with a prefix, of a model.
fn beginning<'m, V>(
    model: &'m Model<V>,
    prefix: &[u8],
) -> impl DoubleEndedIterator<Item = (&'m Vec<u8>, &'m V)> {
    model.iter().filter(move |(key, _)| key.starts_with(prefix))
}

fn assert_same<V: Plain + PartialEq + Debug, M: Mode>(
    art: &ArtGuard<'_, V, M>,
    model: &Model<V>,
) -> Result<art::ArtSummary> {
    let own = |entry: Result<(&[u8], &V)>| entry.map(|(key, value)| (key.to_vec(), *value)).unwrap();
    let pair = |(key, value): (&Vec<u8>, &V)| (key.clone(), *value);
    assert_eq!((art.len(), art.is_empty()), (model.len(), model.is_empty()));
    let summary = art.check()?;
    assert_eq!(summary.entries, model.len() as u64);
    assert!(art.iter().map(own).eq(model.iter().map(pair)));
    assert!(art.iter().rev().map(own).eq(model.iter().rev().map(pair)));
    assert!(art.keys().map(Result::unwrap).eq(model.keys().map(|key| &key[..])));
    assert!(art.values().map(Result::unwrap).eq(model.values()));
    let edge = |entry: Option<(&[u8], &V)>| entry.map(|(key, value)| (key.to_vec(), *value));
    assert_eq!(edge(art.first()?), model.first_key_value().map(pair));
    assert_eq!(edge(art.last()?), model.last_key_value().map(pair));
    Ok(summary)
}

/// One random operation on both, with the same result.
fn operate<V: Plain + PartialEq + Debug>(
    art: &mut ArtGuard<'_, V, Write>,
    model: &mut Model<V>,
    random: &mut Rng,
    value: &mut impl FnMut(&mut Rng) -> V,
    growing: bool,
) -> Result<()> {
    let (k, v) = (key(random), value(random));
    let own = |entry: Result<(&[u8], &V)>| entry.map(|(key, value)| (key.to_vec(), *value)).unwrap();
    let pair = |(key, value): (&Vec<u8>, &V)| (key.clone(), *value);
    match random.u8(..if growing { 20 } else { 40 }) {
        0..9 => {
            let old = art.insert(&k, v)?.map(|old| old.to_owned()).transpose()?;
            assert_eq!(old, model.insert(k, v));
        }
        9 => {
            let many: Vec<_> = (0..random.usize(..60)).map(|_| (key(random), value(random))).collect();
            art.extend(many.iter().map(|(key, value)| (key, value)))?;
            model.extend(many);
        }
        10 => {
            assert_eq!(art.get(&k)?, model.get(&k));
            assert_eq!(art.contains_key(&k)?, model.contains_key(&k));
        }
        11 => match (art.get_mut(&k)?, model.get_mut(&k)) {
            (Some(found), Some(expected)) => {
                assert_eq!(found, expected);
                (*found, *expected) = (v, v);
            }
            (found, expected) => assert_eq!(found, expected),
        },
        12 => {
            let mut seen = None;
            let entry = art.entry(&k).and_modify(|value| seen = Some(*value));
            assert_eq!(entry.key(), k);
            let found = entry.or_insert(v)?;
            assert_eq!(seen, model.get(&k).copied());
            let expected = model.entry(k).or_insert(v);
            assert_eq!(found, expected);
            (*found, *expected) = (v, v);
        }
        13 => {
            let longest = model.iter().rev().find(|(key, _)| k.starts_with(key));
            let found = art.longest_prefix(&k)?.map(|(key, value)| (key.to_vec(), *value));
            assert_eq!(found, longest.map(pair), "{k:?}");
        }
        14 => {
            assert!(art.prefix(&k).map(own).eq(beginning(model, &k).map(pair)), "{k:?}");
            assert!(art.prefix(&k).rev().map(own).eq(beginning(model, &k).rev().map(pair)), "{k:?}");
            assert!(
                art.keys_with_prefix(&k)
                    .map(Result::unwrap)
                    .eq(beginning(model, &k).map(|(key, _)| &key[..]))
            );
        }
        15 | 16 => {
            let (mut a, mut b) = (k, key(random));
            if a > b {
                std::mem::swap(&mut a, &mut b);
            }
            let mut bound = |key: Vec<u8>| match random.u8(..5) {
                0 | 1 => Bound::Included(key),
                2 | 3 => Bound::Excluded(key),
                _ => Bound::Unbounded,
            };
            let mut range = (bound(a), bound(b));
            if let (Bound::Excluded(a), Bound::Excluded(b)) = (&range.0, &range.1)
                && a == b
            {
                range.0 = Bound::Unbounded; // std would panic
            }
            let mut found = art.range((range.0.as_ref(), range.1.as_ref()));
            let mut expected = model.range(range.clone());
            loop {
                let back = random.bool();
                let found = if back { found.next_back() } else { found.next() };
                let expected = if back { expected.next_back() } else { expected.next() };
                assert_eq!(found.map(own), expected.map(pair), "{range:?}");
                if expected.is_none() {
                    break;
                }
            }
        }
        17 if random.u8(..30) == 0 => {
            art.retain(|key, _| key.len() % 3 != 1)?;
            model.retain(|key, _| key.len() % 3 != 1);
        }
        18 if random.u8(..20) == 0 => {
            let before = model.len();
            model.retain(|key, _| !key.starts_with(&k));
            assert_eq!(art.remove_prefix(&k)?, before - model.len());
        }
        19 if random.u8(..200) == 0 => {
            art.clear()?;
            model.clear();
        }
        20 => {
            let found = art.pop_first()?.map(|(key, old)| (key, old.to_owned().unwrap()));
            assert_eq!(found, model.pop_first());
        }
        21 => {
            let found = art.pop_last()?.map(|(key, old)| (key, old.to_owned().unwrap()));
            assert_eq!(found, model.pop_last());
        }
        _ => {
            // Most of the time one that is there.
            let there = model.range(k.clone()..).next().map(|(key, _)| key.clone());
            let k = there.filter(|_| random.u8(..8) > 0).unwrap_or(k);
            let old = art.remove(&k)?.map(|old| old.to_owned()).transpose()?;
            assert_eq!(old, model.remove(&k));
        }
    }
    Ok(())
}

/// The largest number of nodes of each kind that there were.
fn random_operations<V: Plain + PartialEq + Debug>(
    seed: u64,
    operations: usize,
    mut value: impl FnMut(&mut Rng) -> V,
) -> Result<[u64; 4]> {
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let mut pool = Pool::anonymous(8 << 20)?;
    let mut model = Model::new();
    let (mut done, mut growing, mut most) = (0, true, [0; 4]);
    while done < operations {
        if random.u8(..6) == 0 {
            growing = !growing;
        }
        let mut tx = pool.begin()?;
        let mut changed = model.clone();
        for _ in 0..random.usize(1..4) {
            let (savepoint, before) = (tx.savepoint(), changed.clone());
            let mut art = tx.open::<PArt<V>>("art")?;
            for _ in 0..random.usize(..100) {
                operate(&mut art, &mut changed, &mut random, &mut value, growing)?;
                done += 1;
            }
            if random.u8(..4) == 0 {
                tx.rollback_to(&savepoint)?;
                changed = before;
            }
        }
        assert_same(&tx.open::<PArt<V>>("art")?, &changed)?;
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
        match tx.open::<PArt<V>>("art") {
            Ok(art) => {
                let summary = assert_same(&art, &model)?;
                let nodes: u64 = summary.nodes.iter().sum();
                assert_eq!(report.small_blocks + report.large_blocks, 2 + summary.entries + nodes);
                most = std::array::from_fn(|kind| most[kind].max(summary.nodes[kind]));
            }
            Err(error) => assert!(matches!(error.kind(), ErrorKind::NotFound { .. }) && model.is_empty()),
        }
    }
    pool.write(|tx| tx.open::<PArt<V>>("art")?.clear())?;
    let report = pool.check()?;
    assert_eq!((report.small_blocks, report.large_blocks), (2, 0));
    Ok(most)
}

#[test]
fn random_operations_on_words_do_what_std_does() -> Result<()> {
    for seed in 0..6 {
        let most = random_operations::<u64>(seed, 10_000, |r| r.u64(..))?;
        assert!(most.iter().all(|&nodes| nodes > 0), "all kinds of nodes: {most:?}");
    }
    Ok(())
}

#[test]
fn random_operations_on_values_of_other_sizes_do_what_std_does() -> Result<()> {
    random_operations::<u8>(1, 4_000, |r| r.u8(..))?;
    random_operations::<[u8; 3]>(2, 4_000, |r| [r.u8(..); 3])?;
    random_operations::<u128>(3, 4_000, |r| r.u128(..))?;
    random_operations::<[u64; 40]>(4, 2_000, |r| [r.u64(..); 40])?;
    random_operations::<()>(5, 2_000, |_| ()).map(drop)
}

#[test]
fn nodes_grow_and_shrink_through_all_kinds() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let kind = || -> Result<[u64; 4]> { Ok(pool.read()?.open::<PArt<u64>>("art")?.check()?.nodes) };
    pool.write(|tx| tx.open::<PArt<u64>>("art")?.insert("", 1000).map(drop))?;
    let mut changes = Vec::new();
    for up in [true, false] {
        for n in 0..=255u8 {
            let n = if up { n } else { 255 - n };
            let before = kind()?;
            pool.write(|tx| {
                let mut art = tx.open::<PArt<u64>>("art")?;
                let old = if up { art.insert(&[n], u64::from(n))? } else { art.remove(&[n])? };
                assert_eq!(old.is_some(), !up);
                Ok(())
            })?;
            if kind()? != before {
                changes.push((u16::from(n) + u16::from(up), kind()?));
            }
        }
    }
    let [none, n4, n16, n48, n256] = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]];
    // Children that are there after a change of the kind.
    assert_eq!(changes, [(1, n4), (5, n16), (17, n48), (49, n256), (36, n48), (12, n16), (3, n4), (0, none)]);
    let tx = pool.read()?;
    assert_eq!(tx.open::<PArt<u64>>("art")?.first()?, Some((&b""[..], &1000)));
    Ok(())
}

#[test]
fn keys_are_words_bytes_and_slices_and_are_written_as_bytes() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        let mut art = tx.open::<PArt<u64>>("art")?;
        art.insert("word", 1)?;
        art.insert(b"a\0b", 2)?;
        art.insert(&String::from("é"), 3)?;
        art.insert(&[0u8, 255][..], 4)?;
        assert_eq!(format!("{art:?}"), r#"{b"\x00\xff": 4, b"a\x00b": 2, b"word": 1, b"\xc3\xa9": 3}"#);
        assert_eq!(art.range("a".."x").count(), 2);
        assert_eq!(art.range(b"a\0b"..=b"a\0b").count(), 1);
        assert_eq!(art.range("x".."a").count(), 0);
        let longest = "x".repeat(1 << 16);
        art.insert(&longest, 5)?;
        let error = art.insert(&format!("{longest}x"), 6).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error}");
        assert_eq!(art.longest_prefix(&format!("{longest}x"))?.map(|(key, _)| key.len()), Some(1 << 16));
        art.check().map(drop)
    })?;
    let error = pool.write(|tx| tx.open::<PArt<[u64; 8193]>>("large").map(drop)).unwrap_err();
    assert!(error.to_string().contains("values of 65544 bytes"), "{error}");
    let error = pool.read()?.open::<PArt<i64>>("art").err().unwrap();
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    Ok(())
}

#[test]
fn a_way_of_a_thousand_nodes_is_walked_and_freed_without_recursion() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    // Each key is a prefix of the next: a node for each.
    let long = [7u8; 3000];
    for start in (0..3000).step_by(300) {
        pool.write(|tx| {
            let mut art = tx.open::<PArt<u64>>("art")?;
            (start..start + 300)
                .rev()
                .step_by(3)
                .try_for_each(|len| art.insert(&long[..len], len as u64).map(drop))
        })?;
    }
    let summary = pool.read()?.open::<PArt<u64>>("art")?.check()?;
    assert_eq!((summary.entries, summary.height), (1000, 999));
    assert!(pool.check()?.is_ok());
    let tx = pool.read()?;
    let art = tx.open::<PArt<u64>>("art")?;
    assert_eq!(art.longest_prefix(&long[..2000])?.map(|(_, len)| *len), Some(2000));
    assert_eq!(art.prefix(&long[..1500]).count(), 500);
    drop(tx);
    pool.write(|tx| tx.open::<PArt<u64>>("art")?.clear())?;
    assert_eq!(pool.check()?.small_blocks, 2);
    Ok(())
}

#[test]
fn trees_of_strings_and_of_containers_leak_nothing() -> Result<()> {
    let pool = Pool::anonymous(4 << 20)?;
    type Words = PArt<String>;
    type Trees = PArt<PArt<u64>>;
    pool.write(|tx| {
        tx.open::<Words>("words")?;
        tx.open::<Trees>("trees").map(drop)
    })?;
    let empty = pool.stats()?.used;
    let mut random = Rng::with_seed(3);
    let mut model: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for _ in 0..40 {
        pool.write(|tx| {
            let mut words = tx.open::<Words>("words")?;
            for _ in 0..40 {
                let (key, word) = (key(&mut random), "w".repeat(random.usize(..60)));
                if random.u8(..3) > 0 {
                    let old = words.insert(&key, &word)?.map(|old| old.to_owned()).transpose()?;
                    assert_eq!(old, model.insert(key, word));
                } else {
                    let old = words.remove(&key)?.map(|old| old.to_owned()).transpose()?;
                    assert_eq!(old, model.remove(&key));
                }
            }
            words.check().map(drop)
        })?;
        assert!(pool.check()?.is_ok());
    }
    pool.write(|tx| {
        let mut trees = tx.open::<Trees>("trees")?;
        for name in ["ada", "adam", "a", "", "grace"] {
            trees.open_mut(name)?.extend([("x", 1), (name, 2), ("xyz", 3)])?;
        }
        trees.open_mut("ada")?.remove("x")?;
        assert_eq!(trees.open("ada")?.expect("it is there").get("ada")?, Some(&2));
        assert!(trees.open("b")?.is_none());
        trees.remove("adam")?;
        Ok(())
    })?;
    let report = pool.check()?;
    assert!(report.is_ok(), "{report:?}");
    let copy = pool.compact_on(Mapping::anonymous(4 << 20)?)?;
    for pool in [&pool, &copy] {
        let tx = pool.read()?;
        let words = tx.open::<Words>("words")?;
        words.check()?;
        let found = words.iter().map(|entry| entry.map(|(key, word)| (key.to_vec(), word.to_string())));
        assert_eq!(found.collect::<Result<BTreeMap<_, _>>>()?, model);
        let trees = tx.open::<Trees>("trees")?;
        trees.check_objects(|tree| tree.check().map(drop))?;
        let lens = trees.objects().map(|entry| entry.map(|(key, tree)| (key.to_vec(), tree.len())));
        let expected =
            [("", 3), ("a", 3), ("ada", 2), ("grace", 3)].map(|(key, len)| (key.as_bytes().to_vec(), len));
        assert_eq!(lens.collect::<Result<Vec<_>>>()?, expected);
    }
    copy.write(|tx| {
        tx.open::<Words>("words")?.insert("more", "more")?;
        tx.open::<Trees>("trees")?.open_mut("more")?.insert("x", 1).map(drop)
    })?;
    assert!(copy.check()?.is_ok());
    pool.write(|tx| {
        tx.open::<Words>("words")?.clear()?;
        tx.open::<Trees>("trees")?.clear()
    })?;
    assert_eq!(pool.stats()?.used, empty, "all blocks are free");
    Ok(())
}

#[test]
fn a_full_pool_leaves_a_tree_as_it_was_and_removals_and_later_inserts_work() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let mut random = Rng::with_seed(4);
    let mut model: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    // First large values, then, when there is no room for these, small ones, until there is no room for nodes either.
    for size in [3000, 21, 0] {
        loop {
            let tx = pool.begin()?;
            let mut art = tx.open::<PArt<String>>("art")?;
            let (key, value) = (random.u64(..).to_be_bytes().to_vec(), "v".repeat(size));
            match art.insert(&key, &value) {
                Ok(_) => drop(model.insert(key, value)),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
                    assert_eq!(art.check()?.entries, model.len() as u64);
                    break;
                }
            }
            tx.commit()?;
        }
    }
    assert!(model.len() > 200, "{}", model.len());
    // Nodes that should shrink have no space to; so they stay, and nothing fails.
    let keys: Vec<_> = model.keys().cloned().collect();
    for part in keys[..keys.len() - 20].chunks(30) {
        pool.write(|tx| {
            let mut art = tx.open::<PArt<String>>("art")?;
            part.iter().try_for_each(|key| art.remove(key).map(drop))?;
            art.check().map(drop)
        })?;
    }
    model.retain(|key, _| keys[keys.len() - 20..].contains(key));
    pool.write(|tx| tx.open::<PArt<String>>("art")?.insert("more", "m".repeat(3000)).map(drop))?;
    model.insert(b"more".to_vec(), "m".repeat(3000));
    assert!(pool.check()?.is_ok());
    let tx = pool.read()?;
    let art = tx.open::<PArt<String>>("art")?;
    art.check()?;
    let found = art.iter().map(|entry| entry.map(|(key, word)| (key.to_vec(), word.to_string())));
    assert_eq!(found.collect::<Result<BTreeMap<_, _>>>()?, model);
    Ok(())
}

#[test]
fn entries_are_looked_at_changed_inserted_and_removed_with_one_search() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        let mut words = tx.open::<PArt<String>>("words")?;
        assert_eq!(words.entry("a").or_set("first")?, "first");
        assert_eq!(words.entry("a").or_set("second")?, "first");
        match words.entry("ab").find()? {
            art::Found::Vacant(entry) => {
                assert_eq!(entry.key(), b"ab");
                assert_eq!(entry.insert("w".repeat(50))?, "w".repeat(50));
            }
            art::Found::Occupied(_) => panic!("it is not there"),
        }
        match words.entry("ab").find()? {
            art::Found::Occupied(mut entry) => {
                assert_eq!((entry.key()?, entry.get()?), (&b"ab"[..], &*"w".repeat(50)));
                assert_eq!(entry.insert("short")?.get()?, "w".repeat(50));
                assert_eq!(entry.remove()?.get()?, "short");
            }
            art::Found::Vacant(_) => panic!("it is there"),
        }
        assert_eq!((words.len(), words.get("ab")?), (1, None));
        let mut counts = tx.open::<PArt<u64>>("counts")?;
        *counts.entry("x").or_default()? += 1;
        counts.entry("x").and_modify(|n| *n *= 10).or_insert(7)?;
        counts.entry("y").and_modify(|n| *n *= 10).or_insert_with(|| 7)?;
        assert_eq!(format!("{counts:?}"), r#"{b"x": 10, b"y": 7}"#);
        let error = counts.entry(&"x".repeat((1 << 16) + 1)).or_insert(1).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error}");
        words.check()?;
        counts.check().map(drop)
    })?;
    assert!(pool.check()?.is_ok());
    Ok(())
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(Vec<u8>, u8),
    Remove(Vec<u8>),
    RemovePrefix(Vec<u8>),
    PopFirst(u8),
    Clear,
}
use Operation::*;

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0..4u8, 0..6),
        prop::collection::vec(any::<u8>(), 0..3),
        (0..3u8, 0..40usize, prop::collection::vec(0..3u8, 0..3)).prop_map(|(byte, n, mut key)| {
            key.splice(0..0, vec![byte; n]);
            key
        }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (any_key(), any::<u8>()).prop_map(|(key, value)| Insert(key, value)),
        5 => any_key().prop_map(Remove),
        1 => any_key().prop_map(RemovePrefix),
        1 => (0..5u8).prop_map(PopFirst),
        1 => Just(Clear),
    ]
}

fn apply(art: &mut Mut<PArt<u8>>, model: &mut Model<u8>, operation: &Operation) -> Result<()> {
    match operation {
        Insert(key, value) => {
            let old = art.insert(key, value)?.map(|old| old.to_owned()).transpose()?;
            assert_eq!(old, model.insert(key.clone(), *value));
        }
        Remove(key) => {
            let old = art.remove(key)?.map(|old| old.to_owned()).transpose()?;
            assert_eq!(old, model.remove(key));
        }
        RemovePrefix(prefix) => {
            let before = model.len();
            model.retain(|key, _| !key.starts_with(prefix));
            assert_eq!(art.remove_prefix(prefix)?, before - model.len());
        }
        PopFirst(n) => {
            for _ in 0..*n {
                let found = art.pop_first()?.map(|(key, old)| (key, old.to_owned().unwrap()));
                assert_eq!(found, model.pop_first());
            }
        }
        Clear => {
            art.clear()?;
            model.clear();
        }
    }
    art.check().map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..40), any::<bool>()), 1..6),
        low in any_key(),
        high in any_key(),
    ) {
        let pool = Pool::anonymous(1 << 20).unwrap();
        let mut committed = Model::new();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut art = tx.open::<PArt<u8>>("art").unwrap();
            let mut model = committed.clone();
            for operation in &operations {
                apply(&mut art, &mut model, operation).unwrap();
            }
            assert_same(&art, &model).unwrap();
            let inside = art.range(&low..&high).map(|entry| entry.unwrap().0.to_vec());
            prop_assert!(inside.eq(model.keys().filter(|key| low <= **key && **key < high).cloned()));
            let longest = model.keys().rev().find(|key| low.starts_with(key)).map(|key| &key[..]);
            prop_assert_eq!(art.longest_prefix(&low).unwrap().map(|(key, _)| key), longest);
            if commit {
                tx.commit().unwrap();
                committed = model;
            }
        }
    }
}
