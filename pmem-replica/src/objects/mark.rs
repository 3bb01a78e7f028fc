//! Who is at work: a push and a prune would harm each other, as chunks that a push relies on have no manifest yet.
//!
//! Each writes a mark before it looks for the other's. So one of the two sees the other, whoever comes first; both may, and then both
//! give up. A process that is killed leaves its mark; one that is older than a day is nobody's.

use super::{Error, Label, Result, Store};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds after which whoever left a mark is dead.
const DEAD: u64 = 24 * 3600;
const PUSHES: &str = "marks/push/";
const PRUNES: &str = "marks/prune/";

/// A mark, until this is dropped.
#[derive(Debug)]
pub(super) struct Mark<'s> {
    store: &'s Store,
    path: String,
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        // If it cannot be deleted it is one that a process left that was killed.
        _ = self.store.delete(&self.path);
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Store {
    fn mark(&self, path: String) -> Result<Mark<'_>> {
        self.put(&path, now().to_string().into_bytes())?;
        Ok(Mark { store: self, path })
    }

    /// A mark of others that are at work, and for how many seconds they have been.
    fn marked(&self, folder: &str) -> Result<Option<(String, u64)>> {
        for (path, _) in self.names(folder)? {
            let Some(content) = self.get(&path)? else { continue };
            let since = String::from_utf8(content).ok().and_then(|text| text.trim().parse().ok());
            // One without a time is being written, or was.
            let seconds = now().saturating_sub(since.unwrap_or_else(now));
            if seconds < DEAD {
                return Ok(Some((path[folder.len()..].to_owned(), seconds)));
            }
        }
        Ok(None)
    }

    /// A push begins. (Done again after a kill, it has the same mark.)
    pub(super) fn mark_push(&self, label: &Label) -> Result<Mark<'_>> {
        let Label { kind, source, version, .. } = label;
        let mark = self.mark(format!("{PUSHES}{}-{source}-{:020}", kind.name(), version.number))?;
        match self.marked(PRUNES)? {
            None => Ok(mark),
            Some((_, seconds)) => Err(Error::PruneUnderWay { place: self.place.to_string(), seconds }),
        }
    }

    /// A prune begins. `force`: whoever else has left a mark is dead.
    pub(super) fn mark_prune(&self, force: bool) -> Result<Mark<'_>> {
        if force {
            for folder in [PUSHES, PRUNES] {
                self.names(folder)?.iter().try_for_each(|(path, _)| self.delete(path))?;
            }
        }
        let mark = self.mark(format!("{PRUNES}{:016x}", fastrand::u64(..)))?;
        match self.marked(PUSHES)? {
            None => Ok(mark),
            Some((push, seconds)) => {
                Err(Error::PushUnderWay { place: self.place.to_string(), push, seconds })
            }
        }
    }
}
