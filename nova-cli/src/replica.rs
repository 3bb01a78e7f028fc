//! Replicated pools: how one stands, promotion, and seeding again.

#![allow(unsafe_code)]

use crate::{Failure, Outcome, progress, size::Size};
use clap::{Args, Subcommand};
use pmem_alloc::PoolOptions;
use pmem_replica::{
    Behind, Config, Follower, Held, Overview, Streamed, async_nats::ConnectOptions, overview, reseed,
};
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// Which servers, and how to connect to them.
#[derive(Args)]
pub(crate) struct Cluster {
    /// Addresses of the servers, separated by commas
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    servers: String,
    /// A file with a user's credentials
    #[arg(long, env = "NATS_CREDS", value_name = "FILE")]
    creds: Option<PathBuf>,
    /// A user's name
    #[arg(long, env = "NATS_USER", requires = "password")]
    user: Option<String>,
    /// The user's password
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Certificates of authorities, in a file; with it connections are encrypted
    #[arg(long, env = "NATS_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// This client's certificate
    #[arg(long, env = "NATS_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, env = "NATS_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Connections are encrypted
    #[arg(long)]
    tls: bool,
    /// Seconds to wait for servers that do not answer
    #[arg(long, default_value_t = 10)]
    patience: u64,
    /// Seconds for which a new primary's word is to be believed
    #[arg(long, default_value_t = 10)]
    lease: u64,
}

