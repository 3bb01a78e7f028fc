//! Which rows stand beside each other: all panels of a run, of which `maps` and `others` list their own; `peers` are rows of many.

mod maps;
mod others;
mod peers;

use super::{
    engine::{Effort, Make, PanelPlan, RowPlan},
    subject::{Alone, Subject},
    subjects::{
        Place,
        records::{Kind, Shape, records},
    },
    variant::Variant,
};
use crate::{
    baselines::{self, NINE_DRAINS_UPDATE, SLOT_UPDATE, TWO_DRAINS_UPDATE, WORD_UPDATE},
    place,
    rounds::Row,
    stream::WorkingSet,
};
pub use others::{TracePlan, traces};
use std::path::PathBuf;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// As the JSON calls it.
    pub name: &'static str,
    /// For each panel.
    pub effort: Effort,
    /// Steps of the control loops in a round.
    pub control: u32,
    /// Operations of a row in a round: of records, of streams, of maps, of YCSB, of files, of what is on a disk.
    pub records: u64,
    #[allow(missing_docs, reason = "as above")]
    pub streams: u64,
    #[allow(missing_docs, reason = "as above")]
    pub maps: u64,
    #[allow(missing_docs, reason = "as above")]
    pub ycsb: u64,
    #[allow(missing_docs, reason = "as above")]
    pub files: u64,
    #[allow(missing_docs, reason = "as above")]
    pub disk: u64,
    /// Entries of a map that is in no cache.
    pub entries: u64,
    /// Bytes of records, from those in every cache to those in none.
    pub sizes: &'static [(&'static str, u64)],
    /// The most bytes of records that other stores have.
    pub peers: u64,
    /// Intervals of a trace.
    pub intervals: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Scale {
    /// Two minutes of measuring.
    pub const QUICK: Scale = Scale {
        name: "quick",
        effort: Effort { rounds: 9, latencies: 100, longest_batch: SECOND / 20 },
        control: 10_000,
        records: 10_000,
        streams: 10_000,
        maps: 5_000,
        ycsb: 3_000,
        files: 1_000,
        disk: 30,
        entries: 100_000,
        sizes: &[("4 KiB", 4 << 10), ("256 KiB", 256 << 10), ("4 MiB", 4 << 20), ("64 MiB", 64 << 20)],
        peers: 4 << 20,
        intervals: 200,
    };

    /// As long as it takes for the last percent.
    pub const FULL: Scale = Scale {
        name: "full",
        effort: Effort { rounds: 15, latencies: 500, longest_batch: SECOND / 2 },
        control: 50_000,
        records: 100_000,
        streams: 100_000,
        maps: 50_000,
        ycsb: 20_000,
        files: 4_000,
        disk: 200,
        entries: 1_000_000,
        sizes: &[
            ("4 KiB", 4 << 10),
            ("32 KiB", 32 << 10),
            ("256 KiB", 256 << 10),
            ("4 MiB", 4 << 20),
            ("64 MiB", 64 << 20),
            ("1 GiB", 1 << 30),
        ],
        peers: 64 << 20,
        intervals: 1_000,
    };

    /// Seconds: to see that everything runs, and is right. Its times mean nothing.
    pub const SMOKE: Scale = Scale {
        name: "smoke",
        effort: Effort { rounds: 3, latencies: 10, longest_batch: SECOND / 50 },
        control: 100,
        records: 100,
        streams: 100,
        maps: 50,
        ycsb: 40,
        files: 20,
        disk: 2,
        entries: 500,
        sizes: &[("4 KiB", 4 << 10), ("64 KiB", 64 << 10)],
        peers: 64 << 10,
        intervals: 10,
    };

    fn in_cache(&self) -> WorkingSet {
        set(self.sizes[0])
    }

    /// Larger than the caches, where the scale has such a size.
    fn out_of_cache(&self) -> WorkingSet {
        let below = self.sizes.iter().rev().find(|(_, bytes)| *bytes <= 64 << 20);
        set(*below.expect("a size"))
    }
}

