//! Hand-written code over a mapped file on a disk: what `msync` leaves to the programmer.

use crate::{
    compare::{
        Failure, Outcome,
        subject::{Shared, Threads},
    },
    stream::{OBJECT, Object, Stream},
};
use memmap2::MmapMut;
use pmem_map::{Counters, PAGE};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// How a record's update is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not at all.
    None,
    /// The record's page by `msync`, then the flag's.
    TwoSyncs,
    /// `pwrite` of a record with its checksum, then `fdatasync`: the least that is durable.
    WriteAndSync,
}

/// A file of records behind a page with a flag.
pub struct Paged {
    map: Mutex<MmapMut>,
    file: File,
    order: Order,
    syncs: AtomicU64,
}

/// Updates of `bytes` of records in a new file in `folder`, by one thread.
pub fn records(folder: &Path, order: Order, bytes: u64, seed: u64) -> Outcome<Threads<Paged>> {
    let file = tempfile::tempfile_in(folder)?;
    file.write_all_at(&vec![0; (PAGE + bytes) as usize], 0)?; // with blocks behind it
    file.sync_all()?;
    // SAFETY: the file has no name: nobody else writes to it or truncates it.
    let map = unsafe { MmapMut::map_mut(&file) }?;
    let paged = Paged { map: Mutex::new(map), file, order, syncs: AtomicU64::new(0) };
    Ok(Threads::new(paged, vec![Stream::new(seed, bytes / OBJECT, 1)]))
}

impl Paged {
    fn msync(&self, map: &MmapMut, at: usize, len: usize) -> Outcome<()> {
        map.flush_range(at, len)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Shared for Paged {
    type Local = Stream;

    fn run(&self, stream: &mut Stream, operations: u64) -> Outcome<()> {
        let mut map = self.map.lock().map_err(|_| Failure::from("a thread panicked in the lock"))?;
        for _ in 0..operations {
            let number = stream.begin();
            let at = (PAGE + stream.object(0) * OBJECT) as usize;
            let record: Object = [number; 8];
            let bytes = bytemuck::bytes_of(&record);
            match self.order {
                Order::WriteAndSync => {
                    self.file.write_all_at(bytes, at as u64)?;
                    self.file.sync_data()?;
                    self.syncs.fetch_add(1, Ordering::Relaxed);
                }
                order => {
                    map[at..at + bytes.len()].copy_from_slice(bytes);
                    if order == Order::TwoSyncs {
                        self.msync(&map, at, bytes.len())?;
                    }
                    map[..8].copy_from_slice(&number.to_le_bytes());
                    if order == Order::TwoSyncs {
                        self.msync(&map, 0, 8)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn counters(&self) -> Option<Counters> {
        let syncs = self.syncs.load(Ordering::Relaxed);
        Some(Counters { syncs, drains: syncs, ..Counters::default() })
    }

    fn verify(self, streams: Vec<Stream>) -> Outcome<()> {
        let map = self.map.lock().map_err(|_| Failure::from("a thread panicked in the lock"))?;
        streams.into_iter().for_each(|stream| {
            stream.verify(crate::stream::Update::Blind, |object| {
                let at = (PAGE + object * OBJECT) as usize;
                bytemuck::pod_read_unaligned(&map[at..at + OBJECT as usize])
            })
        });
        Ok(())
    }
}
