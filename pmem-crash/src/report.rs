//! What an exploration found.

use crate::{
    Level, Lint, LintKind, Step,
    config::Config,
    line::How,
    replay,
    trace::{Code, TraceError},
};
use pmem_map::LINE;
use std::{fmt, panic::Location, path::PathBuf};

/// What was explored of one operation: of all with the same label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// The label; empty for what came before the first operation.
    pub operation: String,
    /// Its stores, flushes, drains and syncs.
    pub events: u64,
    /// Images that a failure in it, or after it and before the next, could have left.
    pub images: u64,
    /// Images opened in all: these, and what crashes inside recovery made of them.
    pub recoveries: u64,
    /// Images that were recovered wrongly.
    pub failures: u64,
}

/// What an exploration found. Displayed, it is one aligned line of a table; with `{:#}`, one more for each operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The exploration's name.
    pub name: String,
    /// What was seen of the code: less than was [asked for](Config::level), where that is not supported.
    pub level: Level,
    /// Why it is less.
    pub level_error: Option<String>,
    /// At [`Level::EveryStore`]: stores of the workload that were traced.
    pub stores: u64,
    /// Operations that the workload began.
    pub operations: usize,
    /// Moments of the workload at which the power failed.
    pub points: usize,
    /// Distinct images that a failure at one of them could have left, and that were opened.
    pub images: u64,
    /// Images opened in all: these, and what crashes inside recovery made of them.
    pub recoveries: u64,
    /// Whether every image that a failure of the workload could have left was among them, rather than a
    /// sample at some crash point.
    pub complete: bool,
    /// Whether that holds for the crashes inside recovery too.
    pub nested_complete: bool,
    /// Whether the exploration stopped at the first failure; nothing is complete then.
    pub stopped: bool,
    /// Images that were recovered wrongly.
    pub failures: u64,
    /// Images opened until the first failure, that one included.
    pub images_to_first_failure: Option<u64>,
    /// The first failure.
    pub first_failure: Option<Failure>,
    /// Where the samples came from.
    pub seed: u64,
    /// The stores, flushes and drains of the workload: what a [`Fault`](crate::Fault) may befall.
    pub steps: Vec<Step>,
    /// Flushes and drains of the workload that are missing, or that nobody needs.
    pub lints: Vec<Lint>,
    /// The counts of each operation, in the order in which they began.
    pub by_operation: Vec<Tally>,
}

impl Report {
    pub(crate) fn new(name: &str, config: &Config, level_error: Option<TraceError>) -> Report {
        Report {
            name: name.to_owned(),
            level: config.level,
            level_error: level_error.map(|error| error.to_string()),
            stores: 0,
            operations: 0,
            points: 0,
            images: 0,
            recoveries: 0,
            complete: true,
            nested_complete: true,
            stopped: false,
            failures: 0,
            images_to_first_failure: None,
            first_failure: None,
            seed: config.seed,
            steps: Vec::new(),
            lints: Vec::new(),
            by_operation: Vec::new(),
        }
    }

    /// The counts of an operation.
    pub(crate) fn tally(&mut self, operation: &str) -> &mut Tally {
        let known = self.by_operation.iter().position(|tally| tally.operation == operation);
        let index = known.unwrap_or_else(|| {
            self.by_operation.push(Tally { operation: operation.to_owned(), ..Tally::default() });
            self.by_operation.len() - 1
        });
        &mut self.by_operation[index]
    }

    /// Takes in the steps of the workload.
    pub(crate) fn count(&mut self, steps: Vec<Step>) {
        steps.iter().for_each(|step| self.tally(&step.operation).events += 1);
        self.steps = steps;
    }

    /// The workload did not come to its end, with a fault: nothing is explored.
    pub(crate) fn fail_at_once(&mut self, message: String) {
        self.failures = 1;
        (self.stopped, self.complete, self.nested_complete) = (true, false, false);
        self.images_to_first_failure = Some(0);
        self.first_failure = Some(Failure {
            exploration: self.name.clone(),
            place: Repeat(String::new()),
            dumped: None,
            operation: self.steps.last().map_or_else(String::new, |step| step.operation.to_string()),
            begun: self.operations,
            acknowledged: 0,
            point: 0,
            depth: 0,
            crashes: Vec::new(),
            message,
            image: 0,
            seed: self.seed,
        });
    }

