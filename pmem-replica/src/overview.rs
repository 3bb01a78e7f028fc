//! How a replicated pool stands, as the servers know it: for people, without any of its pools at hand.

use crate::{
    Config, Error, Result,
    lease::{Bucket, Waiting},
    link::{self, Link},
};
use std::time::{Duration, SystemTime};

/// How a replicated pool stands, as the servers know it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Overview {
    /// The stream.
    pub stream: Streamed,
    /// Who said last that it is the primary.
    pub primary: Option<Held>,
    /// Followers, and seeds that are to become some.
    pub followers: Vec<Behind>,
}

/// What a stream has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Streamed {
    /// Which one: random, chosen when it was created.
    pub id: u64,
    /// The term that is on.
    pub term: u64,
    /// Identity of the pool that began it, and the record after which it became the primary.
    pub holder: u64,
    /// The record after which this holder became the primary.
    pub since: u64,
    /// The last record of which everything is in the stream.
    pub record: u64,
    /// The first message that is kept, and the last one.
    pub first_message: u64,
    /// The last message.
    pub last_message: u64,
    /// Bytes of the messages that are kept.
    pub bytes: u64,
    /// When the last message came.
    pub last: SystemTime,
    /// The server that leads it.
    pub leader: Option<String>,
    /// The other servers that have it, and whether they have everything.
    pub peers: Vec<(String, bool)>,
}

/// What a primary said last.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Held {
    /// Identity of its pool.
    pub holder: u64,
    /// Its term.
    pub term: u64,
    /// The newest record that it had committed.
    pub told: u64,
    /// For how long that is to be believed.
    pub lease: Duration,
    /// How long ago it was. (By the clocks of this machine and the servers'.)
    pub heard: Duration,
    /// What waited at the primary by then.
    pub waiting: Option<Waiting>,
}

impl Held {
    /// Whether it is to be believed still.
    pub fn is_valid(&self) -> bool {
        self.heard <= self.lease
    }
}

/// How far a follower is, as it said last (it does once a second).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Behind {
    /// Its name.
    pub name: String,
    /// The last record that it has.
    pub record: u64,
    /// The last message that it has as a whole.
    pub message: u64,
    /// Records that the stream has, and it does not.
    pub records: u64,
    /// About how many bytes of messages that is.
    pub bytes: u64,
    /// For how long the first of them has been in the stream.
    pub age: Duration,
    /// How long ago it said so.
    pub heard: Duration,
    /// What comes next for it was trimmed: it has to be seeded again.
    pub is_lost: bool,
}

/// Asks the servers how the pool that is replicated as `config` says stands.
///
/// # Errors
///
/// [`Error::NoStream`]; [`Error::Unreachable`] and [`Error::Server`] after the configured patience.
pub fn overview(config: &Config) -> Result<Overview> {
    link::block_on(async {
        let link = Link::connect_patiently(config).await?;
        link::patiently(config.patience, async || look(&link).await).await
    })?
}

async fn look(link: &Link) -> Result<Overview> {
    let no_stream = || Error::NoStream { name: link.config.name.clone() };
    let last = link.last().await?.ok_or_else(no_stream)?;
    let info = link.info().await?;
    let (state, cluster) = (&info.state, info.cluster.as_ref());
    let peers = cluster.into_iter().flat_map(|cluster| &cluster.replicas);
    let stream = Streamed {
        id: last.envelope.stream,
        term: last.envelope.term,
        holder: last.envelope.holder,
        since: last.envelope.since,
        record: last.envelope.complete,
        first_message: state.first_sequence,
        last_message: last.message,
        bytes: state.bytes,
        last: state.last_timestamp.into(),
        leader: cluster.and_then(|cluster| cluster.leader.clone()),
        peers: peers.map(|peer| (peer.name.clone(), peer.current && !peer.offline)).collect(),
    };
    let bucket = Bucket::open(link).await?;
    let primary = bucket.lease_and_time().await?.map(|(lease, when)| Held {
        holder: lease.holder,
        term: lease.term,
        told: lease.told,
        lease: Duration::from_millis(lease.millis),
        heard: ago(when),
        waiting: lease.waiting,
    });
    let mut followers = Vec::new();
    for (name, progress, when) in bucket.followers_and_times().await? {
        let messages = stream.last_message.saturating_sub(progress.message);
        let is_lost = progress.message + 1 < stream.first_message;
        let next = match messages {
            0 => None,
            _ => link.time_of((progress.message + 1).max(stream.first_message)).await?,
        };
        followers.push(Behind {
            name,
            record: progress.record,
            message: progress.message,
            records: stream.record.saturating_sub(progress.record),
            bytes: stream.bytes / state.messages.max(1) * messages,
            age: next.map_or(Duration::ZERO, ago),
            heard: ago(when),
            is_lost,
        });
    }
    Ok(Overview { stream, primary, followers })
}

fn ago(when: SystemTime) -> Duration {
    SystemTime::now().duration_since(when).unwrap_or_default()
}
