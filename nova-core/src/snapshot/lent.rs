//! Snapshots while files are lent to other processes, whose stores are held up by somebody there.
//!
//! Before a snapshot is made, each of them is asked to let no store proceed; when all have said that none does, and not before, the snapshot is made as beside
//! mappings of this process. Then stores proceed, each first one to a page after [`LentFile::keep`](crate::LentFile::keep). Who does not
//! answer in time is not waited for: the snapshot is refused, and stores proceed.

use super::mapped::{MappedFile, MappedFiles};
use crate::{Error, Result};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Holds up the stores of a process that a file is lent to.
pub trait Holder: Send + Sync + 'static {
    /// Asks it to let no store to the file proceed. Returns at once.
    fn ask(&self);

    /// Waits until no store proceeds; `false` if some still may by then.
    fn wait(&self, until: Instant) -> bool;

    /// Stores may proceed again. `taken`: there is a snapshot of this moment, and before the first store to each page it has to be kept
    /// ([`LentFile::keep`](crate::LentFile::keep)); otherwise it is as if nobody had asked.
    fn release(&self, taken: bool);
}

/// How long a process may take to hold up its stores.
const PATIENCE: Duration = Duration::from_secs(2);

/// Files whose stores are held up; they proceed when it is dropped.
pub(super) struct Held {
    files: Vec<Arc<MappedFile>>,
    taken: bool,
}

impl Held {
    /// Holds up all stores of other processes.
    pub(super) fn new(mapped: &MappedFiles) -> Result<Held> {
        let held = Held { files: mapped.lent(), taken: false };
        let holders = || held.files.iter().filter_map(|file| file.holder());
        holders().for_each(|holder| holder.ask());
        let until = Instant::now() + PATIENCE;
        let holding = holders().filter(|holder| holder.wait(until)).count();
        match (held.files.len() - holding) as u64 {
            0 => Ok(held),
            files => Err(Error::Lent { files }),
        }
    }

    /// Whether that is all that are lent. The caller holds the gate alone.
    pub(super) fn check(&self, mapped: &MappedFiles) -> Result<()> {
        let is_held = |file: &Arc<MappedFile>| self.files.iter().any(|held| Arc::ptr_eq(held, file));
        match mapped.lent().iter().filter(|file| !is_held(file)).count() as u64 {
            0 => Ok(()),
            files => Err(Error::Lent { files }),
        }
    }

    /// There is a snapshot of this moment.
    pub(super) fn taken(mut self) {
        self.taken = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.files.iter().filter_map(|file| file.holder()).for_each(|holder| holder.release(self.taken));
    }
}
