//! What a shell and `man` want to know of the command: made from the same words as `--help`.

use crate::{Outcome, args::Args};
use clap::CommandFactory;
use clap_complete::Shell;
use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(clap::Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(clap::Args)]
pub(crate) struct Man {
    /// Writes a page for each command there, instead of the first one to stdout
    dir: Option<PathBuf>,
}

pub(crate) fn completions(args: &Completions) -> Outcome {
    let mut said = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "nova", &mut said);
    say(&said)
}

pub(crate) fn man(args: &Man) -> Outcome {
    match &args.dir {
        Some(dir) => pages(dir),
        None => {
            let mut said = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut said)?;
            say(&said)
        }
    }
}

fn pages(dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    clap_mangen::generate_to(Args::command(), dir)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints it; who reads it may have enough before its end.
fn say(text: &[u8]) -> Outcome {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
