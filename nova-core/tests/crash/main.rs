//! Every state that a power failure could leave of a volume, while files and directories change: mounted, compared with what was there
//! before or after the operation that was in flight, and used until the last file is gone.
//!
//! `PMEM_CRASH_LONG=1` explores further, and all pairs of operations; without it, a seeded part that is quick. `PMEM_CRASH_PAIRS=1000` explores so many
//! of these pairs, and of the workloads that are random.

mod ace;
mod content;
mod harness;
mod lives;
mod media;
mod ops;
mod regressions;
mod rollback;
mod snapshots;
mod stores;
mod themes;
mod tree;
mod windows;

/// Whether content is protected in the workloads of this binary: `crash_protected` has all of them with checksums and parity.
const PROTECTED: bool = false;
/// Nor has metadata replicas: `crash_replicas` has many of them where it has.
const REPLICAS: bool = false;
