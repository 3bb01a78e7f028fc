//! A follower: a copy of a primary's pool that applies what the stream says.
#![expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]

use crate::{
    Config, Error, Result,
    lease::{Bucket, Progress},
    link::{self, Link},
    record::{self, Body, Envelope, Kind},
};
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt;
use parking_lot::{Condvar, Mutex};
use pmem_alloc::{Grown, Pool, PoolOptions, Position};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Messages that are asked for at once, and applied with one drain.
const BATCH: usize = 64;
/// How long the servers wait for a message before they answer that there is none.
const IDLE: Duration = Duration::from_millis(300);
const AGAIN: Duration = Duration::from_millis(50);
/// How often progress is reported, for trimming.
const REPORT: Duration = Duration::from_secs(1);

/// A pool that follows a primary's stream: each record is one transaction of it, together with the record's number. A read transaction
/// sees the primary as it was after some record.
///
/// It stops at an error that it cannot mend ([`error`](Follower::error)), with everything before applied. A server that does not answer is none:
/// it goes on when one does.
pub struct Follower {
    pub(crate) pool: Pool,
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Durable here, and seen by readers.
    position: Option<Position>,
    /// The newest record that the primary said it had.
    told: u64,
    error: Option<Arc<Error>>,
}

/// How a follower stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Followed {
    /// The last record that is applied, and durable here.
    pub record: u64,
    /// The last message of the stream that is applied as a whole.
    pub message: u64,
    /// The primary's term.
    pub term: u64,
    /// The newest record that the primary is known to have committed.
    pub told: u64,
    /// Why it does not go on, if it does not.
    pub error: Option<Arc<Error>>,
}

impl Follower {
    /// Opens the pool at `path`, which is a seed ([`Primary::seed`](crate::Primary::seed)) or a backup of a follower, and follows. `name` is under
    /// which it reports how far it is; the primary keeps the stream for it.
    ///
    /// # Errors
    ///
    /// [`Error::NotAFollower`], [`Error::WrongStream`]; the pool's; the servers' after the configured patience.
    ///
    /// # Safety
    ///
    /// As for [`PoolOptions::open`].
    pub unsafe fn open(
        path: impl AsRef<Path>,
        options: &PoolOptions,
        config: &Config,
        name: &str,
    ) -> Result<Follower> {
        config.check()?;
        let path = path.as_ref();
        // SAFETY: the caller's promise.
        let pool = unsafe { options.open(path) }?;
        let position = pool.following().ok_or(Error::NotAFollower)?;
        let shared = Arc::new(Shared::default());
        shared.state.lock().position = Some(position);
        let applier = Applier {
            pool: pool.clone(),
            shared: shared.clone(),
            name: name.into(),
            position,
            begun: false,
            parts: Vec::new(),
            partial: None,
        };
        let (ready, opened) = std::sync::mpsc::channel();
        let thread_config = config.clone();
        let work = move || {
            let failed = ready.clone();
            let done = link::block_on(async move {
                match connect(&thread_config, position).await {
                    Ok(link) => {
                        _ = ready.send(Ok(()));
                        applier.run(link).await;
                    }
                    Err(error) => _ = ready.send(Err(error)),
                }
            });
            if let Err(error) = done {
                _ = failed.send(Err(error));
            }
        };
        let thread = std::thread::Builder::new().name("pmem-replica follower".into()).spawn(work);
        let thread = Some(thread.map_err(Error::io(path))?);
        let follower = Follower { pool, path: path.into(), config: config.clone(), shared, thread };
        opened.recv().unwrap_or(Err(Error::Closed))?;
        Ok(follower)
    }

    /// The pool, for reading.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How it stands.
    pub fn status(&self) -> Followed {
        let state = self.shared.state.lock();
        let position = state.position.expect("it follows");
        let Position { record, message, term, .. } = position;
        Followed { record, message, term, told: state.told.max(record), error: state.error.clone() }
    }

    /// Why it does not go on, if it does not.
    pub fn error(&self) -> Option<Arc<Error>> {
        self.shared.state.lock().error.clone()
    }

