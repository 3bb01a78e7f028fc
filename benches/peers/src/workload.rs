//! The workloads, by name.

use crate::Result;

/// What the operations of a workload are. A store begins with a number of records; each change is a transaction of its own, and
/// durable when it returns; each reading operation sees all that returned before it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// A record of 64 bytes, chosen at random, gets a new value.
    Record,
    /// Eight records of 64 bytes, far from each other, are read and changed in one transaction.
    Transfer,
    /// A new record of 100 bytes under a random key.
    Insert,
    /// A record is read.
    Get,
    /// 100 records are read, in the order of their keys, from one chosen at random.
    Scan,
    /// A record is removed. (Between rounds all are put back when too few are left.)
    Delete,
    /// One of the six of the Yahoo Cloud Serving Benchmark.
    Ycsb(Mix),
    /// 64 bytes are added at the end.
    Log,
    /// 64 bytes are added at the end, and the first are taken off: two transactions.
    Queue,
}

/// What a store consists of, for a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Records of 64 bytes whose keys are 0, 1, 2, ...: none comes, and none goes.
    Records,
    /// Records under random keys.
    Map,
    /// Elements in an order, without keys.
    Sequence,
}

/// A mix of operations, of which the rest are reads of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Of a hundred.
    pub(crate) updates: u32,
    pub(crate) inserts: u32,
    /// Of 1 to 100 records.
    pub(crate) scans: u32,
    /// One transaction each.
    pub(crate) read_modify_writes: u32,
    /// Reads prefer what was inserted last.
    pub(crate) latest: bool,
}

const READS: Mix = Mix { updates: 0, inserts: 0, scans: 0, read_modify_writes: 0, latest: false };

/// All workloads.
pub(crate) const ALL: [(&str, Workload); 14] = [
    ("record", Workload::Record),
    ("transfer", Workload::Transfer),
    ("insert", Workload::Insert),
    ("get", Workload::Get),
    ("scan", Workload::Scan),
    ("delete", Workload::Delete),
    ("ycsb-a", Workload::Ycsb(Mix { updates: 50, ..READS })),
    ("ycsb-b", Workload::Ycsb(Mix { updates: 5, ..READS })),
    ("ycsb-c", Workload::Ycsb(READS)),
    ("ycsb-d", Workload::Ycsb(Mix { inserts: 5, latest: true, ..READS })),
    ("ycsb-e", Workload::Ycsb(Mix { scans: 95, inserts: 5, ..READS })),
    ("ycsb-f", Workload::Ycsb(Mix { read_modify_writes: 50, ..READS })),
    ("log", Workload::Log),
    ("queue", Workload::Queue),
];

impl Workload {
    /// The workload of that name.
    pub(crate) fn named(name: &str) -> Result<Workload> {
        ALL.iter().find(|(own, _)| *own == name).map(|(_, workload)| *workload).ok_or_else(|| {
            let names = ALL.map(|(name, _)| name).join(", ");
            format!("no workload {name:?}; there are {names}").into()
        })
    }

    /// Bytes of a value.
    pub(crate) fn value_len(self) -> usize {
        match self {
            Workload::Record | Workload::Transfer | Workload::Log | Workload::Queue => 64,
            _ => 100,
        }
    }

    /// What it needs.
    pub(crate) fn shape(self) -> Shape {
        match self {
            Workload::Record | Workload::Transfer => Shape::Records,
            Workload::Log | Workload::Queue => Shape::Sequence,
            _ => Shape::Map,
        }
    }
}
