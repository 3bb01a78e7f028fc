//! A filesystem of `nova-core` on a DAX file, on a DAX device, and on a block device.

use crate::{Result, check, place};
use nova_core::Nova;
use pmem_collections::{Named, PBTreeMap, Pool, PoolOptions};
use pmem_map::{Durability, Granularity};
use std::{fs, path::Path};

const NUMBERS: Named<PBTreeMap<u64, u64>> = Named::new("numbers");
const FILES: u64 = 50;

pub(crate) fn run() -> Result<()> {
    let file = place::dax_file("volume")?;
    on(&file, place::promised())?;
    fs::remove_file(file)?;
    on(&place::dax_device()?, place::promised())
}

/// On one of them, which is to be so.
pub(crate) fn on(path: &Path, expected: (Granularity, Durability)) -> Result<()> {
    let mapping = place::map(path, 48 << 20)?;
    let medium = mapping.medium();
    let nova = Nova::format(mapping)?;
    check((nova.granularity(), nova.durability()) == expected, || {
        format!("a volume on {medium}: {:?}, {:?}", nova.granularity(), nova.durability())
    })?;
    fill(&nova, "before", 1)?;
    let pool_file = nova.create_file("/pool")?;
    pool_file.set_len(4 << 20)?;
    let pool = PoolOptions::new().create_on(pool_file.map()?)?;
    pool.write(|tx| tx.open(NUMBERS)?.insert(1, 2).map(drop))?;
    pool.close()?;
    drop(pool_file);
    nova.create_snapshot("first")?;
    fill(&nova, "before", 2)?;
    nova.unmount()?;

    place::abandoned("abandon-volume", path)?;
    let nova = Nova::mount(place::map(path, 0)?)?;
    check(!nova.mount_report().clean, || "an abandoned volume is mounted as a clean one".into())?;
    compare(&nova, "before", 2)?;
    compare(&nova, "after", 3)?;
    let snapshot = nova.mount_snapshot("first")?;
    compare(&snapshot, "before", 1)?;
    check(snapshot.read_dir("/after").is_err(), || "the snapshot has what came after it".into())?;
    drop(snapshot);
    let pool = Pool::on(nova.open("/pool")?.map()?)?;
    check(pool.read()?.open(NUMBERS)?.get(1)? == Some(&2), || {
        "the pool in the volume lost its entry".into()
    })?;
    drop(pool);
    let report = nova.fsck()?;
    check(report.is_clean(), || report.to_string())?;
    nova.unmount()?;
    println!(
        "ok volume   {medium}: {} files through an abort, a snapshot, a pool in a file; fsck: {} names, {} blocks of data",
        2 * FILES,
        report.names,
        report.data_blocks,
    );
    Ok(())
}

/// Mounts, makes as many files again, and aborts.
pub(crate) fn abandon(path: &Path) -> Result<()> {
    let nova = Nova::mount(place::map(path, 0)?)?;
    fill(&nova, "after", 3)?;
    std::process::abort()
}

fn content(n: u64, generation: u8) -> Vec<u8> {
    (0..n * 200).map(|at| (at / 64) as u8 ^ n as u8 ^ generation << 6).collect()
}

fn fill(nova: &Nova, folder: &str, generation: u8) -> Result<()> {
    nova.create_dir_all(format!("/{folder}"))?;
    for n in 0..FILES {
        nova.write_file(format!("/{folder}/{n}"), &content(n, generation))?;
    }
    Ok(())
}

fn compare(nova: &Nova, folder: &str, generation: u8) -> Result<()> {
    for n in 0..FILES {
        let path = format!("/{folder}/{n}");
        check(nova.read_file(&path)? == content(n, generation), || format!("{path} has other content"))?;
    }
    Ok(())
}
