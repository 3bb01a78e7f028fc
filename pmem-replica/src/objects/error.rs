//! What can be wrong with objects, and with where they are.

use std::path::PathBuf;

/// Result of work with objects.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why objects could not be pushed, pulled, listed or pruned. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A place that cannot be.
    #[error(
        "{url:?} is no place for objects: {why}; write a folder's path, file:///PATH or s3://BUCKET/PREFIX"
    )]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Built without S3.
    #[error("{url}: this build knows no S3; build it with the feature `s3`")]
    NoS3 {
        /// What was given.
        url: String,
    },
    /// Nothing was ever pushed there.
    #[error("{path} is no folder; push something there first, or look at how it is written")]
    NoFolder {
        /// What was given.
        path: PathBuf,
    },
    /// The storage did not do something.
    #[error(
        "{place}: cannot {what} {path}; are address, region, credentials and rights what they should be?"
    )]
    Storage {
        /// Which storage.
        place: String,
        /// What was asked for.
        what: &'static str,
        /// Which object.
        path: String,
        /// What the storage said.
        source: Box<opendal::Error>,
    },
    /// A file here.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An object that has a manifest's name, and is none.
    #[error("{path} is no manifest of this kind: something else wrote it; remove it, or use another place")]
    Foreign {
        /// Which object.
        path: String,
    },
    /// A manifest of a later version.
    #[error(
        "{path} is a manifest of version {version}, and this program knows version {known}; use a newer one"
    )]
    Newer {
        /// Which object.
        path: String,
        /// Its version.
        version: u32,
        /// The last one that is known here.
        known: u32,
    },
    /// A manifest that is not what was written.
    #[error("the manifest {path} is damaged: {why}; remove it, and push what it was of again")]
    DamagedManifest {
        /// Which object.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A chunk is gone.
    #[error(
        "chunk {number} of {name:?} is missing, which is {path}; push {name:?} again: it sends what is missing"
    )]
    MissingChunk {
        /// Of which snapshot or pool.
        name: String,
        /// Which of its chunks, from 0.
        number: usize,
        /// The object.
        path: String,
    },
    /// A chunk is not what was written.
    #[error(
        "chunk {number} of {name:?} is damaged ({why}), which is {path}; remove that object, and push {name:?} again"
    )]
    DamagedChunk {
        /// Of which snapshot or pool.
        name: String,
        /// Which of its chunks, from 0.
        number: usize,
        /// The object.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An increment without that from which it goes on.
    #[error("{name:?} goes on from version {parent}, which is not there; push {name:?} again, as a whole")]
    MissingParent {
        /// The increment.
        name: String,
        /// What is missing.
        parent: u64,
    },
    /// A name that nothing has.
    #[error("{place} has no {kind} {name:?}; a list of the place says what there is")]
    NotFound {
        /// Where.
        place: String,
        /// `snapshot` or `pool`.
        kind: &'static str,
        /// Which name.
        name: String,
    },
    /// A name that several have.
    #[error("{place} has several of the name {name:?}, of {sources:?}; keep them in different places")]
    Ambiguous {
        /// Where.
        place: String,
        /// Which name.
        name: String,
        /// Whose they are.
        sources: Vec<String>,
    },
    /// Another snapshot has the name.
    #[error("{place} has another snapshot {name:?}, of {owner}; use another place, or another name")]
    NameTaken {
        /// Where.
        place: String,
        /// Which name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// A prune is under way, or was killed.
    #[error(
        "a prune of {place} began {seconds} s ago and has not ended; wait for it, or, if it is dead, prune again by force"
    )]
    PruneUnderWay {
        /// Where.
        place: String,
        /// Since when.
        seconds: u64,
    },
    /// A push is under way, or was killed.
    #[error(
        "{push} to {place} began {seconds} s ago and has not ended; wait for it, or do it again, or, if it is dead, prune by force"
    )]
    PushUnderWay {
        /// Where.
        place: String,
        /// Which one.
        push: String,
        /// Since when.
        seconds: u64,
    },
    /// A file that is there already.
    #[error("{path} is there already; remove it, or take another name")]
    AlreadyThere {
        /// Which file.
        path: PathBuf,
    },
}

impl Error {
    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        std::io::Error::other(error)
    }
}
