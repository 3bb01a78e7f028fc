//! One error for everything that happens between a pool and its followers.

use std::{path::PathBuf, time::Duration};

/// Result of replication.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why replication failed, or refuses to go on. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pool's error.
    #[error(transparent)]
    Pool(#[from] pmem_alloc::Error),
    /// A file beside the pool.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No server answers, or none takes these credentials.
    #[error(
        "no server of {servers} can be used: {source}; is it up, and are address, credentials and certificates right?"
    )]
    Unreachable {
        /// The addresses that were tried.
        servers: String,
        /// What the client said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server refused something, or did not answer in time.
    #[error("the servers did not do this: {what}: {source}")]
    Server {
        /// What was asked for.
        what: &'static str,
        /// What the client said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A name that cannot be part of a subject.
    #[error("{name:?} cannot name a stream; use 1 to 64 letters, digits, `-` and `_`")]
    BadName {
        /// The name.
        name: String,
    },
    /// There is a stream of this name already.
    #[error(
        "stream {name:?} exists and has messages; open its pool, or use another name, or delete the stream"
    )]
    StreamExists {
        /// The name.
        name: String,
    },
    /// There is no stream of this name, or it is empty.
    #[error("there is no stream {name:?} with messages; create the primary first, under this name")]
    NoStream {
        /// The name.
        name: String,
    },
    /// The pool was never a primary, or its outbox is gone.
    #[error("{path} is missing: this pool is no primary; create one of it, under a new stream name")]
    NoOutbox {
        /// Where the outbox should be.
        path: PathBuf,
    },
    /// The outbox cannot be read.
    #[error(
        "the outbox {path} is damaged at byte {offset}: {what}; create a new primary of the pool, under a new stream name"
    )]
    DamagedOutbox {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The pool has commits which the outbox and the log do not tell any more: it was changed without its outbox, or lost it.
    #[error(
        "the pool (life {generation}, records {first} to {newest}) does not continue its outbox (life {known_generation}, record {known}): \
         it was opened without it, or the machine lost what was not written back; create a new primary of the pool, under a new stream name"
    )]
    OutboxGap {
        /// Life of the pool's log.
        generation: u32,
        /// The first record of it that is known.
        first: u64,
        /// The newest one.
        newest: u64,
        /// Life that the outbox ends with.
        known_generation: u32,
        /// The record it ends with.
        known: u64,
    },
    /// The stream has records that this pool does not have, or the other way round, without anybody between who has them.
    #[error(
        "the stream {name:?} ends with record {stream}, this pool has {first} to {newest} to add; seed this pool again from the primary"
    )]
    StreamGap {
        /// Which stream.
        name: String,
        /// Its last record.
        stream: u64,
        /// First record that the outbox still has.
        first: u64,
        /// The last one.
        newest: u64,
    },
    /// Another primary has taken over.
    #[error(
        "fenced: another primary took over stream {name:?} in term {term}, after record {stream}; {unpublished} commits of this pool are in no \
         stream. Seed it again from the new primary, to follow"
    )]
    Fenced {
        /// Which stream.
        name: String,
        /// The new primary's term.
        term: u64,
        /// The last record before that term, as far as is known.
        stream: u64,
        /// Records that this pool has committed and that nobody else has.
        unpublished: u64,
    },
    /// The pool follows another one.
    #[error("this pool follows another one; promote it first")]
    IsAFollower,
    /// The pool follows no other.
    #[error("this pool follows none; take a seed of the primary, and follow with that")]
    NotAFollower,
    /// The pool follows another stream.
    #[error(
        "this pool follows stream {expected:#x}, and {name:?} is stream {found:#x}; seed it again from that one's primary"
    )]
    WrongStream {
        /// The name that was given.
        name: String,
        /// Stream of the pool.
        expected: u64,
        /// Stream of that name.
        found: u64,
    },
    /// Records are missing.
    #[error(
        "{what} {missing:?} are missing (the pool has record {record}): {why}; seed it again from the primary, or another follower"
    )]
    Gap {
        /// `messages` of the stream, or `records`.
        what: &'static str,
        /// Their numbers.
        missing: std::ops::Range<u64>,
        /// The last record that was applied.
        record: u64,
        /// What may have happened.
        why: &'static str,
    },
    /// A message of another primary's time, which should not be there.
    #[error(
        "message {message} is of term {found}, after term {expected}; seed this pool again from the primary"
    )]
    WrongTerm {
        /// Which message.
        message: u64,
        /// The term that is on.
        expected: u64,
        /// The message's.
        found: u64,
    },
    /// A message that is not what a primary has sent.
    #[error(
        "message {message} is damaged ({what}); nothing of it was applied. Seed this pool again from the primary"
    )]
    DamagedMessage {
        /// Its number in the stream.
        message: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A commit is durable here, and the stream has not acknowledged it.
    #[error(
        "committed here, and not acknowledged by the stream for {waited:?}; it is sent when the servers can be reached again"
    )]
    NotReplicated {
        /// How long it waited.
        waited: Duration,
    },
    /// Too much is committed here and not in the stream.
    #[error(
        "{records} records of {bytes} bytes wait for the stream, the oldest for {age:?}: more than is allowed; are the servers up?"
    )]
    Lagging {
        /// Records that wait.
        records: u64,
        /// Their bytes.
        bytes: u64,
        /// How long the oldest has waited.
        age: Duration,
    },
    /// The lease is renewed: there is a primary.
    #[error("the primary of term {term} is alive and renews its lease; end it first")]
    PrimaryLives {
        /// Its term.
        term: u64,
    },
    /// A follower that has stopped cannot be promoted: it may not have everything.
    #[error("the follower has stopped: {0}")]
    Stopped(std::sync::Arc<Error>),
    /// The primary's value was dropped.
    #[error("this pool's primary was closed; open it again")]
    Closed,
    /// The stream ends with something that no primary has sent, or is gone.
    #[error(
        "the stream cannot be continued: {0}; look at the servers, then open the primary again, or create one under a new name"
    )]
    StreamLost(String),
    /// The outbox could not be written: what was committed since is not replicated.
    #[error("the outbox failed: {0}; close the pool, make room, and open it again")]
    OutboxFailed(String),
}

impl Error {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn server<E: std::error::Error + Send + Sync + 'static>(
        what: &'static str,
    ) -> impl FnOnce(E) -> Error {
        move |source| Error::Server { what, source: source.into() }
    }
}
