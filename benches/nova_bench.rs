//! `nova bench` runs this program, which has the benchmarks' dependencies: see `benches::compare`.

use std::process::ExitCode;

fn main() -> ExitCode {
    benches::compare::command::main(std::env::args_os().skip(1))
}
