//! Panels of maps: keys of 8 bytes, values of 100.

use super::{
    Scale, Setting, absent, medium,
    peers::{self, Asked},
};
use crate::compare::{
    engine::{PanelPlan, RowPlan},
    subjects::{
        Place, by_hand,
        keys::Distribution,
        store::{Store, Workload, work},
        stores::{Dash, Hash, Hashed, Ordered, StdHash, StdTree, Tree, pool},
    },
    variant::Variant,
};

/// Entries of a map that is in a cache.
const FEW: u64 = 1000;

/// What a panel's rows do, all of them.
#[derive(Clone, Copy)]
pub(super) struct Doing {
    pub(super) workload: Workload,
    pub(super) distribution: Distribution,
    pub(super) entries: u64,
    pub(super) threads: u64,
}

pub(super) fn panels(setting: &Setting) -> Vec<PanelPlan> {
    let scale = setting.scale;
    let mut panels = Vec::new();
    let of = |doing: Doing, group, operations| {
        let mut panel = panel(doing, group, operations, medium());
        panel.rows = rows(&Place::Memory, doing, setting);
        panel
    };
    let distribution = Distribution::Uniform;
    for threads in [1, 2] {
        for workload in [Workload::Insert, Workload::Get, Workload::Scan, Workload::Delete] {
            // A scan is a hundred reads.
            let operations = if workload == Workload::Scan { scale.maps / 10 } else { scale.maps };
            let doing = |entries| Doing { workload, distribution, entries, threads };
            panels.push(of(doing(scale.entries), "Maps", operations));
            if threads == 1 && workload != Workload::Delete {
                // No more inserts in a batch than a tenth of what is there, or it would not stay in the cache.
                panels.push(of(doing(FEW), "Maps", operations.min(FEW / 10)));
            }
        }
    }
    for letter in 'a'..='f' {
        for distribution in [Distribution::Zipfian, Distribution::Uniform] {
            // What was inserted last is asked for by its age alone.
            if letter == 'd' && distribution == Distribution::Uniform {
                continue;
            }
            let operations = if letter == 'e' { scale.ycsb / 5 } else { scale.ycsb };
            let doing =
                Doing { workload: Workload::Ycsb(letter), distribution, entries: scale.entries, threads: 1 };
            panels.push(of(doing, "YCSB", operations));
        }
    }
    panels
}

/// A panel without its rows.
pub(super) fn panel(doing: Doing, group: &'static str, operations: u64, place: String) -> PanelPlan {
    let distribution = match doing.workload {
        Workload::Ycsb('d') => Some("latest"),
        Workload::Ycsb(_) => Some(doing.distribution.name()),
        _ => None,
    };
    PanelPlan {
        group,
        workload: doing.workload.name(),
        operation: doing.workload.operation(),
        place,
        set: format!("{} entries", thousands(doing.entries)),
        bytes: None,
        entries: Some(doing.entries),
        threads: doing.threads,
        ranges: None,
        distribution,
        waits: false,
        operations: operations.max(1),
        rows: Vec::new(),
    }
}

/// With commas.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).expect("digits")).collect();
    parts.join(",")
}

/// A row of a map that `open` makes.
pub(super) fn row<S: Store + 'static>(
    variant: Variant,
    what: &str,
    doing: Doing,
    seed: u64,
    open: impl FnOnce() -> crate::compare::Outcome<S> + 'static,
) -> RowPlan {
    let Doing { workload, distribution, entries, threads } = doing;
    RowPlan::new(variant, what, move || work(open()?, workload, distribution, (entries, threads, seed)))
}

fn rows(place: &Place, doing: Doing, setting: &Setting) -> Vec<RowPlan> {
    let seed = setting.seed;
    let pool = |group| {
        let place = place.clone();
        move || pool(&place, doing.entries, group)
    };
    let mut rows = vec![row(Variant::Dram, "std BTreeMap", doing, seed, || Ok(StdTree::default()))];
    if !doing.workload.is_ordered() {
        rows.push(row(Variant::Dram, "std HashMap", doing, seed, || Ok(StdHash::default())));
        rows.push(row(Variant::Dram, "dashmap", doing, seed, || Ok(Dash::default())));
    }
    if !doing.workload.is_ordered() {
        rows.extend(rows_by_hand(doing, seed, setting.scale));
    }
    rows.push(absent(Variant::Undo, "any container", NO_UNDO));
    rows.extend(tree_rows(place, doing, setting));
    if !doing.workload.is_ordered() {
        let make = pool(false);
        rows.push(row(Variant::Redo, "PHashMap", doing, seed, move || Ok(Hash(make()?))));
    }
    let make = pool(false);
    rows.push(row(Variant::Concurrent, "ConcurrentMap", doing, seed, move || Ordered::open(make()?)));
    if !doing.workload.is_ordered() {
        let make = pool(false);
        rows.push(row(Variant::Concurrent, "ConcurrentHashMap", doing, seed, move || Hashed::open(make()?)));
    }
    rows.extend(peer_rows(place, doing, setting));
    rows
}

/// Why no row has a container whose transactions are undo.
const NO_UNDO: &str = "a pool's transactions are redo: its allocator keeps what it hands out to itself until they commit, and \
                       its containers read and change copies, so undo would be another container";

/// A hash table by hand, which is for as many entries as it is told of.
fn rows_by_hand(doing: Doing, seed: u64, scale: Scale) -> [RowPlan; 2] {
    // What a round inserts, with the operations that come before and are timed one by one, and their remainders.
    let room = doing.entries + 2 * scale.maps.max(scale.ycsb) + scale.effort.latencies;
    let ordered =
        row(Variant::HandOrdered, "hash table", doing, seed, move || Ok(by_hand::Ordered::new(room)?));
    [
        row(Variant::Unordered, "hash table", doing, seed, move || Ok(by_hand::Unordered::new(room)?)),
        ordered.promise("each entry old or new; never several together, and the table never grows"),
    ]
}

/// The tree with and without group commit.
pub(super) fn tree_rows(place: &Place, doing: Doing, setting: &Setting) -> Vec<RowPlan> {
    [(Variant::Redo, false), (Variant::RedoGroup, true)]
        .map(|(variant, group)| {
            let place = place.clone();
            row(variant, "PBTreeMap", doing, setting.seed, move || {
                Ok(Tree(pool(&place, doing.entries, group)?))
            })
        })
        .into()
}

/// The other stores, if there are any.
pub(super) fn peer_rows(place: &Place, doing: Doing, setting: &Setting) -> Vec<RowPlan> {
    let Doing { workload, distribution, entries, threads } = doing;
    let asked = Asked { workload: workload.name(), distribution, entries, threads };
    peers::rows(place, &asked, setting)
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(super::thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
