//! The command, run as people run it.

#![allow(dead_code, reason = "no test needs all of it")]

use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// Runs it.
pub(crate) fn nova(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nova")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The output of a command that has to work.
pub(crate) fn works(arguments: &[&str]) -> String {
    let output = nova(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says that has to fail.
pub(crate) fn fails(arguments: &[&str]) -> String {
    let output = nova(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// What a command says as JSON.
pub(crate) fn json(arguments: &[&str]) -> Value {
    let said = works(arguments);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

/// A volume of 16 MiB.
pub(crate) fn volume(folder: &TempDir) -> String {
    let image = folder.path().join("vol.img").to_str().unwrap().to_owned();
    assert!(works(&["mkfs", &image, "--size", "16M", "--label", "test"]).contains("16"));
    image
}

/// A file of the system.
pub(crate) fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Bytes that do not repeat soon.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect()
}
