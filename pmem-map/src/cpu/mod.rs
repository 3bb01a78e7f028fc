//! The instructions that make a store durable, one file per platform.
//!
//! Each file has `flush_line`, `drain`, `copy_nontemporal` and `detect`; `Flush` says which instruction to use.

#[cfg(all(target_arch = "x86_64", not(pmem_fallback), not(miri)))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", not(pmem_fallback), not(miri)))]
pub(crate) use x86_64::*;

#[cfg(any(not(target_arch = "x86_64"), pmem_fallback, miri))]
mod fallback;
#[cfg(any(not(target_arch = "x86_64"), pmem_fallback, miri))]
pub(crate) use fallback::*;

/// How a line gets from the caches to the persistence domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// `clwb`: writes the line back, keeps it cached.
    Clwb,
    /// `clflushopt`: writes the line back and evicts it.
    Clflushopt,
    /// `clflush`: as `clflushopt`, and ordered against its like, hence slow.
    Clflush,
    /// Nothing to do: the caches are in the domain (eADR), or this platform has no such instruction.
    None,
}
