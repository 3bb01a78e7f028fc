//! The instructions that make a store durable, one file per platform.
//!
//! Each file has `detect`, `supports`, `flush_line`, `drain`, `copy_nontemporal` and `fill_nontemporal`.

#![allow(unsafe_code)]

use std::fmt;

#[cfg(all(target_arch = "x86_64", not(pmem_fallback), not(miri)))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", not(pmem_fallback), not(miri)))]
pub(crate) use x86_64::*;

#[cfg(all(target_arch = "aarch64", not(pmem_fallback), not(miri)))]
mod aarch64;
#[cfg(all(target_arch = "aarch64", not(pmem_fallback), not(miri)))]
pub(crate) use aarch64::*;

#[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), pmem_fallback, miri))]
mod fallback;
#[cfg(any(not(any(target_arch = "x86_64", target_arch = "aarch64")), pmem_fallback, miri))]
pub(crate) use fallback::*;

#[cfg(test)]
mod coverage;
#[cfg(test)]
pub(crate) mod trace;

/// How a line gets from the caches to the persistence domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushMethod {
    /// x86-64 `clwb`: writes the line back, keeps it cached.
    Clwb,
    /// x86-64 `clflushopt`: writes the line back and evicts it.
    Clflushopt,
    /// x86-64 `clflush`: as `clflushopt`, and ordered against its like, hence slow.
    Clflush,
    /// aarch64 `dc cvap`: cleans the line to the point of persistence.
    DcCvap,
    /// aarch64 `dc cvac`: cleans the line to the point of coherency only, which need not be persistent.
    DcCvac,
    /// No instruction: the caches are in the domain (eADR), pages are written back instead, or this platform
    /// has none.
    None,
}

impl FlushMethod {
    /// The best that this processor has.
    pub fn detect() -> FlushMethod {
        detect()
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        self == FlushMethod::None || supports(self)
    }
}

impl fmt::Display for FlushMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlushMethod::Clwb => "clwb",
            FlushMethod::Clflushopt => "clflushopt",
            FlushMethod::Clflush => "clflush",
            FlushMethod::DcCvap => "dc cvap",
            FlushMethod::DcCvac => "dc cvac",
            FlushMethod::None => "no flush instruction",
        })
    }
}
