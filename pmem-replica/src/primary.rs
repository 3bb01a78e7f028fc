//! The primary: a pool whose commits go to a stream.
#![expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]

use crate::{
    Config, Error, Result, Status,
    lease::{Bucket, Progress},
    link::{self, Link, Sent},
    outbox::{self, Base, Outbox},
    publisher::{self, Publisher},
    record::{Envelope, Kind, LogPosition},
    shared::{Shared, Stop},
};
use pmem_alloc::{Pool, PoolOptions};
use std::{path::Path, sync::Arc, thread::JoinHandle, time::Duration};

/// A pool whose commits go to a stream. Dropping it sends no more; what waits is in the outbox, and is sent after the next opening.
///
/// Transactions are the pool's own: [`Pool::write`] returns when the [`Mode`](crate::Mode) says. Readers on this pool may see a commit before
/// the stream has it.
pub struct Primary {
    pool: Pool,
    shared: Arc<Shared>,
    publisher: Option<JoinHandle<()>>,
}

impl Primary {
    /// Makes a stream, and the pool at `path` its primary: a new pool, or the one that is there. The stream begins with the pool as it
    /// is: followers are seeded from it.
    ///
    /// # Errors
    ///
    /// [`Error::StreamExists`], and all of [`open`](Primary::open).
    ///
    /// # Safety
    ///
    /// As for [`PoolOptions::create`].
    pub unsafe fn create(path: impl AsRef<Path>, options: &PoolOptions, config: &Config) -> Result<Primary> {
        let path = path.as_ref();
        // SAFETY: the caller's promise.
        let pool = unsafe { options.open_or_create(path) }?;
        if pool.following().is_some() {
            return Err(Error::IsAFollower);
        }
        let stream = fastrand::u64(1..);
        let holder = pool.identity()?;
        link::block_on(async {
            let link = Link::connect_patiently(config).await?;
            link::patiently(config.patience, async || link.create_stream().await).await?;
            let begin =
                Envelope { stream, term: 1, holder, since: 0, complete: 0, told: 0, kind: Kind::Begin };
            link::patiently(config.patience, async || match link.send(&begin, &[], 0).await? {
                Sent::Stored(_) => Ok(()),
                // A first attempt of which the answer was lost.
                Sent::Refused if link.last().await?.is_some_and(|last| last.envelope == begin) => Ok(()),
                Sent::Refused => Err(Error::StreamExists { name: config.name.clone() }),
            })
            .await
        })??;
        Primary::base(path, &pool, stream, 0)?;
        pool.close()?;
        // SAFETY: the caller's promise.
        unsafe { Primary::open(path, options, config) }
    }

    /// From now on `pool` is the primary of a stream that has `number` records.
    pub(crate) fn base(path: &Path, pool: &Pool, stream: u64, number: u64) -> Result<()> {
        let (generation, seq) = pool.log_position()?;
        let base = Base { stream, pool: pool.identity()?, number, log: LogPosition { generation, seq } };
        Outbox::create(&outbox::path_of(path), base).map(drop)
    }

