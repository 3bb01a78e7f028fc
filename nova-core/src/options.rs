//! How a volume is mounted.

use crate::{Nova, Result, mount::mount, rules::Rule, snapshot::Cleaning};
use pmem_map::{Dirtiness, Mapping};
use std::sync::Arc;

/// How to mount a volume.
#[derive(Clone, Debug)]
pub struct MountOptions {
    pub(crate) read_only: bool,
    pub(crate) in_place: bool,
    pub(crate) access_times: AccessTimes,
    pub(crate) threads: usize,
    pub(crate) write_protected: bool,
    pub(crate) bad_blocks: Vec<u64>,
    pub(crate) cleaning: Cleaning,
    pub(crate) stores_known_by: Dirtiness,
    pub(crate) broken: Option<Rule>,
}

/// When reading changes a file's access time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessTimes {
    /// Never.
    Never,
    /// If it is not later than the last change, or older than a day.
    #[default]
    Relative,
    /// Each time: a commit for each read.
    Always,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        MountOptions {
            read_only: false,
            in_place: false,
            access_times: AccessTimes::default(),
            threads,
            write_protected: false,
            bad_blocks: Vec::new(),
            cleaning: Cleaning::default(),
            stores_known_by: Dirtiness::Scan,
            broken: None,
        }
    }
}

impl MountOptions {
    /// To write, strict: data and metadata atomic and durable when a call returns.
    pub fn new() -> MountOptions {
        MountOptions::default()
    }

    /// Nothing is written, not even what a recovery would. A volume that was not unmounted has to be a private view of its file then
    /// (`pmem_map::Lock::Shared`): it is recovered in there.
    pub fn read_only(mut self, read_only: bool) -> MountOptions {
        self.read_only = read_only;
        self
    }

    /// Relaxed: overwriting goes in place, durable when the call returns, atomic for aligned words only. Metadata stays atomic.
    pub fn in_place(mut self, in_place: bool) -> MountOptions {
        self.in_place = in_place;
        self
    }

    /// When reading changes access times.
    pub fn access_times(mut self, policy: AccessTimes) -> MountOptions {
        self.access_times = policy;
        self
    }

    /// Threads that scan after a crash: as many as there are processors, unless set.
    pub fn threads(mut self, threads: usize) -> MountOptions {
        self.threads = threads.max(1);
        self
    }

    /// Stray stores of the program do not reach the volume: its pages are read-only but for the time that a record, or content, is stored. A stray store
    /// is a SIGSEGV. Where the processor has protection keys that is so for all threads but the one that stores, and takes two instructions; elsewhere it takes
    /// two system calls, and while one thread stores others may: [`Nova::write_protection`](crate::Nova::write_protection). The benchmark `fs_protect` has figures.
    pub fn write_protected(mut self, write_protected: bool) -> MountOptions {
        self.write_protected = write_protected;
        self
    }

    /// When what deleted snapshots leave is cleaned up: in the background, unless set.
    pub fn cleaning(mut self, cleaning: Cleaning) -> MountOptions {
        self.cleaning = cleaning;
        self
    }

    /// For tests: how it is known which pages of a mapping are stored to.
    #[doc(hidden)]
    pub fn stores_known_by(mut self, dirtiness: Dirtiness) -> MountOptions {
        self.stores_known_by = dirtiness;
        self
    }

    /// For tests: without this rule.
    #[doc(hidden)]
    pub fn without(mut self, rule: Rule) -> MountOptions {
        self.broken = Some(rule);
        self
    }

    /// Mounts the volume in the mapping.
    ///
    /// # Errors
    ///
    /// [`Error::NotAVolume`](crate::Error::NotAVolume), [`Error::Unsupported`](crate::Error::Unsupported), [`Error::Truncated`](crate::Error::Truncated), [`Error::Damaged`](crate::Error::Damaged); [`Error::NeedsRecovery`](crate::Error::NeedsRecovery). Damage of single
    /// files does not keep a volume from being mounted, but read-only: [`MountReport::damage`](crate::MountReport::damage).
    pub fn mount(&self, mapping: Mapping) -> Result<Nova> {
        mount(Arc::new(mapping.into_region()), self.clone())
    }
}
