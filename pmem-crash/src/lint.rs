//! Flushes and drains that are missing on return, and those that nobody needs, with their source lines.
//!
//! These need no crash to be seen. A missing flush is a bug even where no image shows it; a superfluous one only costs. They
//! are about lines: on a region that is written back by pages there are none.

use crate::trace::{self, Code};
use pmem_map::LINE;
use rustc_hash::FxHashMap;
use std::{fmt, panic::Location, sync::Arc};

/// What is wrong with a line or a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LintKind {
    /// An operation returned as durable while a line that it stored was not flushed, nor covered by a durable record.
    NotFlushed,
    /// An operation returned as durable while a line that it flushed, or stored past the caches, was not drained.
    NotDrained,
    /// A line was flushed to which nobody had stored.
    CleanFlush,
    /// A line was flushed that was on its way already.
    SecondFlush,
    /// A thread drained that had flushed nothing.
    EmptyDrain,
}

impl LintKind {
    /// Whether it may lose data, rather than time.
    pub fn is_bug(self) -> bool {
        matches!(self, LintKind::NotFlushed | LintKind::NotDrained)
    }
}

impl fmt::Display for LintKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LintKind::NotFlushed => "not flushed on return",
            LintKind::NotDrained => "not drained on return",
            LintKind::CleanFlush => "flush of a clean line",
            LintKind::SecondFlush => "second flush before a drain",
            LintKind::EmptyDrain => "drain with nothing pending",
        })
    }
}

/// One finding: all of a kind that come from the same source line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Lint {
    /// What is wrong.
    pub kind: LintKind,
    /// The store that was not flushed, or the flush or the drain.
    pub caller: &'static Location<'static>,
    /// The code that stored, if it was traced and is not what `caller` called.
    pub code: Option<Code>,
    /// The operation in which it came first.
    pub operation: String,
    /// The line (offset of its first byte) that it was about first; none for a drain.
    pub line: Option<u64>,
    /// How often.
    pub count: u64,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lint { kind, caller, code, operation, line, count } = self;
        match code {
            Some(code) => write!(f, "{kind}: {code}")?,
            None => write!(f, "{kind}: {caller}")?,
        }
        write!(f, ", {count} times, first in {operation:?}")?;
        line.map_or(Ok(()), |line| write!(f, ", line {}", line / LINE))
    }
}

/// A line that somebody stored to and nobody flushed since.
#[derive(Clone, Copy, Debug)]
struct Dirty {
    caller: &'static Location<'static>,
    code: Option<Code>,
    /// Number of the operation that stored.
    operation: usize,
    /// The number of drains when a record was said to cover it.
    covered: Option<u64>,
}

/// A line on its way.
#[derive(Clone, Copy, Debug)]
struct Flushed {
    caller: &'static Location<'static>,
    operation: usize,
}

/// Follows the events of a run.
#[derive(Debug, Default)]
pub(crate) struct Linter {
    dirty: FxHashMap<u64, Dirty>,
    /// By thread, as `gettid` says.
    flushed: FxHashMap<i32, FxHashMap<u64, Flushed>>,
    drains: u64,
    found: FxHashMap<(LintKind, &'static Location<'static>, Option<Code>), Lint>,
    /// The operation begun last.
    operation: (usize, Arc<str>),
    /// Nothing is reported, only followed.
    pub(crate) muted: bool,
    /// The region is written back by pages: what is said here of lines does not hold.
    pub(crate) on_pages: bool,
}

impl Linter {
    pub(crate) fn begin(&mut self, number: usize, label: &Arc<str>) {
        self.operation = (number, Arc::clone(label));
    }

    fn report(&mut self, kind: LintKind, caller: &'static Location<'static>, line: Option<u64>) {
        self.report_code(kind, caller, None, line);
    }

    fn report_code(
        &mut self,
        kind: LintKind,
        caller: &'static Location<'static>,
        code: Option<Code>,
        line: Option<u64>,
    ) {
        if self.muted || self.on_pages {
            return;
        }
        let operation = &self.operation.1;
        let lint = self.found.entry((kind, caller, code)).or_insert_with(|| Lint {
            kind,
            caller,
            code,
            operation: operation.to_string(),
            line,
            count: 0,
        });
        lint.count += 1;
    }

