//! The command line of `nova bench`.

use super::{
    Failure, Outcome,
    control::Control,
    difference::{self, Change},
    engine,
    limits::Limits,
    machine::{self, Machine},
    plan::{self, Peers, Scale, Setting},
    report,
    results::{FORMAT, Results, Run, VERSION},
    subjects::peer,
    table, trace,
};
use crate::{cpu_time, systems};
use std::{
    ffi::OsString,
    fs,
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

const HELP: &str = "\
Compares what atomicity costs: raw mapped memory, transactions, containers, files, other stores

Usage: nova bench [OPTIONS]
       nova bench --compare OLD.json NEW.json

Options:
      --quick            About two minutes of measuring (the default)
      --full             All of it, for as long as it takes
      --only TEXT        Those panels alone whose title has this text in it
      --json FILE        Writes every sample to this file
      --html FILE        Writes a page with plots, which needs nothing else
      --compare OLD NEW  Measures nothing; says what is faster or slower in NEW, beyond noise (exit code 4: something is slower)
      --peers PROGRAM    Other stores too, by this program
      --build-peers      Other stores too, by the program of benches/peers, which is built first
      --disk DIR         A folder on a disk, for what is durable by msync [default: PMEM_TEST_DIR, or the temporary folder]
      --seed NUMBER      Of all random choices [default: 1]
  -h, --help             Prints this

BENCH_DIR is the folder for memory-mapped files [default: /dev/shm]; on a DAX filesystem, real persistent memory.
BENCH_CPU is the CPU that rows of one thread are kept on [default: the last].
";

/// What a command line asks for.
struct Arguments {
    scale: Scale,
    only: Option<String>,
    json: Option<PathBuf>,
    html: Option<PathBuf>,
    compare: Option<(PathBuf, PathBuf)>,
    peers: Option<PathBuf>,
    build_peers: bool,
    disk: Option<PathBuf>,
    seed: u64,
}

/// `None`: only help was asked for.
fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Arguments>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut parsed = Arguments {
        scale: Scale::QUICK,
        only: None,
        json: None,
        html: None,
        compare: None,
        peers: None,
        build_peers: false,
        disk: None,
        seed: 1,
    };
    let mut arguments = lexopt::Parser::from_args(arguments);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("quick") => parsed.scale = Scale::QUICK,
            Long("full") => parsed.scale = Scale::FULL,
            Long("smoke") => parsed.scale = Scale::SMOKE,
            Long("only") => parsed.only = Some(arguments.value()?.string()?),
            Long("json") => parsed.json = Some(arguments.value()?.into()),
            Long("html") => parsed.html = Some(arguments.value()?.into()),
            Long("compare") => parsed.compare = Some((arguments.value()?.into(), arguments.value()?.into())),
            Long("peers") => parsed.peers = Some(arguments.value()?.into()),
            Long("build-peers") => parsed.build_peers = true,
            Long("disk") => parsed.disk = Some(arguments.value()?.into()),
            Long("seed") => parsed.seed = arguments.value()?.parse()?,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(parsed))
}

