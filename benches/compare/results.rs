//! What was measured, as JSON: every sample of every row.

use super::{control::Controls, limits::Limits, machine::Machine, trace::Trace, variant::Variant};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What the files say they are.
pub const FORMAT: &str = "nova-bench";
/// The version of the files that this program writes, and the only one that it reads.
pub const VERSION: u64 = 1;
/// A full run has a few megabytes.
const LONGEST: u64 = 256 << 20;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u64,
    /// Where it ran.
    pub machine: Machine,
    /// How.
    pub run: Run,
    /// What the machine can do at all, measured in the same run.
    pub limits: Limits,
    /// What was measured side by side.
    pub panels: Vec<Panel>,
    /// Operations over time.
    pub traces: Vec<Trace>,
}

/// How a run was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `smoke`, `quick` or `full`.
    pub scale: String,
    /// Rounds of each panel.
    pub rounds: u64,
    /// The seed of all random choices.
    pub seed: u64,
    /// The CPU that rows of one thread were kept on.
    pub cpu: Option<u64>,
    /// The commit of the source, with `-dirty` where files differ from it; `None` where there is no repository.
    pub commit: Option<String>,
    /// Whether the program was optimised.
    pub optimised: bool,
    /// Seconds since 1970 when it began.
    pub began: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Rows that took turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// Panels of a group stand together.
    pub group: String,
    /// What is done.
    pub workload: String,
    /// What one operation is.
    pub operation: String,
    /// Where the bytes are.
    pub place: String,
    /// How much there is to work on.
    pub set: String,
    /// The same in bytes, where it is about bytes.
    pub bytes: Option<u64>,
    /// The same in entries, where it is about entries.
    pub entries: Option<u64>,
    /// How many threads share the operations.
    pub threads: u64,
    /// Ranges that one transaction changes, where it is about them.
    pub ranges: Option<u64>,
    /// How keys are chosen, where it is about them.
    pub distribution: Option<String>,
    /// By which clock its rows are told and compared.
    pub clock: Clock,
    /// The loops that never change.
    pub controls: Controls,
    /// The rows.
    pub rows: Vec<Row>,
}

/// What a panel's times are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// CPU time of the one thread that works: waiting for memory and for drains is in it, other programs of a busy machine are not.
    Cpu,
    /// Time by the wall's clock: where a row waits for a device, for another thread, or for another process.
    Wall,
}

impl Clock {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Clock::Cpu => "CPU time",
            Clock::Wall => "by the clock",
        }
    }
}

impl Panel {
    /// What it is about, without what it shares with the others of its group: for titles and for comparing runs.
    pub fn title(&self) -> String {
        let mut title = self.workload.clone();
        if let Some(ranges) = self.ranges {
            title += &format!(", {ranges} range{}", if ranges == 1 { "" } else { "s" });
        }
        if let Some(distribution) = &self.distribution {
            title += &format!(", {distribution}");
        }
        let threads = if self.threads == 1 { String::new() } else { format!(", {} threads", self.threads) };
        format!("{title}, {}{threads}", self.set)
    }
}

/// A row of a panel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// How it makes changes durable.
    pub variant: Variant,
    /// With what.
    pub what: String,
    /// What is there after a crash.
    pub promise: String,
    /// Version and settings, of a peer.
    pub settings: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
}

impl Row {
    /// As tables call it.
    pub fn name(&self) -> String {
        match self.variant {
            Variant::Peer | Variant::Dram | Variant::Calls => self.what.clone(),
            variant if self.what.is_empty() => variant.name().to_owned(),
            variant => format!("{}: {}", variant.name(), self.what),
        }
    }

    /// The figures, if there are any.
    pub fn measured(&self) -> Option<&Measured> {
        match &self.outcome {
            Outcome::Measured(measured) => Some(measured),
            _ => None,
        }
    }
}

/// What came of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Its figures.
    Measured(Measured),
    /// It was not asked for, or cannot be here; why.
    NotRun(String),
    /// It went wrong; how.
    Failed(String),
}

