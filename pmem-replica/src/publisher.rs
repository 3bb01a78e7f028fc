//! The publisher: one thread that sends what waits, one message after the other, and keeps the lease.
//!
//! One message is under way at a time, with as many records as wait by then: so commits share messages as they share drains, and a
//! message that got lost is the only one that can be.

use crate::{
    Error, Result,
    lease::{Bucket, Lease},
    link::{Last, Link, Sent, patiently},
    record::{Envelope, Kind, MESSAGE},
    shared::{Shared, Stop},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long to wait before trying again what failed.
const AGAIN: Duration = Duration::from_millis(50);

pub(crate) struct Publisher {
    shared: Arc<Shared>,
    link: Link,
    /// Identity of the pool.
    holder: u64,
    term: u64,
    /// The record after which this pool became the primary.
    since: u64,
    /// The stream's last message, and the last record that it completes.
    after: u64,
    complete: u64,
    /// Parts of the next record that are in the stream.
    parts: usize,
}

impl Publisher {
    /// Takes over: takes the lease, and begins a new term in the stream, which must be this pool's own. Returns the publisher and its
    /// lease's version.
    pub(crate) async fn begin(shared: Arc<Shared>, holder: u64) -> Result<(Publisher, u64)> {
        let patience = shared.config.patience;
        let link = Link::connect_patiently(&shared.config).await?;
        let mut publisher =
            Publisher { shared, link, holder, term: 0, since: 0, after: 0, complete: 0, parts: 0 };
        let lease = patiently(patience, async || {
            let last = publisher.look().await?;
            publisher.since = last.envelope.since;
            publisher.term = last.envelope.term + 1;
            let (_, version) = Bucket::open(&publisher.link).await?.take(publisher.lease()).await?;
            // The stream decides: the lease is a word.
            let envelope = publisher.envelope(Kind::Begin, publisher.complete);
            match publisher.link.send(&envelope, &[], publisher.after).await? {
                Sent::Stored(message) => publisher.after = message,
                Sent::Refused => {
                    let why = std::io::Error::other("somebody else wrote to the stream");
                    return Err(Error::server("begin a term")(why));
                }
            }
            Ok(version)
        })
        .await?;
        publisher.parts = 0; // of an earlier term: they are not continued
        publisher.shared.with(|state| state.term = publisher.term);
        publisher.shared.acknowledge_up_to(publisher.complete, publisher.after);
        publisher.check_continuity()?;
        Ok((publisher, lease))
    }

    fn lease(&self) -> Lease {
        let (told, waiting) = self.shared.waiting();
        let millis = self.shared.config.lease.as_millis() as u64;
        Lease { holder: self.holder, term: self.term, told, millis, waiting: Some(waiting) }
    }

    fn envelope(&self, kind: Kind, complete: u64) -> Envelope {
        let (stream, told) = (self.shared.stream, self.shared.with(|state| state.told));
        Envelope { stream, term: self.term, holder: self.holder, since: self.since, complete, told, kind }
    }

    /// Where the stream is. Fenced if it is not this pool's any more.
    async fn look(&mut self) -> Result<Last> {
        let name = || self.shared.config.name.clone();
        let last = self.link.last().await?.ok_or_else(|| Error::NoStream { name: name() })?;
        let envelope = &last.envelope;
        if envelope.stream != self.shared.stream {
            let (expected, found) = (self.shared.stream, envelope.stream);
            return Err(Error::WrongStream { name: name(), expected, found });
        }
        let begun = self.term != 0;
        if envelope.holder != self.holder || begun && envelope.term > self.term {
            self.shared.stop(Stop::Fenced { term: envelope.term, stream: envelope.since });
            return Err(self.stopped());
        }
        (self.after, self.complete, self.parts) = (last.message, envelope.complete, 0);
        if let Kind::Part { part, parts } = envelope.kind
            && part + 1 < parts
            && envelope.term == self.term
        {
            self.parts = part as usize + 1;
        }
        Ok(last)
    }

    fn stopped(&self) -> Error {
        self.shared.with(|state| state.error(&self.shared.config)).unwrap_or(Error::Closed)
    }

    /// What waits has to go on where the stream ends.
    fn check_continuity(&self) -> Result<()> {
        let (first, told) =
            self.shared.with(|state| (state.queue.front().map(|waiting| waiting.sealed.number), state.told));
        if first.unwrap_or(told + 1) == self.complete + 1 {
            return Ok(());
        }
        self.shared.stop(Stop::Gap { stream: self.complete, first: first.unwrap_or(told + 1) });
        Err(self.stopped())
    }

    /// Sends until this value's primary is closed, or another one takes over.
    pub(crate) async fn serve(mut self, version: u64) {
        let lease = tokio::spawn(keep_lease(self.shared.clone(), self.link.clone(), self.lease(), version));
        while self.shared.with(|state| state.stop.is_none()) {
            if self.shared.with(|state| state.queue.is_empty()) {
                self.shared.wake.notified().await;
                continue;
            }
            match self.send_next().await {
                Ok(true) => {}
                Ok(false) | Err(Error::Server { .. } | Error::Unreachable { .. }) => self.find_back().await,
                Err(_) => break, // what it is, the state says
            }
        }
        lease.abort();
    }

    /// The next message, from what waits: whole records, or a part of one.
    fn next(&self) -> (Envelope, Vec<u8>) {
        let (records, kind, complete) = self.shared.with(|state| {
            let first = &state.queue.front().expect("something waits").sealed;
            if first.bytes.len() > MESSAGE {
                let parts = first.bytes.len().div_ceil(MESSAGE);
                let chunk = first.bytes.chunks(MESSAGE).nth(self.parts).expect("fewer than all were sent");
                let kind = Kind::Part { part: self.parts as u32, parts: parts as u32 };
                return (chunk.to_vec(), kind, first.number - u64::from(self.parts + 1 < parts));
            }
            let (mut records, mut complete) = (Vec::new(), 0);
            for waiting in &state.queue {
                if records.len() + waiting.sealed.bytes.len() > MESSAGE {
                    break;
                }
                records.extend_from_slice(&waiting.sealed.bytes);
                complete = waiting.sealed.number;
            }
            (records, Kind::Records, complete)
        });
        (self.envelope(kind, complete), records)
    }

    /// Sends the next message. Whether the stream took it as the next one.
    async fn send_next(&mut self) -> Result<bool> {
        let (envelope, records) = self.next();
        let Sent::Stored(message) = self.link.send(&envelope, &records, self.after).await? else {
            return Ok(false);
        };
        if message != self.after + 1 {
            return Ok(false); // one that was sent before, and is there
        }
        self.after = message;
        self.parts = match envelope.kind {
            Kind::Part { part, parts } if part + 1 < parts => part as usize + 1,
            _ => 0,
        };
        self.complete = envelope.complete;
        self.shared.with(|state| state.sent += 1);
        self.shared
            .acknowledge_up_to(envelope.complete, if self.parts == 0 { message } else { self.message() });
        Ok(true)
    }

    /// The last message of which every record is whole.
    fn message(&self) -> u64 {
        self.shared.with(|state| state.message)
    }

    /// Finds out, for as long as it takes, what the stream has.
    async fn find_back(&mut self) {
        while self.shared.with(|state| state.stop.is_none()) {
            match self.look().await {
                Ok(_) => {
                    let message = if self.parts == 0 { self.after } else { self.message() };
                    self.shared.acknowledge_up_to(self.complete, message);
                    _ = self.check_continuity();
                    return;
                }
                Err(Error::Server { .. } | Error::Unreachable { .. }) => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    // The stream is gone, or is another one: nothing of it can be continued.
                    self.shared.stop(Stop::Stream(error.to_string()));
                    return;
                }
            }
        }
    }
}

