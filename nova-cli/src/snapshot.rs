//! Snapshots of volumes.

mod stream;

use crate::{Failure, Outcome, args, control, image, size::Size};
use nova_core::{BLOCK, Change, Changed, ChangedAttributes, Code, Error, Nova};
use nova_fuse::control::{Answer, Request, Snapshot};
use serde_json::{Value, json};
use std::{
    io::IsTerminal,
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) fn run(command: &args::Snapshot) -> Outcome {
    match command {
        args::Snapshot::Create { image, name } => create(image, name),
        args::Snapshot::List { image, json } => list(image, *json),
        args::Snapshot::Diff { image, from, to, json } => diff(image, from, to.as_deref(), *json),
        args::Snapshot::Send { image, name, from, output } => {
            stream::send(image, from.as_deref(), name, output.as_deref())
        }
        args::Snapshot::Receive { image, stream } => stream::receive(image, stream.as_deref()),
        #[cfg(feature = "replica")]
        args::Snapshot::Push(args) => crate::remote::push_snapshot(args),
        #[cfg(feature = "replica")]
        args::Snapshot::Pull(args) => crate::remote::pull_snapshot(args),
        args::Snapshot::Rollback { image, name, force } => rollback(image, name, *force),
        args::Snapshot::Delete { image, name } => delete(image, name),
    }
}

/// Changes a volume, and unmounts it, whatever came of it.
pub(crate) fn change<T>(image: &Path, work: impl FnOnce(&Nova) -> Result<T, Failure>) -> Result<T, Failure> {
    let nova = image::write(image)?;
    let done = work(&nova);
    nova.unmount()?;
    done
}

/// What an error means for a snapshot's name.
pub(crate) fn named(name: &str, error: Error) -> Failure {
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

/// The volume that is mounted at a directory, or has it, has one more or one less.
fn change_mounted(dir: &Path, name: &str, request: &Request) -> Result<u64, Failure> {
    match control::ask(dir, request)? {
        Ok(Answer::Done { free }) => Ok(free),
        Ok(_) => Err("the daemon answered something else".into()),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ENOENT) => named(name, Code::NotFound.into()),
            Some(libc::EEXIST) => named(name, Code::Exists.into()),
            Some(libc::EINVAL | libc::ENAMETOOLONG) => named(name, Code::Invalid.into()),
            Some(libc::EBUSY) => {
                "a program that has mapped a file there did not hold up its stores: is it stopped? `nova stat` of a file says who has it".into()
            }
            _ => error.into(),
        }),
    }
}

fn create(image: &Path, name: &str) -> Outcome {
    if image.is_dir() {
        change_mounted(image, name, &Request::CreateSnapshot { name: name.into() })?;
        let used = all(image)?.into_iter().find(|one| one.name == name).map_or(0, |one| one.used);
        println!("snapshot {name:?} of {} in use", Size(used));
        return Ok(ExitCode::SUCCESS);
    }
    let made = change(image, |nova| nova.create_snapshot(name).map_err(|error| named(name, error)))?;
    println!("snapshot {name:?} of {} in use", Size(made.used * BLOCK));
    Ok(ExitCode::SUCCESS)
}

fn delete(image: &Path, name: &str) -> Outcome {
    if image.is_dir() {
        let free = change_mounted(image, name, &Request::DeleteSnapshot { name: name.into() })?;
        println!("snapshot {name:?} is gone; {} are free", Size(free));
        return Ok(ExitCode::SUCCESS);
    }
    let freed = change(image, |nova| {
        let before = nova.statfs().free;
        nova.delete_snapshot(name).map_err(|error| named(name, error))?;
        nova.sync()?; // which waits until it is free
        Ok(nova.statfs().free.saturating_sub(before))
    })?;
    println!("snapshot {name:?} is gone; {} more are free", Size(freed * BLOCK));
    Ok(ExitCode::SUCCESS)
}

fn rollback(image: &Path, name: &str, force: bool) -> Outcome {
    let nova = image::write(image)?;
    nova.snapshot(name).map_err(|error| named(name, error))?;
    let changes = nova.diff(name, None)?.len();
    if !force && !is_wanted(name, changes)? {
        nova.unmount()?;
        return Err("nothing was changed".into());
    }
    let nova = nova.rollback(name)?;
    nova.unmount()?;
    println!("rolled back to {name:?}: {changes} changes are undone");
    Ok(ExitCode::SUCCESS)
}

