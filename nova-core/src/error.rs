//! Why an operation failed.

use std::path::PathBuf;

/// Result of filesystem operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($name:ident = $errno:ident, $text:literal;)*) => {
        /// The errors that POSIX has a name for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!($text, " (`", stringify!($errno), "`)")] $name,)*
        }

        impl Code {
            /// Its number on this system.
            pub fn errno(self) -> i32 {
                match self { $(Code::$name => libc::$errno,)* }
            }
        }

        impl std::fmt::Display for Code {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Code::$name => concat!($text, " (", stringify!($errno), ")"),)* })
            }
        }
    };
}

codes! {
    NotPermitted = EPERM, "not permitted: it takes the owner, or a privileged user, or the file is immutable or append-only";
    NotFound = ENOENT, "no such file or directory";
    NoAccess = EACCES, "permission denied by the mode or the access control list";
    Busy = EBUSY, "busy";
    Exists = EEXIST, "it exists already";
    CrossDevice = EXDEV, "on another volume";
    NotADirectory = ENOTDIR, "not a directory";
    IsADirectory = EISDIR, "it is a directory";
    Invalid = EINVAL, "an argument is invalid";
    FileTooLarge = EFBIG, "a file cannot be that large";
    NoSpace = ENOSPC, "no space left on the volume: remove something, or make a larger one";
    ReadOnly = EROFS, "mounted read-only";
    TooManyLinks = EMLINK, "it has as many links as it can have";
    Range = ERANGE, "the buffer is too small for the value";
    NameTooLong = ENAMETOOLONG, "a name has at most 255 bytes, a path 4,095";
    NotEmpty = ENOTEMPTY, "the directory is not empty";
    TooManySymlinks = ELOOP, "too many symbolic links on the way";
    NoAttribute = ENODATA, "no such attribute";
    TooBig = E2BIG, "an attribute's value has at most 65,536 bytes";
    NotSupported = EOPNOTSUPP, "not supported for this kind of file or attribute";
    NoSuchPosition = ENXIO, "there is no data, or no hole, at or after this place";
    QuotaExceeded = EDQUOT, "the user's or the group's quota is used up";
    Stale = ESTALE, "the file is gone, and its number is another's now";
    Overflow = EOVERFLOW, "a number is too large for the operation";
}