    /// Passes if there are no lints but those that an exception allows: of this kind, from a file whose path ends so. Each
    /// exception comes with its reason, for the reader.
    ///
    /// # Panics
    ///
    /// With all others, otherwise.
    #[track_caller]
    pub fn assert_no_lints_but(&self, exceptions: &[(LintKind, &str, &str)]) {
        let allowed = |lint: &&Lint| {
            exceptions.iter().any(|(kind, file, _)| *kind == lint.kind && lint.caller.file().ends_with(file))
        };
        let found: Vec<String> =
            self.lints.iter().filter(|lint| !allowed(lint)).map(|lint| lint.to_string()).collect();
        assert!(found.is_empty(), "{}:\n  {}", self.name, found.join("\n  "));
    }

    /// Passes if there are no lints.
    ///
    /// # Panics
    ///
    /// With all of them, otherwise.
    #[track_caller]
    pub fn assert_no_lints(&self) {
        self.assert_no_lints_but(&[]);
    }

    /// `Err` with the whole account of the first failure, if there was one.
    ///
    /// # Errors
    ///
    /// See above.
    pub fn into_result(self) -> Result<Report, String> {
        match &self.first_failure {
            Some(failure) => Err(failure.to_string()),
            None => Ok(self),
        }
    }

    /// Passes if there was no failure.
    ///
    /// # Panics
    ///
    /// With the whole account of the first failure.
    #[track_caller]
    pub fn assert_ok(&self) {
        if let Err(failure) = self.clone().into_result() {
            panic!("{failure}");
        }
    }

    /// Passes if there was a failure: for a planted bug, which proves that the exploration looks. Returns how
    /// many images it took.
    ///
    /// # Panics
    ///
    /// When nothing was found.
    #[track_caller]
    pub fn expect_failure(&self) -> u64 {
        self.images_to_first_failure.unwrap_or_else(|| panic!("a failure was expected, none found:\n{self}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<44} {:>5} operations {:>6} events {:>6} points {:>8} images {:>8} recoveries  {:<8} {:>4} failures",
            self.name,
            self.operations,
            self.steps.len(),
            self.points,
            self.images,
            self.recoveries,
            match (self.stopped, self.complete) {
                (true, _) => "stopped",
                (false, true) => "complete",
                (false, false) => "sampled",
            },
            self.failures,
        )?;
        let tallies: &[Tally] = if f.alternate() { &self.by_operation } else { &[] };
        for tally in tallies {
            let Tally { operation, events, images, recoveries, failures } = tally;
            let operation = if operation.is_empty() { "(before the first)" } else { operation };
            write!(
                f,
                "\n    {operation:<40.40} {:>17} {events:>6} events {:>13} {images:>8} images {recoveries:>8} recoveries \
                 {failures:>14} failures",
                "", "",
            )?;
        }
        Ok(())
    }
}

/// An image that was recovered wrongly, and how it came about.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// The exploration's name.
    pub exploration: String,
    /// Which operation the workload had begun last.
    pub operation: String,
    /// Operations begun.
    pub begun: usize,
    /// Operations acknowledged.
    pub acknowledged: usize,
    /// Number of the workload's crash point, from 1.
    pub point: usize,
    /// How many crashes inside recovery came after it: `crashes.len() - 1`.
    pub depth: u32,
    /// The crash of the workload, then those inside recovery.
    pub crashes: Vec<Crash>,
    /// What the oracle, the recovery or a panic said.
    pub message: String,
    /// Images opened until this one, included.
    pub image: u64,
    /// Where the samples came from: with the same configuration, the failure comes again.
    pub seed: u64,
    /// The image's file, if `PMEM_CRASH_DUMP` names a folder for it: what the failure left. Beside it are `.stored`,
    /// what a reader saw before the failure, and `.txt`.
    pub dumped: Option<PathBuf>,
    pub(crate) place: Repeat,
}

/// Where the image is in its exploration, and which exploration of its name that was. Two reports of the same findings are equal
/// though one exploration came after the other.
#[derive(Clone, Debug)]
pub(crate) struct Repeat(pub(crate) String);

impl PartialEq for Repeat {
    fn eq(&self, other: &Repeat) -> bool {
        let path = |repeat: &Repeat| repeat.0.split_once('/').map(|(_, path)| path.to_owned());
        path(self) == path(other)
    }
}

/// One power failure, or the end of a process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Crash {
    /// At which moment.
    pub moment: String,
    /// Only the process ended: the next one saw all its stores, and nothing was lost before the next crash.
    pub killed: bool,
    /// The stores that were lost. Everything else was kept.
    pub lost: Vec<LostStore>,
    /// The lines that lost something: as the failure left them, and as they were stored.
    pub differences: Vec<Difference>,
    /// The length of the file before the changes that were lost, if any was.
    pub lost_length: Option<u64>,
    /// Whether the file's name was lost.
    pub lost_name: bool,
}

