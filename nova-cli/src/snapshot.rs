//! Snapshots of volumes.

use crate::{Failure, Outcome, args, image, size::Size};
use nova_core::{BLOCK, Code, Error, Nova, SnapshotInfo};
use serde_json::json;
use std::{
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) fn run(command: &args::Snapshot) -> Outcome {
    match command {
        args::Snapshot::Create { image, name } => create(image, name),
        args::Snapshot::List { image, json } => list(image, *json),
        args::Snapshot::Delete { image, name } => delete(image, name),
    }
}

/// Changes a volume, and unmounts it, whatever came of it.
fn change<T>(image: &Path, work: impl FnOnce(&Nova) -> Result<T, Failure>) -> Result<T, Failure> {
    let nova = image::write(image)?;
    let done = work(&nova);
    nova.unmount()?;
    done
}

/// What an error means for a snapshot's name.
fn named(name: &str, error: Error) -> Failure {
    match error {
        Error::Posix(Code::NotFound) => {
            format!("there is no snapshot {name:?}: `nova snapshot list` says which there are").into()
        }
        Error::Posix(Code::Exists) => {
            format!("there is a snapshot {name:?}: delete it, or take another name").into()
        }
        Error::Posix(Code::Invalid | Code::NameTooLong) => {
            "a snapshot's name has 1 to 255 bytes, without `/` and control characters".into()
        }
        error => error.into(),
    }
}

fn create(image: &Path, name: &str) -> Outcome {
    let made = change(image, |nova| nova.create_snapshot(name).map_err(|error| named(name, error)))?;
    println!("snapshot {name:?} of {} in use", Size(made.used * BLOCK));
    Ok(ExitCode::SUCCESS)
}

fn delete(image: &Path, name: &str) -> Outcome {
    let freed = change(image, |nova| {
        let before = nova.statfs().free;
        nova.delete_snapshot(name).map_err(|error| named(name, error))?;
        Ok(nova.statfs().free.saturating_sub(before))
    })?;
    println!("snapshot {name:?} is gone; {} more are free", Size(freed * BLOCK));
    Ok(ExitCode::SUCCESS)
}

fn list(image: &Path, as_json: bool) -> Outcome {
    let snapshots = image::read(image)?.snapshots();
    if as_json {
        let all = snapshots.iter().map(|one| {
            json!({
                "name": one.name, "epoch": one.epoch, "created_ns": one.created, "used": one.used * BLOCK,
                "unique": one.unique * BLOCK, "saved": one.saved * BLOCK,
            })
        });
        println!("{:#}", json!(all.collect::<Vec<_>>()));
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:>6} {:>12} {:>12} {:>12} {:>12}  name",
        "epoch", "age", "in use then", "only its own", "its log"
    );
    for one in &snapshots {
        let SnapshotInfo { name, epoch, created, used, unique, saved } = one;
        let [used, unique, saved] = [used, unique, saved].map(|blocks| Size(blocks * BLOCK).to_string());
        println!("{epoch:>6} {:>12} {used:>12} {unique:>12} {saved:>12}  {name}", age(*created));
    }
    Ok(ExitCode::SUCCESS)
}

/// How long ago that was, in one unit.
fn age(created: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let seconds = (now - created / 1_000_000_000).max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
