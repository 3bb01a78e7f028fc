//! Why a mapping could not be made or used.

use std::{io, path::PathBuf};

/// Result of mapping operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a mapping could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process, or another mapping of this one, holds the file.
    #[error("{path} is in use{}; close it there, or open a copy", holder(*.pid))]
    Locked {
        /// The file.
        path: PathBuf,
        /// Who holds it, where that can be found out.
        pid: Option<u32>,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: "open", "map", "extend", ...
        action: &'static str,
        /// The file; empty for anonymous memory.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// A range outside the mapping.
    #[error("bytes {start}..{end} are outside a mapping of {len} bytes")]
    OutOfBounds {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Length of the mapping.
        len: u64,
    },
    /// The owner of the bytes cannot extend them.
    #[error("this mapping cannot grow to {wanted} bytes: {why}")]
    CannotGrow {
        /// The length asked for.
        wanted: u64,
        /// What stands in the way.
        why: &'static str,
    },
    /// A length that no mapping can have.
    #[error("a mapping of {len} bytes is not possible: {why}")]
    BadLength {
        /// The length.
        len: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Writing back failed earlier. What was written since the last successful drain may be lost, and no
    /// later success can be believed.
    #[error(
        "an earlier write-back failed, so this mapping can no longer promise anything; reopen the file and recover"
    )]
    Poisoned,
    /// The mapping belongs to a parent process.
    #[error("this mapping was made before fork(); a child must open its own")]
    Forked,
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}
