//! The pools that are damaged: one that was closed, and two that the power failure left with records to replay.

use crate::{Map, Table};
use fastrand::Rng;
use pmem_collections::*;
use std::collections::BTreeMap;

/// Bytes of the pool.
pub(crate) const POOL: u64 = 512 << 10;
/// Commits between the last checkpoint and the power failure.
const COMMITS: usize = 6;

/// What a map holds.
pub(crate) type Content = BTreeMap<u64, u64>;

/// A pool's bytes, and what its map may be found to hold.
pub(crate) struct Image {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// After each commit that may not be in place, the newest first; the first is what an undamaged pool holds.
    pub(crate) states: Vec<Content>,
    /// Whether what the newest records hold is in place already, as far as it can be.
    pub(crate) applied: bool,
}

/// The pools.
pub(crate) fn images() -> [Image; 3] {
    let mut random = Rng::with_seed(1);
    let mapping = Mapping::anonymous(POOL).unwrap();
    let pool = PoolOptions::new().layout("corruption").identity(0x5eed).create_on(mapping).unwrap();
    let mut content = Content::new();
    pool.write(|tx| {
        tx.open::<Map>("map")?;
        tx.open::<Table>("table")?;
        tx.open::<PCell<u64>>("cell")?.set(7) // the newer entry: the map's is found by way of it
    })
    .unwrap();
    while pool.stats().unwrap().used * 3 < pool.stats().unwrap().capacity * 2 {
        pool.write(|tx| {
            let (mut map, mut table) = (tx.open::<Map>("map")?, tx.open::<Table>("table")?);
            for _ in 0..50 {
                let (key, value) = (random.u64(..), random.u64(..));
                map.insert(key, value)?;
                if is_in_table(key) {
                    table.insert(key, value)?;
                }
                content.insert(key, value);
            }
            Ok(())
        })
        .unwrap();
    }
    let height = pool.read().unwrap().open::<Map>("map").unwrap().check().unwrap().height;
    assert!(height >= 3, "a tree of {height} levels");
    pool.checkpoint().unwrap();
    let closed = Image { name: "closed", bytes: bytes(&pool), states: vec![content.clone()], applied: true };

    let (mut snapshots, mut states) = (vec![closed.bytes.clone()], vec![content.clone()]);
    for _ in 0..COMMITS {
        pool.write(|tx| change(tx, &mut content, &mut random)).unwrap();
        snapshots.push(bytes(&pool));
        states.insert(0, content.clone());
    }
    let newest = snapshots[COMMITS].clone();
    let applied = Image { name: "crashed, applied", bytes: newest, states: states.clone(), applied: true };
    // The records of the newest two commits are there, and nothing of these is in place.
    let mut bytes = snapshots[COMMITS - 2].clone();
    let [log_start, log_len] = [80, 88].map(|at| crate::anatomy::word(&bytes, at) as usize);
    let log = log_start..log_start + log_len;
    bytes[log.clone()].copy_from_slice(&applied.bytes[log]);
    let lost = Image { name: "crashed, not applied", bytes, states, applied: false };
    [closed, applied, lost]
}

/// Whether an entry of the map is in the table too: some, so that a case stays quick.
pub(crate) fn is_in_table(key: u64) -> bool {
    key % 8 == 0
}

/// Two values overwritten, an entry removed, three inserted: in both.
pub(crate) fn change(tx: &WriteTx<'_>, content: &mut Content, random: &mut Rng) -> Result<()> {
    let (mut map, mut table) = (tx.open::<Map>("map")?, tx.open::<Table>("table")?);
    let mut any = |content: &Content| {
        let from = random.u64(..);
        content.range(from..).next().or(content.iter().next()).map_or(from, |(key, _)| *key)
    };
    let keys = [any(content), any(content), any(content)];
    for key in &keys[..2] {
        map.insert(*key, !*key)?;
        if is_in_table(*key) {
            table.insert(*key, !*key)?;
        }
        content.insert(*key, !*key);
    }
    map.remove(keys[2])?;
    table.remove(keys[2])?;
    content.remove(&keys[2]);
    for _ in 0..3 {
        let key = random.u64(..);
        map.insert(key, 1)?;
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
