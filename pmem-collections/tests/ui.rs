//! What must not compile, and what the compiler says (`ui/*.stderr`; `TRYBUILD=overwrite` renews them).
#![allow(missing_docs)]

use std::process::Command;

/// The compiler whose words are in `ui/*.stderr`. Another says the same in other words, which is no failure of ours.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn rejected_programs_are_rejected_with_these_messages() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output().expect("cargo found a compiler");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if version.starts_with(COMPILER) {
        trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
    } else {
        println!("skipped: the expected messages are those of {COMPILER}x, this is {version}");
    }
}
