//! One operation after the other, by one thread: CPU time, lines and drains, beside system calls and the goals.

use crate::Scale;
use benches::{
    cpu_time, place,
    rounds::median,
    systems::{Calls, Name, System, Volume, disk, volume},
};
use pmem_map::{Counters, Region};
use std::hint::black_box;

/// Bytes of the file that is read and written.
const DATA: u64 = 16 << 20;
const BLOCK: usize = 4096;

/// An operation's times, by round, and what it flushed.
#[derive(Clone, Default)]
struct Figures {
    nanoseconds: Vec<f64>,
    lines: f64,
    drains: f64,
}

/// Operations in the order in which a round does them.
const OPERATIONS: [&str; 14] = [
    "create",
    "stat by name",
    "readdir, per name",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
    "append 1 KiB",
    "append 4 KiB",
    "overwrite 64 B",
    "overwrite 1 KiB",
    "overwrite 2 KiB",
    "overwrite 4 KiB",
    "read 4 KiB",
];

/// What the goals are: microseconds, or times a copy.
enum Goal {
    Microseconds(f64),
    StoreNontemporal(f64),
    Memcpy(f64),
}

fn goal(operation: &str) -> Option<Goal> {
    Some(match operation {
        "create" | "unlink" => Goal::Microseconds(0.7),
        "rename" => Goal::Microseconds(0.9),
        "append 1 KiB" => Goal::Microseconds(0.4),
        "overwrite 4 KiB" => Goal::StoreNontemporal(1.4),
        "read 4 KiB" => Goal::Memcpy(1.2),
        _ => return None,
    })
}

/// Times operations of one filesystem.
struct Timed<'s> {
    system: &'s dyn System,
    figures: Vec<Figures>,
    next: usize,
}

impl Timed<'_> {
    fn operations(&mut self, count: usize, work: impl FnOnce(&dyn System)) {
        let before = self.system.counters();
        let time = cpu_time::of(|| work(self.system));
        let figures = &mut self.figures[self.next];
        self.next = (self.next + 1) % OPERATIONS.len();
        figures.nanoseconds.push(time as f64 / count as f64);
        if let (Some(before), Some(after)) = (before, self.system.counters()) {
            let spent: Counters = after - before;
            figures.lines = spent.lines() as f64 / count as f64;
            figures.drains = spent.drains as f64 / count as f64;
        }
    }

    /// All operations, and whether they did what they say.
    fn round(&mut self, names: &[(Name, Name)], random: &mut fastrand::Rng) {
        let count = names.len();
        self.operations(count, |system| names.iter().for_each(|(name, _)| system.create(name)));
        self.operations(count, |system| {
            assert!(names.iter().all(|(name, _)| system.stat(name) == 0));
        });
        self.operations(count, |system| assert_eq!(system.readdir(), count));
        self.operations(count, |system| names.iter().for_each(|(name, new)| system.rename(name, new)));
        assert_eq!(self.system.readdir(), count);
        self.operations(count, |system| names.iter().for_each(|(_, new)| system.unlink(new)));
        self.operations(count, |system| names.iter().for_each(|(name, _)| system.mkdir(name)));
        assert_eq!(self.system.readdir(), count);
        self.operations(count, |system| names.iter().for_each(|(name, _)| system.rmdir(name)));
        assert_eq!(self.system.readdir(), 0);
        let bytes = [random.u8(1..); BLOCK];
        for len in [1024, BLOCK] {
            self.operations(count, |system| (0..count).for_each(|_| system.append(&bytes[..len])));
            assert_eq!(self.system.appended(), (count * len) as u64);
            self.system.empty();
        }
        let blocks: Vec<u64> = (0..count).map(|_| random.u64(..DATA / BLOCK as u64) * BLOCK as u64).collect();
        for len in [64, 1024, 2048] {
            self.operations(count, |system| {
                blocks.iter().for_each(|at| system.write(at + 64, &bytes[..len]))
            });
        }
        self.operations(count, |system| blocks.iter().for_each(|at| system.write(*at, &bytes)));
        let mut into = [0; BLOCK];
        self.operations(count, |system| {
            blocks.iter().for_each(|at| {
                system.read(*at, &mut into);
                assert_eq!(into[BLOCK - 1], bytes[0]);
            });
        });
    }
}

/// 4 KiB to and from a random block: the least that a write and a read can cost.
struct Copies {
    region: Region,
    store: Vec<f64>,
    load: Vec<f64>,
}

