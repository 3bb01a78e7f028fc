//! Files of a volume as mappings: who may do what meanwhile, where their blocks are, what a crash leaves, and pools in them.
#![allow(missing_docs)]

mod ageing;
mod atomic;
mod atomic_crashes;
mod blocks;
mod crashes;
mod lease;
mod lent;
mod pieces;
mod pools;
mod snapshots;

use nova_core::{Cleaning, FormatOptions, MountOptions, Nova};
use pmem_map::{Extent, Granularity, MapOptions, Mapping};
use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

/// What a volume's bytes are in: for what a kill leaves of them.
struct Memory {
    file: Arc<File>,
    len: u64,
    granularity: Granularity,
}

impl Memory {
    fn new(len: u64, granularity: Granularity) -> (Memory, Mapping) {
        let mapping = MapOptions::new().len(len).granularity(granularity).memfd().unwrap();
        let file = extents(&mapping).remove(0).file;
        (Memory { file, len, granularity }, mapping)
    }

    /// The bytes as they are now, in memory of their own: as if the process had been killed.
    fn killed(&self) -> (Memory, Mapping) {
        let (memory, mut mapping) = Memory::new(self.len, self.granularity);
        self.file.read_exact_at(mapping.as_mut_slice(), 0).unwrap();
        (memory, mapping)
    }

    /// What mounting finds after a kill.
    fn mount_killed(&self) -> Nova {
        let nova = Nova::mount(self.killed().1).unwrap();
        let report = nova.mount_report();
        assert!(!report.clean && report.damage.is_empty(), "{report:?}");
        nova
    }
}

/// Nothing happens between calls: a copy of the bytes is of one moment.
fn format(mapping: Mapping) -> Nova {
    FormatOptions::new().format(mapping, MountOptions::new().cleaning(Cleaning::AtOnce)).unwrap()
}

fn volume(len: u64) -> (Memory, Nova) {
    let (memory, mapping) = Memory::new(len, Granularity::CacheLine);
    (memory, format(mapping))
}

/// Where all bytes of a mapping are.
fn extents(mapping: &Mapping) -> Vec<Extent> {
    let all = 0..mapping.len();
    mapping.extents(std::slice::from_ref(&all)).unwrap()
}

/// Bytes that tell where they are.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 251 + at * 7) as u8).collect()
}
