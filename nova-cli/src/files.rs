//! Files of volumes that are not mounted. (Of those that are, what `nova stat` says is in `mounted`.)

use crate::{Failure, Outcome, image, map, mounted, size::Size};
use nova_core::{DirEntry, Kind, Nova, Stat, flags};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

/// A file: of the system, or inside a volume.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Here(PathBuf),
    Inside { image: PathBuf, path: PathBuf },
}

impl FromStr for Place {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Place, Infallible> {
        Ok(match text.split_once(":/") {
            Some((image, path)) if !image.is_empty() => {
                Place::Inside { image: image.into(), path: Path::new("/").join(path) }
            }
            _ => Place::Here(text.into()),
        })
    }
}

impl Place {
    /// Volume and path; a file of the system is a volume, and means its root.
    pub(crate) fn inside(&self) -> (&Path, &Path) {
        match self {
            Place::Here(image) => (image, Path::new("/")),
            Place::Inside { image, path } => (image, path),
        }
    }
}

fn letters(stat: &Stat) -> String {
    let kind = match stat.kind() {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
    };
    let bits = (0..9).map(|bit| if stat.mode >> (8 - bit) & 1 == 1 { ['r', 'w', 'x'][bit % 3] } else { '-' });
    std::iter::once(kind).chain(bits).collect()
}

pub(crate) fn ls(place: &Place, long: bool, snapshot: Option<&str>, as_json: bool) -> Outcome {
    let (image, path) = place.inside();
    let nova = image::read_as_of(image, snapshot)?;
    let entries = nova.read_dir(path)?;
    if as_json {
        let entries: Result<Vec<Value>, Failure> =
            entries.iter().map(|entry| entry_json(&nova, entry)).collect();
        println!("{:#}", json!(entries?));
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = std::io::stdout().lock();
    for entry in entries {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        if !long {
            writeln!(out, "{name}")?;
            continue;
        }
        let stat = nova.getattr(entry.ino)?;
        let (letters, size) = (letters(&stat), Size(stat.size).to_string());
        write!(out, "{letters} {:>3} {:>5} {:>5} {size:>10} {name}", stat.links, stat.uid, stat.gid)?;
        if entry.kind == Kind::Symlink {
            write!(out, " -> {}", String::from_utf8_lossy(&nova.readlink(entry.ino)?))?;
        }
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn entry_json(nova: &Nova, entry: &DirEntry) -> Result<Value, Failure> {
    let stat = nova.getattr(entry.ino)?;
    let target = match entry.kind {
        Kind::Symlink => Some(String::from_utf8_lossy(&nova.readlink(entry.ino)?).into_owned()),
        _ => None,
    };
    Ok(json!({
        "name": String::from_utf8_lossy(&entry.name), "kind": format!("{:?}", entry.kind).to_lowercase(), "inode": entry.ino,
        "mode": stat.mode, "links": stat.links, "uid": stat.uid, "gid": stat.gid, "size": stat.size,
        "modified_ns": stat.modified, "target": target,
    }))
}

pub(crate) fn stat(place: &Place, as_json: bool) -> Outcome {
    if let Place::Here(path) = place
        && let Some(report) = mounted::report(path)
    {
        return mounted::stat(path, &report, as_json);
    }
    let (image, path) = place.inside();
    let nova = image::read(image)?;
    let stat = nova.symlink_metadata(path)?;
    let parts = nova.file_anatomy(stat.ino)?;
    if as_json {
        let mut said = map::file_json(&parts, path);
        let stat = json!({
            "inode": stat.ino, "generation": stat.generation, "mode": stat.mode, "links": stat.links, "uid": stat.uid,
            "gid": stat.gid, "size": stat.size, "blocks_512": stat.blocks, "accessed_ns": stat.accessed,
            "modified_ns": stat.modified, "changed_ns": stat.changed, "created_ns": stat.created, "flags": stat.flags,
            "flag_names": flag_names(stat.flags), "changes": stat.changes,
        });
        let (Value::Object(said), Value::Object(stat)) = (&mut said, stat) else {
            unreachable!("both are objects")
        };
        said.extend(stat);
        println!("{:#}", json!(said));
        return Ok(ExitCode::SUCCESS);
    }
    println!("file      {}", path.display());
    println!("kind      {:?}, {} ({:o})", stat.kind(), letters(&stat), stat.mode & 0o7777);
    println!("inode     {}, generation {}, {} links", stat.ino, stat.generation, stat.links);
    println!("owner     {}, group {}", stat.uid, stat.gid);
    println!("size      {} bytes, {} in blocks", stat.size, Size(stat.blocks * 512));
    let shared = parts.extents.iter().filter(|part| part.shared).count();
    let huge = Size(map::huge_bytes(&parts));
    println!(
        "extents   {}, {shared} of them shared; {huge} can be mapped by pages of 2 MiB",
        parts.extents.len()
    );
    let used: u64 = parts.log.iter().map(|page| page.end - page.start).sum();
    println!("log       {} pages, {} of them used", parts.log.len(), Size(used));
    let names = flag_names(stat.flags);
    println!("flags     {}", if names.is_empty() { "none".into() } else { names.join(", ") });
    println!("changes   {}", stat.changes);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn flag_names(set: u32) -> Vec<&'static str> {
    let names = [
        (flags::IMMUTABLE, "immutable"),
        (flags::APPEND, "append only"),
        (flags::NO_DUMP, "no dump"),
        (flags::NO_ATIME, "no access times"),
        (flags::IN_PLACE, "data in place"),
        (flags::ALIGNED, "aligned"),
    ];
    names.into_iter().filter(|(flag, _)| set & flag != 0).map(|(_, name)| name).collect()
}