impl Copies {
    fn round(&mut self, count: usize, random: &mut fastrand::Rng) {
        let blocks: Vec<u64> = (0..count).map(|_| random.u64(..DATA / BLOCK as u64) * BLOCK as u64).collect();
        let mut bytes = [random.u8(1..); BLOCK];
        let store = cpu_time::of(|| {
            for at in &blocks {
                // SAFETY: in bounds, in a region that only this thread knows, and to which there is no reference.
                unsafe { self.region.store_nontemporal(*at, &bytes) };
                self.region.drain().expect("no page is written back here");
            }
        });
        let load = cpu_time::of(|| {
            for at in &blocks {
                // SAFETY: as above.
                unsafe { self.region.load(*at, &mut bytes) };
                assert_ne!(black_box(&bytes)[BLOCK - 1], 0);
            }
        });
        self.store.push(store as f64 / count as f64);
        self.load.push(load as f64 / count as f64);
    }
}

fn ratio(own: &[f64], other: &[f64]) -> f64 {
    median(own.iter().zip(other).map(|(own, other)| own / other).collect())
}

pub(crate) fn run(scale: Scale) {
    let names: Vec<(Name, Name)> = (0..scale.operations)
        .map(|n| (Name::new(format!("file-{n:06}")), Name::new(format!("other-{n:06}"))))
        .collect();
    let nova = volume(place::mapping(256 << 20).expect("memory"));
    let volume = Volume::new(&nova, "names", DATA);
    let (tmpfs, on_disk) = (Calls::new(&place::folder(), DATA), Calls::new(&disk(), DATA));
    let systems: [&dyn System; 3] = [&volume, &tmpfs, &on_disk];
    let figures = vec![Figures::default(); OPERATIONS.len()];
    let mut timed = systems.map(|system| Timed { system, figures: figures.clone(), next: 0 });
    let region = place::mapping(DATA).expect("memory").into_region();
    let mut copies = Copies { region, store: Vec::new(), load: Vec::new() };
    let mut random = fastrand::Rng::with_seed(1);
    // The first round fills caches, indexes and the allocator, and does not count.
    for round in 0..=scale.rounds {
        copies.round(names.len(), &mut random);
        // The disk only now and then: where names come and go, ext4 takes 0.2 ms to find an inode that was not freed just now.
        let systems = if round % 3 == 0 { 3 } else { 2 };
        timed[..systems].iter_mut().for_each(|timed| timed.round(&names, &mut random));
        if round == 0 && scale.rounds > 1 {
            (copies.store, copies.load) = (Vec::new(), Vec::new());
            timed.iter_mut().for_each(|timed| timed.figures = figures.clone());
        }
    }
    println!("\nCPU us for one operation, median of {} rounds of {}", scale.rounds, scale.operations);
    println!(
        "| | lines / drains | nova-core | tmpfs | the disk's filesystem | goal | |\n|---|---|---|---|---|---|---|"
    );
    for (index, operation) in OPERATIONS.iter().enumerate() {
        let of = |timed: &Timed<'_>| median(timed.figures[index].nanoseconds.clone()) / 1000.0;
        let own = &timed[0].figures[index];
        let [nova, tmpfs, disk] = [of(&timed[0]), of(&timed[1]), of(&timed[2])];
        let (goal, met) = match goal(operation) {
            None => (String::new(), String::new()),
            Some(Goal::Microseconds(most)) => (format!("{most:.1}"), says(nova, most)),
            Some(Goal::StoreNontemporal(most)) => {
                let times = ratio(&own.nanoseconds, &copies.store);
                (format!("{most:.1}x past the caches"), format!("{} ({times:.2}x)", says(times, most)))
            }
            Some(Goal::Memcpy(most)) => {
                let times = ratio(&own.nanoseconds, &copies.load);
                (format!("{most:.1}x memcpy"), format!("{} ({times:.2}x)", says(times, most)))
            }
        };
        let (lines, drains) = (own.lines, own.drains);
        println!(
            "| {operation} | {lines:.2} / {drains:.2} | {nova:.3} | {tmpfs:.2} | {disk:.2} | {goal} | {met} |"
        );
    }
    let (store, load) = (median(copies.store) / 1000.0, median(copies.load) / 1000.0);
    println!("4 KiB past the caches and drained: {store:.3}; memcpy of 4 KiB: {load:.3}");
    println!("(System calls: nothing of them is durable. The disk's are of every third round.)");
}

fn says(value: f64, most: f64) -> String {
    if value <= most { "met".into() } else { "**not met**".into() }
}
