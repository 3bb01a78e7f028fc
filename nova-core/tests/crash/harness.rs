//! Exploring a workload: what every image is asked, whatever the operations were.
//!
//! The states that may be found are those of a volume that runs the same operations and never crashes; after each, its bytes are
//! copied and mounted, as after a crash that lost nothing. (That these states are right is for the tests of the model to say.)

use crate::{
    ops::{Life, Op, content},
    tree::{Tree, past_difference, remove_all, snapshots},
};
use nova_core::{AccessTimes, Cleaning, FormatOptions, FsckReport, MountOptions, Nova, Rule};
use pmem_crash::{Config, Exploration, Image, Point, Report, Tear};
use pmem_map::{Granularity, MapOptions, Mapping};
use std::cell::RefCell;

const BLOCK: u64 = 4096;

/// What a workload runs on, and how far it is explored.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) blocks: u64,
    pub(crate) stripes: u32,
    pub(crate) journal: u64,
    pub(crate) granularity: Granularity,
    pub(crate) relaxed: bool,
    /// With checksums and parity of content.
    pub(crate) protected: bool,
    /// With replicas of metadata.
    pub(crate) replicas: bool,
    /// Files may be overwritten in place: of their content, each word is old or new.
    pub(crate) torn: bool,
    pub(crate) tear: Tear,
    pub(crate) bound: u64,
    pub(crate) samples: u64,
    pub(crate) nested: u64,
    pub(crate) depth: u32,
    /// When deleted snapshots are cleaned up.
    pub(crate) cleaning: Cleaning,
    /// A rule that the code under test leaves out.
    pub(crate) broken: Option<Rule>,
}

/// Whether to explore further than is quick.
pub(crate) fn is_long() -> bool {
    std::env::var_os("PMEM_CRASH_LONG").is_some()
}

impl Default for Setting {
    fn default() -> Setting {
        let setting = Setting {
            blocks: 64,
            stripes: 1,
            journal: 4 * BLOCK,
            granularity: Granularity::CacheLine,
            relaxed: false,
            protected: crate::PROTECTED,
            replicas: crate::REPLICAS,
            torn: false,
            tear: Tear::Line,
            bound: 24,
            samples: 6,
            nested: 2,
            depth: 2,
            cleaning: Cleaning::AtOnce,
            broken: None,
        };
        if is_long() { Setting { bound: 1 << 10, samples: 128, nested: 64, ..setting } } else { setting }
    }
}

/// With or without protection of content; metadata as this binary has it.
pub(crate) fn format_options(protected: bool) -> FormatOptions {
    FormatOptions::new().checksums(protected).parity(protected).replicas(crate::REPLICAS)
}

/// Bytes of a journal, which protection takes more of.
pub(crate) fn journal(bytes: u64) -> u64 {
    bytes.max(least_journal(crate::PROTECTED, crate::REPLICAS))
}

fn least_journal(protected: bool, replicas: bool) -> u64 {
    match (protected, replicas) {
        (_, true) => 8 * BLOCK,
        (true, _) => 4 * BLOCK,
        (false, _) => 0,
    }
}

impl Setting {
    pub(crate) fn mount(&self) -> MountOptions {
        let options = MountOptions::new().threads(1).access_times(AccessTimes::Never).in_place(self.relaxed);
        let options = options.cleaning(self.cleaning);
        match self.broken {
            Some(rule) => options.without(rule),
            None => options,
        }
    }

    fn config(&self) -> Config {
        Config::from_env()
            .tear(self.tear)
            .granularity(self.granularity)
            .bound(self.bound)
            .samples(self.samples)
            .nested(self.nested)
            .depth(self.depth)
    }

    fn mapping(&self, bytes: &[u8]) -> Mapping {
        // As many blocks for files, and as much journal as protection takes at least.
        let blocks = if self.protected { self.blocks + self.blocks / 7 + 3 } else { self.blocks };
        let blocks = if self.replicas { blocks + self.blocks / 4 + 5 } else { blocks };
        let options = MapOptions::new().len(blocks * BLOCK).granularity(self.granularity);
        let mut mapping = options.memfd().expect("memory");
        mapping.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        mapping
    }

    fn format(&self) -> Nova {
        let journal = self.journal.max(least_journal(self.protected, self.replicas));
        let options = format_options(self.protected).replicas(self.replicas).stripes(self.stripes);
        let options = options.journal(journal);
        options.format(self.mapping(&[]), self.mount()).expect("a volume")
    }

    /// The bytes of a volume that `before` were done to, as they are after a clean unmount.
    pub(crate) fn prepare(&self, before: &[Op]) -> Vec<u8> {
        let mut life = Life::new(self.format(), self.mount());
        for op in before {
            life.perform(op).unwrap_or_else(|error| panic!("{op:?}: {error}"));
        }
        life.unmount().expect("an unmount").as_slice().to_vec()
    }

