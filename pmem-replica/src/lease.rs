//! Who is the primary, in a JetStream key-value bucket: an early word, so that a promotion need not guess and a stale primary
//! stops soon. What makes two primaries impossible is the stream, which takes the next message from one of them only.

use crate::{Error, Result, link::Link};
use async_nats::jetstream::kv;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant, SystemTime};

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
    /// What waited by then. Not in what a promotion writes, nor in what the first programs of this version wrote.
    #[serde(skip)]
    pub(crate) waiting: Option<Waiting>,
}

/// What a primary had committed, and the stream had not acknowledged, when it renewed its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Waiting {
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// For how long the oldest had waited, in milliseconds.
    pub millis: u64,
    /// With so many records waiting no transaction begins; `None`: whatever waits, they do ([`Beyond::Warn`](crate::Beyond)).
    pub most: Option<u64>,
}

impl Lease {
    /// The lease, and what waits after it: who knows nothing of the latter reads the former.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = postcard::to_stdvec(self).expect("plain data into memory");
        if let Some(waiting) = &self.waiting {
            bytes.extend(postcard::to_stdvec(waiting).expect("plain data into memory"));
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Lease> {
        let (lease, rest) = postcard::take_from_bytes::<Lease>(bytes).ok()?;
        Some(Lease { waiting: postcard::from_bytes(rest).ok(), ..lease })
    }
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
        let damaged = || Error::DamagedMessage { message: entry.revision, what: "it is no lease" };
        Ok(Some((Lease::decode(&entry.value).ok_or_else(damaged)?, entry.revision)))
    }

    /// The lease, and when it was written.
    pub(crate) async fn lease_and_time(&self) -> Result<Option<(Lease, SystemTime)>> {
        let entry = self.store.entry(self.primary()).await.map_err(Error::server("read the lease"))?;
        Ok(entry.and_then(|entry| Some((Lease::decode(&entry.value)?, entry.created.into()))))
    }

    /// Takes the lease, or renews it, if it is still as it was found. Its new version; `None` if it is not.
    pub(crate) async fn hold(&self, lease: Lease, found: Option<u64>) -> Result<Option<u64>> {
        let value = lease.encode().into();
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
        let all = self.followers_and_times().await?;
        Ok(all.into_iter().map(|(name, progress, _)| (name, progress)).collect())
    }

    /// The same, and when each did.
    pub(crate) async fn followers_and_times(&self) -> Result<Vec<(String, Progress, SystemTime)>> {
        use futures_util::TryStreamExt;
        let what = "list the followers";
        let keys = self.store.keys().await.map_err(Error::server(what))?;
        let keys: Vec<String> = keys.try_collect().await.map_err(Error::server(what))?;
        let prefix = format!("{}.follower.", self.pool);
        let mut followers = Vec::new();
        for key in keys {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            let entry = self.store.entry(&key).await.map_err(Error::server(what))?;
            let put = entry.filter(|entry| entry.operation == kv::Operation::Put);
            let Some((progress, when)) =
                put.and_then(|entry| Some((postcard::from_bytes(&entry.value).ok()?, entry.created.into())))
            else {
                continue;
            };
            followers.push((name.to_owned(), progress, when));
        }
        Ok(followers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_with_and_without_what_waits() {
        let waiting = Some(Waiting { records: 3, bytes: 900, millis: 12, most: Some(10) });
        for lease in
            [waiting, None].map(|waiting| Lease { holder: 1, term: 2, told: 300, millis: 4, waiting })
        {
            let bytes = lease.encode();
            assert_eq!(Lease::decode(&bytes), Some(lease));
            // As the first programs of this version read it.
            assert_eq!(postcard::from_bytes::<(u64, u64, u64, u64)>(&bytes), Ok((1, 2, 300, 4)));
        }
        assert_eq!(Lease::decode(b"\x01\x02"), None);
    }
}
