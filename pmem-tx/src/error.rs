//! Why a transaction failed.

/// Result of journal operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a transaction, or opening a log, failed. Whatever failed, nothing was changed, unless the variant says
/// otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The mapping's error.
    #[error(transparent)]
    Map(#[from] pmem_map::Error),
    /// The transaction's record is larger than the log takes.
    #[error(
        "the transaction needs {needed} bytes of log, a record may have {available}; \
         split it, or give the log more room: a larger area, or lent space"
    )]
    LogFull {
        /// Bytes needed.
        needed: u64,
        /// Bytes of the largest record.
        available: u64,
    },
    /// Bytes outside the mapping, inside the log, misaligned, or not a value of the type.
    #[error("no valid {expected} at offset {offset}: {why}")]
    Invalid {
        /// Where.
        offset: u64,
        /// The Rust type asked for.
        expected: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// The bytes where a log should be were never one.
    #[error("no log at offset {offset}: {why}; create one, or give the offset at which it was created")]
    NotALog {
        /// First byte of the area.
        offset: u64,
        /// What was found.
        why: &'static str,
    },
    /// A log, but damaged beyond what its second copy can mend.
    #[error("log damaged at offset {offset}: {what}; restore the file from a backup")]
    Damaged {
        /// Where.
        offset: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// A log of a version or with features that this crate does not know.
    #[error(
        "log at offset {offset} has format version {version}, features {features:#x}; this program knows version {known}: use a newer one"
    )]
    Unsupported {
        /// First byte of the area.
        offset: u64,
        /// Version found.
        version: u32,
        /// Feature bits found.
        features: u32,
        /// The version this crate writes.
        known: u32,
    },
    /// A log area that is too small, too large, misaligned or outside the mapping.
    #[error("bytes {start}..{end} cannot hold a log: {why}")]
    BadArea {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// Bytes that cannot be a journal's home in a shared mapping.
    #[error("bytes {start}..{end} cannot be a journal's home: {why}")]
    BadHome {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The mapping is shared by several journals, or by clones of its handle.
    #[error(
        "the mapping is shared with {journals} journals; drop them, and take it from `SharedMapping::into_mapping`"
    )]
    Shared {
        /// How many journals.
        journals: usize,
    },
    /// A drain failed, or a panic came between a record and its application: what is durable is unknown.
    /// Drop the journal and open it again: recovery decides.
    #[error("the log is poisoned by an earlier failure; close it and open it again, which recovers")]
    Poisoned,
    /// A [`Subscriber`](crate::Subscriber) does not let the log be opened.
    #[error("{0}")]
    Refused(crate::Refusal),
    /// A thread that has a transaction of this journal open asked for another.
    #[error("this thread has a transaction of this journal open; end it first")]
    WouldDeadlock,
    /// A savepoint of another transaction, or one that came after a savepoint that was gone back to.
    #[error(
        "this savepoint is not of this transaction, or came after a state it went back to; use one that still stands"
    )]
    ForeignSavepoint,
    /// The caller's own reason to roll back.
    #[error("aborted: {0}")]
    Aborted(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error that rolls back for a reason of the caller's: `return Err(Error::abort("too poor"))`.
    pub fn abort(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Aborted(reason.into())
    }
}
