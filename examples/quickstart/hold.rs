//! A worker that stands still in the middle of a commit, until it is killed.
//!
//! A commit on memory takes microseconds, less than a message takes to the parent; so the parent cannot hit one by
//! aiming. It tells the worker which commit it will be, and after how many of its stores, flushes and drains to stand still;
//! where the SIGKILL finds it, and what it finds, is as without this.

use pmem_map::{Event, Observer, Region};
use std::{
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// Where to stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// How many commits to let pass.
    pub(crate) commits: u32,
    /// After how many events of the next one; from 1.
    pub(crate) events: u32,
}

impl FromStr for Hold {
    type Err = String;
    fn from_str(text: &str) -> Result<Hold, String> {
        let numbers = text.split_once(':').and_then(|(c, e)| Some((c.parse().ok()?, e.parse().ok()?)));
        let (commits, events) = numbers.ok_or_else(|| format!("{text:?} is not COMMITS:EVENTS"))?;
        Ok(Hold { commits, events })
    }
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.commits, self.events)
    }
}

/// Counts the events of a commit, and stands still at one of them.
#[derive(Default)]
pub(crate) struct Holder {
    /// Events until then; 0: not in that commit.
    left: AtomicU32,
}

impl Holder {
    /// The next events count; 0 for none.
    pub(crate) fn arm(&self, events: u32) {
        self.left.store(events, Relaxed);
    }
}

impl Observer for Holder {
    fn event(&self, _: &Region, _: Event<'_>) {
        match self.left.load(Relaxed) {
            0 => {}
            1 => loop {
                std::thread::park();
            },
            more => self.left.store(more - 1, Relaxed),
        }
    }
}