/// A line of which something was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Of its first byte.
    pub offset: u64,
    /// What the failure left.
    pub left: [u8; LINE as usize],
    /// What had been stored.
    pub stored: [u8; LINE as usize],
}

/// A store, or the part of it in one line, that did not become durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostStore {
    /// First byte.
    pub offset: u64,
    /// Length.
    pub len: u64,
    /// Who called the region's method that stored. If that is not how it was stored: the call at which it was found.
    pub caller: &'static Location<'static>,
    /// At [`Level::EveryStore`]: which code stored, if it was no method of the region that `caller` called.
    pub code: Option<Code>,
    /// Whether this was no store of the region, and not traced: `caller` is then the store, flush or drain at which it was found.
    pub raw: bool,
    /// Whether it was made before the workload began, by nobody knows whom: `caller` is then meaningless.
    pub before: bool,
}

impl LostStore {
    pub(crate) fn new(line: u64, lost: &crate::line::Lost) -> LostStore {
        let (at, len) = lost.span;
        let (raw, before) = (lost.how == How::Raw, lost.how == How::Before);
        LostStore { offset: line + at, len, caller: lost.caller, code: lost.code, raw, before }
    }
}

impl fmt::Display for LostStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, end) = (self.offset / LINE, self.offset + self.len);
        write!(f, "bytes {}..{end} (line {line}) ", self.offset)?;
        if let Some(code) = self.code {
            return write!(f, "stored at {code}");
        }
        match (self.before, self.raw) {
            (true, _) => write!(f, "were not durable in the beginning"),
            (_, true) => {
                write!(f, "changed by no store of the mapping, found by the call at {}", self.caller)
            }
            _ => write!(f, "stored at {}", self.caller),
        }
    }
}

/// More than this nobody reads.
const MOST_STORES: usize = 16;
const MOST_ROWS: usize = 16;

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.killed { "process killed at" } else { "power fails at" };
        writeln!(f, "  crash      {what} {}", self.moment)?;
        for store in self.lost.iter().take(MOST_STORES) {
            writeln!(f, "    lost     {store}")?;
        }
        if self.lost.len() > MOST_STORES {
            writeln!(f, "    lost     and {} more", self.lost.len() - MOST_STORES)?;
        }
        if let Some(length) = self.lost_length {
            writeln!(f, "    lost     the change of the file's length from {length}")?;
        }
        if self.lost_name {
            writeln!(f, "    lost     the file's name")?;
        }
        if self.lost.is_empty() && self.lost_length.is_none() && !self.lost_name {
            writeln!(f, "    lost     nothing")?;
        }
        Ok(())
    }
}

impl Crash {
    /// Rows of 16 bytes that differ: what is left, and what had been stored.
    fn write_differences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.differences.iter().flat_map(|difference| {
            let rows = difference.left.chunks(16).zip(difference.stored.chunks(16));
            rows.zip((difference.offset..).step_by(16)).filter(|((left, stored), _)| left != stored)
        });
        let rows: Vec<_> = rows.collect();
        for (index, ((left, stored), offset)) in rows.iter().take(MOST_ROWS).enumerate() {
            let label = if index == 0 { "difference" } else { "" };
            writeln!(f, "  {label:<10} {offset:08x}  left   {}", Hex(left))?;
            writeln!(f, "  {:<10} {:8}  stored {}", "", "", Hex(stored))?;
        }
        if rows.len() > MOST_ROWS {
            writeln!(f, "  {:<10} and {} more rows of 16 bytes", "", rows.len() - MOST_ROWS)?;
        }
        Ok(())
    }
}

/// Bytes as hexadecimal numbers, in two groups.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let space = match index {
                0 => "",
                8 => "  ",
                _ => " ",
            };
            write!(f, "{space}{byte:02x}")?;
        }
        Ok(())
    }
}

impl Failure {
    /// The shell command that tries this image again and no other.
    pub fn command(&self) -> String {
        replay::command(&self.exploration, &self.place.0)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: a power failure leaves an image that is recovered wrongly", self.exploration)?;
        writeln!(f, "  wrong      {}", self.message)?;
        let Failure { acknowledged, begun, .. } = self;
        writeln!(f, "  operation  {} ({begun} begun, {acknowledged} acknowledged)", self.operation)?;
        for crash in &self.crashes {
            write!(f, "{crash}")?;
        }
        if let Some(crash) = self.crashes.last() {
            crash.write_differences(f)?;
        }
        if let Some(path) = &self.dumped {
            writeln!(f, "  image      {}", path.display())?;
        }
        writeln!(f, "  found      as image {}, seed {:#x}", self.image, self.seed)?;
        write!(f, "  repeat     {}", self.command())
    }
}
