//! One JSON object a line: a question, and its answer.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Question {
    /// Which stores there are.
    List,
    /// Make a store for a workload, filled. One is open at a time.
    Open(Open),
    /// So many operations, of all threads together.
    Round {
        /// How many.
        operations: u64,
    },
    /// Check that the store holds what the operations left, once more after it was opened again; remove its files.
    Close,
}

/// A store for a workload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Open {
    /// Its name in the list.
    pub(crate) peer: String,
    /// As the list has them.
    pub(crate) workload: String,
    /// Records that it has at first.
    pub(crate) entries: u64,
    #[serde(default = "one")]
    pub(crate) threads: u64,
    #[serde(default)]
    pub(crate) seed: u64,
    /// In which a folder for the store's files is made.
    pub(crate) folder: PathBuf,
    /// Whether what returned survives a power failure.
    #[serde(default = "yes")]
    pub(crate) durable: bool,
    /// Of which kind the choice of records is, in the YCSB workloads.
    #[serde(default)]
    pub(crate) distribution: Distribution,
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

/// How records are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Distribution {
    #[default]
    Uniform,
    /// As YCSB's, with its constant of 0.99, the frequent ones scattered over all keys.
    Zipfian,
}

/// What is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Peers { peers: Vec<Listed> },
    Opened { ok: bool, syncs: bool },
    Round(Timed),
    Done { ok: bool },
    Error { error: String },
}

/// A store in the list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Listed {
    Present { peer: &'static str, version: String, settings: &'static str, workloads: Vec<&'static str> },
    Absent { peer: &'static str, absent: String },
}

/// What a round took.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Timed {
    pub(crate) operations: u64,
    /// By the wall clock, from the first thread's beginning to the last one's end.
    pub(crate) ns: u64,
    /// CPU time of the whole process, with the store's own threads.
    pub(crate) cpu_ns: u64,
    /// Of operations at equal distances: at most 1,000.
    pub(crate) latencies_ns: Vec<u64>,
}
