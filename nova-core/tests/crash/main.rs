//! Every state that a power failure could leave of a volume, while files and directories change: mounted, compared with what was there
//! before or after the operation that was in flight, and used until the last file is gone.
//!
//! `PMEM_CRASH_LONG=1` explores further; without it, a seeded part that is quick.

mod ace;
mod harness;
mod lives;
mod media;
mod ops;
mod themes;
mod tree;
mod windows;
