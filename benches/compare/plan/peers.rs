//! Rows of other stores.

use super::{Peers, Setting, absent};
use crate::compare::{
    engine::RowPlan,
    subjects::{
        Place,
        keys::Distribution,
        peer::{self, Listed, Task},
    },
    variant::Variant,
};

/// What other stores are asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// By its name in `benches/peers`.
    pub(super) workload: String,
    pub(super) distribution: Distribution,
    /// Records that they have at first.
    pub(super) entries: u64,
    pub(super) threads: u64,
}

impl Asked {
    /// Records, a log or a queue, whose operations choose uniformly if at all.
    pub(super) fn of(workload: &str, entries: u64, threads: u64) -> Asked {
        Asked { workload: workload.to_owned(), distribution: Distribution::Uniform, entries, threads }
    }
}

/// The names in `benches/peers` of those that may be there.
const KNOWN: [&str; 6] = ["redb", "heed", "sled", "fjall", "sqlite", "libpmemobj"];

/// As tables call it.
fn title(peer: &str) -> String {
    match peer {
        "heed" => "LMDB (heed)".into(),
        "sqlite" => "SQLite".into(),
        "rocksdb" => "RocksDB".into(),
        other => other.to_owned(),
    }
}

/// A row for each store, also where there is none, or where it does not do this.
pub(super) fn rows(place: &Place, asked: &Asked, setting: &Setting) -> Vec<RowPlan> {
    let (program, peers) = match &setting.peers {
        Peers::None(why) => return not_run(why),
        Peers::Program(program, peers) => (program, peers),
    };
    let row = |listed: &Listed| match listed {
        Listed::Absent { peer, absent: why } => absent(Variant::Peer, &title(peer), why),
        Listed::Present(peer) if !peer.workloads.contains(&asked.workload) => {
            absent(Variant::Peer, &title(&peer.peer), "it does not do this")
        }
        Listed::Present(peer) if peer.peer == "libpmemobj" && matches!(place, Place::Disk(_)) => absent(
            Variant::Peer,
            &peer.peer,
            "it is made for persistent memory: on a disk, msync of every range takes minutes to fill it",
        ),
        Listed::Present(peer) => {
            let task = Task {
                program: program.clone(),
                peer: peer.peer.clone(),
                workload: asked.workload.clone(),
                distribution: asked.distribution,
                entries: asked.entries,
                threads: asked.threads,
                seed: setting.seed,
                folder: place.folder(),
                is_disk: matches!(place, Place::Disk(_)),
            };
            let row = RowPlan::new(Variant::Peer, &title(&peer.peer), move || peer::Open::new(&task));
            RowPlan { settings: Some(format!("{}: {}", peer.version, peer.settings)), ..row }
        }
    };
    peers.iter().map(row).collect()
}

/// A row for each store that may be there, and why it was not run.
pub(super) fn not_run(why: &str) -> Vec<RowPlan> {
    KNOWN.iter().map(|peer| absent(Variant::Peer, &title(peer), why)).collect()
}

/// Rows over records of 64 bytes, of so many bytes in all.
pub(super) fn of_records(
    workload: &str,
    place: &Place,
    bytes: u64,
    threads: u64,
    setting: &Setting,
) -> Vec<RowPlan> {
    let most = setting.scale.peers;
    if bytes > most && matches!(setting.peers, Peers::Program(..)) {
        return not_run(&format!(
            "other stores have up to {} MiB of records at this scale: loading and checking more takes longer than measuring",
            most >> 20
        ));
    }
    rows(place, &Asked::of(workload, bytes / crate::stream::OBJECT, threads), setting)
}
