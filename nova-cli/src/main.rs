//! `nova`: makes, mounts, looks into and checks volumes and pools. `nova help` says what there is.
//!
//! Exit codes are in `args::EXIT_CODES`, which `nova --help` shows.

#![deny(unsafe_code)]

mod args;
mod attribute;
mod bench;
mod check;
mod control;
mod copy;
mod crash;
mod debug;
mod docs;
mod files;
mod image;
mod map;
mod mount;
mod mounted;
mod picture;
mod pool;
mod progress;
mod range;
#[cfg(feature = "replica")]
mod remote;
#[cfg(feature = "replica")]
mod replica;
mod scrub;
mod signatures;
mod size;
mod snapshot;
mod top;
mod umount;
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
    let command = Args::parse().command;
    if command.only_prints() {
        end_with_the_reader();
    }
    let outcome = match command {
        Command::Mkfs(args) => volume::mkfs(&args),
        Command::Info { image, json } => volume::info(&image, json),
        Command::Df { image, json } => volume::df(&image, json),
        Command::Quota(args) => volume::quota(&args),
        Command::Range { command } => range::change(&command),
        Command::Fsck(args) => check::run(&args),
        Command::Scrub(args) => scrub::run(&args),
        Command::Mount(args) => mount::mount(&args),
        Command::Umount { dir } => umount::umount(&dir),
        Command::Ls { place, long, snapshot, json } => files::ls(&place, long, snapshot.as_deref(), json),
        Command::Cat { place, snapshot } => copy::cat(&place, snapshot.as_deref()),
        Command::Stat { place, json } => files::stat(&place, json),
        Command::Cp { from, to, snapshot } => copy::cp(&from, &to, snapshot.as_deref()),
        Command::Snapshot { command } => snapshot::run(&command),
        Command::Pool { command } => pool::run(&command),
        #[cfg(feature = "replica")]
        Command::Remote { command } => remote::run(&command),
        #[cfg(feature = "replica")]
        Command::Replica { command } => replica::run(&command),
        Command::Map(args) => map::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Crash { command } => crash::run(&command),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => docs::completions(&args),
        Command::Man(args) => docs::man(&args),
        Command::Debug { command } => debug::run(&command),
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

/// Who has read enough (`nova ls | head`) ends this program, as any other, without a word.
#[allow(unsafe_code)]
fn end_with_the_reader() {
    // SAFETY: sets what a signal does to what it does by itself; no other thread is there yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