    /// What is there after each of `ops`, beginning with none. It is the same before and after a clean unmount, and after one
    /// of which nothing is known.
    pub(crate) fn states(&self, start: &[u8], ops: &[Op]) -> Vec<Tree> {
        let state = |count: usize| {
            let mount = |mapping: Mapping| self.mount().mount(mapping).expect("it mounts");
            let mut life = Life::new(mount(self.mapping(start)), self.mount());
            for op in &ops[..count] {
                life.perform(op).unwrap_or_else(|error| panic!("{op:?}: {error}"));
            }
            life.perform(&Op::CloseAll).expect("files are closed");
            while life.nova().clean().expect("it is cleaned up") {}
            let what = &ops[..count];
            let read = |nova: &Nova| Tree::of(nova).unwrap_or_else(|error| panic!("after {what:?}: {error}"));
            let (before, free) = (read(life.nova()), life.nova().statfs().free);
            let again = mount(life.unmount().expect("an unmount"));
            assert!(again.mount_report().clean, "after {what:?}");
            let after = read(&again);
            assert!(before == after, "after {what:?}, mounted again: {}", after.difference(&before));
            let mut mapping = again.unmount().expect("an unmount");
            // Where there are replicas, they have the next block, and the line too.
            for at in [BLOCK, 2 * BLOCK].into_iter().take(if self.replicas { 2 } else { 1 }) {
                mapping.as_mut_slice()[at as usize..][..64].fill(0);
            }
            let scanned = mount(mapping);
            let report = scanned.mount_report();
            assert!(!report.clean && report.damage.is_empty() && report.orphans == 0, "{what:?}: {report:?}");
            let found = read(&scanned);
            assert!(before == found, "after {what:?}, scanned: {}", found.difference(&before));
            assert_eq!(
                scanned.statfs().free,
                free,
                "after {what:?}: free blocks, and those that a scan finds free"
            );
            used_to_the_end(&scanned).unwrap_or_else(|error| panic!("after {what:?}: {error}"));
            before
        };
        let states: Vec<Tree> = (0..=ops.len()).map(state).collect();
        // A snapshot has what was there when it was made, and always will.
        for (number, pair) in states.windows(2).enumerate() {
            let wrong = pair[1].past_after(&pair[0]);
            assert!(wrong.is_none(), "after {:?}: {}", &ops[..=number], wrong.unwrap_or_default());
        }
        states
    }
}

/// Counts of one group of workloads.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) workloads: u64,
    operations: u64,
    events: u64,
    images: u64,
    recoveries: u64,
    failures: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.workloads += 1;
        self.operations += report.operations as u64;
        self.events += report.steps.len() as u64;
        self.images += report.images;
        self.recoveries += report.recoveries;
        self.failures += report.failures;
    }

    pub(crate) fn print(&self, group: &str) {
        let Totals { workloads, operations, events, images, recoveries, failures } = self;
        println!(
            "crash | {group:<44} | {workloads:>4} workloads | {operations:>5} operations | {events:>6} events | \
             {images:>7} images | {recoveries:>8} recoveries | {failures} failures"
        );
    }
}

/// Explores `ops` on what `before` leaves.
pub(crate) fn explore(
    totals: &mut Totals,
    name: &str,
    setting: &Setting,
    before: &[Op],
    ops: &[Op],
) -> Report {
    let start = setting.prepare(before);
    let report = explore_from(name, setting, start, ops);
    totals.add(&report);
    report
}

/// One workload, of which nothing may fail.
pub(crate) fn explore_alone(name: &str, setting: &Setting, before: &[Op], ops: &[Op]) {
    let mut totals = Totals::default();
    let report = explore(&mut totals, name, setting, before, ops);
    totals.print(name);
    report.assert_ok();
}

fn explore_from(name: &str, setting: &Setting, start: Vec<u8>, ops: &[Op]) -> Report {
    explore_image(name, setting, Image::new(start), &[], ops, |_, _| ())
}

