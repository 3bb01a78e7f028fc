//! What protection of content costs: `cargo bench -p benches --bench fs_protect`. The operations of the `fs` benchmark on five volumes: without protection, with
//! checksums, with checksums and parity, with write protection of its pages, and with replicas of metadata; what else protection does (a mapping and its end, a scrub); and what space it takes.
//! Write protection is by a key of the processor where it has keys, else by `mprotect`: what a window costs by either is told, too.
//!
//! They take turns within each round, and the ratios are medians of rounds: so a machine that is busy is so for all of them.

use benches::{
    cpu_time, place,
    rounds::median,
    systems::{Name, System, Volume},
};
use nova_core::{FormatOptions, MountOptions, Nova, ScrubOptions, WriteProtection};
use pmem_map::{ProtectionKey, Region};
use std::sync::Arc;

/// Bytes of the file that is read and written.
const DATA: u64 = 16 << 20;
const BLOCK: usize = 4096;
/// Bytes of a volume.
const LEN: u64 = 256 << 20;

/// What protects it: checksums, parity, pages that are read-only, replicas.
const KINDS: [(&str, [bool; 4]); 5] = [
    ("none", [false; 4]),
    ("checksums", [true, false, false, false]),
    ("checksums and parity", [true, true, false, false]),
    ("write protection", [false, false, true, false]),
    ("replicas", [false, false, false, true]),
];

/// Operations of a round where each takes milliseconds.
const FEW: usize = 16;

const OPERATIONS: [&str; 17] = [
    "create",
    "stat by name",
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
    "overwrite 64 KiB",
    "read 64 B",
    "read 4 KiB",
    "read 64 KiB",
    "map and unmap, per 4 KiB",
];

/// Of one operation of one volume.
#[derive(Clone, Default)]
struct Figures {
    nanoseconds: Vec<f64>,
    lines: f64,
    drains: f64,
}

struct Timed<'v> {
    volume: &'v Volume,
    nova: &'v Nova,
    figures: Vec<Figures>,
    next: usize,
}

impl Timed<'_> {
    fn operations(&mut self, count: usize, work: impl FnOnce(&Volume)) {
        let before = self.nova.counters();
        let time = cpu_time::of(|| work(self.volume));
        let spent = self.nova.counters() - before;
        let figures = &mut self.figures[self.next];
        self.next = (self.next + 1) % OPERATIONS.len();
        figures.nanoseconds.push(time as f64 / count as f64);
        (figures.lines, figures.drains) =
            (spent.lines() as f64 / count as f64, spent.drains as f64 / count as f64);
    }

    fn round(&mut self, names: &[(Name, Name)], seed: u64) {
        let (count, mut random) = (names.len(), fastrand::Rng::with_seed(seed));
        self.operations(count, |volume| names.iter().for_each(|(name, _)| volume.create(name)));
        self.operations(count, |volume| assert!(names.iter().all(|(name, _)| volume.stat(name) == 0)));
        self.operations(count, |volume| names.iter().for_each(|(name, new)| volume.rename(name, new)));
        self.operations(count, |volume| names.iter().for_each(|(_, new)| volume.unlink(new)));
        self.operations(count, |volume| names.iter().for_each(|(name, _)| volume.mkdir(name)));
        self.operations(count, |volume| names.iter().for_each(|(name, _)| volume.rmdir(name)));
        let bytes = vec![random.u8(1..); 16 * BLOCK];
        for len in [1024, BLOCK] {
            self.operations(count, |volume| (0..count).for_each(|_| volume.append(&bytes[..len])));
            assert_eq!(self.volume.appended(), (count * len) as u64);
            self.volume.empty();
        }
        let blocks: Vec<u64> =
            (0..count).map(|_| random.u64(..DATA / BLOCK as u64 - 16) * BLOCK as u64).collect();
        for len in [64, 1024, 2048] {
            self.operations(count, |volume| {
                blocks.iter().for_each(|at| volume.write(at + 64, &bytes[..len]))
            });
        }
        self.operations(count, |volume| blocks.iter().for_each(|at| volume.write(*at, &bytes[..BLOCK])));
        self.operations(count, |volume| blocks.iter().for_each(|at| volume.write(*at, &bytes)));
        let mut into = vec![0; 16 * BLOCK];
        for len in [64, BLOCK, 16 * BLOCK] {
            self.operations(count, |volume| {
                blocks.iter().for_each(|at| {
                    volume.read(*at, &mut into[..len]);
                    assert_eq!(into[len - 1], bytes[0]);
                });
            });
        }
        let file = self.nova.open("/mapped").expect("a file");
        let blocks = (file.len().expect("a length") / BLOCK as u64) as usize;
        self.operations(blocks, |_| drop(file.map().expect("mapped")));
    }
}

fn nova([checksums, parity, write_protected, replicas]: [bool; 4]) -> Nova {
    let options = FormatOptions::new().checksums(checksums).parity(parity).replicas(replicas);
    options
        .format(place::mapping(LEN).expect("memory"), MountOptions::new().write_protected(write_protected))
        .expect("a volume")
}