/// Why an operation failed. Whatever failed, nothing was changed (of a stream that is being received: what came before stays, and it goes on from there).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What POSIX has a name for.
    #[error("{0}")]
    Posix(Code),
    /// Of a call by path.
    #[error("{}: {source}", path.display())]
    At {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong.
        source: Box<Error>,
    },
    /// The file is mapped: its bytes belong to who mapped it.
    #[error(
        "the file is mapped: drop the mapping before it is written, truncated or mapped again, or use `map_shared`"
    )]
    Mapped,
    /// Files are lent to other processes, which did not hold up their stores in time.
    #[error(
        "other processes have mapped {files} files through the mount, and have not held up their stores for a snapshot: are they stopped, or very busy? `nova stat` of a file names them; try again, or end them"
    )]
    Lent {
        /// How many files.
        files: u64,
    },
    /// The file is in more pieces than a process can map, and there is no space for a copy in fewer.
    #[error(
        "the file is in {extents} pieces, and {limit} can be mapped: free as much space as the file has, or copy it to another volume"
    )]
    TooManyExtents {
        /// Pieces.
        extents: u64,
        /// How many can be mapped.
        limit: u64,
    },
    /// Bytes on the medium that cannot be.
    #[error("damaged {what} at offset {offset}: {why}; `fsck` reports all damage and can repair it")]
    Damaged {
        /// The structure.
        what: &'static str,
        /// Its offset in the volume.
        offset: u64,
        /// What does not hold.
        why: &'static str,
    },
    /// Bytes that are no volume.
    #[error("no volume here: {why}; format one, or look for the right file")]
    NotAVolume {
        /// What was found.
        why: &'static str,
    },
    /// A volume of a version or with features that this crate does not know.
    #[error(
        "the volume has version {version} and features {features:#x} that this program does not know: use a newer one"
    )]
    Unsupported {
        /// Its version.
        version: u32,
        /// The unknown feature bits.
        features: u64,
    },
    /// Fewer bytes than the volume has.
    #[error(
        "the volume has {length} bytes, of which {mapped} are here: the file was cut off; restore it whole"
    )]
    Truncated {
        /// By its superblock.
        length: u64,
        /// Of the mapping.
        mapped: u64,
    },
    /// A volume that cannot be made.
    #[error("no volume of {length} bytes: {why}")]
    BadSize {
        /// Bytes of the mapping.
        length: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// Mounting read-only would have to recover first.
    #[error(
        "the volume was not unmounted: mount it to write once, or map the file as a private view (`Lock::Shared`)"
    )]
    NeedsRecovery,
    /// Something still uses the volume.
    #[error(
        "the volume is in use: drop {handles} handles (files, mappings, clones of `Nova`) before unmounting"
    )]
    InUse {
        /// How many there are.
        handles: usize,
    },
    /// Bytes that are no stream of a snapshot.
    #[error("this is no stream of a snapshot: `Nova::send` makes one")]
    NotAStream,
    /// A stream of a version that this crate does not know.
    #[error("the stream has version {version}, which this program does not know: use a newer one")]
    StreamVersion {
        /// Its version.
        version: u32,
    },
    /// Bytes of a stream that cannot be. Nothing of this frame was applied.
    #[error(
        "the stream is damaged in frame {frame}, at byte {offset}: {why}; send it again: what was received stays, and the rest follows"
    )]
    StreamDamaged {
        /// The frame's number; the header counts as the first one, 0.
        frame: u64,
        /// Where the frame begins in the stream.
        offset: u64,
        /// What does not hold.
        why: &'static str,
    },
    /// A stream that has no end.
    #[error(
        "the stream ends at byte {offset}, in frame {frame}: give all of it; what was received stays, and the rest follows"
    )]
    StreamTruncated {
        /// The frame that is not whole, or missing.
        frame: u64,
        /// Bytes that were there.
        offset: u64,
    },
    /// What came first of the same stream was something else.
    #[error(
        "this is not the stream that was begun here: its first {frame} frames are others; give that one, or begin anew on an empty volume, or one rolled back to the base"
    )]
    StreamForeign {
        /// Frames that were received of the other stream.
        frame: u64,
    },
    /// The increment's base is not here.
    #[error("the stream is the increment to a snapshot {base:?}: {why}")]
    WrongBase {
        /// The base's name.
        base: String,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// The live files are not those of the increment's base.
    #[error(
        "the files have {changes} changes since {base:?}, from which the stream goes on: roll back to it first"
    )]
    BaseChanged {
        /// The base's name.
        base: String,
        /// How many changes there are.
        changes: usize,
    },
    /// A whole snapshot, and a volume with files.
    #[error("a whole snapshot is received by an empty volume, and this one has {names} files at its root")]
    ReceiverNotEmpty {
        /// Names of the root directory.
        names: usize,
    },
    /// A frame could not be applied.
    #[error(
        "frame {frame} of the stream, at byte {offset}: {source}; when that is put right, give the same stream again: it goes on from there"
    )]
    Receive {
        /// The frame's number.
        frame: u64,
        /// Where it begins in the stream.
        offset: u64,
        /// What is wrong.
        source: Box<Error>,
    },
    /// The stream's reader's or writer's error.
    #[error("the stream: {0}")]
    StreamIo(std::io::Error),
    /// The journal's error: after one of a write-back nothing more is acknowledged.
    #[error(transparent)]
    Journal(pmem_tx::Error),
    /// The mapping's error.
    #[error(transparent)]
    Map(#[from] pmem_map::Error),
}

impl Error {
    /// The number that a system call would return.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Posix(code) => code.errno(),
            Error::At { source, .. } | Error::Receive { source, .. } => source.errno(),
            Error::StreamDamaged { .. } | Error::StreamTruncated { .. } => libc::EBADMSG,
            Error::NotAStream
            | Error::StreamVersion { .. }
            | Error::StreamForeign { .. }
            | Error::WrongBase { .. }
            | Error::BaseChanged { .. } => libc::EINVAL,
            Error::ReceiverNotEmpty { .. } => libc::ENOTEMPTY,
            Error::StreamIo(error) => error.raw_os_error().unwrap_or(libc::EIO),
            Error::Mapped => libc::ETXTBSY,
            Error::InUse { .. } | Error::Lent { .. } => libc::EBUSY,
            Error::TooManyExtents { .. } => libc::ENOMEM,
            Error::Damaged { .. } => libc::EUCLEAN,
            Error::NotAVolume { .. } | Error::Unsupported { .. } | Error::BadSize { .. } => libc::EINVAL,
            Error::NeedsRecovery => libc::EROFS,
            Error::Map(pmem_map::Error::CannotLend { .. }) => libc::EOPNOTSUPP,
            Error::Truncated { .. } | Error::Journal(_) | Error::Map(_) => libc::EIO,
        }
    }

    /// What POSIX calls it, if it has a name for it.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Posix(code) => Some(*code),
            Error::At { source, .. } | Error::Receive { source, .. } => source.code(),
            _ => None,
        }
    }

    pub(crate) fn damaged<T>(what: &'static str, offset: u64, why: &'static str) -> Result<T> {
        Err(Error::Damaged { what, offset, why })
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Error {
        Error::Posix(code)
    }
}

impl From<pmem_tx::Error> for Error {
    fn from(error: pmem_tx::Error) -> Error {
        match error {
            // More than the journal takes at once: the operation needs a larger volume.
            pmem_tx::Error::LogFull { .. } => Error::Posix(Code::NoSpace),
            pmem_tx::Error::Map(error) => Error::Map(error),
            error => Error::Journal(error),
        }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        match error {
            Error::Posix(code) => std::io::Error::from_raw_os_error(code.errno()),
            error => std::io::Error::other(error),
        }
    }
}
