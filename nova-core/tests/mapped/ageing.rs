//! Large pages for mapped files in a volume that has aged, beside what a plain first-fit allocator would have.
//!
//! WineFS (Kadekodi et al., SOSP 2021): filesystems lose their aligned stretches of 2 MiB with age, to log pages and small writes.

use crate::{extents, volume};
use nova_core::{BLOCK, Nova};
use std::collections::HashMap;

const STRETCH: u64 = 512;
const LEN: u64 = 512 << 20;
const STEPS: u64 = 40_000;

/// Blocks in use, the lowest free ones first: what a filesystem does that does not care.
struct FirstFit {
    used: Vec<bool>,
    lowest: usize,
    files: HashMap<u64, Vec<usize>>,
}

impl FirstFit {
    fn new(blocks: u64) -> FirstFit {
        FirstFit { used: vec![false; blocks as usize], lowest: 0, files: HashMap::new() }
    }

    fn take(&mut self, blocks: u64) -> Vec<usize> {
        let mut taken = Vec::new();
        while (taken.len() as u64) < blocks {
            while self.used[self.lowest] {
                self.lowest += 1;
            }
            self.used[self.lowest] = true;
            taken.push(self.lowest);
        }
        taken
    }

    fn give(&mut self, blocks: Vec<usize>) {
        for block in blocks {
            self.used[block] = false;
            self.lowest = self.lowest.min(block);
        }
    }

    /// New content for blocks of a file, beside the old.
    fn write(&mut self, file: u64, from: u64, blocks: u64) {
        let new = self.take(blocks);
        let own = self.files.entry(file).or_default();
        let mut old = Vec::new();
        for (at, block) in (from as usize..).zip(new) {
            match own.get_mut(at) {
                Some(place) => old.push(std::mem::replace(place, block)),
                None => own.push(block),
            }
        }
        self.give(old);
    }

    fn remove(&mut self, file: u64) {
        let own = self.files.remove(&file).unwrap();
        self.give(own);
    }
}

/// Of the blocks of a file, in order: how many are in stretches that a large page can map.
fn aligned(blocks: &[usize]) -> u64 {
    let whole = |part: &&[usize]| {
        part.len() as u64 == STRETCH
            && part[0] as u64 % STRETCH == 0
            && part.windows(2).all(|pair| pair[1] == pair[0] + 1)
    };
    blocks.chunks(STRETCH as usize).filter(whole).count() as u64 * STRETCH
}

/// A volume, and a first-fit allocator to which the same is done (but for logs and directories, of which it has none).
struct Aged {
    nova: Nova,
    plain: FirstFit,
    /// Number and blocks of each file.
    files: Vec<(u64, u64)>,
    next: u64,
    random: fastrand::Rng,
}

impl Aged {
    fn path(file: u64) -> String {
        format!("/{}/{file}", file % 50)
    }

    fn create(&mut self) {
        // Most files are small, most bytes are in large ones.
        let bytes = match self.random.u8(..100) {
            0..60 => self.random.u64(1..20_000),
            60..95 => self.random.u64(20_000..300_000),
            _ => self.random.u64(300_000..6_000_000),
        };
        let file = self.next;
        self.next += 1;
        let mut rest = bytes;
        let handle = self.nova.create_file(Aged::path(file)).unwrap();
        // In parts, as programs write.
        while rest > 0 {
            let part = rest.min(self.random.u64(1..200_000).next_multiple_of(BLOCK));
            handle.append(&vec![1; part as usize]).unwrap();
            self.plain.write(file, (bytes - rest) / BLOCK, part.div_ceil(BLOCK));
            rest -= part;
        }
        self.files.push((file, bytes.div_ceil(BLOCK)));
    }

