//! What a system call waits for: through the mount, by ext4 and tmpfs, and the same operation in this process.
//!
//! By the wall clock, for that is what a caller waits. The server is a process of its own, kept on the same CPU as this one: on two CPUs
//! each request would measure how long the machine takes to wake the other one, about 0.1 ms on a virtual machine.

use crate::Scale;
use benches::{
    cpu_time,
    latency::Latency,
    place,
    rounds::median,
    systems::{Calls, Name, System, Volume, disk, volume},
};
use nova_core::{FormatOptions, MountOptions};
use nova_fuse::{Options, Server};
use pmem_collections::{Named, PBTreeMap, Pool, PoolOptions};
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
    match &mount {
        Ok(mount) => leased(mount, scale, names.len()),
        Err(why) => println!("\nPools on the mount: not run. {why}"),
    }
}

const ENTRIES: Named<PBTreeMap<u64, u64>> = Named::new("entries");

/// What is done with a pool, to one key.
type Operation<'a> = &'a dyn Fn(&Pool, u64);

/// A pool in a file of the mount, which this process has mapped in the volume's image, beside one in a file of the image's own filesystem.
fn leased(mount: &Mount, scale: Scale, count: usize) {
    let folder = tempfile::tempdir_in(place::folder()).expect("a folder");
    let pool = |folder: &Path| {
        // SAFETY: a new file, which only this process opens.
        unsafe { PoolOptions::new().size(64 << 20).create(folder.join("bench.pool")) }.expect("a pool")
    };
    let pools = [("a plain file", pool(folder.path())), ("a file of the mount", pool(&mount.path()))];
    println!("\nA pool in a file, wall-clock us, p50 of {} x {count}, in turns", scale.rounds);
    for (what, pool) in &pools {
        let region = pool.region();
        println!("{what}: on {}, durable by {:?}", region.medium(), region.granularity());
    }
    println!("| | {} | {} | ratio, median of rounds |\n|---|---|---|---|", pools[0].0, pools[1].0);
    let insert = |pool: &Pool, key: u64| {
        pool.write(|tx| tx.open(ENTRIES)?.insert(key, !key).map(drop)).expect("inserted");
    };
    let get = |pool: &Pool, key: u64| {
        let tx = pool.read().expect("a reader");
        assert_eq!(tx.open(ENTRIES).expect("a map").get(key).expect("read"), Some(&!key));
    };
    let operations: [(&str, Operation<'_>); 2] =
        [("insert, one transaction", &insert), ("get, one transaction", &get)];
    for (what, operation) in operations {
        let mut medians = [Vec::new(), Vec::new()];
        let mut random = fastrand::Rng::with_seed(2);
        for round in 0..=scale.rounds {
            let keys: Vec<u64> = (0..count).map(|_| random.u64(..)).collect();
            for (medians, (_, pool)) in medians.iter_mut().zip(&pools) {
                let times = Latency::of(count as u64, |n| operation(pool, keys[n as usize]));
                // The first round warms up, unless it is the only one that counts.
                if round > 0 || scale.rounds == 1 {
                    medians.push(times.quantile(0.5) as f64 / 1000.0);
                }
            }
        }
        let ratio =
            median(medians[1].iter().zip(&medians[0]).map(|(leased, plain)| leased / plain).collect());
        let [plain, leased] = medians.map(median);
        println!("| {what} | {plain:.3} | {leased:.3} | {ratio:.3} |");
    }
}
