//! Other stores, in a program of their own (`benches/peers`), so that nobody compiles them to run a test.
//!
//! `peers serve` reads a JSON object a line and answers each with one:
//!
//! | request | answer |
//! |---|---|
//! | `{"do":"list"}` | `{"peers":[{"peer":"redb","version":"redb 4.6","settings":"...","workloads":["insert",...]},{"peer":"x","absent":"why"},...]}` |
//! | `{"do":"open","peer":"redb","workload":"insert","entries":100000,"threads":1,"seed":1,"folder":"/dev/shm/x","durable":true,"distribution":"zipfian"}` | `{"ok":true}` |
//! | `{"do":"round","operations":10000}` | `{"operations":10000,"ns":123456,"cpu_ns":123456,"latencies_ns":[...]}`, of a thousand at most; `cpu_ns` may be missing |
//! | `{"do":"close"}` | `{"ok":true}` |
//!
//! or `{"error":"why"}`. A peer keeps its state from round to round as the other rows do, and checks it when it is closed.

use super::keys::Distribution;
use crate::{
    compare::{
        Outcome, machine,
        subject::{Subject, Timing},
    },
    cpu_time,
};
use pmem_map::Counters;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A peer that hangs is given up after this time.
const PATIENCE: Duration = Duration::from_secs(300);

/// A store of the list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Listed {
    /// It can be asked.
    Present(Peer),
    /// The program was compiled without it.
    Absent {
        /// Its name.
        peer: String,
        /// Why.
        absent: String,
    },
}

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Peer {
    /// Its name.
    pub peer: String,
    /// Its version.
    pub version: String,
    /// How it is used.
    pub settings: String,
    /// What it can do, by their names in `benches/peers`: those of [`Workload`](super::store::Workload), and `record`, `transfer`, `log`,
    /// `queue`.
    pub workloads: Vec<String>,
}

#[derive(Deserialize)]
struct List {
    peers: Vec<Listed>,
}

#[derive(Deserialize)]
struct Done {
    operations: u64,
    ns: u64,
    /// CPU time of all its threads, those that work behind its back included.
    cpu_ns: Option<u64>,
    latencies_ns: Vec<u64>,
}

/// The program, running.
struct Conversation {
    child: Child,
    requests: Option<ChildStdin>,
    answers: Receiver<std::io::Result<String>>,
}

impl Conversation {
    fn start(program: &Path, is_disk: bool) -> Outcome<Conversation> {
        let mut command = Command::new(program);
        // libpmemobj flushes lines where the other rows do, and calls `msync` where they do.
        command.env("PMEM_IS_PMEM_FORCE", if is_disk { "0" } else { "1" });
        command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = cpu_time::unpinned(&mut command).spawn();
        let mut child = started.map_err(|error| {
            format!("{} cannot be run: {error}; --build-peers builds it", program.display())
        })?;
        let (requests, output) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Conversation { child, requests, answers })
    }

    fn ask<A: DeserializeOwned>(&mut self, request: &Value) -> Outcome<A> {
        let requests = self.requests.as_mut().ok_or("the peer has ended")?;
        let sent = writeln!(requests, "{request}").and_then(|()| requests.flush());
        sent.map_err(|error| format!("the peer has ended before it could read {request}: {error}"))?;
        let line = match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Timeout) => {
                return Err(
                    format!("the peer has not answered {request} for {} s", PATIENCE.as_secs()).into()
                );
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(format!("the peer has ended without an answer to {request}").into());
            }
        };
        let no_answer = |error| format!("the peer's answer to {request} is none: {error}: {line}");
        let answer: Value = serde_json::from_str(&line).map_err(no_answer)?;
        match answer.get("error") {
            Some(error) => Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned).into()),
            None => Ok(serde_json::from_value(answer).map_err(no_answer)?),
        }
    }

    fn close(&mut self) -> Outcome<()> {
        self.ask::<Value>(&json!({ "do": "close" })).map(drop)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The end of its input ends it; and if it hangs, this does.
        drop(self.requests.take());
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Builds the program of `benches/peers`, with its own lock file; where it is.
pub fn build() -> Outcome<PathBuf> {
    let package = machine::package().join("peers");
    let manifest = package.join("Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status = cargo
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .env_remove("CARGO_TARGET_DIR")
        .status()?;
    if !status.success() {
        return Err("the peers do not compile".into());
    }
    Ok(package.join("target/release/peers"))
}

/// What peers there are in that program.
pub fn list(program: &Path) -> Outcome<Vec<Listed>> {
    Ok(Conversation::start(program, false)?.ask::<List>(&json!({ "do": "list" }))?.peers)
}

/// What is to be done by a peer.
pub struct Task {
    /// The program.
    pub program: PathBuf,
    /// The peer's name.
    pub peer: String,
    /// What is done, by its name there.
    pub workload: String,
    /// How keys are chosen.
    pub distribution: Distribution,
    /// Entries that are loaded before.
    pub entries: u64,
    /// Threads that share the operations.
    pub threads: u64,
    /// Of the random choices.
    pub seed: u64,
    /// Where its files are.
    pub folder: PathBuf,
    /// Whether they are on a disk, where nothing is persistent memory.
    pub is_disk: bool,
}

/// A peer under a workload.
pub struct Open {
    conversation: Conversation,
    latencies: Vec<u64>,
    _folder: TempDir,
}

impl Open {
    /// Opens it in a new folder.
    pub fn new(task: &Task) -> Outcome<Open> {
        let folder = tempfile::Builder::new().prefix("pmem-bench-peer-").tempdir_in(&task.folder)?;
        let mut conversation = Conversation::start(&task.program, task.is_disk)?;
        conversation.ask::<Value>(&json!({
            "do": "open",
            "peer": task.peer,
            "workload": task.workload,
            "distribution": task.distribution.name(),
            "entries": task.entries,
            "threads": task.threads,
            "seed": task.seed,
            "folder": folder.path(),
            "durable": true,
        }))?;
        Ok(Open { conversation, latencies: Vec::new(), _folder: folder })
    }
}

impl Subject for Open {
    fn batch(&mut self, operations: u64) -> Outcome<Timing> {
        let done: Done = self.conversation.ask(&json!({ "do": "round", "operations": operations }))?;
        if done.operations != operations || done.ns == 0 {
            return Err(format!(
                "{} operations in {} ns, where {operations} were asked for",
                done.operations, done.ns
            )
            .into());
        }
        self.latencies = done.latencies_ns;
        Ok(Timing { wall: done.ns, cpu: done.cpu_ns.filter(|ns| *ns > 0) })
    }

    /// Those of the last batch, at equal distances: peers sample them while they run.
    fn latencies(&mut self, operations: u64) -> Outcome<Vec<u64>> {
        let sampled = std::mem::take(&mut self.latencies);
        let wanted = sampled.len().min(operations as usize);
        Ok((0..wanted).map(|i| sampled[i * sampled.len() / wanted]).collect())
    }

    fn counters(&self) -> Option<Counters> {
        None
    }

    fn finish(mut self: Box<Self>) -> Outcome<()> {
        self.conversation.close()
    }
}
