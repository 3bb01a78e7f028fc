//! One error for everything that happens over a pool.

use std::{fmt, path::PathBuf};

/// Result of pool, transaction and container operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a pool failed. One word wide, so that `Result<Option<&V>>` travels in two
/// registers; look inside with [`kind`](Error::kind).
pub struct Error(Box<ErrorKind>);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Mapping the file failed.
    #[error(transparent)]
    Map(#[from] pmem_map::Error),
    /// The log failed: record too large, poisoned, damaged, ...
    #[error(transparent)]
    Tx(#[from] pmem_tx::Error),
    /// The bytes are no pool. They were left as they are.
    #[error("this is not a pool: {why}; give the path of one, or create it")]
    NotAPool {
        /// What was found instead.
        why: &'static str,
    },
    /// There is something at the path where a new pool was to be made.
    #[error("{path} exists already; open it, or remove it first")]
    AlreadyExists {
        /// Where.
        path: PathBuf,
    },
    /// Both copies of the header are damaged. The bytes were left as they are.
    #[error(
        "the pool's header is damaged in both copies (field {field}: {why}); restore the pool from a backup"
    )]
    Damaged {
        /// The first field that cannot be right.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The file ends before the pool does.
    #[error(
        "the file has {found} bytes, the pool in it {expected}: it was cut off; restore it from a backup"
    )]
    Truncated {
        /// Bytes of the pool.
        expected: u64,
        /// Bytes of the mapping.
        found: u64,
    },
    /// A pool written by a later version of this crate.
    #[error("the pool has format version {found}, this program knows {known}; use a newer program")]
    NewerVersion {
        /// Version of the pool.
        found: u32,
        /// The newest version this crate knows.
        known: u32,
    },
    /// A pool that uses features this crate does not know.
    #[error("the pool uses features this program does not know (bits {bits:#x}); use a newer program")]
    UnknownFeatures {
        /// The bits that are not known.
        bits: u64,
    },
    /// A pool that was created for something else.
    #[error("the pool's layout is {found:?}, not {expected:?}; open it with the program that made it")]
    WrongLayout {
        /// The layout the program asked for.
        expected: String,
        /// The layout in the pool.
        found: String,
    },
    /// A pool cannot be that small.
    #[error("a pool of {size} bytes is not possible; the smallest has {minimum}")]
    TooSmall {
        /// Bytes asked for.
        size: u64,
        /// Bytes needed.
        minimum: u64,
    },
    /// A pool, a name or a layout cannot be that large.
    #[error("a {what} of {size} bytes is not possible; the largest has {maximum}")]
    TooLarge {
        /// What was to be that large.
        what: &'static str,
        /// Bytes asked for.
        size: u64,
        /// Bytes possible.
        maximum: u64,
    },
    /// An alignment that the heap cannot give.
    #[error("an alignment of {align} bytes is not possible; use a power of two up to {maximum}")]
    BadAlignment {
        /// Bytes asked for.
        align: u64,
        /// The largest possible.
        maximum: u64,
    },
    /// The pool is full. Nothing was changed.
    #[error("no room for {needed} bytes in the pool; free something, or move to a larger pool")]
    NoSpace {
        /// Bytes asked for.
        needed: u64,
    },
    /// The pool cannot be made larger. It stays as it is.
    #[error("the pool has {size} bytes and cannot grow by {bytes}: {why}")]
    CannotGrow {
        /// Bytes of the pool.
        size: u64,
        /// Bytes asked for.
        bytes: u64,
        /// What stands in the way.
        why: &'static str,
    },
    /// A pool was opened with a smaller maximal size than it has.
    #[error(
        "the pool may grow to {recorded} bytes, not only to {asked}; ask for at least that, or for nothing"
    )]
    SmallerMaximum {
        /// Bytes asked for.
        asked: u64,
        /// Bytes that the pool may grow to.
        recorded: u64,
    },
    /// The pool was not closed, and was to be read as it is.
    #[error(
        "the pool was not closed: {records} commits have to be replayed; open it to write, or let a private view recover"
    )]
    NeedsRecovery {
        /// Commits that may not be in place.
        records: u64,
    },
    /// A name that stands for nothing (only readers see this: a writer creates it).
    #[error("there is no object named {name:?}; a write transaction that opens it creates it")]
    NotFound {
        /// The name.
        name: String,
    },
    /// A name that stands for an object of another type.
    #[error("object {name:?} is a {found}, not a {expected}; open it as what it is, or use another name")]
    WrongType {
        /// The name.
        name: String,
        /// The type the program asked for.
        expected: String,
        /// The type in the pool.
        found: String,
    },
    /// A name that stands for an object of an older schema version.
    #[error(
        "object {name:?} has schema version {found}, this program wants {wanted}; migrate it, or open it as version {found}"
    )]
    OlderSchema {
        /// The name.
        name: String,
        /// The version in the pool.
        found: u32,
        /// The version the program asked for.
        wanted: u32,
    },
    /// A name that stands for an object of a newer schema version.
    #[error("object {name:?} has schema version {found}, this program knows {known}; use a newer program")]
    NewerSchema {
        /// The name.
        name: String,
        /// The version in the pool.
        found: u32,
        /// The version the program asked for.
        known: u32,
    },
    /// A second guard on one object in one transaction.
    #[error("object {name:?} is already open in this transaction; drop its guard, or pass it on")]
    AlreadyOpen {
        /// The name.
        name: String,
    },
    /// Bytes in the pool that cannot be right, or a [`Ptr`](crate::Ptr) that refers to nothing.
    #[error(
        "pool damaged at offset {offset}, or a stale reference to it: expected {expected}, found {found}"
    )]
    Corrupt {
        /// Where.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// This thread would wait for itself.
    #[error("this thread holds a {held} of this pool; drop it before you {wanted}")]
    WouldDeadlock {
        /// What the thread holds.
        held: &'static str,
        /// What it asked for.
        wanted: &'static str,
    },
    /// Objects that cannot be moved to another place.
    #[error("the pool cannot be compacted: {}", reasons.join("; "))]
    CannotCompact {
        /// Names of objects, and what stands in the way.
        reasons: Vec<String>,
    },
    /// An object whose blocks are not known, so that they cannot be freed.
    #[error("the blocks of object {name:?} are not known: {why}; describe its types, or empty it yourself")]
    NotTraced {
        /// The name.
        name: String,
        /// What is not known.
        why: String,
    },
    /// An object that the transaction has changed already.
    #[error("object {name:?} was changed in this transaction; commit that first")]
    ChangedHere {
        /// The name.
        name: String,
    },
    /// A migration from one name to another.
    #[error("a migration keeps the name: {from:?} is not {to:?}")]
    TwoNames {
        /// The old object's name.
        from: String,
        /// The new object's name.
        to: String,
    },
    /// A pool with concurrent containers, of which the bytes never stand still.
    #[error(
        "the pool has concurrent containers, which threads change at any time; close it and copy its file"
    )]
    HasSlabs,
    /// A pool that is replicated, and something of which no record has all.
    #[error(
        "a replicated pool cannot have concurrent containers: their words change outside transactions; use the others"
    )]
    NotReplicable,
    /// A pool that follows another changes by what that one commits, and by nothing else.
    #[error("this pool follows another one, and is for reading; promote it first")]
    Follower,
    /// A [`Replicator`](crate::Replicator) refused. Where it refuses to acknowledge, the transaction is committed here all the same.
    #[error("{0}")]
    Refused(pmem_tx::Refusal),
    /// Something that can be done once at a time is being done.
    #[error("{what} of this pool is under way; wait for it")]
    Busy {
        /// What.
        what: &'static str,
    },
    /// A reservation of one pool was given to a transaction of another.
    #[error("this reservation belongs to another pool; publish it there")]
    ForeignReservation,
    /// A savepoint of another transaction, or one that came after a savepoint that was gone back to, or one of
    /// a nested part that is over.
    #[error(
        "this savepoint is not of this transaction, or of a part of it that is over; use one that still stands"
    )]
    ForeignSavepoint,
    /// The caller's own reason to roll back.
    #[error("aborted: {0}")]
    Aborted(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// An error that rolls back for a reason of the caller's: `return Err(Error::abort("too poor"))`.
    pub fn abort(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        ErrorKind::Aborted(reason.into()).into()
    }

    /// [`ErrorKind::Corrupt`]: for containers, which check what they read.
    #[cold]
    pub fn corrupt(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Error {
        ErrorKind::Corrupt { offset, expected: expected.into(), found: found.into() }.into()
    }
}

// Explicit, not `impl<T> From<T> for Error where ErrorKind: From<T>`: better messages from `?`.
impl From<ErrorKind> for Error {
    #[cold]
    fn from(kind: ErrorKind) -> Error {
        Error(Box::new(kind))
    }
}

impl From<pmem_map::Error> for Error {
    fn from(e: pmem_map::Error) -> Error {
        ErrorKind::from(e).into()
    }
}

impl From<pmem_tx::Error> for Error {
    fn from(e: pmem_tx::Error) -> Error {
        ErrorKind::from(e).into()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
