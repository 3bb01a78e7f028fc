//! Blocks taken out of files, and put in: what `fallocate` has modes for that the kernel does not pass on to a mount.

use crate::{Failure, Outcome, args, control, files::Place, image};
use nova_core::Allocate;
use nova_fuse::control::Request;
use std::{fs::OpenOptions, path::Path, process::ExitCode};

pub(crate) fn change(command: &args::Range) -> Outcome {
    let (args::Range::Collapse(args) | args::Range::Insert(args)) = command;
    let (offset, len) = (args.offset.0, args.len.0);
    let (how, request) = match command {
        args::Range::Collapse(_) => (Allocate::Collapse, Request::Collapse { offset, len }),
        args::Range::Insert(_) => (Allocate::Insert, Request::Insert { offset, len }),
    };
    let done = match &args.file {
        Place::Here(path) => mounted(path, &request),
        Place::Inside { image, path } => {
            let nova = image::write(image)?;
            let done = nova.open(path).and_then(|file| file.allocate(offset, len, how));
            nova.unmount()?;
            done.map_err(Failure::from)
        }
    };
    done.map_err(|error| {
        format!("{error}; whole blocks of 4096 bytes are moved, before the end of the file")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the daemon, and has the kernel ask it for the new length.
fn mounted(path: &Path, request: &Request) -> Result<(), Failure> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    control::ask_of(&file, path, request)??;
    pmem_map::lease::refresh(&file)?;
    Ok(())
}
