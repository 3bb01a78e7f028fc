//! Maps under what a pool does as a whole: check, backup, compaction, migration, removal.
#![allow(missing_docs)]

use bytemuck::{Pod, Zeroable};
use pmem_collections::*;

type Map = PBTreeMap<u64, [u64; 3]>;

/// A value that refers to a block of another object.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Named16 {
    text: Ptr<[u8; 16]>,
    id: u64,
}
impl Plain for Named16 {
    const NAME: &'static str = "whole_pool.Named16";
    const FIELDS: Option<&'static [PlainField]> = fields!(Named16 { text: Ptr<[u8; 16]>, id: u64 });
}

/// As large, of which nobody says what is in it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Secretive(u64, u64);
impl Plain for Secretive {
    const NAME: &'static str = "whole_pool.Secretive";
}

fn memory() -> Mapping {
    Mapping::anonymous(8 << 20).unwrap()
}

fn check(pool: &Pool) {
    let report = pool.check().unwrap();
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
}

fn insert(pool: &Pool, name: &str, keys: impl Iterator<Item = u64>) {
    let keys: Vec<_> = keys.collect();
    for some in keys.chunks(200) {
        pool.write(|tx| tx.open::<Map>(name)?.extend(some.iter().map(|&key| (key, [key; 3])))).unwrap();
    }
}

fn content(pool: &Pool, name: &str) -> Vec<(u64, [u64; 3])> {
    let tx = pool.read().unwrap();
    let map = tx.open::<Map>(name).unwrap();
    map.check().unwrap();
    map.iter().map(|entry| entry.map(|(key, value)| (*key, *value))).collect::<Result<_>>().unwrap()
}

#[test]
fn a_map_that_grew_and_shrank_tells_all_its_blocks_and_no_other() {
    let pool = PoolOptions::new().create_on(memory()).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    pool.write(|tx| tx.open::<PCell<u64>>("cell").map(drop)).unwrap();
    for round in 0..6 {
        insert(&pool, "map", (0..3000).map(|_| random.u64(..100_000)));
        let keys: Vec<u64> =
            content(&pool, "map").iter().map(|entry| entry.0).filter(|_| random.bool()).collect();
        for some in keys.chunks(200) {
            pool.write(|tx| {
                let mut map = tx.open::<Map>("map")?;
                some.iter().try_for_each(|key| map.remove(key).map(drop))
            })
            .unwrap();
        }
        check(&pool);
        let used: u64 = pool.check().unwrap().named.iter().map(|object| object.bytes).sum();
        let tree = pool.read().unwrap().open::<Map>("map").unwrap().check().unwrap();
        assert_eq!(used, tree.bytes + 8, "round {round}");
    }
    pool.write(|tx| tx.open::<Map>("map")?.clear()).unwrap();
    check(&pool);
}

#[test]
fn backups_and_compacted_copies_have_the_same_entries_and_take_more() {
    let pool = PoolOptions::new().create_on(memory()).unwrap();
    insert(&pool, "gone", 0..8000);
    insert(&pool, "map", (0..5000).map(|i| i * 7919 % 100_003));
    pool.write(|tx| tx.remove::<Map>("gone")).unwrap();
    check(&pool);
    let expected = content(&pool, "map");
    let backup = pool.backup_on(memory()).unwrap();
    let compact = pool.compact_on(Mapping::anonymous(2 << 20).unwrap()).unwrap();
    for copy in [&backup, &compact] {
        assert_eq!(content(copy, "map"), expected);
        check(copy);
        insert(copy, "map", 200_000..201_000);
        assert_eq!(content(copy, "map").len(), expected.len() + 1000);
        check(copy);
    }
    assert_eq!(content(&pool, "map"), expected);
}

#[test]
fn references_in_values_lead_to_the_same_things_after_a_compaction() {
    let pool = PoolOptions::new().create_on(memory()).unwrap();
    pool.write(|tx| {
        let mut texts = tx.open::<PHeap<Ptr<Ptr<[u8; 16]>>>>("texts")?;
        let index = texts.alloc_aligned(8 * 300, 8)?.cast::<[Ptr<[u8; 16]>; 300]>();
        *texts.root_mut()? = index.cast();
        let mut map = tx.open::<PBTreeMap<u64, Named16>>("map")?;
        for id in 0..300u64 {
            let hole = texts.alloc([0u8; 16])?;
            let text = texts.alloc([id as u8; 16])?;
            texts.free(hole)?;
            texts.get_mut(index)?[id as usize] = text;
            map.insert(id, Named16 { text, id })?;
        }
        Ok(())
    })
    .unwrap();
    check(&pool);
    let copy = pool.compact_on(memory()).unwrap();
    check(&copy);
    let tx = copy.read().unwrap();
    let (texts, map) = (
        tx.open::<PHeap<Ptr<Ptr<[u8; 16]>>>>("texts").unwrap(),
        tx.open::<PBTreeMap<u64, Named16>>("map").unwrap(),
    );
    for entry in &map {
        let (key, Named16 { text, id }) = entry.unwrap();
        assert_eq!((key, texts.get(*text).unwrap()), (id, &[*id as u8; 16]));
    }
    drop(tx);

    pool.write(|tx| tx.open::<PBTreeMap<u64, Secretive>>("secretive").map(drop)).unwrap();
    check(&pool); // a map owns nothing that its values may refer to
    let error = pool.compact_on(memory()).unwrap_err();
    let (error, name) = (error.to_string(), "whole_pool.Secretive");
    assert!(error.contains(name) && error.contains("\"secretive\""), "{error}");
}

#[test]
fn a_map_is_migrated_to_other_values_in_one_transaction() {
    const OLD: Named<Map> = Named::new("map");
    const NEW: Named<PBTreeMap<u64, u64>> = Named::new("map").schema(2);
    let pool = PoolOptions::new().create_on(memory()).unwrap();
    insert(&pool, "map", 0..900);
    let migrate = || {
        pool.write(|tx| {
            tx.migrate(OLD, NEW, |old, new| {
                old.iter().try_for_each(|entry| {
                    let (key, value) = entry?;
                    new.insert(*key, value.iter().sum::<u64>()).map(drop)
                })
            })
        })
    };
    assert!(migrate().unwrap());
    assert!(!migrate().unwrap());
    check(&pool);
    let tx = pool.read().unwrap();
    let map = tx.open(NEW).unwrap();
    assert_eq!((map.len(), map.get(7).unwrap()), (900, Some(&21)));
    map.check().unwrap();
}
