//! A mapped file and a journal: no pool, no allocator, and updates that are all or nothing.

use bytemuck::{Pod, Zeroable};
use pmem_map::Mapping;
use pmem_tx::{Journal, Result};
use std::{error::Error, ops::Range, path::Path};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Queue {
    head: u64,
    tail: u64,
    slots: [u64; 6],
}

const LOG: Range<u64> = 0..64 << 10;
/// The program decides what is where; only the log's bytes are taken.
const QUEUE: u64 = LOG.end;

fn open(path: &Path) -> Result<Journal> {
    // SAFETY: nobody else writes or truncates this file; other mappings are kept out by a lock.
    let mapping = unsafe { Mapping::open(path, 1 << 20) }?;
    Journal::open_or_create(mapping, LOG) // takes the mapping: from here on all stores go through it
}

fn push(journal: &Journal, value: u64) -> Result<()> {
    journal.write(|tx| {
        tx.update(QUEUE, |queue: &mut Queue| {
            queue.slots[(queue.tail % 6) as usize] = value;
            queue.tail += 1;
        })
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("queue.dat");

    let journal = open(&path)?;
    println!(
        "on {}: granularity {:?}, durability {:?}",
        journal.region().medium(),
        journal.region().granularity(),
        journal.region().durability()
    );
    push(&journal, 42)?;
    journal.begin()?.write(QUEUE, &99u64)?; // dropped without a commit: rolled back
    println!("{:?}", journal.region().counters());
    drop(journal);

    let journal = open(&path)?;
    let tx = journal.begin()?;
    let queue = tx.read::<Queue>(QUEUE)?;
    println!("head {}, tail {}, slots {:?}", queue.head, queue.tail, queue.slots);
    assert_eq!((queue.head, queue.tail, queue.slots[0]), (0, 1, 42));
    Ok(())
}