fn set((name, bytes): (&'static str, u64)) -> WorkingSet {
    WorkingSet { name, bytes, milliseconds: 0 }
}

/// The other stores.
#[derive(Clone, Debug)]
pub enum Peers {
    /// None, and why.
    None(String),
    /// A program that has them.
    Program(PathBuf, Vec<super::subjects::peer::Listed>),
}

/// What a plan is made for.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How much.
    pub scale: Scale,
    /// Of all random choices.
    pub seed: u64,
    /// A folder on a disk.
    pub disk: PathBuf,
    /// Other stores.
    pub peers: Peers,
}

/// What emulated or real persistent memory is called in titles.
fn medium() -> String {
    place::mapping(4096)
        .map_or_else(|error| format!("unusable: {error}"), |mapping| mapping.medium().to_string())
}

/// All panels.
pub fn panels(setting: &Setting) -> Vec<PanelPlan> {
    let mut panels = record_panels(setting);
    panels.extend(range_panels(setting));
    panels.extend(maps::panels(setting));
    panels.extend(others::stream_panels(setting));
    panels.extend(others::file_panels(setting));
    panels.extend(others::disk_panels(setting));
    panels
}

/// A panel about bytes, in memory.
fn panel(
    group: &'static str,
    workload: &str,
    operation: &'static str,
    set: WorkingSet,
    operations: u64,
) -> PanelPlan {
    PanelPlan {
        group,
        workload: workload.to_owned(),
        operation,
        place: medium(),
        set: set.name.to_owned(),
        bytes: Some(set.bytes),
        entries: None,
        threads: 1,
        ranges: None,
        distribution: None,
        waits: false,
        operations,
        rows: Vec::new(),
    }
}

fn raw(variant: Variant, what: &str, row: Row) -> RowPlan {
    RowPlan::new(variant, what, move || Ok(Alone(row.work())))
}

fn transactions(place: &Place, variant: Variant, shape: Shape, (threads, seed): (u64, u64)) -> RowPlan {
    let what = if shape.kind == Kind::Prefetched { "prefetched" } else { "" };
    let place = place.clone();
    RowPlan::new(variant, what, move || records(&place, shape, threads, seed))
}

/// A row of something that there cannot be.
fn absent(variant: Variant, what: &str, why: &str) -> RowPlan {
    let row = RowPlan::new(variant, what, || Err::<Alone, _>("never made".into()));
    RowPlan { make: Err(why.to_owned()), ..row }
}

fn boxed<S: Subject + 'static>(make: impl FnOnce() -> super::Outcome<S> + 'static) -> Make {
    Box::new(move || Ok(Box::new(make()?)))
}

const RECORD: &str = "one record of 64 bytes at random, read and changed";

