//! The pools that are damaged: one that was closed, and two that the power failure left with records to replay.

use crate::Table;
use fastrand::Rng;
use pmem_collections::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of the pool.
pub(crate) const POOL: u64 = 512 << 10;
/// Commits between the last checkpoint and the power failure.
const COMMITS: usize = 6;

/// What a map holds: numbers, whatever its keys and values are made of.
pub(crate) type Content = BTreeMap<u64, u64>;

/// A kind of map: keys and values that come from numbers, and tell them.
pub(crate) trait Kind {
    type Key: OrdKey + EncodeAs<Self::Key>;
    type Value: Value + EncodeAs<Self::Value>;
    const NAMES: [&'static str; 3];
    fn key(n: u64) -> Self::Key;
    fn value(n: u64) -> Self::Value;
    /// The number of a key; of what is none, another number.
    fn key_number(key: <Self::Key as Value>::Ref<'_>) -> u64;
    fn value_number(value: <Self::Value as Value>::Ref<'_>) -> u64;
}

pub(crate) type Map<T> = PBTreeMap<<T as Kind>::Key, <T as Kind>::Value>;

/// `u64` to `u64`.
pub(crate) struct Numbers;

impl Kind for Numbers {
    type Key = u64;
    type Value = u64;
    const NAMES: [&'static str; 3] = ["closed", "crashed, applied", "crashed, not applied"];
    fn key(n: u64) -> u64 {
        n
    }
    fn value(n: u64) -> u64 {
        n
    }
    fn key_number(key: &u64) -> u64 {
        *key
    }
    fn value_number(value: &u64) -> u64 {
        *value
    }
}

/// Strings, some of them longer than a slot, to values of serde.
pub(crate) struct Strings;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    number: u64,
    tags: Vec<String>,
}
impl Schema for Item {
    const NAME: &'static str = "corruption.Item";
}

impl Kind for Strings {
    type Key = String;
    type Value = Serde<Item>;
    const NAMES: [&'static str; 3] =
        ["strings, closed", "strings, crashed, applied", "strings, crashed, not applied"];
    fn key(n: u64) -> String {
        match n % 3 {
            0 => format!("{n:016x}"),
            1 => format!("the same beginning of many keys/{n:016x}"),
            _ => format!("{}/{n:016x}", "x".repeat((n >> 8) as usize % 40)),
        }
    }
    fn value(n: u64) -> Serde<Item> {
        Serde(Item { number: n, tags: vec!["tag".repeat((n >> 16) as usize % 8); (n >> 24) as usize % 4] })
    }
    fn key_number(key: &str) -> u64 {
        let digits = key.len().checked_sub(16).and_then(|at| key.get(at..));
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.filter(|n| Self::key(*n) == key).unwrap_or(xxh3_64(key.as_bytes()))
    }
    fn value_number(value: Item) -> u64 {
        if Self::value(value.number).0 == value { value.number } else { !value.number }
    }
}

/// A pool's bytes, and what its map may be found to hold.
pub(crate) struct Image {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// After each commit that may not be in place, the newest first; the first is what an undamaged pool holds.
    pub(crate) states: Vec<Content>,
    /// Whether what the newest records hold is in place already, as far as it can be.
    pub(crate) applied: bool,
}

/// The pools with a map of a kind.
pub(crate) fn images<T: Kind>() -> [Image; 3] {
    let mut random = Rng::with_seed(1);
    let mapping = Mapping::anonymous(POOL).unwrap();
    let pool = PoolOptions::new().layout("corruption").identity(0x5eed).create_on(mapping).unwrap();
    let mut content = Content::new();
    pool.write(|tx| {
        tx.open::<Map<T>>("map")?;
        tx.open::<Table>("table")?;
        tx.open::<PCell<u64>>("cell")?.set(7) // the newer entry: the map's is found by way of it
    })
    .unwrap();
    while pool.stats().unwrap().used * 3 < pool.stats().unwrap().capacity * 2 {
        pool.write(|tx| {
            let (mut map, mut table) = (tx.open::<Map<T>>("map")?, tx.open::<Table>("table")?);
            for _ in 0..50 {
                let (key, value) = (random.u64(..), random.u64(..));
                map.insert(T::key(key), T::value(value))?;
                if is_in_table(key) {
                    table.insert(key, value)?;
                }
                content.insert(key, value);
            }
            Ok(())
        })
        .unwrap();
    }
    let height = pool.read().unwrap().open::<Map<T>>("map").unwrap().check().unwrap().height;
    assert!(height >= 3, "a tree of {height} levels");
    pool.checkpoint().unwrap();
    let closed =
        Image { name: T::NAMES[0], bytes: bytes(&pool), states: vec![content.clone()], applied: true };

    let (mut snapshots, mut states) = (vec![closed.bytes.clone()], vec![content.clone()]);
    for _ in 0..COMMITS {
        pool.write(|tx| change::<T>(tx, &mut content, &mut random)).unwrap();
        snapshots.push(bytes(&pool));
        states.insert(0, content.clone());
    }
    let newest = snapshots[COMMITS].clone();
    let applied = Image { name: T::NAMES[1], bytes: newest, states: states.clone(), applied: true };
    // The records of the newest two commits are there, and nothing of these is in place.
    let mut bytes = snapshots[COMMITS - 2].clone();
    let [log_start, log_len] = [80, 88].map(|at| crate::anatomy::word(&bytes, at) as usize);
    let log = log_start..log_start + log_len;
    bytes[log.clone()].copy_from_slice(&applied.bytes[log]);
    let lost = Image { name: T::NAMES[2], bytes, states, applied: false };
    [closed, applied, lost]
}

/// Whether an entry of the map is in the table too: some, so that a case stays quick.
pub(crate) fn is_in_table(key: u64) -> bool {
    key % 8 == 0
}

/// Two values overwritten, an entry removed, three inserted: in both.
pub(crate) fn change<T: Kind>(tx: &WriteTx<'_>, content: &mut Content, random: &mut Rng) -> Result<()> {
    let (mut map, mut table) = (tx.open::<Map<T>>("map")?, tx.open::<Table>("table")?);
    let mut any = |content: &Content| {
        let from = random.u64(..);
        content.range(from..).next().or(content.iter().next()).map_or(from, |(key, _)| *key)
    };
    let keys = [any(content), any(content), any(content)];
    for key in &keys[..2] {
        map.insert(T::key(*key), T::value(!*key))?;
        if is_in_table(*key) {
            table.insert(*key, !*key)?;
        }
        content.insert(*key, !*key);
    }
    map.remove(T::key(keys[2]))?;
    table.remove(keys[2])?;
    content.remove(&keys[2]);
    for _ in 0..3 {
        let key = random.u64(..);
        map.insert(T::key(key), T::value(1))?;
        if is_in_table(key) {
            table.insert(key, 1)?;
        }
        content.insert(key, 1);
    }
    Ok(())
}

/// What a power failure leaves if every store had arrived.
fn bytes(pool: &Pool) -> Vec<u8> {
    let mut bytes = vec![0; POOL as usize];
    // SAFETY: this thread is the only one that has the pool, and no transaction is open.
    unsafe { pool.region().load(0, &mut bytes) };
    bytes
}
