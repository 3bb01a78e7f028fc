//! `nova-bench`, run as `nova bench` runs it: a whole comparison that takes seconds, its JSON and its page; other stores; two runs
//! compared; and files of results that are none.

mod difference;
mod page;
mod peers;
mod run;

use benches::compare::results::Results;
use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs it.
fn nova_bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nova-bench")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What it says; it has to work.
fn works(arguments: &[&str]) -> String {
    let output = nova_bench(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What it says of an error.
fn fails(arguments: &[&str]) -> String {
    let output = nova_bench(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn read(path: &Path) -> Results {
    Results::read(path).unwrap()
}
