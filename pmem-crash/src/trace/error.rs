//! Why stores cannot be traced.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nobody traces there"))]

use std::io;

/// Why stores cannot be traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// Not this processor.
    #[error("every store can be traced on x86-64 only; explore at the level of events")]
    Unsupported,
    /// The memory has one view only.
    #[error("the stores to {medium} cannot be traced; map a file (not a shared view of one) or a memfd")]
    OneView {
        /// What the mapping is made of.
        medium: pmem_map::Medium,
    },
    /// The operating system refused.
    #[error("cannot {action} a trace of every store: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The mapping cannot be protected.
    #[error("a mapping cannot be protected to trace its stores: {0}")]
    Mapping(#[from] pmem_map::Error),
    /// Too many stores between two events.
    #[error(
        "{lost} stores found no room in the trace of every store; store less at once, or flush and drain between"
    )]
    Full {
        /// Stores that are not in the trace.
        lost: u64,
    },
}

impl TraceError {
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> TraceError {
        move |source| TraceError::Io { action, source }
    }
}
