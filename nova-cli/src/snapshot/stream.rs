//! Snapshots as streams, to files and through pipes.

use super::{change, named};
use crate::{Failure, Outcome, image, progress, size::Size};
use nova_core::{Code, Error};
use std::{
    fs::File,
    io::{BufReader, BufWriter, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
};

pub(super) fn send(image: &Path, from: Option<&str>, name: &str, output: Option<&Path>) -> Outcome {
    let nova = image::read(image)?;
    for name in from.into_iter().chain([name]) {
        nova.snapshot(name).map_err(|error| named(name, error))?;
    }
    let to: Box<dyn Write> = match output {
        Some(path) => Box::new(create(path)?),
        None if std::io::stdout().is_terminal() => {
            return Err("a stream is no text for a terminal: use --output FILE, or a pipe".into());
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let bar = progress::passing();
    let sent = nova.send(from, name, &mut BufWriter::with_capacity(1 << 20, bar.wrap_write(to)))?;
    bar.finish_and_clear();
    let (frames, bytes) = (sent.frames, Size(sent.bytes));
    let said =
        format!("snapshot {name:?}: {frames} frames, {bytes}, of which {} are content", Size(sent.content));
    // The stream may be on standard output.
    if output.is_some() {
        println!("{said}")
    } else {
        eprintln!("{said}")
    }
    Ok(ExitCode::SUCCESS)
}

/// A file for a stream: what one has stays. (What is no file, as a pipe or a device, is written to.)
fn create(path: &Path) -> Result<File, Failure> {
    let has_content = path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0);
    if has_content {
        return Err(format!("{} is there already: remove it, or take another name", path.display()).into());
    }
    File::create(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

pub(super) fn receive(image: &Path, stream: Option<&Path>) -> Outcome {
    let (from, bar): (Box<dyn Read>, _) = match stream {
        Some(path) => {
            let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let len = file.metadata()?.len();
            (Box::new(file), progress::bytes(len))
        }
        None if std::io::stdin().is_terminal() => {
            return Err("a terminal has no stream: name a file, or use a pipe".into());
        }
        None => (Box::new(std::io::stdin().lock()), progress::passing()),
    };
    let mut from = BufReader::with_capacity(1 << 20, bar.wrap_read(from));
    let received = change(image, |nova| {
        nova.receive(&mut from).map_err(|error| match error {
            Error::Posix(Code::Exists) => {
                "there is another snapshot of the stream's name: delete it, or receive on another volume"
                    .into()
            }
            error => error.into(),
        })
    })?;
    bar.finish_and_clear();
    let name = &received.snapshot.name;
    if received.was_there {
        println!("snapshot {name:?} is there already");
        return Ok(ExitCode::SUCCESS);
    }
    let (applied, skipped) = (received.applied, received.skipped);
    println!("snapshot {name:?}: {applied} frames, and {skipped} before, {}", Size(received.bytes));
    Ok(ExitCode::SUCCESS)
}
