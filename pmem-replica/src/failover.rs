//! Promotion: a follower becomes the primary.
//!
//! 1. The lease: wait until the primary has not been heard of for as long as it said it may be silent; then take it.
//! 2. Apply everything that the stream has.
//! 3. The fencing sequence: begin a new term right after the last message that was applied. The stream takes that message only if it is
//!    still the last; so nothing can be in it that this pool does not have, and whatever the old primary sends from now on is refused.
//! 4. The pool gets an outbox, and follows nobody any more.
//!
//! A crash before 3 leaves a follower. One between 3 and 4 leaves a follower, too, that finds its own term in the stream: promote it again.
#![expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]

use crate::{
    Error, Follower, Primary, Result,
    lease::{Bucket, Lease},
    link::{self, Link, Sent},
    record::{Envelope, Kind},
};
use pmem_alloc::PoolOptions;
use std::time::{Duration, Instant};

/// What a promotion found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promotion {
    /// The new primary's term, at least.
    pub term: u64,
    /// The last record of the old primary that is in the stream, and here.
    pub record: u64,
    /// How many records more the old primary is known to have committed, and nobody has: it said so, in its last message or with its
    /// lease. What it committed after that, only it knows; its own opening says so ([`Error::Fenced`]). None of them was acknowledged in
    /// [`Mode::Sync`](crate::Mode::Sync).
    pub missing: u64,
    /// How many it can be at most, as no transaction began at the old primary while more than its [`Bound`](crate::Bound) waited. That is
    /// so for one thread that writes; each further one may have added one, and so may each growth of the pool. `None`: it had no bound that
    /// it kept ([`Beyond::Warn`](crate::Beyond::Warn)), or did not say.
    pub at_most: Option<u64>,
    /// How long it took.
    pub took: Duration,
}

impl Follower {
    /// Makes this follower the primary, after its primary is gone. Waits out the lease.
    ///
    /// # Errors
    ///
    /// What stopped the follower; [`Error::PrimaryLives`]; errors of the servers after the configured patience, and [`Error::Server`] if somebody goes on
    /// writing to the stream. It can be opened as a follower again, then.
    ///
    /// # Safety
    ///
    /// As for [`PoolOptions::open`]: the file is opened again.
    pub unsafe fn promote(mut self, options: &PoolOptions) -> Result<(Primary, Promotion)> {
        let started = Instant::now();
        if let Some(error) = self.error() {
            return Err(Error::Stopped(error));
        }
        let (holder, stream) =
            (self.pool.identity()?, self.pool.following().ok_or(Error::NotAFollower)?.stream);
        let config = self.config.clone();
        let (term, record, told, most) = link::block_on(async {
            let link = Link::connect_patiently(&config).await?;
            let millis = config.lease.as_millis() as u64;
            let found = link::patiently(config.patience, async || {
                let term = link.last().await?.map_or(0, |last| last.envelope.term) + 1;
                let lease = Lease { holder, term, told: 0, millis, waiting: None };
                Ok(Bucket::open(&link).await?.take(lease).await?.0)
            })
            .await?;
            let other = found.map(|(lease, _)| lease).filter(|lease| lease.holder != holder);
            let told = other.map_or(0, |lease| lease.told);
            let most = other.and_then(|lease| lease.waiting?.most);
            let begun =
                link::patiently(config.patience, async || self.fence(&link, holder, stream, told).await)
                    .await;
            begun.map(|(term, record)| (term, record, told, most))
        })??;
        let told = told.max(self.status().told);
        self.stop();
        let path = self.path.clone();
        Primary::base(&path, &self.pool, stream, record)?;
        self.pool.stop_following()?;
        // The position in the log has moved with that: the outbox goes on after it.
        Primary::base(&path, &self.pool, stream, record)?;
        drop(self);
        // SAFETY: the caller's promise.
        let primary = unsafe { Primary::open(&path, options, &config) }?;
        let missing = told.saturating_sub(record);
        let at_most = most.map(|most| most.max(missing));
        Ok((primary, Promotion { term, record, missing, at_most, took: started.elapsed() }))
    }

    /// Begins a new term after everything that is applied here. Its number, and the last record before it.
    async fn fence(&self, link: &Link, holder: u64, stream: u64, told: u64) -> Result<(u64, u64)> {
        let again = || {
            Error::server("begin a term")(std::io::Error::other(
                "the stream has more than was applied so far",
            ))
        };
        let Some(last) = link.last().await? else {
            return Err(Error::NoStream { name: self.config.name.clone() });
        };
        let status = self.status();
        if let Some(error) = status.error {
            return Err(Error::Stopped(error));
        }
        // The last message may be a part of a record that will never be whole.
        let partial = matches!(last.envelope.kind, Kind::Part { part, parts } if part + 1 < parts);
        if status.record < last.envelope.complete || !partial && status.message < last.message {
            self.wait_for(last.envelope.complete, Duration::from_millis(200));
            return Err(again());
        }
        let term = last.envelope.term + 1;
        let complete = last.envelope.complete;
        let begin = Envelope {
            stream,
            term,
            holder,
            since: complete,
            complete,
            told: told.max(status.told),
            kind: Kind::Begin,
        };
        match link.send(&begin, &[], last.message).await? {
            Sent::Stored(_) => Ok((term, complete)),
            Sent::Refused => Err(again()),
        }
    }
}
