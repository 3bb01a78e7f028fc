//! Files of volumes that are not mounted.

use crate::{Failure, Outcome, image, size::Size};
use nova_core::{Error, Kind, Nova, Stat};
use serde_json::json;
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
    fn inside(&self) -> (&Path, &Path) {
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

pub(crate) fn ls(place: &Place, long: bool, snapshot: Option<&str>) -> Outcome {
    let (image, path) = place.inside();
    let nova = image::read_as_of(image, snapshot)?;
    let mut out = std::io::stdout().lock();
    for entry in nova.read_dir(path)? {
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

pub(crate) fn cat(place: &Place, snapshot: Option<&str>) -> Outcome {
    let (image, path) = place.inside();
    let nova = image::read_as_of(image, snapshot)?;
    copy_out(&nova, path, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn copy_out(nova: &Nova, path: &Path, to: &mut impl Write) -> Result<u64, Failure> {
    let file = nova.open(path)?;
    let mut part = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(at, &mut part)?;
        if read == 0 {
            return Ok(at);
        }
        to.write_all(&part[..read])?;
        at += read as u64;
    }
}

pub(crate) fn cp(from: &Place, to: &Place, snapshot: Option<&str>) -> Outcome {
    match (from, to) {
        (Place::Inside { image, path }, Place::Here(target)) => {
            let nova = image::read_as_of(image, snapshot)?;
            let target = if target.is_dir() {
                target.join(path.file_name().unwrap_or_default())
            } else {
                target.clone()
            };
            let mut file = std::fs::File::create(&target)?;
            let bytes = copy_out(&nova, path, &mut file)?;
            println!("{} to {}", Size(bytes), target.display());
        }
        (Place::Here(_), Place::Inside { .. }) if snapshot.is_some() => {
            return Err("a snapshot stays as it is: nothing can be copied into it".into());
        }
        (Place::Here(source), Place::Inside { image, path }) => {
            let bytes = std::fs::read(source)?;
            let nova = image::write(image)?;
            let is_dir = nova.metadata(path).is_ok_and(|stat| stat.kind() == Kind::Directory);
            let target =
                if is_dir { path.join(source.file_name().unwrap_or_default()) } else { path.clone() };
            let written = write_in(&nova, &target, &bytes);
            nova.unmount()?;
            written?;
            println!("{} to {}:{}", Size(bytes.len() as u64), image.display(), target.display());
        }
        _ => return Err("one place has to be in a volume (IMAGE:/PATH), the other a file here".into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn write_in(nova: &Nova, target: &Path, bytes: &[u8]) -> Result<(), Error> {
    let file = nova.create_file(target)?;
    for (number, part) in bytes.chunks(1 << 20).enumerate() {
        file.write_at((number as u64) << 20, part)?;
    }
    Ok(())
}

pub(crate) fn stat(place: &Place, as_json: bool) -> Outcome {
    let (image, path) = place.inside();
    let nova = image::read(image)?;
    let stat = nova.symlink_metadata(path)?;
    if as_json {
        let stat = json!({
            "inode": stat.ino, "generation": stat.generation, "mode": stat.mode, "links": stat.links, "uid": stat.uid,
            "gid": stat.gid, "size": stat.size, "blocks_512": stat.blocks, "accessed_ns": stat.accessed,
            "modified_ns": stat.modified, "changed_ns": stat.changed, "created_ns": stat.created, "flags": stat.flags,
        });
        println!("{stat:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("file      {}", path.display());
    println!("kind      {:?}, {} ({:o})", stat.kind(), letters(&stat), stat.mode & 0o7777);
    println!("inode     {}, generation {}, {} links", stat.ino, stat.generation, stat.links);
    println!("owner     {}, group {}", stat.uid, stat.gid);
    println!("size      {} bytes, {} in blocks", stat.size, Size(stat.blocks * 512));
    println!("changes   {}", stat.changes);
    Ok(ExitCode::SUCCESS)
}
