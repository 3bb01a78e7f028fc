//! Files into and out of volumes that are not mounted.

use crate::{Failure, Outcome, files::Place, image, progress, size::Size};
use nova_core::{Kind, Nova};
use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    process::ExitCode,
};

/// Bytes at a time: a write of as many is atomic.
const PART: usize = 1 << 20;

pub(crate) fn cat(place: &Place, snapshot: Option<&str>) -> Outcome {
    let (image, path) = place.inside();
    let nova = image::read_as_of(image, snapshot)?;
    copy_out(&nova, path, &mut std::io::stdout().lock(), |_| ())?;
    Ok(ExitCode::SUCCESS)
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
            let bar = progress::bytes(nova.metadata(path)?.size);
            let mut file = File::create(&target).map_err(|error| format!("{}: {error}", target.display()))?;
            let bytes = copy_out(&nova, path, &mut file, |part| bar.inc(part))?;
            bar.finish_and_clear();
            println!("{} to {}", Size(bytes), target.display());
        }
        (Place::Here(_), Place::Inside { .. }) if snapshot.is_some() => {
            return Err("a snapshot stays as it is: nothing can be copied into it".into());
        }
        (Place::Here(source), Place::Inside { image, path }) => {
            let mut file = File::open(source).map_err(|error| format!("{}: {error}", source.display()))?;
            let bar = progress::bytes(file.metadata()?.len());
            let nova = image::write(image)?;
            let is_dir = nova.metadata(path).is_ok_and(|stat| stat.kind() == Kind::Directory);
            let target =
                if is_dir { path.join(source.file_name().unwrap_or_default()) } else { path.clone() };
            let written = copy_in(&nova, &target, &mut file, |part| bar.inc(part));
            nova.unmount()?;
            bar.finish_and_clear();
            println!("{} to {}:{}", Size(written?), image.display(), target.display());
        }
        _ => return Err("one place has to be in a volume (IMAGE:/PATH), the other a file here".into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn copy_out(nova: &Nova, path: &Path, to: &mut impl Write, did: impl Fn(u64)) -> Result<u64, Failure> {
    let file = nova.open(path)?;
    let mut part = vec![0; PART];
    let mut at = 0;
    loop {
        let read = file.read_at(at, &mut part)?;
        if read == 0 {
            return Ok(at);
        }
        to.write_all(&part[..read])?;
        at += read as u64;
        did(read as u64);
    }
}

fn copy_in(nova: &Nova, target: &Path, from: &mut impl Read, did: impl Fn(u64)) -> Result<u64, Failure> {
    let file = nova.create_file(target)?;
    let (mut part, mut at) = (Vec::with_capacity(PART), 0);
    loop {
        part.clear();
        if from.by_ref().take(PART as u64).read_to_end(&mut part)? == 0 {
            return Ok(at);
        }
        file.write_at(at, &part)?;
        at += part.len() as u64;
        did(part.len() as u64);
    }
}