impl Cluster {
    fn options(&self) -> Result<ConnectOptions, Failure> {
        let mut options = ConnectOptions::new();
        if let Some(path) = &self.creds {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            options = options.credentials(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(path) = &self.ca {
            options = options.add_root_certificates(path.clone());
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        Ok(options.require_tls(self.tls || self.ca.is_some() || self.cert.is_some()))
    }

    fn config(&self, name: &str) -> Result<Config, Failure> {
        let options = self.options()?;
        Ok(Config::new(&self.servers, name)
            .patience(Duration::from_secs(self.patience))
            .lease(Duration::from_secs(self.lease))
            .connect_with(move || options.clone()))
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Says who is the primary, what the stream has, and how far followers are
    Status {
        /// Under which name the pool is replicated
        name: String,
        #[command(flatten)]
        cluster: Cluster,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Makes a follower that is not open the primary, after its primary is gone: waits for its lease to end
    Promote {
        /// The follower's pool
        pool: PathBuf,
        /// Under which name the pool is replicated
        name: String,
        /// The follower's name
        #[arg(long = "as", value_name = "FOLLOWER")]
        follower: String,
        #[command(flatten)]
        cluster: Cluster,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Puts a copy of a seed, or of another follower, in a follower's place; what was there gets the ending `.before`
    Reseed {
        /// The seed, or a follower that is not open
        seed: PathBuf,
        /// The follower's pool
        pool: PathBuf,
        /// Under which name the pool is replicated
        name: String,
        /// The follower's name
        #[arg(long = "as", value_name = "FOLLOWER")]
        follower: String,
        #[command(flatten)]
        cluster: Cluster,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Status { name, cluster, json } => status(&cluster.config(name)?, *json),
        Command::Promote { pool, name, follower, cluster, json } => {
            promote(pool, &cluster.config(name)?, follower, *json)
        }
        Command::Reseed { seed, pool, name, follower, cluster, json } => {
            // SAFETY: whoever runs the command says that nobody else writes the files; locks keep programs like this one out.
            let done = unsafe { reseed(seed, pool, &cluster.config(name)?, follower) }?;
            if *json {
                println!(
                    "{:#}",
                    json!({"record": done.record, "behind": done.behind, "before": done.before})
                );
            } else {
                let (path, record, behind) = (pool.display(), done.record, done.behind);
                println!("{path}: follows from record {record}, and is {behind} behind");
                if let Some(before) = done.before {
                    println!("what was there is {}", before.display());
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn promote(pool: &std::path::Path, config: &Config, follower: &str, as_json: bool) -> Outcome {
    let bar = progress::working("waiting for the lease to end");
    // SAFETY: as for `reseed`.
    let follower = unsafe { Follower::open(pool, &PoolOptions::new(), config, follower) }?;
    // SAFETY: as above.
    let (primary, done) = unsafe { follower.promote(&PoolOptions::new()) }?;
    let term = primary.status().term;
    primary.close(Duration::from_secs(60))?;
    bar.finish_and_clear();
    let seconds = done.took.as_secs_f64();
    if as_json {
        let said = json!({
            "term": term, "record": done.record, "missing": done.missing, "missing_at_most": done.at_most, "seconds": seconds,
        });
        println!("{said:#}");
    } else {
        println!(
            "{}: the primary of term {term}, after record {}, in {seconds:.1} s",
            pool.display(),
            done.record
        );
        let most = done.at_most.map_or("nobody knows how many".into(), |most| format!("about {most}"));
        println!("missing: at least {} records, at most {most}", done.missing);
    }
    Ok(ExitCode::SUCCESS)
}

fn status(config: &Config, as_json: bool) -> Outcome {
    let Overview { stream, primary, followers, .. } = overview(config)?;
    if as_json {
        let said = json!({
            "stream": stream_in_json(&stream), "primary": primary.map(|held| primary_in_json(&held)),
            "followers": followers.iter().map(follower_in_json).collect::<Vec<_>>(),
        });
        println!("{said:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let Streamed { id, term, record, first_message, last_message, bytes, leader, peers, .. } = &stream;
    println!("stream     {id:016x}, term {term}, record {record}");
    println!("messages   {first_message} to {last_message}, {}", Size(*bytes));
    let peers: Vec<String> = peers
        .iter()
        .map(|(name, current)| if *current { name.clone() } else { format!("{name} (behind)") })
        .collect();
    println!("servers    {} leads; {}", leader.as_deref().unwrap_or("nobody"), peers.join(", "));
    match &primary {
        None => println!("primary    none has said so"),
        Some(held) => {
            let is = if held.is_valid() { "is" } else { "was" };
            println!(
                "primary    {:016x} {is} it, of term {}; heard {} ago, lease {}",
                held.holder,
                held.term,
                seconds(held.heard),
                seconds(held.lease)
            );
            if let Some(waiting) = &held.waiting {
                let age = seconds(Duration::from_millis(waiting.millis));
                println!("lag        {} records, {}, {age}, by then", waiting.records, Size(waiting.bytes));
            }
        }
    }
    for one in &followers {
        let lost = if one.is_lost { "; what comes next was trimmed: seed it again" } else { "" };
        println!(
            "follower   {}: record {}, {} records behind, about {}, {}; heard {} ago{lost}",
            one.name,
            one.record,
            one.records,
            Size(one.bytes),
            seconds(one.age),
            seconds(one.heard)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn stream_in_json(stream: &Streamed) -> Value {
    let peers = stream.peers.iter().map(|(name, current)| json!({"name": name, "current": current}));
    json!({
        "id": format!("{:016x}", stream.id), "term": stream.term, "holder": format!("{:016x}", stream.holder),
        "since": stream.since, "record": stream.record, "first_message": stream.first_message,
        "last_message": stream.last_message, "bytes": stream.bytes, "leader": stream.leader,
        "peers": peers.collect::<Vec<_>>(),
    })
}

fn primary_in_json(held: &Held) -> Value {
    let lag = held.waiting.map(|waiting| {
        let seconds = waiting.millis as f64 / 1e3;
        json!({"records": waiting.records, "bytes": waiting.bytes, "seconds": seconds, "most": waiting.most})
    });
    json!({
        "holder": format!("{:016x}", held.holder), "term": held.term, "committed": held.told,
        "lease_seconds": held.lease.as_secs_f64(), "heard_seconds": held.heard.as_secs_f64(),
        "valid": held.is_valid(), "lag": lag,
    })
}

fn follower_in_json(one: &Behind) -> Value {
    json!({
        "name": one.name, "record": one.record, "message": one.message, "records": one.records, "bytes": one.bytes,
        "seconds": one.age.as_secs_f64(), "heard_seconds": one.heard.as_secs_f64(), "lost": one.is_lost,
    })
}
