//! Panels of streams, of files and of what is on a disk; and which rows are traced over time.

use super::{
    Setting, boxed,
    maps::{self, Doing},
    panel,
    peers::{self, Asked},
    set, transactions,
};
use crate::{
    compare::{
        engine::{Make, PanelPlan, RowPlan},
        subjects::{
            Place, files,
            keys::Distribution,
            paged::{self, Order},
            records::{Kind, Shape, records},
            store::{Workload, work},
            stores::{Hash, Hashed, Tree, pool},
            streams::{self, stream},
        },
        variant::Variant,
    },
    place,
    stream::WorkingSet,
};

fn stream_row(variant: Variant, what: &str, make: streams::Make, place: &Place, threads: u64) -> RowPlan {
    let place = place.clone();
    RowPlan::new(variant, what, move || stream(make, &place, threads))
}

pub(super) fn stream_panels(setting: &Setting) -> Vec<PanelPlan> {
    use streams::Make;
    const LOG: &str = "one record of 64 bytes, appended";
    const QUEUE: &str = "one record of 64 bytes pushed, and one popped";
    let operations = setting.scale.streams;
    let memory = &Place::Memory;
    let mut panels = Vec::new();
    for threads in [1, 2] {
        let of = |workload, operation, rows| {
            let whole = set(("64 B", 64));
            let panel = panel("Streams", workload, operation, whole, operations);
            PanelPlan { bytes: None, threads, rows, ..panel }
        };
        let row = |variant, what, make| stream_row(variant, what, make, memory, threads);
        let mut log = vec![row(Variant::Dram, "std Vec", Make::Vec)];
        if threads == 1 {
            log.push(RowPlan::new(Variant::Unordered, "", streams::log_unordered));
            let by_hand = RowPlan::new(Variant::HandOrdered, "record, then end", streams::log_by_hand);
            log.push(by_hand.promise("whole records up to the end"));
            let slots = RowPlan::new(Variant::Slot, "record with checksum", streams::log_of_slots);
            log.push(slots.promise("whole records up to the first checksum that is wrong"));
        }
        log.push(row(Variant::Redo, "PLog", Make::Log { group: false }));
        log.push(row(Variant::RedoGroup, "PLog", Make::Log { group: true }));
        log.push(row(Variant::Concurrent, "ConcurrentLog", Make::ConcurrentLog));
        log.extend(peers::rows(memory, &Asked::of("log", streams::BEFORE, threads), setting));
        panels.push(of("log append", LOG, log));

        let mut queue = vec![row(Variant::Dram, "std VecDeque", Make::VecDeque)];
        if threads == 1 {
            queue.push(RowPlan::new(Variant::Unordered, "", streams::queue_unordered));
            let by_hand = RowPlan::new(Variant::HandOrdered, "record, tail; head", streams::queue_by_hand);
            queue.push(by_hand.promise("whole records between head and tail"));
        }
        queue.push(row(Variant::Redo, "PDeque", Make::Queue { group: false }));
        queue.push(row(Variant::RedoGroup, "PDeque", Make::Queue { group: true }));
        queue.push(row(Variant::Concurrent, "MpmcQueue", Make::ConcurrentQueue));
        queue.extend(peers::rows(memory, &Asked::of("queue", streams::BEFORE, threads), setting));
        panels.push(of("queue", QUEUE, queue));
    }
    panels
}

/// The disk's folder, or why it is none.
fn disk(setting: &Setting) -> Result<Place, String> {
    let folder = &setting.disk;
    let is_disk =
        place::disk_mapping(folder, 4096).map_err(|error| format!("{error}; --disk names a folder on one"));
    is_disk.map(|_| Place::Disk(folder.clone()))
}

pub(super) fn file_panels(setting: &Setting) -> Vec<PanelPlan> {
    let seed = setting.seed;
    let disk = disk(setting);
    let mut panels = Vec::new();
    for threads in [1, 2] {
        for operation in files::Operation::ALL {
            let whole = set(("4 MiB files", 4 << 20));
            let panel = panel("Files", operation.name(), operation.description(), whole, setting.scale.files);
            let call = |what, place: Result<Place, String>, is_durable, promise| {
                let row = |place: Place| {
                    let make = move || files::by_call(operation, &place, is_durable, (threads, seed));
                    RowPlan::new(Variant::Calls, what, make)
                };
                match place {
                    Ok(place) => row(place).promise(promise),
                    Err(why) => super::absent(Variant::Calls, what, &why),
                }
            };
            let mut rows = vec![
                RowPlan::new(Variant::Volume, "nova-core", move || {
                    files::in_volume(operation, threads, seed)
                }),
                call("tmpfs", Ok(Place::Memory), false, "nothing is durable on return"),
                call("disk", disk.clone(), false, "nothing is durable on return"),
            ];
            // Reading makes nothing durable.
            if operation != files::Operation::Read {
                rows.push(call(
                    "disk, synced",
                    disk.clone(),
                    true,
                    "durable on return, by fsync or fdatasync",
                ));
            }
            let place = format!("a volume on {}, folders on tmpfs and on a disk", super::medium());
            panels.push(PanelPlan { bytes: None, place, threads, waits: true, rows, ..panel });
        }
    }
    panels
}

