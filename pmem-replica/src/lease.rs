//! Who is the primary, in a JetStream key-value bucket: an early word, so that a promotion need not guess and a stale primary
//! stops soon. What makes two primaries impossible is the stream, which takes the next message from one of them only.

use crate::{Error, Result, link::Link};
use async_nats::jetstream::kv;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What the bucket says of a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Who: the identity of its pool.
    pub(crate) holder: u64,
    pub(crate) term: u64,
    /// The newest record that it had committed, when it last said so.
    pub(crate) told: u64,
    /// For how long it is to be believed after that.
    pub(crate) millis: u64,
}

/// What the bucket says of a follower, or of a seed that is to become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The last message of which it has everything.
    pub(crate) message: u64,
    /// The last record that it has.
    pub(crate) record: u64,
}

pub(crate) struct Bucket {
    store: kv::Store,
    pool: String,
}

/// A lease as it was found, and which of its versions that was.
pub(crate) type Found = Option<(Lease, u64)>;

impl Bucket {
    pub(crate) async fn open(link: &Link) -> Result<Bucket> {
        Ok(Bucket { store: link.bucket().await?, pool: link.config.name.clone() })
    }

    fn primary(&self) -> String {
        format!("{}.primary", self.pool)
    }

    pub(crate) async fn lease(&self) -> Result<Found> {
        let entry = self.store.entry(self.primary()).await.map_err(Error::server("read the lease"))?;
        let Some(entry) = entry.filter(|entry| entry.operation == kv::Operation::Put) else {
            return Ok(None);
        };
        let lease = postcard::from_bytes(&entry.value);
        let damaged = || Error::DamagedMessage { message: entry.revision, what: "it is no lease" };
        Ok(Some((lease.map_err(|_| damaged())?, entry.revision)))
    }

    /// Takes the lease, or renews it, if it is still as it was found. Its new version; `None` if it is not.
    pub(crate) async fn hold(&self, lease: Lease, found: Option<u64>) -> Result<Option<u64>> {
        let value = postcard::to_stdvec(&lease).expect("plain data into memory").into();
        match found {
            None => match self.store.create(self.primary(), value).await {
                Ok(revision) => Ok(Some(revision)),
                Err(e) if e.kind() == kv::CreateErrorKind::AlreadyExists => Ok(None),
                Err(e) => Err(Error::Server { what: "take the lease", source: Box::new(e) }),
            },
            Some(revision) => match self.store.update(self.primary(), value, revision).await {
                Ok(revision) => Ok(Some(revision)),
                Err(e) if e.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
                Err(e) => Err(Error::Server { what: "renew the lease", source: Box::new(e) }),
            },
        }
    }

    /// Takes the lease for `lease.holder`, when whoever has it has not been heard of for as long as it said. What was found.
    pub(crate) async fn take(&self, lease: Lease) -> Result<(Found, u64)> {
        let mut seen: Option<(Lease, u64)> = None;
        let mut since = Instant::now();
        let mut renewed = 0;
        loop {
            let found = self.lease().await?;
            if found.map(|(_, revision)| revision) != seen.map(|(_, revision)| revision) {
                renewed += u32::from(seen.is_some());
                (seen, since) = (found, Instant::now());
            }
            if let Some((other, _)) = found
                && renewed > 1
            {
                return Err(Error::PrimaryLives { term: other.term });
            }
            let free = found.is_none_or(|(other, _)| {
                other.holder == lease.holder || since.elapsed() > Duration::from_millis(other.millis)
            });
            if free && let Some(revision) = self.hold(lease, found.map(|(_, revision)| revision)).await? {
                return Ok((found, revision));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn report(&self, follower: &str, progress: Progress) -> Result<()> {
        let value = postcard::to_stdvec(&progress).expect("plain data into memory").into();
        let key = format!("{}.follower.{follower}", self.pool);
        self.store.put(key, value).await.map(drop).map_err(Error::server("report progress"))
    }

    pub(crate) async fn forget(&self, follower: &str) -> Result<()> {
        let key = format!("{}.follower.{follower}", self.pool);
        self.store.purge(key).await.map_err(Error::server("forget a follower"))
    }

    /// All followers that reported.
    pub(crate) async fn followers(&self) -> Result<Vec<(String, Progress)>> {
        use futures_util::TryStreamExt;
        let what = "list the followers";
        let keys = self.store.keys().await.map_err(Error::server(what))?;
        let keys: Vec<String> = keys.try_collect().await.map_err(Error::server(what))?;
        let prefix = format!("{}.follower.", self.pool);
        let mut followers = Vec::new();
        for key in keys {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            let value = self.store.get(&key).await.map_err(Error::server(what))?;
            let Some(progress) = value.and_then(|value| postcard::from_bytes(&value).ok()) else { continue };
            followers.push((name.to_owned(), progress));
        }
        Ok(followers)
    }
}
