//! A repository in which git commits until the daemon is gone.

use fastrand::Rng;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

pub(crate) struct Repository {
    root: PathBuf,
    random: Rng,
    /// Commits that git said it made.
    commits: usize,
}

impl Repository {
    /// `None`, and a line that says so, where there is no git.
    pub(crate) fn make(root: PathBuf, random: Rng) -> Option<Repository> {
        if Command::new("git").arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("there is no git: no repository is made");
            return None;
        }
        fs::create_dir(&root).unwrap();
        let mut repository = Repository { root, random, commits: 0 };
        repository.must(&["init", "-q"]);
        repository.commit().unwrap();
        Some(repository)
    }

    /// Commits that are there.
    pub(crate) fn commits(&self) -> usize {
        self.commits
    }

    fn git(&self, arguments: &[&str]) -> io::Result<Output> {
        Command::new("git")
            .arg("-C")
            .arg(&self.root)
            .args([
                "-c",
                "gc.auto=0",
                "-c",
                "maintenance.auto=false",
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.org",
            ])
            .args(["-c", "safe.directory=*"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.git(arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "git {arguments:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// Changes a few files, and commits them. The message is the commit's number.
    fn commit(&mut self) -> io::Result<()> {
        for _ in 0..3 {
            let name = format!("file {}", self.random.u8(..20));
            let text = format!("{}\n", self.random.u64(..)).repeat(self.random.usize(1..500));
            fs::write(self.root.join(name), text)?;
        }
        // (Whoever committed before may have been ended before it said so.)
        let message = (self.commits + 1).to_string();
        for arguments in [&["add", "-A"][..], &["commit", "-q", "--allow-empty", "-m", &message]] {
            let output = self.git(arguments)?;
            if !output.status.success() {
                return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
            }
        }
        self.commits += 1;
        if self.random.u8(..20) == 0 {
            self.git(&["gc", "-q"])?;
        }
        Ok(())
    }

    /// Commits until the daemon is gone.
    pub(crate) fn commit_until(&mut self, killed: &AtomicBool) {
        loop {
            match self.commit() {
                Ok(()) => {}
                Err(_) if killed.load(SeqCst) => return,
                Err(error) => panic!("before the kill: {error}"),
            }
        }
    }

    /// Every commit that git said it made is there, or one more, and all that they hold.
    pub(crate) fn verify(&mut self) {
        remove_locks(&self.root.join(".git"));
        self.must(&["fsck", "--full", "--strict", "--no-dangling"]);
        let last: usize = self.must(&["log", "-1", "--format=%s"]).trim().parse().unwrap();
        assert!(
            last == self.commits || last == self.commits + 1,
            "{} commits were acknowledged, and the last is {last}",
            self.commits
        );
        let count: usize = self.must(&["rev-list", "--count", "HEAD"]).trim().parse().unwrap();
        assert_eq!(count, last);
        self.commits = last;
        self.must(&["status", "--porcelain"]);
    }
}

/// What processes that were ended leave behind, as git asks its user to.
fn remove_locks(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            remove_locks(&path);
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(&path).unwrap();
        }
    }
}
