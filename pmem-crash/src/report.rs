//! What an exploration found.

use crate::{config::Config, line::How};
use std::{fmt, panic::Location};

/// What an exploration found. Displayed, it is one aligned line of a table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The exploration's name.
    pub name: String,
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
}

impl Report {
    pub(crate) fn new(name: &str, config: &Config) -> Report {
        Report {
            name: name.to_owned(),
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
        }
    }

    /// `Err` with the whole account of the first failure, if there was one.
    ///
    /// # Errors
    ///
    /// See above.
    pub fn into_result(self) -> Result<Report, String> {
        match &self.first_failure {
            Some(failure) => Err(format!("{}: {failure}", self.name)),
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
            "{:<44} {:>5} operations {:>6} points {:>8} images {:>8} recoveries  {:<8} {:>4} failures",
            self.name,
            self.operations,
            self.points,
            self.images,
            self.recoveries,
            match (self.stopped, self.complete) {
                (true, _) => "stopped",
                (false, true) => "complete",
                (false, false) => "sampled",
            },
            self.failures,
        )
    }
}

/// An image that was recovered wrongly, and how it came about.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
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
}

/// One power failure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Crash {
    /// At which moment.
    pub moment: String,
    /// The stores that were lost. Everything else was kept.
    pub lost: Vec<LostStore>,
    /// The length of the file before the changes that were lost, if any was.
    pub lost_length: Option<u64>,
    /// Whether the file's name was lost.
    pub lost_name: bool,
}

/// A store, or the part of it in one line, that did not become durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostStore {
    /// First byte.
    pub offset: u64,
    /// Length.
    pub len: u64,
    /// Who called.
    pub caller: &'static Location<'static>,
    /// Whether this was no store of the region: `caller` is then who called when it was found.
    pub raw: bool,
}

impl LostStore {
    pub(crate) fn new(line: u64, lost: &crate::line::Lost) -> LostStore {
        let (at, len) = lost.span;
        LostStore { offset: line + at, len, caller: lost.caller, raw: lost.how == How::Raw }
    }
}

impl fmt::Display for LostStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.raw { "changed by a raw store, found at" } else { "stored at" };
        let (line, end) = (self.offset / 64, self.offset + self.len);
        write!(f, "bytes {}..{end} (line {line}) {how} {}", self.offset, self.caller)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a power failure leaves an image that is recovered wrongly")?;
        writeln!(f, "  wrong      {}", self.message)?;
        let Failure { acknowledged, begun, .. } = self;
        writeln!(f, "  operation  {} ({begun} begun, {acknowledged} acknowledged)", self.operation)?;
        for crash in &self.crashes {
            writeln!(f, "  crash      {}", crash.moment)?;
            for store in &crash.lost {
                writeln!(f, "    lost     {store}")?;
            }
            if let Some(length) = crash.lost_length {
                writeln!(f, "    lost     the change of the file's length from {length}")?;
            }
            if crash.lost_name {
                writeln!(f, "    lost     the file's name")?;
            }
            if crash.lost.is_empty() && crash.lost_length.is_none() && !crash.lost_name {
                writeln!(f, "    lost     nothing")?;
            }
        }
        write!(f, "  repeat     image {} with PMEM_CRASH_SEED={:#x}", self.image, self.seed)
    }
}
