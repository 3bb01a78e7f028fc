//! Why a mapping could not be made or used.

#![forbid(unsafe_code)]

use crate::FlushMethod;
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
        /// The file, or what stands for one ("anonymous memory").
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
    /// Bytes of this mapping cannot be mapped elsewhere.
    #[error("bytes of this mapping cannot be lent: {why}")]
    CannotLend {
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
    /// Writing back failed earlier, or a page was lost. What was written since the last successful drain may be lost, and no
    /// later success can be believed.
    #[error(
        "an earlier write-back failed, or a page was lost, so this mapping can no longer promise anything; \
         reopen the file and recover"
    )]
    Poisoned,
    /// A page has no memory or disk behind it any more: the file was truncated, the disk was full when a hole was
    /// stored to, or the medium failed. (Only where [`Region::guarded`](crate::Region::guarded) says so: otherwise
    /// this is a SIGBUS.)
    #[error(
        "the page at {offset:#x} is gone: the file was truncated, its disk is full, or the medium failed; \
         restore it from a backup"
    )]
    PageLost {
        /// First byte of the first such page.
        offset: u64,
    },
    /// The mapping belongs to a parent process.
    #[error("this mapping was made before fork(); a child must open its own")]
    Forked,
    /// A [`Backing`](crate::Backing) lent bytes that cannot be mapped.
    #[error("extent {index} of a backing, {len} bytes at {offset} of its file, cannot be mapped: {why}")]
    BadExtent {
        /// Which one, counted from 0 within one answer of the backing.
        index: usize,
        /// Its first byte in its file.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Who serves a mounted volume lent a file of it in a way that cannot be.
    #[error(
        "{path} is lent by the daemon that serves it, but {why}; map it with `MapOptions::lease(false)`, or mount the volume anew"
    )]
    BadLease {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The reference is null, and was to be followed.
    #[error("a null reference cannot be followed; check `is_null` first")]
    Null,
    /// The offset is no place for the type.
    #[error("{offset:#x} is no place for {type_name}, which is aligned to {align} bytes")]
    Misaligned {
        /// The offset.
        offset: u64,
        /// The type's alignment in bytes.
        align: u64,
        /// The type.
        type_name: &'static str,
    },
    /// The bytes are not a value of the type: the medium is damaged, or holds something else.
    #[error("the bytes at {offset:#x} are no {type_name}; they are damaged, or something else lives there")]
    BadBits {
        /// The offset.
        offset: u64,
        /// The type.
        type_name: &'static str,
    },
    /// This processor cannot flush in the way asked for.
    #[error("this processor has no {0}; without `flush_with`, the best it has is chosen")]
    NoInstruction(FlushMethod),
    /// The table that the signal handler reads is full.
    #[error("{limit} mappings already have a fault handler; drop one first")]
    TooManyFaultHandlers {
        /// How many the table holds.
        limit: usize,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

impl Error {
    /// Turns an [`io::Error`] into [`Error::Io`].
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }
}