/// Asks whoever is at the terminal. Nobody there: an error.
fn is_wanted(name: &str, changes: usize) -> Result<bool, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(format!(
            "{changes} changes since {name:?} would be undone: use --force if that is wanted"
        )
        .into());
    }
    eprint!(
        "{changes} changes since {name:?} will be undone (`nova snapshot diff` shows them). Go on? [y/N] "
    );
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// All snapshots of a volume, mounted or not, oldest first.
fn all(image: &Path) -> Result<Vec<Snapshot>, Failure> {
    if image.is_dir() {
        return control::all(
            image,
            |skip| Request::Snapshots { skip },
            |answer| match answer {
                Answer::Snapshots(some) => Some(some),
                _ => None,
            },
        );
    }
    Ok(image::read(image)?.snapshots().into_iter().map(Snapshot::from).collect())
}

fn list(image: &Path, as_json: bool) -> Outcome {
    let snapshots = all(image)?;
    if as_json {
        println!("{:#}", json!(snapshots));
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:>6} {:>12} {:>12} {:>12} {:>12}  name",
        "epoch", "age", "in use then", "only its own", "its log"
    );
    for Snapshot { name, epoch, created_ns, used, unique, saved } in &snapshots {
        let [used, unique, saved] = [used, unique, saved].map(|bytes| Size(*bytes).to_string());
        println!("{epoch:>6} {:>12} {used:>12} {unique:>12} {saved:>12}  {name}", age(*created_ns));
    }
    Ok(ExitCode::SUCCESS)
}

/// How long ago that was, in one unit.
pub(crate) fn age(created: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let seconds = (now - created / 1_000_000_000).max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn diff(image: &Path, from: &str, to: Option<&str>, as_json: bool) -> Outcome {
    let nova = image::read(image)?;
    for name in [Some(from), to].into_iter().flatten() {
        nova.snapshot(name).map_err(|error| named(name, error))?;
    }
    let changes = nova.diff(from, to)?;
    if as_json {
        println!("{:#}", json!(changes.iter().map(change_in_json).collect::<Vec<_>>()));
        return Ok(ExitCode::SUCCESS);
    }
    for change in &changes {
        println!("{}", in_words(change));
    }
    Ok(ExitCode::SUCCESS)
}

/// Paths are of bytes; what is no UTF-8 of them is replaced.
fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Which attributes are different, by name.
fn attributes(changed: &ChangedAttributes) -> Vec<String> {
    let ChangedAttributes { mode, owner, flags, modified, extended } = changed;
    let own = [("mode", mode), ("owner", owner), ("flags", flags), ("modified", modified)];
    let own = own.into_iter().filter(|(_, changed)| **changed).map(|(name, _)| name.to_owned());
    own.chain(extended.iter().map(|name| text(name))).collect()
}

fn in_words(change: &Change) -> String {
    let path = text(&change.path);
    match &change.what {
        Changed::Removed => format!("- {path}"),
        Changed::Added => format!("+ {path}"),
        Changed::Linked { existing } => format!("+ {path} (as {})", text(existing)),
        Changed::Moved { from } => format!("> {path} (from {})", text(from)),
        Changed::Content { size, ranges } => {
            let bytes = ranges.iter().map(|range| range.bytes.end - range.bytes.start).sum();
            let places = ranges.iter().map(|range| format!(" {}..{}", range.bytes.start, range.bytes.end));
            format!("M {path} ({} of {}:{})", Size(bytes), Size(*size), places.collect::<String>())
        }
        Changed::Attributes(changed) => format!("A {path} ({})", attributes(changed).join(", ")),
    }
}

fn change_in_json(change: &Change) -> Value {
    let Change { path, ino, what } = change;
    let (kind, more) = match what {
        Changed::Removed => ("removed", Value::Null),
        Changed::Added => ("added", Value::Null),
        Changed::Linked { existing } => ("linked", json!({"existing": text(existing)})),
        Changed::Moved { from } => ("moved", json!({"from": text(from)})),
        Changed::Content { size, ranges } => {
            let range = |range: &nova_core::ChangedRange| json!({"start": range.bytes.start, "end": range.bytes.end, "is_data": range.is_data});
            ("content", json!({"size": size, "ranges": ranges.iter().map(range).collect::<Vec<_>>()}))
        }
        Changed::Attributes(changed) => ("attributes", json!({"names": attributes(changed)})),
    };
    let mut value = json!({"path": text(path), "inode": ino, "kind": kind});
    if let Value::Object(more) = more {
        value.as_object_mut().expect("it is one").extend(more);
    }
    value
}
