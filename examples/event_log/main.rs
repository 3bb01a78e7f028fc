//! An event log of a shop: orders are made, paid and shipped; each event is appended to a log, and changes a summary, in one transaction. So
//! the summary never says anything that the log does not, and the log nothing that the summary has not counted, wherever the
//! process is killed.
//!
//! ```text
//! cargo run --release --example event_log -- [--kills N] [--pool PATH]
//! ```
//!
//! A process appends events and is killed at a random moment, some times over. Whoever opens the pool then replays the log into a
//! summary in DRAM, compares the two, and sees that nothing is lost that was acknowledged. When the log is long, its beginning is
//! truncated, with a copy of the summary up to there, in one transaction as well: that and the rest of the log make the summary.
//!
//! In reading order: `shop`, the objects in the pool and the transactions on them; and here, the processes.

mod shop;

use shop::Event;
use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const USAGE: &str = "\
usage: event_log [--kills N] [--pool PATH]

Appends events to a log, with a summary, in a process that is killed N times (default 10);
checks that the two agree, and that nothing is lost. The pool is in /dev/shm, else in the temporary
folder, and removed at the end, unless PATH is given, which must not exist yet.
";

/// Events in the log from which on its beginning is truncated.
const LONG: u64 = 4_000;

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("event_log: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    use lexopt::prelude::*;
    let (mut kills, mut path, mut is_worker) = (10_u32, None, false);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("kills") => kills = parser.value()?.parse()?,
            Long("pool") => path = Some(PathBuf::from(parser.value()?)),
            Long("worker") => is_worker = true,
            Long("help") | Short('h') => {
                print!("{USAGE}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    match path {
        Some(path) if is_worker => work(&path),
        Some(path) => kill_and_look(&path, kills),
        None => {
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
            kill_and_look(&folder.path().join("events.pool"), kills)
        }
    }
}

/// The process that is killed: an event after the other, each acknowledged by a line on standard output.
fn work(path: &Path) -> Result<()> {
    let pool = shop::open(path)?;
    let mut random = fastrand::Rng::new();
    let mut out = io::stdout().lock();
    loop {
        // Mostly one event, at times some that belong together.
        let count = if random.u8(..8) == 0 { 5 } else { 1 };
        let seqs = shop::append(&pool, (0..count).map(|_| Event::random(&mut random)))?;
        out.write_all(format!("{}\n", seqs.end).as_bytes())?;
        out.flush()?;
    }
}

fn kill_and_look(path: &Path, kills: u32) -> Result<()> {
    let seed = fastrand::u64(..);
    println!("seed      {seed}");
    let (mut random, start) = (fastrand::Rng::with_seed(seed), Instant::now());
    shop::create(path)?;
    let (mut unheard, mut truncated) = (0, 0);
    for _ in 0..kills {
        let events = random.u64(1..2_000);
        let acknowledged = life(path, events, Duration::from_micros(random.u64(..200)))?;
        let pool = shop::open(path)?;
        let found = shop::audit(&pool)?;
        if found.seqs.end < acknowledged {
            return Err(
                format!("{acknowledged} events were acknowledged, {} are there", found.seqs.end).into()
            );
        }
        unheard += found.seqs.end - acknowledged;
        if found.seqs.end - found.seqs.start > LONG {
            // The older half.
            let before = found.seqs.end - LONG / 2;
            shop::truncate_before(&pool, before)?;
            truncated += before - found.seqs.start;
            let after = shop::audit(&pool)?;
            if after.summary != found.summary || after.seqs != (before..found.seqs.end) {
                return Err(format!("truncation has changed more than it should: {after:?}").into());
            }
        }
        pool.close()?;
    }
    let pool = shop::open(path)?;
    let found = shop::audit(&pool)?;
    for (seq, event) in shop::latest(&pool, 3)? {
        println!("event     {seq}: {event:?}");
    }
    pool.close()?;
    let shop::Found { seqs, summary } = found;
    println!("log       events {} to {}; {truncated} older ones were truncated", seqs.start, seqs.end);
    println!(
        "summary   {} orders, {} paid, {} shipped; {} cents",
        summary[0], summary[1], summary[2], summary[3]
    );
    println!("kills     {kills}; log and summary agreed after each, and nothing acknowledged was lost");
    println!("          {unheard} events were committed so shortly before a kill that nobody heard of them");
    println!("time      {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// A worker process, from its start until it is killed, after so many events and so long. How many events it acknowledged, with
/// all before it.
fn life(path: &Path, events: u64, delay: Duration) -> Result<u64> {
    let mut process = Command::new(std::env::current_exe()?)
        .args(["--worker", "--pool"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = process.stdout.take().ok_or("a worker without a pipe")?;
    let (mut acknowledged, mut heard) = (0, 0);
    for line in BufReader::new(out).lines() {
        acknowledged = line?.parse()?;
        heard += 1;
        // What it said before it died is still to be read.
        if heard == events {
            let start = Instant::now();
            while start.elapsed() < delay {
                std::hint::spin_loop(); // far less than a scheduler's tick, so without sleeping
            }
            process.kill()?;
        }
    }
    let status = process.wait()?;
    if status.signal() == Some(9) {
        Ok(acknowledged)
    } else {
        Err(format!("a worker ended unasked: {status}").into())
    }
}