    /// Waits until record `record` is applied, and durable here. `false` after `timeout`, or if the follower has stopped.
    pub fn wait_for(&self, record: u64, timeout: Duration) -> bool {
        let started = Instant::now();
        let mut state = self.shared.state.lock();
        loop {
            if state.position.is_some_and(|position| position.record >= record) {
                return true;
            }
            if state.error.is_some()
                || self.shared.changed.wait_until(&mut state, started + timeout).timed_out()
            {
                return false;
            }
        }
    }

    /// Writes a copy of the pool to a new file, which follows as this one does, from where it is.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::backup`].
    ///
    /// # Safety
    ///
    /// As for [`Pool::backup`].
    pub unsafe fn seed(&self, path: impl AsRef<Path>) -> Result<()> {
        // SAFETY: the caller's promise.
        Ok(unsafe { self.pool.backup(path) }?)
    }

    /// Applies nothing more. What was applied is durable.
    pub(crate) fn stop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// A connection to the stream that the pool follows.
async fn connect(config: &Config, position: Position) -> Result<Link> {
    let link = Link::connect_patiently(config).await?;
    let last = link::patiently(config.patience, async || link.last().await).await?;
    let name = || config.name.clone();
    let found = last.ok_or_else(|| Error::NoStream { name: name() })?.envelope.stream;
    match found == position.stream {
        true => Ok(link),
        false => Err(Error::WrongStream { name: name(), expected: position.stream, found }),
    }
}

/// Puts messages into the pool.
struct Applier {
    pool: Pool,
    shared: Arc<Shared>,
    name: String,
    /// As of the newest record that was written; it may not be durable.
    position: Position,
    /// A message was read by this value: the next one has to follow it.
    begun: bool,
    /// What has come of a record in parts, and which message, and part, is next.
    parts: Vec<u8>,
    partial: Option<(u64, u32)>,
}

impl Applier {
    async fn run(mut self, link: Link) {
        let mut reported = Instant::now() - REPORT;
        let mut consumer: Option<PullConsumer> = None;
        // The next message.
        let mut next = self.position.message + 1;
        while !self.shared.stop.load(Relaxed) {
            match self.step(&link, &mut consumer, &mut next).await {
                Ok(()) => {}
                Err(Error::Server { .. } | Error::Unreachable { .. }) => {
                    consumer = None;
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => {
                    _ = self.settle();
                    self.shared.state.lock().error = Some(Arc::new(error));
                    self.shared.changed.notify_all();
                    break;
                }
            }
            if reported.elapsed() > REPORT {
                self.report(&link).await;
                reported = Instant::now();
            }
        }
        self.report(&link).await;
    }

    /// Says how far it is. If nobody listens, the stream is kept for longer.
    async fn report(&self, link: &Link) {
        let Position { message, record, .. } = self.shared.state.lock().position.expect("it follows");
        if let Ok(bucket) = Bucket::open(link).await {
            _ = bucket.report(&self.name, Progress { message, record }).await;
        }
    }

    /// Reads some messages, applies them, and makes them durable.
    async fn step(&mut self, link: &Link, consumer: &mut Option<PullConsumer>, next: &mut u64) -> Result<()> {
        let what = "read the stream";
        let source = match consumer {
            Some(source) => source,
            None => {
                let (first, _) = link.bounds().await?;
                if first > *next {
                    return Err(
                        self.gap(*next..first, "the stream was trimmed before this follower had them")
                    );
                }
                consumer.insert(link.read_from(*next).await?)
            }
        };
        let asked = source.fetch().max_messages(BATCH).expires(IDLE).messages().await;
        let mut messages = asked.map_err(Error::server(what))?;
        let deadline = 4 * IDLE;
        loop {
            let message = match tokio::time::timeout(deadline, messages.next()).await {
                Err(late) => return self.settle().and(Err(Error::server(what)(late))),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    let error = Error::Server { what, source: error };
                    return self.settle().and(Err(error));
                }
                Ok(Some(Ok(message))) => message,
            };
            let number = message.info().map_err(|source| Error::Server { what, source })?.stream_sequence;
            if number != *next {
                self.settle()?;
                if number < *next {
                    continue; // a consumer that was moved to another server may repeat itself
                }
                // Perhaps the consumer lost it, and not the stream: ask again, from there.
                let (first, _) = link.bounds().await?;
                *consumer = None;
                return match first > *next {
                    true => {
                        Err(self.gap(*next..first, "the stream was trimmed before this follower had them"))
                    }
                    false => Ok(()),
                };
            }
            self.apply(number, &message.payload)?;
            *next = number + 1;
        }
        self.settle()
    }