/// `meet` is shown every image, and the states. As long as nothing is acknowledged, `earlier` states are right, too: what was in flight when the
/// life before ended may not be durable.
fn explore_image(
    name: &str,
    setting: &Setting,
    start: Image,
    earlier: &[Tree],
    ops: &[Op],
    meet: impl Fn(&Point<'_>, &[Tree]),
) -> Report {
    let states = Setting { broken: None, ..setting.clone() }.states(start.bytes(), ops);
    Exploration::new(name).config(setting.config()).start(start).run(
        |mapping, marks| -> nova_core::Result<()> {
            let mut life = Life::new(setting.mount().mount(mapping)?, setting.mount());
            for op in ops {
                marks.run(format!("{op:?}"), || life.perform(op))?;
            }
            life.forget();
            Ok(())
        },
        |mapping| setting.mount().mount(mapping),
        |nova, point| {
            meet(point, &states);
            judge(&nova, point, &states, earlier, setting.relaxed || setting.torn)
        },
    )
}

/// Explores `ops`, and then `later` on images that they left: of processes that were killed, at every moment, and of power failures. The
/// first report that has a failure, or the last one.
pub(crate) fn explore_lives(
    totals: &mut Totals,
    name: &str,
    setting: &Setting,
    before: &[Op],
    ops: &[Op],
    later: &[Op],
) -> Report {
    let images = RefCell::new((0, Vec::new()));
    let meet = |point: &Point<'_>, states: &[Tree]| {
        let (number, images) = &mut *images.borrow_mut();
        if point.number > *number {
            *number = point.number;
            let near = states[point.range()].to_vec();
            images.extend([(point.killed(), near.clone()), (point.image().clone(), near)]);
        }
    };
    let mut report = explore_image(name, setting, Image::new(setting.prepare(before)), &[], ops, meet);
    totals.add(&report);
    for (number, (image, earlier)) in images.into_inner().1.into_iter().enumerate() {
        if report.failures > 0 || later.is_empty() {
            break;
        }
        report = explore_image(&format!("{name}, life {number}"), setting, image, &earlier, later, |_, _| ());
        totals.add(&report);
    }
    report
}

/// Whether what was recovered is right, and stays so when it is used.
fn judge(
    nova: &Nova,
    point: &Point<'_>,
    states: &[Tree],
    earlier: &[Tree],
    torn: bool,
) -> Result<(), String> {
    let report = nova.mount_report();
    if !report.damage.is_empty() {
        return Err(format!("damage: {:?}", report.damage));
    }
    let found = Tree::of(nova)?;
    let earlier = earlier.iter().filter(|_| point.acknowledged == 0);
    let near: Vec<&Tree> = point.range().map(|k| &states[k]).chain(earlier).collect();
    let right = near.iter().any(|state| **state == found)
        || torn && near.iter().any(|state| found.is_torn(state, &near));
    checked(nova)?;
    if !right {
        let differences: Vec<String> = near.iter().map(|state| found.difference(state)).collect();
        return Err(format!("not a state of {:?}: {differences:?}", point.range()));
    }
    used_to_the_end(nova)
}

/// Writes, renames, and removes everything. Nothing is lost then, in DRAM or on media.
pub(crate) fn used_to_the_end(nova: &Nova) -> Result<(), String> {
    let text = |error: nova_core::Error| format!("using it: {error}");
    nova.create_dir("/later").map_err(text)?;
    let file = nova.create_new("/later/file").map_err(text)?;
    file.write_at(10, &content(300, 77)).map_err(text)?;
    file.write_at(4000, &content(1500, 78)).map_err(text)?;
    drop(file);
    nova.rename_path("/later/file", "/later/renamed").map_err(text)?;
    nova.create_new("/later/file").map_err(text)?;
    let mut expected = vec![0; 5500];
    expected[10..310].copy_from_slice(&content(300, 77));
    expected[4000..].copy_from_slice(&content(1500, 78));
    if nova.read_file("/later/renamed").map_err(text)? != expected {
        return Err("what is written later reads differently".into());
    }
    let past = snapshots(nova)?;
    remove_all(nova)?;
    // From the middle outwards: newer and older ones are left.
    let mut names: Vec<&String> = past.keys().collect();
    let mut left = past.clone();
    while !names.is_empty() {
        let found = snapshots(nova)?;
        if found != left {
            return Err(format!(
                "after everything was removed, snapshots: {}",
                past_difference(&found, &left)
            ));
        }
        checked(nova)?;
        let name = names.remove(names.len() / 2);
        nova.delete_snapshot(name).map_err(text)?;
        left.remove(name);
    }
    while nova.clean().map_err(text)? {}
    nova.sync().map_err(text)?;
    let (found, blocks) = (checked(nova)?, nova.statfs().blocks);
    // What is left: the inode table, and the root directory's log.
    if (found.inodes, found.data_blocks) != (1, 0) || found.free_blocks + found.metadata_blocks != blocks {
        return Err(format!("when all files are gone: {found}"));
    }
    Ok(())
}

/// What a check of the volume finds, which is to be no problem.
fn checked(nova: &Nova) -> Result<FsckReport, String> {
    let report = nova.fsck().map_err(|error| format!("the check: {error}"))?;
    if !report.is_clean() || report.busy > 0 || report.free_blocks != nova.statfs().free {
        return Err(format!("the check: {report}; {:?}", nova.statfs()));
    }
    Ok(report)
}
