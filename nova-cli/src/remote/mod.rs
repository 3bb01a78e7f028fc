//! Snapshots and pools in a folder or a bucket: pushing and pulling them, and care for what is there.

mod pool;
mod snapshot;

pub(crate) use pool::{Pull as PoolPull, Push as PoolPush, pull as pull_pool, push as push_pool};
pub(crate) use snapshot::{
    Pull as SnapshotPull, Push as SnapshotPush, pull as pull_snapshot, push as push_snapshot,
};

use crate::{Failure, Outcome, WRONG, mount, progress, size::Size};
use clap::{Args, Subcommand};
use pmem_replica::objects::{Keep, Manifest, Place, Store};
use serde_json::{Value, json};
use std::{process::ExitCode, time::SystemTime};

/// Where objects are.
#[derive(Args)]
pub(crate) struct Where {
    /// A folder, file:///PATH, or s3://BUCKET/PREFIX (credentials and region: AWS_* of the environment)
    url: String,
    /// Address of an S3 that is not Amazon's, as http://host:9000 (or AWS_ENDPOINT_URL)
    #[arg(long)]
    endpoint: Option<String>,
}

impl Where {
    fn place(&self) -> Result<Place, Failure> {
        Ok(Place::parse(&self.url, self.endpoint.as_deref())?)
    }

    /// To read what is there, or to remove it.
    fn open(&self) -> Result<Store, Failure> {
        Ok(Store::open_existing(&self.place()?)?)
    }

    /// To push something there, for the first time perhaps.
    fn make(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.place()?)?)
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists what was pushed
    List {
        #[command(flatten)]
        place: Where,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes old versions, and what nothing needs any more
    Prune {
        #[command(flatten)]
        place: Where,
        /// Keep so many snapshots of each volume, and copies of each pool, and what they go on from
        #[arg(long, value_name = "N")]
        keep: usize,
        /// Pushes and prunes that have not ended are dead
        #[arg(long)]
        force: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::List { place, json } => list(place, *json),
        Command::Prune { place, keep, force, json } => {
            prune(place, Keep { newest: *keep, force: *force }, *json)
        }
    }
}

/// One object, without its chunks.
fn about(manifest: &Manifest) -> Value {
    let label = &manifest.label;
    json!({
        "kind": label.kind.name(), "name": label.name, "source": label.source, "version": label.version.number,
        "created_ns": label.version.created, "parent": label.parent.map(|parent| parent.number), "size": label.size,
        "pushed": manifest.pushed, "bytes": manifest.length, "chunks": manifest.chunks.len(),
    })
}

fn list(place: &Where, as_json: bool) -> Outcome {
    let listed = place.open()?.list()?;
    if as_json {
        println!("{:#}", json!(listed.manifests.iter().map(about).collect::<Vec<_>>()));
    } else {
        println!(
            "{:<8} {:>20} {:>20} {:>12} {:>12}  name",
            "kind", "version", "goes on from", "bytes", "pushed"
        );
        for manifest in &listed.manifests {
            let (label, bytes) = (&manifest.label, Size(manifest.length).to_string());
            let parent = label.parent.map_or(String::new(), |parent| parent.number.to_string());
            let pushed = crate::snapshot::age(manifest.pushed as i64 * 1_000_000_000);
            let (kind, version) = (label.kind.name(), label.version.number);
            println!("{kind:<8} {version:>20} {parent:>20} {bytes:>12} {pushed:>12}  {}", label.name);
        }
    }
    for error in &listed.unreadable {
        mount::complain(format_args!("nova: {error}"));
    }
    Ok(if listed.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

fn prune(place: &Where, keep: Keep, as_json: bool) -> Outcome {
    let bar = progress::working("pruning");
    let pruned = place.open()?.prune(keep)?;
    bar.finish_and_clear();
    if as_json {
        let removed: Vec<Value> = pruned.removed.iter().map(about).collect();
        let said =
            json!({"kept": pruned.kept, "removed": removed, "chunks": pruned.chunks, "bytes": pruned.bytes});
        println!("{said:#}");
    } else {
        for manifest in &pruned.removed {
            println!("removed {} {:?}", manifest.label.kind.name(), manifest.label.name);
        }
        println!("{} are kept; {} chunks are gone, {}", pruned.kept, pruned.chunks, Size(pruned.bytes));
    }
    Ok(ExitCode::SUCCESS)
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