fn record_panels(setting: &Setting) -> Vec<PanelPlan> {
    let (scale, seed) = (setting.scale, setting.seed);
    let memory = &Place::Memory;
    let kinds = [(Variant::Undo, Kind::Undo), (Variant::Redo, Kind::Redo), (Variant::RedoGroup, Kind::Group)];
    let mut panels = Vec::new();

    let line = set(("one line", 64));
    let mut counter = panel("Records", "counter", "one counter of 8 bytes, incremented", line, scale.records);
    counter.rows = vec![
        raw(Variant::Unordered, "", baselines::unordered(line, 1)),
        raw(Variant::HandOrdered, "8 bytes never tear", baselines::named(WORD_UPDATE, line))
            .promise("old or new, since 8 bytes never tear"),
        raw(Variant::Slot, "", baselines::named(SLOT_UPDATE, set(("one slot", 256)))),
    ];
    for (variant, kind) in kinds {
        let shape = Shape { kind, bytes: 64, group: 1, whole: false };
        counter.rows.push(transactions(memory, variant, shape, (1, seed)));
    }
    panels.push(counter);

    for &size in scale.sizes {
        let set = set(size);
        let mut record = panel("Records", "record update", RECORD, set, scale.records);
        record.rows = vec![
            raw(Variant::Unordered, "", baselines::unordered(set, 1)),
            raw(Variant::HandOrdered, "record, then flag", baselines::named(TWO_DRAINS_UPDATE, set))
                .promise("an update in place can be torn, and its flag tells nobody"),
            raw(Variant::Slot, "two copies in turn", baselines::named(SLOT_UPDATE, set)),
        ];
        for (variant, kind) in kinds {
            let shape = Shape { kind, bytes: set.bytes, group: 1, whole: true };
            record.rows.push(transactions(memory, variant, shape, (1, seed)));
        }
        record.rows.extend(peers::of_records("record", memory, set.bytes, 1, setting));
        panels.push(record);
    }

    let set = scale.out_of_cache();
    let mut two = panel("Records", "record update", RECORD, set, scale.records);
    two.threads = 2;
    for (variant, kind) in kinds {
        let shape = Shape { kind, bytes: set.bytes, group: 1, whole: true };
        two.rows.push(transactions(memory, variant, shape, (2, seed)));
    }
    two.rows.extend(peers::of_records("record", memory, set.bytes, 2, setting));
    panels.push(two);

    for set in [scale.in_cache(), scale.out_of_cache()] {
        panels.push(transfer(setting, set));
    }
    panels
}

fn transfer(setting: &Setting, set: WorkingSet) -> PanelPlan {
    let operation = "eight records of 64 bytes at random, read and changed together";
    let mut transfer = panel("Records", "transfer", operation, set, setting.scale.records / 2);
    transfer.rows = vec![
        raw(Variant::Unordered, "", baselines::unordered(set, 8)),
        raw(Variant::HandOrdered, "eight, then a flag", baselines::many(set, 8))
            .promise("any subset of the eight"),
        raw(Variant::HandOrdered, "one by one, then a flag", baselines::named(NINE_DRAINS_UPDATE, set))
            .promise("any first few of the eight"),
        absent(Variant::Slot, "", "a slot says of one record whether it is whole, not of eight"),
    ];
    let kinds = [
        (Variant::Undo, Kind::Undo),
        (Variant::Redo, Kind::Redo),
        (Variant::Redo, Kind::Prefetched),
        (Variant::RedoGroup, Kind::Group),
    ];
    for (variant, kind) in kinds {
        let shape = Shape { kind, bytes: set.bytes, group: 8, whole: true };
        transfer.rows.push(transactions(&Place::Memory, variant, shape, (1, setting.seed)));
    }
    transfer.rows.extend(peers::of_records("transfer", &Place::Memory, set.bytes, 1, setting));
    transfer
}

/// The number of ranges of a transaction, up to 64.
fn range_panels(setting: &Setting) -> Vec<PanelPlan> {
    let scale = setting.scale;
    let set = scale.out_of_cache();
    let operation = "so many records of 64 bytes at random, read and changed together";
    let counts = [1, 2, 4, 8, 16, 32, 64];
    let one = |group: u64| {
        let operations = (scale.records / (group / 4).max(1)).max(1);
        let mut panel = panel("Ranges", "transaction", operation, set, operations);
        panel.ranges = Some(group);
        panel.rows = vec![
            raw(Variant::Unordered, "", baselines::unordered(set, group)),
            raw(Variant::HandOrdered, "all, then a flag", baselines::many(set, group))
                .promise("any subset of them"),
        ];
        for (variant, kind) in [(Variant::Undo, Kind::Undo), (Variant::Redo, Kind::Redo)] {
            let shape = Shape { kind, bytes: set.bytes, group, whole: true };
            panel.rows.push(transactions(&Place::Memory, variant, shape, (1, setting.seed)));
        }
        panel
    };
    counts.into_iter().map(one).collect()
}
