//! What a system call waits for: through the mount, by ext4 and tmpfs, and the same operation in this process.
//!
//! By the wall clock, for that is what a caller waits. The server is a process of its own, kept on the same CPU as this one: on two CPUs
//! each request would measure how long the machine takes to wake the other one, about 0.1 ms on a virtual machine.

use crate::Scale;
use benches::{
    cpu_time,
    latency::Latency,
    place,
    systems::{Calls, Name, System, Volume, disk, volume},
};
use nova_core::{FormatOptions, MountOptions};
use nova_fuse::{Options, Server};
use pmem_map::MapOptions;
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Names the folder in which this program, started again, serves a volume.
const SERVE: &str = "NOVA_BENCH_SERVES";

/// Bytes of the file that is read and written.
const DATA: u64 = 16 << 20;
const BLOCK: usize = 4096;

const OPERATIONS: [&str; 5] = ["read 4 KiB", "write 4 KiB", "create", "stat", "unlink"];

/// Whether this process was started to serve; then it has, until nobody wanted it any more.
pub(crate) fn served() -> bool {
    let Some(folder) = env::var_os(SERVE).map(PathBuf::from) else { return false };
    cpu_time::pin();
    let options = MapOptions::new().len(256 << 20).create(true).emulate_pmem(true);
    // SAFETY: a new file in a folder that is this benchmark's alone.
    let mapping = unsafe { options.open(folder.join("image")) }.expect("memory");
    let nova = FormatOptions::new().format(mapping, MountOptions::new()).expect("a volume");
    match Server::mount(nova, folder.join("mount"), &Options::new()) {
        Ok(server) => {
            println!("serving");
            let _ = std::io::stdin().read(&mut [0]);
            server.unmount().expect("unmounted").unmount().expect("closed");
        }
        Err(error) => println!("{error}"),
    }
    true
}

/// A process that serves a new volume, and its mount.
struct Mount {
    folder: TempDir,
    server: Child,
}

impl Mount {
    fn new(place: &Path) -> Result<Mount, String> {
        let folder = tempfile::Builder::new().prefix("nova-bench-").tempdir_in(place).expect("a folder");
        std::fs::create_dir(folder.path().join("mount")).expect("a folder");
        let mut server = Command::new(env::current_exe().expect("this program"))
            .env(SERVE, folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut said = String::new();
        let _ = BufReader::new(server.stdout.take().expect("piped")).read_line(&mut said);
        let mount = Mount { folder, server };
        if said.trim() == "serving" { Ok(mount) } else { Err(said.trim().to_owned()) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // The end of its input ends it.
        let _ = self.server.stdin.take().map(|mut input| input.write_all(b"\n"));
        let _ = self.server.wait();
    }
}

/// A system's times, by operation.
struct Timed<'s> {
    what: &'static str,
    system: &'s dyn System,
    times: Vec<Latency>,
}

impl<'s> Timed<'s> {
    fn new(what: &'static str, system: &'s dyn System) -> Timed<'s> {
        Timed { what, system, times: OPERATIONS.map(|_| Latency::empty()).into() }
    }

    /// So many of each operation, in turn, each of which has to have done what it says.
    fn round(&mut self, names: &[Name], random: &mut fastrand::Rng) {
        let (system, count) = (self.system, names.len() as u64);
        let blocks: Vec<u64> =
            names.iter().map(|_| random.u64(..DATA / BLOCK as u64) * BLOCK as u64).collect();
        let bytes = [random.u8(1..); BLOCK];
        let mut into = [0; BLOCK];
        let writes = Latency::of(count, |n| system.write(blocks[n as usize], &bytes));
        let reads = Latency::of(count, |n| {
            system.read(blocks[n as usize], &mut into);
            assert_eq!(into[BLOCK - 1], bytes[0]);
        });
        let creates = Latency::of(count, |n| system.create(&names[n as usize]));
        let stats = Latency::of(count, |n| assert_eq!(system.stat(&names[n as usize]), 0));
        assert_eq!(system.readdir(), names.len());
        let unlinks = Latency::of(count, |n| system.unlink(&names[n as usize]));
        assert_eq!(system.readdir(), 0);
        for (times, new) in self.times.iter_mut().zip([reads, writes, creates, stats, unlinks]) {
            times.add(&new);
        }
    }
}

pub(crate) fn run(scale: Scale) {
    let names: Vec<Name> = (0..scale.operations / 4).map(|n| Name::new(format!("file-{n:06}"))).collect();
    let nova = volume(place::mapping(256 << 20).expect("memory"));
    let own = Volume::new(&nova, "names", DATA);
    let (tmpfs, on_disk) = (Calls::new(&place::folder(), DATA), Calls::new(&disk(), DATA));
    let mount = Mount::new(&place::folder());
    let through = mount.as_ref().map(|mount| Calls::new(&mount.path(), DATA));
    let mut timed = vec![Timed::new("nova-core in this process", &own)];
    match &through {
        Ok(through) => timed.push(Timed::new("through the mount", through)),
        Err(why) => println!("\nThrough the mount: not run. {why}"),
    }
    timed.push(Timed::new("tmpfs", &tmpfs));
    timed.push(Timed::new("the disk's filesystem", &on_disk));
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..=scale.rounds {
        timed.iter_mut().for_each(|timed| timed.round(&names, &mut random));
        // The first round fills caches and indexes.
        if round == 0 && scale.rounds > 1 {
            timed.iter_mut().for_each(|timed| timed.times = OPERATIONS.map(|_| Latency::empty()).into());
        }
    }
    println!("\nWall-clock us of one operation, p50 / p99 of {} x {}", scale.rounds, names.len());
    let line = |cells: Vec<String>| println!("| {} |", cells.join(" | "));
    line([String::new()].into_iter().chain(timed.iter().map(|timed| timed.what.to_owned())).collect());
    println!("|---{}|", "|---".repeat(timed.len()));
    for (index, operation) in OPERATIONS.iter().enumerate() {
        let us = |share: f64, timed: &Timed<'_>| timed.times[index].quantile(share) as f64 / 1000.0;
        let cell = |timed: &Timed<'_>| format!("{:.2} / {:.2}", us(0.5, timed), us(0.99, timed));
        line([(*operation).to_owned()].into_iter().chain(timed.iter().map(cell)).collect());
    }
    println!(
        "(Durable when it returns: in this process and through the mount. Of tmpfs and the disk nothing is.)"
    );
}