/// Figures of a row. Times are nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Operations of a round.
    pub operations: u64,
    /// By the clock, for one operation: a sample for each round.
    pub wall_ns: Vec<f64>,
    /// CPU time of all threads, for one operation, of another process too, where that tells it.
    pub cpu_ns: Option<Vec<f64>>,
    /// Of single operations, timed by themselves; those of all rounds.
    pub latencies_ns: Vec<u64>,
    /// What one operation made durable, exactly; none where nobody counts.
    pub cost: Option<Cost>,
}

impl Measured {
    /// Nanoseconds of one operation, a sample for each round, by that clock; by the wall's where there is no other.
    pub fn samples(&self, clock: Clock) -> &[f64] {
        match (clock, &self.cpu_ns) {
            (Clock::Cpu, Some(cpu)) => cpu,
            _ => &self.wall_ns,
        }
    }
}

/// Averages over all operations that were timed in batches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Cache lines flushed or written past the caches.
    pub lines: f64,
    /// Drains.
    pub drains: f64,
    /// `msync`, `fsync` and the like.
    pub syncs: f64,
}

/// Why a file of results cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Longer than any run's results.
    #[error(
        "{path} has {len} bytes, and results have {LONGEST} at most: give a file that `nova bench --json` wrote"
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        len: u64,
    },
    /// No JSON, or not all of it.
    #[error("{path} is damaged or cut short: {source}; measure again with `nova bench --json`")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// JSON of something else.
    #[error(
        "{path} is JSON, but not of this program (its `format` is not {FORMAT:?}): give a file that `nova bench --json` wrote"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Of another version of this program.
    #[error("{path} has version {found} of the format, and this program reads version {VERSION}: {}", advice(*found))]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// Right at its head, and wrong in its body.
    #[error("{path} is damaged: {why}; measure again with `nova bench --json`")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

fn advice(found: u64) -> &'static str {
    if found > VERSION { "use the newer program that wrote it" } else { "measure again with this program" }
}

impl Results {
    /// Reads what a run wrote.
    pub fn read(path: &Path) -> Result<Results, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let len = fs::metadata(path).map_err(io)?.len();
        if len > LONGEST {
            return Err(ReadError::TooLong { path: path.to_owned(), len });
        }
        Results::parse(path, &fs::read(path).map_err(io)?)
    }

    /// As [`read`](Results::read), of bytes that were read from `path`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Results, ReadError> {
        let path = path.to_owned();
        let value: serde_json::Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(source) => return Err(ReadError::NotJson { path, source }),
        };
        if value.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(ReadError::Foreign { path });
        }
        match value.get("version").and_then(|version| version.as_u64()) {
            Some(VERSION) => {}
            Some(found) => return Err(ReadError::OtherVersion { path, found }),
            None => return Err(ReadError::Damaged { path, why: "it has no version".into() }),
        }
        let damaged = |why| ReadError::Damaged { path: path.clone(), why };
        let results: Results = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        results.check().map_err(damaged)?;
        Ok(results)
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string(self).expect("numbers and text");
        json.push('\n');
        json
    }

    /// Whether the figures can be times. They come from a file.
    fn check(&self) -> Result<(), String> {
        let are_times = |samples: &[f64]| samples.iter().all(|ns| ns.is_finite() && *ns > 0.0);
        for panel in &self.panels {
            for row in &panel.rows {
                let Some(measured) = row.measured() else { continue };
                let what = || format!("{:?} of {:?}", row.name(), panel.title());
                let cpu = measured.cpu_ns.as_deref().unwrap_or(&[]);
                if measured.wall_ns.is_empty() {
                    return Err(format!("{} has no samples", what()));
                }
                if measured.cpu_ns.is_some() && cpu.len() != measured.wall_ns.len() {
                    return Err(format!("{} has not as many samples of CPU time as others", what()));
                }
                if !are_times(&measured.wall_ns) || !are_times(cpu) {
                    return Err(format!("{} has a sample that is no time", what()));
                }
            }
            let Controls { arithmetic_ns, memory_ns, cpu_share } = &panel.controls;
            if ![arithmetic_ns, memory_ns, cpu_share].iter().all(|samples| are_times(samples)) {
                return Err(format!("the controls of {:?} have a sample that is no time", panel.title()));
            }
        }
        Ok(())
    }
}
