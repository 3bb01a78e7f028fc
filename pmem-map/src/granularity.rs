//! What a mapping's medium asks for, and what it promises.

/// What a program must do to make a store durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Granularity {
    /// The caches are in the persistence domain (eADR): drain only.
    Byte,
    /// Flush cache lines, then drain (ADR).
    CacheLine,
    /// An ordinary file: write pages back (`msync`).
    Page,
}

/// What a durable byte survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nobody knows: a network or FUSE filesystem, or one this crate has no facts about.
    Unknown,
    /// The end of the process, not of the machine: tmpfs, anonymous memory, emulated persistent memory.
    Process,
    /// The kernel granted `MAP_SYNC`, so the filesystem promises it; no persistence domain confirms it.
    Claimed,
    /// The loss of power: `MAP_SYNC` on a region whose persistence domain the kernel names, or `msync` on
    /// a known disk filesystem (whose disk keeps its promises).
    Power,
}
