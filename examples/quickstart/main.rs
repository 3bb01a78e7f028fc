//! Indexes a directory tree in a persistent-memory pool, is killed again and again, and loses nothing.
//!
//! ```text
//! cargo run --release --example quickstart -- [--kills N] [--query WORD] [DIRECTORY]
//! ```
//!
//! The program starts itself again as a worker, which builds an inverted index (word to files and counts), one
//! transaction per file, round after round. It kills the worker with SIGKILL at random moments, opens the pool,
//! which recovers it, and compares every posting of every file that the worker had acknowledged with a fresh
//! count. In the end it prints what it saw, and fails if anything was lost or anything was there that should not
//! be.
//!
//! In reading order: `index`, the objects in the pool and the transaction on them; `worker`; `hold`, how it is made to
//! stand still in a commit; `messages`, what a worker says; `parent`, which kills; `verify`, which compares; `place`, where the pool is; `corpus`, the files and their words.

mod corpus;
mod hold;
mod index;
mod messages;
mod parent;
mod place;
mod progress;
mod verify;
mod worker;

use corpus::Corpus;
use parent::Score;
use place::Place;
use std::{
    error::Error,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};
use verify::{Acknowledged, Found};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const USAGE: &str = "\
usage: quickstart [OPTIONS] [DIRECTORY]

Indexes the text files of DIRECTORY (default: this workspace's sources) in a pool,
survives being killed, and compares the index with the files.

  --kills N     kill the worker N times (default 20)
  --query WORD  say which files have WORD
  --pool PATH   the pool's file (default: one in /dev/shm, else in the temporary folder);
                one that --keep left is gone on with
  --keep        do not remove the pool in the end
  --size MIB    size of the pool (default: by the number of words)
  --seed N      choose the moments of the kills by this number
";

/// What the command line says.
pub(crate) struct Arguments {
    pub(crate) kills: u32,
    pub(crate) seed: u64,
    pub(crate) pool: Option<PathBuf>,
    pub(crate) keep: bool,
    /// Bytes.
    pub(crate) size: Option<u64>,
    query: Option<String>,
    directory: PathBuf,
    /// Be a worker.
    worker: bool,
    /// A worker that ends when all files are in the same round.
    finish: bool,
    /// A worker that stands still in a commit.
    hold: Option<hold::Hold>,
}

impl Arguments {
    /// `None`: help was asked for.
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Arguments>, lexopt::Error> {
        use lexopt::prelude::*;
        let mut parsed = Arguments {
            kills: 20,
            seed: fastrand::u64(..1 << 32),
            pool: None,
            keep: false,
            size: None,
            query: None,
            directory: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
            worker: false,
            finish: false,
            hold: None,
        };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("kills") => parsed.kills = parser.value()?.parse()?,
                Long("seed") => parsed.seed = parser.value()?.parse()?,
                Long("pool") => parsed.pool = Some(parser.value()?.into()),
                Long("keep") => parsed.keep = true,
                Long("size") => parsed.size = Some(u64::from(parser.value()?.parse::<u32>()?) << 20),
                Long("query") => parsed.query = Some(parser.value()?.string()?),
                Long("worker") => parsed.worker = true,
                Long("finish") => parsed.finish = true,
                Long("hold") => parsed.hold = Some(parser.value()?.parse()?),
                Long("help") | Short('h') => return Ok(None),
                Value(directory) => parsed.directory = directory.into(),
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
            eprint!("quickstart: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match &arguments.pool {
        Some(path) if arguments.worker => {
            worker::run(path, &arguments.directory, arguments.finish, arguments.hold)
                .map(|()| ExitCode::SUCCESS)
        }
        _ => run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("quickstart: {error}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let start = Instant::now();
    let corpus = Corpus::find(&arguments.directory)?;
    println!(
        "{} files with {} postings in {}{}",
        corpus.files.len(),
        corpus.postings,
        arguments.directory.canonicalize().unwrap_or(arguments.directory.clone()).display(),
        if corpus.skipped == 0 { String::new() } else { format!(" ({} left out)", corpus.skipped) },
    );
    let (mut place, acknowledged) = match &arguments.pool {
        Some(path) if path.exists() => {
            let acknowledged =
                Acknowledged::kept(path, &corpus).map_err(|error| format!("{}: {error}", path.display()))?;
            (Place::kept(path), acknowledged)
        }
        _ => (Place::create(arguments, &corpus)?, Acknowledged::nothing(corpus.files.len())),
    };
    describe(place.path())?;
    println!("seed {}", arguments.seed);
    let (score, found) = parent::run(arguments, &corpus, place.path(), acknowledged)?;
    let whole = found.differences.is_empty();
    if whole && let Some(word) = &arguments.query {
        answer(place.path(), word)?;
    }
    summary(&score, &found, start);
    if arguments.keep || !whole {
        place.keep();
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what the pool is on, and what that promises.
fn describe(path: &Path) -> Result<()> {
    let pool = index::open(path)?;
    let region = pool.region();
    println!(
        "pool {} of {} MiB on {}: granularity {:?}, durability {:?}",
        path.display(),
        region.len() >> 20,
        region.medium(),
        region.granularity(),
        region.durability(),
    );
    Ok(())
}

fn answer(path: &Path, word: &str) -> Result<()> {
    let found = index::query(&index::open(path)?, word)?;
    println!("\nfiles with {word:?}: {}", found.len());
    for (name, count) in found.iter().take(10) {
        println!("{count:>6}  {name}");
    }
    Ok(())
}

fn summary(score: &Score, found: &Found, start: Instant) {
    let each = |n: u64| n as f64 / score.transactions.max(1) as f64;
    let Score { before, inside, after, in_doubt_committed, transactions, lines, drains, .. } = score;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "
files         {}
words         {} distinct, {} postings
kills         {} survived: {before} before, {inside} inside ({in_doubt_committed} of them had happened), {after} after a commit
transactions  {transactions} acknowledged, {:.1} lines and {:.2} drains each
pool          {:.1} of {:.1} MiB used
differences   {}
time          {:.1} s",
        found.files,
        found.words,
        found.postings,
        score.kills(),
        each(*lines),
        each(*drains),
        mib(found.used),
        mib(found.capacity),
        found.differences.len(),
        start.elapsed().as_secs_f64(),
    );
    for difference in found.differences.iter().take(20) {
        println!("  {difference}");
    }
    if found.differences.len() > 20 {
        println!("  ...");
    }
}
