//! A queue of jobs, and four threads that work on them, in a process that is killed again and again: every job gets exactly
//! one result all the same.
//!
//! ```text
//! cargo run --release --example job_queue -- [--kills N] [--jobs N] [--pool PATH]
//! ```
//!
//! Taking a job is one commit; its result and its completion are another. A kill between the two leaves a job that is taken
//! and that nobody works on: the next process puts it back, and it is started a second time. So a job is started at least once,
//! and its result is there exactly once. (Work with effects outside of the pool, such as a mail, may happen twice.)
//!
//! In reading order: `queue`, the objects in the pool and the transactions on them; `worker`, the process that is killed;
//! `parent`, which kills it, and looks at what is left.

mod parent;
mod queue;
mod worker;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "\
usage: job_queue [OPTIONS]

Works on jobs with four threads, in a process that is killed and started again;
checks that every job has exactly one result.

  --kills N     kill the process N times (default 20)
  --jobs N      jobs in the queue (default 1000)
  --pool PATH   the pool's file (default: one in /dev/shm, else in the temporary folder);
                it must not exist yet, and is removed when all was well
";

struct Arguments {
    kills: u32,
    jobs: u64,
    pool: Option<PathBuf>,
    worker: bool,
}

impl Arguments {
    /// `None`: help was asked for.
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Arguments>, lexopt::Error> {
        use lexopt::prelude::*;
        let mut parsed = Arguments { kills: 20, jobs: 1000, pool: None, worker: false };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("kills") => parsed.kills = parser.value()?.parse()?,
                Long("jobs") => parsed.jobs = parser.value()?.parse::<u32>()?.into(),
                Long("pool") => parsed.pool = Some(parser.value()?.into()),
                Long("worker") => parsed.worker = true,
                Long("help") | Short('h') => return Ok(None),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(parsed))
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprint!("job_queue: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match &arguments.pool {
        Some(path) if arguments.worker => worker::run(path),
        _ => parent::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("job_queue: {error}");
            ExitCode::FAILURE
        }
    }
}
