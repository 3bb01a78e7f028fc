//! A volume in an ordinary file on a disk: each operation is a device flush. Beside it `pwrite` and `fdatasync`, the least that is durable there.

use crate::Scale;
use benches::{
    rounds::median,
    systems::{Name, System, Volume, disk, volume},
};
use pmem_map::{Granularity, MapOptions};
use std::{fs::File, os::unix::fs::FileExt, time::Instant};

const DATA: u64 = 4 << 20;

/// Wall-clock microseconds of each of so many operations.
fn times(count: usize, mut operation: impl FnMut(usize)) -> f64 {
    let one = |n| {
        let start = Instant::now();
        operation(n);
        start.elapsed().as_secs_f64() * 1e6
    };
    median((0..count).map(one).collect())
}

pub(crate) fn run(scale: Scale) {
    let folder = tempfile::tempdir_in(disk()).expect("a folder");
    // SAFETY: a new file in a folder that nobody else knows.
    let mapping = unsafe { MapOptions::new().len(64 << 20).create(true).open(folder.path().join("volume")) };
    let mapping = mapping.expect("a mapping");
    println!("\nA volume in a file on {}: wall-clock us, medians", mapping.medium());
    if mapping.granularity() != Granularity::Page {
        println!("this is no disk; set PMEM_TEST_DIR");
        return;
    }
    let count = if scale.rounds > 1 { 200 } else { 8 };
    let names: Vec<Name> = (0..count).map(|n| Name::new(format!("file-{n:06}"))).collect();
    let nova = volume(mapping);
    let system = Volume::new(&nova, "names", DATA);
    let file = File::create(folder.path().join("floor")).expect("a file");
    file.write_all_at(&vec![1; DATA as usize], 0).expect("space");
    file.sync_all().expect("a disk");
    let mut random = fastrand::Rng::with_seed(1);
    let mut block = || random.u64(..DATA / 4096) * 4096;
    let floor = times(count, |_| {
        file.write_all_at(&[2; 4096], block()).expect("written");
        file.sync_data().expect("durable");
    });
    println!("| | us | device flushes |\n|---|---|---|\n| pwrite of 4 KiB and fdatasync | {floor:.0} | 1 |");
    let row = |what: &str, operation: &mut dyn FnMut(usize)| {
        let before = nova.counters();
        let us = times(count, operation);
        let flushes = (nova.counters() - before).syncs as f64 / count as f64;
        println!("| {what} | {us:.0} | {flushes:.2} |");
    };
    row("create", &mut |n| system.create(&names[n]));
    row("append 1 KiB", &mut |_| system.append(&[3; 1024]));
    row("overwrite 4 KiB", &mut |_| system.write(block(), &[4; 4096]));
    row("overwrite 16 KiB", &mut |_| system.write(block().min(DATA - 16_384), &[5; 16_384]));
    row("unlink", &mut |n| system.unlink(&names[n]));
    assert_eq!(system.readdir(), 0);
    assert_eq!(system.appended(), count as u64 * 1024);
}
