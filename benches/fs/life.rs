//! What a volume's age costs: its logs under steady overwriting, and mounting it.

use crate::Scale;
use benches::{cpu_time, place, systems::volume};
use nova_core::{MountOptions, Nova};
use pmem_map::{MapOptions, Mapping};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Overwrites blocks of one file at random, many times over: what the log takes, and what an operation costs that collects it.
pub(crate) fn collection(scale: Scale) {
    const BLOCKS: u64 = 1024;
    let nova = volume(place::mapping(64 << 20).expect("memory"));
    let file = nova.create_file("/steady").expect("a file");
    file.write_at(0, &vec![1; (BLOCKS * nova_core::BLOCK) as usize]).expect("space");
    let free = nova.statfs().free;
    let mut random = fastrand::Rng::with_seed(1);
    let (mut most, mut times) = (0, Vec::new());
    let before = nova.counters();
    let operations = scale.operations * scale.rounds * 4;
    for turn in 0..operations {
        let at = random.u64(..BLOCKS) * nova_core::BLOCK;
        let bytes = [turn as u8; nova_core::BLOCK as usize];
        times.push(cpu_time::of(|| file.write_at(at, &bytes).expect("written")));
        // What the volume has less than at the start is log, and blocks that are about to be free, which count as free.
        most = most.max(free.saturating_sub(nova.statfs().free));
    }
    let spent = nova.counters() - before;
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    let mean = times.iter().sum::<u64>() as f64 / times.len() as f64 / 1000.0;
    println!("\nSteady overwriting of {BLOCKS} blocks in no order, {operations} times");
    println!(
        "log: at most {} pages more than at the start; an entry for each block takes {}",
        most,
        BLOCKS / 63
    );
    println!(
        "CPU us, clock included: mean {mean:.2}, median {:.2}, p99 {:.2}, p99.9 {:.2}, longest {:.1}; lines {:.1}, drains {:.3}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        spent.lines() as f64 / operations as f64,
        spent.drains as f64 / operations as f64,
    );
}

fn map(path: &Path, len: u64) -> Mapping {
    // SAFETY: a file of this process's own, in a folder that nobody else knows.
    unsafe { MapOptions::new().len(len).create(true).emulate_pmem(true).open(path) }.expect("a mapping")
}

/// Mounting a volume of many files: unmounted, and as a process that was killed left it.
pub(crate) fn mounting(scale: Scale) {
    let folder = tempfile::tempdir_in(place::folder()).expect("a folder");
    let (path, copy) = (folder.path().join("volume"), folder.path().join("killed"));
    let len = (64 << 20) + scale.files as u64 * 10_240;
    let nova = volume(map(&path, len));
    for directory in 0..scale.files.div_ceil(1000) {
        nova.create_dir(format!("/{directory}")).expect("a directory");
    }
    for n in 0..scale.files {
        let file = nova.create_file(format!("/{}/file-{n}", n / 1000)).expect("a file");
        file.append(&[n as u8; 1000]).expect("space");
    }
    let used = {
        let statfs = nova.statfs();
        ((statfs.blocks - statfs.free) * nova_core::BLOCK) >> 20
    };
    // Everything is in the page cache, and nothing was unmounted: what a kill leaves.
    std::fs::copy(&path, &copy).expect("a copy");
    drop(nova.unmount().expect("unmounted"));
    println!("\nMounting {} files of 1,000 bytes, {used} MiB used", scale.files);
    let mount = |path: &Path, threads: usize| {
        let (start, cpu) = (Instant::now(), cpu_time::now());
        let nova = MountOptions::new().threads(threads).mount(map(path, len)).expect("mounted");
        let (mounted, cpu) = (start.elapsed(), cpu_time::now() - cpu);
        let name = format!("/{}/file-{}", (scale.files - 1) / 1000, scale.files - 1);
        assert_eq!(nova.metadata(name).expect("the last file").size, 1000);
        (nova, mounted, cpu)
    };
    let print = |what: &str, (nova, mounted, cpu): (Nova, Duration, u64)| {
        let report = nova.mount_report();
        assert!(report.damage.is_empty(), "{report:?}");
        println!(
            "{what}: {:.1} ms, {:.1} ms of it CPU time of the thread that mounts; {} records replayed, {} inodes scanned",
            mounted.as_secs_f64() * 1e3,
            cpu as f64 / 1e6,
            report.replayed,
            report.scanned,
        );
        assert_eq!(report.clean, what.starts_with("clean"));
    };
    print("clean", mount(&path, 1));
    let again = folder.path().join("killed-too");
    std::fs::copy(&copy, &again).expect("a copy");
    print("killed, one thread", mount(&copy, 1));
    print("killed, two threads", mount(&again, 2));
}