    fn gap(&self, missing: std::ops::Range<u64>, why: &'static str) -> Error {
        Error::Gap { what: "messages", missing, record: self.position.record, why }
    }

    /// What was applied is durable, and seen, on return.
    fn settle(&mut self) -> Result<()> {
        if self.shared.state.lock().position == Some(self.position) {
            return Ok(());
        }
        self.pool.sync()?;
        self.shared.state.lock().position = Some(self.position);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Applies message `message`.
    fn apply(&mut self, message: u64, content: &[u8]) -> Result<()> {
        let damaged = |what| Error::DamagedMessage { message, what };
        let (envelope, records) = Envelope::open(content).map_err(damaged)?;
        if envelope.stream != self.position.stream {
            return Err(damaged("it is of another stream"));
        }
        let begins = envelope.kind == Kind::Begin && envelope.term > self.position.term;
        // (A seed's position may be of a later term than the messages before its record.)
        let expected = self.position.term;
        if !begins && envelope.term != expected && (self.begun || envelope.term > expected) {
            return Err(Error::WrongTerm { message, expected, found: envelope.term });
        }
        {
            let mut state = self.shared.state.lock();
            state.told = state.told.max(envelope.told);
        }
        match envelope.kind {
            Kind::Begin => {
                self.partial = None;
                if envelope.complete > self.position.record {
                    return Err(self.records_missing(envelope.complete + 1));
                }
                if begins {
                    self.position = Position { term: envelope.term, message, ..self.position };
                    self.pool.follow(&[], self.position)?;
                }
            }
            Kind::Records => {
                self.partial = None;
                self.records(records, message)?;
            }
            Kind::Part { part, parts } => {
                self.part(part, parts, message, records)?;
                if part + 1 == parts {
                    let whole = std::mem::take(&mut self.parts);
                    self.partial = None;
                    self.records(&whole, message)?;
                }
            }
        }
        self.begun = true;
        Ok(())
    }

    fn records_missing(&self, next: u64) -> Error {
        let record = self.position.record;
        let why = "the pool is not a copy of this primary's at that time";
        Error::Gap { what: "records", missing: record + 1..next, record, why }
    }

    /// Collects the parts of a record.
    fn part(&mut self, part: u32, parts: u32, message: u64, bytes: &[u8]) -> Result<()> {
        let damaged = |what| Error::DamagedMessage { message, what };
        if part == 0 {
            (self.parts, self.partial) = (Vec::new(), Some((message, 0)));
        }
        if self.partial != Some((message, part)) || part >= parts {
            // Reading may begin in the middle of a record that a seed has.
            return Err(damaged("it is a part, and those before it are missing"));
        }
        self.parts.extend_from_slice(bytes);
        self.partial = Some((message + 1, part + 1));
        Ok(())
    }

    /// Applies the records of `message`, each as one transaction.
    fn records(&mut self, records: &[u8], message: u64) -> Result<()> {
        let mut rest = records;
        while !rest.is_empty() {
            let damaged = || Error::DamagedMessage { message, what: "a record in it cannot be read" };
            let (record, changes, later) = record::decode(rest).ok_or_else(damaged)?;
            rest = later;
            if record.number <= self.position.record {
                continue; // a seed, or a follower that was killed, has it
            }
            if record.number != self.position.record + 1 {
                return Err(self.records_missing(record.number));
            }
            let done = if rest.is_empty() { message } else { self.position.message };
            let position = Position { record: record.number, message: done, ..self.position };
            if let Body::Grown(segments, size) = &record.body {
                let segments: Vec<Grown> =
                    segments.iter().map(|&(start, pages)| Grown { start, pages }).collect();
                self.pool.follow_growth(&segments, *size)?;
            }
            self.pool.follow(&changes, position)?;
            self.position = position;
        }
        if self.position.message < message && self.partial.is_none() {
            // All of its records were here before.
            self.position = Position { message, ..self.position };
            self.pool.follow(&[], self.position)?;
        }
        Ok(())
    }
}