    /// Opens the primary at `path`, after it was closed or after a crash. What it has committed and the stream does not have is sent;
    /// what a crash may have kept from the outbox is in the pool's log, and is sent, too.
    ///
    /// # Errors
    ///
    /// [`Error::NoOutbox`] if the pool is none; [`Error::Fenced`] if another took over; [`Error::OutboxGap`] and [`Error::StreamGap`] if commits
    /// are missing in between; [`Error::Unreachable`] and [`Error::Server`] after the configured patience.
    ///
    /// # Safety
    ///
    /// As for [`PoolOptions::create`].
    pub unsafe fn open(path: impl AsRef<Path>, options: &PoolOptions, config: &Config) -> Result<Primary> {
        config.check()?;
        let path = path.as_ref();
        let (outbox, records) = Outbox::open(&outbox::path_of(path))?;
        let shared = Arc::new(Shared::new(config.clone(), outbox, records));
        // SAFETY: the caller's promise.
        let pool = unsafe { options.clone().replicator(shared.clone()).open(path) }?;
        if pool.following().is_some() {
            return Err(Error::IsAFollower);
        }
        // What a crash may have kept from the outbox: how the pool has grown. Followers skip what they know.
        let (segments, size) = pool.segments();
        if !segments.is_empty() {
            pmem_alloc::Replicator::grown(&*shared, &segments, size);
        }
        let holder = pool.identity()?;
        let (ready, begun) = std::sync::mpsc::channel();
        let work = {
            let shared = shared.clone();
            move || {
                let failed = ready.clone();
                let done = link::block_on(async move {
                    match Publisher::begin(shared, holder).await {
                        Ok((publisher, version)) => {
                            _ = ready.send(Ok(()));
                            publisher.serve(version).await;
                        }
                        Err(error) => _ = ready.send(Err(error)),
                    }
                });
                if let Err(error) = done {
                    _ = failed.send(Err(error));
                }
            }
        };
        let thread = std::thread::Builder::new().name("pmem-replica publisher".into()).spawn(work);
        let publisher = Some(thread.map_err(Error::io(path))?);
        let primary = Primary { pool, shared, publisher };
        begun.recv().unwrap_or(Err(Error::Closed))?;
        Ok(primary)
    }

    /// The pool: for reading and for writing.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Waits until the stream has everything that is committed now.
    ///
    /// # Errors
    ///
    /// [`Error::NotReplicated`] after `timeout`; [`Error::Fenced`].
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        self.shared.wait_for_all(timeout)
    }

    /// Writes a copy of the pool to a new file: a follower that goes on where the copy was taken. Writers go on meanwhile. The stream is
    /// kept from there on until the follower `name` has [applied](crate::Follower) it, or is [forgotten](Primary::forget).
    ///
    /// # Errors
    ///
    /// Those of [`Pool::backup`]; errors of the servers.
    ///
    /// # Safety
    ///
    /// As for [`Pool::backup`].
    pub unsafe fn seed(&self, path: impl AsRef<Path>, name: &str) -> Result<()> {
        let (message, record) = self.shared.with(|state| (state.message, state.acked));
        self.ask(async |link| Bucket::open(link).await?.report(name, Progress { message, record }).await)?;
        // SAFETY: the caller's promise.
        Ok(unsafe { self.pool.backup(path) }?)
    }

    /// Nothing is kept in the stream for the follower `name` any more.
    pub fn forget(&self, name: &str) -> Result<()> {
        self.ask(async |link| Bucket::open(link).await?.forget(name).await)
    }

    /// Drops from the stream what all followers and seeds have, which also happens by itself ([`Config::trim_every`]). Returns the first
    /// message that is left. Without any follower everything stays.
    pub fn trim(&self) -> Result<u64> {
        self.ask(async |link| publisher::trim(link).await)
    }

    /// Followers and seeds that the stream is kept for, and the last record that each has reported.
    pub fn followers(&self) -> Result<Vec<(String, u64)>> {
        let followers = self.ask(async |link| Bucket::open(link).await?.followers().await)?;
        Ok(followers.into_iter().map(|(name, progress)| (name, progress.record)).collect())
    }

    fn ask<T>(&self, work: impl AsyncFn(&Link) -> Result<T>) -> Result<T> {
        let config = &self.shared.config;
        link::block_on(async {
            let link = Link::connect_patiently(config).await?;
            link::patiently(config.patience, async || work(&link).await).await
        })?
    }

    /// Sends everything, and closes the pool.
    ///
    /// # Errors
    ///
    /// As of [`flush`](Primary::flush): what was not sent is in the outbox.
    pub fn close(self, timeout: Duration) -> Result<()> {
        self.flush(timeout)?;
        Ok(self.pool.checkpoint()?)
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        self.shared.stop(Stop::Closed);
        if let Some(publisher) = self.publisher.take() {
            _ = publisher.join();
        }
    }
}

impl std::fmt::Debug for Primary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Primary")
            .field("pool", &self.pool)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
