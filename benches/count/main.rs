//! Instructions of the hot operations, held against those that are kept: a slow-down is seen where times are noise.
//!
//!     cargo run --release -p benches --bin count-instructions [-- --update | --runs N | --only TEXT | --file PATH]
//!
//! Needs valgrind. Each operation runs in a process of its own under callgrind, which counts from the first to the last of
//! [`OPERATIONS`] repetitions and nothing around them. What is kept is in `benches/instructions.json`, with the compiler that
//! it is of: other compilers make other instructions, and are not compared. Exit code 1: a count is more than 3% away, in either
//! direction, or is not kept; `--update` keeps what is counted. How to read the table: BENCHMARKS.md.
//!
//! Reading order: `operations` and the files beside it, what is counted; `callgrind`, how; `kept`, the comparison; `fixed`, why the same comes
//! out each time.

mod allocations;
mod callgrind;
mod collections;
mod files;
mod fixed;
mod kept;
mod operations;
mod transactions;

use kept::{Counts, Verdict};
use operations::{Operation, count_operations};
use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

type Failure = Box<dyn Error + Send + Sync>;

/// How often an operation is repeated while it is counted.
const OPERATIONS: u64 = 2_000;
/// How often before: tables and lists grow to their sizes.
const WARM_UP: u64 = 500;
/// Percent that a count may be away from the one that is kept.
const TOLERANCE: f64 = 3.0;
/// Percent between the lowest and the highest count of several runs.
const SPREAD: f64 = 1.0;

struct Arguments {
    /// In the process that is counted: the operation.
    counted: Option<String>,
    update: bool,
    runs: usize,
    only: Option<String>,
    file: PathBuf,
}

fn arguments() -> Result<Arguments, Failure> {
    use lexopt::prelude::*;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
    let mut parsed = Arguments { counted: None, update: false, runs: 1, only: None, file };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("counted") => parsed.counted = Some(arguments.value()?.string()?),
            Long("update") => parsed.update = true,
            Long("runs") => parsed.runs = arguments.value()?.parse::<usize>()?.max(1),
            Long("only") => parsed.only = Some(arguments.value()?.string()?),
            Long("file") => parsed.file = arguments.value()?.into(),
            other => return Err(other.unexpected().into()),
        }
    }
    if parsed.update && parsed.only.is_some() {
        return Err("--update keeps all counts: leave --only out".into());
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("count-instructions: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Whether all counts are as those that are kept.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    if let Some(name) = &arguments.counted {
        let mut work = operations::find(name).ok_or("no such operation")?.start();
        work.run(WARM_UP);
        count_operations(&mut *work, OPERATIONS);
        work.verify();
        return Ok(true);
    }
    if cfg!(debug_assertions) {
        return Err("counts are those of optimised code: run it with `cargo run --release`".into());
    }
    let (valgrind, rustc) = (callgrind::version()?, callgrind::rustc()?);
    let only = arguments.only.as_deref().unwrap_or_default();
    let chosen: Vec<&Operation> = operations::ALL
        .iter()
        .flat_map(|group| group.iter())
        .filter(|operation| operation.name.contains(only))
        .collect();
    if chosen.is_empty() {
        return Err(format!(
            "no operation has {only:?} in its name; benches/instructions.json has the names"
        )
        .into());
    }
    let runs = (0..arguments.runs).map(|_| count_all(&chosen)).collect::<Result<Vec<_>, _>>()?;
    let processor = callgrind::processor();
    let counted = Counts { rustc, valgrind, processor, instructions: runs[0].iter().cloned().collect() };
    let steady = print_spread(&runs);
    if arguments.update {
        for (name, instructions) in &runs[0] {
            println!("{name:<44} {instructions:>9.1}");
        }
        counted.keep(&arguments.file)?;
        println!("kept in {}", arguments.file.display());
        return Ok(steady);
    }
    Ok(compare(arguments, &counted, &runs[0])? && steady)
}

/// The instructions of each operation, in their order. Two processes at a time, where there are processors for them.
fn count_all(operations: &[&Operation]) -> Result<Vec<(String, f64)>, Failure> {
    let next = AtomicUsize::new(0);
    let count = || {
        let mut counts = Vec::new();
        while let Some(operation) = operations.get(next.fetch_add(1, Relaxed)) {
            counts.push((operation.name, callgrind::count(operation.name, OPERATIONS)?));
        }
        Ok::<_, Failure>(counts)
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = thread::scope(|scope| {
        let threads: Vec<_> = (0..processors.min(operations.len())).map(|_| scope.spawn(count)).collect();
        let results: Result<Vec<_>, _> =
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        results.map(|parts| parts.concat())
    })?;
    counts.sort_by_key(|(name, _)| operations.iter().position(|operation| operation.name == *name));
    Ok(counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect())
}

/// Says how far apart several runs are; whether that is little.
fn print_spread(runs: &[Vec<(String, f64)>]) -> bool {
    if runs.len() == 1 {
        return true;
    }
    let mut widest = (0.0, "none");
    for (i, (name, _)) in runs[0].iter().enumerate() {
        let counts = || runs.iter().map(|run| run[i].1);
        let (least, most) = (counts().fold(f64::MAX, f64::min), counts().fold(0.0, f64::max));
        let spread = (most - least) / least * 100.0;
        if spread > widest.0 {
            widest = (spread, name);
        }
    }
    println!("{} runs; the widest spread is {:.3}% ({}), at most {SPREAD}%", runs.len(), widest.0, widest.1);
    widest.0 <= SPREAD
}

/// Prints the table; whether all is as it was.
fn compare(arguments: &Arguments, counted: &Counts, order: &[(String, f64)]) -> Result<bool, Failure> {
    let kept = Counts::read(&arguments.file)?;
    // Another compiler makes other instructions, and another valgrind shows programs another processor.
    let of =
        |counts: &Counts| [&counts.rustc, &counts.valgrind, &counts.processor].map(String::clone).join(", ");
    let comparable = of(&kept) == of(counted);
    println!("{:<44} {:>12} {:>9}", "", "instructions", "kept");
    let mut good = true;
    for (name, instructions) in order {
        let verdict = Verdict::of(*instructions, kept.instructions.get(name).copied(), TOLERANCE);
        let before = kept.instructions.get(name).map_or("-".into(), |before| format!("{before:.1}"));
        let says = if comparable { verdict.to_string() } else { String::new() };
        good &= verdict.is_good();
        println!("{name:<44} {instructions:>12.1} {before:>9}  {says}");
    }
    if !comparable {
        println!("not compared: kept for {}, this is {}", of(&kept), of(counted));
        return Ok(true);
    }
    if arguments.only.is_none() {
        for name in kept.instructions.keys().filter(|name| !counted.instructions.contains_key(*name)) {
            good = false;
            println!("{name:<44} is kept and no longer counted");
        }
    }
    if !good {
        println!(
            "a change that is meant: cargo run --release -p benches --bin count-instructions -- --update, and say why in the commit"
        );
    }
    Ok(good)
}