pub(super) fn disk_panels(setting: &Setting) -> Vec<PanelPlan> {
    let place = disk(setting);
    let folder = setting.disk.clone();
    let named = match &place {
        Ok(place) => {
            place.mapping(4096).map_or_else(|error| error.to_string(), |mapping| mapping.medium().to_string())
        }
        Err(_) => "no disk".to_owned(),
    };
    let named = format!("a file on {named}, with msync");
    let some = place.clone().unwrap_or(Place::Disk(folder.clone()));
    let (scale, seed) = (setting.scale, setting.seed);
    let mut panels = Vec::new();
    for threads in [1, 2] {
        panels.push(PanelPlan { place: named.clone(), threads, ..disk_records(&some, threads, setting) });
        let doing = Doing {
            workload: Workload::Insert,
            distribution: Distribution::Uniform,
            entries: scale.entries / 10,
            threads,
        };
        let mut insert = maps::panel(doing, "Disk", scale.disk, named.clone());
        insert.rows = maps::tree_rows(&some, doing, setting);
        let rest = some.clone();
        insert.rows.push(maps::row(Variant::Concurrent, "ConcurrentHashMap", doing, seed, move || {
            Hashed::open(pool(&rest, doing.entries, false)?)
        }));
        insert.rows.extend(maps::peer_rows(&some, doing, setting));
        panels.push(insert);
        let whole = set(("64 B", 64));
        let mut log = panel("Disk", "log append", "one record of 64 bytes, appended", whole, scale.disk);
        let row = |variant, what, make| stream_row(variant, what, make, &some, threads);
        log.rows = vec![
            row(Variant::Redo, "PLog", streams::Make::Log { group: false }),
            row(Variant::RedoGroup, "PLog", streams::Make::Log { group: true }),
            row(Variant::Concurrent, "ConcurrentLog", streams::Make::ConcurrentLog),
        ];
        log.rows.extend(peers::rows(&some, &Asked::of("log", streams::BEFORE, threads), setting));
        panels.push(PanelPlan { bytes: None, place: named.clone(), threads, ..log });
    }
    panels.iter_mut().for_each(|panel| panel.waits = true);
    if let Err(why) = place {
        for row in panels.iter_mut().flat_map(|panel| &mut panel.rows) {
            row.make = Err(why.clone());
        }
    }
    panels
}

fn disk_records(place: &Place, threads: u64, setting: &Setting) -> PanelPlan {
    let Setting { scale, seed, .. } = *setting;
    const SET: WorkingSet = WorkingSet { name: "4 MiB", bytes: 4 << 20, milliseconds: 0 };
    let mut panel = panel("Disk", "record update", super::RECORD, SET, scale.disk);
    if threads == 1 {
        let by_hand = |variant, what: &str, order, promise: &str| {
            let folder = place.folder();
            RowPlan::new(variant, what, move || paged::records(&folder, order, SET.bytes, seed))
                .promise(promise)
        };
        let torn = "an update in place can be torn, and its flag tells nobody";
        panel.rows = vec![
            by_hand(Variant::Unordered, "", Order::None, ""),
            by_hand(Variant::HandOrdered, "record, then flag, by msync", Order::TwoSyncs, torn),
            by_hand(
                Variant::HandOrdered,
                "pwrite and fdatasync",
                Order::WriteAndSync,
                "a record can be torn: the floor",
            ),
        ];
    }
    let kinds = [(Variant::Undo, Kind::Undo), (Variant::Redo, Kind::Redo), (Variant::RedoGroup, Kind::Group)];
    for (variant, kind) in kinds {
        let shape = Shape { kind, bytes: SET.bytes, group: 1, whole: true };
        panel.rows.push(transactions(place, variant, shape, (threads, seed)));
    }
    panel.rows.extend(peers::of_records("record", place, SET.bytes, threads, setting));
    panel
}

/// A row that is looked at over time.
pub struct TracePlan {
    /// What is done.
    pub workload: &'static str,
    /// How it makes changes durable.
    pub variant: Variant,
    /// With what.
    pub what: &'static str,
    /// The subject.
    pub make: Make,
    /// Operations of an interval.
    pub operations: u64,
}

/// What may stall: what grows, splits, collects or checkpoints.
pub fn traces(setting: &Setting) -> Vec<TracePlan> {
    let (scale, seed) = (setting.scale, setting.seed);
    let insert = (Workload::Insert, Distribution::Uniform, (scale.entries / 10, 1, seed));
    let (workload, distribution, size) = insert;
    // With room for what the trace inserts.
    let room = scale.entries / 10 + scale.intervals * scale.maps / 20;
    let plan = |workload, variant, what, make| TracePlan {
        workload,
        variant,
        what,
        make,
        operations: (scale.maps / 20).max(2),
    };
    vec![
        plan(
            "record update",
            Variant::Redo,
            "",
            boxed(move || {
                let bytes = scale.out_of_cache().bytes;
                let shape = Shape { kind: Kind::Redo, bytes, group: 1, whole: true };
                records(&Place::Memory, shape, 1, seed)
            }),
        ),
        plan(
            "insert",
            Variant::Redo,
            "PBTreeMap",
            boxed(move || work(Tree(pool(&Place::Memory, room, false)?), workload, distribution, size)),
        ),
        plan(
            "insert",
            Variant::Redo,
            "PHashMap",
            boxed(move || work(Hash(pool(&Place::Memory, room, false)?), workload, distribution, size)),
        ),
        plan(
            "insert",
            Variant::Concurrent,
            "ConcurrentHashMap",
            boxed(move || {
                work(Hashed::open(pool(&Place::Memory, room, false)?)?, workload, distribution, size)
            }),
        ),
        plan(
            "log append",
            Variant::Redo,
            "PLog",
            boxed(move || stream(streams::Make::Log { group: false }, &Place::Memory, 1)),
        ),
        plan(
            "overwrite",
            Variant::Volume,
            "nova-core",
            boxed(move || files::in_volume(files::Operation::Overwrite, 1, seed)),
        ),
    ]
}
