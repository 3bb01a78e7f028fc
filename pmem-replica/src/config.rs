//! How a pool is replicated.

use crate::{Error, Result};
use async_nats::ConnectOptions;
use std::{fmt, sync::Arc, time::Duration};

/// Servers, a stream's name, and how much may be at risk.
#[derive(Clone)]
pub struct Config {
    pub(crate) servers: Vec<String>,
    pub(crate) name: String,
    pub(crate) replicas: usize,
    pub(crate) mode: Mode,
    pub(crate) bound: Bound,
    pub(crate) lease: Duration,
    pub(crate) trim_every: Duration,
    pub(crate) patience: Duration,
    pub(crate) connect: Arc<dyn Fn() -> ConnectOptions + Send + Sync>,
}

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When it is durable here. The stream gets it soon; how soon is reported, and bounded.
    Async,
    /// When the stream has acknowledged it, too: a majority of its servers has it. Commits of several threads share messages.
    Sync {
        /// How long a commit waits for that before it returns [`Error::NotReplicated`]: it is then durable here, and is sent later.
        timeout: Duration,
    },
}

/// What may wait for the stream, and what happens beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Records.
    pub records: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// How long the oldest may wait.
    pub age: Duration,
    /// What happens to the next transaction beyond any of the three.
    pub beyond: Beyond,
}

/// What happens to a transaction that would begin while more waits for the stream than is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It waits until less does, and after this time gets [`Error::Lagging`].
    Wait(Duration),
    /// It gets [`Error::Lagging`] at once.
    Refuse,
    /// It begins; [`Status::beyond_bound`](crate::Status) says so.
    Warn,
}

impl Default for Bound {
    /// 100,000 records, 64 MiB, 10 s; transactions wait for up to 30 s.
    fn default() -> Bound {
        let beyond = Beyond::Wait(Duration::from_secs(30));
        Bound { records: 100_000, bytes: 64 << 20, age: Duration::from_secs(10), beyond }
    }
}

impl Config {
    /// Replication through the servers at these addresses, separated by commas (`nats://host:4222`), and the stream `name`: three
    /// replicas, [`Mode::Async`], the default [`Bound`], a lease of 10 s.
    pub fn new(servers: &str, name: &str) -> Config {
        Config {
            servers: servers.split(',').map(str::to_owned).collect(),
            name: name.into(),
            replicas: 3,
            mode: Mode::Async,
            bound: Bound::default(),
            lease: Duration::from_secs(10),
            trim_every: Duration::from_secs(30),
            patience: Duration::from_secs(30),
            connect: Arc::new(ConnectOptions::new),
        }
    }

    /// On how many servers the stream is, when it is created: 1, 3 or 5.
    pub fn replicas(mut self, replicas: usize) -> Config {
        self.replicas = replicas;
        self
    }

    /// When a commit is acknowledged.
    pub fn mode(mut self, mode: Mode) -> Config {
        self.mode = mode;
        self
    }

    /// What may wait for the stream.
    pub fn bound(mut self, bound: Bound) -> Config {
        self.bound = bound;
        self
    }

    /// For how long the primary is the primary without being heard of: a promotion waits that long.
    pub fn lease(mut self, lease: Duration) -> Config {
        self.lease = lease;
        self
    }

    /// How often the primary drops from the stream what all registered followers have applied.
    pub fn trim_every(mut self, every: Duration) -> Config {
        self.trim_every = every;
        self
    }

    /// How long opening waits for servers that do not answer.
    pub fn patience(mut self, patience: Duration) -> Config {
        self.patience = patience;
        self
    }

    /// How to connect: credentials, certificates, whatever [`async_nats::ConnectOptions`] knows. Called for each connection.
    pub fn connect_with(mut self, options: impl Fn() -> ConnectOptions + Send + Sync + 'static) -> Config {
        self.connect = Arc::new(options);
        self
    }

    /// A name that can be part of a subject and of a stream's name.
    pub(crate) fn check(&self) -> Result<()> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match !self.name.is_empty() && self.name.len() <= 64 && self.name.chars().all(good) {
            true => Ok(()),
            false => Err(Error::BadName { name: self.name.clone() }),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("name", &self.name)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
