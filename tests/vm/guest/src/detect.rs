//! What `pmem-map` finds out about each medium of the guest.

use crate::{Result, check, place};
use pmem_map::{Durability, Error, Filesystem, Granularity, MapOptions, Mapping, Medium};
use std::{fs, path::Path};

const LEN: u64 = 8 << 20;

pub(crate) fn run() -> Result<()> {
    let (granularity, durability) = place::promised();
    let file = place::dax_file("detect")?;
    let mut mapping = place::map(&file, LEN)?;
    let on_dax = |medium| matches!(medium, Medium::DaxFile(Filesystem::Ext4 | Filesystem::Xfs));
    expect(&mapping, on_dax, granularity, durability)?;
    flushes_as_it_says(&mut mapping)?;
    drop(mapping);

    let device = place::dax_device()?;
    let mut mapping = place::map(&device, LEN)?;
    expect(&mapping, |medium| medium == Medium::DaxDevice, granularity, durability)?;
    flushes_as_it_says(&mut mapping)?;
    huge_pages(&mut mapping)?;
    drop(mapping);

    let on_ext4 = |medium| medium == Medium::File(Filesystem::Ext4);
    let disk = Path::new(place::DISK).join("detect");
    expect(&place::map(&disk, LEN)?, on_ext4, Granularity::Page, Durability::Power)?;
    fs::remove_file(disk)?;
    let in_memory = |medium| medium == Medium::File(Filesystem::Tmpfs);
    expect(
        &place::map(Path::new("/tmp/detect"), 1 << 20)?,
        in_memory,
        Granularity::CacheLine,
        Durability::Process,
    )?;

    // SAFETY: it is not mapped.
    let refused = unsafe { MapOptions::new().open("/dev/pmem0") };
    check(matches!(refused, Err(Error::Io { .. })), || format!("/dev/pmem0 is mapped as {refused:?}"))?;
    println!("ok detect   /dev/pmem0, a block device that is mounted: refused");
    fs::remove_file(file)?;
    Ok(())
}

pub(crate) fn expect(
    mapping: &Mapping,
    is_medium: impl Fn(Medium) -> bool,
    granularity: Granularity,
    durability: Durability,
) -> Result<()> {
    let found = (mapping.granularity(), mapping.durability());
    check(is_medium(mapping.medium()) && found == (granularity, durability), || {
        format!("{} has {found:?}, and should have {:?}", mapping.medium(), (granularity, durability))
    })?;
    println!("ok detect   {}: {granularity:?}, {durability:?}", mapping.medium());
    Ok(())
}

/// A store is made durable by what the granularity asks for: a flush where there are lines to flush, never `msync`.
fn flushes_as_it_says(mapping: &mut Mapping) -> Result<()> {
    let before = mapping.counters();
    mapping.write(4096, &[7; 640])?;
    mapping.persist(4096..4736)?;
    let after = mapping.counters();
    let lines = if mapping.granularity() == Granularity::Byte { 0 } else { 10 };
    check(after.lines_flushed - before.lines_flushed == lines && after.drains - before.drains == 1, || {
        format!("640 bytes took {before:?} to {after:?}; {lines} flushed lines and a drain were expected")
    })
}

/// The device is mapped in pages of 2 MiB: that many bytes are touched with a fault or so.
fn huge_pages(mapping: &mut Mapping) -> Result<()> {
    let before = faults()?;
    let bytes = mapping.len().min(32 << 20);
    for at in (0..bytes).step_by(4096) {
        mapping.write(at, &[1])?;
    }
    let taken = faults()? - before;
    check(taken <= 2 * bytes / (2 << 20), || format!("{taken} faults for {bytes} bytes of a DAX device"))?;
    println!("ok detect   DAX device: {taken} faults for {} MiB, mapped by 2 MiB", bytes >> 20);
    Ok(())
}

/// Page faults of this process so far, those that read a disk apart.
fn faults() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(") ").ok_or("/proc/self/stat has another form")?.1;
    Ok(after_name.split(' ').nth(7).ok_or("/proc/self/stat is short")?.parse()?)
}
