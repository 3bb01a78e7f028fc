//! What is asked of the servers: a stream, its last message, a bucket.

use crate::{Config, Error, Result, record::Envelope};
use async_nats::{
    Client, HeaderMap,
    jetstream::{
        self,
        consumer::{self, AckPolicy, DeliverPolicy},
        kv,
        stream::{self, Stream},
    },
};
use std::{
    future::Future,
    time::{Duration, SystemTime},
};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(2);
/// The bucket with leases and with the followers' progress.
const BUCKET: &str = "pools";

/// A connection, and the names that belong to one pool.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) config: Config,
    context: jetstream::Context,
    subject: String,
    stream: String,
}

/// The stream's last message.
pub(crate) struct Last {
    pub(crate) message: u64,
    pub(crate) envelope: Envelope,
}

/// What became of a message that was sent.
pub(crate) enum Sent {
    /// It is in the stream, as this message.
    Stored(u64),
    /// The stream's last message is not the one that was expected.
    Refused,
}

impl Link {
    pub(crate) async fn connect(config: &Config) -> Result<Link> {
        config.check()?;
        let servers = config.servers.join(",");
        let options = (config.connect)()
            .connection_timeout(REQUEST)
            .request_timeout(Some(REQUEST))
            .reconnect_delay_callback(|tries| Duration::from_millis(20 * (tries as u64).min(25)));
        let client: Client = options
            .connect(config.servers.clone())
            .await
            .map_err(|e| Error::Unreachable { servers, source: Box::new(e) })?;
        let context =
            jetstream::context::ContextBuilder::new().timeout(REQUEST).ack_timeout(REQUEST).build(client);
        let (subject, stream) = (format!("pool.{}", config.name), format!("pool_{}", config.name));
        Ok(Link { config: config.clone(), context, subject, stream })
    }

    /// The same, as often as it takes, for as long as the configuration says.
    pub(crate) async fn connect_patiently(config: &Config) -> Result<Link> {
        patiently(config.patience, async || Link::connect(config).await).await
    }

    /// Makes the stream; it may be there and be empty.
    pub(crate) async fn create_stream(&self) -> Result<()> {
        let config = stream::Config {
            name: self.stream.clone(),
            subjects: vec![self.subject.clone()],
            num_replicas: self.config.replicas,
            storage: stream::StorageType::File,
            discard: stream::DiscardPolicy::New,
            ..Default::default()
        };
        self.context.get_or_create_stream(config).await.map_err(Error::server("make a stream"))?;
        Ok(())
    }

    async fn stream(&self) -> Result<Stream> {
        self.context.get_stream(&self.stream).await.map_err(|e| match e.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(e)
                if e.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
            {
                Error::NoStream { name: self.config.name.clone() }
            }
            _ => Error::Server { what: "find the stream", source: Box::new(e) },
        })
    }

    /// First and last message that the stream has now; the first is one more than the last if it is empty.
    pub(crate) async fn bounds(&self) -> Result<(u64, u64)> {
        let state = self.stream().await?.cached_info().state.clone();
        Ok((state.first_sequence, state.last_sequence))
    }

    /// What the servers say of the stream.
    pub(crate) async fn info(&self) -> Result<stream::Info> {
        Ok(self.stream().await?.cached_info().clone())
    }

    /// When a message came; `None` if it is gone.
    pub(crate) async fn time_of(&self, message: u64) -> Result<Option<SystemTime>> {
        match self.stream().await?.get_raw_message(message).await {
            Ok(found) => Ok(Some(found.time.into())),
            Err(e) if e.kind() == stream::RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(e) => Err(Error::Server { what: "read a message", source: Box::new(e) }),
        }
    }

    /// The stream's last message; `None` if there never was one.
    pub(crate) async fn last(&self) -> Result<Option<Last>> {
        let stream = self.stream().await?;
        let message = stream.cached_info().state.last_sequence;
        if message == 0 {
            return Ok(None);
        }
        let found = stream.get_raw_message(message).await.map_err(Error::server("read the last message"))?;
        let (envelope, _) =
            Envelope::open(&found.payload).map_err(|what| Error::DamagedMessage { message, what })?;
        Ok(Some(Last { message, envelope }))
    }

    /// Sends a message, which is to come right after message `after`, and waits until it is stored.
    pub(crate) async fn send(&self, envelope: &Envelope, records: &[u8], after: u64) -> Result<Sent> {
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, envelope.id());
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, after.to_string());
        headers.insert(async_nats::header::NATS_EXPECTED_STREAM, self.stream.clone());
        let payload = envelope.seal(records).into();
        let what = "store a message";
        let sent = self.context.publish_with_headers(self.subject.clone(), headers, payload).await;
        match sent.map_err(Error::server(what))?.await {
            Ok(stored) => Ok(Sent::Stored(stored.sequence)),
            Err(e) if e.kind() == jetstream::context::PublishErrorKind::WrongLastSequence => {
                Ok(Sent::Refused)
            }
            Err(e) => Err(Error::Server { what, source: Box::new(e) }),
        }
    }

    /// Drops the messages before `message`.
    pub(crate) async fn drop_before(&self, message: u64) -> Result<()> {
        let purged = self.stream().await?.purge().sequence(message).await;
        purged.map(drop).map_err(Error::server("trim the stream"))
    }

    /// Reads from message `from` on.
    pub(crate) async fn read_from(&self, from: u64) -> Result<consumer::PullConsumer> {
        let config = consumer::pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        self.stream().await?.create_consumer(config).await.map_err(Error::server("read the stream"))
    }

    /// The bucket, which is made if it is missing.
    pub(crate) async fn bucket(&self) -> Result<kv::Store> {
        if let Ok(store) = self.context.get_key_value(BUCKET).await {
            return Ok(store);
        }
        // A bucket is a stream with these settings. (The client's own call asks for the account first, and cannot read what a server
        // of version 2.9 answers.)
        let config = stream::Config {
            name: format!("KV_{BUCKET}"),
            subjects: vec![format!("$KV.{BUCKET}.>")],
            max_messages_per_subject: 1,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            num_replicas: self.config.replicas,
            discard: stream::DiscardPolicy::New,
            ..Default::default()
        };
        let what = "make a bucket";
        self.context.get_or_create_stream(config).await.map_err(Error::server(what))?;
        self.context.get_key_value(BUCKET).await.map_err(Error::server(what))
    }
}

/// Does `work` again until it does not fail for want of a server, or until `patience` is over.
pub(crate) async fn patiently<T>(patience: Duration, mut work: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let started = std::time::Instant::now();
    loop {
        match work().await {
            Err(Error::Unreachable { .. } | Error::Server { .. }) if started.elapsed() < patience => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}

/// Runs asynchronous work on the calling thread.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io(std::path::Path::new("the event loop")))?;
    Ok(runtime.block_on(work))
}
