//! `nova`: makes, mounts, looks into and checks volumes and pools. `nova help` says what there is.
//!
//! Exit codes: 0 done; 1 an error, which is on stderr; 2 wrong arguments; for `fsck` and `pool check` 4, if something is wrong and still
//! is.

#![deny(unsafe_code)]

mod args;
mod files;
mod image;
mod mount;
mod pool;
mod size;
mod snapshot;
mod volume;

use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

/// Whatever went wrong, in words.
type Failure = Box<dyn std::error::Error>;
type Outcome = Result<ExitCode, Failure>;

/// Something is wrong with what was checked, and still is.
const WRONG: u8 = 4;

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Mkfs(args) => volume::mkfs(&args),
        Command::Info { image, json } => volume::info(&image, json),
        Command::Df { image, json } => volume::df(&image, json),
        Command::Quota(args) => volume::quota(&args),
        Command::Fsck { image, repair: false } => volume::fsck(&image),
        Command::Fsck { image, repair: true } => volume::repair(&image),
        Command::Mount(args) => mount::mount(&args),
        Command::Umount { dir } => mount::umount(&dir),
        Command::Ls { place, long, snapshot } => files::ls(&place, long, snapshot.as_deref()),
        Command::Cat { place, snapshot } => files::cat(&place, snapshot.as_deref()),
        Command::Stat { place, json } => files::stat(&place, json),
        Command::Cp { from, to, snapshot } => files::cp(&from, &to, snapshot.as_deref()),
        Command::Snapshot { command } => snapshot::run(&command),
        Command::Pool { command } => pool::run(&command),
    };
    outcome.unwrap_or_else(|error| {
        mount::complain(format_args!("nova: {error}"));
        let mut cause = error.source();
        while let Some(reason) = cause {
            mount::complain(format_args!("  because {reason}"));
            cause = reason.source();
        }
        ExitCode::FAILURE
    })
}
