//! A snapshot is pushed as the stream that `nova snapshot send` writes: what changed since the newest one that is there.

use super::{Where, about};
use crate::{
    Outcome, image, progress, size,
    size::Size,
    snapshot::{change, named},
};
use clap::Args;
use nova_core::SnapshotInfo;
use pmem_replica::objects::{Error, Kind, Label, Manifest, Pushed, Version, chain};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

#[derive(Args)]
pub(crate) struct Push {
    /// The volume
    image: PathBuf,
    /// The snapshot's name
    name: String,
    #[command(flatten)]
    place: Where,
    /// All of it, and not what changed since one that is there
    #[arg(long)]
    full: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Pull {
    #[command(flatten)]
    place: Where,
    /// The snapshot's name
    name: String,
    /// The volume, not mounted: empty, or with the files of a snapshot that it goes on from
    image: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn version(snapshot: &SnapshotInfo) -> Version {
    Version { number: snapshot.epoch, created: snapshot.created }
}

pub(crate) fn push(args: &Push) -> Outcome {
    let nova = image::read(&args.image)?;
    let snapshot = nova.snapshot(&args.name).map_err(|error| named(&args.name, error))?;
    let store = args.place.make()?;
    let there = store.list()?.manifests;
    let (source, version_here) = (size::hex(&nova.identity()), version(&snapshot));
    let is_other = |one: &&Manifest| {
        one.label.kind == Kind::Snapshot
            && one.label.name == args.name
            && (&one.label.source, one.label.version) != (&source, version_here)
    };
    if let Some(other) = there.iter().find(is_other) {
        let owner = format!("volume {}, version {}", other.label.source, other.label.version.number);
        return Err(Error::NameTaken { place: args.place.url.clone(), name: args.name.clone(), owner }.into());
    }
    let is_there = |older: &SnapshotInfo| {
        let mine = |one: &&Manifest| {
            (one.label.kind, &one.label.source, one.label.version)
                == (Kind::Snapshot, &source, version(older))
        };
        there.iter().find(mine).is_some_and(|one| chain(&there, one).is_ok())
    };
    let older = nova.snapshots().into_iter().filter(|one| !args.full && one.epoch < snapshot.epoch);
    let parent = older.filter(is_there).max_by_key(|one| one.epoch);
    let label = Label {
        kind: Kind::Snapshot,
        source: source.clone(),
        name: args.name.clone(),
        version: version_here,
        parent: parent.as_ref().map(version),
        size: nova.size(),
    };
    let bar = progress::passing();
    let mut push = store.push(label)?;
    nova.send(parent.as_ref().map(|parent| &*parent.name), &args.name, &mut bar.wrap_write(&mut push))?;
    let Pushed { manifest, sent, found, .. } = push.finish()?;
    bar.finish_and_clear();
    if args.json {
        let mut said = about(&manifest);
        said["sent"] = json!(sent);
        said["found"] = json!(found);
        println!("{said:#}");
    } else {
        let since = parent.map_or(String::new(), |parent| format!(" since {:?}", parent.name));
        println!("snapshot {:?}{since}: {} sent, {} were there", args.name, Size(sent), Size(found));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn pull(args: &Pull) -> Outcome {
    let store = args.place.open()?;
    let there = store.list()?.manifests;
    let wanted = store.find(&there, Kind::Snapshot, Some(&args.name))?;
    let chain = chain(&there, wanted)?;
    if !args.image.exists() {
        let (image, size) = (args.image.display(), wanted.label.size);
        return Err(format!("{image} is no volume yet: `nova mkfs {image} --size {size}` makes one").into());
    }
    let (done, bytes) = change(&args.image, |nova| {
        // What it goes on from may be here: that it is the same one is looked at when the next is received.
        let here = |one: &&Manifest| nova.snapshot(&one.label.name).is_ok();
        let first = chain[..chain.len() - 1].iter().rposition(here).map_or(0, |newest| newest + 1);
        let bar = progress::bytes(chain[first..].iter().map(|one| one.length).sum());
        let (mut done, mut bytes) = (Vec::new(), 0);
        for manifest in &chain[first..] {
            let received = nova.receive(&mut bar.wrap_read(store.content(manifest)))?;
            bytes += received.bytes;
            if !received.was_there {
                done.push(manifest.label.name.clone());
            }
        }
        bar.finish_and_clear();
        Ok((done, bytes))
    })?;
    if args.json {
        println!("{:#}", json!({"snapshot": args.name, "received": done, "bytes": bytes}));
    } else if done.is_empty() {
        println!("snapshot {:?} is there already", args.name);
    } else {
        println!("received {}: {}", done.join(", "), Size(bytes));
    }
    Ok(ExitCode::SUCCESS)
}
