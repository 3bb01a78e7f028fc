//! `nova bench` hands its arguments to the program that measures, and returns what that returns. The measuring itself is tested in
//! `benches/tests`.

mod command;

use command::{fails, nova, works, write};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use tempfile::TempDir;

/// A program that notes its arguments, a line each, and ends with 4.
fn noting(folder: &TempDir) -> String {
    let script = "#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 4\n";
    let program = write(folder, "noting", script.as_bytes());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program.to_str().unwrap().to_owned()
}

fn noted(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let program = noting(&folder);
    let output = nova(&[&["bench", "--program", &program], arguments].concat());
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_option_reaches_the_program_that_measures_and_its_code_comes_back() {
    assert_eq!(noted(&[]), "--seed 1");
    assert_eq!(
        noted(&["--quick", "--json", "a.json", "--html", "b.html", "--only", "log append", "--seed", "7"]),
        "--quick --only log append --json a.json --html b.html --seed 7"
    );
    assert_eq!(
        noted(&["--full", "--build-peers", "--disk", "/d"]),
        "--full --build-peers --disk /d --seed 1"
    );
    assert_eq!(noted(&["--smoke", "--peers", "p"]), "--smoke --peers p --seed 1");
    assert_eq!(noted(&["--compare", "old", "new"]), "--compare old new --seed 1");
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_measured() {
    for arguments in [
        &["--quick", "--full"][..],
        &["--compare", "one"],
        &["--seed", "x"],
        &["--peers", "p", "--build-peers"],
    ] {
        assert_eq!(nova(&[&["bench"], arguments].concat()).status.code(), Some(2), "{arguments:?}");
    }
    assert!(works(&["bench", "--help"]).contains("--compare <OLD> <NEW>"));
}

#[test]
fn a_program_that_is_not_there_is_an_error_with_its_name() {
    let said = fails(&["bench", "--program", "/nowhere/nova-bench"]);
    assert!(said.contains("/nowhere/nova-bench cannot be run"), "{said}");
    assert!(!Path::new("/nowhere").exists());
}
