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

/// Why an operation failed. Whatever failed, nothing was changed.
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
            Error::At { source, .. } => source.errno(),
            Error::Mapped | Error::InUse { .. } => libc::EBUSY,
            Error::TooManyExtents { .. } => libc::ENOMEM,
            Error::Damaged { .. } => libc::EUCLEAN,
            Error::NotAVolume { .. } | Error::Unsupported { .. } | Error::BadSize { .. } => libc::EINVAL,
            Error::NeedsRecovery => libc::EROFS,
            Error::Truncated { .. } | Error::Journal(_) | Error::Map(_) => libc::EIO,
        }
    }

    /// What POSIX calls it, if it has a name for it.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Posix(code) => Some(*code),
            Error::At { source, .. } => source.code(),
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
