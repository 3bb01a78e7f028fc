//! All that can be measured.
//!
//! [`records`] are objects of 64 bytes at random places; [`keys`] chooses keys, [`store`] is what maps and peers have in common,
//! [`stores`] are the maps, [`by_hand`] the hand-written one, [`streams`] logs and queues, [`files`] volumes and filesystems, [`paged`] hand-written code over a file that
//! needs `msync`, [`peer`] other stores, in processes of their own.

pub mod by_hand;
pub mod files;
pub mod keys;
pub mod paged;
pub mod peer;
pub mod records;
pub mod store;
pub mod stores;
pub mod streams;

use super::Outcome;
use crate::place;
use pmem_map::Mapping;
use std::path::PathBuf;

/// Where the bytes of a panel are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In `BENCH_DIR` or `/dev/shm`: lines are flushed one by one.
    Memory,
    /// A folder on a disk: pages are written back by `msync`.
    Disk(PathBuf),
}

impl Place {
    /// A mapping of a file that goes away with it.
    pub fn mapping(&self, len: u64) -> Outcome<Mapping> {
        match self {
            Place::Memory => place::mapping(len).map_err(|error| error.to_string().into()),
            Place::Disk(folder) => place::disk_mapping(folder, len),
        }
    }

    /// A folder there.
    pub fn folder(&self) -> PathBuf {
        match self {
            Place::Memory => place::folder(),
            Place::Disk(folder) => folder.clone(),
        }
    }
}