    fn overwrite(&mut self) {
        let (file, blocks) = self.files[self.random.usize(..self.files.len())];
        let from = self.random.u64(..blocks);
        let count = self.random.u64(1..=(blocks - from).min(30));
        let handle = self.nova.open(Aged::path(file)).unwrap();
        let len = (count * BLOCK).min(handle.len().unwrap() - from * BLOCK);
        handle.write_at(from * BLOCK, &vec![2; len as usize]).unwrap();
        self.plain.write(file, from, count);
    }

    fn remove(&mut self) {
        let (file, _) = self.files.swap_remove(self.random.usize(..self.files.len()));
        self.nova.remove_file(Aged::path(file)).unwrap();
        self.plain.remove(file);
    }

    fn used(&self) -> f64 {
        let statfs = self.nova.statfs();
        1.0 - statfs.free as f64 / statfs.blocks as f64
    }
}

#[test]
fn mapped_files_have_large_pages_in_a_volume_that_has_aged() {
    // Threads are told apart by the stripes that they use first.
    for seed in [2021, 2022, 2023] {
        std::thread::spawn(move || age(seed)).join().unwrap();
    }
}

fn age(seed: u64) {
    let (_, nova) = volume(LEN);
    let blocks = nova.statfs().blocks;
    (0..50).for_each(|n| nova.create_dir(format!("/{n}")).unwrap());
    let random = fastrand::Rng::with_seed(seed);
    let mut aged = Aged { nova, plain: FirstFit::new(blocks), files: Vec::new(), next: 0, random };
    while aged.used() < 0.8 {
        aged.create();
    }
    let (mut created, mut overwritten, mut removed) = (aged.files.len(), 0, 0);
    for _ in 0..STEPS {
        match aged.random.u8(..4) {
            0..2 => {
                aged.overwrite();
                overwritten += 1;
            }
            2 if aged.used() < 0.8 => {
                aged.create();
                created += 1;
            }
            _ if aged.used() > 0.78 => {
                aged.remove();
                removed += 1;
            }
            _ => {}
        }
    }
    // Mapped files take half of what is left, and then more: of that the figure is printed only.
    let used = aged.used();
    let statfs = aged.nova.statfs();
    let sizes = [5, 9].map(|tenths| statfs.free * tenths / 10 / (8 * STRETCH));
    let (mut ours, mut plain) = ([0; 2], [0; 2]);
    for n in 0..sizes[1] {
        let file = aged.nova.create_file(format!("/mapped-{n}")).unwrap();
        file.set_len(8 * STRETCH * BLOCK).unwrap();
        let mapping = file.map().unwrap();
        let places = extents(&mapping).into_iter();
        let blocks = places.flat_map(|extent| {
            let first = extent.offset / BLOCK;
            (first..first + extent.len / BLOCK).map(|block| block as usize)
        });
        let (mapped, first_fit) =
            (aligned(&blocks.collect::<Vec<_>>()), aligned(&aged.plain.take(8 * STRETCH)));
        for (which, _) in sizes.iter().enumerate().filter(|(_, files)| n < **files) {
            ours[which] += mapped;
            plain[which] += first_fit;
        }
    }
    let percent =
        |aligned: [u64; 2]| [0, 1].map(|n| aligned[n] as f64 * 100.0 / (sizes[n] * 8 * STRETCH) as f64);
    let (ours, plain) = (percent(ours), percent(plain));
    println!(
        "ageing | {} MiB, {:.0} % full | {created} files created, {overwritten} overwritten, {removed} removed",
        LEN >> 20,
        used * 100.0
    );
    for n in 0..2 {
        let mapped = (sizes[n] * 8 * STRETCH * BLOCK) >> 20;
        println!(
            "ageing | of {mapped} MiB mapped then, in aligned 2 MiB: {:.1} %, by first fit {:.1} %",
            ours[n], plain[n]
        );
    }
    assert!(ours[0] >= 95.0, "{:.1} %", ours[0]);
    assert!(plain[0] < 50.0, "this ages nothing: {:.1} %", plain[0]);
}