    fn mine(&mut self) -> &mut FxHashMap<u64, Flushed> {
        self.flushed.entry(trace::thread_id()).or_default()
    }

    /// These lines may hold what is not durable, from before the run.
    pub(crate) fn unknown(&mut self, line: u64) {
        let dirty = Dirty { caller: Location::caller(), code: None, operation: usize::MAX, covered: None };
        self.dirty.insert(line, dirty);
    }

    pub(crate) fn stored(&mut self, line: u64, caller: &'static Location<'static>) {
        self.stored_by(line, caller, None);
    }

    /// A store of which is known what code did it.
    pub(crate) fn stored_by(&mut self, line: u64, caller: &'static Location<'static>, code: Option<Code>) {
        self.dirty.insert(line, Dirty { caller, code, operation: self.operation.0, covered: None });
    }

    pub(crate) fn stored_nontemporal(&mut self, line: u64, caller: &'static Location<'static>) {
        self.stored_nontemporal_by(trace::thread_id(), line, caller);
    }

    /// By this thread.
    pub(crate) fn stored_nontemporal_by(
        &mut self,
        thread: i32,
        line: u64,
        caller: &'static Location<'static>,
    ) {
        let operation = self.operation.0;
        self.flushed.entry(thread).or_default().insert(line, Flushed { caller, operation });
    }

    /// The store past the caches that was called there has flushed what it stored to this line in another way.
    pub(crate) fn flushed_an_end(&mut self, line: u64, caller: &'static Location<'static>) {
        if self.dirty.get(&line).is_some_and(|dirty| dirty.code.is_none() && dirty.caller == caller) {
            self.dirty.remove(&line);
            self.stored_nontemporal(line, caller);
        }
    }

    pub(crate) fn flushed(&mut self, line: u64, caller: &'static Location<'static>) {
        let operation = self.operation.0;
        match self.dirty.remove(&line) {
            Some(dirty) => {
                let operation = if dirty.operation == usize::MAX { operation } else { dirty.operation };
                self.mine().insert(line, Flushed { caller, operation });
            }
            None if self.mine().contains_key(&line) => {
                self.report(LintKind::SecondFlush, caller, Some(line));
            }
            None => {
                self.mine().insert(line, Flushed { caller, operation });
                self.report(LintKind::CleanFlush, caller, Some(line));
            }
        }
    }

    pub(crate) fn drained(&mut self, caller: &'static Location<'static>) {
        self.drains += 1;
        let mine = self.mine();
        if mine.is_empty() {
            self.report(LintKind::EmptyDrain, caller, None);
        } else {
            mine.clear();
        }
    }

    /// Everything is durable that was stored.
    pub(crate) fn synced(&mut self) {
        self.drains += 1;
        self.dirty.clear();
        self.flushed.clear();
    }

    pub(crate) fn covered(&mut self, line: u64) {
        if let Some(dirty) = self.dirty.get_mut(&line) {
            dirty.covered = Some(self.drains);
        }
    }

    /// The operations up to this number are durable, says the code under test.
    pub(crate) fn acknowledged(&mut self, number: usize) {
        let (mut unflushed, mut undrained) = (Vec::new(), Vec::new());
        for (&line, dirty) in &self.dirty {
            if dirty.operation <= number && dirty.covered != Some(self.drains) {
                unflushed.push((line, dirty.caller, dirty.code));
            }
        }
        for (&line, flushed) in self.flushed.values().flatten() {
            if flushed.operation <= number {
                undrained.push((line, flushed.caller));
            }
        }
        unflushed.sort_unstable_by_key(|(line, ..)| *line);
        undrained.sort_unstable_by_key(|(line, _)| *line);
        for (line, caller, code) in unflushed {
            self.report_code(LintKind::NotFlushed, caller, code, Some(line));
            self.dirty.remove(&line); // once
        }
        for (line, caller) in undrained {
            self.report(LintKind::NotDrained, caller, Some(line));
            for lines in self.flushed.values_mut() {
                lines.remove(&line);
            }
        }
    }

    /// What was found: bugs first, then by source line.
    pub(crate) fn finish(&mut self) -> Vec<Lint> {
        let mut found: Vec<Lint> = self.found.drain().map(|(_, lint)| lint).collect();
        found.sort_by_key(|lint| (lint.kind, lint.caller.file(), lint.caller.line(), lint.caller.column()));
        found
    }
}
