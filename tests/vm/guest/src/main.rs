//! What `tests/vm/run` runs in a guest that has real DAX: persistent memory that the kernel knows as such.
//!
//! ```text
//! vm-guest all              the next three
//! vm-guest detect           what pmem-map finds out about each medium
//! vm-guest pool             a pool on a DAX file, and on a DAX device
//! vm-guest volume           a filesystem on a DAX file, and on a DAX device
//! vm-guest block            what /dev/pmem0 is without a filesystem, and a volume on it
//! vm-guest cut SUBJECT...   work on these until the power is cut: pool, volume, page, growth, block, and controls
//! ```
//!
//! Each check prints a line, and the first that fails ends the program with exit code 1.

mod block;
mod cut;
mod detect;
mod fsync;
mod place;
mod pool;
mod volume;

use std::process::ExitCode;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Fails, with what is wrong, unless `holds`.
fn check(holds: bool, wrong: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(wrong().into()) }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["all"] => {
            detect::run()?;
            pool::run()?;
            volume::run()
        }
        ["detect"] => detect::run(),
        ["pool"] => pool::run(),
        ["volume"] => volume::run(),
        ["block"] => block::run(),
        ["abandon-pool", path] => pool::abandon(path.as_ref()),
        ["abandon-volume", path] => volume::abandon(path.as_ref()),
        ["cut", names @ ..] if !names.is_empty() => cut::run(names),
        _ => {
            Err("usage: vm-guest all|detect|pool|volume|block, or cut SUBJECT...; run it by tests/vm/run"
                .into())
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}
