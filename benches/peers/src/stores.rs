//! The stores, each in a file of its own, used as its own documentation recommends, and as durable as the others: see the
//! settings of each.

mod fjall;
mod heed;
#[cfg(pmdk)]
pub(crate) mod pmdk;
mod redb;
mod sled;
mod sqlite;

use crate::{Result, store::Peer};

/// All stores that this program has.
pub(crate) const ALL: &[Peer] = &[
    redb::PEER,
    heed::PEER,
    sled::PEER,
    fjall::PEER,
    sqlite::PEER,
    #[cfg(pmdk)]
    pmdk::PEER,
];

/// Workloads of stores that have ordered keys and transactions.
const EVERY: &[&str] = &[
    "record", "transfer", "insert", "get", "scan", "delete", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d",
    "ycsb-e", "ycsb-f", "log", "queue",
];

/// Stores that this program was compiled without, and why.
pub(crate) fn absent() -> Vec<(&'static str, String)> {
    let libpmemobj =
        "its headers were not there when this was compiled: install libpmemobj-dev, and compile it again";
    if cfg!(pmdk) { Vec::new() } else { vec![("libpmemobj", libpmemobj.into())] }
}

/// The store of that name.
///
/// # Errors
///
/// There is none; which there are.
pub(crate) fn named(name: &str) -> Result<&'static Peer> {
    ALL.iter().find(|peer| peer.name == name).ok_or_else(|| {
        if let Some((_, why)) = absent().into_iter().find(|(absent, _)| *absent == name) {
            return format!("{name} is not there: {why}").into();
        }
        let names: Vec<&str> = ALL.iter().map(|peer| peer.name).collect();
        format!("no store {name:?}; there are {}", names.join(", ")).into()
    })
}