/// What it costs to open and close a window: by two system calls, and by a key.
fn windows(count: u32) {
    let region: Arc<Region> = Arc::new(place::mapping(LEN).expect("memory").into_region());
    let per_window = |time: u64| format!("{:.3} us", time as f64 / f64::from(count) / 1000.0);
    let store = || {
        // SAFETY: nobody else knows these bytes.
        unsafe { region.store(LEN / 2, &[1]) }
    };
    region.protect(0..LEN).expect("protected");
    let by_pages = cpu_time::of(|| {
        for _ in 0..count {
            region.unprotect(0..LEN).expect("writable");
            store();
            region.protect(0..LEN).expect("protected");
        }
    });
    region.unprotect(0..LEN).expect("writable");
    let key = ProtectionKey::new(region.clone(), 0..LEN).expect("marked");
    let by_key = key.map(|key| {
        let time = cpu_time::of(|| {
            for _ in 0..count {
                let _window = key.stores();
                store();
            }
        });
        per_window(time)
    });
    println!(
        "\na window and a store of a byte: {} by mprotect, {} by a protection key",
        per_window(by_pages),
        by_key.as_deref().unwrap_or("(not on this processor)")
    );
}

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    if has("--list") {
        return;
    }
    let measuring = has("--bench");
    let (rounds, operations) = if measuring { (9, 2000) } else { (1, 64) };
    cpu_time::pin();
    let novas = KINDS.map(|(_, kinds)| nova(kinds));
    let blocks = novas.each_ref().map(|nova| nova.statfs().blocks);
    let volumes = novas.each_ref().map(|nova| {
        nova.write_file("/mapped", &vec![1; 4 << 20]).expect("space");
        Volume::new(nova, "names", DATA)
    });
    let names: Vec<(Name, Name)> = (0..operations)
        .map(|n| (Name::new(format!("file-{n:06}")), Name::new(format!("other-{n:06}"))))
        .collect();
    let none = vec![Figures::default(); OPERATIONS.len()];
    let mut timed: Vec<Timed<'_>> = volumes
        .iter()
        .zip(&novas)
        .map(|(volume, nova)| Timed { volume, nova, figures: none.clone(), next: 0 })
        .collect();
    // The first round fills caches, indexes and the allocator, and does not count.
    for round in 0..=rounds {
        for timed in &mut timed {
            // A window by `mprotect` changes the rights of every page: milliseconds, of which few tell enough.
            let few = timed.nova.write_protection() == WriteProtection::Pages;
            timed.round(if few { &names[..FEW.min(operations)] } else { &names }, round as u64);
        }
        if round == 0 && rounds > 1 {
            timed.iter_mut().for_each(|timed| timed.figures = none.clone());
        }
    }
    println!("\nCPU us for one operation, medians of {rounds} rounds of {operations}; lines / drains");
    println!(
        "| | none | | checksums | | more | checksums and parity | | more | write protection | | more | replicas | | more |"
    );
    println!("|{}", "---|".repeat(15));
    for (index, operation) in OPERATIONS.iter().enumerate() {
        let of = |kind: usize| &timed[kind].figures[index];
        let time = |kind: usize| median(of(kind).nanoseconds.clone()) / 1000.0;
        let cost = |kind: usize| format!("{:.2} / {:.2}", of(kind).lines, of(kind).drains);
        let more = |kind: usize| {
            let ratios = of(kind).nanoseconds.iter().zip(&of(0).nanoseconds).map(|(own, none)| own / none);
            format!("{:+.0} %", (median(ratios.collect()) - 1.0) * 100.0)
        };
        let shown = |kind: usize| format!("{:.3} | {} | {}", time(kind), cost(kind), more(kind));
        println!(
            "| {operation} | {:.3} | {} | {} | {} | {} | {} |",
            time(0),
            cost(0),
            shown(1),
            shown(2),
            shown(3),
            shown(4)
        );
    }
    println!("\nwrite protection: {:?}", novas[3].write_protection());
    windows(FEW as u32);
    println!("\nSpace: of {LEN} bytes, blocks for files");
    for ((kind, ..), count) in KINDS.iter().zip(blocks) {
        let taken = (blocks[0] - count) as f64;
        println!(
            "| {kind} | {count} blocks | {:.2} % of what they protect, {:.2} % of the volume (NOVA-Fortis, replicas included: 14.8 %) |",
            taken / count as f64 * 100.0,
            taken / blocks[0] as f64 * 100.0
        );
    }
    for (nova, (kind, ..)) in novas.iter().zip(KINDS) {
        let mut report = None;
        let time = cpu_time::of(|| report = Some(nova.scrub(&ScrubOptions::new()).expect("a scrub")));
        let report = report.expect("it was done");
        assert!(report.damage.is_empty() && report.repairs == Default::default(), "{report:?}");
        let rate = (report.blocks * BLOCK as u64) as f64 / time as f64;
        println!("scrub, {kind}: {} inodes, {} blocks, {rate:.2} GB/s", report.inodes, report.blocks);
    }
}