/// The program, with these arguments.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    /// As `nova`'s: something is wrong with what was looked at.
    const SLOWER: u8 = 4;
    let arguments = match parse(arguments) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("nova bench: {error}; --help says what there is");
            return ExitCode::from(2);
        }
    };
    let outcome = match &arguments.compare {
        Some((old, new)) => compare(old, new).map(|is_slower| if is_slower { SLOWER } else { 0 }),
        None => measure(&arguments).map(|()| 0),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("nova bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether anything is slower.
fn compare(old: &std::path::Path, new: &std::path::Path) -> Outcome<bool> {
    let comparison = difference::compare(&Results::read(old)?, &Results::read(new)?);
    print!("{comparison}");
    Ok(comparison.rows.iter().any(|row| row.change == Change::Slower))
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    // Before minutes of measuring, not after.
    for path in arguments.json.iter().chain(&arguments.html) {
        fs::write(path, "").map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    let program = match (&arguments.peers, arguments.build_peers) {
        (Some(program), _) => Some(program.clone()),
        (None, true) => Some(peer::build()?),
        (None, false) => None,
    };
    let peers = match program {
        None => Peers::None("not asked for; --build-peers or --peers PROGRAM".into()),
        Some(program) => {
            let peers = peer::list(&program)?;
            Peers::Program(program, peers)
        }
    };
    let setting = Setting {
        scale: arguments.scale,
        seed: arguments.seed,
        disk: arguments.disk.clone().unwrap_or_else(systems::disk),
        peers,
    };
    let results = run(&setting, arguments.only.as_deref())?;
    print!("{}", table::Table(&results));
    if let Some(path) = &arguments.json {
        fs::write(path, results.to_json())?;
        println!("every sample: {}", path.display());
    }
    if let Some(path) = &arguments.html {
        fs::write(path, report::page(&results))?;
        println!("the page: {}", path.display());
    }
    let failed = results.panels.iter().flat_map(|panel| &panel.rows);
    match failed.filter(|row| matches!(row.outcome, super::results::Outcome::Failed(_))).count() {
        0 => Ok(()),
        count => Err(Failure::from(format!("{count} rows failed; the table says how"))),
    }
}

/// Measures everything, or what has that text in its title.
pub fn run(setting: &Setting, only: Option<&str>) -> Outcome<Results> {
    let start = Instant::now();
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (machine, commit) = (Machine::this(), machine::commit());
    let is_wanted = |title: &str| only.is_none_or(|text| title.to_lowercase().contains(&text.to_lowercase()));
    let scale = setting.scale;
    let rounds = scale.effort.rounds;
    let mut control = Control::new(scale.control);
    let mut panels = Vec::new();
    let mut cpu = None;
    let (pinned, shared): (Vec<_>, Vec<_>) = plan::panels(setting)
        .into_iter()
        .filter(|panel| is_wanted(&format!("{} {}", panel.group, panel.workload)))
        .enumerate()
        .partition(|(_, panel)| panel.threads == 1);
    let all = pinned.len() + shared.len();
    // Two threads need two CPUs: before this thread is kept on one.
    for (order, panel) in shared.into_iter().chain(pinned) {
        if panel.threads == 1 && cpu.is_none() {
            cpu = cpu_time::pin().map(|cpu| cpu as u64);
        }
        say(&format!("{}/{all}: {}, {}, {}", panels.len() + 1, panel.group, panel.workload, panel.set));
        panels.push((order, engine::measure(panel, scale.effort, &mut control)));
    }
    panels.sort_by_key(|(order, _)| *order);
    let mut traces = Vec::new();
    for plan in plan::traces(setting) {
        if is_wanted(&format!("Over time {}", plan.workload)) {
            say(&format!("over time: {}", plan.workload));
            let intervals = trace::run(plan.make, scale.intervals, plan.operations)?;
            let (workload, what) = (plan.workload.to_owned(), plan.what.to_owned());
            traces.push(trace::Trace {
                workload,
                variant: plan.variant,
                what,
                operations: plan.operations,
                intervals,
            });
        }
    }
    say("limits");
    let limits = Limits::measure(rounds as usize, u64::from(scale.control) / 5 + 16)?;
    say("");
    let run = Run {
        scale: scale.name.to_owned(),
        rounds,
        seed: setting.seed,
        cpu,
        commit,
        optimised: !cfg!(debug_assertions),
        began,
        seconds: start.elapsed().as_secs_f64(),
    };
    let panels = panels.into_iter().map(|(_, panel)| panel).collect();
    Ok(Results { format: FORMAT.to_owned(), version: VERSION, machine, run, limits, panels, traces })
}

/// What is going on, for a person who waits.
fn say(what: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        _ = write!(stderr, "\r\x1b[K{what}");
        _ = stderr.flush();
    }
}
