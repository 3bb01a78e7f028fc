//! A pool is pushed as it is in its file. Chunks that an earlier copy has, of this pool or another one, are not sent again.

use super::{Where, about, now};
use crate::{Outcome, image, pool::look, progress, size::Size};
use clap::Args;
use pmem_replica::objects::{Error, Kind, Label, Pushed, Version};
use serde_json::json;
use std::{io::Write, path::PathBuf, process::ExitCode};

#[derive(Args)]
pub(crate) struct Push {
    /// The pool, which nobody has open
    pool: PathBuf,
    #[command(flatten)]
    place: Where,
    /// A name for it; otherwise its file's
    #[arg(long)]
    name: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Pull {
    #[command(flatten)]
    place: Where,
    /// A new file
    pool: PathBuf,
    /// The pool's name; can be left out where there is one pool
    #[arg(long)]
    name: Option<String>,
    /// An older copy, of which `nova remote list` says the version; otherwise the newest
    #[arg(long, value_name = "VERSION")]
    at: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn push(args: &Push) -> Outcome {
    let identity = look(&args.pool)?.identity()?; // and it can be opened
    let mapping = image::map(&args.pool, image::How { read_only: true, ..Default::default() })?;
    let name = args.name.clone().or_else(|| Some(args.pool.file_name()?.to_string_lossy().into_owned()));
    let time = now();
    let label = Label {
        kind: Kind::Pool,
        source: format!("{identity:016x}"),
        name: name.unwrap_or_default(),
        version: Version { number: time, created: time as i64 },
        parent: None,
        size: mapping.len(),
    };
    let bar = progress::bytes(mapping.len());
    let store = args.place.make()?;
    let mut push = store.push(label)?;
    bar.wrap_write(&mut push).write_all(mapping.as_slice())?;
    let Pushed { manifest, sent, found, .. } = push.finish()?;
    bar.finish_and_clear();
    if args.json {
        let mut said = about(&manifest);
        said["sent"] = json!(sent);
        said["found"] = json!(found);
        println!("{said:#}");
    } else {
        println!("pool {:?}: {} sent, {} were there", manifest.label.name, Size(sent), Size(found));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn pull(args: &Pull) -> Outcome {
    let store = args.place.open()?;
    let there = store.list()?.manifests;
    let mut wanted = store.find(&there, Kind::Pool, args.name.as_deref())?;
    if let Some(number) = args.at {
        let same = |label: &Label| {
            (label.kind, &label.source, label.version.number) == (Kind::Pool, &wanted.label.source, number)
        };
        let missing =
            || Error::NotFound { place: args.place.url.clone(), kind: "version", name: number.to_string() };
        wanted = there.iter().find(|one| same(&one.label)).ok_or_else(missing)?;
    }
    let bar = progress::bytes(wanted.length);
    let pulled = store.pull_file(wanted, &args.pool, |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    let (fetched, kept) = (pulled.fetched, pulled.kept);
    if args.json {
        let mut said = about(wanted);
        said["fetched"] = json!(fetched);
        said["kept"] = json!(kept);
        println!("{said:#}");
    } else {
        let path = args.pool.display();
        println!("{path}: pool {:?}, {} fetched, {} were here", wanted.label.name, Size(fetched), Size(kept));
    }
    Ok(ExitCode::SUCCESS)
}
