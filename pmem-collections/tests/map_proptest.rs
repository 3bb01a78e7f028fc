//! Short sequences of operations, shrunk by proptest to the shortest that goes wrong.
#![allow(missing_docs)]

use pmem_collections::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Large values, so that a leaf has 4 slots and short sequences split and merge.
type Value = [u8; 248];

#[derive(Clone, Debug)]
enum Operation {
    Insert(u16, u8),
    Fill(u16, u8),
    Remove(u16),
    RemoveRange(u16, u8),
    PopFirst,
    PopLast,
    Retain(u8),
    Clear,
    Range(u16, u16),
}
use Operation::*;

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..200u16;
    prop_oneof![
        8 => (key.clone(), any::<u8>()).prop_map(|(k, v)| Insert(k, v)),
        4 => (key.clone(), 1..60u8).prop_map(|(k, n)| Fill(k, n)),
        6 => key.clone().prop_map(Remove),
        4 => (key.clone(), 1..60u8).prop_map(|(k, n)| RemoveRange(k, n)),
        1 => Just(PopFirst),
        1 => Just(PopLast),
        1 => (1..6u8).prop_map(Retain),
        1 => Just(Clear),
        2 => (key.clone(), key).prop_map(|(a, b)| Range(a, b)),
    ]
}

fn apply(
    map: &mut Mut<PBTreeMap<u16, Value>>,
    model: &mut BTreeMap<u16, Value>,
    operation: &Operation,
) -> Result<()> {
    match *operation {
        Insert(k, v) => {
            assert_eq!(map.insert(k, [v; 248])?.map(|o| o.to_owned().unwrap()), model.insert(k, [v; 248]))
        }
        Fill(k, n) => {
            for k in k..k + u16::from(n) {
                assert_eq!(map.insert(k, [n; 248])?.is_some(), model.insert(k, [n; 248]).is_some());
            }
        }
        Remove(k) => assert_eq!(map.remove(k)?.map(|o| o.to_owned().unwrap()), model.remove(&k)),
        RemoveRange(k, n) => {
            for k in k..k + u16::from(n) {
                assert_eq!(map.remove(k)?.is_some(), model.remove(&k).is_some());
            }
        }
        PopFirst => assert_eq!(map.pop_first()?.map(|(k, _)| k), model.pop_first().map(|(k, _)| k)),
        PopLast => assert_eq!(map.pop_last()?.map(|(k, _)| k), model.pop_last().map(|(k, _)| k)),
        Retain(n) => {
            map.retain(|k, _| k % u16::from(n) != 0)?;
            model.retain(|k, _| k % u16::from(n) != 0);
        }
        Clear => {
            map.clear()?;
            model.clear();
        }
        Range(a, b) if a <= b => {
            assert!(map.range(a..b)?.map(Result::unwrap).eq(model.range(a..b)));
            assert!(map.range(a..=b)?.rev().map(Result::unwrap).eq(model.range(a..=b).rev()));
        }
        Range(a, b) => assert_eq!(map.range(a..b)?.count(), 0),
    }
    assert_eq!(map.check()?.entries, model.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_std_does(
        transactions in prop::collection::vec((prop::collection::vec(operation(), 1..12), any::<bool>()), 1..8)
    ) {
        let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 22).unwrap()).unwrap();
        let mut committed = BTreeMap::new();
        for (operations, commit) in transactions {
            let tx = pool.begin().unwrap();
            let mut map = tx.open::<PBTreeMap<u16, Value>>("map").unwrap();
            let mut model = committed.clone();
            prop_assert_eq!(map.len(), model.len());
            for operation in &operations {
                apply(&mut map, &mut model, operation).unwrap();
            }
            prop_assert!(map.iter().map(Result::unwrap).eq(&model));
            if commit {
                tx.commit().unwrap();
                committed = model;
            }
        }
    }
}
