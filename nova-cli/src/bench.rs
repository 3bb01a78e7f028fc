//! `nova bench`: what atomicity costs, beside code that has none and beside other stores.
//!
//! The measuring is done by a program of its own, `nova-bench` of the package `benches`, so that this command has none of the
//! benchmarks' dependencies. In a source tree cargo builds it first, so that what is measured is the source; elsewhere it stands beside
//! this program.

use crate::{Failure, Outcome};
use clap::Args;
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

#[derive(Args)]
pub(crate) struct Bench {
    /// About two minutes of measuring (the default)
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All of it, for as long as it takes
    #[arg(long)]
    full: bool,
    /// Seconds: whether everything runs; its times mean nothing
    #[arg(long, hide = true, conflicts_with_all = ["quick", "full"])]
    smoke: bool,
    /// Those panels alone whose title has this text in it
    #[arg(long, value_name = "TEXT")]
    only: Option<OsString>,
    /// Writes every sample to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page with plots, which needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Measures nothing; says what is faster or slower in NEW, beyond noise
    #[arg(long, value_names = ["OLD", "NEW"], num_args = 2)]
    compare: Option<Vec<PathBuf>>,
    /// Other stores too, by this program
    #[arg(long, value_name = "PROGRAM")]
    peers: Option<PathBuf>,
    /// Other stores too, by the program of benches/peers, which is built first
    #[arg(long, conflicts_with = "peers")]
    build_peers: bool,
    /// A folder on a disk, for what is durable by msync [default: PMEM_TEST_DIR, or the temporary folder]
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,
    /// Of all random choices
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// The program that measures, if another one than is found
    #[arg(long, value_name = "PROGRAM", hide = true)]
    program: Option<PathBuf>,
}

impl Bench {
    /// For the program that measures.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let flags = [
            ("--quick", self.quick),
            ("--full", self.full),
            ("--smoke", self.smoke),
            ("--build-peers", self.build_peers),
        ];
        arguments.extend(flags.iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag.into()));
        let values = [
            ("--only", self.only.as_deref()),
            ("--json", self.json.as_deref().map(Path::as_os_str)),
            ("--html", self.html.as_deref().map(Path::as_os_str)),
            ("--peers", self.peers.as_deref().map(Path::as_os_str)),
            ("--disk", self.disk.as_deref().map(Path::as_os_str)),
        ];
        for (option, value) in values {
            if let Some(value) = value {
                arguments.extend([option.into(), value.to_owned()]);
            }
        }
        if let Some([old, new]) = self.compare.as_deref() {
            arguments.extend(["--compare".into(), old.into(), new.into()]);
        }
        arguments.extend(["--seed".into(), self.seed.to_string().into()]);
        arguments
    }
}

/// The source tree of the `cargo run` that runs this program, or else the one that it was built in, if it is still there: trees and what
/// was built in them are moved and copied, and cargo does not build anew for that.
fn source() -> Option<PathBuf> {
    let running = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let roots = running.into_iter().chain([built]).filter_map(|package| Some(package.parent()?.to_owned()));
    roots.into_iter().find(|root| root.join("benches/nova_bench.rs").is_file())
}

/// The command that measures, without its arguments.
fn program(args: &Bench) -> Result<Command, Failure> {
    if let Some(program) = &args.program {
        return Ok(Command::new(program));
    }
    if let Some(root) = source() {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["run", "--release", "--package", "benches", "--bin", "nova-bench", "--manifest-path"]);
        cargo.arg(root.join("Cargo.toml")).arg("--");
        return Ok(cargo);
    }
    let beside = env::current_exe()?.with_file_name("nova-bench");
    if beside.is_file() {
        return Ok(Command::new(beside));
    }
    Err(format!(
        "there is neither a source tree to build nova-bench from nor {}: run `cargo run --release -p benches --bin nova-bench` in a \
         clone of the source, or put the program there",
        beside.display()
    )
    .into())
}

pub(crate) fn run(args: &Bench) -> Outcome {
    let mut command = program(args)?;
    command.args(args.arguments());
    let name = command.get_program().to_owned();
    let status = command.status().map_err(|error| format!("{} cannot be run: {error}", name.display()))?;
    // What it has to say it has said; without a code a signal ended it.
    Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
}
