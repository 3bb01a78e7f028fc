//! The tour of the README, run: each command, and what it prints.

use std::{fs, path::Path, process::Command};

/// The commands of the README's first `console` block, and the lines below each.
fn tour() -> Vec<(String, Vec<String>)> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let block = readme.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push((command.into(), Vec::new())),
            None => steps.last_mut().unwrap().1.push(line.into()),
        }
    }
    steps
}

/// A line without what differs from one machine and one run to the next: a volume's id, what the medium promises; and, depending on which thread of the mount
/// did what, where blocks are and how many are free.
fn settled(line: &str) -> String {
    let line = line.split("; stores are durable").next().unwrap();
    let has_places = [" free", " in use", " at ", " was "].iter().any(|word| line.contains(word));
    let is_id = |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_place = |word: &str| has_places && word.bytes().any(|byte| byte.is_ascii_digit());
    let word = |word: &str| if is_id(word) || is_place(word) { "SOME".to_owned() } else { word.to_owned() };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Unmounts, should the tour end early.
struct Mounted<'f>(&'f Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.join("mnt")).output();
    }
}

#[test]
fn the_tour_of_the_readme_prints_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    // SAFETY: a call of the system without arguments.
    if !Path::new("/dev/fuse").exists() || unsafe { libc::geteuid() } != 0 {
        println!("skipped: a mount needs root and /dev/fuse");
        return;
    }
    let _mounted = Mounted(folder.path());
    let programs = Path::new(env!("CARGO_BIN_EXE_nova")).parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let steps = tour();
    assert!(steps.len() > 12, "the README has a tour");
    for (command, expected) in steps {
        let output = Command::new("bash")
            .args(["-c", &command])
            .current_dir(folder.path())
            .env("PATH", &path)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let (said, expected): (Vec<String>, Vec<String>) =
            (said.lines().map(settled).collect(), expected.iter().map(|line| settled(line)).collect());
        assert_eq!(said, expected, "{command}");
    }
}
