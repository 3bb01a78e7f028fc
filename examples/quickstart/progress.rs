//! A bar on a terminal, lines elsewhere.

use crate::{parent::Phase, verify::Found};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr, stdout};

/// How far the killing has come.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(kills: u32) -> Progress {
        let terminal = stdout().is_terminal() && stderr().is_terminal();
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} kills survived; {msg}");
        let bar =
            style.ok().filter(|_| terminal).map(|style| ProgressBar::new(kills.into()).with_style(style));
        Progress { bar }
    }

    /// A kill has landed, and the pool was looked at.
    pub(crate) fn kill(&self, number: u32, phase: Phase, transactions: u64, found: &Found) {
        let what = match (phase, found.in_doubt_committed) {
            (Phase::Before, _) => "before a commit",
            (Phase::Inside, Some(true)) => "inside a commit, which had happened",
            (Phase::Inside, _) => "inside a commit, which left nothing",
            (Phase::After, _) => "after a commit",
        };
        let Found { files, postings, replayed, differences, .. } = found;
        let line = format!(
            "after {transactions} transactions, {what}; {replayed} replayed, {files} files with {postings} \
             postings compared, {} differences",
            differences.len()
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.set_position(number.into());
            }
            None => println!("kill {number:>2}: {line}"),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