/// Renews the lease, and trims the stream, until it is aborted.
async fn keep_lease(shared: Arc<Shared>, link: Link, lease: Lease, version: u64) {
    let mut version = version;
    let mut trimmed = Instant::now();
    loop {
        tokio::time::sleep(shared.config.lease / 3).await;
        let (told, waiting) = shared.waiting();
        match renew(&link, Lease { told, waiting: Some(waiting), ..lease }, version).await {
            Ok(Ok(renewed)) => version = renewed,
            Ok(Err(other)) => {
                let stream = shared.with(|state| state.acked);
                shared.stop(Stop::Fenced { term: other.term, stream });
                return;
            }
            Err(_) => continue, // the lease is a word; what counts is the stream
        }
        if trimmed.elapsed() >= shared.config.trim_every && trim(&link).await.is_ok() {
            trimmed = Instant::now();
        }
    }
}

/// The lease's new version, or who has it.
async fn renew(link: &Link, lease: Lease, version: u64) -> Result<Result<u64, Lease>> {
    let bucket = Bucket::open(link).await?;
    if let Some(renewed) = bucket.hold(lease, Some(version)).await? {
        return Ok(Ok(renewed));
    }
    match bucket.lease().await? {
        // A renewal of which the answer was lost.
        Some((found, version)) if found.holder == lease.holder && found.term == lease.term => Ok(Ok(version)),
        Some((other, _)) if other.term > lease.term => Ok(Err(other)),
        _ => Err(Error::server("renew the lease")(std::io::Error::other("it is an older one"))),
    }
}

/// Drops what every follower and every seed has, but for the last message. Returns the first message that is left.
pub(crate) async fn trim(link: &Link) -> Result<u64> {
    let followers = Bucket::open(link).await?.followers().await?;
    let (first, last) = link.bounds().await?;
    let needed = followers.iter().map(|(_, progress)| progress.message + 1).min();
    let keep = needed.unwrap_or(first).min(last);
    if keep > first {
        link.drop_before(keep).await?;
    }
    Ok(keep.max(first))
}
